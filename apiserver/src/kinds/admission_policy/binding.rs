//! Bindings: which policy, with which parameters, for which objects.

use super::{SPEC, validate_match, validate_mutable};
use crate::kinds::labels::validate_selector;
use crate::kinds::path::{Path, child, has, invalid_each, one_of, text, texts};
use api::field::Errors;
use api::{Value, names};
use serde_json::json;
use std::collections::HashSet;

/// Checks a MutatingAdmissionPolicyBinding.
pub fn validate_mutating_binding(binding: &Value, old: Option<&Value>, spec: &Value, errors: &mut Errors) {
    validate_binding(binding, old, spec, errors);
    if let Some(resources) = child(spec, "matchResources") {
        validate_mutable(resources, &SPEC.at("matchResources"), errors);
    }
}

fn validate_binding(_: &Value, _: Option<&Value>, spec: &Value, errors: &mut Errors) {
    match text(spec, "policyName") {
        "" => errors.required(SPEC.at("policyName"), ""),
        name => invalid_each(errors, &SPEC.at("policyName"), name, names::dns1123_subdomain(name)),
    }
    if let Some(reference) = child(spec, "paramRef") {
        validate_param_ref(reference, &SPEC.at("paramRef"), errors);
    }
    if let Some(resources) = child(spec, "matchResources") {
        validate_match(resources, &SPEC.at("matchResources"), errors);
    }
}

/// Checks a ValidatingAdmissionPolicyBinding.
pub fn validate_validating_binding(binding: &Value, old: Option<&Value>, spec: &Value, errors: &mut Errors) {
    validate_binding(binding, old, spec, errors);
    let actions: Vec<&str> = texts(spec, "validationActions").collect();
    let path = SPEC.at("validationActions");
    let mut seen = HashSet::new();
    for (i, action) in actions.iter().enumerate() {
        one_of(errors, &path.index(i), action, &["Audit", "Deny", "Warn"]);
        if !seen.insert(action) {
            errors.duplicate(path.index(i), *action);
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        const WHY: &str = "must not contain both Deny and Warn (repeating the same validation failure information in \
            the API response and headers serves no purpose)";
        errors.invalid(path, json!(actions), WHY);
    }
    if actions.is_empty() {
        errors.required(path, "at least one validation action is required");
    }
}

fn validate_param_ref(reference: &Value, path: &Path, errors: &mut Errors) {
    let name = text(reference, "name");
    if !name.is_empty() {
        invalid_each(errors, &path.at("name"), name, names::path_segment(name));
        if has(reference, "selector") {
            errors.forbidden(path.at("name"), "name and selector are mutually exclusive");
        }
    }
    if let Some(selector) = child(reference, "selector") {
        validate_selector(selector, &path.at("selector"), errors);
        if !name.is_empty() {
            errors.forbidden(path.at("selector"), "name and selector are mutually exclusive");
        }
    } else if name.is_empty() {
        errors.required(path, "one of name or selector must be specified");
    }
    let at = path.at("parameterNotFoundAction");
    match text(reference, "parameterNotFoundAction") {
        "" => errors.required(at, ""),
        action => one_of(errors, &at, action, &["Deny", "Allow"]),
    }
}
