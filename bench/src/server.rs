//! Starting and stopping the release binary as a user would.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::client::Endpoint;
use crate::process::Processes;

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A running `coracle server`; killed when dropped.
pub struct Server {
    child: Child,
    /// When the process was spawned.
    pub started: Instant,
    /// From then to the first 200 of /readyz.
    pub ready: Duration,
    pub endpoint: Endpoint,
    pub processes: Processes,
}

impl Server {
    /// Starts the binary on a free port and waits for /readyz. What it logs goes to `data_dir`.log.
    pub async fn start(binary: &Path, data_dir: &Path, hollow_nodes: usize, store: &str) -> Result<Self> {
        let log = data_dir.with_extension("log");
        let stderr = std::fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let started = Instant::now();
        let mut child = Command::new(binary)
            .arg("server")
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--secure-port", "0", "--store", store, "--hollow-nodes", &hollow_nodes.to_string()])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}: is it built?", binary.display()))?;
        let pid = child.id().context("the server ended at once")?;
        let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let announced = timeout(START_LIMIT, stdout.next_line()).await;
        match announced {
            Ok(Ok(Some(_))) => {}
            Ok(_) => bail!("the server ended before it was ready:\n{}", tail(&log)),
            Err(_) => bail!("the server said nothing for {START_LIMIT:?}:\n{}", tail(&log)),
        }
        // Its later lines must have somewhere to go.
        tokio::spawn(async move { while let Ok(Some(_)) = stdout.next_line().await {} });
        let endpoint = Endpoint::open(&data_dir.join("admin.kubeconfig")).await?;
        while !is_ready(&endpoint).await {
            if started.elapsed() > START_LIMIT {
                bail!("/readyz is not 200 after {START_LIMIT:?}:\n{}", tail(&log));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(Self { child, started, ready: started.elapsed(), endpoint, processes: Processes(vec![pid]) })
    }

    /// SIGTERM, then the time until the process is gone. An exit status other than 0 is an error.
    pub async fn stop(mut self) -> Result<Duration> {
        let pid = self.child.id().ok_or_else(|| anyhow!("the server ended by itself"))?;
        let asked = Instant::now();
        Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        let status = timeout(STOP_LIMIT, self.child.wait()).await.context("SIGTERM does not end the server")??;
        if !status.success() {
            bail!("the server ended with {status} on SIGTERM");
        }
        Ok(asked.elapsed())
    }
}

async fn is_ready(endpoint: &Endpoint) -> bool {
    matches!(endpoint.once(Method::GET, "/readyz", Bytes::new()).await, Ok((StatusCode::OK, _)))
}

fn tail(log: &PathBuf) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
