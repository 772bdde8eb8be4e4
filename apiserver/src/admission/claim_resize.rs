//! PersistentVolumeClaimResize: only claims of a storage class that allows it grow.

use super::Operation;
use crate::registry::Call;
use crate::resources;
use api::Value;
use api::document;
use api::quantity::Quantity;
use api::status::ApiError;
use api::storage_class;

pub fn validate(
    call: &Call<'_>,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let kind = call.resource.kind;
    if operation != Operation::Update || kind.kind != "PersistentVolumeClaim" || !call.subresource.is_empty() {
        return Ok(());
    }
    let (Some(new), Some(old)) = (object, old) else { return Ok(()) };
    let size = |claim| Quantity::parse(document::get_str(claim, "spec.resources.requests.storage")).ok();
    if size(new) <= size(old) || document::get_str(old, "status.phase") != "Bound" {
        return Ok(());
    }
    if allows_expansion(call, old)? {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    Err(ApiError::forbidden(kind.group, kind.resource, call.name, why))
}

/// Whether the claim's storage class lets its volumes grow.
fn allows_expansion(call: &Call<'_>, claim: &Value) -> Result<bool, ApiError> {
    let class = storage_class::name_of(claim);
    if class.is_empty() {
        return Ok(false);
    }
    let classes = resources::builtin("storage.k8s.io", "storageclasses");
    let found = call.server.store.get(&classes.key("", class)).map_err(|error| call.server.store_error(error))?;
    let class = found.map(|entry| classes.read(&entry.value)).transpose()?;
    Ok(class.is_some_and(|class| document::get_bool(&class, "allowVolumeExpansion")))
}
