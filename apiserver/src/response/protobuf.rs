//! Answers in protobuf, made from stored JSON without a tree.

use super::{Body, CHUNK, bytes, streamed};
use crate::negotiate::{Format, Output, Shape};
use crate::registry::ListReply;
use crate::resources::{Resource, unreadable};
use crate::table;
use api::Value;
use api::codec::protobuf::{self, Encoder};
use api::schema::{Schema, TypeRef};
use api::status::ApiError;
use bytes::Bytes;
use futures::stream;
use http::Response;
use std::sync::Arc;
use storage::Entry;

/// How much of a list is kept when its length is taken, so that lists up to it are encoded once.
const KEPT: usize = 4 << 20;

/// A document of a built-in type.
pub fn value(code: u16, value: &Value) -> Response<Body> {
    match protobuf::encode_any(value) {
        Some(body) => bytes(code, Format::Protobuf.media_type(), body),
        None => super::failure(&ApiError::internal("there is no protobuf of this type"), crate::negotiate::JSON),
    }
}

/// Encodes stored objects of a resource in a shape.
pub struct Objects<'r> {
    resource: &'r Resource,
    encoder: Encoder,
    api_version: &'r str,
    kind: &'r str,
}

impl<'r> Objects<'r> {
    pub fn new(resource: &'r Resource, output: Output) -> Objects<'r> {
        let metadata = match output.shape {
            Shape::Metadata | Shape::MetadataList => metadata_type(),
            Shape::Object | Shape::Table => None,
        };
        match metadata {
            Some(ty) => Objects {
                resource,
                encoder: Encoder::new(ty),
                api_version: output.shape_version,
                kind: "PartialObjectMetadata",
            },
            None => Objects {
                resource,
                encoder: Encoder::new(resource.ty),
                api_version: &resource.api_version,
                kind: resource.kind.kind,
            },
        }
    }

    /// An object's message.
    fn message(&mut self, stored: &[u8]) -> Result<&[u8], ApiError> {
        let resource = self.resource;
        let of_metadata = self.kind != resource.kind.kind;
        if of_metadata && !resource.keeps_metadata() {
            let metadata = table::partial_metadata(resource.read(stored)?, self.api_version);
            return self.encoder.encode(&metadata).map_err(unreadable);
        }
        if resource.conversion.is_some() {
            return self.encoder.encode(&resource.read(stored)?).map_err(unreadable);
        }
        self.encoder.encode(&mut serde_json::Deserializer::from_slice(stored)).map_err(unreadable)
    }

    /// Appends the frame of a watch event.
    pub fn write_event(&mut self, out: &mut Vec<u8>, event: &str, stored: &[u8]) {
        match self.object(stored) {
            Ok(object) => protobuf::write_event(out, event, &object),
            Err(failure) => tracing::error!(%failure, "left out of a watch"),
        }
    }

    /// An object in its envelope.
    pub fn object(&mut self, stored: &[u8]) -> Result<Vec<u8>, ApiError> {
        let (api_version, kind) = (self.api_version, self.kind);
        self.message(stored).map(|message| protobuf::wrap(api_version, kind, message))
    }
}

fn metadata_type() -> Option<TypeRef<'static>> {
    Schema::of_kind("meta", "v1", "PartialObjectMetadata")
}

/// A list, item by item. `metadata` is the list's.
pub fn list(reply: ListReply, output: Output, kind: String, api_version: String, metadata: &Value) -> Response<Body> {
    // The beta of the list of metadata has its fields the other way round.
    let reversed = output.shape == Shape::MetadataList && output.shape_version.ends_with("beta1");
    let metadata = list_metadata(metadata, if reversed { 2 } else { 1 });
    let (before, mut after) = if reversed { (Vec::new(), metadata) } else { (metadata, Vec::new()) };
    let around = before.len() + after.len();
    after.extend_from_slice(protobuf::TAIL);
    let listing = Listing {
        objects: Objects::new(reply.resource, output),
        entries: reply.entries,
        next: 0,
        item_number: if reversed { 1 } else { 2 },
        end: Some(after),
    };
    let start = Start { kind, api_version, before, around };
    let chunks = stream::unfold((Some(start), listing), |(start, mut listing)| async {
        let mut chunk = match start {
            Some(start) => listing.begin(start).await,
            None => Vec::with_capacity(CHUNK + 4096),
        };
        listing.go_on(&mut chunk).then(|| (Bytes::from(chunk), (None, listing)))
    });
    streamed(Format::Protobuf.media_type(), chunks)
}

/// A list's metadata as a field of this number.
fn list_metadata(metadata: &Value, number: u16) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(ty) = Schema::of_kind("meta", "v1", "ListMeta") {
        let mut encoder = Encoder::new(ty);
        protobuf::write_message(&mut out, number, encoder.encode(metadata).unwrap_or_default());
    }
    out
}

/// What a list begins with, but for its length.
struct Start {
    kind: String,
    api_version: String,
    /// What stands before the items.
    before: Vec<u8>,
    /// The length of what stands before and after the items, envelope left out.
    around: usize,
}

/// A list that is being sent.
struct Listing {
    objects: Objects<'static>,
    entries: Vec<Arc<Entry>>,
    /// The next item to be sent.
    next: usize,
    item_number: u16,
    /// What comes after the items; taken when it was sent.
    end: Option<Vec<u8>>,
}

impl Listing {
    /// A list's length comes first. To know it, all items are encoded; what of them does not fit into [`KEPT`] is encoded
    /// again when its turn comes, so that memory stays small however long the list is.
    async fn begin(&mut self, start: Start) -> Vec<u8> {
        let (mut kept, mut length, mut worked) = (Vec::new(), start.around, 0);
        for at in 0..self.entries.len() {
            let from = kept.len();
            self.write_item(&mut kept, at);
            length += kept.len() - from;
            if from > KEPT {
                kept.truncate(from);
            } else {
                self.next = at + 1;
            }
            worked += self.entries[at].value.len();
            if worked > 4 * CHUNK {
                worked = 0;
                tokio::task::yield_now().await;
            }
        }
        let mut chunk = protobuf::head(&start.api_version, &start.kind, length);
        chunk.extend_from_slice(&start.before);
        chunk.append(&mut kept);
        chunk
    }

    /// Fills a piece up; false when nothing is left.
    fn go_on(&mut self, chunk: &mut Vec<u8>) -> bool {
        while chunk.len() < CHUNK {
            if self.next == self.entries.len() {
                let Some(end) = self.end.take() else { return !chunk.is_empty() };
                chunk.extend_from_slice(&end);
                return true;
            }
            self.write_item(chunk, self.next);
            self.next += 1;
        }
        true
    }

    fn write_item(&mut self, out: &mut Vec<u8>, at: usize) {
        match self.objects.message(&self.entries[at].value) {
            Ok(message) => protobuf::write_message(out, self.item_number, message),
            Err(failure) => tracing::error!(key = &*self.entries[at].key, %failure, "left out of a list"),
        }
    }
}
