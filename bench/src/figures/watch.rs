//! One stream of changes to many watchers, and what a watcher costs that has nothing to hear.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::future::try_join_all;
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::Connection;
use crate::lines::Lines;
use crate::load::{Call, Limit, closed_loop};
use crate::objects::{Template, config_map, name, pod};
use crate::process::own_cpu;
use crate::report::{Detail, Figure};
use crate::target::{Bed, Target};

/// Enough that changes come in batches, as they do where there are many watchers.
const WRITERS: usize = 32;
/// Watchers, and changes that each of them is to see.
const ROUNDS: &[(usize, usize)] = &[(100, 3200), (500, 1280)];
const LIMIT: Duration = Duration::from_secs(20);
/// Idle watches: so many connections, so many streams on each.
const IDLE: (usize, usize) = (20, 50);
/// Watches with a node's selector, likewise.
const NODES: (usize, usize) = (10, 50);

/// Memory of an idle watch, then delivered events per second.
pub async fn measure(target: &Target) -> Result<Vec<Figure>> {
    let bed = target.open(0).await?;
    let figures = on(&bed).await;
    bed.close().await?;
    figures
}

async fn on(bed: &Bed) -> Result<Vec<Figure>> {
    let path = bed.path("configmaps");
    let template = config_map();
    let mut connection = bed.endpoint.connect().await?;
    for writer in 0..WRITERS {
        connection.call(Method::POST, &path, template.body(writer as u64, 0)).await?;
    }
    let mut figures = Vec::new();
    figures.extend(idle(bed).await?);
    for (watchers, changes) in ROUNDS {
        figures.extend(deliver(bed, *watchers, *changes).await?);
    }
    figures.push(filtered(bed).await?);
    Ok(figures)
}

/// Pod updates while as many kubelets watch for pods of their own nodes, which these are not.
async fn filtered(bed: &Bed) -> Result<Figure> {
    let (path, template) = (bed.path("pods"), pod("nobody"));
    let mut connection = bed.endpoint.connect().await?;
    let mut bodies = Vec::new();
    for writer in 0..WRITERS as u64 {
        connection.call(Method::POST, &path, template.body(writer, 0)).await?;
        bodies.push(Template::of_stored(connection.json(&format!("{path}/{}", name(writer))).await?));
    }
    let limit = Limit { time: Duration::from_millis(1500), requests: 20_000 };
    let update = async |round: u64| {
        closed_loop(bed, WRITERS, limit, |client| {
            let (path, body) = (format!("{path}/{}", name(client as u64)), bodies[client].clone());
            move |n| Call {
                method: Method::PUT,
                path: path.clone(),
                body: body.body(0, round + n as u64),
                ..Call::default()
            }
        })
        .await
    };
    let alone = update(1_000_000).await?;
    let open =
        open_shared(bed, NODES, |node| format!("{path}?watch=1&fieldSelector=spec.nodeName%3Dbench-{node}")).await?;
    let watched = update(2_000_000).await?;
    drop(open);
    let details = vec![Detail::new("without them", alone.rate(), "/s")];
    let name = format!("update Pod, {} node watchers", NODES.0 * NODES.1);
    Ok(Figure::higher(name, watched.rate(), "/s").with(details).with(watched.details()))
}

/// Opens watches, so many connections and so many on each.
async fn open_shared(
    bed: &Bed,
    (connections, each): (usize, usize),
    path: impl Fn(usize) -> String,
) -> Result<Vec<(Connection, Response<Incoming>)>> {
    let mut open = Vec::new();
    for number in 0..connections {
        let connection = bed.endpoint.connect_shared().await?;
        for stream in 0..each {
            let mut stream_of = connection.share().context("HTTP/2 connections can be shared")?;
            let response = stream_of.send(Method::GET, &path(number * each + stream), Bytes::new()).await?;
            if !response.status().is_success() {
                bail!("watch: {}", response.status());
            }
            open.push((stream_of, response));
        }
    }
    Ok(open)
}

pub async fn watch_path(bed: &Bed) -> Result<String> {
    let path = bed.path("configmaps");
    let list = bed.endpoint.json(Method::GET, &format!("{path}?limit=1"), &Value::Null).await?;
    let version = list["metadata"]["resourceVersion"].as_str().context("a list without resourceVersion")?;
    Ok(format!("{path}?watch=1&resourceVersion={version}"))
}

/// Memory per watch when a client's watches share its connection, as with every real client.
async fn idle(bed: &Bed) -> Result<Option<Figure>> {
    let Some(before) = bed.processes.resident() else { return Ok(None) };
    let path = watch_path(bed).await?;
    let open = open_shared(bed, IDLE, |_| path.clone()).await?;
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

    let (usage, own) = (bed.processes.usage(), own_cpu());
    let started = Instant::now();
    let limit = Limit { time: LIMIT, requests: changes / WRITERS };
    let writes = closed_loop(bed, WRITERS, limit, |client| {
        let (path, template) = (format!("{}/{}", bed.path("configmaps"), name(client as u64)), template.clone());
        // Another change than any earlier round's, or the write would be none.
        let base = watchers * 1_000_000;
        move |n| Call {
            method: Method::PUT,
            path: path.clone(),
            body: template.body(client as u64, (base + n) as u64),
            ..Call::default()
        }
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
    let own = own_cpu().saturating_sub(own).as_secs_f64() * 1e6 / events.max(1) as f64;
    details.push(Detail::new("client CPU", own, "µs/event"));
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
