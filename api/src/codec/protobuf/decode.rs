//! From protobuf to the tree that [`crate::codec::json`] makes of the same object.

use super::MAGIC;
use super::envelope::of_kind;
use super::layout::{Message, Slot, Slots};
use super::wire::{FIXED64, Key, LENGTH, Reader, Result, VARINT, wrong};
use crate::codec::visit::is_omitted;
use crate::codec::{DecodeError, Decoded, MAX_DEPTH};
use crate::field::quote;
use crate::quantity::Quantity;
use crate::schema::{Field, FieldType, Type, TypeRef};
use crate::time::{self, SignedDuration, Timestamp};
use crate::{Map, Value};
use base64::Engine as _;

/// Seconds from 1970 to Go's zero time.
const ZERO_TIME: i64 = -62_135_596_800;

/// Decodes one object of a built-in type, envelope included; its `apiVersion` and `kind` are the envelope's. Unknown
/// field numbers are skipped, so there are never problems to report. Nesting is limited to [`MAX_DEPTH`]; size is the
/// caller's to limit.
pub fn decode(bytes: &[u8], ty: TypeRef<'_>) -> Result<Decoded> {
    let unknown = Unknown::read(bytes)?;
    let Some(message) = Message::of(ty) else {
        return wrong(format!(
            "object {} does not implement the protobuf marshalling interface and cannot be decoded from a protobuf message",
            ty.go_name()
        ));
    };
    let mut object = Map::new();
    for (key, text) in [("apiVersion", unknown.api_version), ("kind", unknown.kind)] {
        if !text.is_empty() {
            object.insert(key.to_owned(), text.into());
        }
    }
    read_message(Reader::new(unknown.raw), message.ty, message.slots, &mut object, deeper(MAX_DEPTH)?)?;
    Ok(Decoded { value: Value::Object(object), problems: Vec::new() })
}

/// As [`decode`], of the type that the body says it is.
pub fn decode_any(bytes: &[u8]) -> Result<Value> {
    let (api_version, kind) = envelope(bytes)?;
    match of_kind(&api_version, &kind) {
        Some(ty) => decode(bytes, ty).map(|decoded| decoded.value),
        None => wrong(format!("no kind {} is registered for version {}", quote(&kind), quote(&api_version))),
    }
}

/// The events of a watch that are whole: each one's type and its object in an envelope.
pub fn events(mut bytes: &[u8]) -> Result<Vec<(String, &[u8])>> {
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk()
        && let Some((frame, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)
    {
        bytes = rest;
        let (mut event, mut object) = (String::new(), &frame[..0]);
        each(frame, "WatchEvent", |key, reader| {
            match key.tag {
                1 => event = text(field_bytes(reader, key, "type")?),
                2 => each(field_bytes(reader, key, "object")?, "RawExtension", |key, reader| {
                    match key.tag {
                        1 => object = field_bytes(reader, key, "raw")?,
                        _ => reader.skip(key.wire)?,
                    }
                    Ok(())
                })?,
                _ => reader.skip(key.wire)?,
            }
            Ok(())
        })?;
        events.push((event, object));
    }
    Ok(events)
}

/// The `apiVersion` and `kind` that a body says it is; empty where it does not say.
pub fn envelope(bytes: &[u8]) -> Result<(String, String)> {
    Unknown::read(bytes).map(|unknown| (unknown.api_version, unknown.kind))
}

/// `runtime.Unknown`: an object's type, and its bytes.
#[derive(Default)]
struct Unknown<'b> {
    api_version: String,
    kind: String,
    raw: &'b [u8],
}

impl<'b> Unknown<'b> {
    fn read(bytes: &'b [u8]) -> Result<Unknown<'b>> {
        let not_one = |why: &str| Err(DecodeError::Envelope(why.to_owned()));
        match bytes.strip_prefix(MAGIC) {
            _ if bytes.is_empty() => not_one("empty data"),
            None => not_one("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
            Some([]) => not_one("empty body"),
            Some(rest) => Unknown::read_fields(rest).map_err(|why| DecodeError::Envelope(why.to_string())),
        }
    }

    fn read_fields(bytes: &'b [u8]) -> Result<Unknown<'b>> {
        let mut unknown = Unknown::default();
        each(bytes, "Unknown", |key, reader| {
            match key.tag {
                1 => each(field_bytes(reader, key, "typeMeta")?, "TypeMeta", |key, reader| {
                    match key.tag {
                        1 => unknown.api_version = text(field_bytes(reader, key, "apiVersion")?),
                        2 => unknown.kind = text(field_bytes(reader, key, "kind")?),
                        _ => reader.skip(key.wire)?,
                    }
                    Ok(())
                })?,
                2 => unknown.raw = field_bytes(reader, key, "raw")?,
                _ => reader.skip(key.wire)?,
            }
            Ok(())
        })?;
        Ok(unknown)
    }
}

/// Calls `read` at every field of a message; it takes the value or skips it.
fn each<'b>(bytes: &'b [u8], name: &str, mut read: impl FnMut(Key, &mut Reader<'b>) -> Result<()>) -> Result<()> {
    let mut reader = Reader::new(bytes);
    while let Some(key) = reader.key(name)? {
        read(key, &mut reader)?;
    }
    Ok(())
}

fn field_bytes<'b>(reader: &mut Reader<'b>, key: Key, field: &str) -> Result<&'b [u8]> {
    key.expect(LENGTH, field)?;
    reader.delimited()
}

fn field_varint(reader: &mut Reader<'_>, key: Key, field: &str) -> Result<u64> {
    key.expect(VARINT, field)?;
    reader.varint()
}

/// Go's JSON writes what is not UTF-8 as U+FFFD, and so it is read.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The nesting that is left inside one more object or list.
fn deeper(depth: usize) -> Result<usize> {
    match depth {
        0 | 1 => wrong("proto: exceeded max depth"),
        _ => Ok(depth - 1),
    }
}

/// Reads a message's fields into an object; what is there already is merged with, as protobuf has it. `depth` is what
/// may nest inside the object.
fn read_message(mut reader: Reader<'_>, ty: &'static Type, slots: &Slots, into: &mut Map, depth: usize) -> Result<()> {
    while let Some(key) = reader.key(ty.short_name())? {
        match slots.get(key.tag) {
            None => reader.skip(key.wire)?,
            Some(Slot::Field(at)) => read_field(&mut reader, key, &ty.fields[usize::from(*at)], into, depth)?,
            Some(Slot::Inline(slots)) => {
                let inner = Reader::new(field_bytes(&mut reader, key, ty.short_name())?);
                read_message(inner, ty, slots, into, depth)?;
            }
        }
    }
    Ok(())
}

fn read_field(reader: &mut Reader<'_>, key: Key, field: &Field, into: &mut Map, depth: usize) -> Result<()> {
    let name = &*field.name;
    match &field.ty {
        FieldType::List(item) => {
            read_items(reader, key, name, item, child(into, name, Value::Array(Vec::new())), depth)
        }
        FieldType::Map(item) => {
            read_entry(reader, key, name, item, child(into, name, Value::Object(Map::new())), depth)
        }
        FieldType::Ref(id) => {
            let inner = Reader::new(field_bytes(reader, key, name)?);
            let message = Message::at(*id);
            match child(into, name, Value::Object(Map::new())) {
                Value::Object(map) => read_message(inner, message.ty, message.slots, map, deeper(depth)?),
                _ => Ok(()),
            }
        }
        ty => {
            let value = read_value(reader, key, name, ty, depth)?;
            if value.is_null() || is_omitted(field, &value) {
                into.remove(name);
            } else {
                into.insert(name.to_owned(), value);
            }
            Ok(())
        }
    }
}

/// The list or object at a key, made where it is missing.
fn child<'m>(map: &'m mut Map, name: &str, empty: Value) -> &'m mut Value {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), empty);
    }
    &mut map[name]
}

/// One item of a list, or packed numbers.
fn read_items(
    reader: &mut Reader<'_>,
    key: Key,
    name: &str,
    item: &FieldType,
    list: &mut Value,
    depth: usize,
) -> Result<()> {
    let depth = deeper(depth)?;
    let Value::Array(list) = list else { return Ok(()) };
    let packed = match item {
        FieldType::Int32 | FieldType::Int64 | FieldType::Bool => VARINT,
        FieldType::Float => FIXED64,
        _ => LENGTH,
    };
    if packed == LENGTH || key.wire != LENGTH {
        list.push(read_value(reader, key, name, item, depth)?);
        return Ok(());
    }
    let mut numbers = Reader::new(reader.delimited()?);
    while !numbers.is_empty() {
        list.push(read_value(&mut numbers, Key { wire: packed, ..key }, name, item, depth)?);
    }
    Ok(())
}

/// One entry of a map: a message of a key and a value.
fn read_entry(
    reader: &mut Reader<'_>,
    key: Key,
    name: &str,
    item: &FieldType,
    map: &mut Value,
    depth: usize,
) -> Result<()> {
    let depth = deeper(depth)?;
    let (mut entry_key, mut value) = (String::new(), None);
    each(field_bytes(reader, key, name)?, name, |key, reader| {
        match key.tag {
            1 => entry_key = text(field_bytes(reader, key, name)?),
            2 => value = Some(read_value(reader, key, name, item, depth)?),
            _ => reader.skip(key.wire)?,
        }
        Ok(())
    })?;
    if let Value::Object(map) = map {
        map.insert(entry_key, value.unwrap_or_else(|| if *item == FieldType::Bytes { "".into() } else { item.zero() }));
    }
    Ok(())
}

/// Reads a value of a type; null for a zero time and for raw JSON that is not there.
fn read_value(reader: &mut Reader<'_>, key: Key, name: &str, ty: &FieldType, depth: usize) -> Result<Value> {
    match ty {
        FieldType::Int32 => return Ok((field_varint(reader, key, name)? as i32).into()),
        FieldType::Int64 => return Ok((field_varint(reader, key, name)? as i64).into()),
        FieldType::Bool => return Ok((field_varint(reader, key, name)? != 0).into()),
        FieldType::Float => {
            key.expect(FIXED64, name)?;
            return float(f64::from_le_bytes(reader.fixed64()?));
        }
        _ => {}
    }
    let bytes = field_bytes(reader, key, name)?;
    match ty {
        FieldType::String => Ok(text(bytes).into()),
        FieldType::Bytes => Ok(base64::engine::general_purpose::STANDARD.encode(bytes).into()),
        FieldType::Ref(id) => object(bytes, Message::at(*id), depth),
        FieldType::List(item) => {
            // A named list type that stands in a map is a message of its items.
            let (mut list, depth) = (Vec::new(), deeper(depth)?);
            each(bytes, name, |key, reader| {
                match key.tag {
                    1 => list.push(read_value(reader, key, name, item, depth)?),
                    _ => reader.skip(key.wire)?,
                }
                Ok(())
            })?;
            Ok(Value::Array(list))
        }
        FieldType::SchemaOrBool(id) | FieldType::SchemaOrArray(id) | FieldType::SchemaOrStrings(id) => {
            schema_or(bytes, ty, Message::at(*id), depth)
        }
        FieldType::FieldsV1 | FieldType::RawExtension | FieldType::Json => raw_json(bytes, depth),
        FieldType::IntOrString => int_or_string(bytes),
        FieldType::Quantity => quantity(bytes),
        FieldType::Time | FieldType::MicroTime => timestamp(bytes, *ty == FieldType::MicroTime),
        FieldType::Duration => {
            let mut nanos = 0;
            each(bytes, "Duration", |key, reader| {
                match key.tag {
                    1 => nanos = field_varint(reader, key, "duration")? as i64,
                    _ => reader.skip(key.wire)?,
                }
                Ok(())
            })?;
            Ok(time::format_duration(SignedDuration::from_nanos(nanos)).into())
        }
        _ => Ok(Value::Null),
    }
}

fn object(bytes: &[u8], message: Message, depth: usize) -> Result<Value> {
    let mut map = Map::new();
    read_message(Reader::new(bytes), message.ty, message.slots, &mut map, deeper(depth)?)?;
    Ok(Value::Object(map))
}

/// A whole number is one in JSON, too.
fn float(value: f64) -> Result<Value> {
    match value {
        _ if !value.is_finite() => wrong(format!("json: unsupported value: {value}")),
        _ if value.fract() == 0.0 && value.abs() < 1e15 => Ok((value as i64).into()),
        _ => Ok(value.into()),
    }
}

/// A JSON schema or what else may stand in its place: a bool, a list of schemas, a list of strings.
fn schema_or(bytes: &[u8], ty: &FieldType, schema: Message, depth: usize) -> Result<Value> {
    let (mut one, mut many, mut allows) = (None, Vec::new(), false);
    let inner = deeper(depth)?;
    each(bytes, schema.ty.short_name(), |key, reader| {
        match (key.tag, ty) {
            (1, FieldType::SchemaOrBool(_)) => allows = field_varint(reader, key, "allows")? != 0,
            (2, FieldType::SchemaOrBool(_)) | (1, _) => {
                one = Some(object(field_bytes(reader, key, "schema")?, schema, depth)?);
            }
            (2, FieldType::SchemaOrArray(_)) => {
                many.push(object(field_bytes(reader, key, "jSONSchemas")?, schema, inner)?);
            }
            (2, _) => many.push(text(field_bytes(reader, key, "property")?).into()),
            _ => reader.skip(key.wire)?,
        }
        Ok(())
    })?;
    Ok(match one {
        _ if !many.is_empty() => Value::Array(many),
        Some(schema) => schema,
        None if matches!(ty, FieldType::SchemaOrBool(_)) => allows.into(),
        None => Value::Null,
    })
}

/// A message whose field 1 holds JSON text.
fn raw_json(bytes: &[u8], depth: usize) -> Result<Value> {
    let mut raw: &[u8] = &[];
    each(bytes, "RawExtension", |key, reader| {
        match key.tag {
            1 => raw = field_bytes(reader, key, "raw")?,
            _ => reader.skip(key.wire)?,
        }
        Ok(())
    })?;
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    let value: Value = match serde_json::from_slice(raw) {
        Ok(value) => value,
        Err(why) => return wrong(format!("json: error calling MarshalJSON for type *runtime.RawExtension: {why}")),
    };
    if crate::codec::depth(&value, depth) >= depth { wrong("proto: exceeded max depth") } else { Ok(value) }
}

fn int_or_string(bytes: &[u8]) -> Result<Value> {
    let (mut kind, mut number, mut string) = (0, 0, String::new());
    each(bytes, "IntOrString", |key, reader| {
        match key.tag {
            1 => kind = field_varint(reader, key, "type")? as i64,
            2 => number = field_varint(reader, key, "intVal")? as i32,
            3 => string = text(field_bytes(reader, key, "strVal")?),
            _ => reader.skip(key.wire)?,
        }
        Ok(())
    })?;
    match kind {
        0 => Ok(number.into()),
        1 => Ok(string.into()),
        _ => wrong("impossible IntOrString.Type"),
    }
}

fn quantity(bytes: &[u8]) -> Result<Value> {
    let mut amount = Value::from("0");
    each(bytes, "Quantity", |key, reader| {
        match key.tag {
            1 => {
                let text = String::from_utf8_lossy(field_bytes(reader, key, "string")?);
                amount = Quantity::canonical(&text).map_err(|why| DecodeError::Type(why.to_string()))?.into();
            }
            _ => reader.skip(key.wire)?,
        }
        Ok(())
    })?;
    Ok(amount)
}

/// No bytes are the zero time, which JSON has as null. Fractions of a second are kept for micro times only.
fn timestamp(bytes: &[u8], micro: bool) -> Result<Value> {
    let (mut seconds, mut nanos) = (0, 0);
    each(bytes, "Timestamp", |key, reader| {
        match key.tag {
            1 => seconds = field_varint(reader, key, "seconds")? as i64,
            2 => nanos = field_varint(reader, key, "nanos")? as i32,
            _ => reader.skip(key.wire)?,
        }
        Ok(())
    })?;
    if bytes.is_empty() || seconds == ZERO_TIME {
        return Ok(Value::Null);
    }
    let nanos = if micro { i64::from(nanos / 1000 * 1000) } else { 0 };
    let at = Timestamp::from_second(seconds).and_then(|at| at.checked_add(SignedDuration::from_nanos(nanos)));
    match at {
        Ok(at) if micro => Ok(time::format_micro(at).into()),
        Ok(at) => Ok(time::format(at).into()),
        Err(_) => wrong("Time.MarshalJSON: year outside of range [0,9999]"),
    }
}
