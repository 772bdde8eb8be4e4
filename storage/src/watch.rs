//! A watcher: a cursor into the retained changes, not a queue.

use std::sync::Arc;

use tokio::sync::watch::Receiver;

use crate::ring::Ring;
use crate::state::State;
use crate::{Error, Event, Revision};

/// Follows the changes under a prefix. It costs the store nothing until it is asked; when the changes it has not read leave
/// the retained history, it ends with [`Error::Compacted`].
pub struct Watch {
    state: Arc<State>,
    prefix: Arc<str>,
    source: Source,
    /// Every change of the prefix up to this revision has been returned.
    seen: Revision,
}

/// Where the changes come from.
pub(crate) enum Source {
    /// The prefix lies within one resource.
    One { ring: Arc<Ring>, position: u64, signal: Receiver<()> },
    /// It spans several, some of which may not exist yet.
    Many { signal: Receiver<Revision> },
}

impl Watch {
    pub(crate) fn new(state: Arc<State>, prefix: &str, source: Source, after: Revision) -> Watch {
        Watch { state, prefix: prefix.into(), source, seen: after }
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
                Source::One { signal, .. } => signal.changed().await,
                Source::Many { signal } => signal.changed().await,
            };
            woken.map_err(|_| Error::Unavailable("the store is gone".to_owned()))?;
        }
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, Error> {
        let event = match &mut self.source {
            Source::One { ring, position, .. } => {
                let history = ring.history.read();
                let Some(events) = history.from(*position) else {
                    return Err(Error::Compacted { oldest: history.floor() });
                };
                let mut found = None;
                for event in events {
                    *position += 1;
                    if event.revision > self.seen && event.key.starts_with(&*self.prefix) {
                        found = Some(event.clone());
                        break;
                    }
                }
                found
            }
            Source::Many { .. } => self.state.first_after(&self.prefix, self.seen)?,
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
        let pending = match &self.source {
            Source::One { ring, position, .. } => {
                let history = ring.history.read();
                let matches = |event: &&Arc<Event>| event.revision > self.seen && event.key.starts_with(&*self.prefix);
                history.from(*position).is_none_or(|mut events| events.any(|event| matches(&event)))
            }
            Source::Many { .. } => !matches!(self.state.first_after(&self.prefix, self.seen), Ok(None)),
        };
        if pending { self.seen } else { self.seen.max(revision) }
    }
}
