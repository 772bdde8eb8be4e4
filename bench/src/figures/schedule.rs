//! Pods through the whole cluster: created, bound, and Running where something runs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::figures::mib;
use crate::lines::Lines;
use crate::load::{Call, Limit, closed_loop};
use crate::objects::{node, pod};
use crate::report::{Detail, Figure};
use crate::target::{Bed, Target};

const WRITERS: usize = 32;
const LIMIT: Duration = Duration::from_secs(40);
/// How long after the last binding something may still be starting pods.
const RUN_LIMIT: Duration = Duration::from_secs(10);

/// A watch that counts the pods which begin to match its field selector.
struct Counter {
    count: watch::Receiver<(usize, Instant)>,
    events: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Creates `pods` pods on `nodes` nodes and waits until all are bound, at most `LIMIT`.
pub async fn measure(target: &Target, nodes: usize, pods: usize) -> Result<Vec<Figure>> {
    let bed = target.open(nodes).await?;
    provide_nodes(&bed, nodes).await?;
    let empty = bed.processes.resident();
    let mut bound = count(&bed, "spec.nodeName!%3D").await?;
    let mut running = count(&bed, "status.phase%3DRunning").await?;

    let usage = bed.processes.usage();
    let started = Instant::now();
    let (template, path) = (pod("default-scheduler"), bed.path("pods"));
    let limit = Limit { time: LIMIT, requests: pods.div_ceil(WRITERS) };
    let created = closed_loop(&bed, WRITERS, limit, |client| {
        let (template, path) = (template.clone(), path.clone());
        move |n| Call {
            method: Method::POST,
            path: path.clone(),
            body: template.body((client * limit.requests + n) as u64, 0),
        }
    })
    .await?;
    let wanted = created.requests();
    let (all, last) = bound.reach(wanted, LIMIT.saturating_sub(started.elapsed())).await;
    if all == 0 {
        bail!("no pod was bound in {LIMIT:?}");
    }
    let seconds = (last - started).as_secs_f64();
    let mut details = vec![
        Detail::new("bound", all as f64, "pods"),
        Detail::new("in", seconds, "s"),
        Detail::new("created", created.rate(), "/s"),
    ];
    if let Some((before, after)) = usage.zip(bed.processes.usage()) {
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / all as f64;
        details.push(Detail::new("server CPU", cpu, "µs/pod"));
        details.push(Detail::new("disk", (after.written - before.written) as f64 / all as f64 / 1024.0, "KiB/pod"));
    }
    let mut figures = vec![Figure::higher("pods bound", all as f64 / seconds, "/s").with(details)];

    let (ran, last) = running.reach(wanted, RUN_LIMIT).await;
    if ran > 0 {
        let seconds = (last - started).as_secs_f64();
        let events = running.events.load(Ordering::Relaxed) as f64 / ran as f64;
        let details = vec![
            Detail::new("ran", ran as f64, "pods"),
            Detail::new("in", seconds, "s"),
            Detail::new("events", events, "/pod when Running"),
        ];
        figures.push(Figure::higher("pods Running", ran as f64 / seconds, "/s").with(details));
    }
    if let Some((empty, resident)) = empty.zip(bed.processes.resident()) {
        let highest = bed.processes.highest().unwrap_or(resident);
        let details = vec![Detail::new("nodes only", mib(empty), "MiB"), Detail::new("highest", mib(highest), "MiB")];
        let name = format!("resident, {nodes} nodes and {pods} pods");
        figures.push(Figure::lower(name, mib(resident), "MiB").with(details));
    }
    drop((bound, running));
    bed.close().await?;
    Ok(figures)
}

/// Waits for the server's own nodes, or creates bare ones where there are too few.
async fn provide_nodes(bed: &Bed, nodes: usize) -> Result<()> {
    if bed.is_own() {
        return bed.nodes_ready(nodes).await;
    }
    let list = bed.endpoint.json(Method::GET, "/api/v1/nodes", &Value::Null).await?;
    let missing = nodes.saturating_sub(list["items"].as_array().map_or(0, Vec::len));
    let mut connection = bed.endpoint.connect().await?;
    let template = node();
    for number in 0..missing {
        connection.call(Method::POST, "/api/v1/nodes", template.body(number as u64, 0)).await?;
    }
    Ok(())
}

async fn count(bed: &Bed, selector: &str) -> Result<Counter> {
    let path = format!("{}?watch=1&fieldSelector={selector}", bed.path("pods"));
    let mut connection = bed.endpoint.connect().await?;
    let response = connection.send(Method::GET, &path, Bytes::new()).await?;
    if !response.status().is_success() {
        bail!("GET {path}: {}", response.status());
    }
    let (sender, count) = watch::channel((0, Instant::now()));
    let events = Arc::new(AtomicUsize::new(0));
    let seen = events.clone();
    let task = tokio::spawn(async move {
        let (_open, mut body, mut lines) = (connection, response.into_body(), Lines::default());
        while let Some(Ok(frame)) = body.frame().await {
            let before = lines.added;
            lines.feed(frame.data_ref().map_or(&[][..], |data| data));
            seen.store(lines.events, Ordering::Relaxed);
            if lines.added > before {
                sender.send_replace((lines.added, Instant::now()));
            }
        }
    });
    Ok(Counter { count, events, task })
}

impl Counter {
    /// Waits until `wanted` pods match, at most `limit`: how many do, and when the last of them was seen.
    async fn reach(&mut self, wanted: usize, limit: Duration) -> (usize, Instant) {
        let reached = self.count.wait_for(|(count, _)| *count >= wanted);
        // Time-out or a watch that ended: what was counted until then is the figure.
        let _ = timeout(limit, reached).await.map(|outcome| outcome.is_ok());
        *self.count.borrow()
    }
}
