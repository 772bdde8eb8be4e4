//! Field validation of JSON that has no schema: patches.

use super::{Problem, Problems};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// The keys that come twice or are not `known`.
pub(super) fn problems<'de, D: Deserializer<'de>>(
    reader: D,
    known: &dyn Fn(&[&str]) -> bool,
) -> Result<Vec<Problem>, D::Error> {
    let mut found = Found { problems: Problems::default(), path: Vec::new(), known };
    Node(&mut found).deserialize(reader)?;
    Ok(found.problems.found)
}

struct Found<'k> {
    problems: Problems,
    path: Vec<Step>,
    known: &'k dyn Fn(&[&str]) -> bool,
}

struct Step {
    text: String,
    is_index: bool,
}

impl Found<'_> {
    fn report(&mut self, duplicate: bool) {
        self.problems.report(duplicate, |path| {
            for step in &self.path {
                match step.is_index {
                    true => path.push_str(&format!("[{}]", step.text)),
                    false if path.is_empty() => path.push_str(&step.text),
                    false => path.extend([".", &step.text]),
                }
            }
        });
    }
}

struct Node<'a, 'k>(&'a mut Found<'k>);

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for at in 0.. {
            self.0.path.push(Step { text: at.to_string(), is_index: true });
            let more = items.next_element_seed(Node(self.0))?;
            self.0.path.pop();
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.0.path.push(Step { text: key.clone(), is_index: false });
            let keys: Vec<&str> = self.0.path.iter().map(|step| step.text.as_str()).collect();
            if !(self.0.known)(&keys) {
                self.0.report(false);
                entries.next_value::<super::skip::Skipped>()?;
            } else {
                if !seen.insert(key) {
                    self.0.report(true);
                }
                entries.next_value_seed(Node(self.0))?;
            }
            self.0.path.pop();
        }
        Ok(())
    }
}
