//! ServiceCIDRs: each is ready once it has its finalizer, and goes only when no address in use would be left without one
//! (upstream's `pkg/controller/servicecidrs`).
//!
//! Upstream waits ten seconds before it lets one go, for its allocators learn of the deletion from a cache. Here the API
//! server reads the ServiceCIDRs themselves, so there is nothing to wait for.

use std::net::IpAddr;

use component::Delta;
use component::resource::SERVICE_CIDRS;
use ipnet::IpNet;
use serde_json::json;

use super::conditions;
use crate::informers::Informers;
use crate::kinds::{Condition, ServiceCidr, condition};
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const READY: &str = "Ready";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";

pub fn watch(informers: &Informers, queue: &Queue) {
    let (each, cidrs) = (queue.clone(), informers.stores().service_cidrs.clone());
    informers.service_cidrs.subscribe(move |delta| match delta {
        Delta::Updated { new, .. } => each.add(Item::of(SERVICE_CIDRS, &new.metadata)),
        // What comes or goes may free another one, or hold it.
        Delta::Added(_) | Delta::Deleted(_) => {
            each.add(Item::of(SERVICE_CIDRS, &delta.object().metadata));
            for other in cidrs.list() {
                each.add(Item::of(SERVICE_CIDRS, &other.metadata));
            }
        }
    });
    let (wake, cidrs) = (queue.clone(), informers.stores().service_cidrs.clone());
    informers.ip_addresses.subscribe(move |delta| {
        let Ok(ip) = delta.object().metadata.name.parse::<IpAddr>() else { return };
        for cidr in cidrs.list().iter().filter(|cidr| cidr.metadata.is_terminating() && contains(cidr, ip)) {
            wake.add(Item::of(SERVICE_CIDRS, &cidr.metadata));
        }
    });
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let mut plan = Plan::none();
    let Some(cidr) = view.stores.service_cidrs.get("", item.name()) else { return plan };
    let protected = cidr.metadata.finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    let finalizers = |finalizers: Vec<&str>| {
        let version = cidr.metadata.resource_version.to_string();
        let body = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": version } });
        Action::merge(SERVICE_CIDRS, &cidr.metadata, "", body)
    };
    let others = cidr.metadata.finalizers.iter().map(String::as_str).filter(|finalizer| *finalizer != FINALIZER);
    if cidr.metadata.is_terminating() {
        if is_needed(view, &cidr) {
            const WHY: &str = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
            plan.each(conditioned(&cidr, Condition::new(READY, "False", "Terminating", WHY, view.now)));
        } else if protected {
            plan.act(finalizers(others.collect()));
        }
        return plan;
    }
    if !protected {
        plan.act(finalizers(others.chain([FINALIZER]).collect()));
    }
    let is_default = condition(&cidr.status.conditions, READY).is_some_and(Condition::is_true);
    if !is_default {
        let ready = Condition::new(READY, "True", "", "Kubernetes Service CIDR is ready", view.now);
        plan.each(conditioned(&cidr, ready));
    }
    plan
}

/// The status with this condition, where that says anything new.
fn conditioned(cidr: &ServiceCidr, new: Condition) -> Vec<Action> {
    let current = condition(&cidr.status.conditions, READY);
    if current.is_some_and(|old| (&old.status, &old.reason) == (&new.status, &new.reason)) {
        return Vec::new();
    }
    let mut all = cidr.status.conditions.clone();
    conditions::set(&mut all, new);
    // The API wants the reason of each condition, even an empty one.
    let all: Vec<_> = all
        .iter()
        .map(|condition| {
            let mut shown = json!(condition);
            shown["reason"] = condition.reason.as_str().into();
            shown
        })
        .collect();
    vec![Action::merge(SERVICE_CIDRS, &cidr.metadata, "status", json!({ "status": { "conditions": all } }))]
}

fn nets(cidr: &ServiceCidr) -> impl Iterator<Item = IpNet> {
    cidr.spec.cidrs.iter().filter_map(|net| net.parse().ok())
}

fn contains(cidr: &ServiceCidr, ip: IpAddr) -> bool {
    nets(cidr).any(|net| net.contains(&ip))
}

/// Whether some address that the allocator gave out is in this ServiceCIDR and in no other one.
fn is_needed(view: &View<'_>, cidr: &ServiceCidr) -> bool {
    let others: Vec<_> = view
        .stores
        .service_cidrs
        .list()
        .into_iter()
        .filter(|other| other.metadata.name != cidr.metadata.name)
        .collect();
    let covered = |net: IpNet| others.iter().any(|other| nets(other).any(|wide| wide.contains(&net)));
    if nets(cidr).all(covered) {
        return false;
    }
    let given = view.stores.ip_addresses.list();
    let given = given.iter().filter(|ip| ip.metadata.labels.get(MANAGED_BY) == Some(ALLOCATOR));
    given
        .filter_map(|ip| ip.metadata.name.parse().ok())
        .any(|ip| contains(cidr, ip) && !others.iter().any(|other| contains(other, ip)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;
    use component::resource::IP_ADDRESSES;

    fn world(cidrs: &[(&str, &str)], ips: &[&str]) -> World {
        let mut world = World::new();
        for (name, cidr) in cidrs {
            world.put(SERVICE_CIDRS, json!({ "metadata": { "name": name }, "spec": { "cidrs": [cidr] } }));
        }
        for ip in ips {
            let labels = json!({ MANAGED_BY: ALLOCATOR });
            world.put(IP_ADDRESSES, json!({ "metadata": { "name": ip, "labels": labels } }));
        }
        world
    }

    fn item(name: &str) -> Item {
        Item::new(SERVICE_CIDRS, "", name)
    }

    /// Deletes a ServiceCIDR as a user would; its finalizer keeps it.
    fn delete(world: &mut World, name: &str) {
        world.reconcile(reconcile, &item(name));
        world.change(SERVICE_CIDRS, "", name, json!({ "metadata": { "deletionTimestamp": "2027-01-15T08:00:00Z" } }));
        world.reconcile(reconcile, &item(name));
    }

    #[test]
    fn a_new_one_is_protected_and_ready() {
        let mut world = world(&[("extra", "10.1.0.0/24")], &[]);
        world.reconcile(reconcile, &item("extra"));
        let cidr = world.get(SERVICE_CIDRS, "", "extra").unwrap();
        assert_eq!(cidr["metadata"]["finalizers"], json!([FINALIZER]));
        assert_eq!(cidr["status"]["conditions"][0]["message"], "Kubernetes Service CIDR is ready");
        assert_eq!(world.reconcile(reconcile, &item("extra")), 0);
    }

    #[test]
    fn one_whose_addresses_are_in_use_stays() {
        let mut world = world(&[("extra", "10.1.0.0/24")], &["10.1.0.7"]);
        delete(&mut world, "extra");
        let cidr = world.get(SERVICE_CIDRS, "", "extra").unwrap();
        let condition = &cidr["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Terminating")));
        assert_eq!(cidr["metadata"]["finalizers"], json!([FINALIZER]));
    }

    #[test]
    fn one_that_nobody_needs_goes() {
        let mut unused = world(&[("extra", "10.1.0.0/24")], &["10.2.0.7"]);
        delete(&mut unused, "extra");
        assert!(unused.get(SERVICE_CIDRS, "", "extra").is_none());
        let mut covered = world(&[("extra", "10.1.0.0/24"), ("wide", "10.1.0.0/16")], &["10.1.0.7"]);
        delete(&mut covered, "extra");
        assert!(covered.get(SERVICE_CIDRS, "", "extra").is_none());
    }
}
