//! The functions that expressions can call: what they take and what they give. The tables are in files below.
//!
//! A signature is `(types) -> type`, with `type.` before it when the function is called on a value, as in `'a'.size()`. Capital
//! letters stand for any type, the same in all of a signature.

mod kubernetes;
mod standard;

use super::types::{ANY, BOOL, DYN, Family, INT, NULL, Param, STRING, Simple, Type};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// One way to call a function.
pub struct Overload {
    pub is_member: bool,
    /// What it takes; the value that it is called on comes first.
    pub args: Vec<Type>,
    pub result: Type,
    /// The letters in it.
    pub params: Vec<char>,
}

pub type Functions = HashMap<&'static str, Vec<Overload>>;

/// A function and a signature, one for each type that `#` stands for.
type Row = (&'static str, &'static str, &'static [&'static str]);

const ONE: &[&str] = &[""];
const COMPARABLE: &[&str] = &["int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes"];
const SUMMABLE: &[&str] = &["int", "uint", "double", "duration"];

/// What all expressions can call.
pub static BASE: LazyLock<Functions> =
    LazyLock::new(|| functions(standard::OPERATORS.iter().chain(standard::FUNCTIONS).chain(kubernetes::FUNCTIONS)));

/// What those can call that make JSON patches.
pub static JSON_PATCH: LazyLock<Functions> = LazyLock::new(|| functions(kubernetes::JSON_PATCH));

fn functions(rows: impl IntoIterator<Item = &'static Row>) -> Functions {
    let mut functions = Functions::new();
    for (name, signature, instances) in rows {
        for instance in *instances {
            // A row that is not read is missing; a test reads them all.
            if let Some(overload) = overload(&signature.replace('#', instance)) {
                functions.entry(name).or_default().push(overload);
            }
        }
    }
    functions
}

fn overload(signature: &str) -> Option<Overload> {
    let (call, result) = signature.split_once(" -> ")?;
    let open = call.find("(").filter(|_| call.starts_with('(')).or_else(|| call.find(".(").map(|dot| dot + 1))?;
    let (target, list) = call.split_at(open);
    let target = target.strip_suffix('.');
    let mut args: Vec<Type> = target.map(ty).into_iter().collect::<Option<_>>()?;
    args.extend(types(list.strip_prefix('(')?.strip_suffix(')')?)?);
    let result = ty(result)?;
    let mut params = Vec::new();
    args.iter().chain([&result]).for_each(|ty| letters(ty, &mut params));
    Some(Overload { is_member: target.is_some(), args, result, params })
}

fn letters(ty: &Type, found: &mut Vec<char>) {
    match ty {
        Type::Param(Param::Declared(letter)) if !found.contains(letter) => found.push(*letter),
        _ => ty.params().iter().for_each(|param| letters(param, found)),
    }
}

/// Types with commas between them.
fn types(list: &str) -> Option<Vec<Type>> {
    let mut types = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                types.push(ty(list[start..at].trim())?);
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = list[start..].trim();
    if !last.is_empty() {
        types.push(ty(last)?);
    }
    Some(types)
}

fn ty(written: &str) -> Option<Type> {
    if let Some((family, params)) = written.split_once('(') {
        let params: Arc<[Type]> = types(params.strip_suffix(')')?)?.into();
        return Some(Type::Of(family_of(family)?, params));
    }
    if let Some(letter) = written.chars().next().filter(|letter| written.len() == 1 && letter.is_ascii_uppercase()) {
        return Some(Type::Param(Param::Declared(letter)));
    }
    scalar(written).or_else(|| match written {
        "dyn" => Some(DYN),
        "net.IP" => Some(Type::Of(Family::Opaque("net.IP"), Arc::new([]))),
        "net.CIDR" => Some(Type::Of(Family::Opaque("net.CIDR"), Arc::new([]))),
        _ if written.starts_with("kubernetes.") => Some(Type::without_fields(written)),
        _ => None,
    })
}

fn family_of(name: &str) -> Option<Family> {
    Some(match name {
        "list" => Family::List,
        "map" => Family::Map,
        "type" => Family::Type,
        "optional_type" => Family::Opaque("optional_type"),
        _ => return None,
    })
}

/// The type of a name without parameters, as in `x is a string`.
pub fn scalar(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => BOOL,
        "bytes" => Type::Simple(Simple::Bytes),
        "double" => Type::Simple(Simple::Double),
        "duration" => Type::Simple(Simple::Duration),
        "int" => INT,
        "null_type" => NULL,
        "string" => STRING,
        "timestamp" => Type::Simple(Simple::Timestamp),
        "uint" => Type::Simple(Simple::Uint),
        _ => return None,
    })
}

/// The type that an expression names: `type(x) == int`.
pub fn named(name: &str) -> Option<Type> {
    scalar(name).or_else(|| {
        Some(match name {
            "list" => Type::list(DYN),
            "map" => Type::map(DYN, DYN),
            "type" => Type::Simple(Simple::Type),
            "optional_type" => Type::optional(DYN),
            "net.IP" | "net.CIDR" => return ty(name),
            "google.protobuf.Any" => ANY,
            "google.protobuf.Duration" => Type::Simple(Simple::Duration),
            "google.protobuf.Timestamp" => Type::Simple(Simple::Timestamp),
            "google.protobuf.NullValue" => NULL,
            "google.protobuf.Value" => DYN,
            "google.protobuf.ListValue" => Type::list(DYN),
            "google.protobuf.Struct" => Type::map(STRING, DYN),
            _ => return None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_signatures_are_read() {
        let tables = [standard::OPERATORS, standard::FUNCTIONS, kubernetes::FUNCTIONS, kubernetes::JSON_PATCH];
        for (name, signature, instances) in tables.into_iter().flatten() {
            assert!(overload(&signature.replace('#', instances[0])).is_some(), "{name} {signature}");
        }
        let index = overload("map(A, list(B)).(A, optional_type(B)) -> list(B)").unwrap();
        assert!(index.is_member);
        assert_eq!((index.args.len(), &*index.params), (3, &['A', 'B'][..]));
    }
}
