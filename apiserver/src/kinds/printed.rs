//! Structures in messages, as Kubernetes prints them: by its own names for their fields, in its order, none left out.

use api::Value;
use api::field::{BadValue, ErrorType, Errors};

/// `{"Key":"a","Value":"b"}`
pub fn printed(fields: &[(&str, Value)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// Something that is there twice.
pub fn duplicate(errors: &mut Errors, path: impl Into<String>, fields: &[(&str, Value)], detail: &str) {
    errors.add(ErrorType::Duplicate, path, Some(BadValue::Printed(printed(fields))), detail);
}
