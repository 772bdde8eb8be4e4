//! The OpenAPI schema of a version: what Kubernetes takes of it, and what its extensions need.

use super::defaults;
use super::expressions;
use super::structural::{self, JUNCTORS, additional, field_at, item};
use crate::json_schema;
use crate::kinds::internal;
use crate::kinds::path::{Path, child, entries, flag, list, opt_text, shown, text, texts};
use api::Value;
use api::field::Errors;
use serde_json::json;
use std::collections::HashSet;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Vocabulary that is refused as a whole, in upstream's order.
const UNSUPPORTED: [&str; 6] = ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

/// What an older definition had wrong, which may stay wrong.
#[derive(Clone, Copy, Default)]
pub struct Leniency {
    pub not_structural: bool,
    pub unpruned_defaults: bool,
    pub wrong_types: bool,
    pub sets_of_objects: bool,
    pub list_keys: bool,
}

impl Leniency {
    /// Adds what this schema has wrong.
    pub fn of(schema: &Value) -> Leniency {
        const NOWHERE: Path = Path::root("");
        let mut found = Leniency::default();
        structural::visit(schema, &mut |schema| {
            let mut errors = Errors::new();
            set_items(schema, &NOWHERE, &mut errors);
            found.sets_of_objects |= !errors.is_empty();
            errors.0.clear();
            list_map_keys(schema, &NOWHERE, &mut errors);
            found.list_keys |= !errors.is_empty();
            found.wrong_types |= structural::type_of(schema).is_some_and(|kind| !TYPES.contains(&kind));
        });
        let mut errors = Errors::new();
        structural::validate(schema, &NOWHERE, &mut errors);
        found.not_structural = structural::unreadable(schema).is_some() || !errors.is_empty();
        found.unpruned_defaults = !found.not_structural && defaults::has_unpruned_defaults(schema);
        found
    }

    pub fn or(self, other: Leniency) -> Leniency {
        Leniency {
            not_structural: self.not_structural || other.not_structural,
            unpruned_defaults: self.unpruned_defaults || other.unpruned_defaults,
            wrong_types: self.wrong_types || other.wrong_types,
            sets_of_objects: self.sets_of_objects || other.sets_of_objects,
            list_keys: self.list_keys || other.list_keys,
        }
    }
}

/// Checks `openAPIV3Schema`, which stands at `path`.
pub fn validate(schema: &Value, has_status: bool, lenient: Leniency, path: &Path, errors: &mut Errors) {
    let before = errors.0.len();
    if has_status && text(schema, "type") != "object" && structural::type_of(schema).is_some() {
        const WHY: &str =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.invalid(path.at("type"), text(schema, "type"), WHY);
    } else if has_status {
        only_allowed_at_the_root(schema, path, errors);
    }
    if flag(schema, "nullable") {
        errors.forbidden(path.at("nullable"), "nullable cannot be true at the root");
    }
    let unreadable = structural::unreadable(schema);
    if unreadable.is_none() {
        let known = errors.0.len();
        structural::validate(schema, path, errors);
        if errors.0.len() == known {
            defaults::validate_defaults(schema, !lenient.unpruned_defaults, path, errors);
        }
    }
    Walk { lenient, root: true, inside_metadata: false, no_defaults: None }.schema(schema, path, errors);
    if errors.0.len() == before {
        match unreadable {
            Some(why) => errors.invalid(path, "", why),
            None => expressions::validate(schema, path, errors),
        }
    }
}

/// What may stand at the root beside a status that is written by itself, in Go's names and in those of the API.
const AT_THE_ROOT: [(&str, &str); 22] = [
    ("Description", "description"),
    ("Type", "type"),
    ("Format", "format"),
    ("Title", "title"),
    ("Maximum", "maximum"),
    ("ExclusiveMaximum", "exclusiveMaximum"),
    ("Minimum", "minimum"),
    ("ExclusiveMinimum", "exclusiveMinimum"),
    ("MaxLength", "maxLength"),
    ("MinLength", "minLength"),
    ("Pattern", "pattern"),
    ("MaxItems", "maxItems"),
    ("MinItems", "minItems"),
    ("UniqueItems", "uniqueItems"),
    ("MultipleOf", "multipleOf"),
    ("Required", "required"),
    ("Items", "items"),
    ("Properties", "properties"),
    ("ExternalDocs", "externalDocs"),
    ("Example", "example"),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"),
    ("XValidations", "x-kubernetes-validations"),
];
/// Schemas in a schema that a message shows.
const SHOWN_MAX: usize = 500;

fn only_allowed_at_the_root(schema: &Value, path: &Path, errors: &mut Errors) {
    let is_zero = |value: &Value| match value {
        Value::Bool(set) => !set,
        Value::String(text) => text.is_empty(),
        other => other.is_null(),
    };
    let mut set = schema.as_object().into_iter().flatten().filter(|(_, value)| !is_zero(value));
    if set.all(|(key, _)| AT_THE_ROOT.iter().any(|(_, allowed)| allowed == key)) {
        return;
    }
    let names: Vec<&str> = AT_THE_ROOT.iter().map(|(name, _)| *name).collect();
    let names = names.join(" ");
    let why =
        format!("only [{names}] fields are allowed at the root of the schema if the status subresource is enabled");
    let shown = match can_be_shown([schema]) {
        true => internal::compact("JSONSchemaProps", &in_memory(schema)),
        false => "{}".to_owned(),
    };
    errors.invalid_printed(path, shown, why);
}

/// Whether there are few enough schemas in these for a message.
pub fn can_be_shown<'a>(schemas: impl IntoIterator<Item = &'a Value>) -> bool {
    let mut count = 0;
    schemas.into_iter().for_each(|schema| structural::visit(schema, &mut |_| count += 1));
    count <= SHOWN_MAX
}

/// A schema in the shape that upstream has in memory.
pub fn in_memory(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let each = |values: &Value| match values {
        Value::Array(items) => items.iter().map(in_memory).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), in_memory(value))).collect(),
        other => other.clone(),
    };
    let fields = fields.iter().map(|(key, value)| {
        let value = match (key.as_str(), value) {
            (_, Value::Null) => Value::Null,
            ("items", Value::Array(_)) => json!({"jsonSchemas": each(value)}),
            ("items", _) => json!({"schema": in_memory(value)}),
            ("additionalProperties" | "additionalItems", Value::Bool(allows)) => json!({"allows": allows}),
            ("additionalProperties" | "additionalItems", _) => json!({"allows": true, "schema": in_memory(value)}),
            ("allOf" | "anyOf" | "oneOf" | "properties" | "patternProperties" | "definitions", _) => each(value),
            ("not", _) => in_memory(value),
            ("dependencies", Value::Object(map)) => {
                let held = |value: &Value| match value {
                    Value::Array(_) => json!({"property": value}),
                    _ => json!({"schema": in_memory(value)}),
                };
                map.iter().map(|(key, value)| (key.clone(), held(value))).collect()
            }
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    fields.collect()
}

/// Where in a schema one is.
#[derive(Clone, Copy)]
struct Walk<'a> {
    lenient: Leniency,
    root: bool,
    inside_metadata: bool,
    /// Why there may be no defaults here.
    no_defaults: Option<&'a str>,
}

impl Walk<'_> {
    fn schema(self, schema: &Value, path: &Path, errors: &mut Errors) {
        self.vocabulary(schema, path, errors);
        let below = Walk { root: false, ..self };
        self.maps(schema, path, errors);
        if let Some(nested) = child(schema, "not") {
            below.schema(nested, &path.at("not"), errors);
        }
        for key in [JUNCTORS[0], JUNCTORS[2], JUNCTORS[1]] {
            let path = path.at(key);
            for (i, nested) in list(schema, key).iter().enumerate() {
                below.schema(nested, &path.index(i), errors);
            }
        }
        let definitions = path.at("definitions");
        for (name, nested) in entries(schema, "definitions") {
            below.schema(nested, &definitions.key(name), errors);
        }
        let items = path.at("items");
        if let Some(nested) = item(schema) {
            below.schema(nested, &items, errors);
        }
        for (i, nested) in list(schema, "items").iter().enumerate() {
            below.schema(nested, &items.index(i), errors);
        }
        let dependencies = path.at("dependencies");
        for (name, nested) in entries(schema, "dependencies").filter(|(_, nested)| nested.is_object()) {
            below.schema(nested, &dependencies.key(name), errors);
        }
        extensions(schema, path, errors);
        if !self.lenient.sets_of_objects && text(schema, "type") == "array" {
            set_items(schema, path, errors);
        }
        list_type(schema, path, errors);
        if !self.lenient.list_keys {
            list_map_keys(schema, path, errors);
        }
        rules(schema, path, errors);
    }

    fn vocabulary(self, schema: &Value, path: &Path, errors: &mut Errors) {
        let kind = text(schema, "type");
        if !self.lenient.wrong_types && !kind.is_empty() && !TYPES.contains(&kind) {
            errors.not_supported(path.at("type"), kind, &TYPES);
        }
        if let Some(why) = self.no_defaults.filter(|_| child(schema, "default").is_some()) {
            errors.forbidden(path.at("default"), format!("must not be set {why}"));
        }
        for key in UNSUPPORTED.iter().filter(|key| is_used(schema, key)) {
            errors.forbidden(path.at(key), format!("{key} is not supported"));
        }
        if kind == "null" {
            errors.forbidden(path.at("type"), "type cannot be set to null, use nullable as an alternative");
        }
        if !list(schema, "items").is_empty() {
            errors.forbidden(path.at("items"), "items must be a schema object and not an array");
        }
        if self.inside_metadata && flag(schema, "x-kubernetes-embedded-resource") {
            errors.forbidden(path.at("x-kubernetes-embedded-resource"), "must not be used inside of resource meta");
        }
        if flag(schema, "uniqueItems") {
            const WHY: &str = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            errors.forbidden(path.at("uniqueItems"), WHY);
        }
    }

    fn maps(self, schema: &Value, path: &Path, errors: &mut Errors) {
        let below = Walk { root: false, ..self };
        let at = path.at("additionalProperties");
        let has_properties = entries(schema, "properties").next().is_some();
        if child(schema, "additionalProperties").is_some_and(|values| *values != Value::Bool(true)) && has_properties {
            errors.forbidden(at, "additionalProperties and properties are mutual exclusive");
        }
        if let Some(values) = additional(schema) {
            const WHY: &str = "inside additionalProperties applying to object metadata";
            let no_defaults = if self.inside_metadata { Some(WHY) } else { self.no_defaults };
            Walk { no_defaults, ..below }.schema(values, &at, errors);
        }
        let embedded = self.root || flag(schema, "x-kubernetes-embedded-resource");
        let properties = path.at("properties");
        for (name, property) in entries(schema, "properties") {
            let mut below = below;
            let top_level = format!("in top-level {name}");
            if embedded && matches!(name, "metadata" | "kind" | "apiVersion") {
                below.inside_metadata = true;
                if self.root {
                    below.no_defaults = Some(&top_level);
                }
            }
            below.schema(property, &properties.key(name), errors);
        }
    }
}

fn is_used(schema: &Value, key: &str) -> bool {
    match child(schema, key) {
        Some(Value::String(text)) => !text.is_empty() || key == "$ref",
        Some(Value::Object(fields)) => !fields.is_empty() || matches!(key, "additionalItems" | "dependencies"),
        other => other.is_some(),
    }
}

fn extensions(schema: &Value, path: &Path, errors: &mut Errors) {
    if child(schema, "x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        errors.invalid(path.at("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined");
    }
    let Some(map_type) = opt_text(schema, "x-kubernetes-map-type") else { return };
    must_be(schema, "object", "x-kubernetes-map-type", path, errors);
    if !matches!(map_type, "atomic" | "granular") {
        errors.not_supported(path.at("x-kubernetes-map-type"), map_type, &["atomic", "granular"]);
    }
}

fn must_be(schema: &Value, kind: &str, extension: &str, path: &Path, errors: &mut Errors) {
    let why = || format!("must be {kind} if {extension} is specified");
    match text(schema, "type") {
        "" => errors.required(path.at("type"), why()),
        other if other != kind => errors.invalid(path.at("type"), other, why()),
        _ => {}
    }
}

/// The items of a set are compared as wholes.
fn set_items(schema: &Value, path: &Path, errors: &mut Errors) {
    const WHY: &str = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let Some(item) = item(schema).filter(|_| text(schema, "x-kubernetes-list-type") == "set") else { return };
    let list_type = opt_text(item, "x-kubernetes-list-type");
    let path = path.at("items");
    match text(item, "type") {
        "array" if list_type.is_some_and(|kind| kind != "atomic") => {
            errors.invalid(path.at("x-kubernetes-list-type"), shown(child(item, "x-kubernetes-list-type")), WHY);
        }
        "object" if text(item, "x-kubernetes-map-type") != "atomic" => {
            // It is the list type that upstream shows.
            errors.invalid(path.at("x-kubernetes-map-type"), shown(child(item, "x-kubernetes-list-type")), WHY);
        }
        _ => {}
    }
}

fn list_type(schema: &Value, path: &Path, errors: &mut Errors) {
    let at = path.at("x-kubernetes-list-type");
    let keys = list(schema, "x-kubernetes-list-map-keys");
    let kind = opt_text(schema, "x-kubernetes-list-type");
    if let Some(kind) = kind {
        must_be(schema, "array", "x-kubernetes-list-type", path, errors);
        if !matches!(kind, "atomic" | "set" | "map") {
            errors.not_supported(at, kind, &["atomic", "set", "map"]);
        }
    }
    if !keys.is_empty() {
        const WHY: &str = "must be map if x-kubernetes-list-map-keys is non-empty";
        match kind {
            None => errors.required(at, WHY),
            Some("map") => {}
            Some(other) => errors.invalid(at, other, WHY),
        }
    }
    if kind == Some("map") {
        list_map(schema, keys, path, errors);
    }
}

fn list_map(schema: &Value, keys: &[Value], path: &Path, errors: &mut Errors) {
    let keys_path = path.at("x-kubernetes-list-map-keys");
    if keys.is_empty() {
        errors.required(keys_path, "must not be empty if x-kubernetes-list-type is map");
    }
    let items = path.at("items");
    let Some(item) = item(schema) else {
        if child(schema, "items").is_none() {
            errors.required(items, "must have a schema if x-kubernetes-list-type is map");
        }
        return;
    };
    let kind = text(item, "type");
    if kind != "object" {
        return errors.invalid(
            items.at("type"),
            kind,
            "must be object if parent array's x-kubernetes-list-type is map",
        );
    }
    let mut seen = HashSet::new();
    for key in keys {
        let name = key.as_str().unwrap_or_default();
        match child(item, "properties").and_then(|properties| child(properties, name)) {
            None => errors.invalid(keys_path, json!(keys), "entries must all be names of item properties"),
            Some(property) if matches!(text(property, "type"), "array" | "object") => {
                const WHY: &str = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.invalid(items.at("properties").key(name).at("type"), kind, WHY);
            }
            Some(_) => {}
        }
        if !seen.insert(name) {
            errors.invalid(keys_path, json!(keys), "must not contain duplicate entries");
        }
    }
}

/// Items of sets and maps are there, and the keys of maps have values.
fn list_map_keys(schema: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "x-kubernetes-list-type");
    let Some(item) = item(schema).filter(|_| matches!(kind, "set" | "map")) else { return };
    let path = path.at("items");
    if flag(item, "nullable") {
        errors.forbidden(path.at("nullable"), format!("cannot be nullable when x-kubernetes-list-type is {kind}"));
    }
    if kind != "map" {
        return;
    }
    let properties = path.at("properties");
    for key in texts(schema, "x-kubernetes-list-map-keys") {
        let property = child(item, "properties").and_then(|properties| child(properties, key));
        let Some(property) = property else { continue };
        let path = properties.key(key);
        if !texts(item, "required").any(|required| required == key) && child(property, "default").is_none() {
            const WHY: &str = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a \
                required property";
            errors.required(path.at("default"), WHY);
        }
        if flag(property, "nullable") {
            const WHY: &str = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.forbidden(path.at("nullable"), WHY);
        }
    }
}

/// Checks the form of `x-kubernetes-validations`.
fn rules(schema: &Value, path: &Path, errors: &mut Errors) {
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    let lines = |text: &str| text.contains(['\n', '\r']);
    let path = path.at("x-kubernetes-validations");
    for (i, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        let path = path.index(i);
        let (expression, message) = (text(rule, "rule").trim(), text(rule, "message"));
        if expression.is_empty() {
            errors.required(path.at("rule"), "rule is not specified");
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.invalid(path.at("message"), message, "must be non-empty if specified");
        } else if lines(message.trim()) {
            errors.invalid(path.at("message"), message, "must not contain line breaks");
        } else if lines(expression) && message.is_empty() {
            errors.required(path.at("message"), "message must be specified if rule contains line breaks");
        }
        let message = text(rule, "messageExpression");
        if !message.is_empty() && message.trim().is_empty() {
            errors.required(path.at("messageExpression"), "messageExpression must be non-empty if specified");
        }
        if let Some(reason) = opt_text(rule, "reason").filter(|reason| !REASONS.contains(reason)) {
            errors.not_supported(path.at("reason"), reason, &REASONS);
        }
        let field = text(rule, "fieldPath");
        if field.is_empty() {
            continue;
        }
        let at = path.at("fieldPath");
        if field.trim().is_empty() {
            errors.invalid(at, field, "must be non-empty if specified");
        }
        if lines(field) {
            errors.invalid(at, field, "must not contain line breaks");
        }
        if field_at(schema, field, true).is_err() {
            errors.invalid(at, field, "must be a valid path");
        }
    }
}

/// The formats in a schema that v1.36 does not know, for warnings.
pub fn unknown_formats(schema: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    structural::visit(schema, &mut |schema| {
        let format = text(schema, "format");
        let known = match text(schema, "type") {
            "" | "string" => json_schema::is_known_format(format),
            "integer" => matches!(format, "int32" | "int64"),
            "number" => matches!(format, "float" | "double"),
            _ => false,
        };
        if !format.is_empty() && !known {
            unknown.push(format.to_owned());
        }
    });
    unknown
}
