//! The store in memory: the whole of the memory store, and the embedded log's with a journal in front of it.

use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use async_trait::async_trait;

use crate::log::Journal;
use crate::state::State;
use crate::{Commit, Committed, Entry, Error, Interest, Range, RangeResult, Revision, Stats, Store, Watch, expiry};

/// A store that answers from memory. With a journal, changes become visible once they are on disk.
pub(crate) struct Memory {
    state: Arc<State>,
    journal: Option<Journal>,
    expiry: Once,
    this: Weak<Memory>,
}

impl Memory {
    pub(crate) fn new(state: Arc<State>, journal: Option<Journal>) -> Arc<Memory> {
        Arc::new_cyclic(|this| Memory { state, journal, expiry: Once::new(), this: this.clone() })
    }

    /// The journal of a store that has one.
    #[cfg(test)]
    pub(crate) fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    /// Starts the task that deletes expired entries; only the first call does anything.
    pub(crate) fn start_expiry(&self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.expiry.call_once(|| drop(runtime.spawn(expiry::run(self.this.clone(), self.state.clone()))));
        }
    }
}

#[async_trait]
impl Store for Memory {
    fn get(&self, key: &str) -> Result<Option<Arc<Entry>>, Error> {
        Ok(self.state.get(key))
    }

    fn range(&self, range: Range<'_>) -> Result<RangeResult, Error> {
        self.state.range(range)
    }

    fn count(&self, prefix: &str) -> usize {
        self.state.count(prefix)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        self.state.admit(&commit)?;
        if commit.put.as_ref().is_some_and(|put| put.ttl.is_some()) {
            self.start_expiry();
        }
        match &self.journal {
            Some(journal) => journal.commit(commit).await,
            None if self.state.is_closed() => Err(Error::Unavailable("the store was closed".to_owned())),
            None => self.state.commit(&commit, expiry::now()),
        }
    }

    fn watch_for(&self, prefix: &str, interest: Interest, after: Revision) -> Result<Watch, Error> {
        self.state.watch(prefix, interest, after)
    }

    fn revision(&self) -> Revision {
        self.state.revision()
    }

    async fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), Error> {
        if self.state.revision() >= revision {
            return Ok(());
        }
        let mut revisions = self.state.revisions();
        match tokio::time::timeout(timeout, revisions.wait_for(|latest| *latest >= revision)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::FutureRevision { current: self.state.revision() }),
        }
    }

    async fn compact(&self, before: Revision) -> Result<(), Error> {
        self.state.compact(before)
    }

    fn health(&self) -> Result<(), String> {
        self.journal.as_ref().map_or(Ok(()), Journal::health)
    }

    fn stats(&self) -> Stats {
        let stats = self.state.stats();
        self.journal.as_ref().map_or(stats.clone(), |journal| journal.stats(stats))
    }

    async fn close(&self) {
        if let Some(journal) = &self.journal {
            journal.close().await;
        }
        self.state.close();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.state.close();
    }
}
