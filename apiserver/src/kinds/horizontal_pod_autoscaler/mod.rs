//! HorizontalPodAutoscaler, stored as autoscaling/v2 and served as autoscaling/v1 too.

mod convert;
mod validate;

pub use convert::{v1_to_v2, v2_to_v1};

use super::path::{has, list};
use super::{Context, Rules};
use api::field::Errors;
use api::{Map, Value, document};
use serde_json::json;
use std::borrow::Cow;

pub struct HorizontalPodAutoscaler;

impl Rules for HorizontalPodAutoscaler {
    fn version_annotations(&self) -> &'static [&'static str] {
        &convert::ANNOTATIONS
    }

    fn default(&self, autoscaler: &mut Value) {
        if is_v1(autoscaler) {
            // The metric's default comes with the conversion, which knows all metrics.
            if document::get(autoscaler, "spec.minReplicas").is_none_or(Value::is_null) {
                document::set(autoscaler, "spec.minReplicas", 1);
            }
            return;
        }
        document::drop_annotations(autoscaler, &convert::ANNOTATIONS);
        let spec = document::child(document::as_map(autoscaler), "spec");
        if spec.get("minReplicas").is_none_or(Value::is_null) {
            spec.insert("minReplicas".to_owned(), 1.into());
        }
        if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            spec.insert("metrics".to_owned(), json!([cpu_metric(80.into())]));
        }
        if let Some(Value::Object(behavior)) = spec.get_mut("behavior") {
            let up = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]});
            let down =
                json!({"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]});
            default_rules(behavior, "scaleUp", up);
            default_rules(behavior, "scaleDown", down);
        }
    }

    fn prepare_for_create(&self, autoscaler: &mut Value, _: &Context) {
        keep_status(autoscaler, None);
    }

    fn prepare_for_update(&self, autoscaler: &mut Value, old: &Value, _: &Context) {
        keep_status(autoscaler, Some(old));
    }

    fn check(&self, autoscaler: &Value, old: Option<&Value>, errors: &mut Errors) {
        validate::spec(&as_v2(autoscaler), old.map(as_v2).as_deref(), errors);
    }

    fn validate_status_update(&self, autoscaler: &Value, _: &Value, errors: &mut Errors) {
        validate::status(autoscaler, errors);
    }
}

/// The status is what it was. In v1 a part of it stands in annotations.
fn keep_status(autoscaler: &mut Value, old: Option<&Value>) {
    let mut new = as_v2(autoscaler).into_owned();
    match old.and_then(|old| as_v2(old).get("status").cloned()) {
        Some(status) => document::set(&mut new, "status", status),
        None => drop(document::remove(&mut new, "status")),
    }
    *autoscaler = if is_v1(autoscaler) { v2_to_v1(new) } else { new };
}

fn is_v1(autoscaler: &Value) -> bool {
    document::get_str(autoscaler, "apiVersion") == "autoscaling/v1"
}

/// The autoscaler in the shape that is stored.
pub fn as_v2(autoscaler: &Value) -> Cow<'_, Value> {
    if is_v1(autoscaler) { Cow::Owned(v1_to_v2(autoscaler.clone())) } else { Cow::Borrowed(autoscaler) }
}

/// What v1's only metric is: CPU, as a share of what the pods request.
fn cpu_metric(percent: Value) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

/// Fills what the client left open from `defaults`, if there is a behavior at all.
fn default_rules(behavior: &mut Map, key: &str, defaults: Value) {
    let rules = document::child(behavior, key);
    for (field, value) in defaults.as_object().into_iter().flatten() {
        if rules.get(field).is_none_or(Value::is_null) {
            rules.insert(field.clone(), value.clone());
        }
    }
}

fn is_cpu_utilization(metric: &Value) -> bool {
    let of = |path| document::get(metric, path);
    of("type").is_some_and(|kind| kind == "Resource")
        && of("resource.name").is_some_and(|name| name == "cpu")
        && of("resource.target.averageUtilization").is_some_and(|v| !v.is_null())
}

fn metrics(autoscaler: &Value) -> &[Value] {
    document::get(autoscaler, "spec").filter(|spec| has(spec, "metrics")).map_or(&[], |spec| list(spec, "metrics"))
}

#[cfg(test)]
mod tests;
