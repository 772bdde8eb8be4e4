//! The managed fields of a `Scale` and of the object that it scales: both know who owns the number of replicas.
//!
//! A write of `scale` is a write of the `Scale` object, at `autoscaling/v1`; what comes of it is then carried to the
//! parent's entries, at the parent's version.

use super::managers::{Manager, Managers, Operation};
use super::set::FieldSet;
use super::{Element, MANAGED_FIELDS};
use crate::document;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

const SCALE_VERSION: &str = "autoscaling/v1";
const REPLICAS: [&str; 2] = ["spec", "replicas"];

/// The value of a `Scale`'s `metadata.managedFields` for its parent object; `None` if nobody owns the replicas.
/// `replicas`: where the parent has them, `["spec", "replicas"]` for the built-in kinds.
pub fn scale_managed_fields(parent: &Value, replicas: &[&str]) -> Option<Value> {
    let mut managers = Managers::decode(document::get(parent, MANAGED_FIELDS)).ok()?;
    let place = path(replicas);
    managers.0.retain(|m| m.set.has(&place));
    for manager in &mut managers.0 {
        move_to(manager, SCALE_VERSION, &REPLICAS);
    }
    managers.encode().into_list(|_| Value::Null)
}

/// The value of the parent's `metadata.managedFields` after a write of its `Scale`, which noted its own. `version`:
/// the parent's `apiVersion`. New entries have no time, as upstream.
pub fn scaled_managed_fields(parent: &Value, scale: &Value, version: &str, replicas: &[&str]) -> Option<Value> {
    let list = document::get(parent, MANAGED_FIELDS);
    let mut managers = Managers::decode(list).unwrap_or_default();
    let owners = Managers::decode(document::get(scale, MANAGED_FIELDS)).unwrap_or_default().0;
    let place = path(replicas);
    let mut lost = FieldSet::default();
    lost.insert(&place);
    // Updaters are told apart by their version, which is never the parent's: what they own becomes an entry of its own.
    let who = |m: &Manager<'_>| (m.name.to_string(), m.operation, m.subresource.to_string());
    let mut appliers: BTreeMap<_, _> = BTreeMap::new();
    let (applied, updated): (Vec<_>, Vec<_>) = owners.into_iter().partition(|m| m.operation == Operation::Apply);
    applied.into_iter().for_each(|owner| drop(appliers.insert(who(&owner), owner)));
    managers.0.retain_mut(|manager| {
        let is_owner = manager.set.has(&place);
        if is_owner && (manager.operation == Operation::Update || appliers.remove(&who(manager)).is_none()) {
            manager.lose(&lost);
        }
        !manager.set.is_empty()
    });
    let mut owners: Vec<_> = appliers.into_values().chain(updated).filter(|m| m.set.has(&path(&REPLICAS))).collect();
    for owner in &mut owners {
        move_to(owner, version, replicas);
        owner.time = None;
    }
    let (applied, updated) = owners.into_iter().partition::<Vec<_>, _>(|m| m.operation == Operation::Apply);
    managers.put_all(applied);
    managers.0.extend(updated);
    managers.encode().into_list(|at| list.and_then(|list| list.get(at)).cloned().unwrap_or_default())
}

/// Makes an entry own the replicas, and nothing else, at this version.
fn move_to<'a>(manager: &mut Manager<'a>, version: &'a str, replicas: &[&'a str]) {
    manager.set = FieldSet::default();
    manager.set.insert(&path(replicas));
    manager.version = Cow::Borrowed(version);
    manager.stored = None;
}

fn path<'a>(names: &[&'a str]) -> Vec<Element<'a>> {
    names.iter().map(|name| Element::field(name)).collect()
}
