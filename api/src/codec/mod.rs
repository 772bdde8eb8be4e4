//! Decoding request bodies into trees by a schema.
//!
//! JSON, YAML and finished trees go through one visitor: unknown fields are dropped and reported, duplicates reported,
//! types checked, special scalars (quantities, times) rewritten canonically, nulls and omitted zeros removed.

pub mod json;
mod keys;
pub mod protobuf;
mod skip;
mod visit;
pub mod yaml;

use crate::field::quote;
use crate::schema::TypeRef;
use crate::status::ApiError;
use serde_json::Value;
use std::fmt;

/// Deepest nesting of a body or of a patched object.
pub const MAX_DEPTH: usize = 128;
/// Problems are reported up to this number, as upstream does.
const MAX_PROBLEMS: usize = 100;

/// A decoded object, and what strict field validation has to say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    pub value: Value,
    pub problems: Vec<Problem>,
}

/// A finding of field validation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    pub duplicate: bool,
    /// `spec.containers[0].foo`
    pub path: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} field {}", if self.duplicate { "duplicate" } else { "unknown" }, quote(&self.path))
    }
}

/// `strict decoding error: unknown field "spec.foo", duplicate field "spec.bar"`, for `fieldValidation=Strict`.
pub fn strict_error(problems: &[Problem]) -> String {
    let list: Vec<String> = problems.iter().map(Problem::to_string).collect();
    format!("strict decoding error: {}", list.join(", "))
}

/// Why a body cannot be decoded at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// Not JSON or YAML; the parser's words.
    Syntax(String),
    /// Not protobuf in Kubernetes' envelope, in Go's words.
    Envelope(String),
    /// A value of the wrong type, in Go's words.
    Type(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Syntax(why) => write!(f, "couldn't get version/kind; json parse error: {why}"),
            DecodeError::Envelope(why) | DecodeError::Type(why) => f.write_str(why),
        }
    }
}
impl std::error::Error for DecodeError {}

impl DecodeError {
    /// The 400 that a create or update with this body answers; `kind` and `version` are what the URL serves.
    pub fn to_status(&self, kind: &str, version: &str, body: &[u8]) -> ApiError {
        match self {
            DecodeError::Type(why) => {
                let version = quote(version);
                ApiError::bad_request(format!("{kind} in version {version} cannot be handled as a {kind}: {why}"))
            }
            DecodeError::Syntax(_) | DecodeError::Envelope(_) => {
                let summary = summarize(body);
                let what = "the object provided is unrecognized (must be of type";
                ApiError::bad_request(format!("{what} {kind}): {self} ({summary})"))
            }
        }
    }
}

/// The first bytes of a body: `empty`, or hex.
fn summarize(body: &[u8]) -> String {
    if body.is_empty() {
        return "empty".to_owned();
    }
    let hex: String = body.iter().take(30).map(|b| format!("{b:02x}")).collect();
    if body.len() > 30 { hex + " ..." } else { hex }
}

/// Runs a tree through the schema: after a patch, or for a default that came from elsewhere.
pub fn check(value: Value, ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    visit::decode(value, ty).map_err(|e: serde_json::Error| DecodeError::Syntax(e.to_string()))?
}

/// How deeply objects and lists nest; 0 for a scalar. Stops counting past `limit`.
pub fn depth(value: &Value, limit: usize) -> usize {
    let below = |values: &mut dyn Iterator<Item = &Value>| {
        if limit == 0 { 1 } else { 1 + values.map(|v| depth(v, limit - 1)).max().unwrap_or(0) }
    };
    match value {
        Value::Array(items) => below(&mut items.iter()),
        Value::Object(map) => below(&mut map.values()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
