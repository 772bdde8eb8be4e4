//! OpenAPI documents: pure functions of KINDS and the schema table, made when they are asked for.
//!
//! Version 3 has one document for each group and version and an index of them, version 2 (Swagger) one for all. kubectl
//! reads them for `explain`, for strategic merge on its side, and to learn whether PATCH takes `fieldValidation`.

mod paths;
mod schemas;

use api::kinds::{KINDS, Kind};
use bytes::Bytes;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::OnceLock;

/// Which OpenAPI a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

impl Dialect {
    /// The reference to a type.
    fn reference(self, name: &str) -> String {
        match self {
            Dialect::V2 => format!("#/definitions/{name}"),
            Dialect::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

/// The built-in groups and versions that have a document.
fn versions() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.iter().map(|kind| (kind.group, kind.version)).collect::<BTreeSet<_>>().into_iter()
}

/// `api/v1` or `apis/apps/v1`.
fn version_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// `/openapi/v3`: where each document is. The hash in an address changes with the document, so that it can be kept for good.
pub fn index() -> Bytes {
    let paths: serde_json::Map<String, serde_json::Value> = versions()
        .map(|(group, version)| {
            let path = version_path(group, version);
            let url = format!("/openapi/v3/{path}?hash={}", hash(&path));
            (path, json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths }).to_string().into()
}

/// `/openapi/v3/apis/{group}/{version}` (`/openapi/v3/api/v1` for the core group); `None` for a version that is not
/// built in.
pub fn group_version(group: &str, version: &str) -> Option<Bytes> {
    let kinds: Vec<&Kind> = KINDS.iter().filter(|k| k.group == group && k.version == version).collect();
    if kinds.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(512 << 10);
    out.push_str(r#"{"openapi":"3.0.0","info":{"title":"Kubernetes","version":"unversioned"},"paths":"#);
    paths::write(&mut out, &kinds, Dialect::V3);
    out.push_str(r#","components":{"schemas":"#);
    schemas::write(&mut out, &kinds, Dialect::V3);
    let token = bearer_token();
    let _ = write!(out, r#","securitySchemes":{{"BearerToken":{token}}}}}}}"#);
    Some(out.into())
}

/// `/openapi/v2`: everything in one document.
pub fn v2() -> Bytes {
    let kinds: Vec<&Kind> = KINDS.iter().collect();
    let mut out = String::with_capacity(4 << 20);
    out.push_str(r#"{"swagger":"2.0","info":{"title":"Kubernetes","version":"unversioned"},"paths":"#);
    paths::write(&mut out, &kinds, Dialect::V2);
    out.push_str(r#","definitions":"#);
    schemas::write(&mut out, &kinds, Dialect::V2);
    let token = bearer_token();
    let _ = write!(out, r#","securityDefinitions":{{"BearerToken":{token}}},"security":[{{"BearerToken":[]}}]}}"#);
    out.into()
}

fn bearer_token() -> serde_json::Value {
    json!({ "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey" })
}

/// A document's fingerprint: of its path and of what all documents are made from.
pub fn hash(path: &str) -> String {
    static SOURCE: OnceLock<u64> = OnceLock::new();
    let source = *SOURCE.get_or_init(|| {
        let types = api::schema::Schema::builtin().types();
        let start = fnv(0xcbf2_9ce4_8422_2325, env!("CARGO_PKG_VERSION").as_bytes());
        types.fold(start, |hash, ty| {
            ty.ty.fields.iter().fold(fnv(hash, ty.ty.name.as_bytes()), |hash, field| fnv(hash, field.name.as_bytes()))
        })
    });
    let low = fnv(source, path.as_bytes());
    format!("{low:016X}{:016X}", fnv(low, b"3"))
}

/// FNV-1a.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Writes `{"key":value,..}` one member at a time, so that no tree of the whole document is ever made.
struct Members<'o> {
    out: &'o mut String,
    first: bool,
}

impl<'o> Members<'o> {
    fn open(out: &'o mut String) -> Members<'o> {
        out.push('{');
        Members { out, first: true }
    }

    fn put(&mut self, key: &str, value: &serde_json::Value) {
        let comma = if self.first { "" } else { "," };
        self.first = false;
        let _ = write!(self.out, "{comma}{}:{value}", serde_json::Value::from(key));
    }

    fn close(self) {
        self.out.push('}');
    }
}

#[cfg(test)]
mod tests;
