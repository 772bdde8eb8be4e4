//! The APIServices of the groups that the server serves itself: upstream's aggregator makes them when it starts.

use std::collections::BTreeSet;

use api::Value;
use api::kinds::KINDS;
use serde_json::json;

use crate::discovery;

/// Has none, for it is about them.
const OWN_GROUP: &str = "apiregistration.k8s.io";

pub fn api_services() -> impl Iterator<Item = Value> {
    let versions: BTreeSet<(&str, &str)> = KINDS.iter().map(|kind| (kind.group, kind.version)).collect();
    versions.into_iter().filter(|(group, _)| *group != OWN_GROUP).map(|(group, version)| {
        let mut spec = json!({
            "version": version,
            "groupPriorityMinimum": discovery::group_priority(group),
            "versionPriority": version_priority(group, version),
        });
        if !group.is_empty() {
            spec["group"] = group.into();
        }
        json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {
                "name": format!("{version}.{group}"),
                "labels": { "kube-aggregator.kubernetes.io/automanaged": "onstart" },
            },
            "spec": spec,
        })
    })
}

/// Upstream's, which has grown.
fn version_priority(group: &str, version: &str) -> i32 {
    match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", _) => 21,
        _ => 15,
    }
}
