//! Numbers that may be given as a percentage: how many pods a rollout may take away or add.

use super::path::{Path, child, invalid_each, shown};
use api::field::Errors;
use api::{Value, names};

/// The number or the percentage at `key`; zero where it is neither.
pub fn amount(object: &Value, key: &str) -> i64 {
    match child(object, key) {
        Some(Value::String(text)) => percent(text).or_else(|| text.parse().ok()).unwrap_or_default(),
        Some(value) => value.as_i64().unwrap_or_default(),
        None => 0,
    }
}

fn percent(text: &str) -> Option<i64> {
    text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// Checks the number or percentage at `key`: not negative.
pub fn validate(object: &Value, key: &str, path: &Path, errors: &mut Errors) {
    let path = path.at(key);
    match child(object, key) {
        Some(Value::String(text)) => invalid_each(errors, &path, text, names::percent(text)),
        Some(value) if value.as_i64().is_some_and(|number| number < 0) => {
            errors.invalid(path, value.clone(), "must be greater than or equal to 0");
        }
        _ => {}
    }
}

/// A percentage at `key` must not be above a hundred.
pub fn validate_at_most_all(object: &Value, key: &str, path: &Path, errors: &mut Errors) {
    let value = child(object, key);
    if value.and_then(Value::as_str).and_then(percent).is_some_and(|percent| percent > 100) {
        errors.invalid(path.at(key), shown(value), "must not be greater than 100%");
    }
}
