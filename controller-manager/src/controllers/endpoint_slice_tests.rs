use component::resource::{NODES, PODS};

use super::*;
use crate::world::{World, running_pod};

fn world(pods: usize) -> World {
    let mut world = World::new();
    world.put(NODES, json!({ "metadata": { "name": "node-1", "labels": { "topology.kubernetes.io/zone": "z" } } }));
    world.put(
        SERVICES,
        json!({
            "metadata": { "namespace": "n", "name": "web", "labels": { "tier": "front" } },
            "spec": {
                "clusterIP": "None", "ipFamilies": ["IPv4"], "selector": { "app": "web" },
                "ports": [{ "port": 80, "targetPort": 80, "protocol": "TCP" }],
            },
        }),
    );
    for i in 0..pods {
        let ip = format!("10.0.{}.{}", i / 250, i % 250);
        world.put(PODS, running_pod(&format!("p{i}"), json!({ "app": "web" }), "node-1", &ip));
    }
    world
}

fn item() -> Item {
    Item::new(SERVICES, "n", "web")
}

fn sizes(world: &World) -> Vec<usize> {
    let mut sizes: Vec<usize> =
        world.all(ENDPOINT_SLICES).iter().map(|s| s["endpoints"].as_array().unwrap().len()).collect();
    sizes.sort();
    sizes
}

#[test]
fn a_slice_describes_each_pod() {
    let mut world = world(1);
    world.reconcile(reconcile, &item());
    let slice = world.all(ENDPOINT_SLICES)[0];
    assert!(slice["metadata"]["name"].as_str().unwrap().starts_with("web-"));
    assert_eq!(
        slice["metadata"]["labels"],
        json!({
            "tier": "front", "kubernetes.io/service-name": "web", "service.kubernetes.io/headless": "",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        })
    );
    assert_eq!(slice["addressType"], "IPv4");
    assert_eq!(slice["ports"], json!([{ "name": "", "port": 80, "protocol": "TCP" }]));
    assert_eq!(
        slice["endpoints"][0],
        json!({
            "addresses": ["10.0.0.0"], "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": "node-1", "zone": "z",
            "targetRef": { "kind": "Pod", "namespace": "n", "name": "p0", "uid": "uid-pods-p0" },
        })
    );
    assert_eq!(world.reconcile(reconcile, &item()), 0);
}

#[test]
fn a_service_without_pods_has_one_empty_slice_that_is_used_later() {
    let mut world = world(0);
    world.reconcile(reconcile, &item());
    assert_eq!(sizes(&world), [0]);
    assert_eq!(world.reconcile(reconcile, &item()), 0);
    world.put(PODS, running_pod("late", json!({ "app": "web" }), "node-1", "10.0.0.9"));
    world.reconcile(reconcile, &item());
    assert_eq!(sizes(&world), [1]);
    world.delete(PODS, "n", "late", None);
    world.reconcile(reconcile, &item());
    assert_eq!(sizes(&world), [0]);
}

#[test]
fn slices_hold_a_hundred_and_change_as_little_as_possible() {
    let mut world = world(250);
    world.reconcile(reconcile, &item());
    assert_eq!(sizes(&world), [50, 100, 100]);
    world.put(PODS, running_pod("new", json!({ "app": "web" }), "node-1", "10.9.0.1"));
    assert_eq!(world.reconcile(reconcile, &item()), 1);
    assert_eq!(sizes(&world), [51, 100, 100]);
}

#[test]
fn a_terminating_pod_serves_but_is_not_ready() {
    let mut world = world(1);
    world.change(PODS, "n", "p0", json!({ "metadata": { "finalizers": ["x"] } }));
    world.delete(PODS, "n", "p0", None);
    world.reconcile(reconcile, &item());
    let conditions = &world.all(ENDPOINT_SLICES)[0]["endpoints"][0]["conditions"];
    assert_eq!(*conditions, json!({ "ready": false, "serving": true, "terminating": true }));
}

#[test]
fn a_label_of_the_service_reaches_its_slices() {
    let mut world = world(1);
    world.reconcile(reconcile, &item());
    world.change(SERVICES, "n", "web", json!({ "metadata": { "labels": { "tier": null, "new": "1" } } }));
    assert_eq!(world.reconcile(reconcile, &item()), 1);
    let labels = &world.all(ENDPOINT_SLICES)[0]["metadata"]["labels"];
    assert!(labels["tier"].is_null() && labels["new"] == "1");
}
