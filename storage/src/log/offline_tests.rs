//! Checks, repairs, backups and restores of real directories.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;

use super::tests::{Flipped, Scratch, state, tiny};
use super::*;
use crate::suite::{delete, object, put};
use crate::{Expect, Limits, Range, Revision, Store};

/// A store that has rotated and made a snapshot; some of it is sealed.
async fn filled(dir: &Path) -> Arc<dyn Store> {
    let options = LogOptions { segment_bytes: 2000, ..tiny() };
    let store: Arc<dyn Store> = open(dir, options, Some(Arc::new(Flipped(0x20)))).await.unwrap();
    for n in 0..150 {
        let key = format!("/registry/a/{}", n % 6);
        let commit =
            if n % 25 == 24 { delete(&key, Expect::Any) } else { object(&key, Expect::Any, &"long ".repeat(n % 9)) };
        store.commit(commit).await.unwrap();
        if n % 10 == 0 {
            store.commit(object(&format!("/registry/secrets/{}", n % 3), Expect::Any, "password")).await.unwrap();
        }
    }
    while store.stats().snapshots == 0 {
        store.commit(object("/registry/a/1", Expect::Any, "until there is a snapshot")).await.unwrap();
    }
    store
}

async fn reopened(dir: &Path) -> Arc<Memory> {
    open(dir, tiny(), Some(Arc::new(Flipped(0x20)))).await.unwrap()
}

fn files(dir: &Path, start: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.file_name().unwrap().to_string_lossy().starts_with(start));
    files.sort();
    files
}

fn tamper(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(dir, "").into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

#[tokio::test]
async fn a_check_tells_what_is_there_and_changes_nothing() {
    let scratch = Scratch::new();
    let store = filled(&scratch.0).await;
    // While the server runs, and after it has ended.
    for closed in [false, true] {
        if closed {
            store.close().await;
        }
        let before = content(&scratch.0);
        let Report { summary, problems } = check(&scratch.0).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!((summary.revision, summary.entries), (store.revision(), store.count("") as u64));
        assert_eq!((summary.sealed, summary.torn), (3, 0));
        assert!(summary.snapshots > 0 && summary.segments > 0 && summary.oldest > 1);
        assert!(!closed || content(&scratch.0) == before);
    }
    tamper(&files(&scratch.0, "log-").pop().unwrap(), |bytes| bytes.extend([7; 30]));
    fs::write(scratch.0.join("notes.txt"), "mine").unwrap();
    let Report { summary, problems } = check(&scratch.0).unwrap();
    assert!(problems.is_empty(), "what was never acknowledged is no damage");
    assert_eq!((summary.torn, summary.strangers), (30, vec!["notes.txt".to_owned()]));
}

#[tokio::test]
async fn a_check_finds_what_a_start_refuses() {
    let scratch = Scratch::new();
    filled(&scratch.0).await.close().await;
    let kept = content(&scratch.0);
    let with_records: Vec<&(PathBuf, Vec<u8>)> =
        kept.iter().filter(|(_, bytes)| bytes.len() > record::HEADER).collect();
    for (file, bytes) in with_records {
        // The mark of the close, at the very end, may get lost: it is not needed then.
        let mark = if Some(file) == files(&scratch.0, "log-").last() { 42 } else { 0 };
        for at in (0..bytes.len() - mark).step_by(11) {
            tamper(file, |bytes| bytes[at] ^= 0x04);
            let problems = check(&scratch.0).unwrap().problems;
            let refused = open(&scratch.0, tiny(), Some(Arc::new(Flipped(0x20)))).await;
            let Err(OpenError::Damaged { path, offset, .. }) = refused else { panic!("{} at {at}", file.display()) };
            assert!(problems.iter().any(|it| (&it.path, it.offset) == (&path, offset)), "{at}: {problems:?}");
            fs::write(file, bytes).unwrap();
        }
    }
    assert!(check(&scratch.0).unwrap().problems.is_empty());
}

#[tokio::test]
async fn a_repair_saves_what_is_intact_and_tells_the_loss() {
    let scratch = Scratch::new();
    let dir = scratch.0.join("store");
    fs::create_dir(&scratch.0).unwrap();
    let store = filled(&dir).await;
    assert!(matches!(repair(&dir), Err(OpenError::Locked { .. })), "not under a running server");
    let revision = store.revision();
    let before = state(&*store);
    store.close().await;
    assert!(repair(&dir).unwrap().is_none(), "nothing is damaged");

    let records = |file: &PathBuf| {
        let bytes = fs::read(file).unwrap();
        let mut at = record::HEADER;
        std::iter::from_fn(|| record::decode(&bytes[at..]).ok().map(|(_, length)| at += length)).count()
    };
    let target = files(&dir, "log-").into_iter().rfind(|file| records(file) > 3).unwrap();
    let mut lost = 0;
    tamper(&target, |bytes| {
        let (_, first) = record::decode(&bytes[record::HEADER..]).unwrap();
        lost = record::decode(&bytes[record::HEADER + first..]).unwrap().0.revision;
        bytes[record::HEADER + first + 60] ^= 1;
    });
    let damaged = content(&dir);
    let repaired = repair(&dir).unwrap().unwrap();
    let told = &repaired.report.problems[0];
    assert_eq!((&told.path, told.revisions, told.keys.len()), (&target, Some((lost, lost)), 1));
    assert!(repaired.revision >= revision + BUMP, "no reader has seen a higher one");
    assert_eq!(repaired.aside, scratch.0.join("store.damaged"));
    let aside = content(&repaired.aside).into_iter().map(|(file, bytes)| (dir.join(file.file_name().unwrap()), bytes));
    assert_eq!(aside.collect::<Vec<_>>(), damaged, "the damaged files are kept as they were");

    let store = reopened(&dir).await;
    assert!(matches!(store.watch("/registry/a/", revision), Err(crate::Error::Compacted { .. })));
    let after = state(&*store);
    assert_eq!(after.len() as u64, repaired.entries);
    let touched: Vec<&String> = repaired.report.problems.iter().flat_map(|problem| &problem.keys).collect();
    for row in &before {
        assert!(after.contains(row) || touched.contains(&&row.0), "{} is as it was", row.0);
    }
    let next = store.commit(put("/registry/a/new", Expect::Absent, "x")).await.unwrap().revision;
    assert_eq!(next, repaired.revision + 1);
    store.close().await;
    assert!(repair(&dir).unwrap().is_none());
}

#[tokio::test]
async fn a_repair_copes_with_any_damage() {
    let scratch = Scratch::new();
    let (dir, original) = (scratch.0.join("store"), scratch.0.join("original"));
    fs::create_dir(&scratch.0).unwrap();
    filled(&original).await.close().await;
    let files = content(&original);
    let last = files.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
    let damages = (0..last).step_by(97).chain([usize::MAX]);
    for (at, (damaged, _)) in damages.flat_map(|at| files.iter().map(move |file| (at, file))) {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        for (file, bytes) in &files {
            let mut bytes = bytes.clone();
            match bytes.get_mut(at) {
                Some(byte) if file == damaged => *byte ^= 0x80,
                // The whole file is gone.
                None if file == damaged && at == usize::MAX => continue,
                _ => {}
            }
            fs::write(dir.join(file.file_name().unwrap()), bytes).unwrap();
        }
        if let Some(repaired) = repair(&dir).unwrap() {
            assert!(repaired.entries > 0 || at == usize::MAX, "{} at {at}", damaged.display());
            fs::remove_dir_all(&repaired.aside).unwrap();
        }
        let store = reopened(&dir).await;
        let damaged_secret =
            |entry: &crate::Entry| !entry.value.ends_with(format!("\"rv\":\"{}\"}}", entry.revision).as_bytes());
        assert!(!store.range(Range::default()).unwrap().entries.iter().any(|entry| damaged_secret(entry)));
        store.close().await;
    }
}

#[tokio::test]
async fn an_interrupted_repair_is_finished_and_not_mistaken_for_an_empty_store() {
    let scratch = Scratch::new();
    let dir = scratch.0.join("store");
    fs::create_dir(&scratch.0).unwrap();
    filled(&dir).await.close().await;
    // As after a crash between the two renames.
    fs::rename(&dir, scratch.0.join("store.repaired")).unwrap();
    let refused = open(&dir, tiny(), None).await;
    assert!(matches!(refused, Err(OpenError::HalfRepaired { .. })), "not a new, empty store");
    assert!(repair(&dir).unwrap().is_none());
    assert!(reopened(&dir).await.count("") > 5);
}

#[tokio::test]
async fn a_backup_is_of_one_revision_and_comes_back_at_a_higher_one() {
    let scratch = Scratch::new();
    let (dir, file) = (scratch.0.join("store"), scratch.0.join("backup"));
    fs::create_dir(&scratch.0).unwrap();
    let store = filled(&dir).await;
    let (revision, before) = (store.revision(), state(&*store));
    let saved = backup(&dir, &file).unwrap();
    assert_eq!((saved.revision, saved.entries), (revision, before.len() as u64));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let sealed = fs::read(&file).unwrap();
    assert_eq!(sealed.len() as u64, saved.bytes);
    assert!(!sealed.windows(8).any(|part| part == b"password"), "what is sealed stays sealed");
    assert!(backup(&dir, &file).is_err(), "no backup is overwritten");
    assert!(restore(&file, &dir, BUMP).is_err(), "nor a store that is in use");
    store.commit(put("/registry/a/later", Expect::Absent, "x")).await.unwrap();
    store.close().await;
    assert!(restore(&file, &dir, BUMP).unwrap_err().to_string().contains("not empty"));

    let other = scratch.0.join("deep/other/store");
    restore(&file, &other, BUMP).unwrap();
    let store = reopened(&other).await;
    assert_eq!((state(&*store), store.revision()), (before, revision + BUMP));
    assert!(matches!(store.watch("/registry/a/", revision + 1), Err(crate::Error::Compacted { .. })));
    assert!(store.watch("/registry/a/", revision + BUMP).is_ok());
    store.close().await;
    assert!(check(&other).unwrap().problems.is_empty());

    for at in (0..sealed.len()).step_by(5) {
        let (torn, target) = (scratch.0.join("torn"), scratch.0.join("never"));
        let mut bytes = sealed.clone();
        bytes[at] ^= 2;
        fs::write(&torn, &bytes).unwrap();
        assert!(restore(&torn, &target, BUMP).is_err(), "flipped at {at}");
        fs::write(&torn, &sealed[..at]).unwrap();
        assert!(restore(&torn, &target, BUMP).is_err() && !target.exists(), "cut at {at}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_while_others_write_and_prune_is_consistent() {
    let scratch = Scratch::new();
    let dir = scratch.0.join("store");
    fs::create_dir(&scratch.0).unwrap();
    let store = filled(&dir).await;
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            // Two keys that always agree, but for one change at a time.
            for n in 0..2000_u32 {
                for key in ["/registry/pair/a", "/registry/pair/b"] {
                    store.commit(object(key, Expect::Any, &n.to_string())).await.unwrap();
                }
            }
        }
    });
    for n in 0..20 {
        let (file, other) = (scratch.0.join(format!("backup-{n}")), scratch.0.join(format!("store-{n}")));
        backup(&dir, &file).unwrap();
        assert!(check(&dir).unwrap().problems.is_empty());
        restore(&file, &other, BUMP).unwrap();
        let copy = reopened(&other).await;
        let number = |key: &str| {
            let value = copy.get(key).unwrap().map_or(Bytes::new(), |entry| entry.value.clone());
            let digits: String =
                String::from_utf8_lossy(&value).chars().skip(9).take_while(char::is_ascii_digit).collect();
            digits.parse::<i64>().unwrap_or(-1)
        };
        let ahead = number("/registry/pair/a") - number("/registry/pair/b");
        assert!((0..=1).contains(&ahead), "{ahead} ahead");
        copy.close().await;
    }
    writing.abort();
    let _ = writing.await;
    store.close().await;
}

#[tokio::test]
async fn a_directory_is_made_of_entries() {
    let scratch = Scratch::new();
    let (dir, copy) = (scratch.0.join("store"), scratch.0.join("copy"));
    fs::create_dir(&scratch.0).unwrap();
    let store = filled(&dir).await;
    let entries = store.range(Range::default()).unwrap().entries;
    let codec = || Some(Arc::new(Flipped(0x20)) as Arc<dyn Codec>);
    assert!(create(&copy, entries.clone(), 5, codec()).is_err(), "an entry is newer");
    create(&copy, entries, store.revision() + 7, codec()).unwrap();
    let made = reopened(&copy).await;
    assert_eq!((state(&*made), made.revision()), (state(&*store), store.revision() + 7));
}

/// A directory as a program wrote it that wrote this version of the format.
struct Golden {
    version: u32,
    /// The revision that the files lead to, and those at which three starts with a commit each go on.
    revision: Revision,
    starts: [Revision; 3],
    /// What follows each value's text.
    suffix: &'static str,
    /// By how much its revisions are higher than those of version 1, to which the same was written otherwise.
    more: Revision,
}

const GOLDEN: [Golden; 2] = [
    Golden { version: 1, revision: 39, starts: [39, 40, 41], suffix: "", more: 0 },
    Golden { version: 2, revision: 42, starts: [43, 45, 47], suffix: LONG, more: 2 },
];

/// So long that it is compressed, and that a change is kept as a patch.
const LONG: &str =
    " and so on and so on and so on and so on and so on and so on and so on and so on and so on and so on and so on";

/// Writes the files of the newest version anew: `GOLDEN=DIRECTORY cargo test -p coracle-storage write_golden -- --ignored`.
#[tokio::test]
#[ignore = "writes files"]
async fn write_golden() {
    let dir = PathBuf::from(std::env::var_os("GOLDEN").unwrap());
    let limits = Limits { history_events: 6, ..Limits::default() };
    let (segment_bytes, snapshot_bytes, compress_from) = (700, 1200, Some(100));
    let volatile = vec!["/registry/leases/".to_owned()];
    let options = LogOptions { segment_bytes, snapshot_bytes, snapshot_ratio: 0, compress_from, volatile, limits };
    let store = open(&dir, options, Some(Arc::new(Flipped(0x20)))).await.unwrap();
    for n in 0..30 {
        if n % 15 == 0 {
            store.commit(object("/registry/leases/a", Expect::Any, "x")).await.unwrap();
        }
        let text = |what: &str| format!("{what}-{n}{LONG}");
        store
            .commit(object(&format!("/registry/configmaps/default/{}", n % 4), Expect::Any, &text("value")))
            .await
            .unwrap();
        if n % 5 == 0 {
            store
                .commit(object(&format!("/registry/secrets/default/{}", n % 2), Expect::Any, &text("secret")))
                .await
                .unwrap();
        }
        if n == 24 {
            let mut lasting = object("/registry/events/default/e", Expect::Any, &format!("lasting{LONG}"));
            lasting.put.as_mut().unwrap().ttl = Some(std::time::Duration::from_secs(3_000_000_000));
            store.commit(lasting).await.unwrap();
        }
        // So that a snapshot that was begun comes to its end.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    store.commit(delete("/registry/configmaps/default/3", Expect::Any)).await.unwrap();
    store.commit(object("/registry/leases/a", Expect::Any, "x")).await.unwrap();
    store.close().await;
}

/// A copy of the files of a version, to work on.
fn golden(version: u32) -> Scratch {
    let scratch = Scratch::new();
    fs::create_dir(&scratch.0).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/log/golden/v{version}"));
    for file in files(&kept, "") {
        fs::copy(&file, scratch.0.join(file.file_name().unwrap())).unwrap();
    }
    scratch
}

/// What is in them.
fn expected(golden: &Golden) -> Vec<super::tests::Row> {
    let row = |key: &str, text: &str, created: Revision, revision: Revision, expires: Option<u64>| {
        // The second of the changes without a record came before the revision 20.
        let moved = |revision| revision + if revision < 20 { golden.more / 2 } else { golden.more };
        let (suffix, revision) = (golden.suffix, moved(revision));
        let value = format!("{{\"name\":\"{text}{suffix}\",\"rv\":\"{revision}\"}}").into_bytes();
        (format!("/registry/{key}"), value, moved(created), revision, expires)
    };
    vec![
        row("configmaps/default/0", "value-28", 2, 37, None),
        row("configmaps/default/1", "value-29", 4, 38, None),
        row("configmaps/default/2", "value-26", 5, 35, None),
        row("events/default/e", "lasting", 32, 32, Some(0)),
        row("secrets/default/0", "secret-20", 3, 27, None),
        row("secrets/default/1", "secret-25", 9, 34, None),
    ]
}

#[tokio::test]
async fn files_of_every_version_are_read_and_go_on() {
    for golden in GOLDEN {
        let scratch = self::golden(golden.version);
        let version = golden.version;
        assert!(fs::read(&files(&scratch.0, "log-")[0]).unwrap()[8] as u32 == version);
        let Report { summary, problems } = check(&scratch.0).unwrap();
        assert!(problems.is_empty(), "version {version}: {problems:?}");
        assert_eq!((summary.revision, summary.sealed), (golden.revision, 2));
        let saved = scratch.0.with_extension("backup");
        assert_eq!(backup(&scratch.0, &saved).unwrap().revision, golden.revision);
        fs::remove_file(saved).unwrap();
        for (round, start) in golden.starts.into_iter().enumerate() {
            let store = reopened(&scratch.0).await;
            let mut rows = state(&*store);
            rows.retain(|(key, ..)| !key.contains("/new/"));
            // When exactly it expires is not the same in every version.
            rows.iter_mut().for_each(|row| row.4 = row.4.map(|at| at.saturating_sub(1 << 60)));
            assert_eq!((rows, store.revision()), (expected(&golden), start), "version {version}, round {round}");
            let mut watch = store.watch("/registry/configmaps/", 36 + golden.more).unwrap();
            let seen = [watch.next().await.unwrap(), watch.next().await.unwrap(), watch.next().await.unwrap()];
            let seen = seen.map(|event| (event.revision - golden.more, event.entry.is_some()));
            assert_eq!(seen, [(37, true), (38, true), (39, false)], "history goes on");
            store.commit(put(&format!("/registry/new/{round}"), Expect::Absent, "x")).await.unwrap();
            store.close().await;
        }
        assert!(check(&scratch.0).unwrap().problems.is_empty());
    }
}

#[tokio::test]
async fn the_torn_end_of_an_older_version_is_cut_off_once_and_for_all() {
    let scratch = golden(1);
    // Without its last change and the mark of the close; and with half a record.
    tamper(&scratch.0.join("log-00000000000000000036"), |bytes| bytes.extend([3; 40]));
    fs::remove_file(scratch.0.join("log-00000000000000000039")).unwrap();
    for round in 0..2 {
        let store = reopened(&scratch.0).await;
        assert_eq!(store.revision(), 38 + round);
        store.commit(put(&format!("/registry/new/{round}"), Expect::Absent, "x")).await.unwrap();
        store.close().await;
    }
}
