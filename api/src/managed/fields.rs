//! The set of the fields that an object has, and whether an object fits its type.

use super::element::Element;
use super::set::FieldSet;
use super::shape::{Atom, List, Scalar, Shape};
use crate::Map;
use crate::field::TEXT_MAX;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// The fields of an object: each leaf, each item of a list with keys or of a set, each entry of a map.
pub(super) fn fields<'a>(value: &'a Value, shape: Shape<'a>) -> FieldSet<'a> {
    walk(value, shape).0
}

/// What is below a value, and whether the value itself is a leaf.
fn walk<'a>(value: &'a Value, shape: Shape<'a>) -> (FieldSet<'a>, bool) {
    let mut set = FieldSet::default();
    match (shape.atom(value), value) {
        (Atom::Scalar(_) | Atom::AtomicList | Atom::Map { atomic: true }, _) => return (set, true),
        (Atom::List(list), Value::Array(items)) => {
            for group in Groups::new(items, list) {
                match group.items[..] {
                    [(_, item)] => set.put(group.element, true, walk(item, list.item()).0),
                    // Items with the same keys are owned together.
                    _ => set.put(group.element, true, FieldSet::default()),
                }
            }
        }
        (Atom::Map { .. }, Value::Object(map)) => {
            for (key, child) in map {
                let (below, named) = shape.child(key);
                let (children, leaf) = walk(child, below);
                let empty = child.is_null() || child.as_object().is_some_and(Map::is_empty);
                set.put(Element::field(key), leaf || empty || !named, children);
            }
        }
        _ => {}
    }
    (set, false)
}

/// The items of a list by element, in the order of elements. Items that cannot have an element are left out.
pub(super) struct Groups<'a> {
    rest: std::iter::Peekable<std::vec::IntoIter<(Element<'a>, usize, &'a Value)>>,
}

/// Items with the same element, with their places, in the list's order.
pub(super) struct Group<'a> {
    pub element: Element<'a>,
    pub items: Vec<(usize, &'a Value)>,
}

impl<'a> Groups<'a> {
    pub fn new(items: &'a [Value], list: List<'a>) -> Groups<'a> {
        let elements = items.iter().enumerate().filter_map(|(i, item)| Some((list.element(item).ok()?, i, item)));
        let mut all: Vec<(Element<'a>, usize, &'a Value)> = elements.collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Groups { rest: all.into_iter().peekable() }
    }

    pub fn peek(&mut self) -> Option<&Element<'a>> {
        self.rest.peek().map(|first| &first.0)
    }
}

impl<'a> Iterator for Groups<'a> {
    type Item = Group<'a>;

    fn next(&mut self) -> Option<Group<'a>> {
        let (element, at, item) = self.rest.next()?;
        let mut items = vec![(at, item)];
        while let Some((_, at, item)) = self.rest.next_if(|next| next.0 == element) {
            items.push((at, item));
        }
        Some(Group { element, items })
    }
}

/// What is wrong with an object, in `structured-merge-diff`'s words; `None` if it fits its type. `duplicates`: whether
/// items of a list may share their keys, which only what is applied may not.
pub(super) fn misfits(value: &Value, shape: Shape<'_>, duplicates: bool) -> Option<String> {
    let mut wrong = Misfits { duplicates, ..Misfits::default() };
    check(value, shape, &Place::Root, &mut wrong);
    match wrong.texts.len() {
        0 => None,
        1 => wrong.texts.pop(),
        _ => Some(format!("errors:\n  {}", wrong.texts.join("\n  "))),
    }
}

/// What is wrong; the first findings, if all of them would be too much text.
#[derive(Default)]
struct Misfits {
    texts: Vec<String>,
    bytes: usize,
    /// Whether items may share their keys.
    duplicates: bool,
}

impl Misfits {
    fn is_full(&self) -> bool {
        self.bytes > TEXT_MAX
    }

    fn push(&mut self, place: &Place<'_>, message: String) {
        let text = if matches!(place, Place::Root) { message } else { format!("{place}: {message}") };
        self.bytes += text.len();
        self.texts.push(text);
    }
}

/// Where a value stands: a list linked through the stack, which becomes text only when there is something to say.
enum Place<'p> {
    Root,
    Element(&'p Place<'p>, &'p Element<'p>),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => Ok(()),
            Place::Element(parent, element) => write!(f, "{parent}{element}"),
        }
    }
}

fn check(value: &Value, shape: Shape<'_>, place: &Place<'_>, wrong: &mut Misfits) {
    match (shape.atom(value), value) {
        _ if wrong.is_full() => {}
        (_, Value::Null) => {}
        (Atom::Scalar(kind), _) => {
            if let Some(message) = misfit(kind, value) {
                wrong.push(place, message);
            }
        }
        (Atom::Map { .. }, Value::Object(map)) => {
            for (key, child) in map {
                let (below, named) = shape.child(key);
                let element = Element::field(key);
                let place = Place::Element(place, &element);
                if !named && !shape.is_open() {
                    return wrong.push(&place, "field not declared in schema".to_owned());
                }
                check(child, below, &place, wrong);
            }
        }
        (Atom::Map { .. }, other) => wrong.push(place, format!("expected map, got &{{{}}}", go_value(other))),
        (Atom::List(list), Value::Array(items)) => {
            let mut seen = BTreeSet::new();
            for (i, item) in items.iter().enumerate() {
                let element = match list.element(item) {
                    Ok(element) => element,
                    Err(message) => return wrong.push(place, format!("element {i}: {message}")),
                };
                check(item, list.item(), &Place::Element(place, &element), wrong);
                if wrong.duplicates {
                    continue;
                }
                if let Some(twice) = seen.replace(element).filter(|_| !wrong.is_full()) {
                    wrong.push(place, format!("duplicate entries for key {twice}"));
                }
            }
        }
        (Atom::AtomicList, Value::Array(items)) => {
            if let Shape::List(list) = shape {
                for (i, item) in items.iter().enumerate() {
                    check(item, list.item(), &Place::Element(place, &Element::Index(i as i64)), wrong);
                }
            }
        }
        (_, other) => wrong.push(place, format!("expected list, got &{{{}}}", go_value(other))),
    }
}

fn misfit(kind: Scalar, value: &Value) -> Option<String> {
    match (kind, value) {
        (Scalar::Number, Value::Number(_)) | (Scalar::String, Value::String(_)) | (Scalar::Bool, Value::Bool(_)) => {
            None
        }
        (Scalar::Any, Value::Number(_) | Value::String(_) | Value::Bool(_)) => None,
        (Scalar::Number, other) => {
            let got = match other {
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                Value::Array(_) => "[]interface {}",
                _ => "map[string]interface {}",
            };
            Some(format!("expected numeric (int or float), got {got}"))
        }
        (Scalar::String, other) => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(other)))
        }
        (Scalar::Bool, other) => Some(format!("expected boolean, got &{{{}}}", go_value(other))),
        (Scalar::Any, other) => Some(format!("expected any scalar, got &{{{}}}", go_value(other))),
    }
}

/// A value as Go's `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::String(text) => crate::field::quote(text),
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let parts: Vec<String> =
                map.iter().map(|(k, v)| format!("{}:{}", crate::field::quote(k), go_syntax(v))).collect();
            format!("map[string]interface {{}}{{{}}}", parts.join(", "))
        }
        other => other.to_string(),
    }
}

/// A value as Go's `%v` prints it.
fn go_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let parts: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", go_value(v))).collect();
            format!("map[{}]", parts.join(" "))
        }
        other => other.to_string(),
    }
}
