//! A disk in memory that fails on demand and forgets, in a crash, what was not flushed.

use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, Output};

/// What goes wrong at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The power: nothing works any more.
    Crash,
    /// This operation fails, having done half of it, and all later ones that write.
    Error(ErrorKind),
}

#[derive(Clone, Default)]
struct File {
    data: Vec<u8>,
    /// What a crash leaves for certain.
    durable: Vec<u8>,
}

#[derive(Default)]
struct Content {
    files: BTreeMap<u64, File>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    created: u64,
    /// What was done to names since they were last made durable.
    unsettled: Vec<(PathBuf, Option<u64>)>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    failed: Option<Fault>,
    reads: u64,
    read_fault: Option<u64>,
}

impl Content {
    /// Lets a name stand for a file, or for none.
    fn name(&mut self, path: &Path, id: Option<u64>) {
        match id {
            Some(id) => self.names.insert(path.to_owned(), id),
            None => self.names.remove(path),
        };
        self.unsettled.push((path.to_owned(), id));
    }

    fn read_fails(&mut self) -> bool {
        self.reads += 1;
        self.read_fault == Some(self.reads)
    }
}

/// A part of a file that cannot be read.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the medium is bad"))
    }
}

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<Content>>);

impl FaultyDisk {
    /// Lets the operation with that number (from now, counting those that write) fail.
    pub(super) fn fail_at(&self, operation: u64, fault: Fault) {
        let mut content = self.0.lock();
        content.fault = Some((content.operations + operation, fault));
    }

    /// Lets the read, or the list of names, with that number from now fail; that of a file after some bytes.
    pub(super) fn fail_read_at(&self, read: u64) {
        let mut content = self.0.lock();
        content.read_fault = Some(content.reads + read);
    }

    /// Whether a read was made to fail.
    pub(super) fn has_failed_to_read(&self) -> bool {
        let content = self.0.lock();
        content.read_fault.is_some_and(|at| at <= content.reads)
    }

    /// Names and contents.
    pub(super) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let content = self.0.lock();
        let data = |id: &u64| content.files.get(id).map(|file| file.data.clone()).unwrap_or_default();
        content.names.iter().map(|(path, id)| (path.clone(), data(id))).collect()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.0.lock().failed.is_some()
    }

    /// The disk after the power is back. What was not flushed is there, is not, or is there in part, as `seed` has it.
    pub(super) fn after_crash(&self, seed: u64) -> FaultyDisk {
        let content = self.0.lock();
        // Of what was done to names and not flushed: nothing, all, or every other step.
        let mut names = content.durable_names.clone();
        for (index, (path, id)) in content.unsettled.iter().enumerate() {
            let survives = match seed % 4 {
                0 => false,
                1 => true,
                other => (index as u64 + other).is_multiple_of(2),
            };
            match id.filter(|_| survives) {
                Some(id) => drop(names.insert(path.clone(), id)),
                None if survives => drop(names.remove(path)),
                None => {}
            }
        }
        let file = |id: &u64| content.files.get(id).map(|file| survived(file, seed / 2 + id)).unwrap_or_default();
        let files = names.values().map(|id| (*id, file(id))).collect();
        let created = content.created;
        let content = Content { files, durable_names: names.clone(), names, created, ..Content::default() };
        FaultyDisk(Arc::new(Mutex::new(content)))
    }

    /// The disk as another process finds it when only ours has died.
    pub(super) fn after_kill(&self) -> FaultyDisk {
        let content = self.0.lock();
        let content = Content {
            files: content.files.clone(),
            names: content.names.clone(),
            durable_names: content.durable_names.clone(),
            unsettled: content.unsettled.clone(),
            created: content.created,
            ..Content::default()
        };
        FaultyDisk(Arc::new(Mutex::new(content)))
    }

    /// Changes a file's bytes behind everybody's back.
    pub(super) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut content = self.0.lock();
        let id = content.names.iter().find(|(path, _)| path.ends_with(name)).map(|(_, id)| *id).unwrap();
        let file = content.files.get_mut(&id).unwrap();
        change(&mut file.data);
        file.durable = file.data.clone();
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.tamper(name, |data| bytes.clone_from(data));
        bytes
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.list(Path::new("")).unwrap()
    }

    /// Runs an operation that writes: `full` does it, `half` what is done of it when it fails.
    fn operate<T>(
        &self,
        full: impl FnOnce(&mut Content) -> io::Result<T>,
        half: impl FnOnce(&mut Content),
    ) -> io::Result<T> {
        let mut content = self.0.lock();
        content.operations += 1;
        if content.failed.is_none()
            && let Some((at, fault)) = content.fault
            && at <= content.operations
        {
            content.failed = Some(fault);
            half(&mut content);
        }
        match content.failed {
            Some(Fault::Crash) => Err(io::Error::other("the power is gone")),
            Some(Fault::Error(kind)) => Err(kind.into()),
            None => full(&mut content),
        }
    }
}

/// A file after a crash: of what was changed since the last flush there is all, nothing, or a part.
fn survived(file: &File, chance: u64) -> File {
    let File { data: new, durable: old } = file;
    let first = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let written = new.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).max(first);
    let half = first + (written - first).div_ceil(2);
    let mut data = new.clone();
    match chance % 7 {
        _ if old == new => {}
        0 => data.clone_from(old),
        1 => {}
        2 => data.truncate(half),
        // Length without content.
        3 => data[first..].fill(0),
        // Later blocks without earlier ones.
        4 => data[first..half].fill(0),
        // Earlier blocks without later ones.
        5 => data[half..].fill(0),
        _ if written == first => {}
        _ => data[first + (written - first) / 3] ^= 0x55,
    }
    File { durable: data.clone(), data }
}

impl Disk for FaultyDisk {
    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        let mut content = self.0.lock();
        if content.read_fails() {
            return Err(ErrorKind::Other.into());
        }
        Ok(content.names.keys().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        let mut content = self.0.lock();
        let fails = content.read_fails();
        let file = content.names.get(path).and_then(|id| content.files.get(id)).ok_or(ErrorKind::NotFound)?;
        let data = Cursor::new(file.data.clone());
        if fails {
            return Ok(Box::new(data.take(10).chain(Broken)));
        }
        Ok(Box::new(data))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let content = self.0.lock();
        let file = content.names.get(path).and_then(|id| content.files.get(id));
        file.map(|file| file.data.len() as u64).ok_or(ErrorKind::NotFound.into())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let create = |content: &mut Content| {
            content.created += 1;
            content.files.insert(content.created, File::default());
            content.name(path, Some(content.created));
            Ok(content.created)
        };
        let id = self.operate(create, |_| ())?;
        Ok(Box::new(FaultyFile { disk: self.clone(), id, end: 0, room: 1 }))
    }

    fn append(&self, path: &Path, length: u64) -> io::Result<Box<dyn Output>> {
        let cut = |content: &mut Content| {
            let id = *content.names.get(path).ok_or(ErrorKind::NotFound)?;
            content.files.entry(id).or_default().data.truncate(length as usize);
            Ok(id)
        };
        let id = self.operate(cut, |_| ())?;
        Ok(Box::new(FaultyFile { disk: self.clone(), id, end: length as usize, room: ROOM }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let rename = |content: &mut Content| {
            let id = *content.names.get(from).ok_or(ErrorKind::NotFound)?;
            content.name(from, None);
            content.name(to, Some(id));
            Ok(())
        };
        self.operate(rename, |_| ())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let remove = |content: &mut Content| {
            let known = content.names.contains_key(path);
            content.name(path, None);
            if known { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
        };
        self.operate(remove, |_| ())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let sync = |content: &mut Content| {
            content.durable_names = content.names.clone();
            content.unsettled.clear();
            Ok(())
        };
        self.operate(sync, |_| ())
    }
}

/// What is written ahead of a segment's end, in bytes.
const ROOM: usize = 300;

struct FaultyFile {
    disk: FaultyDisk,
    id: u64,
    /// Where what was written ends.
    end: usize,
    /// The file grows to a multiple of this, with zeros.
    room: usize,
}

impl Output for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let (start, room) = (self.end, self.room);
        let write = |content: &mut Content, bytes: &[u8]| {
            let data = &mut content.files.entry(self.id).or_default().data;
            data.resize(data.len().max((start + bytes.len()).next_multiple_of(room)), 0);
            data[start..start + bytes.len()].copy_from_slice(bytes);
        };
        let full = |content: &mut Content| {
            write(content, bytes);
            Ok(bytes.len() as u64)
        };
        let written = self.disk.operate(full, |content| write(content, &bytes[..bytes.len() / 2]))?;
        self.end += bytes.len();
        Ok(written)
    }

    fn finish(&mut self) -> io::Result<()> {
        let cut = |content: &mut Content| {
            content.files.entry(self.id).or_default().data.truncate(self.end);
            Ok(())
        };
        self.disk.operate(cut, |_| ())
    }

    fn sync(&mut self) -> io::Result<()> {
        let sync = |content: &mut Content| {
            let file = content.files.entry(self.id).or_default();
            file.durable = file.data.clone();
            Ok(())
        };
        self.disk.operate(sync, |_| ())
    }
}
