//! What can be done with a log's directory besides running a server on it: check, repair, back up, restore, make.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{self, Directory, Writing};
use super::disk::{Disk, Native, Output};
use super::image::{Image, Problem, Summary};
use super::record::{self, FileKind, Kept};
use super::scan::{self, Position};
use super::{OpenError, recovery};
use crate::{Codec, Entry, Revision};

/// By how much a restored or repaired store's revision is raised, unless said otherwise: above whatever a client may have seen of
/// changes that are lost. etcd's documentation advises as much.
pub const BUMP: Revision = 1_000_000_000;

const CHUNK: usize = 1 << 20;

/// What a check has found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What is there.
    pub summary: Summary,
    /// What is damaged; nothing, if the directory is sound.
    pub problems: Vec<Problem>,
}

/// What a repair has done.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// What was found, and lost.
    pub report: Report,
    /// How many entries were saved.
    pub entries: u64,
    /// The revision at which the store goes on.
    pub revision: Revision,
    /// Where the damaged directory is now.
    pub aside: PathBuf,
}

/// What a backup holds.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The revision that it is of.
    pub revision: Revision,
    /// How many entries.
    pub entries: u64,
    /// How many bytes the file has.
    pub bytes: u64,
}

/// Reads every record in the log's directory `dir` and says what is there and what is damaged. Changes nothing; a server may be
/// running on it.
pub fn check(dir: &Path) -> io::Result<Report> {
    let Image { summary, problems, .. } = Image::read(&outside(dir))?;
    Ok(Report { summary, problems })
}

/// Writes all entries of the log's directory `dir`, as of one revision, to a new file. A server may be running on it. Values
/// stay encrypted as they are. The file is a snapshot as the log has them.
pub fn backup(dir: &Path, file: &Path) -> Result<Saved, OpenError> {
    refuse_existing(file)?;
    let image = Image::read(&outside(dir))?;
    if let Some(Problem { path, offset, reason, .. }) = image.problems.into_iter().next() {
        return Err(OpenError::damaged(path, offset, reason));
    }
    if image.summary.segments == 0 {
        return Err(failed("back up", dir, &io::Error::other("there is no store")).into());
    }
    let (revision, entries) = (image.summary.revision, image.summary.entries);
    let temporary = suffixed(file, ".tmp");
    let written = (|| {
        let mut output = Native.create(&temporary)?;
        let bytes =
            write_snapshot(&mut *output, revision, image.entries.iter().map(|(key, kept)| Ok((key, kept.clone()))))?;
        output.sync()?;
        drop(output);
        publish(&temporary, file)?;
        Ok(bytes)
    })();
    let bytes = written.map_err(|error| {
        // The first error says what is wrong.
        let _ = fs::remove_file(&temporary);
        failed("write", file, &error)
    })?;
    Ok(Saved { revision, entries, bytes })
}

/// Makes the log's directory `dir` from a backup, at the backup's revision plus `bump`. Refuses a directory that holds anything or
/// is in use, and a file that is not whole.
pub fn restore(file: &Path, dir: &Path, bump: Revision) -> Result<Saved, OpenError> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut entries: Vec<(Arc<str>, Kept)> = Vec::new();
    let mut visit = |record: &record::Record<'_>, _: usize| {
        entries.push((record.key.into(), record.kept(|| None)?));
        Ok(())
    };
    let end = scan::snapshot(&outside(parent), &name, None, &mut visit)?;
    let revision = end.header.number.checked_add(bump).filter(|revision| *revision < 1 << 62);
    let revision = revision.ok_or_else(|| io::Error::other("the revision cannot be raised by so much"))?;
    make_room(dir)?;
    build(dir, ".restored", revision, entries.into_iter().map(Ok))?;
    Ok(Saved { revision, entries: end.entries, bytes: end.bytes })
}

/// Makes the log's directory `dir` of these entries at `revision`, which is to be as high as that of any of them. Values are kept as
/// `codec` has it. Refuses a directory that holds anything or is in use.
pub fn create(
    dir: &Path,
    entries: impl IntoIterator<Item = Arc<Entry>>,
    revision: Revision,
    codec: Option<Arc<dyn Codec>>,
) -> Result<(), OpenError> {
    make_room(dir)?;
    let kept = |entry: Arc<Entry>| {
        let codec = codec.as_ref().filter(|codec| codec.seals(&entry.key));
        let sealed = codec.map_or(Ok(None), |codec| codec.seal((&*entry.key).into(), &entry.unstamped()));
        let sealed = sealed.map_err(io::Error::other)?;
        if entry.revision > revision {
            return Err(io::Error::other(format!("{} is newer than the store's revision {revision}", entry.key)));
        }
        Ok((entry.key.clone(), Kept::of(&entry, sealed.as_ref())))
    };
    Ok(build(dir, ".restored", revision, entries.into_iter().map(kept))?)
}

/// Saves what is intact of a damaged log in `dir`: into a new directory, which takes the place of the damaged one; that one is
/// kept beside it, as `dir`.damaged. `None` if nothing is damaged. Refuses while a server is running on it.
pub fn repair(dir: &Path) -> Result<Option<Repaired>, OpenError> {
    let ready = suffixed(dir, directory::REPAIRED);
    if !dir.exists() && ready.exists() {
        rename_directory(&ready, dir)?;
    }
    if !dir.exists() {
        return Err(failed("repair", dir, &io::Error::other("there is no store")).into());
    }
    let lock = directory::lock(dir)?;
    let image = Image::read(&outside(dir))?;
    if image.problems.is_empty() {
        return Ok(None);
    }
    let revision = image.highest.saturating_add(BUMP);
    let (entries, report) = (image.entries.len() as u64, Report { summary: image.summary, problems: image.problems });
    let prepared = prepare(dir, directory::REPAIRED, revision, image.entries.into_iter().map(Ok))?;
    let aside = (1..).map(|n| suffixed(dir, &if n == 1 { ".damaged".to_owned() } else { format!(".damaged-{n}") }));
    let aside = aside.take(1000).find(|aside| !aside.exists()).unwrap_or_else(|| suffixed(dir, ".damaged"));
    rename_directory(dir, &aside)?;
    rename_directory(&prepared, dir)?;
    drop(lock);
    Ok(Some(Repaired { report, entries, revision, aside }))
}

/// A directory that is looked at from outside: nothing is written to it.
fn outside(dir: &Path) -> Arc<Directory> {
    Directory::new(Arc::new(Native), dir, None, None, None)
}

/// Writes a directory with these entries and gives it its name.
fn build(
    dir: &Path,
    temporary: &str,
    revision: Revision,
    entries: impl Iterator<Item = io::Result<(Arc<str>, Kept)>>,
) -> io::Result<()> {
    let prepared = prepare(dir, temporary, revision, entries)?;
    rename_directory(&prepared, dir)
}

/// Writes a directory with these entries beside `dir`, whole and flushed.
fn prepare(
    dir: &Path,
    temporary: &str,
    revision: Revision,
    entries: impl Iterator<Item = io::Result<(Arc<str>, Kept)>>,
) -> io::Result<PathBuf> {
    let path = suffixed(dir, temporary);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &path, &error)),
        _ => {}
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| failed("create", &path, &error))?;
    let inside = outside(&path);
    let mut file = inside.begin(FileKind::Snapshot, revision, revision)?;
    fill(&mut file, revision, entries)?;
    file.publish()?;
    recovery::create_segment(&inside, Position { last: revision, top: revision }, &[])?;
    Ok(path)
}

/// Writes what stands in a snapshot's file after its header.
fn fill(
    file: &mut Writing,
    revision: Revision,
    entries: impl Iterator<Item = io::Result<(Arc<str>, Kept)>>,
) -> io::Result<()> {
    let checksum = crc32c::crc32c(&record::header(FileKind::Snapshot, revision, revision));
    write_entries(checksum, revision, entries, |bytes| file.write(bytes)).map(drop)
}

/// Writes a whole snapshot; returns its length.
fn write_snapshot<'a>(
    output: &mut dyn Output,
    revision: Revision,
    entries: impl Iterator<Item = io::Result<(&'a Arc<str>, Kept)>>,
) -> io::Result<u64> {
    let header = record::header(FileKind::Snapshot, revision, revision);
    output.write(&header)?;
    let written = write_entries(crc32c::crc32c(&header), revision, entries, |bytes| output.write(bytes).map(drop))?;
    Ok(header.len() as u64 + written)
}

fn write_entries(
    mut checksum: u32,
    revision: Revision,
    entries: impl Iterator<Item = io::Result<(impl AsRef<str>, Kept)>>,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let (mut chunk, mut count, mut written) = (Vec::new(), 0, 0);
    for entry in entries {
        let (key, kept) = entry?;
        record::encode_kept(&mut chunk, key.as_ref(), &kept, None);
        count += 1;
        if chunk.len() >= CHUNK {
            checksum = crc32c::crc32c_append(checksum, &chunk);
            written += chunk.len() as u64;
            write(&chunk)?;
            chunk.clear();
        }
    }
    checksum = crc32c::crc32c_append(checksum, &chunk);
    record::encode_footer(&mut chunk, count, checksum, revision);
    write(&chunk)?;
    Ok(written + chunk.len() as u64)
}

/// Makes sure that a directory can be put at `dir`: nothing is there but perhaps an empty store that nobody uses.
fn make_room(dir: &Path) -> Result<(), OpenError> {
    if !dir.exists() {
        if let Some(parent) = dir.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        return Ok(());
    }
    let lock = directory::lock(dir)?;
    let names = outside(dir).names()?;
    if names.iter().any(|name| *name != directory::LOCK) {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "the store is not empty: move it away first");
        return Err(failed("restore into", dir, &error).into());
    }
    fs::remove_file(dir.join(directory::LOCK))
        .and_then(|()| fs::remove_dir(dir))
        .map_err(|error| failed("replace", dir, &error))?;
    drop(lock);
    Ok(())
}

fn rename_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).map_err(|error| failed("rename", from, &error))?;
    sync_parent(to).map_err(|error| failed("flush the name of", to, &error))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Gives a finished file its name, unless there is a file of that name.
fn publish(temporary: &Path, file: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, file) {
        Ok(()) => fs::remove_file(temporary)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // Not every file system has links.
        Err(_) => {
            refuse_existing(file)?;
            fs::rename(temporary, file)?;
        }
    }
    sync_parent(file)
}

fn refuse_existing(file: &Path) -> io::Result<()> {
    if file.symlink_metadata().is_ok() {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "it exists, and is not overwritten");
        return Err(failed("write", file, &error));
    }
    Ok(())
}

/// `path` with something appended to its last part.
pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut whole = path.as_os_str().to_owned();
    whole.push(suffix);
    PathBuf::from(whole)
}

fn failed(action: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {action} {}: {error}", path.display()))
}
