//! Client certificates: a user's own, and a front proxy's, which speaks for others in headers
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/>).

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use pki::{ClientCertificateError, ClientIdentity, ClientVerifier};
use rustls::pki_types::CertificateDer;

use super::user::CREDENTIAL_ID_KEY;
use super::{AuthnError, User};

const USER_HEADER: HeaderName = HeaderName::from_static("x-remote-user");
const UID_HEADER: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP_HEADER: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA_PREFIX: &str = "x-remote-extra-";

/// Whose client certificates are trusted, and as what.
#[derive(Clone, Debug)]
pub struct PeerTrust {
    /// CAs of users (`--client-ca-file`).
    pub clients: ClientVerifier,
    /// CAs of front proxies (`--requestheader-client-ca-file`).
    pub front_proxies: ClientVerifier,
    /// Common names a front proxy may have (`--requestheader-allowed-names`); empty: any.
    pub front_proxy_names: Vec<String>,
}

/// What a connection's client certificate proves. Verified once, when the connection is made; its validity in time is checked
/// again with each request.
#[derive(Clone, Debug)]
pub struct PeerIdentity {
    client: Result<(ClientIdentity, Arc<User>), ClientCertificateError>,
    front_proxy: Result<ClientIdentity, ClientCertificateError>,
    front_proxy_is_allowed: bool,
}

impl PeerTrust {
    /// The identity of a chain as presented in a TLS handshake, leaf first.
    pub fn identify(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> PeerIdentity {
        let front_proxy = self.front_proxies.verify(chain, now);
        let allowed =
            |proxy: &ClientIdentity| self.front_proxy_names.is_empty() || self.front_proxy_names.contains(&proxy.user);
        PeerIdentity {
            client: self.clients.verify(chain, now).map(|identity| {
                let user = user(&identity).authenticated();
                (identity, user)
            }),
            front_proxy_is_allowed: front_proxy.as_ref().is_ok_and(allowed),
            front_proxy,
        }
    }
}

fn user(identity: &ClientIdentity) -> User {
    let credential = format!("X509SHA256={}", identity.fingerprint);
    User {
        name: identity.user.clone(),
        uid: identity.uid.clone(),
        groups: identity.groups.clone(),
        extra: BTreeMap::from([(CREDENTIAL_ID_KEY.into(), vec![credential])]),
    }
}

impl PeerIdentity {
    /// The certificate's own user; None when it names none.
    pub(super) fn user(&self, now: Timestamp) -> Result<Option<Arc<User>>, AuthnError> {
        let (identity, user) = self.client.as_ref().map_err(AuthnError::refused)?;
        identity.check_validity(now).map_err(AuthnError::refused)?;
        Ok((!user.name.is_empty()).then(|| user.clone()))
    }

    /// The user named in the headers, which are believed of a front proxy alone.
    pub(super) fn user_in_headers(&self, headers: &HeaderMap, now: Timestamp) -> Result<Option<Arc<User>>, AuthnError> {
        let Some(name) = headers.get(USER_HEADER).filter(|name| !name.is_empty()) else { return Ok(None) };
        let proxy = self.front_proxy.as_ref().map_err(AuthnError::refused)?;
        proxy.check_validity(now).map_err(AuthnError::refused)?;
        if !self.front_proxy_is_allowed {
            let reason = format!("x509: subject with cn={} is not in the allowed list", proxy.user);
            return Err(AuthnError::refused(reason));
        }
        let uid = headers.get(UID_HEADER).map(text).transpose()?.unwrap_or_default();
        let groups = headers.get_all(GROUP_HEADER).into_iter().filter(|group| !group.is_empty());
        let mut extra = BTreeMap::<_, Vec<_>>::new();
        for (header, value) in headers {
            if let Some(key) = header.as_str().strip_prefix(EXTRA_PREFIX) {
                extra.entry(unescape(key)).or_default().push(text(value)?);
            }
        }
        let groups = groups.map(text).collect::<Result<_, _>>()?;
        Ok(Some(User { name: text(name)?, uid, groups, extra }.authenticated()))
    }
}

/// Removes the headers of a front proxy.
pub(super) fn remove_headers(headers: &mut HeaderMap) {
    for name in [USER_HEADER, UID_HEADER, GROUP_HEADER] {
        headers.remove(name);
    }
    let extra = headers.keys().filter(|name| name.as_str().starts_with(EXTRA_PREFIX));
    for name in extra.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

fn text(value: &HeaderValue) -> Result<String, AuthnError> {
    let text = std::str::from_utf8(value.as_bytes());
    text.map(str::to_owned).map_err(|_| AuthnError::refused("a front proxy's header is not UTF-8"))
}

/// Percent-decodes an extra key; one that is malformed stays as it is.
fn unescape(key: &str) -> String {
    let mut decoded = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let digit = |at: usize| after.get(at).and_then(|byte| (*byte as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return key.to_owned() };
        decoded.push((high * 16 + low) as u8);
        rest = &after[2..];
    }
    String::from_utf8(decoded).unwrap_or_else(|_| key.to_owned())
}
