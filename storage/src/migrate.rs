//! From one store to another, with every revision in the new one above every revision of the old one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::{Commit, Entry, Error, Expect, Put, Range, Store, expiry};

/// Writes that are under way at once.
const CONCURRENCY: usize = 256;
/// By how much a store's revision is raised at most: each step is a write.
const RAISE: u64 = 50_000_000;
/// Where the writes go that only raise the revision.
const SCRATCH: &str = "/registry/coracle.dev/migration/";

/// Why nothing, or not all, was moved.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The new store holds something.
    #[error(
        "the new store holds {count} objects already ({example} for one): migrate into an empty one, or under another prefix"
    )]
    NotEmpty {
        /// How many.
        count: usize,
        /// The first key.
        example: String,
    },
    /// The old store's revision is out of reach.
    #[error(
        "the old store is at revision {old} and the new one at {new}: revisions would have to be raised by {}, one write each. \
         Restore a snapshot of the new etcd with `etcdutl snapshot restore --bump-revision {} --mark-compacted`, then migrate",
        old - new, old - new
    )]
    TooFar {
        /// The old store's.
        old: u64,
        /// The new one's.
        new: u64,
    },
    /// A read or write failed.
    #[error("{0}")]
    Store(#[from] Error),
}

/// How far a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Raising the revision: writes done, and of how many.
    Raising(u64, u64),
    /// Copying: objects done, and of how many.
    Copying(u64, u64),
}

/// Copies everything in `from` to the empty store `to`, after raising `to`'s revision above `from`'s: a resource version that a
/// client has seen is never given to anything else. What expires keeps its time. Gives the number of objects. `from` is not to
/// be written to meanwhile.
pub async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    mut tell: impl FnMut(Progress) + Send,
) -> Result<u64, MigrateError> {
    let there = to.range(Range { limit: 1, ..Range::default() })?;
    if let Some(first) = there.entries.first() {
        return Err(MigrateError::NotEmpty { count: there.remaining + 1, example: first.key.to_string() });
    }
    let all = from.range(Range::default())?;
    let (old, new) = (all.revision, to.revision());
    if old.saturating_sub(new) > RAISE {
        return Err(MigrateError::TooFar { old, new });
    }
    raise(to, (old + 1).saturating_sub(new), &mut tell).await?;
    let (total, now) = (all.entries.len() as u64, expiry::now());
    let copies = all.entries.into_iter().map(|entry| to.commit(again(&entry, now)));
    run(copies, total, |done| tell(Progress::Copying(done, total))).await?;
    Ok(total)
}

/// Makes so many changes that leave nothing behind.
async fn raise(to: &dyn Store, by: u64, tell: &mut (impl FnMut(Progress) + Send)) -> Result<(), Error> {
    if by == 0 {
        return Ok(());
    }
    let key = |n: u64| -> Arc<str> { format!("{SCRATCH}{}", n % CONCURRENCY as u64).into() };
    // An empty object: what no codec can read could not be changed again.
    let scratch = || Put { value: Bytes::from_static(b"{}"), ..Put::default() };
    let put = |n: u64| Commit { key: key(n), expect: Expect::Any, put: Some(scratch()) };
    run((0..by).map(|n| to.commit(put(n))), by, |done| tell(Progress::Raising(done, by))).await?;
    let used = by.min(CONCURRENCY as u64);
    run((0..used).map(|n| to.commit(Commit { put: None, ..put(n) })), used, |_| ()).await
}

/// The commit that makes an entry anew.
fn again(entry: &Entry, now: u64) -> Commit {
    let ttl = entry.expires.map(|at| Duration::from_millis(at.saturating_sub(now).max(1)));
    let put = Put { value: entry.unstamped(), revision_at: entry.stamp_offset(), ttl };
    Commit { key: entry.key.clone(), expect: Expect::Absent, put: Some(put) }
}

/// Carries out writes, many at once, and tells about every hundredth part.
async fn run<T>(
    writes: impl Iterator<Item = impl Future<Output = Result<T, Error>> + Send> + Send,
    total: u64,
    mut tell: impl FnMut(u64) + Send,
) -> Result<(), Error> {
    let done = AtomicU64::new(0);
    let step = (total / 100).max(1000);
    let writes = stream::iter(writes).buffer_unordered(CONCURRENCY);
    writes
        .try_for_each(|_| {
            let so_far = done.fetch_add(1, Ordering::Relaxed) + 1;
            if so_far.is_multiple_of(step) || so_far == total {
                tell(so_far);
            }
            futures::future::ready(Ok(()))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{delete, object, put};

    #[tokio::test]
    async fn everything_is_copied_with_greater_revisions() {
        let (from, to) = (crate::memory(), crate::memory());
        for n in 0..1500 {
            from.commit(object(&format!("/registry/a/{}", n % 700), Expect::Any, "x")).await.unwrap();
        }
        from.commit(delete("/registry/a/3", Expect::Any)).await.unwrap();
        let mut short = put("/registry/b/ttl", Expect::Absent, "plain");
        short.put.as_mut().unwrap().ttl = Some(Duration::from_secs(3600));
        from.commit(short).await.unwrap();
        let mut told = Vec::new();
        assert_eq!(copy(&*from, &*to, |progress| told.push(progress)).await.unwrap(), 700);
        assert_eq!(told.last(), Some(&Progress::Copying(700, 700)));
        assert!(told.contains(&Progress::Raising(1503, 1503)), "{told:?}");
        let (old, new) = (from.range(Range::default()).unwrap(), to.range(Range::default()).unwrap());
        assert_eq!(new.entries.len(), 700, "nothing else is left behind");
        for (old, new) in old.entries.iter().zip(&new.entries) {
            assert_eq!((&old.key, old.unstamped()), (&new.key, new.unstamped()));
            assert!(new.revision > from.revision() && new.created > from.revision());
            assert_eq!(old.expires.is_some(), new.expires.is_some());
            assert_eq!(new.stamp_offset().is_some(), &*old.key != "/registry/b/ttl");
        }
        let again = copy(&*from, &*to, |_| ()).await.unwrap_err();
        assert!(matches!(again, MigrateError::NotEmpty { count: 700, .. }), "{again}");
    }
}
