//! Endpoints: the addresses of a service's pods, in the older of the two kinds (upstream's `pkg/controller/endpoint`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use component::Delta;
use component::events::EventType;
use component::resource::{ENDPOINTS, SERVICES};
use serde_json::{Value, json};

use super::{event, service_pods};
use crate::informers::Informers;
use crate::kinds::{Pod, Service};
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const REPORTER: &str = "endpoint-controller";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses that one object holds.
const CAPACITY: usize = 1000;

pub fn watch(informers: &Informers, queue: &Queue) {
    // What a service that was deleted in our absence left behind. Those of leader elections have no service.
    for endpoints in informers.endpoints.store().list() {
        if !endpoints.metadata.annotations.contains_key("control-plane.alpha.kubernetes.io/leader") {
            queue.add(Item::of(SERVICES, &endpoints.metadata));
        }
    }
    let deleted = queue.clone();
    informers.endpoints.subscribe(move |delta| {
        if let Delta::Deleted(endpoints) = delta {
            deleted.add(Item::of(SERVICES, &endpoints.metadata));
        }
    });
    service_pods::watch(informers, queue);
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let mut plan = Plan::none();
    let current = view.stores.endpoints.get(item.namespace(), item.name());
    let Some(service) = view.stores.services.get(item.namespace(), item.name()) else {
        if let Some(current) = current {
            plan.act(Action::delete(ENDPOINTS, &current.metadata));
        }
        return plan;
    };
    if service.spec.kind == "ExternalName" || service.spec.selector.is_none() {
        return plan;
    }
    let (subsets, truncated) = subsets(view, &service);
    let mut labels = service_pods::labels(&service, &[MANAGED_BY]);
    labels.insert(MANAGED_BY.to_owned(), REPORTER.to_owned());
    let about = (ENDPOINTS, &service.metadata);
    let Some(current) = current else {
        let mut body = json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": { "name": item.name(), "namespace": item.namespace(), "labels": labels },
        });
        if truncated {
            body["metadata"]["annotations"] = json!({ OVER_CAPACITY: "truncated" });
        }
        if !subsets.is_empty() {
            body["subsets"] = subsets.into();
        }
        let note = format!("Failed to create endpoint for service {}: {{error}}", item.key);
        let failed = event(REPORTER, about, EventType::Warning, "FailedToCreateEndpoint", note);
        plan.act(Action::create(ENDPOINTS, item.namespace(), body).reporting(None, Some(failed)));
        return plan;
    };
    let known = current.subsets.as_array().map(Vec::as_slice).unwrap_or_default();
    let label_patch = service_pods::label_patch(&current.metadata, &labels);
    let annotated = current.metadata.annotations.contains_key(OVER_CAPACITY);
    if known == subsets && label_patch.is_none() && annotated == truncated {
        return plan;
    }
    let mut body = json!({
        "metadata": {
            "resourceVersion": current.metadata.resource_version.to_string(),
            "annotations": { OVER_CAPACITY: if truncated { json!("truncated") } else { Value::Null } },
        },
        "subsets": if subsets.is_empty() { Value::Null } else { subsets.into() },
    });
    if let Some(patch) = label_patch {
        body["metadata"]["labels"] = patch;
    }
    let note = format!("Failed to update endpoint {}: {{error}}", item.key);
    let failed = event(REPORTER, about, EventType::Warning, "FailedToUpdateEndpoint", note);
    plan.act(Action::merge(ENDPOINTS, &current.metadata, "", body).reporting(None, Some(failed)));
    plan
}

/// An address's order and identity: the IP, then the pod's uid.
type AddressKey = (Option<IpAddr>, String);
/// An address, and whether it is ready.
type Address = (Value, bool);
/// Ports, and the addresses that offer all of them.
type Group = (Vec<Value>, Vec<Address>);

/// The addresses grouped by the ports they have in common, in a canonical order; true when there are too many.
fn subsets(view: &View<'_>, service: &Service) -> (Vec<Value>, bool) {
    let mut pods = service_pods::pods(view, service, service.spec.publish_not_ready_addresses);
    // What is ready is kept first.
    let ready = |pod: &Pod| service.spec.publish_not_ready_addresses || pod.is_ready();
    let truncated = pods.len() > CAPACITY;
    if truncated {
        pods.sort_by_key(|pod| !ready(pod));
        pods.truncate(CAPACITY);
    }
    // Each port with the addresses that offer it; a headless service without ports has its addresses under none.
    let mut by_port: BTreeMap<String, (Option<Value>, BTreeMap<AddressKey, Address>)> = BTreeMap::new();
    for pod in &pods {
        let Some(ip) = address_for(service, pod) else { continue };
        let key = (ip.parse().ok(), pod.metadata.uid.clone());
        let entry = (address(service, pod, ip), ready(pod));
        let mut offer = |port: Option<Value>| {
            let id = port.as_ref().map(Value::to_string).unwrap_or_default();
            let (_, addresses) = by_port.entry(id).or_insert_with(|| (port, BTreeMap::new()));
            addresses.insert(key.clone(), entry.clone());
        };
        if service.spec.ports.is_empty() && service.spec.cluster_ip == "None" {
            offer(None);
        }
        for port in &service.spec.ports {
            if let Some(number) = service_pods::find_port(pod, port) {
                let mut value = json!({ "port": number, "protocol": port.protocol });
                if !port.name.is_empty() {
                    value["name"] = port.name.as_str().into();
                }
                if let Some(protocol) = &port.app_protocol {
                    value["appProtocol"] = protocol.as_str().into();
                }
                offer(Some(value));
            }
        }
    }
    // Ports with the same addresses share a subset.
    let mut groups: BTreeMap<Vec<(AddressKey, bool)>, Group> = BTreeMap::new();
    for (port, addresses) in by_port.into_values() {
        let key = addresses.iter().map(|(key, (_, ready))| (key.clone(), *ready)).collect();
        let group = groups.entry(key).or_insert_with(|| (Vec::new(), addresses.into_values().collect()));
        group.0.extend(port);
    }
    let subsets = groups.into_values().map(|(ports, addresses)| {
        let of = |wanted: bool| -> Vec<&Value> {
            addresses.iter().filter(|(_, ready)| *ready == wanted).map(|(address, _)| address).collect()
        };
        let mut subset = json!({});
        for (name, list) in
            [("addresses", of(true)), ("notReadyAddresses", of(false)), ("ports", ports.iter().collect())]
        {
            if !list.is_empty() {
                subset[name] = json!(list);
            }
        }
        subset
    });
    (subsets.collect(), truncated)
}

/// The pod's address of the service's first family.
fn address_for<'a>(service: &Service, pod: &'a Pod) -> Option<&'a str> {
    let v6 = match service.spec.ip_families.first() {
        Some(family) => family == "IPv6",
        None => service.spec.cluster_ip.contains(':'),
    };
    pod.ips().into_iter().find(|ip| ip.contains(':') == v6)
}

fn address(service: &Service, pod: &Pod, ip: &str) -> Value {
    let mut address = json!({
        "ip": ip,
        "targetRef": {
            "kind": "Pod", "namespace": pod.metadata.namespace, "name": pod.metadata.name, "uid": pod.metadata.uid,
        },
    });
    if !pod.spec.node_name.is_empty() {
        address["nodeName"] = pod.spec.node_name.as_str().into();
    }
    if let Some(hostname) = service_pods::hostname(pod, service) {
        address["hostname"] = hostname.into();
    }
    address
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
