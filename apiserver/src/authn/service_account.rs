//! Service-account tokens: signature, times, audience, and that the objects a token is bound to still live
//! (<https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens>).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Value, document};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use pki::ServiceAccountKeys;
use pki::service_account::{Claims, ObjectRef};

use super::signature::{Signatures, TokenClaims};
use super::user::CREDENTIAL_ID_KEY;
use super::{AuthnError, TokenIdentity, User};

const POD_NAME_KEY: &str = "authentication.kubernetes.io/pod-name";
const POD_UID_KEY: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME_KEY: &str = "authentication.kubernetes.io/node-name";
const NODE_UID_KEY: &str = "authentication.kubernetes.io/node-uid";

/// How far clocks may differ, and how long a deleted object's token lives on.
const LEEWAY_SECONDS: i64 = 60;

/// The kinds of object whose life a token's may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundKind {
    ServiceAccount,
    Pod,
    Secret,
    Node,
}

/// Finds the objects tokens are bound to.
#[async_trait]
pub trait BoundObjects: Send + Sync {
    /// The object, or None when there is none; the namespace of a Node is empty. An error (fit for the log) refuses the token.
    async fn find(&self, kind: BoundKind, namespace: &str, name: &str) -> Result<Option<Value>, String>;

    /// Whether more may be found after this call than before it: where another server may have made the object, its changes have
    /// arrived then.
    async fn catch_up(&self) -> bool {
        false
    }
}

impl dyn BoundObjects {
    /// As [`BoundObjects::find`], with the refusal that its error means.
    pub(super) async fn seek(&self, kind: BoundKind, namespace: &str, name: &str) -> Result<Option<Value>, AuthnError> {
        self.find(kind, namespace, name).await.map_err(AuthnError::refused)
    }
}

/// What a check finds once the changes that other servers made have arrived, where it failed without them.
pub(super) async fn settled<T>(
    objects: &dyn BoundObjects,
    checked: Result<T, AuthnError>,
    again: impl Future<Output = Result<T, AuthnError>>,
) -> Result<T, AuthnError> {
    if checked.is_err() && objects.catch_up().await { again.await } else { checked }
}

/// Authenticates service-account tokens.
pub struct ServiceAccounts {
    signatures: Signatures<Claims>,
    objects: Arc<dyn BoundObjects>,
}

impl ServiceAccounts {
    /// Accepts tokens of the issuers (`--service-account-issuer`) signed by the keys.
    pub fn new(
        keys: Arc<ServiceAccountKeys>,
        issuers: Vec<String>,
        objects: Arc<dyn BoundObjects>,
    ) -> Result<ServiceAccounts, pki::Error> {
        Ok(ServiceAccounts { signatures: Signatures::new(keys, issuers)?, objects })
    }

    /// None when the token is not one of ours. `audiences` are those wanted, `api_audiences` the server's own.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
        api_audiences: &[String],
        now: Timestamp,
    ) -> Result<Option<TokenIdentity>, AuthnError> {
        let Some(signed) = self.signatures.verify(token)? else { return Ok(None) };
        let audiences = signed.audiences(audiences, api_audiences)?;
        check_times(&signed.claims, now)?;
        let checked = self.check_bound_objects(&signed.claims, now).await;
        settled(&*self.objects, checked, self.check_bound_objects(&signed.claims, now)).await?;
        Ok(Some(TokenIdentity { user: signed.user.clone(), audiences }))
    }

    async fn check_bound_objects(&self, claims: &Claims, now: Timestamp) -> Result<(), AuthnError> {
        let bound = &claims.kubernetes;
        let (namespace, account) = (bound.namespace.as_str(), &bound.serviceaccount);
        let found = self
            .objects
            .seek(BoundKind::ServiceAccount, namespace, &account.name)
            .await?
            .ok_or_else(|| AuthnError::refused(format!("serviceaccounts {:?} not found", account.name)))?;
        let uid = document::uid(&found);
        if uid != account.uid {
            let reason = format!("service account UID ({uid}) does not match claim ({})", account.uid);
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
        let found = self.objects.seek(kind, namespace, &claim.name).await?.ok_or_else(invalidated)?;
        let uid = document::uid(&found);
        if uid != claim.uid {
            return Err(AuthnError::refused(format!(
                "{noun} UID ({uid}) does not match service account {noun} ref claim ({})",
                claim.uid
            )));
        }
        if is_deleted(&found, now) { Err(invalidated()) } else { Ok(()) }
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

fn is_deleted(object: &Value, now: Timestamp) -> bool {
    let limit = now.saturating_sub(SignedDuration::from_secs(LEEWAY_SECONDS)).unwrap_or(Timestamp::MIN);
    let deleted = api::time::parse(document::get_str(object, "metadata.deletionTimestamp"));
    deleted.is_ok_and(|deleted| deleted < limit)
}

impl TokenClaims for Claims {
    fn issuer(&self) -> &str {
        &self.iss
    }
    fn audiences(&self) -> &[String] {
        &self.aud
    }
    fn user(&self) -> User {
        let account = &self.kubernetes.serviceaccount;
        User {
            extra: bound_extra(self),
            ..User::service_account(&self.kubernetes.namespace, &account.name, &account.uid)
        }
    }
}

/// What a token says besides of itself and of the objects it is bound to.
fn bound_extra(claims: &Claims) -> BTreeMap<String, Vec<String>> {
    let bound = &claims.kubernetes;
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
    extra
}
