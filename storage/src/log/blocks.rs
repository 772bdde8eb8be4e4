//! A segment that is written on: in whole blocks, past the page cache, into room that was made before.
//!
//! So a flush changes nothing but the blocks written: the file neither grows nor takes new blocks of the file system, whose journal
//! would cost several more blocks each time, and would have to wait for a snapshot that is being written. Where the file system
//! knows no direct writes (`O_DIRECT` of open(2)), they go through the page cache.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::disk::Output;

/// A device's blocks, from the smallest on, and single bytes for the page cache. What is refused is tried with the next.
const BLOCKS: [usize; 3] = [512, PAGE, 1];
/// The largest of them, and what memory has to be aligned to.
const PAGE: usize = 4096;
/// How far ahead room is made, in bytes.
const ROOM: u64 = 256 << 10;
/// A write of so much makes its room itself: to write that twice would cost more than it saves.
const LARGE: usize = 16 << 10;

pub(super) struct Blocks {
    path: PathBuf,
    file: File,
    /// One of [`BLOCKS`].
    block: usize,
    /// What stands in the last page, which is not full.
    tail: Vec<u8>,
    /// Where that page begins.
    page: u64,
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
        let page = length - length % PAGE as u64;
        let mut tail = vec![0; usize::try_from(length - page).unwrap_or(0)];
        file.read_exact_at(&mut tail, page)?;
        let mut blocks = Blocks { path: path.to_owned(), file, block: BLOCKS[0], tail, page, room: length };
        blocks.reopen()?;
        Ok(blocks)
    }

    /// Opens the file anew for blocks of the size that is set, or for single bytes if direct writes are not known here.
    fn reopen(&mut self) -> io::Result<()> {
        let flags = if self.block > 1 { OFlags::DIRECT.bits().cast_signed() } else { 0 };
        match OpenOptions::new().write(true).custom_flags(flags).open(&self.path) {
            Err(error) if error.kind() == ErrorKind::InvalidInput && self.block > 1 => {
                self.block = 1;
                self.reopen()
            }
            opened => opened.map(|file| self.file = file),
        }
    }

    /// Writes `bytes` behind what there is, in whole blocks. Returns where these begin and end.
    fn put(&mut self, bytes: &[u8]) -> io::Result<(u64, u64)> {
        loop {
            let whole = self.tail.len() - self.tail.len() % self.block;
            let blocks = Aligned::new(&[&self.tail[whole..], bytes], self.block);
            let at = self.page + whole as u64;
            match self.file.write_all_at(blocks.bytes(), at) {
                Err(error) if error.kind() == ErrorKind::InvalidInput && self.block > 1 => {
                    let larger = BLOCKS.into_iter().skip_while(|block| *block != self.block).nth(1);
                    self.block = larger.unwrap_or(1);
                    self.reopen()?;
                }
                written => return written.map(|()| (at, at + blocks.length as u64)),
            }
        }
    }

    /// Writes zeros from `end`, where a block ends, on. A disk that has no space for all is no failure yet.
    fn make_room(&mut self, end: u64) -> io::Result<()> {
        let page = end.next_multiple_of(PAGE as u64);
        self.room = page;
        let missing = (page + 1).next_multiple_of(ROOM) - page;
        let zeros = Aligned::new(&[&vec![0; usize::try_from(missing).unwrap_or(0)]], PAGE);
        match self.file.write_at(zeros.bytes(), page) {
            Ok(written) => self.room += written as u64,
            Err(error) if error.kind() == ErrorKind::StorageFull => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Output for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let before = self.room;
        let (start, end) = self.put(bytes)?;
        self.tail.extend_from_slice(bytes);
        let full = self.tail.len() - self.tail.len() % PAGE;
        self.tail.drain(..full);
        self.page += full as u64;
        if end > before && bytes.len() < LARGE {
            self.make_room(end)?;
        }
        Ok(end - start + self.room - before)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.room = self.page + self.tail.len() as u64;
        self.file.set_len(self.room)
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
        for block in BLOCKS {
            for length in [0, 1, 36, 511, 512, 513, 4095, 4096, 4097, 300_000] {
                let mut expected: Vec<u8> = (0..length).map(|n| (n % 251) as u8 + 1).collect();
                std::fs::write(&path, [&expected[..], b"torn"].concat()).unwrap();
                let mut blocks = Blocks::open(&path, length).unwrap();
                if blocks.block > 1 {
                    blocks.block = block;
                    blocks.reopen().unwrap();
                }
                let mut written = 0;
                for size in [1, 20, 476, 512, 3_000, 4_096, 20_000, 300_000, 7] {
                    let bytes: Vec<u8> = (0..size).map(|n| (n % 249) as u8 + 2).collect();
                    written += blocks.write(&bytes).unwrap();
                    blocks.sync().unwrap();
                    expected.extend_from_slice(&bytes);
                    let found = content(&path);
                    assert!(found.starts_with(&expected), "{block} {length} {size}");
                    assert!(found[expected.len()..].iter().all(|byte| *byte == 0), "{block} {length} {size}");
                }
                assert!(written > 328_112 && written < 1_200_000, "{written}");
                blocks.finish().unwrap();
                assert!(content(&path) == expected, "{block} {length}");
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
        assert!(first >= ROOM && next.iter().all(|bytes| *bytes <= 1024), "{first} {next:?}");
        assert_eq!(content(&path).len() as u64, ROOM);
    }
}
