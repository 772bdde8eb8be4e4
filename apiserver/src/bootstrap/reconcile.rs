//! What to do about a bootstrap object that is there already: add what is missing, keep what people have added.

use api::Value;
use api::document::{self, Map};

use super::flow_control;
use crate::authz::rule::{Rule, Vocabulary, uncovered};

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Step {
    Nothing,
    Create,
    /// Replace the existing object by this one, which has its uid and resource version.
    Update(Value),
    /// Delete the existing object, then create: a binding's role cannot be changed.
    Recreate,
}

/// Compares what the store has with what a cluster should start with. Objects whose autoupdate annotation says `false` are left
/// alone.
pub fn reconcile(existing: Option<&Value>, wanted: &Value) -> Step {
    let Some(existing) = existing else { return Step::Create };
    let changed = match document::get_str(wanted, "kind") {
        "Role" | "ClusterRole" if !is_protected(existing) => reconcile_role(existing, wanted),
        "RoleBinding" | "ClusterRoleBinding" if !is_protected(existing) => {
            if existing.get("roleRef") != wanted.get("roleRef") {
                return Step::Recreate;
            }
            reconcile_binding(existing, wanted)
        }
        "FlowSchema" | "PriorityLevelConfiguration" => reconcile_flow_control(existing, wanted),
        "ConfigMap" => reconcile_config_map(existing, wanted),
        "ServiceCIDR" => reconcile_service_cidr(existing, wanted),
        // Namespaces, priority classes and the like only have to exist.
        _ => return Step::Nothing,
    };
    if changed == *existing { Step::Nothing } else { Step::Update(changed) }
}

fn is_protected(existing: &Value) -> bool {
    document::annotation(existing, "rbac.authorization.kubernetes.io/autoupdate") == Some("false")
}

/// The existing object with the wanted labels and annotations added; those that it has keep their values.
fn with_metadata(existing: &Value, wanted: &Value) -> Value {
    let mut object = existing.clone();
    for key in ["labels", "annotations"] {
        let Some(added) = wanted.pointer("/metadata").and_then(|metadata| metadata.get(key)?.as_object()) else {
            continue;
        };
        let own = document::child(document::metadata_mut(&mut object), key);
        for (name, value) in added {
            own.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    object
}

/// Adds to the list at a key those of `added` that `existing` has not.
fn extend(object: &mut Value, key: &str, added: Vec<Value>) {
    if added.is_empty() {
        return;
    }
    let mut list = document::get_list(object, key).to_vec();
    list.extend(added);
    document::set(object, key, list);
}

fn missing(existing: &Value, wanted: &Value, path: &str) -> Vec<Value> {
    let has = document::get_list(existing, path);
    document::get_list(wanted, path).iter().filter(|item| !has.contains(item)).cloned().collect()
}

fn reconcile_role(existing: &Value, wanted: &Value) -> Value {
    const SELECTORS: &str = "aggregationRule.clusterRoleSelectors";
    let mut role = with_metadata(existing, wanted);
    let mut vocabulary = Vocabulary::default();
    let held = Rule::parse_all(existing, &mut vocabulary);
    // The bootstrap roles are small; should one ever not be, adding its rules whole is right too.
    let wanted_rules = Rule::parse_all(wanted, &mut vocabulary);
    let lacking = uncovered(&held, &wanted_rules).unwrap_or(wanted_rules);
    extend(&mut role, "rules", lacking.iter().map(Rule::to_value).collect());
    if wanted.get("aggregationRule").is_none() {
        document::remove(&mut role, "aggregationRule");
    }
    extend(&mut role, SELECTORS, missing(existing, wanted, SELECTORS));
    role
}

fn reconcile_binding(existing: &Value, wanted: &Value) -> Value {
    let mut binding = with_metadata(existing, wanted);
    extend(&mut binding, "subjects", missing(existing, wanted, "subjects"));
    binding
}

/// Mandatory objects are put right; suggested ones follow upstream's values until somebody has changed them.
fn reconcile_flow_control(existing: &Value, wanted: &Value) -> Value {
    const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
    let mandatory = flow_control::MANDATORY.contains(&document::name(wanted));
    let untouched = document::get_i64(existing, "metadata.generation") == Some(1);
    let automatic = match document::annotation(existing, AUTOUPDATE) {
        Some("true") => true,
        Some("false") => mandatory,
        _ => mandatory || untouched,
    };
    let mut object = existing.clone();
    // How much the exempt level lends is the operator's choice.
    let is_exempt_level = document::get_str(wanted, "spec.type") == "Exempt";
    if automatic && !is_exempt_level {
        object["spec"] = wanted.get("spec").cloned().unwrap_or_default();
    }
    let annotations = document::child(document::metadata_mut(&mut object), "annotations");
    annotations.insert(AUTOUPDATE.to_owned(), automatic.to_string().into());
    object
}

/// A cluster may gain its second family; every other change is for people.
fn reconcile_service_cidr(existing: &Value, wanted: &Value) -> Value {
    let cidrs = |object| document::get_list(object, "spec.cidrs").to_vec();
    let mut object = existing.clone();
    if matches!((&cidrs(existing)[..], &cidrs(wanted)[..]), ([old], [first, _]) if old == first) {
        document::set(&mut object, "spec.cidrs", cidrs(wanted));
    }
    object
}

fn reconcile_config_map(existing: &Value, wanted: &Value) -> Value {
    let mut object = existing.clone();
    let data = document::child(document::as_map(&mut object), "data");
    data.extend(document::get_map(wanted, "data").cloned().unwrap_or_else(Map::new));
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role(rules: Value) -> Value {
        json!({"kind": "ClusterRole", "metadata": {"name": "r", "labels": {"a": "b"}}, "rules": rules})
    }

    #[test]
    fn missing_rules_are_added_and_extra_ones_kept() {
        let wanted = role(json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]));
        assert_eq!(reconcile(None, &wanted), Step::Create);
        assert_eq!(reconcile(Some(&wanted), &wanted), Step::Nothing);
        let own = json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"]});
        let Step::Update(changed) = reconcile(Some(&role(json!([own]))), &wanted) else { panic!("must be updated") };
        assert_eq!(changed["rules"], json!([own, {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]));
    }

    #[test]
    fn a_protected_role_is_left_alone() {
        let wanted = role(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
        let mut existing = role(json!([]));
        existing["metadata"]["annotations"] = json!({"rbac.authorization.kubernetes.io/autoupdate": "false"});
        assert_eq!(reconcile(Some(&existing), &wanted), Step::Nothing);
    }

    #[test]
    fn the_service_addresses_gain_a_family() {
        let cidr = |cidrs: Value| json!({"kind": "ServiceCIDR", "spec": {"cidrs": cidrs}});
        let both = cidr(json!(["10.96.0.0/16", "fd00::/108"]));
        let step = reconcile(Some(&cidr(json!(["10.96.0.0/16"]))), &both);
        assert_eq!(step, Step::Update(both.clone()));
        assert_eq!(reconcile(Some(&cidr(json!(["10.97.0.0/16"]))), &both), Step::Nothing);
    }

    #[test]
    fn bindings_gain_subjects_and_are_made_anew_for_another_role() {
        let binding = |role: &str, subjects: Value| json!({"kind": "RoleBinding", "roleRef": {"name": role}, "subjects": subjects});
        let wanted = binding("a", json!([{"name": "x"}]));
        let Step::Update(changed) = reconcile(Some(&binding("a", json!([{"name": "y"}]))), &wanted) else {
            panic!("must be updated")
        };
        assert_eq!(changed["subjects"], json!([{"name": "y"}, {"name": "x"}]));
        assert_eq!(reconcile(Some(&binding("b", json!([]))), &wanted), Step::Recreate);
    }

    #[test]
    fn suggested_flow_control_is_the_operators_once_changed() {
        let wanted = flow_control::flow_schemas().find(|schema| document::name(schema) == "service-accounts").unwrap();
        let mut changed = wanted.clone();
        changed["spec"]["matchingPrecedence"] = 77.into();
        assert_eq!(reconcile(Some(&changed), &wanted), Step::Update(wanted.clone()));
        changed["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] = "false".into();
        assert_eq!(reconcile(Some(&changed), &wanted), Step::Nothing);
    }
}
