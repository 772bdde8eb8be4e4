//! The visitor that builds a tree by a type, whatever the bytes' format is.

use super::keys::{AnyKey, Key, KeyOf};
use super::skip::Skipped;
use super::words::{Found, Mismatch, Path, Words};
use super::{Decoded, Problems, base64};
use crate::quantity::Quantity;
use crate::schema::{Field, FieldType, Presence, TypeRef};
use crate::{Map, time};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// Reads one object. The outer error is the format's (syntax), the inner the schema's (types).
pub(super) fn decode<'de, D: Deserializer<'de>>(
    reader: D,
    ty: TypeRef<'_>,
    words: Words,
) -> Result<Result<Decoded, Mismatch>, D::Error> {
    let mut findings = Findings { words, problems: Problems::default(), is_strict: true, mismatch: None };
    let seed = Node { findings: &mut findings, owner: ty, shape: Shape::Object(ty), path: &Path::Root };
    let value = seed.deserialize(reader)?;
    Ok(match findings.mismatch {
        Some(mismatch) => Err(mismatch),
        None => Ok(Decoded {
            value: if value.is_null() { Value::Object(Map::new()) } else { value },
            problems: findings.problems.found,
        }),
    })
}

struct Findings {
    words: Words,
    problems: Problems,
    /// Whether problems are reported.
    is_strict: bool,
    /// What is told: the first wrong type, unless something that ends the decoding follows.
    mismatch: Option<Mismatch>,
}

/// What the next value has to be.
#[derive(Clone, Copy)]
pub(super) enum Shape<'s> {
    Object(TypeRef<'s>),
    Field(&'s FieldType),
}

impl Shape<'_> {
    /// Whether Go's type reads its own JSON. An error in there ends the decoding.
    pub fn reads_itself(&self) -> bool {
        use FieldType::*;
        let Shape::Field(ty) = self else { return false };
        matches!(
            ty,
            Quantity
                | IntOrString
                | Time
                | MicroTime
                | Duration
                | SchemaOrBool(_)
                | SchemaOrArray(_)
                | SchemaOrStrings(_)
        )
    }
}

struct Node<'a, 's> {
    findings: &'a mut Findings,
    /// The type whose schema references point into.
    owner: TypeRef<'s>,
    shape: Shape<'s>,
    path: &'a Path<'a>,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        match self.shape {
            Shape::Field(FieldType::Json | FieldType::RawExtension | FieldType::FieldsV1) => {
                serde::Deserialize::deserialize(reader)
            }
            _ => reader.deserialize_any(self),
        }
    }
}

impl<'a, 's> Node<'a, 's> {
    fn report(&mut self, duplicate: bool, key: &str) {
        if self.findings.is_strict {
            self.findings.problems.report(duplicate, |path| Path::Key(self.path, key).write(path));
        }
    }

    /// Notes an error in a type's own words.
    fn fail(&mut self, why: impl fmt::Display) -> Value {
        self.note(|_| Mismatch::new(why.to_string()))
    }

    /// A JSON value of the wrong sort.
    fn mismatch(&mut self, found: Found<'_>) -> Value {
        let (shape, owner, path) = (self.shape, self.owner, self.path);
        self.note(|words| words.mismatch(found, shape, owner, path))
    }

    fn note(&mut self, make: impl FnOnce(Words) -> Mismatch) -> Value {
        let words = self.findings.words;
        let ends = self.shape.reads_itself() || words == Words::Converter;
        match &self.findings.mismatch {
            Some(first) if first.of_type => {}
            Some(first) if first.ends || !ends => {
                // Only the type's own fields are told after others: what is said of the rest would be thrown away.
                if !self.path.is_type() {
                    return Value::Null;
                }
                let next = make(words);
                if next.of_type {
                    self.findings.mismatch = Some(next);
                }
            }
            _ => self.findings.mismatch = Some(make(words).ending(ends)),
        }
        Value::Null
    }

    fn object(&self) -> Option<TypeRef<'s>> {
        match self.shape {
            Shape::Object(ty) => Some(ty),
            Shape::Field(
                ty @ (FieldType::Ref(_)
                | FieldType::SchemaOrBool(_)
                | FieldType::SchemaOrArray(_)
                | FieldType::SchemaOrStrings(_)),
            ) => self.owner.target(ty),
            Shape::Field(_) => None,
        }
    }

    /// `exact`: the number, if it is whole; `text`: as it is written, as far as is known.
    fn number(&mut self, text: impl fmt::Display, exact: Option<i64>) -> Value {
        // What is converted, and not decoded, is cut to fit.
        let cuts = self.findings.words == Words::Converter;
        match self.shape {
            Shape::Field(FieldType::Int64) => match exact {
                Some(n) => n.into(),
                None => self.mismatch(Found::Number(&text)),
            },
            Shape::Field(FieldType::Int32) if cuts && exact.is_some() => (exact.unwrap_or_default() as i32).into(),
            Shape::Field(FieldType::Int32 | FieldType::IntOrString) => {
                match exact.and_then(|n| i32::try_from(n).ok()) {
                    Some(n) => n.into(),
                    None => self.mismatch(Found::Number(&text)),
                }
            }
            Shape::Field(FieldType::Float) => match exact {
                Some(n) => n.into(),
                None => text.to_string().parse::<f64>().map_or(Value::Null, Value::from),
            },
            Shape::Field(FieldType::Quantity) => self.quantity(&text.to_string()),
            Shape::Field(FieldType::SchemaOrBool(_)) => self.fail("boolean or JSON schema expected"),
            _ => self.mismatch(if exact.is_some() { Found::Int } else { Found::Float }),
        }
    }

    fn quantity(&mut self, text: &str) -> Value {
        Quantity::canonical(text).map_or_else(|why| self.fail(why), Value::from)
    }

    fn text(&mut self, text: Cow<'_, str>) -> Value {
        let Shape::Field(ty) = self.shape else { return self.mismatch(Found::String) };
        match ty {
            FieldType::String | FieldType::IntOrString => Value::String(text.into_owned()),
            FieldType::Quantity => self.quantity(&text),
            FieldType::Time => time::canonical(&text).map_or_else(|why| self.fail(why), Value::from),
            FieldType::MicroTime => time::canonical_micro(&text).map_or_else(|why| self.fail(why), Value::from),
            FieldType::Duration => match time::parse_duration(&text) {
                Ok(span) => time::format_duration(span).into(),
                Err(why) => self.fail(why),
            },
            FieldType::Bytes => match base64::canonical(text) {
                Ok(text) => text.into(),
                Err(why) => self.fail(self.findings.words.of_bytes(why)),
            },
            FieldType::SchemaOrBool(_) => self.fail("boolean or JSON schema expected"),
            _ => self.mismatch(Found::String),
        }
    }

    fn read_object<'de, A: MapAccess<'de>>(mut self, ty: TypeRef<'s>, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut seen = 0u128;
        while let Some(key) = entries.next_key_seed(KeyOf(ty.ty))? {
            let at = match key {
                Key::Known(at) => at,
                Key::Unknown(key) if ty.preserve_unknown => {
                    map.insert(key, entries.next_value()?);
                    continue;
                }
                Key::Unknown(key) => {
                    self.report(false, &key);
                    entries.next_value::<Skipped>()?;
                    continue;
                }
            };
            let field = &ty.ty.fields[at];
            let repeated = at < 128 && seen & (1 << at) != 0;
            if at < 128 {
                seen |= 1 << at;
            }
            if repeated {
                self.report(true, &field.name);
            }
            let path = Path::Field(self.path, ty.ty, &field.name);
            let shape = Shape::Field(&field.ty);
            let node = Node { findings: self.findings, owner: ty, shape, path: &path };
            let value = entries.next_value_seed(node)?;
            if repeated {
                repeat(&mut map, field, value);
            } else if !value.is_null() && !is_omitted(field, &value) {
                map.insert(field.name.to_string(), value);
            }
        }
        Ok(Value::Object(map))
    }

    fn read_map<'de, A: MapAccess<'de>>(mut self, inner: &'s FieldType, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(AnyKey(key)) = entries.next_key()? {
            if map.contains_key(&key) {
                self.report(true, &key);
            }
            let path = Path::Key(self.path, &key);
            let shape = Shape::Field(inner);
            let node = Node { findings: self.findings, owner: self.owner, shape, path: &path };
            let value = entries.next_value_seed(node)?;
            let value = match value {
                Value::Null if *inner == FieldType::Bytes => Value::from(""),
                Value::Null => inner.zero(),
                value => value,
            };
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    /// Bytes as a list of numbers, which Go reads too.
    fn read_bytes<'de, A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let (mut bytes, mut fits) = (Vec::new(), true);
        while let Some(item) = items.next_element::<Value>()? {
            match item.as_u64().and_then(|number| u8::try_from(number).ok()) {
                Some(byte) => bytes.push(byte),
                None => fits &= item.is_null(),
            }
        }
        Ok(if fits { base64::encode(&bytes).into() } else { self.mismatch(Found::Array) })
    }

    fn read_list<'de, A: SeqAccess<'de>>(self, inner: Shape<'s>, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = Path::Index(self.path, list.len());
            let node = Node { findings: self.findings, owner: self.owner, shape: inner, path: &path };
            match items.next_element_seed(node)? {
                None => return Ok(Value::Array(list)),
                Some(Value::Null) => list.push(match inner {
                    Shape::Field(ty) => ty.zero(),
                    Shape::Object(_) => Value::Object(Map::new()),
                }),
                Some(value) => list.push(value),
            }
        }
    }
}

/// A zero value that upstream's type cannot tell from absence. An empty list or map it can tell: that is gone once it is
/// written, see [`crate::schema::settle`].
pub(super) fn is_omitted(field: &Field, value: &Value) -> bool {
    field.presence == Presence::Omit
        && match value {
            Value::String(s) => s.is_empty(),
            Value::Number(n) => n.as_f64() == Some(0.0) && !matches!(field.ty, FieldType::IntOrString),
            Value::Bool(b) => !b,
            Value::Array(_) | Value::Object(_) => false,
            Value::Null => true,
        }
}

/// A field that comes again: Go decodes it into what is there already.
fn repeat(map: &mut Map, field: &Field, value: Value) {
    let is_pointer = matches!(field.presence, Presence::Pointer | Presence::Null);
    let clears = is_pointer || matches!(field.ty, FieldType::List(_) | FieldType::Map(_));
    match value {
        Value::Null if !clears => {}
        Value::Object(new) if matches!(field.ty, FieldType::Ref(_) | FieldType::Map(_)) => {
            let whole = matches!(field.ty, FieldType::Map(_));
            absorb(crate::document::child(map, &field.name), new, whole);
        }
        value if value.is_null() || is_omitted(field, &value) => drop(map.remove(&*field.name)),
        value => drop(map.insert(field.name.to_string(), value)),
    }
}

/// Lays an object over another one; `whole`: the values of a map are replaced.
fn absorb(old: &mut Map, new: Map, whole: bool) {
    for (key, value) in new {
        match (old.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) if !whole => absorb(old, new, whole),
            (_, value) => drop(old.insert(key, value)),
        }
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<Value, E> {
        Ok(match self.shape {
            Shape::Field(FieldType::Bool | FieldType::SchemaOrBool(_)) => Value::Bool(value),
            Shape::Field(FieldType::Quantity) => self.quantity(if value { "true" } else { "false" }),
            _ => self.mismatch(Found::Bool),
        })
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<Value, E> {
        Ok(self.number(value, Some(value)))
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<Value, E> {
        Ok(self.number(value, i64::try_from(value).ok()))
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<Value, E> {
        // YAML becomes JSON first, which writes a whole number without a point; a converter takes one for an integer.
        // And serde_json takes -0 for a fraction.
        let whole = value.fract() == 0.0 && value.abs() < 9e18;
        let whole = whole && (self.findings.words != Words::Json || value == 0.0);
        if whole {
            Ok(self.number(value as i64, Some(value as i64)))
        } else {
            Ok(self.number(format_args!("{value:?}"), None))
        }
    }

    fn visit_str<E>(mut self, value: &str) -> Result<Value, E> {
        Ok(self.text(Cow::Borrowed(value)))
    }

    fn visit_string<E>(mut self, value: String) -> Result<Value, E> {
        Ok(self.text(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        match self.shape {
            Shape::Field(FieldType::List(inner)) => self.read_list(Shape::Field(inner), items),
            Shape::Field(ty @ FieldType::SchemaOrArray(_)) => match self.owner.target(ty) {
                Some(inner) => self.read_list(Shape::Object(inner), items),
                None => Ok(Value::Null),
            },
            Shape::Field(FieldType::Bytes) if self.findings.words != Words::Converter => self.read_bytes(items),
            Shape::Field(FieldType::SchemaOrStrings(_)) => self.read_list(Shape::Field(&FieldType::String), items),
            _ => {
                while items.next_element::<Skipped>()?.is_some() {}
                Ok(match self.shape {
                    Shape::Field(FieldType::Quantity) => self.quantity("[]"),
                    Shape::Field(FieldType::SchemaOrBool(_)) => self.fail("boolean or JSON schema expected"),
                    _ => self.mismatch(Found::Array),
                })
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        if let Shape::Field(FieldType::Map(inner)) = self.shape {
            return self.read_map(inner, entries);
        }
        if let Some(ty) = self.object() {
            // What reads itself is not strict.
            let (was_strict, reads_itself) = (self.findings.is_strict, self.shape.reads_itself());
            self.findings.is_strict &= !reads_itself;
            let findings = &mut *self.findings;
            let node = Node { findings, owner: self.owner, shape: self.shape, path: self.path };
            let object = node.read_object(ty, entries);
            self.findings.is_strict = was_strict;
            return object;
        }
        while entries.next_entry::<Skipped, Skipped>()?.is_some() {}
        Ok(match self.shape {
            Shape::Field(FieldType::Quantity) => self.quantity("{}"),
            _ => self.mismatch(Found::Object),
        })
    }
}
