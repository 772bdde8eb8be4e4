//! A segment that is written on, into room that was made before.
//!
//! So a flush changes nothing but bytes that the file has already: it neither grows nor takes new blocks of the file system, whose
//! journal would cost several more blocks each time, and as long again. What is small goes past the page cache (`O_DIRECT` of
//! open(2)), which would write whole pages; where a file system does not know that, it goes the usual way.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::disk::Output;

/// Up to here, a few blocks are less than the pages that the page cache would write.
const SMALL: usize = 1 << 10;
/// The largest block of a device, and what memory has to be aligned to.
const PAGE: usize = 4096;
/// The smallest block of a device.
const BLOCK: usize = 512;
/// How far ahead room is made, in bytes.
const ROOM: u64 = 256 << 10;
/// A write of so much makes its room itself: to write that twice would cost more than it saves.
const LARGE: usize = 64 << 10;

pub(super) struct Blocks {
    file: File,
    direct: Option<Direct>,
    /// Where what was written ends.
    end: u64,
    /// Up to where there is room.
    room: u64,
}

impl Blocks {
    /// An existing file, cut to `length`, to write on from there. What follows what is written are zeros.
    pub(super) fn open(path: &Path, length: u64) -> io::Result<Blocks> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() != length {
            file.set_len(length)?;
        }
        let direct = Direct::open(path, &file, length)?;
        Ok(Blocks { file, direct, end: length, room: length })
    }

    /// Writes `bytes` at the end; returns how many the disk is given for it.
    fn put(&mut self, bytes: &[u8]) -> io::Result<u64> {
        if let Some(direct) = &mut self.direct {
            let written = match bytes.len() {
                ..=SMALL => direct.write(bytes, self.end),
                _ => direct.write_pages(&self.file, bytes, self.end),
            };
            match written {
                Err(error) if error.kind() == ErrorKind::InvalidInput => self.direct = None,
                written => return written,
            }
        }
        self.file.write_all_at(bytes, self.end)?;
        Ok(bytes.len() as u64)
    }

    /// Writes zeros from the next page on; returns how many. They go past the page cache where that can be: it would hold them in
    /// large pieces, and count each of these as written with every page that changes. A disk that has no space for all is no
    /// failure yet.
    fn make_room(&mut self) -> io::Result<u64> {
        let start = self.end.next_multiple_of(PAGE as u64);
        let missing = (start + 1).next_multiple_of(ROOM) - start;
        let zeros = Aligned::new(&[&vec![0; usize::try_from(missing).unwrap_or(0)]], PAGE);
        let file = self.direct.as_ref().map_or(&self.file, |direct| &direct.file);
        let written = match file.write_at(zeros.bytes(), start) {
            Ok(written) => written as u64,
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::InvalidInput) => 0,
            Err(error) => return Err(error),
        };
        self.room = start + written;
        Ok(written)
    }
}

impl Output for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let written = self.put(bytes)?;
        if let Some(direct) = &mut self.direct {
            direct.follow(bytes);
        }
        self.end += bytes.len() as u64;
        let ahead = if self.end > self.room && bytes.len() < LARGE { self.make_room()? } else { 0 };
        Ok(written + ahead)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.room = self.end;
        self.file.set_len(self.end)
    }
}

/// The way past the page cache: whole blocks, of the smallest size that the device takes.
struct Direct {
    file: File,
    block: usize,
    /// What stands in the last page, which is not full.
    tail: Vec<u8>,
}

impl Direct {
    /// `None` where the file system does not know direct writes.
    fn open(path: &Path, content: &File, length: u64) -> io::Result<Option<Direct>> {
        let flags = OFlags::DIRECT.bits().cast_signed();
        let file = match OpenOptions::new().write(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(None),
            Err(error) => return Err(error),
        };
        let page = length - length % PAGE as u64;
        let mut tail = vec![0; usize::try_from(length - page).unwrap_or(0)];
        content.read_exact_at(&mut tail, page)?;
        Ok(Some(Direct { file, block: BLOCK, tail }))
    }

    /// Writes the blocks that hold `bytes`, the first of which may hold what stands before `end`.
    fn write(&mut self, bytes: &[u8], end: u64) -> io::Result<u64> {
        loop {
            let started = self.tail.len() % self.block;
            let blocks = Aligned::new(&[&self.tail[self.tail.len() - started..], bytes], self.block);
            match self.file.write_all_at(blocks.bytes(), end - started as u64) {
                Err(error) if error.kind() == ErrorKind::InvalidInput && self.block < PAGE => self.block = PAGE,
                written => return written.map(|()| blocks.length as u64),
            }
        }
    }

    /// Writes through the page cache, in whole pages: what was written past it would have to be read first for a part of one.
    fn write_pages(&self, cached: &File, bytes: &[u8], end: u64) -> io::Result<u64> {
        let pages = Aligned::new(&[&self.tail, bytes], PAGE);
        cached.write_all_at(pages.bytes(), end - self.tail.len() as u64)?;
        Ok(pages.length as u64)
    }

    /// Takes note of what was written, either way.
    fn follow(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        let full = self.tail.len() - self.tail.len() % PAGE;
        self.tail.drain(..full);
    }
}

/// Bytes that begin at a page of memory, with zeros up to the end of the last block.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    fn new(parts: &[&[u8]], block: usize) -> Aligned {
        let length = parts.iter().map(|part| part.len()).sum::<usize>().next_multiple_of(block);
        let mut memory = vec![0; length + PAGE];
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        let mut at = start;
        for part in parts {
            memory[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Aligned { memory, start, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }

    /// Whatever the size of blocks, of writes, and of what is there when the file is opened.
    #[test]
    fn what_is_written_stands_behind_what_there_was_and_before_zeros() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("segment");
        for block in [Some(BLOCK), Some(PAGE), None] {
            for length in [0, 1, 36, 511, 512, 513, 4095, 4096, 4097, 300_000] {
                let mut expected: Vec<u8> = (0..length).map(|n| (n % 251) as u8 + 1).collect();
                std::fs::write(&path, [&expected[..], b"torn"].concat()).unwrap();
                let mut blocks = Blocks::open(&path, length).unwrap();
                blocks.direct = blocks.direct.filter(|_| block.is_some());
                if let (Some(direct), Some(block)) = (&mut blocks.direct, block) {
                    direct.block = block;
                }
                let mut written = 0;
                for size in [1, 20, 476, 512, 3_000, 4_096, 20_000, 300_000, 7] {
                    let bytes: Vec<u8> = (0..size).map(|n| (n % 249) as u8 + 2).collect();
                    written += blocks.write(&bytes).unwrap();
                    blocks.sync().unwrap();
                    expected.extend_from_slice(&bytes);
                    let found = content(&path);
                    assert!(found.starts_with(&expected), "{block:?} {length} {size}");
                    assert!(found[expected.len()..].iter().all(|byte| *byte == 0), "{block:?} {length} {size}");
                }
                assert!(written > 328_112 && written < 1_200_000, "{written}");
                blocks.finish().unwrap();
                assert!(content(&path) == expected, "{block:?} {length}");
            }
        }
    }

    #[test]
    fn a_small_write_writes_a_block_and_room_is_made_seldom() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("segment");
        std::fs::write(&path, b"header").unwrap();
        let mut blocks = Blocks::open(&path, 6).unwrap();
        let mut write = || blocks.write(&[1; 100]).unwrap();
        let first = write();
        let next: Vec<u64> = (0..4).map(|_| write()).collect();
        assert!(first > ROOM / 2 && next.iter().all(|bytes| *bytes <= 1024), "{first} {next:?}");
        assert_eq!(content(&path).len() as u64, ROOM);
        assert!(
            blocks.write(&vec![1; 5 * LARGE]).unwrap() <= (5 * LARGE + 2 * PAGE) as u64,
            "what is large is written once"
        );
    }
}
