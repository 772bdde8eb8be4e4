//! From what a verb gave to bytes on the wire.

use crate::negotiate::{Format, Output, Shape};
use crate::registry::{ListReply, WatchReply};
use crate::resources::Resource;
use crate::{columns, table};
use api::Value;
use api::document;
use api::status::ApiError;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::convert::Infallible;
use std::sync::Arc;
use storage::Entry;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A response's body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Lists are encoded in pieces of about this size, when the connection asks for them.
const CHUNK: usize = 64 << 10;

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body of some media type.
pub fn bytes(code: u16, media_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::from_str(media_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

/// A document that is no stored object: discovery, `Status`, reviews.
pub fn value(code: u16, value: &Value, output: Output) -> Response<Body> {
    bytes(code, output.format.media_type(), encode(value, output))
}

fn encode(value: &Value, output: Output) -> Vec<u8> {
    match output.format {
        Format::Yaml => api::codec::yaml::encode(value).into_bytes(),
        Format::Json if output.pretty => {
            let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
            text.push(b'\n');
            text
        }
        Format::Json => {
            let mut text = serde_json::to_vec(value).unwrap_or_default();
            text.push(b'\n');
            text
        }
    }
}

/// A failure as a `Status`.
pub fn failure(failure: &ApiError, output: Output) -> Response<Body> {
    let mut response = value(failure.code, &failure.to_value(), output);
    if failure.retry_after_seconds > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, failure.retry_after_seconds.into());
    }
    if failure.code == 401 {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"kubernetes-master\""));
    }
    response
}

/// A stored object.
pub fn entry(code: u16, resource: &Resource, entry: &Arc<Entry>, output: Output) -> Response<Body> {
    if output.format == Format::Json && !output.pretty {
        if output.shape == Shape::Object && resource.conversion.is_none() {
            return bytes(code, Format::Json.media_type(), entry.value.clone());
        }
        let mut out = Vec::with_capacity(entry.value.len());
        write_object(&mut out, resource, &entry.value, output, true);
        return bytes(code, Format::Json.media_type(), out);
    }
    match resource.read(&entry.value) {
        Ok(object) => built(code, resource, object, output),
        Err(error) => failure(&error, output),
    }
}

/// An object that is not in the store.
pub fn built(code: u16, resource: &Resource, object: Value, output: Output) -> Response<Body> {
    value(code, &shaped(resource, object, output, true), output)
}

#[derive(Deserialize)]
struct OnlyMetadata<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// Writes stored bytes in a shape, as JSON.
pub fn write_object(out: &mut Vec<u8>, resource: &Resource, stored: &[u8], output: Output, headers: bool) {
    match output.shape {
        Shape::Object if resource.conversion.is_none() => out.extend_from_slice(stored),
        Shape::Metadata if resource.conversion.is_none() => {
            let metadata = serde_json::from_slice::<OnlyMetadata>(stored).map_or("{}", |o| o.metadata.get());
            out.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#);
            out.extend_from_slice(metadata.as_bytes());
            out.push(b'}');
        }
        _ => {
            let value = resource.read(stored).map(|object| shaped(resource, object, output, headers));
            let value = value.unwrap_or_else(|failure| failure.to_value());
            let _ = serde_json::to_writer(out, &value);
        }
    }
}

fn shaped(resource: &Resource, object: Value, output: Output, headers: bool) -> Value {
    let is_own = document::get_str(&object, "kind") == resource.kind.kind;
    let is_scale = document::get_str(&object, "kind") == "Scale";
    match output.shape {
        Shape::Object => object,
        // A `Status` is not the resource's to print.
        _ if !is_own && !is_scale => object,
        Shape::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": object.get("metadata").cloned().unwrap_or_default(),
        }),
        Shape::Table => {
            let metadata = json!({ "resourceVersion": document::resource_version(&object) });
            let options = table_options(output, headers);
            if is_own {
                return table::table(resource.kind, [object], metadata, &options);
            }
            let printer = columns::printer_of("autoscaling", "Scale");
            let definitions = printer.columns.iter().map(table::definition).collect();
            table::assemble(definitions, vec![table::row(printer, object, &options)], metadata, &options)
        }
    }
}

fn table_options(output: Output, headers: bool) -> table::Options<'static> {
    table::Options {
        api_version: "meta.k8s.io/v1",
        include: output.include,
        no_headers: !headers,
        now: jiff::Timestamp::now(),
    }
}

/// A list, streamed where it is plain JSON.
pub fn list(reply: ListReply, output: Output) -> Response<Body> {
    let resource = reply.resource;
    let mut metadata = json!({ "resourceVersion": reply.revision.to_string() });
    if !reply.continue_token.is_empty() {
        metadata["continue"] = reply.continue_token.clone().into();
    }
    if let Some(remaining) = reply.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let (kind, api_version) = list_type(resource, output);
    // Flow schemas are printed in the order in which they match, which takes them all.
    let sorted = output.shape == Shape::Table && resource.kind.kind == "FlowSchema";
    if output.format == Format::Json && !output.pretty && !sorted {
        return match output.shape {
            Shape::Table => stream_table(reply, output, &metadata),
            _ => {
                let head = format!(
                    "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
                );
                stream_items(reply, output, head)
            }
        };
    }
    let all: Vec<Value> = reply.entries.iter().filter_map(|entry| resource.read(&entry.value).ok()).collect();
    objects(resource, all, metadata, output)
}

/// A list of objects that are at hand.
pub fn objects(resource: &Resource, objects: Vec<Value>, metadata: Value, output: Output) -> Response<Body> {
    let (kind, api_version) = list_type(resource, output);
    let whole = match output.shape {
        Shape::Table => table::table(resource.kind, objects, metadata, &table_options(output, true)),
        _ => {
            let items = objects.into_iter().map(|object| {
                let mut item = shaped(resource, object, output, false);
                if output.shape == Shape::Object {
                    // The list's kind tells theirs.
                    document::remove(&mut item, "kind");
                    document::remove(&mut item, "apiVersion");
                }
                item
            });
            json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items.collect::<Vec<_>>() })
        }
    };
    value(200, &whole, output)
}

/// Kind and version of a list in a shape.
fn list_type(resource: &Resource, output: Output) -> (String, &str) {
    match output.shape {
        Shape::Object => (resource.kind.list_kind(), resource.api_version.as_str()),
        _ => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1"),
    }
}

/// Streams a list's items. What is answered as it is stored is copied, without the `kind` and `apiVersion` after each
/// opening brace: list items do not carry them.
fn stream_items(reply: ListReply, output: Output, head: String) -> Response<Body> {
    let resource = reply.resource;
    let whole = output.shape == Shape::Object && resource.conversion.is_none();
    let start = 1 + document::type_prefix(resource.kind.kind, &resource.api_version);
    stream_list(reply.entries, head, move |out, entry| match entry.value.get(start..) {
        Some(rest) if whole => {
            out.push(b'{');
            out.extend_from_slice(rest);
        }
        _ => write_object(out, resource, &entry.value, output, false),
    })
}

/// Streams a list as a table, row by row.
fn stream_table(reply: ListReply, output: Output, metadata: &Value) -> Response<Body> {
    let resource = reply.resource;
    let options = table_options(output, true);
    let printer = columns::printer_of(resource.kind.group, resource.kind.kind);
    let definitions: Value = printer.columns.iter().map(table::definition).collect();
    let head = format!(
        "{{\"kind\":\"Table\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"columnDefinitions\":{definitions},\"rows\":[",
        options.api_version
    );
    stream_list(reply.entries, head, move |out, entry| {
        let row = resource.read(&entry.value).map(|object| table::row(printer, object, &options));
        let _ = serde_json::to_writer(out, &row.unwrap_or_else(|failure| failure.to_value()));
    })
}

/// Streams a head, items with commas between them, and the closing brackets: memory stays at one piece, however long the
/// list is.
fn stream_list(
    entries: Vec<Arc<Entry>>,
    head: String,
    write: impl Fn(&mut Vec<u8>, &Entry) + Send + 'static,
) -> Response<Body> {
    let mut entries = entries.into_iter();
    let mut head = Some(head);
    let mut first = true;
    let chunks = std::iter::from_fn(move || {
        let mut out = Vec::with_capacity(CHUNK + 4096);
        out.extend_from_slice(head.take()?.as_bytes());
        while out.len() < CHUNK {
            let Some(entry) = entries.next() else {
                out.extend_from_slice(b"]}\n");
                return Some(Bytes::from(out));
            };
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            write(&mut out, &entry);
        }
        head = Some(String::new());
        Some(Bytes::from(out))
    });
    let body = StreamBody::new(stream::iter(chunks).map(|chunk| Ok::<_, BoxError>(Frame::data(chunk))));
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub fn watch(reply: WatchReply) -> Response<Body> {
    let frames = reply.into_stream().map(|chunk| Ok::<_, BoxError>(Frame::data(chunk)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
