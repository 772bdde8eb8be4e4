//! Processes of the binary under test.

use crate::context::until;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(30);

/// A running process of the binary. It is killed when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the binary; what it prints, on both channels, goes to a file.
    pub fn start(binary: &Path, arguments: &[&str], log: &Path) -> Result<Process> {
        let file = File::create(log)?;
        let errors = file.try_clone()?;
        let child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("{} does not run", binary.display()))?;
        Ok(Process { child, log: log.to_owned() })
    }

    /// Waits for a text in what the process prints.
    pub fn until_printed(&mut self, wanted: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            if self.printed()?.contains(wanted) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} and printed: {}", tail(&self.log));
            }
            ensure!(started.elapsed() < START_LIMIT, "no {wanted:?} after {START_LIMIT:?} but: {}", tail(&self.log));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Where it prints.
    pub fn log(&self) -> &Path {
        &self.log
    }

    pub fn printed(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// Sends a signal (`TERM`, `INT`) and waits; how it ended, and after how long.
    pub fn signal(&mut self, name: &str) -> Result<(ExitStatus, Duration)> {
        let started = Instant::now();
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status()?;
        ensure!(sent.success(), "SIG{name} could not be sent");
        self.ended(Duration::from_secs(10)).map(|status| (status, started.elapsed()))
    }

    /// Waits for the end.
    pub fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut status = None;
        until("the process to end", limit, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })
        .with_context(|| format!("it printed: {}", tail(&self.log)))?;
        status.context("no status")
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `coracle server`, or `coracle apiserver`, in a directory.
pub struct Server {
    pub process: Process,
    pub data_dir: PathBuf,
}

impl Server {
    /// Starts it on loopback and waits until it says that it is ready. Standard flags that `more` names are left out.
    pub fn start(binary: &Path, command: &str, data_dir: &Path, more: &[&str]) -> Result<Server> {
        let directory = data_dir.to_str().context("the path is not UTF-8")?;
        let mut arguments = vec![command, "--data-dir", directory, "--bind-address", "127.0.0.1"];
        if !more.contains(&"--secure-port") {
            arguments.extend(["--secure-port", "0"]);
        }
        arguments.extend(more);
        let process = Process::start(binary, &arguments, &data_dir.with_extension("log"))?;
        let mut server = Server { process, data_dir: data_dir.to_owned() };
        server.process.until_printed("is ready at https://")?;
        Ok(server)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("admin.kubeconfig")
    }

    /// The URL that it printed.
    pub fn url(&self) -> Result<String> {
        let printed = self.process.printed()?;
        let url = printed.split_whitespace().find(|word| word.starts_with("https://")).context("no URL was printed")?;
        Ok(url.trim_end_matches([';', ',', '.']).to_owned())
    }
}

/// A scheduler, a controller manager, hollow nodes: processes beside an API server.
pub fn beside(server: &Server, binary: &Path, component: &str, more: &[&str]) -> Result<Process> {
    let kubeconfig = server.data_dir.join(format!("{component}.kubeconfig"));
    let kubeconfig = kubeconfig.to_str().context("the path is not UTF-8")?;
    let directory = server.data_dir.to_str().context("the path is not UTF-8")?;
    let key = format!("{directory}/pki/sa.key");
    let mut arguments = vec![component];
    match component {
        "hollow-nodes" => arguments.extend(["--data-dir", directory]),
        _ => arguments.extend(["--kubeconfig", kubeconfig]),
    }
    if component == "controller-manager" {
        arguments.extend(["--service-account-private-key-file", &key]);
    }
    arguments.extend(more);
    let log = server.data_dir.with_extension(format!("{component}.log"));
    let mut process = Process::start(binary, &arguments, &log)?;
    process.until_printed(" run")?;
    Ok(process)
}

/// A whole cluster in a directory, each component a process of its own: the API server, to which `more` flags go, and beside it the
/// others, with this many hollow nodes.
pub fn components(binary: &Path, data_dir: &Path, more: &[&str], nodes: &str) -> Result<(Server, Vec<Process>)> {
    let server = Server::start(binary, "apiserver", data_dir, more).context("coracle apiserver")?;
    let url = server.url()?;
    let mut flags = vec![("controller-manager", vec![]), ("scheduler", vec![])];
    if nodes != "0" {
        flags.push(("hollow-nodes", vec!["--server", url.as_str(), "--nodes", nodes]));
    }
    let start = |(component, more): (&str, Vec<&str>)| {
        beside(&server, binary, component, &more).with_context(|| format!("coracle {component}"))
    };
    let beside = flags.into_iter().map(start).collect::<Result<Vec<_>>>()?;
    Ok((server, beside))
}

/// A port of loopback that nobody has, for a moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The last lines of a file.
pub fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
