//! What is said of a value that does not fit its type.

use super::DecodeError;
use super::visit::Shape;
use crate::schema::{FieldType, Type, TypeRef};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// Go's `encoding/json`.
    Json,
    /// The same, for what was YAML and became JSON.
    Yaml,
    /// apimachinery's converter from trees to Go's types, which strategic merge patch and apply use.
    Converter,
}

/// A value that came where another sort of value was due.
pub(super) enum Found<'n> {
    Bool,
    String,
    Array,
    Object,
    /// Where no number is due.
    Int,
    Float,
    /// A number that does not fit where one is due, as it is written.
    Number(&'n dyn fmt::Display),
}

/// What is wrong with a value.
pub(super) struct Mismatch {
    pub text: String,
    /// Nothing after it is looked at.
    pub ends: bool,
    /// What is wrong is the object's kind or version, which are read first.
    pub of_type: bool,
    /// A number stands in the text that may have been written otherwise.
    number: Option<Number>,
}

/// What an object's kind and version are read into.
const TYPE_STRUCT: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

struct Number {
    /// Where the text has it.
    place: std::ops::Range<usize>,
    /// Where the document has it.
    path: Vec<Step>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Mismatch {
    pub fn new(text: String) -> Mismatch {
        Mismatch { text, ends: false, of_type: false, number: None }
    }

    /// The same, and whether it ends the decoding.
    pub fn ending(self, ends: bool) -> Mismatch {
        Mismatch { ends, ..self }
    }

    /// The error, with numbers as the JSON document has them.
    pub fn into_error(mut self, document: &[u8]) -> DecodeError {
        if let Some(number) = self.number
            && let Some(written) = at(document, &number.path)
        {
            self.text.replace_range(number.place, written);
        }
        if self.of_type { DecodeError::Syntax(self.text) } else { DecodeError::Type(self.text) }
    }
}

/// The text of the value at a path.
fn at<'d>(document: &'d [u8], path: &[Step]) -> Option<&'d str> {
    let mut value: &RawValue = serde_json::from_slice(document).ok()?;
    for step in path {
        value = match step {
            Step::Key(key) => {
                serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(value.get()).ok()?.remove(key.as_str())?
            }
            Step::Index(at) => serde_json::from_str::<Vec<&RawValue>>(value.get()).ok()?.get(*at).copied()?,
        };
    }
    Some(value.get())
}

/// Where the visitor is: a list linked through the stack, read only when there is something to report.
pub(super) enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p Type, &'p str),
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl Path<'_> {
    /// Whether an object's type stands here, or the object itself.
    pub fn is_type(&self) -> bool {
        matches!(self, Path::Root | Path::Field(Path::Root, _, "kind" | "apiVersion"))
    }

    /// `spec.containers[0].image`
    pub fn write(&self, out: &mut String) {
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

    /// `spec.containers.image`: Go's error path has struct fields only, those that Go embeds too.
    fn write_fields(&self, out: &mut String) {
        match self {
            Path::Root => {}
            Path::Key(parent, _) | Path::Index(parent, _) => parent.write_fields(out),
            Path::Field(parent, owner, name) => {
                parent.write_fields(out);
                for part in super::go::embedded(owner, name).iter().chain([name]) {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(part);
                }
            }
        }
    }

    fn field(&self) -> Option<(&Type, &str)> {
        match self {
            Path::Root => None,
            Path::Key(parent, _) | Path::Index(parent, _) => parent.field(),
            Path::Field(_, owner, name) => Some((owner, name)),
        }
    }

    fn steps(&self) -> Vec<Step> {
        let (mut steps, step) = match self {
            Path::Root => return Vec::new(),
            Path::Field(parent, _, key) | Path::Key(parent, key) => (parent.steps(), Step::Key((*key).to_owned())),
            Path::Index(parent, at) => (parent.steps(), Step::Index(*at)),
        };
        steps.push(step);
        steps
    }
}

impl Words {
    pub fn mismatch(self, found: Found<'_>, shape: Shape<'_>, owner: TypeRef<'_>, path: &Path<'_>) -> Mismatch {
        if self == Words::Converter && !shape.reads_itself() {
            return Mismatch::new(unconverted(&found, shape));
        }
        let (kind, number) = match &found {
            Found::Bool => ("bool", String::new()),
            Found::String => ("string", String::new()),
            Found::Array => ("array", String::new()),
            Found::Object => ("object", String::new()),
            Found::Int | Found::Float => ("number", String::new()),
            Found::Number(text) => ("number ", text.to_string()),
        };
        let before = format!("json: cannot unmarshal {kind}");
        let place = before.len()..before.len() + number.len();
        let wanted = match shape {
            Shape::Object(ty) => ty.ty.go_name().into(),
            Shape::Field(ty) => super::go::type_name(ty, owner, path.field(), path.depth()),
        };
        let of_type = self != Words::Converter && path.is_type();
        let after = match path.field() {
            // Kind and version are read before the rest, into a struct without a name.
            None if of_type => format!(" into Go value of type {TYPE_STRUCT}"),
            Some((_, name)) if of_type => format!(" into Go struct field .{name} of type string"),
            Some((owner, _)) if self != Words::Converter => {
                let mut at = String::new();
                path.write_fields(&mut at);
                format!(" into Go struct field {}.{at} of type {wanted}", owner.short_name())
            }
            _ => format!(" into Go value of type {wanted}"),
        };
        let number = (!number.is_empty()).then(|| (Number { place, path: path.steps() }, number));
        let (number, written) = number.map_or((None, String::new()), |(number, written)| (Some(number), written));
        Mismatch { text: before + &written + &after, ends: false, of_type, number }
    }

    /// What is said about a value that is no base64.
    pub fn of_bytes(self, why: String) -> String {
        if self == Words::Converter { format!("error decoding from json: {why}") } else { why }
    }
}

impl Path<'_> {
    /// How many lists and maps there are between the last field and the value.
    fn depth(&self) -> usize {
        match self {
            Path::Root | Path::Field(..) => 0,
            Path::Key(parent, _) | Path::Index(parent, _) => parent.depth() + 1,
        }
    }
}

/// What the converter says.
fn unconverted(found: &Found<'_>, shape: Shape<'_>) -> String {
    let (ty, kind) = match found {
        Found::Bool => ("bool", "bool"),
        Found::String => ("string", "string"),
        Found::Array => ("[]interface {}", "slice"),
        Found::Object => ("map[string]interface {}", "map"),
        Found::Int => ("int64", "int64"),
        Found::Float => ("float64", "float64"),
        Found::Number(_) => ("float64", "float64"),
    };
    let wanted = match shape {
        Shape::Object(_) => return format!("cannot restore struct from: {kind}"),
        Shape::Field(FieldType::Ref(_)) => return format!("cannot restore struct from: {kind}"),
        Shape::Field(FieldType::List(_) | FieldType::Bytes) => return format!("cannot restore slice from {kind}"),
        Shape::Field(FieldType::Map(_)) => return format!("cannot restore map from {kind}"),
        Shape::Field(FieldType::Int32) => "int32",
        Shape::Field(FieldType::Int64) => "int64",
        Shape::Field(FieldType::Float) => "float64",
        Shape::Field(FieldType::Bool) => "bool",
        Shape::Field(_) => "string",
    };
    // Go converts between numbers, and from integers to texts; the converter refuses what it might lose.
    let numeric = |name: &str| matches!(name, "int32" | "int64" | "float64");
    match (ty, wanted) {
        ("int64", "string") => format!("cannot convert {ty} to {wanted}"),
        _ if numeric(ty) && numeric(wanted) => format!("cannot convert {ty} to {wanted}"),
        _ => format!("unrecognized type: {wanted}"),
    }
}
