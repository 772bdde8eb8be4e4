//! Closed loops: so many clients, each with one request under way, for a bounded time and count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use futures::future::try_join_all;
use http::Method;
use tokio::sync::Barrier;

use crate::client::Media;
use crate::process::own_cpu;
use crate::report::Detail;
use crate::target::Bed;

/// One request to send.
#[derive(Default)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub body: Bytes,
    pub media: Media,
}

/// How long a loop goes on: whichever comes first.
#[derive(Clone, Copy)]
pub struct Limit {
    pub time: Duration,
    /// Requests of each client.
    pub requests: usize,
}

/// What came of a loop.
pub struct Load {
    /// Requests each client completed.
    pub done: Vec<usize>,
    /// From the common start to the last answer.
    pub elapsed: Duration,
    /// Bytes that the server's processes wrote to disk meanwhile.
    pub written: Option<f64>,
    latencies: Vec<u32>,
    server_cpu: Option<Duration>,
    client_cpu: Duration,
}

/// Runs `clients` loops at once, each on its own connection; `source(client)` gives the client's `n`th request.
pub async fn closed_loop<S, N>(bed: &Bed, clients: usize, limit: Limit, source: S) -> Result<Load>
where
    S: Fn(usize) -> N,
    N: FnMut(usize) -> Call + Send + 'static,
{
    let gate = Arc::new(Barrier::new(clients + 1));
    let mut tasks = Vec::with_capacity(clients);
    for client in 0..clients {
        let mut connection = bed.endpoint.connect().await?;
        let (gate, mut next) = (gate.clone(), source(client));
        tasks.push(tokio::spawn(async move {
            gate.wait().await;
            let end = Instant::now() + limit.time;
            let mut latencies: Vec<u32> = Vec::new();
            let mut now = Instant::now();
            while latencies.len() < limit.requests && now < end {
                let call = next(latencies.len());
                connection.call_as(call.method, &call.path, call.body, call.media).await?;
                let answered = Instant::now();
                latencies.push((answered - now).as_micros() as u32);
                now = answered;
            }
            anyhow::Ok(latencies)
        }));
    }
    let (before, own_before) = (bed.processes.usage(), own_cpu());
    gate.wait().await;
    let started = Instant::now();
    let results = try_join_all(tasks).await?.into_iter().collect::<Result<Vec<_>>>()?;
    let elapsed = started.elapsed();
    let client_cpu = own_cpu().saturating_sub(own_before);
    let spent = before.zip(bed.processes.usage());
    let done = results.iter().map(Vec::len).collect();
    let mut latencies = results.concat();
    latencies.sort_unstable();
    Ok(Load {
        done,
        elapsed,
        written: spent.map(|(before, after)| (after.written - before.written) as f64),
        latencies,
        server_cpu: spent.map(|(before, after)| after.cpu.saturating_sub(before.cpu)),
        client_cpu,
    })
}

impl Load {
    /// Requests of all clients.
    pub fn requests(&self) -> usize {
        self.latencies.len()
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64()
    }

    /// Median and 99th percentile in milliseconds, and CPU microseconds per request of the server and of this client.
    pub fn details(&self) -> Vec<Detail> {
        let percentile = |part: f64| {
            let last = self.latencies.len().saturating_sub(1);
            self.latencies.get((last as f64 * part).round() as usize).copied().unwrap_or(0) as f64 / 1000.0
        };
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / self.requests().max(1) as f64;
        let mut details = vec![Detail::new("p50", percentile(0.5), "ms"), Detail::new("p99", percentile(0.99), "ms")];
        details.extend(self.server_cpu.map(|cpu| Detail::new("server CPU", each(cpu), "µs")));
        details.push(Detail::new("client CPU", each(self.client_cpu), "µs"));
        details
    }
}
