//! A device of a slice: attributes, capacities, taints, and where it is.

use super::names::{validate_label, validate_qualified};
use super::slice::validate_counters;
use super::{claim, each, each_once};
use crate::kinds::internal;
use crate::kinds::labels::validate_key;
use crate::kinds::node::invalid_node_name;
use crate::kinds::path::{
    Path, child, entries, flag, has, invalid_each, list, opt_flag, opt_text, required_one_of, required_text, shown,
    text, texts,
};
use crate::kinds::pod::validate_node_selector;
use api::field::Errors;
use api::quantity::Quantity;
use api::resource_list::quantity;
use api::{Value, names};
use std::collections::HashSet;

const MAX_ATTRIBUTES: usize = 32;
const MAX_ATTRIBUTE_VALUE: usize = 64;
const MAX_TAINTS: usize = 16;
const MAX_CONSUMPTIONS: usize = 2;
const MAX_CONDITIONS: usize = 4;
const MAX_OPTIONS: usize = 10;
/// A domain, a slash and an identifier.
const MAX_KEY: usize = 63 + 1 + 32;

/// Checks a device, which may replace `old`.
pub fn validate(device: &Value, old: Option<&Value>, per_device: bool, path: &Path, errors: &mut Errors) {
    validate_label(text(device, "name"), &path.at("name"), errors);
    let count = entries(device, "attributes").count() + entries(device, "capacity").count();
    if count > MAX_ATTRIBUTES {
        let message = format!("the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES}");
        errors.invalid(path, count, message);
    }
    let at = path.at("attributes");
    for (name, attribute) in entries(device, "attributes") {
        validate_qualified(name, &at, errors);
        validate_attribute(attribute, &at.key(&shortened(name)), errors);
    }
    let at = path.at("capacity");
    for (name, capacity) in entries(device, "capacity") {
        validate_qualified(name, &at, errors);
        validate_capacity(capacity, flag(device, "allowMultipleAllocations"), &at.key(&shortened(name)), errors);
    }
    if old.is_none_or(|old| list(old, "taints") != list(device, "taints")) {
        each(list(device, "taints"), MAX_TAINTS, &path.at("taints"), errors, validate_taint);
    }
    let set = |consumption: &Value| text(consumption, "counterSet").to_owned();
    let (taken, at) = (list(device, "consumesCounters"), path.at("consumesCounters"));
    each_once(taken, MAX_CONSUMPTIONS, &at, errors, set, |taken, path, errors| {
        match text(taken, "counterSet") {
            "" => required_text(errors, taken, path, "counterSet"),
            name => validate_label(name, &path.at("counterSet"), errors),
        }
        validate_counters(taken, path, errors);
    });
    validate_nodes(device, per_device, path, errors);
    validate_binding(device, path, errors);
}

/// A long key with its middle left out.
fn shortened(key: &str) -> String {
    const DOTS: &str = "...";
    if key.len() <= MAX_KEY {
        return key.to_owned();
    }
    let keep = MAX_KEY - DOTS.len();
    let head = key.get(..keep.div_ceil(2)).unwrap_or_default();
    let tail = key.get(key.len() - keep / 2..).unwrap_or_default();
    format!("{head}{DOTS}{tail}")
}

fn validate_attribute(attribute: &Value, path: &Path, errors: &mut Errors) {
    if text(attribute, "string").len() > MAX_ATTRIBUTE_VALUE {
        errors.too_long(path.at("string"), MAX_ATTRIBUTE_VALUE);
    }
    if let Some(version) = opt_text(attribute, "version") {
        if !is_semantic_version(version) {
            errors.invalid(path.at("version"), version, "must be a string compatible with semver.org spec 2.0.0");
        }
        if version.len() > MAX_ATTRIBUTE_VALUE {
            errors.too_long(path.at("version"), MAX_ATTRIBUTE_VALUE);
        }
    }
    match ["bool", "int", "string", "version"].iter().filter(|key| has(attribute, key)).count() {
        0 => errors.invalid(path, "", "exactly one value must be specified"),
        1 => {}
        _ => errors.invalid_printed(
            path,
            internal::compact("DeviceAttribute", attribute),
            "exactly one value must be specified",
        ),
    }
}

/// Whether a text is a version as semver.org has it.
fn is_semantic_version(version: &str) -> bool {
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, release) = rest.split_once('-').map_or((rest, None), |(core, release)| (core, Some(release)));
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && release.is_none_or(|release| release.split('.').all(|part| word(part) && (number(part) || !digits(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn validate_capacity(capacity: &Value, shared: bool, path: &Path, errors: &mut Errors) {
    let Some(policy) = child(capacity, "requestPolicy") else { return };
    let path = path.at("requestPolicy");
    if !shared {
        return errors.forbidden(path, "allowMultipleAllocations must be true");
    }
    let whole = child(capacity, "value");
    let default = child(policy, "default");
    match (list(policy, "validValues"), child(policy, "validRange")) {
        ([_, ..], Some(_)) => {
            const WHY: &str = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.forbidden(path, WHY);
        }
        ([], None) => {}
        ([], Some(range)) => match default {
            None => errors.required(path.at("default"), "required when validRange is defined"),
            Some(default) => validate_range(range, default, whole, &path.at("validRange"), errors),
        },
        (values, None) => match default {
            None => errors.required(path.at("default"), "required when validValues is defined"),
            Some(default) => validate_values(values, default, whole, &path.at("validValues"), errors),
        },
    }
}

fn amount(value: Option<&Value>) -> Quantity {
    value.and_then(quantity).unwrap_or(Quantity::from_millis(0))
}

fn validate_values(values: &[Value], default: &Value, whole: Option<&Value>, path: &Path, errors: &mut Errors) {
    let nanos = |value: &Value| amount(Some(value)).nanos();
    for i in 1..values.len() {
        if nanos(&values[i - 1]) > nanos(&values[i]) {
            errors.invalid(path.index(i), values[i].clone(), "values must be sorted in ascending order");
        }
    }
    let most = amount(whole);
    let key = |value: &Value| amount(Some(value)).value().to_string();
    each_once(values, MAX_OPTIONS, path, errors, key, |value, path, errors| {
        if nanos(value) > most.nanos() {
            errors.invalid(path, value.clone(), format!("option is larger than capacity value: {most}"));
        }
    });
    if values.len() <= MAX_OPTIONS && !values.iter().any(|value| nanos(value) == nanos(default)) {
        errors.invalid(path, default.clone(), "default value is not valid according to the requestPolicy");
    }
}

fn validate_range(range: &Value, default: &Value, whole: Option<&Value>, path: &Path, errors: &mut Errors) {
    let Some(least) = child(range, "min") else {
        return errors.required(path.at("min"), "required when validRange is defined");
    };
    let (all, min, preset) = (amount(whole), amount(Some(least)), amount(Some(default)));
    if min.nanos() > all.nanos() {
        errors.invalid(path.at("min"), least.clone(), format!("min is larger than capacity value: {all}"));
    }
    if preset.nanos() < min.nanos() {
        errors.invalid(path.at("min"), default.clone(), format!("default is less than min: {min}"));
    }
    let most = child(range, "max");
    if let Some(most) = most {
        let max = amount(Some(most));
        if min.nanos() > max.nanos() {
            errors.invalid(path.at("max"), least.clone(), format!("min is larger than max: {max}"));
        }
        if max.nanos() > all.nanos() {
            errors.invalid(path.at("max"), most.clone(), format!("max is larger than capacity value: {all}"));
        }
        if preset.nanos() > max.nanos() {
            errors.invalid(path.at("max"), default.clone(), format!("default is more than max: {max}"));
        }
    }
    let Some(step) = child(range, "step") else { return };
    let (path, size) = (path.at("step"), amount(Some(step)));
    let first = min.plus(size);
    if first.nanos() > all.nanos() {
        errors.invalid(path, step.clone(), format!("one step {first} is larger than capacity value: {all}"));
    }
    for value in [Some(default), most].into_iter().flatten() {
        let beyond = amount(Some(value)).value().saturating_sub(min.value());
        if beyond.checked_rem(size.value()).is_some_and(|rest| rest != 0) {
            let message = format!("value is not a multiple of a given step ({size}) from ({min})");
            errors.invalid(path, value.clone(), message);
        }
    }
}

fn validate_taint(taint: &Value, path: &Path, errors: &mut Errors) {
    validate_key(text(taint, "key"), &path.at("key"), errors);
    let value = text(taint, "value");
    invalid_each(errors, &path.at("value"), value, names::label_value(value));
    required_one_of(errors, &path.at("effect"), text(taint, "effect"), &claim::EFFECTS);
}

fn validate_nodes(device: &Value, per_device: bool, path: &Path, errors: &mut Errors) {
    const WHICH: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
        `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    const NONE: &str = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to \
        true in the ResourceSlice spec";
    if !per_device {
        if ["nodeName", "nodeSelector", "allNodes"].iter().any(|key| has(device, key)) {
            errors.invalid(path, Value::Null, NONE);
        }
        return;
    }
    let mut set = Vec::new();
    match opt_text(device, "nodeName") {
        Some("") => errors.invalid(path.at("nodeName"), "", "must not be empty"),
        Some(name) => {
            set.push("`nodeName`");
            invalid_node_name(errors, &path.at("nodeName"), name);
        }
        None => {}
    }
    if let Some(selector) = child(device, "nodeSelector") {
        set.push("`nodeSelector`");
        validate_node_selector(selector, &path.at("nodeSelector"), errors);
    }
    match opt_flag(device, "allNodes") {
        Some(true) => set.push("`allNodes`"),
        Some(false) => errors.invalid(path.at("allNodes"), false, "must be either unset or set to true"),
        None => {}
    }
    match set.len() {
        0 => errors.required(path, WHICH),
        1 => {}
        _ => errors.invalid(path, format!("{{{}}}", set.join(", ")), WHICH),
    }
}

/// Checks the conditions that must hold, or must not, before a pod is bound to use a device.
pub fn validate_binding(device: &Value, path: &Path, errors: &mut Errors) {
    let keys = ["bindingConditions", "bindingFailureConditions"];
    for key in keys {
        each(list(device, key), MAX_CONDITIONS, &path.at(key), errors, |name, path, errors| {
            validate_key(name.as_str().unwrap_or_default(), path, errors);
        });
    }
    let [needed, failures] = keys.map(|key| texts(device, key).collect::<Vec<_>>());
    for (key, conditions) in keys.iter().zip([&needed, &failures]) {
        let path = path.at(key);
        let mut seen = HashSet::new();
        for (i, condition) in conditions.iter().enumerate() {
            if !seen.insert(condition) {
                errors.duplicate(path.index(i), *condition);
            }
            if *key == keys[1] && needed.contains(condition) {
                const WHY: &str = "bindingFailureConditions must not overlap with bindingConditions";
                errors.invalid(path.index(i), *condition, WHY);
            }
        }
    }
    for (key, missing, given, other) in [(keys[0], &needed, &failures, keys[1]), (keys[1], &failures, &needed, keys[0])]
    {
        if missing.is_empty() && !given.is_empty() {
            errors.invalid(path.at(key), shown(child(device, key)), format!("{key} are required to use {other}"));
        }
    }
}
