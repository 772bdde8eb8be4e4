//! What a Kubernetes object is: kinds, documents, schemas, codecs and patches. No I/O.
//!
//! An object is an encoded JSON document plus the schema of its kind. While a request works on one it is a
//! [`serde_json::Value`] tree; at rest it is bytes.

pub mod codec;
pub mod document;
pub mod field;
pub mod kinds;
pub mod managed;
pub mod names;
pub mod patch;
pub mod quantity;
pub mod quota;
pub mod resource_list;
pub mod schema;
pub mod selector;
pub mod status;
pub mod storage_class;
pub mod time;

pub use document::{Map, Value};
