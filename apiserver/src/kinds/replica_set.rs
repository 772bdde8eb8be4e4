//! ReplicaSets (`apps/v1`).

use super::deployment::{
    default_template_of, drop_disabled_at, immutable_selector, spec_mut, validate_selector_and_template,
    workload_warnings,
};
use super::equality::same;
use super::path::{Path, at_most, child, non_negative_fields};
use super::pod::default;
use super::{Context, Rules};
use api::document;
use api::field::Errors;
use api::{Map, Value};

/// Rules of ReplicaSets.
pub struct ReplicaSet;

const COUNTS: [&str; 6] = [
    "replicas",
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
    "observedGeneration",
    "terminatingReplicas",
];

/// Checks the status of a ReplicaSet or ReplicationController.
pub(super) fn validate_replicas_status(object: &Value, errors: &mut Errors) {
    let path = Path::root("status");
    let Some(status) = child(object, "status") else { return };
    non_negative_fields(errors, status, &path, &COUNTS);
    for key in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        at_most(errors, status, &path, key, "replicas", "cannot be greater than status.replicas");
    }
    at_most(errors, status, &path, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas");
}

/// `status.replicas` as text, for selecting by it.
pub(super) fn count_field(object: &Value, path: &str) -> String {
    document::get_i64(object, path).unwrap_or_default().to_string()
}

impl Rules for ReplicaSet {
    fn default(&self, object: &mut Value) {
        default_template_of(object);
        default(spec_mut(object), "replicas", 1);
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        drop_disabled_at(object, None, "spec.template.spec");
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _context: &Context) {
        drop_disabled_at(object, Some(old), "spec.template.spec");
    }

    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let empty = Value::Object(Map::new());
        let spec = child(object, "spec").unwrap_or(&empty);
        let path = Path::root("spec");
        non_negative_fields(errors, spec, &path, &["replicas", "minReadySeconds"]);
        validate_selector_and_template(spec, old, &path, errors);
        if let Some(old) = old {
            immutable_selector(object, old, errors);
        }
    }

    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut Errors) {
        validate_replicas_status(object, errors);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        workload_warnings(object, old)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        !same(child(object, "spec"), child(old, "spec"))
    }
}
