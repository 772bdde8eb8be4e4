//! JSON merge patch, RFC 7386.

use crate::codec;
use crate::status::ApiError;
use serde_json::Value;

/// Applies a patch, which must be an object (else 400; a list is the result itself, where nothing is validated).
/// `checked`: the patch's fields are validated, which says more about one that is none.
pub fn apply(mut object: Value, patch: &[u8], checked: bool) -> Result<Value, ApiError> {
    const WRONG: &str = "Invalid JSON Patch";
    let wrong = |why: String| {
        ApiError::bad_request(if checked { format!("error decoding patch: {why}") } else { WRONG.to_owned() })
    };
    match codec::json::decode_any(patch).map_err(wrong)? {
        patch @ Value::Object(_) => merge(&mut object, patch),
        Value::Null => return Err(ApiError::bad_request(WRONG)),
        Value::Array(items) if !checked => return Ok(Value::Array(items)),
        other => return Err(wrong(super::no_object(&other))),
    }
    Ok(object)
}

/// Merges `patch` into `target`: nulls remove, objects merge, everything else replaces.
pub fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(map), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    map.remove(&key);
                } else {
                    merge(map.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (target @ Value::Object(_), other) => *target = other,
        (target, mut other) => {
            prune(&mut other);
            *target = other;
        }
    }
}

/// Drops the nulls of objects, all the way down.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_rfcs_examples() {
        for (object, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        ] {
            assert_eq!(apply(object, patch.to_string().as_bytes(), true).unwrap(), result);
        }
        assert_eq!(apply(json!({}), b"[1]", true).unwrap_err().code, 400);
        assert_eq!(apply(json!({}), b"[1]", false).unwrap(), json!([1]));
    }
}
