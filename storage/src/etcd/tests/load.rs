//! Writers that go on whatever happens, and a watcher that is told everything: what was acknowledged is to be seen once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::suite::{delete, put};
use crate::{Error, Expect, Range, Revision, Store};

const ROOT: &str = "/registry/load/";
const WRITERS: usize = 8;
/// Keeps tests from hanging; nothing waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

type Entries = BTreeMap<Arc<str>, Revision>;

/// Writers on one server, and on another one reads that promise what was acknowledged.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<(Revision, String)>>>,
    reads: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<()>>,
    follower: JoinHandle<Vec<(Revision, Arc<str>)>>,
    store: Arc<dyn Store>,
}

impl Load {
    pub(super) fn start(store: Arc<dyn Store>, other: Arc<dyn Store>) -> Load {
        let (over, acknowledged, reads) = (Arc::default(), Arc::default(), Arc::default());
        let follower = tokio::spawn(follow(store.clone(), Arc::clone(&over)));
        let mut load = Load { over, acknowledged, reads, writers: Vec::new(), follower, store: store.clone() };
        for writer in 0..WRITERS {
            let (store, other, reads) = (store.clone(), other.clone(), load.reads.clone());
            let (over, acknowledged) = (load.over.clone(), load.acknowledged.clone());
            load.writers.push(tokio::spawn(async move {
                let (mut n, mut era) = (0, 0);
                while !over.load(Ordering::Acquire) {
                    n += 1;
                    let key = format!("{ROOT}{writer}/{era}/{}", n % 3);
                    let commit =
                        if n % 4 == 0 { delete(&key, Expect::Any) } else { put(&key, Expect::Any, &n.to_string()) };
                    let deletes = commit.put.is_none();
                    match store.commit(commit).await {
                        Ok(done) => {
                            acknowledged.lock().push((done.revision, key.clone()));
                            // Nobody else writes this key, so it is exactly this that has to be read.
                            if other.catch_up().await.is_ok() {
                                let seen = other.get(&key).unwrap().map(|entry| entry.revision);
                                assert_eq!(seen, (!deletes).then_some(done.revision), "{key} on another server");
                                reads.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        // What was sent may still be made, at any later time: leave its key.
                        Err(Error::Unavailable(_)) => {
                            era += 1;
                            tokio::task::yield_now().await;
                        }
                        Err(Error::Conflict { .. }) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other}"),
                    }
                }
            }));
        }
        load
    }

    /// Waits until so much more is acknowledged and read.
    pub(super) async fn goes_on(&self) {
        let before = self.progress();
        let waiting = async {
            while self.progress().0 < before.0 + 50 || self.progress().1 < before.1 + 10 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("writes and reads go on");
    }

    fn progress(&self) -> (usize, usize) {
        (self.acknowledged.lock().len(), self.reads.load(Ordering::Relaxed))
    }

    /// Ends the writers and compares what they were told with what the watcher was.
    pub(super) async fn check(self) {
        self.over.store(true, Ordering::Release);
        for writer in self.writers {
            writer.await.unwrap();
        }
        // Wakes the watcher, and is the last that it sees.
        let last = self.store.commit(put(&format!("{ROOT}last"), Expect::Any, "x")).await.unwrap();
        let seen = tokio::time::timeout(PATIENCE, self.follower).await.expect("the watch comes to its end").unwrap();
        assert_eq!(seen.last().map(|(revision, _)| *revision), Some(last.revision));
        let mut acknowledged = self.acknowledged.lock().clone();
        acknowledged.sort_unstable();
        for (revision, key) in &acknowledged {
            let found = seen.binary_search_by_key(revision, |(revision, _)| *revision);
            assert_eq!(found.ok().map(|at| &*seen[at].1), Some(&**key), "an event for what was written at {revision}");
        }
        println!(
            "{} acknowledged, {} events, {} reads",
            acknowledged.len(),
            seen.len(),
            self.reads.load(Ordering::Relaxed)
        );
    }
}

/// Every event from now on: in order, none twice, and together with the list before they make the list after.
async fn follow(store: Arc<dyn Store>, over: Arc<AtomicBool>) -> Vec<(Revision, Arc<str>)> {
    let list = || {
        let list = store.range(Range { prefix: ROOT, ..Range::default() }).unwrap();
        let entries: Entries = list.entries.iter().map(|entry| (entry.key.clone(), entry.revision)).collect();
        (entries, list.revision)
    };
    let (mut state, start) = list();
    let mut watch = store.watch(ROOT, start).unwrap();
    let mut seen: Vec<(Revision, Arc<str>)> = Vec::new();
    loop {
        let event = watch.next().await.expect("the watch goes on");
        assert!(seen.last().is_none_or(|(last, _)| *last < event.revision), "{event:?} after {:?}", seen.last());
        let before = event.previous.as_ref().map(|entry| entry.revision);
        assert_eq!(before, state.get(&event.key).copied(), "what {event:?} replaces");
        match &event.entry {
            Some(entry) => state.insert(event.key.clone(), entry.revision),
            None => state.remove(&event.key),
        };
        seen.push((event.revision, event.key.clone()));
        if over.load(Ordering::Acquire) && event.key.ends_with("/last") {
            assert_eq!(list().0, state, "the events make the list");
            return seen;
        }
    }
}
