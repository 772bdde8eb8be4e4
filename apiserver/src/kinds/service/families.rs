//! What a client left out of a Service's addresses, ports and families, and what it means.

use super::allocate::{Allocator, health_check_port};
use super::pool::family_of;
use super::{kind, needs_cluster_ip, needs_health_check, needs_node_port, node_ports, spec, validate};
use crate::kinds::path::{child, entries, int, list, opt_flag, opt_text, text, texts};
use api::field::Errors;
use api::{Value, document};
use serde_json::json;
use std::collections::HashMap;

/// Carries over what was allocated before and the client did not repeat, so that a PUT of a manifest is idempotent.
pub fn keep_allocated_values(service: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(service) {
        for key in ["clusterIP", "clusterIPs"] {
            let missing = child(spec(service), key).is_none_or(|v| *v == "" || *v == json!([]));
            if missing && let Some(value) = child(spec(old), key).cloned() {
                document::set(service, &format!("spec.{key}"), value);
            }
        }
    }
    // A load balancer that is to have no node ports is left alone.
    let keeps_ports =
        |service| needs_node_port(service) && opt_flag(spec(service), "allocateLoadBalancerNodePorts") != Some(false);
    if keeps_ports(old) && keeps_ports(service) {
        let (was, now) = (node_ports(old), node_ports(service));
        // Of two of one name the last counts.
        let named: HashMap<&str, &Value> =
            list(spec(old), "ports").iter().map(|port| (text(port, "name"), port)).collect();
        let ports = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            if port.get("nodePort").is_some_and(|port| port.as_i64().is_some_and(|port| port != 0)) {
                continue;
            }
            let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
            let node_port = named.get(name).and_then(|other| int(other, "nodePort")).filter(|port| *port != 0);
            if let Some(node_port) = node_port.filter(|port| !(was.contains(port) && now.contains(port))) {
                port.insert("nodePort".to_owned(), node_port.into());
            }
        }
    }
    if needs_health_check(old)
        && needs_health_check(service)
        && health_check_port(service).is_none()
        && let Some(port) = health_check_port(old)
    {
        document::set(service, "spec.healthCheckNodePort", port);
    }
}

/// Makes `clusterIP` and `clusterIPs` agree where the client used only one of them.
pub fn normalize_cluster_ips(service: &mut Value, old: Option<&Value>) {
    let one = |service: &Value| text(spec(service), "clusterIP").to_owned();
    let all = |service: &Value| list(spec(service), "clusterIPs").to_vec();
    let (ip, ips) = (one(service), all(service));
    let Some(old) = old else {
        if !ip.is_empty() && ips.is_empty() {
            document::set(service, "spec.clusterIPs", vec![ip]);
        }
        return;
    };
    let (old_ip, old_ips) = (one(old), all(old));
    if ip == old_ip {
        if ips.is_empty() && !old_ips.is_empty() {
            document::set(service, "spec.clusterIPs", old_ips);
        }
    } else if ips == old_ips {
        if ip.is_empty() {
            document::remove(service, "spec.clusterIPs");
        } else {
            document::set(service, "spec.clusterIPs", vec![ip]);
        }
    }
}

/// Sets `ipFamilyPolicy` and `ipFamilies` from what the client gave and what the cluster has.
pub fn families(service: &mut Value, old: Option<&Value>, allocator: &Allocator, errors: &mut Errors) {
    if !needs_cluster_ip(service) || old.is_some_and(|old| stays_dual_stack(service, old)) {
        return;
    }
    let selects = entries(spec(service), "selector").next().is_some();
    let free_headless = text(spec(service), "clusterIP") == "None" && !selects;
    if opt_text(spec(service), "ipFamilyPolicy").is_none() {
        let inherited = old.and_then(|old| opt_text(spec(old), "ipFamilyPolicy"));
        let policy = inherited.unwrap_or(if free_headless { "RequireDualStack" } else { "SingleStack" }).to_owned();
        document::set(service, "spec.ipFamilyPolicy", policy);
    }
    validate::cluster_ips(service, errors);
    if !errors.is_empty() {
        return;
    }
    if let Some(old) = old {
        release_second(service, old, errors);
    }
    let policy = text(spec(service), "ipFamilyPolicy").to_owned();
    let mut families: Vec<String> = texts(spec(service), "ipFamilies").map(str::to_owned).collect();
    let ips: Vec<String> = texts(spec(service), "clusterIPs").map(str::to_owned).collect();
    if policy == "SingleStack" {
        for (length, what) in [(ips.len(), "cluster IPs"), (families.len(), "IP families")] {
            if length == 2 {
                let message =
                    format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
                errors.invalid("spec.ipFamilyPolicy", policy.as_str(), message);
            }
        }
    }
    for (i, ip) in ips.iter().enumerate().skip(families.len()).filter(|(_, ip)| *ip != "None") {
        let Some(family) = ip.parse().ok().map(family_of) else { continue };
        if allocator.has_family(family) {
            families.push(family.to_owned());
        } else {
            let message = format!("{family} is not configured on this cluster");
            errors.invalid(format!("spec.clusterIPs[{i}]"), json!(ips), message);
        }
    }
    if !errors.is_empty() {
        return;
    }
    if !free_headless {
        if policy == "RequireDualStack" && !allocator.is_dual_stack() {
            const WHY: &str = "this cluster is not configured for dual-stack services";
            errors.invalid("spec.ipFamilyPolicy", policy.as_str(), WHY);
        }
        for (i, family) in families.iter().enumerate().filter(|(_, family)| !allocator.has_family(family)) {
            errors.invalid(format!("spec.ipFamilies[{i}]"), family.as_str(), "not configured on this cluster");
        }
    }
    if families.is_empty() {
        families.push(allocator.default_family().to_owned());
    }
    if policy != "SingleStack" && families.len() == 1 && (free_headless || allocator.is_dual_stack()) {
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
    }
    document::set(service, "spec.ipFamilies", families);
}

/// An update of a service that prefers both families changes neither list, even if the cluster's families changed.
fn stays_dual_stack(service: &Value, old: &Value) -> bool {
    kind(service) == kind(old)
        && needs_cluster_ip(service)
        && opt_text(spec(service), "ipFamilyPolicy") == Some("PreferDualStack")
        && opt_text(spec(old), "ipFamilyPolicy").is_none_or(|policy| policy == "PreferDualStack")
        && ["clusterIPs", "ipFamilies"].iter().all(|key| list(spec(service), key) == list(spec(old), key))
}

/// Turning to a single stack drops the second address and family; nothing else may.
fn release_second(service: &mut Value, old: &Value, errors: &mut Errors) {
    let policy = text(spec(service), "ipFamilyPolicy").to_owned();
    for (key, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (new, old) = (list(spec(service), key), list(spec(old), key));
        if policy != "SingleStack" {
            if !new.is_empty() && new.len() < old.len() {
                let message = format!("must be 'SingleStack' to release the secondary {what}");
                errors.invalid("spec.ipFamilyPolicy", policy.as_str(), message);
            }
        } else if new == old && new.len() > 1 {
            let first = vec![new[0].clone()];
            document::set(service, &format!("spec.{key}"), first);
        }
    }
}
