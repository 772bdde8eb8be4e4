//! Endpoints that somebody keeps by hand are mirrored into EndpointSlices, which is all that proxies read (upstream's
//! `pkg/controller/endpointslicemirroring`). There is one slice for each address family and set of ports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use component::events::EventType;
use component::resource::{ENDPOINT_SLICES, ENDPOINTS};
use serde_json::{Map, Value, json};

use super::claim::controller_reference;
use super::event;
use crate::informers::{Informers, SERVICE};
use crate::kinds::{EndpointSlice, Endpoints};
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
const REPORTER: &str = "endpoint-slice-mirroring-controller";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Addresses of one subset that are mirrored.
const MOST: usize = 1000;
/// Annotations that the slices do not get.
const NOT_COPIED: &[&str] =
    &["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

pub fn watch(informers: &Informers, queue: &Queue) {
    let wake = queue.clone();
    informers.endpoints.subscribe(move |delta| wake.add(Item::of(ENDPOINTS, &delta.object().metadata)));
    let wake = queue.clone();
    informers.services.subscribe(move |delta| wake.add(Item::of(ENDPOINTS, &delta.object().metadata)));
    let wake = queue.clone();
    informers.endpoint_slices.subscribe(move |delta| {
        let meta = &delta.object().metadata;
        if let Some(name) = meta.labels.get(SERVICE_NAME).filter(|_| meta.labels.get(MANAGED_BY) == Some(CONTROLLER)) {
            wake.add(Item::new(ENDPOINTS, &meta.namespace, name));
        }
    });
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let mut plan = Plan::none();
    let mut slices = view.stores.endpoint_slices.by(SERVICE, &item.key.to_string());
    slices.retain(|s| s.metadata.labels.get(MANAGED_BY) == Some(CONTROLLER) && !s.metadata.is_terminating());
    slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let endpoints = view.stores.endpoints.get(item.namespace(), item.name()).filter(|endpoints| is_mirrored(endpoints));
    // The endpoints of a service with a selector are not kept by hand.
    let by_hand =
        view.stores.services.get(item.namespace(), item.name()).is_some_and(|service| service.spec.selector.is_none());
    let mut existing: BTreeMap<String, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices {
        existing.entry(key(&slice.address_type, &slice.ports)).or_default().push(slice);
    }
    if let Some(endpoints) = endpoints.filter(|e| by_hand && !e.metadata.is_terminating()) {
        let (wanted, skipped) = wanted(&endpoints);
        if skipped > 0 {
            let note = format!("Skipped {skipped} invalid IP addresses when mirroring to EndpointSlices");
            let about = (ENDPOINTS, &endpoints.metadata);
            plan.act(Action::event(event(REPORTER, about, EventType::Warning, "InvalidIPAddress", note)));
        }
        for ((address_type, ports), list) in wanted {
            let mut same = existing.remove(&format!("{address_type}{ports}")).unwrap_or_default();
            let rest = if same.is_empty() { Vec::new() } else { same.split_off(1) };
            plan.each(rest.iter().map(|slice| Action::delete(ENDPOINT_SLICES, &slice.metadata)).collect());
            write(&endpoints, same.first(), address_type, list, &mut plan);
        }
    }
    let surplus = existing.values().flatten().map(|slice| Action::delete(ENDPOINT_SLICES, &slice.metadata));
    plan.each(surplus.collect());
    plan
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    meta.labels.get("endpointslice.kubernetes.io/skip-mirror") != Some("true")
        && !meta.annotations.contains_key("control-plane.alpha.kubernetes.io/leader")
}

fn key(address_type: &str, ports: &Value) -> String {
    if ports.is_null() { format!("{address_type}[]") } else { format!("{address_type}{ports}") }
}

/// Endpoints with their ports, by address family and ports.
type Wanted = BTreeMap<(&'static str, String), (Value, Vec<Value>)>;

/// What is to be mirrored, and how many addresses are none.
fn wanted(endpoints: &Endpoints) -> (Wanted, usize) {
    let mut wanted = Wanted::new();
    let mut skipped = 0;
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    for subset in endpoints.subsets.as_array().into_iter().flatten() {
        let ports: Value = list(subset, "ports").into_iter().map(slice_port).collect();
        let of = |key, ready| list(subset, key).into_iter().map(move |address| (address, ready));
        for (address, ready) in of("addresses", true).chain(of("notReadyAddresses", false)).take(MOST) {
            match slice_endpoint(&address, ready) {
                Some((address_type, endpoint)) => {
                    let (_, list) =
                        wanted.entry((address_type, ports.to_string())).or_insert_with(|| (ports.clone(), Vec::new()));
                    list.push(endpoint);
                }
                None => skipped += 1,
            }
        }
    }
    (wanted, skipped)
}

fn slice_port(port: Value) -> Value {
    let name = port["name"].as_str().unwrap_or_default();
    let protocol = port["protocol"].as_str().unwrap_or("TCP");
    let mut slice_port = json!({ "name": name, "port": port["port"], "protocol": protocol });
    if let Some(protocol) = port["appProtocol"].as_str() {
        slice_port["appProtocol"] = protocol.into();
    }
    slice_port
}

fn slice_endpoint(address: &Value, ready: bool) -> Option<(&'static str, Value)> {
    let ip: IpAddr = address["ip"].as_str()?.parse().ok()?;
    let mut endpoint = json!({ "addresses": [ip.to_string()], "conditions": { "ready": ready } });
    for key in ["hostname", "nodeName", "targetRef"] {
        if let Some(value) = address.get(key).filter(|v| !v.is_null()) {
            endpoint[key] = value.clone();
        }
    }
    Some((if ip.is_ipv4() { "IPv4" } else { "IPv6" }, endpoint))
}

/// Creates or updates one slice.
fn write(
    endpoints: &Endpoints,
    slice: Option<&Arc<EndpointSlice>>,
    address_type: &str,
    (ports, list): (Value, Vec<Value>),
    plan: &mut Plan,
) {
    let meta = &endpoints.metadata;
    let mut labels = meta.labels.to_map();
    labels.insert(SERVICE_NAME.to_owned(), meta.name.clone());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    let mut annotations = meta.annotations.to_map();
    annotations.retain(|key, _| !NOT_COPIED.contains(&key.as_str()));
    let Some(slice) = slice else {
        let body = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", meta.name),
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [controller_reference(ENDPOINTS, meta)],
            },
            "addressType": address_type,
            "endpoints": list,
            "ports": ports,
        });
        return plan.act(Action::create(ENDPOINT_SLICES, &meta.namespace, body));
    };
    let label_patch = super::service_pods::label_patch(&slice.metadata, &labels);
    if slice.endpoints == list && label_patch.is_none() && slice.metadata.annotations.to_map() == annotations {
        return;
    }
    let gone = slice.metadata.annotations.iter().filter(|(key, _)| !annotations.contains_key(*key));
    let mut annotation_patch: Map<String, Value> = gone.map(|(key, _)| (key.to_owned(), Value::Null)).collect();
    annotation_patch.extend(annotations.into_iter().map(|(key, value)| (key, value.into())));
    let body = json!({
        "metadata": {
            "resourceVersion": slice.metadata.resource_version.to_string(),
            "labels": label_patch.unwrap_or_else(|| json!({})),
            "annotations": annotation_patch,
        },
        "endpoints": list,
        "ports": ports,
    });
    plan.act(Action::merge(ENDPOINT_SLICES, &slice.metadata, "", body));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;
    use component::resource::SERVICES;

    #[test]
    fn endpoints_by_hand_are_mirrored_changed_and_removed() {
        let mut world = World::new();
        world.put(SERVICES, json!({ "metadata": { "namespace": "n", "name": "s" }, "spec": {} }));
        let subset = json!({ "addresses": [{ "ip": "10.1.2.3" }, { "ip": "nonsense" }], "ports": [{ "port": 80 }] });
        world.put(
            ENDPOINTS,
            json!({ "metadata": { "namespace": "n", "name": "s", "labels": { "a": "b" } }, "subsets": [subset] }),
        );
        let item = Item::new(ENDPOINTS, "n", "s");
        world.reconcile(reconcile, &item);
        let slice = world.all(ENDPOINT_SLICES)[0].clone();
        assert_eq!(slice["endpoints"], json!([{ "addresses": ["10.1.2.3"], "conditions": { "ready": true } }]));
        assert_eq!(slice["ports"], json!([{ "name": "", "port": 80, "protocol": "TCP" }]));
        assert_eq!(
            (&slice["metadata"]["labels"]["a"], &slice["metadata"]["labels"][SERVICE_NAME]),
            (&json!("b"), &json!("s"))
        );
        assert_eq!(world.notes(), ["Skipped 1 invalid IP addresses when mirroring to EndpointSlices"]);
        assert_eq!(world.reconcile(reconcile, &item), 0);

        let moved = json!([{ "addresses": [{ "ip": "10.4.5.6" }], "ports": [{ "port": 80 }] }]);
        world.change(ENDPOINTS, "n", "s", json!({ "subsets": moved }));
        world.reconcile(reconcile, &item);
        assert_eq!(world.all(ENDPOINT_SLICES)[0]["endpoints"][0]["addresses"], json!(["10.4.5.6"]));
        world.delete(ENDPOINTS, "n", "s", None);
        world.reconcile(reconcile, &item);
        assert!(world.all(ENDPOINT_SLICES).is_empty());
    }

    #[test]
    fn what_has_a_selector_or_opts_out_is_not_mirrored() {
        let mut world = World::new();
        let subset = json!({ "addresses": [{ "ip": "10.1.2.3" }] });
        world.put(
            SERVICES,
            json!({ "metadata": { "namespace": "n", "name": "s" }, "spec": { "selector": { "a": "b" } } }),
        );
        world.put(ENDPOINTS, json!({ "metadata": { "namespace": "n", "name": "s" }, "subsets": [subset] }));
        assert_eq!(world.reconcile(reconcile, &Item::new(ENDPOINTS, "n", "s")), 0);
        world.put(SERVICES, json!({ "metadata": { "namespace": "n", "name": "s" }, "spec": {} }));
        let label = json!({ "metadata": { "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } } });
        world.change(ENDPOINTS, "n", "s", label);
        assert_eq!(world.reconcile(reconcile, &Item::new(ENDPOINTS, "n", "s")), 0);
    }
}
