//! The stores by themselves, without a server: the embedded log, and etcd beside it on the same disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use storage::etcd::{self, EtcdOptions};
use storage::{Commit, Expect, LogOptions, Put, Store};

use crate::figures::{median, mib};
use crate::process::Processes;
use crate::report::{Detail, Figure};

const WRITERS: [usize; 4] = [1, 16, 64, 256];
const TIME: Duration = Duration::from_millis(1500);
/// Objects for recovery, and how many are written at once to get there.
const OBJECTS: (usize, usize) = (100_000, 1000);
/// Objects that are changed over and over, and how often each.
const CHANGED: (usize, usize) = (500, 20);
const EVENTS: usize = 1000;

/// Where the store is.
pub enum Place {
    /// In directories below this one.
    Log(PathBuf),
    /// In the etcd with this URL, under a prefix of the bench's own.
    Etcd(String),
}

impl Place {
    async fn open(&self, part: &str, options: LogOptions) -> Result<Arc<dyn Store>> {
        let number = std::process::id();
        Ok(match self {
            Place::Log(dir) => storage::open(&dir.join(part), options, None).await?,
            Place::Etcd(url) => {
                let prefix = format!("/coracle-bench-{number}-{part}");
                etcd::open(EtcdOptions { servers: vec![url.clone()], prefix, ..EtcdOptions::default() }, None).await?
            }
        })
    }
}

/// All of it in the log's directory below `scratch`; of etcd what can be told from outside.
pub async fn measure(place: &Place) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let store = place.open("puts", LogOptions::default()).await?;
    for writers in WRITERS {
        figures.extend(puts(&store, writers).await?);
    }
    figures.push(delivery(&store).await?);
    store.close().await;
    if let Place::Log(dir) = place {
        figures.push(written(place).await?);
        figures.push(snapshots(place).await?);
        figures.extend(recovery(place, dir).await?);
    }
    Ok(figures)
}

/// About a pod: what changes in its status stands in two places.
fn pod(n: usize, change: usize) -> Put {
    let mut text = String::from("{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"");
    let revision_at = text.len();
    text.push_str(&format!("\",\"name\":\"pod-{n}\",\"managedFields\":[{{\"time\":\"{change:020}\"}}]"));
    for field in 0..30 {
        text.push_str(&format!(",\"annotation-{field}\":\"value {} of pod {n}, of a usual length\"", n * 31 + field));
    }
    text.push_str(&format!("}},\"status\":{{\"phase\":\"Running\",\"startTime\":\"{change:020}\"}}}}"));
    Put { value: Bytes::from(text), revision_at: Some(revision_at), ttl: None }
}

fn commit(part: &str, writer: usize, n: usize, change: usize) -> Commit {
    let key = format!("/registry/pods/{part}-{writer}/pod-{n}").into();
    Commit { key, expect: Expect::Any, put: Some(pod(n, change)) }
}

/// New objects from so many writers, each waiting for its commit; how many a second, and how long each waited.
async fn puts(store: &Arc<dyn Store>, writers: usize) -> Result<[Figure; 3]> {
    let started = Instant::now();
    let waits = load(store, &format!("puts-{writers}"), writers).await?;
    let rate = waits.len() as f64 / started.elapsed().as_secs_f64();
    let named = |what: &str| format!("store, {writers} writers: {what}");
    Ok([
        Figure::higher(named("durable puts"), rate, "/s"),
        Figure::lower(named("put p50"), at(&waits, 0.5), "ms"),
        Figure::lower(named("put p99"), at(&waits, 0.99), "ms"),
    ])
}

/// Milliseconds that each commit took, sorted.
async fn load(store: &Arc<dyn Store>, part: &str, writers: usize) -> Result<Vec<f64>> {
    let writer = |writer: usize| {
        let (store, part) = (store.clone(), part.to_owned());
        tokio::spawn(async move {
            let (started, mut waits) = (Instant::now(), Vec::new());
            while started.elapsed() < TIME {
                let commit = commit(&part, writer, waits.len(), 0);
                let asked = Instant::now();
                store.commit(commit).await?;
                waits.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, storage::Error>(waits)
        })
    };
    let mut waits = Vec::new();
    for done in try_join_all((0..writers).map(writer)).await? {
        waits.extend(done?);
    }
    waits.sort_by(f64::total_cmp);
    Ok(waits)
}

fn at(sorted: &[f64], part: f64) -> f64 {
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// From the writer's answer to the watcher's event; an event that was there before the answer counts as at once.
async fn delivery(store: &Arc<dyn Store>) -> Result<Figure> {
    let mut watch = store.watch("/registry/pods/delivery-0/", store.revision())?;
    let watcher = tokio::spawn(async move {
        let mut seen = Vec::new();
        for _ in 0..EVENTS {
            seen.push((watch.next().await?.revision, Instant::now()));
        }
        Ok::<_, storage::Error>(seen)
    });
    let mut answered = Vec::new();
    for n in 0..EVENTS {
        let done = store.commit(commit("delivery", 0, n % 10, n)).await?;
        answered.push((done.revision, Instant::now()));
    }
    let seen = tokio::time::timeout(Duration::from_secs(20), watcher).await.context("events are missing")???;
    let delay = |((_, seen), (_, answered)): (&(u64, Instant), &(u64, Instant))| {
        seen.saturating_duration_since(*answered).as_secs_f64() * 1e6
    };
    let mut delays: Vec<f64> = seen.iter().zip(&answered).map(delay).collect();
    delays.sort_by(f64::total_cmp);
    let details = vec![Detail::new("p99", at(&delays, 0.99), "µs")];
    Ok(Figure::lower("store: watch delivery after the commit", median(delays), "µs").with(details))
}

/// What the disk gets for what is stored: objects made, then changed in a few places as statuses are.
async fn written(place: &Place) -> Result<Figure> {
    let store = place.open("written", LogOptions::default()).await?;
    let mut ratios = Vec::new();
    for change in 0..CHANGED.1 {
        let before = store.stats();
        for writer in 0..CHANGED.0 / 50 {
            let commits = (0..50).map(|n| store.commit(commit("written", writer, n, change)));
            join_all(commits).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        let after = store.stats();
        let ratio =
            (after.disk_bytes - before.disk_bytes) as f64 / (after.committed_bytes - before.committed_bytes) as f64;
        ratios.push(ratio);
    }
    let stats = store.stats();
    store.close().await;
    let details =
        vec![Detail::new("new objects", ratios[0], ""), Detail::new("changes", median(ratios.split_off(1)), "")];
    let ratio = stats.disk_bytes as f64 / stats.committed_bytes as f64;
    Ok(Figure::lower("store: bytes written per byte stored", ratio, "").with(details))
}

/// The 99th percentile of 16 writers while one snapshot follows the other.
async fn snapshots(place: &Place) -> Result<Figure> {
    let options = LogOptions { snapshot_bytes: 1, snapshot_ratio: 0, ..LogOptions::default() };
    let store = place.open("snapshots", options).await?;
    load(&store, "before", 256).await?;
    let waits = load(&store, "snapshots", 16).await?;
    let stats = store.stats();
    store.close().await;
    let details = vec![
        Detail::new("p50", at(&waits, 0.5), "ms"),
        Detail::new("snapshots", stats.snapshots as f64, ""),
        Detail::new("of", mib(stats.bytes as f64), "MiB"),
    ];
    Ok(Figure::lower("store, 16 writers: put p99 during snapshots", at(&waits, 0.99), "ms").with(details))
}

/// Opening a log of many objects: from its segments alone, and from a snapshot.
async fn recovery(place: &Place, dir: &Path) -> Result<Vec<Figure>> {
    let process = Processes(vec![std::process::id()]);
    let before = process.anonymous().unwrap_or(0.0);
    let store = place.open("recovery", LogOptions { snapshot_bytes: u64::MAX / 2, ..LogOptions::default() }).await?;
    for first in (0..OBJECTS.0).step_by(OBJECTS.1) {
        let commits = (first..first + OBJECTS.1).map(|n| store.commit(commit("recovery", n % 100, n, 0)));
        join_all(commits).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    let bytes = store.stats().bytes;
    store.close().await;
    drop(store);
    storage::log::backup(&dir.join("recovery"), &dir.join("backup"))?;
    storage::log::restore(&dir.join("backup"), &dir.join("snapshot"), 0)?;
    let mut figures = Vec::new();
    for (part, from) in [("recovery", "log"), ("snapshot", "snapshot")] {
        let (mut times, mut resident) = (Vec::new(), 0.0);
        for _ in 0..3 {
            let started = Instant::now();
            let store = place.open(part, LogOptions::default()).await?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
            resident = process.anonymous().unwrap_or(0.0) - before;
            store.close().await;
        }
        let details = vec![Detail::new("of", mib(bytes as f64), "MiB"), Detail::new("resident", mib(resident), "MiB")];
        figures.push(
            Figure::lower(format!("store: recovery of 100,000 objects, {from}"), median(times), "ms").with(details),
        );
    }
    Ok(figures)
}
