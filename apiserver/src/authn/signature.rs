//! What all tokens of service accounts have in common: the server's signature, an issuer and audiences.

use std::sync::Arc;

use pki::service_account::{TokenError, unverified_issuer};
use pki::{KeyedHash, ServiceAccountKeys};
use serde::de::DeserializeOwned;

use super::verified::Verified;
use super::{AuthnError, User};

const VERIFIED_TOKENS: usize = 4096;

/// The claims of one kind of token.
pub(super) trait TokenClaims: DeserializeOwned {
    fn issuer(&self) -> &str;
    /// Empty for a token that is for the API server.
    fn audiences(&self) -> &[String];
    /// Whom the token stands for, if all else about it is right.
    fn user(&self) -> User;
}

/// A token with a good signature, of the right issuer. Nothing else about it is known.
pub(super) struct Signed<C> {
    pub claims: C,
    pub user: Arc<User>,
}

/// Verifies signatures of one kind of token.
pub(super) struct Signatures<C> {
    keys: Arc<ServiceAccountKeys>,
    issuers: Vec<String>,
    hash: KeyedHash,
    /// Tokens whose signature was verified: everything else is checked each time.
    verified: Verified<Arc<Signed<C>>>,
}

impl<C: TokenClaims> Signatures<C> {
    pub(super) fn new(keys: Arc<ServiceAccountKeys>, issuers: Vec<String>) -> Result<Signatures<C>, pki::Error> {
        Ok(Signatures { keys, issuers, hash: KeyedHash::new()?, verified: Verified::new(VERIFIED_TOKENS) })
    }

    /// None when the token is of another kind.
    pub(super) fn verify(&self, token: &str) -> Result<Option<Arc<Signed<C>>>, AuthnError> {
        let digest = self.hash.digest(&[token.as_bytes()]);
        if let Some(found) = self.verified.get(&digest) {
            return Ok(Some(found));
        }
        if !unverified_issuer(token).is_some_and(|issuer| self.issuers.contains(&issuer)) {
            return Ok(None);
        }
        let claims: C = match self.keys.verify(token) {
            Err(TokenError::Malformed) => return Ok(None),
            verified => verified.map_err(AuthnError::refused)?,
        };
        if !self.issuers.iter().any(|issuer| issuer == claims.issuer()) {
            return Err(AuthnError::refused(format!("token issuer {:?} is invalid", claims.issuer())));
        }
        let user = claims.user().authenticated();
        let verified = Arc::new(Signed { claims, user });
        self.verified.insert(digest, verified.clone());
        Ok(Some(verified))
    }
}

impl<C: TokenClaims> Signed<C> {
    /// Which of the wanted audiences the token is for; refused when it is for none of them.
    pub(super) fn audiences(&self, wanted: &[String], api_audiences: &[String]) -> Result<Vec<String>, AuthnError> {
        let claimed = self.claims.audiences();
        let offered = if claimed.is_empty() { api_audiences } else { claimed };
        let common: Vec<_> = offered.iter().filter(|one| wanted.contains(one)).cloned().collect();
        if common.is_empty() && !api_audiences.is_empty() {
            return Err(AuthnError::refused(format!(
                "token audiences {offered:?} is invalid for the target audiences {wanted:?}"
            )));
        }
        Ok(common)
    }
}
