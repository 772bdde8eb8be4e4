//! What nobody meant: real bodies with parts replaced, cut off, repeated, nested and stretched; and real objects with values
//! put where others were.

use api::{Map, Value};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::json;

/// A change of bytes.
#[derive(Debug, Clone)]
pub enum Edit {
    /// So many bytes become others.
    Replace(Index, usize, Vec<u8>),
    /// A part comes again at another place, so many times.
    Repeat(Index, Index, usize, usize),
    /// What follows is cut off.
    Cut(Index),
    /// Bits of a byte are turned.
    Flip(Index, u8),
    /// Brackets are opened so many times, and closed where the body ends.
    Nest(Index, (&'static str, &'static str), usize),
    /// A byte is there so many times.
    Stretch(Index, usize),
}

const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "true",
    "-1",
    "1e999",
    "0.1",
    "\"$patch\":\"replace\",",
    "\"\\ud800\"",
    "\u{feff}",
    "&a ",
    "*a",
    "<<: ",
    "\n",
    "\t",
    "- ",
    "---\n",
    "''",
    "!!binary ",
    "? ",
    "|-\n",
    "/",
    "~1",
    "%2F",
    "..",
    "\0",
    "=",
    "==",
    "!=",
    "(",
    ")",
    " in ",
    "notin",
    ";q=",
    "*/*",
    "99999999999999999999",
    "-----BEGIN ",
    "\u{e9}",
];

pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let bytes = prop_oneof![
        select(TOKENS).prop_map(|token| token.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    let place = any::<Index>;
    let brackets = select(&[("[", "]"), ("{\"a\":", "}"), ("(", ")"), ("{a: ", "}"), ("\n - ", "")][..]);
    let edit = prop_oneof![
        4 => (place(), 0..8usize, bytes).prop_map(|(at, len, new)| Edit::Replace(at, len, new)),
        2 => (place(), place(), 0..60usize, 1..4usize).prop_map(|(from, to, len, times)| Edit::Repeat(from, to, len, times)),
        1 => place().prop_map(Edit::Cut),
        2 => (place(), 1..=255u8).prop_map(|(at, bits)| Edit::Flip(at, bits)),
        1 => (place(), brackets, 1..300usize).prop_map(|(at, brackets, times)| Edit::Nest(at, brackets, times)),
        1 => (place(), 1..5000usize).prop_map(|(at, times)| Edit::Stretch(at, times)),
    ];
    prop::collection::vec(edit, 0..6)
}

/// The bytes after these edits.
pub fn edited(text: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for edit in edits {
        let place = |at: &Index| at.index(bytes.len() + 1);
        match edit {
            Edit::Replace(at, len, new) => {
                let at = place(at);
                let end = (at + len).min(bytes.len());
                bytes.splice(at..end, new.iter().copied());
            }
            Edit::Repeat(from, to, len, times) => {
                let (from, to) = (place(from), place(to));
                let part = bytes[from..(from + len).min(bytes.len())].repeat(*times);
                bytes.splice(to..to, part);
            }
            Edit::Cut(at) => bytes.truncate(place(at)),
            Edit::Flip(at, bits) => {
                let at = place(at);
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= bits);
            }
            Edit::Nest(at, (open, close), times) => {
                let at = place(at);
                bytes.splice(at..at, open.repeat(*times).into_bytes());
                bytes.extend(close.repeat(*times).into_bytes());
            }
            Edit::Stretch(at, times) => {
                let at = place(at);
                if let Some(byte) = bytes.get(at).copied() {
                    bytes.splice(at..at, std::iter::repeat_n(byte, *times));
                }
            }
        }
    }
    bytes
}

/// A change of an object's tree.
#[derive(Debug, Clone)]
pub enum Change {
    Put(Index, Value),
    /// A child goes.
    Remove(Index, Index),
    /// A child is there so many more times; in a map, under other keys.
    Repeat(Index, Index, usize),
    /// A part takes the place of another one.
    Transplant(Index, Index),
}

pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    let values = select(vec![
        Value::Null,
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1),
        json!(i32::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(0.5),
        json!(1e300),
        json!(""),
        json!("a"),
        json!("A b"),
        json!("*"),
        json!("-"),
        json!("1"),
        json!("100m"),
        json!("-1Gi"),
        json!("9e999"),
        json!("50%"),
        json!("2026-01-02T03:04:05Z"),
        json!("10.0.0.1"),
        json!("::1/129"),
        json!("10.0.0.0/8"),
        json!("a".repeat(300)),
        json!("a/b/c"),
        json!("\u{e9}\0\u{1f600}"),
        json!("$(A)"),
        json!("../.."),
        json!("* * * * *"),
        json!("@every 1h"),
        json!("MQ=="),
        json!([]),
        json!([null]),
        json!([{}]),
        json!([[]]),
        json!(["a", "a", ""]),
        json!({}),
        json!({"": ""}),
        json!({"a": null}),
        json!({"a": {"a": []}}),
    ]);
    let place = any::<Index>;
    let change = prop_oneof![
        3 => (place(), values).prop_map(|(at, value)| Change::Put(at, value)),
        1 => (place(), place()).prop_map(|(at, child)| Change::Remove(at, child)),
        1 => (place(), place(), 1..40usize).prop_map(|(at, child, times)| Change::Repeat(at, child, times)),
        1 => (place(), place()).prop_map(|(from, to)| Change::Transplant(from, to)),
    ];
    prop::collection::vec(change, 0..5)
}

/// The object after these changes.
pub fn changed(object: &Value, changes: &[Change]) -> Value {
    let mut object = object.clone();
    for change in changes {
        let count = nodes(&object);
        match change {
            Change::Put(at, value) => *node(&mut object, at.index(count)) = value.clone(),
            Change::Remove(at, child) => match node(&mut object, at.index(count)) {
                Value::Array(items) if !items.is_empty() => drop(items.remove(child.index(items.len()))),
                Value::Object(map) => drop(key(map, child).and_then(|key| map.remove(&key))),
                _ => {}
            },
            Change::Repeat(at, child, times) => match node(&mut object, at.index(count)) {
                Value::Array(items) if !items.is_empty() => {
                    let item = items[child.index(items.len())].clone();
                    items.extend(std::iter::repeat_n(item, *times));
                }
                Value::Object(map) => {
                    let value = key(map, child).map(|key| map[&key].clone());
                    map.extend(value.into_iter().flat_map(|v| (0..*times).map(move |i| (format!("k{i}"), v.clone()))));
                }
                _ => {}
            },
            Change::Transplant(from, to) => {
                let part = node(&mut object, from.index(count)).clone();
                *node(&mut object, to.index(count)) = part;
            }
        }
    }
    object
}

fn key(map: &Map, at: &Index) -> Option<String> {
    if map.is_empty() { None } else { map.keys().nth(at.index(map.len())).cloned() }
}

/// How many values there are, all the way down.
pub fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(map) => map.values().map(nodes).sum(),
        _ => 0,
    }
}

/// The value at a place, counted from the outermost.
fn node(value: &mut Value, at: usize) -> &mut Value {
    fn children(value: &mut Value) -> Vec<&mut Value> {
        match value {
            Value::Array(items) => items.iter_mut().collect(),
            Value::Object(map) => map.values_mut().collect(),
            _ => Vec::new(),
        }
    }
    let (mut here, mut at) = (value, at);
    while at > 0 {
        at -= 1;
        let found = children(here).into_iter().find_map(|child| {
            let count = nodes(child);
            if at < count {
                Some(child)
            } else {
                at -= count;
                None
            }
        });
        here = found.expect("places are below the count of values");
    }
    here
}
