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
    operations: u64,
    fault: Option<(u64, Fault)>,
    failed: Option<Fault>,
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

    pub(super) fn has_failed(&self) -> bool {
        self.0.lock().failed.is_some()
    }

    /// The disk after the power is back. What was not flushed is there, is not, or is there in part, as `seed` has it.
    pub(super) fn after_crash(&self, seed: u64) -> FaultyDisk {
        let content = self.0.lock();
        let names = if seed & 1 == 0 { &content.durable_names } else { &content.names };
        let file = |id: &u64| content.files.get(id).map(|file| survived(file, seed / 2 + id)).unwrap_or_default();
        let files = names.values().map(|id| (*id, file(id))).collect();
        let (names, created) = (names.clone(), content.created);
        let content = Content { files, durable_names: names.clone(), names, created, ..Content::default() };
        FaultyDisk(Arc::new(Mutex::new(content)))
    }

    /// The disk as another process finds it when only ours has died.
    pub(super) fn after_kill(&self) -> FaultyDisk {
        let content = self.0.lock();
        let (files, names, durable_names) =
            (content.files.clone(), content.names.clone(), content.durable_names.clone());
        let content = Content { files, names, durable_names, created: content.created, ..Content::default() };
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

/// A file after a crash.
fn survived(file: &File, chance: u64) -> File {
    let flushed = file.durable.len();
    let mut data = file.data.clone();
    let new = data.len().saturating_sub(flushed);
    match chance % 6 {
        _ if new == 0 => {}
        0 => data.truncate(flushed),
        1 => {}
        2 => data.truncate(flushed + new / 2),
        // Length without content.
        3 => data[flushed..].fill(0),
        // Later pages without earlier ones.
        4 => data[flushed..flushed + new.div_ceil(2)].fill(0),
        _ => data[flushed + new / 3] ^= 0x55,
    }
    File { durable: data.clone(), data }
}

impl Disk for FaultyDisk {
    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        let content = self.0.lock();
        Ok(content.names.keys().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        let content = self.0.lock();
        let file = content.names.get(path).and_then(|id| content.files.get(id)).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(file.data.clone())))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let create = |content: &mut Content| {
            content.created += 1;
            content.files.insert(content.created, File::default());
            content.names.insert(path.to_owned(), content.created);
            Ok(content.created)
        };
        let id = self.operate(create, |_| ())?;
        Ok(Box::new(FaultyFile { disk: self.clone(), id }))
    }

    fn append(&self, path: &Path, length: u64) -> io::Result<Box<dyn Output>> {
        let cut = |content: &mut Content| {
            let id = *content.names.get(path).ok_or(ErrorKind::NotFound)?;
            content.files.entry(id).or_default().data.truncate(length as usize);
            Ok(id)
        };
        let id = self.operate(cut, |_| ())?;
        Ok(Box::new(FaultyFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let rename = |content: &mut Content| {
            let id = content.names.remove(from).ok_or(ErrorKind::NotFound)?;
            content.names.insert(to.to_owned(), id);
            Ok(())
        };
        self.operate(rename, |_| ())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(|content| content.names.remove(path).map(drop).ok_or(ErrorKind::NotFound.into()), |_| ())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let sync = |content: &mut Content| {
            content.durable_names = content.names.clone();
            Ok(())
        };
        self.operate(sync, |_| ())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    id: u64,
}

impl Output for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let write = |content: &mut Content, bytes: &[u8]| {
            content.files.entry(self.id).or_default().data.extend_from_slice(bytes);
        };
        let full = |content: &mut Content| {
            write(content, bytes);
            Ok(())
        };
        self.disk.operate(full, |content| write(content, &bytes[..bytes.len() / 2]))
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
