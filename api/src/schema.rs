//! Schemas: what fields a type has, and what Kubernetes says about each.
//!
//! The built-in types come from a generated table (`api/schema/table.txt`, see `xtask schema`); a custom resource's
//! schema is built at run time from the same parts. Everything that must know an object's shape works on these:
//! decoding, pruning, defaulting, protobuf, patches, server-side apply, OpenAPI.

mod description;
mod fill;
mod table;

pub use description::Description;
pub use fill::{align, default, fill, settle, written};

use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A name: static in the built-in table, owned in run-time schemas.
pub type Text = Cow<'static, str>;
/// The place of a type in its schema.
pub type TypeId = u32;

/// A set of types that refer to each other.
#[derive(Debug, Default)]
pub struct Schema {
    types: Vec<Type>,
    by_name: HashMap<Text, TypeId>,
}

/// An object type.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    /// The OpenAPI definition name: `io.k8s.api.core.v1.Pod`.
    pub name: Text,
    /// Sorted by name.
    pub fields: Vec<Field>,
    /// Set for types that stand alone, with `apiVersion` and `kind`.
    pub gvk: Option<(Text, Text, Text)>,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// Merged as a whole by server-side apply (`+structType=atomic` on the type).
    pub atomic: bool,
    /// Only one of the fields may be set (`+union`): the field that says which; empty where none does.
    pub union: Option<Text>,
}

/// A field of a type.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The JSON key.
    pub name: Text,
    pub ty: FieldType,
    /// Listed under `required` in OpenAPI.
    pub required: bool,
    /// Orders that list; equal where it is in the fields' order.
    pub place: u8,
    pub presence: Presence,
    pub list: ListType,
    /// Maps and structs: merged as a whole by server-side apply.
    pub atomic: bool,
    /// Maps and structs: said not to be atomic, as they are not anyway.
    pub granular: bool,
    pub patch: PatchStrategy,
    /// The key that strategic merge patches match list items by; also set for lists of scalars as empty.
    pub merge_key: Text,
    /// The `+default` marker's value.
    pub default: Option<Value>,
    /// Protobuf field number; 0 where there is none.
    pub tag: u16,
    /// The field numbers of the messages that protobuf wraps the field in and JSON flattens, outermost first; 0 where
    /// there are none.
    pub inline: [u8; 2],
}

/// What happens to a field's zero value: which Go type the field has upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// A pointer: absent and zero differ; written as given.
    #[default]
    Pointer,
    /// A pointer without `omitempty`: absence is written, as null.
    Null,
    /// `omitempty` without pointer: a zero value is the same as none, and is not written.
    Omit,
    /// Neither: the zero value is written where the field is absent.
    Always,
}

/// How items of a list are told apart (`+listType`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListType {
    /// Not said; server-side apply treats it as atomic.
    #[default]
    Unset,
    Atomic,
    Set,
    /// By these keys of the items.
    Map(Vec<Text>),
}

/// `+patchStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    pub merge: bool,
    pub retain_keys: bool,
    /// `replace` was given by name.
    pub replace: bool,
}

/// The type of a field's value, as JSON carries it.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldType {
    String,
    /// Base64.
    Bytes,
    Int32,
    Int64,
    Float,
    Bool,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    /// Go's notation, `1m30s`.
    Duration,
    /// `managedFields[].fieldsV1`: an object, kept as it is.
    FieldsV1,
    /// An embedded object, kept as it is.
    RawExtension,
    /// Any JSON.
    Json,
    /// JSON schema, with an alternative form beside the object.
    SchemaOrBool(TypeId),
    SchemaOrArray(TypeId),
    SchemaOrStrings(TypeId),
    Ref(TypeId),
    List(Box<FieldType>),
    Map(Box<FieldType>),
}

/// A type together with the schema that its references point into.
#[derive(Debug, Clone, Copy)]
pub struct TypeRef<'s> {
    pub schema: &'s Schema,
    pub ty: &'s Type,
}

impl std::ops::Deref for TypeRef<'_> {
    type Target = Type;
    fn deref(&self) -> &Type {
        self.ty
    }
}

impl<'s> TypeRef<'s> {
    /// The type that a field type refers to, through lists and maps.
    pub fn target(&self, ty: &FieldType) -> Option<TypeRef<'s>> {
        match ty {
            FieldType::Ref(id)
            | FieldType::SchemaOrBool(id)
            | FieldType::SchemaOrArray(id)
            | FieldType::SchemaOrStrings(id) => Some(self.schema.at(*id)),
            FieldType::List(inner) | FieldType::Map(inner) => self.target(inner),
            _ => None,
        }
    }

    /// The field with this JSON key.
    pub fn field(&self, name: &str) -> Option<&'s Field> {
        self.ty.index_of(name).map(|i| &self.ty.fields[i])
    }

    /// The field's name at a dotted path of keys; lists and maps are stepped through to their items.
    pub fn field_at(&self, path: &str) -> Option<&'s Field> {
        let (mut at, mut found) = (*self, None);
        for key in path.split('.') {
            let field = at.field(key)?;
            found = Some(field);
            if let Some(next) = at.target(&field.ty) {
                at = next;
            }
        }
        found
    }
}

impl Type {
    /// A type without fields.
    pub fn new(name: impl Into<Text>) -> Type {
        Type { name: name.into(), fields: Vec::new(), gvk: None, preserve_unknown: false, atomic: false, union: None }
    }

    /// `PodSpec`, from `io.k8s.api.core.v1.PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// Go's name with its package, `v1.PodSpec`, as decoding errors carry it.
    pub fn go_name(&self) -> &str {
        self.name.rmatch_indices('.').nth(1).map_or(&self.name, |(at, _)| &self.name[at + 1..])
    }

    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.binary_search_by(|f| (*f.name).cmp(name)).ok()
    }
}

impl Field {
    /// An optional field without markers.
    pub fn new(name: impl Into<Text>, ty: FieldType) -> Field {
        Field {
            name: name.into(),
            ty,
            required: false,
            place: 0,
            presence: Presence::Pointer,
            list: ListType::Unset,
            atomic: false,
            granular: false,
            patch: PatchStrategy::default(),
            merge_key: Text::Borrowed(""),
            default: None,
            tag: 0,
            inline: [0; 2],
        }
    }
}

impl FieldType {
    /// What Go writes for the zero value.
    pub fn zero(&self) -> Value {
        match self {
            FieldType::String => Value::from(""),
            FieldType::Int32 | FieldType::Int64 | FieldType::Float | FieldType::IntOrString => Value::from(0),
            FieldType::Bool => Value::Bool(false),
            FieldType::Quantity => Value::from("0"),
            FieldType::Duration => Value::from("0s"),
            FieldType::Ref(_) | FieldType::SchemaOrBool(_) => Value::Object(crate::Map::new()),
            _ => Value::Null,
        }
    }
}

impl Schema {
    /// The built-in types.
    pub fn builtin() -> &'static Schema {
        static BUILTIN: OnceLock<Schema> = OnceLock::new();
        BUILTIN.get_or_init(|| table::parse(include_str!("../schema/table.txt")))
    }

    /// A schema of these types; fields are put in order. References are places in `types`.
    pub fn new(mut types: Vec<Type>) -> Schema {
        for ty in &mut types {
            ty.fields.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let by_name = types.iter().enumerate().map(|(i, t)| (t.name.clone(), i as TypeId)).collect();
        Schema { types, by_name }
    }

    /// The type with this definition name.
    pub fn get(&self, name: &str) -> Option<TypeRef<'_>> {
        self.by_name.get(name).map(|id| self.at(*id))
    }

    /// The type at a place that this schema gave out.
    pub fn at(&self, id: TypeId) -> TypeRef<'_> {
        TypeRef { schema: self, ty: &self.types[id as usize] }
    }

    pub fn id(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    pub fn types(&self) -> impl Iterator<Item = TypeRef<'_>> {
        self.types.iter().map(|ty| TypeRef { schema: self, ty })
    }

    /// The built-in type of a kind: `("apps", "v1", "Deployment")`.
    pub fn of_kind(group: &str, version: &str, kind: &str) -> Option<TypeRef<'static>> {
        let builtin = Schema::builtin();
        builtin
            .get(&crate::kinds::type_name(group, version, kind))
            .or_else(|| builtin.get(&format!("io.k8s.apimachinery.pkg.apis.meta.{version}.{kind}")))
    }
}
