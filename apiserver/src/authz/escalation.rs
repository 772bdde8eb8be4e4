//! Nobody hands out rights that they do not have: checks on writes of roles and bindings.
//!
//! See "Privilege escalation prevention and bootstrapping" in upstream's RBAC documentation.

use api::Value;
use api::document::{self, Map};
use api::kinds::Kind;
use api::status::ApiError;

use super::rule::{MAX_RIGHTS, Rule, Vocabulary, describe_rights, quote_all, uncovered};
use super::{Attributes, Authorizer, aggregate, is_superuser};
use crate::authn::User;
use api::field::quote;

const GROUP: &str = "rbac.authorization.k8s.io";

/// What changes without anybody's rights changing: the garbage collector's part of the metadata.
const NEUTRAL: &[&str] = &["ownerReferences", "finalizers", "managedFields", "selfLink"];

impl Authorizer {
    /// Refuses a write of a role or a binding that gives away rights which the user does not have; objects of other kinds
    /// pass. To be called before the object is validated. `namespace` and `name` are the URL's.
    pub fn confirm_write(
        &self,
        user: &User,
        kind: &Kind,
        namespace: &str,
        name: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        match kind.kind {
            _ if kind.group != GROUP => Ok(()),
            "Role" | "ClusterRole" => self.check_role_write(user, kind, namespace, name, object, old),
            _ => self.check_binding_write(user, kind, namespace, object, old),
        }
    }

    /// Checks a create or update (`old` is given) of a Role or ClusterRole. `namespace` and `name` are the URL's; the name is
    /// empty for a create. The user must hold every right in the role, or the verb `escalate` on it.
    pub(super) fn check_role_write(
        &self,
        user: &User,
        kind: &Kind,
        namespace: &str,
        name: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let may = |verb| self.may(user, verb, kind.resource, namespace, name);
        if is_superuser(user) || may("escalate") || old.is_some_and(|old| only_neutral_changes(object, old)) {
            return Ok(());
        }
        let forbidden = |why: String| ApiError::forbidden(kind.group, kind.resource, document::name(object), why);
        let rules = Rule::parse_all(object, &mut Vocabulary::default());
        self.confirm_no_escalation(user, namespace, &rules).map_err(forbidden)?;
        let aggregates = |role: &Value| !document::get_list(role, "aggregationRule.clusterRoleSelectors").is_empty();
        // An aggregation rule can gather anything.
        if aggregates(object) || old.is_some_and(aggregates) {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            self.confirm_no_escalation(user, namespace, &everything()).map_err(|_| forbidden(why.to_owned()))?;
        }
        Ok(())
    }

    /// Checks a create or update (`old` is given) of a RoleBinding or ClusterRoleBinding. The user must hold every right in the
    /// role that is bound, or the verb `bind` on it.
    pub(super) fn check_binding_write(
        &self,
        user: &User,
        kind: &Kind,
        namespace: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        if is_superuser(user) || old.is_some_and(|old| only_neutral_changes(object, old)) {
            return Ok(());
        }
        let role = document::get_str(object, "roleRef.name");
        let (resource, role_namespace) = match (document::get_str(object, "roleRef.kind"), role) {
            ("ClusterRole" | "Role", "") => return Err(ApiError::bad_request("Name parameter required.")),
            ("ClusterRole", _) => ("clusterroles", ""),
            ("Role", _) => ("roles", namespace),
            (other, _) => {
                return Err(ApiError::new(500, "", format!("unsupported role reference kind: {}", quote(other))));
            }
        };
        if self.may(user, "bind", resource, namespace, role) {
            return Ok(());
        }
        let rules = self.role_rules(role_namespace, role);
        // Upstream names the kind of the binding.
        let rules = rules.ok_or_else(|| ApiError::not_found_in(GROUP, kind.resource, role))?;
        self.confirm_no_escalation(user, namespace, &rules)
            .map_err(|why| ApiError::forbidden(kind.group, kind.resource, document::name(object), why))
    }

    fn may(&self, user: &User, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let attributes =
            Attributes { user, verb, namespace, group: GROUP, version: "*", resource, subresource: "", name, path: "" };
        self.authorize(&attributes).is_allowed()
    }

    /// Whether the user holds all of these rights in the namespace (none: in the cluster); if not, upstream's words for it.
    fn confirm_no_escalation(&self, user: &User, namespace: &str, wanted: &[Rule]) -> Result<(), String> {
        let held = self.rules_for(user, namespace);
        let Some(missing) = uncovered(&held.rules, wanted) else {
            return Err(format!("the rules combine to more than {MAX_RIGHTS} rights, too many to check"));
        };
        if missing.is_empty() {
            return Ok(());
        }
        let mut why = format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            quote(&user.name),
            quote_all(user.groups.iter()),
            describe_rights(missing)
        );
        if !held.errors.is_empty() {
            why.push_str(&format!("; resolution errors: [{}]", aggregate(held.errors)));
        }
        Err(why)
    }
}

/// All verbs on all resources and all paths.
fn everything() -> Vec<Rule> {
    let any = serde_json::json!({"rules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        {"verbs": ["*"], "nonResourceURLs": ["*"]},
    ]});
    Rule::parse_all(&any, &mut Vocabulary::default())
}

fn only_neutral_changes(object: &Value, old: &Value) -> bool {
    let same = |a: Option<&Map>, b: Option<&Map>, skip: &[&str]| {
        let fields = |map: Option<&Map>| -> Vec<(String, Value)> {
            let kept =
                map.into_iter().flatten().filter(|(key, value)| !skip.contains(&key.as_str()) && !value.is_null());
            kept.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        fields(a) == fields(b)
    };
    same(document::get_map(object, "metadata"), document::get_map(old, "metadata"), NEUTRAL)
        && same(object.as_object(), old.as_object(), &["metadata"])
}
