use super::*;
use crate::world::{World, running_pod};

fn node(name: &str, status: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {},
        "status": { "conditions": [{ "type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
    })
}

fn taints(world: &World, name: &str) -> Vec<(String, String)> {
    let text =
        |t: &Value, key: &str| t[key].as_str().unwrap_or_default().trim_start_matches("node.kubernetes.io/").to_owned();
    let list = world.get(NODES, "", name).unwrap()["spec"]["taints"].as_array().cloned().unwrap_or_default();
    list.iter().map(|t| (text(t, "key"), text(t, "effect"))).collect()
}

fn pair(key: &str, effect: &str) -> (String, String) {
    (key.to_owned(), effect.to_owned())
}

#[test]
fn a_silent_node_becomes_unknown_and_its_pods_unready() {
    let mut world = World::new();
    world.put(NODES, node("a", "True"));
    world.put(PODS, running_pod("p", json!({}), "a", "10.0.0.1"));
    let item = Item::new(NODES, "", "a");
    world.reconcile(reconcile, &item);
    assert_eq!(world.requeued.map(|w| w.as_secs()), Some(50));
    assert_eq!(world.notes(), ["Registered Node a in Controller"]);
    world.pass(51);
    world.reconcile(reconcile, &item);
    let conditions = &world.get(NODES, "", "a").unwrap()["status"]["conditions"];
    assert_eq!((&conditions[0]["status"], &conditions[0]["reason"]), (&json!("Unknown"), &json!("NodeStatusUnknown")));
    assert_eq!(conditions[1]["reason"], "NodeStatusNeverUpdated");
    assert_eq!(world.notes()[1], "Node a status is now: NodeNotReady");
    world.reconcile(reconcile, &item);
    assert_eq!(taints(&world, "a"), [pair("unreachable", "NoSchedule")]);
    assert_eq!(world.get(PODS, "n", "p").unwrap()["status"]["conditions"][0]["status"], "False");
    assert_eq!(world.reconcile(reconcile, &item), 0);
}

#[test]
fn a_renewed_lease_keeps_a_node_ready() {
    let mut world = World::new();
    world.put(NODES, node("a", "True"));
    let mut lease: crate::kinds::Lease =
        serde_json::from_str(r#"{"metadata":{"namespace":"kube-node-lease","name":"a"}}"#).unwrap();
    world.pass(60);
    lease.observed = world.now - jiff::SignedDuration::from_secs(10);
    world.stores.leases.put(std::sync::Arc::new(lease));
    world.reconcile(reconcile, &Item::new(NODES, "", "a"));
    assert_eq!(world.requeued.map(|w| w.as_secs()), Some(40));
}

#[test]
fn taints_follow_conditions_and_cordons() {
    let mut world = World::new();
    world.put(NODES, node("a", "False"));
    world.change(
        NODES,
        "",
        "a",
        json!({ "spec": { "unschedulable": true, "taints": [{ "key": "mine", "effect": "NoSchedule" }] } }),
    );
    let item = Item::new(NODES, "", "a");
    world.reconcile(reconcile, &item);
    let expected = [pair("mine", "NoSchedule"), pair("not-ready", "NoSchedule"), pair("unschedulable", "NoSchedule")];
    assert_eq!(taints(&world, "a"), expected);
    let ready = json!([{ "type": "Ready", "status": "True" }]);
    world.change(NODES, "", "a", json!({ "spec": { "unschedulable": false }, "status": { "conditions": ready } }));
    world.reconcile(reconcile, &item);
    assert_eq!(taints(&world, "a"), [pair("mine", "NoSchedule")]);
}

#[test]
fn lost_nodes_are_given_up_one_after_the_other() {
    let mut world = World::new();
    for name in ["ok1", "ok2", "ok3"] {
        world.put(NODES, node(name, "True"));
    }
    world.put(NODES, node("bad1", "Unknown"));
    world.put(NODES, node("bad2", "Unknown"));
    world.reconcile(evict, &Item::new(NODES, "", "bad1"));
    assert_eq!(taints(&world, "bad1"), [pair("unreachable", "NoExecute")]);
    world.reconcile(evict, &Item::new(NODES, "", "bad2"));
    assert!(taints(&world, "bad2").is_empty());
    assert_eq!(world.requeued.map(|w| w.as_secs()), Some(10));
    world.pass(10);
    world.reconcile(evict, &Item::new(NODES, "", "bad2"));
    assert_eq!(taints(&world, "bad2"), [pair("unreachable", "NoExecute")]);
    // A kubelet that is back but not ready swaps the taint, one that is ready loses it.
    world.change(NODES, "", "bad1", json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }));
    world.reconcile(reconcile, &Item::new(NODES, "", "bad1"));
    assert_eq!(taints(&world, "bad1"), [pair("not-ready", "NoSchedule"), pair("not-ready", "NoExecute")]);
    world.change(NODES, "", "bad1", json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }));
    world.reconcile(reconcile, &Item::new(NODES, "", "bad1"));
    assert!(taints(&world, "bad1").is_empty());
}

#[test]
fn nothing_is_evicted_when_no_node_is_ready_or_most_of_a_small_zone_is_not() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.put(NODES, node(name, "Unknown"));
    }
    assert_eq!(world.reconcile(evict, &Item::new(NODES, "", "a")), 0);
    world.put(NODES, node("d", "True"));
    assert_eq!(world.reconcile(evict, &Item::new(NODES, "", "a")), 0, "three of four");
    world.put(NODES, node("e", "True"));
    world.put(NODES, node("f", "True"));
    assert_eq!(world.reconcile(evict, &Item::new(NODES, "", "a")), 1);
}
