//! Members that die, stop, or are cut off; a history that is gone.

use std::sync::Arc;
use std::time::Duration;

use super::load::Load;
use super::proxy::Proxy;
use super::server::{self, Cluster};
use super::{Marked, open, within};
use crate::etcd::{Etcd, EtcdOptions, compactor};
use crate::suite::{delete, linear, put};
use crate::{Error, Expect, Interest, Range, Store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_are_killed_in_turn_lose_and_repeat_nothing() {
    let mut cluster = Cluster::start(&server::program_to_kill(), 3);
    let load = Load::start(open(&cluster).await, open(&cluster).await);
    load.goes_on().await;
    for member in 0..3 {
        cluster.kill(member);
        load.goes_on().await;
        cluster.run(member);
        cluster.is_back(member).await;
        load.goes_on().await;
    }
    load.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_member_may_be_killed_and_come_back() {
    let mut cluster = Cluster::start(&server::program_to_kill(), 1);
    let store = open(&cluster).await;
    let load = Load::start(store.clone(), store.clone());
    load.goes_on().await;
    cluster.kill(0);
    while store.health().is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(store.health().unwrap_err().contains("etcd cannot be watched"), "{:?}", store.health());
    assert!(store.range(Range::default()).is_ok(), "reads that may be old go on");
    cluster.run(0);
    load.goes_on().await;
    assert_eq!(store.health(), Ok(()), "it recovers by itself");
    load.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_stops_without_a_word_is_left() {
    let cluster = Cluster::start(&server::program(), 3);
    let load = Load::start(open(&cluster).await, open(&cluster).await);
    load.goes_on().await;
    for member in 0..2 {
        cluster.pause(member, true);
        load.goes_on().await;
        cluster.pause(member, false);
        cluster.is_back(member).await;
        load.goes_on().await;
    }
    load.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_are_as_one_while_members_die() {
    let mut cluster = Cluster::start(&server::program_to_kill(), 3);
    let (a, b): (Arc<dyn Store>, Arc<dyn Store>) = (open(&cluster).await, open(&cluster).await);
    let clients = tokio::spawn(async move { linear::clients(&[a, b], "/registry/linear/", 12).await });
    for member in 0..2 {
        cluster.kill(member);
        cluster.run(member);
    }
    let history = clients.await.unwrap();
    let count = history.check().unwrap();
    assert!(count > 500, "{count}");
}

/// A server that can be cut off from the only member.
async fn open_behind_a_proxy(cluster: &Cluster) -> (Proxy, Arc<Etcd>) {
    let proxy = Proxy::start(cluster.address(0)).await;
    let options = EtcdOptions { servers: vec![format!("http://{}", proxy.address)], ..cluster.options() };
    let store = Etcd::open(options, Some(Arc::new(Marked)), false).await.unwrap();
    (proxy, store)
}

/// Those who wait for a change lose patience at different times; none of that is the fault of a watch that has just begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_wait_for_long_do_not_end_the_next_watch() {
    let cluster = Cluster::start(&server::program(), 1);
    let (proxy, behind) = open_behind_a_proxy(&cluster).await;
    proxy.cut(true);
    let done = open(&cluster).await.commit(put("/registry/a/1", Expect::Absent, "new")).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..40 {
        ticks.tick().await;
        let feed = behind.feed.clone();
        waiting.spawn(async move { feed.reach(done.revision).await });
    }
    proxy.cut(false);
    assert!(within(waiting.join_all()).await.iter().all(Result::is_ok));
}

/// An interruption that is longer than etcd's history: watches end, and the state is as it should be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_compacted_meanwhile_ends_the_watches() {
    let cluster = Cluster::start(&server::program(), 1);
    let (proxy, behind) = open_behind_a_proxy(&cluster).await;
    let other = open(&cluster).await;
    for key in ["a/1", "a/2", "b/1"] {
        other.commit(put(&format!("/registry/{key}"), Expect::Absent, "old")).await.unwrap();
    }
    behind.catch_up().await.unwrap();
    let start = behind.revision();
    let watches = [
        behind.watch("/registry/a/", start).unwrap(),
        behind.watch("", start).unwrap(),
        behind.watch("/registry/never/", start).unwrap(),
        behind.watch_for("/registry/a/", Interest::Key("/registry/a/2".into()), start).unwrap(),
    ];
    let ended = watches.map(|mut watch| tokio::spawn(async move { watch.next().await.map(drop) }));
    proxy.cut(true);
    other.commit(delete("/registry/a/1", Expect::Any)).await.unwrap();
    other.commit(put("/registry/a/3", Expect::Any, "new")).await.unwrap();
    let last = other.commit(put("/registry/b/1", Expect::Any, "new")).await.unwrap();
    compactor::compact(&other.client, last.revision).await.unwrap();
    proxy.cut(false);
    for end in ended {
        let error = end.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Compacted { oldest } if oldest >= last.revision), "{error}");
    }
    behind.catch_up().await.unwrap();
    let versions = |store: &Etcd| {
        let list = store.range(Range::default()).unwrap();
        list.entries.iter().map(|entry| (entry.key.to_string(), entry.revision)).collect::<Vec<_>>()
    };
    assert_eq!(versions(&behind), versions(&other));
    assert!(matches!(behind.watch("/registry/a/", start), Err(Error::Compacted { .. })));
    let (revision, stats) = (behind.revision(), behind.stats());
    assert_eq!((stats.entries, stats.bytes), (other.stats().entries, other.stats().bytes));
    let mut again = behind.watch("/registry/a/", revision).unwrap();
    let next = other.commit(put("/registry/a/3", Expect::Any, "newer")).await.unwrap();
    let event = again.next().await.unwrap();
    assert_eq!((event.revision, event.previous.is_some()), (next.revision, true));
}
