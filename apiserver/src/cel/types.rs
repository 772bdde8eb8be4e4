//! What expressions evaluate to, as far as that is known before they run.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

/// A type. Clones share their parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Has a name and no parameters.
    Simple(Simple),
    /// Stands for a type that is yet to be found.
    Param(Param),
    /// Has parameters: lists, maps, optionals, types of types.
    Of(Family, Arc<[Type]>),
    /// Has fields.
    Object(Arc<Object>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simple {
    Any,
    Bool,
    Bytes,
    Double,
    Duration,
    Dyn,
    /// Of an expression in which an error was found already.
    Error,
    Int,
    Null,
    String,
    Timestamp,
    /// The type of all types.
    Type,
    Uint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    List,
    Map,
    Type,
    /// Known by its name alone, `optional_type` among them.
    Opaque(&'static str),
}

/// A type parameter: a letter in a declaration, or a variable of the checker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Param {
    Declared(char),
    Fresh(u32),
}

/// A type with fields; two of one name are the same.
#[derive(Debug)]
pub struct Object {
    pub name: String,
    pub fields: Fields,
}

#[derive(Debug)]
pub enum Fields {
    These(BTreeMap<String, Type>),
    /// Every field there can be, of unknown types.
    All,
    /// None: there are only functions for it.
    Hidden,
}

impl PartialEq for Object {
    fn eq(&self, other: &Object) -> bool {
        self.name == other.name
    }
}

pub const ANY: Type = Type::Simple(Simple::Any);
pub const BOOL: Type = Type::Simple(Simple::Bool);
pub const DYN: Type = Type::Simple(Simple::Dyn);
pub const ERROR: Type = Type::Simple(Simple::Error);
pub const INT: Type = Type::Simple(Simple::Int);
pub const NULL: Type = Type::Simple(Simple::Null);
pub const STRING: Type = Type::Simple(Simple::String);

const OPTIONAL: Family = Family::Opaque("optional_type");

impl Type {
    pub fn list(of: Type) -> Type {
        Type::Of(Family::List, Arc::new([of]))
    }

    pub fn map(key: Type, value: Type) -> Type {
        Type::Of(Family::Map, Arc::new([key, value]))
    }

    pub fn optional(of: Type) -> Type {
        Type::Of(OPTIONAL, Arc::new([of]))
    }

    /// The type whose one value is `of`.
    pub fn type_of(of: Type) -> Type {
        Type::Of(Family::Type, Arc::new([of]))
    }

    pub fn object<K: Into<String>>(name: impl Into<String>, fields: impl IntoIterator<Item = (K, Type)>) -> Type {
        let fields = fields.into_iter().map(|(name, ty)| (name.into(), ty)).collect();
        Type::Object(Arc::new(Object { name: name.into(), fields: Fields::These(fields) }))
    }

    pub fn any_fields(name: impl Into<String>) -> Type {
        Type::Object(Arc::new(Object { name: name.into(), fields: Fields::All }))
    }

    pub fn without_fields(name: impl Into<String>) -> Type {
        Type::Object(Arc::new(Object { name: name.into(), fields: Fields::Hidden }))
    }

    pub fn params(&self) -> &[Type] {
        match self {
            Type::Of(_, params) => params,
            _ => &[],
        }
    }

    pub fn is_dyn(&self) -> bool {
        matches!(self, Type::Simple(Simple::Dyn | Simple::Any))
    }

    pub fn is_dyn_or_error(&self) -> bool {
        self.is_dyn() || *self == ERROR
    }

    /// The type of an optional's value, if it is one.
    pub fn optional_value(&self) -> Option<&Type> {
        match self {
            Type::Of(OPTIONAL, params) => params.first(),
            _ => None,
        }
    }

    /// Of how many parts it is made; counts no further than `limit`.
    pub fn size(&self, limit: usize) -> usize {
        let mut size = 1;
        for param in self.params() {
            if size >= limit {
                break;
            }
            size += param.size(limit - size);
        }
        size
    }

    /// As other expressions see a variable of the type: what is within objects and optionals is not known to them.
    pub fn of_variable(&self) -> Type {
        match self {
            Type::Simple(Simple::Type | Simple::Error) | Type::Param(_) | Type::Object(_) => DYN,
            Type::Simple(_) => self.clone(),
            Type::Of(family @ (Family::List | Family::Map), params) => {
                Type::Of(*family, params.iter().map(Type::of_variable).collect())
            }
            Type::Of(..) => DYN,
        }
    }

    /// Whether it is the same but for the names of type parameters.
    pub fn is_equivalent(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Param(_), Type::Param(_)) => true,
            (Type::Of(family, params), Type::Of(other, others)) => {
                family == other
                    && params.len() == others.len()
                    && params.iter().zip(others.iter()).all(|(param, other)| param.is_equivalent(other))
            }
            _ => self == other,
        }
    }

    /// The name without parameters, as values of the type would give it.
    pub fn name(&self) -> String {
        match self {
            Type::Simple(Simple::Any) => "google.protobuf.Any".to_owned(),
            Type::Simple(Simple::Duration) => "google.protobuf.Duration".to_owned(),
            Type::Simple(Simple::Timestamp) => "google.protobuf.Timestamp".to_owned(),
            Type::Simple(Simple::Null) => "null_type".to_owned(),
            Type::Simple(simple) => simple.shown().to_owned(),
            Type::Param(param) => param.to_string(),
            Type::Of(family, _) => family.name().to_owned(),
            Type::Object(object) => object.name.clone(),
        }
    }

    /// The name with parameters, as what must evaluate to something else is told.
    pub fn full_name(&self) -> String {
        let mut name = match self {
            Type::Param(param) => return format!("<{param}>"),
            _ => self.name(),
        };
        let params: Vec<String> = self.params().iter().map(Type::full_name).collect();
        if !params.is_empty() {
            let _ = write!(name, "({})", params.join(", "));
        }
        name
    }
}

impl Simple {
    fn shown(self) -> &'static str {
        match self {
            Simple::Any => "any",
            Simple::Bool => "bool",
            Simple::Bytes => "bytes",
            Simple::Double => "double",
            Simple::Duration => "duration",
            Simple::Dyn => "dyn",
            Simple::Error => "!error!",
            Simple::Int => "int",
            Simple::Null => "null",
            Simple::String => "string",
            Simple::Timestamp => "timestamp",
            Simple::Type => "type",
            Simple::Uint => "uint",
        }
    }
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Family::List => "list",
            Family::Map => "map",
            Family::Type => "type",
            Family::Opaque(name) => name,
        }
    }
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Param::Declared(letter) => f.write_char(*letter),
            Param::Fresh(number) => write!(f, "_var{number}"),
        }
    }
}

/// As messages of the checker show it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Simple(simple) => f.write_str(simple.shown()),
            Type::Param(param) => param.fmt(f),
            Type::Object(object) => f.write_str(&object.name),
            Type::Of(family, params) => {
                f.write_str(family.name())?;
                for (i, param) in params.iter().enumerate() {
                    write!(f, "{}{param}", if i == 0 { "(" } else { ", " })?;
                }
                if params.is_empty() { Ok(()) } else { f.write_char(')') }
            }
        }
    }
}
