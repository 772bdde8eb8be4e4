//! NetworkPolicy.

use super::Rules;
use super::ip::{cidr_warning, validate_cidr};
use super::labels::validate_selector;
use super::path::{Path, child, has, in_range, int, invalid_each, list, one_of, opt_text, shown, text, texts};
use api::field::Errors;
use api::{Value, document, names};
use serde_json::json;
use std::collections::HashSet;

pub struct NetworkPolicy;

impl Rules for NetworkPolicy {
    fn default(&self, policy: &mut Value) {
        if document::get_list(policy, "spec.policyTypes").is_empty() {
            let egress = !document::get_list(policy, "spec.egress").is_empty();
            let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            document::set(policy, "spec.policyTypes", types);
        }
        for direction in ["ingress", "egress"] {
            let rules = policy.get_mut("spec").and_then(|spec| spec.get_mut(direction)).and_then(Value::as_array_mut);
            for rule in rules.into_iter().flatten() {
                let ports = rule.get_mut("ports").and_then(Value::as_array_mut);
                for port in ports.into_iter().flatten().filter(|port| !has(port, "protocol")) {
                    document::set(port, "protocol", "TCP");
                }
            }
        }
    }

    fn check(&self, policy: &Value, old: Option<&Value>, errors: &mut Errors) {
        const SPEC: Path = Path::root("spec");
        let known = old.map(networks).unwrap_or_default();
        let spec = child(policy, "spec").unwrap_or(&Value::Null);
        if let Some(selector) = child(spec, "podSelector") {
            validate_selector(selector, &SPEC.at("podSelector"), errors);
        }
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            let path = SPEC.at(direction);
            for (i, rule) in list(spec, direction).iter().enumerate() {
                validate_rule(rule, peers, &known, &path.index(i), errors);
            }
        }
        let types = list(spec, "policyTypes");
        let path = SPEC.at("policyTypes");
        if types.len() > 2 {
            return errors.invalid(path, json!(types), "may not specify more than two policyTypes");
        }
        for (i, kind) in texts(spec, "policyTypes").enumerate() {
            one_of(errors, &path.index(i), kind, &["Ingress", "Egress"]);
        }
    }

    fn warnings(&self, policy: &Value, _: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        for_each_block(policy, &mut |block, path| {
            warnings.extend(cidr_warning(&path.at("cidr"), text(block, "cidr")));
            let path = path.at("except");
            let except = texts(block, "except").enumerate();
            warnings.extend(except.filter_map(|(i, cidr)| cidr_warning(&path.index(i), cidr)));
        });
        warnings
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn tells_empty_lists(&self) -> bool {
        true
    }
}

/// Each `ipBlock` of a policy, and where it stands.
fn for_each_block(policy: &Value, see: &mut impl FnMut(&Value, &Path)) {
    const SPEC: Path = Path::root("spec");
    let spec = child(policy, "spec").unwrap_or(&Value::Null);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let path = SPEC.at(direction);
        for (i, rule) in list(spec, direction).iter().enumerate() {
            let path = path.index(i);
            let path = path.at(peers);
            for (j, peer) in list(rule, peers).iter().enumerate() {
                if let Some(block) = child(peer, "ipBlock") {
                    see(block, &path.index(j).at("ipBlock"));
                }
            }
        }
    }
}

/// All networks that a policy speaks of.
fn networks(policy: &Value) -> HashSet<String> {
    let mut networks = HashSet::new();
    for_each_block(policy, &mut |block, _| {
        networks.insert(text(block, "cidr").to_owned());
        networks.extend(texts(block, "except").map(str::to_owned));
    });
    networks
}

fn validate_rule(rule: &Value, peers: &str, known: &HashSet<String>, path: &Path, errors: &mut Errors) {
    let at = path.at("ports");
    for (i, port) in list(rule, "ports").iter().enumerate() {
        validate_port(port, &at.index(i), errors);
    }
    let at = path.at(peers);
    for (i, peer) in list(rule, peers).iter().enumerate() {
        validate_peer(peer, known, &at.index(i), errors);
    }
}

fn validate_port(port: &Value, path: &Path, errors: &mut Errors) {
    if let Some(protocol) = opt_text(port, "protocol") {
        one_of(errors, &path.at("protocol"), protocol, &["TCP", "UDP", "SCTP"]);
    }
    let (end, at) = (int(port, "endPort"), path.at("endPort"));
    match (child(port, "port"), end) {
        (Some(Value::String(name)), end) => {
            if let Some(end) = end {
                errors.invalid(at, end, "may not be specified when `port` is non-numeric");
            }
            invalid_each(errors, &path.at("port"), name, names::port_name(name));
        }
        (Some(number), end) => {
            let number = number.as_i64().unwrap_or_default();
            in_range(errors, &path.at("port"), number, 1, 65535);
            if let Some(end) = end {
                if end < number {
                    errors.invalid(at, number, "must be greater than or equal to `port`");
                }
                in_range(errors, &at, end, 1, 65535);
            }
        }
        (None, Some(end)) => errors.invalid(at, end, "may not be specified when `port` is not specified"),
        (None, None) => {}
    }
}

fn validate_peer(peer: &Value, known: &HashSet<String>, path: &Path, errors: &mut Errors) {
    let mut selectors = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = child(peer, key) {
            selectors += 1;
            validate_selector(selector, &path.at(key), errors);
        }
    }
    match child(peer, "ipBlock") {
        Some(block) => {
            validate_block(block, known, &path.at("ipBlock"), errors);
            if selectors > 0 {
                errors.forbidden(path, "may not specify both ipBlock and another peer");
            }
        }
        None if selectors == 0 => errors.required(path, "must specify a peer"),
        None => {}
    }
}

/// Checks a network; one that was there before may stay as it is.
fn validate_network(errors: &mut Errors, path: &Path, cidr: &str, known: &HashSet<String>) -> Option<ipnet::IpNet> {
    match known.contains(cidr) {
        true => cidr.parse().ok(),
        false => validate_cidr(errors, path, cidr),
    }
}

fn validate_block(block: &Value, known: &HashSet<String>, path: &Path, errors: &mut Errors) {
    let cidr = text(block, "cidr");
    if cidr.is_empty() {
        return errors.required(path.at("cidr"), "");
    }
    let Some(net) = validate_network(errors, &path.at("cidr"), cidr, known) else { return };
    let at = path.at("except");
    for (i, except) in list(block, "except").iter().enumerate() {
        let path = at.index(i);
        let hole = validate_network(errors, &path, except.as_str().unwrap_or_default(), known);
        if hole.is_some_and(|hole| !net.contains(&hole) || net == hole) {
            errors.invalid(path, shown(Some(except)), "must be a strict subset of `cidr`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (json!({"podSelector": {}, "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 53}]}]}), ""),
            (json!({"ingress": [{"from": [{}]}]}), "spec.ingress[0].from[0]: Required value: must specify a peer"),
            (
                json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]}),
                "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            ),
            (
                json!({"ingress": [{"ports": [{"port": "http", "endPort": 90}]}]}),
                "spec.ingress[0].ports[0].endPort: Invalid value: 90: may not be specified when `port` is non-numeric",
            ),
        ];
        for (spec, expected) in cases {
            let mut policy = json!({ "spec": spec });
            NetworkPolicy.default(&mut policy);
            let mut errors = Errors::new();
            NetworkPolicy.check(&policy, None, &mut errors);
            assert_eq!(errors.0.first().map_or_else(String::new, ToString::to_string), expected);
        }
    }

    #[test]
    fn a_network_that_was_there_may_stay() {
        let policy =
            json!({"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}], "policyTypes": ["Ingress"]}});
        let mut errors = Errors::new();
        NetworkPolicy.check(&policy, Some(&policy), &mut errors);
        assert!(errors.is_empty());
        NetworkPolicy.check(&policy, None, &mut errors);
        assert_eq!(errors.0[0].field, "spec.ingress[0].from[0].ipBlock.cidr");
    }
}
