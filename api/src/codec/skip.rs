//! A value that nobody asks for.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads any value and drops it. Unlike serde's `IgnoredAny`, it goes through the format's reader level by level, so that
/// limits of nesting hold in unknown fields too.
pub(super) struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Skipped, D::Error> {
        reader.deserialize_any(Skipped)
    }
}

impl<'de> Visitor<'de> for Skipped {
    type Value = Skipped;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Skipped, E> {
        Ok(self)
    }

    fn visit_none<E>(self) -> Result<Skipped, E> {
        Ok(self)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Skipped, D::Error> {
        reader.deserialize_any(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Skipped, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Skipped, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Skipped, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Skipped, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Skipped, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Skipped, A::Error> {
        while items.next_element::<Skipped>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Skipped, A::Error> {
        while entries.next_entry::<Skipped, Skipped>()?.is_some() {}
        Ok(self)
    }
}
