//! The components as processes. (The walk on such a cluster is `three_processes::walk::…`.)

use crate::case::{Case, Needs};
use crate::context::{Cluster, Context};
use crate::server::{Server, beside};
use anyhow::{Result, ensure};
use std::time::Duration;

pub const CASES: &[Case] =
    &[Case::new("components::each_ends_and_comes_back", Needs::Binary, each_ends_and_comes_back)];

fn each_ends_and_comes_back(outer: &Context) -> Result<()> {
    let binary = outer.binary()?;
    let data_dir = outer.dir.path().join("data");
    let mut server = Server::start(binary, "apiserver", &data_dir, &[])?;
    let mut controllers = beside(&server, binary, "controller-manager", &[])?;
    let mut scheduler = beside(&server, binary, "scheduler", &[])?;
    let mut nodes = beside(&server, binary, "hollow-nodes", &["--server", &server.url()?, "--nodes", "2"])?;
    let cluster = Cluster::connect("", &server.kubeconfig(), Some(&data_dir), &outer.settings.runtime)?;
    let cx = outer.on(&cluster, "default")?;
    cx.until("two nodes", || Ok(cx.ready_nodes()?.len() == 2))?;
    cx.until("both leases", || {
        let leases = cx.kubectl("get leases -n kube-system")?;
        Ok(["kube-scheduler", "kube-controller-manager"].iter().all(|name| leases.contains(name)))
    })?;
    // Without a scheduler pods wait; a new one takes over.
    let ended = |name: &str, process: &mut crate::server::Process| {
        let (status, took) = process.signal("TERM")?;
        ensure!(status.success(), "the {name} ended with {status}: {}", process.printed()?);
        ensure!(took < Duration::from_secs(2), "the {name} took {took:?} to end");
        Ok(())
    };
    ended("scheduler", &mut scheduler)?;
    cx.kubectl("create deployment web --image=nginx --replicas=2")?;
    cx.until("two pods", || Ok(cx.kubectl("get pods -o name")?.lines().count() == 2))?;
    ensure!(cx.path("pods", "{.items[*].spec.nodeName}")?.trim().is_empty(), "who scheduled these?");
    let mut scheduler = beside(&server, binary, "scheduler", &[])?;
    cx.kubectl("rollout status deployment/web --timeout=60s")?;
    // Without a controller manager nothing follows; a new one takes over.
    ended("controller manager", &mut controllers)?;
    cx.kubectl("scale deployment web --replicas=4")?;
    let mut controllers = beside(&server, binary, "controller-manager", &[])?;
    cx.until_path("deployment/web", "{.status.readyReplicas}", "4")?;
    // An API server that restarts is found again.
    let url = server.url()?;
    let port = url.rsplit(':').next().unwrap_or_default().to_owned();
    ended("API server", &mut server.process)?;
    let mut server = Server::start(binary, "apiserver", &data_dir, &["--secure-port", &port])?;
    cx.kubectl("scale deployment web --replicas=5")?;
    cx.until_path("deployment/web", "{.status.readyReplicas}", "5")?;
    ended("hollow nodes", &mut nodes)?;
    ended("scheduler", &mut scheduler)?;
    ended("controller manager", &mut controllers)?;
    ended("API server", &mut server.process)
}
