//! Writing: a decision on what is in memory, and a transaction that demands that it still be so.

use std::sync::Arc;

use bytes::Bytes;

use super::Etcd;
use super::failure::{Failure, Kind};
use super::health::Trouble;
use super::values::revision;
use super::wire::{Answer, Compare, DeleteRangeRequest, MOD, PutRequest, RequestOp, TxnRequest};
use crate::state::is_met;
use crate::{Commit, Committed, Entry, Error, Put, Revision};

impl Etcd {
    /// See [`crate::Store::commit`].
    ///
    /// The state may be behind etcd, so what it says is never the last word: a transaction demands that the key be as the state
    /// has it, and a conflict is told only once the state is known to have caught up since the call began.
    pub(super) async fn commit_one(&self, commit: Commit) -> Result<Committed, Error> {
        self.open_still()?;
        self.state.admit(&commit)?;
        let outer = self.values.outer(&commit.key)?;
        let sealed = match &commit.put {
            Some(put) => Some(self.values.seal(&commit.key, put).await?),
            None => None,
        };
        let mut caught_up = false;
        loop {
            let since = self.state.revision();
            let base = self.state.read(&commit.key)?;
            if !is_met(&commit, base.as_ref()) {
                if caught_up {
                    return Err(Error::Conflict { current: base });
                }
                self.catch_up_for_commit().await?;
                caught_up = true;
                continue;
            }
            let lease = match commit.put.as_ref().and_then(|put| put.ttl) {
                Some(ttl) => self.leases.lease(&self.client, ttl).await?,
                None => 0,
            };
            let answer = self.client.write(transaction(&outer, base.as_deref(), sealed.as_ref(), lease)).await;
            match answer {
                Ok(answer) => {
                    let at = revision(answer.header().revision);
                    self.feed.reach(at).await?;
                    if answer.succeeded {
                        return Ok(self.committed(&commit, base, at, lease));
                    }
                    self.changed_since(&commit.key, base.as_deref())?;
                    caught_up = true;
                }
                Err(failure) if failure.kind == Kind::NoLease => self.leases.forget(lease).await,
                Err(failure) if failure.kind == Kind::TooLarge => return Err(too_large(sealed.as_ref())),
                Err(failure) if failure.kind == Kind::Unknown => {
                    let since = base.as_ref().map_or(since, |base| since.max(base.revision));
                    self.rule_out(&commit, since, failure).await?;
                    caught_up = true;
                }
                Err(failure) => {
                    if failure.kind == Kind::NoSpace {
                        self.health.report(Trouble::Space, &failure.text);
                    }
                    return Err(failure.into());
                }
            }
        }
    }

    /// After a transaction that found the key changed, whose revision has arrived: so must have the key's change.
    fn changed_since(&self, key: &str, base: Option<&Entry>) -> Result<(), Error> {
        let at = |entry: Option<&Entry>| entry.map(|entry| entry.revision);
        if at(self.state.read(key)?.as_deref()) != at(base) {
            return Ok(());
        }
        tracing::error!(key, revision = at(base), "etcd's watch has left out a change of this key");
        self.feed.list_anew();
        Err(Error::Unavailable("a change was missed, so everything is read anew; try again".to_owned()))
    }

    async fn catch_up_for_commit(&self) -> Result<(), Error> {
        let revision = self.reads.revision().await?;
        self.feed.reach(revision).await
    }

    /// After a transaction of which nothing is known: returns if it cannot have changed the key and never will, for somebody
    /// else has changed it since. Two changes that are alike cannot be told apart.
    async fn rule_out(&self, commit: &Commit, since: Revision, failure: Failure) -> Result<(), Error> {
        if self.catch_up_for_commit().await.is_err() {
            return Err(failure.into());
        }
        let Ok(Some(next)) = self.state.change_after(&commit.key, since) else { return Err(failure.into()) };
        let is_alike = match (&commit.put, &next.entry) {
            (Some(put), Some(entry)) => put.value == entry.unstamped(),
            (None, None) => true,
            _ => false,
        };
        if is_alike { Err(failure.into()) } else { Ok(()) }
    }

    /// What was changed at revision `at`, which has arrived.
    fn committed(&self, commit: &Commit, previous: Option<Arc<Entry>>, at: Revision, lease: i64) -> Committed {
        let arrived = || self.state.get(&commit.key).filter(|entry| entry.revision == at);
        let entry = match (&commit.put, &previous) {
            (Some(put), _) => arrived().unwrap_or_else(|| Arc::new(self.entry(commit, put, &previous, at, lease))),
            (None, Some(removed)) => removed.clone(),
            // It was decided that there is something to delete.
            (None, None) => Arc::new(self.entry(commit, &Put::default(), &previous, at, 0)),
        };
        Committed { entry, previous, revision: at }
    }

    /// The entry that was written, though the key holds another one by now.
    fn entry(&self, commit: &Commit, put: &Put, previous: &Option<Arc<Entry>>, at: Revision, lease: i64) -> Entry {
        let created = previous.as_ref().map_or(at, |previous| previous.created);
        Entry::new(commit.key.clone(), put, created, at, self.leases.deadline(lease))
    }
}

/// etcd's limit unless it is told otherwise.
const REQUEST_BYTES: usize = 3 << 19;

fn too_large(sealed: Option<&Bytes>) -> Error {
    Error::TooLarge { size: sealed.map_or(0, Bytes::len), limit: REQUEST_BYTES }
}

/// Puts or deletes `key` if it was last changed as `base` was; without one, if it does not exist.
fn transaction(key: &Bytes, base: Option<&Entry>, put: Option<&Bytes>, lease: i64) -> TxnRequest {
    let at = base.map_or(0, |entry| i64::try_from(entry.revision).unwrap_or(i64::MAX));
    let unchanged = Compare { target: MOD, key: key.clone(), mod_revision: Some(at), ..Compare::default() };
    let change = match put {
        Some(value) => {
            RequestOp { put: Some(PutRequest { key: key.clone(), value: value.clone(), lease }), delete: None }
        }
        None => RequestOp { put: None, delete: Some(DeleteRangeRequest { key: key.clone() }) },
    };
    TxnRequest { compare: vec![unchanged], success: vec![change] }
}
