//! Continue tokens: where the next page of a list begins.
//!
//! They are the client's to keep and so the client's to change: a token may only ever name a key below the prefix that was
//! authorized.

use api::Value;
use api::document;
use api::status::ApiError;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use base64::{DecodeError, Engine, alphabet};
use serde::Serialize;
use storage::Revision;

/// Upstream's continue token: `{"v":"meta.k8s.io/v1","rv":7,"start":"default/web\u0000"}` in base64.
#[derive(Serialize)]
struct Continue {
    v: String,
    rv: i64,
    start: String,
}

/// A token for what comes after `last`, at `revision`; -1 is the newest state.
pub fn encode(last: &str, prefix: &str, revision: i64) -> String {
    let start = format!("{}\0", last.strip_prefix(prefix).unwrap_or(last));
    let token = Continue { v: "meta.k8s.io/v1".into(), rv: revision, start };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// The key to start after and the revision of the first page; a token with `rv` -1 reads the newest state.
pub fn decode(token: &str, prefix: &str) -> Result<(String, Option<Revision>), ApiError> {
    let invalid =
        |why: &str| ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let token = read(token).map_err(|why| invalid(&why))?;
    if token.v != "meta.k8s.io/v1" {
        return Err(invalid(&format!("server does not recognize this encoded version {}", token.v)));
    }
    if token.rv == 0 {
        return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    if token.start.is_empty() {
        return Err(invalid("encoded start key empty (version meta.k8s.io/v1)"));
    }
    // A token comes from the client: it may only ever name a key below the prefix that was authorized.
    let start = token.start.strip_prefix('/').unwrap_or(&token.start);
    let start = start.strip_suffix('\0').unwrap_or(start);
    if start.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(invalid(&token.start));
    }
    Ok((format!("{prefix}{start}"), u64::try_from(token.rv).ok()))
}

/// Unpadded base64 that may end in bits that mean nothing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

fn read(token: &str) -> Result<Continue, String> {
    let bytes = LENIENT.decode(token).map_err(|why| {
        let at = match why {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(length) => length.saturating_sub(1),
            DecodeError::InvalidPadding => 0,
        };
        format!("illegal base64 data at input byte {at}")
    })?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| not_json(&bytes))?;
    let Some(fields) = value.as_object() else {
        let what = document::sort(&value);
        return Err(format!("json: cannot unmarshal {what} into Go value of type storage.continueToken"));
    };
    let wrong = |field: &str, ty: &str| {
        let what = document::sort(fields.get(field).unwrap_or(&Value::Null));
        format!("json: cannot unmarshal {what} into Go struct field continueToken.{field} of type {ty}")
    };
    let text = |field: &str| match fields.get(field) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(value) => value.as_str().map(str::to_owned).ok_or_else(|| wrong(field, "string")),
    };
    let rv = match fields.get("rv") {
        None | Some(Value::Null) => 0,
        Some(value) => value.as_i64().ok_or_else(|| wrong("rv", "int64"))?,
    };
    Ok(Continue { v: text("v")?, rv, start: text("start")? })
}

/// What is wrong with bytes that are no JSON document; of those that begin like one, only that they end.
fn not_json(bytes: &[u8]) -> String {
    match bytes.trim_ascii_start().first() {
        Some(first) if !b"{[\"-0123456789tfn".contains(first) => {
            let shown = match first {
                b'\'' => "'\\''".to_owned(),
                0x20..0x7f => format!("'{}'", *first as char),
                0xa0.. => format!("'{}'", *first as char),
                other => format!("'\\u{:04x}'", other),
            };
            format!("invalid character {shown} looking for beginning of value")
        }
        _ => "unexpected end of JSON input".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continue_token_stays_below_its_prefix() {
        let token = encode("/registry/pods/a/b", "/registry/pods/a/", 7);
        assert_eq!(decode(&token, "/registry/pods/a/").unwrap(), ("/registry/pods/a/b".into(), Some(7)));
        for start in ["../secrets/x", "..\0", "a/../..\0", "/\0"] {
            let evil = Continue { v: "meta.k8s.io/v1".into(), rv: 7, start: start.into() };
            let evil = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&evil).unwrap());
            assert_eq!(decode(&evil, "/registry/pods/a/").unwrap_err().code, 400, "{start:?}");
        }
    }

    #[test]
    fn a_broken_token_is_refused_in_upstreams_words() {
        let json = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for (token, why) in [
            ("x".to_owned(), "illegal base64 data at input byte 0"),
            ("abcd=".to_owned(), "illegal base64 data at input byte 4"),
            ("a+b/".to_owned(), "illegal base64 data at input byte 1"),
            // The last bits do not matter.
            ("ab".to_owned(), "invalid character 'i' looking for beginning of value"),
            ("junk".to_owned(), "invalid character '\\u008e' looking for beginning of value"),
            (json("[]"), "json: cannot unmarshal array into Go value of type storage.continueToken"),
            (json("{}"), "server does not recognize this encoded version "),
            (
                json(r#"{"v":"meta.k8s.io/v1","rv":"x"}"#),
                "json: cannot unmarshal string into Go struct field continueToken.rv of type int64",
            ),
            (json(r#"{"v":"meta.k8s.io/v1","rv":5}"#), "encoded start key empty (version meta.k8s.io/v1)"),
        ] {
            let message = decode(&token, "/registry/pods/").unwrap_err().message.clone();
            assert_eq!(message, format!("invalid continue token: continue key is not valid: {why}"));
        }
    }
}
