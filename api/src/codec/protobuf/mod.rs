//! Protobuf bodies, `application/vnd.kubernetes.protobuf`: upstream's magic bytes, a `runtime.Unknown` that names the
//! type, and in it the object as gogo's generated marshallers write it.
//!
//! Field numbers come from the schema; only the built-in types have them.

mod decode;
mod encode;
mod layout;
mod wire;

pub use decode::{decode, envelope};
pub use encode::encode;
pub use wire::Writer;

/// What every body begins with.
pub const MAGIC: &[u8] = b"k8s\0";

#[cfg(test)]
mod tests;
