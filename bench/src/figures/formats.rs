//! The same objects written in different ways and read in different forms, and what the API costs besides the objects.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::client::{JSON, Media, PROTOBUF};
use crate::figures::list::{fill, timed, whole};
use crate::figures::mib;
use crate::figures::watch::watch_path;
use crate::load::{Call, Limit, closed_loop};
use crate::objects::{Template, config_map, name};
use crate::report::{Detail, Figure};
use crate::target::{Bed, Target};

const CLIENTS: usize = 16;
const LIMIT: Limit = Limit { time: Duration::from_millis(1500), requests: 20_000 };
/// Pods that are read.
const PODS: usize = 2000;
/// Changes that the watcher is to see.
const CHANGES: usize = 4000;
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const WATCH_PROTOBUF: &str = "application/vnd.kubernetes.protobuf;stream=watch";

pub async fn measure(target: &Target) -> Result<Vec<Figure>> {
    let bed = target.open(0).await?;
    let figures = on(&bed).await;
    bed.close().await?;
    figures
}

async fn on(bed: &Bed) -> Result<Vec<Figure>> {
    // Before anything else has asked for it.
    let mut figures = openapi(bed).await?;
    figures.extend(writes(bed).await?);
    fill(bed, PODS).await?;
    figures.push(managed_fields(bed).await?);
    for (form, accept) in [("JSON", JSON), ("protobuf", PROTOBUF)] {
        figures.push(gets(bed, form, accept).await?);
        let (mut connection, path) = (bed.endpoint.connect().await?, bed.path("pods"));
        let list = async || whole(&mut connection, &path, accept).await;
        let (figure, _) = timed(bed, "", list).await?;
        figures.push(Figure { name: format!("list of {PODS} pods, {form}"), ..figure });
    }
    for (form, accept) in [("JSON", JSON), ("protobuf", WATCH_PROTOBUF)] {
        figures.push(watches(bed, form, accept).await?);
    }
    Ok(figures)
}

/// What the OpenAPI documents weigh and take, for the first who asks and for the next.
async fn openapi(bed: &Bed) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for path in ["/openapi/v3/apis/apps/v1", "/openapi/v2"] {
        let mut connection = bed.endpoint.connect().await?;
        let before = bed.processes.resident();
        let mut times = Vec::new();
        let mut size = 0;
        for _ in 0..3 {
            let started = Instant::now();
            size = connection.call(Method::GET, path, Bytes::new()).await?;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        let mut details = vec![Detail::new("again", times[2], "ms"), Detail::new("size", size as f64 / 1e6, "MB")];
        if let (Some(before), Some(after)) = (before, bed.processes.resident()) {
            details.push(Detail::new("kept in memory", mib(after - before), "MiB"));
        }
        figures.push(Figure::lower(format!("{path}, first"), times[0], "ms").with(details));
    }
    Ok(figures)
}

/// Each client writes its own objects over and over.
async fn writes(bed: &Bed) -> Result<Vec<Figure>> {
    let (path, template) = (bed.path("configmaps"), config_map());
    let number = |client: usize, n: usize| client as u64 * 1_000_000 + n as u64;
    let creates = closed_loop(bed, CLIENTS, LIMIT, |client| {
        let (path, template) = (path.clone(), template.clone());
        move |n| Call {
            method: Method::POST,
            path: path.clone(),
            body: template.body(number(client, n), 0),
            ..Call::default()
        }
    })
    .await?;
    let mut figures = vec![figure("ConfigMap, create", &creates)];
    let object = |client: usize| format!("{path}/{}", name(number(client, 0)));
    let mut connection = bed.endpoint.connect().await?;
    let stored = connection.json(&object(0)).await?;
    let update = Template::of_stored(stored);
    let ways = [
        ("update", Method::PUT, JSON, ""),
        ("strategic patch", Method::PATCH, STRATEGIC, ""),
        ("apply", Method::PATCH, APPLY, "?fieldManager=bench&force=true"),
    ];
    for (round, (way, method, sent, query)) in (1..).zip(ways) {
        let load = closed_loop(bed, CLIENTS, LIMIT, |client| {
            let (path, method) = (format!("{}{query}", object(client)), method.clone());
            let body = if method == Method::PUT { update_of(&update, client, number) } else { template.clone() };
            let media = Media { sent, ..Media::default() };
            move |n| {
                let change = round * 10_000_000 + n as u64;
                Call { method: method.clone(), path: path.clone(), body: body.body(number(client, 0), change), media }
            }
        })
        .await?;
        figures.push(figure(&format!("ConfigMap, {way}"), &load));
    }
    Ok(figures)
}

/// The first client's object as another client's: its own name, and whatever identity the server gave it.
fn update_of(update: &Template, client: usize, number: impl Fn(usize, usize) -> u64) -> Template {
    update.renamed(&name(number(0, 0)), &name(number(client, 0)))
}

fn figure(name: &str, load: &crate::load::Load) -> Figure {
    Figure::higher(format!("{name}, {CLIENTS} clients"), load.rate(), "/s").with(load.details())
}

/// What `managedFields` add to a stored pod.
async fn managed_fields(bed: &Bed) -> Result<Figure> {
    let mut connection = bed.endpoint.connect().await?;
    let pod: Value = connection.json(&format!("{}/{}", bed.path("pods"), name(0))).await?;
    let managed = pod["metadata"]["managedFields"].to_string().len();
    let details = vec![Detail::new("of", pod.to_string().len() as f64, "B")];
    Ok(Figure::lower("managedFields of a pod", managed as f64, "B").with(details))
}

async fn gets(bed: &Bed, form: &str, accept: &'static str) -> Result<Figure> {
    let path = bed.path("pods");
    let load = closed_loop(bed, CLIENTS, LIMIT, |client| {
        let path = path.clone();
        move |n| Call {
            path: format!("{path}/{}", name(((client * 7919 + n * 13) % PODS) as u64)),
            media: Media::accepting(accept),
            ..Call::default()
        }
    })
    .await?;
    Ok(figure(&format!("get pod, {form}"), &load))
}

/// One watcher and many changes: CPU of the server and bytes for each event.
async fn watches(bed: &Bed, form: &str, accept: &'static str) -> Result<Figure> {
    let path = watch_path(bed).await?;
    let mut connection = bed.endpoint.connect().await?;
    let response = connection.send_as(Method::GET, &path, Bytes::new(), Media::accepting(accept)).await?;
    anyhow::ensure!(response.status().is_success(), "watch as {form}: {}", response.status());
    let usage = bed.processes.usage();
    let limit = Limit { requests: CHANGES / CLIENTS, time: Duration::from_secs(20) };
    let template = config_map();
    let base = if accept == JSON { 1 } else { 2 } * 1_000_000_000_u64;
    let writes = closed_loop(bed, CLIENTS, limit, |client| {
        let (path, template) = (bed.path("configmaps"), template.clone());
        move |n| Call {
            method: Method::POST,
            path: path.clone(),
            body: template.body(base + (client * CHANGES + n) as u64, 0),
            ..Call::default()
        }
    })
    .await?;
    let mut body = response.into_body();
    let (mut events, mut bytes, mut rest) = (0, 0, Vec::new());
    while events < writes.requests() {
        let frame = body.frame().await.context("the watch ended")??;
        let Some(data) = frame.data_ref() else { continue };
        bytes += data.len();
        rest.extend_from_slice(data);
        events += if accept == JSON { take_lines(&mut rest) } else { take_frames(&mut rest) };
    }
    let spent = usage.zip(bed.processes.usage());
    let cpu = spent.map_or(0.0, |(before, after)| after.cpu.saturating_sub(before.cpu).as_secs_f64());
    let details = vec![Detail::new("bytes", bytes as f64 / events as f64, "B/event")];
    Ok(Figure::lower(format!("create and watch, {form}"), cpu * 1e6 / events as f64, "µs CPU").with(details))
}

/// Takes whole lines off the front; how many.
fn take_lines(bytes: &mut Vec<u8>) -> usize {
    let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') else { return 0 };
    bytes.drain(..=last).filter(|byte| *byte == b'\n').count()
}

/// Takes whole frames off the front, each after its length in four bytes; how many.
fn take_frames(bytes: &mut Vec<u8>) -> usize {
    let (mut at, mut frames) = (0, 0);
    while let Some(head) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if bytes.len() < at + 4 + length {
            break;
        }
        at += 4 + length;
        frames += 1;
    }
    bytes.drain(..at);
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_lines_are_taken_whole() {
        let mut bytes = vec![0, 0, 0, 2, 1, 2, 0, 0, 0, 1, 9, 0, 0];
        assert_eq!((take_frames(&mut bytes), bytes), (2, vec![0, 0]));
        let mut text = b"{}\n{}\n{".to_vec();
        assert_eq!((take_lines(&mut text), text), (2, b"{".to_vec()));
    }
}
