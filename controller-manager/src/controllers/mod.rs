//! CONTROLLERS: every controller, one row each. A controller is one file (or folder) beside this one.

use component::events::{Event, EventType, Reference};
use component::{Meta, Resource};
use serde_json::{Map, Value};

use crate::runtime::Controller;

mod claim;
mod conditions;
mod deployment;
mod disruption;
mod endpoint_slice;
mod endpoint_slice_mirroring;
mod endpoints;
mod garbage_collector;
mod job;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod pod_gc;
mod replica_set;
mod resource_quota;
mod root_ca;
mod service_account;
mod service_account_token;
mod service_cidr;
mod service_pods;
pub mod storage_protection;
mod taint_eviction;
mod ttl_after_finished;

/// The controllers, by upstream's names.
pub static CONTROLLERS: &[Controller] = &[
    Controller::new("replicaset-controller", replica_set::watch_replica_sets, replica_set::reconcile),
    Controller::new("replicationcontroller-controller", replica_set::watch_controllers, replica_set::reconcile),
    Controller::new("deployment-controller", deployment::watch, deployment::reconcile),
    Controller::new("disruption-controller", disruption::watch, disruption::reconcile),
    Controller::new("job-controller", job::watch, job::reconcile),
    Controller::new("ttl-after-finished-controller", ttl_after_finished::watch, ttl_after_finished::reconcile),
    Controller::new("endpoints-controller", endpoints::watch, endpoints::reconcile),
    Controller::new("endpointslice-controller", endpoint_slice::watch, endpoint_slice::reconcile),
    Controller::new(
        "endpointslice-mirroring-controller",
        endpoint_slice_mirroring::watch,
        endpoint_slice_mirroring::reconcile,
    ),
    Controller::new("node-lifecycle-controller", node_lifecycle::watch, node_lifecycle::reconcile),
    // The same controller's other half: one node of a zone is tainted after the other, so each decision must see the one before.
    Controller {
        serial: true,
        ..Controller::new("node-lifecycle-controller", node_lifecycle::watch, node_lifecycle::evict)
    },
    Controller::new("taint-eviction-controller", taint_eviction::watch, taint_eviction::reconcile),
    // CIDRs come from a common stock.
    Controller { serial: true, ..Controller::new("node-ipam-controller", node_ipam::watch, node_ipam::reconcile) },
    Controller::new("pod-garbage-collector-controller", pod_gc::watch, pod_gc::reconcile),
    Controller::new("namespace-controller", namespace::watch, namespace::reconcile),
    Controller::new("resourcequota-controller", resource_quota::watch, resource_quota::reconcile),
    Controller::new("serviceaccount-controller", service_account::watch, service_account::reconcile),
    Controller::new("serviceaccount-token-controller", service_account_token::watch, service_account_token::reconcile),
    Controller::new("service-cidr-controller", service_cidr::watch, service_cidr::reconcile),
    Controller::new(
        "persistentvolumeclaim-protection-controller",
        storage_protection::watch_claims,
        storage_protection::reconcile_claim,
    ),
    Controller::new(
        "persistentvolume-protection-controller",
        storage_protection::watch_volumes,
        storage_protection::reconcile_volume,
    ),
    Controller::new(
        "volumeattributesclass-protection-controller",
        storage_protection::watch_attributes_classes,
        storage_protection::reconcile_attributes_class,
    ),
    Controller::new("root-ca-certificate-publisher-controller", root_ca::watch, root_ca::reconcile),
    Controller {
        needs_metadata: true,
        workers: 32,
        ..Controller::new("garbage-collector-controller", garbage_collector::watch, garbage_collector::reconcile)
    },
];

/// An event by one controller about one object.
fn event(reporter: &'static str, about: (Resource, &Meta), kind: EventType, reason: &str, note: String) -> Event {
    Event {
        reporter,
        regarding: Reference::to(about.0, about.1),
        kind,
        reason: reason.to_owned(),
        note,
        ..Event::default()
    }
}

/// Turns zeros at these keys into nulls, which a merge patch removes: upstream leaves such fields out.
fn without_zeros(mut status: Value, fields: &[&str]) -> Value {
    for field in fields {
        if let Some(value) = status.get_mut(*field).filter(|v| v.as_i64() == Some(0)) {
            *value = Value::Null;
        }
    }
    status
}

/// An object's map at a key; made when it is missing.
fn child<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    api::document::child(api::document::as_map(object), key)
}
