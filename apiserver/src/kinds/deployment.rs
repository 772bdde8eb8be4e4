//! Deployments (`apps/v1`).

#[cfg(test)]
mod tests;

use super::equality::same;
use super::int_or_percent;
use super::internal;
use super::labels::{invalid_selector, is_empty, matches, validate_selector};
use super::path::{
    Path, at_most, child, collision_count_grows, descend, has, int, non_negative, non_negative_fields, text,
};
use super::pod::{
    Owner, default, default_template, dns_label_warning, drop_disabled, template_warnings, validate_replicated,
};
use super::{Context, Rules};
use api::document::{self, as_map};
use api::field::Errors;
use api::{Map, Value};
use serde_json::json;

/// Rules of Deployments.
pub struct Deployment;

/// The object at `spec`, made when it is missing.
pub(super) fn spec_mut(object: &mut Value) -> &mut Value {
    let spec = as_map(object).entry("spec").or_insert(Value::Null);
    as_map(spec);
    spec
}

/// The template at `spec.template`, made when it is missing.
pub(super) fn default_template_of(object: &mut Value) {
    let template = as_map(spec_mut(object)).entry("template").or_insert(Value::Null);
    default_template(template);
}

/// Drops fields of disabled features from the specification of the pods at `path` of `object`.
pub(super) fn drop_disabled_at(object: &mut Value, old: Option<&Value>, path: &str) {
    let pointer = format!("/{}", path.replace('.', "/"));
    let old = old.and_then(|old| document::get(old, path));
    if let Some(spec) = object.pointer_mut(&pointer).filter(|spec| spec.is_object()) {
        drop_disabled(spec, old);
    }
}

/// Warnings about a workload's name and template; on updates only where the specification changed.
pub(super) fn workload_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some_and(|old| same(child(object, "spec"), child(old, "spec"))) {
        return Vec::new();
    }
    let mut warnings: Vec<String> = match old {
        None => dns_label_warning(document::name(object)).into_iter().collect(),
        Some(_) => Vec::new(),
    };
    if let Some(template) = descend(object, &["spec", "template"]) {
        warnings.extend(template_warnings(&Path::root("spec.template"), template));
    }
    warnings
}

/// Checks selector and template, as Deployments and ReplicaSets have them alike.
pub(super) fn validate_selector_and_template(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let selector = child(spec, "selector");
    let at = path.at("selector");
    match selector {
        None => errors.required(at, ""),
        Some(selector) => {
            validate_selector(selector, &at, errors);
            if is_empty(selector) {
                invalid_selector(selector, at, "empty selector is invalid for deployment", errors);
            }
            if matches(Some(selector), None).is_none() {
                return invalid_selector(selector, at, "invalid label selector", errors);
            }
        }
    }
    let empty = Value::Object(Map::new());
    let template = child(spec, "template").unwrap_or(&empty);
    validate_replicated(
        "ReplicaSet",
        template,
        selector,
        &Owner::replacing(old, &["spec", "template"]),
        &path.at("template"),
        errors,
    );
}

fn validate_strategy(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("strategy");
    let empty = Value::Object(Map::new());
    let strategy = child(spec, "strategy").unwrap_or(&empty);
    let at = path.at("rollingUpdate");
    match (text(strategy, "type"), child(strategy, "rollingUpdate")) {
        ("Recreate", None) => {}
        ("Recreate", Some(_)) => {
            errors.forbidden(at, "may not be specified when strategy `type` is 'Recreate'");
        }
        ("RollingUpdate", None) => errors.required(at, "this should be defaulted and never be nil"),
        ("RollingUpdate", Some(rolling)) => {
            int_or_percent::validate(rolling, "maxUnavailable", &at, errors);
            int_or_percent::validate(rolling, "maxSurge", &at, errors);
            if ["maxUnavailable", "maxSurge"].iter().all(|key| int_or_percent::amount(rolling, key) == 0) {
                let value = child(rolling, "maxUnavailable").cloned().unwrap_or_else(|| 0.into());
                errors.invalid(at.at("maxUnavailable"), value, "may not be 0 when `maxSurge` is 0");
            }
            int_or_percent::validate_at_most_all(rolling, "maxUnavailable", &at, errors);
        }
        _ => {
            let printed = internal::compact("DeploymentStrategy", strategy);
            errors.not_supported_printed(path, printed, &["Recreate", "RollingUpdate"]);
        }
    }
}

impl Rules for Deployment {
    fn default(&self, object: &mut Value) {
        default_template_of(object);
        let spec = spec_mut(object);
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "progressDeadlineSeconds", 600);
        default(spec, "strategy", json!({}));
        let Some(strategy) = spec.get_mut("strategy") else { return };
        default(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate" {
            default(strategy, "rollingUpdate", json!({}));
            if let Some(rolling) = strategy.get_mut("rollingUpdate") {
                default_amount(rolling, "maxUnavailable", "25%");
                default_amount(rolling, "maxSurge", "25%");
            }
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        drop_disabled_at(object, None, "spec.template.spec");
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _context: &Context) {
        drop_disabled_at(object, Some(old), "spec.template.spec");
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value, _context: &Context) {
        match document::get(old, "metadata.labels").cloned() {
            Some(labels) => document::set(object, "metadata.labels", labels),
            None => drop(document::remove(object, "metadata.labels")),
        }
    }

    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let path = Path::root("spec");
        let empty = Value::Object(Map::new());
        let spec = child(object, "spec").unwrap_or(&empty);
        non_negative(errors, spec, &path, "replicas");
        validate_selector_and_template(spec, old, &path, errors);
        validate_strategy(spec, &path, errors);
        let counts = ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"];
        non_negative_fields(errors, spec, &path, &counts);
        if let Some(deadline) = int(spec, "progressDeadlineSeconds")
            && deadline <= int(spec, "minReadySeconds").unwrap_or_default()
        {
            errors.invalid(path.at("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
        }
        if let Some(old) = old {
            immutable_selector(object, old, errors);
        }
    }

    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let path = Path::root("status");
        let Some(status) = child(object, "status") else { return };
        let counts = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ];
        non_negative_fields(errors, status, &path, &counts);
        for key in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
            at_most(errors, status, &path, key, "replicas", "cannot be greater than status.replicas");
        }
        let detail = "cannot be greater than readyReplicas";
        at_most(errors, status, &path, "availableReplicas", "readyReplicas", detail);
        collision_count_grows(errors, object, old);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        workload_warnings(object, old)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        let annotations = |object| descend(object, &["metadata", "annotations"]);
        !same(child(object, "spec"), child(old, "spec")) || !same(annotations(object), annotations(old))
    }
}

/// Sets a number or percentage where none is given.
pub(super) fn default_amount(object: &mut Value, key: &str, value: impl Into<Value>) {
    if !has(object, key) {
        as_map(object).insert(key.to_owned(), value.into());
    }
}

/// A workload selects the same pods all its life.
pub(super) fn immutable_selector(object: &Value, old: &Value, errors: &mut Errors) {
    let empty = Value::Null;
    let (new, old) = (child(object, "spec").unwrap_or(&empty), child(old, "spec").unwrap_or(&empty));
    internal::immutable(errors, new, old, &Path::root("spec"), "selector", "*LabelSelector");
}
