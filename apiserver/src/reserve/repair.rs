//! What is to be done about a Service and an IPAddress that do not agree, or a node port that two Services have.
//!
//! Follows `pkg/registry/core/service/ipallocator/controller/repairip.go` and `portallocator/controller/repair.go`.

use super::{IP_FAMILY, MANAGED_BY, MANAGER};
use crate::kinds::service::allocate::{held_addresses, held_ports};
use crate::kinds::service::pool::family_of;
use api::Value;
use api::document;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashSet;
use std::net::IpAddr;

/// How long an address may wait for its Service: the time limit of a request.
pub const GRACE: SignedDuration = SignedDuration::from_secs(60);
/// How long a new address of an older Service may wait for the end of the write that took it.
const SHORT_GRACE: SignedDuration = SignedDuration::from_secs(5);

#[derive(Debug, PartialEq)]
pub enum Step {
    /// Makes the Service's IPAddress, in place of one that is wrong.
    Take(IpAddr),
    /// Deletes the IPAddress.
    Free,
    /// Tells people about it, in an event of the object that was looked at.
    Warn(Warning),
}

#[derive(Debug, PartialEq)]
pub struct Warning {
    pub reason: &'static str,
    pub action: &'static str,
    pub note: String,
}

fn warn(reason: &'static str, action: &'static str, note: String) -> Step {
    Step::Warn(Warning { reason, action, note })
}

/// What the store holds.
pub struct Seen<'a> {
    pub address: &'a dyn Fn(IpAddr) -> Option<Value>,
    pub service: &'a dyn Fn(&str, &str) -> Option<Value>,
    /// The ranges of all ServiceCIDRs.
    pub cidrs: &'a [IpNet],
}

/// Whether the Service's addresses are its own.
pub fn service(service: &Value, seen: &Seen) -> Vec<Step> {
    const ACTION: &str = "ClusterIPAllocation";
    let (namespace, name) = (document::namespace(service), document::name(service));
    let mut steps = Vec::new();
    for written in held_addresses(service) {
        let Ok(ip) = written.parse::<IpAddr>() else {
            let note = format!("Cluster IP {written} is not a valid IP; please recreate Service");
            steps.push(warn("ClusterIPNotValid", "ClusterIPValidation", note));
            continue;
        };
        let family = family_of(ip);
        if !seen.cidrs.iter().any(|cidr| cidr.contains(&ip)) {
            let note = format!(
                "Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service"
            );
            steps.push(warn("ClusterIPOutOfRange", ACTION, note));
            continue;
        }
        let Some(address) = (seen.address)(ip) else {
            let note = format!("Cluster IP [{family}]: {ip} is not allocated; repairing");
            steps.extend([warn("ClusterIPNotAllocated", ACTION, note), Step::Take(ip)]);
            continue;
        };
        let other = parent(&address).filter(|parent| *parent != (namespace, name));
        let owner = other.and_then(|(namespace, name)| (seen.service)(namespace, name));
        if parent(&address).is_none() || (other.is_some() && owner.is_none()) {
            let note = format!(
                "the ClusterIP [{family}]: {ip} for Service {namespace}/{name} has a wrong reference; repairing"
            );
            steps.extend([warn("ClusterIPNotAllocated", ACTION, note), Step::Take(ip)]);
            continue;
        }
        if owner.is_some_and(|owner| document::get_list(&owner, "spec.clusterIPs").contains(&written.into())) {
            let note = format!("Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service");
            steps.push(warn("ClusterIPAlreadyAllocated", ACTION, note));
        }
        let labels = document::labels(&address);
        let label = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
        if label(IP_FAMILY) != Some(family) || label(MANAGED_BY) != Some(MANAGER) {
            steps.push(Step::Take(ip));
        }
    }
    steps
}

/// Namespace and name of the Service that an address is of; `None` when it is something else's.
fn parent(address: &Value) -> Option<(&str, &str)> {
    let text = |key: &str| document::get_str(address, key);
    let is_service = text("spec.parentRef.group").is_empty() && text("spec.parentRef.resource") == "services";
    is_service.then(|| (text("spec.parentRef.namespace"), text("spec.parentRef.name")))
}

/// Whether an address of ours has a Service; and when to look again.
pub fn address(address: &Value, seen: &Seen, now: Timestamp) -> (Vec<Step>, Option<SignedDuration>) {
    const ACTION: &str = "IPAddressAllocation";
    let ip = document::name(address);
    let is_ours = document::labels(address).and_then(|labels| labels.get(MANAGED_BY)?.as_str()) == Some(MANAGER);
    if !is_ours {
        return (Vec::new(), None);
    }
    let Some((namespace, name)) = parent(address) else {
        let of = |key: &str| document::get_str(address, &format!("spec.parentRef.{key}")).to_owned();
        let reference = format!("&{{{} {} {} {}}}", of("group"), of("resource"), of("namespace"), of("name"));
        let note =
            format!("IPAddress {ip} appears to have been modified, not referencing a Service {reference}: cleaning up");
        return (vec![warn("IPAddressNotAllocated", ACTION, note), Step::Free], None);
    };
    let created = |object: &Value| api::time::parse(document::get_str(object, "metadata.creationTimestamp"));
    let age = created(address).map_or(GRACE, |at| now.duration_since(at));
    let Some(service) = (seen.service)(namespace, name) else {
        if age < GRACE {
            return (Vec::new(), Some(GRACE - age));
        }
        let note = format!("IPAddress: {ip} for Service {namespace}/{name} appears to have leaked: cleaning up");
        return (vec![warn("IPAddressNotAllocated", ACTION, note), Step::Free], None);
    };
    if document::get_list(&service, "spec.clusterIPs").contains(&ip.into()) {
        return (Vec::new(), None);
    }
    if document::get_str(&service, "spec.type") == "ExternalName" && age < GRACE {
        return (Vec::new(), Some(GRACE - age));
    }
    if created(address).ok() > created(&service).ok() && age < SHORT_GRACE {
        return (Vec::new(), Some(SHORT_GRACE));
    }
    let note = format!("IPAddress: {ip} for Service {namespace}/{name} has a wrong reference; cleaning up");
    (vec![warn("IPAddressWrongReference", ACTION, note), Step::Free], None)
}

/// Whether the cluster's own ServiceCIDR has the ranges that the server was started with.
pub fn default_cidr(cidr: &Value, ranges: &[IpNet]) -> Option<Warning> {
    let listed = |ranges: Vec<String>| format!("[{}]", ranges.join(" "));
    let texts = document::get_list(cidr, "spec.cidrs").iter().filter_map(Value::as_str);
    let (have, want) = (texts.map(str::to_owned).collect(), ranges.iter().map(ToString::to_string).collect());
    let (have, want): (Vec<String>, Vec<String>) = (have, want);
    (have != want).then(|| Warning {
        reason: "KubernetesDefaultServiceCIDRInconsistent",
        action: "Sync",
        note: format!(
            "The default ServiceCIDR {} does not match the controller flag configurations {}",
            listed(have),
            listed(want)
        ),
    })
}

/// For each Service, what is wrong with its node ports.
pub fn ports(services: &[Value], range: (u16, u16)) -> Vec<(usize, Warning)> {
    const ACTION: &str = "PortAllocation";
    let (low, high) = range;
    let mut seen = HashSet::new();
    let mut wrong = Vec::new();
    for (i, service) in services.iter().enumerate() {
        for port in held_ports(service) {
            if !(low..=high).contains(&port) {
                let note = format!("Port {port} is not within the port range {low}-{high}; please recreate service");
                wrong.push((i, Warning { reason: "PortOutOfRange", action: ACTION, note }));
            } else if !seen.insert(port) {
                let note = format!("Port {port} was assigned to multiple services; please recreate service");
                wrong.push((i, Warning { reason: "PortAlreadyAllocated", action: ACTION, note }));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::super::address_of;
    use super::*;
    use serde_json::json;

    fn service_with(name: &str, ip: &str) -> Value {
        json!({
            "metadata": {"namespace": "a", "name": name, "creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip]},
        })
    }

    fn reasons(steps: &[Step]) -> Vec<&str> {
        let text = |step: &Step| match step {
            Step::Take(_) => "take",
            Step::Free => "free",
            Step::Warn(warning) => warning.reason,
        };
        steps.iter().map(text).collect()
    }

    /// What is said about the first service, and about each address, a minute after they were made.
    fn said(services: &[&Value], addresses: &[&Value]) -> (Vec<String>, Vec<String>) {
        let cidrs = ["10.0.0.0/24".parse().unwrap()];
        let address = |ip: IpAddr| addresses.iter().find(|a| document::name(a) == ip.to_string()).copied().cloned();
        let service = |_: &str, name: &str| services.iter().find(|s| document::name(s) == name).copied().cloned();
        let seen = Seen { address: &address, service: &service, cidrs: &cidrs };
        let now = api::time::parse("2024-01-01T00:02:00Z").unwrap();
        let own = |steps: Vec<Step>| reasons(&steps).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let first = services.first().map(|first| own(super::service(first, &seen))).unwrap_or_default();
        (first, addresses.iter().flat_map(|address| own(super::address(address, &seen, now).0)).collect())
    }

    #[test]
    fn each_address_belongs_to_the_service_that_has_it() {
        let ip: IpAddr = [10, 0, 0, 5].into();
        let web = service_with("web", "10.0.0.5");
        let good = address_of(ip, &web);
        assert_eq!(said(&[&web], &[&good]), (vec![], vec![]));
        assert_eq!(said(&[&web], &[]).0, ["ClusterIPNotAllocated", "take"]);
        let gone = address_of(ip, &service_with("gone", "10.0.0.5"));
        assert_eq!(said(&[&web], &[&gone]).0, ["ClusterIPNotAllocated", "take"]);
        assert_eq!(said(&[], &[&gone]).1, ["IPAddressNotAllocated", "free"]);
        let twin = service_with("twin", "10.0.0.5");
        assert_eq!(said(&[&twin, &web], &[&good]).0, ["ClusterIPAlreadyAllocated"]);
        let other = address_of([10, 0, 0, 6].into(), &web);
        assert_eq!(said(&[&web], &[&good, &other]).1, ["IPAddressWrongReference", "free"]);
        assert_eq!(said(&[&service_with("far", "192.168.0.1")], &[]).0, ["ClusterIPOutOfRange"]);
        let mut bare = address_of(ip, &web);
        document::metadata_mut(&mut bare).remove("labels");
        assert_eq!(said(&[&web], &[&bare]), (vec!["take".to_owned()], vec![]));
    }

    #[test]
    fn a_new_address_may_wait_for_its_service() {
        let mut new = address_of([10, 0, 0, 5].into(), &service_with("web", "10.0.0.5"));
        document::set(&mut new, "metadata.creationTimestamp", "2024-01-01T00:00:00Z");
        let nothing = |_: IpAddr| None;
        let nobody = |_: &str, _: &str| None;
        let seen = Seen { address: &nothing, service: &nobody, cidrs: &[] };
        let now = api::time::parse("2024-01-01T00:00:10Z").unwrap();
        assert_eq!(address(&new, &seen, now), (vec![], Some(SignedDuration::from_secs(50))));
    }

    #[test]
    fn the_default_range_is_the_servers() {
        let ranges = ["10.96.0.0/16".parse().unwrap()];
        let cidr = |cidr: &str| json!({"spec": {"cidrs": [cidr]}});
        assert_eq!(default_cidr(&cidr("10.96.0.0/16"), &ranges), None);
        let note = default_cidr(&cidr("10.97.0.0/16"), &ranges).map(|warning| warning.note);
        let expected =
            "The default ServiceCIDR [10.97.0.0/16] does not match the controller flag configurations [10.96.0.0/16]";
        assert_eq!(note.as_deref(), Some(expected));
    }

    #[test]
    fn node_ports_are_one_services_only() {
        let service = |port: u16| json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}});
        let wrong = ports(&[service(30000), service(30000), service(80)], (30000, 32767));
        let wrong: Vec<_> = wrong.iter().map(|(i, warning)| (*i, warning.reason)).collect();
        assert_eq!(wrong, [(1, "PortAlreadyAllocated"), (2, "PortOutOfRange")]);
    }
}
