//! The requests of hollow nodes, each sent as the node that it is about.

use std::sync::Arc;

use component::Projection;
use component::client::{self, Client, DeleteOptions, Error, PatchType};
use component::resource::{LEASES, NODES, PODS};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::node::{Node, Shape, lease, registration, renewal, status};
use crate::pod::Pod;

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Creates the Node, or takes over the one of this name. Gives its uid.
pub async fn register(client: Client, name: String, shape: Arc<Shape>) -> Result<String, Error> {
    let now = Timestamp::now();
    let created: Result<Node, Error> = client.create(NODES, "", &registration(&name, &shape, now)).await;
    match created {
        Ok(node) if node.is_ready() => Ok(node.metadata.uid),
        Err(error) if !client::is_already_exists(&error) => Err(error),
        // It exists, or the server takes no status with a new Node.
        _ => {
            let node: Node = client.get(NODES, "", &name).await?;
            report(client, name, shape, Some(&node)).await?;
            Ok(node.metadata.uid)
        }
    }
}

/// Writes the Node's status.
pub async fn report(client: Client, name: String, shape: Arc<Shape>, before: Option<&Node>) -> Result<(), Error> {
    let patch = json!({"status": status(&name, &shape, before, Timestamp::now())});
    client.patch::<IgnoredAny>(NODES, "", &name, "status", PatchType::Strategic, &patch).await.map(drop)
}

/// Renews the node's Lease, or makes it.
pub async fn renew(client: Client, name: String, uid: String) -> Result<(), Error> {
    let now = Timestamp::now();
    let renewed =
        client.patch::<IgnoredAny>(LEASES, LEASE_NAMESPACE, &name, "", PatchType::Merge, &renewal(&name, now)).await;
    match renewed {
        Err(error) if client::is_not_found(&error) => {
            client.create::<IgnoredAny>(LEASES, LEASE_NAMESPACE, &lease(&name, &uid, now)).await.map(drop)
        }
        other => other.map(drop),
    }
}

/// Writes the pod's status. The uid keeps a pod made anew under the name from getting it.
pub async fn patch_pod(client: Client, pod: Arc<Pod>, status: Value) -> Result<(), Error> {
    let meta = pod.meta();
    let patch = json!({"metadata": {"uid": meta.uid}, "status": status});
    let patched =
        client.patch::<IgnoredAny>(PODS, &meta.namespace, &meta.name, "status", PatchType::Strategic, &patch).await;
    patched.map(drop)
}

/// Removes a pod whose containers have stopped.
pub async fn delete_pod(client: Client, pod: Arc<Pod>) -> Result<(), Error> {
    let meta = pod.meta();
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::uid(&meta.uid) };
    match client.delete(PODS, &meta.namespace, &meta.name, &options).await {
        // Gone, or another pod's name by now.
        Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => Ok(()),
        other => other.map(drop),
    }
}
