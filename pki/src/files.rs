//! Where keys and certificates are kept: a directory that only its owner can enter, files that only their owner can read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A directory of mode 0700 and the files in it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Opens the directory, making it and its missing parents with mode 0700; refuses one that others can enter.
    pub(crate) fn open(path: &Path) -> Result<Directory> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path).map_err(Error::io(path))?;
        refuse_wider(path, DIRECTORY_MODE)?;
        Ok(Directory(path.to_path_buf()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The text of a file, or None when there is none. A private key (`*.key`) that others can read is refused.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>> {
        let path = self.path(name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(Error::io(&path))?,
        };
        if name.ends_with(".key") {
            refuse_wider(&path, FILE_MODE)?;
        }
        Ok(Some(text))
    }

    /// Replaces a file. `Durability::Power` survives a power cut; `Durability::Process` a crash of the process, and is for what
    /// can be made again (an fsync costs milliseconds on an SD card, and a first start writes twenty files).
    pub(crate) fn write(&self, name: &str, text: &str, durability: Durability) -> Result<()> {
        write_atomically(&self.path(name), text, durability)
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Durability {
    Power,
    Process,
}

/// Writes a file of mode 0600 beside its place and renames it there: a reader sees the old text or the new, never a part.
pub(crate) fn write_atomically(path: &Path, text: &str, durability: Durability) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(path.file_name().unwrap_or_default());
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = parent.join(temporary);
    let written = (|| {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        if durability == Durability::Power {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        if durability == Durability::Power {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        Error::io(path)(error)
    })
}

fn refuse_wider(path: &Path, wanted: u32) -> Result<()> {
    let mode = fs::metadata(path).map_err(Error::io(path))?.permissions().mode() & 0o777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(Error::Exposed { path: path.to_path_buf(), mode, wanted }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_directories_are_made_for_their_owner_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a/b");
        let directory = Directory::open(&path).unwrap();
        directory.write("x.key", "one", Durability::Power).unwrap();
        directory.write("x.key", "two", Durability::Process).unwrap();
        assert_eq!(directory.read("x.key").unwrap().as_deref(), Some("two"));
        assert_eq!(directory.read("y.key").unwrap(), None);
        assert_eq!((mode(&path), mode(&directory.path("x.key"))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn what_others_can_read_is_refused_with_the_command_that_mends_it() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("data");
        let directory = Directory::open(&path).unwrap();
        directory.write("x.key", "secret", Durability::Process).unwrap();
        fs::set_permissions(directory.path("x.key"), fs::Permissions::from_mode(0o640)).unwrap();
        let error = directory.read("x.key").unwrap_err().to_string();
        assert!(error.contains("mode 0640") && error.contains("chmod 600 "), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = Directory::open(&path).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("mode 0755") && error.contains("chmod 700 "), "{error}");
    }
}
