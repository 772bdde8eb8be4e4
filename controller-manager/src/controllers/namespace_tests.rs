use component::resource::SERVICES;

use super::*;
use crate::world::{World, running_pod};

fn world() -> World {
    let mut world = World::new();
    world.put(
        NAMESPACES,
        json!({
            "metadata": { "name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "finalizers": ["kubernetes"] },
            "status": { "phase": "Terminating" },
        }),
    );
    world
}

fn item() -> Item {
    Item::new(NAMESPACES, "", "n")
}

#[test]
fn an_empty_namespace_goes_at_once() {
    let mut world = world();
    world.reconcile(reconcile, &item());
    assert_eq!(world.log, ["=n/finalize"]);
    assert!(world.get(NAMESPACES, "", "n").is_none());
}

#[test]
fn pods_go_first_then_the_rest() {
    let mut world = world();
    world.put(PODS, running_pod("p", json!({}), "a", "10.0.0.1"));
    world.put(SERVICES, json!({ "metadata": { "namespace": "n", "name": "s" } }));
    world.reconcile(reconcile, &item());
    assert_eq!(world.log, ["~n", "-pods"]);
    let conditions = &world.get(NAMESPACES, "", "n").unwrap()["status"]["conditions"];
    assert_eq!(
        conditions[3]["message"],
        "Some resources are remaining: pods. has 1 resource instances, services. has 1 resource instances"
    );
    world.reconcile(reconcile, &item());
    assert_eq!(world.log[2..], ["-services"]);
    world.reconcile(reconcile, &item());
    assert!(world.get(NAMESPACES, "", "n").is_none());
}

#[test]
fn what_waits_on_a_finalizer_is_named() {
    let mut world = world();
    world.put(SERVICES, json!({ "metadata": { "namespace": "n", "name": "s", "finalizers": ["x.io/hold"] } }));
    world.reconcile(reconcile, &item());
    world.reconcile(reconcile, &item());
    let conditions = &world.get(NAMESPACES, "", "n").unwrap()["status"]["conditions"];
    assert_eq!(
        conditions[4]["message"],
        "Some content in the namespace has finalizers remaining: x.io/hold in 1 resource instances"
    );
    assert_eq!(world.requeued, Some(LATER));
    assert_eq!(world.reconcile(reconcile, &item()), 0);
}

#[test]
fn a_living_namespace_is_left_alone() {
    let mut world = World::new();
    world.put(NAMESPACES, json!({ "metadata": { "name": "n" }, "spec": { "finalizers": ["kubernetes"] } }));
    assert_eq!(world.reconcile(reconcile, &item()), 0);
}
