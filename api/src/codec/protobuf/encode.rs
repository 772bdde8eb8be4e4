//! From JSON to protobuf, byte for byte as Go writes it: fields by number, scalars and structs that are no pointers even
//! when zero, maps sorted by key.
//!
//! The source is any deserializer of JSON's shape, a tree or a stored object's bytes; of the latter no tree is made. Fields
//! come in the source's order; each object's fields are put into the order of their numbers when it ends.

use super::layout::{Message, Slot, Slots};
use super::wire::Writer;
use crate::codec::keys::{Key, KeyOf};
use crate::schema::{FieldType, Presence, Type, TypeRef};
use crate::time;
use base64::Engine as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Encodes objects of one built-in type, one after the other.
pub struct Encoder {
    message: Option<Message>,
    work: Work,
}

/// What is kept from object to object, for its memory.
#[derive(Default)]
struct Work {
    /// What is written so far. The fields of the objects that are not at their end yet are in the source's order.
    written: Writer,
    /// An object's fields in the order of numbers.
    sorted: Writer,
    /// Where the fields of the objects that are not at their end yet stand in `written`.
    parts: Vec<Part>,
}

#[derive(Clone, Copy)]
struct Part {
    rank: u16,
    from: usize,
    to: usize,
}

impl Encoder {
    /// Of a type that is not built in, all objects are empty.
    pub fn new(ty: TypeRef<'_>) -> Encoder {
        Encoder { message: Message::of(ty), work: Work::default() }
    }

    /// The message of one object, without an envelope; the bytes are there until the next. What is not of the schema is
    /// left out, and what is of another type than the schema's is written as zero. An error is the source's.
    pub fn encode<'de, D: Deserializer<'de>>(&mut self, source: D) -> Result<&[u8], D::Error> {
        let work = &mut self.work;
        work.written.out.clear();
        work.parts.clear();
        if let Some(message) = self.message {
            source.deserialize_any(Root { work, message })?;
        }
        Ok(&work.written.out)
    }
}

impl Work {
    fn object<'de, A: MapAccess<'de>>(&mut self, message: Message, mut map: A) -> Result<(), A::Error> {
        let (start, first) = (self.written.out.len(), self.parts.len());
        while let Some(key) = map.next_key_seed(KeyOf(message.ty))? {
            let Some((at, field)) = known(key, message.ty) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let from = self.written.out.len();
            map.next_value_seed(Node { work: self, tag: field.tag, ty: &field.ty, is_item: false })?;
            let to = self.written.out.len();
            if to > from {
                self.parts.push(Part { rank: message.ranks[at], from, to });
            }
        }
        self.sort(message, start, first);
        Ok(())
    }

    /// Brings the object that was written from `start` on, of the parts from `first` on, into the order of numbers, with
    /// what is not there and no pointer.
    fn sort(&mut self, message: Message, start: usize, first: usize) {
        let parts = &mut self.parts[first..];
        parts.sort_by_key(|part| part.rank);
        self.sorted.out.clear();
        let mut sorting = Sorting { ty: message.ty, written: &self.written.out, parts, rank: 0 };
        sorting.write(&mut self.sorted, message.slots);
        self.written.out.truncate(start);
        self.written.out.extend_from_slice(&self.sorted.out);
        self.parts.truncate(first);
    }
}

/// The field of a key, where protobuf has it.
fn known(key: Key, ty: &'static Type) -> Option<(usize, &'static crate::schema::Field)> {
    match key {
        Key::Known(at) => Some((at, &ty.fields[at])).filter(|(_, field)| field.tag > 0),
        Key::Unknown(_) => None,
    }
}

/// An object's fields on their way into the order of numbers.
struct Sorting<'w> {
    ty: &'static Type,
    written: &'w [u8],
    /// What is still to come, by rank.
    parts: &'w [Part],
    /// Of the next field.
    rank: u16,
}

impl Sorting<'_> {
    fn write(&mut self, to: &mut Writer, slots: &Slots) {
        for (tag, slot) in slots.iter() {
            match slot {
                Slot::Inline(inner) => to.message(*tag, |to| self.write(to, inner)),
                Slot::Field(at) => {
                    let field = &self.ty.fields[usize::from(*at)];
                    let mut found = false;
                    while let [part, rest @ ..] = self.parts
                        && part.rank == self.rank
                    {
                        to.out.extend_from_slice(&self.written[part.from..part.to]);
                        (self.parts, found) = (rest, true);
                    }
                    if !found && !matches!(field.presence, Presence::Pointer | Presence::Null) {
                        write_zero(to, *tag, &field.ty);
                    }
                    self.rank += 1;
                }
            }
        }
    }
}

/// What Go writes for a value that is not there and no pointer.
fn write_zero(to: &mut Writer, tag: u16, ty: &FieldType) {
    match ty {
        FieldType::String => to.text(tag, ""),
        FieldType::Int32 | FieldType::Int64 | FieldType::Bool => to.varint(tag, 0),
        FieldType::Float => to.fixed64(tag, [0; 8]),
        FieldType::Bytes | FieldType::List(_) | FieldType::Map(_) => {}
        FieldType::Ref(id) => to.message(tag, |to| write_zero_message(to, Message::at(*id))),
        FieldType::Quantity => to.message(tag, |to| to.text(1, "0")),
        FieldType::IntOrString => to.message(tag, |to| write_int_or_string(to, Ok(0))),
        FieldType::Duration | FieldType::SchemaOrBool(_) => to.message(tag, |to| to.varint(1, 0)),
        FieldType::Time
        | FieldType::MicroTime
        | FieldType::FieldsV1
        | FieldType::RawExtension
        | FieldType::Json
        | FieldType::SchemaOrArray(_)
        | FieldType::SchemaOrStrings(_) => to.text(tag, ""),
    }
}

fn write_zero_message(to: &mut Writer, message: Message) {
    Sorting { ty: message.ty, written: &[], parts: &[], rank: 0 }.write(to, message.slots);
}

fn write_int_or_string(to: &mut Writer, value: Result<i64, &str>) {
    to.varint(1, value.is_err().into());
    to.varint(2, value.unwrap_or_default() as u64);
    to.text(3, value.err().unwrap_or_default());
}

fn write_time(to: &mut Writer, text: &str, micro: bool) {
    let Ok(at) = time::parse(text) else { return };
    // Nanoseconds count forward from a whole second, before 1970 too.
    let nanos = at.as_nanosecond().rem_euclid(1_000_000_000);
    let seconds = at.as_nanosecond().div_euclid(1_000_000_000) as i64;
    to.varint(1, seconds as u64);
    to.varint(2, if micro { nanos / 1000 * 1000 } else { 0 } as u64);
}

struct Root<'w> {
    work: &'w mut Work,
    message: Message,
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.work.object(self.message, map)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        write_zero_message(&mut self.work.written, self.message);
        Ok(())
    }
}

/// The key of a map entry, written as the entry's first field.
struct EntryKey<'w>(&'w mut Writer);

impl<'de> DeserializeSeed<'de> for EntryKey<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for EntryKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<(), E> {
        self.0.text(1, key);
        Ok(())
    }
}

/// A value on its way into a field of this number.
struct Node<'w, 't> {
    work: &'w mut Work,
    tag: u16,
    ty: &'t FieldType,
    /// Of a list or a map; otherwise the value of a field of its own, which null leaves out.
    is_item: bool,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        match self.ty {
            FieldType::FieldsV1 | FieldType::RawExtension | FieldType::Json => {
                let raw: Box<RawValue> = serde::Deserialize::deserialize(source)?;
                match raw.get() {
                    "null" => self.visit_unit(),
                    text => {
                        self.work.written.message(self.tag, |to| to.text(1, text));
                        Ok(())
                    }
                }
            }
            _ => source.deserialize_any(self),
        }
    }
}

impl Node<'_, '_> {
    /// What does not fit its type is its zero.
    fn zero<E>(self) -> Result<(), E> {
        write_zero(&mut self.work.written, self.tag, self.ty);
        Ok(())
    }

    fn items<'de, A: SeqAccess<'de>>(self, tag: u16, item: &FieldType, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Node { work: self.work, tag, ty: item, is_item: true })?.is_some() {}
        Ok(())
    }

    /// Items in a message of their own.
    fn nested_items<'de, A: SeqAccess<'de>>(self, inner: u16, item: &FieldType, list: A) -> Result<(), A::Error> {
        let (from, tag) = (self.work.written.out.len(), self.tag);
        let work = self.work;
        Node { work, tag, ty: item, is_item: true }.items(inner, item, list)?;
        work.written.close(tag, from);
        Ok(())
    }

    fn entries<'de, A: MapAccess<'de>>(self, item: &FieldType, mut map: A) -> Result<(), A::Error> {
        let mut from = self.work.written.out.len();
        while map.next_key_seed(EntryKey(&mut self.work.written))?.is_some() {
            map.next_value_seed(Node { work: self.work, tag: 2, ty: item, is_item: true })?;
            self.work.written.close(self.tag, from);
            from = self.work.written.out.len();
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        if self.is_item { self.zero() } else { Ok(()) }
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        match self.ty {
            FieldType::Bool => self.work.written.varint(self.tag, value.into()),
            FieldType::SchemaOrBool(_) => self.work.written.message(self.tag, |to| to.varint(1, value.into())),
            _ => return self.zero(),
        }
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        let to = &mut self.work.written;
        match self.ty {
            FieldType::Int32 | FieldType::Int64 => to.varint(self.tag, value as u64),
            FieldType::Float => to.fixed64(self.tag, (value as f64).to_le_bytes()),
            FieldType::Quantity => to.message(self.tag, |to| to.text(1, value.to_string())),
            FieldType::IntOrString => to.message(self.tag, |to| write_int_or_string(to, Ok(value))),
            _ => return self.zero(),
        }
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        match self.ty {
            FieldType::Float => self.work.written.fixed64(self.tag, value.to_le_bytes()),
            FieldType::Quantity => self.work.written.message(self.tag, |to| to.text(1, value.to_string())),
            _ => return self.zero(),
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let to = &mut self.work.written;
        match self.ty {
            FieldType::String => to.text(self.tag, text),
            FieldType::Bytes => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text);
                to.text(self.tag, bytes.unwrap_or_default());
            }
            FieldType::Quantity => to.message(self.tag, |to| to.text(1, text)),
            FieldType::IntOrString => to.message(self.tag, |to| write_int_or_string(to, Err(text))),
            FieldType::Time => to.message(self.tag, |to| write_time(to, text, false)),
            FieldType::MicroTime => to.message(self.tag, |to| write_time(to, text, true)),
            FieldType::Duration => {
                let span = time::parse_duration(text).unwrap_or_default();
                to.message(self.tag, |to| to.varint(1, span.as_nanos() as i64 as u64));
            }
            _ => return self.zero(),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        match self.ty {
            // A named list type that stands in a map is a message of its items.
            FieldType::List(item) if self.is_item => self.nested_items(1, item, list),
            FieldType::List(item) => {
                let tag = self.tag;
                self.items(tag, item, list)
            }
            FieldType::SchemaOrArray(id) => self.nested_items(2, &FieldType::Ref(*id), list),
            FieldType::SchemaOrStrings(_) => self.nested_items(2, &FieldType::String, list),
            _ => {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                self.zero()
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let from = self.work.written.out.len();
        match self.ty {
            FieldType::Map(item) => return self.entries(item, map),
            FieldType::Ref(id) => self.work.object(Message::at(*id), map)?,
            FieldType::SchemaOrBool(id) => {
                self.work.written.varint(1, 1);
                let schema = self.work.written.out.len();
                self.work.object(Message::at(*id), map)?;
                self.work.written.close(2, schema);
            }
            FieldType::SchemaOrArray(id) | FieldType::SchemaOrStrings(id) => {
                self.work.object(Message::at(*id), map)?;
                self.work.written.close(1, from);
            }
            _ => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return self.zero();
            }
        }
        self.work.written.close(self.tag, from);
        Ok(())
    }
}
