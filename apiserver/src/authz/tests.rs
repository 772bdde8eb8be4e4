use api::kinds;
use serde_json::json;

use super::*;

const GROUP: &str = "rbac.authorization.k8s.io";

fn user(name: &str, groups: &[&str]) -> User {
    User { name: name.to_owned(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..User::default() }
}

fn ask<'a>(user: &'a User, verb: &'a str, resource: &'a str, namespace: &'a str) -> Attributes<'a> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes { user, verb, namespace, group: "", version: "v1", resource, subresource, name: "", path: "" }
}

fn rules(verbs: &[&str], resources: &[&str]) -> Value {
    json!({"rules": [{"verbs": verbs, "apiGroups": [""], "resources": resources}]})
}

fn binding(kind: &str, role: &str, subjects: Value) -> Value {
    json!({"roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}, "subjects": subjects})
}

fn authorizer() -> Authorizer {
    let authorizer = Authorizer::new();
    authorizer.apply("ClusterRole", "", "reader", Some(&rules(&["get", "list"], &["pods"])));
    authorizer.apply("Role", "a", "writer", Some(&rules(&["create"], &["pods", "pods/exec"])));
    let jane = json!([{"kind": "User", "name": "jane"}]);
    authorizer.apply("ClusterRoleBinding", "", "everywhere", Some(&binding("ClusterRole", "reader", jane.clone())));
    authorizer.apply("RoleBinding", "a", "here", Some(&binding("Role", "writer", jane)));
    let account = json!([{"kind": "ServiceAccount", "name": "robot"}, {"kind": "Group", "name": "devs"}]);
    authorizer.apply("RoleBinding", "b", "robots", Some(&binding("ClusterRole", "reader", account)));
    authorizer
}

fn reason(decision: Decision) -> String {
    match decision {
        Decision::Allow { reason } => format!("allow {reason}"),
        Decision::Deny { reason } => format!("deny {reason}"),
        Decision::NoOpinion { reason } => format!("no {reason}"),
    }
}

#[test]
fn bindings_hold_where_they_stand() {
    let authorizer = authorizer();
    let jane = user("jane", &[]);
    let why = |verb, resource, namespace| reason(authorizer.authorize(&ask(&jane, verb, resource, namespace)));
    let cluster = r#"allow RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "reader" to User "jane""#;
    assert_eq!(why("list", "pods", ""), cluster);
    assert_eq!(why("get", "pods", "b"), cluster);
    assert_eq!(
        why("create", "pods/exec", "a"),
        r#"allow RBAC: allowed by RoleBinding "here/a" of Role "writer" to User "jane""#
    );
    assert_eq!(why("create", "pods", "b"), "no ");
    assert_eq!(why("create", "pods", ""), "no ");
    assert_eq!(why("get", "pods/log", "a"), "no ");
}

#[test]
fn service_accounts_and_groups() {
    let authorizer = authorizer();
    let robot = user("system:serviceaccount:b:robot", &["system:serviceaccounts"]);
    let why = reason(authorizer.authorize(&ask(&robot, "get", "pods", "b")));
    assert_eq!(
        why,
        r#"allow RBAC: allowed by RoleBinding "robots/b" of ClusterRole "reader" to ServiceAccount "robot/b""#
    );
    assert!(!authorizer.authorize(&ask(&robot, "get", "pods", "a")).is_allowed());
    assert!(authorizer.authorize(&ask(&user("x", &["devs"]), "get", "pods", "b")).is_allowed());
}

#[test]
fn superusers_need_no_rules() {
    let root = user("admin", &["system:masters"]);
    assert_eq!(reason(Authorizer::new().authorize(&ask(&root, "delete", "nodes", ""))), "allow ");
}

#[test]
fn changes_take_effect_at_once() {
    let authorizer = authorizer();
    let jane = user("jane", &[]);
    authorizer.apply("ClusterRole", "", "reader", Some(&rules(&["watch"], &["pods"])));
    assert!(authorizer.authorize(&ask(&jane, "watch", "pods", "")).is_allowed());
    assert!(!authorizer.authorize(&ask(&jane, "list", "pods", "")).is_allowed());
    authorizer.apply("ClusterRole", "", "reader", None);
    let why = reason(authorizer.authorize(&ask(&jane, "watch", "pods", "")));
    assert_eq!(why, r#"no RBAC: clusterrole.rbac.authorization.k8s.io "reader" not found"#);
    authorizer.apply("ClusterRoleBinding", "", "everywhere", None);
    assert_eq!(reason(authorizer.authorize(&ask(&jane, "watch", "pods", ""))), "no ");
}

#[test]
fn aggregated_roles_gather_through_each_other() {
    let authorizer = authorizer();
    let aggregated = |name: &str, own: &str| {
        json!({
            "metadata": {"labels": {"into": own}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"into": name}}]}, "rules": null,
        })
    };
    authorizer.apply("ClusterRole", "", "admin", Some(&aggregated("admin", "")));
    authorizer.apply("ClusterRole", "", "edit", Some(&aggregated("edit", "admin")));
    let mut part = rules(&["patch"], &["configmaps"]);
    part["metadata"] = json!({"labels": {"into": "edit"}});
    authorizer.apply("ClusterRole", "", "part", Some(&part));
    let group = json!([{"kind": "Group", "name": "admins"}]);
    authorizer.apply("ClusterRoleBinding", "", "admins", Some(&binding("ClusterRole", "admin", group)));
    let who = user("x", &["admins"]);
    assert!(authorizer.authorize(&ask(&who, "patch", "configmaps", "a")).is_allowed());
    authorizer.apply("ClusterRole", "", "part", None);
    assert!(!authorizer.authorize(&ask(&who, "patch", "configmaps", "a")).is_allowed());
}

#[test]
fn nodes_have_the_rights_of_their_role() {
    let authorizer = authorizer();
    authorizer.apply("ClusterRole", "", "system:node", Some(&rules(&["get"], &["nodes"])));
    assert!(authorizer.authorize(&ask(&user("system:node:n1", &["system:nodes"]), "get", "nodes", "")).is_allowed());
    assert!(!authorizer.authorize(&ask(&user("system:node:n1", &[]), "get", "nodes", "")).is_allowed());
    assert!(!authorizer.authorize(&ask(&user("x", &["system:nodes"]), "get", "nodes", "")).is_allowed());
}

#[test]
fn the_forbidden_sentence_is_upstreams() {
    let jane = user("jane", &[]);
    let attributes = ask(&jane, "list", "pods", "default");
    let sentence = r#"User "jane" cannot list resource "pods" in API group "" in the namespace "default""#;
    assert_eq!(forbidden_message(&attributes), sentence);
    assert_eq!(forbidden(&attributes, "").message, format!("pods is forbidden: {sentence}"));
    let exec = Attributes { name: "web", ..ask(&jane, "create", "pods/exec", "") };
    let sentence = r#"pods "web" is forbidden: User "jane" cannot create resource "pods/exec" in API group "" at the cluster scope: RBAC: x"#;
    assert_eq!(forbidden(&exec, "RBAC: x").message, sentence);
    let path = Attributes { path: "/<x>", resource: "", ..attributes };
    assert_eq!(forbidden(&path, "").message, r#"forbidden: User "jane" cannot list path "/&lt;x&gt;""#);
}

#[test]
fn nobody_grants_more_than_they_hold() {
    let authorizer = authorizer();
    let jane = user("jane", &["g"]);
    let kind = kinds::find(GROUP, "v1", "roles").unwrap();
    let mut role = rules(&["get", "delete"], &["pods"]);
    role["metadata"] = json!({"name": "r"});
    let error = authorizer.check_role_write(&jane, kind, "a", "", &role, None).unwrap_err();
    let expected = "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\" (groups=[\"g\"]) is attempting to grant RBAC \
                    permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}";
    assert_eq!(error.message, expected);
    // Only the garbage collector's fields change.
    let mut collected = role.clone();
    collected["metadata"]["finalizers"] = json!(["x"]);
    assert!(authorizer.check_role_write(&jane, kind, "a", "r", &collected, Some(&role)).is_ok());
    assert!(authorizer.check_role_write(&jane, kind, "a", "", &rules(&["create"], &["pods"]), None).is_ok());
    assert!(authorizer.check_role_write(&jane, kind, "b", "", &rules(&["create"], &["pods"]), None).is_err());
}

#[test]
fn binding_a_role_needs_its_rights_or_bind() {
    let authorizer = authorizer();
    let (jane, bob) = (user("jane", &[]), user("bob", &[]));
    let kind = kinds::find(GROUP, "v1", "rolebindings").unwrap();
    let reader = binding("ClusterRole", "reader", json!([]));
    assert!(authorizer.check_binding_write(&jane, kind, "a", &reader, None).is_ok());
    assert_eq!(authorizer.check_binding_write(&bob, kind, "a", &reader, None).unwrap_err().code, 403);
    let missing = binding("Role", "nothing", json!([]));
    assert_eq!(authorizer.check_binding_write(&jane, kind, "a", &missing, None).unwrap_err().code, 404);
    let may_bind = json!({"rules": [
        {"verbs": ["bind"], "apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["reader"]},
    ]});
    authorizer.apply("Role", "a", "binder", Some(&may_bind));
    let bobs = binding("Role", "binder", json!([{"kind": "User", "name": "bob"}]));
    authorizer.apply("RoleBinding", "a", "bob", Some(&bobs));
    assert!(authorizer.check_binding_write(&bob, kind, "a", &reader, None).is_ok());
    assert!(authorizer.check_binding_write(&bob, kind, "b", &reader, None).is_err());
}

#[test]
fn an_aggregation_rule_is_for_cluster_admins() {
    let authorizer = authorizer();
    let kind = kinds::find(GROUP, "v1", "clusterroles").unwrap();
    let role = json!({"metadata": {"name": "r"}, "aggregationRule": {"clusterRoleSelectors": [{}]}});
    let error = authorizer.check_role_write(&user("jane", &[]), kind, "", "", &role, None).unwrap_err();
    assert!(error.message.ends_with("must have cluster-admin privileges to use the aggregationRule"));
    assert!(authorizer.check_role_write(&user("x", &["system:masters"]), kind, "", "", &role, None).is_ok());
}

#[test]
fn access_reviews() {
    let authorizer = authorizer();
    let now = jiff::Timestamp::UNIX_EPOCH;
    let (root, bob) = (user("root", &["system:masters"]), user("bob", &[]));
    let review = |kind, body: Value, namespace, who| review::review(kind, &body, namespace, who, &authorizer, now);
    let asked = json!({"verb": "create", "resource": "pods", "namespace": "a"});
    let body = json!({"spec": {"user": "jane", "resourceAttributes": asked}});
    let answer = review("SubjectAccessReview", body.clone(), "", &root).unwrap();
    assert_eq!(answer["status"]["allowed"], true);
    let answer = review("SelfSubjectAccessReview", body.clone(), "", &bob).unwrap();
    assert_eq!(answer["status"], json!({"allowed": false}));
    assert_eq!(review("LocalSubjectAccessReview", body.clone(), "a", &root).unwrap()["status"]["allowed"], true);
    let error = review("LocalSubjectAccessReview", body, "b", &root).unwrap_err();
    assert_eq!(error.code, 422);
    let error = review("SubjectAccessReview", json!({"spec": {}}), "", &root).unwrap_err();
    assert_eq!(
        error.message,
        ".authorization.k8s.io \"\" is invalid: [spec.resourceAttributes: Invalid value: null: exactly one of \
         nonResourceAttributes or resourceAttributes must be specified, spec.user: Invalid value: \"\": at least one of user or \
         group must be specified]"
    );
}

#[test]
fn rules_and_self_reviews() {
    let authorizer = authorizer();
    let jane = user("jane", &["g"]);
    let now = jiff::Timestamp::UNIX_EPOCH;
    let body = json!({"spec": {"namespace": "a"}});
    let answer = review::review("SelfSubjectRulesReview", &body, "", &jane, &authorizer, now).unwrap();
    assert_eq!(answer["status"]["resourceRules"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        answer["status"]["resourceRules"][0],
        json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]})
    );
    let answer = review::review("SelfSubjectReview", &json!({}), "", &jane, &authorizer, now).unwrap();
    assert_eq!(answer["status"]["userInfo"], json!({"username": "jane", "groups": ["g"]}));
    assert_eq!(answer["metadata"]["creationTimestamp"], "1970-01-01T00:00:00Z");
}

#[test]
fn token_reviews() {
    let body = json!({"spec": {"token": "t"}});
    assert_eq!(review::token_of(&body).unwrap().0, "t");
    assert_eq!(review::token_of(&json!({})).unwrap_err().code, 400);
    let answer = review::token_review(&body, Ok(Some((user("u", &[]), vec!["api".to_owned()]))));
    assert_eq!(answer["status"], json!({"authenticated": true, "user": {"username": "u"}, "audiences": ["api"]}));
    assert_eq!(review::token_review(&body, Err("expired".to_owned()))["status"]["error"], "expired");
}

#[tokio::test]
async fn the_store_is_followed() {
    let store = storage::memory();
    let put = |key: &str, value: Value| {
        let put = storage::Put { value: value.to_string().into(), ..storage::Put::default() };
        let commit = storage::Commit { key: key.into(), expect: storage::Expect::Any, put: Some(put) };
        let store = store.clone();
        async move { store.commit(commit).await.map(|committed| committed.revision) }
    };
    put("/registry/clusterroles/reader", rules(&["get"], &["pods"])).await.unwrap();
    let authorizer = Arc::new(Authorizer::new());
    let task = tokio::spawn(follow(authorizer.clone(), store.clone()).unwrap());
    assert!(authorizer.role_rules("", "reader").is_some());
    let jane = user("jane", &[]);
    let subjects = json!([{"kind": "User", "name": "jane"}]);
    put("/registry/rolebindings/a/jane", binding("ClusterRole", "reader", subjects)).await.unwrap();
    for _ in 0..1000 {
        if authorizer.authorize(&ask(&jane, "get", "pods", "a")).is_allowed() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(authorizer.authorize(&ask(&jane, "get", "pods", "a")).is_allowed());
    assert!(!authorizer.authorize(&ask(&jane, "get", "pods", "b")).is_allowed());
    store.close().await;
    task.await.unwrap();
}
