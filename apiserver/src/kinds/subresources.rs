//! Parts of an object that are written through a subresource of their own.

use super::{Context, certificate_signing_request, namespace, pod};
use crate::registry::Part;
use api::Value;
use api::document;
use api::field::Errors;

/// Puts back everything that a write of this part may not change.
pub fn restrict(part: Part, object: &mut Value, old: &Value, context: &Context) {
    match part {
        Part::Finalize => namespace::prepare_for_finalize(object, old),
        Part::EphemeralContainers => pod::prepare_ephemeral_containers(object, old),
        Part::Resize => pod::prepare_resize(object, old),
        Part::Approval => {
            let conditions = document::get(object, "status.conditions").cloned();
            let metadata = document::get(object, "metadata").cloned();
            *object = old.clone();
            if let Some(metadata) = metadata {
                document::set(object, "metadata", metadata);
            }
            match conditions {
                Some(conditions) => document::set(object, "status.conditions", conditions),
                None => drop(document::remove(object, "status.conditions")),
            }
            certificate_signing_request::prepare_for_approval(object, old, context.now);
        }
        _ => {}
    }
}

/// Before a write of the status: puts back what belongs to whoever writes the object itself.
pub fn keep_metadata(object: &mut Value, old: &Value) {
    for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let metadata = document::metadata_mut(object);
        match document::get_map(old, "metadata").and_then(|metadata| metadata.get(key)) {
            Some(value) => drop(metadata.insert(key.into(), value.clone())),
            None => drop(metadata.remove(key)),
        }
    }
}

/// Checks what a write of this part may not do.
pub fn validate(part: Part, object: &Value, old: &Value, errors: &mut Errors) {
    match part {
        Part::Finalize => namespace::validate_finalize(object, errors),
        Part::Approval => certificate_signing_request::validate_approval(object, old, errors),
        Part::EphemeralContainers => pod::validate_ephemeral_containers(object, old, errors),
        Part::Resize => pod::validate_resize(object, old, errors),
        _ => {}
    }
}
