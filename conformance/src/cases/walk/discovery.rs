//! What a user asks a cluster about itself.

use crate::case::{Case, Needs};
use crate::context::{Context, has};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;

pub const CASES: &[Case] = &[
    Case::new("walk::version", Needs::Cluster, version),
    Case::new("walk::cluster_info", Needs::Cluster, cluster_info),
    Case::new("walk::api_resources", Needs::Cluster, api_resources),
    Case::new("walk::api_versions", Needs::Cluster, api_versions),
    Case::new("walk::health", Needs::Cluster, health),
    Case::new("walk::metrics", Needs::Cluster, metrics),
    Case::new("walk::explain", Needs::Cluster, explain),
    Case::new("walk::explain_openapi_v2", Needs::Cluster, explain_openapi_v2),
    Case::new("walk::openapi", Needs::Cluster, openapi),
    Case::new("walk::bootstrap_objects", Needs::Cluster, bootstrap_objects),
];

/// `kubectl api-resources -o wide` of upstream v1.36, generally available resources.
const RESOURCES: &str = include_str!("../../../data/api-resources.tsv");

fn version(cx: &Context) -> Result<()> {
    has(&cx.kubectl("version")?, &["Server Version: v1.36."])?;
    let version = cx.read("/version")?.json()?;
    ensure!(version["major"] == "1" && version["minor"] == "36", "{version}");
    ensure!(version["platform"].as_str().is_some_and(|platform| platform.starts_with("linux/")), "{version}");
    Ok(())
}

fn cluster_info(cx: &Context) -> Result<()> {
    has(&cx.kubectl("cluster-info")?, &["Kubernetes control plane", "is running at", "https://"])
}

/// Every line of the table, with its columns; more resources are welcome.
fn api_resources(cx: &Context) -> Result<()> {
    let printed = cx.kubectl("api-resources -o wide")?;
    let found = columns(&printed)?;
    let wanted: Vec<Vec<String>> = RESOURCES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect();
    let missing: Vec<String> = wanted.iter().filter(|row| !found.contains(*row)).map(|row| row.join(" | ")).collect();
    let names: BTreeSet<&String> = wanted.iter().filter_map(|row| row.first()).collect();
    let instead: Vec<String> = found
        .iter()
        .filter(|row| row.first().is_some_and(|name| names.contains(name)) && !wanted.contains(row))
        .map(|row| row.join(" | "))
        .collect();
    ensure!(missing.is_empty(), "missing:\n{}\nfound instead:\n{}", missing.join("\n"), instead.join("\n"));
    Ok(())
}

/// kubectl's table, cut where its header's words begin.
fn columns(printed: &str) -> Result<Vec<Vec<String>>> {
    let mut lines = printed.lines();
    let header = lines.next().context("nothing was printed")?;
    let titles = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND", "VERBS", "CATEGORIES"];
    let mut starts = Vec::new();
    for title in titles {
        // `NAME` is also the start of `NAMESPACED`, but its first place is its own.
        starts.push(header.find(title).with_context(|| format!("no column {title} in {header:?}"))?);
    }
    let cell = |line: &str, index: usize| {
        let end = starts.get(index + 1).copied().unwrap_or(line.len()).min(line.len());
        line.get(starts[index].min(end)..end).unwrap_or_default().trim().to_owned()
    };
    Ok(lines.map(|line| (0..titles.len()).map(|index| cell(line, index)).collect()).collect())
}

fn api_versions(cx: &Context) -> Result<()> {
    let printed = cx.kubectl("api-versions")?;
    let found: BTreeSet<&str> = printed.lines().collect();
    let mut wanted: BTreeSet<&str> =
        RESOURCES.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split('\t').nth(2)).collect();
    wanted.insert("autoscaling/v1");
    let missing: Vec<_> = wanted.difference(&found).collect();
    ensure!(missing.is_empty(), "missing: {missing:?}");
    Ok(())
}

fn health(cx: &Context) -> Result<()> {
    has(&cx.kubectl("get --raw /readyz?verbose")?, &["[+]ping ok", "readyz check passed"])?;
    has(&cx.kubectl("get --raw /livez?verbose")?, &["[+]ping ok", "livez check passed"])?;
    for path in ["/readyz", "/livez", "/healthz"] {
        let printed = cx.kubectl(&format!("get --raw {path}"))?;
        ensure!(printed.trim() == "ok", "{path}: {printed}");
    }
    Ok(())
}

fn metrics(cx: &Context) -> Result<()> {
    cx.read("/api/v1/nodes")?;
    has(
        &cx.kubectl("get --raw /metrics")?,
        &["# TYPE apiserver_request_total counter", "apiserver_request_duration_seconds"],
    )
}

fn explain(cx: &Context) -> Result<()> {
    has(
        &cx.kubectl("explain pod.spec")?,
        &["KIND:       Pod", "VERSION:    v1", "FIELD: spec", "containers\t<[]Container> -required-"],
    )?;
    has(
        &cx.kubectl("explain deployment.spec.strategy.rollingUpdate.maxSurge")?,
        &["GROUP:      apps", "<IntOrString>"],
    )?;
    // What a field may be, from enumerations.
    let policy = cx.kubectl("explain pod.spec.restartPolicy")?;
    has(&policy, &["ENUM:\n", "    OnFailure\n", "Possible enum values:"])?;
    let tree = cx.kubectl("explain deployment --recursive")?;
    has(&tree, &["        containers\t<[]Container> -required-", "terminationMessagePolicy\t<string>"])
}

/// The same from version 2, which comes in protobuf.
fn explain_openapi_v2(cx: &Context) -> Result<()> {
    has(
        &cx.kubectl("explain pods.spec.containers --output=plaintext-openapiv2")?,
        &[
            "KIND:     Pod",
            "RESOURCE: containers <[]Object>",
            "   imagePullPolicy\t<string>",
            "   name\t<string> -required-",
        ],
    )?;
    let tree = cx.kubectl("explain deployment.spec.strategy --recursive --output=plaintext-openapiv2")?;
    has(&tree, &["   rollingUpdate\t<Object>", "      maxSurge\t<string>"])
}

/// A document's address has its hash in it, so that clients keep it.
fn openapi(cx: &Context) -> Result<()> {
    let index = cx.read("/openapi/v3")?.json()?;
    for name in ["api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "version"] {
        let url = index["paths"][name]["serverRelativeURL"].as_str().with_context(|| format!("no {name}"))?;
        ensure!(url.starts_with(&format!("/openapi/v3/{name}?hash=")), "{url}");
        let document = cx.read(url)?.json()?;
        ensure!(document["openapi"] == "3.0.0" && document["paths"].is_object(), "{name}: {}", document["info"]);
    }
    let swagger = cx.read("/openapi/v2")?.json()?;
    let patch = &swagger["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    ensure!(patch["operationId"] == "patchAppsV1NamespacedDeployment", "{patch}");
    Ok(())
}

/// What every fresh cluster has.
fn bootstrap_objects(cx: &Context) -> Result<()> {
    has(&cx.kubectl("get namespaces")?, &["default", "kube-system", "kube-public", "kube-node-lease", "Active"])?;
    let roles = cx.kubectl("get clusterroles -o name")?;
    for role in
        ["cluster-admin", "admin", "edit", "view", "system:kube-scheduler", "system:basic-user", "system:discovery"]
    {
        has(&roles, &[&format!("clusterrole.rbac.authorization.k8s.io/{role}\n")])?;
    }
    has(&cx.kubectl("get clusterrolebindings")?, &["cluster-admin", "ClusterRole/cluster-admin"])?;
    has(
        &cx.kubectl("get priorityclasses")?,
        &["system-cluster-critical", "2000000000", "system-node-critical", "2000001000"],
    )?;
    has(&cx.kubectl("get service kubernetes -n default")?, &["ClusterIP", "443/TCP"])?;
    has(&cx.kubectl("get endpointslices -n default")?, &["kubernetes"])?;
    let account = cx.kubectl("get configmap kube-root-ca.crt -o jsonpath={.data}")?;
    has(&account, &["BEGIN CERTIFICATE"])
}
