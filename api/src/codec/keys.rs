//! Keys of objects and maps, as the visitor reads them.

use crate::schema::Type;
use serde::de::{DeserializeSeed, Deserializer, Visitor};
use std::fmt;

/// A key of an object: its field's place, or the key itself.
pub(super) enum Key {
    Known(usize),
    Unknown(String),
}

pub(super) struct KeyOf<'t>(pub &'t Type);

impl<'de> DeserializeSeed<'de> for KeyOf<'_> {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Key, D::Error> {
        reader.deserialize_any(self)
    }
}

macro_rules! scalar_keys {
    ($self:ident, $text:ident => $make:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a key")
        }
        fn visit_str<E>($self, $text: &str) -> Result<Self::Value, E> {
            Ok($make)
        }
        // YAML has keys that are not strings; they are taken as their text.
        fn visit_bool<E>($self, value: bool) -> Result<Self::Value, E> {
            let $text = if value { "true" } else { "false" };
            Ok($make)
        }
        fn visit_i64<E>($self, value: i64) -> Result<Self::Value, E> {
            let $text = value.to_string();
            let $text = $text.as_str();
            Ok($make)
        }
        fn visit_u64<E>($self, value: u64) -> Result<Self::Value, E> {
            let $text = value.to_string();
            let $text = $text.as_str();
            Ok($make)
        }
        fn visit_f64<E>($self, value: f64) -> Result<Self::Value, E> {
            let $text = value.to_string();
            let $text = $text.as_str();
            Ok($make)
        }
        fn visit_unit<E>($self) -> Result<Self::Value, E> {
            let $text = "null";
            Ok($make)
        }
    };
}

impl<'de> Visitor<'de> for KeyOf<'_> {
    type Value = Key;
    scalar_keys!(self, text => self.0.index_of(text).map_or_else(|| Key::Unknown(text.to_owned()), Key::Known));
}

/// The key of a map entry, as text.
pub(super) struct AnyKey(pub String);

impl<'de> serde::Deserialize<'de> for AnyKey {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<AnyKey, D::Error> {
        reader.deserialize_any(AnyKeyVisitor)
    }
}

struct AnyKeyVisitor;

impl<'de> Visitor<'de> for AnyKeyVisitor {
    type Value = AnyKey;
    scalar_keys!(self, text => AnyKey(text.to_owned()));
}
