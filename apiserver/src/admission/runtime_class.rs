//! RuntimeClass: a pod gets the overhead of its class, and runs where the class can run.
//!
//! Follows `plugin/pkg/admission/runtimeclass`.

use super::{Operation, name_of};
use crate::kinds::same;
use crate::registry::Call;
use crate::resources;
use api::Value;
use api::document;
use api::names;
use api::status::ApiError;

/// More tolerations than this are not compared with each other.
const MAX_COMPARED: usize = 1000;

pub fn mutate(call: &Call<'_>, operation: Operation, pod: &mut Value) -> Result<(), ApiError> {
    if !concerns(call, operation) {
        return Ok(());
    }
    let Some(class) = class_of(call, pod)? else { return Ok(()) };
    if let Some(overhead) = document::get(&class, "overhead") {
        let fixed = document::get(overhead, "podFixed");
        let given = document::get(pod, "spec.overhead");
        let any = given.and_then(Value::as_object).is_some_and(|given| !given.is_empty());
        if any && !same(given, fixed) {
            return Err(mismatch(pod));
        }
        match fixed {
            Some(fixed) => document::set(pod, "spec.overhead", fixed.clone()),
            None => drop(document::remove(pod, "spec.overhead")),
        }
    }
    if let Some(scheduling) = document::get(&class, "scheduling") {
        select_nodes(pod, scheduling)?;
        tolerate(pod, document::get_list(scheduling, "tolerations"));
    }
    Ok(())
}

pub fn validate(
    call: &Call<'_>,
    operation: Operation,
    object: Option<&Value>,
    _old: Option<&Value>,
) -> Result<(), ApiError> {
    let Some(pod) = object.filter(|_| concerns(call, operation)) else { return Ok(()) };
    let class = class_of(call, pod)?;
    let given = document::get(pod, "spec.overhead");
    match class.as_ref().and_then(|class| document::get(class, "overhead")) {
        Some(overhead) if !same(document::get(overhead, "podFixed"), given) => Err(mismatch(pod)),
        None if given.is_some_and(|given| !given.is_null()) => {
            Err(rejected(pod, "Pod Overhead set without corresponding RuntimeClass defined Overhead"))
        }
        _ => Ok(()),
    }
}

fn concerns(call: &Call<'_>, operation: Operation) -> bool {
    operation == Operation::Create && call.resource.kind.kind == "Pod" && call.subresource.is_empty()
}

/// The class that the pod names.
fn class_of(call: &Call<'_>, pod: &Value) -> Result<Option<Value>, ApiError> {
    let Some(name) = document::get(pod, "spec.runtimeClassName").and_then(Value::as_str) else { return Ok(None) };
    if name.is_empty() {
        return Err(ApiError::new(500, "", "resource name may not be empty"));
    }
    let problems = names::path_segment(name);
    if !problems.is_empty() {
        let why = format!("invalid resource name {}: [{}]", api::field::quote(name), problems.join(" "));
        return Err(ApiError::new(500, "", why));
    }
    let classes = resources::builtin("node.k8s.io", "runtimeclasses");
    match call.server.store.get(&classes.key("", name)).map_err(|e| call.server.store_error(e))? {
        Some(entry) => classes.read(&entry.value).map(Some),
        None => Err(rejected(pod, &format!("RuntimeClass {} not found", api::field::quote(name)))),
    }
}

fn forbidden(pod: &Value, why: String) -> ApiError {
    ApiError::forbidden("", "pods", name_of(pod), why)
}

fn rejected(pod: &Value, why: &str) -> ApiError {
    forbidden(pod, format!("pod rejected: {why}"))
}

fn mismatch(pod: &Value) -> ApiError {
    rejected(pod, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")
}

fn select_nodes(pod: &mut Value, scheduling: &Value) -> Result<(), ApiError> {
    let Some(wanted) = document::get(scheduling, "nodeSelector").and_then(Value::as_object) else { return Ok(()) };
    let mut selector = document::get(pod, "spec.nodeSelector").and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, value) in wanted {
        if let Some(own) = selector.get(key).filter(|own| *own != value) {
            let (value, own) = (value.as_str().unwrap_or_default(), own.as_str().unwrap_or_default());
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            );
            return Err(forbidden(pod, why));
        }
        selector.insert(key.clone(), value.clone());
    }
    if !selector.is_empty() {
        document::set(pod, "spec.nodeSelector", selector);
    }
    Ok(())
}

/// Adds tolerations that none of the pod's own implies, and drops the pod's that one of the class implies.
fn tolerate(pod: &mut Value, added: &[Value]) {
    let all: Vec<&Value> = document::get_list(pod, "spec.tolerations").iter().chain(added).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (i, toleration) in all.iter().enumerate() {
        let implied = all.len() <= MAX_COMPARED
            && (merged.iter().any(|other| implies(other, toleration))
                || all[i + 1..].iter().any(|other| !same(Some(other), Some(toleration)) && implies(other, toleration)));
        if !implied {
            merged.push((*toleration).clone());
        }
    }
    if !merged.is_empty() {
        document::set(pod, "spec.tolerations", merged);
    }
}

/// Whether everything that `b` tolerates is tolerated by `a`.
fn implies(a: &Value, b: &Value) -> bool {
    let text = document::get_str;
    if same(Some(a), Some(b)) {
        return true;
    }
    let any_key = text(a, "key").is_empty() && text(a, "operator") == "Exists";
    if text(a, "key") != text(b, "key") && !any_key {
        return false;
    }
    if !text(a, "effect").is_empty() && text(a, "effect") != text(b, "effect") {
        return false;
    }
    let seconds = |toleration| document::get_i64(toleration, "tolerationSeconds");
    let lasts = match (seconds(a), seconds(b)) {
        (Some(a), Some(b)) => a >= b,
        (Some(_), None) => false,
        (None, _) => true,
    };
    if text(a, "effect") == "NoExecute" && !lasts {
        return false;
    }
    match text(a, "operator") {
        "Exists" => true,
        "" | "Equal" => text(b, "operator") == "Equal" && text(a, "value") == text(b, "value"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_of_the_class_are_added_unless_implied() {
        let own = json!([{"key": "a", "operator": "Exists", "effect": "NoSchedule"}, {"key": "b", "value": "x"}]);
        let mut pod = json!({"spec": {"tolerations": own}});
        let added = [json!({"key": "a", "operator": "Exists"}), json!({"key": "b", "value": "x"})];
        tolerate(&mut pod, &added);
        let wanted = json!([{"key": "b", "value": "x"}, {"key": "a", "operator": "Exists"}]);
        assert_eq!(pod["spec"]["tolerations"], wanted);
    }
}
