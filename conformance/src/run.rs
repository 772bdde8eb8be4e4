//! Which cases run where and when, and what is said about them.

use crate::Arguments;
use crate::case::{Case, Needs, Skipped};
use crate::cases;
use crate::context::{Cluster, Context, Settings, unique};
use crate::server::{Process, Server, components, tail};
use anyhow::{Context as _, Result, bail};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// What the walk is called on a cluster of several processes.
const THREE_PROCESSES: &str = "three_processes";
/// The cluster that is an API server and nothing else; its cases run nowhere else, so they need no other name.
const APISERVER: &str = "apiserver";
/// A bearer token and a password of the clusters that are started here; both are alice, who has no rights.
pub const ALICE_TOKEN: &str = "alice-static-token-5e1f";
pub const ALICE_PASSWORD: &str = "correct horse battery staple";

/// A case and where it runs.
#[derive(Clone, Copy)]
struct Job<'a> {
    case: &'a Case,
    cluster: Option<&'a Cluster>,
}

impl Job<'_> {
    fn name(&self) -> String {
        full_name(self.cluster.map_or("", |cluster| cluster.label), self.case)
    }
}

fn full_name(label: &str, case: &Case) -> String {
    if label == THREE_PROCESSES { format!("{label}::{}", case.name) } else { case.name.to_string() }
}

/// How it went so far.
#[derive(Default)]
struct Tally {
    passed: AtomicUsize,
    failed: AtomicUsize,
    skipped: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

/// Clusters started for this run; they end with it.
#[derive(Default)]
struct Started {
    processes: Vec<Process>,
    servers: Vec<Server>,
}

/// Runs what the arguments ask for; whether all went well.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let chosen = |name: &str| arguments.filters.is_empty() || arguments.filters.iter().any(|part| name.contains(part));
    let all = cases::all(&arguments.differential)?;
    let here: Vec<&Case> = all.iter().filter(|case| chosen(&case.name)).collect();
    let there: Vec<&Case> = all
        .iter()
        .filter(|case| case.topic() == "walk" && chosen(&full_name(THREE_PROCESSES, case)))
        .filter(|_| arguments.start.is_some())
        .collect();
    if arguments.list {
        here.iter().for_each(|case| println!("{}", case.name));
        there.iter().for_each(|case| println!("{}", full_name(THREE_PROCESSES, case)));
        return Ok(true);
    }
    let started_at = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let settings = settings(arguments, runtime.handle())?;
    let directory = tempfile::Builder::new().prefix("coracle-conformance-").tempdir()?;
    let mut started = Started::default();
    let clusters = clusters(arguments, &settings, directory.path(), &here, &there, &mut started)?;
    let jobs = jobs(&clusters, &here, &there);
    let tally = Tally::default();
    together(&settings, &jobs, arguments.jobs, &tally);
    alone_on_its_cluster(&settings, &jobs, &clusters, &tally);
    drop(started);
    for job in jobs.iter().filter(|job| job.case.needs == Needs::Machine) {
        execute(&settings, job, &tally);
    }
    Ok(tally.report(started_at.elapsed()))
}

/// What the flags say to all cases.
pub fn settings(arguments: &Arguments, runtime: &Handle) -> Result<Settings> {
    Ok(Settings {
        kubectl: arguments.kubectl.clone(),
        python: arguments.python.clone(),
        helm: arguments.helm.clone(),
        etcd: arguments.etcd.clone(),
        node_modules: std::path::absolute(&arguments.node_modules)?,
        binary: arguments.start.as_ref().map(std::path::absolute).transpose()?,
        kills: arguments.kills,
        record: arguments.record,
        runtime: runtime.clone(),
    })
}

fn clusters(
    arguments: &Arguments,
    settings: &Settings,
    directory: &Path,
    here: &[&Case],
    there: &[&Case],
    started: &mut Started,
) -> Result<Vec<Cluster>> {
    let mut clusters = Vec::new();
    let shared = |case: &&&Case| matches!(case.needs, Needs::Cluster | Needs::Started | Needs::Nodes);
    let Some(binary) = &settings.binary else {
        let kubeconfig = arguments.kubeconfig.clone().context("say --kubeconfig FILE or --start BINARY")?;
        return Ok(vec![Cluster::connect("", &kubeconfig, None, &settings.runtime)?]);
    };
    if here.iter().any(|case| shared(&case)) {
        clusters.push(all_in_one(settings, binary, directory, started)?);
    }
    if !there.is_empty() {
        clusters.push(three_processes(settings, binary, directory, started)?);
    }
    for cluster in &clusters {
        let context = Context::new(settings, Some(cluster))?;
        let ready = context.until("three ready nodes", || Ok(context.ready_nodes()?.len() == 3));
        ready.with_context(|| format!("{} log: {}", cluster.label, logs(directory)))?;
    }
    if here.iter().any(|case| case.needs == Needs::Apiserver) {
        clusters.push(apiserver(settings, binary, directory, started)?);
    }
    Ok(clusters)
}

fn logs(directory: &Path) -> String {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.map(|path| format!("\n{}:\n{}", path.display(), tail(&path))).collect()
}

fn all_in_one(settings: &Settings, binary: &Path, directory: &Path, started: &mut Started) -> Result<Cluster> {
    let data_dir = directory.join("server");
    let (tokens, passwords) = credentials(directory)?;
    let flags = [
        "--hollow-nodes",
        "3",
        "--store",
        "embedded",
        "--token-auth-file",
        tokens.to_str().context("path")?,
        "--basic-auth-file",
        passwords.to_str().context("path")?,
    ];
    let server = Server::start(binary, "server", &data_dir, &flags).context("coracle server")?;
    let cluster = Cluster::connect("", &server.kubeconfig(), Some(&data_dir), &settings.runtime)?;
    started.servers.push(server);
    Ok(cluster)
}

fn credentials(directory: &Path) -> Result<(PathBuf, PathBuf)> {
    let (tokens, passwords) = (directory.join("tokens.csv"), directory.join("passwords.csv"));
    std::fs::write(&tokens, format!("{ALICE_TOKEN},alice,alice-uid,\"readers,writers\"\n"))?;
    std::fs::write(&passwords, format!("{},alice,alice-uid,\"readers,writers\"\n", bcrypt::hash(ALICE_PASSWORD, 10)?))?;
    for file in [&tokens, &passwords] {
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    Ok((tokens, passwords))
}

fn three_processes(settings: &Settings, binary: &Path, directory: &Path, started: &mut Started) -> Result<Cluster> {
    let data_dir = directory.join("components");
    let (server, beside) = components(binary, &data_dir, &[], "3")?;
    started.processes.extend(beside);
    let cluster = Cluster::connect(THREE_PROCESSES, &server.kubeconfig(), Some(&data_dir), &settings.runtime)?;
    started.servers.push(server);
    Ok(cluster)
}

/// Its range of Services is the one that answers were recorded with.
fn apiserver(settings: &Settings, binary: &Path, directory: &Path, started: &mut Started) -> Result<Cluster> {
    let data_dir = directory.join(APISERVER);
    let flags = ["--store", "memory", "--service-cluster-ip-range", "10.96.0.0/16"];
    let server = Server::start(binary, "apiserver", &data_dir, &flags).context("coracle apiserver")?;
    let cluster = Cluster::connect(APISERVER, &server.kubeconfig(), Some(&data_dir), &settings.runtime)?;
    started.servers.push(server);
    Ok(cluster)
}

fn jobs<'a>(clusters: &'a [Cluster], here: &[&'a Case], there: &[&'a Case]) -> Vec<Job<'a>> {
    let cluster = |label: &str| clusters.iter().find(|cluster| cluster.label == label);
    let own = |case: &Case| match case.needs {
        Needs::Apiserver => cluster(APISERVER).or(cluster("")),
        _ => cluster(""),
    };
    let here = here.iter().map(|case| Job { case, cluster: own(case) });
    let there = there.iter().map(|case| Job { case, cluster: cluster(THREE_PROCESSES) });
    let mut jobs: Vec<Job> = here.chain(there).collect();
    // What waits longest goes first.
    jobs.sort_by_key(|job| job.case.needs != Needs::Binary);
    jobs
}

fn together(settings: &Settings, jobs: &[Job], threads: usize, tally: &Tally) {
    let waiting = jobs.iter().filter(|job| !matches!(job.case.needs, Needs::Nodes | Needs::Machine));
    let queue: Mutex<VecDeque<&Job>> = Mutex::new(waiting.collect());
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop_front());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(job) = next() {
                    execute(settings, job, tally);
                }
            });
        }
    });
}

fn alone_on_its_cluster(settings: &Settings, jobs: &[Job], clusters: &[Cluster], tally: &Tally) {
    std::thread::scope(|scope| {
        for cluster in clusters {
            scope.spawn(|| {
                let here = |job: &&Job| job.cluster.is_some_and(|its| its.label == cluster.label);
                for job in jobs.iter().filter(here).filter(|job| job.case.needs == Needs::Nodes) {
                    execute(settings, job, tally);
                }
            });
        }
    });
}

fn execute(settings: &Settings, job: &Job, tally: &Tally) {
    let started = Instant::now();
    let mut notes = String::new();
    let outcome = attempt(settings, job, &mut notes);
    tally.add(&job.name(), started.elapsed(), outcome, &notes);
}

fn attempt(settings: &Settings, job: &Job, notes: &mut String) -> Result<()> {
    let mut context = Context::new(settings, job.cluster)?;
    match job.case.needs {
        Needs::Binary | Needs::Machine => {
            if settings.binary.is_none() {
                bail!(Skipped("needs a binary to start".to_owned()));
            }
            let outcome = job.case.run(&context);
            *notes = context.notes();
            return outcome;
        }
        Needs::Started if context.cluster()?.data_dir.is_none() => {
            bail!(Skipped("needs a cluster that was started here".to_owned()))
        }
        _ => {}
    }
    let short: String =
        job.case.name.rsplit("::").next().unwrap_or_default().replace('_', "-").chars().take(30).collect();
    let namespace = format!("conformance-{short}-{}", unique());
    match job.case.needs {
        Needs::Apiserver => context.enter_bare_namespace(namespace)?,
        _ => context.enter_namespace(namespace)?,
    }
    let outcome = job.case.run(&context);
    context.leave_namespace();
    *notes = context.notes();
    outcome
}

impl Tally {
    fn add(&self, name: &str, took: Duration, outcome: Result<()>, notes: &str) {
        let seconds = took.as_secs_f64();
        let notes = if notes.is_empty() { String::new() } else { format!("  ({notes})") };
        match outcome {
            Ok(()) => {
                self.passed.fetch_add(1, Ordering::Relaxed);
                println!("ok    {seconds:6.2}s  {name}{notes}");
            }
            Err(error) if error.is::<Skipped>() => {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                println!("skip  {seconds:6.2}s  {name}: {error}");
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let text = format!("{error:#}").replace('\n', "\n      | ");
                println!("FAIL  {seconds:6.2}s  {name}{notes}\n      | {text}");
                if let Ok(mut failures) = self.failures.lock() {
                    failures.push(name.to_owned());
                }
            }
        }
    }

    fn report(&self, took: Duration) -> bool {
        let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        println!("\n{:.1} s", took.as_secs_f64());
        for name in self.failures.lock().iter().flat_map(|names| names.iter()) {
            println!("failed: {name}");
        }
        println!("{} passed, {} failed, {} skipped", count(&self.passed), count(&self.failed), count(&self.skipped));
        count(&self.failed) == 0 && count(&self.passed) > 0
    }
}
