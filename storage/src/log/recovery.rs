//! Opening: from the files back to the state.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::directory::{Directory, Writing, name};
use super::record::{self, FileKind, HEADER, Kind, Record, VERSION};
use super::scan::{self, Position};
use super::snapshot::{self, Snapshot};
use super::unread::Unread;
use super::{LogOptions, OpenError, Recovered};
use crate::Revision;
use crate::state::{Change, State};

/// Rebuilds the state from the newest snapshot and the segments after it; cuts off a torn end. Changes nothing on disk
/// unless all could be read.
pub(super) fn recover(directory: &Arc<Directory>, options: &LogOptions) -> Result<Recovered, OpenError> {
    let none = Snapshot { revision: 1, taken: 1, reached: 1, entries: Vec::new() };
    let mut unread = Unread::default();
    let loaded = snapshot::load(directory, &mut unread)?.unwrap_or(none);
    let Snapshot { revision: base, taken, reached, entries } = loaded;
    let state = State::restore(options.limits.clone(), base, entries);
    let firsts = directory.numbers(FileKind::Segment)?;
    // The segment that holds the first revision after the snapshot; those before it are left over from an interrupted prune.
    let start = firsts.partition_point(|first| *first <= base + 1).checked_sub(1);
    let Some(start) = start else { return begin(directory, state, base, taken, &firsts, &options.volatile) };
    let last = scan::before(directory, firsts[start])?;
    let (file, at) = (String::new(), 0);
    let volatile = BTreeSet::new();
    let mut replay = Replay { directory, state: &state, base, taken, grown: 0, volatile, unread, file, at };
    let mut position = Position { last, top: base };
    let (mut end, mut version, mut bytes) = (0, VERSION, Vec::new());
    for (index, first) in firsts.iter().enumerate().skip(start) {
        let newest = index + 1 == firsts.len();
        (replay.file, replay.at) = (name(FileKind::Segment, *first), HEADER as u64);
        let mut visit = |record: &Record<'_>, length: usize| replay.record(record, length);
        let read = scan::segment(directory, *first, newest, &mut position, &mut bytes, &mut visit)?;
        directory.segments.lock().insert(*first, read.end);
        if read.torn > 0 {
            let file = name(FileKind::Segment, *first);
            tracing::warn!(file, offset = read.end, dropped = read.torn, "cut off an interrupted write");
        }
        (end, version) = (read.end, read.version);
    }
    let Replay { grown, volatile, unread, .. } = replay;
    let volatile: BTreeSet<String> = volatile.into_iter().chain(options.volatile.iter().cloned()).collect();
    let newest = firsts[firsts.len() - 1];
    if position.last < reached {
        let path = directory.path(&name(FileKind::Segment, newest));
        let reason = format!("the log ends at revision {}, before its snapshot's {reached}", position.last);
        return Err(OpenError::damaged(path, end, reason));
    }
    let whole_since = unread.finish()?;
    if !volatile.is_empty() {
        // What was there is gone, and no change tells of that: nobody who has seen it may go on from there.
        position.top += 1;
    }
    state.skip_to(position.top);
    state.forget(volatile);
    if let Some(revision) = whole_since {
        tracing::info!(revision, "values before this revision cannot be read any more, and are history");
        state.compact(revision).map_err(std::io::Error::other)?;
    }
    directory.remove_temporary()?;
    directory.segments.lock().extend(firsts[..start].iter().map(|first| (*first, 0)));
    let segment = resume(directory, newest, end, version, position, &options.volatile)?;
    snapshot::prune(directory, base)?;
    Ok(Recovered { state, base, taken, grown, logged: position.last, segment })
}

/// A directory without a segment to go on with: a new log, if it is empty.
fn begin(
    directory: &Arc<Directory>,
    state: Arc<State>,
    base: Revision,
    taken: Revision,
    firsts: &[Revision],
    volatile: &[String],
) -> Result<Recovered, OpenError> {
    if base > 1 || !firsts.is_empty() {
        let path = directory.path(&name(FileKind::Segment, base + 1));
        return Err(OpenError::damaged(
            path,
            0,
            format!("the log's records from revision {} on are missing", base + 1),
        ));
    }
    directory.remove_temporary()?;
    state.forget(volatile);
    let segment = create_segment(directory, Position { last: base, top: base }, volatile)?;
    Ok(Recovered { state, base, taken, grown: 0, logged: base, segment })
}

/// A new segment for what comes after `position`. Nothing is in it, but that changes of keys with the prefixes in `volatile` are not
/// to be found.
pub(super) fn create_segment(
    directory: &Arc<Directory>,
    position: Position,
    volatile: &[String],
) -> std::io::Result<Writing> {
    let first = position.top + 1;
    let mut segment = directory.begin(FileKind::Segment, first, position.last)?;
    if !volatile.is_empty() {
        let mut note = Vec::new();
        record::encode_reserve(&mut note, position.last, position.top, volatile);
        segment.write(&note)?;
    }
    segment.publish()?;
    directory.segments.lock().insert(first, segment.length);
    directory.append(name(FileKind::Segment, first), segment.length)
}

/// Opens the last segment for writing after `end`, and flushes it: what recovery has read must not be lost any more. A segment of
/// an older version is not written on: it ends there, and a new one begins.
fn resume(
    directory: &Arc<Directory>,
    first: Revision,
    end: u64,
    version: u32,
    position: Position,
    volatile: &[String],
) -> std::io::Result<Writing> {
    let mut segment = directory.append(name(FileKind::Segment, first), end)?;
    segment.sync()?;
    directory.segments.lock().insert(first, end);
    if version < VERSION { create_segment(directory, position, volatile) } else { Ok(segment) }
}

struct Replay<'a> {
    directory: &'a Directory,
    state: &'a State,
    base: Revision,
    taken: Revision,
    grown: u64,
    /// Prefixes of keys of whose changes nothing was kept.
    volatile: BTreeSet<String>,
    unread: Unread,
    /// The segment that is read, and how far.
    file: String,
    at: u64,
}

impl Replay<'_> {
    fn record(&mut self, record: &Record<'_>, length: usize) -> Result<(), String> {
        let at = self.at;
        self.at += length as u64;
        if record.revision > self.taken {
            self.grown += length as u64;
        }
        if record.kind == Kind::Reserve {
            self.volatile.extend(record.key.split(',').filter(|prefix| !prefix.is_empty()).map(str::to_owned));
        }
        if record.revision <= self.base || !record.is_change() {
            return Ok(());
        }
        let current = self.state.get(record.key);
        let deletes = record.kind == Kind::Delete;
        let entry = match current {
            Some(current) if deletes => {
                self.unread.replace(record.key, record.revision);
                current
            }
            None if deletes => return Err(format!("{} is deleted but does not exist", record.key)),
            current => {
                let key = current.as_ref().map_or_else(|| record.key.into(), |entry| entry.key.clone());
                let kept = record.kept(|| current.map(|entry| (entry.revision, entry.unstamped())))?;
                let place = || (self.directory.path(&self.file), at);
                Arc::new(self.unread.entry(key, kept, self.directory.codec(), place))
            }
        };
        let revision = record.revision;
        self.state.replay(Change { entry, deletes, revision, sealed: None, replaces: None, volatile: false });
        Ok(())
    }
}
