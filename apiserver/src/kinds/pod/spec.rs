//! A pod's specification as a whole: the fields that are no container, no volume and no affinity.

use super::super::ip::validate_ip;
use super::super::labels::validate_labels;
use super::super::path::{
    Path, child, flag, has, int, invalid_each, list, opt_text, range_message, required_one_of, text, texts,
};
use super::{Owner, Scope, affinity, containers, env, resources, security, volumes};
use api::field::Errors;
use api::{Value, names};
use std::collections::HashSet;

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// Checks the specification of a pod, or of a template of pods.
pub fn validate(spec: &Value, owner: &Owner, path: &Path, errors: &mut Errors) {
    let mut scope = Scope::new(spec, owner);
    if scope.grace.is_none() {
        errors.required(path.at("terminationGracePeriodSeconds"), "");
    }
    volumes::validate(spec, owner.name, &mut scope, &path.at("volumes"), errors);
    resources::validate_pod_claims(spec, owner.is_mirror, &path.at("resourceClaims"), errors);
    containers::validate(spec, &scope, path, errors);
    resources::validate_pod(spec, &scope, path, errors);
    containers::validate_host_network(spec, owner.is_pod, path, errors);
    let restart = text(spec, "restartPolicy");
    required_one_of(errors, &path.at("restartPolicy"), restart, &["Always", "OnFailure", "Never"]);
    required_one_of(errors, &path.at("dnsPolicy"), text(spec, "dnsPolicy"), &DNS_POLICIES);
    validate_labels(spec, path, "nodeSelector", errors);
    security::validate_pod(spec, &scope.options, path, errors);
    if let Some(affinity) = child(spec, "affinity") {
        affinity::validate(affinity, &scope.options, &path.at("affinity"), errors);
    }
    validate_dns(spec, &path.at("dnsConfig"), errors);
    validate_gates(spec, path, errors);
    let at = path.at("topologySpreadConstraints");
    affinity::validate_spread(list(spec, "topologySpreadConstraints"), &scope.options, &at, errors);
    security::validate_host_process(spec, path, errors);
    security::validate_host_users(spec, &scope, path, errors);
    validate_names(spec, path, errors);
    validate_deadline(spec, path, errors);
    let at = path.at("tolerations");
    let comparing = scope.options.comparing_tolerations;
    affinity::validate_tolerations(list(spec, "tolerations"), comparing, &at, errors);
    validate_host_aliases(spec, &path.at("hostAliases"), errors);
    if let Some(policy) = opt_text(spec, "preemptionPolicy") {
        let supported = ["PreemptLowerPriority", "Never"];
        required_one_of(errors, &path.at("preemptionPolicy"), policy, &supported);
    }
    if let Some(overhead) = child(spec, "overhead") {
        resources::validate_overhead(overhead, &scope, &path.at("overhead"), errors);
    }
    security::validate_os(spec, path, errors);
    containers::visit(spec, path, |container, path| env::validate_file_key_volumes(container, &scope, path, errors));
}

fn validate_names(spec: &Value, path: &Path, errors: &mut Errors) {
    if let Some(name) = opt_text(spec, "hostnameOverride") {
        let path = path.at("hostnameOverride");
        if flag(spec, "setHostnameAsFQDN") {
            errors.forbidden(path, "may not be specified when setHostnameAsFQDN is true");
        }
        if flag(spec, "hostNetwork") {
            errors.forbidden(path, "may not be specified when hostNetwork is true");
        }
        if name.len() > 64 {
            errors.too_long(path, 64);
        }
        invalid_each(errors, &path, name, names::dns1123_subdomain(name));
    }
    let mut check = |key: &str, rule: fn(&str) -> Vec<String>| {
        let name = text(spec, key);
        if !name.is_empty() {
            invalid_each(errors, &path.at(key), name, rule(name));
        }
    };
    check("serviceAccountName", names::dns1123_subdomain);
    check("nodeName", names::dns1123_subdomain);
    check("hostname", names::dns1123_label);
    check("subdomain", names::dns1123_label);
    check("priorityClassName", names::dns1123_subdomain);
    if let Some(class) = opt_text(spec, "runtimeClassName") {
        invalid_each(errors, &path.at("runtimeClassName"), class, names::dns1123_subdomain(class));
    }
}

fn validate_deadline(spec: &Value, path: &Path, errors: &mut Errors) {
    let most = i64::from(i32::MAX);
    if let Some(seconds) = int(spec, "activeDeadlineSeconds").filter(|seconds| !(1..=most).contains(seconds)) {
        errors.invalid(path.at("activeDeadlineSeconds"), seconds, range_message(1, most));
    }
}

fn validate_gates(spec: &Value, path: &Path, errors: &mut Errors) {
    let at = path.at("readinessGates");
    for (i, gate) in list(spec, "readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        invalid_each(errors, &at.index(i).at("conditionType"), kind, names::qualified_name(kind));
    }
    let at = path.at("schedulingGates");
    let mut seen = HashSet::new();
    for (i, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        invalid_each(errors, &at.index(i), name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(at.index(i), name);
        }
    }
}

fn validate_dns(spec: &Value, path: &Path, errors: &mut Errors) {
    let config = child(spec, "dnsConfig");
    if text(spec, "dnsPolicy") == "None" {
        let Some(config) = config else {
            return errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        };
        if list(config, "nameservers").is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.required(path.at("nameservers"), detail);
        }
    }
    let Some(config) = config else { return };
    let (servers, searches) = (list(config, "nameservers"), list(config, "searches"));
    let at = path.at("nameservers");
    if servers.len() > MAX_NAMESERVERS {
        let detail = format!("must not have more than {MAX_NAMESERVERS} nameservers");
        errors.invalid(at, servers.to_vec(), detail);
    }
    for (i, server) in texts(config, "nameservers").enumerate() {
        validate_ip(errors, &at.index(i), server);
    }
    let at = path.at("searches");
    if searches.len() > MAX_SEARCHES {
        let detail = format!("must not have more than {MAX_SEARCHES} search paths");
        errors.invalid(at, searches.to_vec(), detail);
    }
    let characters = texts(config, "searches").map(|search| search.len() + 1).sum::<usize>().saturating_sub(1);
    if characters > MAX_SEARCH_CHARACTERS {
        let detail =
            format!("must not have more than {MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list");
        errors.invalid(at, searches.to_vec(), detail);
    }
    for (i, search) in texts(config, "searches").enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        invalid_each(errors, &at.index(i), search, names::dns1123_subdomain_with_underscore(search));
    }
    let at = path.at("options");
    for (i, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.required(at.index(i), "must not be empty");
        }
    }
}

fn validate_host_aliases(spec: &Value, path: &Path, errors: &mut Errors) {
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = path.index(i);
        validate_ip(errors, &path.at("ip"), text(alias, "ip"));
        let names = path.at("hostnames");
        for (j, name) in texts(alias, "hostnames").enumerate() {
            invalid_each(errors, &names.index(j), name, names::dns1123_subdomain(name));
        }
    }
}

/// The checks of a pod that a template does not have: tokens without an account, images.
pub fn validate_pod_only(spec: &Value, path: &Path, errors: &mut Errors) {
    if text(spec, "serviceAccountName").is_empty() {
        let volumes = path.at("volumes");
        for (i, volume) in list(spec, "volumes").iter().enumerate() {
            let Some(projected) = child(volume, "projected") else { continue };
            let path = volumes.index(i);
            let sources = path.at("projected.sources");
            for (j, source) in list(projected, "sources").iter().enumerate() {
                if has(source, "serviceAccountToken") {
                    let detail = "must not be specified when serviceAccountName is not set";
                    errors.forbidden(sources.index(j).at("serviceAccountToken"), detail);
                }
            }
        }
    }
    for key in ["containers", "initContainers"] {
        let path = path.at(key);
        for (i, container) in list(spec, key).iter().enumerate() {
            containers::validate_image_spaces(container, &path.index(i), errors);
        }
    }
}
