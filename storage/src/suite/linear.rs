//! Whether a store, or several servers on one, behave as a single copy: histories of concurrent reads and writes are recorded and
//! checked.
//!
//! To find an order of the operations that explains a history is hard; but the store itself names one, for each write has a
//! revision, and each read tells that of what it saw. So it is enough to check that order: that it explains all results, and
//! that nothing that had ended stands after what began later.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;

use super::{Committed, Error, Expect, Revision, Store, put, text};

/// What one client did with a key, and when: ticks of a clock that all clients share.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    key: String,
    began: u64,
    ended: u64,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Saw a revision and its value; 0: there was nothing.
    Read(Revision, String),
    /// Wrote a value, in place of that revision if it had to be that.
    Wrote { revision: Revision, value: String, instead_of: Option<Revision> },
}

/// The operations of all clients.
pub(crate) struct History {
    clock: AtomicU64,
    operations: parking_lot::Mutex<Vec<Operation>>,
    /// How many writes there were of which the client does not know whether they were made.
    pub(crate) unknown: AtomicU64,
}

impl History {
    pub(crate) fn new() -> Arc<History> {
        let (clock, unknown) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(History { clock, operations: parking_lot::Mutex::default(), unknown })
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn record(&self, key: &str, began: u64, what: What) {
        let operation = Operation { key: key.to_owned(), began, ended: self.tick(), what };
        self.operations.lock().push(operation);
    }

    /// Reads a key, with what was acknowledged before. A read that fails has seen nothing.
    pub(crate) async fn read(&self, store: &dyn Store, key: &str) -> Option<Revision> {
        let began = self.tick();
        store.catch_up().await.ok()?;
        let seen = store.get(key).unwrap();
        let (revision, value) = seen.map_or((0, String::new()), |it| (it.revision, text(&it.value).to_owned()));
        self.record(key, began, What::Read(revision, value));
        Some(revision)
    }

    /// Writes a value that nobody else writes.
    pub(crate) async fn write(&self, store: &dyn Store, key: &str, value: &str, expect: Expect) {
        let began = self.tick();
        let instead_of = match expect {
            Expect::Any => None,
            Expect::Absent => Some(0),
            Expect::Revision(revision) => Some(revision),
        };
        match store.commit(put(key, expect, value)).await {
            Ok(Committed { revision, .. }) => {
                self.record(key, began, What::Wrote { revision, value: value.to_owned(), instead_of });
            }
            Err(Error::Conflict { current }) => {
                let seen = current.map_or((0, String::new()), |it| (it.revision, text(&it.value).to_owned()));
                assert_ne!(Some(seen.0), instead_of, "a conflict with what was expected");
                self.record(key, began, What::Read(seen.0, seen.1));
            }
            Err(Error::Unavailable(_)) => drop(self.unknown.fetch_add(1, Ordering::Relaxed)),
            Err(other) => panic!("{other}"),
        }
    }

    /// How many operations there were, or what is wrong with them.
    pub(crate) fn check(&self) -> Result<usize, String> {
        let operations = self.operations.lock().clone();
        let mut by_key: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
        let count = operations.len();
        for operation in operations {
            by_key.entry(operation.key.clone()).or_default().push(operation);
        }
        by_key.into_values().try_for_each(check)?;
        Ok(count)
    }
}

/// Checks the history of one key.
fn check(mut operations: Vec<Operation>) -> Result<(), String> {
    let place = |it: &Operation| match &it.what {
        What::Wrote { revision, .. } => (*revision, false),
        What::Read(revision, _) => (*revision, true),
    };
    operations.sort_by_key(|it| (place(it), it.began));
    let mut values: HashMap<Revision, &str> = HashMap::from([(0, "")]);
    let (mut last, mut began_last) = (0, 0);
    for operation in &operations {
        let (revision, value) = match &operation.what {
            What::Read(revision, value) => (*revision, value),
            What::Wrote { revision, value, instead_of } => {
                if instead_of.is_some_and(|expected| expected != last) {
                    return Err(format!("it replaced revision {last}: {operation:?}"));
                }
                if values.contains_key(revision) {
                    return Err(format!("it has the revision of another write: {operation:?}"));
                }
                (*revision, value)
            }
        };
        // What is read and was not acknowledged was written by somebody who does not know that.
        if *values.entry(revision).or_insert(value) != *value {
            return Err(format!("another value was written at this revision: {operation:?}"));
        }
        if operation.ended < began_last {
            return Err(format!("it ended before one began that comes before it: {operation:?}"));
        }
        began_last = began_last.max(operation.began);
        last = revision;
    }
    Ok(())
}

/// What 64 clients of these servers do, on a few keys.
pub(crate) async fn clients(servers: &[Arc<dyn Store>], root: &str, rounds: usize) -> Arc<History> {
    const CLIENTS: usize = 64;
    let history = History::new();
    let clients = (0..CLIENTS).map(|client| {
        let (history, server, root) = (history.clone(), servers[client % servers.len()].clone(), root.to_owned());
        tokio::spawn(async move {
            for round in 0..rounds {
                let (key, value) = (format!("{root}{}", (client + round) % 5), format!("{client} {round}"));
                match (client / 2 + round) % 3 {
                    0 => drop(history.read(&*server, &key).await),
                    1 => history.write(&*server, &key, &value, Expect::Any).await,
                    _ => {
                        let expect = match history.read(&*server, &key).await {
                            Some(0) => Expect::Absent,
                            Some(seen) => Expect::Revision(seen),
                            None => continue,
                        };
                        history.write(&*server, &key, &value, expect).await;
                    }
                }
            }
        })
    });
    join_all(clients).await.into_iter().for_each(|done| done.unwrap());
    history
}

#[test]
fn what_no_single_copy_would_do_is_found() {
    let read = |revision, value: &str| What::Read(revision, value.to_owned());
    let wrote = |revision, value: &str, instead_of| What::Wrote { revision, value: value.to_owned(), instead_of };
    let at = |began, ended, what| Operation { key: "k".to_owned(), began, ended, what };
    let first = at(0, 1, wrote(5, "a", None));
    let good = |second: Operation| assert_eq!(check(vec![second, first.clone()]), Ok(()));
    let bad = |second: Operation| assert!(check(vec![second.clone(), first.clone()]).is_err(), "{second:?}");
    good(at(2, 3, read(5, "a")));
    bad(at(2, 3, read(0, "")));
    good(at(0, 2, read(0, "")));
    bad(at(2, 3, read(5, "b")));
    bad(at(2, 3, wrote(4, "b", None)));
    good(at(0, 3, wrote(4, "b", None)));
    good(at(2, 3, wrote(6, "b", Some(5))));
    bad(at(0, 3, wrote(6, "b", Some(0))));
    bad(at(0, 3, wrote(5, "b", None)));
    let stale = vec![first, at(2, 3, wrote(6, "b", None)), at(4, 5, read(5, "a"))];
    assert!(check(stale).is_err(), "a read of what was replaced before it began");
}
