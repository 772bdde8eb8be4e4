//! EndpointSlices: the addresses of a service's pods, at most 100 a slice (upstream's `k8s.io/endpointslice`).

use std::collections::BTreeMap;
use std::sync::Arc;

use component::resource::{ENDPOINT_SLICES, SERVICES};
use serde_json::{Value, json};

use super::claim::controller_reference;
use super::service_pods;
use crate::informers::{Informers, SERVICE};
use crate::kinds::{EndpointSlice, Pod, Service};
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const CONTROLLER: &str = "endpointslice-controller.k8s.io";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Endpoints a slice.
const FULL: usize = 100;

pub fn watch(informers: &Informers, queue: &Queue) {
    let each = queue.clone();
    informers.endpoint_slices.subscribe(move |delta| {
        let meta = &delta.object().metadata;
        if let Some(service) = meta.labels.get(SERVICE_NAME).filter(|_| meta.labels.get(MANAGED_BY) == Some(CONTROLLER))
        {
            each.add(Item::new(SERVICES, &meta.namespace, service));
        }
    });
    service_pods::watch(informers, queue);
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    // The garbage collector deletes the slices of a service that is gone.
    let Some(service) = view.stores.services.get(item.namespace(), item.name()) else { return Plan::none() };
    if service.spec.kind == "ExternalName" || service.spec.selector.is_none() {
        return Plan::none();
    }
    let mut slices = view.stores.endpoint_slices.by(SERVICE, &item.key.to_string());
    slices.retain(|s| s.metadata.labels.get(MANAGED_BY) == Some(CONTROLLER) && !s.metadata.is_terminating());
    slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let types = address_types(&service);
    let mut plan = Plan::none();
    for address_type in ["IPv4", "IPv6"] {
        let (mine, rest) =
            slices.into_iter().partition(|slice: &Arc<EndpointSlice>| slice.address_type == address_type);
        slices = rest;
        let changes = if types.contains(&address_type) {
            Changes::of(view, &service, address_type, mine)
        } else {
            Changes { delete: mine, ..Changes::default() }
        };
        changes.plan(&service, address_type, &mut plan);
    }
    plan
}

fn address_types(service: &Service) -> Vec<&'static str> {
    let families: Vec<_> = service.spec.ip_families.iter().map(|f| if f == "IPv6" { "IPv6" } else { "IPv4" }).collect();
    match (families.is_empty(), service.spec.cluster_ip.as_str()) {
        (false, _) => families,
        (true, "" | "None") => vec!["IPv4", "IPv6"],
        (true, ip) => vec![if ip.contains(':') { "IPv6" } else { "IPv4" }],
    }
}

/// A slice as it is to be.
#[derive(Debug)]
struct Draft {
    ports: Value,
    endpoints: Vec<Value>,
}

#[derive(Default)]
struct Changes {
    create: Vec<Draft>,
    update: Vec<(Arc<EndpointSlice>, Draft)>,
    delete: Vec<Arc<EndpointSlice>>,
}

/// Endpoints by what tells two of them apart: the pod, and the addresses.
type Desired = BTreeMap<String, Value>;

fn identity(endpoint: &Value) -> String {
    format!("{}{}", api::document::get_str(endpoint, "targetRef.uid"), endpoint["addresses"])
}

impl Changes {
    fn of(view: &View<'_>, service: &Service, address_type: &str, slices: Vec<Arc<EndpointSlice>>) -> Changes {
        let mut desired: BTreeMap<String, (Value, Desired)> = BTreeMap::new();
        for pod in service_pods::pods(view, service, true) {
            let node = view.stores.nodes.get("", &pod.spec.node_name);
            if node.is_none() && !service.spec.publish_not_ready_addresses {
                continue;
            }
            let zone = node.and_then(|n| n.metadata.labels.get("topology.kubernetes.io/zone").map(str::to_owned));
            let ports = ports(service, &pod);
            let (_, endpoints) = desired.entry(ports.to_string()).or_insert_with(|| (ports, Desired::new()));
            if let Some(endpoint) = endpoint(service, &pod, address_type, zone) {
                endpoints.insert(identity(&endpoint), endpoint);
            }
        }
        let (existing, all) = (slices.len(), slices.clone());
        let mut changes = Changes::default();
        let mut by_ports: BTreeMap<String, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
        for slice in slices {
            if slice.metadata.owner_references.iter().any(|o| o.uid == service.metadata.uid && o.kind == "Service") {
                let ports = if slice.ports.is_null() { "[]".to_owned() } else { slice.ports.to_string() };
                by_ports.entry(ports).or_default().push(slice);
            } else {
                changes.delete.push(slice);
            }
        }
        for (key, (ports, endpoints)) in desired {
            changes.fit(by_ports.remove(&key).unwrap_or_default(), ports, endpoints);
        }
        changes.delete.extend(by_ports.into_values().flatten());
        // A service always has a slice, if an empty one.
        if changes.delete.len() == existing && changes.create.is_empty() {
            let empty = |slice: &Arc<EndpointSlice>| {
                slice.endpoints.is_empty() && slice.ports.as_array().is_none_or(Vec::is_empty)
            };
            match changes.delete.as_slice() {
                [only] if empty(only) => changes.delete.clear(),
                _ => changes.create.push(Draft { ports: json!([]), endpoints: Vec::new() }),
            }
        }
        changes.relabel(service, all);
        changes
    }

    /// Puts endpoints with the same ports into slices, changing as few of them as possible.
    fn fit(&mut self, slices: Vec<Arc<EndpointSlice>>, ports: Value, mut desired: Desired) {
        let mut unchanged = Vec::new();
        let mut updated: Vec<(Arc<EndpointSlice>, Draft)> = Vec::new();
        for slice in slices {
            let kept: Vec<Value> = slice.endpoints.iter().filter_map(|e| desired.remove(&identity(e))).collect();
            if kept == slice.endpoints {
                unchanged.push(slice);
            } else if kept.is_empty() {
                self.delete.push(slice);
            } else {
                updated.push((slice, Draft { ports: ports.clone(), endpoints: kept }));
            }
        }
        let mut left: Vec<Value> = desired.into_values().collect();
        // Slices that are written anyway are filled first, the fullest of them before the others.
        updated.sort_by_key(|(_, draft)| std::cmp::Reverse(draft.endpoints.len()));
        for (_, draft) in &mut updated {
            let room = FULL.saturating_sub(draft.endpoints.len()).min(left.len());
            draft.endpoints.extend(left.drain(..room));
        }
        while !left.is_empty() {
            let count = left.len().min(FULL);
            let mut part: Vec<Value> = left.drain(..count).collect();
            // The unchanged slice that it fills best, if it fits into one.
            let fits = |slice: &Arc<EndpointSlice>| slice.endpoints.len() + part.len() <= FULL;
            let best =
                (0..unchanged.len()).filter(|at| fits(&unchanged[*at])).max_by_key(|at| unchanged[*at].endpoints.len());
            match best.filter(|_| count < FULL) {
                Some(at) => {
                    let slice = unchanged.swap_remove(at);
                    let mut endpoints = slice.endpoints.clone();
                    endpoints.append(&mut part);
                    updated.push((slice, Draft { ports: ports.clone(), endpoints }));
                }
                None => self.create.push(Draft { ports: ports.clone(), endpoints: part }),
            }
        }
        self.update.append(&mut updated);
    }

    /// Updates slices whose labels no longer are the service's.
    fn relabel(&mut self, service: &Service, slices: Vec<Arc<EndpointSlice>>) {
        let labels = labels(service);
        for slice in slices {
            let name = &slice.metadata.name;
            let planned = self.update.iter().any(|(s, _)| s.metadata.name == *name)
                || self.delete.iter().any(|s| s.metadata.name == *name);
            if !planned && service_pods::label_patch(&slice.metadata, &labels).is_some() {
                let draft = Draft { ports: slice.ports.clone(), endpoints: slice.endpoints.clone() };
                self.update.push((slice, draft));
            }
        }
    }

    fn plan(mut self, service: &Service, address_type: &str, plan: &mut Plan) {
        // A slice that would be deleted becomes one that would be created.
        let owned = |s: &Arc<EndpointSlice>| s.metadata.owner_references.iter().any(|o| o.uid == service.metadata.uid);
        let (mut reusable, lost): (Vec<_>, Vec<_>) = std::mem::take(&mut self.delete).into_iter().partition(owned);
        while !self.create.is_empty()
            && let Some(slice) = reusable.pop()
            && let Some(draft) = self.create.pop()
        {
            self.update.push((slice, draft));
        }
        let labels = labels(service);
        let namespace = &service.metadata.namespace;
        if !service.metadata.is_terminating() {
            let created = self.create.into_iter().map(|draft| {
                let body = json!({
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "generateName": format!("{}-", service.metadata.name),
                        "labels": labels,
                        "ownerReferences": [controller_reference(SERVICES, &service.metadata)],
                    },
                    "addressType": address_type,
                    "endpoints": draft.endpoints,
                    "ports": draft.ports,
                });
                Action::create(ENDPOINT_SLICES, namespace, body)
            });
            plan.each(created.collect());
        }
        let updated = self.update.into_iter().map(|(slice, draft)| {
            let mut metadata = json!({ "resourceVersion": slice.metadata.resource_version.to_string() });
            if let Some(patch) = service_pods::label_patch(&slice.metadata, &labels) {
                metadata["labels"] = patch;
            }
            let body = json!({ "metadata": metadata, "endpoints": draft.endpoints, "ports": draft.ports });
            Action::merge(ENDPOINT_SLICES, &slice.metadata, "", body)
        });
        plan.each(updated.collect());
        plan.each(reusable.iter().chain(&lost).map(|slice| Action::delete(ENDPOINT_SLICES, &slice.metadata)).collect());
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service_pods::labels(service, &[SERVICE_NAME, MANAGED_BY]);
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    labels
}

fn ports(service: &Service, pod: &Pod) -> Value {
    let ports = service.spec.ports.iter().filter_map(|port| {
        let mut value =
            json!({ "name": port.name, "port": service_pods::find_port(pod, port)?, "protocol": port.protocol });
        if let Some(protocol) = &port.app_protocol {
            value["appProtocol"] = protocol.as_str().into();
        }
        Some(value)
    });
    ports.collect()
}

fn endpoint(service: &Service, pod: &Pod, address_type: &str, zone: Option<String>) -> Option<Value> {
    let v6 = address_type == "IPv6";
    let addresses: Vec<&str> = pod.ips().into_iter().filter(|ip| ip.contains(':') == v6).collect();
    if addresses.is_empty() {
        return None;
    }
    let (serving, terminating) = (pod.is_ready(), pod.metadata.is_terminating());
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let mut endpoint = json!({
        "addresses": addresses,
        "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
        "targetRef": {
            "kind": "Pod", "namespace": pod.metadata.namespace, "name": pod.metadata.name, "uid": pod.metadata.uid,
        },
    });
    if !pod.spec.node_name.is_empty() {
        endpoint["nodeName"] = pod.spec.node_name.as_str().into();
    }
    if let Some(zone) = zone.filter(|z| !z.is_empty()) {
        endpoint["zone"] = zone.into();
    }
    if let Some(hostname) = service_pods::hostname(pod, service) {
        endpoint["hostname"] = hostname.into();
    }
    Some(endpoint)
}

#[cfg(test)]
#[path = "endpoint_slice_tests.rs"]
mod tests;
