//! What a cluster on disk still has after it was stopped.

use crate::client::version;
use crate::{Space, bare, config_map};
use coracle::{Cluster, StoreKind};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

async fn start(dir: &Path) -> Cluster {
    bare().data_dir(dir.join("data")).store(StoreKind::embedded()).start().await.expect("a cluster")
}

#[test]
fn objects_versions_and_watches_go_on() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        let cluster = start(dir.path()).await;
        let space = Space::new(&cluster, "restart").await;
        let all = space.core("configmaps");
        let first = space.create(&all, config_map("a", json!({ "n": "1" }))).await;
        let second = space.create(&all, config_map("b", json!({}))).await;
        space.client.delete(&format!("{all}/a")).await.ok();
        cluster.stop().await;

        let cluster = start(dir.path()).await;
        let client = crate::client::Client::new(cluster.client().unwrap());
        client.get(&format!("{all}/a")).await.is(404);
        assert_eq!(client.get(&format!("{all}/b")).await.ok(), second);
        let mut watch = client.watch(&all, &format!("resourceVersion={}", version(&first))).await;
        assert_eq!(watch.next_named().await, "ADDED b");
        assert_eq!(watch.next_named().await, "DELETED a");
        let third = client.post(&all, &config_map("c", json!({}))).await.ok();
        let number = |object| version(object).parse::<u64>().unwrap_or(0);
        assert!(number(&third) > number(&second));
        assert_eq!(watch.next().await["object"], third);
        let old = format!("resourceVersion={}&resourceVersionMatch=Exact", version(&second));
        let then = client.get(&format!("{all}?{old}")).await.ok();
        assert_eq!(crate::client::names(&then), ["a", "b"]);
        cluster.stop().await;
    });
}

#[test]
fn addresses_and_ports_stay_taken() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        let service = |name: &str| {
            json!({ "metadata": { "name": name }, "spec": {
                "type": "NodePort", "clusterIP": "10.96.3.3", "ports": [{ "port": 80, "nodePort": 30303 }],
            } })
        };
        let cluster = start(dir.path()).await;
        let space = Space::new(&cluster, "restart-services").await;
        space.create(&space.core("services"), service("a")).await;
        cluster.stop().await;
        let cluster = start(dir.path()).await;
        let client = crate::client::Client::new(cluster.client().unwrap());
        client.post(&space.core("services"), &service("b")).await.fails_with(422, "provided IP is already allocated");
        cluster.stop().await;
    });
}

#[test]
fn the_kubernetes_service_follows_the_servers_address() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        for (address, family) in [("192.0.2.7", "IPv4"), ("192.0.2.8", "IPv4"), ("2001:db8::8", "IPv6")] {
            let mut builder = bare().data_dir(dir.path().join("data")).store(StoreKind::embedded());
            builder.options.advertise_address = Some(address.parse().unwrap());
            let cluster = builder.start().await.expect("a cluster");
            let client = crate::client::Client::new(cluster.client().unwrap());
            let endpoints = client.get("/api/v1/namespaces/default/endpoints/kubernetes").await.ok();
            assert_eq!(endpoints["subsets"][0]["addresses"], json!([{ "ip": address }]));
            let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
            let slice = client.get(slice).await.ok();
            assert_eq!(
                (&slice["addressType"], &slice["endpoints"][0]["addresses"]),
                (&json!(family), &json!([address]))
            );
            cluster.stop().await;
        }
    });
}

#[test]
fn certificates_and_tokens_are_kept_and_files_are_private() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        let cluster = start(dir.path()).await;
        let ca = cluster.pki().ca_pem().to_owned();
        let space = Space::new(&cluster, "restart-keys").await;
        space.create(&space.core("serviceaccounts"), json!({ "metadata": { "name": "robot" } })).await;
        let token = space.create(&space.core("serviceaccounts/robot/token"), json!({ "spec": {} })).await;
        cluster.stop().await;

        let cluster = start(dir.path()).await;
        assert_eq!(cluster.pki().ca_pem(), ca);
        let robot = crate::client::Client::https(&cluster, json!({ "token": token["status"]["token"] })).await;
        robot.get("/api").await.is(200);
        cluster.stop().await;

        let data = dir.path().join("data");
        let mut open = vec![data];
        while let Some(path) = open.pop() {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            if path.is_dir() {
                assert_eq!(mode, 0o700, "{}", path.display());
                open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                assert_eq!(mode & 0o077, 0, "{}", path.display());
            }
        }
    });
}

#[test]
fn bootstrap_objects_are_completed_not_overwritten() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        let (role, untouched) = ("/apis/rbac.authorization.k8s.io/v1/clusterroles/view", "/api/v1/namespaces/default");
        let cluster = start(dir.path()).await;
        let client = crate::client::Client::new(cluster.client().unwrap());
        let before = client.get(untouched).await.ok();
        let label = json!({ "metadata": { "labels": { "mine": "yes" } } });
        client.patch(role, "merge", &label).await.ok();
        cluster.stop().await;
        let cluster = start(dir.path()).await;
        let client = crate::client::Client::new(cluster.client().unwrap());
        assert_eq!(client.get(role).await.ok()["metadata"]["labels"]["mine"], "yes");
        assert_eq!(client.get(untouched).await.ok(), before);
        cluster.stop().await;
    });
}
