//! The objects that the figures write. Bodies are encoded before the clock starts; a request then only overwrites digits.

use std::io::Write;

use bytes::Bytes;
use serde_json::{Value, json};

const NAME: &str = "bench-000000000000";
const CHANGE: &str = "change-000000000000";
const DIGITS: usize = 12;
const CHANGE_ANNOTATION: &str = "bench.coracle.dev/change";

/// The name of object `number`.
pub fn name(number: u64) -> String {
    format!("bench-{number:012}")
}

/// An encoded object with room for its number and for something that changes with each update.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    /// Where the digits of its number stand.
    name: Vec<usize>,
    /// Where the digits of its change stand.
    change: Vec<usize>,
}

impl Template {
    fn new(object: &Value) -> Self {
        let bytes = object.to_string().into_bytes();
        let digits = |mark: &str| {
            let starts = bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark.as_bytes());
            starts.map(|(start, _)| start + mark.len() - DIGITS).collect()
        };
        Self { name: digits(NAME), change: digits(CHANGE), bytes }
    }

    /// A template for updates of an object as the server gave it: unconditional, and different each time.
    pub fn of_stored(mut object: Value) -> Self {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
            metadata.remove("uid");
            metadata.remove("managedFields");
            if !metadata.get("annotations").is_some_and(Value::is_object) {
                metadata.insert("annotations".into(), json!({}));
            }
            metadata["annotations"][CHANGE_ANNOTATION] = json!(CHANGE);
        }
        Self { name: Vec::new(), ..Self::new(&object) }
    }

    /// The same for another object; both names have the same length.
    pub fn renamed(&self, old: &str, new: &str) -> Self {
        let mut bytes = self.bytes.clone();
        for start in 0..bytes.len().saturating_sub(old.len()) {
            if bytes[start..].starts_with(old.as_bytes()) {
                bytes[start..start + new.len()].copy_from_slice(new.as_bytes());
            }
        }
        Self { bytes, ..self.clone() }
    }

    /// The body of object `number` with `change` in it.
    pub fn body(&self, number: u64, change: u64) -> Bytes {
        let mut bytes = self.bytes.clone();
        for (places, value) in [(&self.name, number), (&self.change, change)] {
            for start in places {
                // Twelve digits always fit: the numbers here stay far below 10^12.
                let _ = write!(&mut bytes[*start..start + DIGITS], "{value:012}");
            }
        }
        Bytes::from(bytes)
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A ConfigMap of about 1 KB.
pub fn config_map() -> Template {
    Template::new(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": NAME, "labels": {"app": "bench"}, "annotations": {CHANGE_ANNOTATION: CHANGE}},
        "data": {"settings": "x".repeat(800)},
    }))
}

/// A Pod of about 2 KB, for the scheduler named. It tolerates everything, so that bare nodes nobody heartbeats take it too.
pub fn pod(scheduler: &str) -> Template {
    let environment: Vec<Value> =
        (0..12).map(|i| json!({"name": format!("SETTING_NUMBER_{i}"), "value": "v".repeat(50)})).collect();
    Template::new(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": NAME,
            "labels": {"app": "bench", "tier": "backend", "app.kubernetes.io/managed-by": "coracle-bench"},
            "annotations": {CHANGE_ANNOTATION: CHANGE},
        },
        "spec": {
            "schedulerName": scheduler,
            "serviceAccountName": "default",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "main", "image": "registry.example/team/service:v1.2.3", "imagePullPolicy": "IfNotPresent",
                "args": ["serve", "--listen=:8080"],
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "env": environment,
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 10},
            }],
        },
    }))
}

/// A Ready node with room for 110 pods, for servers that have no hollow nodes of their own.
pub fn node() -> Template {
    Template::new(&json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": NAME, "labels": {"coracle-bench": "node", "kubernetes.io/hostname": NAME}},
        "status": {
            "capacity": {"cpu": "16", "memory": "32Gi", "pods": "110"},
            "allocatable": {"cpu": "16", "memory": "32Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "bench"}],
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_valid_and_of_the_promised_size() {
        for (template, sizes) in [(config_map(), 900..1200), (pod("x"), 1600..2300)] {
            assert!(sizes.contains(&template.len()), "{}", template.len());
            let body: Value = serde_json::from_slice(&template.body(7, 9)).unwrap();
            assert_eq!(body["metadata"]["name"], name(7));
            assert_eq!(body["metadata"]["annotations"][CHANGE_ANNOTATION], "change-000000000009");
        }
    }

    #[test]
    fn a_node_is_named_everywhere() {
        let body: Value = serde_json::from_slice(&node().body(5, 0)).unwrap();
        assert_eq!(body["metadata"]["name"], name(5));
        assert_eq!(body["metadata"]["labels"]["kubernetes.io/hostname"], name(5));
    }

    #[test]
    fn updates_are_unconditional_and_keep_the_name() {
        let stored = json!({"metadata": {"name": name(3), "resourceVersion": "5"}, "data": {}});
        let body: Value = serde_json::from_slice(&Template::of_stored(stored).body(8, 1)).unwrap();
        assert_eq!(body["metadata"]["name"], name(3));
        assert!(body["metadata"].get("resourceVersion").is_none());
    }
}
