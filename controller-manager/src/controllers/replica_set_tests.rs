use super::*;
use crate::world::{World, ready_status, running_pod};

fn set(replicas: i64) -> Value {
    json!({
        "metadata": { "namespace": "n", "name": "web" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c" }] } },
        },
    })
}

fn item() -> Item {
    Item::new(REPLICA_SETS, "n", "web")
}

#[test]
fn pods_are_made_from_the_template_and_counted() {
    let mut world = World::new();
    world.put(REPLICA_SETS, set(3));
    world.reconcile(reconcile, &item());
    let pods = world.all(PODS);
    assert_eq!(pods.len(), 3);
    assert_eq!(pods[0]["metadata"]["ownerReferences"][0]["name"], "web");
    assert_eq!(pods[0]["metadata"]["labels"], json!({ "app": "web" }));
    assert!(world.notes()[0].starts_with("Created pod: web-"), "{:?}", world.notes());

    let names: Vec<String> =
        world.all(PODS).iter().map(|p| p["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    for name in &names[..2] {
        world.change(PODS, "n", name, json!({ "status": ready_status("10.0.0.1") }));
    }
    world.reconcile(reconcile, &item());
    let status = &world.get(REPLICA_SETS, "n", "web").unwrap()["status"];
    assert_eq!(
        (&status["replicas"], &status["readyReplicas"], &status["observedGeneration"]),
        (&json!(3), &json!(2), &json!(1))
    );
    assert_eq!(world.reconcile(reconcile, &item()), 0, "nothing more to do");
}

#[test]
fn pods_that_match_are_adopted_and_others_released() {
    let mut world = World::new();
    world.put(REPLICA_SETS, set(1));
    world.put(PODS, running_pod("orphan", json!({ "app": "web" }), "a", "10.0.0.1"));
    world.reconcile(reconcile, &item());
    let orphan = world.get(PODS, "n", "orphan").unwrap();
    assert_eq!(orphan["metadata"]["ownerReferences"][0]["uid"], "uid-replicasets-web");
    assert_eq!(world.all(PODS).len(), 1);

    world.change(PODS, "n", "orphan", json!({ "metadata": { "labels": { "app": "other" } } }));
    world.reconcile(reconcile, &item());
    assert_eq!(world.get(PODS, "n", "orphan").unwrap()["metadata"]["ownerReferences"], json!([]));
    assert_eq!(world.all(PODS).len(), 2);
}

#[test]
fn a_set_that_is_being_deleted_adopts_nothing() {
    let mut world = World::new();
    let mut dying = set(1);
    dying["metadata"]["finalizers"] = json!(["x"]);
    dying["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.put(REPLICA_SETS, dying);
    world.put(PODS, running_pod("orphan", json!({ "app": "web" }), "a", "10.0.0.1"));
    world.reconcile(reconcile, &item());
    assert!(world.get(PODS, "n", "orphan").unwrap()["metadata"]["ownerReferences"].is_null());
}

#[test]
fn pods_that_do_least_go_first() {
    let mut world = World::new();
    world.put(REPLICA_SETS, set(1));
    let owner = json!([{ "kind": "ReplicaSet", "name": "web", "uid": "uid-replicasets-web", "controller": true }]);
    let labels = json!({ "app": "web" });
    let mut put = |mut pod: Value, annotations: Value| {
        pod["metadata"]["ownerReferences"] = owner.clone();
        pod["metadata"]["annotations"] = annotations;
        world.put(PODS, pod);
    };
    put(
        running_pod("cheap", labels.clone(), "a", "10.0.0.1"),
        json!({ "controller.kubernetes.io/pod-deletion-cost": "-5" }),
    );
    put(running_pod("crowded", labels.clone(), "b", "10.0.0.2"), json!({}));
    put(running_pod("crowded2", labels.clone(), "b", "10.0.0.3"), json!({}));
    put(running_pod("alone", labels.clone(), "c", "10.0.0.4"), json!({}));
    put(
        json!({ "metadata": { "namespace": "n", "name": "pending", "labels": labels }, "status": { "phase": "Pending" } }),
        json!({}),
    );
    let plan = world.plan(reconcile, &item());
    let deleted: Vec<&str> = plan
        .actions()
        .into_iter()
        .filter_map(|a| match a {
            Action::Delete { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(deleted, ["pending", "cheap", "crowded", "crowded2"]);
}

#[test]
fn a_failure_to_create_shows_in_the_status() {
    let mut world = World::new();
    world.put(REPLICA_SETS, set(2));
    let plan = world.plan(reconcile, &item());
    let actions = plan.on_failure.map(|make| make("quota exceeded")).unwrap();
    let [Action::Patch { body, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    let failure = &body["status"]["conditions"][0];
    assert_eq!(
        (&failure["type"], &failure["reason"], &failure["message"]),
        (&json!("ReplicaFailure"), &json!("FailedCreate"), &json!("quota exceeded"))
    );
}

#[test]
fn a_ready_pod_becomes_available_later() {
    let mut world = World::new();
    let mut patient = set(1);
    patient["spec"]["minReadySeconds"] = json!(30);
    world.put(REPLICA_SETS, patient);
    let mut pod = running_pod("p", json!({ "app": "web" }), "a", "10.0.0.1");
    pod["status"]["conditions"][0]["lastTransitionTime"] = component::meta::format_time(world.now).into();
    world.put(PODS, pod);
    world.reconcile(reconcile, &item());
    assert_eq!(world.requeued, Some(Duration::from_secs(30)));
    assert!(world.get(REPLICA_SETS, "n", "web").unwrap()["status"]["availableReplicas"].is_null());
    world.pass(30);
    world.reconcile(reconcile, &item());
    assert_eq!(world.get(REPLICA_SETS, "n", "web").unwrap()["status"]["availableReplicas"], 1);
}

#[test]
fn a_replication_controller_works_the_same() {
    let mut world = World::new();
    let mut controller = set(2);
    controller["spec"]["selector"] = json!({ "app": "web" });
    world.put(REPLICATION_CONTROLLERS, controller);
    world.reconcile(reconcile, &Item::new(REPLICATION_CONTROLLERS, "n", "web"));
    assert_eq!(world.all(PODS).len(), 2);
    assert_eq!(world.all(PODS)[0]["metadata"]["ownerReferences"][0]["kind"], "ReplicationController");
    assert_eq!(world.events[0].reporter, "replication-controller");
}

/// Pods that differ in little, as after a rollout, have one order, whichever two are compared.
#[test]
fn the_order_of_deletion_is_an_order() {
    let mut world = World::new();
    world.put(REPLICA_SETS, set(0));
    for n in 0..300_i64 {
        let mut pod = running_pod(&format!("p{n}"), json!({ "app": "web" }), "a", "10.0.0.1");
        let at = |seconds: i64| component::meta::format_time(world.now - jiff::SignedDuration::from_secs(seconds));
        pod["metadata"]["uid"] = json!(format!("uid-{:03}", n * 7 % 300));
        pod["metadata"]["creationTimestamp"] = at(60 + n * 13 % 5).into();
        pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "uid-replicasets-web", "controller": true }]);
        pod["status"]["conditions"][0]["lastTransitionTime"] = at(50 + n * 11 % 4).into();
        pod["status"]["containerStatuses"] = json!([{ "restartCount": n % 3 }]);
        world.put(PODS, pod);
    }
    let pods = world.stores.pods.list();
    let order = |a: usize, b: usize| deletion_order(&pods[a], &pods[b], (0, 0), world.now);
    for (a, b, c) in (0..300).map(|n| (n, (n * 7 + 1) % 300, (n * 13 + 5) % 300)) {
        assert_eq!(order(a, b), order(b, a).reverse());
        if order(a, b).is_lt() && order(b, c).is_lt() {
            assert!(order(a, c).is_lt(), "{a} {b} {c}");
        }
    }
    world.reconcile(reconcile, &item());
    assert!(world.all(PODS).is_empty());
}
