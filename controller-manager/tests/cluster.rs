//! The controllers at work in a whole cluster. What a single reconcile decides is tested beside it; here belongs only what takes a
//! server, a scheduler or nodes.

use std::time::Duration;

use component::resource::*;
use component::{Client, Informer, Projection, Resource};
use coracle::{Cluster, ClusterBuilder};
use coracle_controller_manager::Options;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// An object with everything in it.
#[derive(Deserialize)]
struct Whole {
    metadata: component::Meta,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

impl Projection for Whole {
    fn meta(&self) -> &component::Meta {
        &self.metadata
    }
}

struct Test {
    cluster: Cluster,
    client: Client,
    stop: CancellationToken,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Test {
    async fn start(nodes: usize, change: impl FnOnce(&mut Options)) -> Test {
        let mut builder: ClusterBuilder = Cluster::builder().hollow_nodes(nodes);
        change(&mut builder.controllers);
        let cluster = builder.start().await.unwrap();
        let client = Client::from(cluster.client().unwrap());
        Test { cluster, client, stop: CancellationToken::new() }
    }

    /// Waits until the objects of a resource in `default` (or without a namespace) are as wanted; gives them.
    async fn until(&self, resource: Resource, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let builder = Informer::<Whole>::builder(self.client.clone(), resource);
        let stop = self.stop.child_token();
        let _guard = stop.clone().drop_guard();
        let informer = builder.namespace("default").start(stop);
        let now = || -> Vec<Value> { informer.store().list().iter().map(|o| Value::Object(o.rest.clone())).collect() };
        let mut progress = informer.progress();
        let waited = tokio::time::timeout(PATIENCE, progress.wait_for(|p| p.synced && wanted(&now()))).await;
        assert!(waited.is_ok(), "waiting for {what}; there is {:#?}", now());
        now()
    }

    async fn create(&self, resource: Resource, body: Value) {
        let _: Value = self.client.create(resource, "default", &body).await.unwrap();
    }

    async fn delete(&self, resource: Resource, name: &str, policy: &'static str) {
        let options = component::client::DeleteOptions { propagation_policy: Some(policy), ..Default::default() };
        self.client.delete(resource, "default", name, &options).await.unwrap();
    }
}

fn deployment(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "a" }], "terminationGracePeriodSeconds": 1 },
            },
        },
    })
}

fn count(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_and_its_service_live_and_die() {
    let test = Test::start(3, |_| {}).await;
    test.create(DEPLOYMENTS, deployment(3)).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
    });
    test.create(SERVICES, service).await;
    test.until(DEPLOYMENTS, "three available", |d| d.iter().any(|d| count(d, "/status/availableReplicas") == 3)).await;
    let addresses = |list: &[Value]| -> usize {
        let subsets = list.iter().filter_map(|e| e["subsets"].as_array()).flatten();
        subsets.filter(|s| s["ports"][0]["port"] == 80).filter_map(|s| s["addresses"].as_array()).map(Vec::len).sum()
    };
    test.until(ENDPOINTS, "three addresses", |e| addresses(e) == 3).await;
    let endpoints = |list: &[Value]| -> usize {
        let slices = list.iter().filter(|s| s["ports"][0]["port"] == 80);
        slices.filter_map(|s| s["endpoints"].as_array()).map(Vec::len).sum()
    };
    test.until(ENDPOINT_SLICES, "three endpoints", |s| endpoints(s) == 3).await;

    let patch = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "image": "b" }] } } } });
    let merge = component::client::PatchType::Strategic;
    let _: Value = test.client.patch(DEPLOYMENTS, "default", "web", "", merge, &patch).await.unwrap();
    let image = |p: &Value| p["spec"]["containers"][0]["image"] == "b";
    test.until(PODS, "three new pods", |pods| pods.len() == 3 && pods.iter().all(image)).await;
    let sets = test.until(REPLICA_SETS, "two sets", |sets| sets.len() == 2).await;
    let mut sizes: Vec<i64> = sets.iter().map(|s| count(s, "/spec/replicas")).collect();
    sizes.sort();
    assert_eq!(sizes, [0, 3]);

    test.delete(DEPLOYMENTS, "web", "Foreground").await;
    test.until(DEPLOYMENTS, "no deployment", <[_]>::is_empty).await;
    test.until(REPLICA_SETS, "no sets", <[_]>::is_empty).await;
    test.until(PODS, "no pods", <[_]>::is_empty).await;
    test.delete(SERVICES, "web", "Background").await;
    test.until(ENDPOINT_SLICES, "no slices", |s| endpoints(s) == 0).await;
    test.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_furnished_and_emptied() {
    let test = Test::start(1, |_| {}).await;
    test.until(SERVICE_ACCOUNTS, "the default account", |a| !a.is_empty()).await;
    test.until(CONFIG_MAPS, "the root CA", |m| m.iter().any(|m| m["data"]["ca.crt"].is_string())).await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "gone" } });
    test.create(NAMESPACES, namespace).await;
    for resource in [(DEPLOYMENTS, deployment(2))] {
        let _: Value = test.client.create(resource.0, "gone", &resource.1).await.unwrap();
    }
    test.client.delete(NAMESPACES, "", "gone", &Default::default()).await.unwrap();
    test.until(NAMESPACES, "the namespace to go", |all| all.len() == 4).await;
    test.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replication_controller_keeps_its_pods() {
    let test = Test::start(1, |_| {}).await;
    let mut controller = deployment(2);
    controller["apiVersion"] = json!("v1");
    controller["kind"] = json!("ReplicationController");
    controller["spec"]["selector"] = json!({ "app": "web" });
    test.create(REPLICATION_CONTROLLERS, controller).await;
    let ready = |all: &[Value]| all.iter().any(|c| count(c, "/status/readyReplicas") == 2);
    test.until(REPLICATION_CONTROLLERS, "two ready", ready).await;
    test.delete(REPLICATION_CONTROLLERS, "web", "Orphan").await;
    test.until(REPLICATION_CONTROLLERS, "no controller", <[_]>::is_empty).await;
    let pods = test.until(PODS, "two orphans", |pods| pods.len() == 2).await;
    assert_eq!(pods.len(), 2);
    test.cluster.stop().await;
}

/// Slow, for a hollow node renews its lease only every 10 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_is_tainted_and_its_pods_are_replaced() {
    let test = Test::start(3, |options| options.node_monitor_grace_period = Duration::from_secs(12)).await;
    let mut web = deployment(3);
    let tolerations = ["not-ready", "unreachable"].map(|key| {
        let key = format!("node.kubernetes.io/{key}");
        json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1 })
    });
    web["spec"]["template"]["spec"]["tolerations"] = json!(tolerations);
    test.create(DEPLOYMENTS, web).await;
    let running = |p: &Value| p["status"]["phase"] == "Running";
    let pods = test.until(PODS, "three pods", |pods| pods.iter().filter(|p| running(p)).count() == 3).await;
    let lost = pods[0]["spec"]["nodeName"].as_str().unwrap().to_owned();
    test.cluster.hollow_nodes().unwrap().stop(&lost);
    let unreachable = |node: &Value| {
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.iter().any(|t| t["key"] == "node.kubernetes.io/unreachable" && t["effect"] == "NoExecute")
    };
    test.until(NODES, "the taint", |nodes| nodes.iter().any(unreachable)).await;
    let elsewhere = |p: &&Value| running(p) && p["spec"]["nodeName"] != lost.as_str();
    test.until(PODS, "three pods elsewhere", |pods| pods.iter().filter(elsewhere).count() == 3).await;
    test.cluster.hollow_nodes().unwrap().start(&lost);
    test.until(NODES, "no taint", |nodes| nodes.len() == 3 && !nodes.iter().any(unreachable)).await;
    test.until(PODS, "three pods", |pods| pods.len() == 3).await;
    test.cluster.stop().await;
}
