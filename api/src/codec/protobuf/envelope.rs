//! What stands around an object's message: the envelope, and the frame of a watch event.

use super::MAGIC;
use super::encode::Encoder;
use super::wire::Writer;
use crate::schema::{Schema, TypeRef};
use crate::{Value, document};

/// What follows an object's message in its envelope: no content encoding, no content type.
pub const TAIL: &[u8] = b"\x1a\0\x22\0";

/// What comes before an object's message of `length` bytes in its envelope.
pub fn head(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut w = Writer::default();
    w.out.extend_from_slice(MAGIC);
    w.message(1, |w| {
        w.text(1, api_version);
        w.text(2, kind);
    });
    w.header(2, length);
    w.out
}

/// An object's message in its envelope.
pub fn wrap(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = head(api_version, kind, message.len());
    out.extend_from_slice(message);
    out.extend_from_slice(TAIL);
    out
}

/// Encodes an object of a built-in type, envelope included; the envelope's type is the object's `apiVersion` and `kind`.
pub fn encode(value: &Value, ty: TypeRef<'_>) -> Vec<u8> {
    let mut encoder = Encoder::new(ty);
    // A tree is well-formed.
    let message = encoder.encode(value).unwrap_or_default();
    wrap(document::get_str(value, "apiVersion"), document::get_str(value, "kind"), message)
}

/// As [`encode`], with the type that the object says it is; `None` where that is not built in.
pub fn encode_any(value: &Value) -> Option<Vec<u8>> {
    let ty = of_kind(document::get_str(value, "apiVersion"), document::get_str(value, "kind"))?;
    Some(encode(value, ty))
}

/// A type by its `apiVersion` and `kind`. Some documents of discovery, by tradition, do not name a version; an object's
/// metadata is the same in the beta.
pub(super) fn of_kind(api_version: &str, kind: &str) -> Option<TypeRef<'static>> {
    let (group, version) = match api_version {
        "" => ("", "v1"),
        "meta.k8s.io/v1beta1" if kind == "PartialObjectMetadata" => ("meta.k8s.io", "v1"),
        _ => api_version.rsplit_once('/').unwrap_or(("", api_version)),
    };
    Schema::of_kind(group, version, kind)
}

/// Appends a message as a field of another one.
pub fn write_message(out: &mut Vec<u8>, number: u16, message: &[u8]) {
    let mut w = Writer { out: std::mem::take(out) };
    w.text(number, message);
    *out = w.out;
}

/// Appends the frame of a watch event with an enveloped object: the length in four bytes, then a `WatchEvent`.
pub fn write_event(out: &mut Vec<u8>, event: &str, object: &[u8]) {
    let from = out.len();
    let mut w = Writer { out: std::mem::take(out) };
    w.out.extend_from_slice(&[0; 4]);
    w.text(1, event);
    w.message(2, |w| w.text(1, object));
    let length = u32::try_from(w.out.len() - from - 4).unwrap_or(u32::MAX);
    w.out[from..from + 4].copy_from_slice(&length.to_be_bytes());
    *out = w.out;
}
