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
    let mut owners = Managers::decode(document::get(scale, MANAGED_FIELDS)).unwrap_or_default().0;
    owners.retain(|m| m.set.has(&path(&REPLICAS)));
    let place = path(replicas);
    let mut lost = FieldSet::default();
    lost.insert(&place);
    // A manager of several versions is one each time.
    let mut still: BTreeMap<(String, Operation, String), usize> = BTreeMap::new();
    let who = |m: &Manager<'_>| (m.name.to_string(), m.operation, m.subresource.to_string());
    owners.iter().for_each(|owner| *still.entry(who(owner)).or_default() += 1);
    let mut known: BTreeMap<(String, Operation, String), usize> = BTreeMap::new();
    managers.0.retain_mut(|manager| {
        if !manager.set.has(&place) {
            return true;
        }
        match still.get_mut(&who(manager)).filter(|count| **count > 0) {
            Some(count) => {
                *count -= 1;
                *known.entry(who(manager)).or_default() += 1;
            }
            None => manager.lose(&lost),
        }
        !manager.set.is_empty()
    });
    // The first of the owners are those that the parent knew.
    owners.retain(|owner| match known.get_mut(&who(owner)).filter(|count| **count > 0) {
        Some(count) => {
            *count -= 1;
            false
        }
        None => true,
    });
    for owner in &mut owners {
        move_to(owner, version, replicas);
        owner.time = None;
    }
    managers.put_all(owners);
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
