//! Snapshots: all entries as of one revision, in one file.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::directory::{Directory, Writing, name};
use super::record::{self, FileKind, HEADER, Kept, Record};
use super::unread::Unread;
use super::{OpenError, scan};
use crate::state::State;
use crate::{Entry, RangeResult, Revision};

/// Bytes between two flushes, so that the flush of a commit never waits for a whole snapshot to reach the disk.
const CHUNK: usize = 1 << 20;

/// What a snapshot file holds.
pub(super) struct Snapshot {
    pub(super) revision: Revision,
    /// The store's revision when it was taken.
    pub(super) taken: Revision,
    /// The revision that the log's records reach at least.
    pub(super) reached: Revision,
    pub(super) entries: Vec<Arc<Entry>>,
}

/// Writes a snapshot of the oldest revision from `from` on whose later changes are all retained, and removes what it makes
/// superfluous. `base` is the revision of the last one; of keys with the prefixes in `volatile` nothing is kept. Returns the
/// revision of the snapshot now in force.
pub(super) fn take(
    directory: &Arc<Directory>,
    state: &State,
    base: Revision,
    from: Revision,
    volatile: &[String],
) -> io::Result<Revision> {
    let taken = state.revision();
    let content = state.snapshot(from, volatile).map_err(io::Error::other)?;
    if content.revision <= base {
        return Ok(base);
    }
    let mut file = directory.begin(FileKind::Snapshot, content.revision, taken)?;
    if let Err(error) = fill(directory, &mut file, &content, taken, state.has_gaps()).and_then(|()| file.publish()) {
        // Room for the log matters more than the reason why this fails too.
        let _ = file.abandon();
        return Err(error);
    }
    directory.count_snapshot();
    tracing::info!(revision = content.revision, bytes = file.length, "wrote a snapshot");
    prune(directory, content.revision)?;
    Ok(content.revision)
}

fn fill(
    directory: &Directory,
    file: &mut Writing,
    content: &RangeResult,
    taken: Revision,
    has_gaps: bool,
) -> io::Result<()> {
    let mut checksum = crc32c::crc32c(&record::header(FileKind::Snapshot, content.revision, taken));
    let mut chunk = Vec::new();
    for entry in &content.entries {
        // In the form in which the log has it, sealed or not: what the log says next may be a patch of that.
        let sealed = if entry.sealed { directory.seal(&entry.key, || entry.unstamped()) } else { Ok(None) };
        let sealed = sealed.map_err(io::Error::other)?;
        record::encode_kept(&mut chunk, &entry.key, &Kept::of(entry, sealed.as_ref()), directory.compress_from);
        if chunk.len() >= CHUNK {
            if directory.closing.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "the store is being closed"));
            }
            checksum = crc32c::crc32c_append(checksum, &chunk);
            file.write(&chunk)?;
            file.sync()?;
            chunk.clear();
        }
    }
    checksum = crc32c::crc32c_append(checksum, &chunk);
    // Where revisions may have no record, only those of entries are known to have one.
    let entries = content.entries.iter().map(|entry| entry.revision);
    let reached = if has_gaps { entries.max().unwrap_or(1) } else { content.revision };
    record::encode_footer(&mut chunk, content.entries.len() as u64, checksum, reached);
    file.write(&chunk)
}

/// Removes older snapshots and the segments that end before the snapshot of `revision`, oldest first.
pub(super) fn prune(directory: &Directory, revision: Revision) -> io::Result<()> {
    let mut removed = false;
    loop {
        let mut segments = directory.segments.lock();
        let mut firsts = segments.keys().copied();
        let (Some(oldest), Some(next)) = (firsts.next(), firsts.next()) else { break };
        if next > revision + 1 {
            break;
        }
        directory.remove(FileKind::Segment, oldest)?;
        segments.remove(&oldest);
        removed = true;
    }
    for old in directory.numbers(FileKind::Snapshot)?.into_iter().filter(|old| *old < revision) {
        directory.remove(FileKind::Snapshot, old)?;
        removed = true;
    }
    if removed { directory.sync() } else { Ok(()) }
}

/// Reads and checks the newest snapshot, if there is one.
pub(super) fn load(directory: &Directory, unread: &mut Unread) -> Result<Option<Snapshot>, OpenError> {
    let Some(revision) = directory.numbers(FileKind::Snapshot)?.pop() else { return Ok(None) };
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    let (file, mut at) = (name(FileKind::Snapshot, revision), HEADER as u64);
    let mut visit = |record: &Record<'_>, length: usize| {
        let place = || (directory.path(&file), at);
        let entry = unread.entry(record.key.into(), record.kept(|| None)?, directory.codec(), place);
        entries.push(Arc::new(entry));
        at += length as u64;
        Ok(())
    };
    let end = scan::snapshot(directory, &file, Some(revision), &mut visit)?;
    Ok(Some(Snapshot { revision, taken: end.header.extra, reached: end.reached, entries }))
}
