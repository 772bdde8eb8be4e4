//! What changed between two objects of a type.

use super::ResetFields;
use super::element::{Element, same};
use super::fields::Groups;
use super::set::FieldSet;
use super::shape::{Atom, List, Shape};
use crate::Map;
use serde_json::Value;
use std::cmp::Ordering;

/// The fields that differ; none is in two of the sets.
#[derive(Debug, Default)]
pub(super) struct Comparison<'a> {
    pub removed: FieldSet<'a>,
    /// In both objects and different.
    pub modified: FieldSet<'a>,
    pub added: FieldSet<'a>,
}

impl<'a> Comparison<'a> {
    /// The fields that a write with this outcome sets, and those that it removes.
    pub fn changes(mut self, reset: &ResetFields) -> (FieldSet<'a>, FieldSet<'a>) {
        for set in [&mut self.removed, &mut self.modified, &mut self.added] {
            reset.apply(set);
        }
        self.modified.unite(self.added);
        (self.modified, self.removed)
    }
}

pub(super) fn compare<'a>(old: &'a Value, new: &'a Value, shape: Shape<'a>) -> Comparison<'a> {
    walk(Some(old), Some(new), shape).below
}

/// The outcome for one value: whether it is itself in one of the sets, and what is below it.
#[derive(Default)]
struct Outcome<'a> {
    removed: bool,
    modified: bool,
    added: bool,
    below: Comparison<'a>,
}

impl<'a> Outcome<'a> {
    /// Adds this outcome to its parent's.
    fn hand_up(self, element: Element<'a>, parent: &mut Comparison<'a>) {
        let parts = [
            (&mut parent.removed, self.removed, self.below.removed),
            (&mut parent.modified, self.modified, self.below.modified),
            (&mut parent.added, self.added, self.below.added),
        ];
        for (set, member, below) in parts {
            if member || !below.is_empty() {
                set.put(element.clone(), member, below);
            }
        }
    }
}

fn walk<'a>(old: Option<&'a Value>, new: Option<&'a Value>, shape: Shape<'a>) -> Outcome<'a> {
    let mut outcome = Outcome::default();
    let leaf = match (old, new) {
        (None, None) => return outcome,
        (Some(value), None) | (None, Some(value)) => visit(old, new, shape, shape.atom(value), &mut outcome),
        (Some(a), Some(b)) => {
            let (old_atom, new_atom) = (shape.atom(a), shape.atom(b));
            if std::mem::discriminant(&old_atom) != std::mem::discriminant(&new_atom) {
                visit(old, new, shape, old_atom, &mut outcome);
            }
            visit(old, new, shape, new_atom, &mut outcome)
        }
    };
    if !leaf {
        outcome.added |= old.is_none();
        outcome.removed |= new.is_none();
    }
    outcome
}

/// Compares two values that are taken for `atom`; says whether they were compared as a whole.
fn visit<'a>(
    old: Option<&'a Value>,
    new: Option<&'a Value>,
    shape: Shape<'a>,
    atom: Atom<'a>,
    outcome: &mut Outcome<'a>,
) -> bool {
    match atom {
        Atom::Map { atomic: false } => {
            let (a, b) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            if a.is_some_and(|m| !m.is_empty()) || b.is_some_and(|m| !m.is_empty()) {
                visit_map(a, b, shape, &mut outcome.below);
                return false;
            }
        }
        Atom::List(list) => {
            let items = |v: Option<&'a Value>| v.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let (a, b) = (items(old), items(new));
            if !a.is_empty() || !b.is_empty() {
                visit_list(a, b, list, &mut outcome.below);
                return false;
            }
        }
        _ => {}
    }
    match (old, new) {
        (Some(a), Some(b)) => outcome.modified |= !same(a, b),
        (old, new) => {
            outcome.added |= old.is_none();
            outcome.removed |= new.is_none();
        }
    }
    true
}

/// Goes through the keys of both maps side by side; both are sorted.
fn visit_map<'a>(old: Option<&'a Map>, new: Option<&'a Map>, shape: Shape<'a>, below: &mut Comparison<'a>) {
    let mut left = old.into_iter().flatten().peekable();
    let mut right = new.into_iter().flatten().peekable();
    loop {
        let side = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let a = if side.is_le() { left.next() } else { None };
        let b = if side.is_ge() { right.next() } else { None };
        if let (Some((_, a)), Some((_, b))) = (a, b)
            && !a.is_object()
            && !a.is_array()
            && a == b
        {
            continue;
        }
        let Some((key, _)) = a.or(b) else { return };
        walk(a.map(|a| a.1), b.map(|b| b.1), shape.child(key).0).hand_up(Element::field(key), below);
    }
}

/// Pairs the items by element. Items that share their element are compared as one.
fn visit_list<'a>(old: &'a [Value], new: &'a [Value], list: List<'a>, below: &mut Comparison<'a>) {
    if old == new {
        return;
    }
    let (mut left, mut right) = (Groups::new(old, list), Groups::new(new, list));
    loop {
        let side = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.cmp(b),
        };
        let a = if side.is_le() { left.next() } else { None };
        let b = if side.is_ge() { right.next() } else { None };
        let olds = a.as_ref().map_or(&[][..], |g| &g.items[..]);
        let news = b.as_ref().map_or(&[][..], |g| &g.items[..]);
        let first = |items: &[(usize, &'a Value)]| items.first().map(|i| i.1);
        let outcome = match (olds.len(), news.len()) {
            (0 | 1, 0 | 1) => walk(first(olds), first(news), list.item()),
            (2.., 2..) => {
                let equal = olds.len() == news.len() && olds.iter().zip(news).all(|(a, b)| same(a.1, b.1));
                Outcome { modified: !equal, ..Outcome::default() }
            }
            // Duplicates that are gone, or new: what stood for them changes.
            (2.., _) => Outcome { removed: true, ..walk(None, first(news), list.item()) },
            (_, _) => Outcome { added: true, ..walk(first(olds), None, list.item()) },
        };
        if let Some(group) = a.or(b) {
            outcome.hand_up(group.element, below);
        }
    }
}
