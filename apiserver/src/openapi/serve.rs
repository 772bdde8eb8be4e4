//! How clients get the documents: in which form, by which name, and whether they have them already.

use super::protobuf::ProtobufWriter;
use super::writer::JsonWriter;
use super::{Dialect, everything, names, scope, write};
use crate::request::Incoming;
use crate::response::{self, Body};
use api::status::ApiError;
use aws_lc_rs::digest;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, header};
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// How a document is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Protobuf,
}

/// Answers a GET of a path below `/openapi`, without that.
pub fn serve(incoming: &Incoming, parts: &[&str]) -> Result<Response<Body>, ApiError> {
    match parts {
        ["v2"] => Ok(document(incoming, Dialect::V2, "")),
        ["v3"] => Ok(index()),
        ["v3", name @ ..] => {
            let name = name.join("/");
            if !names().contains(&name) {
                return Ok(empty(404));
            }
            Ok(document(incoming, Dialect::V3, &name))
        }
        _ => Ok(crate::paths::not_found()),
    }
}

/// Where each document of version 3 is. The hash in an address changes with the document, which thus can be kept for good.
fn index() -> Response<Body> {
    let paths: Map<String, Value> = names()
        .into_iter()
        .map(|name| {
            let url = url(&name);
            (name, json!({ "serverRelativeURL": url }))
        })
        .collect();
    response::bytes(200, "text/plain; charset=utf-8", json!({ "paths": paths }).to_string())
}

/// An answer that says nothing but its code.
fn empty(code: u16) -> Response<Body> {
    let mut response = response::bytes(code, "", "");
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

fn url(name: &str) -> String {
    format!("/openapi/v3/{name}?hash={}", etag(Dialect::V3, name))
}

fn document(incoming: &Incoming, dialect: Dialect, name: &str) -> Response<Body> {
    let Some(form) = form(&incoming.headers, dialect) else {
        return empty(406);
    };
    let etag = etag(dialect, name);
    let wanted = incoming.query.get("hash").filter(|hash| dialect == Dialect::V3 && !hash.is_empty());
    if wanted.is_some_and(|hash| hash != etag) {
        return moved(&url(name), &etag);
    }
    let media = match (form, dialect) {
        (Form::Json, _) => "application/json",
        (Form::Protobuf, Dialect::V2) => "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        (Form::Protobuf, Dialect::V3) => "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    };
    let mut response = if has(&incoming.headers, &etag) {
        empty(304)
    } else if takes_gzip(&incoming.headers) {
        // Compressed as it is made: the plain document is never there as a whole.
        let encoder = render(dialect, name, form, GzEncoder::new(Vec::new(), Compression::new(4)));
        let mut response = response::bytes(200, media, encoder.finish().unwrap_or_default());
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        response::bytes(200, media, render(dialect, name, form, Vec::new()))
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.append(header::VARY, HeaderValue::from_static("Accept"));
    set_etag(headers, &etag);
    if wanted.is_some() {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        if let Ok(expires) = HeaderValue::from_str(&a_year_from(incoming.now)) {
            headers.insert(header::EXPIRES, expires);
        }
    }
    response
}

/// A permanent redirect to where the document is now.
fn moved(url: &str, etag: &str) -> Response<Body> {
    let mut response = response::bytes(301, "application/json", "");
    let headers = response.headers_mut();
    if let Ok(url) = HeaderValue::from_str(url) {
        headers.insert(header::LOCATION, url);
    }
    set_etag(headers, etag);
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn set_etag(headers: &mut HeaderMap, etag: &str) {
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        headers.insert(header::ETAG, etag);
    }
}

/// As RFC 1123 has it.
fn a_year_from(now: Timestamp) -> String {
    let then = now.to_zoned(jiff::tz::TimeZone::UTC).checked_add(1.year());
    then.map(|then| then.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()).unwrap_or_default()
}

/// The first form that the client takes, by its preference.
fn form(headers: &HeaderMap, dialect: Dialect) -> Option<Form> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).filter(|a| !a.is_empty()).unwrap_or("*/*");
    let mut clauses: Vec<(f32, &str)> = accept.split(',').map(clause).collect();
    clauses.sort_by(|a, b| b.0.total_cmp(&a.0));
    let version = if dialect == Dialect::V2 { "v2" } else { "v3" };
    clauses.iter().find_map(|(_, media)| match *media {
        "*/*" | "application/*" | "application/json" | "*/json" => Some(Form::Json),
        other => {
            let kind = other.strip_prefix("application/com.github.proto-openapi.spec.")?.strip_prefix(version)?;
            matches!(kind, ".v1.0+protobuf" | "@v1.0+protobuf").then_some(Form::Protobuf)
        }
    })
}

/// The quality and the media type.
fn clause(text: &str) -> (f32, &str) {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
    (quality.unwrap_or(1.0), media)
}

/// Whether the client has the document with this fingerprint.
fn has(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == etag;
    known.split(',').map(str::trim).any(is)
}

/// Whether the client takes compressed answers.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    accepted.split(',').map(clause).any(|(quality, coding)| coding == "gzip" && quality > 0.0)
}

/// Writes a document into something that takes every byte, as what is in memory does.
fn render<W: Write>(dialect: Dialect, name: &str, form: Form, mut out: W) -> W {
    let scope = match dialect {
        Dialect::V2 => everything(),
        Dialect::V3 => scope(name).unwrap_or_default(),
    };
    match form {
        Form::Json => {
            let mut writer = JsonWriter::new(out, dialect);
            write(scope, dialect, &mut writer);
            writer.finish()
        }
        Form::Protobuf => {
            let mut writer = ProtobufWriter::new(dialect);
            write(scope, dialect, &mut writer);
            let _ = out.write_all(&writer.finish());
            out
        }
    }
}

/// A document's fingerprint, in each of its forms; the document is made for it the first time that it is asked for. Only the
/// fingerprints are kept.
fn etag(dialect: Dialect, name: &str) -> String {
    static KNOWN: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);
    let key = if dialect == Dialect::V2 { "v2" } else { name };
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(etag) = known().as_ref().and_then(|known| known.get(key)) {
        return etag.clone();
    }
    let etag = render(dialect, name, Form::Json, Fingerprint::new()).finish();
    known().get_or_insert_default().insert(key.to_owned(), etag.clone());
    etag
}

/// SHA-512 of what is written, in upper-case hexadecimal digits.
struct Fingerprint(digest::Context);

impl Fingerprint {
    fn new() -> Fingerprint {
        Fingerprint(digest::Context::new(&digest::SHA512))
    }

    fn finish(self) -> String {
        self.0.finish().as_ref().iter().fold(String::with_capacity(128), |mut text, byte| {
            let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02X}"));
            text
        })
    }
}

impl Write for Fingerprint {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(dialect: Dialect, accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        form(&headers, dialect)
    }

    #[test]
    fn the_form_is_the_clients_choice() {
        assert_eq!(form(&HeaderMap::new(), Dialect::V3), Some(Form::Json));
        let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        assert_eq!(accepted(Dialect::V2, protobuf), Some(Form::Protobuf));
        assert_eq!(accepted(Dialect::V3, protobuf), None);
        assert_eq!(accepted(Dialect::V2, &format!("application/json;q=0.5,{protobuf}")), Some(Form::Protobuf));
        assert_eq!(accepted(Dialect::V2, "text/html"), None);
    }

    #[test]
    fn a_year_has_a_date() {
        let now: Timestamp = "2024-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(a_year_from(now), "Thu, 02 Jan 2025 03:04:05 UTC");
    }
}
