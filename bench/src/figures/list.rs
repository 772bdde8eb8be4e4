//! Many pods at rest: what they weigh in memory and how fast they are listed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use tokio::time::sleep;

use crate::client::{Connection, JSON, Media};
use crate::figures::{median, mib};
use crate::lines::find;
use crate::load::{Call, Limit, closed_loop};
use crate::objects::pod;
use crate::report::{Detail, Figure};
use crate::target::{Bed, Target};

const WRITERS: usize = 40;
const RUNS: usize = 7;
const PAGE: usize = 500;
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Creates `count` pods that nobody schedules, then lists them.
pub async fn measure(target: &Target, count: usize) -> Result<Vec<Figure>> {
    let bed = target.open(0).await?;
    let figures = on(&bed, count).await;
    bed.close().await?;
    figures
}

async fn on(bed: &Bed, count: usize) -> Result<Vec<Figure>> {
    let before = bed.processes.resident();
    fill(bed, count).await?;
    sleep(Duration::from_secs(1)).await;
    let resident = bed.processes.resident();
    let mut connection = bed.endpoint.connect().await?;
    let path = bed.path("pods");
    let mut figures = Vec::new();

    let (figure, size) = timed(bed, "list, whole", async || whole(&mut connection, &path, JSON).await).await?;
    let mut lists = vec![figure];
    lists.push(timed(bed, "list, 500 a page", async || paged(&mut connection, &path).await).await?.0);
    let listed = bed.processes.resident().unwrap_or(0.0);
    lists.push(timed(bed, "list as Table", async || whole(&mut connection, &path, TABLE).await).await?.0);

    if let (Some(before), Some(resident), Some(highest)) = (before, resident, bed.processes.highest()) {
        let details = vec![
            Detail::new("before", mib(before), "MiB"),
            Detail::new("after lists", mib(listed), "MiB"),
            Detail::new("after Tables", mib(bed.processes.resident().unwrap_or(resident)), "MiB"),
            Detail::new("highest", mib(highest), "MiB"),
        ];
        figures.push(Figure::lower(format!("resident, {count} pods stored"), mib(resident), "MiB").with(details));
        figures.push(Figure::lower("memory added per stored byte", (resident - before) / size, "B/B"));
    }
    figures.extend(lists);
    Ok(figures)
}

pub async fn fill(bed: &Bed, count: usize) -> Result<()> {
    let (template, path) = (pod("nobody"), bed.path("pods"));
    let limit = Limit { time: Duration::from_secs(60), requests: count.div_ceil(WRITERS) };
    closed_loop(bed, WRITERS, limit, |client| {
        let (template, path) = (template.clone(), path.clone());
        move |n| Call {
            method: Method::POST,
            path: path.clone(),
            body: template.body((client * limit.requests + n) as u64, 0),
            ..Call::default()
        }
    })
    .await?;
    Ok(())
}

/// Runs a list some times: its throughput at the median, and its size in bytes.
pub async fn timed(bed: &Bed, name: &str, mut list: impl AsyncFnMut() -> Result<usize>) -> Result<(Figure, f64)> {
    let mut size = list().await? as f64;
    let (mut times, before) = (Vec::new(), bed.processes.usage());
    for _ in 0..RUNS {
        let started = Instant::now();
        size = list().await? as f64;
        times.push(started.elapsed().as_secs_f64());
    }
    let time = median(times);
    let mut details = vec![Detail::new("time", time * 1000.0, "ms"), Detail::new("size", size / 1e6, "MB")];
    if let Some((before, after)) = before.zip(bed.processes.usage()) {
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1000.0 / RUNS as f64;
        details.push(Detail::new("server CPU", cpu, "ms"));
    }
    Ok((Figure::higher(name, size / time / 1e6, "MB/s").with(details), size))
}

pub async fn whole(connection: &mut Connection, path: &str, accept: &'static str) -> Result<usize> {
    connection.call_as(Method::GET, path, Bytes::new(), Media::accepting(accept)).await
}

async fn paged(connection: &mut Connection, path: &str) -> Result<usize> {
    let (mut size, mut from) = (0, String::new());
    loop {
        let page = format!("{path}?limit={PAGE}{from}");
        let response = connection.send(Method::GET, &page, Bytes::new()).await?;
        if !response.status().is_success() {
            bail!("GET {page}: {}", response.status());
        }
        let body = response.into_body().collect().await?.to_bytes();
        size += body.len();
        match token(&body) {
            Some(token) => from = format!("&continue={}", token.replace('=', "%3D").replace('+', "%2B")),
            None => return Ok(size),
        }
    }
}

/// The continue token of a list, which stands in its metadata: near its beginning, or at its end.
fn token(list: &[u8]) -> Option<String> {
    const FIELD: &[u8] = b"\"continue\":\"";
    let near = list.len().min(2000);
    let rest = [&list[..near], &list[list.len() - near..]]
        .into_iter()
        .find_map(|part| find(part, FIELD).map(|start| &part[start + FIELD.len()..]))?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    (end > 0).then(|| String::from_utf8_lossy(&rest[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::token;

    #[test]
    fn the_token_is_found_before_and_after_the_items() {
        assert_eq!(
            token(br#"{"metadata":{"continue":"abc=","resourceVersion":"7"},"items":[]}"#).as_deref(),
            Some("abc=")
        );
        let items = "x".repeat(5000);
        let late = format!("{{\"items\":[\"{items}\"],\"metadata\":{{\"continue\":\"t\"}}}}");
        assert_eq!(token(late.as_bytes()).as_deref(), Some("t"));
        assert_eq!(token(br#"{"metadata":{"continue":""},"items":[]}"#), None);
    }
}
