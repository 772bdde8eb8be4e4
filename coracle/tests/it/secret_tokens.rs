//! Tokens of service accounts that are kept in Secrets.

use crate::Space;
use crate::client::Client;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use coracle::{Cluster, Components};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

const TRACKING: &str = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking";
const WHO_AM_I: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let components = Components { scheduler: false, controller_manager: true };
    let start = || async { Cluster::builder().components(components).start().await.expect("a cluster") };
    CLUSTER.get_or_init(start).await
}

/// A namespace with the service account `deployer`.
async fn space(name: &str) -> Space {
    let space = Space::new(cluster().await, name).await;
    space.create(&space.core("serviceaccounts"), json!({ "metadata": { "name": "deployer" } })).await;
    space
}

fn secret(name: &str, account: &str) -> Value {
    json!({
        "metadata": { "name": name, "annotations": { "kubernetes.io/service-account.name": account } },
        "type": "kubernetes.io/service-account-token",
    })
}

/// Creates a Secret for the account; gives it as it is when it has its token.
async fn filled(space: &Space, name: &str) -> Value {
    space.create(&space.core("secrets"), secret(name, "deployer")).await;
    let path = space.core(&format!("secrets/{name}"));
    space.client.until(&path, |secret| secret["data"]["token"].is_string()).await
}

fn text(secret: &Value, key: &str) -> String {
    let value = secret["data"][key].as_str().unwrap_or_else(|| panic!("{key} of {secret}"));
    String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
}

/// Somebody who has nothing but the token in a Secret.
async fn bearer(secret: &Value) -> Client {
    let client = Client::new(cluster().await.anonymous_client());
    client.with("authorization", &format!("Bearer {}", text(secret, "token")))
}

#[test]
fn a_secret_gets_a_token_that_is_the_account() {
    crate::run(async {
        let space = space("tokens-use").await;
        let secret = filled(&space, "one").await;
        assert_eq!(text(&secret, "namespace"), "tokens-use");
        assert_eq!(text(&secret, "ca.crt"), cluster().await.pki().ca_pem());
        let account = space.client.get(&space.core("serviceaccounts/deployer")).await.ok();
        let uid = &account["metadata"]["uid"];
        assert_eq!(secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"], *uid);
        let token = text(&secret, "token");
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let wanted = json!({
            "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:tokens-use:deployer",
            "kubernetes.io/serviceaccount/namespace": "tokens-use",
            "kubernetes.io/serviceaccount/secret.name": "one",
            "kubernetes.io/serviceaccount/service-account.name": "deployer",
            "kubernetes.io/serviceaccount/service-account.uid": uid,
        });
        assert_eq!(serde_json::from_slice::<Value>(&claims).unwrap(), wanted);

        let review = json!({ "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1" });
        let answer = bearer(&secret).await.post(WHO_AM_I, &review).await;
        assert!(!answer.headers.contains_key("warning"), "whoever made the Secret wanted it");
        let wanted = json!({
            "username": "system:serviceaccount:tokens-use:deployer", "uid": uid,
            "groups": ["system:serviceaccounts", "system:serviceaccounts:tokens-use", "system:authenticated"],
        });
        assert_eq!(answer.ok()["status"]["userInfo"], wanted);
        let review = json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": { "token": token },
        });
        let answer = space.client.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.ok();
        assert_eq!((&answer["status"]["authenticated"], &answer["status"]["user"]), (&json!(true), &wanted));
    });
}

#[test]
fn the_token_dies_with_its_secret() {
    crate::run(async {
        let space = space("tokens-secret").await;
        let (one, two) = (filled(&space, "one").await, filled(&space, "two").await);
        let (first, second) = (bearer(&one).await, bearer(&two).await);
        assert_eq!(first.get("/api").await.code, 200);
        space.client.delete(&space.core("secrets/one")).await.ok();
        assert_eq!(first.get("/api").await.code, 401);
        assert_eq!(second.get("/api").await.code, 200);
        // The next Secret of the name has another token.
        filled(&space, "one").await;
        assert_eq!(first.get("/api").await.code, 401);
        let mark = json!({ "metadata": { "labels": { "kubernetes.io/legacy-token-invalid-since": "2026-01-01" } } });
        space.client.patch(&space.core("secrets/two"), "merge", &mark).await.ok();
        assert_eq!(second.get("/api").await.code, 401);
    });
}

#[test]
fn secret_and_token_die_with_the_account() {
    crate::run(async {
        let space = space("tokens-account").await;
        let client = bearer(&filled(&space, "one").await).await;
        space.client.delete(&space.core("serviceaccounts/deployer")).await.ok();
        assert_eq!(client.get("/api").await.code, 401);
        space.create(&space.core("serviceaccounts"), json!({ "metadata": { "name": "deployer" } })).await;
        assert_eq!(client.get("/api").await.code, 401, "it is another account");
        space.client.until_gone(&space.core("secrets/one")).await;
        space.create(&space.core("secrets"), secret("stray", "nobody")).await;
        space.client.until_gone(&space.core("secrets/stray")).await;
    });
}

#[test]
fn the_use_of_tokens_is_tracked() {
    crate::run(async {
        let space = space("tokens-tracking").await;
        let secret = filled(&space, "one").await;
        let path = space.core("secrets/one");
        bearer(&secret).await.get("/api").await.ok();
        let is_day = |value: &Value| value.as_str().is_some_and(|day| day.len() == 10 && day.starts_with("20"));
        let label = |secret: &Value| secret["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"].clone();
        let used = space.client.until(&path, |secret| is_day(&label(secret))).await;
        assert_eq!(used["data"], secret["data"]);

        let since = space.client.get(TRACKING).await.ok()["data"]["since"].clone();
        assert!(is_day(&since), "{since}");
        space.client.patch(TRACKING, "merge", &json!({ "data": { "since": "long ago" } })).await.ok();
        space.client.until(TRACKING, |map| is_day(&map["data"]["since"])).await;
        space.client.delete(TRACKING).await.ok();
        space.client.until(TRACKING, |map| is_day(&map["data"]["since"])).await;
    });
}

#[test]
fn an_account_that_lists_the_secret_is_warned_and_the_list_is_kept() {
    crate::run(async {
        let space = space("tokens-listed").await;
        let secret = filled(&space, "one").await;
        let account = space.core("serviceaccounts/deployer");
        space
            .client
            .patch(&account, "merge", &json!({ "secrets": [{ "name": "one" }, { "name": "kept" }] }))
            .await
            .ok();
        let answer = bearer(&secret).await.get("/api").await;
        let warning = answer.headers["warning"].to_str().unwrap();
        assert!(warning.starts_with("299 - \"Use tokens from the TokenRequest API or manually created"), "{warning}");
        space.client.delete(&space.core("secrets/one")).await.ok();
        space.client.until(&account, |account| account["secrets"] == json!([{ "name": "kept" }])).await;
    });
}
