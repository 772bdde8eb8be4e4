//! A kind's other versions: entries of `managedFields` hold fields as the version shows them that was written.

use super::ResetFields;
use super::compare::compare;
use super::set::FieldSet;
use super::shape::Shape;
use crate::document;
use crate::schema::{Schema, TypeRef};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How objects change between the versions of their kind.
pub trait Convert: Sync {
    /// The object, which is in the first version, as the second one (`autoscaling/v1`) shows it; `None` if the kind does not have both.
    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value>;
}

/// The versions that a kind's fields may be noted in. A type alone stands for a kind that has no other.
#[derive(Clone, Copy)]
pub struct Versions<'a> {
    /// The type in the version that is written.
    pub ty: TypeRef<'a>,
    pub convert: &'a dyn Convert,
}

struct Unconverted;

impl Convert for Unconverted {
    fn convert(&self, _: &Value, _: &str, _: &str) -> Option<Value> {
        None
    }
}

impl<'a> From<TypeRef<'a>> for Versions<'a> {
    fn from(ty: TypeRef<'a>) -> Versions<'a> {
        Versions { ty, convert: &Unconverted }
    }
}

/// How a version shows a kind.
enum Place {
    /// As the one that is written.
    Here,
    Other(TypeRef<'static>),
}

impl<'a> Versions<'a> {
    /// The shape of objects in the version that is written.
    pub(super) fn here(&self) -> Shape<'a> {
        Shape::of_type(self.ty)
    }

    /// `None` for a version that the kind does not have, or no more. Another group's shape of events does not count: upstream cannot
    /// convert between groups here.
    fn place(&self, api_version: &str) -> Option<Place> {
        let Some((own_group, own_version, kind)) = &self.ty.gvk else { return Some(Place::Here) };
        let (group, version) = document::split_version(api_version);
        match group == own_group {
            true if version == own_version => Some(Place::Here),
            true => Schema::of_kind(group, version, kind).map(Place::Other),
            false => None,
        }
    }

    pub(super) fn is_known(&self, api_version: &str) -> bool {
        self.place(api_version).is_some()
    }

    /// The shape of objects in a version.
    pub(super) fn shape(&self, api_version: &str) -> Shape<'a> {
        match self.place(api_version) {
            Some(Place::Other(ty)) => Shape::of_type(ty),
            _ => self.here(),
        }
    }

    /// An object in one version, as another shows it.
    pub(super) fn converted<'o>(&self, object: Cow<'o, Value>, from: &str, to: &str) -> Cow<'o, Value> {
        let is_here = |version| !matches!(self.place(version), Some(Place::Other(_)));
        if from == to || (is_here(from) && is_here(to)) {
            return object;
        }
        self.convert.convert(&object, from, to).map_or(object, Cow::Owned)
    }
}

/// What a write changes, as each version of the kind shows it: the fields that it sets, and those that it removes.
pub(super) struct Changes<'a> {
    pub taken: FieldSet<'a>,
    pub removed: FieldSet<'a>,
    others: BTreeMap<String, [FieldSet<'static>; 2]>,
}

impl<'a> Changes<'a> {
    /// Of a write at `written` that makes `new` from `live`; `noted` are the versions of the entries there are.
    pub fn new<'m>(
        live: &'a Value,
        new: &'a Value,
        versions: &Versions<'a>,
        written: &str,
        noted: impl Iterator<Item = &'m str>,
        reset: &ResetFields,
    ) -> Changes<'a> {
        let (taken, removed) = compare(live, new, versions.here()).changes(reset);
        let mut others = BTreeMap::new();
        for version in noted {
            let Some(Place::Other(ty)) = versions.place(version) else { continue };
            if !others.contains_key(version) {
                let [live, new] = [live, new].map(|object| versions.converted(Cow::Borrowed(object), written, version));
                let (taken, removed) = compare(&live, &new, Shape::of_type(ty)).changes(reset);
                others.insert(version.to_owned(), [taken.into_owned(), removed.into_owned()]);
            }
        }
        Changes { taken, removed, others }
    }

    /// What they are in an entry's version.
    pub fn at(&self, version: &str) -> [&FieldSet<'_>; 2] {
        match self.others.get(version) {
            Some([taken, removed]) => [taken, removed],
            None => [&self.taken, &self.removed],
        }
    }
}
