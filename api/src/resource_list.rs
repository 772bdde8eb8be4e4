//! Amounts of resources by name, and how much of each a pod asks for.
//!
//! Follows `k8s.io/component-helpers/resource`: what pods are scheduled, limited and charged by.

use crate::document::{self, Value};
use crate::names;
use crate::quantity::Quantity;
use std::collections::{BTreeMap, BTreeSet};

/// An amount of each resource that is named.
pub type ResourceList = BTreeMap<String, Quantity>;

/// A quantity as documents hold it: text, or a bare number.
pub fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

pub fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// A resource of Kubernetes' own, not one that a vendor added.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether a pod as a whole may ask for it (KEP-2837).
pub fn is_pod_level(name: &str) -> bool {
    name == "cpu" || name == "memory" || is_huge_page(name)
}

/// Nothing of a resource.
pub const NONE: Quantity = Quantity::from_millis(0);

/// The amounts at a dotted path.
pub fn list(object: &Value, path: &str) -> ResourceList {
    document::get(object, path).map(amounts).unwrap_or_default()
}

/// The amounts in a map; what is no quantity is left out.
pub fn amounts(map: &Value) -> ResourceList {
    let entries = map.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), quantity(value)?))).collect()
}

/// Adds each amount to the total of its name.
pub fn add(total: &mut ResourceList, more: &ResourceList) {
    for (name, amount) in more {
        match total.get_mut(name) {
            Some(have) => *have = have.plus(*amount),
            None => drop(total.insert(name.clone(), *amount)),
        }
    }
}

/// Takes each amount that is greater than what `most` has of its name.
pub fn raise(most: &mut ResourceList, other: &ResourceList) {
    for (name, amount) in other {
        if most.get(name).is_none_or(|have| amount > have) {
            most.insert(name.clone(), *amount);
        }
    }
}

/// What all containers of a pod need of each resource in `list_name` (`requests` or `limits`).
pub fn of_containers(spec: &Value, list_name: &str) -> ResourceList {
    let path = format!("resources.{list_name}");
    aggregate(spec, |container, _| list(container, &path))
}

/// The sum of the containers and sidecars, or the greatest of the init containers that run before them. `of` gives what a
/// container needs, told whether it runs as long as the pod.
fn aggregate(spec: &Value, of: impl Fn(&Value, bool) -> ResourceList) -> ResourceList {
    let mut total = ResourceList::new();
    for container in document::get_list(spec, "containers") {
        add(&mut total, &of(container, true));
    }
    let (mut sidecars, mut init) = (ResourceList::new(), ResourceList::new());
    for container in document::get_list(spec, "initContainers") {
        let is_sidecar = document::get_str(container, "restartPolicy") == "Always";
        let own = of(container, is_sidecar);
        let mut at_once = sidecars.clone();
        add(&mut at_once, &own);
        if is_sidecar {
            add(&mut total, &own);
            sidecars = at_once.clone();
        }
        raise(&mut init, &at_once);
    }
    raise(&mut total, &init);
    total
}

/// Which parts of a pod count when its requests and limits are added up.
#[derive(Debug, Clone, Copy)]
pub struct Counting {
    /// What nodes gave to containers counts beside what these ask for: while a resize is under way, the greater.
    pub status: bool,
    /// What running the pod takes by itself.
    pub overhead: bool,
    /// The resources of which the pod as a whole may ask, in place of its containers.
    pub pod_level: fn(&str) -> bool,
}

impl Counting {
    /// What the pod requests.
    pub fn requests(&self, pod: &Value) -> ResourceList {
        let mut total = self.sum(pod, "requests", &["resources.requests", "allocatedResources"]);
        if self.overhead {
            add(&mut total, &list(pod, "spec.overhead"));
        }
        total
    }

    /// What limits the pod. Overhead is added where there is a limit.
    pub fn limits(&self, pod: &Value) -> ResourceList {
        let mut total = self.sum(pod, "limits", &["resources.limits"]);
        if self.overhead {
            let mut overhead = list(pod, "spec.overhead");
            overhead.retain(|name, _| total.get(name).is_some_and(|limit| !limit.is_zero()));
            add(&mut total, &overhead);
        }
        total
    }

    /// `actual`: where a container's status has the amounts that it really has.
    fn sum(&self, pod: &Value, list_name: &str, actual: &[&str]) -> ResourceList {
        let spec = document::get(pod, "spec").unwrap_or(&Value::Null);
        let path = format!("resources.{list_name}");
        let infeasible = self.status && is_resize_infeasible(pod);
        let mut total = aggregate(spec, |container, runs_along| {
            let asked = list(container, &path);
            let status = if self.status && runs_along { status_of(pod, container) } else { None };
            let Some(status) = status else { return asked };
            let mut effective = if infeasible { ResourceList::new() } else { asked };
            actual.iter().for_each(|path| raise(&mut effective, &list(status, path)));
            effective
        });
        let own = list(spec, &path);
        total.extend(own.into_iter().filter(|(name, _)| (self.pod_level)(name)));
        total
    }
}

/// The status of a container, once it says what the container has.
fn status_of<'a>(pod: &'a Value, container: &Value) -> Option<&'a Value> {
    let name = document::get_str(container, "name");
    let lists = ["status.containerStatuses", "status.initContainerStatuses"];
    let mut all = lists.iter().flat_map(|path| document::get_list(pod, path));
    let status = all.find(|status| document::get_str(status, "name") == name)?;
    document::get_map(status, "resources").map(|_| status)
}

fn is_resize_infeasible(pod: &Value) -> bool {
    let mut conditions = document::get_list(pod, "status.conditions").iter();
    let pending = conditions.find(|condition| document::get_str(condition, "type") == "PodResizePending");
    pending.is_some_and(|condition| document::get_str(condition, "reason") == "Infeasible")
}

/// Whether the pod as a whole asks for, or is limited in, something that it can be asked for.
pub fn has_pod_level(pod: &Value) -> bool {
    let lists = ["spec.resources.requests", "spec.resources.limits"];
    lists.iter().any(|path| list(pod, path).keys().any(|name| is_pod_level(name)))
}

/// `cpu=500m,memory=1Gi`, as messages show a list.
pub fn shown(list: &ResourceList) -> String {
    let parts: Vec<String> = list.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    parts.join(",")
}

/// The part of a list with these names.
pub fn only(list: &ResourceList, names: &BTreeSet<&str>) -> ResourceList {
    list.iter().filter(|(name, _)| names.contains(name.as_str())).map(|(name, at)| (name.clone(), *at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ALL: Counting = Counting { status: true, overhead: true, pod_level: is_pod_level };
    const SPEC: Counting = Counting { status: false, overhead: false, pod_level: is_pod_level };

    fn container(name: &str, cpu: &str) -> Value {
        json!({ "name": name, "resources": { "requests": { "cpu": cpu }, "limits": { "cpu": cpu } } })
    }

    fn sidecar(name: &str, cpu: &str) -> Value {
        let mut container = container(name, cpu);
        container["restartPolicy"] = "Always".into();
        container
    }

    #[test]
    fn init_containers_raise_and_sidecars_add() {
        let pod = |init: Value| json!({ "spec": { "containers": [container("a", "1"), container("b", "500m")], "initContainers": init } });
        for (init, sum) in [
            (json!([]), "cpu=1500m"),
            (json!([container("i", "1")]), "cpu=1500m"),
            (json!([container("i", "2")]), "cpu=2"),
            (json!([sidecar("s", "1")]), "cpu=2500m"),
            (json!([sidecar("s", "1"), container("i", "2")]), "cpu=3"),
            (json!([container("i", "2"), sidecar("s", "100m")]), "cpu=2"),
        ] {
            assert_eq!(shown(&SPEC.requests(&pod(init.clone()))), sum, "{init}");
            assert_eq!(shown(&SPEC.limits(&pod(init))), sum);
        }
    }

    #[test]
    fn overhead_and_the_pod_as_a_whole_count() {
        let mut pod = json!({ "spec": {
            "containers": [container("a", "1")],
            "overhead": { "cpu": "250m", "memory": "1Mi" },
            "resources": { "requests": { "cpu": "3", "ephemeral-storage": "1" } },
        } });
        assert_eq!(shown(&ALL.requests(&pod)), "cpu=3250m,memory=1Mi");
        assert_eq!(shown(&ALL.limits(&pod)), "cpu=1250m", "nothing limits memory");
        assert!(has_pod_level(&pod));
        pod["spec"]["resources"] = json!({ "requests": { "ephemeral-storage": "1" } });
        assert!(!has_pod_level(&pod));
        assert_eq!(shown(&SPEC.requests(&pod)), "cpu=1");
    }

    #[test]
    fn while_a_resize_is_under_way_the_greater_counts() {
        let mut pod = json!({
            "spec": { "containers": [container("a", "1")] },
            "status": { "containerStatuses": [{
                "name": "a", "allocatedResources": { "cpu": "3" },
                "resources": { "requests": { "cpu": "2" }, "limits": { "cpu": "2" } },
            }] },
        });
        let both = |pod: &Value| (shown(&ALL.requests(pod)), shown(&ALL.limits(pod)));
        assert_eq!(both(&pod), ("cpu=3".to_owned(), "cpu=2".to_owned()));
        pod["spec"]["containers"][0] = container("a", "5");
        assert_eq!(both(&pod), ("cpu=5".to_owned(), "cpu=5".to_owned()));
        pod["status"]["conditions"] = json!([{ "type": "PodResizePending", "reason": "Infeasible" }]);
        assert_eq!(both(&pod), ("cpu=3".to_owned(), "cpu=2".to_owned()));
    }
}
