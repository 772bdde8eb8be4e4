//! The store on real etcd.

mod disturbed;
mod load;
mod partition;
mod proxy;
mod restored;
mod secure;
mod server;
mod shared;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::wire::RangeRequest;
use super::{Etcd, EtcdOptions};
use crate::{Codec, Expect, Opened, Place, Store, suite};
use server::Cluster;

/// Keeps values behind a mark, and finds where the suite wants the revision.
pub(super) struct Marked;

const MARK: &[u8] = b"kept:";

impl Codec for Marked {
    fn seal(&self, _: Place<'_>, value: &Bytes) -> Result<Option<Bytes>, String> {
        Ok(Some([MARK, value].concat().into()))
    }

    fn seals(&self, _key: &str) -> bool {
        true
    }

    fn open(&self, _: Place<'_>, kept: &Bytes) -> Result<Opened, String> {
        let value = kept.strip_prefix(MARK).ok_or("it has no mark")?;
        let gap = b"\"rv\":\"";
        let revision_at = value.windows(gap.len()).position(|it| it == gap).map(|at| at + gap.len());
        Ok(Opened { value: kept.slice(MARK.len()..), revision_at, stale: false })
    }
}

/// Keeps tests from hanging; nothing waits this long.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("it ends")
}

async fn open(cluster: &Cluster) -> Arc<Etcd> {
    Etcd::open(cluster.options(), Some(Arc::new(Marked)), false).await.unwrap()
}

/// Keeps values behind the place that they are kept at.
struct Placed;

impl Codec for Placed {
    fn seal(&self, place: Place<'_>, value: &Bytes) -> Result<Option<Bytes>, String> {
        Ok(Some([format!("{} {}:", place.key, place.kept_at).as_bytes(), value].concat().into()))
    }

    fn seals(&self, _: &str) -> bool {
        true
    }

    fn open(&self, place: Place<'_>, kept: &Bytes) -> Result<Opened, String> {
        let before = format!("{} {}:", place.key, place.kept_at);
        let value = kept.strip_prefix(before.as_bytes()).ok_or("it was kept elsewhere")?;
        Ok(Opened { value: kept.slice_ref(value), revision_at: None, stale: false })
    }
}

/// What is kept is bound to the whole key in etcd, as upstream's servers do it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_codec_is_told_the_key_in_etcd() {
    let cluster = Cluster::start(&server::program(), 1);
    let options = EtcdOptions { prefix: "/clusters/one".to_owned(), ..cluster.options() };
    let open = || Etcd::open(options.clone(), Some(Arc::new(Placed)), false);
    let store = open().await.unwrap();
    store.commit(suite::put("/registry/a/x", Expect::Absent, "value")).await.unwrap();
    let question = RangeRequest { key: "/clusters/one/a/x".into(), ..RangeRequest::default() };
    let kept = store.client.read(question).await.unwrap().kvs.remove(0).value;
    assert_eq!(&*kept, b"/registry/a/x /clusters/one/a/x:value");
    for store in [&store, &open().await.unwrap()] {
        assert_eq!(&*store.get("/registry/a/x").unwrap().unwrap().value, b"value");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_one_member() {
    let on = |program: PathBuf| async move {
        let cluster = Cluster::start(&program, 1);
        suite::all(open(&cluster).await).await;
    };
    join_all(server::programs().into_iter().map(on)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_an_etcd_that_others_write_to() {
    let cluster = Cluster::start(&server::program(), 1);
    suite::all_with(Arc::new(shared::Gaps(open(&cluster).await)), suite::Revisions::Growing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_three_members() {
    let cluster = Cluster::start(&server::program(), 3);
    suite::all(open(&cluster).await).await;
}
