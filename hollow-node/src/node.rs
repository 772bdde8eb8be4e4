//! The Node and Lease of a hollow node, as documents.

use std::collections::BTreeMap;

use component::meta::{Meta, Projection, format_micro_time, format_time, or_default};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::pod::{Condition, PREFIX, slim};
use crate::status::digest;

/// The version of the kubelet that a hollow node says it is.
pub const KUBELET_VERSION: &str = "v1.36.2";
/// As a kubelet's lease: after this many seconds without renewal the node counts as unreachable.
pub const LEASE_SECONDS: u32 = 40;

/// What hollow nodes read of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Document")]
pub struct Node {
    pub metadata: Meta,
    pub pod_cidr: String,
    pub conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

impl From<Document> for Node {
    fn from(Document { metadata, spec, status }: Document) -> Self {
        Self { metadata: slim(metadata), pod_cidr: spec.pod_cidr, conditions: status.conditions }
    }
}

impl Projection for Node {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Node {
    /// Whether the annotation `stopped` is `true`.
    pub fn is_stopped(&self) -> bool {
        self.metadata.annotations.get(&format!("{PREFIX}stopped")) == Some("true")
    }

    pub fn is_ready(&self) -> bool {
        self.conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True")
    }
}

/// What is the same for all hollow nodes of a process.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Resource name to quantity; allocatable is the same.
    pub capacity: BTreeMap<String, String>,
    /// Labels besides those of every kubelet.
    pub labels: BTreeMap<String, String>,
    /// The address of every node.
    pub host_ip: String,
    /// The port of the kubelet API, if it is served.
    pub kubelet_port: Option<u16>,
}

impl Default for Shape {
    /// 32 cores, 256 GiB, 110 pods.
    fn default() -> Self {
        let capacity =
            [("cpu", "32"), ("memory", "256Gi"), ("pods", "110"), ("ephemeral-storage", "1Ti"), ("hugepages-2Mi", "0")];
        Self {
            capacity: capacity.map(|(name, quantity)| (name.to_owned(), quantity.to_owned())).into(),
            labels: BTreeMap::new(),
            host_ip: "127.0.0.1".to_owned(),
            kubelet_port: None,
        }
    }
}

/// The Node as it registers.
pub fn registration(name: &str, shape: &Shape, now: Timestamp) -> Value {
    let (os, arch) = (std::env::consts::OS, architecture());
    let mut labels = json!({
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": os,
        "kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": os,
        "beta.kubernetes.io/arch": arch,
    });
    for (key, value) in &shape.labels {
        labels[key] = value.as_str().into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {},
        "status": status(name, shape, None, now),
    })
}

/// The Node's status. Conditions that say what `before` says already keep their time.
pub fn status(name: &str, shape: &Shape, before: Option<&Node>, now: Timestamp) -> Value {
    let mut endpoints = json!({});
    if let Some(port) = shape.kubelet_port {
        endpoints["kubeletEndpoint"] = json!({"Port": port});
    }
    json!({
        "capacity": shape.capacity,
        "allocatable": shape.capacity,
        "conditions": conditions(before, now),
        "addresses": [
            {"type": "InternalIP", "address": shape.host_ip},
            {"type": "Hostname", "address": name},
        ],
        "daemonEndpoints": endpoints,
        "nodeInfo": {
            "machineID": &digest(&("machine", name))[..32],
            "systemUUID": uuid(&digest(&("system", name))),
            "bootID": uuid(&digest(&("boot", name))),
            "kernelVersion": "0.0.0-hollow",
            "osImage": "Hollow node (simulated)",
            "containerRuntimeVersion": concat!("hollow://", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": std::env::consts::OS,
            "architecture": architecture(),
        },
    })
}

fn conditions(before: Option<&Node>, now: Timestamp) -> Value {
    let rows = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    let document = |(r#type, status, reason, message): (&str, &str, &str, &str)| {
        let known = before.and_then(|node| node.conditions.iter().find(|c| c.r#type == r#type && c.status == status));
        let since = known.and_then(|condition| condition.last_transition_time).unwrap_or(now);
        json!({
            "type": r#type,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": format_time(now),
            "lastTransitionTime": format_time(since),
        })
    };
    rows.map(document).to_vec().into()
}

/// The node's Lease as it is made; `uid` is that of the Node, which owns it.
pub fn lease(name: &str, uid: &str, now: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}],
        },
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": format_micro_time(now),
        },
    })
}

/// The merge patch that renews it.
pub fn renewal(name: &str, now: Timestamp) -> Value {
    json!({"spec": {
        "holderIdentity": name,
        "leaseDurationSeconds": LEASE_SECONDS,
        "renewTime": format_micro_time(now),
    }})
}

/// The machine's architecture by Go's name.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn uuid(hex: &str) -> String {
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_registers_as_a_kubelet_s() {
        let shape = Shape { kubelet_port: Some(10250), ..Shape::default() };
        let node = registration("hollow-0", &shape, Timestamp::UNIX_EPOCH);
        assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "hollow-0");
        assert_eq!(node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"], 10250);
        assert_eq!(node["status"]["capacity"], node["status"]["allocatable"]);
        assert_eq!(node["status"]["conditions"][3]["reason"], "KubeletReady");
        let read: Node = serde_json::from_value(node).unwrap();
        assert!(read.is_ready() && !read.is_stopped());
    }

    #[test]
    fn ready_keeps_its_time_unless_it_was_lost() {
        let now = Timestamp::from_second(1000).unwrap();
        let node = |status: &str| -> Node {
            serde_json::from_value(json!({"status": {"conditions": [
                {"type": "Ready", "status": status, "lastTransitionTime": "1970-01-01T00:00:00Z"}]}}))
            .unwrap()
        };
        let since = |before: &Node| conditions(Some(before), now)[3]["lastTransitionTime"].clone();
        assert_eq!(since(&node("True")), "1970-01-01T00:00:00Z");
        assert_eq!(since(&node("Unknown")), format_time(now));
    }
}
