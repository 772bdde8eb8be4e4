//! What every store does: one suite, run on each of them. `all` takes an empty store; reopening is the log's own affair.

pub(crate) mod linear;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use crate::{Commit, Committed, Entry, Error, Event, Expect, Interest, Limits, Put, Range, Revision, Store, Tag};

/// Keeps tests from hanging; nothing waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bounds that [`all`] needs: history for everything it does, and a low value limit.
pub(crate) fn limits() -> Limits {
    Limits { value_bytes: 64 << 10, ..Limits::default() }
}

pub(crate) fn put(key: &str, expect: Expect, value: &str) -> Commit {
    let put = Put { value: Bytes::copy_from_slice(value.as_bytes()), revision_at: None, ttl: None };
    Commit { key: key.into(), expect, put: Some(put) }
}

pub(crate) fn delete(key: &str, expect: Expect) -> Commit {
    Commit { key: key.into(), expect, put: None }
}

/// An object whose revision is spliced in.
pub(crate) fn object(key: &str, expect: Expect, name: &str) -> Commit {
    let value = format!("{{\"name\":\"{name}\",\"rv\":\"\"}}");
    let put = Put { revision_at: Some(value.len() - 2), value: value.into(), ttl: None };
    Commit { key: key.into(), expect, put: Some(put) }
}

fn keys(entries: &[Arc<Entry>]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.key).collect()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The next event, which must come.
pub(crate) async fn next(watch: &mut crate::Watch) -> Arc<Event> {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("an event").expect("no error")
}

fn prefix(prefix: &str) -> Range<'_> {
    Range { prefix, ..Range::default() }
}

/// Whether a commit takes the revision after the one before, or others may take some in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revisions {
    Contiguous,
    Growing,
}

impl Revisions {
    fn follow(self, before: Revision, after: Revision) -> bool {
        if self == Revisions::Contiguous { after == before + 1 } else { after > before }
    }
}

/// Runs everything, each part under keys of its own.
pub(crate) async fn all(store: Arc<dyn Store>) {
    all_with(store, Revisions::Contiguous).await;
}

/// As [`all`], on a store whose revisions may have gaps.
pub(crate) async fn all_with(store: Arc<dyn Store>, revisions: Revisions) {
    assert_eq!((store.revision(), store.count("")), (1, 0), "a new store");
    puts_and_deletes(&*store, revisions).await;
    conflicts(&*store, revisions).await;
    refusals(&*store).await;
    stamps(&*store).await;
    prefixes(&*store).await;
    pages_of_one_revision(&store).await;
    lists_of_the_past(&*store).await;
    watches(&*store).await;
    a_watch_across_resources(&*store).await;
    progress(&*store).await;
    interests(&*store).await;
    waiting(&store).await;
    time_to_live(&*store).await;
    concurrent_writers(&store, revisions).await;
    one_winner(&store).await;
    a_single_copy(&store).await;
    compaction(&*store).await;
    closing(store, revisions).await;
}

async fn puts_and_deletes(store: &dyn Store, revisions: Revisions) {
    let key = "/registry/crud/a";
    let Committed { entry, previous, revision } = store.commit(put(key, Expect::Absent, "one")).await.unwrap();
    assert_eq!(
        (entry.created, entry.revision, &*entry.value, previous.is_none()),
        (revision, revision, &b"one"[..], true)
    );
    assert_eq!(store.revision(), revision);
    let second = store.commit(put(key, Expect::Revision(revision), "two")).await.unwrap();
    assert!(revisions.follow(revision, second.revision), "each commit takes one revision");
    assert_eq!((second.entry.created, second.entry.revision), (revision, second.revision));
    assert_eq!(&*second.previous.unwrap().value, b"one");
    assert_eq!(&*store.get(key).unwrap().unwrap().value, b"two");
    let third = store.commit(delete(key, Expect::Any)).await.unwrap();
    assert!(revisions.follow(second.revision, third.revision));
    assert_eq!((third.entry.revision, &*third.entry.value), (second.revision, &b"two"[..]));
    assert!(store.get(key).unwrap().is_none());
    let again = store.commit(put(key, Expect::Any, "three")).await.unwrap();
    assert_eq!(again.entry.created, again.revision, "a key made anew is new");
}

async fn conflicts(store: &dyn Store, revisions: Revisions) {
    let key = "/registry/conflicts/a";
    let held = |error: Error| match error {
        Error::Conflict { current } => current.map(|entry| entry.revision),
        other => panic!("{other}"),
    };
    for expect in [Expect::Any, Expect::Absent, Expect::Revision(1)] {
        assert_eq!(held(store.commit(delete(key, expect)).await.unwrap_err()), None, "nothing to delete");
    }
    assert_eq!(held(store.commit(put(key, Expect::Revision(1), "x")).await.unwrap_err()), None, "nothing to update");
    let before = store.revision();
    let first = store.commit(put(key, Expect::Absent, "x")).await.unwrap().revision;
    assert!(revisions.follow(before, first), "a refused commit takes no revision");
    for expect in [Expect::Absent, Expect::Revision(first - 1), Expect::Revision(first + 1)] {
        assert_eq!(held(store.commit(put(key, expect, "y")).await.unwrap_err()), Some(first));
        assert_eq!(held(store.commit(delete(key, expect)).await.unwrap_err()), Some(first));
    }
    assert_eq!(&*store.get(key).unwrap().unwrap().value, b"x");
}

async fn refusals(store: &dyn Store) {
    let size = limits().value_bytes;
    store.commit(put("/registry/large/a", Expect::Any, &"x".repeat(size))).await.unwrap();
    let error = store.commit(put("/registry/large/a", Expect::Any, &"x".repeat(size + 1))).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit, .. } if limit == size), "{error}");
    assert!(matches!(store.commit(put("", Expect::Any, "")).await, Err(Error::Invalid(_))));
    let mut outside = put("/registry/large/b", Expect::Any, "short");
    outside.put.as_mut().unwrap().revision_at = Some(6);
    assert!(matches!(store.commit(outside).await, Err(Error::Invalid(_))));
}

async fn stamps(store: &dyn Store) {
    let first = store.commit(object("/registry/stamps/a", Expect::Absent, "a")).await.unwrap();
    assert_eq!(text(&first.entry.value), format!("{{\"name\":\"a\",\"rv\":\"{}\"}}", first.revision));
    assert_eq!(first.entry.stamp_offset(), Some(18));
    assert_eq!(text(&first.entry.with_revision(7)), "{\"name\":\"a\",\"rv\":\"7\"}");
    assert_eq!(text(&first.entry.with_revision(u64::MAX)), format!("{{\"name\":\"a\",\"rv\":\"{}\"}}", u64::MAX));
    let plain = store.commit(put("/registry/stamps/b", Expect::Absent, "b")).await.unwrap().entry;
    assert_eq!((text(&plain.with_revision(7)), plain.stamp_offset()), ("b", None));
}

async fn prefixes(store: &dyn Store) {
    let all = [
        "/registry/px",
        "/registry/px.example.com/as",
        "/registry/px.example.com/as/a",
        "/registry/px.example.com/bs/n/b",
        "/registry/px/a/1",
        "/registry/px/a/2",
        "/registry/px/aa/1",
        "/registry/pxy/a/1",
    ];
    for key in all {
        store.commit(put(key, Expect::Absent, key)).await.unwrap();
    }
    for under in
        ["", "/", "/registry/px", "/registry/px/", "/registry/px/a", "/registry/px/a/", "/registry/px.example.com/"]
    {
        let want: Vec<&str> = all.into_iter().filter(|key| key.starts_with(under)).collect();
        let list = store.range(prefix(under)).unwrap().entries;
        let got: Vec<&str> = keys(&list).into_iter().filter(|key| key.starts_with("/registry/px")).collect();
        assert_eq!(got, want, "{under:?} in key order");
        assert_eq!(store.count(under), list.len(), "{under:?}");
    }
    assert_eq!(store.count("/registry/nothing/"), 0);
    let beyond = Range { prefix: "/registry/px/", start_after: Some("/registry/zz"), ..Range::default() };
    assert!(store.range(beyond).unwrap().entries.is_empty());
    let before = Range { prefix: "/registry/px/", start_after: Some("/registry/aa"), ..Range::default() };
    assert_eq!(store.range(before).unwrap().entries.len(), 3);
}

/// Pages of one list agree with the list, whatever is written in between.
async fn pages_of_one_revision(store: &Arc<dyn Store>) {
    let (root, key) = ("/registry/pages/", |n: usize| format!("/registry/pages/ns{}/{n:04}", n % 3));
    for n in 0..200 {
        store.commit(object(&key(n), Expect::Absent, "old")).await.unwrap();
    }
    let whole = store.range(prefix(root)).unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0..300 {
                match n % 3 {
                    0 => drop(store.commit(delete(&key(n), Expect::Any)).await),
                    _ => drop(store.commit(object(&key(n), Expect::Any, "new")).await.unwrap()),
                }
            }
        }
    });
    let (mut got, mut after): (Vec<Arc<Entry>>, Option<Arc<Entry>>) = (Vec::new(), None);
    loop {
        let start_after = after.as_ref().map(|entry| &*entry.key);
        let page = store.range(Range { prefix: root, start_after, limit: 7, at: Some(whole.revision) }).unwrap();
        assert_eq!(page.revision, whole.revision);
        got.extend(page.entries.iter().cloned());
        assert_eq!((page.remaining, page.more), (200 - got.len(), got.len() < 200));
        after = page.entries.last().cloned();
        tokio::task::yield_now().await;
        if !page.more {
            break;
        }
    }
    writer.await.unwrap();
    let versions =
        |list: &[Arc<Entry>]| list.iter().map(|entry| (entry.key.clone(), entry.revision)).collect::<Vec<_>>();
    assert_eq!(versions(&got), versions(&whole.entries));
    let page = store.range(Range { limit: 1, ..prefix(root) }).unwrap();
    assert_eq!((page.entries.len(), page.remaining + 1), (1, store.count(root)));
}

/// Every revision of a resource can be listed as it was.
async fn lists_of_the_past(store: &dyn Store) {
    let root = "/registry/past/";
    let mut model: BTreeMap<String, Revision> = BTreeMap::new();
    let mut history = vec![(store.revision(), model.clone())];
    for n in 0..60_usize {
        let key = format!("{root}{}/{}", n % 2, n * 7 % 5);
        let commit = if n % 3 == 2 { delete(&key, Expect::Any) } else { put(&key, Expect::Any, "x") };
        let deletes = commit.put.is_none();
        if let Ok(done) = store.commit(commit).await {
            if deletes {
                model.remove(&key)
            } else {
                model.insert(key, done.revision)
            };
            history.push((done.revision, model.clone()));
        }
    }
    for (revision, model) in &history {
        for under in [root, "/registry/past/1/", "/registry/pas"] {
            let want: Vec<_> =
                model.iter().filter(|(key, _)| key.starts_with(under)).map(|(key, at)| (&**key, *at)).collect();
            for limit in [0, 1, 3] {
                let list = store.range(Range { at: Some(*revision), limit, ..prefix(under) }).unwrap();
                let got: Vec<_> = list.entries.iter().map(|entry| (&*entry.key, entry.revision)).collect();
                let end = if limit == 0 { want.len() } else { want.len().min(limit) };
                assert_eq!((&got[..], list.remaining), (&want[..end], want.len() - end), "{under} at {revision}");
            }
        }
    }
    let future = store.range(Range { at: Some(store.revision() + 1), ..prefix(root) });
    assert!(matches!(future, Err(Error::FutureRevision { current }) if current == store.revision()));
}

async fn watches(store: &dyn Store) {
    let (root, start) = ("/registry/watched/", store.revision());
    let mut all = store.watch(root, start).unwrap();
    let mut one = store.watch("/registry/watched/b/", start).unwrap();
    assert!(all.try_next().unwrap().is_none());
    let made = store.commit(object("/registry/watched/a/x", Expect::Absent, "x")).await.unwrap();
    let other = store.commit(object("/registry/watched/b/x", Expect::Absent, "x")).await.unwrap();
    let changed = store.commit(object("/registry/watched/b/x", Expect::Any, "y")).await.unwrap();
    let removed = store.commit(delete("/registry/watched/b/x", Expect::Any)).await.unwrap();
    store.commit(object("/registry/watchedtoo/x", Expect::Any, "x")).await.unwrap();
    for want in [&made, &other, &changed, &removed] {
        assert_eq!(next(&mut all).await.revision, want.revision);
    }
    assert!(all.try_next().unwrap().is_none(), "another resource is no affair of this watch");
    let events = [next(&mut one).await, next(&mut one).await, next(&mut one).await];
    assert_eq!(events.each_ref().map(|event| event.revision), [other.revision, changed.revision, removed.revision]);
    assert!(events[0].previous.is_none());
    assert_eq!(events[1].previous.as_ref().unwrap().revision, other.revision);
    let last = events[2].previous.as_ref().unwrap();
    assert!(events[2].entry.is_none());
    assert_eq!(
        text(&last.with_revision(removed.revision)),
        format!("{{\"name\":\"y\",\"rv\":\"{}\"}}", removed.revision)
    );
    let mut later = store.watch(root, other.revision).unwrap();
    let event = next(&mut later).await;
    assert_eq!(event.revision, changed.revision, "only what came after");
    assert!(Arc::ptr_eq(&event, &events[1]), "one event for all");
    assert_eq!(&*event.frame(1, || "made".into()), b"made");
    assert_eq!(&*events[1].frame(1, || panic!("made once")), b"made");
    let after = store.revision() + 2;
    let mut ahead = store.watch(root, after).unwrap();
    let mut done = Vec::new();
    for _ in 0..3 {
        done.push(store.commit(put("/registry/watched/c", Expect::Any, "x")).await.unwrap().revision);
    }
    let first = done.into_iter().find(|revision| *revision > after);
    assert_eq!(Some(next(&mut ahead).await.revision), first, "from a revision to come");
}

async fn a_watch_across_resources(store: &dyn Store) {
    let mut watch = store.watch("/registry/wide", store.revision()).unwrap();
    let mut want = Vec::new();
    for key in ["/registry/wide1/a", "/registry/wide2/a", "/registry/narrow/a", "/registry/wide1/b", "/registry/wide"] {
        let done = store.commit(put(key, Expect::Absent, "x")).await.unwrap();
        want.extend(key.contains("wide").then_some(done.revision));
    }
    for revision in want {
        assert_eq!(next(&mut watch).await.revision, revision);
    }
    assert_eq!(watch.progress(), store.revision());
}

async fn progress(store: &dyn Store) {
    let start = store.revision();
    let mut watch = store.watch("/registry/quiet/a/", start).unwrap();
    store.commit(put("/registry/quiet/b/x", Expect::Any, "x")).await.unwrap();
    let latest = store.commit(put("/registry/loud/x", Expect::Any, "x")).await.unwrap().revision;
    assert_eq!(watch.progress(), latest, "nothing of the prefix is left to return");
    let mine = store.commit(put("/registry/quiet/a/x", Expect::Any, "x")).await.unwrap().revision;
    let latest = store.commit(put("/registry/loud/x", Expect::Any, "x")).await.unwrap().revision;
    assert!(watch.progress() < mine, "an event is still to be returned");
    assert_eq!(next(&mut watch).await.revision, mine);
    assert_eq!(watch.progress(), latest);
}

/// Watchers of a key, a tag or a namespace are told of those only, whatever else happens and however long they wait.
async fn interests(store: &dyn Store) {
    const ROOT: &str = "/registry/interests/";
    let tag: Tag = |entry| text(&entry.value).split('/').next().unwrap_or_default().to_owned();
    let start = store.revision();
    let watch = |prefix: &str, interest| store.watch_for(prefix, interest, start).unwrap();
    let mut key = watch(ROOT, Interest::Key("/registry/interests/a/k".into()));
    let mut tagged = watch(ROOT, Interest::Tagged(tag, "red".to_owned()));
    let mut namespace = watch("/registry/interests/b/", Interest::All);
    for (at, value) in [("a/k", "red/1"), ("b/x", "blue/1"), ("a/k", "blue/2"), ("a/l", "blue/3"), ("b/y", "red/4")] {
        store.commit(put(&format!("{ROOT}{at}"), Expect::Any, value)).await.unwrap();
    }
    store.commit(delete(&format!("{ROOT}b/y"), Expect::Any)).await.unwrap();
    fn seen(event: &Arc<Event>) -> String {
        let value = event.entry.as_ref().map_or("gone", |entry| text(&entry.value));
        format!("{} {value}", event.key.strip_prefix(ROOT).unwrap())
    }
    for (watch, expected) in [
        (&mut key, vec!["a/k red/1", "a/k blue/2"]),
        // What loses the tag concerns those who watch it.
        (&mut tagged, vec!["a/k red/1", "a/k blue/2", "b/y red/4", "b/y gone"]),
        (&mut namespace, vec!["b/x blue/1", "b/y red/4", "b/y gone"]),
    ] {
        for event in expected {
            assert_eq!(seen(&next(watch).await), event);
        }
        assert!(watch.try_next().unwrap().is_none());
        assert_eq!(watch.progress(), store.revision(), "nothing else is for it");
    }
    let waiting = tokio::spawn(async move { seen(&next(&mut key).await) });
    store.commit(put("/registry/interests/a/other", Expect::Any, "red/5")).await.unwrap();
    store.commit(put("/registry/interests/a/k", Expect::Any, "blue/6")).await.unwrap();
    assert_eq!(waiting.await.unwrap(), "a/k blue/6");
    assert_eq!(seen(&next(&mut tagged).await), "a/other red/5");
}

async fn waiting(store: &Arc<dyn Store>) {
    let target = store.revision() + 2;
    store.wait_for(target - 2, Duration::ZERO).await.unwrap();
    assert!(matches!(store.wait_for(target, Duration::ZERO).await, Err(Error::FutureRevision { .. })));
    let waiter = tokio::spawn({
        let store = store.clone();
        async move { store.wait_for(target, PATIENCE).await }
    });
    for _ in 0..2 {
        store.commit(put("/registry/waiting/x", Expect::Any, "x")).await.unwrap();
    }
    waiter.await.unwrap().unwrap();
}

async fn time_to_live(store: &dyn Store) {
    let mut watch = store.watch("/registry/ttl/", store.revision()).unwrap();
    let short = |key: &str, ttl| {
        let mut commit = put(key, Expect::Any, "x");
        commit.put.as_mut().unwrap().ttl = Some(ttl);
        commit
    };
    store.commit(short("/registry/ttl/long", Duration::from_secs(3600))).await.unwrap();
    let made = store.commit(short("/registry/ttl/a", Duration::from_millis(1))).await.unwrap();
    assert!(made.entry.expires.is_some());
    assert!(next(&mut watch).await.entry.is_some());
    assert_eq!(next(&mut watch).await.revision, made.revision);
    let gone = next(&mut watch).await;
    assert_eq!((&*gone.key, gone.entry.is_none()), ("/registry/ttl/a", true));
    assert_eq!(gone.revision, store.revision(), "expiry is a commit like any other");
    assert!(store.get("/registry/ttl/a").unwrap().is_none());
    assert!(store.get("/registry/ttl/long").unwrap().is_some());
    let kept = store.commit(put("/registry/ttl/long", Expect::Any, "x")).await.unwrap();
    assert!(kept.entry.expires.is_none(), "the last writer decides");
}

/// 64 writers: each change is seen once, in the order of revisions, and a list with the events after it is the state.
async fn concurrent_writers(store: &Arc<dyn Store>, kind: Revisions) {
    const WRITERS: usize = 64;
    const EACH: usize = 25;
    let root = "/registry/busy/";
    let start = store.revision();
    let mut watch = store.watch(root, start).unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut revisions = Vec::new();
            for n in 0..EACH {
                let key = format!("{root}{writer}/{}", n % 5);
                let commit = if n % 5 == 4 {
                    delete(&format!("{root}{writer}/0"), Expect::Any)
                } else {
                    put(&key, Expect::Any, "x")
                };
                let done = store.commit(commit).await.unwrap();
                let seen = store.get(&done.entry.key).unwrap().map(|entry| entry.revision);
                assert_eq!(seen, (n % 5 != 4).then_some(done.revision), "one reads one's own writes");
                revisions.push(done.revision);
            }
            revisions
        })
    });
    let reader = tokio::spawn({
        let store = store.clone();
        async move {
            let list = store.range(prefix(root)).unwrap();
            let mut state: BTreeMap<Arc<str>, Revision> =
                list.entries.iter().map(|entry| (entry.key.clone(), entry.revision)).collect();
            let mut watch = store.watch(root, list.revision).unwrap();
            loop {
                let event = next(&mut watch).await;
                if event.key.ends_with("/last") {
                    return state;
                }
                match &event.entry {
                    Some(entry) => assert!(state.insert(event.key.clone(), entry.revision) < Some(entry.revision)),
                    None => assert!(state.remove(&event.key).is_some()),
                }
            }
        }
    });
    let mut revisions: Vec<Revision> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    revisions.sort_unstable();
    assert_eq!(revisions.len(), WRITERS * EACH);
    let mut before = start;
    for revision in revisions {
        assert!(kind.follow(before, revision), "one revision each, none left out");
        assert_eq!(next(&mut watch).await.revision, revision);
        before = revision;
    }
    let list = store.range(prefix(root)).unwrap();
    store.commit(put(&format!("{root}last"), Expect::Any, "x")).await.unwrap();
    let state: BTreeMap<_, _> = list.entries.iter().map(|entry| (entry.key.clone(), entry.revision)).collect();
    assert_eq!(reader.await.unwrap(), state);
}

async fn a_single_copy(store: &Arc<dyn Store>) {
    let history = linear::clients(std::slice::from_ref(store), "/registry/linear/", 6).await;
    let count = history.check().unwrap();
    assert!(count >= 64 * 6, "{count}");
}

/// Of many who expect the same revision one succeeds, and the others learn what it wrote.
async fn one_winner(store: &Arc<dyn Store>) {
    let key = "/registry/contended/x";
    let first = store.commit(put(key, Expect::Absent, "0")).await.unwrap().revision;
    let attempt = async || {
        let result = store.commit(put(key, Expect::Revision(first), "1")).await;
        (result, store.revision())
    };
    let results = join_all((0..16).map(|_| attempt())).await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(|(result, _)| result.is_ok());
    let [(Ok(won), _)] = &won[..] else { panic!("{won:?}") };
    for (conflict, revision) in lost {
        let Err(Error::Conflict { current: Some(current) }) = conflict else { panic!("{conflict:?}") };
        assert_eq!(current.revision, won.revision);
        assert!(revision >= current.revision, "nobody hears of what is not durable");
    }
}

async fn compaction(store: &dyn Store) {
    let root = "/registry/compacted/";
    let before = store.revision();
    let mut done = Vec::new();
    for _ in 0..5 {
        done.push(store.commit(put("/registry/compacted/x", Expect::Any, "x")).await.unwrap().revision);
    }
    let at = done[2];
    let (mut slow, mut quick) = (store.watch(root, before).unwrap(), store.watch(root, done[4]).unwrap());
    store.compact(at).await.unwrap();
    assert!(matches!(store.watch(root, at - 1), Err(Error::Compacted { oldest }) if oldest == at));
    assert!(matches!(store.range(Range { at: Some(at - 1), ..prefix(root) }), Err(Error::Compacted { .. })));
    assert!(matches!(store.watch("/registry/never/", at - 1), Err(Error::Compacted { .. })), "in every resource");
    assert!(matches!(store.watch("", at - 1), Err(Error::Compacted { .. })), "and across them");
    assert_eq!(store.range(Range { at: Some(at), ..prefix(root) }).unwrap().entries[0].revision, at);
    assert!(matches!(slow.next().await, Err(Error::Compacted { .. })), "a watcher that was too slow");
    assert!(store.watch(root, at).unwrap().try_next().unwrap().is_some());
    let next_one = store.commit(put("/registry/compacted/x", Expect::Any, "x")).await.unwrap().revision;
    assert_eq!(next(&mut quick).await.revision, next_one);
    assert!(matches!(store.compact(next_one + 1).await, Err(Error::FutureRevision { .. })));
}

async fn closing(store: Arc<dyn Store>, revisions: Revisions) {
    let mut watch = store.watch("/registry/closing/", store.revision()).unwrap();
    let stats = store.stats();
    assert_eq!(stats.revision, store.revision());
    if revisions == Revisions::Contiguous {
        assert_eq!(stats.commits, store.revision() - 1, "one commit, one revision");
    }
    let entries = store.range(prefix("")).unwrap().entries;
    let bytes: usize = entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
    assert_eq!((stats.entries, stats.bytes), (entries.len() as u64, bytes as u64));
    assert_eq!(store.health(), Ok(()));
    let ended = tokio::spawn(async move { watch.next().await.map(drop) });
    tokio::task::yield_now().await;
    store.close().await;
    assert!(matches!(ended.await.unwrap(), Err(Error::Unavailable(_))), "watches end");
    assert!(matches!(store.commit(put("/registry/closing/x", Expect::Any, "x")).await, Err(Error::Unavailable(_))));
    assert!(store.get("/registry/crud/a").unwrap().is_some(), "reads go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    all(crate::memory_with(limits())).await;
}

/// A watcher that does not keep up loses its watch, not the store its memory.
#[tokio::test]
async fn the_history_is_bounded() {
    let store = crate::memory_with(Limits { history_events: 10, history_bytes: 4000, ..Limits::default() });
    let mut slow = store.watch("/registry/a/", 1).unwrap();
    for n in 0..11 {
        store.commit(put("/registry/a/x", Expect::Any, "x")).await.unwrap();
        store.commit(put(&format!("/registry/b/{n}"), Expect::Any, &"x".repeat(600))).await.unwrap();
    }
    assert!(matches!(slow.next().await, Err(Error::Compacted { .. })));
    assert!(store.watch("/registry/c/", 1).is_ok(), "another resource keeps its own history");
    let mut second = store.watch("/registry/a/", store.revision()).unwrap();
    store.commit(put("/registry/a/x", Expect::Any, &"x".repeat(9000))).await.unwrap();
    assert_eq!(next(&mut second).await.revision, store.revision(), "who keeps up gets even the largest");
    let stats = store.stats();
    assert!(stats.history_events <= 20 && stats.history_bytes < 4000 + 2 * 9000 + 1000, "{stats:?}");
}
