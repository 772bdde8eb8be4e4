//! From what a verb gave to bytes on the wire.

mod protobuf;

use crate::columns::{self, Printer};
use crate::negotiate::{Format, INDENTED, Output, Shape};
use crate::registry::{ListReply, WatchReply};
use crate::resources::Resource;
use crate::table::{self, IncludeObject};
use api::Value;
use api::document;
use api::status::ApiError;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use jiff::Timestamp;
pub use protobuf::Objects;
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

/// 204, for what is there and has nothing to say.
pub fn no_content() -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A document that is no stored object: discovery, `Status`, reviews.
pub fn value(code: u16, value: &Value, output: Output) -> Response<Body> {
    let body = match output.format {
        Format::Protobuf => return protobuf::value(code, value),
        Format::Yaml => api::codec::yaml::encode(value).into_bytes(),
        Format::Json => {
            let text = if output.pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
            let mut text = text.unwrap_or_default();
            text.push(b'\n');
            text
        }
    };
    bytes(code, output.format.media_type(), body)
}

/// A failure as a `Status`.
pub fn failure(failure: &ApiError, output: Output) -> Response<Body> {
    let mut response = value(failure.code, &failure.to_value(), output);
    if failure.retry_after_seconds > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, failure.retry_after_seconds.into());
    }
    response
}

/// A stored object.
pub fn entry(code: u16, resource: &Resource, entry: &Arc<Entry>, output: Output) -> Response<Body> {
    if output.shape == Shape::MetadataList {
        return misfit(resource.kind.group, resource.kind.kind, output, false);
    }
    if output.format == Format::Protobuf {
        return match Objects::new(resource, output).object(&entry.value) {
            Ok(body) => bytes(code, output.format.media_type(), body),
            Err(error) => failure(&error, output),
        };
    }
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
    if output.shape == Shape::MetadataList
        && let Some((group, kind)) = printed(&object, resource)
    {
        return misfit(group, kind, output, false);
    }
    value(code, &shaped(resource, object, output, true), output)
}

/// Group and kind of what is answered: the resource's, or a subresource's own. `None` for a `Status`, which has one shape.
fn printed<'a>(object: &'a Value, resource: &Resource) -> Option<(&'a str, &'a str)> {
    match document::get_str(object, "kind") {
        "Status" => None,
        kind if kind == resource.kind.kind => Some((resource.kind.group, resource.kind.kind)),
        kind => Some((document::group_version(object).0, kind)),
    }
}

/// The 406 for the metadata of a list where there is an object, or the other way round. What was asked for is done by then.
fn misfit(group: &str, kind: &str, output: Output, is_list: bool) -> Response<Body> {
    let package = match group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    let kind = if is_list { format!("{kind}List") } else { kind.to_owned() };
    let (wanted, is) = if output.shape == Shape::MetadataList {
        ("PartialObjectMetadataList", "is not a list")
    } else {
        ("PartialObjectMetadata", "is a list")
    };
    let message = format!("you requested {wanted}, but the requested object {is} (*{package}.{kind})");
    // There is no metadata of a failure, and with the form that was wanted goes the format.
    failure(&ApiError::new(406, "NotAcceptable", message), INDENTED)
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
        Shape::Metadata | Shape::MetadataList if resource.keeps_metadata() => {
            let metadata = serde_json::from_slice::<OnlyMetadata>(stored).map_or("{}", |o| o.metadata.get());
            out.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":""#);
            for part in [output.shape_version, r#"","metadata":"#, metadata, "}"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        _ => {
            let value = resource.read(stored).map(|object| shaped(resource, object, output, headers));
            let value = value.unwrap_or_else(|failure| failure.to_value());
            let _ = serde_json::to_writer(out, &value);
        }
    }
}

/// An object in a shape, as JSON.
pub fn shaped(resource: &Resource, object: Value, output: Output, headers: bool) -> Value {
    match output.shape {
        Shape::Object if headers => object,
        Shape::Object => {
            let mut object = object;
            for key in ["kind", "apiVersion"] {
                document::as_map(&mut object).remove(key);
            }
            object
        }
        Shape::Metadata | Shape::MetadataList if printed(&object, resource).is_none() => object,
        Shape::Metadata | Shape::MetadataList => table::partial_metadata(object, output.shape_version),
        Shape::Table => {
            let Some((group, kind)) = printed(&object, resource).map(|(g, k)| (g.to_owned(), k.to_owned())) else {
                return object;
            };
            let metadata = json!({ "resourceVersion": document::resource_version(&object) });
            table::table((&group, &kind), [object], metadata, &table_options(output, headers))
        }
    }
}

fn table_options(output: Output, headers: bool) -> table::Options<'static> {
    table::Options {
        api_version: output.shape_version,
        include: output.include,
        no_headers: !headers,
        now: Timestamp::now(),
    }
}

/// A list, streamed where it is plain JSON.
pub fn list(reply: ListReply, output: Output) -> Response<Body> {
    let resource = reply.resource;
    if output.shape == Shape::Metadata {
        return misfit(resource.kind.group, resource.kind.kind, output, true);
    }
    let mut metadata = json!({ "resourceVersion": reply.revision.to_string() });
    if !reply.continue_token.is_empty() {
        metadata["continue"] = reply.continue_token.clone().into();
    }
    if let Some(remaining) = reply.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let (kind, api_version) = list_type(resource, output);
    if output.format == Format::Protobuf {
        return protobuf::list(reply, output, kind, api_version.to_owned(), &metadata);
    }
    // Flow schemas are printed in the order in which they match, which takes them all.
    let sorted = output.shape == Shape::Table && resource.kind.kind == "FlowSchema";
    if output.format == Format::Json && !output.pretty && !sorted {
        return match output.shape {
            Shape::Table => stream_table(reply, output, &metadata),
            _ => {
                let head = format!(
                    "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":"
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
        Shape::Table => {
            table::table((resource.kind.group, resource.kind.kind), objects, metadata, &table_options(output, true))
        }
        _ => {
            // Go has no list where there is no metadata.
            let none = objects.is_empty() && output.shape != Shape::Object;
            let items = objects.into_iter().map(|object| shaped(resource, object, output, false));
            let items = if none { Value::Null } else { items.collect() };
            json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items })
        }
    };
    value(200, &whole, output)
}

/// Kind and version of a list in a shape.
fn list_type(resource: &Resource, output: Output) -> (String, &str) {
    match output.shape {
        Shape::Object => (resource.kind.list_kind(), resource.api_version.as_str()),
        _ => ("PartialObjectMetadataList".to_owned(), output.shape_version),
    }
}

/// Streams a list's items. What is answered as it is stored is copied, without the `kind` and `apiVersion` after each
/// opening brace: list items do not carry them.
fn stream_items(reply: ListReply, output: Output, head: String) -> Response<Body> {
    let resource = reply.resource;
    let whole = output.shape == Shape::Object && resource.conversion.is_none();
    let start = 1 + document::type_prefix(resource.kind.kind, &resource.api_version);
    if reply.entries.is_empty() && output.shape != Shape::Object {
        return bytes(200, Format::Json.media_type(), head + "null}\n");
    }
    let head = head + "[";
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
        let start = out.len();
        if let Err(failure) = write_row(out, printer, resource, &entry.value, output, options.now) {
            out.truncate(start);
            let _ = serde_json::to_writer(out, &failure.to_value());
        }
    })
}

/// Writes the row of a stored object. The cells are made from what is decoded; the object beside them is copied where it is
/// shown as it is stored.
fn write_row(
    out: &mut Vec<u8>,
    printer: &Printer,
    resource: &Resource,
    stored: &[u8],
    output: Output,
    now: Timestamp,
) -> Result<(), ApiError> {
    let shown = resource.read_unmanaged(stored)?;
    let conditions = table::conditions(&shown);
    let cells = (printer.cells)(&shown, now);
    drop(shown);
    out.extend_from_slice(b"{\"cells\":");
    let _ = serde_json::to_writer(&mut *out, &cells);
    if let Some(conditions) = conditions {
        out.extend_from_slice(b",\"conditions\":");
        let _ = serde_json::to_writer(&mut *out, &conditions);
    }
    out.extend_from_slice(b",\"object\":");
    let shape = match output.include {
        IncludeObject::None => None,
        IncludeObject::Metadata => Some(Shape::Metadata),
        IncludeObject::Object => Some(Shape::Object),
    };
    match shape {
        Some(shape) => write_object(out, resource, stored, Output { shape, ..output }, true),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    Ok(())
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
    streamed(Format::Json.media_type(), stream::iter(chunks))
}

/// A watch, as a stream of this media type.
pub fn watch(reply: WatchReply, media_type: &'static str) -> Response<Body> {
    streamed(media_type, reply.into_stream())
}

/// A body that is made while it is sent.
pub fn streamed(media_type: &'static str, chunks: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let body = StreamBody::new(chunks.map(|chunk| Ok::<_, BoxError>(Frame::data(chunk))));
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
