//! Keys that come twice in YAML, in the words of Go's parser.

use super::keys::AnyKey;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::collections::HashSet;
use std::fmt;

/// A line for each key that is there already, with the line of its value.
pub(super) fn lines<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<String>, D::Error> {
    Ok(Node::deserialize(reader)?.0)
}

/// What is below a value.
struct Node(Vec<String>);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Node, D::Error> {
        reader.deserialize_any(Lines)
    }
}

struct Lines;

impl<'de> Visitor<'de> for Lines {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Node, D::Error> {
        Node::deserialize(reader)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut lines = Vec::new();
        while let Some(mut item) = items.next_element::<Node>()? {
            lines.append(&mut item.0);
        }
        Ok(Node(lines))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let (mut lines, mut seen) = (Vec::new(), HashSet::new());
        while let Some(AnyKey(key)) = entries.next_key()? {
            let mut value: Spanned<Node> = entries.next_value()?;
            lines.append(&mut value.value.0);
            if seen.contains(&key) {
                let line = value.defined.line();
                lines.push(format!("line {line}: key {} already set in map", crate::field::quote(&key)));
            }
            seen.insert(key);
        }
        Ok(Node(lines))
    }
}
