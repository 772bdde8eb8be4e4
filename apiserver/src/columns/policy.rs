//! Cells of roles, certificates, admission and flow control.

use super::*;

pub fn role_binding(binding: &Value, now: Timestamp) -> Vec<Value> {
    let subjects = |kind: &str| {
        let show = |subject: &Value| match kind {
            "ServiceAccount" => format!("{}/{}", get_str(subject, "namespace"), get_str(subject, "name")),
            _ => get_str(subject, "name").to_owned(),
        };
        let all = get_list(binding, "subjects").iter();
        all.filter(|s| get_str(s, "kind") == kind).map(show).collect::<Vec<_>>().join(", ")
    };
    row![
        document::name(binding),
        format!("{}/{}", get_str(binding, "roleRef.kind"), get_str(binding, "roleRef.name")),
        age(binding, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub fn certificate_signing_request(object: &Value, now: Timestamp) -> Vec<Value> {
    let has = |condition| find_condition(object, "status.conditions", condition).is_some();
    let mut condition = match () {
        _ if has("Denied") => "Denied",
        _ if has("Approved") => "Approved",
        _ => "Pending",
    }
    .to_owned();
    if has("Failed") {
        condition += ",Failed";
    }
    if !get_str(object, "status.certificate").is_empty() {
        condition += ",Issued";
    }
    row![
        document::name(object),
        age(object, now),
        or(text_or(object, "spec.signerName", ""), "<none>"),
        get_str(object, "spec.username"),
        get_i64(object, "spec.expirationSeconds").map_or_else(|| "<none>".to_owned(), human_duration),
        condition,
    ]
}

pub fn webhooks(object: &Value, now: Timestamp) -> Vec<Value> {
    row![document::name(object), get_list(object, "webhooks").len(), age(object, now)]
}

pub fn validating_admission_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    admission_policy(object, "spec.validations", now)
}

pub fn mutating_admission_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    admission_policy(object, "spec.mutations", now)
}

fn admission_policy(object: &Value, rules: &str, now: Timestamp) -> Vec<Value> {
    let param_kind = get(object, "spec.paramKind")
        .filter(|p| p.is_object())
        .map_or_else(|| "<unset>".to_owned(), |p| format!("{}/{}", get_str(p, "apiVersion"), get_str(p, "kind")));
    row![document::name(object), get_list(object, rules).len(), param_kind, age(object, now)]
}

pub fn admission_policy_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let name = get_str(object, "spec.paramRef.name");
    let param = if !name.is_empty() {
        // Whether the parameter is cluster-scoped cannot be told from here.
        format!("{}/{name}", or(text_or(object, "spec.paramRef.namespace", ""), "*"))
    } else {
        let selector = get(object, "spec.paramRef.selector").filter(|selector| selector.is_object());
        selector.map_or_else(|| "<unset>".to_owned(), go_selector)
    };
    row![document::name(object), get_str(object, "spec.policyName"), param, age(object, now)]
}

/// A label selector as Go's generated `String` methods write it.
fn go_selector(selector: &Value) -> String {
    let mut labels: Vec<_> = get_map(selector, "matchLabels").into_iter().flatten().collect();
    labels.sort_unstable_by_key(|(key, _)| *key);
    let label = |(key, value): (&String, &Value)| format!("{key}: {},", value.as_str().unwrap_or_default());
    let labels: String = labels.into_iter().map(label).collect();
    let expression = |expression: &Value| {
        let values: Vec<&str> = get_list(expression, "values").iter().filter_map(Value::as_str).collect();
        let (key, operator) = (get_str(expression, "key"), get_str(expression, "operator"));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},", values.join(" "))
    };
    let expressions: String = get_list(selector, "matchExpressions").iter().map(expression).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

pub fn api_service(object: &Value, now: Timestamp) -> Vec<Value> {
    let service = get(object, "spec.service")
        .filter(|s| s.is_object())
        .map_or_else(|| "Local".to_owned(), |s| format!("{}/{}", get_str(s, "namespace"), get_str(s, "name")));
    let available = find_condition(object, "status.conditions", "Available").map_or_else(
        || "Unknown".to_owned(),
        |condition| match (get_str(condition, "status"), get_str(condition, "reason")) {
            ("True", _) => "True".to_owned(),
            (status, "") => status.to_owned(),
            (status, reason) => format!("{status} ({reason})"),
        },
    );
    row![document::name(object), service, available, age(object, now)]
}

pub fn flow_schema(object: &Value, now: Timestamp) -> Vec<Value> {
    let dangling = find_condition(object, "status.conditions", "Dangling").map_or("?", |c| get_str(c, "status"));
    row![
        document::name(object),
        get_str(object, "spec.priorityLevelConfiguration.name"),
        int(object, "spec.matchingPrecedence"),
        text_or(object, "spec.distinguisherMethod.type", "<none>"),
        age(object, now),
        dangling,
    ]
}

pub fn priority_level_configuration(object: &Value, now: Timestamp) -> Vec<Value> {
    let number = |path: &str| get(object, path).cloned().unwrap_or_else(|| "<none>".into());
    row![
        document::name(object),
        get_str(object, "spec.type"),
        number("spec.limited.nominalConcurrencyShares"),
        number("spec.limited.limitResponse.queuing.queues"),
        number("spec.limited.limitResponse.queuing.handSize"),
        number("spec.limited.limitResponse.queuing.queueLengthLimit"),
        age(object, now),
    ]
}
