use std::collections::BTreeSet;

use component::resource::PODS;
use serde_json::Value;

use super::*;
use crate::controllers::replica_set;
use crate::world::{World, ready_status};

const NAME: &str = "web";

fn deployment(replicas: i64, image: &str) -> Value {
    json!({
        "metadata": { "namespace": "n", "name": NAME, "annotations": { "note": "x" } },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "template": template(image),
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 600,
        },
    })
}

fn template(image: &str) -> Value {
    json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": image }] } })
}

fn set_image(world: &mut World, image: &str) {
    world.change(DEPLOYMENTS, "n", NAME, json!({ "spec": { "template": template(image) } }));
}

/// Runs both controllers and a kubelet until nothing changes; checks the bounds of a rolling update on the way.
fn settle(world: &mut World, bounds: Option<(usize, usize)>) {
    for _ in 0..60 {
        let mut requests = world.reconcile(reconcile, &Item::new(DEPLOYMENTS, "n", NAME));
        let sets: Vec<String> = names(world, REPLICA_SETS);
        for set in sets {
            requests += world.reconcile(replica_set::reconcile, &Item::new(REPLICA_SETS, "n", &set));
        }
        if let Some((most, fewest_ready)) = bounds {
            let ready = world.all(PODS).iter().filter(|p| p["status"]["phase"] == "Running").count();
            assert!(world.all(PODS).len() <= most, "too many pods: {:?}", world.log);
            assert!(ready >= fewest_ready, "only {ready} ready: {:?}", world.log);
        }
        if requests == 0 && !start_one_pod(world) {
            return;
        }
    }
    panic!("does not settle: {:?}", world.log);
}

fn start_one_pod(world: &mut World) -> bool {
    let waiting = world.all(PODS).into_iter().find(|p| p["status"].is_null());
    let Some(name) = waiting.map(|p| p["metadata"]["name"].as_str().unwrap().to_owned()) else { return false };
    world.change(PODS, "n", &name, json!({ "status": ready_status("10.0.0.1") }));
    true
}

fn names(world: &World, resource: component::Resource) -> Vec<String> {
    world.all(resource).iter().map(|d| d["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn condition<'a>(world: &'a World, kind: &str) -> &'a Value {
    let status = &world.get(DEPLOYMENTS, "n", NAME).unwrap()["status"];
    status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == kind).unwrap()
}

fn images(world: &World) -> BTreeSet<String> {
    let image = |p: &&Value| p["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    world.all(PODS).iter().map(image).collect()
}

fn revision_of(world: &World, resource: component::Resource, name: &str) -> Value {
    world.get(resource, "n", name).unwrap()["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone()
}

#[test]
fn a_new_deployment_gets_a_set_and_becomes_available() {
    let mut world = World::new();
    world.put(DEPLOYMENTS, deployment(3, "a"));
    settle(&mut world, None);
    let sets = world.all(REPLICA_SETS);
    assert_eq!(sets.len(), 1);
    let hash = &sets[0]["metadata"]["labels"]["pod-template-hash"];
    assert_eq!(sets[0]["metadata"]["name"], format!("web-{}", hash.as_str().unwrap()));
    assert_eq!(sets[0]["spec"]["selector"]["matchLabels"]["pod-template-hash"], *hash);
    assert_eq!(sets[0]["metadata"]["annotations"]["note"], "x");
    assert_eq!(sets[0]["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"], "3");
    assert_eq!(sets[0]["metadata"]["annotations"]["deployment.kubernetes.io/max-replicas"], "4");
    assert_eq!(revision_of(&world, DEPLOYMENTS, NAME), "1");
    let status = &world.get(DEPLOYMENTS, "n", NAME).unwrap()["status"];
    for field in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        assert_eq!(status[field], 3, "{field} in {status}");
    }
    assert!(status["unavailableReplicas"].is_null());
    assert_eq!(condition(&world, "Available")["reason"], "MinimumReplicasAvailable");
    assert_eq!(condition(&world, "Progressing")["reason"], "NewReplicaSetAvailable");
    let name = names(&world, REPLICA_SETS).remove(0);
    assert_eq!(
        condition(&world, "Progressing")["message"],
        format!("ReplicaSet \"{name}\" has successfully progressed.")
    );
    assert!(world.notes().contains(&format!("Scaled up replica set {name} from 0 to 3").as_str()));
}

#[test]
fn a_rolling_update_keeps_its_bounds() {
    let mut world = World::new();
    world.put(DEPLOYMENTS, deployment(8, "a"));
    settle(&mut world, None);
    set_image(&mut world, "b");
    settle(&mut world, Some((10, 6)));
    assert_eq!(images(&world), BTreeSet::from(["b".to_owned()]));
    assert_eq!(world.all(PODS).len(), 8);
    assert_eq!(revision_of(&world, DEPLOYMENTS, NAME), "2");
    let replicas: Vec<i64> = world.all(REPLICA_SETS).iter().map(|s| s["spec"]["replicas"].as_i64().unwrap()).collect();
    assert!(replicas.contains(&8) && replicas.contains(&0), "{replicas:?}");
}

#[test]
fn an_undo_brings_the_old_set_back_with_a_new_revision() {
    let mut world = World::new();
    world.put(DEPLOYMENTS, deployment(2, "a"));
    settle(&mut world, None);
    let first = names(&world, REPLICA_SETS).remove(0);
    world.pass(10);
    set_image(&mut world, "b");
    settle(&mut world, None);
    set_image(&mut world, "a");
    settle(&mut world, None);
    assert_eq!(world.all(REPLICA_SETS).len(), 2);
    assert_eq!(revision_of(&world, REPLICA_SETS, &first), "3");
    assert_eq!(revision_of(&world, DEPLOYMENTS, NAME), "3");
    let history = &world.get(REPLICA_SETS, "n", &first).unwrap()["metadata"]["annotations"];
    assert_eq!(history["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(images(&world), BTreeSet::from(["a".to_owned()]));
}

#[test]
fn old_sets_beyond_the_history_limit_go() {
    let mut world = World::new();
    world.put(DEPLOYMENTS, deployment(1, "0"));
    for image in ["1", "2", "3", "4"] {
        settle(&mut world, None);
        world.pass(10);
        set_image(&mut world, image);
    }
    settle(&mut world, None);
    assert_eq!(world.all(REPLICA_SETS).len(), 3);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new();
    world.put(DEPLOYMENTS, deployment(2, "a"));
    settle(&mut world, None);
    world.change(
        DEPLOYMENTS,
        "n",
        NAME,
        json!({ "spec": { "paused": true, "replicas": 4, "template": template("b") } }),
    );
    settle(&mut world, None);
    assert_eq!(images(&world), BTreeSet::from(["a".to_owned()]));
    assert_eq!(world.all(PODS).len(), 4);
    assert_eq!(condition(&world, "Progressing")["reason"], "DeploymentPaused");
    world.change(DEPLOYMENTS, "n", NAME, json!({ "spec": { "paused": false } }));
    settle(&mut world, None);
    assert_eq!(images(&world), BTreeSet::from(["b".to_owned()]));
}

#[test]
fn recreate_stops_all_old_pods_first() {
    let mut world = World::new();
    let mut recreate = deployment(3, "a");
    recreate["spec"]["strategy"] = json!({ "type": "Recreate" });
    world.put(DEPLOYMENTS, recreate);
    settle(&mut world, None);
    set_image(&mut world, "b");
    for _ in 0..10 {
        world.reconcile(super::reconcile, &Item::new(DEPLOYMENTS, "n", NAME));
        for set in names(&world, REPLICA_SETS) {
            world.reconcile(replica_set::reconcile, &Item::new(REPLICA_SETS, "n", &set));
        }
        assert!(images(&world).len() <= 1, "old and new pods at once");
    }
    settle(&mut world, None);
    assert_eq!(images(&world), BTreeSet::from(["b".to_owned()]));
}

#[test]
fn scaling_during_a_rollout_is_proportional() {
    let mut world = World::new();
    world.put(DEPLOYMENTS, deployment(10, "a"));
    settle(&mut world, None);
    set_image(&mut world, "b");
    let item = Item::new(DEPLOYMENTS, "n", NAME);
    world.reconcile(reconcile, &item);
    world.reconcile(reconcile, &item);
    let sizes = |world: &World| -> Vec<i64> {
        let mut sizes: Vec<i64> =
            world.all(REPLICA_SETS).iter().map(|s| s["spec"]["replicas"].as_i64().unwrap()).collect();
        sizes.sort();
        sizes
    };
    let before = sizes(&world);
    world.change(DEPLOYMENTS, "n", NAME, json!({ "spec": { "replicas": 20 } }));
    world.reconcile(reconcile, &item);
    let after = sizes(&world);
    assert_eq!(after.iter().sum::<i64>(), 25, "{before:?} {after:?}");
    assert!(after[0] > before[0] && after[1] > before[1], "{before:?} {after:?}");
}

#[test]
fn a_rollout_that_makes_no_progress_times_out() {
    let mut world = World::new();
    world.put(DEPLOYMENTS, deployment(1, "a"));
    let item = Item::new(DEPLOYMENTS, "n", NAME);
    for _ in 0..4 {
        world.reconcile(reconcile, &item);
    }
    assert_eq!(world.requeued.map(|wait| wait.as_secs()), Some(601));
    world.pass(602);
    world.reconcile(reconcile, &item);
    assert_eq!(condition(&world, "Progressing")["reason"], "ProgressDeadlineExceeded");
    assert_eq!(condition(&world, "Progressing")["status"], "False");
}

#[test]
fn a_set_that_cannot_be_created_shows_in_the_status() {
    let mut world = World::new();
    world.put(DEPLOYMENTS, deployment(1, "a"));
    let plan = world.plan(reconcile, &Item::new(DEPLOYMENTS, "n", NAME));
    let actions = plan.on_failure.map(|make| make("no")).unwrap();
    let [Action::Patch { body, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(body["status"]["conditions"][0]["reason"], "ReplicaSetCreateError");
}

#[test]
fn a_hash_that_is_taken_is_avoided() {
    let mut world = World::new();
    world.put(DEPLOYMENTS, deployment(1, "a"));
    settle(&mut world, None);
    let taken = names(&world, REPLICA_SETS).remove(0);
    let mut other = World::new();
    other.put(REPLICA_SETS, json!({ "metadata": { "namespace": "n", "name": taken }, "spec": { "replicas": 0 } }));
    other.put(DEPLOYMENTS, deployment(1, "a"));
    settle(&mut other, None);
    assert_eq!(other.get(DEPLOYMENTS, "n", NAME).unwrap()["status"]["collisionCount"], 1);
    assert_eq!(other.all(REPLICA_SETS).len(), 2);
}
