//! An etcd of one member to put beside the embedded log, with its data on the same disk.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

const START_LIMIT: Duration = Duration::from_secs(30);

/// A running etcd; killed when dropped.
pub struct Etcd {
    _child: Child,
    pub url: String,
}

impl Etcd {
    /// Starts `program` on free ports of loopback, with its data and its log in `directory`.
    pub async fn start(program: &Path, directory: &Path) -> Result<Self> {
        let (client, peer) = (free_port()?, free_port()?);
        let (url, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let log = directory.join("etcd.log");
        let child = Command::new(program)
            .arg("--data-dir")
            .arg(directory.join("etcd"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}: `set-up/tools etcd` installs one", program.display()))?;
        let started = Instant::now();
        // It takes connections before it answers; requests wait.
        while TcpStream::connect(("127.0.0.1", client)).await.is_err() {
            ensure!(
                started.elapsed() < START_LIMIT,
                "etcd does not listen after {START_LIMIT:?}; see {}",
                log.display()
            );
            sleep(Duration::from_millis(5)).await;
        }
        Ok(Self { _child: child, url })
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
