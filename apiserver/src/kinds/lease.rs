//! Lease.

use super::path::{child, int, text};
use super::{Context, MetadataChecks, Rules};
use api::field::Errors;
use api::{Value, document, names};

pub struct Lease;

impl Rules for Lease {
    fn prepare_for_create(&self, lease: &mut Value, _: &Context) {
        drop_coordination(lease, &Value::Null);
    }

    fn prepare_for_update(&self, lease: &mut Value, old: &Value, _: &Context) {
        drop_coordination(lease, old);
    }

    fn validate(&self, lease: &Value, errors: &mut Errors) {
        let spec = child(lease, "spec").unwrap_or(&Value::Null);
        if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
            errors.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0");
        }
        if let Some(transitions) = int(spec, "leaseTransitions").filter(|transitions| *transitions < 0) {
            errors.invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0");
        }
        let strategy = text(spec, "strategy");
        if strategy.contains('/') {
            for message in names::qualified_name(strategy) {
                errors.invalid("spec.strategy.strategy", strategy, message);
            }
        } else if !matches!(strategy, "" | "OldestEmulationVersion") {
            errors.not_supported("spec.strategy.strategy", strategy, &["OldestEmulationVersion"]);
        }
        if !text(spec, "preferredHolder").is_empty() && strategy.is_empty() {
            errors.forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined");
        }
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks { finalizers: false, ..MetadataChecks::USUAL }
    }
}

/// Coordinated leader election is off, as upstream's default is; what is stored stays.
fn drop_coordination(lease: &mut Value, old: &Value) {
    for path in ["spec.strategy", "spec.preferredHolder"] {
        if document::get(old, path).is_none_or(Value::is_null) {
            document::remove(lease, path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_positive() {
        let mut errors = Errors::new();
        Lease.validate(&json!({"spec": {"leaseDurationSeconds": 0}}), &mut errors);
        assert_eq!(errors.0[0].to_string(), "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0");
    }
}
