//! How server-side apply sees a value: as one scalar, a list or a map, merged by parts or as a whole.

use super::element::Element;
use crate::schema::{Field, FieldType, ListType, Presence, Schema, TypeRef};
use serde_json::Value;
use std::borrow::Cow;

/// The type of a value at some place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'a> {
    Scalar(Scalar),
    List(List<'a>),
    Struct {
        ty: TypeRef<'a>,
        atomic: bool,
    },
    /// A map from any name to values of one type.
    Map {
        schema: &'a Schema,
        values: &'a FieldType,
        atomic: bool,
    },
    /// Any JSON. Its lists are always atomic.
    Free {
        atomic: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    String,
    Number,
    Bool,
    Any,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct List<'a> {
    schema: &'a Schema,
    items: &'a FieldType,
    kind: &'a ListType,
}

/// What a value is taken for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Atom<'a> {
    Scalar(Scalar),
    AtomicList,
    /// A set, or a list with keys.
    List(List<'a>),
    Map {
        atomic: bool,
    },
}

impl<'a> Shape<'a> {
    pub fn of_type(ty: TypeRef<'a>) -> Shape<'a> {
        Shape::Struct { ty, atomic: ty.atomic }
    }

    fn of_field(ty: TypeRef<'a>, field: &'a Field) -> Shape<'a> {
        let relation = if field.granular { Some(false) } else { field.atomic.then_some(true) };
        Self::of(ty.schema, &field.ty, &field.list, relation)
    }

    /// `relation`: whether the field says that it is atomic, or that it is not, whatever its type says.
    fn of(schema: &'a Schema, ty: &'a FieldType, list: &'a ListType, relation: Option<bool>) -> Shape<'a> {
        let atomic = relation.unwrap_or_default();
        match ty {
            FieldType::String | FieldType::Bytes | FieldType::Duration => Shape::Scalar(Scalar::String),
            FieldType::Int32 | FieldType::Int64 | FieldType::Float => Shape::Scalar(Scalar::Number),
            FieldType::Bool => Shape::Scalar(Scalar::Bool),
            FieldType::Quantity | FieldType::IntOrString | FieldType::Time | FieldType::MicroTime => {
                Shape::Scalar(Scalar::Any)
            }
            FieldType::RawExtension => Shape::Free { atomic: true },
            FieldType::FieldsV1
            | FieldType::Json
            | FieldType::SchemaOrBool(_)
            | FieldType::SchemaOrArray(_)
            | FieldType::SchemaOrStrings(_) => Shape::Free { atomic },
            FieldType::Ref(id) => {
                let ty = schema.at(*id);
                Shape::Struct { ty, atomic: relation.unwrap_or(ty.atomic) }
            }
            FieldType::List(items) => Shape::List(List { schema, items, kind: list }),
            FieldType::Map(values) => Shape::Map { schema, values, atomic },
        }
    }

    /// What this value, of this type, is taken for. A value that does not fit the type is taken for what it should be.
    pub fn atom(&self, value: &Value) -> Atom<'a> {
        match self {
            Shape::Scalar(kind) => Atom::Scalar(*kind),
            Shape::List(list) if list.is_atomic() => Atom::AtomicList,
            Shape::List(list) => Atom::List(*list),
            Shape::Struct { atomic, .. } | Shape::Map { atomic, .. } => Atom::Map { atomic: *atomic },
            Shape::Free { atomic } => match value {
                Value::Array(_) => Atom::AtomicList,
                Value::Object(_) | Value::Null => Atom::Map { atomic: *atomic },
                _ => Atom::Scalar(Scalar::Any),
            },
        }
    }

    /// The shape of what is at a key of a map or struct, and whether that is a field which the type names. Unknown
    /// fields have any shape.
    pub fn child(&self, key: &str) -> (Shape<'a>, bool) {
        match self {
            Shape::Struct { ty, .. } => match ty.field(key) {
                Some(field) => (Self::of_field(*ty, field), true),
                None => (Shape::Free { atomic: false }, false),
            },
            Shape::Map { schema, values, .. } => (Self::of(schema, values, &ListType::Unset, None), false),
            Shape::Free { atomic } => (Shape::Free { atomic: *atomic }, false),
            Shape::Scalar(_) | Shape::List(_) => (Shape::Free { atomic: false }, false),
        }
    }

    /// Whether the type allows fields that it does not name.
    pub fn is_open(&self) -> bool {
        match self {
            Shape::Struct { ty, .. } => ty.preserve_unknown || ty.fields.is_empty(),
            _ => true,
        }
    }

    /// Whether nothing is known about the fields of this map.
    pub fn is_untyped(&self) -> bool {
        match self {
            Shape::Struct { ty, .. } => ty.fields.is_empty(),
            Shape::Free { atomic } => !atomic,
            _ => false,
        }
    }

    /// The shape below an element of a set of fields, as far as the schema says; and whether it is a named field.
    pub fn below(&self, element: &Element<'_>) -> Option<(Shape<'a>, bool)> {
        match (self, element) {
            (Shape::Struct { .. } | Shape::Map { .. } | Shape::Free { .. }, Element::Field(name)) => {
                Some(self.child(name))
            }
            (Shape::List(list), _) if !matches!(element, Element::Field(_)) => Some((list.item(), false)),
            _ => None,
        }
    }

    /// Whether values of this type are always merged as a whole.
    pub fn is_atomic(&self) -> bool {
        match self {
            Shape::Scalar(_) => false,
            Shape::List(list) => list.is_atomic(),
            Shape::Struct { atomic, .. } | Shape::Map { atomic, .. } | Shape::Free { atomic } => *atomic,
        }
    }
}

impl<'a> List<'a> {
    fn is_atomic(&self) -> bool {
        matches!(self.kind, ListType::Unset | ListType::Atomic)
    }

    pub fn item(&self) -> Shape<'a> {
        Shape::of(self.schema, self.items, &ListType::Unset, None)
    }

    /// The element that stands for an item, or why it cannot have one.
    pub fn element<'v: 'e, 'e>(&self, item: &'v Value) -> Result<Element<'e>, String>
    where
        'a: 'e,
    {
        let ListType::Map(names) = self.kind else {
            return match item {
                Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
                _ => Ok(Element::Value(Cow::Borrowed(item))),
            };
        };
        let map = match item {
            Value::Object(map) => map,
            Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
            _ => return Err("associative list with keys may not have non-map elements".to_owned()),
        };
        let value = |name: &str| map.get(name).map(Cow::Borrowed).or_else(|| self.default_of(name));
        let mut keys: Vec<(Cow<'e, str>, Cow<'e, Value>)> = Vec::with_capacity(names.len());
        for name in names {
            if let Some(value) = value(name) {
                keys.push((Cow::Borrowed(&**name), value));
            }
        }
        if keys.is_empty() {
            let names: Vec<String> = names.iter().map(|n| crate::field::quote(n)).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default \
                 values for any key fields)",
                names.join(" ")
            ));
        }
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Element::Key(keys.into()))
    }

    /// The default of a key: the field's own, or the zero of one that is always written.
    fn default_of(&self, name: &str) -> Option<Cow<'a, Value>> {
        let FieldType::Ref(id) = self.items else { return None };
        let field = self.schema.at(*id).field(name)?;
        let zero = || Some(field.ty.zero()).filter(|zero| !zero.is_null() && !zero.is_object());
        match &field.default {
            Some(default) => Some(Cow::Borrowed(default)),
            None if field.presence == Presence::Always => zero().map(Cow::Owned),
            None => None,
        }
    }
}
