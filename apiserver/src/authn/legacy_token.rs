//! Tokens that are kept in Secrets of the type `kubernetes.io/service-account-token`: signature, claims, and that the Secret with just
//! this token and its service account are still there (upstream's `pkg/serviceaccount/legacy.go`).

use std::sync::Arc;

use api::{Value, document, names};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use pki::{LEGACY_ISSUER, LegacyClaims, ServiceAccountKeys};
use tokio::sync::mpsc;

use super::service_account::settled;
use super::signature::{Signatures, TokenClaims};
use super::{AuthnError, BoundKind, BoundObjects, TokenIdentity, User};
use crate::request::Warnings;

/// The day on which a Secret's token was marked as not to be accepted any more.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// The last day on which a Secret's token was used.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const GENERATED: &str = "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated \
    secret-based tokens.";
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// That a Secret's token was used, which its label does not say yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretUse {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    at: Timestamp,
}

impl SecretUse {
    fn new(secret: &Value, at: Timestamp) -> SecretUse {
        let [namespace, name, uid] = [document::namespace(secret), document::name(secret), document::uid(secret)];
        SecretUse { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.to_owned(), at }
    }

    /// The label's name and new value; None for a Secret that has it, or is another one.
    pub fn label(&self, secret: &Value) -> Option<(&'static str, String)> {
        let tomorrow = self.at.saturating_add(DAY).unwrap_or(self.at);
        // A server whose clock is ahead may have written tomorrow's.
        let is_said = [self.at, tomorrow].iter().any(|at| label(secret, LAST_USED) == day(*at));
        (document::uid(secret) == self.uid && !is_said).then(|| (LAST_USED, day(self.at)))
    }
}

/// A moment's day, as labels and data have it.
pub fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Authenticates tokens of Secrets.
pub struct LegacyTokens {
    signatures: Signatures<LegacyClaims>,
    objects: Arc<dyn BoundObjects>,
    uses: mpsc::Sender<SecretUse>,
}

impl LegacyTokens {
    /// Accepts tokens signed by the keys. Uses of which a Secret's label does not say yet are sent to `uses`.
    pub fn new(
        keys: Arc<ServiceAccountKeys>,
        objects: Arc<dyn BoundObjects>,
        uses: mpsc::Sender<SecretUse>,
    ) -> Result<LegacyTokens, pki::Error> {
        Ok(LegacyTokens { signatures: Signatures::new(keys, vec![LEGACY_ISSUER.to_owned()])?, objects, uses })
    }

    /// None when the token is of another kind. `audiences` are those wanted, `api_audiences` the server's own.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
        api_audiences: &[String],
        now: Timestamp,
        warnings: &Warnings,
    ) -> Result<Option<TokenIdentity>, AuthnError> {
        let Some(signed) = self.signatures.verify(token)? else { return Ok(None) };
        let audiences = signed.audiences(audiences, api_audiences)?;
        check_claims(&signed.claims)?;
        let checked = self.check_objects(token, &signed.claims, now).await;
        let is_generated = settled(&*self.objects, checked, self.check_objects(token, &signed.claims, now)).await?;
        if is_generated {
            warnings.add(GENERATED);
        }
        Ok(Some(TokenIdentity { user: signed.user.clone(), audiences }))
    }

    /// Refuses a token whose Secret or service account is not, or no longer, the one it was made for. Gives whether the account
    /// lists the Secret, as those did that were made for it unasked.
    async fn check_objects(&self, token: &str, claims: &LegacyClaims, now: Timestamp) -> Result<bool, AuthnError> {
        let (namespace, account) = (claims.namespace.as_str(), claims.service_account_name.as_str());
        let secret = self.objects.seek(BoundKind::Secret, namespace, &claims.secret_name).await?;
        let secret = secret.filter(|secret| !document::is_terminating(secret));
        let secret = secret.ok_or_else(|| AuthnError::refused("Token has been invalidated"))?;
        if !holds(&secret, token) {
            return Err(AuthnError::refused("Token does not match server's copy"));
        }
        let found = self.objects.seek(BoundKind::ServiceAccount, namespace, account).await?;
        let found = found.ok_or_else(|| AuthnError::refused(format!("serviceaccounts {account:?} not found")))?;
        if document::is_terminating(&found) {
            return Err(AuthnError::refused(format!("ServiceAccount {namespace}/{account} has been deleted")));
        }
        let (uid, claimed) = (document::uid(&found), &claims.service_account_uid);
        if uid != claimed {
            return Err(AuthnError::refused(format!("ServiceAccount UID ({uid}) does not match claim ({claimed})")));
        }
        self.note_use(&secret, now);
        if !label(&secret, INVALID_SINCE).is_empty() {
            let name = &claims.secret_name;
            return Err(AuthnError::refused(format!(
                "the token in secret {namespace}/{name} for service account {namespace}/{account} has been marked invalid. Use tokens \
                 from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the \
                 secret to temporarily allow use of this token"
            )));
        }
        let listed = document::get_list(&found, "secrets");
        Ok(listed.iter().any(|reference| reference["name"] == *claims.secret_name))
    }

    fn note_use(&self, secret: &Value, now: Timestamp) {
        let used = SecretUse::new(secret, now);
        if used.label(secret).is_some() {
            // When too many wait, the next use says it again.
            let _ = self.uses.try_send(used);
        }
    }
}

impl TokenClaims for LegacyClaims {
    fn issuer(&self) -> &str {
        &self.iss
    }
    fn audiences(&self) -> &[String] {
        &self.aud
    }
    fn user(&self) -> User {
        User::service_account(&self.namespace, &self.service_account_name, &self.service_account_uid)
    }
}

/// All claims must be there, and the subject must be the service account.
fn check_claims(claims: &LegacyClaims) -> Result<(), AuthnError> {
    for (claim, name) in [
        (&claims.sub, "sub"),
        (&claims.namespace, "namespace"),
        (&claims.secret_name, "secretName"),
        (&claims.service_account_name, "serviceAccountName"),
        (&claims.service_account_uid, "serviceAccountUID"),
    ] {
        if claim.is_empty() {
            return Err(AuthnError::refused(format!("{name} claim is missing")));
        }
    }
    let is_sound = names::dns1123_label(&claims.namespace).is_empty()
        && names::dns1123_subdomain(&claims.service_account_name).is_empty();
    if !is_sound || claims.sub != claims.user().name {
        return Err(AuthnError::refused("sub claim is invalid"));
    }
    // Nothing else could be the name of a Secret.
    if !names::path_segment(&claims.secret_name).is_empty() {
        return Err(AuthnError::refused("Token has been invalidated"));
    }
    Ok(())
}

/// Whether a Secret has just this token.
fn holds(secret: &Value, token: &str) -> bool {
    let kept = STANDARD.decode(document::get_str(secret, "data.token")).unwrap_or_default();
    verify_slices_are_equal(&kept, token.as_bytes()).is_ok()
}

fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    document::labels(object).and_then(|labels| labels.get(key)?.as_str()).unwrap_or_default()
}
