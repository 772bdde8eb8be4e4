//! Service-account tokens: signature, times, audience, and that the objects a token is bound to still live
//! (<https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens>).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use pki::service_account::{Claims, ObjectRef, TokenError, unverified_issuer};
use pki::{KeyedHash, ServiceAccountKeys};

use super::user::CREDENTIAL_ID_KEY;
use super::verified::Verified;
use super::{AuthnError, TokenIdentity, User};

const POD_NAME_KEY: &str = "authentication.kubernetes.io/pod-name";
const POD_UID_KEY: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME_KEY: &str = "authentication.kubernetes.io/node-name";
const NODE_UID_KEY: &str = "authentication.kubernetes.io/node-uid";

/// How far clocks may differ, and how long a deleted object's token lives on.
const LEEWAY_SECONDS: i64 = 60;
const VERIFIED_TOKENS: usize = 4096;

/// The kinds of object whose life a token's may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundKind {
    ServiceAccount,
    Pod,
    Secret,
    Node,
}

/// What authentication needs to know of such an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundObject {
    pub uid: String,
    pub deletion_timestamp: Option<Timestamp>,
}

/// Finds the objects tokens are bound to.
#[async_trait]
pub trait BoundObjects: Send + Sync {
    /// The object, or None when there is none; the namespace of a Node is empty. An error (fit for the log) refuses the token.
    async fn find(&self, kind: BoundKind, namespace: &str, name: &str) -> Result<Option<BoundObject>, String>;

    /// Whether more may be found after this call than before it: where another server may have made the object, its changes have
    /// arrived then.
    async fn catch_up(&self) -> bool {
        false
    }
}

/// Authenticates service-account tokens.
pub struct ServiceAccounts {
    keys: Arc<ServiceAccountKeys>,
    issuers: Vec<String>,
    objects: Arc<dyn BoundObjects>,
    hash: KeyedHash,
    /// Tokens whose signature was verified: everything else is checked each time.
    verified: Verified<Arc<VerifiedToken>>,
}

struct VerifiedToken {
    claims: Claims,
    user: Arc<User>,
}

impl ServiceAccounts {
    /// Accepts tokens of the issuers (`--service-account-issuer`) signed by the keys.
    pub fn new(
        keys: Arc<ServiceAccountKeys>,
        issuers: Vec<String>,
        objects: Arc<dyn BoundObjects>,
    ) -> Result<ServiceAccounts, pki::Error> {
        let verified = Verified::new(VERIFIED_TOKENS);
        Ok(ServiceAccounts { keys, issuers, objects, hash: KeyedHash::new()?, verified })
    }

    /// None when the token is not one of ours. `audiences` are those wanted, `api_audiences` the server's own.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
        api_audiences: &[String],
        now: Timestamp,
    ) -> Result<Option<TokenIdentity>, AuthnError> {
        let Some(token) = self.verify(token)? else { return Ok(None) };
        let offered = if token.claims.aud.is_empty() { api_audiences } else { &token.claims.aud };
        let audiences_in_common: Vec<_> = offered.iter().filter(|one| audiences.contains(one)).cloned().collect();
        if audiences_in_common.is_empty() && !api_audiences.is_empty() {
            return Err(AuthnError::refused(format!(
                "token audiences {offered:?} is invalid for the target audiences {audiences:?}"
            )));
        }
        check_times(&token.claims, now)?;
        let checked = self.check_bound_objects(&token.claims, now).await;
        if checked.is_err() && self.objects.catch_up().await {
            self.check_bound_objects(&token.claims, now).await?;
        } else {
            checked?;
        }
        Ok(Some(TokenIdentity { user: token.user.clone(), audiences: audiences_in_common }))
    }

    fn verify(&self, token: &str) -> Result<Option<Arc<VerifiedToken>>, AuthnError> {
        let digest = self.hash.digest(&[token.as_bytes()]);
        if let Some(found) = self.verified.get(&digest) {
            return Ok(Some(found));
        }
        if !unverified_issuer(token).is_some_and(|issuer| self.issuers.contains(&issuer)) {
            return Ok(None);
        }
        let claims = match self.keys.verify(token) {
            Err(TokenError::Malformed) => return Ok(None),
            verified => verified.map_err(AuthnError::refused)?,
        };
        if !self.issuers.contains(&claims.iss) {
            return Err(AuthnError::refused(format!("token issuer {:?} is invalid", claims.iss)));
        }
        let user = user(&claims).authenticated();
        let verified = Arc::new(VerifiedToken { claims, user });
        self.verified.insert(digest, verified.clone());
        Ok(Some(verified))
    }

    async fn check_bound_objects(&self, claims: &Claims, now: Timestamp) -> Result<(), AuthnError> {
        let bound = &claims.kubernetes;
        let (namespace, account) = (bound.namespace.as_str(), &bound.serviceaccount);
        let found = self
            .find(BoundKind::ServiceAccount, namespace, &account.name)
            .await?
            .ok_or_else(|| AuthnError::refused(format!("serviceaccounts {:?} not found", account.name)))?;
        if found.uid != account.uid {
            let reason = format!("service account UID ({}) does not match claim ({})", found.uid, account.uid);
            return Err(AuthnError::refused(reason));
        }
        if is_deleted(&found, now) {
            let reason = format!("service account {namespace}/{} has been deleted", account.name);
            return Err(AuthnError::refused(reason));
        }
        // A pod's token names the pod's node too, and lives without it.
        let node = bound.node.as_ref().filter(|_| bound.pod.is_none());
        for (kind, noun, namespace, object) in [
            (BoundKind::Secret, "secret", namespace, bound.secret.as_ref()),
            (BoundKind::Pod, "pod", namespace, bound.pod.as_ref()),
            (BoundKind::Node, "node", "", node),
        ] {
            if let Some(object) = object {
                self.check_bound_object(kind, noun, namespace, object, now).await?;
            }
        }
        Ok(())
    }

    async fn check_bound_object(
        &self,
        kind: BoundKind,
        noun: &str,
        namespace: &str,
        claim: &ObjectRef,
        now: Timestamp,
    ) -> Result<(), AuthnError> {
        let invalidated = || AuthnError::refused("service account token has been invalidated");
        let found = self.find(kind, namespace, &claim.name).await?.ok_or_else(invalidated)?;
        if found.uid != claim.uid {
            return Err(AuthnError::refused(format!(
                "{noun} UID ({}) does not match service account {noun} ref claim ({})",
                found.uid, claim.uid
            )));
        }
        if is_deleted(&found, now) { Err(invalidated()) } else { Ok(()) }
    }

    async fn find(&self, kind: BoundKind, namespace: &str, name: &str) -> Result<Option<BoundObject>, AuthnError> {
        self.objects.find(kind, namespace, name).await.map_err(AuthnError::refused)
    }
}

fn check_times(claims: &Claims, now: Timestamp) -> Result<(), AuthnError> {
    let now = now.as_second();
    let refused = match () {
        () if now + LEEWAY_SECONDS < claims.nbf => "service account token is not valid yet",
        () if now - LEEWAY_SECONDS > claims.exp => "service account token has expired",
        () if now + LEEWAY_SECONDS < claims.iat => "service account token is issued in the future",
        () => return Ok(()),
    };
    Err(AuthnError::refused(refused))
}

fn is_deleted(object: &BoundObject, now: Timestamp) -> bool {
    let limit = now.saturating_sub(SignedDuration::from_secs(LEEWAY_SECONDS)).unwrap_or(Timestamp::MIN);
    object.deletion_timestamp.is_some_and(|deleted| deleted < limit)
}

fn user(claims: &Claims) -> User {
    let bound = &claims.kubernetes;
    let namespace = &bound.namespace;
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: String| extra.insert(key.to_owned(), vec![value]);
    if let Some(pod) = bound.pod.as_ref().filter(|pod| !pod.name.is_empty() && !pod.uid.is_empty()) {
        add(POD_NAME_KEY, pod.name.clone());
        add(POD_UID_KEY, pod.uid.clone());
    }
    if let Some(node) = bound.node.as_ref().filter(|node| !node.name.is_empty()) {
        add(NODE_NAME_KEY, node.name.clone());
        if !node.uid.is_empty() {
            add(NODE_UID_KEY, node.uid.clone());
        }
    }
    if !claims.jti.is_empty() {
        add(CREDENTIAL_ID_KEY, format!("JTI={}", claims.jti));
    }
    User {
        name: format!("system:serviceaccount:{namespace}:{}", bound.serviceaccount.name),
        uid: bound.serviceaccount.uid.clone(),
        groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")],
        extra,
    }
}
