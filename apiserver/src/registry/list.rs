//! List: ranges of the store, filtered, in pages.

use super::Call;
use crate::params::{ListOptions, Match, revision};
use crate::resources::Resource;
use crate::selection::Selection;
use crate::server::ApiServer;
use api::Value;
use api::status::ApiError;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use base64::{DecodeError, Engine, alphabet};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use storage::{Entry, Range, Revision};

/// How long a list waits for a resource version that the server has not seen yet.
const WAIT_FOR_REVISION: Duration = Duration::from_secs(3);
/// Why a page cannot be had as it was; the failure carries a token for the rest as it is now.
const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
/// How many entries are read at once while a filtered page is filled.
const CHUNK: usize = 1000;

/// A list, before it is encoded.
pub struct ListReply {
    pub resource: &'static Resource,
    pub entries: Vec<Arc<Entry>>,
    pub revision: Revision,
    /// Token of the next page; empty on the last.
    pub continue_token: String,
    pub remaining: Option<usize>,
}

/// Upstream's continue token: `{"v":"meta.k8s.io/v1","rv":7,"start":"default/web\u0000"}` in base64.
#[derive(Serialize)]
struct Continue {
    v: String,
    rv: i64,
    start: String,
}

impl ApiServer {
    pub async fn list(&self, call: &Call<'_>, options: &ListOptions) -> Result<ListReply, ApiError> {
        let resource = call.resource;
        let prefix = resource.scope(call.namespace);
        let selection = Selection::new(resource, options)?;
        let only = selection.only_key(resource, call.namespace).filter(|_| options.continue_token.is_empty());
        if let Some(key) = only {
            return self.list_one(resource, options, &selection, &key).await;
        }
        let (mut at, mut start) = self.position(options, &prefix).await?;
        let mut entries = Vec::new();
        // The oldest way to ask for anything that is there: limits did not exist.
        let page_size = if options.resource_version == "0" { 0 } else { options.limit };
        loop {
            let limit = match page_size {
                0 => 0,
                limit if selection.is_everything() => limit,
                _ => CHUNK,
            };
            let range = Range { prefix: &prefix, start_after: start.as_deref(), limit, at };
            let continued = start.as_deref().filter(|_| !options.continue_token.is_empty());
            let page = self.store.range(range).map_err(|error| self.list_error(error, &prefix, continued))?;
            at = Some(page.revision);
            let last = page.entries.last().map(|entry| entry.key.clone());
            for (index, entry) in page.entries.iter().enumerate() {
                if !selection.is_everything() && !selection.matches(resource, entry) {
                    continue;
                }
                entries.push(entry.clone());
                let more = page.more || index + 1 < page.entries.len();
                if page_size > 0 && entries.len() == page_size && more {
                    let remaining = selection.is_everything().then_some(page.remaining);
                    return Ok(ListReply {
                        resource,
                        continue_token: encode_continue(&entry.key, &prefix, page.revision as i64),
                        revision: page.revision,
                        entries,
                        remaining,
                    });
                }
            }
            match last {
                Some(key) if page.more => start = Some(key.to_string()),
                _ => {
                    let revision = page.revision;
                    return Ok(ListReply {
                        resource,
                        entries,
                        revision,
                        continue_token: String::new(),
                        remaining: None,
                    });
                }
            }
        }
    }

    /// A list of the one object that the selectors name. It has no pages, whatever the options say.
    async fn list_one(
        &self,
        resource: &'static Resource,
        options: &ListOptions,
        selection: &Selection,
        key: &str,
    ) -> Result<ListReply, ApiError> {
        let revision = list_revision(options)?;
        let at = (options.version_match == Some(Match::Exact)).then_some(revision);
        self.wait_for(revision).await?;
        // A range, for object and revision have to be of one moment: clients watch from there.
        let range = Range { prefix: key, start_after: None, limit: 1, at };
        let page = self.store.range(range).map_err(|error| self.list_error(error, "", None))?;
        let mut entries = page.entries;
        entries.retain(|entry| *entry.key == *key && selection.matches(resource, entry));
        Ok(ListReply { resource, entries, revision: page.revision, continue_token: String::new(), remaining: None })
    }

    /// The revision to read at and the key to start after.
    async fn position(
        &self,
        options: &ListOptions,
        prefix: &str,
    ) -> Result<(Option<Revision>, Option<String>), ApiError> {
        if !options.continue_token.is_empty() {
            let (start, revision) = decode_continue(&options.continue_token, prefix)?;
            if !matches!(options.resource_version.as_str(), "" | "0") {
                return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
            }
            self.wait_for(revision.unwrap_or(0)).await?;
            return Ok((revision, Some(start)));
        }
        let revision = list_revision(options)?;
        // A limit without a match means exactly this version, as it did before there was a match.
        let exact = options.version_match.map_or(options.limit > 0, |m| m == Match::Exact);
        self.wait_for(revision).await?;
        Ok(((exact && revision > 0).then_some(revision), None))
    }

    /// Waits until the server has seen a resource version that a client names.
    pub(super) async fn wait_for(&self, revision: Revision) -> Result<(), ApiError> {
        self.store.wait_for(revision, WAIT_FOR_REVISION).await.map_err(|error| match error {
            storage::Error::FutureRevision { current } => {
                ApiError::timeout(format_args!("Too large resource version: {revision}, current: {current}"))
                    .with_retry_after(1)
                    .with_cause("ResourceVersionTooLarge", "Too large resource version", "")
            }
            other => self.store_error(other),
        })
    }

    fn list_error(&self, error: storage::Error, prefix: &str, start: Option<&str>) -> ApiError {
        match (error, start) {
            (storage::Error::Compacted { .. }, Some(start)) => {
                let mut failure = ApiError::expired(INCONSISTENT);
                failure.continue_token = encode_continue(start, prefix, -1);
                failure
            }
            (other, _) => self.store_error(other),
        }
    }
}

fn list_revision(options: &ListOptions) -> Result<Revision, ApiError> {
    revision(&options.resource_version)
        .map_err(|errors| ApiError::bad_request(format!("invalid resource version: {}", errors.0[0])))
}

/// A token for what comes after `last`, at `revision`; -1 is the newest state.
fn encode_continue(last: &str, prefix: &str, revision: i64) -> String {
    let start = format!("{}\0", last.strip_prefix(prefix).unwrap_or(last));
    let token = Continue { v: "meta.k8s.io/v1".into(), rv: revision, start };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// The key to start after and the revision of the first page; a token with `rv` -1 reads the newest state.
fn decode_continue(token: &str, prefix: &str) -> Result<(String, Option<Revision>), ApiError> {
    let invalid =
        |why: &str| ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let token = read_continue(token).map_err(|why| invalid(&why))?;
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
    if start.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(invalid(&token.start));
    }
    let start = start.strip_suffix('\0').unwrap_or(start);
    Ok((format!("{prefix}{start}"), u64::try_from(token.rv).ok()))
}

/// Unpadded base64 that may end in bits that mean nothing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

fn read_continue(token: &str) -> Result<Continue, String> {
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
        let what = json_kind(&value);
        return Err(format!("json: cannot unmarshal {what} into Go value of type storage.continueToken"));
    };
    let wrong = |field: &str, ty: &str| {
        let what = json_kind(fields.get(field).unwrap_or(&Value::Null));
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

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
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
        let token = encode_continue("/registry/pods/a/b", "/registry/pods/a/", 7);
        assert_eq!(decode_continue(&token, "/registry/pods/a/").unwrap(), ("/registry/pods/a/b".into(), Some(7)));
        let evil = Continue { v: "meta.k8s.io/v1".into(), rv: 7, start: "../secrets/x".into() };
        let evil = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&evil).unwrap());
        assert_eq!(decode_continue(&evil, "/registry/pods/a/").unwrap_err().code, 400);
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
            let message = decode_continue(&token, "/registry/pods/").unwrap_err().message.clone();
            assert_eq!(message, format!("invalid continue token: continue key is not valid: {why}"));
        }
    }
}
