//! What a Service may be, and how it may change.

use super::{SPEC, is_externally_accessible, is_headless, kind, needs_cluster_ip, needs_health_check, spec};
use crate::kinds::ip::{validate_cidr, validate_endpoint_ip, validate_ip};
use crate::kinds::labels::validate_labels;
use crate::kinds::path::{
    Path, child, descend, has, in_range, int, invalid_each, list, one_of, opt_text, required_one_of, shown, text, texts,
};
use crate::kinds::printed::duplicate;
use api::field::Errors;
use api::{Value, document, names};
use serde_json::json;
use std::collections::HashSet;
use std::net::IpAddr;

const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";
const ONCE_SET: &str = "may not change once set";

pub fn service(service: &Value, errors: &mut Errors) {
    topology_annotations(service, errors);
    by_type(service, errors);
    ports(service, errors);
    let spec = spec(service);
    validate_labels(spec, &SPEC, "selector", errors);
    affinity(spec, errors);
    cluster_ips(service, errors);
    let path = SPEC.at("externalIPs");
    for (i, ip) in texts(spec, "externalIPs").enumerate() {
        let path = path.index(i);
        if validate_ip(errors, &path, ip).is_some() {
            validate_endpoint_ip(errors, &path, ip);
        }
    }
    const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    required_one_of(errors, &SPEC.at("type"), kind(service), &TYPES);
    node_ports(service, errors);
    source_ranges(service, errors);
    balancer_fields(service, errors);
    traffic_policies(service, errors);
}

fn topology_annotations(service: &Value, errors: &mut Errors) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    const MODE: &str = "service.kubernetes.io/topology-mode";
    if let (Some(hints), Some(mode)) = (document::annotation(service, HINTS), document::annotation(service, MODE))
        && hints != mode
    {
        let message = format!("must match annotations[{HINTS}] when both are specified");
        errors.invalid(Path::root("metadata.annotations").key(MODE), mode, message);
    }
}

fn by_type(service: &Value, errors: &mut Errors) {
    let spec = spec(service);
    if list(spec, "ports").is_empty() && !is_headless(service) && needs_cluster_ip(service) {
        errors.required(SPEC.at("ports"), "");
    }
    match kind(service) {
        kind @ ("LoadBalancer" | "NodePort") if is_headless(service) => {
            errors.invalid(
                SPEC.at("clusterIPs").index(0),
                "None",
                format!("may not be set to 'None' for {kind} services"),
            );
        }
        "ExternalName" => {
            for key in ["clusterIPs", "ipFamilies"] {
                if !list(spec, key).is_empty() {
                    errors.forbidden(SPEC.at(key), "may not be set for ExternalName services");
                }
            }
            if has(spec, "ipFamilyPolicy") {
                errors.forbidden(SPEC.at("ipFamilyPolicy"), "may not be set for ExternalName services");
            }
            let path = SPEC.at("externalName");
            let name = text(spec, "externalName");
            match name.strip_suffix('.').unwrap_or(name) {
                "" => errors.required(path, ""),
                name => invalid_each(errors, &path, name, names::dns1123_subdomain(name)),
            }
        }
        _ => {}
    }
}

fn ports(service: &Value, errors: &mut Errors) {
    let ports = list(spec(service), "ports");
    let path = SPEC.at("ports");
    let mut seen = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            invalid_each(errors, &path.at("name"), name, names::dns1123_label(name));
            if !seen.insert(name) {
                errors.duplicate(path.at("name"), name);
            }
        } else if ports.len() > 1 {
            errors.required(path.at("name"), "");
        }
        in_range(errors, &path.at("port"), int(port, "port").unwrap_or_default(), 1, 65535);
        required_one_of(errors, &path.at("protocol"), text(port, "protocol"), &["SCTP", "TCP", "UDP"]);
        port_number_or_name(errors, &path.at("targetPort"), child(port, "targetPort"));
        if let Some(protocol) = opt_text(port, "appProtocol") {
            invalid_each(errors, &path.at("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

/// Checks a port that may be a number or the name of a container's port.
pub fn port_number_or_name(errors: &mut Errors, path: &Path, port: Option<&Value>) {
    match port {
        Some(Value::String(name)) => invalid_each(errors, path, name, names::port_name(name)),
        other => in_range(errors, path, other.and_then(Value::as_i64).unwrap_or_default(), 1, 65535),
    }
}

fn affinity(spec: &Value, errors: &mut Errors) {
    let affinity = text(spec, "sessionAffinity");
    required_one_of(errors, &SPEC.at("sessionAffinity"), affinity, &["ClientIP", "None"]);
    let path = SPEC.at("sessionAffinityConfig");
    match affinity {
        "None" if has(spec, "sessionAffinityConfig") => {
            errors.forbidden(path, "must not be set when session affinity is None");
        }
        "ClientIP" => match descend(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]) {
            None => errors.required(path, "when session affinity type is ClientIP"),
            Some(timeout) if !(1..=86400).contains(&timeout.as_i64().unwrap_or_default()) => {
                let path = path.at("clientIP.timeoutSeconds");
                errors.invalid(path, timeout.clone(), "must be greater than 0 and less than 86400");
            }
            Some(_) => {}
        },
        _ => {}
    }
}

/// The fields `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy`, which hang together.
pub fn cluster_ips(service: &Value, errors: &mut Errors) {
    if !needs_cluster_ip(service) {
        return;
    }
    let spec = spec(service);
    let path = SPEC.at("clusterIPs");
    let ips: Vec<&str> = texts(spec, "clusterIPs").collect();
    let families: Vec<&str> = texts(spec, "ipFamilies").collect();
    match (text(spec, "clusterIP"), ips.first()) {
        ("", Some(_)) => errors.invalid(path, json!(ips), "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => errors.required(path, ""),
        (ip, Some(first)) if *first != ip => errors.invalid(path, json!(ips), "first value must match `clusterIP`"),
        _ => {}
    }
    let mut seen = HashSet::new();
    for (i, family) in families.iter().enumerate() {
        let path = SPEC.at("ipFamilies");
        one_of(errors, &path.index(i), family, &["IPv4", "IPv6"]);
        if !seen.insert(family) {
            errors.duplicate(path.index(i), *family);
        }
    }
    if let Some(policy) = opt_text(spec, "ipFamilyPolicy") {
        const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        one_of(errors, &SPEC.at("ipFamilyPolicy"), policy, &POLICIES);
    }
    let mut addresses = Vec::new();
    let mut wrong = false;
    for (i, ip) in ips.iter().enumerate() {
        if i == 0 && *ip == "None" {
            if ips.len() > 1 {
                wrong = true;
                errors.invalid(path, json!(ips), "'None' must be the first and only value");
            }
            continue;
        }
        match validate_ip(errors, &path.index(i), ip) {
            Some(ip) => addresses.push(ip),
            None => wrong = true,
        }
    }
    if ips.len() > 2 {
        errors.invalid(path, json!(ips), "may only hold up to 2 values");
    }
    if wrong {
        return;
    }
    if addresses.len() > 1 && !(addresses.iter().any(IpAddr::is_ipv4) && addresses.iter().any(IpAddr::is_ipv6)) {
        errors.invalid(path, json!(ips), "may specify no more than one IP for each IP family");
    }
    for (i, (ip, family)) in addresses.iter().zip(&families).enumerate() {
        if (*family == "IPv4" && ip.is_ipv6()) || (*family == "IPv6" && ip.is_ipv4()) {
            let message = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.invalid(path.index(i), ip.to_string(), message);
        }
    }
}

fn node_ports(service: &Value, errors: &mut Errors) {
    let ports = list(spec(service), "ports");
    let path = SPEC.at("ports");
    let node_port = |port| int(port, "nodePort").filter(|port| *port != 0);
    if kind(service) == "ClusterIP" {
        for (i, _) in ports.iter().enumerate().filter(|(_, port)| node_port(port).is_some()) {
            errors.forbidden(path.index(i).at("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let mut seen = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        if let Some(number) = node_port(port)
            && !seen.insert((text(port, "protocol"), number))
        {
            errors.duplicate(path.index(i).at("nodePort"), number);
        }
    }
    let mut seen = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let (protocol, number) = (text(port, "protocol"), int(port, "port"));
        if !seen.insert((protocol, number)) {
            let shown = [
                ("Name", "".into()),
                ("Protocol", protocol.into()),
                ("AppProtocol", Value::Null),
                ("Port", number.into()),
                ("TargetPort", 0.into()),
                ("NodePort", 0.into()),
            ];
            duplicate(errors, path.index(i), &shown, "");
        }
    }
}

fn source_ranges(service: &Value, errors: &mut Errors) {
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let is_balanced = kind(service) == "LoadBalancer";
    let ranges = list(spec(service), "loadBalancerSourceRanges");
    if !ranges.is_empty() {
        // The capital letter is upstream's.
        let path = SPEC.at("LoadBalancerSourceRanges");
        if !is_balanced {
            errors.forbidden(path, ONLY_BALANCED);
        }
        for (i, range) in ranges.iter().enumerate() {
            validate_cidr(errors, &path.index(i), range.as_str().unwrap_or_default().trim());
        }
    } else if let Some(ranges) = document::annotation(service, ANNOTATION) {
        let metadata = Path::root("metadata.annotations");
        let path = metadata.key(ANNOTATION);
        if !is_balanced {
            errors.forbidden(path, ONLY_BALANCED);
        }
        for range in ranges.split(',').map(str::trim).filter(|_| !ranges.trim().is_empty()) {
            validate_cidr(errors, &path, range);
        }
    }
}

fn balancer_fields(service: &Value, errors: &mut Errors) {
    let spec = spec(service);
    let is_balanced = kind(service) == "LoadBalancer";
    match (is_balanced, has(spec, "allocateLoadBalancerNodePorts")) {
        (false, true) => errors.forbidden(SPEC.at("allocateLoadBalancerNodePorts"), ONLY_BALANCED),
        (true, false) => errors.required("allocateLoadBalancerNodePorts", ""),
        _ => {}
    }
    load_balancer_class(service, errors);
}

fn load_balancer_class(service: &Value, errors: &mut Errors) {
    let path = SPEC.at("loadBalancerClass");
    match opt_text(spec(service), "loadBalancerClass") {
        Some(class) if kind(service) == "LoadBalancer" => {
            invalid_each(errors, &path, class, names::qualified_name(class))
        }
        Some(_) => errors.forbidden(path, ONLY_BALANCED),
        None => {}
    }
}

fn traffic_policies(service: &Value, errors: &mut Errors) {
    let spec = spec(service);
    let path = SPEC.at("externalTrafficPolicy");
    let external = text(spec, "externalTrafficPolicy");
    if is_externally_accessible(service) {
        required_one_of(errors, &path, external, &["Cluster", "Local"]);
    } else if !external.is_empty() {
        errors.invalid(path, external, "may only be set for externally-accessible services");
    }
    let path = SPEC.at("healthCheckNodePort");
    match int(spec, "healthCheckNodePort").filter(|port| *port != 0) {
        None if needs_health_check(service) => errors.required(path, ""),
        Some(port) if needs_health_check(service) => in_range(errors, &path, port, 1, 65535),
        Some(port) => {
            const WHY: &str = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(path, port, WHY);
        }
        None => {}
    }
    let path = SPEC.at("internalTrafficPolicy");
    match opt_text(spec, "internalTrafficPolicy") {
        Some(policy) => one_of(errors, &path, policy, &["Cluster", "Local"]),
        None if matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer") => errors.required(path, ""),
        None => {}
    }
    if let Some(distribution) = opt_text(spec, "trafficDistribution") {
        const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        one_of(errors, &SPEC.at("trafficDistribution"), distribution, &DISTRIBUTIONS);
    }
}

/// What may not change: the primary address and family, the load balancer's class, the port of health checks.
pub fn update(service: &Value, old: &Value, errors: &mut Errors) {
    if needs_cluster_ip(service) && needs_cluster_ip(old) {
        let (headless, was_headless) = (is_headless(service), is_headless(old));
        if !(headless && was_headless) {
            addresses_stay(service, old, errors);
        }
        if !headless && !was_headless {
            families_stay(service, old, errors);
        }
    }
    let class = |service| opt_text(spec(service), "loadBalancerClass");
    if kind(service) == "LoadBalancer" && kind(old) == "LoadBalancer" && class(service) != class(old) {
        errors.invalid(SPEC.at("loadBalancerClass"), class(service), ONCE_SET);
    }
    // Upstream looks at it here as well as with all the rest.
    load_balancer_class(service, errors);
    let port = |service| int(spec(service), "healthCheckNodePort").unwrap_or_default();
    if needs_health_check(service) && needs_health_check(old) && port(service) != port(old) {
        errors.forbidden(SPEC.at("healthCheckNodePort"), "field is immutable");
    }
}

/// A second address may come and go, the one that stays may not change.
fn addresses_stay(service: &Value, old: &Value, errors: &mut Errors) {
    let (new, old) = (list(spec(service), "clusterIPs"), list(spec(old), "clusterIPs"));
    let path = SPEC.at("clusterIPs");
    let compared = if new.len() == old.len() { new.len() } else { 1 };
    if new.is_empty() && !old.is_empty() {
        errors.invalid(path.index(0), shown(child(spec(service), "clusterIPs")), "primary clusterIP can not be unset");
    }
    for (i, _) in new.iter().zip(old).take(compared).enumerate().filter(|(_, (new, old))| new != old) {
        errors.invalid(path.index(i), json!(new), ONCE_SET);
    }
    second_is_released(service, new.len(), old.len(), "clusterIP", errors);
}

/// The same of families. That an error shows the addresses, or stands at the first family, is upstream's way.
fn families_stay(service: &Value, old: &Value, errors: &mut Errors) {
    let (new, old) = (list(spec(service), "ipFamilies"), list(spec(old), "ipFamilies"));
    let path = SPEC.at("ipFamilies");
    let first = path.index(0);
    if new.len() == old.len() {
        new.iter().zip(old).filter(|(new, old)| new != old).for_each(|_| errors.invalid(first, json!(new), ONCE_SET));
        return;
    }
    if new.len() < old.len() && list(spec(service), "clusterIPs").is_empty() {
        errors.invalid(first, shown(child(spec(service), "ipFamilies")), "primary ipFamily can not be unset");
    }
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && new != old
    {
        errors.invalid(first, shown(child(spec(service), "clusterIPs")), ONCE_SET);
    }
    second_is_released(service, new.len(), old.len(), "ipFamily", errors);
}

/// Who gives up the second one must say that this is meant.
fn second_is_released(service: &Value, now: usize, before: usize, what: &str, errors: &mut Errors) {
    let policy = child(spec(service), "ipFamilyPolicy");
    if now == 1 && before > 1 && policy.is_none_or(|policy| policy != "SingleStack") {
        let message = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errors.invalid(SPEC.at("ipFamilyPolicy"), shown(policy), message);
    }
}

pub fn load_balancer_status(service: &Value, errors: &mut Errors) {
    let path = Path::root("status.loadBalancer.ingress");
    let status = descend(service, &["status", "loadBalancer"]).unwrap_or(&Value::Null);
    let ingress = list(status, "ingress");
    if kind(service) != "LoadBalancer" && !ingress.is_empty() {
        return errors.forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (i, address) in ingress.iter().enumerate() {
        let path = path.index(i);
        let ip = text(address, "ip");
        if !ip.is_empty() {
            validate_ip(errors, &path.at("ip"), ip);
        }
        match opt_text(address, "ipMode") {
            None if !ip.is_empty() => errors.required(path.at("ipMode"), "must be specified when `ip` is set"),
            Some(_) if ip.is_empty() => {
                errors.forbidden(path.at("ipMode"), "may not be specified when `ip` is not set")
            }
            Some(mode) => one_of(errors, &path.at("ipMode"), mode, &["Proxy", "VIP"]),
            None => {}
        }
        let host = text(address, "hostname");
        if !host.is_empty() {
            invalid_each(errors, &path.at("hostname"), host, names::dns1123_subdomain(host));
            if host.parse::<IpAddr>().is_ok() {
                errors.invalid(path.at("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
}
