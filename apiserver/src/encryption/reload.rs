//! Following the file: a change is seen when it is made (inotify), nothing is polled.

use super::Encryption;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Revision, Store};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// What may give a name in a directory another content: files are replaced by renaming, and mounted ones by a link above.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

impl Encryption {
    /// Takes changes of the file into use as they are made, if it is to be followed, until the future is dropped. A file that is
    /// wrong is refused, and the one before stays in force. An error if the file cannot be watched.
    pub fn follow(self: Arc<Encryption>, store: Arc<dyn Store>) -> io::Result<impl Future<Output = ()>> {
        let _ = self.clock.0.set(Arc::downgrade(&store));
        let watch = self.reloads.then(|| watch(&self.file)).transpose()?;
        Ok(async move {
            let Some((watch, mut changes)) = watch else { return };
            loop {
                let (encryption, revision) = (self.clone(), store.revision());
                let _ = tokio::task::spawn_blocking(move || encryption.take_change(revision)).await;
                // What has changed does not matter: the file is read again.
                if let Err(error) = changes.read(&mut [0; 4096]).await {
                    tracing::error!(%error, file = %self.file.display(), "changes of the file are no longer seen");
                    return;
                }
                // Links on the way to the file may lead elsewhere now.
                if let Err(error) = add(&watch, &self.file) {
                    tracing::warn!(%error, file = %self.file.display(), "the file's directories cannot be watched");
                }
            }
        })
    }

    fn take_change(&self, revision: Revision) {
        match self.reload(revision) {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(file = %self.file.display(), "the encryption configuration has changed and is in force");
                self.metrics.reloaded(true);
            }
            Err(error) => {
                tracing::error!(error, file = %self.file.display(), "the changed encryption configuration is not used");
                self.metrics.reloaded(false);
            }
        }
    }
}

/// What is to be told which directories to watch, and what can be read when there is a change in one.
fn watch(file: &Path) -> io::Result<(OwnedFd, Receiver)> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    add(&watch, file)?;
    // It is read like a pipe.
    let changes = Receiver::from_owned_fd_unchecked(watch.try_clone()?)?;
    Ok((watch, changes))
}

/// Watches the directories of the file and of every link on the way to it.
fn add(watch: &OwnedFd, file: &Path) -> io::Result<()> {
    let mut at = std::path::absolute(file)?;
    // As many links as the kernel follows.
    for _ in 0..40 {
        let directory = at.parent().unwrap_or(Path::new("/")).to_owned();
        inotify::add_watch(watch, &directory, CHANGES)?;
        // A mounted ConfigMap's files are links into a directory that is a link itself.
        let Some((link, target)) = link_in(&at) else { return Ok(()) };
        inotify::add_watch(watch, link.parent().unwrap_or(Path::new("/")), CHANGES)?;
        at = target;
    }
    Ok(())
}

/// The first link in `path`, and where the path leads through it; `None` without a link.
fn link_in(path: &Path) -> Option<(&Path, PathBuf)> {
    let mut prefixes: Vec<&Path> = path.ancestors().collect();
    prefixes.reverse();
    let (prefix, target) = prefixes.into_iter().find_map(|prefix| Some((prefix, std::fs::read_link(prefix).ok()?)))?;
    let rest = path.strip_prefix(prefix).ok()?;
    let target = prefix.parent().unwrap_or(Path::new("/")).join(target);
    Some((prefix, if rest.as_os_str().is_empty() { target } else { target.join(rest) }))
}
