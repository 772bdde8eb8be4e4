//! The state machine that every store shares: what is visible, and how a change becomes visible.
//!
//! Keys are divided by resource ([`shard_of`]); each resource has its own map and its own [`Ring`], so that watchers are
//! woken by their resource only. One lock guards the maps and the revision together: a list is of exactly one revision.

mod follow;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::interest::Interest;
use crate::ring::Ring;
use crate::shard::{Shard, shard_of, successor};
use crate::watch::Source;
use crate::{
    Commit, Committed, Entry, Error, Event, Expect, Frames, Limits, Range, RangeResult, Revision, Stats, Watch,
};

pub(crate) use follow::Followed;

/// The visible state of a store.
pub(crate) struct State {
    pub(crate) limits: Limits,
    visible: RwLock<Visible>,
    published: watch::Sender<Revision>,
    /// Told when the earliest deadline has changed.
    pub(crate) deadline: Notify,
    /// Told when a value cannot be read.
    unread: Notify,
    closed: AtomicBool,
    /// There may be revisions that no change that is kept has.
    gaps: AtomicBool,
    /// Times, and the store's revision then.
    ages: Mutex<VecDeque<(Instant, Revision)>>,
    commits: AtomicU64,
    committed_bytes: AtomicU64,
}

struct Visible {
    revision: Revision,
    /// Where the history of a resource without changes begins.
    oldest: Revision,
    /// In the order of their names.
    shards: Vec<Shard>,
    /// When the entries with a deadline expire, in milliseconds since the epoch.
    deadlines: BTreeSet<(u64, Arc<str>)>,
    /// The keys whose present values cannot be read, and why.
    unreadable: BTreeMap<Arc<str>, Unreadable>,
    bytes: u64,
}

/// What cannot be read.
struct Unreadable {
    /// When it was written.
    revision: Revision,
    reason: String,
}

/// A change, and whether others have the same revision.
pub(crate) type First = Option<(Arc<Event>, bool)>;

/// A change that has its revision and waits to become visible.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The new entry, or the one that is removed.
    pub(crate) entry: Arc<Entry>,
    pub(crate) deletes: bool,
    pub(crate) revision: Revision,
    /// What is kept of a new entry, if that is not its value.
    pub(crate) sealed: Option<Bytes>,
    /// What a new entry replaces, for those who keep only the difference.
    pub(crate) replaces: Option<Arc<Entry>>,
    /// Nothing is kept of it outside this process.
    pub(crate) volatile: bool,
}

/// Whether a commit can be made while its key holds `current`.
pub(crate) fn is_met(commit: &Commit, current: Option<&Arc<Entry>>) -> bool {
    let expected = match commit.expect {
        Expect::Any => true,
        Expect::Absent => current.is_none(),
        Expect::Revision(expected) => current.is_some_and(|entry| entry.revision == expected),
    };
    expected && (commit.put.is_some() || current.is_some())
}

impl Change {
    /// The change that `commit` makes of `current` at `revision`, or the conflict. `now` is in milliseconds since the epoch;
    /// `sealed` is what is to be kept in place of the value.
    pub(crate) fn decide(
        commit: &Commit,
        current: Option<&Arc<Entry>>,
        revision: Revision,
        now: u64,
        sealed: Option<Bytes>,
    ) -> Result<Change, Error> {
        if !is_met(commit, current) {
            return Err(Error::Conflict { current: current.cloned() });
        }
        match (&commit.put, current) {
            (Some(put), _) => {
                let key = current.map_or(&commit.key, |entry| &entry.key).clone();
                let created = current.map_or(revision, |entry| entry.created);
                let expires = put.ttl.map(|ttl| crate::expiry::deadline(now, ttl));
                let entry = Entry::new(key, put, created, revision, expires);
                let entry = Arc::new(Entry { sealed: sealed.is_some(), ..entry });
                Ok(Change { entry, deletes: false, revision, sealed, replaces: current.cloned(), volatile: false })
            }
            (None, Some(entry)) => {
                let entry = entry.clone();
                Ok(Change { entry, deletes: true, revision, sealed: None, replaces: None, volatile: false })
            }
            (None, None) => Err(Error::Conflict { current: None }),
        }
    }

    /// What the key holds after the change.
    pub(crate) fn result(&self) -> Option<&Arc<Entry>> {
        (!self.deletes).then_some(&self.entry)
    }
}

impl State {
    pub(crate) fn new(limits: Limits) -> Arc<State> {
        State::restore(limits, 1, Vec::new())
    }

    /// The state with these entries at `revision`, and no history before it.
    pub(crate) fn restore(limits: Limits, revision: Revision, entries: Vec<Arc<Entry>>) -> Arc<State> {
        let mut visible = Visible {
            revision,
            oldest: revision,
            shards: Vec::new(),
            deadlines: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            bytes: 0,
        };
        entries.into_iter().for_each(|entry| visible.insert(Followed::Put(entry)));
        Arc::new(State {
            limits,
            visible: RwLock::new(visible),
            published: watch::Sender::new(revision),
            deadline: Notify::new(),
            unread: Notify::new(),
            closed: AtomicBool::new(false),
            gaps: AtomicBool::new(false),
            ages: Mutex::new(VecDeque::from([(Instant::now(), revision)])),
            commits: AtomicU64::new(0),
            committed_bytes: AtomicU64::new(0),
        })
    }

    /// Refuses what no store could keep.
    pub(crate) fn admit(&self, commit: &Commit) -> Result<(), Error> {
        if commit.key.is_empty() || commit.key.len() > 4096 {
            return Err(Error::Invalid("a key has 1 to 4096 bytes"));
        }
        let Some(put) = &commit.put else { return Ok(()) };
        if put.value.len() > self.limits.value_bytes {
            return Err(Error::TooLarge { size: put.value.len(), limit: self.limits.value_bytes });
        }
        if put.revision_at.is_some_and(|at| at > put.value.len()) {
            return Err(Error::Invalid("the revision is to stand outside the value"));
        }
        Ok(())
    }

    /// Checks, applies and publishes a commit in one step: for the store without a disk.
    pub(crate) fn commit(&self, commit: &Commit, now: u64) -> Result<Committed, Error> {
        let mut visible = self.visible.write();
        let change = Change::decide(commit, visible.get(&commit.key), visible.revision + 1, now, None)?;
        let (committed, ring) = self.apply_one(&mut visible, change);
        drop(visible);
        self.count_commit(&committed);
        ring.wake();
        self.publish(committed.revision);
        self.forget_old(Instant::now());
        Ok(committed)
    }

    /// Applies a change from the log while it is being opened, when nobody is watching; [`State::skip_to`] follows.
    pub(crate) fn replay(&self, change: Change) {
        self.apply_one(&mut self.visible.write(), change);
    }

    /// Goes on at `revision`, if it is later: changes up to there may have been seen that nothing is kept of.
    pub(crate) fn skip_to(&self, revision: Revision) {
        let mut visible = self.visible.write();
        if revision > visible.revision {
            visible.revision = revision;
            self.gaps.store(true, Ordering::Relaxed);
        }
        drop(visible);
        self.publish(revision);
    }

    /// Whether there may be revisions that no change that is kept has.
    pub(crate) fn has_gaps(&self) -> bool {
        self.gaps.load(Ordering::Relaxed)
    }

    /// Lets the history of the resources with these prefixes begin at the present: what was before is not known any more.
    pub(crate) fn forget(&self, prefixes: impl IntoIterator<Item = impl AsRef<str>>) {
        let mut visible = self.visible.write();
        let revision = visible.revision;
        for prefix in prefixes {
            visible.shard(prefix.as_ref()).ring.history.write().compact(revision);
            self.gaps.store(true, Ordering::Relaxed);
        }
    }

    /// Gives up the history that is older than the limit. For every commit; does something now and then.
    pub(crate) fn forget_old(&self, now: Instant) {
        let age = self.limits.history_age;
        let mut ages = self.ages.lock();
        if ages.back().is_some_and(|(latest, _)| now.duration_since(*latest) < age / 8) {
            return;
        }
        ages.push_back((now, self.revision()));
        let mut old = None;
        while let Some((_, revision)) = ages.pop_front_if(|(then, _)| now.duration_since(*then) >= age) {
            old = Some(revision);
        }
        drop(ages);
        // It was reached: there is nothing that could fail.
        let _ = old.map(|revision| self.compact(revision));
    }

    /// Makes durable changes visible, all at once, and wakes those who watch them.
    pub(crate) fn apply(&self, changes: impl IntoIterator<Item = Change>) -> Vec<Committed> {
        let mut rings: Vec<Arc<Ring>> = Vec::new();
        let mut visible = self.visible.write();
        let apply = |change| {
            let (committed, ring) = self.apply_one(&mut visible, change);
            if !rings.iter().any(|known| Arc::ptr_eq(known, &ring)) {
                rings.push(ring);
            }
            committed
        };
        let done: Vec<Committed> = changes.into_iter().map(apply).collect();
        drop(visible);
        done.iter().for_each(|committed| self.count_commit(committed));
        rings.iter().for_each(|ring| ring.wake());
        if let Some(last) = done.last() {
            self.publish(last.revision);
        }
        self.forget_old(Instant::now());
        done
    }

    fn apply_one(&self, visible: &mut Visible, change: Change) -> (Committed, Arc<Ring>) {
        let Change { entry, deletes, revision, .. } = change;
        let result = (!deletes).then(|| entry.clone());
        let shard = visible.shard(&entry.key);
        let previous = match &result {
            Some(entry) => shard.entries.insert(entry.key.clone(), entry.clone()),
            None => shard.entries.remove(&entry.key),
        };
        let ring = shard.ring.clone();
        let size = |entry: &Option<Arc<Entry>>| entry.as_ref().map_or(0, |entry| entry.size());
        visible.bytes = visible.bytes + size(&result) - size(&previous);
        visible.revision = revision;
        if visible.replace_deadline(previous.as_ref(), result.as_ref()) {
            self.deadline.notify_one();
        }
        let (key, frames) = (entry.key.clone(), Frames::default());
        let event = Event { revision, key, entry: result, previous: previous.clone(), frames, tags: OnceLock::new() };
        ring.push(Arc::new(event), &self.limits);
        (Committed { entry, previous, revision }, ring)
    }

    fn count_commit(&self, committed: &Committed) {
        let written = committed.entry.revision == committed.revision;
        let bytes = if written { committed.entry.size() } else { committed.entry.key.len() as u64 };
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.committed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn publish(&self, revision: Revision) {
        self.published.send_if_modified(|latest| {
            let newer = revision > *latest;
            *latest = revision.max(*latest);
            newer
        });
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.visible.read().get(key).cloned()
    }

    /// As [`State::get`], of a state some values of which may be unreadable.
    pub(crate) fn read(&self, key: &str) -> Result<Option<Arc<Entry>>, Error> {
        let visible = self.visible.read();
        visible.readable_key(key)?;
        Ok(visible.get(key).cloned())
    }

    pub(crate) fn revision(&self) -> Revision {
        self.visible.read().revision
    }

    /// A receiver of the revision, for those who wait for one.
    pub(crate) fn revisions(&self) -> watch::Receiver<Revision> {
        self.published.subscribe()
    }

    pub(crate) fn range(&self, range: Range<'_>) -> Result<RangeResult, Error> {
        self.visible.read().range(range)
    }

    pub(crate) fn count(&self, prefix: &str) -> usize {
        let Some(end) = successor(prefix) else { return self.visible.read().entries() };
        let bounds = (Bound::Included(prefix), Bound::Excluded(end.as_str()));
        let visible = self.visible.read();
        let shards = visible.matching(prefix);
        shards.map(|shard| if &*shard.name == prefix { shard.entries.len() } else { shard.count(bounds) }).sum()
    }

    pub(crate) fn watch(self: &Arc<State>, prefix: &str, interest: Interest, after: Revision) -> Result<Watch, Error> {
        let (name, complete) = shard_of(prefix);
        if !complete {
            self.first_after(prefix, after, None)?;
            let source = Source::Many { signal: self.published.subscribe(), rest: None };
            return Ok(Watch::new(self.clone(), prefix, interest, source, after));
        }
        let known = self.visible.read().find(name).map(|shard| shard.ring.clone());
        let ring = known.unwrap_or_else(|| self.visible.write().shard(prefix).ring.clone());
        let history = ring.history.read();
        let position = history.position(after).ok_or(Error::Compacted { oldest: history.floor() })?;
        let waiter = ring.wait(prefix, &interest, position);
        drop(history);
        let source = match waiter {
            Some(waiter) => Source::Some { ring, waiter },
            None => Source::One { signal: ring.subscribe(), ring, position },
        };
        Ok(Watch::new(self.clone(), prefix, interest, source, after))
    }

    /// The first change after `after` under a prefix that spans resources, and whether there are more of its revision; those
    /// come in the order of their keys. With `rest`, the first change of revision `after` with a greater key. Also the store's
    /// revision.
    pub(crate) fn first_after(
        &self,
        prefix: &str,
        after: Revision,
        rest: Option<&str>,
    ) -> Result<(First, Revision), Error> {
        let visible = self.visible.read();
        if after < visible.oldest {
            return Err(Error::Compacted { oldest: visible.oldest });
        }
        let from = if rest.is_some() { after - 1 } else { after };
        let is_next = |event: &&Arc<Event>| {
            event.key.starts_with(prefix) && (event.revision > after || rest.is_some_and(|rest| *event.key > *rest))
        };
        let mut first: Vec<Arc<Event>> = Vec::new();
        for shard in visible.matching(prefix) {
            let history = shard.ring.history.read();
            let compacted = Error::Compacted { oldest: history.floor() };
            let events = history.position(from).and_then(|at| history.from(at)).ok_or(compacted)?;
            for event in events.filter(is_next) {
                match first.first().map(|it| event.revision.cmp(&it.revision)) {
                    Some(std::cmp::Ordering::Greater) => break,
                    Some(std::cmp::Ordering::Less) => first.clear(),
                    _ => {}
                }
                first.push(event.clone());
            }
        }
        let more = first.len() > 1;
        let first = first.into_iter().min_by(|a, b| a.key.cmp(&b.key)).map(|event| (event, more));
        Ok((first, visible.revision))
    }

    pub(crate) fn compact(&self, before: Revision) -> Result<(), Error> {
        let mut visible = self.visible.write();
        if before > visible.revision {
            return Err(Error::FutureRevision { current: visible.revision });
        }
        visible.oldest = visible.oldest.max(before);
        visible.shards.iter().for_each(|shard| shard.ring.history.write().compact(before));
        Ok(())
    }

    /// All entries, but for those with the prefixes in `without`, as of the oldest revision at or after `from` that every
    /// resource's history reaches back to.
    pub(crate) fn snapshot(&self, from: Revision, without: &[String]) -> Result<RangeResult, Error> {
        let visible = self.visible.read();
        let shards =
            || visible.shards.iter().filter(|shard| !without.iter().any(|prefix| shard.name.starts_with(prefix)));
        let floors = shards().map(|shard| shard.ring.history.read().floor());
        let revision = floors.fold(visible.oldest.max(from), Revision::max);
        let mut result = RangeResult { revision, ..RangeResult::default() };
        for shard in shards() {
            shard.list((Bound::Unbounded, Bound::Unbounded), revision, usize::MAX, &mut result)?;
        }
        Ok(result)
    }

    /// The keys that expire at or before `now` with their revisions, and the next deadline after that.
    pub(crate) fn due(&self, now: u64) -> (Vec<(Arc<str>, Revision)>, Option<u64>) {
        let visible = self.visible.read();
        let mut due = Vec::new();
        for (at, key) in &visible.deadlines {
            if *at > now {
                return (due, Some(*at));
            }
            due.extend(visible.get(key).map(|entry| (key.clone(), entry.revision)));
        }
        (due, None)
    }

    /// Ends the watches.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.visible.read().shards.iter().for_each(|shard| shard.ring.close());
        self.published.send_modify(|_| ());
        self.deadline.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Bytes of live keys and values.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.visible.read().bytes
    }

    pub(crate) fn stats(&self) -> Stats {
        let visible = self.visible.read();
        let mut stats = Stats {
            revision: visible.revision,
            entries: visible.entries() as u64,
            bytes: visible.bytes,
            commits: self.commits.load(Ordering::Relaxed),
            committed_bytes: self.committed_bytes.load(Ordering::Relaxed),
            unreadable: visible.unreadable.len() as u64,
            ..Stats::default()
        };
        for shard in visible.shards.iter() {
            let history = shard.ring.history.read();
            stats.history_events += history.len() as u64;
            stats.history_bytes += history.bytes() as u64;
        }
        stats
    }
}

impl Visible {
    /// The shard that `key` belongs to, made if need be.
    fn shard(&mut self, key: &str) -> &mut Shard {
        let (name, _) = shard_of(key);
        let at = self.shards.binary_search_by(|shard| (*shard.name).cmp(name)).unwrap_or_else(|at| {
            let ring = Ring::new(self.oldest);
            self.shards.insert(at, Shard { name: name.into(), entries: BTreeMap::new(), ring });
            at
        });
        &mut self.shards[at]
    }

    fn find(&self, name: &str) -> Option<&Shard> {
        self.shards.binary_search_by(|shard| (*shard.name).cmp(name)).ok().and_then(|at| self.shards.get(at))
    }

    fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.find(shard_of(key).0)?.entries.get(key)
    }

    fn entries(&self) -> usize {
        self.shards.iter().map(|shard| shard.entries.len()).sum()
    }

    /// The shards that may hold keys under `prefix`.
    fn matching(&self, prefix: &str) -> impl Iterator<Item = &Shard> {
        let (name, complete) = shard_of(prefix);
        let one = complete.then(|| self.find(name)).flatten();
        let overlaps = move |shard: &&Shard| shard.name.starts_with(prefix) || prefix.starts_with(&*shard.name);
        let many = (!complete).then(|| self.shards.iter().filter(overlaps));
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Whether the earliest deadline has changed.
    fn replace_deadline(&mut self, previous: Option<&Arc<Entry>>, entry: Option<&Arc<Entry>>) -> bool {
        if let Some((entry, at)) = previous.and_then(|entry| Some((entry, entry.expires?))) {
            self.deadlines.remove(&(at, entry.key.clone()));
        }
        let Some((entry, at)) = entry.and_then(|entry| Some((entry, entry.expires?))) else { return false };
        let earliest = self.deadlines.first().is_none_or(|(first, _)| at < *first);
        self.deadlines.insert((at, entry.key.clone()));
        earliest
    }

    fn range(&self, range: Range<'_>) -> Result<RangeResult, Error> {
        let at = range.at.unwrap_or(self.revision);
        if at > self.revision {
            return Err(Error::FutureRevision { current: self.revision });
        }
        if at < self.oldest {
            return Err(Error::Compacted { oldest: self.oldest });
        }
        self.readable(range.prefix)?;
        let mut result = RangeResult { revision: at, ..RangeResult::default() };
        let end = successor(range.prefix);
        let start = range.start_after.filter(|after| *after >= range.prefix);
        let start = start.map_or(Bound::Included(range.prefix), Bound::Excluded);
        let bounds = (start, end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
        if let (Bound::Excluded(after), Some(end)) = (start, &end)
            && after >= end.as_str()
        {
            return Ok(result);
        }
        let mut shards = self.matching(range.prefix).peekable();
        let Some(first) = shards.next() else { return Ok(result) };
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        if shards.peek().is_none() {
            first.list(bounds, at, limit, &mut result)?;
        } else {
            // Names of shards may be prefixes of each other: collect all, then sort and cut.
            for shard in std::iter::once(first).chain(shards) {
                shard.list(bounds, at, usize::MAX, &mut result)?;
            }
            result.entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            result.remaining = result.entries.len().saturating_sub(limit);
            result.entries.truncate(limit);
        }
        result.more = result.remaining > 0;
        Ok(result)
    }
}
