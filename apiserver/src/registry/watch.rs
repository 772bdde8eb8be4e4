//! Watch: a cursor into the store's events, a filter, and frames that watchers share.

use super::{Call, unreadable};
use crate::metrics::WatchGuard;
use crate::negotiate::{Format, Output, Shape};
use crate::params::{ListOptions, revision};
use crate::resources::Resource;
use crate::response;
use crate::selection::Selection;
use crate::server::ApiServer;
use crate::table::IncludeObject;
use api::codec::protobuf;
use api::status::ApiError;
use bytes::{Buf, Bytes};
use futures::stream::{self, Stream};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use storage::{Entry, Event, Range, Revision};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How often a watcher that asked for bookmarks is told how far it has come.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How long before its end it is told so for the last time.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// A watch that named no time-out ends after this and up to as much again.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// No watch is longer, whatever it asked for.
const MAX_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Frames that are ready are sent together up to this size.
const BATCH: usize = 64 << 10;

/// Which of an event's cached frames watchers of metadata share, in JSON and in protobuf. Whole objects are copied from the
/// stored bytes instead: a cached frame would keep each object of the history twice.
const METADATA_FRAME: usize = 0;
const METADATA_PROTOBUF_FRAME: usize = 1;
/// How much of its buffer an idle watcher keeps.
const KEPT_BUFFER: usize = 4 << 10;

/// A watch that is about to be streamed.
pub struct WatchReply {
    resource: &'static Resource,
    output: Output,
    selection: Selection,
    /// State to send before the events, newest last.
    initial: std::vec::IntoIter<Arc<Entry>>,
    /// The revision of that state, when its end is to be marked by a bookmark.
    initial_end: Option<Revision>,
    events: Result<storage::Watch, ApiError>,
    bookmarks: bool,
    deadline: Instant,
    next_bookmark: Instant,
    stop: CancellationToken,
    /// Where chunks are put together.
    buffer: Vec<u8>,
    /// Table headers go with the first row only.
    headers_sent: bool,
    over: bool,
    guard: WatchGuard,
}

impl ApiServer {
    pub async fn watch(&self, call: &Call<'_>, options: &ListOptions, output: Output) -> Result<WatchReply, ApiError> {
        let resource = call.resource;
        let prefix = resource.scope(call.namespace);
        let selection = Selection::new(resource, options)?;
        let version = revision(&options.resource_version).map_err(|errors| unreadable(&errors))?;
        // An old path that is not asked for a watch by a flag has no default of `sendInitialEvents`.
        let wants_state = options.send_initial_events.unwrap_or(version == 0);
        let beginning = if wants_state {
            self.state(resource, &prefix, &selection, version).await
        } else {
            Ok((Vec::new(), if version > 0 { version } else { self.store.revision() }))
        };
        let (initial, after, events) = match beginning {
            Ok((initial, after)) => {
                let interest = selection.interest(resource, call.namespace);
                let events = self.store.watch_for(&prefix, interest, after);
                (initial, after, events.map_err(|error| watch_error(after, error)))
            }
            // Once the options are read, what goes wrong is told in the stream.
            Err(failure) => (Vec::new(), 0, Err(failure)),
        };
        let timeout = match options.timeout_seconds.filter(|seconds| *seconds != 0) {
            Some(seconds) => Duration::from_secs(seconds.try_into().unwrap_or(0)).min(MAX_TIMEOUT),
            None => DEFAULT_TIMEOUT + jitter(DEFAULT_TIMEOUT),
        };
        let marks_end = options.send_initial_events == Some(true) && options.allow_watch_bookmarks && events.is_ok();
        let now = Instant::now();
        Ok(WatchReply {
            resource,
            output,
            selection,
            initial: initial.into_iter(),
            initial_end: marks_end.then_some(after),
            events,
            bookmarks: options.allow_watch_bookmarks,
            deadline: now + timeout,
            next_bookmark: next_bookmark(now, now + timeout),
            stop: self.stop.clone(),
            buffer: Vec::new(),
            headers_sent: false,
            over: false,
            guard: self.metrics.watch_started(resource.kind),
        })
    }

    /// What a watch that begins with the state sends first, and the revision that the state is of: at least `version`.
    async fn state(
        &self,
        resource: &Resource,
        prefix: &str,
        selection: &Selection,
        version: Revision,
    ) -> Result<(Vec<Arc<Entry>>, Revision), ApiError> {
        self.wait_for(version).await?;
        let range = Range { prefix, start_after: None, limit: 0, at: None };
        let state = self.store.range(range).map_err(|e| self.store_error(e))?;
        let mut entries = state.entries;
        entries.retain(|entry| selection.is_everything() || selection.matches(resource, entry));
        Ok((entries, state.revision))
    }
}

/// When a watcher is told how far it has come: now and then, and shortly before its end.
fn next_bookmark(now: Instant, deadline: Instant) -> Instant {
    let (next, last) = (now + BOOKMARK_PERIOD, deadline.checked_sub(LAST_BOOKMARK).unwrap_or(now));
    if last > now { next.min(last) } else { next }
}

fn jitter(most: Duration) -> Duration {
    let mut random = [0u8; 4];
    let _ = getrandom::fill(&mut random);
    most.mul_f64(f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX))
}

fn watch_error(after: Revision, error: storage::Error) -> ApiError {
    match error {
        storage::Error::Compacted { oldest } => {
            ApiError::expired(format!("too old resource version: {after} ({oldest})"))
        }
        other => ApiError::internal(other),
    }
}

impl WatchReply {
    /// The frames, until the deadline, the server's end, or a history that is gone.
    pub fn into_stream(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, |mut watch| async move {
            let chunk = watch.next_chunk().await?;
            // A single object is no list: upstream's stream ends where there would be one.
            (watch.output.shape != Shape::MetadataList).then_some((chunk, watch))
        })
    }

    /// Comes to its end when the watch is to be over, though what it last gave may still be on its way to the client.
    pub fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let (stop, deadline) = (self.stop.clone(), self.deadline);
        async move {
            tokio::select! {
                _ = stop.cancelled() => {}
                _ = sleep_until(deadline) => {}
            }
        }
    }

    async fn next_chunk(&mut self) -> Option<Bytes> {
        if self.over || Instant::now() >= self.deadline {
            return None;
        }
        if let Some(chunk) = self.initial_chunk() {
            return Some(chunk);
        }
        let mut events = match &mut self.events {
            Ok(events) => events,
            Err(failure) => {
                let frame = error_frame(failure, self.output);
                self.over = true;
                return Some(frame);
            }
        };
        loop {
            let bookmark_at = self.next_bookmark;
            // Events that never pause, and of which none may be for this watcher, must not hide the time.
            let now = Instant::now();
            if now >= self.deadline {
                return None;
            }
            let event = tokio::select! {
                biased;
                _ = self.stop.cancelled() => return None,
                _ = std::future::ready(()), if self.bookmarks && now >= bookmark_at => None,
                event = events.next() => Some(event),
                _ = sleep_until(bookmark_at), if self.bookmarks => None,
                _ = sleep_until(self.deadline) => return None,
            };
            match event {
                None => {
                    let revision = events.progress();
                    self.next_bookmark = next_bookmark(Instant::now(), self.deadline);
                    return Some(self.bookmark(revision, false));
                }
                Some(Ok(event)) => {
                    if let Some(chunk) = self.event_chunk(event) {
                        return Some(chunk);
                    }
                }
                Some(Err(error)) => {
                    self.over = true;
                    let failure = watch_error(events.progress(), error);
                    return Some(error_frame(&failure, self.output));
                }
            }
            events = match &mut self.events {
                Ok(events) => events,
                Err(_) => return None,
            };
        }
    }

    /// State that is still to be sent, and the bookmark that ends it.
    fn initial_chunk(&mut self) -> Option<Bytes> {
        let mut chunk = Vec::new();
        while chunk.len() < BATCH
            && let Some(entry) = self.initial.next()
        {
            self.write_frame(&mut chunk, "ADDED", &entry.value);
            self.guard.sent.inc();
        }
        if self.initial.as_slice().is_empty()
            && let Some(revision) = self.initial_end.take()
        {
            chunk.extend_from_slice(&self.bookmark(revision, true));
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }

    /// The frame of an event and of those that are ready behind it; `None` when the filter takes none of them.
    fn event_chunk(&mut self, first: Arc<Event>) -> Option<Bytes> {
        let mut chunk = std::mem::take(&mut self.buffer);
        self.write_event(&mut chunk, &first);
        while chunk.len() < BATCH
            && let Ok(events) = &mut self.events
            // Where this fails, the next wait for an event fails too, after what was collected here is sent.
            && let Ok(Some(event)) = events.try_next()
        {
            self.write_event(&mut chunk, &event);
        }
        let sent = (!chunk.is_empty()).then(|| Bytes::copy_from_slice(&chunk));
        chunk.clear();
        chunk.shrink_to(KEPT_BUFFER);
        self.buffer = chunk;
        sent
    }

    /// Writes what this watcher is told about an event, if anything.
    fn write_event(&mut self, out: &mut Vec<u8>, event: &Event) {
        let everything = self.selection.is_everything();
        let selected = |entry: &Option<Arc<Entry>>| {
            entry.as_ref().filter(|entry| everything || self.selection.matches(self.resource, entry)).cloned()
        };
        let (now, before) = (selected(&event.entry), selected(&event.previous));
        // A filter can turn a change into an arrival or a departure; only frames of the others are everybody's.
        let natural = now.is_some() == event.entry.is_some() && before.is_some() == event.previous.is_some();
        let (kind, value) = match (now, before) {
            (Some(now), None) => ("ADDED", now.value.clone()),
            (Some(now), Some(_)) => ("MODIFIED", now.value.clone()),
            (None, Some(before)) => ("DELETED", before.with_revision(event.revision)),
            (None, None) => return,
        };
        self.guard.sent.inc();
        if natural && self.output.shape == Shape::Metadata && self.resource.keeps_metadata() {
            let slot = match self.output.format {
                Format::Protobuf => METADATA_PROTOBUF_FRAME,
                _ => METADATA_FRAME,
            };
            let frame = event.frames.frame(slot, || {
                let mut frame = Vec::new();
                self.write_frame(&mut frame, kind, &value);
                frame.into()
            });
            out.extend_from_slice(&frame);
        } else {
            self.write_frame(out, kind, &value);
        }
    }

    fn write_frame(&mut self, out: &mut Vec<u8>, kind: &str, object: &[u8]) {
        if self.output.format == Format::Protobuf {
            return response::Objects::new(self.resource, self.output).write_event(out, kind, object);
        }
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        let headers = self.shows_headers();
        response::write_object(out, self.resource, object, self.output, headers);
        out.extend_from_slice(b"}\n");
    }

    /// An object of the kind that has nothing but a version, and what else upstream's types always write.
    fn bookmark(&mut self, revision: Revision, initial_end: bool) -> Bytes {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let (kind, api_version) = (self.resource.kind.kind, self.resource.api_version.as_str());
        let mut object = json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
        api::schema::fill(&mut object, self.resource.ty);
        let mut output = self.output;
        if output.include == IncludeObject::None {
            // A bookmark's row always says where it stands.
            output.include = IncludeObject::Metadata;
        }
        let headers = self.shows_headers();
        frame_of("BOOKMARK", &response::shaped(self.resource, object, output, headers), output)
    }

    /// Whether the next object is described: columns are once, an object always says what it is.
    fn shows_headers(&mut self) -> bool {
        let sent = std::mem::replace(&mut self.headers_sent, true);
        !sent || self.output.shape != Shape::Table
    }
}

fn error_frame(failure: &ApiError, output: Output) -> Bytes {
    frame_of("ERROR", &failure.to_value(), output)
}

fn frame_of(kind: &str, object: &api::Value, output: Output) -> Bytes {
    if output.format != Format::Protobuf {
        return format!("{}\n", json!({ "type": kind, "object": object })).into();
    }
    let mut frame = Vec::new();
    protobuf::write_event(&mut frame, kind, &protobuf::encode_any(object).unwrap_or_default());
    frame.into()
}

/// Takes the first event from a chunk of a watch: a line of JSON, or a message of protobuf without the length before it.
pub fn next_event(chunk: &mut Bytes, format: Format) -> Option<Bytes> {
    if format != Format::Protobuf {
        let end = chunk.iter().position(|byte| *byte == b'\n').map_or(chunk.len(), |at| at + 1);
        return (end > 0).then(|| chunk.split_to(end));
    }
    let length = u32::from_be_bytes(*chunk.first_chunk()?);
    chunk.advance(size_of::<u32>());
    Some(chunk.split_to(chunk.len().min(length as usize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_the_events_that_were_written_into_it() {
        let object = json!({ "kind": "Status", "apiVersion": "v1", "message": "two\nlines" });
        for (format, head) in [(Format::Json, 0), (Format::Protobuf, 4)] {
            let output = Output { format, ..crate::negotiate::JSON };
            let written = ["ADDED", "DELETED"].map(|kind| frame_of(kind, &object, output));
            let mut chunk = Bytes::from(written.concat());
            let read: Vec<Bytes> = std::iter::from_fn(|| next_event(&mut chunk, format)).collect();
            assert_eq!(read, written.map(|frame| frame.slice(head..)), "{format:?}");
        }
    }
}
