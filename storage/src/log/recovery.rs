//! Opening: from the files back to the state.

use std::sync::Arc;

use super::directory::{Directory, Writing, name};
use super::record::{self, FileKind, HEADER, Kind, Record};
use super::snapshot::{self, Snapshot};
use super::{LogOptions, OpenError, Recovered};
use crate::Revision;
use crate::state::{Change, State};

/// Rebuilds the state from the newest snapshot and the segments after it; cuts off a torn end. Changes nothing on disk
/// unless all could be read.
pub(super) fn recover(directory: &Arc<Directory>, options: &LogOptions) -> Result<Recovered, OpenError> {
    let none = Snapshot { revision: 1, taken: 1, entries: Vec::new() };
    let Snapshot { revision: base, taken, entries } = snapshot::load(directory)?.unwrap_or(none);
    let state = State::restore(options.limits.clone(), base, entries);
    let firsts = directory.numbers(FileKind::Segment)?;
    // The segment that holds the first revision after the snapshot; those before it are left over from an interrupted prune.
    let start = firsts.partition_point(|first| *first <= base + 1).checked_sub(1);
    let Some(start) = start else { return begin(directory, state, base, taken, &firsts) };
    let mut replay = Replay { directory, state: &state, base, taken, last: firsts[start] - 1, grown: 0 };
    let mut end = 0;
    for (index, first) in firsts.iter().enumerate().skip(start) {
        end = replay.segment(*first, index + 1 == firsts.len())?;
    }
    let (grown, last) = (replay.grown, replay.last);
    if last < base {
        let path = directory.path(&name(FileKind::Segment, firsts[firsts.len() - 1]));
        let reason = format!("the log ends at revision {last}, before its snapshot's {base}");
        return Err(OpenError::Damaged { path, offset: end, reason });
    }
    directory.remove_temporary()?;
    directory.segments.lock().extend(firsts[..start].iter().map(|first| (*first, 0)));
    let newest = firsts[firsts.len() - 1];
    let segment = resume(directory, newest, end)?;
    snapshot::prune(directory, base)?;
    Ok(Recovered { state, base, taken, grown, segment })
}

/// A directory without a segment to go on with: a new log, if it is empty.
fn begin(
    directory: &Arc<Directory>,
    state: Arc<State>,
    base: Revision,
    taken: Revision,
    firsts: &[Revision],
) -> Result<Recovered, OpenError> {
    if base > 1 || !firsts.is_empty() {
        let path = directory.path(&name(FileKind::Segment, base + 1));
        let reason = format!("the log's records from revision {} on are missing", base + 1);
        return Err(OpenError::Damaged { path, offset: 0, reason });
    }
    directory.remove_temporary()?;
    let segment = create_segment(directory, base + 1)?;
    Ok(Recovered { state, base, taken, grown: 0, segment })
}

/// A new, empty segment whose first record is to be of revision `first`.
pub(super) fn create_segment(directory: &Arc<Directory>, first: Revision) -> std::io::Result<Writing> {
    let mut segment = directory.begin(FileKind::Segment, first, 0)?;
    segment.publish()?;
    directory.segments.lock().insert(first, segment.length);
    Ok(segment)
}

/// Opens the last segment for writing after `end`, and flushes it: what recovery has read must not be lost any more.
fn resume(directory: &Arc<Directory>, first: Revision, end: u64) -> std::io::Result<Writing> {
    let mut segment = directory.append(name(FileKind::Segment, first), end)?;
    segment.sync()?;
    directory.segments.lock().insert(first, end);
    Ok(segment)
}

struct Replay<'a> {
    directory: &'a Directory,
    state: &'a State,
    base: Revision,
    taken: Revision,
    /// The revision of the last record read.
    last: Revision,
    grown: u64,
}

impl Replay<'_> {
    /// Replays one segment; returns where its last good record ends.
    fn segment(&mut self, first: Revision, newest: bool) -> Result<u64, OpenError> {
        let name = name(FileKind::Segment, first);
        let damaged = |offset: usize, reason: String| {
            let path = self.directory.path(&name);
            Err(OpenError::Damaged { path, offset: offset as u64, reason })
        };
        let bytes = self.directory.read(&name)?;
        self.directory.segments.lock().insert(first, bytes.len() as u64);
        if let Err(reason) = record::check_header(&bytes, FileKind::Segment, first) {
            return damaged(0, reason);
        }
        if first != self.last + 1 {
            return damaged(0, format!("revisions {} to {} are missing before it", self.last + 1, first - 1));
        }
        let mut at = HEADER;
        while at < bytes.len() {
            let (found, length) = match record::decode(&bytes[at..]) {
                Ok(found) => found,
                Err(reason) if newest && !record::later_batch_follows(&bytes[at..], self.last) => {
                    let dropped = bytes.len() - at;
                    tracing::warn!(file = name, offset = at, dropped, reason, "cut off an interrupted write");
                    break;
                }
                Err(reason) => return damaged(at, reason.to_owned()),
            };
            if let Err(reason) = self.record(&found) {
                return damaged(at, reason);
            }
            if found.revision > self.taken {
                self.grown += length as u64;
            }
            at += length;
        }
        Ok(at as u64)
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), String> {
        if record.kind == Kind::Mark && record.revision == self.last {
            return Ok(());
        }
        if record.revision != self.last + 1 || !matches!(record.kind, Kind::Put | Kind::Delete) {
            return Err(format!("a record of revision {} follows revision {}", record.revision, self.last));
        }
        self.last = record.revision;
        if record.revision <= self.base {
            return Ok(());
        }
        let current = self.state.get(record.key);
        let deletes = record.kind == Kind::Delete;
        let entry = match current {
            Some(current) if deletes => current,
            None if deletes => return Err(format!("{} is deleted but does not exist", record.key)),
            current => {
                let key = current.map_or_else(|| record.key.into(), |entry| entry.key.clone());
                Arc::new(record.entry(key, self.directory.codec())?)
            }
        };
        self.state.replay(Change { entry, deletes, revision: record.revision, sealed: None });
        Ok(())
    }
}
