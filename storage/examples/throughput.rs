//! How fast the stores are: `cargo run --release -p coracle-storage --example throughput [DIRECTORY]`.
//! The directory's disk is what the embedded log is measured on; it should be empty.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coracle_storage::{self as storage, Commit, Expect, LogOptions, Put, Range, Store};

/// About an object of the size of a Pod.
fn commit(key: String) -> Commit {
    let put = Put { value: Bytes::from(vec![b'x'; 2300]), revision_at: Some(100), ttl: None };
    Commit { key: key.into(), expect: Expect::Any, put: Some(put) }
}

/// Commits `count` objects from `writers` tasks; returns how many per second.
async fn write(store: &Arc<dyn Store>, writers: usize, count: usize) -> f64 {
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..count / writers {
                    store.commit(commit(format!("/registry/pods/ns-{writer}/pod-{n}"))).await?;
                }
                Ok::<(), storage::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a writer").expect("a commit");
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn time<T>(times: u32, work: impl Fn() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        std::hint::black_box(work());
    }
    start.elapsed() / times
}

#[tokio::main]
async fn main() {
    let memory = storage::memory();
    println!("memory, 1 writer:     {:>9.0} commits/s", write(&memory, 1, 50_000).await);
    println!("memory, 64 writers:   {:>9.0} commits/s", write(&memory, 64, 51_200).await);
    println!("memory, get:          {:>9.0?}", time(1_000_000, || memory.get("/registry/pods/ns-0/pod-25000")));
    let page = Range { prefix: "/registry/pods/", limit: 10_000, ..Range::default() };
    println!("memory, list 10,000:  {:>9.0?}", time(100, || memory.range(page)));
    let past = Range { at: Some(memory.revision() - 1000), limit: 500, ..page };
    println!("memory, page of past: {:>9.0?}", time(100, || memory.range(past)));

    let scratch = std::env::temp_dir().join(format!("coracle-throughput-{}", std::process::id()));
    let dir = std::env::args().nth(1).map_or_else(|| scratch.clone(), PathBuf::from);
    let log = storage::open(&dir, LogOptions::default(), None).await.expect("the log opens");
    println!("log, 1 writer:        {:>9.0} commits/s", write(&log, 1, 2_000).await);
    println!("log, 64 writers:      {:>9.0} commits/s", write(&log, 64, 51_200).await);
    let stats = log.stats();
    println!("log, commits a flush: {:>9.1}", stats.commits as f64 / stats.syncs as f64);
    println!("log, bytes written per byte stored: {:.2}", stats.disk_bytes as f64 / stats.committed_bytes as f64);
    log.close().await;
    let start = Instant::now();
    let log = storage::open(&dir, LogOptions::default(), None).await.expect("the log opens again");
    println!("log, opening {} entries: {:.0?}", log.count("/registry/pods/"), start.elapsed());
    log.close().await;
    if dir == scratch
        && let Err(error) = std::fs::remove_dir_all(&scratch)
    {
        println!("{}: {error}", scratch.display());
    }
}
