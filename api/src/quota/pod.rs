//! What pods count for: themselves, and what their containers ask for.

use super::{COUNTED, Measure, Requirement, number};
use crate::document::{self, Value};
use crate::resource_list::{
    Counting, ResourceList, has_pod_level, is_extended, is_huge_page, is_native, is_pod_level, list,
};
use crate::time;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

pub const MEASURE: Measure = Measure {
    resource: "pods",
    names: &[
        "cpu",
        "memory",
        "ephemeral-storage",
        "requests.cpu",
        "requests.memory",
        "requests.ephemeral-storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "pods",
    ],
    also: |name| is_huge_page(name.strip_prefix("requests.").unwrap_or(name)) || is_extended_request(name),
    usage: Some(usage),
    meets,
    unspecified,
    changes: |subresource, pod, old| match subresource {
        "" => has_deadline(pod) != has_deadline(old),
        other => other == "resize",
    },
    ..COUNTED
};

/// With a quota on one of these, every container has to say how much of it it wants. Upstream regrets it.
const REQUIRED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const CHARGED: Counting = Counting { status: true, overhead: true, pod_level: is_pod_level };
/// Extended resources that stand for a device class.
const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";

fn is_extended_request(name: &str) -> bool {
    name.strip_prefix("requests.").is_some_and(|asked| !is_native(name) || asked.starts_with(DEVICE_CLASS))
}

fn usage(pod: &Value, now: Timestamp) -> ResourceList {
    if is_over(pod, now) {
        return ResourceList::new();
    }
    let mut usage = compute(&CHARGED.requests(pod), &CHARGED.limits(pod));
    usage.insert("pods".to_owned(), number(1));
    usage
}

/// A pod that uses nothing any more: it has ended, or it should have long ago and its node does not say.
fn is_over(pod: &Value, now: Timestamp) -> bool {
    if matches!(document::get_str(pod, "status.phase"), "Failed" | "Succeeded") {
        return true;
    }
    let deletion = time::parse(document::get_str(pod, "metadata.deletionTimestamp")).ok();
    let grace = document::get_i64(pod, "metadata.deletionGracePeriodSeconds");
    let (Some(deletion), Some(grace)) = (deletion, grace) else { return false };
    deletion.checked_add(SignedDuration::from_secs(grace)).is_ok_and(|end| now > end)
}

/// Requests and limits by the names that quotas have for them.
fn compute(requests: &ResourceList, limits: &ResourceList) -> ResourceList {
    let mut usage = ResourceList::new();
    for (name, amount) in requests {
        let standard = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || is_huge_page(name);
        if standard {
            usage.insert(name.clone(), *amount);
        }
        if standard || is_extended(name) || name.starts_with(DEVICE_CLASS) {
            usage.insert(format!("requests.{name}"), *amount);
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    usage
}

fn meets(requirement: &Requirement, pod: &Value) -> bool {
    match requirement.scope.as_str() {
        "Terminating" => has_deadline(pod),
        "NotTerminating" => !has_deadline(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = Some(document::get_str(pod, "spec.priorityClassName")).filter(|class| !class.is_empty());
            requirement.admits(class.as_slice())
        }
        "CrossNamespacePodAffinity" => looks_across_namespaces(pod),
        _ => false,
    }
}

fn has_deadline(pod: &Value) -> bool {
    document::get_i64(pod, "spec.activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0)
}

fn is_best_effort(pod: &Value) -> bool {
    document::get_str(pod, "status.qosClass") == "BestEffort"
}

fn looks_across_namespaces(pod: &Value) -> bool {
    ["spec.affinity.podAffinity", "spec.affinity.podAntiAffinity"].iter().any(|path| {
        let Some(affinity) = document::get(pod, path) else { return false };
        let required = document::get_list(affinity, "requiredDuringSchedulingIgnoredDuringExecution").iter();
        let preferred = document::get_list(affinity, "preferredDuringSchedulingIgnoredDuringExecution").iter();
        required.chain(preferred.filter_map(|term| term.get("podAffinityTerm"))).any(|term| {
            !document::get_list(term, "namespaces").is_empty() || document::get_map(term, "namespaceSelector").is_some()
        })
    })
}

fn unspecified(names: &[&str], pod: &Value) -> Option<String> {
    if has_pod_level(pod) {
        return None;
    }
    let required: Vec<&str> = names.iter().copied().filter(|name| REQUIRED.contains(name)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let lists = ["spec.containers", "spec.initContainers"];
    for container in lists.iter().flat_map(|path| document::get_list(pod, path)) {
        let given = compute(&list(container, "resources.requests"), &list(container, "resources.limits"));
        for name in required.iter().filter(|name| !given.contains_key(**name)) {
            missing.entry(name).or_default().insert(document::get_str(container, "name"));
        }
    }
    let by_name = missing.iter().map(|(name, containers)| {
        let containers: Vec<&str> = containers.iter().copied().collect();
        format!("{name} for: {}", containers.join(","))
    });
    let all: Vec<String> = by_name.collect();
    (!all.is_empty()).then(|| format!("must specify {}", all.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Evaluator;
    use crate::resource_list::shown;
    use serde_json::json;

    fn pods() -> Evaluator<'static> {
        Evaluator::of("", "pods").unwrap()
    }

    fn pod() -> Value {
        json!({
            "metadata": {},
            "spec": { "containers": [{ "name": "a", "resources": {
                "requests": { "cpu": "500m", "memory": "1Gi", "example.com/dongle": "2", "hugepages-2Mi": "4Mi" },
                "limits": { "cpu": "1", "example.com/dongle": "2", "hugepages-2Mi": "4Mi" },
            } }] },
            "status": { "phase": "Running", "qosClass": "Burstable" },
        })
    }

    #[test]
    fn a_pod_counts_for_what_it_asks_for() {
        let now = time::parse("2026-01-01T00:01:00Z").unwrap();
        let mut pod = pod();
        assert_eq!(
            shown(&pods().usage(&pod, now)),
            "count/pods=1,cpu=500m,hugepages-2Mi=4Mi,limits.cpu=1,memory=1Gi,pods=1,requests.cpu=500m,\
             requests.example.com/dongle=2,requests.hugepages-2Mi=4Mi,requests.memory=1Gi"
        );
        pod["metadata"] = json!({ "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30 });
        assert!(pods().usage(&pod, now).contains_key("pods"));
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(29);
        assert_eq!(shown(&pods().usage(&pod, now)), "count/pods=1", "its node is lost");
        pod["metadata"] = json!({});
        pod["status"]["phase"] = json!("Succeeded");
        assert_eq!(shown(&pods().usage(&pod, now)), "count/pods=1");
    }

    #[test]
    fn names_of_pods() {
        for name in ["pods", "count/pods", "limits.memory", "hugepages-1Gi", "requests.hugepages-1Gi"] {
            assert!(pods().tracks(name), "{name}");
        }
        assert!(pods().tracks("requests.example.com/dongle"));
        for name in ["services", "requests.storage", "example.com/dongle", "count/services"] {
            assert!(!pods().tracks(name), "{name}");
        }
    }

    #[test]
    fn scopes_choose_among_pods() {
        let requirement = |scope: &str, operator: &str, values: &[&str]| Requirement {
            scope: scope.to_owned(),
            operator: operator.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let exists = |scope: &str| requirement(scope, "Exists", &[]);
        let mut pod = pod();
        assert!(meets(&exists("NotTerminating"), &pod) && !meets(&exists("Terminating"), &pod));
        pod["spec"]["activeDeadlineSeconds"] = json!(5);
        assert!(!meets(&exists("NotTerminating"), &pod) && meets(&exists("Terminating"), &pod));
        assert!(meets(&exists("NotBestEffort"), &pod) && !meets(&exists("BestEffort"), &pod));
        assert!(!meets(&exists("PriorityClass"), &pod));
        pod["spec"]["priorityClassName"] = json!("high");
        assert!(meets(&exists("PriorityClass"), &pod));
        assert!(meets(&requirement("PriorityClass", "In", &["high"]), &pod));
        assert!(!meets(&requirement("PriorityClass", "NotIn", &["high"]), &pod));
        assert!(!meets(&exists("CrossNamespacePodAffinity"), &pod));
        let term = json!({ "topologyKey": "zone", "namespaceSelector": {} });
        let preferred = json!([{ "weight": 1, "podAffinityTerm": term }]);
        pod["spec"]["affinity"] =
            json!({ "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": preferred } });
        assert!(meets(&exists("CrossNamespacePodAffinity"), &pod));
        assert!(!meets(&exists("VolumeAttributesClass"), &pod), "no scope of pods");
    }

    #[test]
    fn containers_have_to_say_what_is_limited() {
        let mut pod = pod();
        let why = |names: &[&str], pod: &Value| unspecified(names, pod).unwrap_or_default();
        assert_eq!(why(&["requests.cpu", "limits.cpu", "pods", "limits.ephemeral-storage"], &pod), "");
        pod["spec"]["initContainers"] = json!([{ "name": "i" }]);
        assert_eq!(
            why(&["limits.memory", "requests.cpu"], &pod),
            "must specify limits.memory for: a,i; requests.cpu for: i"
        );
        pod["spec"]["resources"] = json!({ "requests": { "cpu": "1" } });
        assert_eq!(why(&["limits.memory"], &pod), "");
    }
}
