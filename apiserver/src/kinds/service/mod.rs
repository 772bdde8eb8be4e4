//! Service: the discriminated union of four types over one specification.
//!
//! Cluster IPs and node ports come from [`allocate`], which the registry asks before the rules here run.

pub mod allocate;
mod families;
pub mod pool;
mod validate;

use super::ip::{cidr_warning, ip_warning};
use super::path::{Path, child, has, int, list, opt_text, text, texts};
use super::{Context, Rules};
use api::field::Errors;
use api::{Map, Value, document, names};
use serde_json::json;
use std::collections::BTreeSet;

pub struct Service;

const SPEC: Path = Path::root("spec");

impl Rules for Service {
    fn default(&self, service: &mut Value) {
        let spec = document::child(document::as_map(service), "spec");
        default_affinity(spec);
        default_text(spec, "type", "ClusterIP");
        if let Some(Value::Array(ports)) = spec.get_mut("ports") {
            ports.iter_mut().for_each(default_port);
        }
        let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let external_ips = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && external_ips) {
            default_text(spec, "externalTrafficPolicy", "Cluster");
        }
        // An option, so that an empty one is not none.
        if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer")
            && spec.get("internalTrafficPolicy").is_none_or(Value::is_null)
        {
            spec.insert("internalTrafficPolicy".to_owned(), "Cluster".into());
        }
        if kind == "LoadBalancer" {
            if spec.get("allocateLoadBalancerNodePorts").is_none_or(Value::is_null) {
                spec.insert("allocateLoadBalancerNodePorts".to_owned(), true.into());
            }
            default_ip_mode(service);
        }
    }

    fn prepare_for_create(&self, service: &mut Value, _: &Context) {
        document::set(service, "status", json!({"loadBalancer": {}}));
        drop_internal_policy(service);
    }

    fn prepare_for_update(&self, service: &mut Value, old: &Value, _: &Context) {
        drop_what_the_type_does_not_have(service, old);
        drop_internal_policy(service);
    }

    fn validate(&self, service: &Value, errors: &mut Errors) {
        validate::service(service, errors);
    }

    fn validate_update(&self, service: &Value, old: &Value, errors: &mut Errors) {
        validate::update(service, old, errors);
    }

    fn validate_status_update(&self, service: &Value, _: &Value, errors: &mut Errors) {
        validate::load_balancer_status(service, errors);
    }

    fn warnings(&self, service: &Value, _: Option<&Value>) -> Vec<String> {
        warnings(service)
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns1123_label(&if prefix { names::mask_trailing_dash(name) } else { name.to_owned() })
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn default_text(map: &mut Map, key: &str, value: &str) {
    if map.get(key).is_none_or(|v| v.is_null() || v == "") {
        map.insert(key.to_owned(), value.into());
    }
}

fn default_affinity(spec: &mut Map) {
    default_text(spec, "sessionAffinity", "None");
    match spec.get("sessionAffinity").and_then(Value::as_str) {
        Some("None") => {
            spec.remove("sessionAffinityConfig");
        }
        Some("ClientIP") => {
            let timeout =
                spec.get("sessionAffinityConfig").and_then(|c| document::get_i64(c, "clientIP.timeoutSeconds"));
            if timeout.is_none() {
                spec.insert("sessionAffinityConfig".to_owned(), json!({"clientIP": {"timeoutSeconds": 10800}}));
            }
        }
        _ => {}
    }
}

fn default_port(port: &mut Value) {
    let port = document::as_map(port);
    default_text(port, "protocol", "TCP");
    let target = port.get("targetPort");
    if target.is_none_or(|t| t.is_null() || t == "" || t == 0)
        && let Some(number) = port.get("port").cloned()
    {
        port.insert("targetPort".to_owned(), number);
    }
}

/// An address of a load balancer is virtual unless its status says otherwise.
fn default_ip_mode(service: &mut Value) {
    let ingress = service.pointer_mut("/status/loadBalancer/ingress").and_then(Value::as_array_mut);
    for address in ingress.into_iter().flatten().filter_map(Value::as_object_mut) {
        if address.get("ip").is_some_and(|ip| ip != "") && !address.contains_key("ipMode") {
            address.insert("ipMode".to_owned(), "VIP".into());
        }
    }
}

pub(crate) fn spec(service: &Value) -> &Value {
    child(service, "spec").unwrap_or(&Value::Null)
}

pub(crate) fn kind(service: &Value) -> &str {
    text(spec(service), "type")
}

pub(crate) fn is_headless(service: &Value) -> bool {
    matches!(list(spec(service), "clusterIPs"), [only] if only == "None")
}

pub(crate) fn needs_cluster_ip(service: &Value) -> bool {
    kind(service) != "ExternalName"
}

pub(crate) fn needs_node_port(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

/// Whether traffic can come from outside the cluster.
pub(crate) fn is_externally_accessible(service: &Value) -> bool {
    needs_node_port(service) || (kind(service) == "ClusterIP" && !list(spec(service), "externalIPs").is_empty())
}

pub(crate) fn needs_health_check(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && text(spec(service), "externalTrafficPolicy") == "Local"
}

/// The node ports that a service has, without the one for health checks.
pub(crate) fn node_ports(service: &Value) -> BTreeSet<i64> {
    list(spec(service), "ports").iter().filter_map(|port| int(port, "nodePort")).filter(|port| *port != 0).collect()
}

/// A field of the specification is the same in both, absent and empty being alike.
fn is_same(a: &Value, b: &Value, key: &str) -> bool {
    let of = |service| child(spec(service), key).filter(|v| !v.as_array().is_some_and(Vec::is_empty) && *v != "");
    of(a) == of(b)
}

/// On a change of type, drops the fields that only the old type has, if the client left them as they were. What the
/// client changed stays, and validation refuses it.
fn drop_what_the_type_does_not_have(service: &mut Value, old: &Value) {
    let mut drop = Vec::new();
    if needs_cluster_ip(old) && !needs_cluster_ip(service) {
        if is_same(service, old, "clusterIP") && is_same(service, old, "clusterIPs") {
            drop.extend(["clusterIP", "clusterIPs"]);
        }
        drop.extend(["ipFamilies", "ipFamilyPolicy"].iter().filter(|key| is_same(service, old, key)));
    }
    let dropped = |was: bool, is: bool, key: &str| was && !is && is_same(service, old, key);
    if dropped(needs_health_check(old), needs_health_check(service), "healthCheckNodePort") {
        drop.push("healthCheckNodePort");
    }
    let (was_balanced, is_balanced) = (kind(old) == "LoadBalancer", kind(service) == "LoadBalancer");
    drop.extend(
        ["allocateLoadBalancerNodePorts", "loadBalancerClass"]
            .iter()
            .filter(|key| dropped(was_balanced, is_balanced, key)),
    );
    if dropped(is_externally_accessible(old), is_externally_accessible(service), "externalTrafficPolicy") {
        drop.push("externalTrafficPolicy");
    }
    let drop_node_ports =
        needs_node_port(old) && !needs_node_port(service) && node_ports(service).is_subset(&node_ports(old));
    let spec = document::child(document::as_map(service), "spec");
    for key in drop {
        spec.remove(key);
    }
    if drop_node_ports && let Some(Value::Array(ports)) = spec.get_mut("ports") {
        for port in ports.iter_mut().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    if !is_balanced {
        document::set(service, "status.loadBalancer", json!({}));
    }
}

/// A name has no traffic inside of the cluster; what makes no sense anyway is left for validation.
fn drop_internal_policy(service: &mut Value) {
    let policy = text(spec(service), "internalTrafficPolicy");
    if !needs_cluster_ip(service) && matches!(policy, "Cluster" | "Local") {
        document::remove(service, "spec.internalTrafficPolicy");
    }
}

fn warnings(service: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = spec(service);
    let has_external_ips = !list(spec, "externalIPs").is_empty();
    const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    if document::annotation(service, TOPOLOGY_HINTS).is_some() {
        warnings.push(format!(
            "annotation {TOPOLOGY_HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    if needs_cluster_ip(service) && !is_headless(service) {
        let path = SPEC.at("clusterIPs");
        warnings.extend(texts(spec, "clusterIPs").enumerate().filter_map(|(i, ip)| ip_warning(&path.index(i), ip)));
    }
    if is_headless(service) {
        if !text(spec, "loadBalancerIP").is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if has_external_ips {
            warnings.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if text(spec, "sessionAffinity") != "None" {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    let path = SPEC.at("externalIPs");
    warnings.extend(texts(spec, "externalIPs").enumerate().filter_map(|(i, ip)| ip_warning(&path.index(i), ip)));
    if has_external_ips && needs_cluster_ip(service) && !is_headless(service) {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    warnings.extend(ip_warning(&SPEC.at("loadBalancerIP"), text(spec, "loadBalancerIP")));
    let path = SPEC.at("loadBalancerSourceRanges");
    let ranges = texts(spec, "loadBalancerSourceRanges").enumerate();
    warnings.extend(ranges.filter_map(|(i, range)| cidr_warning(&path.index(i), range)));
    if !needs_cluster_ip(service) && has_external_ips {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if needs_cluster_ip(service) && has(spec, "externalName") && !text(spec, "externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if opt_text(spec, "trafficDistribution") == Some("PreferClose") {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests;
