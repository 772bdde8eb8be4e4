//! The merge of what is applied into the live object, and the removal of fields from an object.

use super::element::Element;
use super::set::FieldSet;
use super::shape::{Atom, List, Shape};
use crate::Map;
use serde_json::Value;

/// Lays `applied` over `live`. Nothing is removed; an item of a list stands where the applied list has it if that
/// list says anything about the order.
pub(super) fn merge(live: Option<&Value>, applied: Option<&Value>, shape: Shape<'_>) -> Option<Value> {
    let atom = shape.atom(applied.or(live)?);
    match atom {
        Atom::Map { atomic: false } => {
            let (a, b) = (live.and_then(Value::as_object), applied.and_then(Value::as_object));
            if a.is_some_and(|m| !m.is_empty()) || b.is_some_and(|m| !m.is_empty()) {
                return Some(Value::Object(merge_maps(a, b, shape)));
            }
        }
        Atom::List(list) => {
            let items = |v: Option<&Value>| v.and_then(Value::as_array).is_some_and(|a| !a.is_empty());
            if items(live) || items(applied) {
                let slice = |v| Option::<&Value>::and_then(v, Value::as_array).map(Vec::as_slice).unwrap_or_default();
                return Some(Value::Array(merge_lists(slice(live), slice(applied), list)));
            }
        }
        _ => {}
    }
    applied.or(live).cloned()
}

fn merge_maps(live: Option<&Map>, applied: Option<&Map>, shape: Shape<'_>) -> Map {
    let mut merged = Map::new();
    for (key, value) in live.into_iter().flatten() {
        let other = applied.and_then(|m| m.get(key));
        let value = match other {
            None => Some(value.clone()),
            other => merge(Some(value), other, shape.child(key).0),
        };
        merged.extend(value.map(|v| (key.clone(), v)));
    }
    for (key, value) in applied.into_iter().flatten() {
        if live.is_none_or(|m| !m.contains_key(key)) {
            merged.insert(key.clone(), value.clone());
        }
    }
    merged
}

/// Where an element stands in a list.
struct Places<'e, 'a> {
    elements: &'e [Option<Element<'a>>],
    /// Places in the order of their elements.
    sorted: Vec<usize>,
}

impl<'e, 'a> Places<'e, 'a> {
    fn new(elements: &'e [Option<Element<'a>>]) -> Self {
        let mut sorted: Vec<usize> = (0..elements.len()).collect();
        sorted.sort_by(|a, b| elements[*a].cmp(&elements[*b]));
        Places { elements, sorted }
    }

    /// The places that have this element.
    fn of(&self, element: &Option<Element<'a>>) -> &[usize] {
        let from = self.sorted.partition_point(|at| self.elements[*at] < *element);
        let to = self.sorted.partition_point(|at| self.elements[*at] <= *element);
        &self.sorted[from..to]
    }
}

/// The merge order of `structured-merge-diff`: items of both lists in the applied order, items of only the live list
/// after the item that they follow there.
fn merge_lists(live: &[Value], applied: &[Value], list: List<'_>) -> Vec<Value> {
    let lefts: Vec<_> = live.iter().map(|item| list.element(item).ok()).collect();
    let rights: Vec<_> = applied.iter().map(|item| list.element(item).ok()).collect();
    let (left_places, right_places) = (Places::new(&lefts), Places::new(&rights));
    let mut shared = rights.iter().filter(|e| !left_places.of(e).is_empty());
    let mut next_shared = shared.next();
    let mut merged = vec![false; rights.len()];
    let mut out = Vec::with_capacity(live.len().max(applied.len()));
    // Live items that share their element are not merged with the applied one, they are replaced.
    let duplicate = Value::Null;
    let counterpart = |element: &Option<Element<'_>>| match left_places.of(element) {
        [] => None,
        [at] => Some(&live[*at]),
        _ => Some(&duplicate),
    };
    let (mut l, mut r) = (0, 0);
    while l < lefts.len() || r < rights.len() {
        if l < lefts.len() && r < rights.len() {
            if lefts[l] == rights[r] {
                merged[r] = true;
                out.extend(merge(counterpart(&lefts[l]), Some(&applied[r]), list.item()));
                (l, r) = (l + 1, r + 1);
                next_shared = shared.next();
                continue;
            }
            if !right_places.of(&lefts[l]).is_empty() && next_shared.is_some_and(|next| *next != lefts[l]) {
                l += 1;
                continue;
            }
        }
        if l < lefts.len() {
            match right_places.of(&lefts[l]) {
                [] => {
                    out.push(live[l].clone());
                    l += 1;
                    continue;
                }
                places if places.iter().any(|at| merged[*at]) => l += 1,
                _ => {}
            }
        }
        if r < rights.len() {
            merged[r] = true;
            out.extend(merge(counterpart(&rights[r]), Some(&applied[r]), list.item()));
            if next_shared == Some(&rights[r]) {
                next_shared = shared.next();
            }
            r += 1;
        }
    }
    out
}

/// Takes fields out of an object. What becomes empty stays as an empty map or list.
pub(super) fn remove(value: &mut Value, fields: &FieldSet<'_>, shape: Shape<'_>) {
    let atom = shape.atom(value);
    match (atom, &mut *value) {
        (Atom::Scalar(_), _) => {}
        (Atom::List(list), Value::Array(items)) if !items.is_empty() => {
            let mut touched = false;
            items.retain_mut(|item| {
                let Some(node) = list.element(item).ok().and_then(|e| fields.find(&e)) else { return true };
                if !node.member && !node.children.is_empty() {
                    touched = true;
                    remove_below(item, &node.children, list.item());
                }
                !node.member
            });
            if items.is_empty() && !touched {
                *value = Value::Null;
            }
        }
        (Atom::Map { atomic: false }, Value::Object(map)) if !map.is_empty() => {
            let mut touched = false;
            map.retain(|key, child| {
                let Some(node) = fields.find(&Element::field(key)) else { return true };
                if !node.member && !node.children.is_empty() {
                    touched = true;
                    remove_below(child, &node.children, shape.child(key).0);
                }
                !node.member
            });
            if map.is_empty() && !touched {
                *value = Value::Null;
            }
        }
        _ => *value = Value::Null,
    }
}

fn remove_below(value: &mut Value, fields: &FieldSet<'_>, shape: Shape<'_>) {
    let empty = match value {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    };
    remove(value, fields, shape);
    if value.is_null() {
        *value = empty;
    }
}

/// The set with each named field of a struct that has something below it in the set as a member too.
pub(super) fn with_named_parents<'a>(set: &FieldSet<'a>, shape: Option<Shape<'_>>) -> FieldSet<'a> {
    let mut all = FieldSet::default();
    for node in &set.nodes {
        let below = shape.and_then(|s| s.below(&node.element));
        let named = below.is_some_and(|(_, named)| named) && !node.children.is_empty();
        let children = with_named_parents(&node.children, below.map(|(shape, _)| shape));
        all.put(node.element.clone(), node.member || named, children);
    }
    all
}

/// Brings a stored set in line with the schema: what is below a value that is now merged as a whole becomes the value
/// itself. Says whether there was any.
pub(super) fn reconcile(set: &mut FieldSet<'_>, shape: Shape<'_>) -> bool {
    let mut changed = false;
    if shape.is_untyped() {
        return changed;
    }
    for node in set.nodes.iter_mut().filter(|n| !n.children.is_empty()) {
        let Some((below, named)) = shape.below(&node.element) else { continue };
        if !named && !shape.is_open() {
            continue;
        }
        if below.is_atomic() {
            node.member = true;
            node.children = FieldSet::default();
            changed = true;
        } else {
            changed |= reconcile(&mut node.children, below);
        }
    }
    changed
}
