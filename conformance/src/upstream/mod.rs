//! Upstream's own judge: runs tests of Kubernetes' `e2e.test` against a cluster and keeps the results.
//!
//! `e2e.test` is the user's to provide (it is in the test archive of the Kubernetes release that matches). Several of it run at
//! the same time, each with a part of the tests, as Ginkgo's own runner would; what is `[Serial]` runs alone at the end. What
//! they print is read while they run: for progress, and to end a test that takes too long.

mod cluster;
mod page;
mod process;
mod record;
mod report;
mod results;
mod table;

use crate::Arguments;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use cluster::Judged;
use process::{End, Limits, Run};
use record::{Record, RunOf};
use results::{Outcome, Results, Verdict};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use table::{Test, tests};

/// Tests that one `e2e.test` process is given at a time: starting it takes about a second.
const BATCH: usize = 6;
/// Seconds that they may be known to take together.
const SHARE: f64 = 20.0;

/// Runs upstream's conformance tests.
#[derive(Args)]
pub struct UpstreamArguments {
    /// Kubernetes' e2e.test, of v1.36
    #[arg(long, value_name = "FILE")]
    e2e_test: PathBuf,
    /// Which tests: those that need no node, those that need nodes on which pods run in name, or all
    #[arg(long, value_enum, default_value_t = Subset::Api)]
    subset: Subset,
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// More flags for the server that is started, such as --store=memory
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    server_flag: Vec<String>,
    /// Start the API server, the controller manager, the scheduler and the nodes as a process each
    #[arg(long)]
    components: bool,
    /// How many run at the same time
    #[arg(long, value_name = "N", default_value_t = 4)]
    processes: usize,
    /// Seconds after which a test is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    test_limit: u64,
    /// Seconds after which a test is ended that is known not to pass, so that it may as well show now that it does
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    known_failure_limit: u64,
    /// Where logs and reports go
    #[arg(long, value_name = "DIR", default_value = "target/upstream-conformance")]
    output: PathBuf,
    /// Write the results into docs/CONFORMANCE.md and the expectations
    #[arg(long)]
    record: bool,
}

/// A named part of the conformance tests; each contains the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Debug)]
pub enum Subset {
    Api,
    Hollow,
    Full,
}

impl Subset {
    pub fn name(self) -> &'static str {
        match self {
            Subset::Api => "api",
            Subset::Hollow => "hollow",
            Subset::Full => "full",
        }
    }
}

/// Runs the tests; whether nothing failed that is expected to pass.
pub fn run(arguments: &Arguments, upstream: &UpstreamArguments) -> Result<bool> {
    let all = tests()?;
    let chosen: Vec<&Test> = all.iter().filter(|test| test.subset() <= upstream.subset).collect();
    let named = |test: &&Test| upstream.only.is_empty() || upstream.only.iter().any(|part| test.name.contains(part));
    let chosen: Vec<&Test> = chosen.into_iter().filter(named).collect();
    ensure!(!chosen.is_empty(), "no test of {} is called {}", upstream.subset.name(), upstream.only.join(" or "));
    ensure!(upstream.e2e_test.is_file(), "{} is no file; {}", upstream.e2e_test.display(), table::WHENCE);
    let output = std::path::absolute(&upstream.output)?;
    fs::create_dir_all(&output).with_context(|| output.display().to_string())?;
    let known = Record::read()?;
    let judged = cluster::cluster(arguments, upstream, &output)?;
    let driver = Driver {
        upstream,
        kubectl: std::path::absolute(which(&arguments.kubectl)?)?,
        judged: &judged,
        known: &known,
        output: output.clone(),
        results: Mutex::new(Results::default()),
        total: chosen.len(),
        started: Instant::now(),
    };
    let (serial, parallel): (Vec<&Test>, Vec<&Test>) = chosen.iter().partition(|test| test.is_serial());
    driver.together(parallel);
    driver.alone(serial);
    let took = driver.started.elapsed();
    let results = driver.results.into_inner().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    let good = results.tell(&chosen, &known.causes, took);
    println!("Logs of what failed are in {}.", output.display());
    if upstream.record {
        keep(&all, &results, upstream, &judged, took)?;
    }
    Ok(good)
}

/// Adds the run to what is recorded, and writes the page anew.
fn keep(all: &[Test], results: &Results, upstream: &UpstreamArguments, judged: &Judged, took: Duration) -> Result<()> {
    let (date, commit) = record::date_and_commit();
    let run = RunOf {
        subset: upstream.subset,
        date,
        commit,
        passed: results.count(Outcome::Passed),
        tests: results.len(),
        seconds: took.as_secs(),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        parallel: upstream.processes,
        cluster: judged.what.clone(),
    };
    // Anew: another run may have been recorded meanwhile.
    let mut record = Record::read()?;
    record.note(&run, results.verdicts());
    // What was said of a part is no run of the subset.
    if upstream.only.is_empty() {
        record.add(run);
    }
    record.write()?;
    page::write(all, &record)
}

/// The path of a program that may be named only.
fn which(program: &Path) -> Result<PathBuf> {
    if program.components().count() > 1 {
        return Ok(program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    found.with_context(|| format!("{} is not on PATH", program.display()))
}

struct Driver<'a> {
    upstream: &'a UpstreamArguments,
    kubectl: PathBuf,
    judged: &'a Judged,
    known: &'a Record,
    output: PathBuf,
    results: Mutex<Results>,
    total: usize,
    started: Instant,
}

impl Driver<'_> {
    /// Runs tests in several processes, each of which takes the next few. What is known to take long begins first.
    fn together(&self, mut tests: Vec<&Test>) {
        tests.sort_by(|a, b| self.seconds(b).total_cmp(&self.seconds(a)));
        let queue: Mutex<VecDeque<&Test>> = Mutex::new(tests.into());
        let next = || {
            let mut queue = queue.lock().ok()?;
            // Smaller parts near the end, so that all processes end at about the same time.
            let size = (queue.len() / self.upstream.processes.max(1)).clamp(1, BATCH);
            let mut batch = vec![queue.pop_front()?];
            let mut seconds = self.seconds(batch[0]);
            while batch.len() < size && seconds < SHARE {
                let Some(test) = queue.pop_front() else { break };
                seconds += self.seconds(test);
                batch.push(test);
            }
            Some(batch)
        };
        std::thread::scope(|scope| {
            for _ in 0..self.upstream.processes.max(1) {
                scope.spawn(|| {
                    while let Some(batch) = next() {
                        self.batch(batch);
                    }
                });
            }
        });
    }

    /// What a test took when it was last recorded; 0 if it never was.
    fn seconds(&self, test: &Test) -> f64 {
        self.known.tests.get(&test.name).map_or(0.0, |last| last.seconds)
    }

    /// When a test has taken too long.
    fn limit(&self, name: &str) -> Duration {
        let known = self.known.causes.contains_key(name);
        let limit = if known { self.upstream.known_failure_limit } else { self.upstream.test_limit };
        Duration::from_secs(limit.min(self.upstream.test_limit))
    }

    fn alone(&self, tests: Vec<&Test>) {
        tests.chunks(BATCH).for_each(|batch| self.batch(batch.to_vec()));
    }

    /// Runs a few tests, in a new process again and again until each has a verdict.
    fn batch(&self, mut tests: Vec<&Test>) {
        while !tests.is_empty() {
            let done = match self.once(&tests) {
                Ok(done) => done,
                Err(error) => tests.iter().map(|test| (test.name.clone(), Verdict::broken(&error))).collect(),
            };
            if done.is_empty() {
                let why = anyhow::anyhow!("e2e.test ended without having run it");
                tests.drain(..).for_each(|test| self.note(&test.name, Verdict::broken(&why)));
            }
            for (name, verdict) in done {
                tests.retain(|test| test.name != name);
                self.note(&name, verdict);
            }
        }
    }

    fn once(&self, tests: &[&Test]) -> Result<Vec<(String, Verdict)>> {
        let directory = tempfile::Builder::new().prefix("run-").tempdir_in(&self.output)?;
        let run = Run {
            e2e_test: &self.upstream.e2e_test,
            kubectl: &self.kubectl,
            kubeconfig: &self.judged.kubeconfig,
            needs_nodes: self.upstream.subset != Subset::Api,
            directory: directory.path(),
            server_logs: &self.judged.logs,
        };
        let limits = Limits {
            test: &|name| self.limit(name),
            start: Duration::from_secs(120),
            tidying: Duration::from_secs(30),
        };
        let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        let ended = run.tests(&names, &limits)?;
        let mut verdicts = report::read(directory.path())?;
        verdicts.retain(|(name, _)| names.contains(&name.as_str()));
        for ran in ended.tests {
            let known = verdicts.iter_mut().find(|(name, _)| *name == ran.name);
            let verdict = match (known, ran.end) {
                (Some((_, verdict)), End::TooLong) => {
                    *verdict = Verdict::too_long(ran.took);
                    verdict
                }
                (Some((_, verdict)), _) => verdict,
                (None, End::TooLong) => {
                    verdicts.push((ran.name.clone(), Verdict::too_long(ran.took)));
                    &mut verdicts.last_mut().context("pushed above")?.1
                }
                // The process was ended because of another test: this one may have passed, as its last line said.
                (None, End::Passed) => {
                    verdicts.push((ran.name.clone(), Verdict::passed(ran.took.as_secs_f64())));
                    continue;
                }
                (None, End::Ended | End::Failed) => {
                    verdicts.push((ran.name.clone(), Verdict::failed(ran.took.as_secs_f64(), ran.last_words())));
                    &mut verdicts.last_mut().context("pushed above")?.1
                }
            };
            if !verdict.is_good() {
                let file = self.output.join(table::file_name(&ran.name)).with_extension("log");
                fs::write(&file, ran.whole_log()).with_context(|| file.display().to_string())?;
            }
        }
        Ok(verdicts)
    }

    fn note(&self, name: &str, verdict: Verdict) {
        let Ok(mut results) = self.results.lock() else { return };
        results.add(name, verdict.clone());
        println!(
            "{:>3}/{} {:5} {:6.1}s  {name}{}",
            results.len(),
            self.total,
            verdict.outcome.word(),
            verdict.seconds,
            if verdict.is_good() {
                String::new()
            } else {
                format!("\n      | {}", verdict.reason.replace('\n', "\n      | "))
            }
        );
    }
}
