//! Sets of fields, as a tree, and their encoding as `FieldsV1`.
//!
//! The tree of `structured-merge-diff`'s `fieldpath.Set` with its two lists, members and children, kept as one: a node
//! may be a member, have children, or both.

use super::element::{Element, write_string};
use crate::Map;
use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// A set of field paths. That a field is in the set says nothing about the fields below it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FieldSet<'a> {
    /// Sorted; none that is neither a member nor has children.
    pub(super) nodes: Vec<Node<'a>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node<'a> {
    pub element: Element<'a>,
    pub member: bool,
    pub children: FieldSet<'a>,
}

/// Nodes in which elements are looked up, each after the one before.
struct Sought<'s, 'a>(&'s [Node<'a>]);

impl<'s, 'a> Sought<'s, 'a> {
    /// Goes on in steps that double: of many small sets each looks up a few fields in one that is large.
    fn find(&mut self, element: &Element<'_>) -> Option<&'s Node<'a>> {
        let mut end = 1;
        while self.0.get(end - 1).is_some_and(|node| node.element < *element) {
            end *= 2;
        }
        let near = &self.0[..end.min(self.0.len())];
        let at = near.partition_point(|node| node.element < *element);
        self.0 = &self.0[at..];
        self.0.first().filter(|node| node.element == *element)
    }
}

impl<'a> FieldSet<'a> {
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Reads `fieldsV1`; the set borrows names from it. Elements of unknown types are left out.
    pub fn from_value(value: &'a Value) -> Result<FieldSet<'a>, String> {
        Ok(Self::read(value)?.0)
    }

    /// The set of what is below a node, and whether the node itself is meant.
    fn read(value: &'a Value) -> Result<(FieldSet<'a>, bool), String> {
        let map = match value {
            Value::Object(map) => map,
            Value::Null => return Ok((FieldSet::default(), true)),
            _ => return Err("expected an object of fields".to_owned()),
        };
        let mut nodes = Vec::with_capacity(map.len());
        let mut is_member = false;
        for (key, below) in map {
            if key == "." {
                is_member = true;
            } else if let Some(element) = Element::parse(key)? {
                let (children, member) = Self::read(below)?;
                nodes.push(Node { element, member, children });
            }
        }
        is_member |= nodes.is_empty();
        Ok((Self::from_nodes(nodes), is_member))
    }

    /// A set of nodes in any order.
    fn from_nodes(mut nodes: Vec<Node<'a>>) -> FieldSet<'a> {
        if nodes.is_sorted_by(|a, b| a.element < b.element) {
            return FieldSet { nodes };
        }
        nodes.sort_by(|a, b| a.element.cmp(&b.element));
        let mut set = FieldSet { nodes: Vec::with_capacity(nodes.len()) };
        for node in nodes {
            set.put(node.element, node.member, node.children);
        }
        set
    }

    /// The union of many sets.
    pub(super) fn union(mut sets: Vec<FieldSet<'a>>) -> FieldSet<'a> {
        // In pairs, so that a large set is not gone through for each small one.
        while sets.len() > 1 {
            let mut rest = sets.into_iter();
            sets = Vec::with_capacity(rest.len().div_ceil(2));
            while let Some(mut set) = rest.next() {
                set.unite(rest.next().unwrap_or_default());
                sets.push(set);
            }
        }
        sets.pop().unwrap_or_default()
    }

    /// The value of `fieldsV1`.
    pub fn to_value(&self) -> Value {
        Value::Object(self.nodes.iter().map(|n| (n.element.to_key(), n.to_value())).collect())
    }

    /// `fieldsV1` as upstream writes it, keys in the order of their elements.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write(false, &mut out);
        out
    }

    fn write(&self, with_self: bool, out: &mut String) {
        out.push('{');
        if with_self {
            out.push_str("\".\":{}");
        }
        for (i, node) in self.nodes.iter().enumerate() {
            if i > 0 || with_self {
                out.push(',');
            }
            write_string(out, &node.element.to_key(), false);
            out.push(':');
            node.children.write(node.member && !node.children.is_empty(), out);
        }
        out.push('}');
    }

    /// Adds to the set; what is there already stays. Adding in order is fast.
    pub(super) fn put(&mut self, element: Element<'a>, member: bool, children: FieldSet<'a>) {
        if !member && children.is_empty() {
            return;
        }
        if self.nodes.last().is_none_or(|last| last.element < element) {
            return self.nodes.push(Node { element, member, children });
        }
        match self.nodes.binary_search_by(|n| n.element.cmp(&element)) {
            Ok(at) => {
                self.nodes[at].member |= member;
                self.nodes[at].children.unite(children);
            }
            Err(at) => self.nodes.insert(at, Node { element, member, children }),
        }
    }

    pub(super) fn find(&self, element: &Element<'_>) -> Option<&Node<'a>> {
        let at = self.nodes.binary_search_by(|n| n.element.cmp(element)).ok()?;
        Some(&self.nodes[at])
    }

    /// Whether the field at this path is a member.
    pub fn has(&self, path: &[Element<'_>]) -> bool {
        match path {
            [] => false,
            [last] => self.find(last).is_some_and(|n| n.member),
            [first, rest @ ..] => self.find(first).is_some_and(|n| n.children.has(rest)),
        }
    }

    /// Adds the field at this path; its parents are not added.
    pub fn insert(&mut self, path: &[Element<'a>]) {
        if let [first, rest @ ..] = path {
            let mut children = FieldSet::default();
            children.insert(rest);
            self.put(first.clone(), rest.is_empty(), children);
        }
    }

    /// Adds all of another set.
    pub fn unite(&mut self, other: FieldSet<'a>) {
        if self.is_empty() {
            *self = other;
            return;
        }
        if other.is_empty() {
            return;
        }
        let mine = std::mem::take(&mut self.nodes);
        self.nodes.reserve(mine.len().max(other.nodes.len()));
        let (mut left, mut right) = (mine.into_iter().peekable(), other.nodes.into_iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            match a.element.cmp(&b.element) {
                Ordering::Less => self.nodes.extend(left.next()),
                Ordering::Greater => self.nodes.extend(right.next()),
                Ordering::Equal => {
                    if let (Some(mut a), Some(b)) = (left.next(), right.next()) {
                        a.member |= b.member;
                        a.children.unite(b.children);
                        self.nodes.push(a);
                    }
                }
            }
        }
        self.nodes.extend(left);
        self.nodes.extend(right);
    }

    /// Takes out the members of another set; says whether there were any. A field does not cover the fields below it.
    pub fn subtract(&mut self, other: &FieldSet<'_>) -> bool {
        self.retain(other, |node, other| {
            let was_member = node.member;
            node.member &= !other.member;
            node.children.subtract(&other.children) || node.member != was_member
        })
    }

    /// Takes out the members of another set with everything below them.
    pub fn subtract_recursively(&mut self, other: &FieldSet<'_>) -> bool {
        self.retain(other, |node, other| {
            if other.member {
                node.member = false;
                node.children = FieldSet::default();
            }
            node.children.subtract_recursively(&other.children) || other.member
        })
    }

    /// Goes through the nodes that both sets have; `change` says whether it did.
    fn retain(&mut self, other: &FieldSet<'_>, change: impl Fn(&mut Node<'a>, &Node<'_>) -> bool) -> bool {
        let mut changed = false;
        if other.is_empty() {
            return changed;
        }
        let mut others = Sought(&other.nodes);
        self.nodes.retain_mut(|node| {
            if let Some(other) = others.find(&node.element) {
                changed |= change(node, other);
            }
            node.member || !node.children.is_empty()
        });
        changed
    }

    /// The members that both sets have.
    pub fn intersection(&self, other: &FieldSet<'_>) -> FieldSet<'a> {
        let mut both = FieldSet::default();
        let mut others = Sought(&other.nodes);
        for node in &self.nodes {
            if let Some(other) = others.find(&node.element) {
                let children = node.children.intersection(&other.children);
                both.put(node.element.clone(), node.member && other.member, children);
            }
        }
        both
    }

    /// How many fields are in the set.
    pub fn len(&self) -> usize {
        self.nodes.iter().map(|n| usize::from(n.member) + n.children.len()).sum()
    }

    /// Calls `visit` with the text of each member's path, until it breaks off: those of a level first, then what is below
    /// them.
    pub fn each_path(&self, visit: &mut impl FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        self.each_below("", visit)
    }

    fn each_below(&self, prefix: &str, visit: &mut impl FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        for node in self.nodes.iter().filter(|n| n.member) {
            visit(&format!("{prefix}{}", node.element))?;
        }
        for node in self.nodes.iter().filter(|n| !n.children.is_empty()) {
            node.children.each_below(&format!("{prefix}{}", node.element), visit)?;
        }
        ControlFlow::Continue(())
    }

    /// Takes out the field at a path of names, with everything below it.
    pub(super) fn exclude(&mut self, path: &[&str]) {
        let [first, rest @ ..] = path else { return };
        let name = Element::Field(Cow::Borrowed(first));
        if let Ok(at) = self.nodes.binary_search_by(|n| n.element.cmp(&name)) {
            if rest.is_empty() {
                self.nodes.remove(at);
                return;
            }
            self.nodes[at].children.exclude(rest);
            if !self.nodes[at].member && self.nodes[at].children.is_empty() {
                self.nodes.remove(at);
            }
        }
    }

    /// Keeps only what is on or below a path of names, `*` being any element.
    pub(super) fn keep_only(&mut self, paths: &[&[&str]]) {
        self.nodes.retain_mut(|node| {
            let below: Vec<&[&str]> = paths
                .iter()
                .filter_map(|path| path.split_first())
                .filter(|(first, _)| **first == "*" || matches!(&node.element, Element::Field(name) if name == *first))
                .map(|(_, rest)| rest)
                .collect();
            if below.is_empty() {
                return false;
            }
            if !below.iter().any(|rest| rest.is_empty()) {
                node.children.keep_only(&below);
            }
            node.member || !node.children.is_empty()
        });
    }

    /// The same set, borrowing nothing.
    pub fn into_owned(self) -> FieldSet<'static> {
        FieldSet { nodes: self.nodes.into_iter().map(Node::into_owned).collect() }
    }
}

impl<'a> Node<'a> {
    fn to_value(&self) -> Value {
        let Value::Object(mut map) = self.children.to_value() else { return Value::Null };
        if self.member && !map.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        Value::Object(map)
    }

    fn into_owned(self) -> Node<'static> {
        let element = match self.element {
            Element::Field(name) => Element::Field(Cow::Owned(name.into_owned())),
            Element::Value(value) => Element::Value(Cow::Owned(value.into_owned())),
            Element::Index(at) => Element::Index(at),
            Element::Key(keys) => Element::Key(
                keys.into_iter().map(|(k, v)| (Cow::Owned(k.into_owned()), Cow::Owned(v.into_owned()))).collect(),
            ),
        };
        Node { element, member: self.member, children: self.children.into_owned() }
    }
}
