//! The patch types: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch.
//!
//! Each takes the current object as a tree and gives the patched tree. The caller writes the zeros that Go would write
//! (`schema::fill`) before, so that a `test` sees them, and runs the result through `codec::check`.

pub mod json;
pub mod merge;
pub mod strategic;

use crate::Value;
use crate::document::sort;
use crate::status::ApiError;

/// 422, as upstream answers a patch that does not apply. It does not say why.
fn unprocessable() -> ApiError {
    ApiError::unreached(422, "Invalid", "the server rejected our request due to an error in our request")
}

/// What Go says where a patch has to be an object.
pub fn no_object(value: &Value) -> String {
    format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", sort(value))
}
