//! PodDisruptionBudget.

use super::conditions::validate_conditions;
use super::int_or_percent;
use super::internal;
use super::labels::validate_changed_selector;
use super::path::{Path, child, descend, has, list, non_negative_fields, one_of, opt_text};
use super::{MetadataChecks, Rules, path_segment};
use api::Value;
use api::field::Errors;

pub struct PodDisruptionBudget;

impl Rules for PodDisruptionBudget {
    fn check(&self, budget: &Value, old: Option<&Value>, errors: &mut Errors) {
        const SPEC: Path = Path::root("spec");
        let spec = child(budget, "spec").unwrap_or(&Value::Null);
        if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
            let printed = internal::compact("PodDisruptionBudgetSpec", spec);
            errors.invalid_printed(SPEC, printed, "minAvailable and maxUnavailable cannot be both set");
        }
        for key in ["minAvailable", "maxUnavailable"] {
            int_or_percent::validate(spec, key, &SPEC, errors);
            int_or_percent::validate_at_most_all(spec, key, &SPEC, errors);
        }
        if let Some(selector) = child(spec, "selector") {
            let old = old.and_then(|old| descend(old, &["spec", "selector"]));
            validate_changed_selector(selector, old, &SPEC.at("selector"), errors);
        }
        if let Some(policy) = opt_text(spec, "unhealthyPodEvictionPolicy") {
            let path = SPEC.at("unhealthyPodEvictionPolicy");
            one_of(errors, &path, policy, &["AlwaysAllow", "IfHealthyBudget"]);
        }
    }

    fn validate_status_update(&self, budget: &Value, _: &Value, errors: &mut Errors) {
        const COUNTS: [&str; 4] = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        let status = child(budget, "status").unwrap_or(&Value::Null);
        validate_conditions(list(status, "conditions"), &Path::root("status.conditions"), errors);
        non_negative_fields(errors, status, &Path::root("status"), &COUNTS);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        path_segment(name, prefix)
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_limit_is_enough() {
        let first = |spec: Value| {
            let mut errors = Errors::new();
            PodDisruptionBudget.check(&json!({ "spec": spec }), None, &mut errors);
            errors.0.first().map_or_else(String::new, |error| error.detail.clone())
        };
        assert_eq!(first(json!({"minAvailable": "50%", "selector": {}})), "");
        assert_eq!(
            first(json!({"minAvailable": 1, "maxUnavailable": 1})),
            "minAvailable and maxUnavailable cannot be both set"
        );
        assert_eq!(first(json!({"minAvailable": "101%"})), "must not be greater than 100%");
    }
}
