//! What only the log promises: everything acknowledged is back after a restart or a crash, and damage is not overlooked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::fault::{Fault, FaultyDisk};
use super::*;
use crate::suite::{self, delete, object, put};
use crate::{Committed, Error, Expect, Place, Range, Store};

/// A directory that is gone when the test is over.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Scratch(std::env::temp_dir().join(format!("coracle-storage-{}-{number}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn on(disk: &FaultyDisk, options: &LogOptions) -> Result<Arc<Memory>, OpenError> {
    open_on(
        Directory::new(Arc::new(disk.clone()), Path::new("/data"), None, None, options.compress_from),
        options.clone(),
    )
}

/// So small that a few dozen commits rotate, snapshot and prune.
pub(super) fn tiny() -> LogOptions {
    let limits = Limits { history_events: 20, ..Limits::default() };
    LogOptions { segment_bytes: 1000, snapshot_bytes: 1500, snapshot_ratio: 1, limits, ..LogOptions::default() }
}

pub(super) type Row = (String, Vec<u8>, Revision, Revision, Option<u64>);

pub(super) fn state(store: &dyn Store) -> Vec<Row> {
    let list = store.range(Range::default()).unwrap().entries;
    let row = |entry: &Arc<crate::Entry>| {
        (entry.key.to_string(), entry.value.to_vec(), entry.created, entry.revision, entry.expires)
    };
    list.iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite() {
    let scratch = Scratch::new();
    let store =
        crate::open(&scratch.0, LogOptions { limits: suite::limits(), ..LogOptions::default() }, None).await.unwrap();
    suite::all(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_with_constant_rotation() {
    let scratch = Scratch::new();
    let options = LogOptions {
        segment_bytes: 4000,
        snapshot_bytes: 5000,
        snapshot_ratio: 0,
        limits: suite::limits(),
        ..LogOptions::default()
    };
    suite::all(crate::open(&scratch.0, options, None).await.unwrap()).await;
}

#[tokio::test]
async fn everything_is_back_after_reopening() {
    let scratch = Scratch::new();
    let store = open(&scratch.0, LogOptions::default(), None).await.unwrap();
    for n in 0..20 {
        store.commit(object(&format!("/registry/a/{}", n % 7), Expect::Any, "old")).await.unwrap();
    }
    let removed = store.commit(delete("/registry/a/3", Expect::Any)).await.unwrap();
    let mut lasting = put("/registry/a/ttl", Expect::Any, "x");
    lasting.put.as_mut().unwrap().ttl = Some(Duration::from_secs(3600));
    store.commit(lasting).await.unwrap();
    let (before, revision) = (state(&*store), store.revision());
    store.close().await;

    let store = open(&scratch.0, LogOptions::default(), None).await.unwrap();
    assert_eq!((state(&*store), store.revision()), (before, revision));
    let mut watch = store.watch("/registry/a/", 12).unwrap();
    for revision in 13..=revision {
        let event = watch.next().await.unwrap();
        assert_eq!(event.revision, revision, "a watch goes on where it was");
        if revision == removed.revision {
            let last = event.previous.as_ref().unwrap();
            assert_eq!((event.entry.is_none(), last.with_revision(9)), (true, removed.entry.with_revision(9)));
        }
    }
    let old = store.range(Range { prefix: "/registry/a/", at: Some(10), ..Range::default() }).unwrap();
    assert_eq!(old.entries.len(), 7, "and so does a list of the past");
    assert_eq!(store.commit(put("/registry/a/new", Expect::Absent, "x")).await.unwrap().revision, revision + 1);
    store.close().await;
    let files = std::fs::read_dir(&scratch.0).unwrap();
    assert!(files.into_iter().all(|file| file.unwrap().metadata().unwrap().permissions().mode() & 0o777 == 0o600));
    assert_eq!(std::fs::metadata(&scratch.0).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn the_second_process_is_kept_out() {
    let scratch = Scratch::new();
    let store = open(&scratch.0, LogOptions::default(), None).await.unwrap();
    let Err(error) = open(&scratch.0, LogOptions::default(), None).await else { panic!("opened twice") };
    let message = error.to_string();
    assert!(
        matches!(error, OpenError::Locked { .. }) && message.contains(&std::process::id().to_string()),
        "{message}"
    );
    store.close().await;
    open(&scratch.0, LogOptions::default(), None).await.unwrap().close().await;
}

#[tokio::test]
async fn expired_entries_are_deleted_after_reopening() {
    let disk = FaultyDisk::default();
    let store = on(&disk, &tiny()).unwrap();
    let mut short = put("/registry/a/x", Expect::Any, "x");
    short.put.as_mut().unwrap().ttl = Some(Duration::from_millis(1));
    // Through the journal, so that no task is started that deletes it.
    let revision = store.journal().commit(short).await.unwrap().revision;
    store.close().await;
    let store = on(&disk, &tiny()).unwrap();
    assert!(store.get("/registry/a/x").unwrap().is_some());
    let mut watch = store.watch("/registry/a/", revision).unwrap();
    store.start_expiry();
    assert!(watch.next().await.unwrap().entry.is_none());
    store.close().await;
}

/// Commits in turn, then several at once, over and over; notes what was acknowledged. Ends at the first failure.
pub(super) async fn workload(store: &Memory, acknowledged: &mut Acknowledged) {
    for round in 0..24 {
        let key = |n: usize| format!("/registry/r{}/{n}", n % 2);
        let commit = |n: usize| match (round + n) % 5 {
            4 => delete(&key(n), Expect::Any),
            _ => object(&key(n), Expect::Any, &format!("{round}-{}", "x".repeat(20 * n))),
        };
        let group: Vec<usize> = if round % 3 == 0 { (0..8).collect() } else { vec![round % 8] };
        let keys: Vec<String> = group.iter().map(|n| key(*n)).collect();
        let results = join_all(group.iter().map(|n| store.commit(commit(*n)))).await;
        let mut failed = false;
        for (key, result) in keys.into_iter().zip(results) {
            match result {
                Ok(done) => acknowledged.note(key, done),
                Err(Error::Conflict { .. }) => {}
                Err(Error::Unavailable(_)) => {
                    acknowledged.unsure.push(key);
                    failed = true;
                }
                Err(other) => panic!("{other}"),
            }
        }
        if failed {
            return;
        }
    }
}

#[derive(Default)]
pub(super) struct Acknowledged {
    pub(super) revision: Revision,
    /// What each key was last said to hold.
    state: BTreeMap<String, Option<(Revision, Vec<u8>)>>,
    /// Keys with a change nobody vouched for.
    unsure: Vec<String>,
}

impl Acknowledged {
    fn note(&mut self, key: String, done: Committed) {
        self.revision = self.revision.max(done.revision);
        let put = done.entry.revision == done.revision;
        self.state.insert(key, put.then(|| (done.revision, done.entry.value.to_vec())));
    }

    pub(super) fn check(&self, store: &dyn Store, context: &str) {
        assert!(store.revision() >= self.revision, "{context}: at {}, not {}", store.revision(), self.revision);
        for (key, want) in &self.state {
            let got = store.get(key).unwrap().map(|entry| (entry.revision, entry.value.to_vec()));
            let newer = got.as_ref().map_or(store.revision(), |(revision, _)| *revision) > self.revision;
            assert!(got == *want || (self.unsure.contains(key) && newer), "{context}: {key}");
        }
        for entry in store.range(Range::default()).unwrap().entries {
            let whole = entry.value.ends_with(format!("\"rv\":\"{}\"}}", entry.revision).as_bytes());
            assert!(
                whole && (self.state.contains_key(&*entry.key) || self.unsure.iter().any(|key| **key == *entry.key))
            );
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_write_loses_nothing_acknowledged() {
    let (mut crashes, mut snapshots) = (0, 0);
    for operation in 1.. {
        let disk = FaultyDisk::default();
        disk.fail_at(operation, Fault::Crash);
        let mut acknowledged = Acknowledged::default();
        if let Ok(store) = on(&disk, &tiny()) {
            workload(&store, &mut acknowledged).await;
            store.close().await;
            snapshots = snapshots.max(store.stats().snapshots);
        }
        if !disk.has_failed() {
            break;
        }
        crashes += 1;
        let mut seen = BTreeSet::new();
        for seed in 0..24 {
            let context = format!("crash at {operation}, seed {seed}");
            let disk = disk.after_crash(seed);
            // Where little was under way, most seeds leave the same.
            if !seen.insert(disk.files()) {
                continue;
            }
            let store = on(&disk, &tiny()).unwrap_or_else(|error| panic!("{context}: {error}"));
            acknowledged.check(&*store, &context);
            let history = store.watch("/registry/r0/", store.revision().saturating_sub(5).max(1));
            assert!(history.is_ok() || store.revision() > 20, "{context}: history");
            // And it goes on from there, through another crash while recovering.
            let mut more = Acknowledged::default();
            workload(&store, &mut more).await;
            store.close().await;
            let store =
                on(&disk.after_crash(seed + 1), &tiny()).unwrap_or_else(|error| panic!("{context}, again: {error}"));
            more.check(&*store, &context);
        }
    }
    assert!(crashes > 100 && snapshots > 1, "only {crashes} crashes, {snapshots} snapshots");
}

#[tokio::test]
async fn a_failing_disk_stops_changes_but_not_reads() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        // A write, a flush, and what rotation does: each fails once.
        for operation in 1..60 {
            let disk = FaultyDisk::default();
            let store = on(&disk, &tiny()).unwrap();
            disk.fail_at(operation, Fault::Error(kind));
            let mut acknowledged = Acknowledged::default();
            workload(&store, &mut acknowledged).await;
            acknowledged.check(&*store, "while it runs");
            let reason = loop {
                match store.commit(put("/registry/r0/0", Expect::Any, "x")).await {
                    Err(Error::Unavailable(reason)) => break reason,
                    done => drop(done.unwrap()),
                }
            };
            assert!(!reason.contains("/data"), "clients are not told the file: {reason}");
            let health = store.health().unwrap_err();
            assert!(health.contains("/data") && reason.ends_with(health.rsplit(": ").next().unwrap()), "{health}");
            assert!(store.revision() >= acknowledged.revision && store.range(Range::default()).is_ok());
            store.close().await;
            acknowledged.check(&*on(&disk.after_crash(operation), &tiny()).unwrap(), "after a restart");
        }
    }
}

#[tokio::test]
async fn what_recovery_has_shown_survives_a_crash() {
    let disk = FaultyDisk::default();
    let store = on(&disk, &tiny()).unwrap();
    // The commit's bytes are written and its flush fails; nobody was told that it was done.
    disk.fail_at(2, Fault::Error(ErrorKind::Other));
    store.commit(put("/registry/a/x", Expect::Absent, "x")).await.unwrap_err();
    store.close().await;
    let disk = disk.after_kill();
    let store = on(&disk, &tiny()).unwrap();
    assert!(store.get("/registry/a/x").unwrap().is_some());
    for seed in 0..12 {
        let store = on(&disk.after_crash(seed), &tiny()).unwrap();
        assert!(store.get("/registry/a/x").unwrap().is_some(), "it was readable; seed {seed}");
    }
}

#[tokio::test]
async fn a_torn_end_of_a_real_file_is_cut_off() {
    let scratch = Scratch::new();
    for round in 0..3 {
        let store = open(&scratch.0, LogOptions::default(), None).await.unwrap();
        assert_eq!(store.count("/registry/a/"), round);
        store.commit(put(&format!("/registry/a/{round}"), Expect::Absent, "x")).await.unwrap();
        store.close().await;
        let mut file = std::fs::OpenOptions::new().append(true).open(scratch.0.join(SEGMENT)).unwrap();
        std::io::Write::write_all(&mut file, &[77; 50]).unwrap();
    }
}

#[tokio::test]
async fn a_durable_change_is_held_once() {
    let store = on(&FaultyDisk::default(), &tiny()).unwrap();
    store.commit(put("/registry/a/x", Expect::Absent, "x")).await.unwrap();
    let entry = store.get("/registry/a/x").unwrap().unwrap();
    assert_eq!(Arc::strong_count(&entry), 3, "by the map, the event and this test, and by no queue");
}

/// A log of five commits in one segment, closed or not, without the room behind them.
async fn five(close: bool) -> FaultyDisk {
    let disk = FaultyDisk::default();
    let store = on(&disk, &LogOptions::default()).unwrap();
    for n in 0..5 {
        store.commit(put(&format!("/registry/a/{n}"), Expect::Absent, "value")).await.unwrap();
    }
    if close {
        store.close().await;
        return disk;
    }
    let disk = disk.after_crash(0);
    disk.tamper(SEGMENT, |bytes| bytes.truncate(scan::written(bytes)));
    disk
}

const SEGMENT: &str = "log-00000000000000000002";

fn refusal(disk: &FaultyDisk) -> (String, u64) {
    let before = disk.names().into_iter().map(|name| (disk.bytes(&name), name)).collect::<Vec<_>>();
    let Err(error) = on(disk, &LogOptions::default()) else { panic!("damage was overlooked") };
    let OpenError::Damaged { path, offset, .. } = &error else { panic!("{error}") };
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert!(before.iter().all(|(bytes, name)| disk.bytes(name) == *bytes), "nothing is changed");
    (path.file_name().unwrap().to_string_lossy().into_owned(), *offset)
}

#[tokio::test]
async fn a_torn_end_is_cut_off() {
    let length = five(false).await.bytes(SEGMENT).len();
    let record = (length - record::HEADER) / 5;
    for cut in 1..record {
        let disk = five(false).await;
        disk.tamper(SEGMENT, |bytes| bytes.truncate(length - cut));
        let store = on(&disk, &LogOptions::default()).unwrap();
        assert_eq!((store.revision(), store.count("/registry/a/")), (5, 4), "the last one is gone, whole");
        assert_eq!(store.commit(put("/registry/a/9", Expect::Absent, "again")).await.unwrap().revision, 6);
        store.close().await;
        assert_eq!(on(&disk, &LogOptions::default()).unwrap().count("/registry/a/"), 5);
    }
    for tail in [vec![0; 5000], vec![0xff; 100], vec![1]] {
        let disk = five(false).await;
        disk.tamper(SEGMENT, |bytes| bytes.extend(tail));
        assert_eq!(on(&disk, &LogOptions::default()).unwrap().revision(), 6);
        assert_eq!(disk.bytes(SEGMENT).len(), length);
    }
}

#[tokio::test]
async fn a_damaged_middle_is_refused_with_its_offset() {
    let length = five(false).await.bytes(SEGMENT).len();
    let record = (length - record::HEADER) / 5;
    for at in (0..length - record).step_by(7) {
        let disk = five(false).await;
        disk.tamper(SEGMENT, |bytes| bytes[at] ^= 0x10);
        let start = if at < record::HEADER { 0 } else { at - (at - record::HEADER) % record };
        assert_eq!(refusal(&disk), (SEGMENT.to_owned(), start as u64), "flipped at {at}");
    }
    let disk = five(true).await;
    disk.tamper(SEGMENT, |bytes| bytes[length - 1] ^= 1);
    assert_eq!(refusal(&disk).1, (length - record) as u64, "after a clean close the last record is vouched for too");
    let disk = five(false).await;
    disk.tamper(SEGMENT, |bytes| drop(bytes.drain(record::HEADER + record..record::HEADER + 2 * record)));
    assert_eq!(refusal(&disk).1, (record::HEADER + record) as u64, "a record is missing");
}

/// A log that has rotated and made a snapshot.
async fn long() -> (FaultyDisk, Vec<String>) {
    let disk = FaultyDisk::default();
    let options = LogOptions { segment_bytes: 700, ..tiny() };
    let store = on(&disk, &options).unwrap();
    for n in 0..200 {
        store.commit(object(&format!("/registry/a/{}", n % 4), Expect::Any, "x")).await.unwrap();
    }
    store.close().await;
    let mut names = disk.names();
    names.sort();
    (disk, names)
}

#[tokio::test]
async fn snapshots_keep_the_log_short_and_history_whole() {
    let (disk, names) = long().await;
    let (logs, snapshots): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.starts_with("log-"));
    assert!(snapshots.len() == 1 && logs.len() > 1 && logs.len() < 20, "{names:?}");
    let store = on(&disk, &tiny()).unwrap();
    assert_eq!((store.revision(), store.count("/registry/a/")), (201, 4));
    let mut watch = store.watch("/registry/a/", 190).unwrap();
    assert_eq!(watch.next().await.unwrap().previous.as_ref().map(|entry| entry.revision), Some(187));
    assert!(matches!(store.watch("/registry/a/", 5), Err(Error::Compacted { .. })));
}

#[tokio::test]
async fn a_missing_segment_or_a_damaged_snapshot_is_refused() {
    let (_, names) = long().await;
    let (logs, snapshots): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with("log-"));
    for gone in &logs[..logs.len() - 1] {
        let (disk, _) = long().await;
        let path = Path::new("/data").join(gone);
        if disk.names().contains(gone) {
            disk::Disk::remove(&disk, &path).unwrap();
            let _ = refusal(&disk);
        }
    }
    let (disk, names) = long().await;
    disk.tamper(&names[0], |bytes| *bytes.last_mut().unwrap() ^= 1);
    assert_eq!(refusal(&disk).0, names[0], "an older segment ends in damage");
    let Some(snapshot) = snapshots.first() else { panic!("no snapshot") };
    for change in [0_usize, 40, 100, 200] {
        let (disk, names) = long().await;
        let snapshot = names.iter().find(|name| name.starts_with("snap")).unwrap_or(snapshot);
        disk.tamper(snapshot, |bytes| bytes[change] ^= 1);
        assert_eq!(refusal(&disk).0, *snapshot);
        let (disk, names) = long().await;
        let snapshot = names.iter().find(|name| name.starts_with("snap")).unwrap_or(snapshot);
        disk.tamper(snapshot, |bytes| bytes.truncate(bytes.len() - 1 - change));
        assert_eq!(refusal(&disk).0, *snapshot);
    }
}

#[tokio::test]
async fn a_newer_format_is_named_as_such() {
    let disk = five(true).await;
    disk.tamper(SEGMENT, |bytes| bytes[8] = 9);
    let Err(error) = on(&disk, &LogOptions::default()) else { panic!("opened") };
    assert!(error.to_string().contains("version 9 is newer"), "{error}");
}

#[tokio::test]
async fn many_writers_share_a_flush() {
    let disk = FaultyDisk::default();
    let store = on(&disk, &LogOptions::default()).unwrap();
    let before = store.stats().syncs;
    let commits = (0..500).map(|n| store.commit(put(&format!("/registry/a/{n}"), Expect::Absent, "x")));
    join_all(commits.collect::<Vec<_>>()).await;
    let stats = store.stats();
    assert!(stats.syncs - before < 250, "{} flushes", stats.syncs - before);
    assert_eq!(stats.commits, 500);
    assert!(stats.disk_bytes < stats.committed_bytes + 500 * 50 + 100, "the overhead of a record is small: {stats:?}");
    store.close().await;
}

/// Keeps what is under `/registry/secrets/` with its bits flipped by a key, and reads what was with any.
pub(super) struct Flipped(pub(super) u8);

/// The same, but reads nothing else.
struct Only(Flipped);

impl Codec for Only {
    fn seal(&self, place: Place<'_>, value: &Bytes) -> Result<Option<Bytes>, String> {
        self.0.seal(place, value)
    }

    fn seals(&self, key: &str) -> bool {
        self.0.seals(key)
    }

    fn open(&self, place: Place<'_>, kept: &Bytes) -> Result<crate::Opened, String> {
        let opened = self.0.open(place, kept)?;
        if opened.stale { Err(format!("{} has another key", place.key)) } else { Ok(opened) }
    }

    fn open_as_is(&self, key: &str) -> Result<bool, String> {
        if self.seals(key) { Err(format!("{key} is in clear")) } else { Ok(false) }
    }
}

impl Codec for Flipped {
    fn seal(&self, place: Place<'_>, value: &Bytes) -> Result<Option<Bytes>, String> {
        let flipped = || std::iter::once(self.0).chain(value.iter().map(|byte| byte ^ self.0)).collect();
        Ok(self.seals(place.key).then(flipped))
    }

    fn seals(&self, key: &str) -> bool {
        key.starts_with("/registry/secrets/")
    }

    fn open(&self, _: Place<'_>, kept: &Bytes) -> Result<crate::Opened, String> {
        let (key, rest) = kept.split_first().ok_or("nothing was kept")?;
        let value: Bytes = rest.iter().map(|byte| byte ^ key).collect();
        let revision_at = value.len().checked_sub(2);
        Ok(crate::Opened { value, revision_at, stale: *key != self.0 })
    }
}

#[tokio::test]
async fn what_a_codec_seals_is_in_no_file_and_comes_back() {
    let disk = FaultyDisk::default();
    let codec = |key: u8| Some(Arc::new(Flipped(key)) as Arc<dyn Codec>);
    let open = |codec: Option<Arc<dyn Codec>>| {
        open_on(Directory::new(Arc::new(disk.clone()), Path::new("/data"), None, codec, None), tiny())
    };
    let store = open(codec(0x20)).unwrap();
    for n in 0..100 {
        store.commit(object(&format!("/registry/secrets/{}", n % 5), Expect::Any, "password")).await.unwrap();
        store.commit(object(&format!("/registry/plain/{}", n % 5), Expect::Any, "hello")).await.unwrap();
    }
    let before = state(&*store);
    store.close().await;
    assert!(store.stats().snapshots > 0);
    let found = |text: &str| {
        let holds = |name: &String| disk.bytes(name).windows(text.len()).any(|part| part == text.as_bytes());
        disk.names().iter().any(holds)
    };
    assert!(!found("password") && found("hello"));

    let store = open(codec(0x20)).unwrap();
    let is_stale = |store: &Memory, key: &str| store.get(key).unwrap().unwrap().stale;
    assert_eq!(state(&*store), before);
    assert!(!is_stale(&store, "/registry/secrets/1") && !is_stale(&store, "/registry/plain/1"));
    store.close().await;
    let store = open(codec(0x40)).unwrap();
    assert_eq!(state(&*store), before, "the old key is still known");
    assert!(is_stale(&store, "/registry/secrets/1"), "and that it is the old one, too");
    store.close().await;
    let Err(error) = open(None) else { panic!("opened without a key") };
    assert!(error.to_string().contains("no keys were given"), "{error}");
}

#[tokio::test]
async fn a_key_may_be_taken_away_when_everything_was_written_with_another() {
    let disk = FaultyDisk::default();
    let open = |codec: Option<Arc<dyn Codec>>| {
        open_on(Directory::new(Arc::new(disk.clone()), Path::new("/data"), None, codec, None), tiny())
    };
    let only = |key: u8| Some(Arc::new(Only(Flipped(key))) as Arc<dyn Codec>);
    let lenient = |key: u8| Some(Arc::new(Flipped(key)) as Arc<dyn Codec>);
    let secret = |name: &str, value: &str| object(&format!("/registry/secrets/{name}"), Expect::Any, value);
    // In clear first, with changes of what stands there; then with one key and with another; one is deleted.
    let store = open(None).unwrap();
    for value in ["one", "two", "three"] {
        store.commit(secret("a", value)).await.unwrap();
        store.commit(secret("b", value)).await.unwrap();
        store.commit(secret("gone", value)).await.unwrap();
    }
    store.close().await;
    let mut last = 0;
    for key in [0x20, 0x40] {
        let store = open(lenient(key)).unwrap();
        store.commit(secret("a", "four")).await.unwrap();
        store.close().await;
        let refused = open(only(key)).err().expect("others are as they were");
        let OpenError::Unreadable { path, offset, reason } = &refused else { panic!("{refused}") };
        assert!(path.starts_with("/data") && *offset > 0, "{refused}");
        assert!(reason.starts_with("/registry/secrets/"), "{refused}");
        let store = open(lenient(key)).unwrap();
        let _ = store.commit(delete("/registry/secrets/gone", Expect::Any)).await;
        last = store.commit(secret("b", "four")).await.unwrap().revision;
        store.close().await;
    }
    let store = open(only(0x40)).unwrap();
    assert!(store.get("/registry/secrets/gone").unwrap().is_none());
    let values = store.range(Range { prefix: "/registry/secrets/", ..Range::default() }).unwrap();
    assert_eq!(values.entries.len(), 2);
    assert!(values.entries.iter().all(|entry| entry.value.windows(4).any(|part| part == b"four")));
    assert!(
        matches!(store.watch("/registry/secrets/", last - 1), Err(Error::Compacted { .. })),
        "what was before is not shown"
    );
    store.watch("/registry/secrets/", last).unwrap();
    store.close().await;
}
