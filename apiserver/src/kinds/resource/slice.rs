//! A pool's devices, and on which nodes they are.

use super::names::{validate_label, validate_pool};
use super::{device, each_once};
use crate::kinds::csi_driver::validate_driver_name;
use crate::kinds::internal;
use crate::kinds::node::invalid_node_name;
use crate::kinds::path::{
    Path, child, entries, has, immutable, int, list, opt_flag, opt_text, required_text, shown, text,
};
use crate::kinds::pod::validate_node_selector;
use api::field::Errors;
use api::{Value, document, time};
use jiff::Timestamp;

const SPEC: Path = Path::root("spec");
const MAX_DEVICES: usize = 128;
/// With taints, shared counters or lists of values, devices take more room.
const MAX_LARGE_DEVICES: usize = 64;
const MAX_COUNTER_SETS: usize = 8;
const MAX_COUNTERS: usize = 32;
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// Removes fields whose features v1.36 leaves off: lists of values, and mappings to a node's resources.
pub fn drop_disabled(slice: &mut Value) {
    let devices = slice.pointer_mut("/spec/devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        document::remove(device, "nodeAllocatableResourceMappings");
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
        for (_, attribute) in attributes.into_iter().flatten() {
            if let Some(fields) = attribute.as_object_mut() {
                LISTS.iter().for_each(|key| {
                    fields.remove(*key);
                });
            }
        }
    }
}

/// Taints that do not say when they were added are new.
pub fn date_taints(slice: &mut Value, now: Timestamp) {
    let devices = slice.pointer_mut("/spec/devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        let taints = device.get_mut("taints").and_then(Value::as_array_mut);
        for taint in taints.into_iter().flatten().filter(|taint| text(taint, "timeAdded").is_empty()) {
            document::set(taint, "timeAdded", time::format(now));
        }
    }
}

/// Checks a slice's specification, which may replace another.
pub fn validate(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    validate_driver_name(errors, &SPEC.at("driver"), text(spec, "driver"));
    let none = Value::Null;
    let pool = child(spec, "pool").unwrap_or(&none);
    validate_resource_pool(pool, &SPEC.at("pool"), errors);
    if let Some(old) = old {
        immutable(errors, pool, child(old, "pool").unwrap_or(&none), &SPEC.at("pool"), "name");
        for key in ["driver", "nodeName"] {
            immutable(errors, spec, old, &SPEC, key);
        }
    }
    validate_nodes(spec, errors);
    if has(spec, "sharedCounters") && has(spec, "devices") {
        errors.invalid(SPEC, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let devices = list(spec, "devices");
    let large = |device: &Value| !list(device, "taints").is_empty() || !list(device, "consumesCounters").is_empty();
    let max = if devices.iter().any(large) { MAX_LARGE_DEVICES } else { MAX_DEVICES };
    let per_device = opt_flag(spec, "perDeviceNodeSelection").unwrap_or_default();
    let name = |object: &Value| text(object, "name").to_owned();
    each_once(devices, max, &SPEC.at("devices"), errors, name, |device, path, errors| {
        let before = old.map(|old| list(old, "devices")).unwrap_or_default();
        let before = before.iter().find(|other| text(other, "name") == text(device, "name"));
        device::validate(device, before, per_device, path, errors);
    });
    let path = SPEC.at("sharedCounters");
    each_once(list(spec, "sharedCounters"), MAX_COUNTER_SETS, &path, errors, name, |set, path, errors| {
        match text(set, "name") {
            "" => required_text(errors, set, path, "name"),
            name => validate_label(name, &path.at("name"), errors),
        }
        validate_counters(set, path, errors);
    });
}

/// Checks named amounts that devices share or take.
pub fn validate_counters(object: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("counters");
    match entries(object, "counters").count() {
        0 => errors.required(path, ""),
        count if count > MAX_COUNTERS => errors.too_many(path, count, MAX_COUNTERS),
        _ => entries(object, "counters").for_each(|(name, _)| validate_label(name, &path, errors)),
    }
}

fn validate_resource_pool(pool: &Value, path: &Path, errors: &mut Errors) {
    validate_pool(text(pool, "name"), &path.at("name"), errors);
    let count = int(pool, "resourceSliceCount").unwrap_or_default();
    if count <= 0 {
        errors.invalid(path.at("resourceSliceCount"), count, "must be greater than zero");
    }
    if let Some(generation) = int(pool, "generation").filter(|generation| *generation < 0) {
        errors.invalid(path.at("generation"), generation, "must be greater than or equal to zero");
    }
}

fn validate_nodes(spec: &Value, errors: &mut Errors) {
    const WHICH: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut set = Vec::new();
    match opt_text(spec, "nodeName") {
        Some("") => errors.invalid(SPEC.at("nodeName"), "", "must be either unset or set to a non-empty string"),
        Some(name) => {
            set.push("`nodeName`");
            invalid_node_name(errors, &SPEC.at("nodeName"), name);
        }
        None => {}
    }
    if let Some(selector) = child(spec, "nodeSelector") {
        set.push("`nodeSelector`");
        let path = SPEC.at("nodeSelector");
        validate_node_selector(selector, &path, errors);
        if list(selector, "nodeSelectorTerms").len() != 1 {
            let terms = match list(selector, "nodeSelectorTerms") {
                [] => shown(child(selector, "nodeSelectorTerms")).to_string(),
                terms => internal::compact_list("NodeSelectorTerm", terms),
            };
            errors.invalid_printed(path.at("nodeSelectorTerms"), terms, "must have exactly one node selector term");
        }
    }
    for (key, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match opt_flag(spec, key) {
            Some(true) => set.push(shown),
            Some(false) => errors.invalid(SPEC.at(key), false, "must be either unset or set to true"),
            None => {}
        }
    }
    match set.len() {
        0 => errors.required(SPEC, WHICH),
        1 => {}
        _ => {
            let set = format!("{{{}}}", set.join(", "));
            errors.invalid(SPEC, set, format!("{WHICH}, but multiple fields are set"));
        }
    }
}
