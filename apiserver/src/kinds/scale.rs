//! The `scale` subresource: `autoscaling/v1` Scale of Deployments, ReplicaSets, StatefulSets and
//! ReplicationControllers.

use super::path::{Path, child, non_negative};
use api::document;
use api::field::Errors;
use api::selector::Selector;
use api::{Map, Value};
use serde_json::json;

/// The Scale of a workload. `kind` tells how it selects: only a ReplicationController's selector is a plain map.
pub fn scale_of(kind: &str, object: &Value) -> Value {
    let selector = document::get(object, "spec.selector").filter(|selector| !selector.is_null());
    let selector = match kind {
        "ReplicationController" => selector.and_then(Value::as_object).map(Selector::from_map),
        _ => Selector::from_object(selector).ok(),
    };
    let mut metadata = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = child(object, "metadata").and_then(|metadata| child(metadata, key)) {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    let replicas = |path| document::get_i64(object, path).unwrap_or_default();
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": {},
        "status": {"replicas": replicas("status.replicas")},
    });
    // Zero is left out of the specification, as upstream does; the status always says it.
    match replicas("spec.replicas") {
        0 => {}
        wanted => document::set(&mut scale, "spec.replicas", wanted),
    }
    if let Some(text) = selector.map(|selector| selector.to_string()).filter(|text| !text.is_empty()) {
        document::set(&mut scale, "status.selector", text);
    }
    scale
}

/// Sets the replicas that a Scale asks for, and its resource version as the one that the update expects. Where errors
/// are given, the object is unchanged; they are about the Scale.
///
/// A `uid` in the Scale that is not the object's is for the caller to refuse (409).
pub fn apply_scale(_kind: &str, object: &mut Value, scale: &Value) -> Errors {
    let mut errors = Errors::new();
    let empty = Value::Null;
    non_negative(&mut errors, child(scale, "spec").unwrap_or(&empty), &Path::root("spec"), "replicas");
    if errors.is_empty() {
        let replicas = document::get_i64(scale, "spec.replicas").unwrap_or_default();
        document::set(object, "spec.replicas", replicas);
        match document::resource_version(scale) {
            "" => drop(document::remove(object, "metadata.resourceVersion")),
            version => document::set(object, "metadata.resourceVersion", version),
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_go_there_and_back() {
        let mut object = json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "u", "resourceVersion": "7", "labels": {"x": "y"}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}}, "status": {"replicas": 2},
        });
        let mut scale = scale_of("Deployment", &object);
        assert_eq!(
            scale,
            json!({
                "kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": {"name": "web", "namespace": "a", "uid": "u", "resourceVersion": "7"},
                "spec": {"replicas": 3}, "status": {"replicas": 2, "selector": "app=web"},
            })
        );
        scale["spec"]["replicas"] = 5.into();
        assert!(apply_scale("Deployment", &mut object, &scale).is_empty());
        assert_eq!(object["spec"]["replicas"], 5);
        scale["spec"]["replicas"] = (-1).into();
        let errors = apply_scale("Deployment", &mut object, &scale);
        let text = errors.0[0].to_string();
        assert_eq!(text, "spec.replicas: Invalid value: -1: must be greater than or equal to 0");
        assert_eq!(object["spec"]["replicas"], 5);
    }
}
