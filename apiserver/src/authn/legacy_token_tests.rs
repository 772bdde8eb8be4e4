use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pki::service_account::DEFAULT_ISSUER;
use pki::{LEGACY_ISSUER, LegacyClaims};
use serde_json::{Value, json};

use super::tests::{Server, after, claims, now, server};
use super::*;

fn legacy() -> LegacyClaims {
    LegacyClaims::new("default", "web-token", ("web", "uid-web"))
}

/// The Secret in which a token is kept.
fn secret(token: &str) -> Value {
    json!({
        "metadata": { "namespace": "default", "name": "web-token", "uid": "uid-s" },
        "type": "kubernetes.io/service-account-token",
        "data": { "token": STANDARD.encode(token) },
    })
}

/// A server with the Secret, and the token in it.
fn with_token(claims: &LegacyClaims) -> (Server, String) {
    let server = server();
    let token = server.pki.service_accounts().sign(claims).unwrap();
    server.objects.set(BoundKind::Secret, "web-token", secret(&token));
    (server, token)
}

fn with_labels(token: &str, labels: Value) -> Value {
    let mut secret = secret(token);
    secret["metadata"]["labels"] = labels;
    secret
}

#[tokio::test]
async fn the_token_in_a_secret_is_the_account_for_ever() {
    let (server, token) = with_token(&legacy());
    for at in [now(), after(100 * 365 * 24 * 3600)] {
        let identity = server.identity(&token, &[], at).await.unwrap();
        let user = &identity.user;
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:default:web", "uid-web"));
        let groups = "system:serviceaccounts,system:serviceaccounts:default,system:authenticated";
        assert_eq!((user.groups.join(",").as_str(), user.extra.len()), (groups, 0));
        assert_eq!(identity.audiences, [DEFAULT_ISSUER]);
    }
    assert!(server.identity(&token, &["vault".into()], now()).await.is_err(), "it is for the API server alone");
    let wanted = r#"token audiences ["vault"] is invalid for the target audiences"#;
    let (server, token) = with_token(&LegacyClaims { aud: vec!["vault".into()], ..legacy() });
    assert!(server.token_error(&token, now()).await.starts_with(wanted));
}

#[tokio::test]
async fn a_token_dies_with_its_secret_at_once() {
    let (server, token) = with_token(&legacy());
    assert!(server.identity(&token, &[], now()).await.is_ok());
    let mut terminating = secret(&token);
    terminating["metadata"]["deletionTimestamp"] = json!(now().to_string());
    server.objects.set(BoundKind::Secret, "web-token", terminating);
    assert_eq!(server.token_error(&token, now()).await, "Token has been invalidated");
    server.objects.remove(BoundKind::Secret, "web-token");
    assert_eq!(server.token_error(&token, now()).await, "Token has been invalidated");
}

#[tokio::test]
async fn only_the_token_that_the_secret_holds_is_good() {
    let (server, token) = with_token(&legacy());
    let other = server.pki.service_accounts().sign(&legacy()).unwrap();
    assert_ne!(token, other, "two signatures of the same claims");
    assert_eq!(server.token_error(&other, now()).await, "Token does not match server's copy");
    for data in [json!({}), json!({ "token": "" }), json!({ "token": "%" }), json!({ "token": STANDARD.encode("x") })] {
        let mut emptied = secret(&token);
        emptied["data"] = data;
        server.objects.set(BoundKind::Secret, "web-token", emptied);
        assert_eq!(server.token_error(&token, now()).await, "Token does not match server's copy");
    }
}

#[tokio::test]
async fn a_token_dies_with_its_account_and_is_not_that_of_its_successor() {
    let (server, token) = with_token(&legacy());
    let account =
        |metadata: Value| server.objects.set(BoundKind::ServiceAccount, "web", json!({ "metadata": metadata }));
    account(json!({ "uid": "uid-other" }));
    let error = server.token_error(&token, now()).await;
    assert_eq!(error, "ServiceAccount UID (uid-other) does not match claim (uid-web)");
    account(json!({ "uid": "uid-web", "deletionTimestamp": now().to_string() }));
    assert_eq!(server.token_error(&token, now()).await, "ServiceAccount default/web has been deleted");
    server.objects.remove(BoundKind::ServiceAccount, "web");
    assert_eq!(server.token_error(&token, now()).await, "serviceaccounts \"web\" not found");
}

#[tokio::test]
async fn a_token_must_be_signed_by_the_servers_key() {
    let (ours, _) = with_token(&legacy());
    let (_, foreign) = with_token(&legacy());
    ours.objects.set(BoundKind::Secret, "web-token", secret(&foreign));
    assert_eq!(ours.token_error(&foreign, now()).await, "invalid signature, no keys found");
    let (ours, token) = with_token(&legacy());
    let (signed, _) = token.rsplit_once('.').unwrap();
    // Of the right length, and no signature of anything.
    let forged = format!("{signed}.{}", "A".repeat(86));
    ours.objects.set(BoundKind::Secret, "web-token", secret(&forged));
    assert_eq!(ours.token_error(&forged, now()).await, "invalid signature");
}

#[tokio::test]
async fn every_claim_must_be_there_and_the_subject_be_the_account() {
    let none = String::new;
    for (claims, wanted) in [
        (LegacyClaims { sub: none(), ..legacy() }, "sub claim is missing"),
        (LegacyClaims { namespace: none(), ..legacy() }, "namespace claim is missing"),
        (LegacyClaims { secret_name: none(), ..legacy() }, "secretName claim is missing"),
        (LegacyClaims { service_account_name: none(), ..legacy() }, "serviceAccountName claim is missing"),
        (LegacyClaims { service_account_uid: none(), ..legacy() }, "serviceAccountUID claim is missing"),
        (LegacyClaims { sub: "system:serviceaccount:other:web".into(), ..legacy() }, "sub claim is invalid"),
        (LegacyClaims { sub: "system:serviceaccount:default:other".into(), ..legacy() }, "sub claim is invalid"),
        (LegacyClaims::new("a/b", "web-token", ("web", "uid-web")), "sub claim is invalid"),
        (LegacyClaims::new("default", "web-token", ("../web", "uid-web")), "sub claim is invalid"),
        (LegacyClaims { secret_name: "../web-token".into(), ..legacy() }, "Token has been invalidated"),
    ] {
        let (server, token) = with_token(&claims);
        assert_eq!(server.token_error(&token, now()).await, wanted, "{claims:?}");
    }
}

#[tokio::test]
async fn bound_tokens_and_those_of_secrets_do_not_pass_for_each_other() {
    let (server, _) = with_token(&legacy());
    let keys = server.pki.service_accounts();
    let mut bound = claims(&[DEFAULT_ISSUER], None, None, None);
    bound.iss = LEGACY_ISSUER.into();
    let token = keys.sign(&bound).unwrap();
    server.objects.set(BoundKind::Secret, "web-token", secret(&token));
    assert_eq!(server.token_error(&token, now()).await, "namespace claim is missing");
    let token = keys.sign(&LegacyClaims { iss: DEFAULT_ISSUER.into(), ..legacy() }).unwrap();
    server.objects.set(BoundKind::Secret, "web-token", secret(&token));
    assert_eq!(server.token_error(&token, now()).await, "invalid bearer token");
    // Both kinds of claims at once: the issuer decides which of them count.
    let mut both = json!(legacy());
    both["iss"] = json!(DEFAULT_ISSUER);
    both["kubernetes.io"] = json!({ "namespace": "default", "serviceaccount": { "name": "web", "uid": "uid-web" } });
    both["exp"] = json!(after(-3600).as_second());
    let token = keys.sign(&both).unwrap();
    server.objects.set(BoundKind::Secret, "web-token", secret(&token));
    assert_eq!(server.token_error(&token, now()).await, "service account token has expired");
}

#[tokio::test]
async fn a_token_that_is_marked_is_refused_and_its_use_is_noted() {
    let (mut server, token) = with_token(&legacy());
    let marked = with_labels(&token, json!({ "kubernetes.io/legacy-token-invalid-since": "2026-01-01" }));
    server.objects.set(BoundKind::Secret, "web-token", marked.clone());
    let error = server.token_error(&token, now()).await;
    assert!(
        error.contains("secret default/web-token for service account default/web has been marked invalid"),
        "{error}"
    );
    let label = server.uses.try_recv().unwrap().label(&marked);
    assert_eq!(label, Some(("kubernetes.io/legacy-token-last-used", "2026-09-21".into())));
}

#[tokio::test]
async fn the_first_use_of_a_day_is_noted() {
    let (mut server, token) = with_token(&legacy());
    assert!(server.identity(&token, &[], now()).await.is_ok());
    let used = server.uses.try_recv().unwrap();
    assert_eq!((used.namespace.as_str(), used.name.as_str(), used.uid.as_str()), ("default", "web-token", "uid-s"));
    let mut successor = secret(&token);
    successor["metadata"]["uid"] = json!("uid-other");
    assert_eq!(used.label(&successor), None, "another Secret of the name");
    for (last, noted) in [("2026-09-20", true), ("2026-09-21", false), ("2026-09-22", false), ("2026-09-23", true)] {
        let labels = json!({ "kubernetes.io/legacy-token-last-used": last });
        server.objects.set(BoundKind::Secret, "web-token", with_labels(&token, labels));
        assert!(server.identity(&token, &[], now()).await.is_ok());
        assert_eq!(server.uses.try_recv().is_ok(), noted, "{last}");
    }
    let other = server.pki.service_accounts().sign(&legacy()).unwrap();
    server.token_error(&other, now()).await;
    assert!(server.uses.try_recv().is_err(), "what does not hold is no use");
}

#[tokio::test]
async fn a_token_made_unasked_is_warned_of() {
    let (server, token) = with_token(&legacy());
    assert!(server.identity(&token, &[], now()).await.is_ok());
    assert_eq!(server.warnings.told(), [""; 0]);
    let account = json!({ "metadata": { "uid": "uid-web" }, "secrets": [{ "name": "x" }, { "name": "web-token" }] });
    server.objects.set(BoundKind::ServiceAccount, "web", account);
    assert!(server.identity(&token, &[], now()).await.is_ok());
    let told = server.warnings.told();
    assert!(
        told[0].starts_with("Use tokens from the TokenRequest API or manually created secret-based tokens"),
        "{told:?}"
    );
}
