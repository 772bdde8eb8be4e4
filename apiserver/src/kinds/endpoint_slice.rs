//! EndpointSlice.

use super::equality::same;
use super::ip::{ip_warning, validate_endpoint_ip, validate_ip};
use super::labels::validate_labels;
use super::node::invalid_node_name;
use super::path::{Path, child, has, invalid_each, list, map, one_of, opt_text, required_one_of, text, texts};
use super::{Context, MetadataChecks, Rules, internal};
use api::field::Errors;
use api::{Value, document, names};
use std::collections::HashSet;

pub struct EndpointSlice;

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;
const MAX_ADDRESSES: usize = 100;
const MAX_TOPOLOGY_LABELS: usize = 16;
const MAX_HINTS: usize = 8;

impl Rules for EndpointSlice {
    fn default(&self, slice: &mut Value) {
        let ports = slice.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            for (key, value) in [("name", ""), ("protocol", "TCP")] {
                if !has(port, key) {
                    document::set(port, key, value);
                }
            }
        }
    }

    fn prepare_for_create(&self, slice: &mut Value, _: &Context) {
        drop_topology(slice);
        empty_is_nothing(slice);
    }

    fn prepare_for_update(&self, slice: &mut Value, old: &Value, _: &Context) {
        if slice.get("endpoints") != old.get("endpoints") {
            drop_topology(slice);
        }
        empty_is_nothing(slice);
    }

    /// Endpoints that stay as they are have been taken once.
    fn check(&self, slice: &Value, old: Option<&Value>, errors: &mut Errors) {
        let family = text(slice, "addressType");
        required_one_of(errors, &Path::root("addressType"), family, &["FQDN", "IPv4", "IPv6"]);
        validate_ports(list(slice, "ports"), errors);
        if old.is_none_or(|old| !same(child(slice, "endpoints"), child(old, "endpoints"))) {
            self.validate(slice, errors);
        }
        if let Some(old) = old {
            self.validate_update(slice, old, errors);
        }
    }

    fn validate(&self, slice: &Value, errors: &mut Errors) {
        let family = text(slice, "addressType");
        let endpoints = list(slice, "endpoints");
        if endpoints.len() > MAX_ENDPOINTS {
            return errors.too_many("endpoints", endpoints.len(), MAX_ENDPOINTS);
        }
        for (i, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(endpoint, family, &Path::root("endpoints").index(i), errors);
        }
    }

    fn validate_update(&self, slice: &Value, old: &Value, errors: &mut Errors) {
        internal::immutable(errors, slice, old, &Path::root(""), "addressType", "string");
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AS_NEW
    }

    fn warnings(&self, slice: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() && text(slice, "addressType") == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        // The cluster's own controllers write addresses well.
        let manager = document::labels(slice).and_then(|labels| labels.get(MANAGED_BY)?.as_str());
        if matches!(manager, Some("endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io")) {
            return warnings;
        }
        for (i, endpoint) in list(slice, "endpoints").iter().enumerate() {
            let path = Path::root("endpoints");
            let path = path.index(i);
            let path = path.at("addresses");
            let addresses = texts(endpoint, "addresses").enumerate();
            warnings.extend(addresses.filter_map(|(j, ip)| ip_warning(&path.index(j), ip)));
        }
        warnings
    }

    fn has_generation(&self) -> bool {
        true
    }

    /// Anything but the metadata counts, and the labels do too.
    fn generation_changed(&self, slice: &Value, old: &Value) -> bool {
        let same = |key: &str| child(slice, key) == child(old, key);
        !(["addressType", "endpoints", "ports"].into_iter().all(same)
            && document::labels(slice) == document::labels(old))
    }
}

/// An empty list is written as none.
fn empty_is_nothing(slice: &mut Value) {
    for key in ["endpoints", "ports"] {
        if has(slice, key) && list(slice, key).is_empty() {
            document::set(slice, key, Value::Null);
        }
    }
}

/// The field is of v1beta1; writes to it are dropped.
fn drop_topology(slice: &mut Value) {
    let endpoints = slice.get_mut("endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
        endpoint.remove("deprecatedTopology");
    }
}

fn validate_ports(ports: &[Value], errors: &mut Errors) {
    const PATH: Path = Path::root("ports");
    if ports.len() > MAX_PORTS {
        return errors.too_many(PATH, ports.len(), MAX_PORTS);
    }
    let mut seen = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = PATH.index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            invalid_each(errors, &path.at("name"), name, names::dns1123_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(path.at("name"), name);
        }
        match opt_text(port, "protocol") {
            None => errors.required(path.at("protocol"), ""),
            Some(protocol) => one_of(errors, &path.at("protocol"), protocol, &["SCTP", "TCP", "UDP"]),
        }
        if let Some(protocol) = opt_text(port, "appProtocol") {
            invalid_each(errors, &path.at("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

fn validate_endpoint(endpoint: &Value, family: &str, path: &Path, errors: &mut Errors) {
    let addresses = list(endpoint, "addresses");
    let at = path.at("addresses");
    if addresses.is_empty() {
        errors.required(at, "must contain at least 1 address");
    } else if addresses.len() > MAX_ADDRESSES {
        errors.too_many(at, addresses.len(), MAX_ADDRESSES);
    }
    for (i, address) in texts(endpoint, "addresses").enumerate() {
        validate_address(address, family, &at, i, errors);
    }
    if let Some(node) = opt_text(endpoint, "nodeName") {
        invalid_node_name(errors, &path.at("nodeName"), node);
    }
    if let Some(topology) = map(endpoint, "deprecatedTopology").filter(|t| t.len() > MAX_TOPOLOGY_LABELS) {
        errors.too_many(path.at("deprecatedTopology"), topology.len(), MAX_TOPOLOGY_LABELS);
    }
    validate_labels(endpoint, path, "deprecatedTopology", errors);
    if let Some(host) = opt_text(endpoint, "hostname") {
        invalid_each(errors, &path.at("hostname"), host, names::dns1123_label(host));
    }
    if let Some(hints) = child(endpoint, "hints") {
        validate_hints(hints, &path.at("hints"), errors);
    }
}

fn validate_address(address: &str, family: &str, addresses: &Path, index: usize, errors: &mut Errors) {
    let path = addresses.index(index);
    match family {
        "IPv4" => {
            if let Some(ip) = validate_ip(errors, &path, address) {
                if !ip.is_ipv4() {
                    errors.invalid(addresses, address, "must be an IPv4 address");
                }
                validate_endpoint_ip(errors, &path, address);
            }
        }
        "IPv6" => {
            let messages = names::canonical_ip(address);
            if messages.is_empty() {
                if !address.contains(':') {
                    errors.invalid(addresses, address, "must be an IPv6 address");
                }
                validate_endpoint_ip(errors, &path, address);
            }
            invalid_each(errors, &path, address, messages);
        }
        "FQDN" => validate_domain(address, &path, errors),
        _ => {}
    }
}

/// A fully qualified domain name: at least two labels.
fn validate_domain(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let messages = names::dns1123_subdomain(name);
    if !messages.is_empty() {
        return errors.invalid(path, name, messages.join(","));
    }
    if !name.contains('.') {
        return errors.invalid(path, name, "should be a domain with at least two segments separated by dots");
    }
    let wrong = name.split('.').map(|label| (label, names::dns1123_label(label))).find(|(_, m)| !m.is_empty());
    if let Some((label, messages)) = wrong {
        errors.invalid(path, label, messages.join(","));
    }
}

fn validate_hints(hints: &Value, path: &Path, errors: &mut Errors) {
    for key in ["forZones", "forNodes"] {
        let path = path.at(key);
        let targets = list(hints, key);
        if targets.len() > MAX_HINTS {
            return errors.too_many(path, targets.len(), MAX_HINTS);
        }
        let mut seen = HashSet::new();
        for (i, target) in targets.iter().enumerate() {
            let name = text(target, "name");
            let path = path.index(i);
            let path = path.at("name");
            if !seen.insert(name) {
                errors.duplicate(path, name);
            }
            let messages = if key == "forZones" { names::label_value(name) } else { names::dns1123_subdomain(name) };
            invalid_each(errors, &path, name, messages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 1}]}), ""),
            (json!({}), "addressType: Required value"),
            (
                json!({"addressType": "IPv4", "endpoints": [{"addresses": []}]}),
                "endpoints[0].addresses: Required value: must contain at least 1 address",
            ),
            (
                json!({"addressType": "IPv6", "endpoints": [{"addresses": ["10.0.0.1"]}]}),
                "endpoints[0].addresses: Invalid value: \"10.0.0.1\": must be an IPv6 address",
            ),
            (json!({"addressType": "IPv4", "ports": [{}, {}]}), "ports[1].name: Duplicate value: \"\""),
        ];
        for (mut slice, expected) in cases {
            EndpointSlice.default(&mut slice);
            let mut errors = Errors::new();
            EndpointSlice.check(&slice, None, &mut errors);
            assert_eq!(errors.0.first().map_or_else(String::new, ToString::to_string), expected);
        }
    }
}
