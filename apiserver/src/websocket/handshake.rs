//! What is checked before a connection becomes a WebSocket, and what is answered: upstream's rules, which are those of
//! `golang.org/x/net/websocket`.

use crate::response::{self, Body};
use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// What RFC 6455 has hashed with a client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only version of the protocol.
const VERSION: &str = "13";

/// Why a connection does not become a WebSocket.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    code: u16,
    message: &'static str,
}

pub const NOT_WEBSOCKET: Refusal = Refusal { code: 400, message: "not websocket protocol" };
const NO_KEY: Refusal = Refusal { code: 400, message: "mismatch challenge/response" };
const BAD_VERSION: Refusal = Refusal { code: 400, message: "missing or bad WebSocket Version" };
const BAD_ORIGIN: Refusal = Refusal { code: 403, message: "" };
const MANY_PROTOCOLS: Refusal = Refusal { code: 400, message: "" };

impl Refusal {
    /// The answer, with which the connection ends: the client may have sent messages behind its request.
    pub fn answer(self) -> Response<Body> {
        let names_version = self == BAD_VERSION;
        let mut response = Response::new(response::full(self.message));
        *response.status_mut() = StatusCode::from_u16(self.code).unwrap_or(StatusCode::BAD_REQUEST);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        if names_version {
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        }
        response
    }
}

/// Whether a request asks for a WebSocket.
pub fn is_requested(headers: &HeaderMap) -> bool {
    text(headers, &UPGRADE).eq_ignore_ascii_case("websocket") && headers.get_all(CONNECTION).iter().any(upgrades)
}

fn upgrades(connection: &HeaderValue) -> bool {
    connection.as_bytes().to_ascii_lowercase().windows(7).any(|part| part == b"upgrade")
}

/// The first value of a header.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Cow<'h, str> {
    headers.get(name).map_or(Cow::Borrowed(""), |value| String::from_utf8_lossy(value.as_bytes()))
}

/// A client's side of a handshake.
pub struct Handshake<'h> {
    key: &'h [u8],
    origin: Cow<'h, str>,
    protocols: Vec<&'h str>,
}

impl<'h> Handshake<'h> {
    /// Reads the headers of a GET for which [`is_requested`] is true.
    pub fn read(headers: &'h HeaderMap) -> Result<Handshake<'h>, Refusal> {
        // Only the first `Connection` counts here.
        if !headers.get(CONNECTION).is_some_and(upgrades) {
            return Err(NOT_WEBSOCKET);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).map_or(&b""[..], HeaderValue::as_bytes);
        if key.is_empty() {
            return Err(NO_KEY);
        }
        if text(headers, &SEC_WEBSOCKET_VERSION) != VERSION {
            return Err(BAD_VERSION);
        }
        let protocols = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let protocols = match protocols.trim() {
            "" => Vec::new(),
            protocols => protocols.split(',').map(str::trim).collect(),
        };
        Ok(Handshake { key, origin: text(headers, &ORIGIN), protocols })
    }

    /// Refuses a client that does not say where its page is from. As upstream has it, that may be anywhere.
    pub fn check_origin(&self) -> Result<(), Refusal> {
        if is_request_uri(&self.origin) { Ok(()) } else { Err(BAD_ORIGIN) }
    }

    /// The protocol that a client offers, when the server has no preference: it could not choose between several.
    pub fn only_protocol(&self) -> Result<Option<&'h str>, Refusal> {
        match self.protocols.as_slice() {
            [] => Ok(None),
            [protocol] => Ok(Some(protocol)),
            _ => Err(MANY_PROTOCOLS),
        }
    }

    /// The answer after which the connection is a WebSocket of this protocol.
    pub fn accept(&self, protocol: Option<&str>) -> Response<Body> {
        let hashed = digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &[self.key, GUID.as_bytes()].concat());
        let accept = STANDARD.encode(hashed);
        let mut response = Response::new(response::full(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        for (name, value) in [(SEC_WEBSOCKET_ACCEPT, Some(accept.as_str())), (SEC_WEBSOCKET_PROTOCOL, protocol)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Whether a text is what Go's `url.ParseRequestURI` takes: an absolute path or URL, of which the query may be anything.
fn is_request_uri(text: &str) -> bool {
    if text == "*" || text.bytes().any(|byte| byte.is_ascii_control()) {
        return text == "*";
    }
    let text = text.split_once('?').map_or(text, |(before, _)| before);
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                is_authority(authority) && escapes(path).is_some()
            }
            None => !rest.starts_with('/') || escapes(rest).is_some(),
        },
        _ => text.starts_with('/') && escapes(text).is_some(),
    }
}

fn is_authority(authority: &str) -> bool {
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let is_user = |user: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
        user.bytes().all(plain) && escapes(user).is_some()
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let Some(inner) = host.strip_prefix('[') else {
        let (name, port) = host.split_once(':').unwrap_or((host, ""));
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"-_.~!$&'()*+,;=]<>\"%".contains(&byte);
        // Only what is not ASCII is escaped in a name.
        let escaped = escapes(name).is_some_and(|escaped| escaped.iter().all(|byte| !byte.is_ascii()));
        return is_user(user) && is_port(port) && name.bytes().all(plain) && escaped;
    };
    let Some((address, port)) = inner.rsplit_once(']') else { return false };
    let (address, zone) = address.split_once("%25").unwrap_or((address, ""));
    let port = if port.is_empty() { Some("") } else { port.strip_prefix(':') };
    is_user(user) && port.is_some_and(is_port) && address.parse::<Ipv6Addr>().is_ok() && escapes(zone).is_some()
}

/// The bytes that are escaped in a text; `None` if an escape is broken.
fn escapes(text: &str) -> Option<Vec<u8>> {
    let hex = |after: &str| {
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        u8::from_str_radix(digits, 16).ok()
    };
    text.split('%').skip(1).map(hex).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(changed: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (UPGRADE, "websocket"),
            (CONNECTION, "Upgrade"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (SEC_WEBSOCKET_VERSION, VERSION),
            (ORIGIN, "https://dashboard.example"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // One name several times is a header several times; an empty value is none.
        for (name, _) in changed {
            headers.remove(name);
        }
        for (name, value) in changed.iter().filter(|(_, value)| !value.is_empty()) {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn some_requests_ask_for_a_websocket() {
        for (changed, wanted) in [
            (vec![], true),
            (vec![(UPGRADE, "WebSocket")], true),
            (vec![(UPGRADE, "websocket, h2c")], false),
            (vec![(UPGRADE, "SPDY/3.1")], false),
            (vec![(UPGRADE, "")], false),
            (vec![(CONNECTION, "keep-alive, upgrade")], true),
            (vec![(CONNECTION, "keep-alive"), (CONNECTION, "Upgrade")], true),
            (vec![(CONNECTION, "keep-alive")], false),
            (vec![(CONNECTION, "")], false),
        ] {
            assert_eq!(is_requested(&headers(&changed)), wanted, "{changed:?}");
        }
    }

    #[test]
    fn handshakes_are_refused_in_upstreams_order() {
        let refusal = |changed: &[(HeaderName, &str)]| {
            let headers = headers(changed);
            let handshake = Handshake::read(&headers).and_then(|handshake| {
                handshake.check_origin()?;
                handshake.only_protocol().map(drop)
            });
            handshake.err()
        };
        for (changed, wanted) in [
            (vec![], None),
            (vec![(SEC_WEBSOCKET_KEY, "x")], None),
            (vec![(CONNECTION, "keep-alive"), (CONNECTION, "Upgrade")], Some(NOT_WEBSOCKET)),
            (vec![(SEC_WEBSOCKET_KEY, ""), (SEC_WEBSOCKET_VERSION, "")], Some(NO_KEY)),
            (vec![(SEC_WEBSOCKET_VERSION, "8"), (ORIGIN, "")], Some(BAD_VERSION)),
            (vec![(SEC_WEBSOCKET_VERSION, "")], Some(BAD_VERSION)),
            (vec![(ORIGIN, ""), (SEC_WEBSOCKET_PROTOCOL, "a, b")], Some(BAD_ORIGIN)),
            (vec![(ORIGIN, "null")], Some(BAD_ORIGIN)),
            (vec![(SEC_WEBSOCKET_PROTOCOL, "a, b")], Some(MANY_PROTOCOLS)),
            (vec![(SEC_WEBSOCKET_PROTOCOL, "a,")], Some(MANY_PROTOCOLS)),
            (vec![(SEC_WEBSOCKET_PROTOCOL, "a"), (SEC_WEBSOCKET_PROTOCOL, "b")], None),
        ] {
            assert_eq!(refusal(&changed), wanted, "{changed:?}");
        }
    }

    #[test]
    fn the_answer_proves_that_the_key_was_read() {
        let headers = headers(&[(SEC_WEBSOCKET_PROTOCOL, " a ")]);
        let handshake = Handshake::read(&headers).unwrap_or_else(|_| unreachable!());
        let answer = handshake.accept(handshake.only_protocol().unwrap());
        // The example of RFC 6455.
        assert_eq!(answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((answer.status().as_u16(), &answer.headers()[SEC_WEBSOCKET_PROTOCOL]), (101, &"a".parse().unwrap()));
        let names_version = |refusal: Refusal| refusal.answer().headers().contains_key(SEC_WEBSOCKET_VERSION);
        assert_eq!([BAD_VERSION, NO_KEY].map(names_version), [true, false]);
    }

    #[test]
    fn origins_are_what_go_takes_for_urls() {
        let taken = [
            "http://localhost:8080",
            "file://",
            "*",
            "/",
            "app://-",
            "chrome-extension://abc",
            "HTTP://X",
            "http:",
            "http:x",
            "http:/x",
            "//host",
            "host:80",
            "http://a/b c",
            "http://a/?%zz",
            "http://[::1]:80",
            "http://u@h",
            "http://u:p@h",
            "ftp+x.y-z://h",
            "http://a\"b",
            "http://a<b",
            "http://é",
            "http://a;b,c",
            "http://[::1%25eth0]",
            "http://a:",
            "http://@h",
            "/a b",
            "x:%zz",
            "http://a'b",
            "http://a(b)",
            "http://a%C3%A9",
            "http://[::1%25%41]",
            "http://a]b",
            "http://h?x y",
            "http:///x",
            "http://:80",
        ];
        let refused = [
            "null",
            "",
            "1http://x",
            "http://a b",
            "http://a/%zz",
            "http://%41",
            "http://%zz",
            "http://a:b",
            "http://a:80:90",
            "http://[::1",
            "http://u{@h",
            "a",
            ":x",
            "http://a#%zz",
            "http://[::1%eth0]",
            "http://[foo]",
            "http://a[b]",
            "http://a|b",
            "http://a\\b",
            "http://a^b",
            "http://a`b",
            "http://[::1]x",
            "/%zz",
            "*x",
            "http://a{b}",
            "http://a%20b",
            "http://[::1]:x",
            "http://a\u{7f}",
        ];
        for (origins, wanted) in [(&taken[..], true), (&refused[..], false)] {
            for origin in origins {
                assert_eq!(is_request_uri(origin), wanted, "{origin}");
            }
        }
    }
}
