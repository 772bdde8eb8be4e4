//! TaintNodesByCondition: a new node takes no pods before it has said that it is ready.

use super::Operation;
use crate::registry::Call;
use api::Value;
use api::document;
use api::status::ApiError;
use serde_json::json;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub fn mutate(call: &Call<'_>, operation: Operation, object: &mut Value) -> Result<(), ApiError> {
    if operation != Operation::Create || call.resource.kind.kind != "Node" {
        return Ok(());
    }
    let mut taints = document::get_list(object, "spec.taints").to_vec();
    if !taints
        .iter()
        .any(|t| document::get_str(t, "key") == NOT_READY && document::get_str(t, "effect") == "NoSchedule")
    {
        taints.push(json!({ "key": NOT_READY, "effect": "NoSchedule" }));
        document::set(object, "spec.taints", taints);
    }
    Ok(())
}
