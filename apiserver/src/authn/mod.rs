//! Authentication: which user a request is from. Upstream's order, the first that succeeds wins: a front proxy's headers, HTTP
//! Basic, the client certificate, the bearer token. A credential that is wrong fails the request only when no other is right.

mod bearer;
mod csv;
mod legacy_token;
mod password;
mod peer;
mod service_account;
mod signature;
mod token_file;
mod user;
mod verified;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;

use crate::request::Warnings;

pub use self::legacy_token::{LegacyTokens, SecretUse, day};
pub use self::password::Passwords;
pub use self::peer::{PeerIdentity, PeerTrust};
pub use self::service_account::{BoundKind, BoundObjects, ServiceAccounts};
pub use self::token_file::StaticTokens;
pub use self::user::{
    ANONYMOUS, AUTHENTICATED_GROUP, CREDENTIAL_ID_KEY, PRIVILEGED_GROUP, UNAUTHENTICATED_GROUP, User,
};

/// Why a request is not let in. Never holds a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthnError {
    /// 401. The reason is for the log and for a TokenReview; the client is told "Unauthorized".
    #[error("{0}")]
    Refused(String),
    /// 429: too many passwords wait to be checked.
    #[error("too many passwords wait to be checked")]
    Overloaded,
}

impl AuthnError {
    fn refused(reason: impl fmt::Display) -> AuthnError {
        AuthnError::Refused(reason.to_string())
    }
}

/// Why a file of credentials cannot be used; never shows any of them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CredentialFileError(String);

impl CredentialFileError {
    fn new(path: &str, reason: impl fmt::Display) -> CredentialFileError {
        CredentialFileError(format!("{path}: {reason}"))
    }

    fn columns(what: &str, path: &str, found: usize) -> CredentialFileError {
        CredentialFileError(format!(
            "{what} file '{path}' must have at least 3 columns ({what}, user name, user uid), found {found}"
        ))
    }

    fn read(path: &Path) -> Result<String, CredentialFileError> {
        std::fs::read_to_string(path).map_err(|error| CredentialFileError::new(&path.display().to_string(), error))
    }
}

/// The groups in the fourth column of a file of credentials.
fn split_groups(column: Option<&String>) -> Vec<String> {
    let groups = column.into_iter().flat_map(|groups| groups.split(','));
    groups.filter(|group| !group.is_empty()).map(str::to_owned).collect()
}

/// The user of a token, and which of the audiences asked for it is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIdentity {
    pub user: Arc<User>,
    pub audiences: Vec<String>,
}

/// All ways in. What is None is not tried.
#[derive(Default)]
pub struct Authenticators {
    pub passwords: Option<Passwords>,
    pub tokens: Option<StaticTokens>,
    pub service_accounts: Option<ServiceAccounts>,
    pub legacy_tokens: Option<LegacyTokens>,
    /// The server's own audiences (`--api-audiences`, by default the issuers of service-account tokens).
    pub api_audiences: Vec<String>,
}

impl Authenticators {
    /// The user of a request: None when it has no credentials (whether it may be [`User::anonymous`] is for the caller).
    /// `peer` is the connection's client certificate, if it showed one; `warnings` are what the client should be told of its credential.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<&PeerIdentity>,
        now: Timestamp,
        warnings: &Warnings,
    ) -> Result<Option<Arc<User>>, AuthnError> {
        let mut attempts = Attempts::default();
        if let Some(user) = peer.and_then(|peer| attempts.keep(peer.user_in_headers(headers, now))) {
            return Ok(Some(user));
        }
        let authorization = attempts.keep(bearer::authorization(headers));
        if let (Some(passwords), Some(authorization)) = (&self.passwords, authorization)
            && let Some(user) = attempts.keep(passwords.authenticate(authorization).await)
        {
            return Ok(Some(user));
        }
        if let Some(user) = peer.and_then(|peer| attempts.keep(peer.user(now))) {
            return Ok(Some(user));
        }
        if let Some(token) = authorization.and_then(bearer::token)
            && let Some(user) = attempts.keep(self.token_user(token, now, warnings).await)
        {
            return Ok(Some(user));
        }
        if let Some(token) = attempts.keep(bearer::websocket_token(headers))
            && let Some(user) = attempts.keep(self.token_user(&token, now, warnings).await)
        {
            return Ok(Some(user));
        }
        attempts.finish()
    }

    /// The identity of a bearer token, as for a TokenReview. `audiences` that are empty mean the server's own.
    pub async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
        warnings: &Warnings,
    ) -> Result<TokenIdentity, AuthnError> {
        let audiences = if audiences.is_empty() { &self.api_audiences } else { audiences };
        let mut attempts = Attempts::default();
        if let Some(user) = self.tokens.as_ref().and_then(|tokens| tokens.user(token)) {
            // A static token is for the API server, whoever asks.
            let common = self.api_audiences.iter().filter(|one| audiences.contains(one));
            let audiences: Vec<_> = common.cloned().collect();
            if !audiences.is_empty() || self.api_audiences.is_empty() {
                return Ok(TokenIdentity { user, audiences });
            }
        }
        if let Some(legacy) = &self.legacy_tokens
            && let Some(identity) =
                attempts.keep(legacy.authenticate(token, audiences, &self.api_audiences, now, warnings).await)
        {
            return Ok(identity);
        }
        if let Some(accounts) = &self.service_accounts
            && let Some(identity) =
                attempts.keep(accounts.authenticate(token, audiences, &self.api_audiences, now).await)
        {
            return Ok(identity);
        }
        attempts.finish().and_then(|none: Option<_>| none.ok_or_else(|| AuthnError::refused("invalid bearer token")))
    }

    async fn token_user(
        &self,
        token: &str,
        now: Timestamp,
        warnings: &Warnings,
    ) -> Result<Option<Arc<User>>, AuthnError> {
        self.authenticate_token(token, &[], now, warnings).await.map(|identity| Some(identity.user))
    }
}

/// Removes what authenticated a request, so that nothing after authentication can use or log it.
pub fn remove_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    peer::remove_headers(headers);
    bearer::remove_websocket_token(headers);
}

/// The failures of the ways tried so far.
#[derive(Default)]
struct Attempts(Vec<AuthnError>);

impl Attempts {
    fn keep<T>(&mut self, outcome: Result<Option<T>, AuthnError>) -> Option<T> {
        outcome.unwrap_or_else(|error| {
            if !self.0.contains(&error) {
                self.0.push(error);
            }
            None
        })
    }

    /// None when nothing failed, else the failures as one, in upstream's form.
    fn finish<T>(mut self) -> Result<Option<T>, AuthnError> {
        if self.0.contains(&AuthnError::Overloaded) {
            return Err(AuthnError::Overloaded);
        }
        match self.0.len() {
            0 => Ok(None),
            1 => Err(self.0.remove(0)),
            _ => {
                let reasons: Vec<_> = self.0.iter().map(ToString::to_string).collect();
                Err(AuthnError::Refused(format!("[{}]", reasons.join(", "))))
            }
        }
    }
}

#[cfg(test)]
mod legacy_token_tests;
#[cfg(test)]
mod tests;
