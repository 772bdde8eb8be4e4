//! A node that stops.

use crate::case::{Case, Needs};
use crate::context::{Cluster, Context, has, until};
use crate::server::Server;
use anyhow::{Context as _, Result, ensure};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[Case::new("nodes::node_that_stops", Needs::Binary, node_that_stops)];

/// Upstream's grace period is 50 s, its look at the leases every 5 s.
const UNTIL_NOTICED: Duration = Duration::from_secs(75);

const MANIFEST: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: nginx}]
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
";

fn node_that_stops(outer: &Context) -> Result<()> {
    let data_dir = outer.dir.path().join("data");
    let server = Server::start(outer.binary()?, "server", &data_dir, &["--hollow-nodes", "3", "--store", "memory"])?;
    let cluster = Cluster::connect("", &server.kubeconfig(), Some(&data_dir), &outer.settings.runtime)?;
    let cx = outer.on(&cluster, "default")?;
    cx.until("three nodes", || Ok(cx.ready_nodes()?.len() == 3))?;
    cx.apply(MANIFEST)?;
    cx.kubectl("rollout status deployment/web --timeout=60s")?;
    let node = cx.path("pods", "{.items[0].spec.nodeName}")?;
    let started = Instant::now();
    cx.kubectl(&format!("annotate node {node} hollow.coracle.dev/stopped=true"))?;
    until("the node to be NotReady", UNTIL_NOTICED, || {
        Ok(cx.kubectl(&format!("get node {node}"))?.contains("NotReady"))
    })?;
    outer.note(format!("NotReady after {:.0} s", started.elapsed().as_secs_f64()));
    let described = cx.kubectl(&format!("describe node {node}"))?;
    has(&described, &["NodeStatusUnknown", "Kubelet stopped posting node status.", "NodeNotReady"])?;
    cx.until("both taints", || {
        let taints = cx.path(&format!("node/{node}"), "{range .spec.taints[*]}{.key}:{.effect} {end}")?;
        Ok(["NoSchedule", "NoExecute"]
            .iter()
            .all(|effect| taints.contains(&format!("node.kubernetes.io/unreachable:{effect}"))))
    })?;
    cx.until("six pods elsewhere", || {
        let ready =
            cx.path("pods", "{range .items[*]}{.spec.nodeName} {.status.phase} {.metadata.deletionTimestamp}\n{end}")?;
        Ok(ready.lines().filter(|line| line.trim_end().ends_with("Running") && !line.starts_with(&node)).count() == 6)
    })
    .with_context(|| cx.kubectl("get pods -o wide").unwrap_or_default())?;
    // It comes back.
    cx.kubectl(&format!("annotate node {node} hollow.coracle.dev/stopped-"))?;
    cx.until("the node to be Ready again", || Ok(cx.ready_nodes()?.contains(&node)))?;
    cx.until_path(&format!("node/{node}"), "{.spec.taints}", "")?;
    cx.until("its old pods to go", || {
        Ok(cx.kubectl("get pods -o name")?.lines().count() == 6 && !cx.kubectl("get pods")?.contains("Terminating"))
    })?;
    ensure!(cx.path("deployment/web", "{.status.readyReplicas}")? == "6");
    Ok(())
}
