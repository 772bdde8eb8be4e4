//! What opening a log of 100,000 objects takes: `cargo run --release -p coracle-storage --example recovery DIRECTORY [snapshot]`.
//! The first run fills the directory, later ones open it.

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use coracle_storage::{self as storage, Commit, Expect, LogOptions, Put};
use futures::future::join_all;

/// About a pod's JSON.
fn value(n: usize) -> Bytes {
    let mut text = format!("{{\"kind\":\"Pod\",\"metadata\":{{\"resourceVersion\":\"\",\"name\":\"pod-{n}\"");
    for field in 0..38 {
        text.push_str(&format!(",\"field-{field}\":\"value {} of pod {n}, which goes on a bit\"", n * field));
    }
    Bytes::from(text + "}}")
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("a directory"));
    let snapshot_bytes = if std::env::args().nth(2).is_some() { 1 << 20 } else { 1 << 40 };
    let options = LogOptions { snapshot_bytes, snapshot_ratio: 0, ..LogOptions::default() };
    let started = Instant::now();
    let store = storage::open(&dir, options, None).await.expect("the log opens");
    println!("{} objects in {:.0?}, {} MiB resident", store.count(""), started.elapsed(), resident() >> 10);
    if store.count("") == 0 {
        for chunk in (0..100_000).collect::<Vec<_>>().chunks(1000) {
            let commits = chunk.iter().map(|n| {
                let put = Put { value: value(*n), revision_at: Some(45), ttl: None };
                store.commit(Commit {
                    key: format!("/registry/pods/ns-{}/pod-{n}", n % 100).into(),
                    expect: Expect::Any,
                    put: Some(put),
                })
            });
            join_all(commits).await.into_iter().for_each(|done| drop(done.expect("a commit")));
        }
        println!("{:?}", store.stats());
    }
    store.close().await;
}
