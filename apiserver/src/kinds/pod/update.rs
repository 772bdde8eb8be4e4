//! What may change in a pod: images, deadlines that come nearer, more tolerations, fewer gates.

use super::super::diff::diff;
use super::super::equality::same;
use super::super::path::{Path, child, descend, has, int, list, range_message, text};
use super::affinity::{validate_node_affinity_grows, validate_node_selector_grows};
use super::annotations;
use api::document::{self, as_map};
use api::field::Errors;
use api::{Map, Value};
use std::collections::{HashMap, HashSet};

const CHANGEABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks an update of a pod, beyond what every pod is checked for.
pub fn validate(pod: &Value, old: &Value, errors: &mut Errors) {
    annotations::validate_update(pod, old, errors);
    let empty = Value::Object(Map::new());
    let (new, old) = (child(pod, "spec").unwrap_or(&empty), child(old, "spec").unwrap_or(&empty));
    let path = Path::root("spec");
    for key in ["containers", "initContainers"] {
        if list(new, key).len() != list(old, key).len() {
            return errors.forbidden(path.at(key), "pod updates may not add or remove containers");
        }
        let path = path.at(key);
        for (i, container) in list(new, key).iter().enumerate() {
            let image = text(container, "image");
            let path = path.index(i);
            if image.is_empty() {
                errors.required(path.at("image"), "");
            }
            super::containers::validate_image_spaces(container, &path, errors);
        }
    }
    if !validate_deadline(new, old, &path, errors) {
        return;
    }
    validate_tolerations(new, old, &path.at("tolerations"), errors);
    validate_gates(new, old, &path.at("schedulingGates"), errors);
    if !same_spec(new, old) {
        validate_rest(new, old, &path, errors);
    }
}

/// Whether two specifications mean the same. Resources of the pod itself are an option, even empty ones.
fn same_spec(new: &Value, old: &Value) -> bool {
    has(new, "resources") == has(old, "resources") && same(Some(new), Some(old))
}

/// Gives false where the rest need not be looked at.
fn validate_deadline(new: &Value, old: &Value, path: &Path, errors: &mut Errors) -> bool {
    let at = path.at("activeDeadlineSeconds");
    let most = i64::from(i32::MAX);
    match (int(new, "activeDeadlineSeconds"), int(old, "activeDeadlineSeconds")) {
        (Some(new), _) if !(0..=most).contains(&new) => errors.invalid(at, new, range_message(0, most)),
        (Some(new), Some(old)) if old < new => {
            errors.invalid(at, new, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            errors.invalid(at, Value::Null, "must not update from a positive integer to nil value");
            return true;
        }
        _ => return true,
    }
    false
}

fn validate_tolerations(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let identity = |toleration: &Value| {
        let part = |key| text(toleration, key).to_owned();
        (part("key"), part("operator"), part("value"), part("effect"))
    };
    let kept: HashSet<_> = list(new, "tolerations").iter().map(identity).collect();
    if !list(old, "tolerations").iter().all(|toleration| kept.contains(&identity(toleration))) {
        return errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
    let comparing = list(old, "tolerations").iter().any(|old| matches!(text(old, "operator"), "Lt" | "Gt"));
    super::validate_tolerations(list(new, "tolerations"), comparing, path, errors);
}

fn validate_gates(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let known: HashSet<&str> = list(old, "schedulingGates").iter().map(|gate| text(gate, "name")).collect();
    let gates = list(new, "schedulingGates");
    let last: HashMap<&str, usize> = gates.iter().enumerate().map(|(i, gate)| (text(gate, "name"), i)).collect();
    for (i, gate) in gates.iter().enumerate() {
        let name = text(gate, "name");
        if !known.contains(name) && last.get(name) == Some(&i) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(path.index(i).at("name"), detail);
        }
    }
}

/// Puts back what may change, and reports what differs then.
fn validate_rest(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let mut munged = new.clone();
    for key in ["containers", "initContainers"] {
        let containers = munged.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, old) in containers.zip(list(old, key)) {
            restore(container, old, "image");
        }
    }
    for key in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        restore(&mut munged, old, key);
    }
    let grace = "terminationGracePeriodSeconds";
    if int(old, grace).is_some_and(|seconds| seconds < 0) && int(new, grace) == Some(1) {
        restore(&mut munged, old, grace);
    }
    if !list(old, "schedulingGates").is_empty() {
        restore_gated(&mut munged, new, old, path, errors);
    }
    if !same_spec(&munged, old) {
        let changes = diff("PodSpec", old, &munged);
        errors.forbidden(path, format!("pod updates may not change fields other than {CHANGEABLE}\n{changes}"));
    }
}

/// While a pod is held by a gate, where it may run can be narrowed (KEP-3838).
fn restore_gated(munged: &mut Value, new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let selectors = (child(new, "nodeSelector"), child(old, "nodeSelector"));
    if !same(selectors.0, selectors.1) {
        validate_node_selector_grows(selectors.0, selectors.1, &path.at("nodeSelector"), errors);
        restore(munged, old, "nodeSelector");
    }
    let node_affinity = |spec| descend(spec, &["affinity", "nodeAffinity"]);
    if same(node_affinity(new), node_affinity(old)) {
        return;
    }
    validate_node_affinity_grows(node_affinity(new), node_affinity(old), &path.at("affinity.nodeAffinity"), errors);
    match node_affinity(old) {
        Some(affinity) => document::set(munged, "affinity.nodeAffinity", affinity.clone()),
        None => {
            document::remove(munged, "affinity.nodeAffinity");
            if child(old, "affinity").is_none() && child(munged, "affinity") == Some(&Value::Object(Map::new())) {
                document::remove(munged, "affinity");
            }
        }
    }
}

/// Sets a field of `object` to what `old` has there.
pub(super) fn restore(object: &mut Value, old: &Value, key: &str) {
    match child(old, key) {
        Some(value) => as_map(object).insert(key.to_owned(), value.clone()),
        None => as_map(object).remove(key),
    };
}

/// Checks an update through `ephemeralcontainers`: none is removed or changed.
pub fn validate_ephemeral(pod: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::root("spec.ephemeralContainers");
    let containers = |pod| document::get_list(pod, "spec.ephemeralContainers");
    let by_name: HashMap<&str, &Value> = containers(pod).iter().map(|new| (text(new, "name"), new)).collect();
    for old in containers(old) {
        let name = text(old, "name");
        match by_name.get(name) {
            None => errors.forbidden(path, format!("existing ephemeral containers \"{name}\" may not be removed\n")),
            Some(new) if !same(Some(new), Some(old)) => {
                let changes = diff("EphemeralContainer", old, new);
                let detail = format!("existing ephemeral containers \"{name}\" may not be changed\n{changes}");
                errors.forbidden(path, detail);
            }
            Some(_) => {}
        }
    }
}
