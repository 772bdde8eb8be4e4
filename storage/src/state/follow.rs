//! A state that follows changes decided elsewhere: by etcd, of which several servers may be clients.

use std::collections::btree_map::Entry as Slot;
use std::ops::Bound;
use std::sync::Arc;

use super::{Change, State, Visible};
use crate::ring::Ring;
use crate::{Entry, Error, Event, Revision};

/// A change of one key, as it is told.
#[derive(Debug)]
pub(crate) enum Followed {
    /// The key's new entry.
    Put(Arc<Entry>),
    /// The key is gone.
    Delete { key: Arc<str>, revision: Revision },
    /// The key holds something that cannot be read; the text says why.
    Unreadable { key: Arc<str>, revision: Revision, reason: String },
}

impl Followed {
    fn revision(&self) -> Revision {
        match self {
            Followed::Put(entry) => entry.revision,
            Followed::Delete { revision, .. } | Followed::Unreadable { revision, .. } => *revision,
        }
    }
}

impl State {
    /// Makes changes visible, all at once. They are in the order of their revisions, of which several may share one; those
    /// that are known already are left out. Afterwards the state is at `revision` at least.
    ///
    /// What cannot be read causes no event, and the last readable entry is kept for the event of the change after it; until
    /// then gets and lists fail that would have to return it.
    pub(crate) fn follow(&self, changes: impl IntoIterator<Item = Followed>, revision: Revision) {
        let mut rings: Vec<Arc<Ring>> = Vec::new();
        let mut done = Vec::new();
        let mut visible = self.visible.write();
        let known = visible.revision;
        for followed in changes.into_iter().filter(|it| it.revision() > known) {
            let Some(change) = visible.decide_followed(followed) else { continue };
            let (committed, ring) = self.apply_one(&mut visible, change);
            if !rings.iter().any(|known| Arc::ptr_eq(known, &ring)) {
                rings.push(ring);
            }
            done.push(committed);
        }
        visible.revision = visible.revision.max(revision);
        let latest = visible.revision;
        drop(visible);
        done.iter().for_each(|committed| self.count_commit(committed));
        rings.iter().for_each(|ring| ring.wake());
        self.publish(latest);
    }

    /// Replaces everything by what was listed at `revision`. What happened in between is not known: every watch ends with
    /// [`Error::Compacted`], and no older revision can be listed.
    pub(crate) fn reset(&self, revision: Revision, listed: Vec<Followed>) {
        let mut visible = self.visible.write();
        let revision = revision.max(visible.revision);
        visible.shards.iter_mut().for_each(|shard| shard.entries.clear());
        visible.deadlines.clear();
        visible.unreadable.clear();
        visible.bytes = 0;
        visible.revision = revision;
        visible.oldest = revision;
        listed.into_iter().for_each(|followed| visible.insert(followed));
        visible.shards.iter().for_each(|shard| shard.ring.expire(revision));
        drop(visible);
        self.publish(revision);
    }

    /// The first change of `key` after `revision`, and whether the history reaches back that far.
    pub(crate) fn change_after(&self, key: &str, revision: Revision) -> Result<Option<Arc<Event>>, Error> {
        let visible = self.visible.read();
        let Some(shard) = visible.find(crate::shard::shard_of(key).0) else { return Ok(None) };
        let history = shard.ring.history.read();
        let compacted = Error::Compacted { oldest: history.floor() };
        let mut events = history.position(revision).and_then(|at| history.from(at)).ok_or(compacted)?;
        Ok(events.find(|event| *event.key == *key).cloned())
    }
}

impl Visible {
    /// The change that becomes visible, if one does.
    fn decide_followed(&mut self, followed: Followed) -> Option<Change> {
        match followed {
            Followed::Put(entry) => {
                self.unreadable.remove(&entry.key);
                let revision = entry.revision;
                Some(Change { entry, deletes: false, revision, sealed: None, replaces: None, volatile: false })
            }
            Followed::Delete { key, revision } => {
                self.unreadable.remove(&key);
                let entry = self.get(&key)?.clone();
                Some(Change { entry, deletes: true, revision, sealed: None, replaces: None, volatile: false })
            }
            Followed::Unreadable { key, reason, .. } => {
                self.unreadable.insert(key, reason);
                None
            }
        }
    }

    /// Adds an entry of a list, without an event.
    pub(super) fn insert(&mut self, followed: Followed) {
        match followed {
            Followed::Put(entry) => {
                self.bytes += entry.size();
                self.deadlines.extend(entry.expires.map(|at| (at, entry.key.clone())));
                self.shard(&entry.key).entries.insert(entry.key.clone(), entry);
            }
            Followed::Unreadable { key, reason, .. } => {
                if let Slot::Vacant(slot) = self.unreadable.entry(key) {
                    slot.insert(reason);
                }
            }
            Followed::Delete { .. } => {}
        }
    }

    /// Refuses to read keys that start with `prefix` while one of them cannot be read.
    pub(super) fn readable(&self, prefix: &str) -> Result<(), Error> {
        if self.unreadable.is_empty() {
            return Ok(());
        }
        match self.unreadable.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).next() {
            Some((key, reason)) if key.starts_with(prefix) => {
                Err(Error::Unreadable { key: key.clone(), reason: reason.clone() })
            }
            _ => Ok(()),
        }
    }

    /// As [`Visible::readable`], of one key.
    pub(super) fn readable_key(&self, key: &str) -> Result<(), Error> {
        match self.unreadable.get_key_value(key) {
            Some((key, reason)) => Err(Error::Unreadable { key: key.clone(), reason: reason.clone() }),
            None => Ok(()),
        }
    }
}
