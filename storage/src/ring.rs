//! The retained changes of one resource, in revision order.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::interest::{Index, Interest, Waiter};
use crate::{Entry, Event, Limits, Revision};

/// The changes of one resource and the signal for those who wait for more.
pub(crate) struct Ring {
    pub(crate) history: RwLock<History>,
    /// For those whom every change wakes.
    signal: watch::Sender<()>,
    /// Those whom only some do. Locked after the history.
    waiting: Mutex<Index>,
}

impl Ring {
    /// An empty history of everything after `floor`.
    pub(crate) fn new(floor: Revision) -> Arc<Ring> {
        let history = History { events: VecDeque::new(), first: 0, floor, bytes: 0 };
        Arc::new(Ring { history: RwLock::new(history), signal: watch::Sender::new(()), waiting: Mutex::default() })
    }

    /// Adds a change; [`Ring::wake`] is to follow.
    pub(crate) fn push(&self, event: Arc<Event>, limits: &Limits) {
        let mut history = self.history.write();
        self.waiting.lock().mark(&event, history.end());
        history.push(event, limits);
    }

    /// Wakes those whom the changes since the last time are for.
    pub(crate) fn wake(&self) {
        self.signal.send_replace(());
        self.waiting.lock().wake();
    }

    /// Wakes everybody, for there will be no more changes.
    pub(crate) fn close(&self) {
        self.signal.send_replace(());
        self.waiting.lock().wake_all();
    }

    /// Forgets everything up to `floor`, and that there were no other changes: every watch ends.
    pub(crate) fn expire(&self, floor: Revision) {
        let mut history = self.history.write();
        history.expire(floor);
        self.waiting.lock().expire_all();
        drop(history);
        self.signal.send_replace(());
    }

    /// Lets a watcher wait for what is of interest to it, where not every change is.
    pub(crate) fn wait(&self, prefix: &str, interest: &Interest, position: u64) -> Option<Arc<Waiter>> {
        self.waiting.lock().add(prefix, interest, position)
    }

    pub(crate) fn leave(&self, waiter: &Arc<Waiter>) {
        self.waiting.lock().remove(waiter);
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.signal.subscribe()
    }
}

/// A window of the changes, bounded in number and bytes.
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    /// The position of the window's first event since the beginning: a watcher's cursor is such a position.
    first: u64,
    /// Every change after this revision is in the window.
    floor: Revision,
    bytes: usize,
}

impl History {
    /// The position of the next change.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn push(&mut self, event: Arc<Event>, limits: &Limits) {
        self.bytes += cost(&event);
        self.events.push_back(event);
        // The newest stays whatever it weighs, so that one who keeps up is never thrown out.
        let over = |it: &History| it.events.len() > limits.history_events || it.bytes > limits.history_bytes;
        while self.events.len() > 1 && over(self) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.first += 1;
            self.bytes -= cost(&event);
            self.floor = event.revision;
        }
    }

    /// Forgets the changes up to and including `revision`.
    pub(crate) fn compact(&mut self, revision: Revision) {
        while self.events.front().is_some_and(|event| event.revision <= revision) {
            self.pop();
        }
        self.floor = self.floor.max(revision);
    }

    /// An empty window after `floor`, in which none of the positions given out so far lies.
    fn expire(&mut self, floor: Revision) {
        self.first = self.end() + 1;
        self.events.clear();
        self.bytes = 0;
        self.floor = floor;
    }

    /// The position of the first change after `revision`; `None` if it may have left the window.
    pub(crate) fn position(&self, revision: Revision) -> Option<u64> {
        let index = self.events.partition_point(|event| event.revision <= revision);
        (revision >= self.floor).then_some(self.first + index as u64)
    }

    /// The changes from `position` on; `None` if the first of them has left the window.
    pub(crate) fn from(&self, position: u64) -> Option<impl Iterator<Item = &Arc<Event>>> {
        let index = position.checked_sub(self.first)? as usize;
        Some(self.events.range(index.min(self.events.len())..))
    }

    /// The changes after `revision`, newest first.
    pub(crate) fn newest_until(&self, revision: Revision) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter().rev().take_while(move |event| event.revision > revision)
    }

    /// Every change after this revision is retained.
    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What an event is charged: itself, and its object twice, since there will be an encoded frame beside the bytes.
fn cost(event: &Event) -> usize {
    let object: Option<&Arc<Entry>> = event.entry.as_ref().or(event.previous.as_ref());
    size_of::<Event>() + object.map_or(0, |entry| 2 * entry.value.len())
}
