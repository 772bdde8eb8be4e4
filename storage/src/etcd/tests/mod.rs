//! The store on real etcd.

mod disturbed;
mod load;
mod partition;
mod proxy;
mod secure;
mod server;
mod shared;

use std::sync::Arc;

use bytes::Bytes;

use super::Etcd;
use crate::{Codec, Opened, suite};
use server::Cluster;

/// Keeps values behind a mark, and finds where the suite wants the revision.
pub(super) struct Marked;

const MARK: &[u8] = b"kept:";

impl Codec for Marked {
    fn seal(&self, _key: &str, value: &Bytes) -> Result<Option<Bytes>, String> {
        Ok(Some([MARK, value].concat().into()))
    }

    fn seals(&self, _key: &str) -> bool {
        true
    }

    fn open(&self, _key: &str, kept: &Bytes) -> Result<Opened, String> {
        let value = kept.strip_prefix(MARK).ok_or("it has no mark")?;
        let gap = b"\"rv\":\"";
        let revision_at = value.windows(gap.len()).position(|it| it == gap).map(|at| at + gap.len());
        Ok(Opened { value: kept.slice(MARK.len()..), revision_at, stale: false })
    }
}

async fn open(cluster: &Cluster) -> Arc<Etcd> {
    Etcd::open(cluster.options(), Some(Arc::new(Marked)), false).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_one_member() {
    for program in server::programs() {
        let cluster = Cluster::start(&program, 1);
        suite::all(open(&cluster).await).await;
    }
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
