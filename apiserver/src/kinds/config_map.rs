//! ConfigMap, and what it has in common with Secret.

use super::path::{Path, child, entries, flag, has, invalid_each, map};
use super::{MetadataChecks, Rules};
use api::field::Errors;
use api::{Value, names};

pub struct ConfigMap;

/// All the values of a ConfigMap or a Secret together, in bytes.
pub const MAX_SIZE: usize = 1024 * 1024;

impl Rules for ConfigMap {
    fn validate(&self, object: &Value, errors: &mut Errors) {
        let mut size = 0;
        for (key, value) in entries(object, "data") {
            let path = Path::root("data");
            let path = path.key(key);
            invalid_each(errors, &path, key, names::config_map_key(key));
            if map(object, "binaryData").is_some_and(|binary| binary.contains_key(key)) {
                errors.invalid(path, key, "duplicate of key present in binaryData");
            }
            size += value.as_str().unwrap_or_default().len();
        }
        for (key, value) in entries(object, "binaryData") {
            invalid_each(errors, &Path::root("binaryData").key(key), key, names::config_map_key(key));
            size += decoded_len(value);
        }
        if size > MAX_SIZE {
            // Upstream's path is empty, and shown so.
            errors.too_long("[]", MAX_SIZE);
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        validate_immutable(object, old, &["data", "binaryData"], errors);
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}

/// How many bytes a base64 text stands for.
pub fn decoded_len(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    text.trim_end_matches('=').len() * 3 / 4
}

/// An object that was marked immutable keeps its values and the mark.
pub fn validate_immutable(object: &Value, old: &Value, keys: &[&str], errors: &mut Errors) {
    const WHY: &str = "field is immutable when `immutable` is set";
    if !flag(old, "immutable") {
        return;
    }
    if !flag(object, "immutable") {
        errors.forbidden("immutable", WHY);
    }
    for key in keys {
        let values = |object| {
            child(object, key).filter(|_| has(object, key)).and_then(Value::as_object).filter(|m| !m.is_empty())
        };
        if values(object) != values(old) {
            errors.forbidden(*key, WHY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said() {
        let big = "x".repeat(MAX_SIZE + 1);
        let cases = [
            (json!({"data": {"a.b-c_d": ""}}), ""),
            (
                json!({"data": {"a": "1"}, "binaryData": {"a": "MQ=="}}),
                "data[a]: Invalid value: \"a\": duplicate of key present in binaryData",
            ),
            (json!({"data": {"a": big}}), "[]: Too long: may not be more than 1048576 bytes"),
        ];
        for (object, expected) in cases {
            let mut errors = Errors::new();
            ConfigMap.validate(&object, &mut errors);
            assert_eq!(errors.0.first().map_or_else(String::new, ToString::to_string), expected);
        }
    }

    #[test]
    fn immutable_means_immutable() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let mut errors = Errors::new();
        ConfigMap.validate_update(&json!({"data": {"a": "2"}}), &old, &mut errors);
        let fields: Vec<_> = errors.0.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, ["immutable", "data"]);
    }
}
