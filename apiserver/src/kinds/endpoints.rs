//! Endpoints.

use super::equality::same;
use super::ip::{ip_warning, validate_endpoint_ip, validate_ip};
use super::node::invalid_node_name;
use super::path::{Path, child, in_range, int, invalid_each, list, opt_text, required_one_of, text};
use super::{MetadataChecks, Rules};
use api::field::Errors;
use api::{Value, document, names};

pub struct Endpoints;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

impl Rules for Endpoints {
    fn default(&self, endpoints: &mut Value) {
        let subsets = endpoints.get_mut("subsets").and_then(Value::as_array_mut);
        for subset in subsets.into_iter().flatten() {
            let ports = subset.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter(|port| text(port, "protocol").is_empty()) {
                document::set(port, "protocol", "TCP");
            }
        }
    }

    fn validate(&self, endpoints: &Value, errors: &mut Errors) {
        for (i, subset) in list(endpoints, "subsets").iter().enumerate() {
            validate_subset(subset, &Path::root("subsets").index(i), errors);
        }
    }

    /// Subsets that stay as they are have been taken once.
    fn check(&self, endpoints: &Value, old: Option<&Value>, errors: &mut Errors) {
        if old.is_none_or(|old| !same(child(endpoints, "subsets"), child(old, "subsets"))) {
            self.validate(endpoints, errors);
        }
    }

    fn warnings(&self, endpoints: &Value, _: Option<&Value>) -> Vec<String> {
        // The cluster's own controller writes addresses well.
        let manager = document::labels(endpoints).and_then(|labels| labels.get(MANAGED_BY)?.as_str());
        if manager == Some("endpoint-controller") {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for (i, subset) in list(endpoints, "subsets").iter().enumerate() {
            let path = Path::root("subsets");
            let path = path.index(i);
            for key in ["addresses", "notReadyAddresses"] {
                let path = path.at(key);
                for (j, address) in list(subset, key).iter().enumerate() {
                    warnings.extend(ip_warning(&path.index(j).at("ip"), text(address, "ip")));
                }
            }
        }
        warnings
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}

fn validate_subset(subset: &Value, path: &Path, errors: &mut Errors) {
    if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
        errors.required(path, "must specify `addresses` or `notReadyAddresses`");
    }
    for key in ["addresses", "notReadyAddresses"] {
        let path = path.at(key);
        for (i, address) in list(subset, key).iter().enumerate() {
            validate_address(address, &path.index(i), errors);
        }
    }
    let ports = list(subset, "ports");
    let path = path.at("ports");
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        match text(port, "name") {
            "" if ports.len() > 1 => errors.required(path.at("name"), ""),
            "" => {}
            name => invalid_each(errors, &path.at("name"), name, names::dns1123_label(name)),
        }
        in_range(errors, &path.at("port"), int(port, "port").unwrap_or_default(), 1, 65535);
        required_one_of(errors, &path.at("protocol"), text(port, "protocol"), &["SCTP", "TCP", "UDP"]);
        if let Some(protocol) = opt_text(port, "appProtocol") {
            invalid_each(errors, &path.at("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

fn validate_address(address: &Value, path: &Path, errors: &mut Errors) {
    let ip = text(address, "ip");
    validate_ip(errors, &path.at("ip"), ip);
    let host = text(address, "hostname");
    if !host.is_empty() {
        invalid_each(errors, &path.at("hostname"), host, names::dns1123_label(host));
    }
    if let Some(node) = opt_text(address, "nodeName") {
        invalid_node_name(errors, &path.at("nodeName"), node);
    }
    validate_endpoint_ip(errors, &path.at("ip"), ip);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}), ""),
            (json!({"subsets": [{}]}), "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"),
            (
                json!({"subsets": [{"addresses": [{"ip": "127.0.0.1"}]}]}),
                "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ),
        ];
        for (mut object, expected) in cases {
            Endpoints.default(&mut object);
            let mut errors = Errors::new();
            Endpoints.validate(&object, &mut errors);
            assert_eq!(errors.0.first().map_or_else(String::new, ToString::to_string), expected);
        }
    }
}
