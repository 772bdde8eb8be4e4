//! Protobuf bodies, `application/vnd.kubernetes.protobuf`: upstream's magic bytes, a `runtime.Unknown` that names the
//! type, and in it the object as gogo's generated marshallers write it.
//!
//! Field numbers come from the schema; only the built-in types have them.

mod decode;
mod encode;
mod envelope;
mod layout;
mod wire;

pub use decode::{decode, decode_any, envelope, events};
pub use encode::Encoder;
pub use envelope::{TAIL, encode, encode_any, head, wrap, write_event, write_message};
pub use wire::Writer;

/// What every body begins with.
pub const MAGIC: &[u8] = b"k8s\0";

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
