//! The components as processes of their own, over HTTPS.

use super::{StopSignals, tell};
use anyhow::Context;
use clap::Args;
use ipnet::IpNet;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use pki::{Pki, ServiceAccountKeys};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Args)]
pub struct SchedulerFlags {
    /// How to reach the API server
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Work only while holding the lease `kube-system/kube-scheduler`, so that several can run
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    leader_elect: bool,
}

#[derive(Args)]
pub struct ControllerManagerFlags {
    /// How to reach the API server
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Work only while holding the lease `kube-system/kube-controller-manager`, so that several can run
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    leader_elect: bool,
    #[command(flatten)]
    controllers: ControllerFlags,
    /// Addresses of Services
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12", value_delimiter = ',')]
    service_cluster_ip_range: Vec<IpNet>,
    /// CA that pods are given to verify the API server; by default the kubeconfig's
    #[arg(long, value_name = "FILE")]
    root_ca_file: Option<PathBuf>,
    /// The key that the API server's tokens are signed with; without it, Secrets for tokens of service accounts stay empty
    #[arg(long, value_name = "FILE")]
    service_account_private_key_file: Option<PathBuf>,
}

/// What the controllers are told, in one process with the API server or alone.
#[derive(Args)]
pub struct ControllerFlags {
    /// Addresses of pods; each node gets a part
    #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/16")]
    cluster_cidr: IpNet,
    /// A node that did not report for this long is not ready
    #[arg(long, value_name = "DURATION", default_value = "50s", value_parser = duration)]
    node_monitor_grace_period: Duration,
    /// Nodes a second whose pods may be evicted because they failed, of one zone
    #[arg(long, value_name = "NUMBER", default_value_t = 0.1)]
    node_eviction_rate: f64,
    /// What ResourceQuotas are about is counted again at least this often
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    resource_quota_sync_period: Duration,
}

impl ControllerFlags {
    pub fn options(&self, service_cluster_ip_range: Vec<IpNet>) -> controller_manager::Options {
        controller_manager::Options {
            cluster_cidr: vec![self.cluster_cidr],
            service_cluster_ip_range,
            node_monitor_grace_period: self.node_monitor_grace_period,
            node_eviction_rate: self.node_eviction_rate,
            resource_quota_sync_period: self.resource_quota_sync_period,
            ..controller_manager::Options::default()
        }
    }
}

/// A duration in Go's notation.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = api::time::parse_duration(text).map_err(|why| format!("{why}; say for example 40s or 1m30s"))?;
    Duration::try_from(parsed).map_err(|_| "a duration cannot be negative".to_owned())
}

#[derive(Args)]
pub struct HollowNodesFlags {
    /// The data directory of the API server; its CA signs the nodes' certificates
    #[arg(long, value_name = "DIR", default_value = "./coracle-data")]
    data_dir: PathBuf,
    /// URL of the API server
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:6443")]
    server: String,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 3)]
    nodes: usize,
}

pub async fn scheduler(flags: SchedulerFlags) -> anyhow::Result<()> {
    let (client, _) = connect(&flags.kubeconfig).await?;
    lead("kube-scheduler", flags.leader_elect, client, |client, stop| {
        scheduler::run(client, scheduler::Options::default(), stop)
    })
    .await
}

pub async fn controller_manager(flags: ControllerManagerFlags) -> anyhow::Result<()> {
    let (client, ca) = connect(&flags.kubeconfig).await?;
    let root_ca = match &flags.root_ca_file {
        Some(file) => std::fs::read_to_string(file).with_context(|| file.display().to_string())?,
        None => ca,
    };
    let key = flags.service_account_private_key_file.as_deref().map(service_account_keys).transpose()?;
    let options = controller_manager::Options {
        root_ca,
        service_account_keys: key.map(Arc::new),
        ..flags.controllers.options(flags.service_cluster_ip_range.clone())
    };
    lead("kube-controller-manager", flags.leader_elect, client, move |client, stop| {
        controller_manager::run(client, options.clone(), stop)
    })
    .await
}

fn service_account_keys(file: &Path) -> anyhow::Result<ServiceAccountKeys> {
    let context = || format!("--service-account-private-key-file {}", file.display());
    let key = std::fs::read_to_string(file).with_context(context)?;
    ServiceAccountKeys::from_pem(&key).with_context(context)
}

pub async fn hollow_nodes(flags: HollowNodesFlags) -> anyhow::Result<()> {
    let pki = Pki::load_or_create(&flags.data_dir, &pki::Options::new(Timestamp::now()))?;
    let options = coracle::hollow_nodes(&pki, flags.nodes)?;
    let watcher = client_from(&pki.kubeconfig(pki::Identity::Admin, &flags.server)).await?;
    let mut clients = HashMap::new();
    for name in options.names() {
        let client = client_from(&coracle::node_kubeconfig(&pki, &name, &flags.server)?).await?;
        clients.insert(name, client);
    }
    let fallback = watcher.clone();
    let clients = move |node: &str| clients.get(node).unwrap_or(&fallback).clone();
    let stop = CancellationToken::new();
    let nodes = hollow_node::run(watcher, clients, options, stop.clone());
    let signals = StopSignals::listen()?;
    tell(format_args!("{} hollow nodes run against {}.", flags.nodes, flags.server));
    until_told(signals, stop, nodes).await
}

/// A client from a kubeconfig's text.
async fn client_from(text: &str) -> anyhow::Result<kube::Client> {
    Ok(kube::Client::try_from(config(text, Path::new("")).await?)?)
}

/// A client from a kubeconfig file, and the CA it trusts in PEM.
async fn connect(path: &Path) -> anyhow::Result<(kube::Client, String)> {
    let of_file = || format!("the kubeconfig {}", path.display());
    let text = std::fs::read_to_string(path).with_context(of_file)?;
    let directory = std::path::absolute(path).with_context(of_file)?;
    let config = config(&text, directory.parent().unwrap_or(Path::new(""))).await.with_context(of_file)?;
    let ca = config.root_cert.iter().flatten().map(|der| pem(der)).collect();
    Ok((kube::Client::try_from(config)?, ca))
}

/// What a kubeconfig says of its current context. Paths in it are relative to `directory`.
///
/// It is read with the YAML reader that request bodies have: kube's own, made for each of its types, weighs 0.5 MiB.
async fn config(text: &str, directory: &Path) -> anyhow::Result<kube::Config> {
    let mut document = api::codec::yaml::decode_any(text.as_bytes()).map_err(anyhow::Error::msg)?;
    for (list, entry, keys) in [
        ("clusters", "cluster", &["certificate-authority"][..]),
        ("users", "user", &["client-certificate", "client-key", "tokenFile"]),
    ] {
        for named in document.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(entry) = named.get_mut(entry).and_then(Value::as_object_mut) else { continue };
            for (_, file) in entry.iter_mut().filter(|(key, _)| keys.contains(&key.as_str())) {
                resolve(file, directory);
            }
            // As in client-go, a command without a slash is looked for on the PATH.
            let command = entry.get_mut("exec").and_then(|exec| exec.get_mut("command"));
            command.filter(|command| command.as_str().is_some_and(|c| c.contains('/'))).into_iter().for_each(
                |command| {
                    resolve(command, directory);
                },
            );
        }
    }
    let kubeconfig: Kubeconfig = serde_json::from_value(document)?;
    Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// Makes a path that a kubeconfig names relative to its directory.
fn resolve(path: &mut Value, directory: &Path) {
    if let Some(relative) = path.as_str().filter(|path| !path.is_empty()) {
        *path = directory.join(relative).to_string_lossy().into();
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Runs a component until the process is told to stop, alone or while it holds its lease.
async fn lead<F, W>(name: &'static str, elect: bool, client: kube::Client, work: F) -> anyhow::Result<()>
where
    F: Fn(kube::Client, CancellationToken) -> W,
    W: Future<Output = anyhow::Result<()>>,
{
    let (signals, stop) = (StopSignals::listen()?, CancellationToken::new());
    tell(format_args!("The {name} runs."));
    if !elect {
        let running = work(client, stop.clone());
        return until_told(signals, stop, running).await;
    }
    let election = coracle::election(name);
    let transport = component::Client::new(client.clone(), name);
    let leading = election.lead(&transport, stop.clone(), |token| work(client.clone(), token));
    until_told(signals, stop, leading).await
}

async fn until_told(
    mut signals: StopSignals,
    stop: CancellationToken,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    tokio::pin!(work);
    if let Some(ended) = signals.unless_told(work.as_mut()).await {
        return ended;
    }
    stop.cancel();
    signals.orderly(work).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_looked_for_beside_the_kubeconfig() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("token"), "from a file").unwrap();
        let text = "
            current-context: here
            contexts: [{name: here, context: {cluster: box, user: me}}]
            clusters: [{name: box, cluster: {server: 'https://box:6443', insecure-skip-tls-verify: yes}}]
            users: [{name: me, user: {tokenFile: token, client-key: keys/me, exec: {command: ./login}}},
                    {name: other, user: {exec: {command: login}}}]";
        let config = config(text, directory.path()).await.unwrap();
        let within = |name: &str| Some(directory.path().join(name).to_string_lossy().into_owned());
        let user = &config.auth_info;
        assert!(config.accept_invalid_certs && config.cluster_url.host() == Some("box"));
        assert_eq!((&user.token_file, &user.client_key), (&within("token"), &within("keys/me")));
        assert_eq!(user.exec.as_ref().unwrap().command, within("./login"));
    }

    #[tokio::test]
    async fn what_is_no_kubeconfig_is_said() {
        let why = |text: &'static str| async move { config(text, Path::new("")).await.unwrap_err().to_string() };
        assert!(why("clusters: {").await.contains("line 1"), "{}", why("clusters: {").await);
        assert!(why("clusters: 7").await.contains("expected a sequence"), "{}", why("clusters: 7").await);
        assert!(why("current-context: there").await.contains("context"), "{}", why("current-context: there").await);
    }
}
