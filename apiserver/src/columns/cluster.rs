//! Cells of nodes, namespaces, configuration and events.

use super::*;
use crate::kinds::event;
use std::collections::BTreeSet;

pub fn node(node: &Value, now: Timestamp) -> Vec<Value> {
    let mut status = match find_condition(node, "status.conditions", "Ready") {
        Some(condition) if get_str(condition, "status") == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if document::get_bool(node, "spec.unschedulable") {
        status += ",SchedulingDisabled";
    }
    let info = |field: &str| text_or(node, &format!("status.nodeInfo.{field}"), "");
    let mut kernel = or(info("kernelVersion"), "<unknown>");
    let architecture = info("architecture");
    if !architecture.is_empty() {
        kernel = format!("{kernel} ({architecture})");
    }
    row![
        document::name(node),
        status,
        or(roles(node).into_iter().collect::<Vec<_>>().join(","), "<none>"),
        age(node, now),
        info("kubeletVersion"),
        address(node, "InternalIP"),
        address(node, "ExternalIP"),
        or(info("osImage"), "<unknown>"),
        kernel,
        or(info("containerRuntimeVersion"), "<unknown>"),
    ]
}

fn roles(node: &Value) -> BTreeSet<&str> {
    let mut roles = BTreeSet::new();
    for (key, value) in document::labels(node).into_iter().flatten() {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => roles.insert(role),
            None if key == "kubernetes.io/role" => roles.insert(value.as_str().unwrap_or_default()),
            None => false,
        };
    }
    roles.remove("");
    roles
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    get_list(node, "status.addresses")
        .iter()
        .find(|address| get_str(address, "type") == kind)
        .map_or("<none>", |address| get_str(address, "address"))
}

pub fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    row![document::name(object), get_str(object, "status.phase"), age(object, now)]
}

pub fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    row![document::name(object), get_str(object, "type"), size(object, "data"), age(object, now)]
}

pub fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    row![document::name(object), size(object, "data") + size(object, "binaryData"), age(object, now)]
}

fn size(object: &Value, path: &str) -> usize {
    get_map(object, path).map_or(0, |map| map.len())
}

pub fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let event = &*event::as_core(object);
    let first = timestamp(event, "firstTimestamp").or_else(|| timestamp(event, "eventTime"));
    let mut last = timestamp(event, "lastTimestamp").or(first);
    // One that stands alone has none.
    let mut count = match int(event, "count") {
        0 => 1,
        count => count,
    };
    if get(event, "series").is_some_and(Value::is_object) {
        last = timestamp(event, "series.lastObservedTime");
        count = int(event, "series.count");
    }
    let ago = |at: Option<Timestamp>| at.map_or_else(|| "<unknown>".to_owned(), |at| between(at, now));
    let mut target = get_str(event, "involvedObject.kind").to_lowercase();
    let name = get_str(event, "involvedObject.name");
    if !name.is_empty() {
        target = format!("{target}/{name}");
    }
    row![
        ago(last),
        get_str(event, "type"),
        get_str(event, "reason"),
        target,
        get_str(event, "involvedObject.fieldPath"),
        event_source(event),
        get_str(event, "message").trim(),
        ago(first),
        count,
        document::name(event),
    ]
}

/// The component, and the host where it is known.
fn event_source(event: &Value) -> String {
    let first = |a: &str, b: &str| or(get_str(event, a).to_owned(), get_str(event, b));
    let component = first("source.component", "reportingComponent");
    match first("source.host", "reportingInstance") {
        host if host.is_empty() => component,
        host => format!("{component}, {host}"),
    }
}

pub fn component_status(object: &Value, _: Timestamp) -> Vec<Value> {
    let Some(condition) = find_condition(object, "conditions", "Healthy") else {
        return row![document::name(object), "Unknown", "", ""];
    };
    let status = if get_str(condition, "status") == "True" { "Healthy" } else { "Unhealthy" };
    row![document::name(object), status, get_str(condition, "message"), get_str(condition, "error")]
}

pub fn resource_quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let used = get(object, "status.used").unwrap_or(&Value::Null);
    let mut hard: Vec<_> = get_map(object, "status.hard").into_iter().flatten().collect();
    hard.sort_unstable_by_key(|(resource, _)| *resource);
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in hard {
        let used = used.get(resource).and_then(Value::as_str).unwrap_or("0");
        let column = if resource.starts_with("limits.") { &mut limits } else { &mut requests };
        column.push(format!("{resource}: {used}/{}", hard.as_str().unwrap_or_default()));
    }
    row![document::name(object), requests.join(", "), limits.join(", "), age(object, now)]
}

pub fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    row![document::name(object), get_str(object, "spec.holderIdentity"), age(object, now)]
}

pub fn priority_class(object: &Value, now: Timestamp) -> Vec<Value> {
    row![
        document::name(object),
        int(object, "value"),
        document::get_bool(object, "globalDefault"),
        age(object, now),
        get_str(object, "preemptionPolicy"),
    ]
}

pub fn runtime_class(object: &Value, now: Timestamp) -> Vec<Value> {
    row![document::name(object), get_str(object, "handler"), age(object, now)]
}
