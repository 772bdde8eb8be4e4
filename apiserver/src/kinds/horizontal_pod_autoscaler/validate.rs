//! What an autoscaler may ask for.

use super::metrics;
use crate::kinds::path::{
    Path, child, descend, has, int, invalid_each, list, non_negative_fields, one_of, shown, text,
};
use crate::kinds::pod::container_resource_name;
use api::field::Errors;
use api::quantity::Quantity;
use api::{Value, names};

const SPEC: Path = Path::root("spec");
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// What the `apiVersion` of a reference has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// Name a group: the core group has nothing to scale but ReplicationControllers.
    OfGroup,
    /// Be well-formed.
    Any,
    /// What it is: it was so before.
    Unchecked,
}

/// Checks a specification. What is unchanged in `old` may stay as it is where upstream leaves it.
pub fn spec(autoscaler: &Value, old: Option<&Value>, errors: &mut Errors) {
    let spec = child(autoscaler, "spec").unwrap_or(&Value::Null);
    let old = old.map(|old| child(old, "spec").unwrap_or(&Value::Null));
    let min = int(spec, "minReplicas");
    // Scaling to zero is off by default in this version.
    let lowest = if old.and_then(|old| int(old, "minReplicas")) == Some(0) { 0 } else { 1 };
    let max = int(spec, "maxReplicas").unwrap_or_default();
    if let Some(min) = min.filter(|min| *min < lowest) {
        errors.invalid("spec.minReplicas", min, format!("must be greater than or equal to {lowest}"));
    }
    match max {
        0 => errors.required("spec.maxReplicas", "must be set and greater than 0"),
        ..0 => errors.invalid("spec.maxReplicas", max, "must be greater than or equal to 1"),
        _ => {}
    }
    if min.is_some_and(|min| max < min) {
        errors.invalid("spec.maxReplicas", max, "must be greater than or equal to `minReplicas`");
    }
    let target = child(spec, "scaleTargetRef").unwrap_or(&Value::Null);
    let same_target = |old: &Value| {
        let old = child(old, "scaleTargetRef").unwrap_or(&Value::Null);
        ["apiVersion", "kind"].iter().all(|key| text(old, key) == text(target, key))
    };
    let version = match text(target, "kind") {
        _ if old.is_some_and(same_target) => Version::Unchecked,
        "ReplicationController" => Version::Any,
        _ => Version::OfGroup,
    };
    reference(target, &SPEC.at("scaleTargetRef"), version, errors);
    let described =
        old.into_iter().flat_map(|old| list(old, "metrics")).filter(|metric| text(metric, "type") == "Object");
    let mut described = described.filter_map(|metric| descend(metric, &["object", "describedObject"]));
    let version = if described.any(|described| !is_version(text(described, "apiVersion"))) {
        Version::Unchecked
    } else {
        Version::Any
    };
    let path = SPEC.at("metrics");
    for (i, metric) in metrics(autoscaler).iter().enumerate() {
        validate_metric(metric, version, &path.index(i), errors);
    }
    let from_outside = |metric: &Value| matches!(text(metric, "type"), "Object" | "External");
    if min == Some(0) && !metrics(autoscaler).iter().any(from_outside) {
        errors
            .forbidden(path, "must specify at least one Object or External metric to support scaling to zero replicas");
    }
    if let Some(behavior) = child(spec, "behavior") {
        let path = SPEC.at("behavior");
        for key in ["scaleUp", "scaleDown"] {
            if let Some(rules) = child(behavior, key) {
                validate_rules(rules, &path.at(key), errors);
            }
        }
    }
}

pub fn status(autoscaler: &Value, errors: &mut Errors) {
    let status = child(autoscaler, "status").unwrap_or(&Value::Null);
    non_negative_fields(errors, status, &Path::root("status"), &["currentReplicas", "desiredReplicas"]);
}

fn is_version(api_version: &str) -> bool {
    api_version.matches('/').count() <= 1
}

/// A reference to an object of another kind.
fn reference(reference: &Value, path: &Path, version: Version, errors: &mut Errors) {
    for key in ["kind", "name"] {
        match text(reference, key) {
            "" => errors.required(path.at(key), ""),
            value => invalid_each(errors, &path.at(key), value, names::path_segment(value)),
        }
    }
    let given = text(reference, "apiVersion");
    if version == Version::Unchecked {
    } else if !is_version(given) {
        errors.invalid(path.at("apiVersion"), given, format!("unexpected GroupVersion string: {given}"));
    } else if version == Version::OfGroup && given.split_once('/').is_none_or(|(group, _)| group.is_empty()) {
        errors.invalid(path.at("apiVersion"), given, "apiVersion must specify API group");
    }
}

fn validate_metric(metric: &Value, version: Version, path: &Path, errors: &mut Errors) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        errors.required(path.at("type"), "must specify a metric source type");
    }
    let kinds = SOURCES.map(|(kind, _)| kind);
    one_of(errors, &path.at("type"), kind, &kinds);
    let present: Vec<&str> = ["object", "external", "pods", "resource", "containerResource"]
        .into_iter()
        .filter(|field| has(metric, field))
        .collect();
    if let Some((first, source)) = present.first().and_then(|field| Some((*field, child(metric, field)?))) {
        validate_source(source, first, version, &path.at(first), errors);
    }
    let expected = SOURCES.iter().find(|source| source.0 == kind).map(|source| source.1);
    match expected {
        Some(field) if !has(metric, field) => {
            errors.required(path.at(field), "must populate information for the given metric source");
        }
        Some(_) => {}
        None => one_of(errors, &path.at("type"), kind, &kinds),
    }
    if present.len() != 1 {
        for field in present.iter().filter(|field| Some(**field) != expected) {
            errors.forbidden(path.at(field), "must populate the given metric source only");
        }
    }
}

fn validate_source(source: &Value, field: &str, version: Version, path: &Path, errors: &mut Errors) {
    let target = child(source, "target").unwrap_or(&Value::Null);
    let at = path.at("target");
    match field {
        "object" => {
            let described = child(source, "describedObject").unwrap_or(&Value::Null);
            reference(described, &path.at("describedObject"), version, errors);
            metric_name(source, path, errors);
        }
        "external" | "pods" => metric_name(source, path, errors),
        _ => match text(source, "name") {
            "" => errors.required(path.at("name"), "must specify a resource name"),
            name if field == "containerResource" => container_resource_name(name, &path.at("name"), errors),
            _ => {}
        },
    }
    if field == "containerResource" {
        match text(source, "container") {
            "" => errors.required(path.at("container"), "must specify a container"),
            name => invalid_each(errors, &path.at("container"), name, names::dns1123_label(name)),
        }
    }
    validate_target(target, &at, errors);
    let (value, average, utilization) =
        (has(target, "value"), has(target, "averageValue"), has(target, "averageUtilization"));
    match field {
        "object" if !value && !average => {
            errors.required(at.at("averageValue"), "must set either a target value or averageValue");
        }
        "external" if !value && !average => {
            errors.required(at.at("averageValue"), "must set either a target value for metric or a per-pod target");
        }
        "external" if value && average => {
            errors.forbidden(at.at("value"), "may not set both a target value for metric and a per-pod target");
        }
        "pods" if !average => errors.required(at.at("averageValue"), "must specify a positive target averageValue"),
        "resource" | "containerResource" if !utilization && !average => {
            const WHY: &str = "must set either a target raw value or a target utilization";
            errors.required(at.at("averageUtilization"), WHY);
        }
        "resource" | "containerResource" if utilization && average => {
            const WHY: &str = "may not set both a target raw value and a target utilization";
            errors.forbidden(at.at("averageValue"), WHY);
        }
        _ => {}
    }
}

fn metric_name(source: &Value, path: &Path, errors: &mut Errors) {
    let metric = child(source, "metric").unwrap_or(&Value::Null);
    match text(metric, "name") {
        "" => errors.required(path.at("metric.name"), "must specify a metric name"),
        name => invalid_each(errors, &path.at("metric.name"), name, names::path_segment(name)),
    }
}

fn validate_target(target: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.required(path.at("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(path.at("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for key in ["value", "averageValue"] {
        let quantity = child(target, key).and_then(|value| Quantity::parse(value.as_str()?).ok());
        if quantity.is_some_and(|quantity| quantity.nanos() <= 0) {
            errors.invalid(path.at(key), shown(child(target, key)), "must be positive");
        }
    }
    if let Some(percent) = int(target, "averageUtilization").filter(|percent| *percent < 1) {
        errors.invalid(path.at("averageUtilization"), percent, "must be greater than 0");
    }
}

fn validate_rules(rules: &Value, path: &Path, errors: &mut Errors) {
    let window = int(rules, "stabilizationWindowSeconds");
    let at = path.at("stabilizationWindowSeconds");
    match window {
        Some(seconds @ ..0) => errors.invalid(at, seconds, "must be greater than or equal to zero"),
        Some(seconds @ 3601..) => errors.invalid(at, seconds, "must be less than or equal to 3600"),
        _ => {}
    }
    if let Some(policy) = child(rules, "selectPolicy").and_then(Value::as_str) {
        one_of(errors, &path.at("selectPolicy"), policy, &["Disabled", "Max", "Min"]);
    }
    let policies = list(rules, "policies");
    let at = path.at("policies");
    if policies.is_empty() {
        errors.required(at, "must specify at least one Policy");
    }
    for (i, policy) in policies.iter().enumerate() {
        validate_policy(policy, &at.index(i), errors);
    }
    let tolerance = child(rules, "tolerance").and_then(|value| Quantity::parse(value.as_str()?).ok());
    if tolerance.is_some_and(|tolerance| tolerance.is_negative()) {
        errors.invalid(path.at("tolerance"), shown(child(rules, "tolerance")), "must be greater than or equal to 0");
    }
}

fn validate_policy(policy: &Value, path: &Path, errors: &mut Errors) {
    one_of(errors, &path.at("type"), text(policy, "type"), &["Percent", "Pods"]);
    let number = |key| int(policy, key).unwrap_or_default();
    for key in ["value", "periodSeconds"] {
        if number(key) <= 0 {
            errors.invalid(path.at(key), number(key), "must be greater than zero");
        }
    }
    if number("periodSeconds") > 1800 {
        errors.invalid(path.at("periodSeconds"), number("periodSeconds"), "must be less than or equal to 1800");
    }
}
