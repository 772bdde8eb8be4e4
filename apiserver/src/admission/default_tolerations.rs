//! DefaultTolerationSeconds: a pod stays on a node that fails for five minutes, unless it says otherwise.

use super::Operation;
use crate::registry::Call;
use api::Value;
use api::document;
use api::status::ApiError;
use serde_json::json;

const SECONDS: i64 = 300;

pub fn mutate(call: &Call<'_>, _operation: Operation, object: &mut Value) -> Result<(), ApiError> {
    if call.resource.kind.kind != "Pod" || !call.subresource.is_empty() {
        return Ok(());
    }
    let mut tolerations = document::get_list(object, "spec.tolerations").to_vec();
    let before = tolerations.len();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = tolerations.iter().any(|toleration| {
            let text = |path: &str| document::get_str(toleration, path);
            (text("key").is_empty() || text("key") == key) && matches!(text("effect"), "" | "NoExecute")
        });
        if !tolerated {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
    if tolerations.len() > before {
        document::set(object, "spec.tolerations", tolerations);
    }
    Ok(())
}
