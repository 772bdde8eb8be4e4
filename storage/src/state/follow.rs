//! A state that follows changes decided elsewhere: by etcd, of which several servers may be clients.

use std::collections::btree_map::Entry as Slot;
use std::ops::Bound;
use std::sync::Arc;

use super::{Change, State, Unreadable, Visible};
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
        if !visible.unreadable.is_empty() {
            self.unread.notify_one();
        }
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
        if !visible.unreadable.is_empty() {
            self.unread.notify_one();
        }
        drop(visible);
        self.publish(revision);
    }

    /// Returns when there is a value that cannot be read.
    pub(crate) async fn has_unreadable(&self) {
        while self.visible.read().unreadable.is_empty() {
            self.unread.notified().await;
        }
    }

    /// Up to so many keys after this one whose values cannot be read.
    pub(crate) fn unreadable(&self, after: &str, limit: usize) -> Vec<Arc<str>> {
        let visible = self.visible.read();
        let keys = visible.unreadable.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        keys.take(limit).map(|(key, _)| key.clone()).collect()
    }

    /// Makes visible what could not be read before and can be now, where the key still holds it. It has its place in a past that
    /// watchers have seen, so all watches of its resource end with [`Error::Compacted`].
    pub(crate) fn mend(&self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        let mut visible = self.visible.write();
        let latest = visible.revision;
        for entry in entries {
            if visible.unreadable.get(&entry.key).is_none_or(|it| it.revision != entry.revision) {
                continue;
            }
            visible.unreadable.remove(&entry.key);
            let shard = visible.shard(&entry.key);
            let (before, ring) = (shard.entries.insert(entry.key.clone(), entry.clone()), shard.ring.clone());
            visible.bytes = visible.bytes + entry.size() - before.as_ref().map_or(0, |before| before.size());
            visible.replace_deadline(before.as_ref(), Some(&entry));
            ring.expire(latest);
        }
    }

    /// The last change that is known of, where what it made can be read: its key, and the entry since.
    pub(crate) fn last_change(&self) -> Option<(Arc<str>, Option<Arc<Entry>>)> {
        let visible = self.visible.read();
        let events = visible.shards.iter().filter_map(|shard| {
            let history = shard.ring.history.read();
            let last = history.newest_until(0).next()?;
            Some((last.revision, last.key.clone(), last.entry.clone()))
        });
        // Of the many entries only the latest is copied.
        let entries = visible.shards.iter().flat_map(|shard| shard.entries.values());
        let readable = entries.filter(|entry| !visible.unreadable.contains_key(&entry.key));
        let entry = readable.max_by_key(|entry| entry.revision);
        let entry = entry.map(|entry| (entry.revision, entry.key.clone(), Some(entry.clone())));
        let events = events.filter(|(_, key, _)| !visible.unreadable.contains_key(key));
        events.chain(entry).max_by_key(|(revision, ..)| *revision).map(|(_, key, entry)| (key, entry))
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
            Followed::Unreadable { key, revision, reason } => {
                self.unreadable.insert(key, Unreadable { revision, reason });
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
            Followed::Unreadable { key, revision, reason } => {
                if let Slot::Vacant(slot) = self.unreadable.entry(key) {
                    slot.insert(Unreadable { revision, reason });
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
            Some((key, it)) if key.starts_with(prefix) => Err(it.error(key)),
            _ => Ok(()),
        }
    }

    /// As [`Visible::readable`], of one key.
    pub(super) fn readable_key(&self, key: &str) -> Result<(), Error> {
        match self.unreadable.get_key_value(key) {
            Some((key, it)) => Err(it.error(key)),
            None => Ok(()),
        }
    }
}

impl Unreadable {
    fn error(&self, key: &Arc<str>) -> Error {
        Error::Unreadable { key: key.clone(), reason: self.reason.clone() }
    }
}
