//! ReplicaSets and ReplicationControllers: as many pods as `spec.replicas` says (upstream's `pkg/controller/replicaset`).

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use component::events::EventType;
use component::resource::{PODS, REPLICA_SETS, REPLICATION_CONTROLLERS};
use component::{Informer, Meta, Resource};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::claim::{self, Claimant, controller_reference};
use super::{child, conditions, event, without_zeros};
use crate::informers::{CONTROLLER, Informers};
use crate::kinds::{Condition, Pod, ReplicaSet, ReplicaSetStatus, condition, template};
use crate::plan::{Action, Plan, Step};
use crate::queue::{Item, Queue};
use crate::runtime::View;

/// Pods made or deleted in one go.
const BURST: usize = 500;

pub fn watch_replica_sets(informers: &Informers, queue: &Queue) {
    watch(informers, &informers.replica_sets, REPLICA_SETS, queue);
}

pub fn watch_controllers(informers: &Informers, queue: &Queue) {
    watch(informers, &informers.replication_controllers, REPLICATION_CONTROLLERS, queue);
}

fn watch(informers: &Informers, sets: &Informer<ReplicaSet>, resource: Resource, queue: &Queue) {
    let each = queue.clone();
    sets.subscribe(move |delta| each.add(Item::of(resource, &delta.object().metadata)));
    claim::watch_pods(&informers.pods, sets.store(), resource, |set| &set.spec.selector, queue);
}

fn reporter(resource: Resource) -> &'static str {
    if resource == REPLICA_SETS { "replicaset-controller" } else { "replication-controller" }
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let sets =
        if item.resource == REPLICA_SETS { &view.stores.replica_sets } else { &view.stores.replication_controllers };
    let Some(set) = sets.get(item.namespace(), item.name()) else { return Plan::none() };
    // An empty selector would claim every pod; validation refuses it.
    if set.spec.selector.is_empty() {
        return Plan::none();
    }
    let claimant = Claimant { resource: item.resource, meta: &set.metadata, selector: &set.spec.selector };
    let (pods, patches) = match claimant.claim(view, PODS, &view.stores.pods, Pod::is_active) {
        Ok(claimed) => claimed,
        Err(plan) => return *plan,
    };
    let mut plan = Plan::none();
    plan.each(patches);
    if !set.metadata.is_terminating() {
        manage_replicas(view, item.resource, &set, &pods, &mut plan);
    }
    let status = status(view, item.resource, &set, &pods);
    if status.available_replicas != status.ready_replicas {
        plan.again_after(next_availability(&pods, set.spec.min_ready_seconds, view.now));
    }
    let failed = failed_status(&set, &status, pods.len(), view.now);
    let (resource, of) = (item.resource, set.clone());
    plan.on_failure = Some(Box::new(move |message| {
        let status = failed(message);
        status_patch(resource, &of, status).into_iter().collect()
    }));
    if let Some(patch) = status_patch(item.resource, &set, status) {
        plan.act(patch);
    }
    plan
}

fn manage_replicas(view: &View<'_>, resource: Resource, set: &Arc<ReplicaSet>, pods: &[Arc<Pod>], plan: &mut Plan) {
    let wanted = usize::try_from(set.spec.replicas).unwrap_or_default();
    let about = (resource, &set.metadata);
    let say = |kind, reason, note: &str| Some(event(reporter(resource), about, kind, reason, note.to_owned()));
    if pods.len() < wanted {
        let body = pod_from_template(resource, &set.metadata, template(&set.spec.template));
        let create = Action::create(PODS, &set.metadata.namespace, body).reporting(
            say(EventType::Normal, "SuccessfulCreate", "Created pod: {name}"),
            say(EventType::Warning, "FailedCreate", "Error creating: {error}"),
        );
        plan.steps.push(Step::Repeat(create, (wanted - pods.len()).min(BURST)));
    } else if pods.len() > wanted {
        let surplus = (pods.len() - wanted).min(BURST);
        let related = related_pods(view, resource, &set.metadata);
        let deletions = pods_to_delete(pods, &related, surplus, view.now).into_iter().map(|pod| {
            Action::delete(PODS, &pod.metadata).reporting(
                say(EventType::Normal, "SuccessfulDelete", "Deleted pod: {name}"),
                say(EventType::Warning, "FailedDelete", "Error deleting: {error}"),
            )
        });
        plan.each(deletions.collect());
    }
}

/// A pod as a controller's template describes it.
pub fn pod_from_template(resource: Resource, owner: &Meta, mut template: Value) -> Value {
    let metadata = template.get_mut("metadata").map(Value::take).unwrap_or_default();
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": format!("{}-", owner.name),
            "ownerReferences": [controller_reference(resource, owner)],
        },
        "spec": template.get_mut("spec").map(Value::take).unwrap_or_default(),
    });
    if let Value::Object(mut metadata) = metadata {
        for key in ["labels", "annotations", "finalizers"] {
            if let Some(value) = metadata.remove(key).filter(|v| !v.is_null()) {
                child(&mut pod, "metadata").insert(key.to_owned(), value);
            }
        }
    }
    pod
}

/// The pods of all sets with the same controller as this one: those of the same deployment.
fn related_pods(view: &View<'_>, resource: Resource, meta: &Meta) -> Vec<Arc<Pod>> {
    let Some(owner) = meta.controller().filter(|_| resource == REPLICA_SETS) else {
        return view.stores.pods.by(CONTROLLER, &meta.uid);
    };
    let sets = view.stores.replica_sets.by(CONTROLLER, &owner.uid);
    sets.iter().flat_map(|set| view.stores.pods.by(CONTROLLER, &set.metadata.uid)).collect()
}

/// The pods that are missed least, as upstream's `ActivePodsWithRanks` orders them.
fn pods_to_delete(pods: &[Arc<Pod>], related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pod.is_active()) {
        *on_node.entry(&pod.spec.node_name).or_default() += 1;
    }
    let rank = |pod: &Pod| on_node.get(pod.spec.node_name.as_str()).copied().unwrap_or_default();
    let mut sorted = pods.to_vec();
    sorted.sort_by(|a, b| deletion_order(a, b, (rank(a), rank(b)), now));
    sorted.truncate(count);
    sorted
}

/// `Less` when the first is to go before the second; `ranks` are how many related pods run on the node of each.
pub fn deletion_order(a: &Pod, b: &Pod, ranks: (usize, usize), now: Timestamp) -> Ordering {
    let assigned = |pod: &Pod| !pod.spec.node_name.is_empty();
    let phase = |pod: &Pod| match pod.status.phase.as_str() {
        "Pending" => 0,
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    };
    let cost = |pod: &Pod| {
        let text = pod.metadata.annotations.get("controller.kubernetes.io/pod-deletion-cost");
        text.and_then(|t| t.parse::<i32>().ok()).unwrap_or_default()
    };
    let restarts = |pod: &Pod| pod.status.container_statuses.iter().map(|c| c.restart_count).max().unwrap_or_default();
    let age = |at: Option<Timestamp>| at.map(|at| magnitude(at, now));
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| a.is_ready().cmp(&b.is_ready()))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| ranks.1.cmp(&ranks.0))
        .then_with(|| age(a.ready_since()).cmp(&age(b.ready_since())))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| age(a.metadata.creation_timestamp).cmp(&age(b.metadata.creation_timestamp)))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

/// The power of two below an age: the younger go first, those of about the same age in the order of their uids, which spreads
/// deletions. (Upstream asks for the uid before the restarts where times differ, and after them where they do not, which is no
/// order at all.)
fn magnitude(at: Timestamp, now: Timestamp) -> i64 {
    let age = now.duration_since(at).as_nanos();
    if age > 0 { i64::from(age.ilog2()) } else { -1 }
}

fn status(view: &View<'_>, resource: Resource, set: &ReplicaSet, pods: &[Arc<Pod>]) -> ReplicaSetStatus {
    let template = template(&set.spec.template);
    let labels = api::document::labels(&template);
    let fully_labeled =
        |pod: &Pod| labels.is_none_or(|labels| labels.iter().all(|(k, v)| pod.metadata.labels.get(k) == v.as_str()));
    let count = |matches: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| matches(pod)).count() as i64;
    let terminating = || {
        let pods = view.stores.pods.by(CONTROLLER, &set.metadata.uid);
        let terminating = pods.iter().filter(|pod| {
            pod.metadata.is_terminating() && !pod.is_terminal() && set.spec.selector.matches(&pod.metadata.labels)
        });
        terminating.count() as i64
    };
    let mut status = ReplicaSetStatus {
        replicas: pods.len() as i64,
        fully_labeled_replicas: count(&fully_labeled),
        ready_replicas: count(&Pod::is_ready),
        available_replicas: count(&|pod| pod.is_available(set.spec.min_ready_seconds, view.now)),
        terminating_replicas: (resource == REPLICA_SETS).then(terminating),
        observed_generation: set.metadata.generation,
        conditions: set.status.conditions.clone(),
    };
    conditions::remove(&mut status.conditions, "ReplicaFailure");
    status
}

/// The status after a failure to make or delete pods: a function of the failure's message.
fn failed_status(
    set: &Arc<ReplicaSet>,
    status: &ReplicaSetStatus,
    pods: usize,
    now: Timestamp,
) -> impl FnOnce(&str) -> ReplicaSetStatus + Send + 'static {
    let (mut status, known) = (status.clone(), condition(&set.status.conditions, "ReplicaFailure").cloned());
    let reason = match (pods as i64).cmp(&set.spec.replicas) {
        Ordering::Less => "FailedCreate",
        Ordering::Equal => "",
        Ordering::Greater => "FailedDelete",
    };
    move |message| {
        let failure = known.unwrap_or_else(|| Condition::new("ReplicaFailure", "True", reason, message, now));
        conditions::set(&mut status.conditions, failure);
        status
    }
}

fn status_patch(resource: Resource, set: &ReplicaSet, status: ReplicaSetStatus) -> Option<Action> {
    if status == set.status {
        return None;
    }
    let zeros = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    let mut body = without_zeros(json!(status), &zeros);
    if status.conditions.is_empty() {
        body["conditions"] = Value::Null;
    }
    Some(Action::merge(resource, &set.metadata, "status", json!({ "status": body })))
}

/// How long until another ready pod becomes available.
fn next_availability(pods: &[Arc<Pod>], min_ready_seconds: i64, now: Timestamp) -> Duration {
    let remaining = pods.iter().filter_map(|pod| {
        let ready = now.duration_since(pod.ready_since()?);
        (ready.as_secs() < min_ready_seconds)
            .then(|| Duration::from_secs(min_ready_seconds.unsigned_abs()).saturating_sub(ready.unsigned_abs()))
    });
    remaining.min().unwrap_or(Duration::from_secs(min_ready_seconds.unsigned_abs())).max(Duration::from_millis(10))
}

#[cfg(test)]
#[path = "replica_set_tests.rs"]
mod tests;
