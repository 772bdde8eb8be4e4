//! JSON bodies.

use super::{DecodeError, Decoded, visit};
use crate::schema::TypeRef;

/// Decodes one JSON document of a type. Nesting is limited to [`super::MAX_DEPTH`]; size is the caller's to limit.
pub fn decode(bytes: &[u8], ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    let syntax = |e: serde_json::Error| DecodeError::Syntax(e.to_string());
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let decoded = visit::decode(&mut reader, ty).map_err(syntax)?;
    reader.end().map_err(syntax)?;
    decoded
}

/// Decodes JSON without a schema (an unregistered type, a patch).
pub fn decode_any(bytes: &[u8]) -> Result<serde_json::Value, DecodeError> {
    serde_json::from_slice(bytes).map_err(|e| DecodeError::Syntax(e.to_string()))
}
