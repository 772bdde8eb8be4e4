//! Whether a value fits a schema as CustomResourceDefinitions have it: OpenAPI v3 with what Kubernetes adds.
//!
//! Follows `kube-openapi/pkg/validation/validate`, of which clients see the errors and their order. (Upstream's order of an
//! object's fields is a different one each time; here it is that of the value.)

pub mod embedded;
pub mod formats;
mod name;
mod numbers;

use crate::go_regexp::Pattern;
use crate::kinds::path::{Path, child, descend, entries, flag, int, list, text, texts};
use api::Value;
use api::field::{BadValue, ErrorType, Errors, TEXT_MAX, quote, quote_json};
use name::Name;
use regex::bytes::Regex;
use std::collections::{HashMap, HashSet};

pub use formats::is_known as is_known_format;

/// How often a value is held against a schema, about: each value against each schema that applies to it, and what matching
/// texts costs in the same measure.
const STEPS_MAX: usize = 2_000_000;
/// What compiling an expression costs for each of its states.
const STEPS_A_STATE: usize = 8;
/// Bytes for which matching one with a single state costs a step, and copying values and looking at their length.
const BYTES_A_STEP: usize = 256;

/// What may be spent on checking the values of a request. One does not fit when its check takes more than is left.
pub struct Work {
    steps: usize,
}

impl Default for Work {
    fn default() -> Work {
        Work { steps: STEPS_MAX }
    }
}

/// Checks `value`, which stands at `path`, against a readable schema.
pub fn validate(schema: &Value, value: &Value, path: &Path, work: &mut Work, errors: &mut Errors) {
    let mut found = Found::default();
    let mut walk = Walk { patterns: HashMap::new(), work };
    walk.fits(value, schema, &Name::Whole, &mut found);
    if walk.work.steps == 0 {
        return errors.invalid(path, "", "checking it against its schema takes too long");
    }
    for finding in found.list {
        let at = finding.name.strip_prefix('.').unwrap_or(&finding.name);
        let at = if at.is_empty() { path.to_string() } else { path.at(at).to_string() };
        errors.add(finding.kind, at, finding.value, finding.detail);
    }
}

/// Something that does not fit.
struct Finding {
    kind: ErrorType,
    /// Empty where the whole value is to blame.
    name: String,
    value: Option<BadValue>,
    detail: String,
}

/// What was found about a value and a schema.
#[derive(Default)]
struct Found {
    list: Vec<Finding>,
    /// Sentences that were said: each is said once.
    said: HashSet<String>,
    /// How many of the schema's parts were looked at, by which upstream chooses the nearest of several schemas.
    matches: usize,
    /// Bytes of text. Of very much only the beginning is kept.
    told: usize,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn add(&mut self, finding: Finding) {
        if self.told > TEXT_MAX {
            return;
        }
        let sentence = finding.sentence();
        self.told += sentence.len() + finding.detail.len() + finding.value.as_ref().map_or(0, BadValue::len);
        if self.said.insert(sentence) {
            self.list.push(finding);
        }
    }

    fn error(&mut self, kind: ErrorType, name: &Name, value: impl Into<Value>, detail: String) {
        let value = Some(BadValue::Value(value.into()));
        self.add(Finding { kind, name: name.to_string(), value, detail });
    }

    fn invalid(&mut self, name: &Name, value: impl Into<Value>, detail: String) {
        self.error(ErrorType::Invalid, name, value, detail);
    }

    /// Something that upstream says of the whole value, wherever it is.
    fn whole(&mut self, detail: String) {
        self.error(ErrorType::Invalid, &Name::Whole, "", detail);
    }

    /// `is` is the value's own type.
    fn not_of_type(&mut self, name: &Name, wanted: &str, is: &str) {
        self.error(ErrorType::TypeInvalid, name, is, format!("{name} in body must be of type {wanted}: {}", quote(is)));
    }

    /// Takes over what was found about the same value.
    fn merge(&mut self, other: Found) {
        self.matches += other.matches;
        for finding in other.list {
            self.add(finding);
        }
    }

    /// Takes over errors about a value itself.
    fn take(&mut self, errors: Errors, name: &Name) {
        for error in errors.0 {
            self.add(Finding { kind: error.kind, name: name.to_string(), value: error.value, detail: error.detail });
        }
    }
}

impl Finding {
    /// What upstream compares findings by.
    fn sentence(&self) -> String {
        match self.kind {
            ErrorType::Invalid | ErrorType::TypeInvalid => self.detail.clone(),
            kind => format!("{} {} {}", self.name, kind.reason(), self.detail),
        }
    }
}

struct Walk<'s, 'w> {
    /// Expressions that were compiled, or why they cannot be.
    patterns: HashMap<&'s str, Result<(Regex, usize), String>>,
    work: &'w mut Work,
}

impl<'s> Walk<'s, '_> {
    fn spend(&mut self, steps: usize) -> bool {
        self.work.steps = self.work.steps.saturating_sub(steps);
        self.work.steps > 0
    }

    fn fits(&mut self, value: &Value, schema: &'s Value, name: &Name, found: &mut Found) {
        if !self.spend(1) {
            return;
        }
        if value.is_null() {
            type_of_null(schema, name, found);
            return self.one_of_enum(value, schema, name, found);
        }
        if !text(schema, "type").is_empty() || !text(schema, "format").is_empty() {
            right_type(value, schema, name, found);
            found.matches += 1;
        }
        self.junctors(value, schema, name, found);
        found.matches += 1;
        match value {
            Value::String(value) => {
                self.text(value, schema, name, found);
                found.matches += 1;
                if formats::is_known(text(schema, "format")) {
                    has_format(value, text(schema, "format"), name, found);
                    found.matches += 1;
                }
            }
            Value::Number(number) => {
                numbers::check(number, schema, name, found);
                found.matches += 2;
            }
            Value::Array(items) => {
                self.items(items, schema, name, found);
                found.matches += 2;
            }
            _ => {}
        }
        self.one_of_enum(value, schema, name, found);
        found.matches += 1;
        if let Value::Object(fields) = value {
            self.fields(fields, schema, name, found);
            found.matches += 1;
        }
        found.matches += 1;
    }

    /// What is found about a value and one of the schemas in a junctor.
    fn aside(&mut self, value: &Value, schema: &'s Value, name: &Name) -> Found {
        let mut found = Found::default();
        self.fits(value, schema, name, &mut found);
        found
    }

    fn junctors(&mut self, value: &Value, schema: &'s Value, name: &Name, found: &mut Found) {
        self.any_of(value, list(schema, "anyOf"), name, found);
        self.one_of(value, list(schema, "oneOf"), name, found);
        let all = list(schema, "allOf");
        let mut fitting = 0;
        for schema in all {
            let result = self.aside(value, schema, name);
            fitting += usize::from(result.is_empty());
            found.merge(result);
        }
        if fitting < all.len() {
            let none = if fitting == 0 { ". None validated" } else { "" };
            found.whole(format!("{} must validate all the schemas (allOf){none}", quote(&name.to_string())));
        }
        if let Some(schema) = child(schema, "not")
            && self.aside(value, schema, name).is_empty()
        {
            found.whole(format!("{} must not validate the schema (not)", quote(&name.to_string())));
        }
        found.matches += 1;
    }

    fn any_of(&mut self, value: &Value, schemas: &'s [Value], name: &Name, found: &mut Found) {
        let mut nearest: Option<Found> = None;
        for schema in schemas {
            let result = self.aside(value, schema, name);
            if result.is_empty() {
                return found.merge(result);
            }
            if nearest.as_ref().is_none_or(|nearest| result.matches > nearest.matches) {
                nearest = Some(result);
            }
        }
        if let Some(nearest) = nearest {
            found.whole(format!("{} must validate at least one schema (anyOf)", quote(&name.to_string())));
            found.merge(nearest);
        }
    }

    fn one_of(&mut self, value: &Value, schemas: &'s [Value], name: &Name, found: &mut Found) {
        let (mut fitting, mut first, mut nearest) = (0, None, None::<Found>);
        for schema in schemas {
            let result = self.aside(value, schema, name);
            if result.is_empty() {
                fitting += 1;
                nearest = None;
                first.get_or_insert(result);
            } else if fitting == 0 && nearest.as_ref().is_none_or(|nearest| result.matches > nearest.matches) {
                nearest = Some(result);
            }
        }
        if fitting == 1 || schemas.is_empty() {
            return first.into_iter().for_each(|result| found.merge(result));
        }
        let how_many = match fitting {
            0 => "Found none valid".to_owned(),
            more => format!("Found {more} valid alternatives"),
        };
        let name = quote(&name.to_string());
        found.whole(format!("{name} must validate one and only one schema (oneOf). {how_many}"));
        nearest.into_iter().for_each(|nearest| found.merge(nearest));
    }

    /// Length and form; only the first that is wrong is told.
    fn text(&mut self, value: &str, schema: &'s Value, name: &Name, found: &mut Found) {
        self.spend(value.len() / BYTES_A_STEP);
        let length = value.chars().count() as i64;
        if let Some(max) = int(schema, "maxLength").filter(|max| length > *max) {
            let mut errors = Errors::new();
            errors.too_long("", usize::try_from(max).unwrap_or_default());
            return found.take(errors, name);
        }
        if let Some(min) = int(schema, "minLength").filter(|min| length < *min) {
            return found.invalid(name, value, format!("{name} in body should be at least {min} chars long"));
        }
        let pattern = text(schema, "pattern");
        if pattern.is_empty() {
            return;
        }
        match self.matches(value, pattern) {
            Ok(true) => {}
            Ok(false) => found.invalid(name, value, format!("{name} in body should match '{pattern}'")),
            Err(why) => {
                let why = format!("{name} in body should match '{pattern}, but pattern is invalid: {why}'");
                found.invalid(name, value, why);
            }
        }
    }

    fn matches(&mut self, value: &str, pattern: &'s str) -> Result<bool, String> {
        if !self.patterns.contains_key(pattern) {
            let parsed = Pattern::parse(pattern);
            let weight = parsed.as_ref().map_or(0, Pattern::weight);
            // Without any steps left the answer does not matter.
            if !self.spend(weight.saturating_mul(STEPS_A_STATE)) {
                return Ok(false);
            }
            let compiled = parsed.and_then(|pattern| Ok((pattern.compile()?, pattern.weight())));
            self.patterns.insert(pattern, compiled);
        }
        let Some(compiled) = self.patterns.get(pattern) else { return Ok(false) };
        let (regex, weight) = compiled.as_ref().map_err(String::clone)?;
        self.work.steps = self.work.steps.saturating_sub(value.len().saturating_mul(*weight) / BYTES_A_STEP);
        Ok(self.work.steps > 0 && regex.is_match(value.as_bytes()))
    }

    fn items(&mut self, items: &[Value], schema: &'s Value, name: &Name, found: &mut Found) {
        if let Some(schema) = child(schema, "items").filter(|schema| schema.is_object()) {
            for (i, item) in items.iter().enumerate() {
                self.fits(item, schema, &Name::Index(name, i), found);
            }
        }
        too_few(items.len(), schema, ("minItems", "items"), name, found);
        too_many(items.len(), schema, "maxItems", name, found);
        if flag(schema, "uniqueItems") {
            let mut seen = HashSet::new();
            self.spend(items.iter().map(api::document::size).sum::<usize>() / BYTES_A_STEP);
            if !items.iter().all(|item| seen.insert(item.to_string())) {
                found.invalid(name, "", format!("{name} in body shouldn't contain duplicates"));
            }
        }
    }

    fn fields(&mut self, fields: &api::Map, schema: &'s Value, name: &Name, found: &mut Found) {
        self.spend(fields.len() + list(schema, "required").len());
        too_few(fields.len(), schema, ("minProperties", "properties"), name, found);
        too_many(fields.len(), schema, "maxProperties", name, found);
        let known = |key: &str| descend(schema, &["properties", key]);
        let others = child(schema, "additionalProperties");
        for (key, value) in fields.iter().filter(|(key, _)| known(key).is_none()) {
            match others {
                Some(Value::Bool(false)) => {
                    found.invalid(name, key.as_str(), format!("{name}.{key} in body is a forbidden property"));
                }
                Some(others) if others.is_object() => self.fits(value, others, &Name::Key(name, key), found),
                _ => {}
            }
        }
        if entries(schema, "properties").next().is_some() {
            for (key, value) in fields {
                if let Some(schema) = known(key) {
                    self.fits(value, schema, &Name::Field(name, key), found);
                }
            }
        }
        for missing in texts(schema, "required").filter(|key| !fields.contains_key(*key)) {
            let mut errors = Errors::new();
            errors.required("", "");
            found.take(errors, &Name::Key(name, missing));
        }
    }

    fn one_of_enum(&mut self, value: &Value, schema: &Value, name: &Name, found: &mut Found) {
        let allowed = list(schema, "enum");
        self.spend(allowed.len());
        if allowed.is_empty() || allowed.iter().any(|allowed| is_same(value, allowed)) {
            return;
        }
        if !self.spend(api::document::size(value) / BYTES_A_STEP) {
            return;
        }
        let shown = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => json(other),
        };
        let names: Vec<String> = allowed.iter().map(shown).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut errors = Errors::new();
        errors.not_supported("", value.clone(), &names);
        found.take(errors, name);
    }
}

fn too_few(length: usize, schema: &Value, (key, what): (&str, &str), name: &Name, found: &mut Found) {
    if let Some(min) = int(schema, key).filter(|min| (length as i64) < *min) {
        found.invalid(name, length, format!("{name} in body should have at least {min} {what}"));
    }
}

fn too_many(length: usize, schema: &Value, key: &str, name: &Name, found: &mut Found) {
    if let Some(max) = int(schema, key).filter(|max| length as i64 > *max) {
        let mut errors = Errors::new();
        errors.too_many("", length, usize::try_from(max).unwrap_or_default());
        found.take(errors, name);
    }
}

fn type_of_null(schema: &Value, name: &Name, found: &mut Found) {
    let wanted = text(schema, "type");
    if !wanted.is_empty() && wanted != "null" && !flag(schema, "nullable") {
        found.not_of_type(name, wanted, "null");
    } else {
        found.matches += 1;
    }
}

/// The type of a value, and the format that numbers have by themselves.
fn type_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Number(number) if numbers::is_whole(number) => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

fn right_type(value: &Value, schema: &Value, name: &Name, found: &mut Found) {
    let (wanted, format) = (text(schema, "type"), text(schema, "format"));
    let (is, has) = type_of(value);
    let float = value.as_f64().filter(|_| is == "number");
    let right = wanted == is
        || (wanted == "number" && is == "integer")
        || (wanted == "integer" && float.is_some_and(numbers::is_integer));
    let written = matches!(value, Value::String(_) | Value::Array(_));
    if !format.is_empty() && !written && !right && format != has {
        return found.not_of_type(name, format, has);
    }
    // A format says enough of what is written in a string, whatever the type.
    let numeric = matches!(wanted, "number" | "integer");
    if !right && (numeric || format.is_empty() || !written) {
        return found.not_of_type(name, wanted, is);
    }
    found.matches += 1;
}

fn has_format(value: &str, format: &str, name: &Name, found: &mut Found) {
    if !formats::has(value, format) {
        let detail = format!("{name} in body must be of type {format}: {}", quote(value));
        found.error(ErrorType::TypeInvalid, name, value, detail);
    }
}

/// Whether a value is the same as one that is allowed, when it is converted to its type. (A number may so be a character.)
fn is_same(value: &Value, allowed: &Value) -> bool {
    match (value, allowed) {
        (Value::Null, _) => false,
        (Value::Number(number), Value::Number(allowed)) => match allowed.as_i64() {
            Some(allowed) => number.as_i64().or(number.as_f64().map(|float| float as i64)) == Some(allowed),
            None => number.as_f64() == allowed.as_f64(),
        },
        (Value::Number(number), Value::String(allowed)) => {
            let character = number.as_i64().map(|code| u32::try_from(code).ok().and_then(char::from_u32));
            character.is_some_and(|character| allowed.chars().eq([character.unwrap_or('\u{fffd}')]))
        }
        _ => value == allowed,
    }
}

/// JSON as Go writes it.
fn json(value: &Value) -> String {
    match value {
        Value::String(text) => quote_json(text),
        Value::Array(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}:{}", quote_json(key), json(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
