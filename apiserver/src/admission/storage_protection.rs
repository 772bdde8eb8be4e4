//! StorageObjectInUseProtection: new claims, volumes and classes of volume attributes get the finalizers that keep them while
//! somebody uses them.

use super::Operation;
use crate::registry::Call;
use api::Value;
use api::document;
use api::status::ApiError;

pub fn mutate(call: &Call<'_>, operation: Operation, object: &mut Value) -> Result<(), ApiError> {
    let finalizer = match call.resource.kind.resource {
        "persistentvolumeclaims" => "kubernetes.io/pvc-protection",
        "persistentvolumes" => "kubernetes.io/pv-protection",
        "volumeattributesclasses" => "kubernetes.io/vac-protection",
        _ => return Ok(()),
    };
    let known = document::finalizers(object).any(|known| known == finalizer);
    if operation == Operation::Create && call.subresource.is_empty() && !known {
        let mut finalizers: Vec<Value> = document::finalizers(object).map(Value::from).collect();
        finalizers.push(finalizer.into());
        document::set(object, "metadata.finalizers", finalizers);
    }
    Ok(())
}
