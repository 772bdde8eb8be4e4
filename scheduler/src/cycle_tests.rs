use serde_json::json;

use super::*;
use crate::snapshot::{Node, NodeObject};

fn node(name: &str, cpu: &str, spec: serde_json::Value) -> Arc<Node> {
    let object: NodeObject = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": "64Gi", "pods": "110"}},
    }))
    .unwrap();
    object.node
}

fn cluster(nodes: impl IntoIterator<Item = Arc<Node>>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.set_node(node);
    }
    snapshot
}

fn pod(spec: serde_json::Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec})).unwrap()
}

fn cpu(amount: &str) -> serde_json::Value {
    json!({"containers": [{"resources": {"requests": {"cpu": amount, "memory": "1Gi"}}}]})
}

fn message(pod: &Pod, snapshot: &Snapshot) -> String {
    Cycle::new(0, 1).schedule(pod, snapshot).unwrap_err().message.clone()
}

#[test]
fn the_message_for_no_nodes() {
    assert_eq!(message(&pod(cpu("1")), &Snapshot::default()), "no nodes available to schedule pods");
}

#[test]
fn the_message_counts_reasons_in_order() {
    let tainted = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
    let snapshot = cluster([
        node("a", "1", json!({})),
        node("b", "8", tainted.clone()),
        node("c", "8", tainted),
        node("d", "8", json!({"unschedulable": true})),
    ]);
    assert_eq!(
        message(&pod(cpu("4")), &snapshot),
        "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s). \
         preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_full_node_has_no_preemption_victims() {
    let mut snapshot = cluster([node("a", "4", json!({}))]);
    let running = pod(cpu("3"));
    snapshot.add_pod("a", &running.requirements, 0);
    assert_eq!(
        message(&pod(cpu("2")), &snapshot),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims \
         found for incoming pod."
    );
    let mut never = cpu("2");
    never["preemptionPolicy"] = json!("Never");
    assert_eq!(
        message(&pod(never), &snapshot),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    );
}

#[test]
fn a_pod_for_one_node_says_what_excluded_the_others() {
    let snapshot = cluster([node("a", "4", json!({"unschedulable": true})), node("b", "4", json!({}))]);
    let mut spec = cpu("1");
    spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}}});
    assert_eq!(
        message(&pod(spec), &snapshot),
        "0/2 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity], 1 node(s) were unschedulable. \
         preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn the_search_adapts_to_the_number_of_nodes() {
    for (percentage, nodes, expected) in
        [(0, 10, 10), (0, 100, 100), (0, 1000, 420), (0, 5000, 500), (0, 6000, 300), (40, 1000, 400), (1, 5000, 100)]
    {
        assert_eq!(nodes_to_find(percentage, nodes), expected, "{percentage}% of {nodes}");
    }
}

#[test]
fn searches_rotate_over_the_nodes() {
    let snapshot = cluster((0..300).map(|i| node(&format!("n{i}"), "4", json!({}))));
    let mut cycle = Cycle::new(1, 7);
    for (millis, start) in [(1, 100), (2, 200), (3, 300), (4, 100)] {
        cycle.schedule(&pod(cpu(&format!("{millis}m"))), &snapshot).unwrap();
        assert_eq!(cycle.next_start, start);
    }
}

#[test]
fn preferred_affinity_outweighs_load() {
    let mut snapshot = cluster([node("a", "4", json!({})), node("b", "4", json!({}))]);
    snapshot.add_pod("a", &pod(cpu("1")).requirements, 0);
    let mut spec = cpu("1");
    spec["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions":
            [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["a"]}]}}]}});
    let slot = Cycle::new(0, 1).schedule(&pod(spec), &snapshot).unwrap();
    assert_eq!(snapshot.node(slot).node.name, "a");
}

/// Places pods of two signatures in turn and checks, each time, that the batch's choice has the score that scoring all
/// nodes from scratch finds best.
#[test]
fn a_batch_chooses_as_a_full_search_would() {
    let soft = |i: u32| match i % 3 {
        0 => json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}),
        _ => json!({}),
    };
    let mut snapshot = cluster((0..20).map(|i| node(&format!("n{i}"), if i % 2 == 0 { "2" } else { "4" }, soft(i))));
    let [small, large] = [pod(cpu("300m")), pod(cpu("1"))];
    let mut cycle = Cycle::new(0, 42);
    let mut placed = 0;
    for turn in 0..200 {
        let pod = if turn % 2 == 0 { &small } else { &large };
        let wants = &pod.requirements;
        let Ok(slot) = cycle.schedule(pod, &snapshot) else {
            assert!(snapshot.nodes().iter().all(|slot| !feasible(wants, snapshot.node(*slot))));
            continue;
        };
        let scoring = Scoring::new(wants);
        let all: Vec<_> = snapshot.nodes().iter().filter(|slot| feasible(wants, snapshot.node(**slot))).collect();
        let raw: Vec<Vec<i32>> = all
            .iter()
            .map(|slot| {
                let mut raw = vec![0; scoring.width()];
                scoring.score(wants, snapshot.node(**slot), &mut raw);
                raw
            })
            .collect();
        let highest: Vec<i32> =
            (0..scoring.width()).map(|i| raw.iter().map(|scores| scores[i]).max().unwrap()).collect();
        let best = raw.iter().map(|scores| scoring.total(scores, &highest)).max();
        let chosen = all.iter().position(|candidate| **candidate == slot).map(|i| scoring.total(&raw[i], &highest));
        assert_eq!(chosen, best, "turn {turn}");
        let name = snapshot.node(slot).node.name.clone();
        snapshot.add_pod(&name, wants, 0);
        placed += 1;
        if turn % 7 == 0 {
            snapshot.remove_pod(slot, wants, 0);
        }
    }
    assert!(placed > 50, "the cluster has room for more than {placed}");
}

#[test]
fn an_unchanged_cluster_fails_a_signature_once() {
    let snapshot = cluster([node("a", "1", json!({}))]);
    let wanting = pod(cpu("2"));
    let mut cycle = Cycle::new(0, 1);
    let first = cycle.schedule(&wanting, &snapshot).unwrap_err();
    assert!(Arc::ptr_eq(&first, &cycle.schedule(&wanting, &snapshot).unwrap_err()));
}

#[test]
fn a_batch_chooses_evenly_among_equals() {
    let snapshot = cluster((0..20).map(|i| node(&format!("n{i}"), if i < 10 { "32" } else { "1" }, json!({}))));
    let wanting = pod(cpu("1"));
    let mut cycle = Cycle::new(0, 3);
    let mut chosen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..1000 {
        let slot = cycle.schedule(&wanting, &snapshot).unwrap();
        *chosen.entry(snapshot.node(slot).node.name.clone()).or_default() += 1;
    }
    assert_eq!(chosen.len(), 10, "the small nodes are worse");
    assert!(chosen.values().all(|count| (60..=140).contains(count)), "{chosen:?}");
}
