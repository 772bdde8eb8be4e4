//! The types of a document.

use super::{Dialect, Members};
use api::kinds::{Kind, type_name};
use api::schema::{Field, FieldType, ListType, Presence, Schema, TypeRef};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

/// Types that are not objects: the last part of their name, the rest, what they are.
fn scalar(name: &str, dialect: Dialect) -> Option<Value> {
    let v3 = dialect == Dialect::V3;
    Some(match name.rsplit('.').next()? {
        "Quantity" if v3 => {
            json!({ "description": QUANTITY, "oneOf": [{ "type": "string" }, { "type": "number" }] })
        }
        "Quantity" => json!({ "description": QUANTITY, "type": "string" }),
        "IntOrString" if v3 => {
            let forms = json!([{ "type": "integer" }, { "type": "string" }]);
            json!({ "description": INT_OR_STRING, "format": "int-or-string", "oneOf": forms })
        }
        "IntOrString" => json!({ "description": INT_OR_STRING, "format": "int-or-string", "type": "string" }),
        "Time" => {
            json!({ "description": "Time is a time stamp in RFC 3339 form, to the second.", "type": "string", "format": "date-time" })
        }
        "MicroTime" => {
            json!({ "description": "MicroTime is version of Time with microsecond level precision.", "type": "string", "format": "date-time" })
        }
        "Duration" => json!({ "description": "Duration is a length of time such as 1m30s.", "type": "string" }),
        "FieldsV1" => {
            json!({ "description": "FieldsV1 stores a set of fields in a data structure like a Trie, in JSON format.", "type": "object" })
        }
        "RawExtension" => {
            json!({ "description": "RawExtension is used to hold extensions in external versions.", "type": "object" })
        }
        "Patch" => {
            json!({ "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.", "type": "object" })
        }
        "JSON" => {
            json!({ "description": "JSON represents any valid JSON value. These types are supported: bool, int64, float64, string, []interface{}, map[string]interface{} and nil." })
        }
        "JSONSchemaPropsOrArray" => {
            json!({ "description": "JSONSchemaPropsOrArray represents a value that can either be a JSONSchemaProps or an array of JSONSchemaProps. Mainly here for serialization purposes." })
        }
        "JSONSchemaPropsOrBool" => {
            json!({ "description": "JSONSchemaPropsOrBool represents JSONSchemaProps or a boolean value. Defaults to true for the boolean property." })
        }
        "JSONSchemaPropsOrStringArray" => {
            json!({ "description": "JSONSchemaPropsOrStringArray represents a JSONSchemaProps or a string array." })
        }
        _ => return None,
    })
}

const QUANTITY: &str = "Quantity is a fixed-point representation of a number, written with a decimal (n, u, m, k, M, G, T, P, E) or binary (Ki, Mi, Gi, Ti, Pi, Ei) suffix or a decimal exponent.";
const INT_OR_STRING: &str = "IntOrString is a type that can hold an int32 or a string.  When used in JSON or YAML marshalling and unmarshalling, it produces or consumes the inner type.  This allows you to have, for example, a JSON field that can accept a name or number.";

/// Writes every type that the kinds' requests and answers reach.
pub(super) fn write(out: &mut String, kinds: &[&Kind], dialect: Dialect) {
    let schema = Schema::builtin();
    let mut members = Members::open(out);
    for name in reachable(schema, kinds) {
        let value = scalar(&name, dialect).or_else(|| match schema.get(&name) {
            Some(ty) => Some(object(ty, kinds, dialect)),
            None if name.ends_with(".WatchEvent") => Some(watch_event(kinds, dialect)),
            None => None,
        });
        if let Some(value) = value {
            members.put(&name, &value);
        }
    }
    members.close();
}

fn reachable(schema: &Schema, kinds: &[&Kind]) -> BTreeSet<String> {
    let meta = ["APIResourceList", "DeleteOptions", "Patch", "Status", "WatchEvent"];
    let mut open: Vec<String> = meta.iter().map(|name| format!("{META}.{name}")).collect();
    open.push("io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned());
    for kind in kinds {
        open.extend([kind.type_name(), type_name(kind.group, kind.version, &kind.list_kind())]);
        let subresources = kind.subresources.iter().filter(|sub| !sub.kind.is_empty());
        open.extend(subresources.map(|sub| type_name(sub.group, sub.version, sub.kind)));
    }
    let mut reached = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(ty) = schema.get(&name).filter(|_| !reached.contains(&name)) {
            open.extend(ty.ty.fields.iter().filter_map(|field| named(&field.ty, schema)));
            // The alternative forms of a JSON schema refer to it.
            let others = ty.ty.fields.iter().filter_map(|field| ty.target(&field.ty));
            open.extend(others.map(|ty| ty.ty.name.to_string()));
        }
        reached.insert(name);
    }
    reached
}

/// The definition that a field's type or its items' type has, if any.
fn named(ty: &FieldType, schema: &Schema) -> Option<String> {
    Some(match ty {
        FieldType::List(inner) | FieldType::Map(inner) => return named(inner, schema),
        FieldType::Ref(id) => schema.at(*id).ty.name.to_string(),
        FieldType::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(),
        FieldType::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
        FieldType::RawExtension => "io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned(),
        FieldType::Time => format!("{META}.Time"),
        FieldType::MicroTime => format!("{META}.MicroTime"),
        FieldType::Duration => format!("{META}.Duration"),
        FieldType::FieldsV1 => format!("{META}.FieldsV1"),
        FieldType::Json => format!("{EXTENSIONS}.JSON"),
        FieldType::SchemaOrBool(_) => format!("{EXTENSIONS}.JSONSchemaPropsOrBool"),
        FieldType::SchemaOrArray(_) => format!("{EXTENSIONS}.JSONSchemaPropsOrArray"),
        FieldType::SchemaOrStrings(_) => format!("{EXTENSIONS}.JSONSchemaPropsOrStringArray"),
        _ => return None,
    })
}

fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({ "group": group, "kind": kind, "version": version })
}

fn object(ty: TypeRef<'_>, kinds: &[&Kind], dialect: Dialect) -> Value {
    let description = ty.ty.description();
    let mut properties = Map::new();
    for field in &ty.ty.fields {
        let about = description.field(&field.name);
        properties.insert(field.name.to_string(), property(field, &about, ty.schema, dialect));
    }
    let mut value = json!({ "description": description.text(), "type": "object" });
    if !properties.is_empty() {
        value["properties"] = Value::Object(properties);
    }
    let required: Vec<&str> = ty.ty.fields.iter().filter(|f| f.required).map(|f| &*f.name).collect();
    if !required.is_empty() {
        value["required"] = required.into();
    }
    if let Some((group, version, kind)) = &ty.ty.gvk {
        value["x-kubernetes-group-version-kind"] = json!([gvk(group, version, kind)]);
    } else if *ty.ty.name == format!("{META}.DeleteOptions") {
        value["x-kubernetes-group-version-kind"] = every_version(kinds, "DeleteOptions");
    }
    if ty.ty.atomic {
        value["x-kubernetes-map-type"] = "atomic".into();
    }
    value
}

/// A kind that belongs to all of the document's groups.
fn every_version(kinds: &[&Kind], kind: &str) -> Value {
    let mut versions: BTreeSet<(&str, &str)> = kinds.iter().map(|k| (k.group, k.version)).collect();
    versions.insert(("", "v1"));
    versions.into_iter().map(|(group, version)| gvk(group, version, kind)).collect()
}

fn watch_event(kinds: &[&Kind], dialect: Dialect) -> Value {
    let object = json!({ "$ref": dialect.reference("io.k8s.apimachinery.pkg.runtime.RawExtension") });
    let object = if dialect == Dialect::V3 { json!({ "allOf": [object] }) } else { object };
    json!({
        "description": "Event represents a single event to a watched resource.",
        "properties": { "object": object, "type": { "type": "string" } },
        "required": ["type", "object"],
        "type": "object",
        "x-kubernetes-group-version-kind": every_version(kinds, "WatchEvent"),
    })
}

fn property(field: &Field, about: &str, schema: &Schema, dialect: Dialect) -> Value {
    let mut value = value_of(&field.ty, schema, dialect);
    let reference = value.get("$ref").is_some();
    if reference && dialect == Dialect::V3 {
        value = json!({ "allOf": [value] });
    }
    if !about.is_empty() {
        value["description"] = about.into();
    }
    if let Some(default) = field.default.clone().or_else(|| implied_default(field, dialect)) {
        value["default"] = default;
    }
    match &field.list {
        ListType::Unset => {}
        ListType::Atomic => value["x-kubernetes-list-type"] = "atomic".into(),
        ListType::Set => value["x-kubernetes-list-type"] = "set".into(),
        ListType::Map(keys) => {
            value["x-kubernetes-list-type"] = "map".into();
            value["x-kubernetes-list-map-keys"] = keys.iter().map(|k| Value::from(&**k)).collect();
        }
    }
    if field.atomic {
        value["x-kubernetes-map-type"] = "atomic".into();
    }
    let strategies =
        [(field.patch.merge, "merge"), (field.patch.replace, "replace"), (field.patch.retain_keys, "retainKeys")];
    let strategies: Vec<&str> = strategies.iter().filter(|s| s.0).map(|s| s.1).collect();
    if !strategies.is_empty() {
        value["x-kubernetes-patch-strategy"] = strategies.join(",").into();
    }
    if !field.merge_key.is_empty() {
        value["x-kubernetes-patch-merge-key"] = (&*field.merge_key).into();
    }
    value
}

/// Version 3 shows the zero value of what is always there.
fn implied_default(field: &Field, dialect: Dialect) -> Option<Value> {
    let shown = matches!(
        field.ty,
        FieldType::Ref(_)
            | FieldType::String
            | FieldType::Int32
            | FieldType::Int64
            | FieldType::Float
            | FieldType::Bool
    );
    (dialect == Dialect::V3 && field.presence == Presence::Always && shown).then(|| field.ty.zero())
}

fn value_of(ty: &FieldType, schema: &Schema, dialect: Dialect) -> Value {
    match ty {
        FieldType::String => json!({ "type": "string" }),
        FieldType::Bytes => json!({ "type": "string", "format": "byte" }),
        FieldType::Int32 => json!({ "type": "integer", "format": "int32" }),
        FieldType::Int64 => json!({ "type": "integer", "format": "int64" }),
        FieldType::Float => json!({ "type": "number", "format": "double" }),
        FieldType::Bool => json!({ "type": "boolean" }),
        FieldType::List(inner) => json!({ "type": "array", "items": value_of(inner, schema, dialect) }),
        FieldType::Map(inner) => {
            json!({ "type": "object", "additionalProperties": value_of(inner, schema, dialect) })
        }
        other => match named(other, schema) {
            Some(name) => json!({ "$ref": dialect.reference(&name) }),
            None => json!({}),
        },
    }
}
