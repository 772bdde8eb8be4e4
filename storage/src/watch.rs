//! A watcher: a cursor into the retained changes, not a queue.

use std::sync::Arc;

use tokio::sync::watch::Receiver;

use crate::interest::{Interest, Waiter};
use crate::ring::Ring;
use crate::state::State;
use crate::{Error, Event, Revision};

/// Follows the changes under a prefix. It costs the store nothing until it is asked; when the changes it has not read leave
/// the retained history, it ends with [`Error::Compacted`].
pub struct Watch {
    state: Arc<State>,
    prefix: Arc<str>,
    interest: Interest,
    source: Source,
    /// Only changes after this revision are returned.
    after: Revision,
    /// The revision of the last change that was returned, or `after`.
    seen: Revision,
}

/// Where the changes come from.
pub(crate) enum Source {
    /// The prefix lies within one resource.
    One { ring: Arc<Ring>, position: u64, signal: Receiver<()> },
    /// As `One`, for some of its changes only.
    Some { ring: Arc<Ring>, waiter: Arc<Waiter> },
    /// It spans several, some of which may not exist yet.
    ///
    /// `rest`: the last change that was returned was of this key, and there are more of its revision.
    Many { signal: Receiver<Revision>, rest: Option<Arc<str>> },
}

impl Watch {
    pub(crate) fn new(state: Arc<State>, prefix: &str, interest: Interest, source: Source, after: Revision) -> Watch {
        Watch { state, prefix: prefix.into(), interest, source, after, seen: after }
    }

    /// The next change of the prefix, in revision order; waits for one. [`Error::Compacted`] if it is no longer retained,
    /// [`Error::Unavailable`] once the store is closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Arc<Event>, Error> {
        tokio::task::coop::consume_budget().await;
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if self.state.is_closed() {
                return Err(Error::Unavailable("the store was closed".to_owned()));
            }
            // At once if there was a change since the last wait, so that none is missed between looking and waiting.
            let woken = match &mut self.source {
                Source::Some { waiter, .. } => {
                    waiter.woken().await;
                    continue;
                }
                Source::One { signal, .. } => signal.changed().await,
                Source::Many { signal, .. } => signal.changed().await,
            };
            woken.map_err(|_| Error::Unavailable("the store is gone".to_owned()))?;
        }
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, Error> {
        let (prefix, interest, after) = (&*self.prefix, &self.interest, self.after);
        let wanted = |event: &Event| is_wanted(event, prefix, interest, after);
        let event = match &mut self.source {
            Source::One { ring, position, .. } => {
                let history = ring.history.read();
                let Some(events) = history.from(*position) else {
                    return Err(Error::Compacted { oldest: history.floor() });
                };
                let mut events = events.inspect(|_| *position += 1);
                events.find(|event| wanted(event)).cloned()
            }
            Source::Some { ring, waiter } => {
                let history = ring.history.read();
                let Some(mut position) = waiter.take() else { return Ok(None) };
                let Some(events) = history.from(position) else {
                    waiter.leave(position);
                    return Err(Error::Compacted { oldest: history.floor() });
                };
                let found = events.inspect(|_| position += 1).find(|event| wanted(event)).cloned();
                if found.is_some() {
                    waiter.leave(position);
                }
                found
            }
            Source::Many { rest, .. } => {
                let (first, revision) = self.state.first_after(prefix, self.seen, rest.as_deref())?;
                // So that one who keeps up on a quiet prefix is not behind when history is given up.
                self.seen = if first.is_none() { self.seen.max(revision) } else { self.seen };
                first.map(|(event, more)| {
                    *rest = more.then(|| event.key.clone());
                    event
                })
            }
        };
        if let Some(event) = &event {
            self.seen = event.revision;
        }
        Ok(event)
    }

    /// A revision up to which every change of the prefix has been returned: what a bookmark may say. It follows the store's
    /// revision while the prefix is quiet.
    pub fn progress(&self) -> Revision {
        // The revision first: the history then holds at least everything up to it.
        let revision = self.state.revision();
        let wanted = |event: &Event| is_wanted(event, &self.prefix, &self.interest, self.after);
        let pending = match &self.source {
            Source::One { ring, position, .. } => pending(ring, *position, wanted),
            Source::Some { ring, waiter } => waiter.position().and_then(|at| pending(ring, at, wanted)),
            Source::Many { rest, .. } => match self.state.first_after(&self.prefix, self.seen, rest.as_deref()) {
                Ok((first, _)) => first.map(|(event, _)| event.revision),
                Err(_) => Some(0),
            },
        };
        match pending {
            None => self.seen.max(revision),
            // Several changes can share a revision.
            Some(next) if next == self.seen => self.seen.saturating_sub(1),
            Some(_) => self.seen,
        }
    }
}

/// The revision of the first change from `position` on that is wanted; 0 if there may have been one.
fn pending(ring: &Ring, position: u64, wanted: impl Fn(&Event) -> bool) -> Option<Revision> {
    match ring.history.read().from(position) {
        Some(mut events) => events.find(|event| wanted(event)).map(|event| event.revision),
        None => Some(0),
    }
}

fn is_wanted(event: &Event, prefix: &str, interest: &Interest, after: Revision) -> bool {
    event.revision > after && event.key.starts_with(prefix) && interest.includes(event)
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Source::Some { ring, waiter } = &self.source {
            ring.leave(waiter);
        }
    }
}
