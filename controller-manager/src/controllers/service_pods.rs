//! What the two endpoint controllers share: a service's pods, their ports, and which services a pod's change concerns.

use std::sync::Arc;
use std::time::Duration;

use component::resource::SERVICES;
use component::{Delta, Meta};

use crate::informers::{Informers, NODE};
use crate::kinds::{IntOrString, Pod, Service, ServicePort};
use crate::queue::{Item, Queue};
use crate::runtime::View;

/// Changes of pods within this time are taken together.
const BATCH: Duration = Duration::from_millis(10);
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Wakes services when they, or pods they select, change.
pub fn watch(informers: &Informers, queue: &Queue) {
    let each = queue.clone();
    informers.services.subscribe(move |delta| each.add(Item::of(SERVICES, &delta.object().metadata)));
    let (wake, services) = (queue.clone(), informers.stores().services.clone());
    let touch = move |pod: &Pod| {
        for service in services.in_namespace(&pod.metadata.namespace) {
            if selects(&service, &pod.metadata) {
                wake.add_after(Item::of(SERVICES, &service.metadata), BATCH);
            }
        }
    };
    let (nodes_touch, pods) = (touch.clone(), informers.stores().pods.clone());
    informers.pods.subscribe(move |delta| match delta {
        Delta::Updated { old, new } => {
            let relabelled = old.metadata.labels != new.metadata.labels;
            if relabelled || matters(old, new) {
                touch(new);
            }
            if relabelled {
                touch(old);
            }
        }
        Delta::Added(pod) | Delta::Deleted(pod) => touch(pod),
    });
    // Addresses on a node that is not known yet are left out until it is.
    informers.nodes.subscribe(move |delta| {
        if let Delta::Added(node) = delta {
            pods.by(NODE, &node.metadata.name).iter().for_each(|pod| nodes_touch(pod));
        }
    });
}

/// Whether a pod's change can change endpoints.
fn matters(old: &Pod, new: &Pod) -> bool {
    old.ips() != new.ips()
        || old.is_ready() != new.is_ready()
        || old.is_terminal() != new.is_terminal()
        || old.metadata.is_terminating() != new.metadata.is_terminating()
        || old.spec.node_name != new.spec.node_name
}

fn selects(service: &Service, pod: &Meta) -> bool {
    service.spec.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
}

/// The service's pods that can have an address in its endpoints; terminating ones only if asked for.
pub fn pods(view: &View<'_>, service: &Service, terminating: bool) -> Vec<Arc<Pod>> {
    let mut pods = view.stores.pods.in_namespace(&service.metadata.namespace);
    pods.retain(|pod| {
        selects(service, &pod.metadata)
            && !pod.is_terminal()
            && !pod.ips().is_empty()
            && (terminating || !pod.metadata.is_terminating())
    });
    pods
}

/// The number behind a service's port on a pod; `None` where the pod has no port of that name.
pub fn find_port(pod: &Pod, port: &ServicePort) -> Option<i64> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let sidecars = pod.spec.init_containers.iter().filter(|c| c.restart_policy == "Always");
    let ports = pod.spec.containers.iter().chain(sidecars).flat_map(|c| &c.ports);
    let protocol = |text: &str| if text.is_empty() { "TCP".to_owned() } else { text.to_owned() };
    let mut found = ports.filter(|p| p.name == *name && protocol(&p.protocol) == protocol(&port.protocol));
    found.next().map(|p| p.container_port)
}

/// The pod's host name, when it is one in the service's domain.
pub fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a str> {
    let named = !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name;
    named.then_some(pod.spec.hostname.as_str())
}

/// The service's labels, marked when it has no address of its own; those in `reserved` are not taken over.
pub fn labels(service: &Service, reserved: &[&str]) -> std::collections::BTreeMap<String, String> {
    let mut labels = service.metadata.labels.to_map();
    labels.retain(|key, _| key != HEADLESS && !reserved.contains(&key.as_str()));
    if matches!(service.spec.cluster_ip.as_str(), "" | "None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// A merge patch that makes `current` labels into `wanted`; `None` when they are equal.
pub fn label_patch(current: &Meta, wanted: &std::collections::BTreeMap<String, String>) -> Option<serde_json::Value> {
    let mut patch = serde_json::Map::new();
    for (key, _) in current.labels.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
        patch.insert(key.to_owned(), serde_json::Value::Null);
    }
    for (key, value) in wanted {
        if current.labels.get(key) != Some(value) {
            patch.insert(key.clone(), value.as_str().into());
        }
    }
    (!patch.is_empty()).then_some(serde_json::Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_ports_are_found_in_containers_and_sidecars() {
        let pod: Pod = serde_json::from_str(
            r#"{"spec":{"containers":[{"ports":[{"name":"http","containerPort":80}]}],
                "initContainers":[{"restartPolicy":"Always","ports":[{"name":"admin","containerPort":9}]},
                                  {"ports":[{"name":"setup","containerPort":1}]}]}}"#,
        )
        .unwrap();
        let port = |target: &str| {
            let target_port = Some(IntOrString::String(target.into()));
            find_port(&pod, &ServicePort { port: 7, protocol: "TCP".into(), target_port, ..ServicePort::default() })
        };
        assert_eq!((port("http"), port("admin"), port("setup")), (Some(80), Some(9), None));
        assert_eq!(find_port(&pod, &ServicePort { port: 7, ..ServicePort::default() }), Some(7));
    }
}
