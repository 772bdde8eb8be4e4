//! Watches, as raw streams.

use crate::case::{Case, Needs};
use crate::context::Context;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("watches::changes_in_order", Needs::Cluster, changes_in_order),
    Case::new("watches::selectors", Needs::Cluster, selectors),
    Case::new("watches::initial_events", Needs::Cluster, initial_events),
    Case::new("watches::tables", Needs::Cluster, tables),
    Case::new("watches::too_old", Needs::Cluster, too_old),
    Case::new("watches::of_one_object", Needs::Cluster, of_one_object),
];

/// The events of a watch that the server ends after a second.
fn watch(cx: &Context, query: &str) -> Result<Vec<Value>> {
    let started = Instant::now();
    let path = format!("/api/v1/namespaces/{}/configmaps?watch=true&timeoutSeconds=1&{query}", cx.namespace);
    let answer = cx.read(&path)?;
    ensure!(answer.status == 200, "{query}: {} {}", answer.status, answer.text);
    ensure!(started.elapsed() < Duration::from_secs(4), "a watch of one second took {:?}", started.elapsed());
    answer.text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no event: {line}"))).collect()
}

/// `ADDED a`, `DELETED b` …
fn told(events: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events
        .iter()
        .map(|event| format!("{} {}", text(&event["type"]), text(&event["object"]["metadata"]["name"])))
        .collect()
}

/// The revision of the namespace's config maps now.
fn revision(cx: &Context) -> Result<String> {
    let list = cx.read(&format!("/api/v1/namespaces/{}/configmaps", cx.namespace))?.json()?;
    Ok(list["metadata"]["resourceVersion"].as_str().context("no resourceVersion")?.to_owned())
}

/// Starts with the CA's config map in place, so that it does not come in between.
fn settled(cx: &Context) -> Result<String> {
    cx.until("the CA's configmap", || Ok(cx.kubectl("get configmaps -o name")?.contains("kube-root-ca.crt")))?;
    revision(cx)
}

fn create(cx: &Context, name: &str, labels: Value) -> Result<Value> {
    let path = format!("/api/v1/namespaces/{}/configmaps", cx.namespace);
    cx.post(&path, &json!({"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}))?.json()
}

fn patch(cx: &Context, name: &str, body: &Value) -> Result<()> {
    let path = format!("/api/v1/namespaces/{}/configmaps/{name}", cx.namespace);
    let headers = [("content-type", "application/merge-patch+json")];
    let answer = cx.raw(http::Method::PATCH, &path, &headers, body.to_string())?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text);
    Ok(())
}

fn delete(cx: &Context, name: &str) -> Result<()> {
    let path = format!("/api/v1/namespaces/{}/configmaps/{name}", cx.namespace);
    ensure!(cx.raw(http::Method::DELETE, &path, &[], "")?.status == 200);
    Ok(())
}

fn changes_in_order(cx: &Context) -> Result<()> {
    let from = settled(cx)?;
    create(cx, "a", json!({}))?;
    create(cx, "b", json!({}))?;
    patch(cx, "a", &json!({"data": {"a": "2"}}))?;
    // A change that changes nothing is no event.
    patch(cx, "a", &json!({"data": {"a": "2"}}))?;
    delete(cx, "b")?;
    let events = watch(cx, &format!("resourceVersion={from}"))?;
    ensure!(told(&events) == ["ADDED a", "ADDED b", "MODIFIED a", "DELETED b"], "{:?}", told(&events));
    let revisions: Vec<u64> = events
        .iter()
        .filter_map(|event| event["object"]["metadata"]["resourceVersion"].as_str()?.parse().ok())
        .collect();
    ensure!(revisions.len() == 4 && revisions.is_sorted_by(|before, after| before < after), "{revisions:?}");
    ensure!(events[0]["object"]["data"]["a"] == "1", "an event has the object as it was then: {}", events[0]);
    ensure!(events[3]["object"]["data"]["a"] == "1", "a deletion has the last state: {}", events[3]);
    let rest = watch(cx, &format!("resourceVersion={}", revisions[1]))?;
    ensure!(told(&rest) == ["MODIFIED a", "DELETED b"], "{:?}", told(&rest));
    Ok(())
}

/// What comes to match is added, what no longer matches is deleted.
fn selectors(cx: &Context) -> Result<()> {
    let from = settled(cx)?;
    create(cx, "in", json!({"on": "yes"}))?;
    create(cx, "out", json!({}))?;
    patch(cx, "in", &json!({"metadata": {"labels": {"on": null}}}))?;
    patch(cx, "out", &json!({"metadata": {"labels": {"on": "yes"}}}))?;
    patch(cx, "in", &json!({"data": {"a": "unseen"}}))?;
    delete(cx, "out")?;
    let events = told(&watch(cx, &format!("resourceVersion={from}&labelSelector=on%3Dyes"))?);
    ensure!(events == ["ADDED in", "DELETED in", "ADDED out", "DELETED out"], "{events:?}");
    let named = told(&watch(cx, &format!("resourceVersion={from}&fieldSelector=metadata.name%3Dout"))?);
    ensure!(named == ["ADDED out", "MODIFIED out", "DELETED out"], "{named:?}");
    Ok(())
}

/// A list as a stream (KEP-3157), and a watch from "any" revision.
fn initial_events(cx: &Context) -> Result<()> {
    settled(cx)?;
    create(cx, "a", json!({}))?;
    create(cx, "b", json!({}))?;
    let events = watch(cx, "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan")?;
    ensure!(told(&events)[..3] == ["ADDED a", "ADDED b", "ADDED kube-root-ca.crt"], "{:?}", told(&events));
    let bookmark = events.get(3).context("no bookmark after the initial events")?;
    ensure!(bookmark["type"] == "BOOKMARK", "{bookmark}");
    let metadata = &bookmark["object"]["metadata"];
    ensure!(metadata["annotations"]["k8s.io/initial-events-end"] == "true", "{bookmark}");
    let at = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let newest = events[..3].iter().map(|event| at(&event["object"]["metadata"]["resourceVersion"])).max();
    ensure!(Some(at(&metadata["resourceVersion"])) >= newest, "older than what it comes after: {bookmark}");
    let any = told(&watch(cx, "resourceVersion=0")?);
    ensure!(any == ["ADDED a", "ADDED b", "ADDED kube-root-ca.crt"], "{any:?}");
    let wrong = format!("/api/v1/namespaces/{}/configmaps?watch=true&sendInitialEvents=true", cx.namespace);
    cx.read(&wrong)?.refused(422, "Invalid", &["sendInitialEvents", "resourceVersionMatch"])?;
    Ok(())
}

/// What kubectl asks for.
fn tables(cx: &Context) -> Result<()> {
    let from = settled(cx)?;
    create(cx, "a", json!({}))?;
    let path =
        format!("/api/v1/namespaces/{}/configmaps?watch=true&timeoutSeconds=1&resourceVersion={from}", cx.namespace);
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let answer = cx.raw(http::Method::GET, &path, &accept, "")?;
    let event: Value = serde_json::from_str(answer.text.lines().next().context("no event")?)?;
    ensure!(event["object"]["kind"] == "Table" && event["object"]["rows"][0]["cells"][0] == "a", "{event}");
    ensure!(event["object"]["rows"][0]["object"]["kind"] == "PartialObjectMetadata", "{event}");
    Ok(())
}

fn too_old(cx: &Context) -> Result<()> {
    settled(cx)?;
    let answer = cx.read(&format!(
        "/api/v1/namespaces/{}/configmaps?watch=true&timeoutSeconds=1&resourceVersion=1",
        cx.namespace
    ))?;
    // A server that still has all its history may tell it; one that has not must say so.
    let first: Value = answer.text.lines().next().map(serde_json::from_str).transpose()?.unwrap_or_default();
    let expired = |status: &Value| status["code"] == 410 && status["reason"] == "Expired";
    let refused = answer.status == 410 && expired(&first) || first["type"] == "ERROR" && expired(&first["object"]);
    ensure!(refused || first["type"] == "ADDED", "{} {}", answer.status, answer.text);
    let broken =
        cx.read(&format!("/api/v1/namespaces/{}/configmaps?continue=bm90LWEtdG9rZW4&limit=2", cx.namespace))?;
    ensure!(broken.status == 400, "{} {}", broken.status, broken.text);
    Ok(())
}

/// The old path, which client libraries still know.
fn of_one_object(cx: &Context) -> Result<()> {
    let from = settled(cx)?;
    create(cx, "one", json!({}))?;
    create(cx, "other", json!({}))?;
    let path =
        format!("/api/v1/watch/namespaces/{}/configmaps/one?timeoutSeconds=1&resourceVersion={from}", cx.namespace);
    let answer = cx.read(&path)?;
    let events: Vec<Value> = answer.text.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
    ensure!(told(&events) == ["ADDED one"], "{:?}", told(&events));
    Ok(())
}
