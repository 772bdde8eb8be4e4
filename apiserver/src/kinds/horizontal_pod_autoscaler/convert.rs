//! autoscaling/v1 and v2: what v1 has no field for stands in annotations.

use super::{cpu_metric, is_cpu_utilization, metrics};
use crate::kinds::path::child;
use api::{Map, Value, document};
use serde_json::json;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// What only the v1 form has.
pub const ANNOTATIONS: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

/// The members of a metric specification or status, v1's path on the left, v2's on the right.
struct Source {
    kind: &'static str,
    field: &'static str,
    spec: &'static [(&'static str, &'static str)],
    status: &'static [(&'static str, &'static str)],
}

const DESCRIBED_OBJECT: (&str, &str) = ("target", "describedObject");
const METRIC_NAME: (&str, &str) = ("metricName", "metric.name");
const SELECTOR: (&str, &str) = ("selector", "metric.selector");

const SOURCES: [Source; 5] = [
    Source {
        kind: "Object",
        field: "object",
        spec: &[
            DESCRIBED_OBJECT,
            METRIC_NAME,
            SELECTOR,
            ("targetValue", "target.value"),
            ("averageValue", "target.averageValue"),
        ],
        status: &[
            DESCRIBED_OBJECT,
            METRIC_NAME,
            SELECTOR,
            ("currentValue", "current.value"),
            ("averageValue", "current.averageValue"),
        ],
    },
    Source {
        kind: "Pods",
        field: "pods",
        spec: &[METRIC_NAME, SELECTOR, ("targetAverageValue", "target.averageValue")],
        status: &[METRIC_NAME, SELECTOR, ("currentAverageValue", "current.averageValue")],
    },
    Source {
        kind: "Resource",
        field: "resource",
        spec: &[
            ("name", "name"),
            ("targetAverageUtilization", "target.averageUtilization"),
            ("targetAverageValue", "target.averageValue"),
        ],
        status: &[
            ("name", "name"),
            ("currentAverageUtilization", "current.averageUtilization"),
            ("currentAverageValue", "current.averageValue"),
        ],
    },
    Source {
        kind: "ContainerResource",
        field: "containerResource",
        spec: &[
            ("name", "name"),
            ("container", "container"),
            ("targetAverageUtilization", "target.averageUtilization"),
            ("targetAverageValue", "target.averageValue"),
        ],
        status: &[
            ("name", "name"),
            ("container", "container"),
            ("currentAverageUtilization", "current.averageUtilization"),
            ("currentAverageValue", "current.averageValue"),
        ],
    },
    Source {
        kind: "External",
        field: "external",
        spec: &[
            METRIC_NAME,
            ("metricSelector", "metric.selector"),
            ("targetValue", "target.value"),
            ("targetAverageValue", "target.averageValue"),
        ],
        status: &[
            METRIC_NAME,
            ("metricSelector", "metric.selector"),
            ("currentValue", "current.value"),
            ("currentAverageValue", "current.averageValue"),
        ],
    },
];

/// An autoscaling/v2 autoscaler as v1.
pub fn v2_to_v1(mut autoscaler: Value) -> Value {
    document::drop_annotations(&mut autoscaler, &ANNOTATIONS);
    let mut annotations = Map::new();
    let mut annotate = |key: &str, value: Value| {
        annotations.insert(key.to_owned(), ordered(&value).into());
    };
    let cpu = metrics(&autoscaler).iter().find(|metric| is_cpu_utilization(metric));
    let cpu = cpu.and_then(|metric| document::get(metric, "resource.target.averageUtilization")).cloned();
    let others: Vec<Value> =
        metrics(&autoscaler).iter().filter(|m| !is_cpu_utilization(m)).map(|m| metric_to_v1(m, true)).collect();
    if !others.is_empty() {
        annotate(METRICS, others.into());
    }
    let current = document::get_list(&autoscaler, "status.currentMetrics");
    if !current.is_empty() {
        annotate(CURRENT_METRICS, current.iter().map(|metric| metric_to_v1(metric, false)).collect());
    }
    let current_cpu = current
        .iter()
        .filter(|m| document::get_str(m, "resource.name") == "cpu")
        .filter_map(|m| document::get(m, "resource.current.averageUtilization"))
        .next_back()
        .cloned();
    if let Some(behavior) = document::remove(&mut autoscaler, "spec.behavior").filter(|b| !b.is_null()) {
        annotate(BEHAVIOR, internal_behavior(&behavior));
    }
    if let Some(conditions) = document::remove(&mut autoscaler, "status.conditions")
        && conditions.as_array().is_some_and(|conditions| !conditions.is_empty())
    {
        annotate(CONDITIONS, conditions);
    }
    document::remove(&mut autoscaler, "spec.metrics");
    document::remove(&mut autoscaler, "status.currentMetrics");
    if let Some(percent) = cpu {
        document::set(&mut autoscaler, "spec.targetCPUUtilizationPercentage", percent);
    }
    if let Some(percent) = current_cpu.filter(|p| !p.is_null()) {
        document::set(&mut autoscaler, "status.currentCPUUtilizationPercentage", percent);
    }
    if !annotations.is_empty() {
        document::child(document::metadata_mut(&mut autoscaler), "annotations").extend(annotations);
    }
    document::set(&mut autoscaler, "apiVersion", "autoscaling/v1");
    autoscaler
}

/// An autoscaling/v1 autoscaler as v2. Annotations that cannot be read are ignored, as upstream does.
pub fn v1_to_v2(mut autoscaler: Value) -> Value {
    let stored = |key: &str| -> Option<Value> { serde_json::from_str(document::annotation(&autoscaler, key)?).ok() };
    let others = stored(METRICS);
    let current = stored(CURRENT_METRICS);
    let behavior = stored(BEHAVIOR).filter(|b| b.as_object().is_some_and(|b| b.values().any(|rules| !rules.is_null())));
    let conditions = stored(CONDITIONS).filter(Value::is_array);
    let convert = |list: Option<Value>, specification: bool| -> Vec<Value> {
        let list = list.unwrap_or_default();
        list.as_array().into_iter().flatten().map(|metric| metric_to_v2(metric, specification)).collect()
    };
    let mut metrics = convert(others, true);
    let cpu = document::remove(&mut autoscaler, "spec.targetCPUUtilizationPercentage").filter(|p| !p.is_null());
    metrics.extend(cpu.map(cpu_metric));
    if metrics.is_empty() {
        metrics.push(cpu_metric(80.into()));
    }
    document::set(&mut autoscaler, "spec.metrics", metrics);
    let percent = document::remove(&mut autoscaler, "status.currentCPUUtilizationPercentage").filter(|p| !p.is_null());
    let mut statuses = convert(current, false);
    if let Some(percent) = percent.filter(|_| statuses.is_empty()) {
        statuses
            .push(json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}));
    }
    if !statuses.is_empty() {
        document::set(&mut autoscaler, "status.currentMetrics", statuses);
    }
    if let Some(behavior) = behavior {
        document::set(&mut autoscaler, "spec.behavior", recase(behavior, char::to_ascii_lowercase));
    }
    if let Some(conditions) = conditions {
        document::set(&mut autoscaler, "status.conditions", conditions);
    }
    document::drop_annotations(&mut autoscaler, &ANNOTATIONS);
    document::set(&mut autoscaler, "apiVersion", "autoscaling/v2");
    autoscaler
}

fn source_of(metric: &Value) -> Option<&'static Source> {
    let kind = document::get_str(metric, "type");
    SOURCES.iter().find(|source| source.kind == kind)
}

fn metric_to_v1(metric: &Value, specification: bool) -> Value {
    let Some(source) = source_of(metric) else { return json!({"type": metric["type"]}) };
    let Some(from) = child(metric, source.field) else { return json!({"type": source.kind}) };
    let mut to = json!({});
    for (v1, v2) in if specification { source.spec } else { source.status } {
        if let Some(value) = document::get(from, v2).filter(|v| !v.is_null()) {
            document::set(&mut to, v1, value.clone());
        }
    }
    // A quantity that v1 requires.
    let required = match (source.kind, specification) {
        ("Object", true) => "targetValue",
        ("Object" | "External", false) => "currentValue",
        ("Resource" | "ContainerResource", false) => "currentAverageValue",
        _ => "",
    };
    if !required.is_empty() && child(&to, required).is_none() {
        document::set(&mut to, required, "0");
    }
    json!({"type": source.kind, source.field: to})
}

fn metric_to_v2(metric: &Value, specification: bool) -> Value {
    let Some(source) = source_of(metric) else { return json!({"type": metric["type"]}) };
    let Some(from) = child(metric, source.field) else { return json!({"type": source.kind}) };
    let mut to = json!({});
    let members = if specification { source.spec } else { source.status };
    for (v1, v2) in members {
        if let Some(value) = document::get(from, v1).filter(|v| !v.is_null()) {
            document::set(&mut to, v2, value.clone());
        }
    }
    if specification {
        let has = |path: &str| document::get(&to, path).is_some();
        let kind = match source.kind {
            "Object" if has("target.averageValue") => "AverageValue",
            "Object" => "Value",
            "External" if has("target.value") => "Value",
            _ if has("target.averageUtilization") => "Utilization",
            _ => "AverageValue",
        };
        // v1 cannot leave this field out.
        if kind == "AverageValue" && document::get_str(&to, "target.value") == "0" {
            document::remove(&mut to, "target.value");
        }
        document::set(&mut to, "target.type", kind);
    }
    json!({"type": source.kind, source.field: to})
}

/// The members of upstream's types in their order, all in one list: no two types disagree.
const ORDER: [&str; 34] = [
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
    "Tolerance",
    "Type",
    "Value",
    "PeriodSeconds",
    "type",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "target",
    "kind",
    "name",
    "apiVersion",
    "metricName",
    "metricSelector",
    "currentValue",
    "currentAverageUtilization",
    "currentAverageValue",
    "targetValue",
    "targetAverageUtilization",
    "targetAverageValue",
    "selector",
    "averageValue",
    "container",
];

/// JSON with the members in upstream's order.
fn ordered(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut members: Vec<(&String, &Value)> = map.iter().collect();
            members.sort_by_key(|(key, _)| ORDER.iter().position(|known| known == key).unwrap_or(ORDER.len()));
            let members =
                members.into_iter().map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), ordered(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(ordered).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// A behavior as upstream's internal type, which the annotation has: it leaves nothing out.
fn internal_behavior(behavior: &Value) -> Value {
    let rules = |key: &str| match child(behavior, key) {
        None => Value::Null,
        Some(rules) => {
            let rules = recase(rules.clone(), char::to_ascii_uppercase);
            let mut all =
                json!({"StabilizationWindowSeconds": null, "SelectPolicy": null, "Policies": null, "Tolerance": null});
            document::as_map(&mut all).extend(rules.as_object().cloned().unwrap_or_default());
            all
        }
    };
    json!({"ScaleUp": rules("scaleUp"), "ScaleDown": rules("scaleDown")})
}

/// Changes the first letter of every key: upstream writes the behavior as its internal type, whose names are capitals.
fn recase(value: Value, case: fn(&char) -> char) -> Value {
    match value {
        Value::Object(map) => {
            let rename = |key: String| {
                let mut letters = key.chars();
                letters.next().map(|first| case(&first)).into_iter().chain(letters).collect::<String>()
            };
            let members = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(key, value)| (rename(key), recase(value, case))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(|value| recase(value, case)).collect()),
        other => other,
    }
}
