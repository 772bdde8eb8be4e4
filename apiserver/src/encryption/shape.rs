//! Which fields an `EncryptionConfiguration` has, and of what types they are.

use api::Value;
use api::codec::Problem;
use api::document;

/// What may stand in a field.
enum Shape {
    Text,
    Integer,
    /// An object: its type's name and its fields.
    Object(&'static str, &'static [(&'static str, Shape)]),
    /// A list: the type's name of its items, and their shape.
    List(&'static str, &'static Shape),
}

use Shape::{Integer, List, Object, Text};

const KEY: Shape = Object("Key", &[("name", Text), ("secret", Text)]);
const KEYS: Shape = List("Key", &KEY);
const AES: Shape = Object("AESConfiguration", &[("keys", KEYS)]);
const SECRETBOX: Shape = Object("SecretboxConfiguration", &[("keys", KEYS)]);
const KMS: &[(&str, Shape)] =
    &[("apiVersion", Text), ("name", Text), ("cachesize", Integer), ("endpoint", Text), ("timeout", Text)];
const PROVIDER: Shape = Object(
    "ProviderConfiguration",
    &[
        ("aesgcm", AES),
        ("aescbc", AES),
        ("secretbox", SECRETBOX),
        ("identity", Object("IdentityConfiguration", &[])),
        ("kms", Object("KMSConfiguration", KMS)),
    ],
);
const RULE: Shape = Object(
    "ResourceConfiguration",
    &[("resources", List("string", &Text)), ("providers", List("ProviderConfiguration", &PROVIDER))],
);
const CONFIGURATION: Shape = Object(
    "EncryptionConfiguration",
    &[("kind", Text), ("apiVersion", Text), ("resources", List("ResourceConfiguration", &RULE))],
);

impl Shape {
    /// The type in Go's words.
    fn name(&self) -> String {
        match self {
            Text => "string".to_owned(),
            Integer => "int32".to_owned(),
            Object(name, _) => format!("v1.{name}"),
            List("string", _) => "[]string".to_owned(),
            List(name, _) => format!("[]v1.{name}"),
        }
    }
}

/// Where something stands.
struct Place<'a> {
    /// `resources[0].providers[1]`.
    path: String,
    /// The same without indexes, and the name of the type that has the field: what Go tells of a wrong type.
    dotted: String,
    owner: &'a str,
}

/// Adds unknown fields to `problems`; an error for a value of a wrong type.
pub(super) fn check(tree: &Value, problems: &mut Vec<Problem>) -> Result<(), String> {
    let root = Place { path: String::new(), dotted: String::new(), owner: "" };
    walk(tree, &CONFIGURATION, &root, problems)
}

fn walk(value: &Value, shape: &Shape, at: &Place<'_>, problems: &mut Vec<Problem>) -> Result<(), String> {
    match (shape, value) {
        (_, Value::Null) | (Text, Value::String(_)) => Ok(()),
        (Integer, Value::Number(number)) if number.as_i64().is_some_and(|it| i32::try_from(it).is_ok()) => Ok(()),
        (List(_, item), Value::Array(items)) => items.iter().enumerate().try_for_each(|(index, value)| {
            let place = Place { path: format!("{}[{index}]", at.path), dotted: at.dotted.clone(), owner: at.owner };
            walk(value, item, &place, problems)
        }),
        (Object(owner, fields), Value::Object(map)) => {
            let mut names: Vec<&String> = map.keys().collect();
            names.sort_unstable();
            for name in names {
                let join = |before: &str| if before.is_empty() { name.clone() } else { format!("{before}.{name}") };
                let place = Place { path: join(&at.path), dotted: join(&at.dotted), owner };
                match fields.iter().find(|(known, _)| known == name) {
                    Some((_, shape)) => walk(&map[name], shape, &place, problems)?,
                    None => problems.push(Problem::Unknown(place.path)),
                }
            }
            Ok(())
        }
        _ => {
            let (found, owner, dotted) = (document::sort(value), at.owner, &at.dotted);
            let wanted = shape.name();
            Err(format!("json: cannot unmarshal {found} into Go struct field {owner}.{dotted} of type {wanted}"))
        }
    }
}
