//! Default values in a schema: they have to fit it.

use super::structural::item;
use crate::kinds::path::{Path, child, descend, entries, flag, int, list, text, texts};
use api::Value;
use api::field::{Errors, quote, show_number};
use serde_json::Number;
use std::cmp::Ordering;

/// Checks that each default fits its own schema, and holds nothing that pruning would remove.
pub fn validate_defaults(schema: &Value, pruned: bool, path: &Path, errors: &mut Errors) {
    if let Some(default) = child(schema, "default") {
        let at = path.at("default");
        if pruned && has_unknown(default, schema) {
            errors.invalid(at, default.clone(), "must not have unknown fields");
        }
        fits(default, schema, &at, "", errors);
    }
    if let Some(item) = item(schema) {
        validate_defaults(item, pruned, &path.at("items"), errors);
    }
    // Upstream does not look into the values of maps.
    let properties = path.at("properties");
    for (name, property) in entries(schema, "properties") {
        validate_defaults(property, pruned, &properties.key(name), errors);
    }
}

/// Whether some default in the schema would lose fields by pruning.
pub fn has_unpruned_defaults(schema: &Value) -> bool {
    child(schema, "default").is_some_and(|default| has_unknown(default, schema))
        || item(schema).is_some_and(has_unpruned_defaults)
        || entries(schema, "properties").any(|(_, property)| has_unpruned_defaults(property))
}

fn has_unknown(value: &Value, schema: &Value) -> bool {
    let open = flag(schema, "x-kubernetes-preserve-unknown-fields");
    match value {
        Value::Array(values) => item(schema).is_some_and(|item| values.iter().any(|value| has_unknown(value, item))),
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let known = descend(schema, &["properties", key]);
            match known
                .or_else(|| child(schema, "additionalProperties").filter(|values| **values != Value::Bool(false)))
            {
                Some(schema) => has_unknown(value, schema),
                None => !open && !is_type_meta(key, schema),
            }
        }),
        _ => false,
    }
}

fn is_type_meta(key: &str, schema: &Value) -> bool {
    flag(schema, "x-kubernetes-embedded-resource") && matches!(key, "kind" | "apiVersion" | "metadata")
}

/// Checks a value against a schema, in the words of OpenAPI's own validation. `inside` is the way from the default to the value.
fn fits(value: &Value, schema: &Value, path: &Path, inside: &str, errors: &mut Errors) {
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    let kind = text(schema, "type");
    let is = type_name(value);
    let any = flag(schema, "x-kubernetes-int-or-string");
    let right = kind.is_empty() || kind == is || (kind == "number" && is == "integer");
    if !right && !any {
        return errors.type_invalid(path, is, format!("{inside} in body must be of type {kind}: {}", quote(is)));
    }
    match value {
        Value::String(value) => fits_text(value, schema, path, inside, errors),
        Value::Number(number) => fits_number(number, schema, (path, inside), errors),
        Value::Array(values) => {
            count(values.len(), schema, ("maxItems", "minItems", "items"), (path, inside), errors);
            for (i, value) in values.iter().enumerate() {
                let Some(item) = item(schema) else { break };
                let place = format!("[{i}]");
                // Upstream has a point before the first step, whatever it is.
                let path = if inside.is_empty() { path.at(&place) } else { path.index(i) };
                fits(value, item, &path, &format!("{inside}{place}"), errors);
            }
        }
        Value::Object(fields) => {
            let bounds = ("maxProperties", "minProperties", "properties");
            count(fields.len(), schema, bounds, (path, inside), errors);
            for name in texts(schema, "required").filter(|name| !fields.contains_key(*name)) {
                errors.required(path.at(name), "");
            }
            for (key, value) in fields {
                let known = descend(schema, &["properties", key]);
                let below = known.or_else(|| child(schema, "additionalProperties").filter(|values| values.is_object()));
                if let Some(below) = below {
                    let inside = if inside.is_empty() { key.clone() } else { format!("{inside}.{key}") };
                    fits(value, below, &path.at(key), &inside, errors);
                }
            }
        }
        _ => {}
    }
    one_of_enum(value, schema, path, errors);
}

fn one_of_enum(value: &Value, schema: &Value, path: &Path, errors: &mut Errors) {
    let allowed = list(schema, "enum");
    if allowed.is_empty() || allowed.contains(value) {
        return;
    }
    let names: Vec<String> =
        allowed.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    errors.not_supported(path, value.clone(), &names);
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn fits_text(value: &str, schema: &Value, path: &Path, inside: &str, errors: &mut Errors) {
    let length = value.chars().count();
    if let Some(max) = int(schema, "maxLength").filter(|max| length as i64 > *max) {
        errors.too_long(path, usize::try_from(max).unwrap_or_default());
    }
    if let Some(min) = int(schema, "minLength").filter(|min| (length as i64) < *min) {
        errors.invalid(path, value, format!("{inside} in body should be at least {min} chars long"));
    }
    let pattern = text(schema, "pattern");
    if !pattern.is_empty() && regex_lite::Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(value)) {
        errors.invalid(path, value, format!("{inside} in body should match '{pattern}'"));
    }
}

/// Where a value is: in the definition, and inside the default.
type Place<'a> = (&'a Path<'a>, &'a str);

fn fits_number(number: &Number, schema: &Value, (path, inside): Place, errors: &mut Errors) {
    let bound = |key: &str| child(schema, key).and_then(Value::as_f64);
    let value = Value::Number(number.clone());
    let mut wrong = |value: &Value, why: String| errors.invalid(path, value.clone(), why);
    if let Some(why) = out_of_range(number, schema, "Checked", inside) {
        wrong(&"".into(), why);
    }
    if let Some(step) = bound("multipleOf") {
        let (step, range) = as_bound(step, number, schema, "MultipleOf", inside);
        range.into_iter().for_each(|why| wrong(&"".into(), why));
        if step.as_f64().is_some_and(|step| step <= 0.0) {
            let why = format!("factor MultipleOf declared for {inside} must be positive: {}", show_number(&step));
            wrong(&Value::Number(step), why);
        } else if !is_multiple(number, &step) {
            wrong(&value, format!("{inside} in body should be a multiple of {}", show_number(&step)));
        }
    }
    let bounds = [
        ("maximum", "exclusiveMaximum", Ordering::Greater, "Maximum boundary", ["less than or equal to", "less than"]),
        (
            "minimum",
            "exclusiveMinimum",
            Ordering::Less,
            "Minimum boundary",
            ["greater than or equal to", "greater than"],
        ),
    ];
    for (key, exclusive, beyond, what, words) in bounds {
        let Some(limit) = bound(key) else { continue };
        let (limit, range) = as_bound(limit, number, schema, what, inside);
        range.into_iter().for_each(|why| wrong(&"".into(), why));
        let exclusive = flag(schema, exclusive);
        let order = compare(number, &limit);
        if order == Some(beyond) || (exclusive && order == Some(Ordering::Equal)) {
            let word = words[usize::from(exclusive)];
            wrong(&value, format!("{inside} in body should be {word} {}", show_number(&limit)));
        }
    }
}

/// A bound as it is compared with a number: whole where the number is, unless the schema's type cannot hold the bound, which is
/// said too.
fn as_bound(bound: f64, number: &Number, schema: &Value, what: &str, inside: &str) -> (Number, Option<String>) {
    let float = || Number::from_f64(bound).unwrap_or_else(|| 0.into());
    let written = if bound.fract() == 0.0 && bound.abs() < 2f64.powi(63) { (bound as i64).into() } else { float() };
    match out_of_range(&written, schema, what, inside) {
        None if number.is_i64() || number.is_u64() => ((bound as i64).into(), None),
        why => (float(), why),
    }
}

/// Why the schema's type cannot hold a number.
fn out_of_range(number: &Number, schema: &Value, what: &str, inside: &str) -> Option<String> {
    let (kind, format) = (text(schema, "type"), text(schema, "format"));
    let fits = match (kind, format) {
        ("integer", "int32") => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        ("integer", _) => number.as_i64().is_some(),
        _ => true,
    };
    let of = if format.is_empty() { "(default format)".to_owned() } else { format!("with format {format}") };
    (!fits).then(|| format!("{what} value must be of type {kind} {of} in {inside}"))
}

/// Whether a number is so many steps; of fractions, as near as can be told.
fn is_multiple(number: &Number, step: &Number) -> bool {
    const NEAR: f64 = 1e-9;
    if let (Some(number), Some(step)) = (number.as_i64(), step.as_i64()) {
        return number.checked_rem(step).unwrap_or_default() == 0;
    }
    let (number, step) = (number.as_f64().unwrap_or_default(), step.as_f64().unwrap_or_default());
    let steps = if step < 1.0 { 1.0 / step * number } else { number / step };
    let whole = steps.round();
    steps == whole || (steps - whole).abs() < NEAR * whole.abs()
}

fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn count(
    length: usize,
    schema: &Value,
    (most, least, what): (&str, &str, &str),
    (path, inside): Place,
    errors: &mut Errors,
) {
    if let Some(max) = int(schema, most).filter(|max| length as i64 > *max) {
        errors.too_many(path, length, usize::try_from(max).unwrap_or_default());
    }
    if let Some(min) = int(schema, least).filter(|min| (length as i64) < *min) {
        errors.invalid(path, length, format!("{inside} in body should have at least {min} {what}"));
    }
}
