//! Priority: a pod's priority comes from its class.
//!
//! Follows `plugin/pkg/admission/priority`.

use super::{Operation, name_of};
use crate::registry::Call;
use crate::resources;
use api::Value;
use api::document;
use api::status::ApiError;
use storage::Range;

const DEFAULT_POLICY: &str = "PreemptLowerPriority";

pub fn mutate(call: &Call<'_>, operation: Operation, object: &mut Value) -> Result<(), ApiError> {
    if operation != Operation::Create || call.resource.kind.kind != "Pod" || !call.subresource.is_empty() {
        return Ok(());
    }
    let name = document::get_str(object, "spec.priorityClassName").to_owned();
    let class = if name.is_empty() { global_default(call)? } else { Some(named(call, &name, object)?) };
    let (value, policy) = match &class {
        Some(class) => {
            let policy = document::get_str(class, "preemptionPolicy");
            (document::get_i64(class, "value").unwrap_or(0), if policy.is_empty() { DEFAULT_POLICY } else { policy })
        }
        None => (0, DEFAULT_POLICY),
    };
    let forbidden = |why: String| Err(ApiError::forbidden("", "pods", name_of(object), why));
    match document::get_i64(object, "spec.priority") {
        Some(given) if given != value => {
            return forbidden(format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
            ));
        }
        _ => {}
    }
    let given = document::get(object, "spec.preemptionPolicy").and_then(Value::as_str);
    if let Some(given) = given.filter(|given| *given != policy) {
        return forbidden(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    if let Some(class) = class.as_ref().filter(|_| name.is_empty()) {
        document::set(object, "spec.priorityClassName", document::name(class));
    }
    document::set(object, "spec.priority", value);
    document::set(object, "spec.preemptionPolicy", policy);
    Ok(())
}

/// At most one class is the default.
pub fn validate(
    call: &Call<'_>,
    operation: Operation,
    object: Option<&Value>,
    _old: Option<&Value>,
) -> Result<(), ApiError> {
    let Some(class) = object.filter(|class| document::get_bool(class, "globalDefault")) else { return Ok(()) };
    if call.resource.kind.kind != "PriorityClass" || operation == Operation::Delete {
        return Ok(());
    }
    match global_default(call)? {
        Some(other) if operation == Operation::Create || document::name(&other) != document::name(class) => {
            let name = document::name(&other);
            let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
            let kind = call.resource.kind;
            Err(ApiError::forbidden(kind.group, kind.resource, document::name(class), why))
        }
        _ => Ok(()),
    }
}

fn named(call: &Call<'_>, name: &str, pod: &Value) -> Result<Value, ApiError> {
    let classes = resources::builtin("scheduling.k8s.io", "priorityclasses");
    let found = call.server.store.get(&classes.key("", name)).map_err(|e| call.server.store_error(e))?;
    match found {
        Some(entry) => classes.read(&entry.value),
        None => {
            let why = format!("no PriorityClass with name {name} was found");
            Err(ApiError::forbidden("", "pods", name_of(pod), why))
        }
    }
}

/// The class for pods that name none; the one of lowest value, should there be several.
fn global_default(call: &Call<'_>) -> Result<Option<Value>, ApiError> {
    let classes = resources::builtin("scheduling.k8s.io", "priorityclasses");
    let range = Range { prefix: &classes.prefix, start_after: None, limit: 0, at: None };
    let all = call.server.store.range(range).map_err(|e| call.server.store_error(e))?;
    let defaults = all.entries.iter().filter_map(|entry| classes.read(&entry.value).ok());
    Ok(defaults
        .filter(|class| document::get_bool(class, "globalDefault"))
        .min_by_key(|class| document::get_i64(class, "value")))
}
