//! More of what can go wrong, and changes of which nothing is kept.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::fault::{Fault, FaultyDisk};
use super::tests::{Acknowledged, on, state, tiny, workload};
use super::*;
use crate::state::State;
use crate::suite::{delete, object, put};
use crate::{Error, Expect, Interest, Limits, Range, Store};

const LEASE: &str = "/registry/leases/kube-node-lease/n1";

/// Leases are in memory only.
fn volatile() -> LogOptions {
    LogOptions { volatile: vec!["/registry/leases/".to_owned()], ..tiny() }
}

#[tokio::test]
async fn an_error_while_recovering_refuses_the_start_and_changes_nothing() {
    let disk = FaultyDisk::default();
    let store = on(&disk, &tiny()).unwrap();
    workload(&store, &mut Acknowledged::default()).await;
    store.close().await;
    for read in 1.. {
        let disk = disk.after_kill();
        let before = disk.files();
        disk.fail_read_at(read);
        let opened = on(&disk, &tiny());
        if !disk.has_failed_to_read() {
            assert!(read > 4, "a snapshot, some segments and lists of names were read");
            break;
        }
        let Err(error) = opened else { panic!("read {read} failed and nobody noticed") };
        assert!(matches!(error, OpenError::Io(_)) && error.to_string().contains("/data"), "{error}");
        // The lists for cleaning up come last, when all is known; segments may be gone by then, whose content is in the snapshot.
        let lost = |(path, bytes): (&PathBuf, &Vec<u8>)| disk.files().get(path).is_some_and(|now| now != bytes);
        assert!(!before.iter().any(lost), "read {read}");
        assert_eq!(state(&*on(&disk.after_kill(), &tiny()).unwrap()), state(&*store));
    }
}

#[tokio::test]
async fn a_write_that_fails_while_recovering_refuses_the_start_and_the_next_one_succeeds() {
    for error in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other] {
        let disk = FaultyDisk::default();
        let store = on(&disk, &tiny()).unwrap();
        let mut acknowledged = Acknowledged::default();
        // Killed in the middle, so that there is something to tidy.
        disk.fail_at(70, Fault::Crash);
        workload(&store, &mut acknowledged).await;
        store.close().await;
        let disk = disk.after_crash(3);
        for operation in 1.. {
            let disk = disk.after_kill();
            disk.fail_at(operation, Fault::Error(error));
            let opened = on(&disk, &tiny());
            if let Ok(store) = opened {
                store.close().await;
                assert!(operation > 1);
                break;
            }
            acknowledged.check(&*on(&disk.after_kill(), &tiny()).unwrap(), "after the start that failed");
        }
    }
}

#[tokio::test]
async fn what_is_volatile_is_in_no_file_and_behaves_like_everything_else() {
    let disk = FaultyDisk::default();
    let store = on(&disk, &volatile()).unwrap();
    let mut watch = store.watch("/registry/leases/", store.revision()).unwrap();
    let first = store.commit(object(LEASE, Expect::Absent, "renewed")).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, first.revision);
    let written = store.stats().disk_bytes;
    for n in 0..15 {
        let renewed = store.commit(object(LEASE, Expect::Any, "renewed")).await.unwrap();
        assert_eq!(renewed.revision, first.revision + 1 + n);
    }
    assert_eq!(store.stats().disk_bytes, written, "after the reservation nothing is written");
    assert!(matches!(store.commit(put(LEASE, Expect::Absent, "x")).await, Err(Error::Conflict { .. })));
    assert_eq!(watch.next().await.unwrap().revision, first.revision + 1);
    for n in 0..100 {
        store.commit(object(&format!("/registry/a/{}", n % 4), Expect::Any, "kept")).await.unwrap();
        store.commit(object(LEASE, Expect::Any, "renewed")).await.unwrap();
    }
    store.close().await;
    assert!(store.stats().snapshots > 0);
    let renewed = |bytes: &Vec<u8>| bytes.windows(7).any(|part| part == b"renewed");
    assert!(!disk.files().values().any(renewed));
}

#[tokio::test]
async fn revisions_grow_and_watches_of_the_volatile_end_across_a_restart() {
    for (crash, volatile_after) in [(false, true), (true, true), (false, false), (true, false)] {
        let disk = FaultyDisk::default();
        let store = on(&disk, &volatile()).unwrap();
        let kept = store.commit(object("/registry/a/x", Expect::Any, "kept")).await.unwrap();
        let mut seen = 0;
        for _ in 0..30 {
            seen = store.commit(object(LEASE, Expect::Any, "renewed")).await.unwrap().revision;
        }
        let disk = if crash {
            disk.after_crash(0)
        } else {
            store.close().await;
            disk.clone()
        };
        let store = on(&disk, &if volatile_after { volatile() } else { tiny() }).unwrap();
        assert!(store.revision() > seen, "{} after {seen}", store.revision());
        assert!(store.get(LEASE).unwrap().is_none());
        let gone = |at| matches!(store.watch("/registry/leases/", at), Err(Error::Compacted { .. }));
        assert!(gone(seen) && gone(seen - 5), "no change tells that the lease is gone");
        let range = crate::Range { prefix: "/registry/leases/", at: Some(seen), ..crate::Range::default() };
        assert!(matches!(store.range(range), Err(Error::Compacted { .. })));
        assert!(store.watch("/registry/a/", kept.revision).is_ok(), "the others go on");
        let next = store.commit(object("/registry/a/y", Expect::Any, "kept")).await.unwrap().revision;
        assert!(next > seen);
        store.close().await;
        let store = on(&disk, &tiny()).unwrap();
        assert!(store.revision() >= next && store.count("/registry/a/") == 2);
    }
}

#[tokio::test]
async fn what_becomes_volatile_is_gone_from_the_files_too() {
    let disk = FaultyDisk::default();
    let store = on(&disk, &tiny()).unwrap();
    store.commit(object(LEASE, Expect::Any, "kept once")).await.unwrap();
    store.close().await;
    let store = on(&disk, &volatile()).unwrap();
    assert!(store.get(LEASE).unwrap().is_none());
    store.close().await;
    let store = on(&disk, &tiny()).unwrap();
    assert!(store.get(LEASE).unwrap().is_none(), "an old lease does not come back");
}

#[tokio::test]
async fn a_crash_among_volatile_changes_never_takes_a_revision_back() {
    for operation in 1.. {
        let disk = FaultyDisk::default();
        disk.fail_at(operation, Fault::Crash);
        let (mut seen, mut kept) = (0, 0);
        if let Ok(store) = on(&disk, &volatile()) {
            for n in 0..60_u64 {
                let durable = n.is_multiple_of(3);
                let key = if durable { "/registry/a/x" } else { LEASE };
                let commit =
                    if n % 7 == 6 { delete(key, Expect::Any) } else { object(key, Expect::Any, &"x".repeat(50)) };
                match store.commit(commit).await {
                    Ok(done) => {
                        seen = done.revision;
                        kept = if durable { done.revision } else { kept };
                    }
                    Err(Error::Conflict { .. }) => {}
                    Err(_) => break,
                }
            }
            store.close().await;
        }
        if !disk.has_failed() {
            assert!(operation > 40);
            break;
        }
        let mut known = BTreeSet::new();
        for seed in 0..24 {
            let disk = disk.after_crash(seed);
            if !known.insert(disk.files()) {
                continue;
            }
            let store = on(&disk, &volatile()).unwrap_or_else(|error| panic!("{operation}, {seed}: {error}"));
            assert!(store.revision() >= seen, "{operation}, {seed}: {} after {seen}", store.revision());
            assert!(store.watch("/registry/a/", kept.max(1)).is_ok());
            let next = store.commit(object(LEASE, Expect::Any, "x")).await.unwrap().revision;
            assert!(next > seen);
            store.close().await;
        }
    }
}

/// As upstream's: a list's page can be asked for five minutes after the first one, and not ten minutes after.
#[test]
fn history_is_kept_for_five_minutes_and_not_for_ten() {
    let state = State::new(Limits::default());
    let start = Instant::now();
    let commit = || state.commit(&object("/registry/a/x", Expect::Any, "x"), 0).unwrap().revision;
    let first = commit();
    commit();
    for seconds in (0..=580).step_by(20) {
        state.forget_old(start + Duration::from_secs(seconds));
        let known = state.range(Range { prefix: "/registry/a/", at: Some(first), ..Range::default() }).is_ok();
        assert!(known || seconds > 300, "{seconds}");
        assert!(!known || seconds < 580, "{seconds}");
    }
}

#[test]
fn old_history_is_given_up() {
    let limits = Limits { history_age: Duration::from_secs(800), ..Limits::default() };
    let state = State::new(limits);
    let start = Instant::now();
    let after = |seconds| state.forget_old(start + Duration::from_secs(seconds));
    let commit = || state.commit(&object("/registry/a/x", Expect::Any, "x"), 0).unwrap().revision;
    let watch = |prefix, after| state.watch(prefix, Interest::All, after);
    let mut follower = watch("/", 1).unwrap();
    let first = commit();
    after(150);
    let second = commit();
    after(200);
    assert!(watch("/registry/a/", 1).is_ok(), "not yet");
    assert!(follower.try_next().unwrap().is_some() && follower.try_next().unwrap().is_some());
    after(951);
    assert!(matches!(watch("/registry/a/", 1), Err(Error::Compacted { oldest }) if oldest == first));
    assert!(matches!(watch("/registry/never/", 1), Err(Error::Compacted { .. })));
    assert!(watch("/registry/a/", first).is_ok(), "the second change is younger");
    after(2000);
    after(3000);
    assert!(watch("/registry/a/", first).is_err() && watch("/registry/a/", second).is_ok());
    assert!(follower.try_next().unwrap().is_none(), "who keeps up misses nothing");
}
