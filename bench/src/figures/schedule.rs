//! Pods through the whole cluster: created, bound, and Running where something runs them.

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
use crate::lines::find;
use crate::load::{Call, Limit, closed_loop};
use crate::objects::{node, pod};
use crate::report::{Detail, Figure};
use crate::target::{Bed, Target};

const WRITERS: usize = 40;
const LIMIT: Duration = Duration::from_secs(40);
/// How long after the last binding something may still be starting pods.
const RUN_LIMIT: Duration = Duration::from_secs(10);

/// What a watch of all the pods has brought so far.
#[derive(Clone, Copy)]
struct Seen {
    bound: usize,
    last_bound: Instant,
    running: usize,
    last_running: Instant,
    events: usize,
}

/// A plain watch, as every scheduler and controller has one; which pods are bound is found out here, not by a selector.
struct Counter {
    seen: watch::Receiver<Seen>,
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
    let figures = on(&bed, nodes, pods).await;
    bed.close().await?;
    figures
}

async fn on(bed: &Bed, nodes: usize, pods: usize) -> Result<Vec<Figure>> {
    provide_nodes(bed, nodes).await?;
    let empty = bed.processes.resident();
    let mut counter = count(bed, pods + WRITERS).await?;

    let usage = bed.processes.usage();
    let started = Instant::now();
    let (template, path) = (pod("default-scheduler"), bed.path("pods"));
    let limit = Limit { time: LIMIT, requests: pods.div_ceil(WRITERS) };
    let created = closed_loop(bed, WRITERS, limit, |client| {
        let (template, path) = (template.clone(), path.clone());
        move |n| Call {
            method: Method::POST,
            path: path.clone(),
            body: template.body((client * limit.requests + n) as u64, 0),
            ..Call::default()
        }
    })
    .await?;
    let wanted = created.requests();
    let seen = counter.reach(LIMIT.saturating_sub(started.elapsed()), |seen| seen.bound >= wanted).await;
    let all = seen.bound;
    if all == 0 {
        bail!("no pod was bound in {LIMIT:?}");
    }
    let seconds = (seen.last_bound - started).as_secs_f64();
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

    let seen = counter.reach(RUN_LIMIT, |seen| seen.running >= wanted).await;
    let ran = seen.running;
    if ran > 0 {
        let seconds = (seen.last_running - started).as_secs_f64();
        let details = vec![
            Detail::new("ran", ran as f64, "pods"),
            Detail::new("in", seconds, "s"),
            Detail::new("watch events", seen.events as f64 / ran as f64, "/pod"),
        ];
        figures.push(Figure::higher("pods Running", ran as f64 / seconds, "/s").with(details));
    }
    if let Some((empty, resident)) = empty.zip(bed.processes.resident()) {
        let highest = bed.processes.highest().unwrap_or(resident);
        let details = vec![Detail::new("nodes only", mib(empty), "MiB"), Detail::new("highest", mib(highest), "MiB")];
        let name = format!("resident, {nodes} nodes and {pods} pods");
        figures.push(Figure::lower(name, mib(resident), "MiB").with(details));
    }
    drop(counter);
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

/// Watches the bed's pods, numbered below `room`.
async fn count(bed: &Bed, room: usize) -> Result<Counter> {
    let path = format!("{}?watch=1", bed.path("pods"));
    let mut connection = bed.endpoint.connect().await?;
    let response = connection.send(Method::GET, &path, Bytes::new()).await?;
    if !response.status().is_success() {
        bail!("GET {path}: {}", response.status());
    }
    let now = Instant::now();
    let (sender, seen) = watch::channel(Seen { bound: 0, last_bound: now, running: 0, last_running: now, events: 0 });
    let task = tokio::spawn(async move {
        let (_open, mut body) = (connection, response.into_body());
        let (mut stages, mut line, mut seen) = (vec![Stage::Created; room], Vec::new(), *sender.borrow());
        while let Some(Ok(frame)) = body.frame().await {
            let data = frame.data_ref().map_or(&[][..], |data| data);
            for piece in data.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(piece);
                if piece.ends_with(b"\n") {
                    seen.take(&line, &mut stages);
                    line.clear();
                }
            }
            sender.send_replace(seen);
        }
    });
    Ok(Counter { seen, task })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Created,
    Bound,
    Running,
}

impl Seen {
    /// Takes one event.
    fn take(&mut self, event: &[u8], stages: &mut [Stage]) {
        self.events += 1;
        let Some(stage) = number_in(event).and_then(|number| stages.get_mut(number)) else { return };
        if *stage == Stage::Created && find(event, b"\"nodeName\":\"").is_some() {
            *stage = Stage::Bound;
            (self.bound, self.last_bound) = (self.bound + 1, Instant::now());
        }
        if *stage == Stage::Bound && find(event, b"\"phase\":\"Running\"").is_some() {
            *stage = Stage::Running;
            (self.running, self.last_running) = (self.running + 1, Instant::now());
        }
    }
}

/// The number of the pod that an event is about.
fn number_in(event: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\"name\":\"bench-";
    let digits = event.get(find(event, NAME)? + NAME.len()..)?;
    std::str::from_utf8(digits.split(|byte| *byte == b'"').next()?).ok()?.parse().ok()
}

impl Counter {
    /// Waits until so much is seen, at most `limit`; gives what is.
    async fn reach(&mut self, limit: Duration, enough: impl Fn(&Seen) -> bool) -> Seen {
        // Time-out or a watch that ended: what was seen until then is the figure.
        let _ = timeout(limit, self.seen.wait_for(enough)).await.map(|outcome| outcome.is_ok());
        *self.seen.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_counts_once_when_bound_and_once_when_running() {
        let now = Instant::now();
        let mut seen = Seen { bound: 0, last_bound: now, running: 0, last_running: now, events: 0 };
        let mut stages = [Stage::Created; 3];
        let name = r#""metadata":{"name":"bench-000000000002"}"#;
        for rest in ["", r#","spec":{"nodeName":"n"}"#, r#","spec":{"nodeName":"n"},"status":{"phase":"Running"}"#] {
            for _ in 0..2 {
                seen.take(format!(r#"{{"type":"MODIFIED","object":{{{name}{rest}}}}}"#).as_bytes(), &mut stages);
            }
        }
        assert_eq!((seen.bound, seen.running, seen.events), (1, 1, 6));
    }
}
