//! A document: an object's JSON tree, how its parts are reached, and how it is encoded for the store.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
pub use serde_json::Value;
use std::borrow::Cow;

pub type Map = serde_json::Map<String, Value>;

/// Bytes of a value's JSON, about.
pub fn size(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|v| size(v) + 1).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(k, v)| k.len() + 4 + size(v)).sum::<usize>(),
    }
}

/// Reads along a dotted path of object keys; `None` where a step is missing.
pub fn get<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(object, |at, key| at.as_object()?.get(key))
}

/// The string at a path, or `""`.
pub fn get_str<'a>(object: &'a Value, path: &str) -> &'a str {
    get(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a path.
pub fn get_i64(object: &Value, path: &str) -> Option<i64> {
    get(object, path).and_then(Value::as_i64)
}

/// The boolean at a path; false where it is missing.
pub fn get_bool(object: &Value, path: &str) -> bool {
    get(object, path).and_then(Value::as_bool).unwrap_or_default()
}

/// The list at a path; empty where it is missing.
pub fn get_list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    get(object, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The object at a path.
pub fn get_map<'a>(object: &'a Value, path: &str) -> Option<&'a Map> {
    get(object, path).and_then(Value::as_object)
}

/// The object at a key of `map`, made when it is missing or not an object.
pub fn child<'a>(map: &'a mut Map, key: &str) -> &'a mut Map {
    let slot = map.entry(key).or_insert(Value::Null);
    as_map(slot)
}

/// This value as an object; anything else is replaced by an empty one.
pub fn as_map(value: &mut Value) -> &mut Map {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// Sets the value at a dotted path, making objects on the way.
pub fn set(object: &mut Value, path: &str, value: impl Into<Value>) {
    let (parents, last) = path.rsplit_once('.').map_or(("", path), |(p, l)| (p, l));
    let mut at = as_map(object);
    for key in parents.split('.').filter(|k| !k.is_empty()) {
        at = child(at, key);
    }
    at.insert(last.to_owned(), value.into());
}

/// Removes the value at a dotted path; gives what was there.
pub fn remove(object: &mut Value, path: &str) -> Option<Value> {
    let (parents, last) = path.rsplit_once('.').map_or(("", path), |(p, l)| (p, l));
    let mut at = object;
    for key in parents.split('.').filter(|k| !k.is_empty()) {
        at = at.get_mut(key)?;
    }
    at.as_object_mut()?.remove(last)
}

/// A value's sort as Go's JSON decoder names it in its errors.
pub fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The object's metadata, made when it is missing.
pub fn metadata_mut(object: &mut Value) -> &mut Map {
    child(as_map(object), "metadata")
}

pub fn name(object: &Value) -> &str {
    get_str(object, "metadata.name")
}
pub fn namespace(object: &Value) -> &str {
    get_str(object, "metadata.namespace")
}
pub fn uid(object: &Value) -> &str {
    get_str(object, "metadata.uid")
}
/// The parts of the object's `apiVersion`; the core group is empty.
pub fn group_version(object: &Value) -> (&str, &str) {
    split_version(get_str(object, "apiVersion"))
}
/// Group and version of `apps/v1`; the core group has no name.
pub fn split_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}
/// The resource version's text; empty where there is none.
pub fn resource_version(object: &Value) -> &str {
    get_str(object, "metadata.resourceVersion")
}
pub fn labels(object: &Value) -> Option<&Map> {
    get_map(object, "metadata.labels")
}
pub fn annotations(object: &Value) -> Option<&Map> {
    get_map(object, "metadata.annotations")
}
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}
/// Removes annotations, and their map with the last one.
pub fn drop_annotations(object: &mut Value, keys: &[&str]) {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else { return };
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.retain(|key, _| !keys.contains(&key.as_str()));
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}
/// True once a deletion was asked for.
pub fn is_terminating(object: &Value) -> bool {
    get(object, "metadata.deletionTimestamp").is_some_and(|t| !t.is_null())
}
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    get_list(object, "metadata.finalizers").iter().filter_map(Value::as_str)
}

/// A document encoded for the store: the commit's revision is spliced into the bytes at `revision_at`, as the
/// text of `metadata.resourceVersion`. `kind` and `apiVersion` come first, so that list items can leave them out by
/// skipping [`type_prefix`] bytes.
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub revision_at: usize,
}

/// Encodes an object for the store. A resource version that the object holds is left out; the store writes its own.
pub fn encode(object: &Value) -> Encoded {
    let mut bytes = Vec::with_capacity(1024);
    let empty = Map::new();
    let map = object.as_object().unwrap_or(&empty);
    bytes.extend_from_slice(b"{\"kind\":");
    write(&mut bytes, map.get("kind").unwrap_or(&Value::Null));
    bytes.extend_from_slice(b",\"apiVersion\":");
    write(&mut bytes, map.get("apiVersion").unwrap_or(&Value::Null));
    bytes.extend_from_slice(b",\"metadata\":{\"resourceVersion\":\"");
    let revision_at = bytes.len();
    bytes.push(b'"');
    for (key, value) in get_map(object, "metadata").unwrap_or(&empty) {
        if key != "resourceVersion" {
            write_member(&mut bytes, key, value);
        }
    }
    bytes.push(b'}');
    for (key, value) in map {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            write_member(&mut bytes, key, value);
        }
    }
    bytes.push(b'}');
    Encoded { bytes, revision_at }
}

fn write_member(bytes: &mut Vec<u8>, key: &str, value: &Value) {
    bytes.push(b',');
    write(bytes, key);
    bytes.push(b':');
    write(bytes, value);
}

/// Encoding a tree of strings, numbers, lists and maps into memory cannot fail.
fn write<T: serde::Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) {
    let _ = serde_json::to_writer(bytes, value);
}

/// How many bytes after the opening brace `kind` and `apiVersion` take in a document that [`encode`] made, up to and
/// with the comma.
pub fn type_prefix(kind: &str, api_version: &str) -> usize {
    "\"kind\":\"\",\"apiVersion\":\"\",".len() + kind.len() + api_version.len()
}

/// The `apiVersion` of bytes that [`encode`] made, and the offset at which the revision is missing; `None` for any others.
pub fn revision_gap(bytes: &[u8]) -> Option<(&str, usize)> {
    let text_after = |at: usize, before: &[u8]| {
        let rest = bytes.get(at..)?.strip_prefix(before)?;
        let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        Some((std::str::from_utf8(&rest[..length]).ok()?, at + before.len() + length))
    };
    let (_, at) = text_after(0, b"{\"kind\":\"")?;
    let (api_version, at) = text_after(at, b"\",\"apiVersion\":\"")?;
    let (revision, at) = text_after(at, b"\",\"metadata\":{\"resourceVersion\":\"")?;
    revision.is_empty().then_some((api_version, at))
}

/// Decodes only what stands at some dotted paths, with the objects that lead there; everything else is skipped, which
/// costs a fraction of decoding it.
pub fn pick(bytes: &[u8], paths: &[&str]) -> Result<Value, serde_json::Error> {
    decode_part(bytes, Part { paths, named: true })
}

/// Decodes everything but what stands at some dotted paths, which is skipped.
pub fn omit(bytes: &[u8], paths: &[&str]) -> Result<Value, serde_json::Error> {
    decode_part(bytes, Part { paths, named: false })
}

fn decode_part(bytes: &[u8], part: Part) -> Result<Value, serde_json::Error> {
    part.deserialize(&mut serde_json::Deserializer::from_slice(bytes))
}

/// Either what these paths name, or all the rest.
struct Part<'p> {
    paths: &'p [&'p str],
    named: bool,
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut decoded = Map::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let is_named = self.paths.contains(&key.as_ref());
            let below = self.paths.iter().filter_map(|path| path.strip_prefix(key.as_ref())?.strip_prefix('.'));
            let below: Vec<&str> = if is_named { Vec::new() } else { below.collect() };
            if !below.is_empty() {
                let part = Part { paths: &below, named: self.named };
                decoded.insert(key.into_owned(), map.next_value_seed(part)?);
            } else if is_named == self.named {
                decoded.insert(key.into_owned(), map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(decoded))
    }

    // What is no object has nothing below it.
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn encoding_leaves_a_place_for_the_revision() {
        let object =
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {}, "metadata": {"name": "a", "resourceVersion": "7"}});
        let encoded = encode(&object);
        let mut bytes = encoded.bytes.clone();
        bytes.splice(encoded.revision_at..encoded.revision_at, *b"42");
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"42","name":"a"},"spec":{}}"#
        );
        assert!(text[1 + type_prefix("Pod", "v1")..].starts_with("\"metadata\""));
        assert_eq!(revision_gap(&encoded.bytes), Some(("v1", encoded.revision_at)));
        assert_eq!(revision_gap(text.as_bytes()), None, "the revision is there");
        assert_eq!(
            revision_gap(br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","resourceVersion":""}}"#),
            None
        );
    }

    #[test]
    fn a_part_is_what_was_asked_for_or_all_else() {
        let text = br#"{"kind":"Pod","metadata":{"name":"a","labels":{"x":"y"}},"spec":{"nodeName":"n","containers":[{}]},"status":null}"#;
        let picked = pick(text, &["metadata.name", "spec.nodeName", "status.phase", "spec.containers"]).unwrap();
        assert_eq!(
            picked,
            json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n", "containers": [{}]}, "status": null})
        );
        assert!(pick(b"{\"spec\":", &["spec"]).is_err());
        let rest = omit(text, &["metadata.labels", "spec", "status.phase"]).unwrap();
        assert_eq!(rest, json!({"kind": "Pod", "metadata": {"name": "a"}, "status": null}));
    }

    #[test]
    fn paths_are_made_and_removed() {
        let mut object = json!({});
        set(&mut object, "metadata.labels.a", "b");
        assert_eq!(get_str(&object, "metadata.labels.a"), "b");
        assert_eq!(remove(&mut object, "metadata.labels.a"), Some("b".into()));
        assert_eq!(remove(&mut object, "status.x"), None);
    }
}
