//! Server-side apply: who owns which field of an object (`metadata.managedFields`), and the merge of what a manager
//! applies. Pure functions of documents and schemas.
//!
//! The rules are those of `sigs.k8s.io/structured-merge-diff` and of apimachinery's `managedfields`
//! (KEP-555). Every other write goes through [`update`], which notes what the writer changed; `PATCH` with
//! `application/apply-patch+yaml` through [`apply`]. Each entry is compared in its own version.

mod apply;
mod compare;
mod conflict;
mod element;
mod fields;
mod last_applied;
mod managers;
mod merge;
mod reset;
mod scale;
mod set;
mod shape;
#[cfg(test)]
mod tests;
mod validate;
mod versions;

pub use apply::{apply, unconvertible, unreadable};
pub use element::Element;
pub use reset::{ResetFields, reset_fields};
pub use scale::{scale_managed_fields, scaled_managed_fields};
pub use set::FieldSet;
pub use validate::{validate_field_manager, validate_managed_fields, validate_patch_options};
pub use versions::{Convert, Versions};

use crate::document;
use crate::field::is_printable;
use crate::schema::{TypeRef, fill, written};
use crate::time::{self, Timestamp};
use fields::misfits;
use managers::{Manager, Managers, Operation};
use serde_json::Value;
use std::borrow::Cow;
use versions::Changes;

/// Bytes of a manager's name.
pub const MANAGER_MAX: usize = 128;
const MANAGED_FIELDS: &str = "metadata.managedFields";
/// Entries of updates that an object keeps apart.
const UPDATERS_MAX: usize = 10;

/// Who writes, as managed fields know them.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// See [`manager_name`].
    pub manager: &'a str,
    /// The group and version of the request: `apps/v1`.
    pub api_version: &'a str,
    /// Empty for the main resource.
    pub subresource: &'a str,
    pub now: Timestamp,
}

impl<'a> Writer<'a> {
    fn entry(&self, operation: Operation) -> Manager<'a> {
        Manager {
            name: Cow::Borrowed(if self.manager.is_empty() { "unknown" } else { self.manager }),
            operation,
            version: Cow::Borrowed(self.api_version),
            subresource: Cow::Borrowed(self.subresource),
            time: Some(Cow::Owned(time::format(self.now))),
            set: FieldSet::default(),
            stored: None,
        }
    }
}

/// A writer's name: the `fieldManager` of the request, or else what the user agent has before its first `/`.
pub fn manager_name<'a>(field_manager: &'a str, user_agent: &'a str) -> Cow<'a, str> {
    if !field_manager.is_empty() {
        return Cow::Borrowed(field_manager);
    }
    let product = user_agent.split('/').next().unwrap_or_default();
    if product.len() <= MANAGER_MAX && product.chars().all(is_printable) {
        return Cow::Borrowed(product);
    }
    let mut name = String::new();
    for c in product.chars().filter(|c| is_printable(*c)) {
        if name.len() + c.len_utf8() > MANAGER_MAX {
            break;
        }
        name.push(c);
    }
    Cow::Owned(name)
}

/// Notes what a create, update or patch changed: sets `metadata.managedFields` of `object`, which is the new object,
/// decoded and defaulted; `old` is the stored one, `None` on create. `reset`: see [`reset_fields`]. Managed fields
/// that the client sent are taken if they are valid; an object that is not tracked stays so. Where one of the objects
/// does not fit what server-side apply knows of its type (an item of a list lacks its keys), tracking ends.
pub fn update<'a>(
    object: &mut Value,
    old: Option<&Value>,
    versions: impl Into<Versions<'a>>,
    writer: &Writer<'_>,
    reset: &ResetFields,
) {
    let versions = versions.into();
    let ty = versions.ty;
    let sent = document::metadata_mut(object).remove("managedFields");
    let zero;
    let live = match old {
        Some(old) => old,
        None => {
            zero = empty_object(ty);
            &zero
        }
    };
    let stored = document::get(live, MANAGED_FIELDS);
    let given = sent.as_ref().filter(|_| writer.subresource.is_empty()).and_then(Managers::sent);
    let is_movable = given.is_some() || sent.as_ref() == stored;
    let managers = given.unwrap_or_else(|| Managers::decode(stored).unwrap_or_default());
    if managers.0.is_empty() && !document::uid(live).is_empty() {
        return;
    }
    let new = written(object, ty);
    if misfits(&new, versions.here(), true).is_some()
        || old.is_some_and(|old| misfits(old, versions.here(), true).is_some())
    {
        return;
    }
    let entries = after_update(live, &new, managers, &versions, writer, reset).encode();
    let mut sent = sent;
    // What did not change is moved from the list that came with the object, or copied from the stored one.
    let list = entries.into_list(|place| match &mut sent {
        Some(sent) if is_movable => sent.get_mut(place).map(Value::take).unwrap_or_default(),
        _ => stored.and_then(|list| list.get(place)).cloned().unwrap_or_default(),
    });
    if let Some(list) = list {
        document::metadata_mut(object).insert("managedFields".to_owned(), list);
    }
}

/// An object of the type as it is before its creation, with what is written even where it is empty. Compared with
/// this, `spec` itself is no change.
fn empty_object(ty: TypeRef<'_>) -> Value {
    let mut zero = Value::Object(crate::Map::new());
    fill(&mut zero, ty);
    zero
}

/// The entries after a write that made `new` from `live`: what changed is the writer's, and nobody else's.
fn after_update<'a>(
    live: &'a Value,
    new: &'a Value,
    mut managers: Managers<'a>,
    versions: &Versions<'a>,
    writer: &Writer<'a>,
    reset: &ResetFields,
) -> Managers<'a> {
    managers.retain_known(versions);
    let changes = Changes::new(live, new, versions, writer.api_version, managers.versions(), reset);
    for manager in &mut managers.0 {
        manager.reconcile(versions.shape(&manager.version));
        changes.at(&manager.version).into_iter().for_each(|fields| manager.lose(fields));
    }
    managers.0.retain(|m| !m.set.is_empty());
    let mut taken = changes.taken;
    strip_metadata(&mut taken);
    if !taken.is_empty() {
        let mut entry = writer.entry(Operation::Update);
        entry.set = managers.find(&entry).map(|previous| previous.set.clone()).unwrap_or_default();
        entry.set.unite(taken);
        managers.put(entry);
    }
    managers.cap_updaters(UPDATERS_MAX);
    managers
}

/// Takes out what nobody owns: the object's type, and what the server sets or what cannot change.
fn strip_metadata(set: &mut FieldSet<'_>) {
    // Sorted.
    const FIELDS: &[&str] = &[
        "clusterName",
        "creationTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    ];
    set.nodes.retain_mut(|node| {
        match node.element.name() {
            "apiVersion" | "kind" => node.member = false,
            "metadata" => {
                node.member = false;
                node.children.nodes.retain_mut(|child| {
                    child.member &= FIELDS.binary_search(&child.element.name()).is_err();
                    child.member || !child.children.is_empty()
                });
            }
            _ => {}
        }
        node.member || !node.children.is_empty()
    });
}

/// Puts the stored managed fields back where a write changed nothing but their times, so that it is no change at
/// all. To be called with the object as it would be stored.
pub fn keep_times(object: &mut Value, old: &Value) {
    let (Some(Value::Array(new)), Some(Value::Array(stored))) =
        (document::get(object, MANAGED_FIELDS), document::get(old, MANAGED_FIELDS))
    else {
        return;
    };
    let timeless = |entry: &Value| {
        let map = entry.as_object();
        map.into_iter().flatten().filter(|(key, _)| *key != "time").map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let alike = |a: &Value, b: &Value| -> bool {
        let (a, b): (crate::Map, crate::Map) = (timeless(a), timeless(b));
        a == b
    };
    if new == stored || new.len() != stored.len() || !new.iter().zip(stored).all(|(a, b)| alike(a, b)) {
        return;
    }
    let stored = Value::Array(stored.clone());
    let Some(new) = document::metadata_mut(object).insert("managedFields".to_owned(), stored) else { return };
    if object != old {
        document::metadata_mut(object).insert("managedFields".to_owned(), new);
    }
}
