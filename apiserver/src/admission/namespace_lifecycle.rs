//! NamespaceLifecycle: nothing is created in a namespace that is missing or going away, and the system's namespaces
//! stay.

use super::{Operation, name_of};
use crate::registry::Call;
use crate::resources;
use api::Value;
use api::document;
use api::status::ApiError;

const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

pub fn mutate(call: &Call<'_>, operation: Operation, object: &mut Value) -> Result<(), ApiError> {
    if operation != Operation::Create || !call.resource.kind.namespaced {
        return Ok(());
    }
    let namespaces = resources::builtin("", "namespaces");
    let found = call.server.store.get(&namespaces.key("", call.namespace)).map_err(|e| call.server.store_error(e))?;
    let Some(entry) = found else { return Err(ApiError::not_found(namespaces.kind, call.namespace)) };
    let namespace = namespaces.read_unmanaged(&entry.value)?;
    if !document::is_terminating(&namespace) {
        return Ok(());
    }
    let kind = call.resource.kind;
    let name = call.namespace;
    let why = format!("unable to create new content in namespace {name} because it is being terminated");
    Err(ApiError::forbidden(kind.group, kind.resource, name_of(object), why).with_cause(
        "NamespaceTerminating",
        format!("namespace {name} is being terminated"),
        "metadata.namespace",
    ))
}

pub fn validate(
    call: &Call<'_>,
    operation: Operation,
    _object: Option<&Value>,
    _old: Option<&Value>,
) -> Result<(), ApiError> {
    let namespaces = call.resource.kind.resource == "namespaces" && call.resource.kind.group.is_empty();
    if operation == Operation::Delete && namespaces && IMMORTAL.contains(&call.name) {
        return Err(ApiError::forbidden("", "namespaces", call.name, "this namespace may not be deleted"));
    }
    Ok(())
}
