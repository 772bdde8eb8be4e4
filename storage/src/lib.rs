//! Where the API server keeps objects: keys, bytes and revisions.
//!
//! [`Store`] knows nothing of Kubernetes: a key like `/registry/pods/default/web-1` holds bytes, every change takes the next
//! revision of one sequence, and watchers read the changes in that order. Three stores implement it: [`memory()`] for tests,
//! the embedded log ([`open`]), which is the same state machine with a journal in front (see [`log`]), and [`etcd`], which feeds
//! it from outside.
//!
//! What holds for each of them:
//! - a commit that returned is durable, and only durable changes can be read or watched;
//! - every commit has exactly one revision, in etcd with gaps and elsewhere without; an empty store is at revision 1;
//! - a list and a watch from the list's revision together see every change exactly once;
//! - once durability is lost the store accepts no more changes and says why, while reads go on.

mod codec;
pub mod etcd;
mod expiry;
mod interest;
pub mod log;
mod memory;
pub mod migrate;
mod ring;
mod shard;
mod state;
#[cfg(test)]
mod suite;
mod watch;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use codec::{Codec, Opened, Place};
pub use interest::{Interest, Tag};
pub use log::{LogOptions, OpenError};
pub use watch::Watch;

/// A position in the store's history; it becomes an object's `resourceVersion`.
pub type Revision = u64;

/// A stored object: its bytes, with the revision of its last change spliced in where the writer asked for it.
pub struct Entry {
    /// The whole key.
    pub key: Arc<str>,
    /// The bytes as they are to be served.
    pub value: Bytes,
    /// The revision at which the key came into being.
    pub created: Revision,
    /// The revision of the last change.
    pub revision: Revision,
    /// Where in `value` the decimal digits of `revision` stand.
    stamp: Option<u32>,
    /// When the store deletes it by itself: milliseconds since the Unix epoch.
    pub expires: Option<u64>,
    /// What is kept of it is in a form in which it would not be written now; see [`Opened::stale`].
    pub stale: bool,
    /// What is kept of it is what a codec made of it.
    sealed: bool,
}

impl Entry {
    /// The entry that `put` becomes when it is committed to `key` at `revision`.
    fn new(key: Arc<str>, put: &Put, created: Revision, revision: Revision, expires: Option<u64>) -> Entry {
        let (value, stamp) = match put.revision_at {
            Some(at) => (splice(&put.value, at, 0, revision), u32::try_from(at).ok()),
            None => (put.value.clone(), None),
        };
        Entry { key, value, created, revision, stamp, expires, stale: false, sealed: false }
    }

    /// The same bytes with another revision in place of the entry's own; the frame of a deletion carries the deletion's.
    /// Without a stamp, the bytes as they are.
    pub fn with_revision(&self, revision: Revision) -> Bytes {
        match self.stamp_offset() {
            Some(at) if revision != self.revision => splice(&self.value, at, digits(self.revision), revision),
            _ => self.value.clone(),
        }
    }

    /// The bytes without the revision's digits: what a [`Codec`] is given.
    fn unstamped(&self) -> Bytes {
        let Some(at) = self.stamp_offset() else { return self.value.clone() };
        let mut bytes = Vec::with_capacity(self.value.len());
        bytes.extend_from_slice(&self.value[..at]);
        bytes.extend_from_slice(&self.value[at + digits(self.revision)..]);
        Bytes::from(bytes)
    }

    /// The offset in `value` of the revision's decimal digits, if the writer had them inserted.
    pub fn stamp_offset(&self) -> Option<usize> {
        self.stamp.map(|at| at as usize)
    }

    /// What the entry adds to the store's live bytes.
    fn size(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }
}

/// Never prints the value: it may be a Secret.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}@{}, {} bytes)", self.key, self.revision, self.value.len())
    }
}

fn digits(revision: Revision) -> usize {
    revision.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// `value` with the `old` bytes at `at` replaced by `revision` in decimal.
fn splice(value: &[u8], at: usize, old: usize, revision: Revision) -> Bytes {
    let width = digits(revision);
    let mut spliced = Vec::with_capacity(value.len() - old + width);
    spliced.extend_from_slice(&value[..at]);
    spliced.resize(at + width, b'0');
    let mut rest = revision;
    for digit in spliced[at..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    spliced.extend_from_slice(&value[at + old..]);
    Bytes::from(spliced)
}

/// What a writer hands in.
#[derive(Clone, Default)]
pub struct Put {
    /// The bytes to keep.
    pub value: Bytes,
    /// The offset in `value` at which the commit's revision is inserted, in decimal digits.
    pub revision_at: Option<usize>,
    /// How long the entry lives from now. Longer ones are rounded up by at most 1/32 and a minute, so that they expire together.
    pub ttl: Option<Duration>,
}

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Put({} bytes, revision at {:?}, ttl {:?})", self.value.len(), self.revision_at, self.ttl)
    }
}

/// What a commit demands of the key's current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing; only a delete needs the key to exist.
    Any,
    /// The key does not exist.
    Absent,
    /// The key exists, and this was its last change.
    Revision(Revision),
}

/// One change of one key.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The key to change.
    pub key: Arc<str>,
    /// What it must hold.
    pub expect: Expect,
    /// The new content; `None` deletes the key.
    pub put: Option<Put>,
}

/// A change that has become durable.
#[derive(Clone, Debug)]
pub struct Committed {
    /// After a put the new entry, after a delete the removed one.
    pub entry: Arc<Entry>,
    /// What the key held before.
    pub previous: Option<Arc<Entry>>,
    /// The revision of this change.
    pub revision: Revision,
}

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The expectation was not met, or a delete found nothing.
    #[error("the key is not in the expected state (now at revision {:?})", current.as_ref().map(|entry| entry.revision))]
    Conflict {
        /// What the key holds; durable.
        current: Option<Arc<Entry>>,
    },
    /// The history asked for is no longer retained, or the watcher was too slow for it.
    #[error("the requested revision has been compacted; the oldest retained one is {oldest}")]
    Compacted {
        /// The oldest revision that can be listed or watched from.
        oldest: Revision,
    },
    /// The revision has not been reached (in the time given).
    #[error("the requested revision lies in the future; the store is at {current}")]
    FutureRevision {
        /// The store's revision.
        current: Revision,
    },
    /// The store takes no more changes: it was closed, or durability was lost. The text says which.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The value is larger than the store accepts.
    #[error("a value of {size} bytes exceeds the store's limit of {limit}")]
    TooLarge {
        /// Size of the value in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// More bytes wait for the disk than the store queues; try again.
    #[error("too many changes are waiting for the disk")]
    Busy,
    /// The commit itself makes no sense; the text says why.
    #[error("invalid commit: {0}")]
    Invalid(&'static str),
    /// What is kept under the key cannot be turned into a value.
    #[error("unable to transform key {key:?}: {reason}")]
    Unreadable {
        /// The key.
        key: Arc<str>,
        /// Why.
        reason: String,
    },
    /// The value could not be brought into the form in which it is kept; the text says why.
    #[error("{0}")]
    Sealing(String),
}

/// What to list. All entries whose key starts with `prefix`, in key order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range<'a> {
    /// Ends with `/` in practice.
    pub prefix: &'a str,
    /// Only keys after this one.
    pub start_after: Option<&'a str>,
    /// At most so many entries; 0 for all.
    pub limit: usize,
    /// As of this revision; the present if `None`.
    pub at: Option<Revision>,
}

/// A list.
#[derive(Clone, Debug, Default)]
pub struct RangeResult {
    /// In key order.
    pub entries: Vec<Arc<Entry>>,
    /// The revision the list is of.
    pub revision: Revision,
    /// Whether the limit cut it.
    pub more: bool,
    /// How many match after the last entry.
    pub remaining: usize,
}

/// A change as watchers see it.
#[derive(Debug)]
pub struct Event {
    /// The revision of the change.
    pub revision: Revision,
    /// The key that changed.
    pub key: Arc<str>,
    /// What it holds since; `None`: it was deleted.
    pub entry: Option<Arc<Entry>>,
    /// What it held before.
    pub previous: Option<Arc<Entry>>,
    /// Encoded forms of this event, shared by all who watch it.
    pub frames: Frames,
    tags: OnceLock<(String, String)>,
}

impl Event {
    /// See [`Frames::frame`].
    pub fn frame(&self, slot: usize, make: impl FnOnce() -> Bytes) -> Bytes {
        self.frames.frame(slot, make)
    }

    /// The tags after and before the change; empty where there is no entry.
    fn tags(&self, tag: Tag) -> (&str, &str) {
        let of = |entry: &Option<Arc<Entry>>| entry.as_deref().map(tag).unwrap_or_default();
        let (now, before) = self.tags.get_or_init(|| (of(&self.entry), of(&self.previous)));
        (now, before)
    }
}

/// A place for encoded watch frames, so that each is made once per event. What a slot means is the caller's affair.
#[derive(Default)]
pub struct Frames([OnceLock<Bytes>; Frames::SLOTS]);

impl Frames {
    /// How many forms are kept.
    pub const SLOTS: usize = 4;

    /// The frame in `slot`, made by `make` the first time. A slot beyond [`Frames::SLOTS`] is made anew each time.
    pub fn frame(&self, slot: usize, make: impl FnOnce() -> Bytes) -> Bytes {
        match self.0.get(slot) {
            Some(cell) => cell.get_or_init(make).clone(),
            None => make(),
        }
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frames({})", self.0.iter().filter(|cell| cell.get().is_some()).count())
    }
}

/// Bounds of a store.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest value, in bytes.
    pub value_bytes: usize,
    /// Events retained per resource.
    pub history_events: usize,
    /// Bytes retained per resource for events and what they replaced, an encoded frame for each included.
    pub history_bytes: usize,
    /// How long events are retained, about: at least as long, and an eighth longer while changes come. When none come, nothing
    /// is given up.
    pub history_age: Duration,
    /// Bytes that may wait for the disk.
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            value_bytes: 3 << 20,
            history_events: 16_384,
            history_bytes: 32 << 20,
            // Upstream gives up, every five minutes, what is older than five: a reader can always be five behind, and never ten. Here
            // it is given up in steps of an eighth.
            history_age: Duration::from_secs(480),
            queue_bytes: 64 << 20,
        }
    }
}

/// Numbers for `/metrics`. Those of the disk count from the start of the process and are 0 for the memory store.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Latest acknowledged revision.
    pub revision: Revision,
    /// Live entries.
    pub entries: u64,
    /// Bytes of live keys and values.
    pub bytes: u64,
    /// Keys whose values cannot be read.
    pub unreadable: u64,
    /// Events retained for watches and older lists.
    pub history_events: u64,
    /// Bytes charged for them.
    pub history_bytes: u64,
    /// Commits acknowledged since the start.
    pub commits: u64,
    /// Bytes of keys and values in those commits: what `disk_bytes` is to be compared with for flash wear.
    pub committed_bytes: u64,
    /// Bytes written to files, snapshots included.
    pub disk_bytes: u64,
    /// Calls of fsync and fdatasync.
    pub syncs: u64,
    /// Log segments on disk.
    pub segments: u64,
    /// Bytes in them.
    pub segment_bytes: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Snapshots that could not be written; the log stays longer.
    pub failed_snapshots: u64,
}

/// A store of revisioned bytes. Reads are answered from memory and never wait for a disk.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What `key` holds, with every commit that has been acknowledged.
    fn get(&self, key: &str) -> Result<Option<Arc<Entry>>, Error>;

    /// Lists entries. A past revision is served while its history is retained, else [`Error::Compacted`]; one that has not
    /// been reached is [`Error::FutureRevision`].
    fn range(&self, range: Range<'_>) -> Result<RangeResult, Error>;

    /// How many keys start with `prefix`.
    fn count(&self, prefix: &str) -> usize;

    /// Changes one key and returns when that is durable. Dropping the future does not take the change back.
    async fn commit(&self, commit: Commit) -> Result<Committed, Error>;

    /// Follows the changes after revision `after` of keys that start with `prefix`. [`Error::Compacted`] if the history
    /// retained begins later.
    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.watch_for(prefix, Interest::All, after)
    }

    /// As [`Store::watch`], of the changes that are of interest only: the others do not wake the watcher.
    fn watch_for(&self, prefix: &str, interest: Interest, after: Revision) -> Result<Watch, Error>;

    /// The latest acknowledged revision.
    fn revision(&self) -> Revision;

    /// Whether other servers may write to the same store.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns when reads and lists see everything that was acknowledged to anyone before the call: by other servers on the
    /// same store too, where there can be such.
    async fn catch_up(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Returns when the store has reached `revision`, or [`Error::FutureRevision`] after `timeout`.
    async fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), Error>;

    /// Gives up the history before revision `before`: it can then no longer be listed or watched from.
    async fn compact(&self, before: Revision) -> Result<(), Error>;

    /// Whether changes are accepted; if not, why.
    fn health(&self) -> Result<(), String>;

    /// Numbers for `/metrics`.
    fn stats(&self) -> Stats;

    /// Writes out what waits, ends background work and watches, and lets go of the directory. Reads still answer.
    async fn close(&self);
}

/// An empty store that keeps nothing on disk.
pub fn memory() -> Arc<dyn Store> {
    memory_with(Limits::default())
}

/// As [`memory()`], with other bounds.
pub fn memory_with(limits: Limits) -> Arc<dyn Store> {
    memory::Memory::new(state::State::new(limits), None)
}

/// Opens the embedded log in `dir`, which is made (0700) if need be, and recovers what is there. Takes the directory's
/// lock until [`Store::close`]. Values are kept as `codec` has it, or as they are.
pub async fn open(dir: &Path, options: LogOptions, codec: Option<Arc<dyn Codec>>) -> Result<Arc<dyn Store>, OpenError> {
    Ok(log::open(dir, options, codec).await?)
}
