//! Cells of jobs and autoscalers.

use super::*;
use crate::kinds::horizontal_pod_autoscaler::as_v2;

pub fn job(job: &Value, now: Timestamp) -> Vec<Value> {
    let succeeded = int(job, "status.succeeded");
    let completions = match (get_i64(job, "spec.completions"), int(job, "spec.parallelism")) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration = timestamp(job, "status.startTime")
        .map_or_else(String::new, |start| between(start, timestamp(job, "status.completionTime").unwrap_or(now)));
    let (names, images) = containers(job, "spec.template.spec.containers");
    let selector = selector_cell(job, "spec.selector");
    row![document::name(job), job_status(job), completions, duration, age(job, now), names, images, selector]
}

fn job_status(job: &Value) -> &'static str {
    let is = |condition| is_condition_true(job, "status.conditions", condition);
    match () {
        _ if is("Complete") => "Complete",
        _ if is("Failed") => "Failed",
        _ if document::is_terminating(job) => "Terminating",
        _ if is("Suspended") => "Suspended",
        _ if is("FailureTarget") => "FailureTarget",
        _ if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        _ => "Running",
    }
}

pub fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let last = timestamp(object, "status.lastScheduleTime").map_or_else(|| "<none>".to_owned(), |at| between(at, now));
    let suspend = match get(object, "spec.suspend").and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let (names, images) = containers(object, "spec.jobTemplate.spec.template.spec.containers");
    row![
        document::name(object),
        get_str(object, "spec.schedule"),
        text_or(object, "spec.timeZone", "<none>"),
        suspend,
        get_list(object, "status.active").len(),
        last,
        age(object, now),
        names,
        images,
        selector_cell(object, "spec.jobTemplate.spec.selector"),
    ]
}

pub fn horizontal_pod_autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let object = &*as_v2(object);
    let target =
        format!("{}/{}", get_str(object, "spec.scaleTargetRef.kind"), get_str(object, "spec.scaleTargetRef.name"));
    row![
        document::name(object),
        target,
        metrics(get_list(object, "spec.metrics"), get_list(object, "status.currentMetrics")),
        text_or(object, "spec.minReplicas", "<unset>"),
        int(object, "spec.maxReplicas"),
        int(object, "status.currentReplicas"),
        age(object, now),
    ]
}

fn metrics(specs: &[Value], statuses: &[Value]) -> String {
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let shown: Vec<String> =
        specs.iter().enumerate().map(|(i, spec)| metric(spec, statuses.get(i).unwrap_or(&Value::Null))).collect();
    first_few(&shown, ", ", 2)
}

fn metric(spec: &Value, status: &Value) -> String {
    let source = match get_str(spec, "type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (spec, status) = (spec.get(source).unwrap_or(&Value::Null), status.get(source).unwrap_or(&Value::Null));
    let has_average = get(spec, "target.averageValue").is_some();
    let current = |field: &str| text_or(status, &format!("current.{field}"), "<unknown>");
    let target = |field: &str, default: &str| text_or(spec, &format!("target.{field}"), default);
    let percent = |text: String| if text.starts_with('<') { text } else { text + "%" };
    let pair = if source == "pods" {
        return format!("{}/{}", current("averageValue"), target("averageValue", "0"));
    } else if has_average {
        format!("{}/{}", current("averageValue"), target("averageValue", "0"))
    } else if source.ends_with("esource") {
        let field = "averageUtilization";
        format!("{}/{}", percent(current(field)), percent(target(field, "<auto>")))
    } else {
        format!("{}/{}", current("value"), target("value", "0"))
    };
    match source {
        "resource" | "containerResource" => format!("{}: {pair}", get_str(spec, "name")),
        _ if has_average => format!("{pair} (avg)"),
        _ => pair,
    }
}
