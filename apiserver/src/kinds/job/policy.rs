//! When a Job fails early, succeeds early, and replaces its pods (KEP-3329, KEP-3998, KEP-3939).

use super::super::internal::compact;
use super::super::path::{Path, child, has, int, invalid_each, list, non_negative, one_of, opt_text, shown, text};
use super::container_names;
use super::status::index_count;
use api::field::{ErrorType, Errors};
use api::{Value, names};
use std::collections::HashSet;

const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_CONDITIONS: usize = 20;
const MAX_INDEXES_LENGTH: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

/// Checks the policies of a Job's specification.
pub fn validate(spec: &Value, path: &Path, errors: &mut Errors) {
    if let Some(policy) = child(spec, "podFailurePolicy") {
        let path = path.at("podFailurePolicy");
        let path = path.at("rules");
        let rules = list(policy, "rules");
        if rules.len() > MAX_RULES {
            errors.too_many(path, rules.len(), MAX_RULES);
        }
        let containers = container_names(spec);
        for (i, rule) in rules.iter().enumerate() {
            validate_failure_rule(rule, has(spec, "backoffLimitPerIndex"), &containers, &path.index(i), errors);
        }
    }
    if let Some(policy) = child(spec, "successPolicy") {
        let path = path.at("successPolicy");
        if text(spec, "completionMode") == "Indexed" {
            validate_success(policy, int(spec, "completions").unwrap_or_default(), &path.at("rules"), errors);
        } else {
            errors.invalid_printed(path, compact("SuccessPolicy", policy), "requires indexed completion mode");
        }
    }
    if let Some(replacement) = opt_text(spec, "podReplacementPolicy") {
        let supported: &[&str] =
            if has(spec, "podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        one_of(errors, &path.at("podReplacementPolicy"), replacement, supported);
    }
}

/// An error that does not repeat the value.
pub(super) fn invalid_without_value(errors: &mut Errors, path: impl Into<String>, detail: impl Into<String>) {
    errors.add(ErrorType::Invalid, path, None, detail);
}

/// A list of choices as Go prints it.
fn choices(of: &[&str]) -> String {
    let quoted: Vec<String> = of.iter().map(|choice| format!("\"{choice}\"")).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

fn required_choice(errors: &mut Errors, path: &Path, value: &str, supported: &[&str]) {
    if value.is_empty() {
        errors.required(path, choices(supported));
    } else {
        one_of(errors, path, value, supported);
    }
}

fn validate_failure_rule(rule: &Value, per_index: bool, containers: &HashSet<&str>, path: &Path, errors: &mut Errors) {
    let action = text(rule, "action");
    if action == "FailIndex" && !per_index {
        errors.invalid(path.at("action"), action, "requires the backoffLimitPerIndex to be set");
    }
    required_choice(errors, &path.at("action"), action, &ACTIONS);
    let codes = child(rule, "onExitCodes");
    if let Some(codes) = codes {
        validate_exit_codes(codes, containers, &path.at("onExitCodes"), errors);
    }
    let conditions = list(rule, "onPodConditions");
    let at = path.at("onPodConditions");
    if conditions.len() > MAX_CONDITIONS {
        errors.too_many(at, conditions.len(), MAX_CONDITIONS);
    }
    for (i, condition) in conditions.iter().enumerate() {
        let at = at.index(i);
        let kind = text(condition, "type");
        invalid_each(errors, &at.at("type"), kind, names::qualified_name(kind));
        required_choice(errors, &at.at("status"), text(condition, "status"), &["False", "True", "Unknown"]);
    }
    match (codes.is_some(), conditions.is_empty()) {
        (true, false) => {
            let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
            invalid_without_value(errors, path, detail);
        }
        (false, true) => {
            let detail = "specifying one of OnExitCodes and OnPodConditions is required";
            invalid_without_value(errors, path, detail);
        }
        _ => {}
    }
}

fn validate_exit_codes(codes: &Value, containers: &HashSet<&str>, path: &Path, errors: &mut Errors) {
    let operator = text(codes, "operator");
    required_choice(errors, &path.at("operator"), operator, &["In", "NotIn"]);
    if let Some(name) = opt_text(codes, "containerName").filter(|name| !containers.contains(name)) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.invalid(path.at("containerName"), name, detail);
    }
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    let path = path.at("values");
    if values.is_empty() {
        errors.invalid(path, shown(child(codes, "values")), "at least one value is required");
    } else if values.len() > MAX_EXIT_CODES {
        errors.too_many(path, values.len(), MAX_EXIT_CODES);
    }
    let mut seen = HashSet::new();
    for (i, value) in values.iter().enumerate() {
        if operator == "In" && *value == 0 {
            errors.invalid(path.index(i), *value, "must not be 0 for the In operator");
        }
        if !seen.insert(value) {
            errors.duplicate(path.index(i), *value);
        }
    }
    if !values.is_sorted() {
        errors.invalid(path, values, "must be ordered");
    }
}

fn validate_success(policy: &Value, completions: i64, path: &Path, errors: &mut Errors) {
    let rules = list(policy, "rules");
    if rules.is_empty() {
        errors.required(path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > MAX_RULES {
        errors.too_many(path, rules.len(), MAX_RULES);
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        let (count, indexes) = (int(rule, "succeededCount"), opt_text(rule, "succeededIndexes"));
        if count.is_none() && indexes.is_none() {
            errors.required(path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut total = 0;
        if let Some(indexes) = indexes {
            let path = path.at("succeededIndexes");
            if indexes.len() > MAX_INDEXES_LENGTH {
                errors.too_long(path, MAX_INDEXES_LENGTH);
            }
            match index_count(indexes, completions) {
                Ok(count) => total = count,
                Err(why) => errors.invalid(path, indexes, format!("error parsing succeededIndexes: {why}")),
            }
        }
        let Some(count) = count else { continue };
        non_negative(errors, rule, &path, "succeededCount");
        let path = path.at("succeededCount");
        if count > completions {
            let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.invalid(path, count, detail);
        }
        if indexes.is_some() && count > total {
            let detail = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.invalid(path, count, detail);
        }
    }
}
