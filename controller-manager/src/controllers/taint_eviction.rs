//! Pods that do not tolerate their node's `NoExecute` taints are deleted, at once or after `tolerationSeconds` (upstream's
//! `pkg/controller/tainteviction`).

use std::time::Duration;

use component::Delta;
use component::client::PatchType;
use component::events::{Event, Reference};
use component::meta::format_time;
use component::resource::PODS;
use serde_json::json;

use crate::informers::{Informers, NODE};
use crate::kinds::{Node, Pod, Taint, Toleration};
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const REPORTER: &str = "taint-eviction-controller";

pub fn watch(informers: &Informers, queue: &Queue) {
    let (wake, pods) = (queue.clone(), informers.stores().pods.clone());
    informers.nodes.subscribe(move |delta| {
        let changed = match delta {
            Delta::Added(node) | Delta::Deleted(node) => has_no_execute(node),
            Delta::Updated { old, new } => {
                old.spec.taints != new.spec.taints && (has_no_execute(old) || has_no_execute(new))
            }
        };
        if changed {
            for pod in pods.by(NODE, &delta.object().metadata.name) {
                wake.add(Item::of(PODS, &pod.metadata));
            }
        }
    });
    let (wake, nodes) = (queue.clone(), informers.stores().nodes.clone());
    informers.pods.subscribe(move |delta| {
        let pod = delta.object();
        let changed = match delta {
            Delta::Added(_) | Delta::Deleted(_) => true,
            Delta::Updated { old, new } => {
                old.spec.node_name != new.spec.node_name || old.spec.tolerations != new.spec.tolerations
            }
        };
        let tainted = || nodes.get("", &pod.spec.node_name).is_some_and(|node| has_no_execute(&node));
        if changed && !pod.spec.node_name.is_empty() && tainted() {
            wake.add(Item::of(PODS, &pod.metadata));
        }
    });
}

fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.taints.iter().filter(|taint| taint.effect == "NoExecute")
}

fn has_no_execute(node: &Node) -> bool {
    no_execute(node).next().is_some()
}

/// How long a pod may stay.
#[derive(Debug, PartialEq)]
enum Stay {
    Forever,
    For(Duration),
}

fn stay(tolerations: &[Toleration], taints: &[&Taint]) -> Stay {
    let mut shortest: Option<i64> = None;
    for taint in taints {
        let Some(toleration) = tolerations.iter().find(|t| t.tolerates(taint)) else {
            return Stay::For(Duration::ZERO);
        };
        if let Some(seconds) = toleration.toleration_seconds {
            shortest = Some(shortest.map_or(seconds, |known| known.min(seconds)));
        }
    }
    shortest.map_or(Stay::Forever, |seconds| Stay::For(Duration::from_secs(seconds.max(0).unsigned_abs())))
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let mut plan = Plan::none();
    let Some(pod) = view.stores.pods.get(item.namespace(), item.name()) else { return plan };
    if pod.metadata.is_terminating() {
        return plan;
    }
    let node = view.stores.nodes.get("", &pod.spec.node_name);
    let taints: Vec<&Taint> = node.iter().flat_map(|node| no_execute(node)).collect();
    let stay = if taints.is_empty() { Stay::Forever } else { stay(&pod.spec.tolerations, &taints) };
    let Stay::For(stay) = stay else {
        if view.remembered.is_some() {
            plan.act(Action::event(say(item, format!("Cancelling deletion of Pod {}", item.key))));
        }
        return plan;
    };
    // The time counts from when the pod was first seen with the taints.
    let since = view.remembered.unwrap_or(view.now);
    let passed = view.now.duration_since(since).unsigned_abs();
    if passed < stay {
        plan.remember = Some(since);
        plan.again_after(stay - passed);
        return plan;
    }
    plan.act(Action::event(say(item, format!("Marking for deletion Pod {}", item.key))));
    plan.act(disruption_target(
        &pod,
        view.now,
        "DeletionByTaintManager",
        "Taint manager: deleting due to NoExecute taint",
    ));
    plan.act(Action::delete(PODS, &pod.metadata));
    plan
}

/// Records in a pod's status why it is about to be deleted.
pub fn disruption_target(pod: &Pod, now: jiff::Timestamp, reason: &str, message: &str) -> Action {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": format_time(now),
    });
    let body = json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [condition] } });
    Action::patch(PODS, &pod.metadata, "status", PatchType::Strategic, body)
}

fn say(item: &Item, note: String) -> Event {
    let regarding = Reference {
        kind: "Pod".to_owned(),
        api_version: "v1".to_owned(),
        namespace: item.namespace().to_owned(),
        name: item.name().to_owned(),
        ..Reference::default()
    };
    Event { reporter: REPORTER, regarding, reason: "TaintManagerEviction".to_owned(), note, ..Event::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{World, running_pod};
    use component::resource::NODES;

    #[test]
    fn the_shortest_toleration_counts() {
        let taint = |key: &str| Taint { key: key.into(), effect: "NoExecute".into(), ..Taint::default() };
        let toleration = |key: &str, seconds| Toleration {
            key: key.into(),
            operator: "Exists".into(),
            toleration_seconds: seconds,
            ..Toleration::default()
        };
        let (a, b) = (taint("a"), taint("b"));
        assert_eq!(stay(&[toleration("a", None)], &[&a]), Stay::Forever);
        assert_eq!(stay(&[toleration("a", None)], &[&a, &b]), Stay::For(Duration::ZERO));
        let both = [toleration("a", Some(300)), toleration("b", Some(5))];
        assert_eq!(stay(&both, &[&a, &b]), Stay::For(Duration::from_secs(5)));
        assert_eq!(stay(&[toleration("a", Some(-1))], &[&a]), Stay::For(Duration::ZERO));
    }

    fn tainted_world() -> (World, Item) {
        let mut world = World::new();
        let taint = json!({ "key": "gone", "effect": "NoExecute" });
        world.put(NODES, json!({ "metadata": { "name": "a" }, "spec": { "taints": [taint] } }));
        (world, Item::new(PODS, "n", "p"))
    }

    #[test]
    fn a_pod_stays_for_as_long_as_it_tolerates_the_taint() {
        let (mut world, item) = tainted_world();
        let mut pod = running_pod("p", json!({}), "a", "10.0.0.1");
        pod["spec"]["tolerations"] = json!([{ "key": "gone", "operator": "Exists", "tolerationSeconds": 60 }]);
        world.put(PODS, pod);
        world.reconcile(reconcile, &item);
        assert_eq!(world.requeued, Some(Duration::from_secs(60)));
        world.pass(20);
        world.reconcile(reconcile, &item);
        assert_eq!(world.requeued, Some(Duration::from_secs(40)), "the time counts from the first look");
        world.pass(40);
        world.reconcile(reconcile, &item);
        assert_eq!(world.log, ["~p", "-p"]);
        assert_eq!(world.notes(), ["Marking for deletion Pod n/p"]);
    }

    #[test]
    fn a_taint_that_goes_cancels_the_deletion() {
        let (mut world, item) = tainted_world();
        let mut pod = running_pod("p", json!({}), "a", "10.0.0.1");
        pod["spec"]["tolerations"] = json!([{ "operator": "Exists", "tolerationSeconds": 60 }]);
        world.put(PODS, pod);
        world.reconcile(reconcile, &item);
        world.change(NODES, "", "a", json!({ "spec": { "taints": null } }));
        world.reconcile(reconcile, &item);
        assert_eq!(world.notes(), ["Cancelling deletion of Pod n/p"]);
        assert!(world.log.is_empty());
    }
}
