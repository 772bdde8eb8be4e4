//! PodTopologyLabels: a pod gets the zone and the region of its node as labels.
//!
//! Follows `plugin/pkg/admission/podtopologylabels`.

use super::Operation;
use crate::registry::Call;
use crate::resources;
use api::Value;
use api::document::{self, Map};
use api::status::ApiError;

const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

pub fn mutate(call: &Call<'_>, operation: Operation, pod: &mut Value) -> Result<(), ApiError> {
    if operation != Operation::Create || call.resource.kind.kind != "Pod" || !call.subresource.is_empty() {
        return Ok(());
    }
    let labels = labels_of_node(call, document::get_str(pod, "spec.nodeName"))?;
    if !labels.is_empty() {
        document::child(document::metadata_mut(pod), "labels").extend(labels);
    }
    Ok(())
}

/// What pods on this node are labelled with; nothing for a node that is not there.
pub fn labels_of_node(call: &Call<'_>, node: &str) -> Result<Map, ApiError> {
    if node.is_empty() {
        return Ok(Map::new());
    }
    let nodes = resources::builtin("", "nodes");
    let found = call.server.store.get(&nodes.key("", node)).map_err(|error| call.server.store_error(error))?;
    let Some(entry) = found else { return Ok(Map::new()) };
    let node = nodes.read(&entry.value)?;
    let labels = document::labels(&node).into_iter().flatten().filter(|(key, _)| LABELS.contains(&key.as_str()));
    Ok(labels.map(|(key, value)| (key.clone(), value.clone())).collect())
}
