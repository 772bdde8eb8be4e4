//! Cells of services and networking.

use super::*;
use std::collections::BTreeSet;

pub fn service(service: &Value, now: Timestamp) -> Vec<Value> {
    let cluster_ip = get_list(service, "spec.clusterIPs").first().and_then(Value::as_str).unwrap_or("<none>");
    let ports: Vec<String> = get_list(service, "spec.ports").iter().map(port).collect();
    row![
        document::name(service),
        get_str(service, "spec.type"),
        cluster_ip,
        external_ip(service),
        or(ports.join(","), "<none>"),
        age(service, now),
        labels(service, "spec.selector"),
    ]
}

fn port(port: &Value) -> String {
    let (number, protocol) = (int(port, "port"), get_str(port, "protocol"));
    match int(port, "nodePort") {
        ..=0 => format!("{number}/{protocol}"),
        node_port => format!("{number}:{node_port}/{protocol}"),
    }
}

fn external_ip(service: &Value) -> String {
    let external = joined(service, "spec.externalIPs");
    match get_str(service, "spec.type") {
        "ClusterIP" | "NodePort" => or(external, "<none>"),
        "LoadBalancer" => match (load_balancer(service), external) {
            (balancer, external) if !balancer.is_empty() && !external.is_empty() => format!("{balancer},{external}"),
            (balancer, external) => or(balancer + &external, "<pending>"),
        },
        "ExternalName" => get_str(service, "spec.externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// The addresses or host names of a load balancer, sorted.
fn load_balancer(object: &Value) -> String {
    let address = |ingress: &Value| match get_str(ingress, "ip") {
        "" => get_str(ingress, "hostname").to_owned(),
        ip => ip.to_owned(),
    };
    let addresses: BTreeSet<String> =
        get_list(object, "status.loadBalancer.ingress").iter().map(address).filter(|a| !a.is_empty()).collect();
    addresses.into_iter().collect::<Vec<_>>().join(",")
}

pub fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut addresses = Vec::new();
    for subset in get_list(object, "subsets") {
        let ips = || get_list(subset, "addresses").iter().map(|a| get_str(a, "ip"));
        let ports = get_list(subset, "ports");
        if ports.is_empty() {
            addresses.extend(ips().map(str::to_owned));
        }
        for port in ports.iter().map(|port| int(port, "port")) {
            let join = |ip: &str| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
            addresses.extend(ips().map(join));
        }
    }
    let none = get_list(object, "subsets").is_empty();
    let shown = if none { "<none>".to_owned() } else { first_few(&addresses, ",", 3) };
    row![document::name(object), shown, age(object, now)]
}

pub fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| match get(port, "port") {
        Some(Value::Number(number)) => number.to_string(),
        _ => text_or(port, "name", "*"),
    };
    let ports: Vec<String> = get_list(object, "ports").iter().map(port).collect();
    let addresses: Vec<&str> = get_list(object, "endpoints")
        .iter()
        .flat_map(|endpoint| get_list(endpoint, "addresses"))
        .filter_map(Value::as_str)
        .collect();
    row![
        document::name(object),
        get_str(object, "addressType"),
        or(first_few(&ports, ",", 3), "<unset>"),
        or(first_few(&addresses, ",", 3), "<unset>"),
        age(object, now),
    ]
}

pub fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports = if get_list(object, "spec.tls").is_empty() { "80" } else { "80, 443" };
    row![
        document::name(object),
        text_or(object, "spec.ingressClassName", "<none>"),
        hosts(get_list(object, "spec.rules")),
        load_balancer(object),
        ports,
        age(object, now),
    ]
}

fn hosts(rules: &[Value]) -> String {
    let mut hosts = Vec::new();
    for rule in rules {
        if hosts.len() == 3 {
            return format!("{} + {} more...", hosts.join(","), rules.len() - 3);
        }
        hosts.extend(Some(get_str(rule, "host")).filter(|host| !host.is_empty()));
    }
    or(hosts.join(","), "*")
}

pub fn ingress_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut name = document::name(object).to_owned();
    if document::annotation(object, "ingressclass.kubernetes.io/is-default-class") == Some("true") {
        name += " (default)";
    }
    let parameters = get(object, "spec.parameters").filter(|p| p.is_object()).map_or_else(
        || "<none>".to_owned(),
        |p| format!("{}/{}", api::kinds::qualified(get_str(p, "kind"), get_str(p, "apiGroup")), get_str(p, "name")),
    );
    row![name, get_str(object, "spec.controller"), parameters, age(object, now)]
}

pub fn network_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    row![document::name(object), selector_cell(object, "spec.podSelector"), age(object, now)]
}

pub fn service_cidr(object: &Value, now: Timestamp) -> Vec<Value> {
    row![document::name(object), joined(object, "spec.cidrs"), age(object, now)]
}

pub fn ip_address(object: &Value, now: Timestamp) -> Vec<Value> {
    let parent = get(object, "spec.parentRef").filter(|p| p.is_object()).map_or_else(
        || "<none>".to_owned(),
        |parent| {
            let resource = api::kinds::qualified(get_str(parent, "resource"), get_str(parent, "group")).to_lowercase();
            match get_str(parent, "namespace") {
                "" => format!("{resource}/{}", get_str(parent, "name")),
                namespace => format!("{resource}/{namespace}/{}", get_str(parent, "name")),
            }
        },
    );
    // Upstream gives a third cell, the age, without a column for it.
    row![document::name(object), parent, age(object, now)]
}
