//! How headers and records stand in files. All numbers are little-endian.

use std::sync::Arc;

use bytes::Bytes;

use crate::state::Change;
use crate::{Codec, Entry, Opened, Put, Revision, digits};

/// The version of everything in this file.
pub(crate) const VERSION: u32 = 1;
/// Length of a file's header.
pub(crate) const HEADER: usize = 36;
const MAGIC: &[u8; 8] = b"CORACLE\n";
/// Length and checksum in front of a record's body.
const PREFIX: usize = 8;
/// The fixed part of a body: kind, flags, revision, created, expires, stamp, key length.
const FIXED: usize = 34;
const STARTS_BATCH: u8 = 1;
/// The value is what a codec made of it, without the revision.
const SEALED: u8 = 2;
const NO_STAMP: u32 = u32::MAX;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Segment = 1,
    Snapshot = 2,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The key holds the value.
    Put = 1,
    /// The key is gone.
    Delete = 2,
    /// The log was closed here: all before it is durable.
    Mark = 3,
    /// The end of a snapshot: `revision` is the number of its entries, `created` the checksum of all bytes before it.
    Footer = 4,
}

/// A record, borrowed from the bytes it was read from.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    /// The first of those that were written together: everything before it had been flushed.
    pub(crate) starts_batch: bool,
    pub(crate) revision: Revision,
    pub(crate) created: Revision,
    pub(crate) key: &'a str,
    is_sealed: bool,
    expires: u64,
    stamp: u32,
    value: &'a [u8],
}

impl Record<'_> {
    /// The entry that a put describes; `key` is the record's own, shared. An error says why the value cannot be read.
    pub(crate) fn entry(&self, key: Arc<str>, codec: Option<&dyn Codec>) -> Result<Entry, String> {
        let value = Bytes::copy_from_slice(self.value);
        let expires = (self.expires != 0).then_some(self.expires);
        let (created, revision) = (self.created, self.revision);
        if !self.is_sealed {
            let stamp = (self.stamp != NO_STAMP).then_some(self.stamp);
            let stale = codec.is_some_and(|codec| codec.seals(&key));
            return Ok(Entry { key, value, created, revision, stamp, expires, stale });
        }
        let codec =
            codec.ok_or_else(|| format!("the value of {key} is encrypted, and no keys were given to read it"))?;
        let Opened { value, revision_at, stale } = codec.open(&key, &value)?;
        let put = Put { value, revision_at, ttl: None };
        Ok(Entry { stale, ..Entry::new(key, &put, created, revision, expires) })
    }
}

/// A file's header; `number` is the segment's first revision or the snapshot's, `extra` is free for the kind of file.
pub(crate) fn header(kind: FileKind, number: Revision, extra: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    bytes[24..32].copy_from_slice(&extra.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..32]);
    bytes[32..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The `extra` of the header at the start of `bytes`, or why it is not the header of such a file.
pub(crate) fn check_header(bytes: &[u8], kind: FileKind, number: Revision) -> Result<u64, String> {
    let bytes = bytes.get(..HEADER).ok_or("the header is incomplete")?;
    if &bytes[..8] != MAGIC {
        return Err("this is not a file of Coracle's store".to_owned());
    }
    let version = u32_at(bytes, 8);
    if version > VERSION {
        return Err(format!("format version {version} is newer than this program's {VERSION}: use a newer program"));
    }
    if u32_at(bytes, 32) != crc32c::crc32c(&bytes[..32]) {
        return Err("the header's checksum is wrong".to_owned());
    }
    if u32_at(bytes, 12) != kind as u32 || u64_at(bytes, 16) != number {
        return Err("the file's name and its header disagree".to_owned());
    }
    Ok(u64_at(bytes, 24))
}

/// Appends a record of a change; `starts_batch` if it is the first of those that are written together.
pub(crate) fn encode(out: &mut Vec<u8>, change: &Change, starts_batch: bool) {
    let (entry, starts) = (&change.entry, if starts_batch { STARTS_BATCH } else { 0 });
    let numbers = [change.revision, entry.created, entry.expires.unwrap_or(0)];
    match &change.sealed {
        _ if change.deletes => raw(out, Kind::Delete, starts, numbers, NO_STAMP, &entry.key, &[]),
        Some(sealed) => raw(out, Kind::Put, starts | SEALED, numbers, NO_STAMP, &entry.key, sealed),
        None => raw(out, Kind::Put, starts, numbers, entry.stamp.unwrap_or(NO_STAMP), &entry.key, &entry.value),
    }
}

/// Appends a record that is about no key.
pub(crate) fn encode_note(out: &mut Vec<u8>, kind: Kind, revision: Revision, created: u64) {
    raw(out, kind, STARTS_BATCH, [revision, created, 0], NO_STAMP, "", &[]);
}

fn raw(out: &mut Vec<u8>, kind: Kind, flags: u8, numbers: [u64; 3], stamp: u32, key: &str, value: &[u8]) {
    let start = out.len();
    let length = (FIXED + key.len() + value.len()) as u32;
    out.reserve(PREFIX + length as usize);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind as u8, flags]);
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    out.extend_from_slice(&stamp.to_le_bytes());
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(value);
    let checksum = checksum(&out[start..start + 4], &out[start + PREFIX..]);
    out[start + 4..start + PREFIX].copy_from_slice(&checksum.to_le_bytes());
}

/// The record at the start of `bytes` and its length, or what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Record<'_>, usize), &'static str> {
    if bytes.len() < PREFIX {
        return Err("the record is incomplete");
    }
    let length = u32_at(bytes, 0) as usize;
    if length < FIXED {
        return Err("the record's length is impossible");
    }
    let body = bytes.get(PREFIX..PREFIX + length).ok_or("the record is longer than the file")?;
    if u32_at(bytes, 4) != checksum(&bytes[..4], body) {
        return Err("the record's checksum is wrong");
    }
    // What follows holds for every record that was ever written.
    let kind = match body[0] {
        1 => Kind::Put,
        2 => Kind::Delete,
        3 => Kind::Mark,
        4 => Kind::Footer,
        _ => return Err("the record's kind is unknown"),
    };
    let key_end = FIXED + u32_at(body, 30) as usize;
    let key = body.get(FIXED..key_end).and_then(|key| std::str::from_utf8(key).ok());
    let key = key.ok_or("the record's key is no text")?;
    let (revision, stamp, value) = (u64_at(body, 2), u32_at(body, 26), &body[key_end..]);
    let is_sealed = body[1] & SEALED != 0;
    if kind == Kind::Put && stamp != NO_STAMP && stamp as usize + digits(revision) > value.len() {
        return Err("the record's revision stands outside its value");
    }
    let (created, expires, starts_batch) = (u64_at(body, 10), u64_at(body, 18), body[1] & STARTS_BATCH != 0);
    let record = Record { kind, starts_batch, revision, created, key, is_sealed, expires, stamp, value };
    Ok((record, PREFIX + length))
}

/// How many bytes the record that starts with `prefix` takes, whether or not it is whole.
pub(crate) fn length(prefix: [u8; 4]) -> usize {
    PREFIX + u32::from_le_bytes(prefix) as usize
}

/// Whether, somewhere after the first byte of `bytes`, stands a record of a later batch than that of revision `last + 1`:
/// one that was written when everything before it had been flushed. The proof that what precedes it is damaged, not torn.
pub(crate) fn later_batch_follows(bytes: &[u8], last: Revision) -> bool {
    let plausible = |at: &usize| {
        let body = &bytes[at + PREFIX..];
        matches!(body[0], 1..=3) && (last + 1..last + (1 << 40)).contains(&u64_at(body, 2))
    };
    let mut starts = (1..bytes.len().saturating_sub(PREFIX + FIXED - 1)).filter(plausible);
    starts.any(|at| decode(&bytes[at..]).is_ok_and(|(record, _)| record.starts_batch))
}

fn checksum(length: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(length), body)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let put = Put { value: "{\"v\":\"\"}".into(), revision_at: Some(6), ttl: None };
        let entry = Entry::new("/registry/pods/a/b".into(), &put, 7, 12, Some(99));
        let mut bytes = Vec::new();
        let change = Change { entry: Arc::new(entry), deletes: false, revision: 12, sealed: None };
        encode(&mut bytes, &change, true);
        bytes
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let bytes = sample();
        let (record, length) = decode(&bytes).unwrap();
        assert_eq!((record.kind, record.starts_batch, record.revision, length), (Kind::Put, true, 12, bytes.len()));
        let entry = record.entry(record.key.into(), None).unwrap();
        assert_eq!((&*entry.key, &*entry.value), ("/registry/pods/a/b", &b"{\"v\":\"12\"}"[..]));
        assert_eq!((entry.created, entry.expires, entry.stamp_offset()), (7, Some(99), Some(6)));
        assert_eq!(&*entry.with_revision(1000), b"{\"v\":\"1000\"}");
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        let bytes = sample();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged).is_err(), "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(decode(&[0; 100]).is_err(), "zeroes");
    }

    #[test]
    fn a_header_names_its_file() {
        let bytes = header(FileKind::Segment, 5, 3);
        assert_eq!(check_header(&bytes, FileKind::Segment, 5), Ok(3));
        assert!(check_header(&bytes, FileKind::Snapshot, 5).is_err());
        assert!(check_header(&bytes, FileKind::Segment, 6).is_err());
        assert!(check_header(&bytes[..20], FileKind::Segment, 5).is_err());
    }
}
