//! Recording events: a bounded queue that never blocks its users, and a task that writes.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Client, PatchType};
use crate::correlator::{Correlator, Record, SERIES_END, Series};
use crate::informer::Backoff;
use crate::meta::{format_micro_time, format_time};
use crate::resource::{EVENTS, NEW_EVENTS};

/// The object that an event is about, or related to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
}

impl Reference {
    /// A reference to an object that an informer knows.
    pub fn to(resource: crate::Resource, meta: &crate::Meta) -> Reference {
        Reference {
            kind: resource.kind.to_owned(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            api_version: resource.api_version(),
            resource_version: meta.resource_version.to_string(),
            field_path: String::new(),
        }
    }

    pub(crate) fn without_version(&self) -> Reference {
        Reference { resource_version: String::new(), ..self.clone() }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum EventType {
    #[default]
    Normal,
    Warning,
}

impl EventType {
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    /// Who says so: `deployment-controller`, `default-scheduler`.
    pub reporter: &'static str,
    pub regarding: Reference,
    pub related: Option<Reference>,
    pub kind: EventType,
    pub reason: String,
    /// What was done, as events.k8s.io/v1 requires: `Binding`, `Scheduling`. Core events have none.
    pub action: String,
    pub note: String,
}

/// Which API the events are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// core/v1 with counts, as kube-controller-manager.
    Core,
    /// events.k8s.io/v1 with series, as kube-scheduler.
    Series,
}

/// Takes events; clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<(Event, Timestamp)>,
}

const QUEUE: usize = 1000;
/// Writes under way at once.
const WRITES: usize = 16;
const TRIES: u32 = 12;
/// What the API takes as a note.
const NOTE: usize = 1024;

impl Recorder {
    /// Starts the writing task on the current Tokio runtime. `host` stands in the events' reporting instance; it may be empty.
    pub fn start(client: Client, style: Style, host: &str, stop: CancellationToken) -> Recorder {
        let (queue, events) = mpsc::channel(QUEUE);
        let writer = Writer { client, style, host: host.to_owned() };
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = writer.run(events) => {}
            }
        });
        Recorder { queue }
    }

    /// Queues an event, or drops it when too many wait.
    pub fn event(&self, mut event: Event) {
        if event.note.len() > NOTE {
            let end = event.note.floor_char_boundary(NOTE - 4);
            event.note.truncate(end);
            event.note.push_str(" ...");
        }
        if self.queue.try_send((event, Timestamp::now())).is_err() {
            tracing::debug!("too many events wait; one is dropped");
        }
    }
}

struct Writer {
    client: Client,
    style: Style,
    host: String,
}

impl Writer {
    async fn run(self, mut events: mpsc::Receiver<(Event, Timestamp)>) {
        let mut correlator = Correlator::default();
        let mut series = Series::default();
        let mut writes = FuturesUnordered::new();
        let series_end = Duration::from_secs(SERIES_END.as_secs().unsigned_abs());
        let mut sweep = Box::pin(tokio::time::sleep(series_end));
        loop {
            tokio::select! {
                received = events.recv(), if writes.len() < WRITES => {
                    let Some((event, at)) = received else { break };
                    if series.is_empty() {
                        sweep.as_mut().reset(tokio::time::Instant::now() + series_end);
                    }
                    let record = match self.style {
                        Style::Core => correlator.correlate(event, at),
                        Style::Series => series.observe(event, at),
                    };
                    if let Some(record) = record {
                        writes.push(self.write(record));
                    }
                }
                Some(()) = writes.next(), if !writes.is_empty() => {}
                () = &mut sweep, if !series.is_empty() => {
                    for record in series.finish(Timestamp::now()) {
                        writes.push(self.write(record));
                    }
                    sweep.as_mut().reset(tokio::time::Instant::now() + series_end);
                }
            }
        }
    }

    /// Writes a record, again while the server cannot be reached.
    async fn write(&self, record: Record) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        for _ in 0..TRIES {
            let Err(error) = self.put(&record).await else { return };
            let again = match client::code(&error) {
                0 | 429 | 500.. => true,
                // Its first write was still under way when this one found nothing to patch.
                409 => record.count > 1 && client::is_already_exists(&error),
                _ => false,
            };
            if !again {
                // A namespace that is being deleted takes no events; that is expected.
                tracing::debug!(%error, reason = record.event.reason, "the server refused an event");
                return;
            }
            tokio::time::sleep(backoff.after(&error)).await;
        }
        tracing::warn!(reason = record.event.reason, "an event could not be written; it is dropped");
    }

    async fn put(&self, record: &Record) -> client::Result<()> {
        use serde::de::IgnoredAny;
        let namespace = match record.event.regarding.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        };
        let resource = if self.style == Style::Core { EVENTS } else { NEW_EVENTS };
        if record.count > 1 {
            let patch = match self.style {
                Style::Core => json!({
                    "count": record.count, "lastTimestamp": format_time(record.last), "message": record.event.note,
                }),
                Style::Series => json!({ "series": series(record) }),
            };
            let patched = self.client.patch(resource, namespace, &record.name, "", PatchType::Strategic, &patch).await;
            match patched {
                Err(error) if client::is_not_found(&error) => {}
                outcome => return outcome.map(|_: IgnoredAny| ()),
            }
        }
        let document = match self.style {
            Style::Core => core_event(record, namespace, &self.host),
            Style::Series => new_event(record, namespace, &self.host),
        };
        self.client.create(resource, namespace, &document).await.map(|_: IgnoredAny| ())
    }
}

fn series(record: &Record) -> Value {
    json!({ "count": record.count, "lastObservedTime": format_micro_time(record.last) })
}

fn core_event(record: &Record, namespace: &str, host: &str) -> Value {
    let event = &record.event;
    let mut source = json!({ "component": event.reporter });
    if !host.is_empty() {
        source["host"] = host.into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": record.name, "namespace": namespace },
        "involvedObject": event.regarding,
        "reason": event.reason,
        "message": event.note,
        "source": source,
        "firstTimestamp": format_time(record.first),
        "lastTimestamp": format_time(record.last),
        "count": record.count,
        "type": event.kind.as_str(),
        "eventTime": null,
        "reportingComponent": event.reporter,
        "reportingInstance": host,
    })
}

fn new_event(record: &Record, namespace: &str, host: &str) -> Value {
    let event = &record.event;
    let instance = if host.is_empty() { event.reporter.to_owned() } else { format!("{}-{host}", event.reporter) };
    let mut document = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": record.name, "namespace": namespace },
        "eventTime": format_micro_time(record.first),
        "reportingController": event.reporter,
        "reportingInstance": instance,
        "action": event.action,
        "reason": event.reason,
        "regarding": event.regarding,
        "note": event.note,
        "type": event.kind.as_str(),
    });
    if let Some(related) = &event.related {
        document["related"] = json!(related);
    }
    if record.count > 1 {
        document["series"] = series(record);
    }
    document
}
