//! One process of `e2e.test`, and what it prints.

use anyhow::{Context, Result};
use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Between two tests, and after the last.
const RULE: &str = "------------------------------";
/// Lines of a test that are kept.
const LINES: usize = 20_000;

/// What is run, and against what.
pub struct Run<'a> {
    pub e2e_test: &'a Path,
    pub kubectl: &'a Path,
    pub kubeconfig: &'a Path,
    /// Whether it waits for nodes that are ready.
    pub needs_nodes: bool,
    /// For the report; empty.
    pub directory: &'a Path,
    pub server_logs: &'a [PathBuf],
}

pub struct Limits<'a> {
    /// Of the test with a name.
    pub test: &'a dyn Fn(&str) -> Duration,
    /// Until the first test begins, and between the last one's end and the process'.
    pub start: Duration,
    /// For what an interrupted test leaves behind.
    pub tidying: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Passed,
    Failed,
    /// The process ended, or was ended, in the middle of it.
    Ended,
    TooLong,
}

/// A test that was begun.
pub struct Ran {
    pub name: String,
    pub end: End,
    pub took: Duration,
    log: Vec<String>,
    server_log: String,
}

impl Ran {
    /// What it said, and what the server logged meanwhile.
    pub fn whole_log(&self) -> String {
        format!("{}\n\n==== the server's log meanwhile ====\n{}", self.log.join("\n"), self.server_log)
    }

    pub fn last_words(&self) -> String {
        self.log[self.log.len().saturating_sub(10)..].join("\n")
    }
}

pub struct Ended {
    pub tests: Vec<Ran>,
}

/// The test that runs.
struct Running {
    name: String,
    since: Instant,
    log: Vec<String>,
    server_logs_at: Vec<u64>,
}

impl Run<'_> {
    /// Runs the tests of these names, one after the other, until the last has ended or one has taken too long.
    pub fn tests(&self, names: &[&str], limits: &Limits<'_>) -> Result<Ended> {
        let mut child = self.start(names)?;
        let lines = lines(&mut child)?;
        let mut ended = Ended { tests: Vec::new() };
        let mut running: Option<Running> = None;
        let mut after_rule = false;
        let mut quiet_since = Instant::now();
        let mut interrupted = false;
        loop {
            let deadline = match &running {
                Some(test) => test.since + (limits.test)(&test.name),
                None if interrupted => quiet_since + limits.tidying,
                None => quiet_since + limits.start,
            };
            let line = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => break,
                // So it tidies up: what a test leaves behind, such as taints or pods that fit nowhere, is in the way of others.
                Err(RecvTimeoutError::Timeout) if !interrupted => {
                    interrupt(&child)?;
                    ended.tests.extend(running.take().map(|test| self.over(test, End::TooLong)));
                    (interrupted, quiet_since) = (true, Instant::now());
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {
                    child.kill().context("e2e.test could not be ended")?;
                    break;
                }
            };
            if let Some(test) = &mut running {
                if test.log.len() < LINES {
                    test.log.push(line.clone());
                }
                if let Some(end) = end(&line) {
                    ended.tests.extend(running.take().map(|test| self.over(test, end)));
                    quiet_since = Instant::now();
                }
            } else if after_rule && let Some(name) = names.iter().find(|name| line.starts_with(**name)) {
                let length = |log: &PathBuf| fs::metadata(log).map_or(0, |file| file.len());
                let server_logs_at = self.server_logs.iter().map(length).collect();
                running = Some(Running {
                    name: (*name).to_owned(),
                    since: Instant::now(),
                    log: vec![line.clone()],
                    server_logs_at,
                });
            }
            after_rule = line == RULE;
        }
        ended.tests.extend(running.take().map(|test| self.over(test, End::Ended)));
        child.wait()?;
        Ok(ended)
    }

    fn start(&self, names: &[&str]) -> Result<Child> {
        let mut command = Command::new(self.e2e_test);
        command.arg("--provider=skeleton").arg("--kubeconfig").arg(self.kubeconfig);
        command.arg("--kubectl-path").arg(self.kubectl).arg("--report-dir").arg(self.directory);
        command.args(["--ginkgo.v", "--ginkgo.no-color", "--ginkgo.timeout=24h", "--disable-log-dump"]);
        command.args(["--node-os-distro=custom", "--dump-logs-on-failure=false"]);
        if !self.needs_nodes {
            command.args(["--allowed-not-ready-nodes=-1", "--num-nodes=0"]);
        }
        for name in names {
            command.arg(format!("--ginkgo.focus={}", quoted(name)));
        }
        // What it writes beside the report is of no use to anybody.
        command.current_dir(self.directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().with_context(|| format!("{} does not run", self.e2e_test.display()))
    }

    fn over(&self, test: Running, end: End) -> Ran {
        let server_log = self.server_logs.iter().zip(test.server_logs_at);
        let server_log = server_log.map(|(log, at)| format!("{}:\n{}", log.display(), since(log, at))).collect();
        Ran { name: test.name, end, took: test.since.elapsed(), log: test.log, server_log }
    }
}

/// What a line says about the end of a test.
fn end(line: &str) -> Option<End> {
    let end = line.strip_prefix('•')?.trim_start();
    if end.starts_with('[') && end.ends_with(" seconds]") && !end.contains(']') {
        return Some(End::Passed);
    }
    Some(
        if end.contains("[FAILED]")
            || end.contains("[TIMEDOUT]")
            || end.contains("[PANICKED]")
            || end.contains("[INTERRUPTED]")
        {
            End::Failed
        } else {
            End::Passed
        },
    )
}

/// As Ctrl-C does.
fn interrupt(child: &Child) -> Result<()> {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())).status()?;
    anyhow::ensure!(sent.success(), "e2e.test could not be interrupted");
    Ok(())
}

/// What the process prints, line by line.
fn lines(child: &mut Child) -> Result<std::sync::mpsc::Receiver<String>> {
    let output = child.stdout.take().context("no output")?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

/// A file from an offset on, its last megabyte at most.
fn since(path: &Path, offset: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = fs::File::open(path)?;
        let start = offset.max(file.metadata()?.len().saturating_sub(1 << 20));
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("cannot be read: {error}"))
}

/// A name as a Go regular expression for it.
fn quoted(name: &str) -> String {
    let special = |c: char| r"\.+*?()|[]{}^$".contains(c);
    name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}
