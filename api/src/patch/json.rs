//! JSON patch, RFC 6902, with upstream's bounds and sentences (those of evanphx/json-patch v4).
//!
//! Negative array indices count from the end, and a `test` for null passes where the key is missing, as upstream has it.

use super::unprocessable;
use crate::codec::{MAX_DEPTH, depth};
use crate::field::quote;
use crate::status::ApiError;
use serde_json::Value;

/// Operations that one patch may have.
const MAX_OPERATIONS: usize = 10_000;
/// Bytes of JSON that the `copy` operations of one patch may add.
const MAX_COPIED: usize = 3 << 20;

/// Applies a patch. 400 for what is not a JSON patch, 413 for too many operations, 422 where one does not apply.
pub fn apply(mut object: Value, patch: &[u8]) -> Result<Value, ApiError> {
    let operations: Value =
        serde_json::from_slice(patch).map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
    let Value::Array(operations) = operations else {
        let found = if operations.is_object() { "object" } else { "value" };
        let why = format!(
            "error decoding patch: json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp"
        );
        return Err(ApiError::bad_request(why));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(ApiError::too_large(format_args!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut copied = 0;
    for operation in operations {
        let operation = Operation::read(operation).map_err(ApiError::bad_request)?;
        operation.apply(&mut object, &mut copied).map_err(unprocessable)?;
    }
    Ok(object)
}

struct Operation {
    op: String,
    path: String,
    from: Option<String>,
    value: Option<Value>,
}

/// Where an operation works: the pointer's last token, and the value that holds it.
struct Place<'v> {
    parent: &'v mut Value,
    key: String,
}

impl Operation {
    fn read(operation: Value) -> Result<Operation, String> {
        let Value::Object(mut map) = operation else {
            return Err("error decoding patch: an operation is not an object".to_owned());
        };
        let mut text = |key: &str| match map.remove(key) {
            Some(Value::String(text)) => Ok(Some(text)),
            None => Ok(None),
            Some(_) => Err(format!("error decoding patch: the operation's {key} is not a string")),
        };
        let (op, path, from) = (text("op")?, text("path")?, text("from")?);
        Ok(Operation { op: op.unwrap_or_default(), path: path.unwrap_or_default(), from, value: map.remove("value") })
    }

    fn apply(self, object: &mut Value, copied: &mut usize) -> Result<(), String> {
        match self.op.as_str() {
            "add" => self.add(object),
            "remove" => self.remove(object),
            "replace" => self.replace(object),
            "test" => self.test(object),
            "move" => self.moved(object),
            "copy" => self.copy(object, copied),
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    fn add(self, object: &mut Value) -> Result<(), String> {
        let value = self.value.unwrap_or(Value::Null);
        let place = find(object, &self.path).ok_or_else(|| missing("add", "path", &quote(&self.path)))?;
        place.insert(value).map_err(|e| format!("error in add for path: '{}': {e}", self.path))
    }

    fn remove(self, object: &mut Value) -> Result<(), String> {
        let place = find(object, &self.path).ok_or_else(|| missing("remove", "path", &quote(&self.path)))?;
        place.take().map(drop).map_err(|e| format!("error in remove for path: '{}': {e}", self.path))
    }

    fn replace(self, object: &mut Value) -> Result<(), String> {
        let value = self.value.unwrap_or(Value::Null);
        if self.path.is_empty() {
            if !value.is_object() {
                return Err("replace operation value must be object or array: unknown object type".to_owned());
            }
            *object = value;
            return Ok(());
        }
        let place = find(object, &self.path).ok_or_else(|| missing("replace", "path", &self.path))?;
        *place.slot().ok_or_else(|| missing("replace", "key", &self.path))? = value;
        Ok(())
    }

    fn test(self, object: &mut Value) -> Result<(), String> {
        let wanted = self.value.unwrap_or(Value::Null);
        let found = if self.path.is_empty() {
            Some(&*object)
        } else {
            let place = find(object, &self.path).ok_or_else(|| {
                format!("test operation does not apply: is missing path: {}: missing value", self.path)
            })?;
            place.slot().map(|slot| &*slot)
        };
        if same(found.unwrap_or(&Value::Null), &wanted) {
            Ok(())
        } else {
            Err(format!("testing value {} failed: test failed", self.path))
        }
    }

    fn moved(self, object: &mut Value) -> Result<(), String> {
        let from = self.from.unwrap_or_default();
        let within = self.path.strip_prefix(&from).is_some_and(|rest| rest.starts_with('/'));
        if within {
            return Err(format!("error in move for path: '{}': cannot move a value into itself", self.path));
        }
        let source = find(object, &from).ok_or_else(|| missing("move", "from path", &from))?;
        let key = source.key.clone();
        let value = source.take().map_err(|e| format!("error in move for path: '{key}': {e}"))?;
        bound_depth(&self.path, &value)?;
        let place = find(object, &self.path).ok_or_else(|| missing("move", "destination path", &self.path))?;
        place.insert(value).map_err(|e| format!("error in move for path: '{}': {e}", self.path))
    }

    fn copy(self, object: &mut Value, copied: &mut usize) -> Result<(), String> {
        let from = self.from.unwrap_or_default();
        let source = find(object, &from).and_then(Place::slot).ok_or_else(|| missing("copy", "from path", &from))?;
        bound_depth(&self.path, source)?;
        *copied += size(source);
        if *copied > MAX_COPIED {
            return Err(format!(
                "Unable to copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
            ));
        }
        let value = source.clone();
        let place = find(object, &self.path).ok_or_else(|| missing("copy", "destination path", &self.path))?;
        place.insert(value).map_err(|e| format!("error while adding value during copy: {e}"))
    }
}

fn missing(operation: &str, what: &str, path: &str) -> String {
    format!("{operation} operation does not apply: doc is missing {what}: {path}: missing value")
}

/// Keeps repeated moves and copies from nesting without end.
fn bound_depth(path: &str, value: &Value) -> Result<(), String> {
    if path.matches('/').count() + depth(value, MAX_DEPTH) > MAX_DEPTH {
        return Err(format!("the result would nest deeper than {MAX_DEPTH} levels"));
    }
    Ok(())
}

/// Bytes of a value's JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|v| size(v) + 1).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(k, v)| k.len() + 4 + size(v)).sum::<usize>(),
    }
}

/// Equality of JSON, where `1` and `1.0` are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|other| same(v, other)))
        }
        _ => a == b,
    }
}

/// Follows a JSON pointer up to its last token; `None` where a step is missing or there is no token.
fn find<'v>(object: &'v mut Value, pointer: &str) -> Option<Place<'v>> {
    let mut tokens = pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"));
    let mut place = Place { parent: object, key: tokens.next()? };
    for key in tokens {
        place = Place { parent: place.slot()?, key };
        if !place.parent.is_object() && !place.parent.is_array() {
            return None;
        }
    }
    (pointer.matches('/').count() <= MAX_DEPTH).then_some(place)
}

impl<'v> Place<'v> {
    /// The value that is there.
    fn slot(self) -> Option<&'v mut Value> {
        match self.parent {
            Value::Object(map) => map.get_mut(&self.key),
            Value::Array(items) => {
                let at = index(&self.key, items.len()).ok()?;
                items.get_mut(at)
            }
            _ => None,
        }
    }

    fn insert(self, value: Value) -> Result<(), String> {
        match self.parent {
            Value::Object(map) => {
                map.insert(self.key, value);
            }
            Value::Array(items) if self.key == "-" => items.push(value),
            Value::Array(items) => {
                let at = index(&self.key, items.len() + 1)?;
                items.insert(at, value);
            }
            _ => return Err("unknown object type".to_owned()),
        }
        Ok(())
    }

    fn take(self) -> Result<Value, String> {
        match self.parent {
            Value::Object(map) => map
                .remove(&self.key)
                .ok_or_else(|| format!("Unable to remove nonexistent key: {}: missing value", self.key)),
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                Ok(items.remove(at))
            }
            _ => Err("unknown object type".to_owned()),
        }
    }
}

/// An array index below `length`; negative ones count from the end.
fn index(key: &str, length: usize) -> Result<usize, String> {
    let number: i64 = key.parse().map_err(|_| format!("value was not a proper array index: '{key}'"))?;
    let at = if number < 0 { number + length as i64 } else { number };
    usize::try_from(at)
        .ok()
        .filter(|at| *at < length)
        .ok_or_else(|| format!("Unable to access invalid index: {number}: invalid index referenced"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patch(object: Value, patch: Value) -> Result<Value, (u16, String)> {
        apply(object, patch.to_string().as_bytes())
            .map_err(|e| (e.code, e.causes.first().map_or_else(|| e.message.clone(), |c| c.message.clone())))
    }

    #[test]
    fn every_operation_applies() {
        let object = json!({"a": {"b": [1, 2, 3]}, "x/y": 1});
        let operations = json!([
            {"op": "test", "path": "/a/b/0", "value": 1.0},
            {"op": "add", "path": "/a/b/-", "value": 4},
            {"op": "add", "path": "/a/b/0", "value": 0},
            {"op": "remove", "path": "/a/b/-1"},
            {"op": "replace", "path": "/x~1y", "value": {"z": null}},
            {"op": "copy", "from": "/a/b", "path": "/c"},
            {"op": "move", "from": "/a/b/1", "path": "/d"},
            {"op": "test", "path": "/nothing", "value": null},
        ]);
        let expected = json!({"a": {"b": [0, 2, 3]}, "x/y": {"z": null}, "c": [0, 1, 2, 3], "d": 1});
        assert_eq!(patch(object, operations).unwrap(), expected);
    }

    #[test]
    fn what_does_not_apply_is_told() {
        for (operation, error) in [
            (json!({"op": "test", "path": "/a", "value": 2}), "testing value /a failed: test failed"),
            (
                json!({"op": "remove", "path": "/z"}),
                "error in remove for path: '/z': Unable to remove nonexistent key: z: missing value",
            ),
            (
                json!({"op": "replace", "path": "/z", "value": 1}),
                "replace operation does not apply: doc is missing key: /z: missing value",
            ),
            (
                json!({"op": "add", "path": "/y/z", "value": 1}),
                "add operation does not apply: doc is missing path: \"/y/z\": missing value",
            ),
            (
                json!({"op": "add", "path": "/l/9", "value": 1}),
                "error in add for path: '/l/9': Unable to access invalid index: 9: invalid index referenced",
            ),
            (json!({"op": "frob", "path": "/a"}), "Unexpected kind: frob"),
        ] {
            assert_eq!(patch(json!({"a": 1, "l": []}), json!([operation])), Err((422, error.to_owned())));
        }
        assert_eq!(patch(json!({}), json!({})).unwrap_err().0, 400);
        let many = Value::Array(vec![json!({"op": "test", "path": "/a", "value": null}); 10_001]);
        assert_eq!(patch(json!({}), many).unwrap_err().0, 413);
    }

    #[test]
    fn a_patch_cannot_grow_or_nest_without_end() {
        let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let object = json!({"a": ["x".repeat(1000)]});
        assert_eq!(patch(object, Value::Array(vec![double; 60])).unwrap_err().0, 422);
        let deeper = [
            json!({"op": "add", "path": "/b", "value": {}}),
            json!({"op": "move", "from": "/a", "path": "/b/a"}),
            json!({"op": "move", "from": "/b", "path": "/a"}),
        ];
        let deeper: Vec<Value> = deeper.iter().cycle().take(3000).cloned().collect();
        assert_eq!(patch(json!({"a": {}}), Value::Array(deeper)).unwrap_err().0, 422);
    }
}
