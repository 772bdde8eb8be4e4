//! Pods that nothing else removes: on nodes that are gone, terminating without a node, and too many that have ended (upstream's
//! `pkg/controller/podgc`).

use std::time::Duration;

use component::Delta;
use component::client::DeleteOptions;
use component::resource::{NODES, PODS};
use serde_json::json;

use super::taint_eviction::disruption_target;
use crate::informers::{Informers, NODE};
use crate::kinds::{Node, Pod, condition};
use crate::plan::{Action, Answer, Plan, Query};
use crate::queue::{Item, Queue};
use crate::runtime::View;

/// How long a node must be missing before its pods are deleted.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Pods that end within this time are counted together.
const SWEEP: Duration = Duration::from_secs(20);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub fn watch(informers: &Informers, queue: &Queue) {
    let (wake, nodes) = (queue.clone(), informers.stores().nodes.clone());
    informers.pods.subscribe(move |delta| {
        let pod = delta.object();
        let node = &pod.spec.node_name;
        if pod.metadata.is_terminating() || (!node.is_empty() && nodes.get("", node).is_none()) {
            wake.add(Item::of(PODS, &pod.metadata));
        }
        let ended_before = matches!(delta, Delta::Updated { old, .. } if old.is_terminal());
        if pod.is_terminal() && !ended_before {
            wake.add_after(sweep(), SWEEP);
        }
    });
    let (wake, pods) = (queue.clone(), informers.stores().pods.clone());
    informers.nodes.subscribe(move |delta| {
        if matches!(delta, Delta::Deleted(_)) || is_out_of_service(delta.object()) {
            for pod in pods.by(NODE, &delta.object().metadata.name) {
                wake.add(Item::of(PODS, &pod.metadata));
            }
        }
    });
}

/// The item that stands for all pods that have ended.
fn sweep() -> Item {
    Item::new(PODS, "", "")
}

fn is_out_of_service(node: &Node) -> bool {
    let ready = condition(&node.status.conditions, "Ready").is_some_and(|c| c.is_true());
    !ready && node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    if *item == sweep() {
        return delete_ended(view);
    }
    let mut plan = Plan::none();
    let Some(pod) = view.stores.pods.get(item.namespace(), item.name()) else { return plan };
    let terminating = pod.metadata.is_terminating();
    if pod.spec.node_name.is_empty() {
        if terminating {
            fail_and_delete(&pod, None, &mut plan);
        }
        return plan;
    }
    if let Some(node) = view.stores.nodes.get("", &pod.spec.node_name) {
        if terminating && is_out_of_service(&node) {
            fail_and_delete(&pod, None, &mut plan);
        }
        return plan;
    }
    let missing_since = view.remembered.unwrap_or(view.now);
    let missing = view.now.duration_since(missing_since).unsigned_abs();
    plan.remember = Some(missing_since);
    if missing < QUARANTINE {
        plan.again_after(QUARANTINE - missing);
        return plan;
    }
    let query = Query::Get(NODES, String::new(), pod.spec.node_name.clone());
    match view.answers.get(&query) {
        Some(Answer::Found(found)) if found.is_empty() => {
            let reason = ("DeletionByPodGC", "PodGC: node no longer exists");
            fail_and_delete(&pod, Some((view, reason)), &mut plan);
        }
        Some(Answer::Found(_)) => plan.remember = None,
        Some(Answer::Failed(message)) => plan.retry = Some(message.clone()),
        _ => plan.ask.push(query),
    }
    plan
}

fn fail_and_delete(pod: &Pod, why: Option<(&View<'_>, (&str, &str))>, plan: &mut Plan) {
    if let Some((view, (reason, message))) = why {
        plan.act(disruption_target(pod, view.now, reason, message));
    }
    if !pod.is_terminal() {
        let body = json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "phase": "Failed" } });
        plan.act(Action::merge(PODS, &pod.metadata, "status", body));
    }
    plan.act(forced_deletion(pod));
}

fn forced_deletion(pod: &Pod) -> Action {
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::uid(&pod.metadata.uid) };
    Action::delete_with(PODS, &pod.metadata, options)
}

/// Deletes the ended pods beyond the threshold, evicted ones first, then the oldest.
fn delete_ended(view: &View<'_>) -> Plan {
    let mut plan = Plan::none();
    let threshold = view.options.terminated_pod_gc_threshold;
    let mut ended = view.stores.pods.list();
    ended.retain(|pod| pod.is_terminal());
    if threshold == 0 || ended.len() <= threshold {
        return plan;
    }
    ended.sort_by_key(|pod| (pod.status.reason != "Evicted", pod.metadata.creation_timestamp));
    ended.truncate(ended.len() - threshold);
    plan.each(ended.iter().map(|pod| forced_deletion(pod)).collect());
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{World, running_pod};

    #[test]
    fn a_pod_of_a_missing_node_goes_after_the_quarantine() {
        let mut world = World::new();
        world.put(PODS, running_pod("p", json!({}), "gone", "10.0.0.1"));
        let item = Item::new(PODS, "n", "p");
        world.reconcile(reconcile, &item);
        assert_eq!(world.requeued, Some(QUARANTINE));
        world.pass(40);
        let actions = world.plan(reconcile, &item);
        let [condition, failed, Action::Delete { options, .. }] = actions.actions()[..] else { panic!() };
        assert!(format!("{condition:?}").contains("DeletionByPodGC") && format!("{failed:?}").contains("Failed"));
        assert_eq!(options.grace_period_seconds, Some(0));
        world.put(NODES, json!({ "metadata": { "name": "gone" } }));
        assert_eq!(world.reconcile(reconcile, &item), 0, "the node is there after all");
    }

    #[test]
    fn a_terminating_pod_without_a_node_goes_at_once() {
        let mut world = World::new();
        let mut pod = running_pod("p", json!({}), "", "");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        world.put(PODS, pod);
        world.reconcile(reconcile, &Item::new(PODS, "n", "p"));
        assert_eq!(world.log, ["~p", "-p"]);
    }

    #[test]
    fn the_oldest_ended_pods_beyond_the_threshold_go() {
        let mut world = World::new();
        world.options.terminated_pod_gc_threshold = 1;
        for name in ["old", "new"] {
            let mut pod = running_pod(name, json!({}), "a", "");
            pod["status"]["phase"] = json!("Succeeded");
            world.put(PODS, pod);
            world.pass(10);
        }
        world.reconcile(reconcile, &sweep());
        assert_eq!(world.log, ["-old"]);
    }
}
