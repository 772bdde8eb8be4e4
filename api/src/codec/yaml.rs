//! YAML bodies, with YAML 1.1's scalars (`yes` is true), as `sigs.k8s.io/yaml` reads and writes them.

use super::{DecodeError, Decoded, json, visit};
use crate::schema::TypeRef;
use serde::Deserialize;
use serde_json::Value;

/// Decodes one YAML document of a type. Depth (64), aliases and events are bounded; size is the caller's to limit.
pub fn decode(bytes: &[u8], ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    // Clients mostly send JSON, which is YAML: kubectl's server-side apply does.
    if bytes.trim_ascii_start().starts_with(b"{") {
        let decoded = json::decode(bytes, ty);
        if !matches!(decoded, Err(DecodeError::Syntax(_))) {
            return decoded;
        }
    }
    with(bytes, |reader| visit::decode(reader, ty))?
}

/// Decodes YAML without a schema.
pub fn decode_any(bytes: &[u8]) -> Result<Value, DecodeError> {
    if bytes.trim_ascii_start().starts_with(b"{")
        && let Ok(value) = serde_json::from_slice(bytes)
    {
        return Ok(value);
    }
    with(bytes, |reader| Value::deserialize(reader))
}

fn with<'de, R>(
    bytes: &'de [u8],
    read: impl for<'e> FnOnce(serde_saphyr::Deserializer<'de, 'e>) -> Result<R, serde_saphyr::Error>,
) -> Result<R, DecodeError> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        strict_booleans: false,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::with_deserializer_from_slice_with_options(bytes, options, read)
        .map_err(|e| DecodeError::Syntax(e.to_string()))
}

/// A document as YAML.
pub fn encode(value: &serde_json::Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_default()
}
