//! ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings.

mod binding;

use super::conditions::validate_conditions;
use super::expressions::{evaluated, validate_expression};
use super::labels::validate_selector;
use super::path::{Path, child, has, invalid_each, list, one_of, opt_text, required_text, text, texts};
use super::subresources::keep_metadata;
use super::webhook_configuration::{
    default_scopes, set_missing, split_api_version, validate_match_conditions, validate_rule,
};
use super::{Context, MetadataChecks, Rules};
use crate::cel::{self, Admission, BOOL, Environment, NULL, STRING, Type};
use api::field::Errors;
use api::{Value, document, names};
use serde_json::json;
use std::collections::HashSet;

pub struct ValidatingAdmissionPolicy;
pub struct MutatingAdmissionPolicy;
pub struct ValidatingAdmissionPolicyBinding;
pub struct MutatingAdmissionPolicyBinding;

const SPEC: Path = Path::root("spec");

macro_rules! policy_rules {
    ($policy:ident, $default:path, $validate:path) => {
        impl Rules for $policy {
            fn default(&self, policy: &mut Value) {
                $default(policy);
            }

            fn check(&self, policy: &Value, old: Option<&Value>, errors: &mut Errors) {
                $validate(policy, old, child(policy, "spec").unwrap_or(&Value::Null), errors);
            }

            fn prepare_for_status_update(&self, policy: &mut Value, old: &Value, _: &Context) {
                keep_metadata(policy, old);
            }

            fn validate_status_update(&self, policy: &Value, _: &Value, errors: &mut Errors) {
                validate_status(child(policy, "status").unwrap_or(&Value::Null), errors);
            }

            fn has_generation(&self) -> bool {
                true
            }

            fn allow_unconditional_update(&self) -> bool {
                false
            }

            fn metadata_checks(&self) -> MetadataChecks {
                MetadataChecks { finalizers: false, status_update: &[], ..MetadataChecks::AS_NEW }
            }
        }
    };
}

policy_rules!(ValidatingAdmissionPolicy, default_policy, validate_validating);
policy_rules!(MutatingAdmissionPolicy, default_policy, validate_mutating);
policy_rules!(ValidatingAdmissionPolicyBinding, default_binding, binding::validate_validating_binding);
policy_rules!(MutatingAdmissionPolicyBinding, default_binding, binding::validate_mutating_binding);

fn default_policy(policy: &mut Value) {
    let Some(spec) = policy.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    set_missing(spec, [("failurePolicy", json!("Fail"))]);
    default_match(spec, "matchConstraints");
}

fn default_binding(binding: &mut Value) {
    if let Some(spec) = binding.get_mut("spec").filter(|spec| spec.is_object()) {
        default_match(spec, "matchResources");
    }
}

fn default_match(spec: &mut Value, key: &str) {
    let Some(resources) = spec.get_mut(key).filter(|resources| resources.is_object()) else { return };
    let selectors = [("namespaceSelector", json!({})), ("objectSelector", json!({}))];
    set_missing(resources, [("matchPolicy", json!("Equivalent"))].into_iter().chain(selectors));
    default_scopes(resources, "resourceRules");
    default_scopes(resources, "excludeResourceRules");
}

/// What policies of both kinds have. Conditions that are as they were are not looked at again.
fn validate_policy(spec: &Value, old: Option<&Value>, mutates: bool, errors: &mut Errors) {
    let path = SPEC.at("failurePolicy");
    match opt_text(spec, "failurePolicy") {
        None => errors.required(path, ""),
        Some(policy) => one_of(errors, &path, policy, &["Fail", "Ignore"]),
    }
    if let Some(kind) = child(spec, "paramKind") {
        validate_param_kind(kind, &SPEC.at("paramKind"), errors);
    }
    let path = SPEC.at("matchConstraints");
    match child(spec, "matchConstraints") {
        None => errors.required(path, ""),
        Some(constraints) => {
            validate_match(constraints, &path, errors);
            if list(constraints, "resourceRules").is_empty() {
                errors.required(path.at("resourceRules"), "");
            }
            if mutates {
                validate_mutable(constraints, &path, errors);
            }
        }
    }
    let old = old.and_then(|old| child(old, "spec"));
    let same = |key| old.is_some_and(|old| child(old, key) == child(spec, key));
    if !(same("paramKind") && same("matchConditions")) {
        validate_match_conditions(spec, has(spec, "paramKind"), &SPEC, errors);
    }
}

/// What the expressions of a policy can name: the request, parameters, and variables, which see those before them.
struct Scope {
    admission: Admission,
    variables: Option<Vec<(String, Type)>>,
}

impl Scope {
    fn new(spec: &Value, has_variables: bool) -> Scope {
        let admission = Admission { params: has(spec, "paramKind"), authorizer: true };
        Scope { admission, variables: has_variables.then(Vec::new) }
    }

    fn environment(&self) -> Environment {
        let environment = cel::admission(self.admission);
        match &self.variables {
            Some(variables) => {
                environment.with("variables", Type::object("kubernetes.variables", variables.iter().cloned()))
            }
            None => environment,
        }
    }

    /// Messages do not ask what anybody may do.
    fn without_authorizer(&self) -> Environment {
        let admission = Admission { authorizer: false, ..self.admission };
        Scope { admission, variables: self.variables.clone() }.environment()
    }
}

fn validate_variables(spec: &Value, scope: &mut Scope, errors: &mut Errors) {
    let path = SPEC.at("variables");
    for (i, variable) in list(spec, "variables").iter().enumerate() {
        let path = path.index(i);
        let name = text(variable, "name");
        if name.trim().is_empty() {
            errors.required(path.at("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(path.at("name"), name, "must be a valid CEL identifier");
        }
        let expression = text(variable, "expression");
        if expression.trim().is_empty() {
            errors.required(path.at("expression"), "expression is not specified");
            continue;
        }
        let ty = validate_expression(expression, &scope.environment(), &[], &path.at("expression"), errors);
        if let Some(variables) = &mut scope.variables {
            variables.push((name.to_owned(), ty.map_or(cel::DYN, |ty| ty.of_variable())));
        }
    }
}

/// Whether an expression can use this as a name.
fn is_identifier(name: &str) -> bool {
    names::c_identifier(name).is_empty() && !cel::is_reserved(name)
}

fn validate_validating(policy: &Value, old: Option<&Value>, spec: &Value, errors: &mut Errors) {
    validate_policy(spec, old, false, errors);
    let mut scope = Scope::new(spec, !list(spec, "variables").is_empty());
    validate_variables(spec, &mut scope, errors);
    let (environment, for_messages) = (scope.environment(), scope.without_authorizer());
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        for key in ["validations", "auditAnnotations"] {
            errors.required(SPEC.at(key), "validations or auditAnnotations must contain at least one item");
        }
    }
    let path = SPEC.at("validations");
    for (i, validation) in validations.iter().enumerate() {
        validate_validation(validation, [&environment, &for_messages], &path.index(i), errors);
    }
    const MAX_ANNOTATIONS: usize = 20;
    const MAX_VALUE: usize = 5 << 10;
    let path = SPEC.at("auditAnnotations");
    if annotations.len() > MAX_ANNOTATIONS {
        let message = format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations");
        errors.invalid(path, annotations.to_vec(), message);
    }
    let mut seen = HashSet::new();
    for (i, annotation) in annotations.iter().enumerate() {
        let path = path.index(i);
        let key = text(annotation, "key");
        let qualified = format!("{}/{key}", document::name(policy));
        invalid_each(errors, &path.at("key"), &qualified, names::qualified_name(&qualified));
        let expression = text(annotation, "valueExpression").trim();
        if expression.is_empty() {
            errors.required(path.at("valueExpression"), "valueExpression is not specified");
        } else if expression.len() > MAX_VALUE {
            errors.required(path.at("valueExpression"), format!("must not exceed {MAX_VALUE} bytes in length"));
        } else if let Err(why) = evaluated(expression, &environment, &[STRING, NULL]) {
            errors.invalid(path.at("valueExpression"), text(annotation, "valueExpression"), why);
        }
        if !seen.insert(key) {
            errors.duplicate(path.at("key"), key);
        }
    }
}

fn validate_validation(validation: &Value, [own, for_message]: [&Environment; 2], path: &Path, errors: &mut Errors) {
    let expression = text(validation, "expression");
    if expression.trim().is_empty() {
        errors.required(path.at("expression"), "expression is not specified");
    } else {
        validate_expression(expression, own, &[BOOL], &path.at("expression"), errors);
    }
    for key in ["messageExpression", "message"] {
        let value = text(validation, key);
        if !value.is_empty() && value.trim().is_empty() {
            errors.invalid(path.at(key), value, "must be non-empty if specified");
        } else if key == "messageExpression" && !value.is_empty() {
            validate_expression(value, for_message, &[STRING], &path.at(key), errors);
        }
    }
    let message = text(validation, "message");
    if message.trim().contains(['\n', '\r']) {
        errors.invalid(path.at("message"), message, "must not contain line breaks");
    }
    if let Some(reason) = opt_text(validation, "reason") {
        one_of(errors, &path.at("reason"), reason, &["Forbidden", "Invalid", "RequestEntityTooLarge"]);
    }
}

fn validate_mutating(_: &Value, old: Option<&Value>, spec: &Value, errors: &mut Errors) {
    validate_policy(spec, old, true, errors);
    let mut scope = Scope::new(spec, true);
    validate_variables(spec, &mut scope, errors);
    let environment = scope.environment().with_patches();
    let mutations = list(spec, "mutations");
    let path = SPEC.at("mutations");
    if mutations.is_empty() {
        errors.required(path, "mutations must contain at least one item");
    }
    for (i, mutation) in mutations.iter().enumerate() {
        validate_mutation(mutation, &environment, &path.index(i), errors);
    }
    let path = SPEC.at("reinvocationPolicy");
    match text(spec, "reinvocationPolicy") {
        "" => errors.required(path, ""),
        policy => one_of(errors, &path, policy, &["IfNeeded", "Never"]),
    }
}

fn validate_mutation(mutation: &Value, environment: &Environment, path: &Path, errors: &mut Errors) {
    let kind = text(mutation, "patchType");
    let (field, other) = match kind {
        "" => return errors.required(path.at("patchType"), ""),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        unknown => {
            return errors.not_supported(path.at("patchType"), unknown, &["ApplyConfiguration", "JSONPatch"]);
        }
    };
    match child(mutation, field) {
        None => errors.required(path.at(field), format!("must be specified when patchType is {kind}")),
        Some(patch) if text(patch, "expression").trim().is_empty() => {
            errors.required(path.at(field).at("expression"), "");
        }
        Some(patch) => {
            let made = if kind == "JSONPatch" { cel::json_patch() } else { cel::patched_object() };
            let expression = text(patch, "expression").trim();
            validate_expression(expression, environment, &[made], &path.at(field).at("expression"), errors);
        }
    }
    if has(mutation, other) {
        let message = format!("must not be specified when patchType is {kind}");
        errors.invalid(path.at(other), format!("{{{other}}}"), message);
    }
}

fn validate_param_kind(kind: &Value, path: &Path, errors: &mut Errors) {
    let version = text(kind, "apiVersion");
    let at = path.at("apiVersion");
    match split_api_version(version) {
        _ if version.is_empty() => errors.required(at, ""),
        Err(why) => errors.invalid(at, version, why),
        Ok((group, number)) => {
            let messages = if group.is_empty() { Vec::new() } else { names::dns1123_subdomain(group) };
            if !messages.is_empty() {
                errors.invalid(at, group, messages.join(","));
            }
            let messages = names::dns1035_label(number);
            if number.is_empty() {
                errors.invalid(at, version, "version must be specified");
            } else if !messages.is_empty() {
                errors.invalid(at, number, messages.join(","));
            }
        }
    }
    let name = text(kind, "kind");
    let messages = names::dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.required(path.at("kind"), "");
    } else if !messages.is_empty() {
        let message = format!("may have mixed case, but should otherwise match: {}", messages.join(","));
        errors.invalid(path.at("kind"), name, message);
    }
}

fn validate_match(resources: &Value, path: &Path, errors: &mut Errors) {
    let at = path.at("matchPolicy");
    match opt_text(resources, "matchPolicy") {
        None => errors.required(at, ""),
        Some(policy) => one_of(errors, &at, policy, &["Equivalent", "Exact"]),
    }
    for key in ["namespaceSelector", "objectSelector"] {
        match child(resources, key) {
            None => errors.required(path.at(key), ""),
            Some(selector) => validate_selector(selector, &path.at(key), errors),
        }
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        let path = path.at(key);
        for (i, rule) in list(resources, key).iter().enumerate() {
            let path = path.index(i);
            let at = path.at("resourceNames");
            let mut seen = HashSet::new();
            for (i, name) in texts(rule, "resourceNames").enumerate() {
                invalid_each(errors, &at.index(i), name, names::path_segment(name));
                if !seen.insert(name) {
                    errors.duplicate(at.index(i), name);
                }
            }
            validate_rule(rule, &path, errors);
        }
    }
}

/// What is deleted cannot be changed.
fn validate_mutable(resources: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("resourceRules.operations");
    for operation in list(resources, "resourceRules").iter().flat_map(|rule| texts(rule, "operations")) {
        one_of(errors, &path, operation, &["*", "CONNECT", "CREATE", "UPDATE"]);
    }
}

fn validate_status(status: &Value, errors: &mut Errors) {
    let path = Path::root("status.typeChecking.expressionWarnings");
    let checked = child(status, "typeChecking").unwrap_or(&Value::Null);
    for (i, warning) in list(checked, "expressionWarnings").iter().enumerate() {
        let path = path.index(i);
        required_text(errors, warning, &path, "warning");
        if text(warning, "fieldRef").trim().is_empty() {
            errors.required(path.at("fieldRef"), "");
        }
    }
    validate_conditions(list(status, "conditions"), &Path::root("status.conditions"), errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::first_error as first;

    #[test]
    fn what_is_wrong_is_said() {
        let constraints = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["apps"],
            "apiVersions": ["v1"], "resources": ["deployments"]}]});
        let policy = json!({"matchConstraints": constraints, "validations": [{"expression": "true"}]});
        assert_eq!(first(&ValidatingAdmissionPolicy, policy), "");
        assert_eq!(
            first(&ValidatingAdmissionPolicy, json!({"matchConstraints": constraints})),
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item"
        );
        let binding = json!({"policyName": "p", "validationActions": ["Deny"]});
        assert_eq!(first(&ValidatingAdmissionPolicyBinding, binding), "");
        assert_eq!(
            first(&ValidatingAdmissionPolicyBinding, json!({"policyName": "p"})),
            "spec.validationActions: Required value: at least one validation action is required"
        );
    }
}
