//! From the spawn of the process to a cluster that runs pods, and back to nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};

use crate::figures::median;
use crate::lines::find;
use crate::objects::{name, pod};
use crate::report::{Detail, Figure};
use crate::server::Server;

const RUNS: u64 = 7;
const PODS: &str = "/api/v1/namespaces/default/pods";
const LIMIT: Duration = Duration::from_secs(30);

type Part = fn(&Start) -> f64;

/// Milliseconds of one start.
struct Start {
    ready: f64,
    bound: f64,
    running: f64,
    stop: f64,
}

/// Starts the server on an empty directory, and again on what that left; `RUNS` times.
pub async fn measure(binary: &Path, scratch: &Path, store: &str) -> Result<Vec<Figure>> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(scratch)?;
        let data = directory.path().join("data");
        first.push(start(binary, &data, store, run * 2).await?);
        again.push(start(binary, &data, store, run * 2 + 1).await?);
    }
    let mut figures = Vec::new();
    for (label, starts) in [("first", &first), ("again", &again)] {
        let parts: [(&str, Part); 4] = [
            ("ready", |start| start.ready),
            ("pod bound", |start| start.bound),
            ("pod Running", |start| start.running),
            ("SIGTERM to exit", |start| start.stop),
        ];
        for (part, value) in parts {
            let worst = starts.iter().map(value).fold(0.0, f64::max);
            let middle = median(starts.iter().map(value).collect());
            let details = vec![Detail::new("worst", worst, "ms"), Detail::new("of", RUNS as f64, "runs")];
            figures.push(Figure::lower(format!("start, {label}: {part}"), middle, "ms").with(details));
        }
    }
    Ok(figures)
}

async fn start(binary: &Path, data: &Path, store: &str, number: u64) -> Result<Start> {
    let server = Server::start(binary, data, 1, store).await?;
    let (bound, running) = timeout(LIMIT, run_pod(&server, number)).await.context("the pod does not run")??;
    let ready = server.ready;
    let stop = server.stop().await?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(Start {
        ready: milliseconds(ready),
        bound: milliseconds(bound),
        running: milliseconds(running),
        stop: milliseconds(stop),
    })
}

/// Creates a pod as early as the server takes it; times from the spawn until it is bound and until it is Running.
async fn run_pod(server: &Server, number: u64) -> Result<(Duration, Duration)> {
    let mut watcher = server.endpoint.connect().await?;
    let selected = format!("{PODS}?watch=1&fieldSelector=metadata.name%3D{}", name(number));
    let response = watcher.send(Method::GET, &selected, Bytes::new()).await?;
    if !response.status().is_success() {
        bail!("watching pods: {}", response.status());
    }
    let body = pod("default-scheduler").body(number, 0);
    loop {
        let (status, answer) = server.endpoint.once(Method::POST, PODS, body.clone()).await?;
        match status.as_u16() {
            201 => break,
            // The namespace or its service account may be a few milliseconds away.
            403 | 404 | 429 | 500..=599 => sleep(Duration::from_millis(2)).await,
            _ => bail!("creating a pod: {status} {}", String::from_utf8_lossy(&answer)),
        }
    }
    let (mut events, mut stream, mut bound) = (Vec::new(), response.into_body(), None);
    while let Some(frame) = stream.frame().await {
        events.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| data));
        if bound.is_none() && find(&events, b"\"nodeName\":\"").is_some() {
            bound = Some(server.started.elapsed());
        }
        if find(&events, b"\"phase\":\"Running\"").is_some() {
            let running = server.started.elapsed();
            return Ok((bound.unwrap_or(running), running));
        }
    }
    bail!("the watch ended before the pod ran")
}
