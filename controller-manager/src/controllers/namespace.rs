//! Deletes what is in a terminating namespace, then lets the namespace go (upstream's `pkg/controller/namespace`).
//!
//! Each round asks the server what is left: the caches may not know yet of something made just before the deletion.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use component::client::DeleteOptions;
use component::resource::{NAMESPACES, PODS};
use component::{Meta, Resource};
use serde_json::{Value, json};

use crate::informers::Informers;
use crate::kinds::{Condition, Namespace, condition};
use crate::plan::{Action, Answer, Plan, Query};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const FINALIZER: &str = "kubernetes";
/// When to look again after something was deleted, and when all that is left waits for somebody else. Deletions that a watch shows are
/// looked at sooner.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(5);

pub fn watch(informers: &Informers, queue: &Queue) {
    let each = queue.clone();
    informers.namespaces.subscribe(move |delta| {
        if delta.object().metadata.is_terminating() {
            each.add(Item::of(NAMESPACES, &delta.object().metadata));
        }
    });
    for informer in informers.all.values() {
        let (wake, namespaces) = (queue.clone(), informers.stores().namespaces.clone());
        informer.subscribe_metadata(Box::new(move |change| {
            if let (Some(gone), None) = change
                && namespaces.get("", &gone.namespace).is_some_and(|ns| ns.metadata.is_terminating())
            {
                wake.add(Item::new(NAMESPACES, "", &gone.namespace));
            }
        }));
    }
}

/// Every resource that a namespace can hold, each in one version.
fn contents() -> impl Iterator<Item = Resource> {
    let mut seen = HashSet::new();
    let deletable = |verb: &str, kind: &api::kinds::Kind| kind.has_verb(verb);
    api::kinds::KINDS
        .iter()
        .filter(move |kind| {
            kind.namespaced && ["list", "delete", "deletecollection"].iter().all(|v| deletable(v, kind))
        })
        // The same events are served in two groups.
        .filter(move |kind| kind.group != "events.k8s.io" && seen.insert((kind.group, kind.resource)))
        .map(Resource::of)
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let Some(namespace) = view.stores.namespaces.get("", item.name()) else { return Plan::none() };
    if !namespace.metadata.is_terminating() || !namespace.spec.finalizers.iter().any(|f| f == FINALIZER) {
        return Plan::none();
    }
    let query = |resource| Query::List(resource, item.name().to_owned());
    let open: Vec<Query> = contents().map(query).filter(|query| !view.answers.contains_key(query)).collect();
    if !open.is_empty() {
        return Plan::ask(open);
    }
    let mut left: BTreeMap<Resource, &[Meta]> = BTreeMap::new();
    let mut failures = Vec::new();
    for resource in contents() {
        match view.answers.get(&query(resource)) {
            Some(Answer::Found(found)) if !found.is_empty() => {
                left.insert(resource, found);
            }
            Some(Answer::Failed(message)) => failures.push(message.clone()),
            _ => {}
        }
    }
    if left.is_empty() && failures.is_empty() {
        return finalize(&namespace);
    }
    let mut plan = Plan::none();
    // Pods go before what they may need for an orderly end.
    let first = left.contains_key(&PODS).then_some(PODS);
    let deletable = left.iter().filter(|(resource, _)| first.is_none_or(|only| only == **resource));
    let deletions: Vec<Action> = deletable
        .filter(|(_, found)| found.iter().any(|meta| !meta.is_terminating()))
        .map(|(resource, _)| {
            let options = DeleteOptions { propagation_policy: Some("Background"), ..DeleteOptions::default() };
            Action::DeleteCollection { resource: *resource, namespace: item.name().to_owned(), options }
        })
        .collect();
    plan.again_after(if deletions.is_empty() { LATER } else { SOON });
    // What can be deleted at once is not worth a status.
    let waits = deletions.is_empty() || !failures.is_empty() || first.is_some();
    if waits && let Some(patch) = status_patch(view, &namespace, &left, &failures) {
        plan.act(patch);
    }
    plan.each(deletions);
    if !failures.is_empty() {
        plan.retry = Some(failures.join(", "));
    }
    let (meta, conditions, now) = (namespace.metadata.clone(), namespace.status.conditions.clone(), view.now);
    plan.on_failure = Some(Box::new(move |message| {
        let text = format!("Failed to delete all resource types, 1 remaining: {message}");
        let failed = Condition::new("NamespaceDeletionContentFailure", "True", "ContentDeletionFailed", &text, now);
        let mut all = conditions;
        super::conditions::set(&mut all, failed);
        vec![Action::merge(NAMESPACES, &meta, "status", json!({ "status": { "conditions": all } }))]
    }));
    plan
}

fn finalize(namespace: &Namespace) -> Plan {
    let meta = &namespace.metadata;
    let kept: Vec<&String> = namespace.spec.finalizers.iter().filter(|f| *f != FINALIZER).collect();
    let body = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": meta.name,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version.to_string(),
            "labels": meta.labels,
            "annotations": meta.annotations,
            "finalizers": meta.finalizers,
        },
        "spec": { "finalizers": kept },
    });
    let mut plan = Plan::none();
    plan.act(Action::update(NAMESPACES, meta, "finalize", body));
    plan
}

/// What the namespace's conditions say about what is left; `None` when they say so already.
fn status_patch(
    view: &View<'_>,
    namespace: &Namespace,
    left: &BTreeMap<Resource, &[Meta]>,
    failures: &[String],
) -> Option<Action> {
    let mut remaining: Vec<String> = left
        .iter()
        .map(|(resource, found)| {
            format!("{}.{} has {} resource instances", resource.plural, resource.group, found.len())
        })
        .collect();
    remaining.sort();
    let mut by_finalizer: BTreeMap<&str, usize> = BTreeMap::new();
    for finalizer in left.values().flat_map(|found| found.iter()).flat_map(|meta| &meta.finalizers) {
        *by_finalizer.entry(finalizer).or_default() += 1;
    }
    let finalizers: Vec<String> =
        by_finalizer.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    let failed = |list: &[String]| (!list.is_empty()).then(|| list.join(", "));
    let rows = [
        ("NamespaceDeletionDiscoveryFailure", None, "", "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            "",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            failed(failures).map(|t| format!("Failed to delete all resource types, {} remaining: {t}", failures.len())),
            "ContentDeletionFailed",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            failed(&remaining).map(|t| format!("Some resources are remaining: {t}")),
            "SomeResourcesRemain",
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            failed(&finalizers).map(|t| format!("Some content in the namespace has finalizers remaining: {t}")),
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ];
    let mut conditions = namespace.status.conditions.clone();
    for (kind, trouble, bad_reason, good_reason, good_message) in rows {
        let new = match &trouble {
            Some(message) => Condition::new(kind, "True", bad_reason, message, view.now),
            None => Condition::new(kind, "False", good_reason, good_message, view.now),
        };
        match conditions.iter_mut().find(|c| c.kind == kind) {
            Some(old) if old.status == new.status => (old.reason, old.message) = (new.reason, new.message),
            Some(old) => *old = new,
            None => conditions.push(new),
        }
    }
    let terminating = namespace.status.phase == "Terminating";
    if terminating && conditions == namespace.status.conditions {
        return None;
    }
    debug_assert!(condition(&conditions, "NamespaceContentRemaining").is_some());
    let body: Value = json!({ "status": { "phase": "Terminating", "conditions": conditions } });
    Some(Action::merge(NAMESPACES, &namespace.metadata, "status", body))
}

#[cfg(test)]
#[path = "namespace_tests.rs"]
mod tests;
