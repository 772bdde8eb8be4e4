//! From a tree to protobuf, byte for byte as a Go client writes it.
//!
//! Gogo's marshallers go by number, write scalars and structs that are no pointers even when zero, and sort maps by
//! key. Everything is written backwards (see [`Writer`]).

use super::MAGIC;
use super::layout::{Message, Slot, Slots};
use super::wire::Writer;
use crate::schema::{Field, FieldType, Presence, Type, TypeRef};
use crate::{Map, Value, document, time};
use base64::Engine as _;

/// Encodes an object of a built-in type, envelope included; the envelope's type is the object's `apiVersion` and `kind`.
/// What is not of the schema is left out; of a type that is not built in, only the envelope is written.
pub fn encode(value: &Value, ty: TypeRef<'_>) -> Vec<u8> {
    let mut w = Writer::default();
    // contentEncoding and contentType
    w.text(4, "");
    w.text(3, "");
    w.message(2, |w| {
        if let Some(message) = Message::of(ty) {
            write_object(w, message, value);
        }
    });
    w.message(1, |w| {
        w.text(2, document::get_str(value, "kind"));
        w.text(1, document::get_str(value, "apiVersion"));
    });
    w.bytes(MAGIC);
    w.finish()
}

fn write_object(w: &mut Writer, message: Message, value: &Value) {
    match value.as_object() {
        Some(map) => write_fields(w, message.ty, message.slots, map),
        None => write_fields(w, message.ty, message.slots, &Map::new()),
    }
}

fn write_fields(w: &mut Writer, ty: &Type, slots: &Slots, map: &Map) {
    for (tag, slot) in slots.iter().rev() {
        match slot {
            Slot::Inline(inner) => w.message(*tag, |w| write_fields(w, ty, inner, map)),
            Slot::Field(at) => {
                let field = &ty.fields[usize::from(*at)];
                write_field(w, *tag, field, map.get(&*field.name).unwrap_or(&Value::Null));
            }
        }
    }
}

fn write_field(w: &mut Writer, tag: u16, field: &Field, value: &Value) {
    match (&field.ty, value) {
        (FieldType::List(item), Value::Array(items)) => {
            for value in items.iter().rev() {
                write_value(w, tag, item, value);
            }
        }
        (FieldType::Map(item), Value::Object(map)) => {
            for (key, value) in map.iter().rev() {
                w.message(tag, |w| {
                    write_value(w, 2, item, value);
                    w.text(1, key);
                });
            }
        }
        (FieldType::List(_) | FieldType::Map(_), _) => {}
        (_, Value::Null) if field.presence == Presence::Pointer => {}
        (ty, value) => write_value(w, tag, ty, value),
    }
}

/// Writes a value of a type; null is the type's zero.
fn write_value(w: &mut Writer, tag: u16, ty: &FieldType, value: &Value) {
    match ty {
        FieldType::String => w.text(tag, value.as_str().unwrap_or_default()),
        FieldType::Bytes => {
            if let Value::String(text) = value {
                w.text(tag, base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default());
            }
        }
        FieldType::Int32 | FieldType::Int64 => w.varint(tag, value.as_i64().unwrap_or_default() as u64),
        FieldType::Bool => w.varint(tag, value.as_bool().unwrap_or_default().into()),
        FieldType::Float => w.fixed64(tag, value.as_f64().unwrap_or_default().to_le_bytes()),
        _ => w.message(tag, |w| write_message(w, ty, value)),
    }
}

/// Writes what stands in the message of a value whose type is one in protobuf.
fn write_message(w: &mut Writer, ty: &FieldType, value: &Value) {
    match ty {
        FieldType::Ref(id) => write_object(w, Message::at(*id), value),
        FieldType::SchemaOrBool(id) => {
            if value.is_object() {
                w.message(2, |w| write_object(w, Message::at(*id), value));
            }
            w.varint(1, (value.is_object() || value == &Value::Bool(true)).into());
        }
        FieldType::SchemaOrArray(id) | FieldType::SchemaOrStrings(id) => match value {
            Value::Array(items) => {
                for item in items.iter().rev() {
                    match item {
                        Value::String(text) => w.text(2, text),
                        _ => w.message(2, |w| write_object(w, Message::at(*id), item)),
                    }
                }
            }
            Value::Object(_) => w.message(1, |w| write_object(w, Message::at(*id), value)),
            _ => {}
        },
        FieldType::Quantity => match value {
            Value::String(text) => w.text(1, text),
            Value::Number(number) => w.text(1, number.to_string()),
            _ => w.text(1, "0"),
        },
        FieldType::IntOrString => {
            w.text(3, value.as_str().unwrap_or_default());
            w.varint(2, value.as_i64().unwrap_or_default() as u64);
            w.varint(1, value.is_string().into());
        }
        FieldType::Time | FieldType::MicroTime => {
            if let Some(at) = value.as_str().and_then(|text| time::parse(text).ok()) {
                // Nanoseconds count forward from a whole second, before 1970 too.
                let nanos = at.as_nanosecond().rem_euclid(1_000_000_000);
                let seconds = at.as_nanosecond().div_euclid(1_000_000_000) as i64;
                let kept = if *ty == FieldType::MicroTime { nanos / 1000 * 1000 } else { 0 };
                w.varint(2, kept as u64);
                w.varint(1, seconds as u64);
            }
        }
        FieldType::Duration => {
            let span = value.as_str().and_then(|text| time::parse_duration(text).ok()).unwrap_or_default();
            w.varint(1, span.as_nanos() as i64 as u64);
        }
        FieldType::FieldsV1 | FieldType::RawExtension | FieldType::Json if !value.is_null() => {
            w.text(1, value.to_string());
        }
        FieldType::List(item) => {
            for value in value.as_array().map(Vec::as_slice).unwrap_or_default().iter().rev() {
                write_value(w, 1, item, value);
            }
        }
        _ => {}
    }
}
