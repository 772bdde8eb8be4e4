//! The visitor that builds a tree by a type, whatever the bytes' format is.

use super::keys::{AnyKey, Key, KeyOf};
use super::skip::Skipped;
use super::{DecodeError, Decoded, MAX_PROBLEMS, Problem};
use crate::quantity::Quantity;
use crate::schema::{Field, FieldType, Presence, Type, TypeRef};
use crate::{Map, time};
use base64::Engine as _;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// Reads one object. The outer error is the format's (syntax), the inner the schema's (types).
pub(super) fn decode<'de, D: Deserializer<'de>>(
    reader: D,
    ty: TypeRef<'_>,
) -> Result<Result<Decoded, DecodeError>, D::Error> {
    let mut findings = Findings::default();
    let seed = Node { findings: &mut findings, owner: ty, shape: Shape::Object(ty), path: &Path::Root };
    let value = seed.deserialize(reader)?;
    Ok(match findings.mismatch {
        Some(why) => Err(DecodeError::Type(why)),
        None => Ok(Decoded {
            value: if value.is_null() { Value::Object(Map::new()) } else { value },
            problems: findings.problems,
        }),
    })
}

#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    /// The first wrong type; upstream reports only that.
    mismatch: Option<String>,
}

/// Where the visitor is: a list linked through the stack, read only when there is something to report.
enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p Type, &'p str),
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl Path<'_> {
    /// `spec.containers[0].image`
    fn write(&self, out: &mut String) {
        match self {
            Path::Root => {}
            Path::Field(parent, _, name) | Path::Key(parent, name) => {
                parent.write(out);
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Path::Index(parent, at) => {
                parent.write(out);
                out.push_str(&format!("[{at}]"));
            }
        }
    }

    /// `spec.containers.image`: Go's error path has struct fields only.
    fn write_fields(&self, out: &mut String) {
        match self {
            Path::Root => {}
            Path::Key(parent, _) | Path::Index(parent, _) => parent.write_fields(out),
            Path::Field(parent, _, name) => {
                parent.write_fields(out);
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
        }
    }

    fn owner(&self) -> Option<&Type> {
        match self {
            Path::Root => None,
            Path::Key(parent, _) | Path::Index(parent, _) => parent.owner(),
            Path::Field(_, owner, _) => Some(owner),
        }
    }
}

/// What the next value has to be.
#[derive(Clone, Copy)]
enum Shape<'s> {
    Object(TypeRef<'s>),
    Field(&'s FieldType),
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
        if self.findings.problems.len() < MAX_PROBLEMS {
            let mut path = String::new();
            Path::Key(self.path, key).write(&mut path);
            let problem = Problem { duplicate, path };
            if !self.findings.problems.contains(&problem) {
                self.findings.problems.push(problem);
            }
        }
    }

    fn fail(&mut self, why: impl fmt::Display) -> Value {
        self.findings.mismatch.get_or_insert_with(|| why.to_string());
        Value::Null
    }

    /// A JSON value of the wrong sort; `found` in Go's words: `string`, `number 1.5`, `bool`, `array`, `object`.
    fn mismatch(&mut self, found: &str) -> Value {
        if self.findings.mismatch.is_some() {
            return Value::Null;
        }
        let wanted = match self.shape {
            Shape::Object(ty) => ty.ty.go_name().into(),
            Shape::Field(ty) => go_type(ty, self.owner),
        };
        let why = match self.path.owner() {
            Some(owner) => {
                let mut path = String::new();
                self.path.write_fields(&mut path);
                let owner = owner.short_name();
                format!("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {wanted}")
            }
            None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        };
        self.fail(why)
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

    fn number(&mut self, text: impl fmt::Display, exact: Option<i64>) -> Value {
        let wrong = |text: &dyn fmt::Display| format!("number {text}");
        match self.shape {
            Shape::Field(FieldType::Int64) => match exact {
                Some(n) => n.into(),
                None => self.mismatch(&wrong(&text)),
            },
            Shape::Field(FieldType::Int32 | FieldType::IntOrString) => {
                match exact.and_then(|n| i32::try_from(n).ok()) {
                    Some(n) => n.into(),
                    None => self.mismatch(&wrong(&text)),
                }
            }
            Shape::Field(FieldType::Float) => match exact {
                Some(n) => n.into(),
                None => text.to_string().parse::<f64>().map_or(Value::Null, Value::from),
            },
            Shape::Field(FieldType::Quantity) => self.quantity(&text.to_string()),
            _ => self.mismatch("number"),
        }
    }

    fn quantity(&mut self, text: &str) -> Value {
        Quantity::canonical(text).map_or_else(|why| self.fail(why), Value::from)
    }

    fn text(&mut self, text: Cow<'_, str>) -> Value {
        let Shape::Field(ty) = self.shape else { return self.mismatch("string") };
        match ty {
            FieldType::String | FieldType::IntOrString => Value::String(text.into_owned()),
            FieldType::Quantity => self.quantity(&text),
            FieldType::Time => time::canonical(&text).map_or_else(|why| self.fail(why), Value::from),
            FieldType::MicroTime => time::canonical_micro(&text).map_or_else(|why| self.fail(why), Value::from),
            FieldType::Duration => match time::parse_duration(&text) {
                Ok(span) => time::format_duration(span).into(),
                Err(why) => self.fail(why),
            },
            FieldType::Bytes => self.bytes(text),
            _ => self.mismatch("string"),
        }
    }

    fn bytes(&mut self, mut text: Cow<'_, str>) -> Value {
        if text.contains(['\r', '\n']) {
            text = text.replace(['\r', '\n'], "").into();
        }
        match base64::engine::general_purpose::STANDARD.decode(text.as_bytes()) {
            Ok(_) => Value::String(text.into_owned()),
            Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => {
                self.fail(format_args!("illegal base64 data at input byte {at}"))
            }
            Err(_) => self.fail(format_args!("illegal base64 data at input byte {}", text.len() / 4 * 4)),
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
            let path = Path::Field(self.path, ty.ty, &field.name);
            let shape = Shape::Field(&field.ty);
            let node = Node { findings: self.findings, owner: ty, shape, path: &path };
            let value = entries.next_value_seed(node)?;
            let repeated = at < 128 && seen & (1 << at) != 0;
            if at < 128 {
                seen |= 1 << at;
            }
            if repeated {
                self.report(true, &field.name);
            }
            if value.is_null() || is_omitted(field, &value) {
                if repeated {
                    map.remove(&*field.name);
                }
            } else {
                map.insert(field.name.to_string(), value);
            }
        }
        Ok(Value::Object(map))
    }

    fn read_map<'de, A: MapAccess<'de>>(mut self, inner: &'s FieldType, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(AnyKey(key)) = entries.next_key()? {
            let path = Path::Key(self.path, &key);
            let shape = Shape::Field(inner);
            let node = Node { findings: self.findings, owner: self.owner, shape, path: &path };
            let value = entries.next_value_seed(node)?;
            let value = if value.is_null() { inner.zero() } else { value };
            if map.contains_key(&key) {
                self.report(true, &key);
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
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

/// A zero value that upstream's type cannot tell from absence.
pub(super) fn is_omitted(field: &Field, value: &Value) -> bool {
    field.presence == Presence::Omit
        && match value {
            Value::String(s) => s.is_empty(),
            Value::Number(n) => n.as_f64() == Some(0.0) && !matches!(field.ty, FieldType::IntOrString),
            Value::Bool(b) => !b,
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty() && matches!(field.ty, FieldType::Map(_)),
            Value::Null => true,
        }
}

/// Go's name of a field's type.
fn go_type<'t>(ty: &FieldType, owner: TypeRef<'t>) -> Cow<'t, str> {
    match ty {
        FieldType::Bytes => "[]uint8".into(),
        FieldType::Int32 | FieldType::IntOrString => "int32".into(),
        FieldType::Int64 => "int64".into(),
        FieldType::Float => "float64".into(),
        FieldType::Bool => "bool".into(),
        FieldType::List(inner) => format!("[]{}", go_type(inner, owner)).into(),
        FieldType::Map(inner) => format!("map[string]{}", go_type(inner, owner)).into(),
        FieldType::Ref(id)
        | FieldType::SchemaOrBool(id)
        | FieldType::SchemaOrArray(id)
        | FieldType::SchemaOrStrings(id) => owner.schema.at(*id).ty.go_name().into(),
        _ => "string".into(),
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
            _ => self.mismatch("bool"),
        })
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<Value, E> {
        Ok(self.number(value, Some(value)))
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<Value, E> {
        Ok(self.number(value, i64::try_from(value).ok()))
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<Value, E> {
        Ok(self.number(format_args!("{value:?}"), None))
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
            Shape::Field(FieldType::SchemaOrStrings(_)) => self.read_list(Shape::Field(&FieldType::String), items),
            _ => {
                while items.next_element::<Skipped>()?.is_some() {}
                Ok(self.mismatch("array"))
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        if let Shape::Field(FieldType::Map(inner)) = self.shape {
            return self.read_map(inner, entries);
        }
        if let Some(ty) = self.object() {
            return self.read_object(ty, entries);
        }
        while entries.next_entry::<Skipped, Skipped>()?.is_some() {}
        Ok(match self.shape {
            Shape::Field(FieldType::Quantity) => self.quantity("{}"),
            _ => self.mismatch("object"),
        })
    }
}
