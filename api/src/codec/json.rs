//! JSON bodies.

use super::words::Words;
use super::{DecodeError, Decoded, Problem, free, syntax, visit};
use crate::schema::TypeRef;
use serde::Deserialize;
use serde_json::Value;

/// Decodes one JSON document of a type. Nesting is limited to [`super::MAX_DEPTH`]; size is the caller's to limit.
pub fn decode(bytes: &[u8], ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    read(bytes, |bytes| {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let decoded = visit::decode(&mut reader, ty, Words::Json)?;
        reader.end()?;
        Ok(decoded.map_err(|mismatch| mismatch.into_error(bytes)))
    })
    .map_err(DecodeError::Syntax)?
}

/// Decodes JSON without a schema (an unregistered type, a patch). The error is Go's sentence.
pub fn decode_any(bytes: &[u8]) -> Result<Value, String> {
    read(bytes, |bytes| {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Value::deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    })
}

/// What field validation finds in a document that has no schema: keys that come twice, and those that are not `known` (by
/// the keys that lead to them, places in lists among them).
pub fn problems(bytes: &[u8], known: impl Fn(&[&str]) -> bool) -> Vec<Problem> {
    read(bytes, |bytes| free::problems(&mut serde_json::Deserializer::from_slice(bytes), &known)).unwrap_or_default()
}

/// Reads JSON; where serde_json refuses, the text is read as Go reads it, or the error is Go's.
fn read<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, serde_json::Error>) -> Result<T, String> {
    let error = match read(bytes) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    if let Some(fault) = syntax::fault(bytes) {
        return Err(fault);
    }
    match syntax::repaired(bytes) {
        Some(text) => read(text.as_bytes()).map_err(|e| e.to_string()),
        // Go nests deeper than this server does.
        None if error.to_string().starts_with("recursion limit") => Err("exceeded max depth".to_owned()),
        None => Err(error.to_string()),
    }
}
