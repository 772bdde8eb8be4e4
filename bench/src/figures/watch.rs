//! One stream of changes to many watchers, and what a watcher costs that has nothing to hear.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::future::try_join_all;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::lines::Lines;
use crate::load::{Call, Limit, closed_loop};
use crate::objects::{config_map, name};
use crate::report::{Detail, Figure};
use crate::target::{Bed, Target};

const WRITERS: usize = 8;
/// Watchers, and changes that each of them is to see.
const ROUNDS: &[(usize, usize)] = &[(100, 3000), (500, 1000)];
const LIMIT: Duration = Duration::from_secs(20);
/// Idle watches: so many connections, so many streams on each.
const IDLE: (usize, usize) = (20, 50);

/// Memory of an idle watch, then delivered events per second.
pub async fn measure(target: &Target) -> Result<Vec<Figure>> {
    let bed = target.open(0).await?;
    let path = bed.path("configmaps");
    let template = config_map();
    for writer in 0..WRITERS {
        bed.endpoint.connect().await?.call(Method::POST, &path, template.body(writer as u64, 0)).await?;
    }
    let mut figures = Vec::new();
    figures.extend(idle(&bed).await?);
    for (watchers, changes) in ROUNDS {
        figures.extend(deliver(&bed, *watchers, *changes).await?);
    }
    bed.close().await?;
    Ok(figures)
}

async fn watch_path(bed: &Bed) -> Result<String> {
    let path = bed.path("configmaps");
    let list = bed.endpoint.json(Method::GET, &format!("{path}?limit=1"), &Value::Null).await?;
    let version = list["metadata"]["resourceVersion"].as_str().context("a list without resourceVersion")?;
    Ok(format!("{path}?watch=1&resourceVersion={version}"))
}

/// Memory per watch when a client's watches share its connection, as with every real client.
async fn idle(bed: &Bed) -> Result<Option<Figure>> {
    let Some(before) = bed.processes.resident() else { return Ok(None) };
    let path = watch_path(bed).await?;
    let mut open = Vec::new();
    for _ in 0..IDLE.0 {
        let connection = bed.endpoint.connect_shared().await?;
        for _ in 0..IDLE.1 {
            let mut stream = connection.share().context("HTTP/2 connections can be shared")?;
            let response = stream.send(Method::GET, &path, Bytes::new()).await?;
            if !response.status().is_success() {
                bail!("watch: {}", response.status());
            }
            open.push(response);
        }
    }
    sleep(Duration::from_millis(500)).await;
    let after = bed.processes.resident().unwrap_or(before);
    let each = (after - before).max(0.0) / open.len() as f64 / 1024.0;
    Ok(Some(Figure::lower("an idle watch (shared connection)", each, "KiB")))
}

async fn deliver(bed: &Bed, watchers: usize, changes: usize) -> Result<Vec<Figure>> {
    let (path, template) = (watch_path(bed).await?, config_map());
    let before = bed.processes.resident();
    let connections = try_join_all((0..watchers).map(|_| bed.endpoint.connect())).await?;
    let mut tasks: Vec<JoinHandle<Result<(usize, usize)>>> = Vec::new();
    for mut connection in connections {
        let response = connection.send(Method::GET, &path, Bytes::new()).await?;
        if !response.status().is_success() {
            bail!("watch: {}", response.status());
        }
        tasks.push(tokio::spawn(async move {
            let _open = connection;
            timeout(LIMIT, read(response.into_body(), changes)).await.context("events do not arrive")?
        }));
    }
    let each = before.zip(bed.processes.resident()).map(|(before, after)| (after - before) / watchers as f64 / 1024.0);

    let usage = bed.processes.usage();
    let started = Instant::now();
    let limit = Limit { time: LIMIT, requests: changes / WRITERS };
    let writes = closed_loop(bed, WRITERS, limit, |client| {
        let (path, template) = (format!("{}/{}", bed.path("configmaps"), name(client as u64)), template.clone());
        // Another change than any earlier round's, or the write would be none.
        let base = watchers * 1_000_000;
        move |n| Call { method: Method::PUT, path: path.clone(), body: template.body(client as u64, (base + n) as u64) }
    })
    .await?;
    let results = try_join_all(tasks).await?.into_iter().collect::<Result<Vec<_>>>()?;
    let elapsed = started.elapsed().as_secs_f64();

    let events: usize = results.iter().map(|(events, _)| events).sum();
    let bytes: usize = results.iter().map(|(_, bytes)| bytes).sum();
    let behind = results.iter().filter(|(events, _)| *events < changes).count();
    let mut details = vec![
        Detail::new("data", bytes as f64 / elapsed / 1e6, "MB/s"),
        Detail::new("fell behind", behind as f64, "watchers"),
        Detail::new("changes", writes.rate(), "/s"),
    ];
    if let Some((before, after)) = usage.zip(bed.processes.usage()) {
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / events.max(1) as f64;
        details.push(Detail::new("server CPU", cpu, "µs/event"));
    }
    let rate = events as f64 / elapsed;
    let mut figures = vec![Figure::higher(format!("events, {watchers} watchers"), rate, "/s").with(details)];
    figures.extend(each.map(|each| Figure::lower(format!("a watch on its own connection, {watchers}"), each, "KiB")));
    Ok(figures)
}

/// Reads a watch until it has brought so many events or ends: events and bytes.
async fn read(mut body: Incoming, events: usize) -> Result<(usize, usize)> {
    let (mut lines, mut bytes) = (Lines::default(), 0);
    while lines.events < events {
        let Some(frame) = body.frame().await else { break };
        let frame = frame?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        bytes += data.len();
        lines.feed(data);
    }
    Ok((lines.events - lines.errors, bytes))
}
