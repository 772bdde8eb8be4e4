//! `pods/log`: what a container printed, from the kubelet of its node.

use crate::kubelet;
use crate::request::Incoming;
use crate::resources::{self, Resource};
use crate::response::{self, Body};
use crate::server::ApiServer;
use crate::verbs;
use api::Value;
use api::document;
use api::status::ApiError;
use http::Response;

/// Parameters that the kubelet understands under the same name.
const PASSED_ON: &[&str] =
    &["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];

pub async fn get(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: Incoming,
) -> Result<Response<Body>, ApiError> {
    let call = verbs::call(server, resource, &incoming, "GetOptions")?;
    let pod = server.read(&call)?.into_value(resource)?;
    let container = container(&pod, incoming.query.get("container").unwrap_or_default())?;
    let node_name = document::get_str(&pod, "spec.nodeName");
    if node_name.is_empty() {
        // Nothing has run yet, and so nothing was printed.
        return Ok(response::no_content());
    }
    let nodes = resources::builtin("", "nodes");
    let found = server.store.get(&nodes.key("", node_name)).map_err(|e| server.store_error(e))?;
    let node = match found {
        Some(entry) => nodes.read(&entry.value)?,
        None => return Err(ApiError::not_found(nodes.kind, node_name)),
    };
    let passed: Vec<String> = PASSED_ON
        .iter()
        .filter_map(|key| incoming.query.get(key).map(|value| format!("{key}={}", kubelet::escape(value))))
        .collect();
    let path = format!("/containerLogs/{}/{}/{container}?{}", call.namespace, call.name, passed.join("&"));
    kubelet::get(server, &node, &path).await
}

/// The container that is meant; a pod of one container need not name it.
fn container(pod: &Value, asked: &str) -> Result<String, ApiError> {
    let names = |list: &str| -> Vec<String> {
        document::get_list(pod, list).iter().map(|c| document::get_str(c, "name").to_owned()).collect()
    };
    let (containers, init, ephemeral) =
        (names("spec.containers"), names("spec.initContainers"), names("spec.ephemeralContainers"));
    let pod_name = document::name(pod);
    if asked.is_empty() {
        return match containers.as_slice() {
            [only] if init.is_empty() && ephemeral.is_empty() => Ok(only.clone()),
            [] => Err(ApiError::bad_request(format!("a container name must be specified for pod {pod_name}"))),
            _ => {
                let mut message = format!(
                    "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                    containers.join(" ")
                );
                if !init.is_empty() {
                    message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                if !ephemeral.is_empty() {
                    message.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
                }
                Err(ApiError::bad_request(message))
            }
        };
    }
    if [&containers, &init, &ephemeral].iter().any(|names| names.iter().any(|name| name == asked)) {
        return Ok(asked.to_owned());
    }
    Err(ApiError::bad_request(format!("container {asked} is not valid for pod {pod_name}")))
}
