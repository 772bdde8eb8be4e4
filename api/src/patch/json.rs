//! JSON patch, RFC 6902, with upstream's bounds and sentences (those of evanphx/json-patch v4).
//!
//! As upstream has it, negative indices count from the end, a `test` for null passes where the key is missing, `replace`
//! adds a key that is missing, and `copy` of a missing key copies null.

use super::unprocessable;
use crate::codec::{self, MAX_DEPTH, depth};
use crate::document::{size, sort};
use crate::status::ApiError;
use crate::{Map, Value};

/// Operations that one patch may have.
const MAX_OPERATIONS: usize = 10_000;
/// Bytes of JSON that the `copy` operations of one patch may add.
const MAX_COPIED: usize = 3 << 20;
/// List items that one patch may push along by inserting and removing before them, and bytes of JSON that it may move: each
/// operation may concern all of the object.
const MAX_MOVED: usize = 100_000_000;

/// Applies a patch. `checked`: the fields of its operations are validated, which says more about wrong ones. 400 for what is
/// not a JSON patch, 413 for too many operations, 422 where one does not apply.
pub fn apply(mut object: Value, patch: &[u8], checked: bool) -> Result<Value, ApiError> {
    let operations = read(patch, checked).map_err(ApiError::bad_request)?;
    if operations.len() > MAX_OPERATIONS {
        return Err(ApiError::too_large(format_args!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut spent = Spent::default();
    for operation in operations {
        Operation(operation).apply(&mut object, &mut spent).ok_or_else(unprocessable)?;
    }
    Ok(object)
}

/// What the operations so far have cost.
#[derive(Default)]
struct Spent {
    copied: usize,
    moved: usize,
}

impl Spent {
    fn copy(&mut self, bytes: usize) -> Option<()> {
        self.copied += bytes;
        (self.copied <= MAX_COPIED).then_some(())
    }

    fn shift(&mut self, count: usize) -> Option<()> {
        self.moved += count;
        (self.moved <= MAX_MOVED).then_some(())
    }
}

fn read(patch: &[u8], checked: bool) -> Result<Vec<Map>, String> {
    let told = |why: String| if checked { format!("error decoding patch: {why}") } else { why };
    let (list, item) = if checked {
        ("[]handlers.jsonPatchOp", "handlers.jsonPatchOp")
    } else {
        ("jsonpatch.Patch", "jsonpatch.Operation")
    };
    let wrong =
        |value: &Value, ty: &str| told(format!("json: cannot unmarshal {} into Go value of type {ty}", sort(value)));
    let operations = match codec::json::decode_any(patch).map_err(told)? {
        Value::Array(operations) => operations,
        Value::Null => Vec::new(),
        other => return Err(wrong(&other, list)),
    };
    let read = |operation| match operation {
        Value::Object(map) => match ["op", "path", "from"].iter().find(|key| map.get(**key).is_some_and(is_no_text)) {
            Some(key) if checked => Err(told(format!(
                "json: cannot unmarshal {} into Go struct field jsonPatchOp.{key} of type string",
                sort(&map[*key])
            ))),
            _ => Ok(map),
        },
        Value::Null => Ok(Map::new()),
        other => Err(wrong(&other, item)),
    };
    operations.into_iter().map(read).collect()
}

fn is_no_text(value: &Value) -> bool {
    !value.is_string() && !value.is_null()
}

/// What findings of field validation a patch has: operations with other fields, or with fields that come twice.
pub fn problems(patch: &[u8]) -> Vec<codec::Problem> {
    let found = codec::json::problems(patch, |path| match path {
        [_, key] => matches!(*key, "op" | "path" | "from" | "value"),
        _ => true,
    });
    found.into_iter().map(|problem| codec::Problem::Operation(Box::new(problem))).collect()
}

struct Operation(Map);

/// Where an operation works: the pointer's last token, and the value that holds it.
struct Place<'v> {
    parent: &'v mut Value,
    key: String,
}

impl Operation {
    /// `None` if the operation cannot be carried out; clients are not told why.
    fn apply(self, object: &mut Value, spent: &mut Spent) -> Option<()> {
        match self.0.get("op")?.as_str()? {
            "add" => self.add(object, spent),
            "remove" => self.remove(object, spent),
            "replace" => self.replace(object),
            "test" => self.test(object),
            "move" => self.moved(object, spent),
            "copy" => self.copy(object, spent),
            _ => None,
        }
    }

    fn path(&self) -> Option<&str> {
        self.0.get("path")?.as_str()
    }

    fn from(&self) -> Option<&str> {
        self.0.get("from")?.as_str()
    }

    fn value(&self) -> Value {
        self.0.get("value").cloned().unwrap_or_default()
    }

    fn add(self, object: &mut Value, spent: &mut Spent) -> Option<()> {
        find(object, self.path()?)?.insert(self.value(), spent)
    }

    fn remove(self, object: &mut Value, spent: &mut Spent) -> Option<()> {
        find(object, self.path()?)?.take(spent).map(drop)
    }

    fn replace(self, object: &mut Value) -> Option<()> {
        let (path, value) = (self.path()?, self.value());
        if path.is_empty() {
            *object = Some(value).filter(|value| value.is_object() || value.is_array())?;
            return Some(());
        }
        let place = find(object, path)?;
        match place.parent {
            // What is not there is added.
            Value::Object(map) => drop(map.insert(place.key, value)),
            _ => *place.slot()?? = value,
        }
        Some(())
    }

    fn test(self, object: &mut Value) -> Option<()> {
        let path = self.path()?;
        let found = if path.is_empty() { Some(object) } else { find(object, path)?.slot()? };
        let wanted = self.0.get("value");
        let equal = match found {
            None | Some(Value::Null) => wanted.is_none_or(Value::is_null),
            Some(found) => wanted.is_some_and(|wanted| *found == *wanted),
        };
        equal.then_some(())
    }

    fn moved(self, object: &mut Value, spent: &mut Spent) -> Option<()> {
        let value = find(object, self.from()?)?.take(spent)?;
        let path = self.path()?;
        spent.shift(size(&value))?;
        bound_depth(path, &value)?;
        find(object, path)?.insert(value, spent)
    }

    fn copy(self, object: &mut Value, spent: &mut Spent) -> Option<()> {
        let (source, path) = (find(object, self.from()?)?.slot()?, self.path()?);
        let value = match source {
            None => Value::Null,
            Some(source) => {
                spent.copy(size(source))?;
                bound_depth(path, source)?;
                source.clone()
            }
        };
        find(object, path)?.insert(value, spent)
    }
}

/// Keeps repeated moves and copies from nesting without end.
fn bound_depth(path: &str, value: &Value) -> Option<()> {
    (path.matches('/').count() + depth(value, MAX_DEPTH) <= MAX_DEPTH).then_some(())
}

/// Follows a JSON pointer up to its last token; `None` where a step is missing or there is no token.
fn find<'v>(object: &'v mut Value, pointer: &str) -> Option<Place<'v>> {
    let mut tokens = pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"));
    let mut place = Place { parent: object, key: tokens.next()? };
    for key in tokens {
        place = Place { parent: place.slot()??, key };
        if !place.parent.is_object() && !place.parent.is_array() {
            return None;
        }
    }
    (pointer.matches('/').count() <= MAX_DEPTH).then_some(place)
}

impl<'v> Place<'v> {
    /// The value that is there, if any; `None` where the key is none of the list's.
    fn slot(self) -> Option<Option<&'v mut Value>> {
        match self.parent {
            Value::Object(map) => Some(map.get_mut(&self.key)),
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                Some(items.get_mut(at))
            }
            _ => Some(None),
        }
    }

    fn insert(self, value: Value, spent: &mut Spent) -> Option<()> {
        match self.parent {
            Value::Object(map) => drop(map.insert(self.key, value)),
            Value::Array(items) if self.key == "-" => items.push(value),
            Value::Array(items) => {
                let at = index(&self.key, items.len() + 1)?;
                spent.shift(items.len() - at)?;
                items.insert(at, value);
            }
            _ => return None,
        }
        Some(())
    }

    fn take(self, spent: &mut Spent) -> Option<Value> {
        match self.parent {
            Value::Object(map) => map.remove(&self.key),
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                spent.shift(items.len() - at)?;
                Some(items.remove(at))
            }
            _ => None,
        }
    }
}

/// An array index below `length`; negative ones count from the end.
fn index(key: &str, length: usize) -> Option<usize> {
    let number: i64 = key.parse().ok()?;
    let at = if number < 0 { number + length as i64 } else { number };
    usize::try_from(at).ok().filter(|at| *at < length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patch(object: Value, patch: Value) -> Result<Value, (u16, String)> {
        apply(object, patch.to_string().as_bytes(), true)
            .map_err(|e| (e.code, e.causes.first().map_or_else(|| e.message.clone(), |c| c.message.clone())))
    }

    #[test]
    fn every_operation_applies() {
        let object = json!({"a": {"b": [1, 2, 3]}, "x/y": 1});
        let operations = json!([
            {"op": "test", "path": "/a/b/0", "value": 1},
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
    fn what_does_not_apply_is_refused_without_a_word() {
        for operation in [
            json!({"op": "test", "path": "/a", "value": 2}),
            json!({"op": "test", "path": "/a", "value": 1.0}),
            json!({"op": "test", "path": "/l/0", "value": 1}),
            json!({"op": "remove", "path": "/z"}),
            json!({"op": "replace", "path": "/l/0", "value": 1}),
            json!({"op": "replace", "path": "", "value": "x"}),
            json!({"op": "add", "path": "/y/z", "value": 1}),
            json!({"op": "add", "path": "/l/9", "value": 1}),
            json!({"op": "add", "path": "/l/x", "value": 1}),
            json!({"op": "add", "path": "", "value": 1}),
            json!({"op": "add", "value": 1}),
            json!({"op": "move", "path": "/a"}),
            json!({"op": "move", "from": "/z", "path": "/a"}),
            json!({"op": "copy", "from": "/l/7", "path": "/a"}),
            json!({"op": "frob", "path": "/a"}),
            json!({"path": "/a"}),
            json!(null),
        ] {
            let error = "the server rejected our request due to an error in our request".to_owned();
            assert_eq!(patch(json!({"a": 1, "l": []}), json!([operation])), Err((422, error)), "{operation}");
        }
        for (body, checked, error) in [
            (
                "{}",
                true,
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            ("{}", false, "json: cannot unmarshal object into Go value of type jsonpatch.Patch"),
            (
                "[5]",
                true,
                "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
            ),
            (
                "[{\"path\":5}]",
                true,
                "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.path of type string",
            ),
            ("[{", true, "error decoding patch: unexpected end of JSON input"),
        ] {
            let refused = apply(json!({}), body.as_bytes(), checked).unwrap_err();
            assert_eq!((refused.code, refused.message.as_str()), (400, error));
        }
        let many = Value::Array(vec![json!({"op": "test", "path": "/a", "value": null}); 10_001]);
        assert_eq!(patch(json!({}), many).unwrap_err().0, 413);
    }

    #[test]
    fn what_is_not_there_is_added_by_replace_and_copied_as_null() {
        let operations =
            json!([{"op": "replace", "path": "/z", "value": 1}, {"op": "copy", "from": "/y", "path": "/x"}]);
        assert_eq!(patch(json!({}), operations).unwrap(), json!({"z": 1, "x": null}));
    }

    #[test]
    fn operations_are_validated() {
        let body = r#"[{"op":"add","op":"add","path":"/a","value":{"b":1,"b":2},"foo":1}]"#;
        let found: Vec<String> = problems(body.as_bytes()).iter().map(ToString::to_string).collect();
        let wanted = ["duplicate field \"[0].op\"", "duplicate field \"[0].value.b\"", "unknown field \"[0].foo\""];
        assert_eq!(found, wanted.map(|problem| format!("json patch {problem}")));
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
