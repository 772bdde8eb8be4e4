//! Access to devices as an administrator (KEP-5018) is for namespaces that an administrator labelled.

use super::Operation;
use crate::registry::Call;
use crate::resources;
use api::Value;
use api::document::{self, get_list};
use api::field::Errors;
use api::status::ApiError;

const LABEL: &str = "resource.kubernetes.io/admin-access";

pub fn validate(
    call: &Call<'_>,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let kind = call.resource.kind;
    let Some(object) = object.filter(|_| kind.group == "resource.k8s.io" && operation != Operation::Delete) else {
        return Ok(());
    };
    let asks = |request: &Value| document::get_bool(request, "exactly.adminAccess");
    let granted = |result: &Value| document::get_bool(result, "adminAccess");
    const RESULTS: &str = "status.allocation.devices.results";
    let found = match (kind.kind, old) {
        ("ResourceClaim", None) => get_list(object, "spec.devices.requests").iter().position(asks),
        ("ResourceClaimTemplate", None) => get_list(object, "spec.spec.devices.requests").iter().position(asks),
        ("ResourceClaim", Some(old)) if !get_list(old, RESULTS).iter().any(granted) => {
            get_list(object, RESULTS).iter().position(granted)
        }
        _ => None,
    };
    let Some(i) = found else { return Ok(()) };
    if is_labelled(call)? {
        return Ok(());
    }
    // The path is a claim's, and leaves out what kind of request it is, also in a template.
    let path = if old.is_some() { RESULTS } else { "spec.devices.requests" };
    let why = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
    let mut errors = Errors::new();
    errors.forbidden(format!("{path}[{i}].adminAccess"), why);
    Err(ApiError::invalid(kind.group, kind.kind, document::name(object), &errors))
}

fn is_labelled(call: &Call<'_>) -> Result<bool, ApiError> {
    let namespaces = resources::builtin("", "namespaces");
    let found = call.server.store.get(&namespaces.key("", call.namespace)).map_err(|e| call.server.store_error(e))?;
    let Some(entry) = found else { return Ok(false) };
    let namespace = namespaces.read(&entry.value)?;
    Ok(document::labels(&namespace).and_then(|labels| labels.get(LABEL)).is_some_and(|value| value == "true"))
}
