//! Client libraries.

use crate::case::{Case, Needs, Skipped};
use crate::context::Context;
use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::Status;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub const CASES: &[Case] = &[
    Case::new("clients::kube_rs", Needs::Cluster, kube_rs),
    Case::new("clients::python", Needs::Cluster, python),
    Case::new("clients::node", Needs::Cluster, node),
];

fn kube_rs(cx: &Context) -> Result<()> {
    let (client, namespace) = (cx.cluster()?.client.clone(), cx.namespace.clone());
    let all = async {
        config_maps(&client, &namespace).await.context("config maps")?;
        deployments(&client, &namespace).await.context("deployments")
    };
    cx.settings.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), all).await })?
}

async fn config_maps(client: &kube::Client, namespace: &str) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let made: ConfigMap = serde_json::from_value(json!({"metadata": {"generateName": "rust-"}, "data": {"a": "1"}}))?;
    let made = api.create(&PostParams::default(), &made).await?;
    let name = made.metadata.name.clone().context("no name")?;
    ensure!(name.len() == "rust-".len() + 5, "{name}");
    let from = made.metadata.resource_version.clone().context("no resourceVersion")?;
    let mut changed = made.clone();
    changed.data = Some([("a".to_owned(), "2".to_owned())].into());
    api.replace(&name, &PostParams::default(), &changed).await?;
    match api.replace(&name, &PostParams::default(), &changed).await {
        Err(kube::Error::Api(status)) if is_conflict(&status) => {}
        other => bail!("a stale replace: {other:?}"),
    }
    let merge = Patch::Merge(json!({"data": {"b": "3"}}));
    let patched = api.patch(&name, &PatchParams::default(), &merge).await?;
    ensure!(patched.data.as_ref().is_some_and(|data| data.len() == 2), "{patched:?}");
    let strategic = Patch::Strategic(json!({"data": {"b": null}}));
    let patched = api.patch(&name, &PatchParams::default(), &strategic).await?;
    ensure!(patched.data.as_ref().is_some_and(|data| data.len() == 1), "{patched:?}");
    ensure!(api.list(&ListParams::default().fields(&format!("metadata.name={name}"))).await?.items.len() == 1);
    api.delete(&name, &DeleteParams::default()).await?;
    ensure!(api.get_opt(&name).await?.is_none(), "still there");
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(30);
    let events: Vec<WatchEvent<ConfigMap>> = api.watch(&params, &from).await?.take(4).try_collect().await?;
    let kinds: Vec<&str> = events.iter().map(kind).collect();
    ensure!(kinds == ["modified", "modified", "modified", "deleted"], "{kinds:?}");
    Ok(())
}

fn is_conflict(status: &Status) -> bool {
    status.code == 409 && status.reason == "Conflict"
}

fn kind<K>(event: &WatchEvent<K>) -> &'static str {
    match event {
        WatchEvent::Added(_) => "added",
        WatchEvent::Modified(_) => "modified",
        WatchEvent::Deleted(_) => "deleted",
        WatchEvent::Bookmark(_) => "bookmark",
        WatchEvent::Error(_) => "error",
    }
}

async fn deployments(client: &kube::Client, namespace: &str) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let made: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "rust"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "rust"}}, "template": {
            "metadata": {"labels": {"app": "rust"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}},
    }))?;
    let made = api.create(&PostParams::default(), &made).await?;
    let from = made.metadata.resource_version.clone().context("no resourceVersion")?;
    let mut events = api.watch(&WatchParams::default().timeout(50), &from).await?.boxed();
    loop {
        match events.try_next().await?.context("the watch ended before two replicas were ready")? {
            WatchEvent::Modified(now) if now.status.as_ref().and_then(|status| status.ready_replicas) == Some(2) => {
                break;
            }
            WatchEvent::Error(error) => bail!("{error:?}"),
            _ => {}
        }
    }
    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    api.patch_scale("rust", &PatchParams::default(), &scale).await?;
    ensure!(api.get_scale("rust").await?.spec.and_then(|spec| spec.replicas) == Some(1));
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = pods.list(&ListParams::default().labels("app=rust")).await?;
    ensure!(pods.items.iter().all(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())));
    api.delete("rust", &DeleteParams::foreground()).await?;
    Ok(())
}

fn python(cx: &Context) -> Result<()> {
    let python = &cx.settings.python;
    let has_client = Command::new(python).args(["-c", "import kubernetes"]).output();
    if !has_client.is_ok_and(|output| output.status.success()) {
        bail!(Skipped(format!("{} has no package `kubernetes`", python.display())));
    }
    let script = cx.dir.path().join("client.py");
    std::fs::write(&script, include_str!("../../python/client.py"))?;
    run(cx, Command::new(python), &script)
}

fn node(cx: &Context) -> Result<()> {
    let modules = &cx.settings.node_modules;
    if !modules.join("@kubernetes/client-node").exists() {
        bail!(Skipped(format!("{} has no package @kubernetes/client-node", modules.display())));
    }
    // Node looks for packages beside the script.
    std::os::unix::fs::symlink(modules, cx.dir.path().join("node_modules"))?;
    let script = cx.dir.path().join("client.mjs");
    std::fs::write(&script, include_str!("../../node/client.mjs"))?;
    run(cx, Command::new("node"), &script)
}

/// Runs a script with the kubeconfig and the namespace; it has to succeed.
fn run(cx: &Context, mut program: Command, script: &Path) -> Result<()> {
    let output = program.arg(script).arg(&cx.cluster()?.kubeconfig).arg(&cx.namespace).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(())
}
