//! Nodes that stop reporting, and the taints that follow from their conditions (upstream's `pkg/controller/nodelifecycle`).
//!
//! Two rows share the wake-ups: [`reconcile`] looks after a node's own state, [`evict`] adds the `NoExecute` taints one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component::client::PatchType;
use component::events::{Event, EventType, Reference};
use component::meta::format_time;
use component::resource::{NODES, PODS};
use component::{Delta, Meta};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::event;
use crate::informers::{Informers, NODE};
use crate::kinds::{Condition, Node, Taint, condition};
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const REPORTER: &str = "node-controller";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

/// Which condition in which status makes which taint.
const CONDITION_TAINTS: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
/// The conditions that a kubelet keeps: unknown once it is silent.
const KUBELET_CONDITIONS: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Labels that older clients read, and those they are copied from.
const COPIED_LABELS: &[(&str, &str)] =
    &[("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

pub fn watch(informers: &Informers, queue: &Queue) {
    let (queue, nodes) = (queue.clone(), informers.stores().nodes.clone());
    informers.nodes.subscribe(move |delta| {
        queue.add(Item::of(NODES, &delta.object().metadata));
        let turned = match delta {
            Delta::Updated { old, new } => ready(old) != ready(new),
            Delta::Added(_) | Delta::Deleted(_) => true,
        };
        if turned {
            // How many others are ready decides how fast nodes are given up.
            for other in nodes.list().iter().filter(|n| ready(n) != "True" || has_eviction_taint(n)) {
                queue.add(Item::of(NODES, &other.metadata));
            }
        }
    });
}

/// The status of the Ready condition; empty where there is none.
fn ready(node: &Node) -> &str {
    condition(&node.status.conditions, "Ready").map(|c| c.status.as_str()).unwrap_or_default()
}

fn is_eviction_taint(taint: &Taint) -> bool {
    taint.is(NOT_READY, NO_EXECUTE) || taint.is(UNREACHABLE, NO_EXECUTE)
}

fn has_eviction_taint(node: &Node) -> bool {
    node.spec.taints.iter().any(is_eviction_taint)
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let mut plan = Plan::none();
    let Some(node) = view.stores.nodes.get("", item.name()) else {
        if view.remembered.is_some() {
            let gone = Meta { name: item.name().to_owned(), uid: item.name().to_owned(), ..Meta::default() };
            let note = format!("Removing Node {} from Controller", item.name());
            plan.act(Action::event(node_event(&gone, "RemovingNode", note)));
        }
        return plan;
    };
    // Remembering a node tells a new one from a known one.
    plan.remember = view.remembered.or(Some(view.now));
    if view.remembered.is_none() {
        let note = format!("Registered Node {} in Controller", item.name());
        plan.act(Action::event(node_event(&node.metadata, "RegisteredNode", note)));
    }
    check_heartbeat(view, &node, &mut plan);
    copy_labels(&node, &mut plan);
    taint_by_conditions(&node, view.now, &mut plan);
    mark_pods_not_ready(view, &node, &mut plan);
    plan
}

fn node_event(meta: &Meta, reason: &str, note: String) -> Event {
    let regarding = Reference { uid: meta.uid.clone(), ..Reference::to(NODES, meta) };
    Event { regarding, ..event(REPORTER, (NODES, meta), EventType::Normal, reason, note) }
}

/// A node without a heartbeat for the grace period: its conditions become unknown.
fn check_heartbeat(view: &View<'_>, node: &Node, plan: &mut Plan) {
    let conditions = &node.status.conditions;
    let reported = condition(conditions, "Ready");
    let lease = view.stores.leases.get("kube-node-lease", &node.metadata.name).map(|lease| lease.observed);
    let created = node.metadata.creation_timestamp;
    let (last, grace) = match reported {
        Some(ready) => {
            let heartbeat = ready.last_heartbeat_time.as_ref().and_then(|t| t.parse().ok());
            // What was missed before we started is nobody's fault.
            (heartbeat.max(Some(view.started)), view.options.node_monitor_grace_period)
        }
        None => (created, view.options.node_startup_grace_period),
    };
    let silent = view.now.duration_since(last.max(lease).unwrap_or(view.now)).unsigned_abs();
    if silent <= grace {
        return plan.again_after(grace - silent + Duration::from_millis(10));
    }
    let unknown = |kind: &&str| match condition(conditions, kind) {
        Some(known) if known.status == "Unknown" => None,
        Some(_) => {
            let message = "Kubelet stopped posting node status.";
            Some(Condition::new(kind, "Unknown", "NodeStatusUnknown", message, view.now))
        }
        None => {
            let message = "Kubelet never posted node status.";
            let never = Condition::new(kind, "Unknown", "NodeStatusNeverUpdated", message, view.now);
            Some(Condition { last_heartbeat_time: created.map(format_time), ..never })
        }
    };
    let changed: Vec<Condition> = KUBELET_CONDITIONS.iter().filter_map(unknown).collect();
    if changed.is_empty() {
        return;
    }
    let body = json!({ "status": { "conditions": changed } });
    let note = format!("Node {} status is now: NodeNotReady", node.metadata.name);
    let event = reported.is_some_and(Condition::is_true).then(|| node_event(&node.metadata, "NodeNotReady", note));
    plan.act(Action::patch(NODES, &node.metadata, "status", PatchType::Strategic, body).reporting(event, None));
}

fn copy_labels(node: &Node, plan: &mut Plan) {
    let labels = &node.metadata.labels;
    let mut patch = serde_json::Map::new();
    for (from, to) in COPIED_LABELS {
        if let Some(value) = labels.get(from).filter(|value| labels.get(to) != Some(value)) {
            patch.insert((*to).to_owned(), value.into());
        }
    }
    if !patch.is_empty() {
        plan.act(Action::merge(NODES, &node.metadata, "", json!({ "metadata": { "labels": patch } })));
    }
}

/// Sets the `NoSchedule` taints; a node that is ready loses its `NoExecute` taints, and one that has the wrong one gets the other.
fn taint_by_conditions(node: &Node, now: Timestamp, plan: &mut Plan) {
    let conditions = &node.status.conditions;
    let mut wanted: Vec<&str> = CONDITION_TAINTS
        .iter()
        .filter(|(kind, status, _)| condition(conditions, kind).is_some_and(|c| c.status == *status))
        .map(|(_, _, key)| *key)
        .collect();
    if node.spec.unschedulable {
        wanted.push(UNSCHEDULABLE);
    }
    let ours = |key: &str| key == UNSCHEDULABLE || CONDITION_TAINTS.iter().any(|(_, _, k)| *k == key);
    let evicting = eviction_key(node);
    let tainted = has_eviction_taint(node);
    let mut taints = node.spec.taints.clone();
    taints.retain(|taint| match taint.effect.as_str() {
        NO_SCHEDULE => !ours(&taint.key) || wanted.contains(&taint.key.as_str()),
        NO_EXECUTE => !is_eviction_taint(taint) || evicting == Some(taint.key.as_str()),
        _ => true,
    });
    for key in wanted {
        if !taints.iter().any(|taint| taint.is(key, NO_SCHEDULE)) {
            taints.push(new_taint(key, NO_SCHEDULE, now));
        }
    }
    if let Some(key) = evicting.filter(|key| tainted && !taints.iter().any(|taint| taint.is(key, NO_EXECUTE))) {
        taints.push(new_taint(key, NO_EXECUTE, now));
    }
    if taints != node.spec.taints {
        plan.act(taint_patch(node, taints));
    }
}

/// The taint that a node's pods are evicted by, as its Ready condition says.
fn eviction_key(node: &Node) -> Option<&'static str> {
    match ready(node) {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    }
}

fn new_taint(key: &str, effect: &str, now: Timestamp) -> Taint {
    Taint { key: key.to_owned(), effect: effect.to_owned(), time_added: Some(format_time(now)), ..Taint::default() }
}

fn taint_patch(node: &Node, taints: Vec<Taint>) -> Action {
    let taints = if taints.is_empty() { Value::Null } else { json!(taints) };
    // The list is replaced as a whole, so it must be the one that was read.
    let revision = node.metadata.resource_version.to_string();
    let body = json!({ "metadata": { "resourceVersion": revision }, "spec": { "taints": taints } });
    Action::merge(NODES, &node.metadata, "", body)
}

/// Pods that were ready when their node was lost are so no more; services must leave them out.
fn mark_pods_not_ready(view: &View<'_>, node: &Node, plan: &mut Plan) {
    let Some(lost) = condition(&node.status.conditions, "Ready").filter(|c| !c.is_true()) else { return };
    let Some(since) = lost.transitioned() else { return };
    let patches = view.stores.pods.by(NODE, &node.metadata.name).into_iter().filter_map(|pod| {
        let ready = pod.ready_since()?;
        // What a kubelet says later is its own judgement.
        if ready > since {
            return None;
        }
        let now = format_time(view.now);
        let condition = json!({ "type": "Ready", "status": "False", "lastTransitionTime": now });
        let body = json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [condition] } });
        let note = "Node is not ready".to_owned();
        let event = event(REPORTER, (PODS, &pod.metadata), EventType::Warning, "NodeNotReady", note);
        Some(Action::patch(PODS, &pod.metadata, "status", PatchType::Strategic, body).reporting(Some(event), None))
    });
    plan.each(patches.collect());
}

/// How bad it is in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disruption {
    None,
    Partial,
    Full,
}

fn zone(node: &Node) -> String {
    let label = |key| node.metadata.labels.get(key).unwrap_or_default();
    format!("{}/{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

fn disruption(nodes: &[Arc<Node>], threshold: f64) -> Disruption {
    let unhealthy = nodes.iter().filter(|n| ready(n) != "True").count();
    if unhealthy > 0 && unhealthy == nodes.len() {
        Disruption::Full
    } else if unhealthy > 2 && unhealthy as f64 / nodes.len() as f64 >= threshold {
        Disruption::Partial
    } else {
        Disruption::None
    }
}

/// Adds the `NoExecute` taint to a node that is not ready, as fast as its zone's state allows. When no node at all is ready the fault is
/// taken to be ours, and nothing is evicted.
pub fn evict(view: &View<'_>, item: &Item) -> Plan {
    let mut plan = Plan::none();
    let Some(node) = view.stores.nodes.get("", item.name()) else { return plan };
    let Some(key) = eviction_key(&node) else { return plan };
    let mut zones: BTreeMap<String, Vec<Arc<Node>>> = BTreeMap::new();
    for other in view.stores.nodes.list() {
        if !other.metadata.labels.contains_key("node.kubernetes.io/exclude-disruption") {
            zones.entry(zone(&other)).or_default().push(other);
        }
    }
    let threshold = view.options.unhealthy_zone_threshold;
    let everything = zones.values().all(|nodes| disruption(nodes, threshold) == Disruption::Full);
    if everything && !zones.is_empty() {
        if has_eviction_taint(&node) {
            let kept = node.spec.taints.iter().filter(|taint| !is_eviction_taint(taint)).cloned().collect();
            plan.act(taint_patch(&node, kept));
        }
        return plan;
    }
    // A wrong taint of the two is swapped at once, by `reconcile`.
    if has_eviction_taint(&node) {
        return plan;
    }
    let mine = zones.remove(&zone(&node)).unwrap_or_default();
    let rate = match disruption(&mine, threshold) {
        Disruption::Partial if mine.len() > view.options.large_cluster_size_threshold => {
            view.options.secondary_node_eviction_rate
        }
        Disruption::Partial => 0.0,
        Disruption::None | Disruption::Full => view.options.node_eviction_rate,
    };
    if rate <= 0.0 {
        return plan;
    }
    let pause = Duration::from_secs_f64((1.0 / rate).min(86_400.0));
    let taints = mine.iter().flat_map(|n| &n.spec.taints).filter(|t| is_eviction_taint(t));
    if let Some(last) = taints.filter_map(Taint::added).max() {
        let passed = view.now.duration_since(last).unsigned_abs();
        if passed < pause {
            plan.again_after(pause - passed);
            return plan;
        }
    }
    let mut taints = node.spec.taints.clone();
    taints.push(new_taint(key, NO_EXECUTE, view.now));
    plan.act(taint_patch(&node, taints));
    plan
}

#[cfg(test)]
#[path = "node_lifecycle_tests.rs"]
mod tests;
