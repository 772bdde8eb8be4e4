//! Who is woken by a change: watchers of one key, of one namespace or of one tag wait here, and the others do not wake them.
//!
//! A cluster has a watcher for each node's pods, and each node watches the secrets of its pods one by one; a change of one pod
//! must cost as much with a thousand of them as with one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::shard::shard_of;
use crate::{Entry, Event};

/// What an entry is tagged with: a value that watchers select by, computed from its bytes. A resource has one such function.
pub type Tag = fn(&Entry) -> String;

/// Which of the changes under its prefix a watcher is told.
#[derive(Clone)]
pub enum Interest {
    /// All.
    All,
    /// Those of one key.
    Key(Arc<str>),
    /// Those of entries with this tag, before or after the change.
    Tagged(Tag, String),
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interest::All => f.write_str("All"),
            Interest::Key(key) => write!(f, "Key({key})"),
            Interest::Tagged(_, tag) => write!(f, "Tagged({tag})"),
        }
    }
}

impl Interest {
    pub(crate) fn includes(&self, event: &Event) -> bool {
        match self {
            Interest::All => true,
            Interest::Key(key) => *key == event.key,
            Interest::Tagged(tag, wanted) => {
                let (now, before) = event.tags(*tag);
                now == wanted || before == wanted
            }
        }
    }

    /// Where a watcher waits; `None` for those that every change of the resource wakes.
    fn place(&self, prefix: &str) -> Option<Place> {
        match self {
            Interest::Key(key) => Some(Place::Key(key.clone())),
            Interest::Tagged(tag, value) => Some(Place::Tag(*tag, value.clone())),
            Interest::All => {
                let below = prefix.strip_prefix(shard_of(prefix).0)?.strip_suffix('/')?;
                let one_part = !below.is_empty() && !below.contains('/');
                one_part.then(|| Place::Key(prefix.into()))
            }
        }
    }
}

enum Place {
    /// A key, or the first part of keys with its slash.
    Key(Arc<str>),
    Tag(Tag, String),
}

/// A watcher that waits for some changes only.
pub(crate) struct Waiter {
    /// Of the first change that it has not looked at; [`NOTHING`] if none is for it.
    position: AtomicU64,
    notify: Notify,
    place: Place,
}

const NOTHING: u64 = u64::MAX;

impl Waiter {
    /// The position from which there may be changes for this watcher. Whoever takes it, under the history's lock, has to
    /// look at all of them or to [`Waiter::leave`] the rest.
    pub(crate) fn take(&self) -> Option<u64> {
        Some(self.position.swap(NOTHING, Ordering::AcqRel)).filter(|at| *at != NOTHING)
    }

    /// There may be more from `position` on.
    pub(crate) fn leave(&self, position: u64) {
        self.position.fetch_min(position, Ordering::AcqRel);
    }

    /// As [`Waiter::take`], without taking it.
    pub(crate) fn position(&self) -> Option<u64> {
        Some(self.position.load(Ordering::Acquire)).filter(|at| *at != NOTHING)
    }

    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }
}

type Waiters = Vec<Arc<Waiter>>;

/// The waiting watchers of one resource.
#[derive(Default)]
pub(crate) struct Index {
    keys: HashMap<Arc<str>, Waiters>,
    tags: HashMap<String, Waiters>,
    tag: Option<Tag>,
    /// For whom there was a change since the last [`Index::wake`].
    due: Waiters,
}

impl Index {
    /// Lets a watcher wait that has seen everything before `position`; `None` if any change is to wake it.
    pub(crate) fn add(&mut self, prefix: &str, interest: &Interest, position: u64) -> Option<Arc<Waiter>> {
        let place = interest.place(prefix)?;
        let waiter = Arc::new(Waiter { position: AtomicU64::new(position), notify: Notify::new(), place });
        match &waiter.place {
            Place::Key(key) => self.keys.entry(key.clone()).or_default().push(waiter.clone()),
            Place::Tag(tag, value) => {
                self.tag = Some(*tag);
                self.tags.entry(value.clone()).or_default().push(waiter.clone());
            }
        }
        Some(waiter)
    }

    pub(crate) fn remove(&mut self, waiter: &Arc<Waiter>) {
        let others = |waiters: &mut Waiters| {
            waiters.retain(|it| !Arc::ptr_eq(it, waiter));
            waiters.is_empty()
        };
        match &waiter.place {
            Place::Key(key) => {
                if self.keys.get_mut(key).is_some_and(others) {
                    self.keys.remove(key);
                }
            }
            Place::Tag(_, value) => {
                if self.tags.get_mut(value).is_some_and(others) {
                    self.tags.remove(value);
                }
            }
        }
    }

    /// Marks those whom the change at `position` is for; they are woken by [`Index::wake`].
    pub(crate) fn mark(&mut self, event: &Event, position: u64) {
        let due = &mut self.due;
        let mut mark = |waiters: Option<&Waiters>| {
            for waiter in waiters.into_iter().flatten() {
                if waiter.position.fetch_min(position, Ordering::AcqRel) == NOTHING {
                    due.push(waiter.clone());
                }
            }
        };
        if !self.keys.is_empty() {
            mark(self.keys.get(&event.key));
            mark(first_part(&event.key).and_then(|part| self.keys.get(part)));
        }
        if let Some(tag) = self.tag.filter(|_| !self.tags.is_empty()) {
            let (now, before) = event.tags(tag);
            mark(self.tags.get(now));
            mark(self.tags.get(before).filter(|_| now != before));
        }
    }

    pub(crate) fn wake(&mut self) {
        self.due.drain(..).for_each(|waiter| waiter.notify.notify_one());
    }

    /// Leaves every watcher at a position that is no longer retained, and wakes it.
    pub(crate) fn expire_all(&mut self) {
        self.keys.values().chain(self.tags.values()).flatten().for_each(|waiter| waiter.leave(0));
        self.wake_all();
    }

    /// For the end of the store.
    pub(crate) fn wake_all(&mut self) {
        self.keys.values().chain(self.tags.values()).flatten().for_each(|waiter| waiter.notify.notify_one());
    }
}

/// A key up to the slash that ends its first part below the resource: its namespace.
fn first_part(key: &str) -> Option<&str> {
    let start = shard_of(key).0.len();
    let end = key.get(start..)?.find('/')?;
    key.get(..=start + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_place_and_a_resource_is_not() {
        let placed = |prefix| Interest::All.place(prefix).is_some();
        assert!(placed("/registry/pods/default/"));
        assert!(!placed("/registry/pods/") && !placed("/registry/pods/a/b/") && !placed("/registry/pods/half"));
        assert_eq!(first_part("/registry/pods/default/web"), Some("/registry/pods/default/"));
        assert_eq!(first_part("/registry/nodes/n"), None);
    }
}
