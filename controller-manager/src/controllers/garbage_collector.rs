//! Deletes what no longer has an owner, and takes part in foreground deletion and orphaning (upstream's
//! `pkg/controller/garbagecollector`).
//!
//! There is no graph beside the caches: every store has an index by the owners' uids, so an object's dependents are what that index
//! gives in all stores.

use std::sync::Arc;

use component::client::{DeleteOptions, PatchType, Preconditions};
use component::{Meta, OwnerReference, Resource};
use serde_json::json;

use crate::informers::{HasMeta, Informers, MetaStore, Stores};
use crate::plan::{Action, Answer, Plan, Query};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

pub fn watch(informers: &Informers, queue: &Queue) {
    for (resource, informer) in &informers.all {
        let (resource, stores, queue) = (*resource, informers.stores().clone(), queue.clone());
        informer.subscribe_metadata(Box::new(move |(old, new)| wake(&stores, &queue, resource, old, new)));
    }
}

/// Asks for the objects that a change may concern to be looked at.
fn wake(stores: &Stores, queue: &Queue, resource: Resource, old: Option<&Meta>, new: Option<&Meta>) {
    let waits = |meta: &Meta| meta.is_terminating() && (meta.has_finalizer(FOREGROUND) || meta.has_finalizer(ORPHAN));
    if let Some(new) = new {
        let owners_changed = old.is_none_or(|old| old.owner_references != new.owner_references);
        let waits_now = waits(new) && old.is_none_or(|old| !waits(old) || old.finalizers != new.finalizers);
        if waits_now || (owners_changed && !new.owner_references.is_empty()) {
            queue.add(Item::of(resource, new));
        }
        if waits_now && new.has_finalizer(FOREGROUND) {
            wake_dependents(stores, queue, &new.uid);
        }
    }
    let Some(old) = old else { return };
    if new.is_none() {
        wake_dependents(stores, queue, &old.uid);
    }
    // An owner that waits for its dependents may be free to go.
    let kept = |owner: &&OwnerReference| new.is_some_and(|new| new.owner_references.contains(owner));
    for owner in old.owner_references.iter().filter(|owner| !kept(owner)) {
        if let Some((resource, namespace)) = locate(owner, old)
            && let Some(found) = find(stores, resource, namespace, &owner.name)
            && found.metadata().uid == owner.uid
            && waits(found.metadata())
        {
            queue.add(Item::new(resource, namespace, &owner.name));
        }
    }
}

fn wake_dependents(stores: &Stores, queue: &Queue, uid: &str) {
    for (resource, dependent) in dependents(stores, uid) {
        queue.add(Item::of(resource, dependent.metadata()));
    }
}

fn dependents(stores: &Stores, uid: &str) -> Vec<(Resource, Arc<dyn HasMeta>)> {
    let of = |(resource, store): (&Resource, &Arc<dyn MetaStore>)| {
        let resource = *resource;
        store.owned_by(uid).into_iter().map(move |dependent| (resource, dependent))
    };
    stores.all.iter().flat_map(of).collect()
}

/// Which resource an owner reference means, and in which namespace: an owner is cluster-scoped or in the dependent's namespace.
fn locate<'a>(owner: &OwnerReference, dependent: &'a Meta) -> Option<(Resource, &'a str)> {
    let resource = Resource::of_kind(&owner.api_version, &owner.kind)?;
    Some((resource, if resource.namespaced { &dependent.namespace } else { "" }))
}

/// The object as the caches know it, in whichever version they watch it.
fn find(stores: &Stores, resource: Resource, namespace: &str, name: &str) -> Option<Arc<dyn HasMeta>> {
    let store = stores.all.get(&resource).or_else(|| {
        let same = |r: &&Resource| r.group == resource.group && r.plural == resource.plural;
        stores.all.keys().find(same).and_then(|resource| stores.all.get(resource))
    });
    store?.metadata(namespace, name)
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let Some(object) = find(view.stores, item.resource, item.namespace(), item.name()) else { return Plan::none() };
    let meta = object.metadata();
    if !meta.is_terminating() {
        return collect(view, item.resource, meta);
    }
    if meta.has_finalizer(ORPHAN) {
        return orphan_dependents(view, item.resource, meta);
    }
    if meta.has_finalizer(FOREGROUND) {
        let blocks =
            |dependent: &Meta| dependent.owner_references.iter().any(|o| o.uid == meta.uid && o.block_owner_deletion);
        if !dependents(view.stores, &meta.uid).iter().any(|(_, dependent)| blocks(dependent.metadata())) {
            let mut plan = Plan::none();
            plan.act(remove_finalizer(item.resource, meta, FOREGROUND));
            return plan;
        }
    }
    Plan::none()
}

/// What is the matter with an object's owners.
#[derive(Default)]
struct Owners<'a> {
    solid: usize,
    dangling: Vec<&'a str>,
    /// In foreground deletion, waiting for their dependents.
    waiting: Vec<&'a str>,
}

fn collect(view: &View<'_>, resource: Resource, meta: &Meta) -> Plan {
    let owners = match classify(view, meta) {
        Ok(owners) => owners,
        Err(plan) => return *plan,
    };
    let mut plan = Plan::none();
    if meta.owner_references.is_empty() {
        return plan;
    }
    if owners.solid > 0 {
        let gone: Vec<&str> = owners.dangling.iter().chain(&owners.waiting).copied().collect();
        if !gone.is_empty() {
            plan.act(remove_owners(resource, meta, &gone));
        }
        return plan;
    }
    let mine = dependents(view.stores, &meta.uid);
    let policy = if !owners.waiting.is_empty() && !mine.is_empty() {
        let deleting = |m: &Meta| m.is_terminating() && m.has_finalizer(FOREGROUND);
        if mine.iter().any(|(_, dependent)| deleting(dependent.metadata())) {
            // It may be a circle: nothing in it may wait for another.
            plan.act(unblock_owners(resource, meta));
        }
        "Foreground"
    } else if meta.has_finalizer(ORPHAN) {
        "Orphan"
    } else if meta.has_finalizer(FOREGROUND) {
        "Foreground"
    } else {
        "Background"
    };
    // Unblocking makes another version; the next look deletes it.
    let resource_version = plan.steps.is_empty().then(|| meta.resource_version.to_string());
    let options = DeleteOptions {
        propagation_policy: Some(policy),
        preconditions: Some(Preconditions { uid: Some(meta.uid.clone()), resource_version }),
        grace_period_seconds: None,
    };
    plan.act(Action::delete_with(resource, meta, options));
    plan
}

/// Sorts the owners. One that the caches do not have is asked for: it may only be too new for them.
fn classify<'a>(view: &View<'_>, meta: &'a Meta) -> Result<Owners<'a>, Box<Plan>> {
    let mut owners = Owners::default();
    let mut ask = Vec::new();
    for owner in &meta.owner_references {
        let Some((resource, namespace)) = locate(owner, meta) else {
            // A kind that we do not know is not ours to judge.
            owners.solid += 1;
            continue;
        };
        if resource.namespaced && namespace.is_empty() {
            // Nothing cluster-scoped can be owned by something in a namespace.
            owners.solid += 1;
            continue;
        }
        let cached = find(view.stores, resource, namespace, &owner.name).filter(|o| o.metadata().uid == owner.uid);
        let query = Query::Get(resource, namespace.to_owned(), owner.name.clone());
        let live;
        let found: &Meta = match (&cached, view.answers.get(&query)) {
            (Some(cached), _) => cached.metadata(),
            (None, Some(Answer::Found(found))) => {
                live = found.iter().find(|found| found.uid == owner.uid);
                match live {
                    Some(live) => live,
                    None => {
                        owners.dangling.push(&owner.uid);
                        continue;
                    }
                }
            }
            (None, Some(Answer::Failed(message))) => {
                return Err(Box::new(Plan { retry: Some(message.clone()), ..Plan::none() }));
            }
            (None, _) => {
                ask.push(query);
                continue;
            }
        };
        if found.is_terminating() && found.has_finalizer(FOREGROUND) {
            owners.waiting.push(&owner.uid);
        } else {
            owners.solid += 1;
        }
    }
    if ask.is_empty() { Ok(owners) } else { Err(Box::new(Plan::ask(ask))) }
}

fn orphan_dependents(view: &View<'_>, resource: Resource, meta: &Meta) -> Plan {
    let mut plan = Plan::none();
    let dependents = dependents(view.stores, &meta.uid);
    let patches =
        dependents.iter().map(|(resource, dependent)| remove_owners(*resource, dependent.metadata(), &[&meta.uid]));
    plan.each(patches.collect());
    plan.act(remove_finalizer(resource, meta, ORPHAN));
    plan
}

fn remove_owners(resource: Resource, meta: &Meta, uids: &[&str]) -> Action {
    let gone: Vec<_> = uids.iter().map(|uid| json!({ "$patch": "delete", "uid": uid })).collect();
    let body = json!({ "metadata": { "uid": meta.uid, "ownerReferences": gone } });
    Action::patch(resource, meta, "", PatchType::Strategic, body)
}

fn unblock_owners(resource: Resource, meta: &Meta) -> Action {
    let blocking = meta.owner_references.iter().filter(|o| o.block_owner_deletion);
    let unblocked: Vec<_> = blocking.map(|o| json!({ "uid": o.uid, "blockOwnerDeletion": false })).collect();
    let body = json!({ "metadata": { "uid": meta.uid, "ownerReferences": unblocked } });
    Action::patch(resource, meta, "", PatchType::Strategic, body)
}

fn remove_finalizer(resource: Resource, meta: &Meta, finalizer: &str) -> Action {
    let kept: Vec<&String> = meta.finalizers.iter().filter(|f| *f != finalizer).collect();
    // The list is replaced as a whole, so it must be the one that was read.
    let revision = meta.resource_version.to_string();
    Action::merge(resource, meta, "", json!({ "metadata": { "resourceVersion": revision, "finalizers": kept } }))
}

#[cfg(test)]
#[path = "garbage_collector_tests.rs"]
mod tests;
