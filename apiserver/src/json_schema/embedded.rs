//! Objects in objects (`x-kubernetes-embedded-resource`): what they have to have, and their metadata, which the server knows
//! better than any schema.

use crate::kinds::path::{Path, child, flag};
use crate::registry::meta;
use api::Value;
use api::codec;
use api::document::Map;
use api::field::{Errors, FieldError};
use api::names;
use api::schema::{Schema, TypeRef};

const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Makes metadata of embedded objects what the server's type has, or says what cannot be that. `root` says that the value
/// itself is an object, whatever its schema says.
pub fn coerce(value: &mut Value, schema: &Value, root: bool, path: &Path) -> Result<(), Errors> {
    match value {
        Value::Object(fields) => {
            if root || flag(schema, EMBEDDED) {
                coerce_object(fields, path)?;
            }
            for (key, value) in fields {
                match below(schema, key) {
                    Some((schema, true)) => coerce(value, schema, false, &path.at(key))?,
                    Some((schema, false)) => coerce(value, schema, false, &path.key(key))?,
                    None => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = child(schema, "items") else { return Ok(()) };
            for (i, item) in items.iter_mut().enumerate() {
                coerce(item, schema, false, &path.index(i))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The schema of a field, and whether the field is one of the schema's own.
fn below<'s>(schema: &'s Value, key: &str) -> Option<(&'s Value, bool)> {
    let own = child(schema, "properties").and_then(|properties| child(properties, key)).map(|schema| (schema, true));
    own.or_else(|| child(schema, "additionalProperties").map(|schema| (schema, false)))
}

fn coerce_object(fields: &mut Map, path: &Path) -> Result<(), Errors> {
    let invalid = |key: &str, value: &Value, why: &str| {
        let mut errors = Errors::new();
        errors.invalid(path.at(key), value.clone(), why);
        Err(errors)
    };
    for key in ["apiVersion", "kind"] {
        if let Some(value) = fields.get(key).filter(|value| !value.is_string()) {
            return invalid(key, value, "must be a string");
        }
    }
    let Some(metadata) = fields.get_mut("metadata") else { return Ok(()) };
    match decoded(metadata) {
        Ok(decoded) => *metadata = decoded,
        Err(why) => return invalid("metadata", metadata, &why),
    }
    Ok(())
}

/// Metadata as the server's type has it.
fn decoded(metadata: &Value) -> Result<Value, String> {
    let wrong = match metadata {
        Value::Object(_) => "",
        Value::Null => return Ok(Value::Object(Map::new())),
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
    };
    if !wrong.is_empty() {
        return Err(format!("json: cannot unmarshal {wrong} into Go value of type v1.ObjectMeta"));
    }
    let Some(ty) = object_meta() else { return Ok(metadata.clone()) };
    codec::check(metadata.clone(), ty).map(|decoded| decoded.value).map_err(|error| error.to_string())
}

fn object_meta() -> Option<TypeRef<'static>> {
    Schema::builtin().get(OBJECT_META)
}

/// Checks embedded objects after [`coerce`], and the value itself where it is one (`root`).
pub fn validate(value: &Value, schema: &Value, root: bool, path: &Path, errors: &mut Errors) {
    match value {
        Value::Object(fields) => {
            if root || flag(schema, EMBEDDED) {
                validate_object(value, path, errors);
            }
            for (key, value) in fields {
                match below(schema, key) {
                    Some((schema, true)) => validate(value, schema, false, &path.at(key), errors),
                    Some((schema, false)) => validate(value, schema, false, &path.key(key), errors),
                    None => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = child(schema, "items") else { return };
            for (i, item) in items.iter().enumerate() {
                validate(item, schema, false, &path.index(i), errors);
            }
        }
        _ => {}
    }
}

fn validate_object(object: &Value, path: &Path, errors: &mut Errors) {
    let given = |key: &str| object.get(key);
    for key in ["apiVersion", "kind"].into_iter().filter(|key| given(key).is_none()) {
        errors.required(path.at(key), "");
    }
    if let Some(version) = given("apiVersion").and_then(Value::as_str) {
        let at = path.at("apiVersion");
        match version {
            "" => errors.invalid(at, version, "must not be empty"),
            version if version.matches('/').count() > 1 => {
                errors.invalid(at, version, format!("unexpected GroupVersion string: {version}"));
            }
            _ => {}
        }
    }
    if let Some(kind) = given("kind").and_then(Value::as_str) {
        let at = path.at("kind");
        let messages = names::dns1035_label(&kind.to_lowercase());
        if kind.is_empty() {
            errors.invalid(at, kind, "must not be empty");
        } else if !messages.is_empty() {
            let rule = format!("may have mixed case, but should otherwise match: {}", messages.join(","));
            errors.invalid(at, kind, rule);
        }
    }
    if given("metadata").is_some() {
        let mut found = Errors::new();
        meta::validate_embedded(object, &mut found);
        for FieldError { kind, field, value, detail } in found.0 {
            errors.add(kind, path.at(&field), value, detail);
        }
    }
}
