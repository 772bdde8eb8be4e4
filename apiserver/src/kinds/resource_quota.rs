//! ResourceQuota and LimitRange.

use super::internal;
use super::path::{Path, child, descend, entries, invalid_each, list, shown, text, texts};
use super::pod::{
    STANDARD_RESOURCES, container_resource_name, is_overcommit_allowed, resource_name, round_up_at, validate_quantity,
};
use super::{Context, MetadataCheck, MetadataChecks, Rules, check_object_first};
use api::field::Errors;
use api::quantity::{Format, Quantity};
use api::resource_list::{is_huge_page, quantity};
use api::{Map, Value, document, names};
use std::collections::{BTreeSet, HashSet};

pub struct ResourceQuota;
pub struct LimitRange;

const POD_COMPUTE: [&str; 6] = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

fn is_standard(name: &str) -> bool {
    STANDARD_RESOURCES.contains(&name) || is_huge_page(name.strip_prefix("requests.").unwrap_or(name))
}

/// What a quota can limit of the standard resources.
fn is_standard_quota(name: &str) -> bool {
    is_standard(name) && name != "storage"
}

impl Rules for ResourceQuota {
    fn default(&self, quota: &mut Value) {
        for (part, keys) in [("spec", &["hard"][..]), ("status", &["hard", "used"])] {
            if let Some(part) = quota.get_mut(part) {
                round_up_at(part, keys);
            }
        }
    }

    fn prepare_for_create(&self, quota: &mut Value, _: &Context) {
        document::set(quota, "status", Map::new());
    }

    fn validate(&self, quota: &Value, errors: &mut Errors) {
        const SPEC: Path = Path::root("spec");
        let spec = child(quota, "spec").unwrap_or(&Value::Null);
        validate_amounts(spec, "hard", &SPEC, errors);
        let hard: Vec<&str> = entries(spec, "hard").map(|(resource, _)| resource).collect();
        let path = SPEC.at("scopes");
        let all = || shown(child(spec, "scopes"));
        let scopes: Vec<&str> = texts(spec, "scopes").collect();
        for scope in &scopes {
            if !SCOPES.contains(scope) {
                errors.invalid(path, all(), "unsupported scope");
            }
            for _ in hard.iter().filter(|resource| !fits(scope, resource)) {
                errors.invalid(path, all(), "unsupported scope applied to resource");
            }
        }
        conflicts(&scopes, &path, all(), errors);
        if let Some(selector) = child(spec, "scopeSelector") {
            validate_scope_selector(spec, selector, &hard, errors);
        }
    }

    fn check(&self, quota: &Value, old: Option<&Value>, errors: &mut Errors) {
        check_object_first(self, quota, old, errors);
    }

    fn validate_update(&self, quota: &Value, old: &Value, errors: &mut Errors) {
        let scopes = |object| -> BTreeSet<String> {
            document::get_list(object, "spec.scopes").iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if scopes(quota) != scopes(old) {
            let value = shown(descend(quota, &["spec", "scopes"]));
            errors.invalid("spec.scopes", value, "field is immutable");
        }
    }

    fn validate_status_update(&self, quota: &Value, _: &Value, errors: &mut Errors) {
        let status = child(quota, "status").unwrap_or(&Value::Null);
        for key in ["hard", "used"] {
            validate_amounts(status, key, &Path::root("status"), errors);
        }
    }

    /// Requests that can never use up what they may have, as the limits stop them before.
    fn warnings(&self, quota: &Value, old: Option<&Value>) -> Vec<String> {
        let hard = |name: &str| descend(quota, &["spec", "hard", name]).and_then(quantity);
        let mut warnings = Vec::new();
        for resource in ["cpu", "memory", "storage", "ephemeral-storage"].into_iter().filter(|_| old.is_none()) {
            let (mut request, limit) = (format!("requests.{resource}"), format!("limits.{resource}"));
            if hard(&request).is_none() && matches!(resource, "cpu" | "memory") {
                request = resource.to_owned();
            }
            if let (Some(requested), Some(limited)) = (hard(&request), hard(&limit))
                && requested > limited
            {
                warnings.push(format!("ResourceQuota {request} ({requested}) should be less than {limit} ({limited})"));
            }
        }
        warnings
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn validate_amounts(object: &Value, key: &str, path: &Path, errors: &mut Errors) {
    let path = path.at(key);
    for (resource, amount) in entries(object, key) {
        let path = path.key(resource);
        resource_name(resource, &path, errors);
        if !resource.contains('/') && !is_standard_quota(resource) {
            errors.invalid(path, resource, "must be a standard resource for quota");
        }
        validate_quantity(resource, amount, &path, errors);
    }
}

/// Whether a scope can be applied to a resource; resources that are not standard fit any.
fn fits(scope: &str, resource: &str) -> bool {
    if !is_standard_quota(resource) {
        return true;
    }
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            resource == "pods" || POD_COMPUTE.contains(&resource)
        }
        _ => true,
    }
}

fn conflicts(scopes: &[&str], path: &Path, shown: Value, errors: &mut Errors) {
    for (a, b) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&a) && scopes.contains(&b) {
            errors.invalid(path, shown.clone(), "conflicting scopes");
        }
    }
}

fn validate_scope_selector(spec: &Value, selector: &Value, hard: &[&str], errors: &mut Errors) {
    const PATH: Path = Path::root("spec.scopeSelector.matchExpressions");
    let expressions = list(selector, "matchExpressions");
    for expression in expressions {
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        if !SCOPES.contains(&scope) {
            errors.invalid(PATH.at("scopeName"), scope, "unsupported scope");
        }
        for _ in hard.iter().filter(|resource| !fits(scope, resource)) {
            let printed = internal::compact("ScopeSelector", selector);
            errors.invalid_printed(PATH, printed, "unsupported scope applied to resource");
        }
        let only_exists = !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && SCOPES.contains(&scope);
        if only_exists && operator != "Exists" {
            const WHY: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(PATH.at("operator"), operator, WHY);
        }
        let values = list(expression, "values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                const WHY: &str = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(PATH.at("values"), WHY);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                const WHY: &str = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.invalid(PATH.at("values"), values.to_vec(), WHY);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(PATH.at("operator"), other, "not a valid selector operator"),
        }
    }
    let scopes: Vec<&str> = expressions.iter().map(|expression| text(expression, "scopeName")).collect();
    conflicts(&scopes, &PATH, shown(child(spec, "scopes")), errors);
}

impl Rules for LimitRange {
    /// For containers: defaults from the maximum, default requests from the defaults, else from the minimum.
    fn default(&self, range: &mut Value) {
        let limits = range.pointer_mut("/spec/limits").and_then(Value::as_array_mut);
        for item in limits.into_iter().flatten().filter(|item| text(item, "type") == "Container") {
            for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
                let values: Vec<(String, Value)> =
                    entries(item, from).map(|(key, value)| (key.to_owned(), value.clone())).collect();
                if values.is_empty() {
                    continue;
                }
                let target = document::child(document::as_map(item), to);
                for (key, value) in values {
                    target.entry(key).or_insert(value);
                }
            }
            round_up_at(item, &["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"]);
        }
    }

    /// One without a name gets one that nothing else has.
    fn prepare_for_create(&self, range: &mut Value, _: &Context) {
        if document::name(range).is_empty() {
            let uid = document::uid(range).to_owned();
            document::set(range, "metadata.name", uid);
        }
    }

    fn validate(&self, range: &Value, errors: &mut Errors) {
        const PATH: Path = Path::root("spec.limits");
        let limits = document::get_list(range, "spec.limits");
        let mut seen = HashSet::new();
        for (i, item) in limits.iter().enumerate() {
            let path = PATH.index(i);
            let kind = text(item, "type");
            validate_limit_type(kind, &path.at("type"), errors);
            if !seen.insert(kind) {
                errors.duplicate(path.at("type"), kind);
            }
            validate_limits(item, kind, &path, errors);
        }
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks { update: &[MetadataCheck::New], ..MetadataChecks::USUAL }
    }
}

fn validate_limit_type(kind: &str, path: &Path, errors: &mut Errors) {
    let messages = names::qualified_name(kind);
    let standard = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
    if messages.is_empty() && !kind.contains('/') && !standard {
        errors.invalid(path, kind, "must be a standard limit type or fully qualified");
    }
    invalid_each(errors, path, kind, messages);
}

fn validate_limits(item: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let is_pod = kind == "Pod";
    for key in ["default", "defaultRequest"] {
        if is_pod && entries(item, key).next().is_some() {
            errors.forbidden(path.at(key), "may not be specified when `type` is 'Pod'");
        }
    }
    let mut resources = BTreeSet::new();
    for key in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        if is_pod && key.starts_with("default") {
            continue;
        }
        let path = path.at(key);
        for (resource, _) in entries(item, key) {
            if matches!(kind, "Pod" | "Container") {
                container_resource_name(resource, &path.key(resource), errors);
            } else {
                resource_name(resource, &path.key(resource), errors);
            }
            resources.insert(resource);
        }
    }
    let has_storage = |key| descend(item, &[key, "storage"]).is_some();
    if kind == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        const WHY: &str = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(path.at("limits"), WHY);
    }
    for resource in resources {
        compare_limits(item, is_pod, resource, path, errors);
    }
}

fn compare_limits(item: &Value, is_pod: bool, resource: &str, path: &Path, errors: &mut Errors) {
    let amount = |key: &str| {
        if is_pod && key.starts_with("default") { None } else { descend(item, &[key, resource]).and_then(quantity) }
    };
    // The first must not be greater than the second; the error is about the third.
    let orders = [
        ("min", "max", "min", "min value", "max value"),
        ("min", "defaultRequest", "defaultRequest", "min value", "default request value"),
        ("defaultRequest", "max", "defaultRequest", "default request value", "max value"),
        ("defaultRequest", "default", "defaultRequest", "default request value", "default limit value"),
        ("min", "default", "default", "min value", "default value"),
        ("default", "max", "default", "default value", "max value"),
    ];
    for (low, high, field, low_name, high_name) in orders {
        if let (Some(low), Some(high)) = (amount(low), amount(high))
            && low > high
        {
            // Upstream shows the bound where it is the default that is out of it.
            let value = match (field, low_name) {
                ("default", "default value") => high,
                ("defaultRequest", "min value") => high,
                _ => low,
            };
            let message = format!("{low_name} {low} is greater than {high_name} {high}");
            errors.invalid(path.at(field).key(resource), value.to_string(), message);
        }
    }
    if let Some(ratio) = amount("maxLimitRequestRatio") {
        compare_ratio(ratio, amount("min"), amount("max"), &path.at("maxLimitRequestRatio").key(resource), errors);
    }
    // What cannot be given out twice has to be requested as it is limited.
    if let (Some(default), Some(request)) = (amount("default"), amount("defaultRequest"))
        && !is_overcommit_allowed(resource)
        && default != request
    {
        let message = format!("default value {default} must equal to defaultRequest value {request} in {resource}");
        errors.invalid(path.at("defaultRequest").key(resource), request.to_string(), message);
    }
}

fn compare_ratio(ratio: Quantity, min: Option<Quantity>, max: Option<Quantity>, path: &Path, errors: &mut Errors) {
    if ratio < Quantity::from_i64(1, Format::DecimalSi) {
        errors.invalid(path, ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    if let (Some(min), Some(max)) = (min.filter(|min| !min.is_zero()), max) {
        let limit = max.nanos() as f64 / min.nanos() as f64;
        if ratio.nanos() as f64 / 1e9 > limit {
            let message = format!("ratio {ratio} is greater than max/min = {limit:.6}");
            errors.invalid(path, ratio.to_string(), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::first_error as first;
    use serde_json::json;

    #[test]
    fn quotas_name_what_they_limit() {
        assert_eq!(first(&ResourceQuota, json!({"hard": {"requests.cpu": "1", "count/jobs.batch": "5"}})), "");
        assert_eq!(
            first(&ResourceQuota, json!({"hard": {"apples": "1"}})),
            "spec.hard[apples]: Invalid value: \"apples\": must be a standard resource type or fully qualified"
        );
        assert_eq!(
            first(&ResourceQuota, json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]})),
            "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"
        );
    }

    #[test]
    fn limits_are_ordered() {
        let mut range =
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Gi"}}]}});
        LimitRange.default(&mut range);
        let item = &range["spec"]["limits"][0];
        assert_eq!(item["default"], json!({"cpu": "2"}));
        assert_eq!(item["defaultRequest"], json!({"cpu": "2", "memory": "1Gi"}));
        assert_eq!(
            first(&LimitRange, json!({"limits": [{"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]})),
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"
        );
    }
}
