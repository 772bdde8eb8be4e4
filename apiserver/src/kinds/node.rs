//! Node.

use super::ip::{cidr_warning, is_single_or_dual, validate_cidr};
use super::labels::validate_key;
use super::path::{Path, child, entries, has, invalid_each, list, shown, text, texts};
use super::pod::validate_quantity;
use super::printed::duplicate;
use super::{Context, MetadataChecks, Rules};
use api::field::Errors;
use api::{Value, document, names};
use ipnet::IpNet;
use std::collections::HashSet;

pub struct Node;

impl Rules for Node {
    fn default(&self, node: &mut Value) {
        let has = |node: &Value, path: &str| document::get(node, path).is_some_and(|v| !v.is_null());
        if !has(node, "status.allocatable")
            && let Some(capacity) = document::get(node, "status.capacity").filter(|c| !c.is_null()).cloned()
        {
            document::set(node, "status.allocatable", capacity);
        }
        // The list and its first element say the same; the old field counts where they do not.
        let one = document::get_str(node, "spec.podCIDR").to_owned();
        let first = document::get_list(node, "spec.podCIDRs").first().cloned();
        match first {
            Some(first) if one.is_empty() => document::set(node, "spec.podCIDR", first),
            Some(first) if first == one.as_str() => {}
            _ if one.is_empty() => {}
            _ => document::set(node, "spec.podCIDRs", vec![one]),
        }
    }

    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, node: &mut Value, _: &Context) {
        document::remove(node, "spec.configSource");
        document::remove(node, "status.config");
    }

    fn prepare_for_update(&self, node: &mut Value, old: &Value, _: &Context) {
        if document::get(old, "spec.configSource").is_none() {
            document::remove(node, "spec.configSource");
        }
    }

    fn prepare_for_status_update(&self, node: &mut Value, old: &Value, _: &Context) {
        if document::get(old, "status.config").is_none() {
            document::remove(node, "status.config");
        }
    }

    /// An update is checked as if the node were new, and once more as an update.
    fn check(&self, node: &Value, old: Option<&Value>, errors: &mut Errors) {
        self.validate(node, errors);
        if let Some(old) = old {
            self.validate_status_update(node, old, errors);
            self.validate_update(node, old, errors);
        }
    }

    fn validate(&self, node: &Value, errors: &mut Errors) {
        validate_taints(node, errors);
        validate_resources(node, errors);
        validate_swap(node, errors);
        validate_declared_features(node, errors);
        validate_pod_cidrs(node, errors);
    }

    fn validate_update(&self, node: &Value, old: &Value, errors: &mut Errors) {
        let cidrs = |node| document::get_list(node, "spec.podCIDRs");
        let changed = match cidrs(node).len() == cidrs(old).len() {
            true => cidrs(node).iter().zip(cidrs(old)).filter(|(new, old)| new != old).count(),
            false => usize::from(!cidrs(old).is_empty()),
        };
        for _ in 0..changed {
            errors.forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
        }
        let provider = |node| document::get_str(node, "spec.providerID");
        if !provider(old).is_empty() && provider(node) != provider(old) {
            errors.forbidden("spec.providerID", "node updates may not change providerID except from \"\" to valid");
        }
        validate_taints(node, errors);
        if document::get_str(node, "spec.externalID") != document::get_str(old, "spec.externalID") {
            errors.forbidden("spec.externalID", "may not be updated");
        }
    }

    fn validate_status_update(&self, node: &Value, _: &Value, errors: &mut Errors) {
        validate_resources(node, errors);
        validate_declared_features(node, errors);
        let addresses = document::get_list(node, "status.addresses");
        let mut seen = HashSet::new();
        for (i, address) in addresses.iter().enumerate().filter(|(_, address)| !seen.insert(*address)) {
            let shown = ["Type", "Address"].map(|key| (key, text(address, &key.to_lowercase()).into()));
            duplicate(errors, Path::root("status.addresses").index(i), &shown, "");
        }
    }

    fn warnings(&self, node: &Value, _: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if document::get(node, "spec.configSource").is_some() {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !document::get_str(node, "spec.externalID").is_empty() {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
        let path = Path::root("spec.podCIDRs");
        let spec = child(node, "spec").unwrap_or(&Value::Null);
        let cidrs = texts(spec, "podCIDRs").enumerate();
        warnings.extend(cidrs.filter_map(|(i, cidr)| cidr_warning(&path.index(i), cidr)));
        warnings
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn selectable_field(&self, node: &Value, field: &str) -> String {
        document::get_bool(node, field).to_string()
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::FIRST_AGAIN
    }
}

fn validate_taints(node: &Value, errors: &mut Errors) {
    const PATH: Path = Path::root("metadata.taints");
    let taints = document::get_list(node, "spec.taints");
    let mut seen = HashSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let path = PATH.index(i);
        validate_key(text(taint, "key"), &path.at("key"), errors);
        let value = text(taint, "value");
        let messages = names::label_value(value);
        if !messages.is_empty() {
            errors.invalid(path.at("value"), value, messages.join(";"));
        }
        match text(taint, "effect") {
            "" => errors.required(path.at("effect"), ""),
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            other => {
                errors.not_supported(path.at("effect"), other, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
            }
        }
        if !seen.insert((text(taint, "key"), text(taint, "effect"))) {
            let shown = [
                ("Key", text(taint, "key").into()),
                ("Value", text(taint, "value").into()),
                ("Effect", text(taint, "effect").into()),
                ("TimeAdded", shown(child(taint, "timeAdded"))),
            ];
            duplicate(errors, path, &shown, "taints must be unique by key and effect pair");
        }
    }
}

fn validate_resources(node: &Value, errors: &mut Errors) {
    let status = child(node, "status").unwrap_or(&Value::Null);
    for list in ["capacity", "allocatable"] {
        for (resource, quantity) in entries(status, list) {
            let path = Path::root("status");
            let path = path.at(list);
            validate_quantity(resource, quantity, &path.at(resource), errors);
        }
    }
}

/// The place that the error names is upstream's.
fn validate_swap(node: &Value, errors: &mut Errors) {
    if let Some(capacity) = document::get_i64(node, "status.nodeInfo.swap.capacity").filter(|capacity| *capacity <= 0) {
        errors.invalid("metadata.nodeSwapStatus.capacity", capacity, "must be greater than zero");
    }
}

fn validate_declared_features(node: &Value, errors: &mut Errors) {
    const PATH: Path = Path::root("status.declaredFeatures");
    let status = child(node, "status").unwrap_or(&Value::Null);
    let features: Vec<&str> = texts(status, "declaredFeatures").collect();
    for (i, feature) in features.iter().enumerate() {
        if let Err(why) = validate_feature(feature) {
            errors.invalid(PATH.index(i), *feature, format!("invalid feature name {feature:?}: {why}"));
        }
        match features.get(i + 1) {
            Some(next) if next == feature => errors.duplicate(PATH.index(i + 1), *next),
            Some(next) if next < feature => {
                errors.invalid(PATH.index(i + 1), *next, "list must be sorted alphabetically");
            }
            _ => {}
        }
    }
}

/// `MyFeature` or `MyFeature/mySubFeature`
fn validate_feature(name: &str) -> Result<(), &'static str> {
    if name.len() > 253 {
        return Err("must be no more than 253 characters");
    }
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if name.starts_with(|c: char| c.is_ascii_uppercase()) && name.split('/').all(is_word) {
        return Ok(());
    }
    Err(
        "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes",
    )
}

fn validate_pod_cidrs(node: &Value, errors: &mut Errors) {
    let spec = child(node, "spec").unwrap_or(&Value::Null);
    if !has(spec, "podCIDRs") {
        return;
    }
    let path = Path::root("spec.podCIDRs");
    let nets: Vec<Option<IpNet>> =
        texts(spec, "podCIDRs").enumerate().map(|(i, cidr)| validate_cidr(errors, &path.index(i), cidr)).collect();
    if nets.len() < 2 {
        return;
    }
    if let Some(i) = nets.iter().position(Option::is_none) {
        let wrong = texts(spec, "podCIDRs").nth(i).unwrap_or_default();
        const WHY: &str = "invalid PodCIDRs. failed to check with dual stack with error";
        errors.internal(path, format!("{WHY}:invalid CIDR[{i}]: <nil> (invalid CIDR address: {wrong})"));
    }
    let families: Option<Vec<bool>> = nets.iter().map(|net| net.map(|net| net.addr().is_ipv4())).collect();
    if families.is_none_or(|families| !is_single_or_dual(families)) {
        let all = Value::Array(list(spec, "podCIDRs").to_vec());
        errors.invalid(path, all, "may specify no more than one CIDR for each IP family");
    }
}

/// Messages about a node's name where another object refers to one.
pub fn invalid_node_name(errors: &mut Errors, path: &Path, name: &str) {
    invalid_each(errors, path, name, names::dns1123_subdomain(name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn allocatable_is_the_capacity_by_default() {
        let mut node = json!({"status": {"capacity": {"cpu": "4"}}, "spec": {"podCIDR": "10.0.0.0/24"}});
        Node.default(&mut node);
        assert_eq!(node["status"]["allocatable"], json!({"cpu": "4"}));
        assert_eq!(node["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}), ""),
            (
                json!({"spec": {"taints": [{"key": "a", "effect": "Never"}]}}),
                "metadata.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ),
            (
                json!({"spec": {"podCIDRs": ["10.0.0.0/24", "10.1.0.0/24"]}}),
                "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.1.0.0/24\"]: may specify no more than one CIDR for each IP family",
            ),
            (
                json!({"status": {"capacity": {"pods": "1500m"}}}),
                "status.capacity.pods: Invalid value: \"1500m\": must be an integer",
            ),
        ];
        for (node, expected) in cases {
            let mut errors = Errors::new();
            Node.validate(&node, &mut errors);
            assert_eq!(errors.0.first().map_or_else(String::new, ToString::to_string), expected);
        }
    }

    #[test]
    fn pod_cidrs_are_set_once() {
        let node = |cidr: &str| json!({"spec": {"podCIDRs": [cidr]}});
        let mut errors = Errors::new();
        Node.validate_update(&node("10.0.0.0/24"), &json!({}), &mut errors);
        assert!(errors.is_empty());
        Node.validate_update(&node("10.1.0.0/24"), &node("10.0.0.0/24"), &mut errors);
        assert_eq!(
            errors.0[0].to_string(),
            "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"
        );
    }
}
