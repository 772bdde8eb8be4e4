use std::collections::HashMap;

use api::Value;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use parking_lot::Mutex;
use pki::service_account::{Claims, DEFAULT_ISSUER, ObjectRef, TokenRequest};
use pki::{CertifiedKey, Identity, Options, Pki};
use serde_json::json;
use tokio::sync::mpsc;

use super::*;

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

pub(super) fn after(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

/// The objects that exist, by kind and name; tests take them away.
#[derive(Default)]
pub(super) struct Objects(Mutex<HashMap<(&'static str, String), Value>>);

fn noun(kind: BoundKind) -> &'static str {
    match kind {
        BoundKind::ServiceAccount => "serviceaccount",
        BoundKind::Pod => "pod",
        BoundKind::Secret => "secret",
        BoundKind::Node => "node",
    }
}

#[async_trait]
impl BoundObjects for Objects {
    async fn find(&self, kind: BoundKind, namespace: &str, name: &str) -> Result<Option<Value>, String> {
        assert!(!name.contains('/'), "a key is made of parts");
        assert_eq!(namespace, if kind == BoundKind::Node { "" } else { "default" });
        Ok(self.0.lock().get(&(noun(kind), name.to_owned())).cloned())
    }
}

impl Objects {
    /// Replaces one of them as it stands in the store.
    pub(super) fn set(&self, kind: BoundKind, name: &str, object: Value) {
        self.0.lock().insert((noun(kind), name.to_owned()), object);
    }

    fn put(&self, kind: BoundKind, name: &str, deletion_timestamp: Option<Timestamp>) {
        let deleted = deletion_timestamp.map(|at| at.to_string());
        let metadata = json!({ "name": name, "uid": format!("uid-{name}"), "deletionTimestamp": deleted });
        self.set(kind, name, json!({ "metadata": metadata }));
    }

    pub(super) fn remove(&self, kind: BoundKind, name: &str) {
        self.0.lock().remove(&(noun(kind), name.to_owned()));
    }
}

pub(super) struct Server {
    pub pki: Pki,
    pub objects: Arc<Objects>,
    pub authn: Authenticators,
    pub warnings: Warnings,
    /// The uses of tokens in Secrets that were told of.
    pub uses: mpsc::Receiver<SecretUse>,
    trust: PeerTrust,
}

pub(super) fn server() -> Server {
    let pki = Pki::in_memory(&Options::new(now())).unwrap();
    let objects = Arc::new(Objects::default());
    for (kind, name) in [
        (BoundKind::ServiceAccount, "web"),
        (BoundKind::Pod, "web-1"),
        (BoundKind::Secret, "s"),
        (BoundKind::Node, "n"),
    ] {
        objects.put(kind, name, None);
    }
    let mut tokens = StaticTokens::new().unwrap();
    tokens.insert("static", User { name: "ann".into(), ..User::default() }.authenticated());
    let issuers = vec![DEFAULT_ISSUER.to_owned()];
    let accounts = ServiceAccounts::new(pki.service_accounts(), issuers.clone(), objects.clone()).unwrap();
    let (told, uses) = mpsc::channel(8);
    let legacy = LegacyTokens::new(pki.service_accounts(), objects.clone(), told).unwrap();
    let authn = Authenticators {
        passwords: None,
        legacy_tokens: Some(legacy),
        tokens: Some(tokens),
        service_accounts: Some(accounts),
        api_audiences: issuers,
    };
    let trust = PeerTrust {
        clients: pki.clients().clone(),
        front_proxies: pki.front_proxies().clone(),
        front_proxy_names: vec!["front-proxy-client".into()],
    };
    Server { pki, objects, authn, warnings: Warnings::default(), uses, trust }
}

fn object(name: &str) -> Option<ObjectRef> {
    Some(ObjectRef { name: name.into(), uid: format!("uid-{name}") })
}

pub(super) fn claims(
    audiences: &[&str],
    pod: Option<ObjectRef>,
    secret: Option<ObjectRef>,
    node: Option<ObjectRef>,
) -> Claims {
    let request = TokenRequest {
        issuer: DEFAULT_ISSUER,
        namespace: "default",
        service_account: object("web").unwrap(),
        pod,
        secret,
        node,
        audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
        expiration_seconds: 3600,
        warn_after_seconds: None,
    };
    Claims::new(request, now())
}

impl Server {
    fn peer(&self, certified: &CertifiedKey) -> PeerIdentity {
        self.trust.identify(&certified.chain().unwrap(), now())
    }

    async fn user(
        &self,
        headers: &[(&str, &str)],
        peer: Option<&PeerIdentity>,
    ) -> Result<Option<Arc<User>>, AuthnError> {
        self.authn.authenticate(&header_map(headers), peer, now(), &self.warnings).await
    }

    pub(super) async fn identity(
        &self,
        token: &str,
        audiences: &[String],
        at: Timestamp,
    ) -> Result<TokenIdentity, AuthnError> {
        self.authn.authenticate_token(token, audiences, at, &self.warnings).await
    }

    pub(super) async fn token_error(&self, token: &str, at: Timestamp) -> String {
        self.identity(token, &[], at).await.unwrap_err().to_string()
    }
}

fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    map
}

#[tokio::test]
async fn a_request_without_credentials_has_no_user() {
    let server = server();
    for headers in
        [&[][..], &[("authorization", "")], &[("authorization", "Basic YTpi")], &[("authorization", "Bearer  x")]]
    {
        assert_eq!(server.user(headers, None).await, Ok(None), "{headers:?}");
    }
    assert!(User::anonymous().is_anonymous());
}

#[tokio::test]
async fn a_client_certificate_is_a_user_until_it_expires() {
    let server = server();
    let peer = server.peer(&server.pki.issue_client("ann", &["dev"], now()).unwrap());
    let user = server.user(&[], Some(&peer)).await.unwrap().unwrap();
    assert_eq!((user.name.as_str(), user.groups.join(",").as_str()), ("ann", "dev,system:authenticated"));
    let credential = &user.extra["authentication.kubernetes.io/credential-id"][0];
    assert!(credential.starts_with("X509SHA256=") && credential.len() == 11 + 64, "{credential}");
    let later = after(366 * 24 * 3600);
    let error = server.authn.authenticate(&HeaderMap::new(), Some(&peer), later, &server.warnings).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("certificate has expired"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_without_a_name_is_no_user() {
    let (ours, theirs) = (server(), server());
    let foreign = ours.peer(theirs.pki.certificate(Identity::Admin));
    let error = ours.user(&[], Some(&foreign)).await.unwrap_err().to_string();
    assert!(error.contains("signed by unknown authority"), "{error}");
    let user = ours.user(&[("authorization", "Bearer static")], Some(&foreign)).await.unwrap().unwrap();
    assert_eq!(user.name, "ann", "another credential that is right wins");
    let nameless = ours.peer(&ours.pki.issue_client("", &["dev"], now()).unwrap());
    assert_eq!(ours.user(&[], Some(&nameless)).await, Ok(None));
}

#[tokio::test]
async fn the_certificate_comes_before_the_token_and_both_wrong_is_refused() {
    let server = server();
    let admin = server.peer(server.pki.certificate(Identity::Admin));
    for token in ["Bearer static", "Bearer wrong"] {
        let user = server.user(&[("authorization", token)], Some(&admin)).await.unwrap().unwrap();
        assert_eq!(user.name, "kubernetes-admin");
    }
    let error = server.user(&[("authorization", "Bearer wrong")], None).await;
    assert_eq!(error, Err(AuthnError::refused("invalid bearer token")));
    let proxy = server.peer(server.pki.certificate(Identity::FrontProxyClient));
    let error = server.user(&[("authorization", "Bearer wrong")], Some(&proxy)).await.unwrap_err().to_string();
    assert!(error.starts_with("[verifying certificate ") && error.ends_with(", invalid bearer token]"), "{error}");
}

#[tokio::test]
async fn a_front_proxy_speaks_for_the_user_in_its_headers() {
    let server = server();
    let headers = [
        ("x-remote-user", "bob"),
        ("x-remote-uid", "7"),
        ("x-remote-group", "a"),
        ("x-remote-group", "b"),
        ("x-remote-extra-acme.com%2fproject", "one"),
        ("x-remote-extra-acme.com%2fproject", "two"),
        ("x-remote-extra-bad%zz", "x"),
    ];
    let proxy = server.peer(server.pki.certificate(Identity::FrontProxyClient));
    let bob = server.user(&headers, Some(&proxy)).await.unwrap().unwrap();
    assert_eq!((bob.name.as_str(), bob.uid.as_str()), ("bob", "7"));
    assert_eq!(bob.groups, ["a", "b", "system:authenticated"]);
    assert_eq!(bob.extra["acme.com/project"], ["one", "two"]);
    assert_eq!(bob.extra["bad%zz"], ["x"]);
    assert!(server.user(&[], Some(&proxy)).await.is_err(), "a front proxy is no user of its own");
}

#[tokio::test]
async fn headers_from_anybody_but_an_allowed_front_proxy_are_not_believed() {
    let mut server = server();
    let headers = [("x-remote-user", "bob"), ("x-remote-group", "system:masters")];
    assert_eq!(server.user(&headers, None).await, Ok(None));
    let ann = server.peer(&server.pki.issue_client("front-proxy-client", &[], now()).unwrap());
    let user = server.user(&headers, Some(&ann)).await.unwrap().unwrap();
    assert_eq!((user.name.as_str(), user.groups.len()), ("front-proxy-client", 1));
    server.trust.front_proxy_names = vec!["other".into()];
    let proxy = server.peer(server.pki.certificate(Identity::FrontProxyClient));
    let error = server.user(&headers, Some(&proxy)).await.unwrap_err().to_string();
    assert!(error.contains("subject with cn=front-proxy-client is not in the allowed list"), "{error}");
}

#[tokio::test]
async fn a_service_account_token_is_its_account_in_its_groups() {
    let server = server();
    let claims = claims(&[DEFAULT_ISSUER, "vault"], object("web-1"), None, object("gone-node"));
    let token = server.pki.service_accounts().sign(&claims).unwrap();
    for _ in 0..2 {
        let bearer = format!("Bearer {token}");
        let user = server.user(&[("authorization", &bearer)], None).await.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:default:web", "uid-web"));
        let groups = "system:serviceaccounts,system:serviceaccounts:default,system:authenticated";
        assert_eq!(user.groups.join(","), groups);
        let extra = |key: &str| user.extra[&format!("authentication.kubernetes.io/{key}")][0].clone();
        assert_eq!((extra("pod-name"), extra("pod-uid")), ("web-1".into(), "uid-web-1".into()));
        assert_eq!((extra("node-name"), extra("node-uid")), ("gone-node".into(), "uid-gone-node".into()));
        assert_eq!(extra("credential-id"), format!("JTI={}", claims.jti));
    }
}

#[tokio::test]
async fn a_service_account_token_has_its_time() {
    let server = server();
    let token = server.pki.service_accounts().sign(&claims(&[DEFAULT_ISSUER], None, None, None)).unwrap();
    assert!(server.identity(&token, &[], after(3659)).await.is_ok(), "clocks may differ by a minute");
    assert_eq!(server.token_error(&token, after(3661)).await, "service account token has expired");
    assert_eq!(server.token_error(&token, after(-61)).await, "service account token is not valid yet");
}

#[tokio::test]
async fn a_service_account_token_is_for_its_audience() {
    let server = server();
    let token = server.pki.service_accounts().sign(&claims(&["vault"], None, None, None)).unwrap();
    let wanted = format!(r#"token audiences ["vault"] is invalid for the target audiences ["{DEFAULT_ISSUER}"]"#);
    assert_eq!(server.token_error(&token, now()).await, wanted);
    let audiences = ["vault".to_owned(), "x".to_owned()];
    let identity = server.identity(&token, &audiences, now()).await.unwrap();
    assert_eq!(identity.audiences, ["vault"]);
    assert!(server.identity("static", &audiences, now()).await.is_err());
    let identity = server.identity("static", &[], now()).await.unwrap();
    assert_eq!((identity.user.name.as_str(), identity.audiences), ("ann", vec![DEFAULT_ISSUER.to_owned()]));
}

#[tokio::test]
async fn a_token_of_another_key_or_issuer_is_refused() {
    let (ours, theirs) = (server(), server());
    let foreign = theirs.pki.service_accounts().sign(&claims(&[DEFAULT_ISSUER], None, None, None)).unwrap();
    assert_eq!(ours.token_error(&foreign, now()).await, "invalid signature, no keys found");
    let mut other = claims(&[DEFAULT_ISSUER], None, None, None);
    other.iss = "https://elsewhere".into();
    let other = ours.pki.service_accounts().sign(&other).unwrap();
    assert_eq!(ours.token_error(&other, now()).await, "invalid bearer token");
    let good = ours.pki.service_accounts().sign(&claims(&[DEFAULT_ISSUER], None, None, None)).unwrap();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    // Whether the damaged text is still base64 depends on the signature, and the error on that.
    for damaged in [forged.as_str(), &good[..good.len() - 8]] {
        let error = ours.token_error(damaged, now()).await;
        assert!(["invalid signature", "invalid bearer token"].contains(&error.as_str()), "{error}");
    }
}

#[tokio::test]
async fn a_token_dies_with_the_objects_it_is_bound_to() {
    let invalidated = "service account token has been invalidated";
    for (kind, name, bound, wanted) in [
        (BoundKind::ServiceAccount, "web", (None, None, None), "serviceaccounts \"web\" not found"),
        (BoundKind::Pod, "web-1", (object("web-1"), None, None), invalidated),
        (BoundKind::Secret, "s", (None, object("s"), None), invalidated),
        (BoundKind::Node, "n", (None, None, object("n")), invalidated),
    ] {
        let server = server();
        let claims = claims(&[DEFAULT_ISSUER], bound.0, bound.1, bound.2);
        let token = server.pki.service_accounts().sign(&claims).unwrap();
        let verdict = async || server.identity(&token, &[], now()).await;
        assert!(verdict().await.is_ok());
        server.objects.put(kind, name, Some(after(-30)));
        assert!(verdict().await.is_ok(), "{kind:?}: a minute of grace");
        server.objects.put(kind, name, Some(after(-61)));
        assert!(verdict().await.is_err(), "{kind:?} deleted");
        server.objects.put(kind, name, None);
        assert!(verdict().await.is_ok());
        server.objects.set(kind, name, json!({ "metadata": { "uid": "other" } }));
        let error = verdict().await.unwrap_err().to_string();
        assert!(error.contains("UID (other) does not match"), "{error}");
        server.objects.remove(kind, name);
        assert_eq!(verdict().await.unwrap_err().to_string(), wanted);
    }
}

#[test]
fn credentials_are_removed_after_authentication() {
    let basic = format!("Basic {}", STANDARD.encode("a:b"));
    let mut headers = header_map(&[
        ("authorization", &basic),
        ("x-remote-user", "bob"),
        ("x-remote-extra-a", "1"),
        ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.dG9r, v5.channel.k8s.io"),
        ("accept", "*/*"),
    ]);
    remove_credentials(&mut headers);
    assert_eq!(headers, header_map(&[("sec-websocket-protocol", "v5.channel.k8s.io"), ("accept", "*/*")]));
}

#[test]
fn a_user_is_written_as_user_info() {
    let user = User { name: "ann".into(), ..User::default() }.authenticated();
    let wanted = json!({"username": "ann", "groups": ["system:authenticated"]});
    assert_eq!(serde_json::to_value(&*user).unwrap(), wanted);
}
