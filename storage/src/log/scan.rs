//! Reading a log's files from the beginning: for recovery, and for those who look at a directory from outside.

use std::io::{BufReader, Read};

use super::OpenError;
use super::directory::{Directory, name};
use super::record::{self, FileKind, HEADER, Header, Kind, Record};
use crate::Revision;

/// How far the segments have been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// The revision of the last change read.
    pub(super) last: Revision,
    /// Nothing can have a revision after this one, with a record or without.
    pub(super) top: Revision,
}

/// Takes a record and the number of bytes it takes; an error says what is wrong with it.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&Record<'_>, usize) -> Result<(), String>;

/// What became of a segment.
pub(super) struct Segment {
    pub(super) version: u32,
    /// Where its last good record ends; behind it is nothing, or the torn end of a write that nobody was told about.
    pub(super) end: u64,
    /// Bytes behind that.
    pub(super) torn: u64,
}

/// Reads the segment whose number is `first`: all of it, or up to a torn end if it is the newest. They go into `bytes`, which is
/// worth having again for the next one: memory that is new to the process costs more than reading the file.
pub(super) fn segment(
    directory: &Directory,
    first: Revision,
    newest: bool,
    position: &mut Position,
    bytes: &mut Vec<u8>,
    visit: Visit<'_>,
) -> Result<Segment, OpenError> {
    let name = name(FileKind::Segment, first);
    directory.read_into(&name, bytes)?;
    let damaged = |offset: usize, reason: String| OpenError::damaged(directory.path(&name), offset as u64, reason);
    let header = record::check_header_of(bytes, FileKind::Segment, first).map_err(|reason| damaged(0, reason))?;
    if header.extra != position.last {
        let (last, next) = (position.last, header.extra);
        return Err(damaged(
            0,
            format!("the changes after revision {last}, up to that of {next}, are missing before it"),
        ));
    }
    position.top = position.top.max(first.saturating_sub(1));
    let mut at = HEADER;
    let written = written(bytes);
    while at < written {
        let (found, length) = match record::decode(&bytes[at..]) {
            Ok(found) => found,
            Err(_) if newest && !record::later_batch_follows(&bytes[at..], position.last) => break,
            Err(reason) => return Err(damaged(at, reason.to_owned())),
        };
        follow(&found, position).and_then(|()| visit(&found, length)).map_err(|reason| damaged(at, reason))?;
        at += length;
    }
    Ok(Segment { version: header.version, end: at as u64, torn: written.saturating_sub(at) as u64 })
}

/// Where in a segment come only zeros: room for more.
pub(super) fn written(segment: &[u8]) -> usize {
    segment.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// The revision of the last change before the segment whose number is `first`, as its header has it.
pub(super) fn before(directory: &Directory, first: Revision) -> Result<Revision, OpenError> {
    let name = name(FileKind::Segment, first);
    let mut bytes = Vec::new();
    let read = directory.open(&name)?.take(HEADER as u64).read_to_end(&mut bytes);
    read.map_err(|error| directory.during("read", &name, &error))?;
    let header = record::check_header_of(&bytes, FileKind::Segment, first);
    header.map(|header| header.extra).map_err(|reason| OpenError::damaged(directory.path(&name), 0, reason))
}

/// Takes the position over a record, which must be the next one.
pub(super) fn follow(record: &Record<'_>, position: &mut Position) -> Result<(), String> {
    let Position { last, top } = *position;
    *position = match record.kind {
        Kind::Put | Kind::Delete | Kind::Patch if record.after == last && record.revision > last => {
            Position { last: record.revision, top: top.max(record.revision) }
        }
        Kind::Mark if record.revision == last => Position { last, top: last.max(record.created) },
        Kind::Reserve if record.revision == last => Position { last, top: top.max(record.created) },
        _ if record.after > last => {
            return Err(format!(
                "the changes after revision {last}, up to that of {}, are missing before it",
                record.after
            ));
        }
        _ => return Err(format!("a record of revision {} follows revision {last}", record.revision)),
    };
    Ok(())
}

/// What a snapshot says besides its entries.
pub(super) struct SnapshotEnd {
    pub(super) header: Header,
    /// The revision that the log's records reach at least.
    pub(super) reached: Revision,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// Reads a snapshot in a file of the directory, and whether it is whole; `number` is the one in its name, if that tells.
pub(super) fn snapshot(
    directory: &Directory,
    name: &str,
    number: Option<Revision>,
    visit: Visit<'_>,
) -> Result<SnapshotEnd, OpenError> {
    let damaged = |offset: u64, reason: String| OpenError::damaged(directory.path(name), offset, reason);
    let mut file = BufReader::with_capacity(1 << 20, directory.open(name)?);
    let mut buffer = Vec::with_capacity(HEADER);
    let mut fill = |buffer: &mut Vec<u8>, offset: u64, length: u64| {
        // Grows with what is there, not with what a damaged length claims.
        let got = file.by_ref().take(length - buffer.len() as u64).read_to_end(buffer);
        got.map_err(|error| directory.during("read", name, &error))?;
        let whole = buffer.len() as u64 == length;
        if whole { Ok(()) } else { Err(damaged(offset, "the snapshot is incomplete".to_owned())) }
    };
    fill(&mut buffer, 0, HEADER as u64)?;
    let header = match number {
        Some(number) => record::check_header_of(&buffer, FileKind::Snapshot, number),
        None => record::check_header(&buffer, FileKind::Snapshot),
    };
    let header = header.map_err(|reason| damaged(0, reason))?;
    let mut checksum = crc32c::crc32c(&buffer);
    let (mut offset, mut entries) = (HEADER as u64, 0);
    loop {
        buffer.clear();
        fill(&mut buffer, offset, 4)?;
        let length = record::length(*buffer.first_chunk().unwrap_or(&[0; 4])) as u64;
        fill(&mut buffer, offset, length)?;
        let (found, _) = record::decode(&buffer).map_err(|reason| damaged(offset, reason.to_owned()))?;
        match found.kind {
            Kind::Put if found.revision <= header.number => {
                visit(&found, buffer.len()).map_err(|reason| damaged(offset, reason))?;
                entries += 1;
            }
            Kind::Footer if found.revision == entries && found.created == checksum.into() => {
                // Version 1 knows no revisions without a record.
                let reached = if found.expires == 0 { header.number } else { found.expires };
                return Ok(SnapshotEnd { header, reached, entries, bytes: offset + length });
            }
            _ => return Err(damaged(offset, "the snapshot's records do not belong together".to_owned())),
        }
        checksum = crc32c::crc32c_append(checksum, &buffer);
        offset += length;
    }
}
