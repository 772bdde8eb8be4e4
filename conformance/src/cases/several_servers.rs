//! Several servers on one etcd: what is written through one is read through the other, and either may die.

use crate::case::{Case, Needs};
use crate::context::{Cluster, Context, until};
use crate::etcd::Etcd;
use crate::server::{Server, beside, free_port};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("several_servers::each_reads_what_the_other_wrote", Needs::Binary, each_reads_what_the_other_wrote),
    Case::new("several_servers::killed_in_turn_under_a_rollout", Needs::Machine, killed_in_turn),
];

const REPLICAS: usize = 200;
const ROUNDS: usize = 3;
const CONVERGES: Duration = Duration::from_secs(240);

/// Two servers, the second with the keys of the first.
struct Pair {
    servers: [Server; 2],
    flags: [Vec<String>; 2],
    _etcd: Etcd,
}

impl Pair {
    fn start(outer: &Context) -> Result<Pair> {
        let etcd = Etcd::start(outer)?;
        let flags = |address: &str| -> Result<Vec<String>> {
            let port = free_port()?.to_string();
            let flags = ["--store", "etcd", "--etcd-servers", &etcd.url, "--secure-port", &port];
            let flags = flags.into_iter().chain(["--advertise-address", address]);
            Ok(flags.map(str::to_owned).collect())
        };
        let flags = [flags("192.0.2.1")?, flags("192.0.2.2")?];
        let (one, two) = (outer.dir.path().join("one"), outer.dir.path().join("two"));
        let first = start(outer, &one, &flags[0])?;
        copy(&one.join("pki"), &two.join("pki"))?;
        let second = start(outer, &two, &flags[1])?;
        Ok(Pair { servers: [first, second], flags, _etcd: etcd })
    }

    fn clusters(&self, outer: &Context) -> Result<[Cluster; 2]> {
        let cluster = |server: &Server| {
            Cluster::connect("", &server.kubeconfig(), Some(&server.data_dir), &outer.settings.runtime)
        };
        Ok([cluster(&self.servers[0])?, cluster(&self.servers[1])?])
    }

    fn kill(&mut self, which: usize) -> Result<()> {
        self.servers[which].process.kill()
    }

    fn restart(&mut self, outer: &Context, which: usize) -> Result<()> {
        let data_dir = self.servers[which].data_dir.clone();
        self.servers[which] = start(outer, &data_dir, &self.flags[which])?;
        Ok(())
    }
}

fn start(outer: &Context, data_dir: &Path, flags: &[String]) -> Result<Server> {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Server::start(outer.binary()?, "server", data_dir, &flags)
}

/// The files of a directory, with their modes; nobody else may read the new one.
fn copy(from: &Path, to: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn each_reads_what_the_other_wrote(outer: &Context) -> Result<()> {
    let pair = Pair::start(outer)?;
    let clusters = pair.clusters(outer)?;
    let [one, two] = [outer.on(&clusters[0], "default")?, outer.on(&clusters[1], "default")?];
    for round in 0..60 {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let path = "/api/v1/namespaces/default/configmaps";
        let name = format!("c{round}");
        let value = round.to_string();
        let body = serde_json::json!({"metadata": {"name": name}, "data": {"round": value}});
        let made = writer.post(path, &body)?;
        ensure!(made.status == 201, "{}", made.text);
        let got = reader.read(&format!("{path}/{name}"))?;
        ensure!(got.status == 200 && got.json()?["data"]["round"] == *value, "stale: {}", got.text);
        let listed = reader.read(path)?.json()?;
        let all = listed["items"].as_array().context("items")?;
        ensure!(all.iter().any(|item| item["metadata"]["name"] == *name), "a stale list");
        // A write on top of what the other server wrote, without having seen it before.
        let mut changed = made.json()?;
        changed["data"]["round"] = "changed".into();
        let put = reader.put(&format!("{path}/{name}"), &changed)?;
        ensure!(put.status == 200, "{}", put.text);
        let stale = writer.put(&format!("{path}/{name}"), &changed)?;
        stale.refused(409, "Conflict", &["the object has been modified"])?;
    }
    // Both are there for pods to reach; only one schedules.
    for cx in [&one, &two] {
        cx.until("both addresses", || {
            let addresses = cx.path("endpoints/kubernetes", "{.subsets[*].addresses[*].ip}")?;
            Ok(addresses == "192.0.2.1 192.0.2.2")
        })?;
    }
    let holders = one.path("lease/kube-scheduler -n kube-system", "{.spec.holderIdentity}")?;
    ensure!(!holders.is_empty(), "nobody holds the scheduler's lease");
    Ok(())
}

const DEPLOYMENT: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 200
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: 'nginx:1'}]
";

fn killed_in_turn(outer: &Context) -> Result<()> {
    let mut pair = Pair::start(outer)?;
    let binary = outer.binary()?;
    let url = pair.servers[0].url()?;
    let _nodes = beside(&pair.servers[0], binary, "hollow-nodes", &["--server", &url, "--nodes", "5"])?;
    let clusters = pair.clusters(outer)?;
    let [one, two] = [outer.on(&clusters[0], "default")?, outer.on(&clusters[1], "default")?];
    one.until("five nodes", || Ok(one.ready_nodes()?.len() == 5))?;
    one.apply(DEPLOYMENT)?;
    until("the first rollout", CONVERGES, || is_rolled_out(&two))?;
    for round in 0..ROUNDS {
        for victim in [0, 1] {
            let through = if victim == 0 { &two } else { &one };
            pair.kill(victim)?;
            through.kubectl(&format!("set image deployment/web c=nginx:{round}-{victim}"))?;
            // Long enough that the other one has to take over, seldom so long that all is done.
            std::thread::sleep(Duration::from_millis(500));
            pair.restart(outer, victim)?;
        }
    }
    let started = Instant::now();
    for cx in [&one, &two] {
        until("the rollout to converge", CONVERGES, || is_rolled_out(cx))
            .with_context(|| cx.kubectl("get deployment,replicaset,pods -o wide").unwrap_or_default())?;
    }
    outer.note(format!("converged {:.0} s after the last kill", started.elapsed().as_secs_f64()));
    // A pod that was bound twice would have been reported twice.
    let events = one.kubectl("get events --field-selector reason=Scheduled -o jsonpath={range.items[*]}{.involvedObject.uid}{.regarding.uid}{\"\\n\"}{end}")?;
    let mut bound: BTreeMap<&str, usize> = BTreeMap::new();
    events.lines().for_each(|uid| *bound.entry(uid).or_default() += 1);
    ensure!(bound.len() > REPLICAS, "{} pods were reported as scheduled", bound.len());
    ensure!(bound.values().all(|times| *times == 1), "bound more than once: {bound:?}");
    Ok(())
}

/// Whether all pods are of the newest template, and ready.
fn is_rolled_out(cx: &Context) -> Result<bool> {
    let status = cx.path(
        "deployment/web",
        "{.metadata.generation} {.status.observedGeneration} {.status.updatedReplicas} {.status.readyReplicas} {.status.replicas}",
    )?;
    let numbers: Vec<usize> = status.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    Ok(
        matches!(numbers[..], [wanted, seen, updated, ready, all] if wanted == seen && [updated, ready, all] == [REPLICAS; 3]),
    )
}
