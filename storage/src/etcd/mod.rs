//! The store in etcd.
//!
//! The whole of what etcd holds below the prefix is kept in memory, in the same [`State`] as the other stores have, and one
//! watch feeds it ([`feed`]); so gets, lists and watches are answered as they are by any store, and only writes and
//! [`Store::catch_up`] ask etcd. Other servers may write to the same etcd.
//!
//! What holds besides what [`Store`] promises:
//! - a change becomes visible by the watch alone, those of this process too; a commit returns when its change has arrived;
//! - nothing is left out and nothing comes twice, whatever becomes of connections and members: the watch goes on after the last
//!   revision that was seen, and where that is compacted the state is replaced and all watches end with `Compacted`;
//! - an etcd that was restored from a backup is noticed when it is asked or watched again, and from then on nothing is served;
//! - a value that cannot be read is tried again, for its key may come back;
//! - revisions grow, but not by one: etcd counts other changes too.

mod client;
mod commit;
mod compactor;
mod failure;
mod feed;
mod health;
mod lease;
mod read;
#[cfg(test)]
mod tests;
mod unreadable;
mod values;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::state::{Followed, State};
use crate::{
    Codec, Commit, Committed, Entry, Error, Interest, Limits, Range, RangeResult, Revision, Stats, Store, Watch,
};
use client::Client;
use feed::Feed;
use health::Health;
use lease::Leases;
use read::Reads;
use values::Values;

/// How often is looked again for a revision that may be yet to come.
const AGAIN: Duration = Duration::from_millis(250);

/// Where etcd is, and how it is used.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// URLs of its members.
    pub servers: Vec<String>,
    /// PEM file of the certificates that a member's must be signed by; needed for `https://`.
    pub cafile: Option<PathBuf>,
    /// PEM files of the client's certificate and key.
    pub certfile: Option<PathBuf>,
    /// See `certfile`.
    pub keyfile: Option<PathBuf>,
    /// What all keys begin with, in place of `/registry`.
    pub prefix: String,
    /// How long etcd keeps its history before one of the servers compacts it; never if `None`. Watches do not need it, save
    /// across an interruption.
    pub compaction_interval: Option<Duration>,
    /// What is kept in memory besides the present.
    pub limits: Limits,
}

impl Default for EtcdOptions {
    fn default() -> EtcdOptions {
        EtcdOptions {
            servers: Vec::new(),
            cafile: None,
            certfile: None,
            keyfile: None,
            prefix: "/registry".to_owned(),
            compaction_interval: Some(Duration::from_secs(300)),
            limits: Limits::default(),
        }
    }
}

/// Why etcd was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options make no sense; the text says which.
    #[error("{0}")]
    Options(String),
    /// No member answered, or not as it should.
    #[error("etcd cannot be used: {0}")]
    Unusable(String),
}

/// Reads what etcd holds and follows it from then on. Values are kept as `codec` has it, or as they are; without one, the
/// revision's place in a value is not known when it is read.
pub async fn open(options: EtcdOptions, codec: Option<Arc<dyn Codec>>) -> Result<Arc<dyn Store>, OpenError> {
    Ok(Etcd::open(options, codec, false).await?)
}

pub(crate) struct Etcd {
    client: Arc<Client>,
    state: Arc<State>,
    values: Values,
    leases: Arc<Leases>,
    feed: Arc<Feed>,
    reads: Reads,
    health: Arc<Health>,
    tasks: Mutex<JoinSet<()>>,
}

impl Etcd {
    /// See [`open`]. `narrow` is for the tests of that: see [`Feed::new`].
    pub(crate) async fn open(
        options: EtcdOptions,
        codec: Option<Arc<dyn Codec>>,
        narrow: bool,
    ) -> Result<Arc<Etcd>, OpenError> {
        let client = Arc::new(Client::new(&options)?);
        let leases = Arc::new(Leases::default());
        let values = Values::new(&options.prefix, codec, leases.clone());
        let listed = feed::list(&client, &values).await.map_err(|failure| OpenError::Unusable(failure.text))?;
        let state = State::restore(options.limits.clone(), listed.revision, Vec::new());
        state.reset(listed.revision, listed.entries);
        let values = values.with_state(state.clone());
        let health = Arc::new(Health::default());
        let feed = Feed::new(client.clone(), state.clone(), values.clone(), health.clone(), narrow);
        let mut tasks = JoinSet::new();
        tasks.spawn(feed.clone().run());
        let reads = Reads::start(&mut tasks, client.clone(), state.clone(), health.clone(), values.bounds().0);
        tasks.spawn(health::mend(client.clone(), health.clone()));
        tasks.spawn(unreadable::mend(client.clone(), state.clone(), values.clone()));
        if let Some(interval) = options.compaction_interval {
            tasks.spawn(compactor::run(client.clone(), interval));
        }
        Ok(Arc::new(Etcd { client, state, values, leases, feed, reads, health, tasks: Mutex::new(tasks) }))
    }

    fn open_still(&self) -> Result<(), Error> {
        self.health.history()?;
        if self.state.is_closed() { Err(Error::Unavailable("the store was closed".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for Etcd {
    fn get(&self, key: &str) -> Result<Option<Arc<Entry>>, Error> {
        self.health.history()?;
        self.state.read(key)
    }

    fn range(&self, range: Range<'_>) -> Result<RangeResult, Error> {
        self.health.history()?;
        self.state.range(range)
    }

    fn count(&self, prefix: &str) -> usize {
        self.state.count(prefix)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        self.commit_one(commit).await
    }

    fn watch_for(&self, prefix: &str, interest: Interest, after: Revision) -> Result<Watch, Error> {
        self.health.history()?;
        self.state.watch(prefix, interest, after)
    }

    fn revision(&self) -> Revision {
        self.state.revision()
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn catch_up(&self) -> Result<(), Error> {
        self.open_still()?;
        let revision = self.reads.revision().await?;
        self.feed.reach(revision).await
    }

    async fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), Error> {
        if self.state.revision() >= revision {
            return Ok(());
        }
        let mut revisions = self.state.revisions();
        // Anybody may ask for a revision that does not exist. One that does need not be of a key that is watched.
        let waiting = async {
            loop {
                self.catch_up().await?;
                let reached = revisions.wait_for(|latest| *latest >= revision);
                if tokio::time::timeout(AGAIN, reached).await.is_ok() {
                    return Ok(());
                }
            }
        };
        match tokio::time::timeout(timeout, waiting).await {
            Ok(reached) => reached,
            Err(_) => Err(Error::FutureRevision { current: self.state.revision() }),
        }
    }

    async fn compact(&self, before: Revision) -> Result<(), Error> {
        self.open_still()?;
        self.state.compact(before)?;
        compactor::compact(&self.client, before).await.map_err(Error::from)
    }

    fn health(&self) -> Result<(), String> {
        self.health.get()
    }

    fn stats(&self) -> Stats {
        self.state.stats()
    }

    async fn close(&self) {
        self.state.close();
        self.tasks.lock().abort_all();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.state.close();
    }
}

/// A list of everything.
struct Listed {
    revision: Revision,
    entries: Vec<Followed>,
}
