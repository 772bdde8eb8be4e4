//! How headers and records stand in files. All numbers are little-endian.
//!
//! | version | what is new |
//! |---|---|
//! | 1 | |
//! | 2 | compressed values, [`Kind::Patch`], [`Kind::Reserve`], revisions that were skipped |
//!
//! Files of every version are read. A file is only ever written on by a program that writes its version; a program of an older
//! version refuses it by its header.

use std::sync::Arc;

use bytes::Bytes;

use super::patch;
use crate::state::Change;
use crate::{Codec, Entry, Opened, Put, Revision, digits};

/// The version of what is written.
pub(crate) const VERSION: u32 = 2;
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
/// The value is its length (4 bytes), and an LZ4 block.
const COMPRESSED: u8 = 4;
/// After the key stands how many revisions before this one have no record.
const SKIPS: u8 = 8;
const FLAGS: u8 = STARTS_BATCH | SEALED | COMPRESSED | SKIPS;
const NO_STAMP: u32 = u32::MAX;
/// No value is larger, whatever a file says.
const LARGEST: usize = 1 << 30;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Its number is that of the first revision that may be in it, `extra` the revision of the last record before it.
    Segment = 1,
    /// Its number is its revision, `extra` the store's revision when it was taken.
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
    /// The log was closed here: all before it is durable. `revision` is that of the last record, `created` the store's.
    Mark = 3,
    /// The end of a snapshot: `revision` is the number of its entries, `created` the checksum of all bytes before it, `expires`
    /// the revision that the log's records reach at least.
    Footer = 4,
    /// As a put; the value is the revision of the key's value before it, and what changed since ([`patch`]).
    Patch = 5,
    /// Revisions up to `created` may be given to changes that have no record: those of keys with one of the prefixes in `key`, a
    /// comma between them. `revision` is that of the last record.
    Reserve = 6,
}

/// A file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) number: Revision,
    pub(crate) extra: u64,
}

/// A record, borrowed from the bytes it was read from.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    /// The first of those that were written together: everything before it had been flushed.
    pub(crate) starts_batch: bool,
    pub(crate) revision: Revision,
    /// The revision of the change before it.
    pub(crate) after: Revision,
    pub(crate) created: Revision,
    pub(crate) expires: u64,
    pub(crate) key: &'a str,
    flags: u8,
    stamp: u32,
    value: &'a [u8],
}

/// What files hold of an entry, when nothing of it is left out or compressed.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) created: Revision,
    pub(crate) revision: Revision,
    pub(crate) expires: Option<u64>,
    /// Where in the value the revision stands.
    pub(crate) stamp: Option<u32>,
    /// The value is what a codec made of it.
    pub(crate) sealed: bool,
    pub(crate) value: Bytes,
}

impl Record<'_> {
    /// What a put or a patch leaves of the key. `current` tells its revision and its value, without the revision, before. An error
    /// says why there is none.
    pub(crate) fn kept(&self, current: impl FnOnce() -> Option<(Revision, Bytes)>) -> Result<Kept, String> {
        let stamp = (self.stamp != NO_STAMP).then_some(self.stamp);
        let value = match self.kind {
            Kind::Patch => self.patched(current, stamp)?,
            _ if self.flags & COMPRESSED != 0 => self.decompressed()?,
            _ => Bytes::copy_from_slice(self.value),
        };
        if stamp.is_some_and(|at| at as usize + digits(self.revision) > value.len()) {
            return Err("the record's revision stands outside its value".to_owned());
        }
        let (created, revision, expires) = (self.created, self.revision, (self.expires != 0).then_some(self.expires));
        Ok(Kept { created, revision, expires, stamp, sealed: self.flags & SEALED != 0, value })
    }

    fn patched(
        &self,
        current: impl FnOnce() -> Option<(Revision, Bytes)>,
        stamp: Option<u32>,
    ) -> Result<Bytes, String> {
        let (before, rest) = self.value.split_first_chunk().ok_or("the record's change is incomplete")?;
        let before = u64::from_le_bytes(*before);
        let missing = || format!("the record changes what {} held at revision {before}, which is not there", self.key);
        let (_, old) = current().filter(|(revision, _)| *revision == before).ok_or_else(missing)?;
        let new = patch::apply(&old, rest, LARGEST).ok_or("the record's change does not fit the value before it")?;
        match stamp {
            Some(at) if at as usize > new.len() => Err("the record's revision stands outside its value".to_owned()),
            Some(at) => Ok(crate::splice(&new, at as usize, 0, self.revision)),
            None => Ok(new.into()),
        }
    }

    fn decompressed(&self) -> Result<Bytes, String> {
        let (length, block) = self.value.split_first_chunk().ok_or("the compressed value is incomplete")?;
        let length = u32::from_le_bytes(*length) as usize;
        // LZ4 makes at most 255 bytes of one: a length beyond that is none.
        if length > LARGEST || length / 256 > block.len() {
            return Err("the compressed value's length is impossible".to_owned());
        }
        match lz4_flex::block::decompress(block, length) {
            Ok(value) if value.len() == length => Ok(value.into()),
            _ => Err("the compressed value cannot be read".to_owned()),
        }
    }

    /// Whether it is about a key.
    pub(crate) fn is_change(&self) -> bool {
        matches!(self.kind, Kind::Put | Kind::Delete | Kind::Patch)
    }
}

impl Kept {
    /// What is kept of `entry`; `sealed` is what a codec made of its value.
    pub(crate) fn of(entry: &Entry, sealed: Option<&Bytes>) -> Kept {
        let (created, revision, expires) = (entry.created, entry.revision, entry.expires);
        match sealed {
            Some(value) => Kept { created, revision, expires, stamp: None, sealed: true, value: value.clone() },
            None => Kept { created, revision, expires, stamp: entry.stamp, sealed: false, value: entry.value.clone() },
        }
    }

    /// The entry of `key`. An error says why the value cannot be read.
    pub(crate) fn entry(self, key: Arc<str>, codec: Option<&dyn Codec>) -> Result<Entry, String> {
        let Kept { created, revision, expires, stamp, sealed, value } = self;
        if !sealed {
            let stale =
                codec.map_or(Ok(false), |codec| codec.open_as_is(&key)).map_err(|why| format!("{key}: {why}"))?;
            return Ok(Entry { key, value, created, revision, stamp, expires, stale, sealed });
        }
        let codec =
            codec.ok_or_else(|| format!("the value of {key} is encrypted, and no keys were given to read it"))?;
        let Opened { value, revision_at, stale } =
            codec.open((&*key).into(), &value).map_err(|why| format!("{key}: {why}"))?;
        let put = Put { value, revision_at, ttl: None };
        Ok(Entry { stale, sealed, ..Entry::new(key, &put, created, revision, expires) })
    }

    /// An entry for what cannot be read. Something kept in clear is there, for a change may follow of what it was.
    pub(crate) fn unread(self, key: Arc<str>) -> Entry {
        let Kept { created, revision, expires, stamp, sealed, value } = self;
        let value = if sealed { Bytes::new() } else { value };
        Entry { key, value, created, revision, stamp, expires, stale: true, sealed }
    }

    /// The value without the revision.
    pub(crate) fn unstamped(&self) -> Bytes {
        let Some(at) = self.stamp else { return self.value.clone() };
        let (at, end) = (at as usize, at as usize + digits(self.revision));
        [&self.value[..at], &self.value[end..]].concat().into()
    }
}

/// A file's header; see [`FileKind`] for what `number` and `extra` are.
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

/// The header at the start of `bytes`, or why it is not that of such a file.
pub(crate) fn check_header(bytes: &[u8], kind: FileKind) -> Result<Header, String> {
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
    let (number, extra) = (u64_at(bytes, 16), u64_at(bytes, 24));
    if u32_at(bytes, 12) != kind as u32 {
        return Err("the file's name and its header disagree".to_owned());
    }
    // Segments of version 1 follow each other without a gap.
    let extra = if version == 1 && kind == FileKind::Segment { number.saturating_sub(1) } else { extra };
    Ok(Header { version, number, extra })
}

/// As [`check_header`], of the file with this number in its name.
pub(crate) fn check_header_of(bytes: &[u8], kind: FileKind, number: Revision) -> Result<Header, String> {
    let header = check_header(bytes, kind)?;
    if header.number == number { Ok(header) } else { Err("the file's name and its header disagree".to_owned()) }
}

/// Appends a record of a change. `starts_batch` if it is the first of those that are written together; `after` is the revision of
/// the change before it; values from `compress_from` bytes on are compressed, where that helps.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    change: &Change,
    starts_batch: bool,
    after: Revision,
    compress_from: Option<usize>,
) {
    let (entry, revision) = (&change.entry, change.revision);
    let starts = if starts_batch { STARTS_BATCH } else { 0 };
    if change.deletes {
        let fixed = Fixed { revision, created: entry.created, expires: entry.expires.unwrap_or(0), stamp: NO_STAMP };
        return raw(out, Kind::Delete, starts, fixed, after, &entry.key, &[]);
    }
    if let Some(before) = change.replaces.as_ref().filter(|before| !before.sealed && !entry.sealed) {
        let delta = patch::diff(&before.unstamped(), &entry.unstamped());
        // A patch costs the reader more than a value; what hardly saves anything is not worth it.
        if let Some(delta) = delta.filter(|delta| delta.len() < entry.value.len() / 2) {
            let stamp = entry.stamp.unwrap_or(NO_STAMP);
            let fixed = Fixed { revision, created: entry.created, expires: entry.expires.unwrap_or(0), stamp };
            let parts = [&before.revision.to_le_bytes()[..], &delta];
            return raw(out, Kind::Patch, starts, fixed, after, &entry.key, &parts);
        }
    }
    put(out, &entry.key, &Kept::of(entry, change.sealed.as_ref()), starts, after, compress_from);
}

/// Appends the record of an entry to a snapshot.
pub(crate) fn encode_kept(out: &mut Vec<u8>, key: &str, kept: &Kept, compress_from: Option<usize>) {
    put(out, key, kept, 0, kept.revision.saturating_sub(1), compress_from);
}

fn put(out: &mut Vec<u8>, key: &str, kept: &Kept, starts: u8, after: Revision, compress_from: Option<usize>) {
    let (stamp, expires) = (kept.stamp.unwrap_or(NO_STAMP), kept.expires.unwrap_or(0));
    let fixed = Fixed { revision: kept.revision, created: kept.created, expires, stamp };
    // Sealed values look random; and the length of a compressed secret would tell something about it.
    if !kept.sealed && compress_from.is_some_and(|from| kept.value.len() >= from) {
        let block = lz4_flex::block::compress(&kept.value);
        if block.len() < kept.value.len() / 8 * 7 {
            let parts = [&(kept.value.len() as u32).to_le_bytes()[..], &block];
            return raw(out, Kind::Put, starts | COMPRESSED, fixed, after, key, &parts);
        }
    }
    let sealed = if kept.sealed { SEALED } else { 0 };
    raw(out, Kind::Put, starts | sealed, fixed, after, key, &[&kept.value]);
}

/// Appends a [`Kind::Mark`] after the change of `revision`, when the store was at `top`.
pub(crate) fn encode_mark(out: &mut Vec<u8>, revision: Revision, top: Revision) {
    let fixed = Fixed { revision, created: top, expires: 0, stamp: NO_STAMP };
    raw(out, Kind::Mark, STARTS_BATCH, fixed, revision.saturating_sub(1), "", &[]);
}

/// Appends a [`Kind::Reserve`] after the change of `revision`, of the revisions up to `top` for keys with these prefixes.
pub(crate) fn encode_reserve(out: &mut Vec<u8>, revision: Revision, top: Revision, prefixes: &[String]) {
    let fixed = Fixed { revision, created: top, expires: 0, stamp: NO_STAMP };
    raw(out, Kind::Reserve, STARTS_BATCH, fixed, revision.saturating_sub(1), &prefixes.join(","), &[]);
}

/// Appends a snapshot's [`Kind::Footer`].
pub(crate) fn encode_footer(out: &mut Vec<u8>, entries: u64, checksum: u32, reached: Revision) {
    let fixed = Fixed { revision: entries, created: checksum.into(), expires: reached, stamp: NO_STAMP };
    raw(out, Kind::Footer, STARTS_BATCH, fixed, entries.saturating_sub(1), "", &[]);
}

struct Fixed {
    revision: Revision,
    created: u64,
    expires: u64,
    stamp: u32,
}

fn raw(out: &mut Vec<u8>, kind: Kind, flags: u8, fixed: Fixed, after: Revision, key: &str, value: &[&[u8]]) {
    let start = out.len();
    let skipped = fixed.revision.saturating_sub(after).saturating_sub(1);
    let (flags, skips) = if skipped == 0 { (flags, 0) } else { (flags | SKIPS, 8) };
    let length = (FIXED + key.len() + skips + value.iter().map(|part| part.len()).sum::<usize>()) as u32;
    out.reserve(PREFIX + length as usize);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind as u8, flags]);
    [fixed.revision, fixed.created, fixed.expires].iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
    out.extend_from_slice(&fixed.stamp.to_le_bytes());
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(&skipped.to_le_bytes()[..skips]);
    value.iter().for_each(|part| out.extend_from_slice(part));
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
        5 => Kind::Patch,
        6 => Kind::Reserve,
        _ => return Err("the record's kind is unknown"),
    };
    let flags = body[1];
    if flags & !FLAGS != 0 {
        return Err("the record's flags are unknown");
    }
    let key = key(body).ok_or("the record's key is no text")?;
    let (revision, rest) = (u64_at(body, 2), &body[FIXED + key.len()..]);
    let (skipped, value) = match rest.split_first_chunk() {
        _ if flags & SKIPS == 0 => (0, rest),
        Some((skipped, value)) => (u64::from_le_bytes(*skipped), value),
        None => return Err("the record is incomplete"),
    };
    let after = revision.saturating_sub(skipped).saturating_sub(1);
    let (created, expires, stamp, starts_batch) =
        (u64_at(body, 10), u64_at(body, 18), u32_at(body, 26), flags & STARTS_BATCH != 0);
    let record = Record { kind, starts_batch, revision, after, created, expires, key, flags, stamp, value };
    Ok((record, PREFIX + length))
}

fn key(body: &[u8]) -> Option<&str> {
    let end = FIXED.checked_add(u32_at(body, 30) as usize)?;
    std::str::from_utf8(body.get(FIXED..end)?).ok()
}

/// The key that a damaged record at the start of `bytes` seems to be about: nothing vouches for it.
pub(crate) fn likely_key(bytes: &[u8]) -> Option<&str> {
    let body = bytes.get(PREFIX..).filter(|body| body.len() >= FIXED)?;
    key(body).filter(|key| key.starts_with('/') && key.len() <= 4096 && !key.contains(char::is_control))
}

/// How many bytes the record that starts with `prefix` takes, whether or not it is whole.
pub(crate) fn length(prefix: [u8; 4]) -> usize {
    PREFIX + u32::from_le_bytes(prefix) as usize
}

/// Whether, somewhere after the first byte of `bytes`, stands a record of a later batch than that of revision `last + 1`:
/// one that was written when everything before it had been flushed. The proof that what precedes it is damaged, not torn.
pub(crate) fn later_batch_follows(bytes: &[u8], last: Revision) -> bool {
    sound(bytes, last).any(|at| decode(&bytes[at..]).is_ok_and(|(record, _)| record.starts_batch))
}

/// Where, after the first byte of `bytes`, stands the next sound record of a revision after `last`.
pub(crate) fn next_sound(bytes: &[u8], last: Revision) -> Option<usize> {
    sound(bytes, last).find(|at| decode(&bytes[*at..]).is_ok())
}

/// Where in `bytes`, after the first, a record of a segment seems to stand.
fn sound(bytes: &[u8], last: Revision) -> impl Iterator<Item = usize> {
    let plausible = move |at: &usize| {
        let body = &bytes[at + PREFIX..];
        matches!(body[0], 1..=3 | 5..=6) && (last + 1..last.saturating_add(1 << 40)).contains(&u64_at(body, 2))
    };
    (1..bytes.len().saturating_sub(PREFIX + FIXED - 1)).filter(plausible)
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
        let change = Change {
            entry: Arc::new(entry),
            deletes: false,
            revision: 12,
            sealed: None,
            replaces: None,
            volatile: false,
        };
        encode(&mut bytes, &change, true, 9, None);
        bytes
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let bytes = sample();
        let (record, length) = decode(&bytes).unwrap();
        assert_eq!((record.kind, record.starts_batch, record.revision, length), (Kind::Put, true, 12, bytes.len()));
        assert_eq!(record.after, 9);
        let entry = record.kept(|| None).unwrap().entry(record.key.into(), None).unwrap();
        assert_eq!((&*entry.key, &*entry.value), ("/registry/pods/a/b", &b"{\"v\":\"12\"}"[..]));
        assert_eq!((entry.created, entry.expires, entry.stamp_offset()), (7, Some(99), Some(6)));
        assert_eq!(&*entry.with_revision(1000), b"{\"v\":\"1000\"}");
    }

    /// A record of every kind, in every form.
    fn samples() -> Vec<Vec<u8>> {
        let key: Arc<str> = "/registry/pods/a/b".into();
        let entry = |value: &str, revision| {
            let put = Put { value: value.to_owned().into(), revision_at: Some(6), ttl: None };
            Arc::new(Entry::new(key.clone(), &put, 7, revision, Some(99)))
        };
        let change = |value: &str, revision| {
            let entry = entry(value, revision);
            Change { entry, deletes: false, revision, sealed: None, replaces: None, volatile: false }
        };
        let long = format!("{{\"v\":\"\",\"long\":\"{}\"}}", "long ".repeat(20));
        let changed = long.replace("}", ",\"more\":1}");
        let sealed = Change { sealed: Some(Bytes::from_static(b"sealed")), ..change(&long, 12) };
        let deletes = Change { deletes: true, revision: 13, ..change(&long, 12) };
        let patches = Change { replaces: Some(entry(&long, 9)), ..change(&changed, 12) };
        let mut records = vec![sample()];
        for (change, compress) in [(change(&long, 12), Some(10)), (sealed, Some(1)), (deletes, None), (patches, None)] {
            let mut bytes = Vec::new();
            encode(&mut bytes, &change, true, 11, compress);
            records.push(bytes);
        }
        let [mut mark, mut reserve, mut footer] = [const { Vec::new() }; 3];
        encode_mark(&mut mark, 12, 15);
        encode_reserve(&mut reserve, 12, 15, &["/registry/leases/".to_owned()]);
        encode_footer(&mut footer, 3, 0x1234_5678, 12);
        records.extend([mark, reserve, footer]);
        records
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        let samples = samples();
        let of =
            |bytes: &Vec<u8>| decode(bytes).map(|(record, _)| (record.kind, record.flags & !STARTS_BATCH)).unwrap();
        let forms: Vec<(Kind, u8)> = samples.iter().map(of).collect();
        let all = [
            (Kind::Put, SKIPS),
            (Kind::Put, COMPRESSED),
            (Kind::Put, SEALED),
            (Kind::Delete, SKIPS),
            (Kind::Patch, 0),
            (Kind::Mark, 0),
            (Kind::Reserve, 0),
            (Kind::Footer, 0),
        ];
        assert_eq!(forms, all);
        for bytes in samples {
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&damaged).is_err(), "bit {bit}");
            }
            for end in 0..bytes.len() {
                assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
            }
        }
        assert!(decode(&[0; 100]).is_err(), "zeroes");
    }

    #[test]
    fn a_header_names_its_file() {
        let bytes = header(FileKind::Segment, 5, 3);
        let header = Header { version: VERSION, number: 5, extra: 3 };
        assert_eq!(check_header_of(&bytes, FileKind::Segment, 5), Ok(header));
        assert!(check_header_of(&bytes, FileKind::Snapshot, 5).is_err());
        assert!(check_header_of(&bytes, FileKind::Segment, 6).is_err());
        assert!(check_header_of(&bytes[..20], FileKind::Segment, 5).is_err());
    }
}
