//! Keys that come twice in YAML, in the words of Go's parser: the first ones.

use super::keys::AnyKey;
use super::{MAX_PROBLEM_BYTES, MAX_PROBLEMS};
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
#[derive(Default)]
struct Node(Vec<String>);

impl Node {
    fn is_full(&self) -> bool {
        self.0.len() >= MAX_PROBLEMS || self.0.iter().map(String::len).sum::<usize>() > MAX_PROBLEM_BYTES
    }

    fn append(&mut self, mut other: Node) {
        if !self.is_full() {
            self.0.append(&mut other.0);
            self.0.truncate(MAX_PROBLEMS);
        }
    }
}

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
        Ok(Node::default())
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Node, D::Error> {
        Node::deserialize(reader)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut lines = Node::default();
        while let Some(item) = items.next_element::<Node>()? {
            lines.append(item);
        }
        Ok(lines)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let (mut lines, mut seen) = (Node::default(), HashSet::new());
        while let Some(AnyKey(key)) = entries.next_key()? {
            let value: Spanned<Node> = entries.next_value()?;
            lines.append(value.value);
            if let Some(key) = seen.replace(key).filter(|_| !lines.is_full()) {
                let line = value.defined.line();
                lines.0.push(format!("line {line}: key {} already set in map", crate::field::quote(&key)));
            }
        }
        Ok(lines)
    }
}
