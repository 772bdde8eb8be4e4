//! An etcd that others write to as well, and what they may leave there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;

use super::server::{self, Cluster};
use super::{Marked, open, within};
use crate::etcd::client::Client;
use crate::etcd::compactor::{Look, turn};
use crate::etcd::feed::tells_progress;
use crate::etcd::wire::{
    AlarmRequest, AlarmResponse, DeleteRangeRequest, PutRequest, RangeRequest, Request, RequestOp, ResponseHeader,
    TxnRequest,
};
use crate::etcd::{Etcd, EtcdOptions, compactor, wire};
use crate::suite::{delete, next, put, text};
use crate::{
    Codec, Commit, Committed, Entry, Error, Expect, Interest, Opened, Place, Range, RangeResult, Revision, Stats,
    Store, Tag, Watch,
};

/// Several changes at one revision.
async fn transact(client: &Client, changes: &[(&str, Option<&str>)]) -> u64 {
    let op = |(key, value): &(&str, Option<&str>)| {
        let key = Bytes::copy_from_slice(key.as_bytes());
        match value {
            Some(value) => {
                let put = PutRequest { key, value: Bytes::copy_from_slice(value.as_bytes()), lease: 0 };
                RequestOp { put: Some(put), delete: None }
            }
            None => RequestOp { put: None, delete: Some(DeleteRangeRequest { key }) },
        }
    };
    let request = TxnRequest { compare: Vec::new(), success: changes.iter().map(op).collect() };
    client.write(request).await.unwrap().header.unwrap().revision as u64
}

/// A store in whose etcd somebody else writes another key before each commit.
pub(super) struct Gaps(pub(super) Arc<Etcd>);

#[async_trait]
impl Store for Gaps {
    fn get(&self, key: &str) -> Result<Option<Arc<Entry>>, Error> {
        self.0.get(key)
    }

    fn range(&self, range: Range<'_>) -> Result<RangeResult, Error> {
        self.0.range(range)
    }

    fn count(&self, prefix: &str) -> usize {
        self.0.count(prefix)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        transact(&self.0.client, &[("elsewhere", Some("x"))]).await;
        self.0.commit(commit).await
    }

    fn watch_for(&self, prefix: &str, interest: Interest, after: Revision) -> Result<Watch, Error> {
        self.0.watch_for(prefix, interest, after)
    }

    fn revision(&self) -> Revision {
        self.0.revision()
    }

    async fn catch_up(&self) -> Result<(), Error> {
        self.0.catch_up().await
    }

    async fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), Error> {
        self.0.wait_for(revision, timeout).await
    }

    async fn compact(&self, before: Revision) -> Result<(), Error> {
        self.0.compact(before).await
    }

    fn health(&self) -> Result<(), String> {
        self.0.health()
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_of_other_keys_are_reached() {
    let cluster = Cluster::start(&server::program(), 1);
    let version = open(&cluster).await.client.check(0).await.unwrap();
    // Older versions tell of progress ahead of what happened before, so that a narrow watch loses changes.
    let ways: &[bool] = if tells_progress(version) { &[false, true] } else { &[false] };
    for narrow in ways.iter().copied() {
        let store = Etcd::open(cluster.options(), Some(Arc::new(Marked)), narrow).await.unwrap();
        let elsewhere = EtcdOptions { prefix: "/elsewhere".to_owned(), ..cluster.options() };
        let other = Etcd::open(elsewhere, Some(Arc::new(Marked)), narrow).await.unwrap();
        let mut watch = store.watch("/registry/a/", store.revision()).unwrap();
        for _ in 0..3 {
            let done = other.commit(put("/registry/a/x", Expect::Any, "theirs")).await.unwrap();
            assert!(store.get("/registry/a/x").unwrap().is_none());
            store.catch_up().await.unwrap();
            assert!(store.revision() >= done.revision);
            store.wait_for(done.revision, Duration::ZERO).await.unwrap();
            assert!(watch.progress() >= done.revision, "a bookmark may say so");
        }
        assert!(watch.try_next().unwrap().is_none());
        let future = store.wait_for(store.revision() + 1, Duration::from_millis(1)).await;
        assert!(matches!(future, Err(Error::FutureRevision { .. })));
        let done = store.commit(put("/registry/a/y", Expect::Absent, "ours")).await.unwrap();
        assert_eq!(next(&mut watch).await.revision, done.revision);
        store.commit(delete("/registry/a/y", Expect::Any)).await.unwrap();
    }
}

/// As when a lease ends: etcd deletes all that has it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_one_revision_are_all_told() {
    let cluster = Cluster::start(&server::program(), 1);
    let store = open(&cluster).await;
    let tag: Tag = |entry| String::from_utf8_lossy(&entry.value).into_owned();
    let start = store.revision();
    let mut watches = [
        store.watch("/registry/a/", start).unwrap(),
        store.watch("", start).unwrap(),
        store.watch("/registry/", start).unwrap(),
        store.watch_for("/registry/a/", Interest::Tagged(tag, "red".to_owned()), start).unwrap(),
        store.watch("/registry/a/n/", start).unwrap(),
    ];
    let keys = ["/registry/a/n/2", "/registry/a/n/1", "/registry/b/n/1", "/registry/a/n/3"];
    let puts = transact(&store.client, &keys.map(|key| (key, Some("kept:red")))).await;
    let deletes = transact(&store.client, &keys.map(|key| (key, None))).await;
    store.catch_up().await.unwrap();
    for (watch, count) in watches.iter_mut().zip([3, 4, 4, 3, 3]) {
        for revision in [puts, deletes] {
            let mut told = Vec::new();
            for n in 0..count {
                let event = watch.try_next().unwrap().expect("an event");
                assert_eq!((event.revision, event.entry.is_some()), (revision, revision == puts));
                told.push(event.key.to_string());
                let all_of_it = n + 1 == count;
                assert_eq!(watch.progress() >= revision, all_of_it, "no bookmark in the midst of a revision");
            }
            told.sort();
            told.dedup();
            assert_eq!(told.len(), count);
        }
        assert!(watch.try_next().unwrap().is_none());
    }
    let before = store.range(Range { prefix: "/registry/", at: Some(puts), ..Range::default() }).unwrap();
    assert_eq!(before.entries.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_said_and_harms_nothing_else() {
    let cluster = Cluster::start(&server::program(), 1);
    let store = open(&cluster).await;
    let good = store.commit(put("/registry/a/x", Expect::Absent, "good")).await.unwrap();
    let mut watch = store.watch("/registry/a/", good.revision).unwrap();
    transact(&store.client, &[("/registry/a/x", Some("no mark")), ("/registry/a/y", Some("neither"))]).await;
    let opened = open(&cluster).await;
    store.catch_up().await.unwrap();
    for store in [&store, &opened] {
        let unreadable =
            |error: Error| matches!(&error, Error::Unreadable { key, .. } if key.starts_with("/registry/a/"));
        assert!(unreadable(store.get("/registry/a/x").unwrap_err()));
        assert!(unreadable(store.range(Range { prefix: "/registry/a/", ..Range::default() }).unwrap_err()));
        assert!(unreadable(store.commit(put("/registry/a/x", Expect::Any, "new")).await.unwrap_err()));
        assert!(store.range(Range { prefix: "/registry/b/", ..Range::default() }).is_ok());
        assert_eq!(store.stats().unreadable, 2);
    }
    assert!(watch.try_next().unwrap().is_none(), "there is nothing to tell");
    let mended = transact(&store.client, &[("/registry/a/x", Some("kept:better")), ("/registry/a/y", None)]).await;
    for store in [&store, &opened] {
        store.catch_up().await.unwrap();
        assert_eq!(store.get("/registry/a/x").unwrap().unwrap().revision, mended);
        assert_eq!(store.range(Range { prefix: "/registry/a/", ..Range::default() }).unwrap().entries.len(), 1);
        assert_eq!(store.stats().unreadable, 0);
    }
    let event = next(&mut watch).await;
    assert_eq!((event.revision, event.previous.as_ref().map(|it| it.revision)), (mended, Some(good.revision)));
    assert!(watch.try_next().unwrap().is_none());
}

/// Reads only while it may.
struct Locked(AtomicBool);

impl Codec for Locked {
    fn seal(&self, place: Place<'_>, value: &Bytes) -> Result<Option<Bytes>, String> {
        Marked.seal(place, value)
    }

    fn seals(&self, _: &str) -> bool {
        true
    }

    fn open(&self, place: Place<'_>, kept: &Bytes) -> Result<Opened, String> {
        if self.0.load(Ordering::Acquire) { Marked.open(place, kept) } else { Err("the key is away".to_owned()) }
    }
}

/// As when a key service is away at the start and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_read_is_there_when_its_key_is() {
    let cluster = Cluster::start(&server::program(), 1);
    let first = open(&cluster).await;
    for key in ["/registry/a/x", "/registry/a/y", "/registry/b/x"] {
        first.commit(put(key, Expect::Absent, "value")).await.unwrap();
    }
    let codec = Arc::new(Locked(false.into()));
    let store = Etcd::open(cluster.options(), Some(codec.clone()), false).await.unwrap();
    let start = store.revision();
    assert!(matches!(store.get("/registry/a/x"), Err(Error::Unreadable { .. })));
    let mut watch = store.watch("/registry/a/", start).unwrap();
    let mut other = store.watch("/registry/c/", start).unwrap();
    codec.0.store(true, Ordering::Release);
    assert!(matches!(within(watch.next()).await, Err(Error::Compacted { .. })), "who watches has to list");
    within(async {
        while store.stats().unreadable > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        store.get("/registry/a/x").unwrap().unwrap().revision,
        first.get("/registry/a/x").unwrap().unwrap().revision
    );
    assert_eq!((store.count("/registry/a/"), store.count("/registry/b/")), (2, 1));
    assert_eq!(store.stats().bytes, first.stats().bytes);
    let done = store.commit(put("/registry/a/x", Expect::Any, "new")).await.unwrap();
    assert!(done.previous.is_some());
    store.commit(put("/registry/c/x", Expect::Any, "new")).await.unwrap();
    assert!(within(other.next()).await.is_ok(), "watches of other resources go on");
}

/// A watch that has left out a change, as some versions of etcd do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_was_not_told_is_noticed() {
    let cluster = Cluster::start(&server::program(), 1);
    let (store, other) = (open(&cluster).await, open(&cluster).await);
    store.commit(put("/registry/a/x", Expect::Any, "old")).await.unwrap();
    let mut watch = store.watch("/registry/a/", store.revision()).unwrap();
    // As if everything up to a later revision had been seen.
    let later = store.revision() + 1;
    store.state.follow([], later);
    let missed = other.commit(put("/registry/a/x", Expect::Any, "new")).await.unwrap();
    assert_eq!(missed.revision, later);
    store.catch_up().await.unwrap();
    assert_eq!(text(&store.get("/registry/a/x").unwrap().unwrap().value), "old");
    let error = within(store.commit(put("/registry/a/x", Expect::Any, "mine"))).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(why) if why.contains("try again")), "{error}");
    assert!(matches!(within(watch.next()).await, Err(Error::Compacted { .. })));
    assert_eq!(text(&store.get("/registry/a/x").unwrap().unwrap().value), "new");
    store.commit(put("/registry/a/x", Expect::Revision(missed.revision), "mine")).await.unwrap();
}

/// What a server that is not there any more gave a time to live keeps it when it is moved elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_others_are_asked_for() {
    let cluster = Cluster::start(&server::program(), 1);
    let with_ttl = |key: &str, seconds| {
        let mut commit = put(key, Expect::Any, "x");
        commit.put.as_mut().unwrap().ttl = Some(Duration::from_secs(seconds));
        commit
    };
    let first = open(&cluster).await;
    for n in 0..40 {
        first.commit(with_ttl(&format!("/registry/events/{n}"), 600 + n)).await.unwrap();
    }
    first.commit(put("/registry/a/stays", Expect::Any, "x")).await.unwrap();
    first.close().await;
    let before = crate::expiry::now();
    let (from, to) = (open(&cluster).await, crate::memory());
    assert_eq!(crate::migrate::copy(&*from, &*to, |_| ()).await.unwrap(), 41);
    for entry in to.range(Range { prefix: "/registry/events/", ..Range::default() }).unwrap().entries {
        let left = entry.expires.expect("it expires").saturating_sub(before);
        assert!((590_000..=800_000).contains(&left), "{left} ms");
    }
    assert_eq!(to.get("/registry/a/stays").unwrap().unwrap().expires, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_read_in_pages_of_one_revision() {
    let cluster = Cluster::start(&server::program(), 1);
    let store = open(&cluster).await;
    let value = format!("kept:{}", "x".repeat(50_000));
    for page in 0..18 {
        let keys: Vec<String> = (0..20).map(|n| format!("/registry/many/{page}/{n}")).collect();
        let puts: Vec<(&str, Option<&str>)> = keys.iter().map(|key| (&**key, Some(&*value))).collect();
        transact(&store.client, &puts).await;
    }
    transact(&store.client, &[("/registry.not/x", Some("kept:x")), ("/registryx", Some("kept:x"))]).await;
    store.catch_up().await.unwrap();
    let opened = open(&cluster).await;
    for store in [&store, &opened] {
        assert_eq!((store.count(""), store.count("/registry/many/3/")), (360, 20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_one_time_to_live_share_a_lease() {
    let cluster = Cluster::start(&server::program(), 1);
    let store = open(&cluster).await;
    let mut leases = Vec::new();
    for (n, ttl) in [60, 60, 60, 3600, 60].into_iter().enumerate() {
        let mut commit = put(&format!("/registry/ttl/{n}"), Expect::Any, "x");
        commit.put.as_mut().unwrap().ttl = Some(Duration::from_secs(ttl));
        let before = crate::expiry::now();
        let done = store.commit(commit).await.unwrap();
        let lives = done.entry.expires.unwrap() - before;
        assert!((ttl * 1000..=ttl * 1050 + 60_000).contains(&lives), "{lives} ms for {ttl} s");
        let question = RangeRequest { key: format!("/registry/ttl/{n}").into(), ..RangeRequest::default() };
        leases.push(store.client.read(question).await.unwrap().kvs[0].lease);
    }
    assert!(leases[0] != leases[3] && leases.iter().all(|lease| *lease != 0));
    assert_eq!([leases[1], leases[2], leases[4]], [leases[0]; 3]);
    // One that somebody has revoked is not used again.
    store.client.read(LeaseRevokeRequest { id: leases[0] }).await.unwrap();
    let mut commit = put("/registry/ttl/again", Expect::Any, "x");
    commit.put.as_mut().unwrap().ttl = Some(Duration::from_secs(60));
    store.commit(commit).await.unwrap();
    assert_eq!(store.count("/registry/ttl/"), 2, "what had the lease is gone");
}

#[tokio::test]
async fn one_of_several_servers_compacts() {
    let cluster = Cluster::start(&server::program(), 1);
    let client = Client::new(&cluster.options()).unwrap();
    let (a, b) = (turn(&client, Look::default()).await.unwrap(), turn(&client, Look::default()).await.unwrap());
    assert_eq!((a.version, b.version), (1, 1));
    let at = |revision: u64| {
        let question = RangeRequest { key: "k".into(), revision: revision as i64, ..RangeRequest::default() };
        async { client.read(question).await.map(drop).map_err(|failure| failure.text) }
    };
    let middle = transact(&client, &[("k", Some("1"))]).await;
    assert!(at(a.revision - 1).await.is_ok(), "nothing is compacted at first");
    let a = turn(&client, a).await.unwrap();
    assert!(at(1).await.unwrap_err().contains("compacted") && at(middle).await.is_ok());
    let b = turn(&client, b).await.unwrap();
    assert_eq!((a.version, b.version), (2, 2), "somebody else did it");
    assert!(at(middle).await.is_ok());
    // The first has died.
    transact(&client, &[("k", Some("2"))]).await;
    turn(&client, b).await.unwrap();
    assert!(at(middle).await.unwrap_err().contains("compacted"));
    compactor::compact(&client, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_cluster_is_never_written_to() {
    let (ours, theirs) = (Cluster::start(&server::program(), 1), Cluster::start(&server::program(), 1));
    let first = open(&ours).await;
    let servers = [ours.options().servers, theirs.options().servers].concat();
    let mixed = Etcd::open(EtcdOptions { servers, ..ours.options() }, Some(Arc::new(Marked)), false).await.unwrap();
    for n in 0..20 {
        mixed.commit(put(&format!("/registry/a/{n}"), Expect::Absent, "x")).await.unwrap();
    }
    let counts = (first.catch_up().await.map(|()| first.count("")).unwrap(), open(&theirs).await.count(""));
    assert!(counts == (20, 0) || counts == (0, 20), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_is_used_up_is_said_until_it_is_not() {
    let cluster = Cluster::start_with(&server::program(), 1, &["--quota-backend-bytes", "1048576"]);
    let store = open(&cluster).await;
    let large = "x".repeat(60_000);
    let error = loop {
        match store.commit(put("/registry/a/x", Expect::Any, &large)).await {
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("database space exceeded") && error.contains("etcdctl alarm disarm"), "{error}");
    assert_eq!(store.health().map_err(|why| why.contains("space exceeded")), Err(true));
    assert!(store.get("/registry/a/x").unwrap().is_some() && store.catch_up().await.is_ok(), "reads go on");
    store.compact(store.revision()).await.unwrap();
    loop {
        // Compaction goes on after it is answered, so that the first time may be too early.
        store.client.read(DefragmentRequest {}).await.unwrap();
        for alarm in store.client.read(AlarmRequest {}).await.unwrap().alarms {
            let disarm = DisarmRequest { action: 2, member_id: alarm.member_id, alarm: alarm.kind };
            store.client.read(disarm).await.unwrap();
        }
        if store.commit(put("/registry/a/y", Expect::Any, "x")).await.is_ok() {
            break;
        }
    }
    while store.health().is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_said_at_the_start() {
    let options = EtcdOptions { servers: vec!["http://127.0.0.1:1".to_owned()], ..EtcdOptions::default() };
    let error = super::super::open(options, None).await.err().unwrap().to_string();
    assert!(error.contains("etcd cannot be used: etcd at http://127.0.0.1:1: Connection refused"), "{error}");
}

// What only an administrator asks for.

#[derive(Clone, PartialEq, Message)]
struct LeaseRevokeRequest {
    #[prost(int64, tag = "1")]
    id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct DefragmentRequest {}

#[derive(Clone, PartialEq, Message)]
struct DisarmRequest {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int32, tag = "3")]
    alarm: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderOnly {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

impl wire::Answer for HeaderOnly {
    fn header(&self) -> ResponseHeader {
        self.header.unwrap_or_default()
    }
}

impl Request for LeaseRevokeRequest {
    type Answer = HeaderOnly;
    const PATH: &'static str = "/etcdserverpb.Lease/LeaseRevoke";
}

impl Request for DefragmentRequest {
    type Answer = HeaderOnly;
    const PATH: &'static str = "/etcdserverpb.Maintenance/Defragment";
}

impl Request for DisarmRequest {
    type Answer = AlarmResponse;
    const PATH: &'static str = "/etcdserverpb.Maintenance/Alarm";
}
