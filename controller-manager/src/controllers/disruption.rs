//! PodDisruptionBudgets: how many of the pods that one covers may be evicted (upstream's `pkg/controller/disruption`).
//!
//! What is expected is the size of what controls the pods, where the budget is a fraction or says what may be missing, else the
//! number of pods. Pods whose eviction was granted and has not happened yet are not counted as healthy, for two minutes.

use std::collections::BTreeMap;
use std::time::Duration;

use component::Delta;
use component::events::EventType;
use component::meta::OwnerReference;
use component::resource::{POD_DISRUPTION_BUDGETS, PODS};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::event;
use crate::informers::Informers;
use crate::kinds::{Condition, IntOrString, Pod, PodDisruptionBudget, condition};
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const REPORTER: &str = "controllermanager";
const ALLOWED: &str = "DisruptionAllowed";
/// How long a granted eviction may take to delete its pod.
const DELETION_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the condition that a pod is about to be disrupted is believed.
const STALE_AFTER: Duration = Duration::from_secs(120);
const TARGET: &str = "DisruptionTarget";

pub fn watch(informers: &Informers, queue: &Queue) {
    let each = queue.clone();
    informers.pod_disruption_budgets.subscribe(move |delta| {
        if !matches!(delta, Delta::Deleted(_)) {
            each.add(Item::of(POD_DISRUPTION_BUDGETS, &delta.object().metadata));
        }
    });
    let (wake, budgets) = (queue.clone(), informers.stores().pod_disruption_budgets.clone());
    informers.pods.subscribe(move |delta| {
        let (old, new) = match delta {
            Delta::Updated { old, new } => (Some(old), Some(new)),
            Delta::Added(new) => (None, Some(new)),
            Delta::Deleted(old) => (Some(old), None),
        };
        if new.is_some_and(|pod| is_target(pod)) {
            wake.add(Item::of(PODS, &delta.object().metadata));
        }
        for budget in budgets.list() {
            if [old, new].into_iter().flatten().any(|pod| covers(&budget, pod)) {
                wake.add(Item::of(POD_DISRUPTION_BUDGETS, &budget.metadata));
            }
        }
    });
    // What controls pods decides by its size how many are expected.
    macro_rules! sizes {
        ($($informer:ident),*) => { $(
            let (wake, budgets) = (queue.clone(), informers.stores().pod_disruption_budgets.clone());
            informers.$informer.subscribe(move |delta| {
                if let Delta::Updated { old, new } = delta && old.spec.replicas != new.spec.replicas {
                    let here = budgets.list().into_iter().filter(|it| it.metadata.namespace == new.metadata.namespace);
                    here.for_each(|budget| wake.add(Item::of(POD_DISRUPTION_BUDGETS, &budget.metadata)));
                }
            });
        )* };
    }
    sizes!(deployments, replica_sets, replication_controllers, stateful_sets);
}

fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.selector.as_ref();
    budget.metadata.namespace == pod.metadata.namespace
        && selector.is_some_and(|selector| selector.matches(&pod.metadata.labels))
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    if item.resource == PODS {
        return unmark_stale(view, item);
    }
    let mut plan = Plan::none();
    let Some(budget) = view.stores.pod_disruption_budgets.get(item.namespace(), item.name()) else { return plan };
    let pods = view.stores.pods.list();
    let pods: Vec<&Pod> = pods.iter().map(|pod| &**pod).filter(|pod| covers(&budget, pod)).collect();
    let about = (POD_DISRUPTION_BUDGETS, &budget.metadata);
    if pods.is_empty() {
        let note = "No matching pods found".to_owned();
        plan.act(Action::event(event(REPORTER, about, EventType::Normal, "NoPods", note)));
    }
    let expected = match expected(view, &budget, &pods) {
        Ok(expected) => expected,
        Err(why) => {
            let note = format!("Failed to calculate the number of expected pods: {why}");
            plan.act(Action::event(event(
                REPORTER,
                about,
                EventType::Warning,
                "CalculateExpectedPodCountFailed",
                note,
            )));
            plan.each(failed(&budget, &why, view.now).into_iter().collect());
            return plan;
        }
    };
    if expected.unmanaged {
        let note = format!(
            "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
            budget.spec.selector.as_ref().map_or("nil".to_owned(), |selector| json!(selector).to_string())
        );
        plan.act(Action::event(event(REPORTER, about, EventType::Warning, "UnmanagedPods", note)));
    }
    let disrupted = still_expected(&budget, &pods, view.now);
    let next = disrupted.values().filter_map(|at| at.checked_add(DELETION_TIMEOUT).ok()).min();
    if let Some(next) = next {
        plan.again_after(Duration::try_from(next.duration_since(view.now)).unwrap_or_default());
    }
    let is_healthy =
        |pod: &&&Pod| !pod.metadata.is_terminating() && !disrupted.contains_key(&pod.metadata.name) && pod.is_ready();
    let healthy = pods.iter().filter(is_healthy).count() as i64;
    plan.each(counted(&budget, &expected, healthy, &disrupted, view.now).into_iter().collect());
    plan
}

/// What a budget demands of its pods.
struct Expected {
    pods: i64,
    healthy: i64,
    /// Some pod that ought to be controlled is not.
    unmanaged: bool,
}

fn expected(view: &View<'_>, budget: &PodDisruptionBudget, pods: &[&Pod]) -> Result<Expected, String> {
    match (&budget.spec.max_unavailable, &budget.spec.min_available) {
        (Some(most), _) => {
            let (scale, unmanaged) = scale(view, pods)?;
            Ok(Expected { pods: scale, healthy: (scale - most.of(scale, true)).max(0), unmanaged })
        }
        (None, Some(IntOrString::Int(least))) => {
            Ok(Expected { pods: pods.len() as i64, healthy: *least, unmanaged: false })
        }
        (None, Some(least)) => {
            let (scale, unmanaged) = scale(view, pods)?;
            Ok(Expected { pods: scale, healthy: least.of(scale, true), unmanaged })
        }
        (None, None) => Ok(Expected { pods: 0, healthy: 0, unmanaged: false }),
    }
}

/// The sizes of all that controls some of the pods, and whether a pod has no controller.
fn scale(view: &View<'_>, pods: &[&Pod]) -> Result<(i64, bool), String> {
    let (mut sizes, mut unmanaged) = (BTreeMap::new(), false);
    for pod in pods {
        let Some(owner) = pod.metadata.controller() else {
            unmanaged = true;
            continue;
        };
        if sizes.contains_key(&owner.uid) {
            continue;
        }
        let (uid, size) = size(view, owner, &pod.metadata.namespace)?
            .ok_or_else(|| format!("found no controllers for pod {}", api::field::quote(&pod.metadata.name)))?;
        sizes.insert(uid, size);
    }
    Ok((sizes.values().sum(), unmanaged))
}

/// The uid and the size of what controls a pod; a ReplicaSet's Deployment counts in its place. `None` when it is gone.
fn size(view: &View<'_>, owner: &OwnerReference, namespace: &str) -> Result<Option<(String, i64)>, String> {
    let (stores, name) = (view.stores, owner.name.as_str());
    let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let found = match (group, owner.kind.as_str()) {
        ("", "ReplicationController") => {
            let set = stores.replication_controllers.get(namespace, name);
            set.map(|set| (set.metadata.uid.clone(), set.spec.replicas))
        }
        ("apps" | "extensions", "ReplicaSet") => {
            let set = stores.replica_sets.get(namespace, name).filter(|set| set.metadata.uid == owner.uid);
            let Some(set) = set else { return Ok(None) };
            let above = set.metadata.controller().filter(|above| above.kind == "Deployment");
            let Some(above) = above else { return Ok(Some((set.metadata.uid.clone(), set.spec.replicas))) };
            let deployment = stores.deployments.get(namespace, &above.name);
            let deployment = deployment.filter(|deployment| deployment.metadata.uid == above.uid);
            return Ok(deployment.map(|it| (it.metadata.uid.clone(), it.spec.replicas)));
        }
        ("apps", "StatefulSet") => {
            let set = stores.stateful_sets.get(namespace, name);
            set.map(|set| (set.metadata.uid.clone(), set.spec.replicas))
        }
        _ => {
            let kind = api::kinds::KINDS.iter().find(|kind| kind.group == group && kind.kind == owner.kind);
            let resource = kind.map_or_else(|| owner.kind.clone(), |kind| kind.qualified_resource());
            return Err(format!("{resource} does not implement the scale subresource"));
        }
    };
    Ok(found.filter(|(uid, _)| *uid == owner.uid))
}

/// Of the pods whose eviction was granted, those that may still be about to go.
fn still_expected(budget: &PodDisruptionBudget, pods: &[&Pod], now: Timestamp) -> BTreeMap<String, Timestamp> {
    let granted = |pod: &&Pod| {
        let at: Timestamp = budget.status.disrupted_pods.get(&pod.metadata.name)?.parse().ok()?;
        let is_due = at.checked_add(DELETION_TIMEOUT).is_ok_and(|until| until >= now);
        (is_due && !pod.metadata.is_terminating()).then(|| (pod.metadata.name.clone(), at))
    };
    pods.iter().filter_map(granted).collect()
}

/// The status with these numbers, where that says anything new.
fn counted(
    budget: &PodDisruptionBudget,
    expected: &Expected,
    healthy: i64,
    disrupted: &BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Option<Action> {
    let spare = healthy - expected.healthy;
    let allowed = if expected.pods <= 0 { 0 } else { spare.max(0) };
    let (status, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let old = &budget.status;
    let known = condition(&old.conditions, ALLOWED)
        .is_some_and(|it| (it.status.as_str(), it.reason.as_str()) == (status, reason));
    let same = (old.current_healthy, old.desired_healthy, old.expected_pods, old.disruptions_allowed)
        == (healthy, expected.healthy, expected.pods, allowed);
    let generation = budget.metadata.generation;
    if same && known && old.observed_generation == generation && old.disrupted_pods.keys().eq(disrupted.keys()) {
        return None;
    }
    let gone =
        old.disrupted_pods.keys().filter(|name| !disrupted.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let gone: serde_json::Map<String, Value> = gone.collect();
    let numbers = json!({
        "observedGeneration": generation, "currentHealthy": healthy, "desiredHealthy": expected.healthy,
        "expectedPods": expected.pods, "disruptionsAllowed": allowed, "disruptedPods": gone,
    });
    Some(written(budget, numbers, Condition::new(ALLOWED, status, reason, "", now)))
}

/// The status after a failure: nothing may be evicted.
fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> Option<Action> {
    let known =
        condition(&budget.status.conditions, ALLOWED).is_some_and(|it| it.reason == "SyncFailed" && it.message == why);
    let failure = Condition::new(ALLOWED, "False", "SyncFailed", why, now);
    (!known || budget.status.disruptions_allowed != 0)
        .then(|| written(budget, json!({ "disruptionsAllowed": 0 }), failure))
}

/// Writes into the status, on the revision that was read: evictions write there too.
fn written(budget: &PodDisruptionBudget, mut status: Value, new: Condition) -> Action {
    let old = condition(&budget.status.conditions, &new.kind).filter(|old| old.status == new.status);
    let since = old.and_then(|old| old.last_transition_time.clone()).or(new.last_transition_time);
    let shown = json!({
        "type": new.kind, "status": new.status, "reason": new.reason, "message": new.message,
        "lastTransitionTime": since, "observedGeneration": budget.metadata.generation,
    });
    let others = budget.status.conditions.iter().filter(|it| it.kind != new.kind).map(|it| json!(it));
    status["conditions"] = others.chain([shown]).collect();
    let version = budget.metadata.resource_version.to_string();
    let body = json!({ "metadata": { "resourceVersion": version }, "status": status });
    Action::merge(POD_DISRUPTION_BUDGETS, &budget.metadata, "status", body)
}

fn is_target(pod: &Pod) -> bool {
    let target = condition(&pod.status.conditions, TARGET);
    let is_believed = target.is_some_and(|it| it.is_true() && it.reason != "TerminationByKubelet");
    is_believed && pod.is_active()
}

/// A pod that was to be disrupted and is still there is not a target any more.
fn unmark_stale(view: &View<'_>, item: &Item) -> Plan {
    let mut plan = Plan::none();
    let pod = view.stores.pods.get(item.namespace(), item.name()).filter(|pod| is_target(pod));
    let Some(pod) = pod else { return plan };
    let since = condition(&pod.status.conditions, TARGET).and_then(Condition::transitioned).unwrap_or(view.now);
    let left = since.checked_add(STALE_AFTER).map(|until| until.duration_since(view.now));
    match left.map(Duration::try_from) {
        Ok(Ok(left)) if !left.is_zero() => plan.again_after(left),
        _ => {
            let body = json!({ "status": { "conditions": [{
                "type": TARGET, "status": "False", "reason": null, "message": null,
                "lastTransitionTime": component::meta::format_time(view.now),
            }] } });
            plan.act(Action::patch(PODS, &pod.metadata, "status", component::client::PatchType::Strategic, body));
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{World, running_pod};
    use component::resource::{DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS};

    fn budget(world: &mut World, spec: Value) -> Item {
        let mut spec = spec;
        spec["selector"] = json!({ "matchLabels": { "app": "web" } });
        world.put(POD_DISRUPTION_BUDGETS, json!({ "metadata": { "name": "b", "namespace": "n" }, "spec": spec }));
        Item::new(POD_DISRUPTION_BUDGETS, "n", "b")
    }

    /// Ready pods, owned by what is named.
    fn pods(world: &mut World, count: usize, owner: Value) {
        for n in 0..count {
            let mut pod = running_pod(&format!("p{n}"), json!({ "app": "web" }), "a", "10.0.0.1");
            if !owner.is_null() {
                pod["metadata"]["ownerReferences"] = json!([owner]);
            }
            world.put(PODS, pod);
        }
    }

    fn owner(api_version: &str, kind: &str, plural: &str, name: &str) -> Value {
        json!({ "apiVersion": api_version, "kind": kind, "name": name, "uid": format!("uid-{plural}-{name}"), "controller": true })
    }

    fn status(world: &World) -> Value {
        world.get(POD_DISRUPTION_BUDGETS, "n", "b").unwrap()["status"].clone()
    }

    fn numbers(world: &World) -> [i64; 4] {
        let status = status(world);
        ["currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"]
            .map(|key| status[key].as_i64().unwrap())
    }

    #[test]
    fn a_number_counts_the_pods_there_are() {
        let mut world = World::new();
        let item = budget(&mut world, json!({ "minAvailable": 2 }));
        world.reconcile(reconcile, &item);
        assert_eq!(numbers(&world), [0, 2, 0, 0]);
        assert_eq!(status(&world)["conditions"][0]["reason"], "InsufficientPods");
        pods(&mut world, 3, Value::Null);
        world.reconcile(reconcile, &item);
        assert_eq!(numbers(&world), [3, 2, 3, 1]);
        let status = status(&world);
        assert_eq!(
            (&status["conditions"][0]["reason"], &status["observedGeneration"]),
            (&json!("SufficientPods"), &json!(1))
        );
        assert_eq!(world.reconcile(reconcile, &item), 0);
    }

    #[test]
    fn a_fraction_is_of_what_controls_the_pods() {
        let mut world = World::new();
        let item = budget(&mut world, json!({ "maxUnavailable": "30%" }));
        let deployment = owner("apps/v1", "Deployment", "deployments", "web");
        world.put(DEPLOYMENTS, json!({ "metadata": { "name": "web", "namespace": "n" }, "spec": { "replicas": 10 } }));
        world.put(REPLICA_SETS, json!({
            "metadata": { "name": "web-1", "namespace": "n", "ownerReferences": [deployment] }, "spec": { "replicas": 4 },
        }));
        pods(&mut world, 8, owner("apps/v1", "ReplicaSet", "replicasets", "web-1"));
        world.reconcile(reconcile, &item);
        assert_eq!(numbers(&world), [8, 7, 10, 1]);
        let mut world = World::new();
        let item = budget(&mut world, json!({ "minAvailable": "50%" }));
        world.put(STATEFUL_SETS, json!({ "metadata": { "name": "db", "namespace": "n" }, "spec": { "replicas": 3 } }));
        pods(&mut world, 3, owner("apps/v1", "StatefulSet", "statefulsets", "db"));
        world.reconcile(reconcile, &item);
        assert_eq!(numbers(&world), [3, 2, 3, 1]);
    }

    #[test]
    fn what_has_no_scale_lets_nothing_be_evicted() {
        let mut world = World::new();
        let item = budget(&mut world, json!({ "maxUnavailable": 1 }));
        pods(&mut world, 1, owner("batch/v1", "Job", "jobs", "j"));
        world.reconcile(reconcile, &item);
        let status = status(&world);
        assert_eq!(status["conditions"][0]["reason"], "SyncFailed");
        assert_eq!(status["conditions"][0]["message"], "jobs.batch does not implement the scale subresource");
        assert_eq!(status["disruptionsAllowed"], 0);
    }

    #[test]
    fn a_granted_eviction_counts_until_it_should_have_happened() {
        let mut world = World::new();
        let item = budget(&mut world, json!({ "minAvailable": 1 }));
        pods(&mut world, 3, Value::Null);
        world.reconcile(reconcile, &item);
        let at = component::meta::format_time(world.now);
        world.change(
            POD_DISRUPTION_BUDGETS,
            "n",
            "b",
            json!({ "status": { "disruptedPods": { "p0": at, "gone": at } } }),
        );
        world.reconcile(reconcile, &item);
        assert_eq!(numbers(&world), [2, 1, 3, 1]);
        assert_eq!(status(&world)["disruptedPods"], json!({ "p0": at }));
        assert_eq!(world.requeued, Some(DELETION_TIMEOUT));
        world.pass(121);
        world.reconcile(reconcile, &item);
        assert_eq!(numbers(&world), [3, 1, 3, 2]);
        assert_eq!(status(&world)["disruptedPods"], json!({}));
    }
}
