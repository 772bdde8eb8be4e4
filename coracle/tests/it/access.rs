//! Who one is, and what one may.

use crate::client::{Client, name};
use crate::{Space, bare, config_map, pod};
use coracle::Cluster;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// bcrypt of `open sesame`.
const HASH: &str = "$2b$10$abcdefghijklmnopqrstuu4SuEsu2LsUrAYUpWQHLMMc4GV5pZTxK";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A server with users in files: tokens of ann and of an operator, a password of bob.
async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let start = async || {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = dir.path().join(file);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let mut builder = bare();
        builder.options.token_auth_file =
            write("tokens", "ann-token,ann,1,\"dev,ops\"\nroot-token,root,2,system:masters\n");
        builder.options.basic_auth_file = write("passwords", &format!("{HASH},bob,3,dev\n"));
        builder.start().await.expect("a cluster")
    };
    CLUSTER.get_or_init(start).await
}

async fn space(name: &str) -> Space {
    Space::new(cluster().await, name).await
}

fn role(name: &str, rules: Value) -> Value {
    json!({ "metadata": { "name": name }, "rules": rules })
}

fn binding(name: &str, kind: &str, role: &str, user: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
        "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user }],
    })
}

impl Space {
    /// Gives a user rules in this namespace, and waits until they are in force.
    async fn grant(&self, user: &str, rules: Value, probe: &str) -> Client {
        let (name, client) = (format!("grant-{user}"), self.client.acting_as(user));
        self.create(&self.group("rbac.authorization.k8s.io", "roles"), role(&name, rules)).await;
        let bindings = self.group("rbac.authorization.k8s.io", "rolebindings");
        self.create(&bindings, binding(&name, "Role", &name, user)).await;
        client.until_code(probe, 200).await;
        client
    }
}

#[test]
fn nobody_sees_health_and_version_only() {
    crate::run(async {
        let nobody = Client::new(cluster().await.anonymous_client());
        for path in ["/healthz", "/livez", "/readyz", "/version"] {
            assert_eq!(nobody.get(path).await.code, 200, "{path}");
        }
        let message = "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in \
                       the namespace \"default\"";
        let refused = nobody.get("/api/v1/namespaces/default/pods").await.fails(403, "Forbidden", message);
        assert_eq!(refused["details"], json!({ "kind": "pods" }));
        let message = "deployments.apps \"web\" is forbidden: User \"system:anonymous\" cannot get resource \
                       \"deployments\" in API group \"apps\" in the namespace \"x\"";
        nobody.get("/apis/apps/v1/namespaces/x/deployments/web").await.fails(403, "Forbidden", message);
        let message = "nodes is forbidden: User \"system:anonymous\" cannot list resource \"nodes\" in API group \"\" at \
                       the cluster scope";
        nobody.get("/api/v1/nodes").await.fails(403, "Forbidden", message);
        for path in ["/metrics", "/api", "/apis", "/openapi/v2", "/nowhere", "/"] {
            let message = format!("forbidden: User \"system:anonymous\" cannot get path \"{path}\"");
            nobody.get(path).await.fails(403, "Forbidden", &message);
        }
        let unknown = nobody.get("/api/v1/things").await;
        unknown.fails_with(403, "things is forbidden: User \"system:anonymous\" cannot list resource \"things\"");
    });
}

#[test]
fn a_password_is_asked_for_only_where_there_are_some() {
    crate::run(async {
        let cluster = crate::bare().start().await.unwrap();
        let nobody = Client::new(cluster.anonymous_client());
        let refused = nobody.with("authorization", "Bearer nonsense").get("/version").await;
        assert_eq!((refused.code, refused.headers.get("www-authenticate")), (401, None));
        nobody.with("authorization", "Basic Ym9iOndyb25n").get("/api").await.is(403);
    });
}

#[test]
fn credentials_that_are_wrong_are_401() {
    crate::run(async {
        let nobody = Client::new(cluster().await.anonymous_client());
        for authorization in [
            "Bearer nonsense",
            "Bearer a.b.c",
            "bearer ann-token2",
            "Basic Ym9iOndyb25n",
            "Basic bm9ib2R5Om9wZW4gc2VzYW1l",
            "Basic !!!",
            "Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMuY2x1c3Rlci5sb2NhbCJ9.",
        ] {
            let refused = nobody.with("authorization", authorization).get("/version").await;
            assert_eq!(refused.code, 401, "{authorization}: {}", refused.text);
            assert!(refused.headers.contains_key("www-authenticate"));
            let expected = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
            });
            assert_eq!(refused.json(), expected);
        }
    });
}

#[test]
fn users_come_from_files() {
    crate::run(async {
        let nobody = Client::new(cluster().await.anonymous_client());
        let who = async |authorization: &str| {
            let client = nobody.with("authorization", authorization);
            let review = json!({ "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1" });
            let answer = client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await.is(201);
            answer["status"]["userInfo"].clone()
        };
        let ann = json!({ "username": "ann", "uid": "1", "groups": ["dev", "ops", "system:authenticated"] });
        assert_eq!(who("Bearer ann-token").await, ann);
        let bob = json!({ "username": "bob", "uid": "3", "groups": ["dev", "system:authenticated"] });
        assert_eq!(who("Basic Ym9iOm9wZW4gc2VzYW1l").await, bob);
        let ann = nobody.with("authorization", "Bearer ann-token");
        ann.get("/api/v1/nodes").await.fails_with(403, "User \"ann\" cannot list resource \"nodes\"");
        nobody.with("authorization", "Bearer root-token").get("/api/v1/nodes").await.is(200);
    });
}

#[test]
fn rights_hold_where_they_were_given() {
    crate::run(async {
        let (here, there) = (space("access-here").await, space("access-there").await);
        let rules = json!([
            { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create"] },
            { "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"], "verbs": ["get"] },
        ]);
        let ann = here.grant("ann", rules, &here.core("configmaps")).await;
        ann.post(&here.core("configmaps"), &config_map("a", json!({}))).await.is(201);
        ann.get(&here.core("configmaps/a")).await.is(200);
        let one = here.core("configmaps/a");
        for (method, verb) in [(Method::PUT, "update"), (Method::PATCH, "patch"), (Method::DELETE, "delete")] {
            let message = format!(
                "configmaps \"a\" is forbidden: User \"ann\" cannot {verb} resource \"configmaps\" in API group \"\" in \
                 the namespace \"access-here\""
            );
            ann.send(method, &one, &[], "{}").await.fails(403, "Forbidden", &message);
        }
        ann.get(&format!("{}?watch=1", here.core("configmaps"))).await.fails_with(403, "cannot watch");
        ann.delete(&here.core("configmaps")).await.fails_with(403, "cannot deletecollection");
        ann.get(&here.group("apps", "deployments/web")).await.is(404);
        ann.get(&here.group("apps", "deployments/other")).await.is(403);
        ann.get(&here.group("apps", "deployments/web/scale")).await.fails_with(403, "resource \"deployments/scale\"");
        ann.get(&there.core("configmaps")).await.is(403);
        ann.get("/api/v1/configmaps").await.fails_with(403, "at the cluster scope");
        here.client.delete(&here.group("rbac.authorization.k8s.io", "rolebindings/grant-ann")).await.ok();
        ann.until_code(&here.core("configmaps"), 403).await;
    });
}

#[test]
fn a_cluster_role_reaches_as_far_as_its_binding() {
    crate::run(async {
        let (here, there) = (space("access-role-here").await, space("access-role-there").await);
        let (carl, dora) = (here.client.acting_as("carl"), here.client.acting_as("dora"));
        let bindings = here.group("rbac.authorization.k8s.io", "rolebindings");
        here.create(&bindings, binding("carl", "ClusterRole", "view", "carl")).await;
        let everywhere = format!("{RBAC}/clusterrolebindings");
        here.create(&everywhere, binding("access-dora", "ClusterRole", "view", "dora")).await;
        carl.until_code(&here.core("pods"), 200).await;
        dora.until_code("/api/v1/pods", 200).await;
        carl.get(&there.core("pods")).await.is(403);
        carl.get(&here.core("secrets")).await.is(403);
        dora.get(&there.core("pods")).await.is(200);
    });
}

#[test]
fn a_namespaces_rights_do_not_reach_cluster_scoped_objects() {
    crate::run(async {
        let (here, there) = (space("access-scope").await, space("access-scope-other").await);
        let all = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
        let eve = here.grant("eve", all, &here.core("pods")).await;
        let below = |rest: &str| here.core(rest);
        for path in [
            below("nodes"),
            below("nodes/n1"),
            below("persistentvolumes"),
            below(&format!("namespaces/{}", there.name)),
            below("namespaces"),
            here.group("rbac.authorization.k8s.io", "clusterroles"),
            here.group("rbac.authorization.k8s.io", "clusterroles/cluster-admin"),
            "/api/v1/configmaps/a".to_owned(),
        ] {
            let refused = eve.get(&path).await.code;
            assert!(refused == 404 || refused == 403, "{path}: {refused}");
            assert_eq!(here.client.get(&path).await.code, 404, "{path}");
        }
        let namespace = below(&format!("namespaces/{}", there.name));
        for method in [Method::DELETE, Method::PUT, Method::PATCH] {
            let headers = [("content-type", "application/merge-patch+json")];
            let refused =
                eve.send(method.clone(), &namespace, &headers, "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}").await;
            assert!((400..500).contains(&refused.code), "{method}: {}", refused.text);
        }
        let made = eve.post(&below("namespaces"), &json!({ "metadata": { "name": "access-made" } })).await;
        assert!((400..500).contains(&made.code), "{}", made.text);
        let there = here.client.get(&format!("/api/v1/namespaces/{}", there.name)).await.ok();
        assert!(there["metadata"].get("deletionTimestamp").is_none() && there["metadata"]["labels"].get("a").is_none());
        eve.get(&format!("/api/v1/namespaces/{}", here.name)).await.is(200);
    });
}

#[test]
fn paths_do_not_escape() {
    crate::run(async {
        let (here, there) = (space("access-path").await, space("access-path-other").await);
        there
            .create(&there.core("secrets"), json!({ "metadata": { "name": "s" }, "stringData": { "k": "hidden" } }))
            .await;
        let all = json!([{ "apiGroups": [""], "resources": ["configmaps", "pods"], "verbs": ["*"] }]);
        let mallory = here.grant("mallory", all, &here.core("pods")).await;
        let (space, other) = (&here.name, &there.name);
        for path in [
            format!("/api/v1/namespaces/{space}/configmaps/..%2F..%2Fsecrets%2F{other}%2Fs"),
            format!("/api/v1/namespaces/{space}/configmaps/%2E%2E"),
            format!("/api/v1/namespaces/{space}%2F..%2F{other}/secrets/s"),
            format!("/api/v1/namespaces/{space}/configmaps%2F..%2Fsecrets/s"),
            format!("/api/v1/namespaces/{space}/../{other}/secrets/s"),
            format!("/api/v1/namespaces/{other}/secrets/s?x=/api/v1/namespaces/{space}/configmaps/s"),
            format!("//api/v1/namespaces/{other}/secrets/s"),
            format!("/api/v1/namespaces/{space}/configmaps/a%00b"),
            format!("/api/v1/namespaces/{space}/configmaps/%ff%fe"),
            format!("/api/v1/namespaces/{space}/pods/s/../../../{other}/secrets/s"),
        ] {
            let answer = mallory.get(&path).await;
            assert!((400..500).contains(&answer.code) && !answer.text.contains("hidden"), "{path}: {}", answer.text);
            assert!(!answer.text.contains("aGlkZGVu"), "{path}");
        }
        let escaping = json!({ "metadata": { "name": "../../secrets/x" } });
        mallory.post(&here.core("configmaps"), &escaping).await.is(422);
        let elsewhere = json!({ "metadata": { "name": "a", "namespace": other } });
        mallory.post(&here.core("configmaps"), &elsewhere).await.is(400);
        use base64::Engine;
        let token = json!({ "v": "meta.k8s.io/v1", "rv": -1, "start": format!("../{other}/") });
        let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token.to_string());
        mallory.get(&format!("{}?limit=5&continue={token}", here.core("configmaps"))).await.is(400);
    });
}

#[test]
fn nobody_gives_away_what_they_do_not_have() {
    crate::run(async {
        let here = space("access-escalate").await;
        let rbac = |rest: &str| here.group("rbac.authorization.k8s.io", rest);
        let own = json!([
            { "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["*"] },
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] },
        ]);
        here.create(
            &rbac("roles"),
            role("strong", json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }])),
        )
        .await;
        // Not `escalate` and `bind`: `*` would give those.
        let mut verbs = own.clone();
        verbs[0]["verbs"] = json!(["get", "list", "create", "update", "patch"]);
        let fred = here.grant("fred", verbs, &here.core("pods")).await;
        let modest = role("modest", json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }]));
        fred.post(&rbac("roles"), &modest).await.is(201);
        let greedy = role("greedy", json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }]));
        let message = "roles.rbac.authorization.k8s.io \"greedy\" is forbidden: user \"fred\" \
                       (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
                       {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}";
        fred.post(&rbac("roles"), &greedy).await.fails(403, "Forbidden", message);
        let more = json!({ "rules": [{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }] });
        fred.patch(&rbac("roles/modest"), "merge", &more).await.fails_with(403, "not currently held");
        for (kind, role) in [("Role", "strong"), ("ClusterRole", "cluster-admin")] {
            let refused = fred.post(&rbac("rolebindings"), &binding("b", kind, role, "fred")).await;
            refused.fails_with(403, "is attempting to grant RBAC permissions not currently held");
        }
        fred.post(&rbac("rolebindings"), &binding("b", "Role", "modest", "gina")).await.is(201);
        let other = json!({ "roleRef": { "name": "strong" } });
        let moved = fred.patch(&rbac("rolebindings/b"), "merge", &other).await.code;
        assert!(moved == 403 || moved == 422, "{moved}");
    });
}

#[test]
fn acting_as_somebody_is_a_right_of_its_own() {
    crate::run(async {
        let here = space("access-impersonate").await;
        let nobody = Client::new(cluster().await.anonymous_client());
        let ann = nobody.with("authorization", "Bearer ann-token");
        let message = "users \"root\" is forbidden: User \"ann\" cannot impersonate resource \"users\" in API group \"\" at \
                       the cluster scope";
        ann.acting_as("root").get("/api/v1/nodes").await.fails(403, "Forbidden", message);
        ann.acting_as("ann").with("impersonate-group", "system:masters").get("/api/v1/nodes").await.is(403);
        let robot = format!("system:serviceaccount:{}:robot", here.name);
        ann.acting_as(&robot).get("/version").await.fails_with(403, "serviceaccounts \"robot\" is forbidden");
        ann.with("impersonate-group", "dev").get("/version").await.is(400);
        let review = json!({ "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1" });
        let who = async |client: &Client| {
            let answer = client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await.is(201);
            answer["status"]["userInfo"].clone()
        };
        let groups =
            json!(["system:serviceaccounts", format!("system:serviceaccounts:{}", here.name), "system:authenticated"]);
        assert_eq!(who(&here.client.acting_as(&robot)).await, json!({ "username": robot, "groups": groups }));
        let hugo = here.client.acting_as("hugo").with("impersonate-group", "a").with("impersonate-extra-scopes", "x");
        let expected =
            json!({ "username": "hugo", "groups": ["a", "system:authenticated"], "extra": { "scopes": ["x"] } });
        assert_eq!(who(&hugo).await, expected);
        hugo.get("/api/v1/nodes").await.is(403);
    });
}

#[test]
fn a_service_accounts_token_works_until_the_account_is_gone() {
    crate::run(async {
        let here = space("access-token").await;
        here.create(&here.core("serviceaccounts"), json!({ "metadata": { "name": "robot" } })).await;
        let request = json!({ "spec": { "expirationSeconds": 3600 } });
        let token = here.create(&here.core("serviceaccounts/robot/token"), request).await;
        assert_eq!((&token["kind"], name(&token)), (&json!("TokenRequest"), "robot"));
        assert!(token["status"]["expirationTimestamp"].is_string());
        let token = token["status"]["token"].as_str().unwrap().to_owned();
        let robot = Client::https(cluster().await, json!({ "token": token })).await;
        let who = format!("system:serviceaccount:{}:robot", here.name);
        robot.get("/api").await.is(200);
        let refused = robot.get(&here.core("configmaps")).await;
        refused.fails_with(403, &format!("User \"{who}\" cannot list resource \"configmaps\""));
        let review = json!({ "spec": { "token": token } });
        let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
        let status = here.create(reviews, review.clone()).await["status"].clone();
        assert_eq!((&status["authenticated"], &status["user"]["username"]), (&json!(true), &json!(who)));
        for (spec, why) in [
            (json!({ "expirationSeconds": 10 }), "may not specify a duration less than 10 minutes"),
            (json!({ "expirationSeconds": 99999999999i64 }), "may not specify a duration larger than 2^32 seconds"),
        ] {
            let path = here.core("serviceaccounts/robot/token");
            here.client.post(&path, &json!({ "spec": spec })).await.fails_with(422, why);
        }
        let other = json!({ "spec": { "audiences": ["elsewhere"] } });
        let other = here.create(&here.core("serviceaccounts/robot/token"), other).await;
        let elsewhere = Client::https(cluster().await, json!({ "token": other["status"]["token"] })).await;
        elsewhere.get("/api").await.is(401);
        here.client.delete(&here.core("serviceaccounts/robot")).await.ok();
        robot.until_code("/api", 401).await;
        here.create(&here.core("serviceaccounts"), json!({ "metadata": { "name": "robot" } })).await;
        robot.get("/api").await.is(401);
        let status = here.create(reviews, review).await["status"].clone();
        assert!(status["authenticated"] != json!(true) && status["error"].is_string(), "{status}");
        here.client.post(&here.core("serviceaccounts/nobody/token"), &json!({ "spec": {} })).await.is(404);
    });
}

#[test]
fn a_token_dies_with_the_pod_it_is_bound_to() {
    crate::run(async {
        let here = space("access-bound").await;
        here.create(&here.core("serviceaccounts"), json!({ "metadata": { "name": "default" } })).await;
        let made = here.create(&here.core("pods"), pod("holder")).await;
        let reference = json!({ "kind": "Pod", "apiVersion": "v1", "name": "holder", "uid": made["metadata"]["uid"] });
        let request = json!({ "spec": { "boundObjectRef": reference } });
        let token = here.create(&here.core("serviceaccounts/default/token"), request).await;
        let holder = Client::https(cluster().await, json!({ "token": token["status"]["token"] })).await;
        holder.get("/api").await.is(200);
        here.client.delete(&here.core("pods/holder")).await.ok();
        holder.until_code("/api", 401).await;
        let missing = json!({ "spec": { "boundObjectRef": { "kind": "Pod", "apiVersion": "v1", "name": "holder" } } });
        here.client.post(&here.core("serviceaccounts/default/token"), &missing).await.is(404);
    });
}

#[test]
fn reviews_answer_what_one_may() {
    crate::run(async {
        let here = space("access-reviews").await;
        let rules = json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] }]);
        let ivy = here.grant("ivy", rules.clone(), &here.core("pods")).await;
        let ask = |verb: &str, resource: &str| json!({ "spec": { "resourceAttributes": { "namespace": here.name, "verb": verb, "resource": resource } } });
        let own = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        for (verb, resource, allowed) in [("get", "pods", true), ("delete", "pods", false), ("get", "secrets", false)] {
            let answer = ivy.post(own, &ask(verb, resource)).await.is(201);
            assert_eq!(answer["status"]["allowed"], allowed, "{verb} {resource}");
        }
        let mut about = ask("get", "pods");
        about["spec"]["user"] = json!("ivy");
        let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer = here.create(reviews, about.clone()).await;
        assert_eq!(answer["status"]["allowed"], true);
        let reason = "RBAC: allowed by RoleBinding \"grant-ivy/access-reviews\" of Role \"grant-ivy\" to User \"ivy\"";
        assert_eq!(answer["status"]["reason"], reason);
        let local = here.group("authorization.k8s.io", "localsubjectaccessreviews");
        assert_eq!(here.create(&local, about.clone()).await["status"]["allowed"], true);
        ivy.post(reviews, &about).await.is(403);
        let asked = json!({ "spec": { "namespace": here.name } });
        let answer = ivy.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &asked).await.is(201);
        let found = answer["status"]["resourceRules"].as_array().unwrap();
        assert!(found.contains(&rules[0]), "{found:?}");
        assert!(!answer["status"]["nonResourceRules"].as_array().unwrap().is_empty());
        here.client.post(own, &json!({ "spec": {} })).await.is(422);
    });
}

#[test]
fn certificates_name_users_over_https() {
    crate::run(async {
        let cluster = cluster().await;
        let nobody = Client::https(cluster, json!({})).await;
        nobody.get("/version").await.is(200);
        nobody.get("/api/v1/nodes").await.is(403);
        nobody
            .with("x-remote-user", "admin")
            .with("x-remote-group", "system:masters")
            .get("/api/v1/nodes")
            .await
            .is(403);
        let ann = Client::https(cluster, json!({ "token": "ann-token" })).await;
        ann.get("/api/v1/nodes").await.fails_with(403, "User \"ann\" cannot list");
        let bob = Client::https(cluster, json!({ "username": "bob", "password": "open sesame" })).await;
        bob.get("/api/v1/nodes").await.fails_with(403, "User \"bob\" cannot list");
    });
}
