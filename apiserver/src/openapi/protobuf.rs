//! Documents in protobuf: the messages of gnostic's `OpenAPIv2.proto` and `OpenAPIv3.proto`, which clients in Go read.

use super::writer::{Section, Writer};
use super::{Dialect, info};
use api::codec::protobuf::Writer as Wire;
use serde_json::Value;

/// A message: its fields by JSON key, in the order of their numbers, and the number of its `x-` members (0: none).
struct Message {
    fields: &'static [(&'static str, u16, Form)],
    extensions: u16,
}

/// The message of a JSON value, and the numbers of the messages with alternatives that wrap it, outermost first.
type Shape = fn(&Value) -> (&'static [u16], &'static Message);

/// How a JSON value becomes a field.
enum Form {
    Text,
    Texts,
    Flag,
    /// Text in a message of its own.
    TextItem,
    /// Any value, as YAML.
    Any,
    /// A number, boolean or string.
    Scalar,
    One(Shape),
    Many(Shape),
    /// A message whose field of this number repeats for each member of an object, with its name.
    Map(u16, Shape),
}

use Form::{Any, Flag, Many, Map, One, Scalar, Text, TextItem, Texts};

static INFO_V2: Message = Message { fields: &[("title", 1, Text), ("version", 2, Text)], extensions: 0 };
static INFO_V3: Message = Message { fields: &[("title", 1, Text), ("version", 6, Text)], extensions: 0 };
static REFERENCE: Message = Message { fields: &[("$ref", 1, Text)], extensions: 0 };

static PATH_V2: Message = Message {
    fields: &[
        ("get", 2, One(|_| (&[], &OPERATION_V2))),
        ("put", 3, One(|_| (&[], &OPERATION_V2))),
        ("post", 4, One(|_| (&[], &OPERATION_V2))),
        ("delete", 5, One(|_| (&[], &OPERATION_V2))),
        ("options", 6, One(|_| (&[], &OPERATION_V2))),
        ("head", 7, One(|_| (&[], &OPERATION_V2))),
        ("patch", 8, One(|_| (&[], &OPERATION_V2))),
        ("parameters", 9, Many(parameter_item)),
    ],
    extensions: 10,
};
static OPERATION_V2: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Many(parameter_item)),
        ("responses", 9, Map(1, |_| (&[1], &RESPONSE_V2))),
        ("schemes", 10, Texts),
    ],
    extensions: 13,
};
static RESPONSE_V2: Message =
    Message { fields: &[("description", 1, Text), ("schema", 2, One(|_| (&[1], &SCHEMA_V2)))], extensions: 5 };
static BODY_V2: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Flag),
        ("schema", 5, One(|_| (&[], &SCHEMA_V2))),
    ],
    extensions: 6,
};
static QUERY_V2: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 6, Text),
        ("uniqueItems", 20, Flag),
    ],
    extensions: 23,
};
static PATH_PARAMETER_V2: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("uniqueItems", 19, Flag),
    ],
    extensions: 22,
};
static SCHEMA_V2: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("required", 19, Texts),
        ("enum", 20, Any),
        ("additionalProperties", 21, One(|_| (&[1], &SCHEMA_V2))),
        ("type", 22, TextItem),
        ("items", 23, One(|_| (&[1], &SCHEMA_V2))),
        ("properties", 25, Map(1, |_| (&[], &SCHEMA_V2))),
    ],
    extensions: 31,
};
static SECURITY_V2: Message = Message {
    fields: &[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)],
    extensions: 5,
};
static SECURITY_V3: Message = Message {
    fields: &[("type", 1, Text), ("description", 2, Text), ("name", 3, Text), ("in", 4, Text)],
    extensions: 9,
};

static PATH_V3: Message = Message {
    fields: &[
        ("get", 4, One(|_| (&[], &OPERATION_V3))),
        ("put", 5, One(|_| (&[], &OPERATION_V3))),
        ("post", 6, One(|_| (&[], &OPERATION_V3))),
        ("delete", 7, One(|_| (&[], &OPERATION_V3))),
        ("options", 8, One(|_| (&[], &OPERATION_V3))),
        ("head", 9, One(|_| (&[], &OPERATION_V3))),
        ("patch", 10, One(|_| (&[], &OPERATION_V3))),
        ("parameters", 13, Many(|_| (&[1], &PARAMETER_V3))),
    ],
    extensions: 14,
};
static OPERATION_V3: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("parameters", 6, Many(|_| (&[1], &PARAMETER_V3))),
        ("requestBody", 7, One(|_| (&[1], &REQUEST_BODY_V3))),
        ("responses", 8, Map(2, |_| (&[1], &RESPONSE_V3))),
    ],
    extensions: 13,
};
static PARAMETER_V3: Message = Message {
    fields: &[
        ("name", 1, Text),
        ("in", 2, Text),
        ("description", 3, Text),
        ("required", 4, Flag),
        ("schema", 10, One(schema_or_reference)),
    ],
    extensions: 14,
};
static REQUEST_BODY_V3: Message =
    Message { fields: &[("content", 2, Map(1, |_| (&[], &MEDIA_TYPE_V3))), ("required", 3, Flag)], extensions: 4 };
static RESPONSE_V3: Message =
    Message { fields: &[("description", 1, Text), ("content", 3, Map(1, |_| (&[], &MEDIA_TYPE_V3)))], extensions: 5 };
static MEDIA_TYPE_V3: Message = Message { fields: &[("schema", 1, One(schema_or_reference))], extensions: 5 };
static SCHEMA_V3: Message = Message {
    fields: &[
        ("uniqueItems", 20, Flag),
        ("required", 23, Texts),
        ("enum", 24, Any),
        ("type", 25, Text),
        ("allOf", 26, Many(schema_or_reference)),
        ("oneOf", 27, Many(schema_or_reference)),
        ("items", 30, One(items)),
        ("properties", 31, Map(1, schema_or_reference)),
        ("additionalProperties", 32, One(items)),
        ("default", 33, Scalar),
        ("description", 34, Text),
        ("format", 35, Text),
    ],
    extensions: 36,
};

fn is_reference(value: &Value) -> bool {
    value.get("$ref").is_some()
}

fn parameter_item(value: &Value) -> (&'static [u16], &'static Message) {
    match value["in"].as_str() {
        None => (&[2], &REFERENCE),
        Some("body") => (&[1, 1], &BODY_V2),
        Some("path") => (&[1, 2, 4], &PATH_PARAMETER_V2),
        Some(_) => (&[1, 2, 3], &QUERY_V2),
    }
}

/// A parameter that cannot be a reference.
fn parameter(value: &Value) -> (&'static [u16], &'static Message) {
    let (wraps, message) = parameter_item(value);
    (&wraps[1..], message)
}

fn schema_or_reference(value: &Value) -> (&'static [u16], &'static Message) {
    if is_reference(value) { (&[2], &REFERENCE) } else { (&[1], &SCHEMA_V3) }
}

fn items(value: &Value) -> (&'static [u16], &'static Message) {
    if is_reference(value) { (&[1, 2], &REFERENCE) } else { (&[1, 1], &SCHEMA_V3) }
}

/// Writes a document in protobuf.
pub(super) struct ProtobufWriter {
    dialect: Dialect,
    /// The members of each section, by its place in [`Section`].
    sections: [Vec<u8>; 4],
}

impl ProtobufWriter {
    pub(super) fn new(dialect: Dialect) -> ProtobufWriter {
        ProtobufWriter { dialect, sections: Default::default() }
    }

    /// The document.
    pub(super) fn finish(self) -> Vec<u8> {
        let [paths, definitions, parameters, security] = &self.sections;
        let mut wire = Wire::default();
        match self.dialect {
            Dialect::V2 => {
                wire.text(1, "2.0");
                wire.message(2, |w| write(w, &info(), &INFO_V2));
                wire.text(8, paths);
                wire.text(9, definitions);
                wire.text(10, parameters);
                wire.message(12, |w| {
                    w.message(1, |w| {
                        w.text(1, "BearerToken");
                        w.message(2, |_| {});
                    });
                });
                wire.text(13, security);
            }
            Dialect::V3 => {
                wire.text(1, "3.0.0");
                wire.message(2, |w| write(w, &info(), &INFO_V3));
                wire.text(4, paths);
                wire.message(5, |w| {
                    if !definitions.is_empty() {
                        w.text(1, definitions);
                    }
                    w.text(7, security);
                });
            }
        }
        wire.out
    }
}

impl Writer for ProtobufWriter {
    fn member(&mut self, section: Section, name: &str, value: &Value) {
        let (number, shape): (u16, Shape) = match (section, self.dialect) {
            (Section::Paths, Dialect::V2) => (2, |_| (&[], &PATH_V2)),
            (Section::Paths, Dialect::V3) => (1, |_| (&[], &PATH_V3)),
            (Section::Definitions, Dialect::V2) => (1, |_| (&[], &SCHEMA_V2)),
            (Section::Definitions, Dialect::V3) => (1, schema_or_reference),
            (Section::Parameters, _) => (1, parameter),
            (Section::Security, Dialect::V2) => (1, |_| (&[2], &SECURITY_V2)),
            (Section::Security, Dialect::V3) => (1, |_| (&[1], &SECURITY_V3)),
        };
        let mut wire = Wire { out: std::mem::take(&mut self.sections[section as usize]) };
        named(&mut wire, number, name, value, shape);
        self.sections[section as usize] = wire.out;
    }
}

/// A member of an object.
fn named(wire: &mut Wire, number: u16, name: &str, value: &Value, shape: Shape) {
    wire.message(number, |w| {
        w.text(1, name);
        one(w, 2, value, shape);
    });
}

/// A value with its wraps.
fn one(wire: &mut Wire, number: u16, value: &Value, shape: Shape) {
    let (wraps, message) = shape(value);
    wrapped(wire, number, wraps, &mut |w| write(w, value, message));
}

fn wrapped(wire: &mut Wire, number: u16, wraps: &[u16], inner: &mut dyn FnMut(&mut Wire)) {
    wire.message(number, |w| match wraps.split_first() {
        Some((first, rest)) => wrapped(w, *first, rest, inner),
        None => inner(w),
    });
}

/// The fields of a message, in order.
fn write(wire: &mut Wire, value: &Value, message: &Message) {
    let Some(map) = value.as_object() else { return };
    for (name, number, form) in message.fields {
        if let Some(value) = map.get(*name) {
            field(wire, *number, value, form);
        }
    }
    if message.extensions != 0 {
        for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
            wire.message(message.extensions, |w| {
                w.text(1, name);
                w.message(2, |w| any(w, value));
            });
        }
    }
}

fn field(wire: &mut Wire, number: u16, value: &Value, form: &Form) {
    let list = || value.as_array().into_iter().flatten();
    match form {
        Text => wire.text(number, value.as_str().unwrap_or_default()),
        Texts => list().for_each(|item| wire.text(number, item.as_str().unwrap_or_default())),
        Flag => wire.varint(number, u64::from(value == &Value::Bool(true))),
        TextItem => wire.message(number, |w| w.text(1, value.as_str().unwrap_or_default())),
        Any if value.is_array() => list().for_each(|item| wire.message(number, |w| any(w, item))),
        Any => wire.message(number, |w| any(w, value)),
        Scalar => wire.message(number, |w| match value {
            Value::Number(n) => w.fixed64(1, n.as_f64().unwrap_or_default().to_le_bytes()),
            Value::Bool(b) => w.varint(2, u64::from(*b)),
            Value::String(text) => w.text(3, text),
            _ => {}
        }),
        One(shape) => one(wire, number, value, *shape),
        Many(shape) => list().for_each(|item| one(wire, number, item, *shape)),
        Map(inner, shape) => wire.message(number, |w| {
            for (name, value) in value.as_object().into_iter().flatten() {
                named(w, *inner, name, value, *shape);
            }
        }),
    }
}

fn any(wire: &mut Wire, value: &Value) {
    wire.text(2, api::codec::yaml::encode(value));
}
