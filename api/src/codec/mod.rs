//! Decoding request bodies into trees by a schema.
//!
//! JSON, YAML and finished trees go through one visitor: unknown fields are dropped and reported, duplicates reported,
//! types checked, special scalars (quantities, times) rewritten canonically, nulls and omitted zeros removed.

mod base64;
mod free;
mod go;
pub mod json;
mod keys;
pub mod protobuf;
mod repeats;
mod skip;
mod syntax;
mod visit;
mod words;
pub mod yaml;

use crate::field::quote;
use crate::schema::TypeRef;
use crate::status::ApiError;
use serde_json::Value;
use std::fmt;
use words::Words;

/// Deepest nesting of a body or of a patched object: what serde_json reads.
pub const MAX_DEPTH: usize = 127;
/// Problems are reported up to this number, as upstream does, and until they are this many bytes.
const MAX_PROBLEMS: usize = 100;
const MAX_PROBLEM_BYTES: usize = 1 << 20;

/// A decoded object, and what strict field validation has to say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    pub value: Value,
    pub problems: Vec<Problem>,
}

/// A finding of field validation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Problem {
    /// The path of a field that the type does not have: `spec.containers[0].foo`.
    Unknown(String),
    /// The path of a field that comes twice.
    Duplicate(String),
    /// Keys of YAML that come twice, a line each.
    Yaml(Vec<String>),
    /// What is wrong with an operation of a JSON patch.
    Operation(Box<Problem>),
}

/// The first problems of a body, each once.
#[derive(Default)]
struct Problems {
    found: Vec<Problem>,
    /// Of all that was reported.
    bytes: usize,
}

impl Problems {
    /// Takes note of a field that comes twice or is not known; `write` writes its path.
    fn report(&mut self, is_duplicate: bool, write: impl FnOnce(&mut String)) {
        if self.found.len() >= MAX_PROBLEMS || self.bytes > MAX_PROBLEM_BYTES {
            return;
        }
        let mut path = String::new();
        write(&mut path);
        self.bytes += path.len();
        let problem = if is_duplicate { Problem::Duplicate(path) } else { Problem::Unknown(path) };
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unknown(path) => write!(f, "unknown field {}", quote(path)),
            Problem::Duplicate(path) => write!(f, "duplicate field {}", quote(path)),
            Problem::Operation(problem) => write!(f, "json patch {problem}"),
            Problem::Yaml(lines) => write!(f, "yaml: unmarshal errors:\n  {}", lines.join("\n  ")),
        }
    }
}

impl Problem {
    /// The problem as warnings tell it.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Problem::Yaml(lines) => lines.clone(),
            other => vec![other.to_string()],
        }
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
    /// Not JSON, in Go's words.
    Syntax(String),
    /// Not YAML, in the words of Go's parser as far as they are known.
    Yaml(String),
    /// Not protobuf in Kubernetes' envelope, in Go's words.
    Envelope(String),
    /// A value of the wrong type, in Go's words.
    Type(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Syntax(why) => write!(f, "couldn't get version/kind; json parse error: {why}"),
            DecodeError::Yaml(why) | DecodeError::Envelope(why) | DecodeError::Type(why) => f.write_str(why),
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
            DecodeError::Syntax(_) | DecodeError::Yaml(_) | DecodeError::Envelope(_) => {
                let summary = summarize(body);
                let what = "the object provided is unrecognized (must be of type";
                ApiError::bad_request(format!("{what} {kind}): {self} ({summary})"))
            }
        }
    }
}

/// The first bytes of a body: as text where it looks like JSON, else in hex.
fn summarize(body: &[u8]) -> String {
    const MAX: usize = 30;
    let start = &body[..body.len().min(MAX)];
    let mut summary = match body.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if body.len() > MAX {
        summary.push_str(" ...");
    }
    summary
}

/// Runs a tree through the schema as if it were JSON: after a patch of the JSON, or for a default that came from elsewhere.
pub fn check(value: Value, ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    run(value, ty, Words::Json)
}

/// Runs a tree through the schema as upstream converts trees: after a strategic merge patch or an apply. Integers are
/// cut to fit, whole numbers are integers, unknown fields are sorted, and the sentences are others.
pub fn convert(value: Value, ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    let mut decoded = run(value, ty, Words::Converter)?;
    decoded.problems.sort();
    Ok(decoded)
}

fn run(value: Value, ty: TypeRef<'_>, words: Words) -> Result<Decoded, DecodeError> {
    let decoded = visit::decode(value, ty, words).map_err(|e: serde_json::Error| DecodeError::Syntax(e.to_string()))?;
    decoded.map_err(|mismatch| mismatch.into_error(&[]))
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
