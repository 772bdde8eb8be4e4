//! A pod's quality of service class, from what it requests and what it is limited to.

use super::super::path::{child, entries, list};
use api::Value;
use api::quantity::Quantity;
use api::resource_list::quantity;
use std::collections::BTreeMap;

/// `Guaranteed`, `Burstable` or `BestEffort`, as the kubelet evicts by.
pub fn qos_class(pod: &Value) -> &'static str {
    let Some(spec) = child(pod, "spec") else { return "BestEffort" };
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let mut all_limited = true;
    let mut count = |resources: Option<&Value>, pod_level: bool| {
        let limited = resources.map_or(0, |resources| {
            add(&mut requests, resources, "requests");
            add(&mut limits, resources, "limits")
        });
        // Limits of the pod as a whole count only when there are some.
        let any_limit = resources.is_some_and(|resources| entries(resources, "limits").next().is_some());
        all_limited &= limited == 2 || (pod_level && !any_limit);
    };
    match child(spec, "resources") {
        Some(resources) => count(Some(resources), true),
        None => {
            for container in list(spec, "containers").iter().chain(list(spec, "initContainers")) {
                count(child(container, "resources"), false);
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if all_limited && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Adds up CPU and memory where they are more than zero; gives how many of them are.
fn add(total: &mut BTreeMap<&'static str, Quantity>, resources: &Value, list_name: &str) -> usize {
    let mut found = 0;
    for (name, value) in entries(resources, list_name) {
        let name = match name {
            "cpu" => "cpu",
            "memory" => "memory",
            _ => continue,
        };
        if let Some(value) = quantity(value).filter(|value| !value.is_zero() && !value.is_negative()) {
            found += 1;
            let sum = match total.get(name) {
                Some(have) => have.plus(value),
                None => value,
            };
            total.insert(name, sum);
        }
    }
    found
}
