//! Entries with a time to live: one task sleeps until the earliest deadline and deletes what is due by real commits.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures::stream::{self, StreamExt};

use crate::memory::Memory;
use crate::state::State;
use crate::{Commit, Error, Expect, Store};

/// How many deletions are under way at once.
const CONCURRENCY: usize = 256;
/// How long to wait after a deletion that the store was too busy for.
const RETRY: Duration = Duration::from_secs(1);

/// The clock of deadlines: milliseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_millis() as u64)
}

/// When something written at `now` with this `ttl` expires. Rounded up, by at most 1/32 and a minute, so that one flush
/// removes many; upstream shares etcd leases for the same reason.
pub(crate) fn deadline(now: u64, ttl: Duration) -> u64 {
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX / 2).min(u64::MAX / 2);
    let grain = (ttl / 32).clamp(1, 60_000);
    now.saturating_add(ttl).div_ceil(grain).saturating_mul(grain)
}

/// Deletes what is due at `now`; returns the next deadline. [`Error::Busy`] if some of it is still there.
pub(crate) async fn expire(store: &Memory, state: &State, now: u64) -> Result<Option<u64>, Error> {
    let (due, next) = state.due(now);
    let deletions = due.into_iter().map(|(key, revision)| {
        let commit = Commit { key, expect: Expect::Revision(revision), put: None };
        async move {
            match store.commit(commit).await {
                // Changed in the meantime: the change brought its own deadline, or none.
                Ok(_) | Err(Error::Conflict { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        }
    });
    let results: Vec<Result<(), Error>> = stream::iter(deletions).buffer_unordered(CONCURRENCY).collect().await;
    results.into_iter().collect::<Result<(), Error>>()?;
    Ok(next)
}

/// The task; ends with the store.
pub(crate) async fn run(store: Weak<Memory>, state: Arc<State>) {
    while !state.is_closed() {
        let Some(strong) = store.upgrade() else { return };
        let next = match expire(&strong, &state, now()).await {
            Ok(next) => next,
            Err(Error::Busy) => Some(now() + RETRY.as_millis() as u64),
            Err(_) => return,
        };
        drop(strong);
        let changed = state.deadline.notified();
        match next {
            Some(next) => {
                let sleep = tokio::time::sleep(Duration::from_millis(next.saturating_sub(now())));
                tokio::select! { () = sleep => {}, () = changed => {} }
            }
            None => changed.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::put;
    use crate::{Limits, Range};

    #[tokio::test]
    async fn only_what_is_due_is_deleted() {
        let state = State::new(Limits::default());
        let store = Memory::new(state.clone(), None);
        let write = |key: &str, ttl: Option<u64>| {
            let mut commit = put(key, Expect::Any, "x");
            commit.put.as_mut().unwrap().ttl = ttl.map(Duration::from_millis);
            state.commit(&commit, 1000).unwrap()
        };
        let keys = || {
            let list = state.range(Range::default()).unwrap().entries;
            list.iter().map(|entry| entry.key.rsplit('/').next().unwrap().to_owned()).collect::<String>()
        };
        for (key, ttl) in [("/registry/a/s", Some(5)), ("/registry/a/l", Some(20)), ("/registry/b/s", Some(5))] {
            write(key, ttl);
        }
        write("/registry/a/n", None);
        // A later write decides: one that lives longer, and one without end.
        write("/registry/b/s", Some(30));
        write("/registry/b/t", Some(1));
        write("/registry/b/t", None);
        assert_eq!(expire(&store, &state, 1004).await.unwrap(), Some(1005));
        assert_eq!(keys(), "lnsst", "nothing is due yet");
        assert_eq!(expire(&store, &state, 1005).await.unwrap(), Some(1020));
        assert_eq!(keys(), "lnst");
        assert_eq!(expire(&store, &state, 9999).await.unwrap(), None);
        assert_eq!(keys(), "nt");
    }

    #[test]
    fn deadlines_are_never_early_and_at_most_a_32nd_or_a_minute_late() {
        for ttl in [0, 1, 31, 1000, 3_600_000, 86_400_000] {
            let exact = 1_700_000_000_123 + ttl;
            let late = deadline(1_700_000_000_123, Duration::from_millis(ttl)) - exact;
            assert!(late <= (ttl / 32).min(60_000), "{ttl}: {late}");
        }
    }

    #[test]
    fn what_is_written_within_a_minute_expires_together() {
        let hour = Duration::from_secs(3600);
        assert_eq!(deadline(60_000_001, hour), deadline(60_059_000, hour));
    }

    #[test]
    fn an_endless_ttl_does_not_overflow() {
        assert!(deadline(now(), Duration::MAX) > now());
    }
}
