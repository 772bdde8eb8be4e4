//! Informers: a list and a watch kept as a [`Store`], with a call for every change.
//!
//! One informer serves all readers of a resource in a process. It pages its list, resumes its watch at the last revision it saw
//! (bookmarks included), lists again on 410, and backs off with jitter when the server does not answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Client, Error, ListOptions};
use crate::meta::{PartialObject, Projection};
use crate::resource::Resource;
use crate::store::{IndexFn, Key, Store};

/// A change of one object.
#[derive(Debug)]
pub enum Delta<T> {
    Added(Arc<T>),
    Updated { old: Arc<T>, new: Arc<T> },
    Deleted(Arc<T>),
}

impl<T> Clone for Delta<T> {
    fn clone(&self) -> Self {
        match self {
            Delta::Added(object) => Delta::Added(object.clone()),
            Delta::Updated { old, new } => Delta::Updated { old: old.clone(), new: new.clone() },
            Delta::Deleted(object) => Delta::Deleted(object.clone()),
        }
    }
}

impl<T> Delta<T> {
    /// The object as it is now, or as it last was.
    pub fn object(&self) -> &Arc<T> {
        match self {
            Delta::Added(object) | Delta::Updated { new: object, .. } | Delta::Deleted(object) => object,
        }
    }
}

/// How far an informer has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The first list is in the store.
    pub synced: bool,
    /// Every change up to this revision has been seen.
    pub revision: u64,
}

type Subscriber<T> = Box<dyn Fn(&Delta<T>) + Send + Sync>;

struct Shared<T> {
    resource: Resource,
    store: Store<T>,
    subscribers: Mutex<Vec<Subscriber<T>>>,
    progress: watch::Sender<Progress>,
}

/// A handle on a running informer; clones share it.
pub struct Informer<T>(Arc<Shared<T>>);

impl<T> Clone for Informer<T> {
    fn clone(&self) -> Self {
        Informer(self.0.clone())
    }
}

/// What an informer is to watch; see [`Informer::builder`].
pub struct Builder<T> {
    client: Client,
    resource: Resource,
    namespace: String,
    options: ListOptions,
    indexes: Vec<(&'static str, IndexFn<T>)>,
}

/// Items a page of the first list.
const PAGE: u32 = 500;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A watch that ends sooner than this without an event counts as a failure.
const SHORT_WATCH: Duration = Duration::from_secs(1);
/// How often in a row a watch may find the server overloaded or away, before the list is read again.
const RESUMES: u32 = 20;

impl<T: Projection> Builder<T> {
    /// Watches one namespace instead of all.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.to_owned();
        self
    }
    pub fn field_selector(mut self, selector: &str) -> Self {
        self.options.field_selector = selector.to_owned();
        self
    }
    pub fn label_selector(mut self, selector: &str) -> Self {
        self.options.label_selector = selector.to_owned();
        self
    }
    /// Asks the server for metadata only; `T` is then read from `PartialObjectMetadata`.
    pub fn metadata_only(mut self) -> Self {
        self.options.metadata_only = true;
        self
    }
    /// Keeps an index, which [`Store::by`] reads under this name.
    pub fn index(mut self, name: &'static str, values: IndexFn<T>) -> Self {
        self.indexes.push((name, values));
        self
    }
    /// Starts the watch on the current Tokio runtime; it ends with `stop`.
    pub fn start(self, stop: CancellationToken) -> Informer<T> {
        let informer = Informer(Arc::new(Shared {
            resource: self.resource,
            store: Store::new(&self.indexes),
            subscribers: Mutex::default(),
            progress: watch::Sender::default(),
        }));
        let running = informer.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = running.run(self.client, self.namespace, self.options) => {}
            }
        });
        informer
    }
}

impl<T: Projection> Informer<T> {
    pub fn builder(client: Client, resource: Resource) -> Builder<T> {
        let options = ListOptions { limit: PAGE, ..ListOptions::default() };
        Builder { client, resource, namespace: String::new(), options, indexes: Vec::new() }
    }

    pub fn resource(&self) -> Resource {
        self.0.resource
    }

    /// What the informer knows now.
    pub fn store(&self) -> &Store<T> {
        &self.0.store
    }

    /// Calls `handler` with every object known now (as `Added`) and every later change, in order, after the store has it.
    /// The call is made on the informer's task: it must not block, nor subscribe to the same informer.
    pub fn subscribe(&self, handler: impl Fn(&Delta<T>) + Send + Sync + 'static) {
        let mut subscribers = self.0.subscribers.lock();
        for object in self.0.store.list() {
            handler(&Delta::Added(object));
        }
        subscribers.push(Box::new(handler));
    }

    pub fn has_synced(&self) -> bool {
        self.0.progress.borrow().synced
    }

    /// Waits until the first list is in the store and its objects were told to the subscribers.
    pub async fn synced(&self) {
        self.wait_for(|progress| progress.synced).await;
    }

    /// Waits until every change up to `revision` is in the store.
    pub async fn seen(&self, revision: u64) {
        self.wait_for(|progress| progress.revision >= revision).await;
    }

    /// The informer's progress, to select on.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.0.progress.subscribe()
    }

    async fn wait_for(&self, condition: impl FnMut(&Progress) -> bool) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.0.progress.subscribe().wait_for(condition).await;
    }

    async fn run(&self, client: Client, namespace: String, options: ListOptions) {
        let resource = self.0.resource;
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let mut revision = match self.list(&client, &namespace, &options).await {
                Ok(revision) => revision,
                Err(error) => {
                    let wait = backoff.after(&error);
                    tracing::warn!(%resource, %error, ?wait, "cannot list; trying again");
                    tokio::time::sleep(wait).await;
                    continue;
                }
            };
            let mut failures = 0;
            while failures < RESUMES {
                let opened = Instant::now();
                let before = revision.clone();
                match self.watch(&client, &namespace, &options, &mut revision).await {
                    Ok(()) if revision != before || opened.elapsed() >= SHORT_WATCH => {
                        backoff.reset();
                        failures = 0;
                        continue;
                    }
                    Ok(()) => tracing::debug!(%resource, "a watch ended at once"),
                    Err(error) if client::is_expired(&error) => {
                        tracing::debug!(%resource, revision, "the revision is gone; listing again");
                        break;
                    }
                    Err(error) => tracing::debug!(%resource, %error, "a watch failed; resuming"),
                }
                if revision != before {
                    backoff.reset();
                    failures = 0;
                }
                failures += 1;
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }

    /// Reads every page into the store, and drops what is no longer there. Gives the list's revision.
    async fn list(&self, client: &Client, namespace: &str, options: &ListOptions) -> client::Result<String> {
        let mut options = options.clone();
        let mut listed: HashSet<Key> = HashSet::new();
        loop {
            let page = client.list::<T>(self.0.resource, namespace, &options).await?;
            for object in page.items {
                listed.insert(object.key());
                self.apply_put(object);
            }
            options.continue_token = page.continue_token;
            if options.continue_token.is_empty() {
                for known in self.0.store.list() {
                    if !listed.contains(&known.key()) {
                        self.apply_delete(&known.meta().namespace, &known.meta().name);
                    }
                }
                self.advance(&page.resource_version, true);
                return Ok(page.resource_version);
            }
        }
    }

    /// Follows one watch until the server ends it; `revision` is where it has come to.
    async fn watch(
        &self,
        client: &Client,
        namespace: &str,
        options: &ListOptions,
        revision: &mut String,
    ) -> client::Result<()> {
        let options = ListOptions { resource_version: revision.clone(), limit: 0, ..options.clone() };
        // As upstream's reflector: between 5 and 10 minutes, so that watches do not end together.
        let timeout = 300 + random() % 300;
        let mut lines = client.watch(self.0.resource, namespace, &options, timeout).await?;
        while let Some(line) = lines.next().await? {
            if let Some(seen) = self.apply(&line)? {
                *revision = seen;
            }
        }
        Ok(())
    }

    /// Applies one event; gives its revision.
    fn apply(&self, line: &[u8]) -> client::Result<Option<String>> {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(rename = "type", borrow)]
            kind: std::borrow::Cow<'a, str>,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        let event: Event<'_> = serde_json::from_slice(line).map_err(Error::SerdeError)?;
        let text = event.object.get();
        if event.kind == "ERROR" {
            let status: kube::core::Status = serde_json::from_str(text).map_err(Error::SerdeError)?;
            return Err(Error::Api(status.boxed()));
        }
        if event.kind == "BOOKMARK" {
            let revision = metadata(text)?.metadata.resource_version.to_string();
            self.advance(&revision, false);
            return Ok(Some(revision));
        }
        let revision = match serde_json::from_str::<T>(text) {
            Ok(object) => {
                let revision = object.meta().resource_version.to_string();
                if event.kind == "DELETED" {
                    self.apply_delete(&object.meta().namespace, &object.meta().name);
                } else {
                    self.apply_put(object);
                }
                revision
            }
            Err(error) => {
                // One object that cannot be read must not stop the others: it is treated as absent.
                tracing::error!(resource = %self.0.resource, %error, "an event cannot be read; its object is left out");
                let meta = metadata(text)?.metadata;
                self.apply_delete(&meta.namespace, &meta.name);
                meta.resource_version.to_string()
            }
        };
        self.advance(&revision, false);
        Ok(Some(revision))
    }

    fn apply_put(&self, object: T) {
        let new = Arc::new(object);
        let subscribers = self.0.subscribers.lock();
        let delta = match self.0.store.put(new.clone()) {
            // A list repeats what is known.
            Some(old)
                if old.meta().resource_version == new.meta().resource_version && old.meta().uid == new.meta().uid =>
            {
                return;
            }
            // Deleted and made again between two lists.
            Some(old) if old.meta().uid != new.meta().uid => {
                subscribers.iter().for_each(|handler| handler(&Delta::Deleted(old.clone())));
                Delta::Added(new)
            }
            Some(old) => Delta::Updated { old, new },
            None => Delta::Added(new),
        };
        subscribers.iter().for_each(|handler| handler(&delta));
    }

    fn apply_delete(&self, namespace: &str, name: &str) {
        let subscribers = self.0.subscribers.lock();
        if let Some(old) = self.0.store.remove(namespace, name) {
            let delta = Delta::Deleted(old);
            subscribers.iter().for_each(|handler| handler(&delta));
        }
    }

    fn advance(&self, revision: &str, synced: bool) {
        let revision = revision.parse().unwrap_or_default();
        self.0.progress.send_if_modified(|progress| {
            let next = Progress { synced: progress.synced || synced, revision: progress.revision.max(revision) };
            std::mem::replace(progress, next) != next
        });
    }
}

fn metadata(text: &str) -> client::Result<PartialObject> {
    serde_json::from_str(text).map_err(Error::SerdeError)
}

/// Doubling waits with jitter.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, next: first }
    }

    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next wait: between one and two times the step, which then doubles.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.longest);
        step + step.mul_f64((random() % 1024) as f64 / 1024.0)
    }

    /// The next wait, or what the server's Retry-After asks for when that is longer.
    pub fn after(&mut self, error: &Error) -> Duration {
        let asked = client::retry_after_seconds(error).unwrap_or_default();
        self.next_wait().max(Duration::from_secs(asked.into()).min(LONGEST_WAIT))
    }
}

/// A number for jitter; not for secrets.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
#[path = "informer_tests.rs"]
mod tests;
