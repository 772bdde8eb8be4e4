//! Walking a document during validation: where one stands, what is there, and the checks every kind uses.
//!
//! A path borrows its parent and becomes text only when an error is reported, so that valid documents cost nothing.
//! A JSON null counts as absent everywhere.

use super::equality::same;
use api::field::Errors;
use api::{Map, Value};
use std::fmt;

/// The place of a field in a document, such as `spec.containers[0].resources.limits[cpu]`.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// A path that starts at `name` (which may hold dots); empty for the document itself.
    pub const fn root(name: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Name(name) }
    }

    /// The field `name` (which may hold dots) below this place.
    pub fn at<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Name(name) }
    }

    /// An element of the list here.
    pub fn index(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// A value of the map here.
    pub fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    fn is_empty(&self) -> bool {
        self.parent.is_none() && matches!(self.step, Step::Name(""))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Name(name) if self.parent.is_none_or(Path::is_empty) => f.write_str(name),
            Step::Name(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

impl From<Path<'_>> for String {
    fn from(path: Path<'_>) -> String {
        path.to_string()
    }
}

impl From<&Path<'_>> for String {
    fn from(path: &Path<'_>) -> String {
        path.to_string()
    }
}

/// What stands at `key`; `None` when it is missing or null.
pub fn child<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    object.as_object()?.get(key).filter(|value| !value.is_null())
}

/// What stands at `keys`, one step after the other.
pub fn descend<'a>(object: &'a Value, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().try_fold(object, |at, key| child(at, key))
}

pub fn has(object: &Value, key: &str) -> bool {
    child(object, key).is_some()
}

/// The string at `key`, or `""`.
pub fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    opt_text(object, key).unwrap_or_default()
}

pub fn opt_text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    child(object, key)?.as_str()
}

pub fn int(object: &Value, key: &str) -> Option<i64> {
    child(object, key)?.as_i64()
}

pub fn flag(object: &Value, key: &str) -> bool {
    opt_flag(object, key).unwrap_or_default()
}

pub fn opt_flag(object: &Value, key: &str) -> Option<bool> {
    child(object, key)?.as_bool()
}

/// The list at `key`; empty when it is missing.
pub fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    child(object, key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The strings of the list at `key`.
pub fn texts<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    list(object, key).iter().filter_map(Value::as_str)
}

pub fn map<'a>(object: &'a Value, key: &str) -> Option<&'a Map> {
    child(object, key)?.as_object()
}

/// The entries of the map at `key`; none when it is missing.
pub fn entries<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    map(object, key).into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// The value for an error: a copy of what is there, or null.
pub fn shown(value: Option<&Value>) -> Value {
    value.cloned().unwrap_or_default()
}

/// Reports each of `messages` about `value`.
pub fn invalid_each(errors: &mut Errors, path: &Path, value: &str, messages: Vec<String>) {
    for message in messages {
        errors.invalid(path, value, message);
    }
}

/// A string that may be one of `supported` only.
pub fn one_of(errors: &mut Errors, path: &Path, value: &str, supported: &[&str]) {
    if !supported.contains(&value) {
        errors.not_supported(path, value, supported);
    }
}

/// A string that must be given, and be one of `supported`.
pub fn required_one_of(errors: &mut Errors, path: &Path, value: &str, supported: &[&str]) {
    if value.is_empty() {
        errors.required(path, "");
    } else {
        one_of(errors, path, value, supported);
    }
}

/// The string at `key` must not be empty.
pub fn required_text(errors: &mut Errors, object: &Value, path: &Path, key: &str) {
    if text(object, key).is_empty() {
        errors.required(path.at(key), "");
    }
}

/// The integer at `key`, where it is given, must not be negative.
pub fn non_negative(errors: &mut Errors, object: &Value, path: &Path, key: &str) {
    if let Some(value) = int(object, key).filter(|value| *value < 0) {
        errors.invalid(path.at(key), value, "must be greater than or equal to 0");
    }
}

/// A number in `low..=high`.
pub fn in_range(errors: &mut Errors, path: &Path, value: i64, low: i64, high: i64) {
    if !(low..=high).contains(&value) {
        errors.invalid(path, value, range_message(low, high));
    }
}

pub fn range_message(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// What stands at `key` must be what it was.
pub fn immutable(errors: &mut Errors, new: &Value, old: &Value, path: &Path, key: &str) {
    if !same(child(new, key), child(old, key)) {
        errors.invalid(path.at(key), shown(child(new, key)), "field is immutable");
    }
}

/// The values of a status: none negative.
pub fn non_negative_fields(errors: &mut Errors, object: &Value, path: &Path, keys: &[&str]) {
    for key in keys {
        non_negative(errors, object, path, key);
    }
}

/// The integer at `key` must not be greater than that at `limit`; a missing one counts as zero.
pub fn at_most(errors: &mut Errors, object: &Value, path: &Path, key: &str, limit: &str, detail: &str) {
    let value = int(object, key).unwrap_or_default();
    if value > int(object, limit).unwrap_or_default() {
        errors.invalid(path.at(key), value, detail);
    }
}

/// `status.collisionCount` only grows.
pub fn collision_count_grows(errors: &mut Errors, new: &Value, old: &Value) {
    let count = |object| descend(object, &["status", "collisionCount"]).and_then(Value::as_i64);
    if let Some(before) = count(old)
        && count(new).is_none_or(|now| now < before)
    {
        errors.invalid("status.collisionCount", count(new).unwrap_or_default(), "cannot be decremented");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_clients_know_them() {
        let spec = Path::root("spec");
        let containers = spec.at("containers");
        let first = containers.index(0);
        assert_eq!(first.at("resources.limits").key("cpu").to_string(), "spec.containers[0].resources.limits[cpu]");
        assert_eq!(Path::root("").at("spec").to_string(), "spec");
    }
}
