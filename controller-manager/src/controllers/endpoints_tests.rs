use super::*;
use crate::world::{World, running_pod};

fn service() -> Value {
    json!({
        "metadata": { "namespace": "n", "name": "web", "labels": { "tier": "front" } },
        "spec": {
            "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": { "app": "web" },
            "ports": [{ "name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP" }],
        },
    })
}

fn world() -> World {
    let mut world = World::new();
    world.put(SERVICES, service());
    world.put(component::resource::PODS, running_pod("b", json!({ "app": "web" }), "node-1", "10.0.0.20"));
    world.put(component::resource::PODS, running_pod("a", json!({ "app": "web" }), "node-1", "10.0.0.3"));
    let mut unready = running_pod("c", json!({ "app": "web" }), "node-1", "10.0.0.4");
    unready["status"]["conditions"][0]["status"] = json!("False");
    world.put(component::resource::PODS, unready);
    world
}

#[test]
fn ready_and_not_ready_addresses_share_a_subset() {
    let mut world = world();
    let item = Item::new(SERVICES, "n", "web");
    world.reconcile(reconcile, &item);
    let endpoints = world.get(ENDPOINTS, "n", "web").unwrap();
    let subsets = endpoints["subsets"].as_array().unwrap();
    assert_eq!(subsets.len(), 1);
    assert_eq!(subsets[0]["ports"], json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]));
    let ips: Vec<&Value> = subsets[0]["addresses"].as_array().unwrap().iter().map(|a| &a["ip"]).collect();
    assert_eq!(ips, ["10.0.0.3", "10.0.0.20"]);
    assert_eq!(subsets[0]["notReadyAddresses"][0]["targetRef"]["name"], "c");
    assert_eq!(endpoints["metadata"]["labels"]["tier"], "front");
    assert_eq!(world.reconcile(reconcile, &item), 0);

    world.delete(component::resource::PODS, "n", "a", None);
    assert_eq!(world.reconcile(reconcile, &item), 1);
    world.delete(SERVICES, "n", "web", None);
    world.reconcile(reconcile, &item);
    assert!(world.get(ENDPOINTS, "n", "web").is_none());
}

#[test]
fn a_service_without_a_selector_is_left_alone() {
    let mut world = World::new();
    world.put(SERVICES, json!({ "metadata": { "namespace": "n", "name": "web" }, "spec": {} }));
    assert_eq!(world.reconcile(reconcile, &Item::new(SERVICES, "n", "web")), 0);
}
