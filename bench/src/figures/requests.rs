//! Creates, GETs and updates, durable where the store is, at several numbers of clients.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::Method;

use crate::load::{Call, Limit, Load, closed_loop};
use crate::objects::{Template, config_map, name, pod};
use crate::report::{Detail, Figure};
use crate::target::{Bed, Target};

const LIMIT: Limit = Limit { time: Duration::from_millis(1500), requests: 30_000 };
/// How many objects each client updates in turn.
const UPDATED: usize = 16;
/// Object numbers of a round and of a client in it never meet.
const ROUND: u64 = 10_000_000_000;
const CLIENT: u64 = 10_000_000;

/// Rates, latencies and CPU costs of both kinds at each number of clients.
pub async fn measure(target: &Target, clients: &[usize]) -> Result<Vec<Figure>> {
    let bed = target.open(0).await?;
    let figures = on(&bed, clients).await;
    bed.close().await?;
    figures
}

async fn on(bed: &Bed, clients: &[usize]) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    // A scheduler that does not exist: only the API server works on these pods.
    let kinds = [("ConfigMap", "configmaps", config_map()), ("Pod", "pods", pod("nobody"))];
    let mut round = 0;
    for (kind, resource, template) in kinds {
        for clients in clients {
            let rows = one_round(bed, resource, &template, *clients, round * ROUND).await?;
            let named =
                |(verb, figure): (&str, Figure)| Figure { name: format!("{verb} {kind}, {clients} clients"), ..figure };
            figures.extend(rows.into_iter().map(named));
            round += 1;
        }
    }
    Ok(figures)
}

async fn one_round(
    bed: &Bed,
    resource: &str,
    template: &Template,
    clients: usize,
    base: u64,
) -> Result<Vec<(&'static str, Figure)>> {
    let collection = bed.path(resource);
    let number = move |client: usize, n: usize| base + client as u64 * CLIENT + n as u64;

    let creates = closed_loop(bed, clients, LIMIT, |client| {
        let (path, template) = (collection.clone(), template.clone());
        move |n| Call {
            method: Method::POST,
            path: path.clone(),
            body: template.body(number(client, n), 0),
            ..Call::default()
        }
    })
    .await?;

    let gets = closed_loop(bed, clients, LIMIT, |client| {
        let (path, count) = (collection.clone(), creates.done[client].max(1));
        // A stride that is prime to most counts reads them in no order of creation.
        move |n| {
            let path = format!("{path}/{}", name(number(client, n.wrapping_mul(7919) % count)));
            Call { method: Method::GET, path, body: Bytes::new(), ..Call::default() }
        }
    })
    .await?;

    let bodies = stored_bodies(bed, &collection, &creates, number).await?;
    let updates = closed_loop(bed, clients, LIMIT, |client| {
        let (path, bodies) = (collection.clone(), bodies[client].clone());
        move |n| {
            let which = n % bodies.len();
            let path = format!("{path}/{}", name(number(client, which)));
            Call { method: Method::PUT, path, body: bodies[which].body(0, n as u64 + 1), ..Call::default() }
        }
    })
    .await?;

    let figure = |load: &Load| Figure::higher("", load.rate(), "/s").with(load.details());
    let amplification = creates.written.map(|written| written / (creates.requests().max(1) * template.len()) as f64);
    let created =
        figure(&creates).with(amplification.map(|x| Detail::new("disk", x, "B/B sent")).into_iter().collect());
    Ok(vec![("create", created), ("get", figure(&gets)), ("update", figure(&updates))])
}

/// The first objects of each client as the server stores them, to be sent back changed.
async fn stored_bodies(
    bed: &Bed,
    collection: &str,
    creates: &Load,
    number: impl Fn(usize, usize) -> u64,
) -> Result<Vec<Vec<Template>>> {
    let mut connection = bed.endpoint.connect().await?;
    let mut all = Vec::new();
    for (client, done) in creates.done.iter().enumerate() {
        let mut bodies = Vec::new();
        for n in 0..UPDATED.min(*done) {
            let path = format!("{collection}/{}", name(number(client, n)));
            bodies.push(Template::of_stored(connection.json(&path).await?));
        }
        all.push(bodies);
    }
    Ok(all)
}
