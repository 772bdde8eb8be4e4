use component::resource::PODS;
use serde_json::json;

use crate::plugin::{Plugin, Write};
use crate::pod::Pod;

/// Binds through the pod's `binding` subresource. The uid keeps a recreated pod from being bound by mistake.
pub struct DefaultBinder;

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }

    fn bind(&self, pod: &Pod, node_name: &str) -> Option<Write> {
        let meta = &pod.metadata;
        Some(Write {
            resource: PODS,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            subresource: "binding",
            body: json!({
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"namespace": meta.namespace, "name": meta.name, "uid": meta.uid},
                "target": {"kind": "Node", "name": node_name},
            }),
        })
    }
}
