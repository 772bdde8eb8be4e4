//! Structural schemas: every field has a type outside of `allOf`, `anyOf`, `oneOf` and `not`, so that objects can be pruned and
//! defaulted by the schema alone.
//!
//! See "Specifying a structural schema" in upstream's documentation of custom resources.

use crate::go_regexp::Pattern;
use crate::kinds::path::{Path, child, descend, entries, flag, list, opt_text, text};
use api::Value;
use api::field::Errors;

/// What no schema may have, in the order in which it is looked for.
const UNSUPPORTED: [&str; 7] =
    ["id", "$schema", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions"];
pub const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Why the schema cannot be read as a structural one at all; `None` when it can.
pub fn unreadable(schema: &Value) -> Option<String> {
    if let Some(key) = UNSUPPORTED.iter().find(|key| is_set(schema, key)) {
        let name = if *key == "$schema" { "schema" } else { key };
        return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    }
    let nested = child(schema, "not").into_iter().chain(JUNCTORS.iter().flat_map(|key| list(schema, key)));
    if let Some(why) = nested.into_iter().find_map(unreadable) {
        return Some(why);
    }
    if child(schema, "x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        return Some("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_owned());
    }
    if !list(schema, "items").is_empty() {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    let below = item(schema).into_iter().chain(entries(schema, "properties").map(|(_, property)| property));
    below.chain(additional(schema)).find_map(unreadable)
}

fn is_set(schema: &Value, key: &str) -> bool {
    match child(schema, key) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(fields)) => key == "additionalItems" || !fields.is_empty(),
        other => other.is_some(),
    }
}

/// The schema of a list's items.
pub fn item(schema: &Value) -> Option<&Value> {
    child(schema, "items").filter(|items| items.is_object())
}

/// The schema of a map's values.
pub fn additional(schema: &Value) -> Option<&Value> {
    child(schema, "additionalProperties").filter(|values| values.is_object())
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Checks that a readable schema is structural; errors in alphabetical order.
pub fn validate(schema: &Value, path: &Path, errors: &mut Errors) {
    let mut found = Errors::new();
    invariants(schema, Level::Root, path, &mut found);
    complete_value(schema, Some(schema), path, path, &mut found);
    found.0.sort_by_cached_key(ToString::to_string);
    errors.append(found);
}

fn invariants(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "type");
    if kind == "array" && item(schema).is_none() {
        errors.required(path.at("items"), "must be specified");
    }
    if let Some(item) = item(schema) {
        invariants(item, Level::Item, &path.at("items"), errors);
    }
    let properties = path.at("properties");
    for (name, property) in entries(schema, "properties") {
        invariants(property, Level::Field, &properties.key(name), errors);
    }
    if child(schema, "additionalProperties").is_some() && level == Level::Root {
        errors.forbidden(path.at("additionalProperties"), "must not be used at the root");
    }
    if let Some(values) = additional(schema) {
        invariants(values, Level::Field, &path.at("additionalProperties"), errors);
    }
    extensions(schema, path, errors);
    let first_of_all = list(schema, "allOf").first().is_some_and(is_int_or_string);
    value_validation(schema, is_int_or_string(schema), first_of_all, path, errors);
    kinds(schema, kind, level, path, errors);
    metadata(schema, level, path, errors);
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    if embedded && !flag(schema, "x-kubernetes-preserve-unknown-fields") && properties_of(schema) == 0 {
        const WHY: &str = "must not be empty if x-kubernetes-embedded-resource is true without \
            x-kubernetes-preserve-unknown-fields";
        errors.required(path.at("properties"), WHY);
    }
}

fn properties_of(schema: &Value) -> usize {
    entries(schema, "properties").count()
}

fn extensions(schema: &Value, path: &Path, errors: &mut Errors) {
    if !flag(schema, "x-kubernetes-int-or-string") {
        return;
    }
    for key in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if flag(schema, key) {
            errors.invalid(path.at(key), true, "must be false if x-kubernetes-int-or-string is true");
        }
    }
}

/// `anyOf` an integer or a string and nothing else, as a number or a percentage is described.
fn is_int_or_string(schema: &Value) -> bool {
    let only = |schema: &Value, kind: &str| {
        let set = schema.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).count();
        set == 1 && text(schema, "type") == kind
    };
    matches!(list(schema, "anyOf"), [first, second] if only(first, "integer") && only(second, "string"))
}

fn kinds(schema: &Value, kind: &str, level: Level, path: &Path, errors: &mut Errors) {
    let at = path.at("type");
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let open =
        ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"].iter().any(|key| flag(schema, key));
    if embedded && kind != "object" {
        const WHY: &str = "must be object if x-kubernetes-embedded-resource is true";
        match kind {
            "" => errors.required(at, WHY),
            other => errors.invalid(at, other, WHY),
        }
    } else if kind.is_empty() && !open {
        let whose = match level {
            Level::Root => "at the root",
            Level::Item => "for specified array items",
            Level::Field => "for specified object fields",
        };
        errors.required(at, format!("must not be empty {whose}"));
    }
    if embedded && child(schema, "additionalProperties").is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.forbidden(path.at("additionalProperties"), why);
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.invalid(at, kind, "must be object at the root");
    }
}

/// What the schema says about `kind`, `apiVersion` and `metadata`, which the server knows better.
fn metadata(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let path = path.at("properties");
    let checked = level == Level::Root || flag(schema, "x-kubernetes-embedded-resource");
    for key in ["kind", "apiVersion"] {
        let kind = descend(schema, &["properties", key]).map(|property| text(property, "type"));
        if let Some(kind) = kind.filter(|kind| checked && *kind != "string") {
            errors.invalid(path.key(key).at("type"), kind, "must be string");
        }
    }
    let Some(metadata) = descend(schema, &["properties", "metadata"]) else { return };
    let path = path.key("metadata");
    let kind = text(metadata, "type");
    if checked && kind != "object" {
        errors.invalid(path.at("type"), kind, "must be object");
    }
    let named = entries(metadata, "properties").all(|(key, _)| matches!(key, "name" | "generateName"));
    let set = metadata.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let others = set.filter(|(key, _)| !matches!(key.as_str(), "type" | "properties" | "default")).count();
    if level == Level::Root && !(named && others == 0) {
        const WHY: &str =
            "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.forbidden(path, WHY);
    }
}

/// What the schema says of values, in its junctors too. `skip` leaves `anyOf` alone, `skip_first` that of the first of `allOf`.
fn value_validation(schema: &Value, skip: bool, skip_first: bool, path: &Path, errors: &mut Errors) {
    if !skip {
        let path = path.at("anyOf");
        for (i, nested) in list(schema, "anyOf").iter().enumerate() {
            nested_validation(nested, false, &path.index(i), errors);
        }
    }
    let all = path.at("allOf");
    for (i, nested) in list(schema, "allOf").iter().enumerate() {
        nested_validation(nested, skip_first && i == 0, &all.index(i), errors);
    }
    let one = path.at("oneOf");
    for (i, nested) in list(schema, "oneOf").iter().enumerate() {
        nested_validation(nested, false, &one.index(i), errors);
    }
    if let Some(nested) = child(schema, "not") {
        nested_validation(nested, false, &path.at("not"), errors);
    }
    let pattern = text(schema, "pattern");
    if let Err(why) = Pattern::parse(pattern) {
        errors.invalid(path.at("pattern"), pattern, format!("must be a valid regular expression, but isn't: {why}"));
    }
}

/// A schema inside a junctor describes values only.
fn nested_validation(schema: &Value, skip: bool, path: &Path, errors: &mut Errors) {
    const EMPTY: [&str; 5] = ["type", "title", "description", "x-kubernetes-list-map-keys", "x-kubernetes-validations"];
    const UNDEFINED: [&str; 4] = ["additionalProperties", "default", "x-kubernetes-list-type", "x-kubernetes-map-type"];
    const FALSE: [&str; 4] = [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ];
    value_validation(schema, skip, false, path, errors);
    if let Some(item) = item(schema) {
        nested_validation(item, false, &path.at("items"), errors);
    }
    let properties = path.at("properties");
    for (name, property) in entries(schema, "properties") {
        nested_validation(property, false, &properties.key(name), errors);
    }
    for key in EMPTY.iter().filter(|key| !list(schema, key).is_empty() || !text(schema, key).is_empty()) {
        errors.forbidden(path.at(key), "must be empty to be structural");
    }
    for key in UNDEFINED.iter().filter(|key| child(schema, key).is_some_and(|value| *value != Value::Bool(false))) {
        errors.forbidden(path.at(key), "must be undefined to be structural");
    }
    for key in FALSE.iter().filter(|key| flag(schema, key)) {
        errors.forbidden(path.at(key), "must be false to be structural");
    }
    if descend(schema, &["properties", "metadata"]).is_some() {
        errors.forbidden(properties.key("metadata"), "must not be specified in a nested context");
    }
}

/// Whether all that `nested`'s junctors speak of is described by `schema` too.
fn complete_value(nested: &Value, schema: Option<&Value>, at: &Path, nested_at: &Path, errors: &mut Errors) {
    if let Some(not) = child(nested, "not") {
        complete(not, schema, at, &nested_at.at("not"), errors);
    }
    for key in JUNCTORS {
        let path = nested_at.at(key);
        for (i, nested) in list(nested, key).iter().enumerate() {
            complete(nested, schema, at, &path.index(i), errors);
        }
    }
}

fn complete(nested: &Value, schema: Option<&Value>, at: &Path, nested_at: &Path, errors: &mut Errors) {
    let Some(schema) = schema else {
        return errors.required(at, format!("because it is defined in {nested_at}"));
    };
    complete_value(nested, Some(schema), at, nested_at, errors);
    if let Some(nested_item) = item(nested) {
        complete(nested_item, item(schema), &at.at("items"), &nested_at.at("items"), errors);
    }
    let (at, nested_at) = (at.at("properties"), nested_at.at("properties"));
    for (name, property) in entries(nested, "properties") {
        let known = descend(schema, &["properties", name]);
        complete(property, known, &at.key(name), &nested_at.key(name), errors);
    }
}

/// Each schema below and including this one.
pub fn visit<'a>(schema: &'a Value, see: &mut impl FnMut(&'a Value)) {
    see(schema);
    if let Some(item) = item(schema) {
        visit(item, see);
    }
    list(schema, "items").iter().for_each(|item| visit(item, see));
    for key in JUNCTORS {
        list(schema, key).iter().for_each(|nested| visit(nested, see));
    }
    for key in ["not", "additionalProperties", "additionalItems"] {
        if let Some(nested) = child(schema, key).filter(|nested| nested.is_object()) {
            visit(nested, see);
        }
    }
    for key in ["properties", "patternProperties", "definitions", "dependencies"] {
        for (_, nested) in entries(schema, key).filter(|(_, nested)| nested.is_object()) {
            visit(nested, see);
        }
    }
}

/// What a path such as `.spec.size` names in the schema, or why it names nothing.
pub fn field_at<'a>(schema: &'a Value, path: &str, brackets: bool) -> Result<&'a Value, String> {
    const UNKNOWN: &str = "does not refer to a valid field";
    const END: &str = "unexpected end of JSON path";
    let mut tokens = tokens(path).into_iter();
    let mut at = schema;
    let mut step = |name: &str| -> Result<(), String> {
        at = match (child(at, "properties"), child(at, "additionalProperties")) {
            (Some(properties), _) => child(properties, name).ok_or(UNKNOWN)?,
            (None, Some(values)) => values,
            (None, None) => return Err(UNKNOWN.into()),
        };
        Ok(())
    };
    while let Some(token) = tokens.next() {
        match token {
            "." => step(tokens.next().ok_or(END)?)?,
            "[" if !brackets => return Err("array notation is not allowed".into()),
            "[" => {
                let name = tokens.next().ok_or(END)?;
                let inner = name.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
                let inner = inner.ok_or_else(|| format!("expected single quoted string but got {name}"))?;
                step(&inner.replace("\\'", "'"))?;
                match tokens.next() {
                    Some("]") => {}
                    other => return Err(other.map_or(END.into(), |other| format!("expected ] but got {other}"))),
                }
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok(at)
}

/// The parts of a path: delimiters, names, and names in single quotes.
fn tokens(path: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let bytes = rest.as_bytes();
                let close = (1..bytes.len()).find(|i| bytes[*i] == b'\'' && bytes[*i - 1] != b'\\');
                close.map_or(rest.len(), |close| close + 1)
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after;
    }
    tokens
}

/// `None` where the schema gives no type.
pub fn type_of(schema: &Value) -> Option<&str> {
    opt_text(schema, "type").filter(|kind| !kind.is_empty())
}
