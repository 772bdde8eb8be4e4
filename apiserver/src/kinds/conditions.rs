//! `metav1.Condition`: what a status says about an object, in the form that newer kinds share.

use super::labels::validate_key;
use super::path::{Path, int, invalid_each, one_of, text};
use api::field::Errors;
use api::{Value, names};
use std::collections::HashSet;

const MAX_REASON: usize = 1 << 10;
const MAX_MESSAGE: usize = 32 << 10;

/// Checks a list of `metav1.Condition` at `path`.
pub fn validate_conditions(conditions: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            errors.duplicate(path.at("type"), kind);
        }
        validate_condition(condition, &path, errors);
    }
}

fn validate_condition(condition: &Value, path: &Path, errors: &mut Errors) {
    validate_key(text(condition, "type"), &path.at("type"), errors);
    one_of(errors, &path.at("status"), text(condition, "status"), &["False", "True", "Unknown"]);
    if let Some(generation) = int(condition, "observedGeneration").filter(|generation| *generation < 0) {
        errors.invalid(path.at("observedGeneration"), generation, "must be greater than or equal to zero");
    }
    if text(condition, "lastTransitionTime").is_empty() {
        errors.required(path.at("lastTransitionTime"), "");
    }
    let reason = text(condition, "reason");
    if reason.is_empty() {
        errors.required(path.at("reason"), "");
    } else {
        invalid_each(errors, &path.at("reason"), reason, bad_reason(reason));
        if reason.len() > MAX_REASON {
            errors.too_long(path.at("reason"), MAX_REASON);
        }
    }
    if text(condition, "message").len() > MAX_MESSAGE {
        errors.too_long(path.at("message"), MAX_MESSAGE);
    }
}

fn bad_reason(reason: &str) -> Vec<String> {
    const RULE: &str = "a condition reason must start with alphabetic character, optionally followed by a string of \
        alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = reason.as_bytes();
    let good = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|b| inner(*b))
        && bytes.iter().all(|b| inner(*b) || matches!(b, b',' | b':'));
    if good {
        return Vec::new();
    }
    let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
    vec![names::regex_error(RULE, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said() {
        let good =
            json!({"type": "Ready", "status": "True", "reason": "Ok", "lastTransitionTime": "2024-01-01T00:00:00Z"});
        let mut errors = Errors::new();
        validate_conditions(std::slice::from_ref(&good), &Path::root("status.conditions"), &mut errors);
        assert!(errors.is_empty());
        validate_conditions(&[good.clone(), good], &Path::root("c"), &mut errors);
        validate_conditions(&[json!({"type": "A", "status": "Yes", "reason": "1"})], &Path::root("c"), &mut errors);
        let found: Vec<String> = errors.0.iter().map(|error| error.field.clone()).collect();
        assert_eq!(found, ["c[1].type", "c[0].status", "c[0].lastTransitionTime", "c[0].reason"]);
    }
}
