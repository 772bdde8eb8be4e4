//! ControllerRevisions (`apps/v1`): the history of DaemonSets and StatefulSets.

use super::path::{Path, child, immutable, non_negative};
use super::{MetadataChecks, Rules, check_object_first};
use api::Value;
use api::field::Errors;

/// Rules of ControllerRevisions.
pub struct ControllerRevision;

impl Rules for ControllerRevision {
    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        check_object_first(self, object, old, errors);
    }

    fn validate_create(&self, object: &Value, errors: &mut Errors) {
        match child(object, "data") {
            None => errors.required("data", "data is mandatory"),
            Some(data) if !data.is_object() => errors.required("data", "data must be a valid JSON object"),
            Some(_) => {}
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        non_negative(errors, object, &Path::root(""), "revision");
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        immutable(errors, object, old, &Path::root(""), "data");
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}
