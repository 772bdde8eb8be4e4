//! Several clients at the same time.

use crate::case::{Case, Needs};
use crate::context::Context;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub const CASES: &[Case] = &[
    Case::new("concurrency::one_creator_wins", Needs::Cluster, one_creator_wins),
    Case::new("concurrency::no_lost_update", Needs::Cluster, no_lost_update),
    Case::new("concurrency::patches_all_count", Needs::Cluster, patches_all_count),
    Case::new("concurrency::addresses_are_given_once", Needs::Cluster, addresses_are_given_once),
    Case::new("concurrency::generated_names_differ", Needs::Cluster, generated_names_differ),
];

const CLIENTS: usize = 12;

/// Runs the same in so many threads; what each came to.
fn at_once<T: Send>(clients: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|number| {
                scope.spawn({
                    let work = &work;
                    move || work(number)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?).collect()
    })
}

fn path(cx: &Context, resource: &str) -> String {
    format!("/api/v1/namespaces/{}/{resource}", cx.namespace)
}

fn one_creator_wins(cx: &Context) -> Result<()> {
    let codes = at_once(CLIENTS, |client| {
        let body = json!({"metadata": {"name": "one"}, "data": {"by": client.to_string()}});
        cx.post(&path(cx, "configmaps"), &body).map(|answer| answer.status)
    })?;
    let winners = codes.iter().filter(|code| **code == 201).count();
    ensure!(winners == 1 && codes.iter().all(|code| [201, 409].contains(code)), "{codes:?}");
    Ok(())
}

/// Read, add one, write; again when somebody was quicker.
fn no_lost_update(cx: &Context) -> Result<()> {
    let rounds = 10;
    cx.post(&path(cx, "configmaps"), &json!({"metadata": {"name": "counter"}, "data": {"n": "0"}}))?;
    let counter = path(cx, "configmaps/counter");
    let conflicts = at_once(CLIENTS, |_| {
        let (mut done, mut conflicts) = (0, 0);
        while done < rounds {
            let mut object = cx.read(&counter)?.json()?;
            let now: u64 = object["data"]["n"].as_str().context("no number")?.parse()?;
            object["data"]["n"] = json!((now + 1).to_string());
            match cx.put(&counter, &object)?.status {
                200 => done += 1,
                409 => conflicts += 1,
                code => anyhow::bail!("a write was answered {code}"),
            }
        }
        Ok(conflicts)
    })?;
    let count = cx.read(&counter)?.json()?["data"]["n"].clone();
    let wanted = json!((CLIENTS * rounds).to_string());
    ensure!(count == wanted, "{wanted} writes, counted {count}");
    cx.note(format!("{} conflicts", conflicts.iter().sum::<usize>()));
    Ok(())
}

/// A patch without a resourceVersion never conflicts: the server tries again.
fn patches_all_count(cx: &Context) -> Result<()> {
    cx.post(&path(cx, "configmaps"), &json!({"metadata": {"name": "patched"}}))?;
    let codes = at_once(CLIENTS, |client| {
        let headers = [("content-type", "application/merge-patch+json")];
        let body = json!({"data": {format!("key-{client}"): "x"}}).to_string();
        cx.raw(http::Method::PATCH, &path(cx, "configmaps/patched"), &headers, body).map(|answer| answer.status)
    })?;
    ensure!(codes.iter().all(|code| *code == 200), "{codes:?}");
    let data = cx.read(&path(cx, "configmaps/patched"))?.json()?["data"].clone();
    ensure!(data.as_object().is_some_and(|data| data.len() == CLIENTS), "{data}");
    Ok(())
}

fn addresses_are_given_once(cx: &Context) -> Result<()> {
    let services = at_once(CLIENTS, |client| {
        let body =
            json!({"metadata": {"name": format!("s{client}")}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        cx.post(&path(cx, "services"), &body)?.json()
    })?;
    let distinct = |field: &dyn Fn(&Value) -> &Value| {
        services.iter().map(|service| field(service).to_string()).collect::<BTreeSet<_>>()
    };
    let ips = distinct(&|service| &service["spec"]["clusterIP"]);
    let ports = distinct(&|service| &service["spec"]["ports"][0]["nodePort"]);
    ensure!(ips.len() == CLIENTS && ports.len() == CLIENTS, "{ips:?} {ports:?}");
    // One address that several ask for goes to one of them.
    let wanted = services[0]["spec"]["clusterIP"].clone();
    cx.raw(http::Method::DELETE, &path(cx, "services/s0"), &[], "")?;
    let codes = at_once(CLIENTS, |client| {
        let body =
            json!({"metadata": {"name": format!("t{client}")}, "spec": {"clusterIP": wanted, "ports": [{"port": 80}]}});
        cx.post(&path(cx, "services"), &body).map(|answer| answer.status)
    })?;
    ensure!(codes.iter().filter(|code| **code == 201).count() == 1, "{codes:?}");
    ensure!(codes.iter().all(|code| [201, 422].contains(code)), "{codes:?}");
    Ok(())
}

fn generated_names_differ(cx: &Context) -> Result<()> {
    let names = at_once(CLIENTS, |_| {
        let made = cx.post(&path(cx, "configmaps"), &json!({"metadata": {"generateName": "g-"}}))?.json()?;
        Ok(made["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    })?;
    ensure!(names.iter().collect::<BTreeSet<_>>().len() == CLIENTS, "{names:?}");
    ensure!(names.iter().all(|name| name.starts_with("g-") && name.len() == 7), "{names:?}");
    Ok(())
}
