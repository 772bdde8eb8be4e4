//! Role, ClusterRole and their bindings.

use super::labels::validate_selector;
use super::path::{Path, child, invalid_each, list, shown, text};
use super::{MetadataChecks, Rules};
use api::field::Errors;
use api::selector::Selector;
use api::{Value, document, names};

pub struct Role;
pub struct ClusterRole;
pub struct RoleBinding;
pub struct ClusterRoleBinding;

const GROUP: &str = "rbac.authorization.k8s.io";

impl Rules for Role {
    fn validate(&self, role: &Value, errors: &mut Errors) {
        validate_rules(role, true, errors);
    }

    fn validate_name(&self, name: &str, _: bool) -> Vec<String> {
        names::path_segment(name)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}

impl Rules for ClusterRole {
    fn validate(&self, role: &Value, errors: &mut Errors) {
        validate_rules(role, false, errors);
        let Some(aggregation) = child(role, "aggregationRule") else { return };
        let path = Path::root("aggregationRule.clusterRoleSelectors");
        let selectors = list(aggregation, "clusterRoleSelectors");
        if selectors.is_empty() {
            const WHY: &str = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.required(path, WHY);
        }
        for (i, selector) in selectors.iter().enumerate() {
            validate_selector(selector, &path.index(i), errors);
            if Selector::from_object(Some(selector)).is_err() {
                errors.invalid(path.index(i), Value::Null, "invalid label selector.");
            }
        }
    }

    fn validate_name(&self, name: &str, _: bool) -> Vec<String> {
        names::path_segment(name)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}

fn validate_rules(role: &Value, namespaced: bool, errors: &mut Errors) {
    let rules = Path::root("rules");
    for (i, rule) in list(role, "rules").iter().enumerate() {
        let path = rules.index(i);
        let is_empty = |key: &str| list(rule, key).is_empty();
        if is_empty("verbs") {
            errors.required(path.at("verbs"), "verbs must contain at least one value");
        }
        if !is_empty("nonResourceURLs") {
            let at = path.at("nonResourceURLs");
            let urls = || shown(child(rule, "nonResourceURLs"));
            if namespaced {
                errors.invalid(at, urls(), "namespaced rules cannot apply to non-resource URLs");
            }
            if !["apiGroups", "resources", "resourceNames"].into_iter().all(is_empty) {
                errors.invalid(at, urls(), "rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if is_empty("apiGroups") {
            errors.required(path.at("apiGroups"), "resource rules must supply at least one api group");
        }
        if is_empty("resources") {
            errors.required(path.at("resources"), "resource rules must supply at least one resource");
        }
    }
}

macro_rules! binding_rules {
    ($binding:ident, $namespaced:literal) => {
        impl Rules for $binding {
            fn default(&self, binding: &mut Value) {
                default_groups(binding);
            }

            fn check(&self, binding: &Value, old: Option<&Value>, errors: &mut Errors) {
                validate_binding(binding, $namespaced, errors);
                let role = |object| child(object, "roleRef");
                if old.is_some_and(|old| role(binding) != role(old)) {
                    errors.invalid("roleRef", shown(role(binding)), "cannot change roleRef");
                }
            }

            fn validate_name(&self, name: &str, _: bool) -> Vec<String> {
                names::path_segment(name)
            }

            fn allow_create_on_update(&self) -> bool {
                true
            }

            fn metadata_checks(&self) -> MetadataChecks {
                MetadataChecks::AGAIN
            }
        }
    };
}

binding_rules!(RoleBinding, true);
binding_rules!(ClusterRoleBinding, false);

fn default_groups(binding: &mut Value) {
    if document::get_str(binding, "roleRef.apiGroup").is_empty() {
        document::set(binding, "roleRef.apiGroup", GROUP);
    }
    let subjects = binding.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        if matches!(text(subject, "kind"), "User" | "Group") && text(subject, "apiGroup").is_empty() {
            document::set(subject, "apiGroup", GROUP);
        }
    }
}

fn validate_binding(binding: &Value, namespaced: bool, errors: &mut Errors) {
    const ROLE: Path = Path::root("roleRef");
    let role = child(binding, "roleRef").unwrap_or(&Value::Null);
    if text(role, "apiGroup") != GROUP {
        errors.not_supported(ROLE.at("apiGroup"), text(role, "apiGroup"), &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(role, "kind")) {
        errors.not_supported(ROLE.at("kind"), text(role, "kind"), kinds);
    }
    match text(role, "name") {
        "" => errors.required(ROLE.at("name"), ""),
        name => invalid_each(errors, &ROLE.at("name"), name, names::path_segment(name)),
    }
    let subjects = Path::root("subjects");
    for (i, subject) in list(binding, "subjects").iter().enumerate() {
        validate_subject(subject, namespaced, &subjects.index(i), errors);
    }
}

fn validate_subject(subject: &Value, namespaced: bool, path: &Path, errors: &mut Errors) {
    let (name, group) = (text(subject, "name"), text(subject, "apiGroup"));
    if name.is_empty() {
        errors.required(path.at("name"), "");
    }
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                invalid_each(errors, &path.at("name"), name, names::dns1123_subdomain(name));
            }
            if !group.is_empty() {
                errors.not_supported(path.at("apiGroup"), group, &[""]);
            }
            if !namespaced && text(subject, "namespace").is_empty() {
                errors.required(path.at("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.not_supported(path.at("apiGroup"), group, &[GROUP]);
            }
        }
        other => errors.not_supported(path.at("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn first(rules: &dyn Rules, mut object: Value) -> String {
        rules.default(&mut object);
        let mut errors = Errors::new();
        rules.check(&object, None, &mut errors);
        errors.0.first().map_or_else(String::new, ToString::to_string)
    }

    #[test]
    fn what_is_wrong_is_said() {
        let rule = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]});
        assert_eq!(first(&ClusterRole, json!({"rules": [rule]})), "");
        assert_eq!(
            first(&Role, json!({"rules": [rule]})),
            "rules[0].nonResourceURLs: Invalid value: [\"/healthz\"]: namespaced rules cannot apply to non-resource URLs"
        );
        let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "a"}, "subjects": [
            {"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]});
        assert_eq!(first(&RoleBinding, binding.clone()), "");
        assert_eq!(first(&ClusterRoleBinding, binding), "subjects[1].namespace: Required value");
        let role = json!({"roleRef": {"kind": "Role", "name": "a"}});
        assert_eq!(
            first(&ClusterRoleBinding, role),
            "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\""
        );
    }
}
