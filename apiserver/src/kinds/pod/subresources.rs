//! A pod's `binding`, `ephemeralcontainers` and `resize`, and what is filled in from its labels and annotations.

use super::super::equality::same;
use super::super::path::{Path, child, descend, entries, has, list, map, text, texts};
use super::update::{restore, validate_ephemeral};
use super::{annotations, drop_disabled, qos_class};
use api::document::{self, as_map};
use api::field::Errors;
use api::status::ApiError;
use api::{Map, Value, time};
use jiff::Timestamp;
use serde_json::json;

/// Checks the `Binding` of the pod `name`: 400 when the names differ, 500 (as upstream) for a bad target.
pub fn check_binding(name: &str, binding: &Value) -> Result<(), ApiError> {
    if document::name(binding) != name {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    let (kind, node) = (document::get_str(binding, "target.kind"), document::get_str(binding, "target.name"));
    let mut errors = Errors::new();
    if !matches!(kind, "" | "Node") {
        errors.not_supported("target.kind", kind, &["Node", "<empty>"]);
    }
    if node.is_empty() {
        errors.required("target.name", "");
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::unclassified(&errors)) }
}

/// Assigns a pod to the node of a checked `Binding`, with the binding's annotations and labels.
///
/// Errors: 409 when the pod has a node, is being deleted, or is held by a scheduling gate.
pub fn bind(pod: &mut Value, binding: &Value, now: Timestamp) -> Result<(), ApiError> {
    may_bind(pod).map_err(|why| conflict(document::name(pod), &why))?;
    document::set(pod, "spec.nodeName", document::get_str(binding, "target.name"));
    document::remove(pod, "status.nominatedNodeName");
    for key in ["annotations", "labels"] {
        if let Some(added) = child(binding, "metadata").and_then(|metadata| map(metadata, key)) {
            document::child(document::metadata_mut(pod), key).extend(added.clone());
        }
    }
    set_scheduled(pod, now);
    Ok(())
}

fn may_bind(pod: &Value) -> Result<(), String> {
    let name = document::name(pod);
    if document::is_terminating(pod) {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    match document::get_str(pod, "spec.nodeName") {
        "" => {}
        node => return Err(format!("pod {name} is already assigned to node \"{node}\"")),
    }
    if !document::get_list(pod, "spec.schedulingGates").is_empty() {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    Ok(())
}

fn conflict(name: &str, why: &str) -> ApiError {
    let message = format!("Operation cannot be fulfilled on pods/binding \"{name}\": {why}");
    let mut error = ApiError::new(409, "Conflict", message);
    error.kind = "pods/binding".to_owned();
    error.name = name.to_owned();
    error
}

/// The condition `PodScheduled` becomes true; when it was already, the time of that stays.
fn set_scheduled(pod: &mut Value, now: Timestamp) {
    let status = document::child(as_map(pod), "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else { return };
    let mut condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time::format(now),
    });
    match conditions.iter_mut().find(|old| text(old, "type") == "PodScheduled") {
        Some(old) => {
            if text(old, "status") == "True" {
                restore(&mut condition, old, "lastTransitionTime");
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

/// Puts back everything but the fields of the specification in `kept`, and counts the generation.
fn keep_only(pod: &mut Value, old: &Value, spec: Value) {
    as_map(pod).insert("spec".to_owned(), spec);
    restore(pod, old, "status");
    let empty = json!({});
    let old_metadata = child(old, "metadata").unwrap_or(&empty);
    let mut metadata = Value::Object(std::mem::take(document::metadata_mut(pod)));
    for key in
        ["labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        restore(&mut metadata, old_metadata, key);
    }
    if !same(child(pod, "spec"), child(old, "spec")) {
        let generation = document::get_i64(old, "metadata.generation").unwrap_or_default() + 1;
        document::set(&mut metadata, "generation", generation);
    }
    as_map(pod).insert("metadata".to_owned(), metadata);
}

/// Before an update through `ephemeralcontainers`: all but those containers becomes the old one.
pub fn prepare_ephemeral_containers(pod: &mut Value, old: &Value) {
    let mut spec = child(old, "spec").cloned().unwrap_or_default();
    let new = pod.get("spec").cloned().unwrap_or_default();
    restore(&mut spec, &new, "ephemeralContainers");
    drop_disabled(&mut spec, child(old, "spec"));
    keep_only(pod, old, spec);
}

/// Checks an update through `ephemeralcontainers`, everything included.
pub fn validate_ephemeral_containers(pod: &Value, old: &Value, errors: &mut Errors) {
    if annotations::is_mirror(old) {
        return errors.forbidden("[]", "static pods do not support ephemeral containers");
    }
    super::validate(pod, Some(old), errors);
    annotations::validate_update(pod, old, errors);
    validate_ephemeral(pod, old, errors);
}

/// Before an update through `resize`: all but resources and resize policies becomes the old one, unless containers were
/// added, removed or renamed, which validation refuses.
pub fn prepare_resize(pod: &mut Value, old: &Value) {
    let empty = json!({});
    let old_spec = child(old, "spec").unwrap_or(&empty);
    let new_spec = pod.get("spec").cloned().unwrap_or_default();
    let keys = ["containers", "initContainers"];
    if keys.iter().any(|key| list(&new_spec, key).len() != list(old_spec, key).len()) {
        return;
    }
    let mut spec = old_spec.clone();
    restore(&mut spec, &new_spec, "resources");
    for key in keys {
        let (new, old) = (list(&new_spec, key), list(old_spec, key));
        if new.iter().zip(old).any(|(new, old)| text(new, "name") != text(old, "name")) {
            restore(&mut spec, &new_spec, key);
            continue;
        }
        let containers = spec.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, new) in containers.zip(new) {
            restore(container, new, "resources");
            restore(container, new, "resizePolicy");
        }
    }
    keep_only(pod, old, spec);
}

/// Checks an update through `resize` (KEP-1287), everything included.
pub fn validate_resize(pod: &Value, old: &Value, errors: &mut Errors) {
    if annotations::is_mirror(old) {
        return errors.forbidden("[]", "static pods cannot be resized");
    }
    if document::get_str(old, "spec.os.name") == "windows" {
        return errors.forbidden("[]", "windows pods cannot be resized");
    }
    super::validate(pod, Some(old), errors);
    let class = match document::get_str(old, "status.qosClass") {
        "" => qos_class(old),
        class => class,
    };
    let path = Path::root("spec");
    if class != qos_class(pod) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.invalid(path, document::get_str(pod, "status.qosClass"), detail);
    }
    let running = document::get_list(old, "status.containerStatuses")
        .iter()
        .find(|status| descend(status, &["state", "running"]).is_some());
    if running.is_some_and(|status| !has(status, "resources")) {
        errors.forbidden(path, "Pod running on node without support for resize");
    }
    let empty = json!({});
    let (new, old_spec) = (child(pod, "spec").unwrap_or(&empty), child(old, "spec").unwrap_or(&empty));
    validate_pod_level(new, old_spec, &path, errors);
    if !document::get_list(old, "status.nodeAllocatableResourceClaimStatuses").is_empty() {
        errors.forbidden(path, "pods with node allocatable resource claims cannot be resized");
    }
    if same_containers(new, old_spec, &path, errors) {
        validate_resized(new, old_spec, &path, errors);
    }
}

fn validate_pod_level(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let (new, old) = (child(new, "resources"), child(old, "resources"));
    let at = path.at("resources");
    if let Some(before) = old {
        let Some(after) = new else {
            return errors.forbidden(at, "pod-level resources cannot be removed");
        };
        for key in ["requests", "limits"] {
            if removed(after, before, key) {
                errors.forbidden(at.at(key), format!("pod-level resource {key} cannot be removed"));
            }
        }
    }
    let empty = |resources: &Value| old.is_none() && resources.as_object().is_some_and(Map::is_empty);
    let rest = new.map(without_cpu_and_memory).filter(|rest| !empty(rest));
    if !same(rest.as_ref(), old.map(without_cpu_and_memory).as_ref()) {
        errors.forbidden(path, "only cpu and memory resources are mutable at pod-level");
    }
}

fn removed(new: &Value, old: &Value, key: &str) -> bool {
    entries(old, key).any(|(name, _)| !map(new, key).is_some_and(|new| new.contains_key(name)))
}

fn without_cpu_and_memory(resources: &Value) -> Value {
    let mut resources = resources.clone();
    for key in ["requests", "limits"] {
        let Some(list) = resources.get_mut(key).and_then(Value::as_object_mut) else { continue };
        list.retain(|name, _| name != "cpu" && name != "memory");
        if list.is_empty() {
            as_map(&mut resources).remove(key);
        }
    }
    resources
}

fn same_containers(new: &Value, old: &Value, path: &Path, errors: &mut Errors) -> bool {
    let before = errors.0.len();
    for key in ["containers", "initContainers"] {
        let path = path.at(key);
        if list(new, key).len() != list(old, key).len() {
            errors.forbidden(path, format!("{key} may not be added or removed on resize"));
            continue;
        }
        for (i, (new, old)) in list(new, key).iter().zip(list(old, key)).enumerate() {
            if text(new, "name") != text(old, "name") {
                errors.forbidden(path.index(i).at("name"), format!("{key} may not be renamed or reordered on resize"));
            }
        }
    }
    errors.0.len() == before
}

fn validate_resized(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let found = errors.0.len();
    let empty = json!({});
    for key in ["initContainers", "containers"] {
        let at = path.at(key);
        for (i, (new, old)) in list(new, key).iter().zip(list(old, key)).enumerate() {
            let at = at.index(i);
            let resources = |container: &Value| child(container, "resources").unwrap_or(&empty).clone();
            for (key, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
                if removed(&resources(new), &resources(old), key) {
                    errors.forbidden(at.at("resources").at(key), format!("{what} cannot be removed"));
                }
            }
            let munge = |container: &Value, with_claims: bool| {
                let mut munged = container.clone();
                let mut rest = without_cpu_and_memory(&resources(container));
                if !with_claims {
                    as_map(&mut rest).remove("claims");
                }
                as_map(&mut munged).insert("resources".to_owned(), rest);
                munged
            };
            // Claims are left out of the new one only: containers with claims cannot be resized.
            let only_resources = same(Some(&munge(new, false)), Some(&munge(old, true)));
            if key == "containers" {
                if !only_resources {
                    errors.forbidden(path, "only cpu and memory resources are mutable");
                }
                continue;
            }
            if !only_resources {
                errors.forbidden(at, "only cpu and memory resources for init or sidecar containers are mutable");
            }
            let restarts = list(new, "resizePolicy").iter().any(|p| text(p, "restartPolicy") == "RestartContainer");
            if restarts && text(new, "restartPolicy") != "Always" && !same(Some(new), Some(old)) {
                let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.forbidden(at, detail);
            }
        }
    }
    let rest = |spec: &Value| {
        let mut rest = spec.clone();
        ["containers", "initContainers", "resources"].iter().for_each(|key| drop(as_map(&mut rest).remove(*key)));
        rest
    };
    if errors.0.len() == found && !same(Some(&rest(new)), Some(&rest(old))) {
        errors.forbidden(path, "only cpu and memory resources are mutable");
    }
}

/// Writes `matchLabelKeys` and `mismatchLabelKeys` out as requirements with the pod's own values (KEP-3633, KEP-3243).
pub(super) fn apply_label_keys(spec: &mut Value, labels: &Map) {
    let affinity = spec.get_mut("affinity").and_then(Value::as_object_mut);
    for affinity in affinity.into_iter().flat_map(|a| a.iter_mut()).filter(|(key, _)| *key != "nodeAffinity") {
        let terms = |affinity: &mut Value, key: &str, apply: &dyn Fn(&mut Value)| {
            affinity.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().for_each(apply);
        };
        let apply = |term: &mut Value| apply_keys(term, labels);
        terms(affinity.1, "requiredDuringSchedulingIgnoredDuringExecution", &apply);
        terms(affinity.1, "preferredDuringSchedulingIgnoredDuringExecution", &|weighted: &mut Value| {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                apply(term);
            }
        });
    }
    let constraints = spec.get_mut("topologySpreadConstraints").and_then(Value::as_array_mut);
    constraints.into_iter().flatten().for_each(|constraint| apply_keys(constraint, labels));
}

fn apply_keys(term: &mut Value, labels: &Map) {
    let mut added = Vec::new();
    for (key, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for label in texts(term, key) {
            if let Some(value) = labels.get(label) {
                added.push(json!({"key": label, "operator": operator, "values": [value]}));
            }
        }
    }
    if let Some(selector) = term.get_mut("labelSelector").filter(|selector| selector.is_object())
        && !added.is_empty()
    {
        let expressions = as_map(selector).entry("matchExpressions").or_insert_with(|| json!([]));
        if let Some(expressions) = expressions.as_array_mut() {
            expressions.extend(added);
        }
    }
}

/// Sets the AppArmor profile of containers that have only the annotation for it.
pub(super) fn apply_app_armor(spec: &mut Value, annotations: &Map) {
    if !annotations.keys().any(|key| key.starts_with(annotations::APP_ARMOR))
        || descend(spec, &["os", "name"]).and_then(Value::as_str) == Some("windows")
    {
        return;
    }
    let of_pod = descend(spec, &["securityContext", "appArmorProfile"]).cloned();
    for key in ["containers", "initContainers"] {
        for container in spec.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            let annotation = annotations.get(&format!("{}{}", annotations::APP_ARMOR, text(container, "name")));
            let profile = annotation.and_then(Value::as_str).and_then(annotations::app_armor_field);
            if let Some(profile) = profile
                && profile_of(container).is_none()
                && Some(&profile) != of_pod.as_ref()
            {
                document::set(container, "securityContext.appArmorProfile", profile);
            }
        }
    }
}

fn profile_of(container: &Value) -> Option<&Value> {
    descend(container, &["securityContext", "appArmorProfile"])
}
