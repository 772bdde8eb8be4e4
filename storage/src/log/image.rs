//! What a log's directory holds, read from outside and without the keys of its values: for checks, repairs and backups. A server
//! may be writing there meanwhile; what it removes under the reader's hands is no damage, and reading begins again.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::OpenError;
use super::directory::{Directory, name};
use super::record::{self, FileKind, HEADER, Kept, Kind, Record};
use super::scan::{self, Position};
use crate::Revision;

/// How often reading begins again because files were removed meanwhile.
const ATTEMPTS: usize = 50;

/// Something in a directory that is not as it was written.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
    /// How many bytes cannot be read.
    pub bytes: u64,
    /// The first and the last revision whose changes are lost, as far as that can be told.
    pub revisions: Option<(Revision, Revision)>,
    /// Keys that are touched. Those found in damaged bytes are likely ones only.
    pub keys: Vec<String>,
}

/// What a directory holds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The revision that the files lead to.
    pub revision: Revision,
    /// The revision of the newest snapshot: history goes back to it.
    pub oldest: Revision,
    /// Live entries.
    pub entries: u64,
    /// Of them, those whose values are encrypted.
    pub sealed: u64,
    /// Sound records in segments.
    pub records: u64,
    /// Segments.
    pub segments: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes in all of these files.
    pub bytes: u64,
    /// Bytes at the end of the newest segment that belong to a write which is under way, or was interrupted; nobody was told
    /// about it.
    pub torn: u64,
    /// Files that are none of the log's.
    pub strangers: Vec<String>,
}

/// The content of a directory as of its latest revision.
#[derive(Default)]
pub(super) struct Image {
    pub(super) entries: BTreeMap<Arc<str>, Kept>,
    pub(super) summary: Summary,
    pub(super) problems: Vec<Problem>,
    /// The highest revision that any sound record or header names.
    pub(super) highest: Revision,
    base: Revision,
}

impl Image {
    /// Reads everything that can be read; what cannot is in `problems`.
    pub(super) fn read(directory: &Directory) -> io::Result<Image> {
        for _ in 0..ATTEMPTS {
            let names = directory.names()?;
            match Image::read_once(directory, &names) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(image) if !image.problems.is_empty() && directory.names()? != names => {}
                done => return done,
            }
        }
        Err(io::Error::other("the directory's files change faster than they can be read"))
    }

    fn read_once(directory: &Directory, names: &[String]) -> io::Result<Image> {
        let mut image = Image { base: 1, highest: 1, ..Image::default() };
        let known = |name: &&String| Directory::number(FileKind::Segment, name).is_some();
        let snapshots: Vec<Revision> =
            names.iter().filter_map(|name| Directory::number(FileKind::Snapshot, name)).collect();
        let segments: Vec<Revision> =
            names.iter().filter_map(|name| Directory::number(FileKind::Segment, name)).collect();
        let strange = |name: &&String| !known(name) && Directory::number(FileKind::Snapshot, name).is_none();
        image.summary.strangers =
            names.iter().filter(strange).filter(|name| !Directory::is_own(name)).cloned().collect();
        let reached = image.snapshots(directory, &snapshots)?;
        image.segments(directory, &segments, reached)?;
        let summary = &mut image.summary;
        (summary.segments, summary.snapshots) = (segments.len() as u64, snapshots.len() as u64);
        summary.entries = image.entries.len() as u64;
        summary.sealed = image.entries.values().filter(|kept| kept.sealed).count() as u64;
        summary.oldest = image.base;
        Ok(image)
    }

    /// Reads the snapshots; the entries are those of the newest that is whole, or else of the newest as far as it goes. Returns the
    /// revision that the log must reach.
    fn snapshots(&mut self, directory: &Directory, revisions: &[Revision]) -> io::Result<Revision> {
        let mut reached = 1;
        for revision in revisions {
            let name = name(FileKind::Snapshot, *revision);
            let mut entries = BTreeMap::new();
            let mut highest = *revision;
            let mut visit = |record: &Record<'_>, _: usize| {
                highest = highest.max(record.revision);
                entries.insert(Arc::from(record.key), record.kept(|| None)?);
                Ok(())
            };
            match scan::snapshot(directory, &name, Some(*revision), &mut visit) {
                Ok(end) => {
                    self.summary.bytes += end.bytes;
                    self.highest = self.highest.max(end.header.extra).max(highest);
                    (self.entries, self.base, reached) = (entries, *revision, end.reached);
                }
                Err(OpenError::Io(error)) => return Err(error),
                Err(OpenError::Damaged { offset, reason, .. }) => {
                    let bytes = directory.read(&name)?;
                    self.summary.bytes += bytes.len() as u64;
                    let lost = salvage(&bytes, *revision, &mut entries);
                    let bytes = bytes.len() as u64 - offset.min(bytes.len() as u64);
                    let path = directory.path(&name);
                    self.problems.push(Problem { path, offset, reason, bytes, revisions: None, keys: lost });
                    self.highest = self.highest.max(*revision);
                    // An older one is whole, and the log goes on from there; unless this is all there is.
                    if self.base == 1 && Some(revision) == revisions.last() {
                        (self.entries, self.base) = (entries, *revision);
                    }
                }
                Err(other) => return Err(io::Error::other(other)),
            }
        }
        Ok(reached)
    }

    fn segments(&mut self, directory: &Directory, firsts: &[Revision], reached: Revision) -> io::Result<()> {
        let base = self.base;
        let start = firsts.partition_point(|first| *first <= base + 1).saturating_sub(1);
        if firsts.first().is_none_or(|first| *first > base + 1) && (base > 1 || !firsts.is_empty()) {
            let reason = format!("the log's records from revision {} on are missing", base + 1);
            self.problem(directory, base + 1, 0, reason);
        }
        let mut position = Position { last: base, top: base };
        if let Some(first) = firsts.first() {
            match scan::before(directory, *first) {
                Ok(last) => position.last = last,
                Err(OpenError::Io(error)) => return Err(error),
                // Told below.
                Err(_) => position.last = first.saturating_sub(1),
            }
        }
        for (index, first) in firsts.iter().enumerate() {
            // What lies before the snapshot is left over; a hole between that and what counts is none.
            if index <= start {
                position.last = scan::before(directory, *first).unwrap_or(position.last);
            }
            self.segment(directory, *first, index + 1 == firsts.len(), &mut position)?;
        }
        if position.last < reached
            && let Some(newest) = firsts.last()
        {
            let reason = format!("the log ends at revision {}, before its snapshot's {reached}", position.last);
            self.problem(directory, *newest, 0, reason);
        }
        self.summary.revision = position.top;
        self.highest = self.highest.max(position.top);
        Ok(())
    }

    fn segment(
        &mut self,
        directory: &Directory,
        first: Revision,
        newest: bool,
        position: &mut Position,
    ) -> io::Result<()> {
        let bytes = directory.read(&name(FileKind::Segment, first))?;
        self.summary.bytes += bytes.len() as u64;
        match record::check_header_of(&bytes, FileKind::Segment, first) {
            Ok(header) if header.extra == position.last => {}
            Ok(header) => {
                let reason = "changes before this file are missing".to_owned();
                self.problem(directory, first, 0, reason).revisions = lost(position.last, header.extra);
                position.last = header.extra;
            }
            Err(reason) => self.problem(directory, first, 0, reason).bytes = HEADER as u64,
        }
        position.top = position.top.max(first.saturating_sub(1));
        let mut at = HEADER;
        let written = scan::written(&bytes);
        while at < written {
            match record::decode(&bytes[at..]) {
                Ok((record, length)) => {
                    self.record(directory, first, at, &record, position);
                    at += length;
                }
                Err(_) if newest && !record::later_batch_follows(&bytes[at..], position.last) => {
                    self.summary.torn = (written - at) as u64;
                    break;
                }
                Err(reason) => at += self.skip(directory, first, at, &bytes, reason, position),
            }
        }
        Ok(())
    }

    /// Notes a damaged record; returns how many bytes to leave out.
    fn skip(
        &mut self,
        directory: &Directory,
        first: Revision,
        at: usize,
        bytes: &[u8],
        reason: &str,
        position: &mut Position,
    ) -> usize {
        let next = record::next_sound(&bytes[at..], position.last);
        let skipped = next.unwrap_or_else(|| scan::written(bytes) - at);
        let resumed = next.and_then(|next| record::decode(&bytes[at + next..]).ok());
        let after = resumed.map(|(record, _)| if record.is_change() { record.after } else { record.revision });
        let key = record::likely_key(&bytes[at..at + skipped]).map(str::to_owned);
        let problem = self.problem(directory, first, at as u64, reason.to_owned());
        problem.bytes = skipped as u64;
        problem.keys.extend(key);
        if let Some(after) = after {
            problem.revisions = lost(position.last, after);
            position.last = after.max(position.last);
        }
        skipped
    }

    /// Takes over a sound record.
    fn record(
        &mut self,
        directory: &Directory,
        first: Revision,
        at: usize,
        record: &Record<'_>,
        position: &mut Position,
    ) {
        let last = position.last;
        if let Err(reason) = scan::follow(record, position) {
            let problem = self.problem(directory, first, at as u64, reason);
            problem.revisions = lost(last, record.after);
            *position = Position { last: record.revision, top: position.top.max(record.revision) };
        }
        self.summary.records += 1;
        self.highest = self.highest.max(record.revision);
        if let Err(reason) = self.apply(record) {
            let problem = self.problem(directory, first, at as u64, reason);
            problem.keys.push(record.key.to_owned());
            problem.revisions = Some((record.revision, record.revision));
        }
    }

    fn apply(&mut self, record: &Record<'_>) -> Result<(), String> {
        if record.revision <= self.base || !record.is_change() {
            return Ok(());
        }
        if record.kind == Kind::Delete {
            let removed = self.entries.remove(record.key).is_some();
            // After a loss the key may have been lost as well, and is to be gone anyway.
            let expected = removed || !self.problems.is_empty();
            return if expected { Ok(()) } else { Err(format!("{} is deleted but does not exist", record.key)) };
        }
        let current = self.entries.get_key_value(record.key);
        let base = current.filter(|(_, kept)| !kept.sealed).map(|(_, kept)| kept);
        let kept = record.kept(|| base.map(|kept| (kept.revision, kept.unstamped())))?;
        let key = current.map_or_else(|| record.key.into(), |(key, _)| key.clone());
        self.entries.insert(key, kept);
        Ok(())
    }

    fn problem(&mut self, directory: &Directory, first: Revision, offset: u64, reason: String) -> &mut Problem {
        let path = directory.path(&name(FileKind::Segment, first));
        let index = self.problems.len();
        self.problems.push(Problem { path, offset, reason, bytes: 0, revisions: None, keys: Vec::new() });
        &mut self.problems[index]
    }
}

/// The revisions after `last` up to `until`.
fn lost(last: Revision, until: Revision) -> Option<(Revision, Revision)> {
    (until > last).then_some((last + 1, until))
}

/// Takes what can be read of a damaged snapshot; returns the keys that seem to be lost.
fn salvage(bytes: &[u8], revision: Revision, entries: &mut BTreeMap<Arc<str>, Kept>) -> Vec<String> {
    let mut keys = Vec::new();
    let mut at = HEADER;
    while at < bytes.len() {
        match record::decode(&bytes[at..]) {
            Ok((record, length)) => {
                if record.kind == Kind::Put && record.revision <= revision {
                    match record.kept(|| None) {
                        Ok(kept) => drop(entries.insert(record.key.into(), kept)),
                        Err(_) => keys.push(record.key.to_owned()),
                    }
                }
                at += length;
            }
            Err(_) => {
                let next = record::next_sound(&bytes[at..], 0).unwrap_or(bytes.len() - at);
                keys.extend(record::likely_key(&bytes[at..at + next]).map(str::to_owned));
                at += next;
            }
        }
    }
    keys.retain(|key| !entries.contains_key(key.as_str()));
    keys
}
