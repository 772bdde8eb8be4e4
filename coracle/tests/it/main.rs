//! The whole control plane, started in process and asked over its API: what a user would notice.
//!
//! A file is a topic. Requests are raw, so that bodies of failures can be compared; nothing here sleeps: what takes time is
//! awaited through a watch ([`client::Client::until`]).

mod access;
mod apply;
mod bad_input;
mod claims;
mod client;
mod encryption;
mod limits;
mod lists;
mod objects;
mod openapi;
mod protobuf;
mod quotas;
mod restart;
mod secret_tokens;
mod services;
mod several_servers;
mod storage;
mod watches;
mod websocket;
mod websocket_watches;
mod workloads;

use client::Client;
use coracle::{Cluster, ClusterBuilder, Components};
use serde_json::{Value, json};
use std::sync::LazyLock;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Runs a test on the runtime on which the shared clusters live.
fn run<T>(test: impl Future<Output = T>) -> T {
    RUNTIME.block_on(test)
}

/// A cluster of which only the API server runs.
fn bare() -> ClusterBuilder {
    Cluster::builder().components(Components { scheduler: false, controller_manager: false })
}

/// A namespace of its own in a cluster that several tests share.
struct Space {
    client: Client,
    name: String,
}

impl Space {
    /// In the shared cluster of which only the API server runs.
    async fn bare(name: &str) -> Space {
        static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
        let cluster = CLUSTER.get_or_init(|| async { bare().start().await.expect("a cluster") }).await;
        Space::new(cluster, name).await
    }

    async fn new(cluster: &Cluster, name: &str) -> Space {
        let client = Client::new(cluster.client().expect("a client"));
        let namespace = json!({ "metadata": { "name": name } });
        client.post("/api/v1/namespaces", &namespace).await.ok();
        Space { client, name: name.to_owned() }
    }

    /// The path of a core resource in this namespace: `configmaps`, `pods/web/status`.
    fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.name)
    }

    /// The same of another group: `apps`, `deployments/web`.
    fn group(&self, group: &str, rest: &str) -> String {
        format!("/apis/{group}/v1/namespaces/{}/{rest}", self.name)
    }

    /// Creates an object, which must succeed.
    async fn create(&self, path: &str, object: Value) -> Value {
        self.client.post(path, &object).await.ok()
    }
}

fn config_map(name: &str, data: Value) -> Value {
    json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": name }, "data": data })
}

/// A pod that needs no service account's token.
fn pod(name: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "containers": [{ "name": "main", "image": "busybox" }], "automountServiceAccountToken": false },
    })
}

fn deployment(name: &str, replicas: i64) -> Value {
    json!({
        "kind": "Deployment", "apiVersion": "apps/v1", "metadata": { "name": name },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "nginx:1.0" }] },
            },
        },
    })
}
