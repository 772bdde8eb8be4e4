//! PodResizeValidator: a pod that runs cannot ask for more than its node has.
//!
//! Follows `plugin/pkg/admission/podresize`.

use super::Operation;
use crate::registry::Call;
use crate::resources;
use api::Value;
use api::document;
use api::quantity::Quantity;
use api::resource_list::{Counting, ResourceList, is_pod_level, list};
use api::status::ApiError;

pub fn validate(
    call: &Call<'_>,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let resizes = operation == Operation::Update && call.resource.kind.kind == "Pod" && call.subresource == "resize";
    let (Some(pod), Some(old), true) = (object, old, resizes) else { return Ok(()) };
    let generation = |pod| document::get_i64(pod, "metadata.generation");
    let name = document::get_str(pod, "spec.nodeName");
    if name.is_empty() || generation(pod) == generation(old) {
        return Ok(());
    }
    let nodes = resources::builtin("", "nodes");
    let found = call.server.store.get(&nodes.key("", name)).map_err(|error| call.server.store_error(error))?;
    let Some(entry) = found else {
        return Err(forbidden(pod, &format!("node {} not found", api::field::quote(name)), ""));
    };
    let node = nodes.read(&entry.value)?;
    let os = document::labels(&node).and_then(|labels| labels.get("kubernetes.io/os")).and_then(Value::as_str);
    if let Some(os) = os.filter(|os| *os != "linux") {
        let (name, os) = (api::field::quote(name), api::field::quote(os));
        let why = format!("pod resize is only supported on linux nodes, node {name} is {os}");
        return Err(forbidden(pod, &why, "UnsupportedPlatform"));
    }
    match missing(pod, &node) {
        missing if missing.is_empty() => Ok(()),
        missing => {
            let why = format!("node didn't have enough allocatable resources: {}", missing.join("; "));
            Err(forbidden(pod, &why, "NodeCapacity"))
        }
    }
}

fn forbidden(pod: &Value, why: &str, reason: &str) -> ApiError {
    let failure = ApiError::forbidden("", "pods", document::name(pod), why);
    if reason.is_empty() { failure } else { failure.with_cause(reason, "", "") }
}

/// The resources of which the pod requests more than the node can give, in words.
fn missing(pod: &Value, node: &Value) -> Vec<String> {
    let requests = Counting { status: false, overhead: true, pod_level: is_pod_level }.requests(pod);
    let allocatable = list(node, "status.allocatable");
    let mut missing = Vec::new();
    for name in ["cpu", "memory"] {
        let of = |list: &ResourceList| list.get(name).copied().unwrap_or(Quantity::from_millis(0));
        let (requested, allocatable) = (of(&requests), of(&allocatable));
        if requested > allocatable {
            let shown = |amount: Quantity| if name == "cpu" { amount.millis() } else { amount.value() };
            missing.push(format!("{name}, requested: {}, allocatable: {}", shown(requested), shown(allocatable)));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_node_lacks_is_said() {
        let node = json!({"status": {"allocatable": {"cpu": "1", "memory": "1Gi"}}});
        let pod = |cpu| json!({"spec": {"overhead": {"cpu": "100m"}, "containers": [{"resources": {"requests": {"cpu": cpu}}}]}});
        assert_eq!(missing(&pod("900m"), &node), [""; 0]);
        assert_eq!(missing(&pod("1"), &node), ["cpu, requested: 1100, allocatable: 1000"]);
    }
}
