//! What is measured: a Coracle that the bench starts afresh for each group of figures, or a server that somebody else runs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::client::Endpoint;
use crate::process::Processes;
use crate::server::Server;

/// One column of the table.
pub enum Target {
    Coracle { binary: PathBuf, scratch: PathBuf, store: &'static str },
    Reference { kubeconfig: PathBuf, pids: Vec<u32> },
}

/// A server ready for work, with a namespace of its own for it.
pub struct Bed {
    pub endpoint: Endpoint,
    pub processes: Processes,
    pub namespace: String,
    own: Option<(Server, TempDir)>,
}

impl Target {
    /// A server ready for work: a new one with so many hollow nodes, or the reference as it is.
    pub async fn open(&self, hollow_nodes: usize) -> Result<Bed> {
        static BEDS: AtomicUsize = AtomicUsize::new(0);
        let number = BEDS.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("coracle-bench-{}-{number}", std::process::id());
        let bed = match self {
            Target::Coracle { binary, scratch, store } => {
                let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(scratch)?;
                let server = Server::start(binary, &directory.path().join("data"), hollow_nodes, store).await?;
                let (endpoint, processes) = (server.endpoint.clone(), server.processes.clone());
                Bed { endpoint, processes, namespace, own: Some((server, directory)) }
            }
            Target::Reference { kubeconfig, pids } => {
                let endpoint = Endpoint::open(kubeconfig).await?;
                Bed { endpoint, processes: Processes(pids.clone()), namespace, own: None }
            }
        };
        bed.prepare().await?;
        Ok(bed)
    }
}

impl Bed {
    /// Makes the namespace, and what pods need to be created in it: its default service account, which is the first one's to make, a
    /// controller's or the bench's.
    async fn prepare(&self) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        self.endpoint.json(Method::POST, "/api/v1/namespaces", &namespace).await?;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let accounts = self.path("serviceaccounts");
        let (status, answer) = self.endpoint.once(Method::POST, &accounts, account.to_string().into()).await?;
        ensure!(
            matches!(status, StatusCode::CREATED | StatusCode::CONFLICT),
            "POST {accounts}: {status}: {}",
            String::from_utf8_lossy(&answer)
        );
        Ok(())
    }

    /// The collection of a core resource in the bed's namespace.
    pub fn path(&self, resource: &str) -> String {
        format!("/api/v1/namespaces/{}/{resource}", self.namespace)
    }

    /// Whether the bench started the server, with the hollow nodes it asked for.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Waits until so many nodes are Ready.
    pub async fn nodes_ready(&self, count: usize) -> Result<()> {
        self.until("Ready nodes", Duration::from_secs(60), || async {
            let nodes = self.endpoint.json(Method::GET, "/api/v1/nodes", &Value::Null).await?;
            let ready = |node: &&Value| {
                let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
                conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
            };
            Ok(nodes["items"].as_array().into_iter().flatten().filter(ready).count() >= count)
        })
        .await
    }

    /// Asks every few milliseconds until the answer is yes.
    pub async fn until<F>(&self, what: &str, limit: Duration, ask: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = Result<bool>>,
    {
        let started = Instant::now();
        while !ask().await? {
            if started.elapsed() > limit {
                bail!("{what}: not there after {limit:?}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends the server and removes its data, or takes the bench's objects out of the reference.
    pub async fn close(self) -> Result<()> {
        if let Some((server, _directory)) = self.own {
            server.stop().await?;
            return Ok(());
        }
        let namespace = format!("/api/v1/namespaces/{}", self.namespace);
        let pods = format!("{namespace}/pods?gracePeriodSeconds=0");
        for path in [&pods, "/api/v1/nodes?labelSelector=coracle-bench%3Dnode", &namespace] {
            self.endpoint.once(Method::DELETE, path, Bytes::new()).await?;
        }
        Ok(())
    }
}
