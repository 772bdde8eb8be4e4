//! The log's directory: its lock, the names in it, and how a file gets into it whole.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::OpenError;
use super::disk::{Disk, Output};
use super::record::{self, FileKind, HEADER};
use crate::{Codec, Error, Revision, Stats};

pub(crate) const LOCK: &str = "lock";
const TEMPORARY: &str = ".tmp";
/// What is appended to the name of the log's directory while a repaired one waits to take its place.
pub(crate) const REPAIRED: &str = ".repaired";

/// The directory of one open log.
pub(crate) struct Directory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// How values are kept in the files, if not as they are.
    codec: Option<Arc<dyn Codec>>,
    /// From how many bytes on values are compressed.
    pub(crate) compress_from: Option<usize>,
    /// Held until the log is closed.
    lock: Mutex<Option<File>>,
    /// First revision and bytes of each segment.
    pub(crate) segments: Mutex<BTreeMap<Revision, u64>>,
    /// Background work is to end.
    pub(crate) closing: AtomicBool,
    written: AtomicU64,
    syncs: AtomicU64,
    snapshots: AtomicU64,
    failed_snapshots: AtomicU64,
}

/// The name of a file of the log.
pub(crate) fn name(kind: FileKind, number: Revision) -> String {
    match kind {
        FileKind::Segment => format!("log-{number:020}"),
        FileKind::Snapshot => format!("snapshot-{number:020}"),
    }
}

impl Directory {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        path: &Path,
        lock: Option<File>,
        codec: Option<Arc<dyn Codec>>,
        compress_from: Option<usize>,
    ) -> Arc<Directory> {
        Arc::new(Directory {
            disk,
            path: path.to_owned(),
            codec,
            compress_from,
            lock: Mutex::new(lock),
            segments: Mutex::default(),
            closing: AtomicBool::new(false),
            written: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            failed_snapshots: AtomicU64::new(0),
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn codec(&self) -> Option<&dyn Codec> {
        self.codec.as_deref()
    }

    /// What is to be written of `value`, if not itself.
    pub(crate) fn seal(&self, key: &str, value: impl FnOnce() -> Bytes) -> Result<Option<Bytes>, Error> {
        let Some(codec) = self.codec().filter(|codec| codec.seals(key)) else { return Ok(None) };
        codec.seal(key.into(), &value()).map_err(Error::Sealing)
    }

    /// The names of all files, in order.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.disk.list(&self.path).map_err(|error| during("list", &self.path, &error))?;
        names.sort_unstable();
        Ok(names)
    }

    /// The number in the name of a file of `kind`.
    pub(crate) fn number(kind: FileKind, found: &str) -> Option<Revision> {
        let number = found.rsplit_once('-')?.1.parse().ok()?;
        (found == name(kind, number)).then_some(number)
    }

    /// Whether a file of that name is the log's, though it holds no records.
    pub(crate) fn is_own(name: &str) -> bool {
        name == LOCK || name.ends_with(TEMPORARY)
    }

    /// The numbers of the files of `kind`, ascending.
    pub(crate) fn numbers(&self, kind: FileKind) -> io::Result<Vec<Revision>> {
        Ok(self.names()?.iter().filter_map(|found| Directory::number(kind, found)).collect())
    }

    /// Removes what an interrupted [`Directory::begin`] has left.
    pub(crate) fn remove_temporary(&self) -> io::Result<()> {
        let names = self.disk.list(&self.path).map_err(|error| during("list", &self.path, &error))?;
        names.iter().filter(|name| name.ends_with(TEMPORARY)).try_for_each(|name| self.remove_name(name))
    }

    pub(crate) fn open(&self, name: &str) -> io::Result<Box<dyn Read>> {
        let path = self.path(name);
        self.disk.read(&path).map_err(|error| during("read", &path, &error))
    }

    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_into(name, &mut bytes)?;
        Ok(bytes)
    }

    /// Replaces `bytes` by the content of a file.
    pub(crate) fn read_into(&self, name: &str, bytes: &mut Vec<u8>) -> io::Result<()> {
        let path = self.path(name);
        bytes.clear();
        let length = self.disk.length(&path).map_err(|error| during("inspect", &path, &error))?;
        // One byte more, so that the end is seen without growing.
        bytes.reserve_exact(usize::try_from(length).unwrap_or(0).saturating_add(1).min(1 << 30));
        self.open(name)?.read_to_end(bytes).map_err(|error| during("read", &path, &error))?;
        Ok(())
    }

    /// The error, with what was being done to which file.
    pub(crate) fn during(&self, action: &str, name: &str, error: &io::Error) -> io::Error {
        during(action, &self.path(name), error)
    }

    /// A new file of the log under a temporary name, with its header.
    pub(crate) fn begin(self: &Arc<Self>, kind: FileKind, number: Revision, extra: u64) -> io::Result<Writing> {
        let name = name(kind, number);
        let path = self.path(&(name.clone() + TEMPORARY));
        let output = self.disk.create(&path).map_err(|error| during("create", &path, &error))?;
        let mut file = Writing { directory: self.clone(), name, output, length: 0 };
        file.write(&record::header(kind, number, extra))?;
        Ok(file)
    }

    /// An existing file, cut to `length`, to be written on.
    pub(crate) fn append(self: &Arc<Self>, name: String, length: u64) -> io::Result<Writing> {
        let path = self.path(&name);
        let output = self.disk.append(&path, length).map_err(|error| during("open", &path, &error))?;
        Ok(Writing { directory: self.clone(), name, output, length })
    }

    pub(crate) fn remove(&self, kind: FileKind, number: Revision) -> io::Result<()> {
        self.remove_name(&name(kind, number))
    }

    pub(crate) fn remove_name(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        self.disk.remove(&path).map_err(|error| during("remove", &path, &error))
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.disk.sync_dir(&self.path).map_err(|error| during("flush", &self.path, &error))
    }

    pub(crate) fn count_snapshot(&self) {
        self.snapshots.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_failed_snapshot(&self) {
        self.failed_snapshots.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self, stats: Stats) -> Stats {
        let segments = self.segments.lock();
        Stats {
            disk_bytes: self.written.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            snapshots: self.snapshots.load(Ordering::Relaxed),
            failed_snapshots: self.failed_snapshots.load(Ordering::Relaxed),
            segments: segments.len() as u64,
            segment_bytes: segments.values().sum(),
            ..stats
        }
    }

    /// Lets another process open the directory.
    pub(crate) fn unlock(&self) {
        self.lock.lock().take();
    }
}

/// A file of the log that is being written.
pub(crate) struct Writing {
    directory: Arc<Directory>,
    name: String,
    output: Box<dyn Output>,
    pub(crate) length: u64,
}

impl Writing {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.output.write(bytes);
        let written = written.map_err(|error| during("write", &self.directory.path(&self.name), &error))?;
        self.length += bytes.len() as u64;
        self.directory.written.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.directory.syncs.fetch_add(1, Ordering::Relaxed);
        self.output.sync().map_err(|error| during("flush", &self.directory.path(&self.name), &error))
    }

    /// Cuts off what there may be behind what was written: the file is not written on.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.output.finish().map_err(|error| during("cut", &self.directory.path(&self.name), &error))
    }

    /// Gives the file, with all that has been written to it, its lasting name.
    pub(crate) fn publish(&mut self) -> io::Result<()> {
        self.sync()?;
        let (from, to) = (self.name.clone() + TEMPORARY, self.directory.path(&self.name));
        let renamed = self.directory.disk.rename(&self.directory.path(&from), &to);
        renamed.map_err(|error| during("rename", &self.directory.path(&from), &error))?;
        self.directory.sync()
    }

    /// Removes the file before it was published.
    pub(crate) fn abandon(self) -> io::Result<()> {
        self.directory.remove_name(&(self.name.clone() + TEMPORARY))
    }

    /// Whether there is anything but the header.
    pub(crate) fn is_empty(&self) -> bool {
        self.length <= HEADER as u64
    }
}

/// What was being done with which file, for the log and for operators.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {error}", path.display())]
struct During {
    action: String,
    path: PathBuf,
    error: String,
}

fn during(action: &str, path: &Path, error: &io::Error) -> io::Error {
    let during = During { action: action.to_owned(), path: path.to_owned(), error: error.to_string() };
    io::Error::new(error.kind(), during)
}

/// The same without the file, for clients.
pub(crate) fn told(error: &io::Error) -> String {
    let during = error.get_ref().and_then(|error| error.downcast_ref::<During>());
    during.map_or_else(|| error.to_string(), |it| format!("cannot {} a file: {}", it.action, it.error))
}

/// Makes the directory, for its owner only, and takes its lock.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |action: &str, error: &io::Error| OpenError::Io(during(action, path, error));
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed("create", &error))?;
    let mode = fs::metadata(path).map_err(|error| failed("inspect", &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the store's directory was open to others: closing it to mode 0700");
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(|error| failed("close to others", &error))?;
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(|error| failed("flush the name of", &error))?;
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path.join(LOCK)).map_err(|error| failed("lock", &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "unknown" } else { holder.trim() }.to_owned();
            return Err(OpenError::Locked { path: path.to_owned(), holder });
        }
        Err(fs::TryLockError::Error(error)) => return Err(failed("lock", &error)),
    }
    // For the message above only.
    let note = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    note.map_err(|error| failed("note the process in the lock of", &error))?;
    Ok(file)
}
