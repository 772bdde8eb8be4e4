//! The embedded log: the store's durability without a second process.
//!
//! State lives in memory (`state.rs`); the directory holds what is needed to rebuild it:
//!
//! | file | content |
//! |---|---|
//! | `lock` | locked by the process that has the log open; its process id |
//! | `log-<revision>` | a segment: a header, then records in revision order, the first of that revision |
//! | `snapshot-<revision>` | a header, all entries as of that revision, a footer with their number and a checksum |
//! | `*.tmp` | a file that was not finished; removed on opening |
//!
//! *Writing.* Writers are checked against everything queued and get their revisions under one short lock. A thread takes the
//! whole queue, writes it with one call, flushes once, makes it visible, and answers the writers. A failed write or flush
//! is final: the store stops accepting changes and says why, and goes on answering reads.
//!
//! *Records* (`record.rs`) carry a CRC-32C over length and body. The first of each batch is marked: that it exists proves that
//! everything before it had been flushed. So on opening, a bad record in the last segment with no later batch behind it is
//! the torn end of a write that nobody was told about, and is cut off; any other bad record, or a gap in the revisions, is
//! damage, and opening is refused with file and offset. A clean close leaves a mark, which proves the last batch too.
//!
//! *Revisions without a record.* A change that is to be in memory only takes a revision too. Before any such revision is given
//! away, a record reserves it with some thousands after it, and no later start goes on below that. Each record says how many
//! revisions before it have none, so that a record that is missing is still noticed.
//!
//! *Snapshots* are written in the background when the log has grown by a multiple of the live data. A snapshot is not of the
//! present but of an older revision, so that the changes since can be replayed from the log with what they replaced:
//! watches and lists at older revisions go on across a restart. The segments before it are removed.
//!
//! Someone outside can read the files at any time, without a lock and without the keys of sealed values (`image.rs`); checks,
//! backups and repairs (`offline.rs`) do.
//!
//! Names and contents reach the disk in order: a file is written under a temporary name, flushed, renamed, and the
//! directory flushed, before anything relies on it.

mod blocks;
mod directory;
mod disk;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod fault_tests;
mod image;
mod journal;
mod offline;
#[cfg(test)]
mod offline_tests;
mod patch;
mod record;
mod recovery;
mod scan;
mod snapshot;
#[cfg(test)]
mod tests;
mod unread;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::memory::Memory;
use crate::{Codec, Limits, Revision};
use directory::Directory;
pub use image::{Problem, Summary};
pub(crate) use journal::Journal;
pub use offline::{BUMP, Repaired, Report, Saved, backup, check, create, repair, restore};

/// How the embedded log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// A segment is closed when it has grown to so many bytes.
    pub segment_bytes: u64,
    /// Between snapshots the log grows by at least so many bytes,
    pub snapshot_bytes: u64,
    /// and by at least so many times the live bytes.
    pub snapshot_ratio: u64,
    /// Values of at least so many bytes are compressed in files, if at all.
    pub compress_from: Option<usize>,
    /// Of keys with these prefixes, each a whole resource's (`/registry/leases/`), nothing is kept on disk: they are gone after
    /// a restart, and so is their history. Everything else holds for them too, revisions that only grow among it.
    pub volatile: Vec<String>,
    /// Bounds of what is kept in memory.
    pub limits: Limits,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 64 << 20,
            snapshot_bytes: 16 << 20,
            snapshot_ratio: 2,
            compress_from: None,
            volatile: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Why the log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by process {holder}: stop that process, or choose another data directory", path.display())]
    Locked {
        /// The log's directory.
        path: PathBuf,
        /// The process id found in the lock file, or "unknown".
        holder: String,
    },
    /// A file is not as it was written, and not merely cut off at the end.
    #[error(
        "{} is damaged at offset {offset}: {reason}. Nothing was changed. `coracle storage check` tells everything that is \
         damaged; `coracle storage repair` saves what is intact; to go back to a backup, move the directory away and use \
         `coracle restore`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A value cannot be read with the keys that were given, and nothing later has taken its place.
    #[error(
        "{} holds a value at offset {offset} that cannot be read: {reason}. Nothing was changed. Give the keys with which it was \
         written",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// Why not.
        reason: String,
    },
    /// A repair was interrupted when the damaged directory had been moved away.
    #[error("a repair of {} was interrupted: run `coracle storage repair` again", path.display())]
    HalfRepaired {
        /// The log's directory.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl OpenError {
    fn damaged(path: PathBuf, offset: u64, reason: String) -> OpenError {
        OpenError::Damaged { path, offset, reason }
    }
}

/// See [`crate::open`].
pub(crate) async fn open(
    path: &Path,
    options: LogOptions,
    codec: Option<Arc<dyn Codec>>,
) -> Result<Arc<Memory>, OpenError> {
    let path = path.to_owned();
    let opening = tokio::task::spawn_blocking(move || {
        if !path.exists() && offline::suffixed(&path, directory::REPAIRED).exists() {
            return Err(OpenError::HalfRepaired { path });
        }
        let lock = directory::lock(&path)?;
        let directory = Directory::new(Arc::new(disk::Native), &path, Some(lock), codec, options.compress_from);
        open_on(directory, options)
    });
    let store = opening.await.map_err(io::Error::other)??;
    store.start_expiry();
    Ok(store)
}

/// Recovers the log in `directory` and starts its writer.
fn open_on(directory: Arc<Directory>, options: LogOptions) -> Result<Arc<Memory>, OpenError> {
    let recovered = recovery::recover(&directory, &options)?;
    let state = recovered.state.clone();
    let journal = Journal::start(recovered, directory, options)?;
    Ok(Memory::new(state, Some(journal)))
}

/// What recovery has found, and where writing goes on.
struct Recovered {
    state: Arc<crate::state::State>,
    /// The revision of the snapshot, or that of an empty store.
    base: Revision,
    /// The store's revision when the snapshot was taken.
    taken: Revision,
    /// Bytes of log since then.
    grown: u64,
    /// The revision of the last change that has a record.
    logged: Revision,
    /// The segment to write to.
    segment: directory::Writing,
}
