//! Resource requests, limits and claims of containers and pods.

use super::super::internal::compact;
use super::super::path::{Path, child, entries, has, int, invalid_each, list, map, required_one_of, text};
use super::Scope;
use api::field::{BadValue, ErrorType, Errors};
use api::names;
use api::quantity::Quantity;
use api::resource_list::{is_extended, is_huge_page, is_native, is_pod_level, of_containers, quantity};
use api::{Map, Value};
use std::collections::HashSet;

/// Resources that need no domain in their name.
pub const STANDARD_RESOURCES: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];
const INTEGER: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const POD_LEVEL: [&str; 3] = ["cpu", "hugepages-", "memory"];
const NOT_A_QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Whether a limit may be above the request.
pub fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// The checks of `resources` of a container.
pub fn validate_container(resources: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    validate(resources, container_resource_name, scope, path, errors);
}

/// The checks of a pod's `overhead`: the same as of a container's limits, without requests.
pub fn validate_overhead(overhead: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    let limits = path.at("limits");
    for (name, value) in overhead.as_object().into_iter().flatten() {
        let path = limits.key(name);
        container_resource_name(name, &path, errors);
        validate_quantity(name, value, &path, errors);
        validate_pages(name, value, scope, &path, errors);
    }
    let names = || overhead.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    if names().any(is_huge_page) && !names().any(|name| matches!(name, "cpu" | "memory")) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

/// The checks of a pod's own `resources` (KEP-2837).
pub fn validate_pod(spec: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    let Some(resources) = child(spec, "resources") else { return };
    let path = path.at("resources");
    if scope.os == Some("windows") {
        return errors.forbidden(path, "may not be set for a windows pod");
    }
    if has(resources, "claims") {
        errors.forbidden(path.at("claims"), "claims may not be set for Resources at pod-level");
    }
    validate(resources, pod_resource_name, scope, &path, errors);
    validate_consistency(spec, resources, &path, errors);
}

fn validate_consistency(spec: &Value, resources: &Value, path: &Path, errors: &mut Errors) {
    let requests = path.at("requests");
    for (name, wanted) in of_containers(spec, "requests") {
        if let Some(have) = listed(resources, "requests", &name).filter(|have| wanted > *have) {
            let detail = format!("must be greater than or equal to aggregate container requests of {wanted}");
            errors.invalid(requests.key(&name), have.to_string(), detail);
        }
    }
    let limits = path.at("limits");
    for (name, wanted) in of_containers(spec, "limits").into_iter().filter(|(name, _)| is_huge_page(name)) {
        if let Some(have) = listed(resources, "limits", &name).filter(|have| wanted > *have) {
            let detail = format!("must be greater than or equal to aggregate container limits of {wanted}");
            errors.invalid(limits.key(&name), have.to_string(), detail);
        }
    }
    let containers = path.at("containers");
    for (i, container) in list(spec, "containers").iter().enumerate() {
        for (name, limit) in child(container, "resources").into_iter().flat_map(|r| entries(r, "limits")) {
            let (Some(limit), Some(most)) = (quantity(limit), listed(resources, "limits", name)) else { continue };
            if limit > most {
                let detail = format!("must be less than or equal to pod limits of {most}");
                errors.invalid(containers.index(i).key(name).at("limits"), limit.to_string(), detail);
            }
        }
    }
}

fn listed(resources: &Value, list: &str, name: &str) -> Option<Quantity> {
    quantity(map(resources, list)?.get(name)?)
}

fn validate(
    resources: &Value,
    name_rule: fn(&str, &Path, &mut Errors),
    scope: &Scope,
    path: &Path,
    errors: &mut Errors,
) {
    let empty = Map::new();
    let limits = map(resources, "limits").unwrap_or(&empty);
    let requests = map(resources, "requests").unwrap_or(&empty);
    let (limits_path, requests_path) = (path.at("limits"), path.at("requests"));
    for (name, value) in limits {
        let path = limits_path.key(name);
        name_rule(name, &path, errors);
        validate_quantity(name, value, &path, errors);
        validate_pages(name, value, scope, &path, errors);
    }
    for (name, value) in requests {
        let path = requests_path.key(name);
        name_rule(name, &path, errors);
        validate_quantity(name, value, &path, errors);
        validate_request(name, value, limits.get(name), &requests_path, &limits_path, errors);
        validate_pages(name, value, scope, &path, errors);
    }
    let names = || limits.keys().chain(requests.keys());
    if names().any(|name| is_huge_page(name)) && !names().any(|name| name == "cpu" || name == "memory") {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
    validate_claims(list(resources, "claims"), scope, &path.at("claims"), errors);
}

fn validate_request(
    name: &str,
    request: &Value,
    limit: Option<&Value>,
    path: &Path,
    limits: &Path,
    errors: &mut Errors,
) {
    match (quantity(request), limit.and_then(quantity)) {
        (Some(request), Some(limit)) if request != limit && !is_overcommit_allowed(name) => {
            errors.invalid(path, request.to_string(), format!("must be equal to {name} limit of {limit}"));
        }
        (Some(request), Some(limit)) if request > limit => {
            errors.invalid(path, request.to_string(), format!("must be less than or equal to {name} limit of {limit}"));
        }
        (_, None) if limit.is_none() && !is_overcommit_allowed(name) => {
            errors.required(limits, "Limit must be set for non overcommitable resources");
        }
        _ => {}
    }
}

pub fn resource_name(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let before = errors.0.len();
    invalid_each(errors, path, name, names::qualified_name(name));
    let standard = STANDARD_RESOURCES.contains(&name) || is_huge_page(name) || name.starts_with("requests.hugepages-");
    if errors.0.len() == before && !name.contains('/') && !standard {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
    errors.0.len() == before
}

pub fn container_resource_name(name: &str, path: &Path, errors: &mut Errors) {
    if matches!(name, "cpu" | "memory" | "ephemeral-storage") {
        return;
    }
    resource_name(name, path, errors);
    if !name.contains('/') {
        if !is_huge_page(name) {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

fn pod_resource_name(name: &str, path: &Path, errors: &mut Errors) {
    if resource_name(name, path, errors) && !is_pod_level(name) {
        errors.not_supported(path, name, &POD_LEVEL);
    }
}

/// A quantity of the resource `name`: not negative, and whole where the resource comes in pieces.
pub fn validate_quantity(name: &str, value: &Value, path: &Path, errors: &mut Errors) {
    let Some(parsed) = quantity(value) else {
        return errors.invalid(path, value.clone(), NOT_A_QUANTITY);
    };
    if parsed.is_negative() {
        errors.invalid(path, parsed.to_string(), "must be greater than or equal to 0");
    }
    if (INTEGER.contains(&name) || is_extended(name)) && parsed.millis() % 1000 != 0 {
        errors.invalid(path, parsed.to_string(), "must be an integer");
    }
}

/// Whether an amount of huge pages is a multiple of their size.
pub fn is_whole_pages(name: &str, value: &Value) -> bool {
    let size = name.strip_prefix("hugepages-").and_then(|size| Quantity::parse(size).ok());
    size.zip(quantity(value)).is_some_and(|(size, amount)| {
        size.value() > 0 && size.millis() % 1000 == 0 && amount.value() % size.value() == 0
    })
}

fn validate_pages(name: &str, value: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    if is_huge_page(name) && !scope.options.broken_huge_pages && !is_whole_pages(name, value) {
        let amount = quantity(value).map(|amount| amount.to_string()).unwrap_or_default();
        let detail = format!("{amount} is not positive integer multiple of {name}");
        errors.invalid(path, amount, detail);
    }
}

fn validate_claims(claims: &[Value], scope: &Scope, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    let mut with_request = HashSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let (path, name, request) = (path.index(i), text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.required(path, "");
            continue;
        }
        if seen.contains(&(name, "")) {
            errors.duplicate(path, name);
        } else {
            if !request.is_empty() {
                invalid_each(errors, &path.at("request"), request, names::dns1123_label(request));
            }
            if !seen.insert((name, request)) {
                errors.duplicate(path, format!("{name}/{request}"));
            } else if request.is_empty() && with_request.contains(name) {
                errors.duplicate(path, name);
            }
            if !request.is_empty() {
                with_request.insert(name);
            }
        }
        if !scope.claims.contains(name) && !errors.is_full() {
            let mut known: Vec<&str> = scope.claims.iter().copied().collect();
            known.sort_unstable();
            let known = if known.is_empty() { " which is empty".into() } else { format!(": {}", known.join(", ")) };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{known}");
            errors.add(ErrorType::NotFound, path, Some(BadValue::Value(name.into())), detail);
        }
    }
}

/// The pod's `resourceClaims` (KEP-4381).
pub fn validate_pod_claims(spec: &Value, is_mirror: bool, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (i, claim) in list(spec, "resourceClaims").iter().enumerate() {
        let path = path.index(i);
        if is_mirror {
            errors.forbidden("[]", "static pods do not support resource claims");
            continue;
        }
        let name = text(claim, "name");
        if name.is_empty() {
            errors.required(path.at("name"), "");
        } else if !seen.insert(name) {
            errors.duplicate(path.at("name"), name);
        } else {
            invalid_each(errors, &path.at("name"), name, names::dns1123_label(name));
        }
        match (has(claim, "resourceClaimName"), has(claim, "resourceClaimTemplateName")) {
            (true, true) => errors.invalid_printed(
                path,
                compact("PodResourceClaim", claim),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (false, false) => errors.invalid_printed(
                path,
                compact("PodResourceClaim", claim),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            _ => {}
        }
        for key in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = child(claim, key).and_then(Value::as_str) {
                invalid_each(errors, &path.at(key), name, names::dns1123_subdomain(name));
            }
        }
    }
}

/// The policies of resizing a container's resources while it runs (KEP-1287).
pub fn validate_resize_policy(container: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    let path = &path.at("resizePolicy");
    let mut seen = HashSet::new();
    for (i, policy) in list(container, "resizePolicy").iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if !seen.insert(resource) {
            errors.duplicate(path.index(i), resource);
        }
        required_one_of(errors, path, resource, &["cpu", "memory"]);
        required_one_of(errors, path, restart, &["NotRequired", "RestartContainer"]);
        if scope.restart_policy == "Never" && restart != "NotRequired" {
            errors.invalid(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

/// The unit that a reference to a container's resource is counted in: `divisor` of a `resourceFieldRef`.
pub fn validate_divisor(reference: &Value, path: &Path, errors: &mut Errors) {
    const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let Some(divisor) = child(reference, "divisor").and_then(quantity).filter(|d| !d.is_zero()) else {
        return;
    };
    let resource = text(reference, "resource");
    let divisor = divisor.to_string();
    let (supported, words): (&[&str], &str) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => (&["1m", "1"], "cpu"),
        "memory" => (&SIZES, "memory"),
        "ephemeral-storage" => (&SIZES, "local ephemeral storage"),
        name if is_huge_page(name) => (&SIZES, "hugepages"),
        _ => return,
    };
    if !supported.contains(&divisor.as_str()) {
        let list = if words == "cpu" { "1m and 1".to_owned() } else { SIZES.join(", ") };
        let detail = format!("only divisor's values {list} are supported with the {words} resource");
        errors.invalid(path.at("divisor"), resource, detail);
    }
}

/// `ports` that containers take on their node: each once for a protocol and address.
pub fn validate_host_ports(containers: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in list(container, "ports").iter().enumerate() {
            let number = int(port, "hostPort").unwrap_or_default();
            if number == 0 {
                continue;
            }
            let (protocol, ip) = (text(port, "protocol"), text(port, "hostIP"));
            if !seen.insert((protocol, ip, number)) {
                let path = path.index(i);
                let ports = path.at("ports");
                errors.duplicate(ports.index(j).at("hostPort"), format!("{protocol}/{ip}/{number}"));
            }
        }
    }
}
