//! The few file operations that the log is made of, so that tests can put a failing disk underneath.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::blocks::Blocks;

/// A file system. Names are durable after [`Disk::sync_dir`], contents after [`Output::sync`].
pub(crate) trait Disk: Send + Sync + 'static {
    /// The names of the files in `dir`.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// The content, from the beginning.
    fn read(&self, path: &Path) -> io::Result<Box<dyn Read>>;
    /// How many bytes it has, about: it may be growing.
    fn length(&self, path: &Path) -> io::Result<u64>;
    /// A new, empty file that only its owner can read; replaces one of that name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>>;
    /// An existing file, cut to `length`, to write on from there. Behind what is written it may hold zeros.
    fn append(&self, path: &Path, length: u64) -> io::Result<Box<dyn Output>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that is written.
pub(crate) trait Output: Send {
    /// Returns how many bytes the disk is given for it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<u64>;
    /// Makes everything written durable. After an error nothing is known about what was written since the last success.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts off what there may be behind what was written.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The operating system's.
pub(crate) struct Native;

impl Disk for Native {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)?.map(|item| Ok(item?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(path)?))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Box::new(file))
    }

    fn append(&self, path: &Path, length: u64) -> io::Result<Box<dyn Output>> {
        Ok(Box::new(Blocks::open(path, length)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl Output for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<u64> {
        self.write_all(bytes)?;
        Ok(bytes.len() as u64)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
