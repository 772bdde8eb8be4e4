use component::resource::{DEPLOYMENTS, PODS, REPLICA_SETS};
use serde_json::Value;

use super::*;
use crate::world::World;

fn owned(name: &str, owner: Option<(&str, &str, &str)>) -> Value {
    let mut object = json!({ "metadata": { "namespace": "n", "name": name }, "spec": {} });
    if let Some((api_version, kind, owner)) = owner {
        let uid = format!("uid-{}s-{owner}", kind.to_lowercase());
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": api_version, "kind": kind, "name": owner, "uid": uid, "controller": true, "blockOwnerDeletion": true,
        }]);
    }
    object
}

/// A deployment with a set and a pod.
fn family() -> World {
    let mut world = World::new();
    world.put(DEPLOYMENTS, owned("d", None));
    world.put(REPLICA_SETS, owned("r", Some(("apps/v1", "Deployment", "d"))));
    world.put(PODS, owned("p", Some(("apps/v1", "ReplicaSet", "r"))));
    world
}

fn run(world: &mut World) {
    for _ in 0..4 {
        for (resource, name) in [(PODS, "p"), (REPLICA_SETS, "r"), (DEPLOYMENTS, "d")] {
            world.reconcile(reconcile, &Item::new(resource, "n", name));
        }
    }
}

#[test]
fn what_has_an_owner_stays() {
    let mut world = family();
    run(&mut world);
    assert_eq!(world.documents.len(), 3);
    assert!(world.log.is_empty());
}

#[test]
fn in_the_background_the_owner_goes_first() {
    let mut world = family();
    world.delete(DEPLOYMENTS, "n", "d", Some("Background"));
    run(&mut world);
    assert!(world.documents.is_empty());
    assert_eq!(world.log, ["-r", "-p"]);
}

#[test]
fn in_the_foreground_the_owner_goes_last() {
    let mut world = family();
    world.delete(DEPLOYMENTS, "n", "d", Some("Foreground"));
    run(&mut world);
    assert!(world.documents.is_empty(), "{:?}", world.documents);
    let order: Vec<&str> = world.log.iter().map(String::as_str).collect();
    assert_eq!(order, ["-r", "-p", "~r", "~d"]);
}

#[test]
fn orphans_stay() {
    let mut world = family();
    world.delete(DEPLOYMENTS, "n", "d", Some("Orphan"));
    run(&mut world);
    assert!(world.get(DEPLOYMENTS, "n", "d").is_none());
    assert_eq!(world.get(REPLICA_SETS, "n", "r").unwrap()["metadata"]["ownerReferences"], json!([]));
    assert!(world.get(PODS, "n", "p").is_some());
}

#[test]
fn one_of_two_owners_is_enough() {
    let mut world = family();
    world.put(REPLICA_SETS, owned("r2", None));
    let mut references = world.get(PODS, "n", "p").unwrap()["metadata"]["ownerReferences"].clone();
    references.as_array_mut().unwrap().push(json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r2", "uid": "uid-replicasets-r2",
    }));
    world.change(PODS, "n", "p", json!({ "metadata": { "ownerReferences": references } }));
    world.delete(REPLICA_SETS, "n", "r", None);
    world.reconcile(reconcile, &Item::new(PODS, "n", "p"));
    let left = &world.get(PODS, "n", "p").unwrap()["metadata"]["ownerReferences"];
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["name"], "r2");
}

#[test]
fn an_owner_of_the_same_name_is_another_one() {
    let mut world = family();
    world.delete(REPLICA_SETS, "n", "r", None);
    let mut again = owned("r", None);
    again["metadata"]["uid"] = json!("other");
    world.put(REPLICA_SETS, again);
    world.reconcile(reconcile, &Item::new(PODS, "n", "p"));
    assert!(world.get(PODS, "n", "p").is_none());
}

#[test]
fn an_owner_that_only_the_server_knows_counts() {
    let mut world = family();
    world.stores.replica_sets.remove("n", "r");
    world.reconcile(reconcile, &Item::new(PODS, "n", "p"));
    assert!(world.get(PODS, "n", "p").is_some());
}

#[test]
fn an_owner_of_an_unknown_kind_is_not_ours_to_judge() {
    let mut world = World::new();
    world.put(PODS, owned("p", Some(("example.com/v1", "Thing", "t"))));
    world.reconcile(reconcile, &Item::new(PODS, "n", "p"));
    assert!(world.get(PODS, "n", "p").is_some());
}
