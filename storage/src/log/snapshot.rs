//! Snapshots: all entries as of one revision, in one file.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::OpenError;
use super::directory::{Directory, Writing, name};
use super::record::{self, FileKind, HEADER, Kind};
use crate::state::{Change, State};
use crate::{Entry, RangeResult, Revision};

/// Bytes between two flushes, so that the flush of a commit never waits for a whole snapshot to reach the disk.
const CHUNK: usize = 1 << 20;

/// What a snapshot file holds.
pub(super) struct Snapshot {
    pub(super) revision: Revision,
    /// The store's revision when it was taken.
    pub(super) taken: Revision,
    pub(super) entries: Vec<Arc<Entry>>,
}

/// Writes a snapshot of the oldest revision from `from` on whose later changes are all retained, and removes what it makes
/// superfluous. `base` is the revision of the last one. Returns the revision of the snapshot now in force.
pub(super) fn take(directory: &Arc<Directory>, state: &State, base: Revision, from: Revision) -> io::Result<Revision> {
    let taken = state.revision();
    let content = state.snapshot(from).map_err(io::Error::other)?;
    if content.revision <= base {
        return Ok(base);
    }
    let mut file = directory.begin(FileKind::Snapshot, content.revision, taken)?;
    if let Err(error) = fill(directory, &mut file, &content, taken).and_then(|()| file.publish()) {
        // Room for the log matters more than the reason why this fails too.
        let _ = file.abandon();
        return Err(error);
    }
    directory.count_snapshot();
    tracing::info!(revision = content.revision, bytes = file.length, "wrote a snapshot");
    prune(directory, content.revision)?;
    Ok(content.revision)
}

fn fill(directory: &Directory, file: &mut Writing, content: &RangeResult, taken: Revision) -> io::Result<()> {
    let mut checksum = crc32c::crc32c(&record::header(FileKind::Snapshot, content.revision, taken));
    let mut chunk = Vec::new();
    for entry in &content.entries {
        let sealed = directory.seal(&entry.key, || entry.unstamped()).map_err(io::Error::other)?;
        let change = Change { entry: entry.clone(), deletes: false, revision: entry.revision, sealed };
        record::encode(&mut chunk, &change, false);
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
    record::encode_note(&mut chunk, Kind::Footer, content.entries.len() as u64, checksum.into());
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
pub(super) fn load(directory: &Directory) -> Result<Option<Snapshot>, OpenError> {
    let Some(revision) = directory.numbers(FileKind::Snapshot)?.pop() else { return Ok(None) };
    let name = name(FileKind::Snapshot, revision);
    let mut offset = 0;
    let damaged = |offset: u64, reason: String| OpenError::Damaged { path: directory.path(&name), offset, reason };
    let mut file = BufReader::with_capacity(1 << 20, directory.open(&name)?);
    let mut buffer = vec![0; HEADER];
    read(&mut file, &mut buffer).map_err(|reason| damaged(0, reason))?;
    let taken = record::check_header(&buffer, FileKind::Snapshot, revision).map_err(|reason| damaged(0, reason))?;
    let mut checksum = crc32c::crc32c(&buffer);
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    loop {
        offset += buffer.len() as u64;
        let mut prefix = [0; 4];
        read(&mut file, &mut prefix).map_err(|reason| damaged(offset, reason))?;
        let rest = record::length(prefix) as u64 - 4;
        buffer.clear();
        buffer.extend_from_slice(&prefix);
        // Grows with what is there, not with what a damaged length claims.
        let got =
            file.by_ref().take(rest).read_to_end(&mut buffer).map_err(|error| damaged(offset, error.to_string()))?;
        if (got as u64) < rest {
            return Err(damaged(offset, "the snapshot is incomplete".to_owned()));
        }
        let (found, _) = record::decode(&buffer).map_err(|reason| damaged(offset, reason.to_owned()))?;
        match found.kind {
            Kind::Put if found.revision <= revision => {
                let entry = found.entry(found.key.into(), directory.codec());
                entries.push(Arc::new(entry.map_err(|reason| damaged(offset, reason))?));
            }
            Kind::Footer if found.revision == entries.len() as u64 && found.created == checksum.into() => break,
            _ => return Err(damaged(offset, "the snapshot's records do not belong together".to_owned())),
        }
        checksum = crc32c::crc32c_append(checksum, &buffer);
    }
    Ok(Some(Snapshot { revision, taken, entries }))
}

fn read(file: &mut impl Read, into: &mut [u8]) -> Result<(), String> {
    file.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "the snapshot is incomplete".to_owned(),
        _ => error.to_string(),
    })
}
