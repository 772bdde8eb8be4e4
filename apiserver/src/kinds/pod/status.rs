//! Updates of a pod's status, by its kubelet and by controllers.

use super::super::internal::compact_list;
use super::super::ip::validate_ip;
use super::super::path::{Path, child, descend, has, in_range, int, invalid_each, list, one_of, opt_text, text};
use super::{annotations, status_of};
use api::document;
use api::field::Errors;
use api::{Map, Value, names};
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

const MAX_HEALTH_MESSAGE: usize = 1024;
const STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// Keeps what a status writer may leave out: owners, the class, generations observed before.
pub fn prepare(pod: &mut Value, old: &Value) {
    let owners = document::get(old, "metadata.ownerReferences").cloned();
    match owners {
        Some(owners) => document::set(pod, "metadata.ownerReferences", owners),
        None => drop(document::remove(pod, "metadata.ownerReferences")),
    }
    for key in ["qosClass", "observedGeneration"] {
        if let Some(value) = status_of(old, key)
            && status_of(pod, key).is_none()
        {
            document::set(pod, &format!("status.{key}"), value.clone());
        }
    }
    drop_disabled(pod, old);
    let mut generations: HashMap<&str, VecDeque<Option<i64>>> = HashMap::new();
    for condition in document::get_list(old, "status.conditions") {
        generations.entry(text(condition, "type")).or_default().push_back(int(condition, "observedGeneration"));
    }
    let conditions = pod.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        let before = generations.get_mut(text(condition, "type")).and_then(VecDeque::pop_front).flatten();
        if let (Some(before), None) = (before, int(condition, "observedGeneration").filter(|now| *now != 0)) {
            document::set(condition, "observedGeneration", before);
        }
    }
}

/// Drops what features that are off by default in this version write, unless the old status has some of it.
fn drop_disabled(pod: &mut Value, old: &Value) {
    const NODE_CLAIMS: &str = "nodeAllocatableResourceClaimStatuses";
    let null = Value::Null;
    let (old, Some(status)) = (child(old, "status").unwrap_or(&null), pod.get_mut("status")) else { return };
    if list(old, NODE_CLAIMS).is_empty() {
        status.as_object_mut().and_then(|status| status.remove(NODE_CLAIMS));
    }
    let images = |status: &Value| {
        let containers = STATUSES.iter().flat_map(|(key, _)| list(status, key));
        containers.flat_map(|container| list(container, "volumeMounts")).any(|mount| has(mount, "volumeStatus"))
    };
    if images(old) || !images(status) {
        return;
    }
    for (key, _) in STATUSES {
        for container in status.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            for mount in container.get_mut("volumeMounts").and_then(Value::as_array_mut).into_iter().flatten() {
                document::remove(mount, "volumeStatus");
            }
        }
    }
}

/// Checks an update of the status.
pub fn validate(pod: &Value, old: &Value, errors: &mut Errors) {
    annotations::validate_update(pod, old, errors);
    let empty = Value::Object(Map::new());
    let status = child(pod, "status").unwrap_or(&empty);
    let old_status = child(old, "status").unwrap_or(&empty);
    let (spec, old_spec) = (child(pod, "spec").unwrap_or(&empty), child(old, "spec").unwrap_or(&empty));
    let path = Path::root("status");
    validate_conditions(status, &path.at("conditions"), errors);
    if text(spec, "nodeName") != text(old_spec, "nodeName") {
        errors.forbidden(path.at("nodeName"), "may not be changed directly");
    }
    let (nominated, before) = (text(status, "nominatedNodeName"), text(old_status, "nominatedNodeName"));
    if nominated != before && !nominated.is_empty() {
        let path = path.at("nominatedNodeName");
        invalid_each(errors, &path, nominated, names::dns1123_subdomain(nominated));
        if !text(old_spec, "nodeName").is_empty() {
            errors.forbidden(path, "may not be set on pods that are already bound to a node");
        }
    }
    validate_generation(status, &path, errors);
    let (class, before) = (text(status, "qosClass"), text(old_status, "qosClass"));
    if class != before {
        errors.invalid(path.at("qosClass"), class, "field is immutable");
    }
    for (key, containers) in STATUSES {
        validate_transitions(status, old_status, old_spec, key, containers, &path.at(key), errors);
    }
    validate_claims(status, spec, &path.at("resourceClaimStatuses"), errors);
    if let Some(claim) = child(status, "extendedResourceClaimStatus") {
        validate_extended_claim(claim, spec, &path.at("extendedResourceClaimStatus"), errors);
    }
    validate_ips(status, old_status, "podIPs", &path.at("podIPs"), errors);
    validate_host_ip(status, &path, errors);
    validate_ips(status, old_status, "hostIPs", &path.at("hostIPs"), errors);
    for (key, containers) in STATUSES {
        validate_containers(status, spec, key, containers, &path.at(key), errors);
    }
}

fn validate_generation(object: &Value, path: &Path, errors: &mut Errors) {
    if let Some(generation) = int(object, "observedGeneration").filter(|generation| *generation < 0) {
        errors.invalid(path.at("observedGeneration"), generation, "must be a non-negative integer");
    }
}

fn validate_conditions(status: &Value, path: &Path, errors: &mut Errors) {
    for (i, condition) in list(status, "conditions").iter().enumerate() {
        let path = path.index(i);
        validate_generation(condition, &path, errors);
        let kind = text(condition, "type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            invalid_each(errors, &path.at("Type"), kind, names::qualified_name(kind));
        }
    }
}

/// A container that has ended may run again only where its restart policy says so.
fn validate_transitions(
    status: &Value,
    old: &Value,
    spec: &Value,
    key: &str,
    containers: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let ephemeral = containers == "ephemeralContainers";
    if !ephemeral && all_may_restart(spec) {
        return;
    }
    let ended = |status: &'_ Value| child(status, "state").and_then(|state| child(state, "terminated")).cloned();
    let now: HashMap<&str, bool> =
        list(status, key).iter().rev().map(|status| (text(status, "name"), ended(status).is_some())).collect();
    let specs = by_name(spec, containers);
    for (i, before) in list(old, key).iter().enumerate() {
        let name = text(before, "name");
        let Some(terminated) = ended(before).filter(|_| now.get(name) == Some(&false)) else { continue };
        let code = int(&terminated, "exitCode").unwrap_or_default();
        let container = specs.get(name);
        if ephemeral || !container.is_some_and(|container| restarts(container, spec, code)) {
            errors.forbidden(path.index(i).at("state"), "may not be transitioned to non-terminated state");
        }
    }
}

fn by_name<'a>(spec: &'a Value, key: &str) -> HashMap<&'a str, &'a Value> {
    list(spec, key).iter().map(|container| (text(container, "name"), container)).collect()
}

fn all_may_restart(spec: &Value) -> bool {
    ["initContainers", "containers"]
        .iter()
        .flat_map(|key| list(spec, key))
        .flat_map(|container| list(container, "restartPolicyRules"))
        .any(|rule| text(rule, "action") == "RestartAllContainers")
}

fn restarts(container: &Value, spec: &Value, code: i64) -> bool {
    let own = text(container, "restartPolicy");
    let matching = list(container, "restartPolicyRules").iter().find(|rule| {
        child(rule, "exitCodes").is_some_and(|codes| {
            let listed = list(codes, "values").iter().any(|value| value.as_i64() == Some(code));
            match text(codes, "operator") {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        })
    });
    if !own.is_empty() && matching.is_some() {
        return true;
    }
    match if own.is_empty() { text(spec, "restartPolicy") } else { own } {
        "OnFailure" => code != 0,
        "Never" => false,
        _ => true,
    }
}

fn validate_claims(status: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let claims: HashSet<&str> = list(spec, "resourceClaims").iter().map(|claim| text(claim, "name")).collect();
    let mut seen = HashSet::new();
    for (i, claim) in list(status, "resourceClaimStatuses").iter().enumerate() {
        let path = path.index(i);
        let name = text(claim, "name");
        if !claims.contains(name) {
            errors.invalid(path.at("name"), name, "must match the name of an entry in `spec.resourceClaims`");
        }
        if !seen.insert(name) {
            errors.duplicate(path.at("name"), name);
        }
        if let Some(claim) = child(claim, "resourceClaimName").and_then(Value::as_str) {
            invalid_each(errors, &path.at("resourceClaimName"), claim, names::dns1123_subdomain(claim));
        }
    }
}

/// The claim that stands for extended resources of the containers (KEP-5004).
fn validate_extended_claim(claim: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let mut containers = by_name(spec, "initContainers");
    containers.extend(by_name(spec, "containers"));
    let mappings = path.at("requestMappings");
    if list(claim, "requestMappings").is_empty() {
        errors.required(mappings, "at least one request mapping is required");
    }
    let mut seen = HashSet::new();
    for (i, mapping) in list(claim, "requestMappings").iter().enumerate() {
        let part = |key: &'static str| (key, text(mapping, key));
        let parts = [part("containerName"), part("resourceName"), part("requestName")];
        let [(_, container), (_, resource), (_, request)] = parts;
        let at = mappings.index(i);
        match containers.get(container) {
            None => {
                let detail = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.invalid(at.at("containerName"), container, detail);
            }
            Some(container) if descend(container, &["resources", "requests", resource]).is_none() => {
                let detail = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.invalid(at.at("resourceName"), resource, detail);
            }
            Some(_) => {}
        }
        invalid_each(errors, &path.at("requestName"), request, names::dns1123_label(request));
        if !seen.insert(parts) {
            parts.iter().for_each(|(key, value)| errors.duplicate(at.at(key), *value));
        }
    }
    match text(claim, "resourceClaimName") {
        "" => errors.required(path.at("resourceClaimName"), ""),
        name => invalid_each(errors, &path.at("resourceClaimName"), name, names::dns1123_subdomain(name)),
    }
}

/// Addresses, of which those that were there before need not be valid.
fn validate_ips(status: &Value, old: &Value, key: &str, path: &Path, errors: &mut Errors) {
    let ips = list(status, key);
    let before: HashSet<&str> = list(old, key).iter().map(|ip| text(ip, "ip")).collect();
    for (i, ip) in ips.iter().map(|ip| text(ip, "ip")).enumerate() {
        if !before.contains(ip) {
            validate_ip(errors, &path.index(i), ip);
        }
    }
    let parsed: Vec<IpAddr> = ips.iter().map_while(|ip| names::sloppy_ip(text(ip, "ip"))).collect();
    if ips.len() > 1
        && let Some(ip) = ips.get(parsed.len())
    {
        let (i, ip) = (parsed.len(), text(ip, "ip"));
        errors.internal(path, format!("failed to check for dual stack with error:invalid IP[{i}]: {ip}"));
    }
    let dual = parsed.len() == ips.len() && parsed.iter().any(IpAddr::is_ipv4) && parsed.iter().any(IpAddr::is_ipv6);
    if ips.len() > 2 || (ips.len() == 2 && !dual) {
        let detail = "may specify no more than one IP for each IP family";
        errors.invalid_printed(path, compact_list("PodIP", ips), detail);
    }
}

fn validate_host_ip(status: &Value, path: &Path, errors: &mut Errors) {
    if let Some(first) = list(status, "hostIPs").first().map(|ip| text(ip, "ip"))
        && first != text(status, "hostIP")
    {
        errors.invalid(path.at("hostIPs").index(0).at("ip"), first, "must be equal to `hostIP`");
    }
}

/// Users and device states of containers.
fn validate_containers(status: &Value, spec: &Value, key: &str, containers: &str, path: &Path, errors: &mut Errors) {
    let windows = child(spec, "os").is_some_and(|os| text(os, "name") == "windows");
    let specs = by_name(spec, containers);
    for (i, status) in list(status, key).iter().enumerate() {
        let path = path.index(i);
        if let Some(user) = child(status, "user").and_then(|user| child(user, "linux")) {
            let path = path.at("user.linux");
            if windows {
                errors.forbidden(path, "cannot be set for a windows pod");
            } else {
                for key in ["uid", "gid"] {
                    in_range(errors, &path.at(key), int(user, key).unwrap_or_default(), 0, i32::MAX.into());
                }
                let groups = path.at("supplementalGroups");
                for (j, group) in list(user, "supplementalGroups").iter().enumerate() {
                    in_range(errors, &groups.index(j), group.as_i64().unwrap_or_default(), 0, i32::MAX.into());
                }
            }
        }
        let path = path.at("allocatedResourcesStatus");
        if containers != "ephemeralContainers" {
            let container = specs.get(text(status, "name")).copied();
            validate_allocated(list(status, "allocatedResourcesStatus"), container, &path, errors);
        } else if !list(status, "allocatedResourcesStatus").is_empty() {
            errors.forbidden(path, "must not be specified in container status");
        }
    }
}

/// The health of devices that a container has (KEP-4680).
/// What they are for is looked at only where the pod has the container.
fn validate_allocated(allocated: &[Value], container: Option<&Value>, path: &Path, errors: &mut Errors) {
    let resources = container.and_then(|container| child(container, "resources"));
    let claims: HashSet<String> = resources
        .map(|resources| list(resources, "claims"))
        .unwrap_or_default()
        .iter()
        .map(|claim| match text(claim, "request") {
            "" => format!("claim:{}", text(claim, "name")),
            request => format!("claim:{}/{request}", text(claim, "name")),
        })
        .collect();
    for (i, resource) in allocated.iter().enumerate() {
        let path = path.index(i);
        let name = text(resource, "name");
        let (known, detail) = if name.starts_with("claim:") {
            let detail = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
            (claims.contains(name), detail)
        } else {
            let requests = resources.and_then(|resources| child(resources, "requests"));
            let known = requests.is_some_and(|requests| requests.get(name).is_some());
            (known, "must match one of the container's resource requests")
        };
        if !known && container.is_some() {
            errors.invalid(path.at("name"), name, detail);
        }
        let mut seen = HashSet::new();
        let path = path.at("resources");
        for (j, device) in list(resource, "resources").iter().enumerate() {
            let path = path.index(j);
            let id = text(device, "resourceID");
            one_of(errors, &path.at("health"), text(device, "health"), &["Healthy", "Unhealthy", "Unknown"]);
            match opt_text(device, "message") {
                Some("") => errors.required(path.at("message"), "must be non-empty if specified"),
                Some(message) if message.len() > MAX_HEALTH_MESSAGE => {
                    errors.too_long(path.at("message"), MAX_HEALTH_MESSAGE);
                }
                _ => {}
            }
            if !seen.insert(id) {
                errors.duplicate(path.at("resourceID"), id);
            }
        }
    }
}
