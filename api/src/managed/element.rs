//! A step of a path into an object, its order and its texts.

use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// One step of a path. Names and values are borrowed from the object, the stored sets or the schema where they can be.
#[derive(Debug, Clone)]
pub enum Element<'a> {
    /// A key of a map or a field of a struct.
    Field(Cow<'a, str>),
    /// The item of a list that has these keys, sorted by name.
    Key(Box<[(Cow<'a, str>, Cow<'a, Value>)]>),
    /// The item of a set.
    Value(Cow<'a, Value>),
    /// The item at a place.
    Index(i64),
}

impl<'a> Element<'a> {
    pub(super) fn field(name: &'a str) -> Element<'a> {
        Element::Field(Cow::Borrowed(name))
    }

    /// The name of a field; empty for other elements.
    pub(super) fn name(&self) -> &str {
        match self {
            Element::Field(name) => name,
            _ => "",
        }
    }

    /// Reads the form that `fieldsV1` has as a key. `None` for a type that a newer version may know.
    pub(super) fn parse(text: &'a str) -> Result<Option<Element<'a>>, String> {
        let bytes = text.as_bytes();
        if bytes.len() < 2 {
            return Err("key must be 2 characters long:".to_owned());
        }
        if bytes[1] != b':' {
            return Err(format!("missing colon: {text}"));
        }
        let rest = &text[2..];
        let json = |e: serde_json::Error| e.to_string();
        Ok(Some(match bytes[0] {
            b'f' => Element::field(rest),
            b'v' => Element::Value(Cow::Owned(serde_json::from_str(rest).map_err(json)?)),
            b'i' => Element::Index(rest.parse().map_err(|e| format!("{e}"))?),
            b'k' => {
                let map: crate::Map = serde_json::from_str(rest).map_err(json)?;
                let mut keys: Vec<(Cow<'a, str>, Cow<'a, Value>)> =
                    map.into_iter().map(|(k, v)| (Cow::Owned(k), Cow::Owned(v))).collect();
                keys.sort_by(|a, b| a.0.cmp(&b.0));
                Element::Key(keys.into())
            }
            _ => return Ok(None),
        }))
    }

    /// The key that this element has in `fieldsV1`: `f:name`, `k:{"name":"a"}`, `v:1`, `i:0`.
    pub(super) fn to_key(&self) -> String {
        match self {
            Element::Field(name) => ["f:", name].concat(),
            Element::Value(value) => {
                let mut out = String::from("v:");
                write_go_json(&mut out, value);
                out
            }
            Element::Index(at) => format!("i:{at}"),
            Element::Key(keys) => {
                let mut out = String::from("k:{");
                for (i, (name, value)) in keys.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_string(&mut out, name, false);
                    out.push(':');
                    write_go_json(&mut out, value);
                }
                out.push('}');
                out
            }
        }
    }
}

/// The text of paths in messages: `.spec`, `[name="a"]`, `[="x"]`, `[0]`.
impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Value(value) => write!(f, "[={}]", plain(value)),
            Element::Index(at) => write!(f, "[{at}]"),
            Element::Key(keys) => {
                f.write_str("[")?;
                for (i, (name, value)) in keys.iter().enumerate() {
                    write!(f, "{}{name}={}", if i > 0 { "," } else { "" }, plain(value))?;
                }
                f.write_str("]")
            }
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => crate::field::quote(text),
        other => other.to_string(),
    }
}

impl Ord for Element<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Element::Field(a), Element::Field(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Element::Key(a), Element::Key(b)) => {
                let pairs = a.iter().zip(b.iter()).map(|(a, b)| a.0.cmp(&b.0).then_with(|| order(&a.1, &b.1)));
                pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
            }
            (Element::Value(a), Element::Value(b)) => order(a, b),
            (Element::Index(a), Element::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Element<'_> {
    fn rank(&self) -> u8 {
        match self {
            Element::Field(_) => 0,
            Element::Key(_) => 1,
            Element::Value(_) => 2,
            Element::Index(_) => 3,
        }
    }
}

impl PartialOrd for Element<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Element<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Element<'_> {}

/// A total order of values: numbers, strings, booleans, lists, maps, null.
pub(super) fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or(f64::MAX).total_cmp(&b.as_f64().unwrap_or(f64::MAX)),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let items = a.iter().zip(b).map(|(a, b)| order(a, b));
            items.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let items = a.iter().zip(b).map(|(a, b)| a.0.cmp(b.0).then_with(|| order(a.1, b.1)));
            items.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

/// Whether two values are the same; `1` and `1.0` are.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => order(a, b) == Ordering::Equal,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
        }
        _ => a == b,
    }
}

/// JSON as Go's encoder writes it by default: `<`, `>` and `&` as escapes.
pub(super) fn write_go_json(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => write_string(out, text, true),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_go_json(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(out, key, true);
                out.push(':');
                write_go_json(out, item);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// A JSON string; `html`: with the characters that are special in HTML as escapes.
pub(super) fn write_string(out: &mut String, text: &str, html: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' => out.push_str(&format!("\\u{:04x}", c as u32)),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if html => out.push_str(&format!("\\u{:04x}", c as u32)),
            _ => out.push(c),
        }
    }
    out.push('"');
}
