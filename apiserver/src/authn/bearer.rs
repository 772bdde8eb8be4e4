//! Where a request carries its bearer token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

use super::AuthnError;
use crate::websocket;

/// The WebSocket subprotocol by which a browser, which cannot set headers, sends a token.
const PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// The value of the Authorization header, trimmed.
pub(super) fn authorization(headers: &HeaderMap) -> Result<Option<&str>, AuthnError> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().map_err(|_| AuthnError::refused("the Authorization header is not text"))?;
    Ok(Some(text.trim()))
}

/// The token of an `Authorization: Bearer` value, None for another scheme or no token.
pub(super) fn token(authorization: &str) -> Option<&str> {
    let mut parts = authorization.splitn(3, ' ');
    let (scheme, token) = (parts.next()?, parts.next()?);
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The token among the subprotocols of a WebSocket request.
pub(super) fn websocket_token(headers: &HeaderMap) -> Result<Option<String>, AuthnError> {
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) || !websocket::is_requested(headers) {
        return Ok(None);
    }
    let (mut token, mut others) = (None, false);
    for protocol in protocols(headers) {
        let Some(encoded) = protocol.strip_prefix(PROTOCOL_PREFIX) else {
            others = true;
            continue;
        };
        if token.is_some() {
            return Err(AuthnError::refused("multiple base64.bearer.authorization tokens specified"));
        }
        let decoded = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| AuthnError::refused("invalid base64.bearer.authorization token encoding"))?;
        let text = String::from_utf8(decoded);
        token = Some(text.map_err(|_| AuthnError::refused("invalid base64.bearer.authorization token"))?);
    }
    match token {
        // One other must be there to answer with: the token is not echoed.
        Some(token) if !token.is_empty() && !others => {
            drop(token);
            Err(AuthnError::refused("missing additional subprotocol"))
        }
        token => Ok(token.filter(|token| !token.is_empty())),
    }
}

/// Takes the token out of the subprotocols, leaving the others.
pub(super) fn remove_websocket_token(headers: &mut HeaderMap) {
    if !protocols(headers).any(|protocol| protocol.starts_with(PROTOCOL_PREFIX)) {
        return;
    }
    let others: Vec<_> = protocols(headers).filter(|protocol| !protocol.starts_with(PROTOCOL_PREFIX)).collect();
    let others = others.join(",");
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Ok(value) = others.parse() {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CONNECTION, UPGRADE};

    #[test]
    fn a_bearer_token_follows_its_scheme_after_one_space() {
        for (value, wanted) in [
            ("Bearer abc", Some("abc")),
            ("bEARER abc def", Some("abc")),
            ("Bearer  abc", None),
            ("Bearer", None),
            ("Basic abc", None),
        ] {
            assert_eq!(token(value), wanted, "{value}");
        }
    }

    #[test]
    fn a_websocket_token_comes_with_another_protocol_and_is_removed() {
        let headers = |protocols: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(UPGRADE, "websocket".parse().unwrap());
            headers.insert(CONNECTION, "keep-alive, Upgrade".parse().unwrap());
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocols.parse().unwrap());
            headers
        };
        let carrying = format!("{PROTOCOL_PREFIX}{}", URL_SAFE_NO_PAD.encode("tok"));
        let mut good = headers(&format!("{carrying}, v5.channel.k8s.io"));
        assert_eq!(websocket_token(&good), Ok(Some("tok".into())));
        remove_websocket_token(&mut good);
        assert_eq!(good[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
        assert_eq!(websocket_token(&good), Ok(None));
        assert!(websocket_token(&headers(&carrying)).is_err());
        assert!(websocket_token(&headers(&format!("{carrying},{carrying},x"))).is_err());
        assert!(websocket_token(&headers(&format!("{PROTOCOL_PREFIX}!,x"))).is_err());
        let mut plain = headers(&format!("{carrying},x"));
        plain.remove(UPGRADE);
        assert_eq!(websocket_token(&plain), Ok(None));
    }
}
