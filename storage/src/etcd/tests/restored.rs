//! An etcd whose history goes back to an earlier state, as after a restore from a backup.

use std::path::Path;
use std::sync::Arc;

use super::proxy::Proxy;
use super::server::{self, Cluster};
use super::{Marked, open, within};
use crate::etcd::{Etcd, EtcdOptions};
use crate::suite::put;
use crate::{Error, Expect, Range, Revision, Store, Watch};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => assert!(std::fs::copy(&path, to.join(name)).is_ok()),
        }
    }
}

async fn write(store: &Etcd, key: &str, count: usize) -> Revision {
    for n in 0..count {
        store.commit(put(key, Expect::Any, &n.to_string())).await.unwrap();
    }
    store.revision()
}

/// A member with some objects, and a copy of its files at that time.
async fn begin() -> (Cluster, tempfile::TempDir) {
    let mut cluster = Cluster::start(&server::program(), 1);
    write(&*open(&cluster).await, "/registry/a/x", 5).await;
    cluster.kill(0);
    let backup = tempfile::tempdir().unwrap();
    copy(&cluster.data(0), backup.path());
    cluster.run(0);
    (cluster, backup)
}

fn restore(cluster: &mut Cluster, backup: &Path) {
    cluster.kill(0);
    std::fs::remove_dir_all(cluster.data(0)).unwrap();
    copy(backup, &cluster.data(0));
    cluster.run(0);
}

/// Nothing is answered, and it is said why.
async fn is_refused(store: &Etcd, mut watch: Watch) {
    let told = |error: Error| assert!(error.to_string().contains("restored from a backup"), "{error}");
    // It takes its time until the member is there again.
    while !store.health().is_err_and(|why| why.contains("restored from a backup")) {
        let _ = store.catch_up().await;
    }
    told(store.catch_up().await.unwrap_err());
    told(store.get("/registry/a/x").unwrap_err());
    told(store.range(Range { prefix: "/registry/a/", ..Range::default() }).unwrap_err());
    told(store.commit(put("/registry/a/y", Expect::Any, "x")).await.unwrap_err());
    told(store.watch("/registry/a/", store.revision()).err().unwrap());
    assert!(store.health().unwrap_err().contains("start the servers again"));
    while watch.next().await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_goes_backwards_is_noticed() {
    let (mut cluster, backup) = begin().await;
    let store = open(&cluster).await;
    write(&store, "/registry/a/y", 5).await;
    let watch = store.watch("/registry/a/", store.revision()).unwrap();
    restore(&mut cluster, backup.path());
    within(is_refused(&store, watch)).await;
    let again = open(&cluster).await;
    assert_eq!(again.count("/registry/a/"), 1, "a new start reads what there is");
}

/// Others have written so much since that the revision alone tells nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_history_of_the_same_length_is_noticed() {
    for lost in ["/registry/a/y", "/registry/a/x"] {
        let (mut cluster, backup) = begin().await;
        let proxy = Proxy::start(cluster.address(0)).await;
        let options = EtcdOptions { servers: vec![format!("http://{}", proxy.address)], ..cluster.options() };
        let store = Etcd::open(options, Some(Arc::new(Marked)), false).await.unwrap();
        let last = write(&store, lost, 5).await;
        let watch = store.watch("/registry/a/", last).unwrap();
        proxy.cut(true);
        restore(&mut cluster, backup.path());
        let other = open(&cluster).await;
        // The same key at the same revisions, with other values.
        other.commit(put("/registry/a/x", Expect::Any, "other")).await.unwrap();
        while other.revision() < last + 3 {
            write(&other, "/registry/a/x", 3).await;
        }
        proxy.cut(false);
        within(is_refused(&store, watch)).await;
    }
}
