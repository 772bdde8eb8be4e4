//! `coracle-bench`: the figures that the project promises, as one table. With a reference, the same work on another server beside it.

mod client;
mod etcd;
mod figures;
mod lines;
mod load;
mod objects;
mod process;
mod report;
mod server;
mod target;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::etcd::Etcd;
use crate::figures::storage::Place;
use crate::figures::{formats, idle, list, median, requests, schedule, start, storage, watch};
use crate::report::{Figure, Report};
use crate::target::Target;

/// Measures Coracle: starts the binary itself, on the loopback, with its data under the scratch directory.
#[derive(Parser)]
struct Arguments {
    /// The release binary to measure.
    #[arg(long, default_value = "target/release/coracle")]
    binary: PathBuf,
    /// A kubeconfig of another server to do the same work on: a test cluster, never one in use.
    #[arg(long, value_name = "KUBECONFIG")]
    reference: Option<PathBuf>,
    /// Process ids of the reference's components, if they run here: gives its memory and CPU.
    #[arg(long, value_delimiter = ',', value_name = "PID")]
    reference_pids: Vec<u32>,
    /// An etcd to put beside the embedded log: started for it, with its data on the same disk.
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
    /// Only these groups of figures.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    only: Vec<Group>,
    /// Also write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where temporary data directories go; on the disk that is to be measured.
    #[arg(long, default_value = "target")]
    scratch: PathBuf,
    /// Pods to store, list and schedule.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Nodes to schedule them on.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Process start to ready, to a bound and to a Running pod; SIGTERM to exit.
    Start,
    /// Binary size; memory, CPU and disk when idle.
    Idle,
    /// Creates, GETs and updates at 1, 16 and 64 clients.
    Requests,
    /// Ways to write (create, update, patch, apply) and forms to read (JSON, protobuf); what managed fields and OpenAPI weigh.
    Formats,
    /// Memory with many pods, and lists of them.
    List,
    /// Events delivered to 100 and 500 watchers; memory of an idle watch.
    Watch,
    /// Pods bound and Running per second.
    Schedule,
    /// The stores by themselves: durable puts, bytes written, recovery, snapshots, watch delivery; in the reference's column etcd.
    Storage,
}

/// The server's, so that a store weighs here what it weighs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COLUMNS: [&str; 3] = ["coracle", "memory store", "reference"];

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    // Someone else may have installed the same one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    std::fs::create_dir_all(&arguments.scratch)?;
    let began = Instant::now();
    let machine = machine(&arguments.scratch)?;
    eprintln!("{machine}");

    let coracle =
        |store| Target::Coracle { binary: arguments.binary.clone(), scratch: arguments.scratch.clone(), store };
    let mut targets = vec![coracle("embedded"), coracle("memory")];
    targets.extend(
        arguments
            .reference
            .clone()
            .map(|kubeconfig| Target::Reference { kubeconfig, pids: arguments.reference_pids.clone() }),
    );
    let columns = if arguments.etcd.is_none() { targets.len() } else { COLUMNS.len() };
    let mut report = Report::new(COLUMNS[..columns].to_vec());
    let mut failed = 0;
    for group in Group::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(group) {
            continue;
        }
        if *group == Group::Storage {
            failed += stores(&arguments, &mut report).await?;
            continue;
        }
        for (column, target) in targets.iter().enumerate() {
            // The memory store is a side column: only where the store is what counts.
            if column == 1 && *group != Group::Requests {
                continue;
            }
            let name = group.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
            eprintln!("{name}: {} ...", COLUMNS[column]);
            match measure(*group, target, &arguments).await {
                Ok(figures) => report.add(column, figures),
                Err(error) => {
                    failed += 1;
                    eprintln!("{name}: {}: failed: {error:#}", COLUMNS[column]);
                }
            }
        }
    }
    println!("{}{machine}\nmeasured in {:.0} s", report.table(), began.elapsed().as_secs_f64());
    if let Some(file) = &arguments.json {
        let mut document = report.json();
        document["machine"] = machine.into();
        std::fs::write(file, format!("{document:#}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    }
    anyhow::ensure!(failed == 0, "{failed} of the measurements failed");
    Ok(())
}

/// Measures the stores; how many of the measurements failed.
async fn stores(arguments: &Arguments, report: &mut Report) -> Result<usize> {
    let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&arguments.scratch)?;
    let mut places = vec![(0, Place::Log(directory.path().to_owned()))];
    let etcd = match &arguments.etcd {
        Some(program) => Some(Etcd::start(program, directory.path()).await?),
        None => None,
    };
    places.extend(etcd.iter().map(|etcd| (COLUMNS.len() - 1, Place::Etcd(etcd.url.clone()))));
    let mut failed = 0;
    for (column, place) in places {
        eprintln!("storage: {} ...", if column == 0 { "the embedded log" } else { "etcd" });
        match storage::measure(&place).await {
            Ok(figures) => report.add(column, figures),
            Err(error) => {
                failed += 1;
                eprintln!("storage: failed: {error:#}");
            }
        }
    }
    Ok(failed)
}

async fn measure(group: Group, target: &Target, arguments: &Arguments) -> Result<Vec<Figure>> {
    match (group, target) {
        (Group::Start, Target::Coracle { binary, scratch, store }) => start::measure(binary, scratch, store).await,
        (Group::Start, Target::Reference { .. }) => Ok(Vec::new()),
        (Group::Idle, Target::Coracle { binary, .. }) => {
            let mut figures = idle::binary(binary)?;
            let (one, three) = tokio::try_join!(idle::measure(target, 1), idle::measure(target, 3))?;
            figures.extend(one.into_iter().chain(three));
            Ok(figures)
        }
        (Group::Idle, Target::Reference { .. }) => idle::measure(target, 1).await,
        (Group::Requests, Target::Coracle { store: "memory", .. }) => requests::measure(target, &[64]).await,
        (Group::Requests, _) => requests::measure(target, &[1, 16, 64]).await,
        (Group::Formats, _) => formats::measure(target).await,
        (Group::List, _) => list::measure(target, arguments.pods).await,
        (Group::Watch, _) => watch::measure(target).await,
        (Group::Schedule, _) => schedule::measure(target, arguments.nodes, arguments.pods).await,
        // Without a server: see `stores`.
        (Group::Storage, _) => Ok(Vec::new()),
    }
}

/// What the figures depend on: cores, and how long the disk takes to make 4 KiB durable.
fn machine(scratch: &Path) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let mut file = tempfile::tempfile_in(scratch)?;
    let mut times = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(format!("machine: {cores} cores, fdatasync of 4 KiB {:.0} µs", median(times)))
}
