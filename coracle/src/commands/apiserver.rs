//! `coracle server` and `coracle apiserver`.

use super::client::ControllerFlags;
use super::storage::LogFlags;
use super::{StopSignals, shown, tell};
use anyhow::Context;
use clap::{Args, ValueEnum};
use coracle::{Cluster, ClusterBuilder, Components, StoreKind};
use ipnet::IpNet;
use pki::Identity;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use storage::etcd::EtcdOptions;

#[derive(Args)]
pub struct ServerFlags {
    #[command(flatten)]
    api: ApiserverFlags,
    /// Simulated nodes to run in this process; pods on them run in name only
    #[arg(long, value_name = "N", default_value_t = 0)]
    hollow_nodes: usize,
    #[command(flatten)]
    controllers: ControllerFlags,
}

#[derive(Args)]
pub struct ApiserverFlags {
    /// Where certificates and objects are kept; made when it is missing
    #[arg(long, value_name = "DIR", default_value = "./coracle-data")]
    data_dir: PathBuf,
    /// Address to listen on; 0.0.0.0 or :: for all
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind_address: IpAddr,
    /// HTTPS port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    secure_port: u16,
    /// Where objects are kept: in the data directory, in etcd, or in memory and gone with the process
    #[arg(long, value_enum, default_value_t = StoreFlag::Embedded)]
    store: StoreFlag,
    #[command(flatten)]
    log: LogFlags,
    #[command(flatten)]
    etcd: EtcdFlags,
    /// Another name or address that the serving certificate is valid for; may be repeated
    #[arg(long = "tls-san", value_name = "NAME")]
    tls_sans: Vec<String>,
    /// Address that the service `kubernetes` leads to
    #[arg(long, value_name = "IP")]
    advertise_address: Option<IpAddr>,
    /// Addresses of Services; for dual stack two ranges with a comma between them, the default family first
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12", value_delimiter = ',')]
    service_cluster_ip_range: Vec<IpNet>,
    /// Ports for Services of type NodePort
    #[arg(long, value_name = "FROM-TO", default_value = "30000-32767", value_parser = port_range)]
    service_node_port_range: (u16, u16),
    /// CSV file of bearer tokens: token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    token_auth_file: Option<PathBuf>,
    /// CSV file of hashed passwords (bcrypt or argon2id): hash,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    basic_auth_file: Option<PathBuf>,
    /// Requests that are worked on at the same time, watches not counted
    #[arg(long, value_name = "N", default_value_t = 600)]
    max_requests_inflight: usize,
    /// File that says which resources are encrypted in the store, and with which keys: an EncryptionConfiguration
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
    /// Take changes of that file into use without a restart
    #[arg(long)]
    encryption_provider_config_automatic_reload: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StoreFlag {
    Embedded,
    Etcd,
    Memory,
}

#[derive(Args)]
pub struct EtcdFlags {
    /// URLs of etcd's members, with commas between them
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    etcd_servers: Vec<String>,
    /// PEM file of the authorities that etcd's certificates are to be signed by
    #[arg(long, value_name = "FILE")]
    etcd_cafile: Option<PathBuf>,
    /// PEM file of the certificate for etcd
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// What all keys in etcd begin with
    #[arg(long, value_name = "PREFIX", default_value = "/registry")]
    etcd_prefix: String,
    /// How often one of the servers gives up etcd's older history, such as 5m0s; 0 for never
    #[arg(long, value_name = "DURATION", default_value = "5m0s", value_parser = duration)]
    etcd_compaction_interval: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = api::time::parse_duration(text).map_err(|why| why.to_string())?;
    Duration::try_from(parsed).map_err(|_| format!("{text:?} is negative"))
}

impl EtcdFlags {
    pub fn options(&self) -> EtcdOptions {
        EtcdOptions {
            servers: self.etcd_servers.clone(),
            cafile: self.etcd_cafile.clone(),
            certfile: self.etcd_certfile.clone(),
            keyfile: self.etcd_keyfile.clone(),
            prefix: self.etcd_prefix.clone(),
            compaction_interval: Some(self.etcd_compaction_interval).filter(|interval| !interval.is_zero()),
            ..EtcdOptions::default()
        }
    }
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("{text:?} is not a range of ports such as 30000-32767");
    let (low, high) = text.split_once('-').ok_or_else(wrong)?;
    let (low, high) = (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?);
    if low == 0 || low > high { Err(wrong()) } else { Ok((low, high)) }
}

impl ApiserverFlags {
    fn builder(&self) -> anyhow::Result<ClusterBuilder> {
        if self.store != StoreFlag::Etcd && !self.etcd.etcd_servers.is_empty() {
            anyhow::bail!("--etcd-servers is for --store etcd");
        }
        let store = match self.store {
            StoreFlag::Embedded => StoreKind::Embedded(self.log.options()?),
            StoreFlag::Etcd => StoreKind::Etcd(self.etcd.options()),
            StoreFlag::Memory => StoreKind::Memory,
        };
        let mut builder = Cluster::builder()
            .data_dir(&self.data_dir)
            .store(store)
            .listen(self.bind_address, self.secure_port)
            .tls_sans(self.tls_sans.clone());
        builder.options = ::apiserver::Options {
            service_cluster_ip_ranges: self.service_cluster_ip_range.clone(),
            service_node_port_range: self.service_node_port_range,
            advertise_address: self.advertise_address,
            token_auth_file: self.token_auth_file.clone(),
            basic_auth_file: self.basic_auth_file.clone(),
            max_requests_inflight: self.max_requests_inflight,
            encryption_provider_config: self.encryption_provider_config.clone(),
            encryption_provider_config_automatic_reload: self.encryption_provider_config_automatic_reload,
        };
        Ok(builder)
    }
}

/// Runs the whole control plane until it is told to stop.
pub async fn server(flags: ServerFlags) -> anyhow::Result<()> {
    let mut builder = flags.api.builder()?.hollow_nodes(flags.hollow_nodes);
    builder.controllers = flags.controllers.options(flags.api.service_cluster_ip_range.clone());
    let mut signals = StopSignals::listen()?;
    let Some(started) = signals.unless_told(builder.start()).await else { return Ok(()) };
    let cluster = started?;
    let kubeconfig = write_kubeconfig(&cluster, &flags.api.data_dir, "admin.kubeconfig", Identity::Admin)?;
    tell(format_args!(
        "Coracle is ready at {} (Kubernetes v1.36).\nUse it: export KUBECONFIG={kubeconfig}; kubectl get nodes",
        cluster.url()
    ));
    signals.received().await;
    signals.orderly(cluster.stop()).await
}

/// Runs the API server alone until it is told to stop.
pub async fn apiserver(flags: ApiserverFlags) -> anyhow::Result<()> {
    let components = Components { scheduler: false, controller_manager: false };
    let builder = flags.builder()?.components(components);
    let mut signals = StopSignals::listen()?;
    let Some(started) = signals.unless_told(builder.start()).await else { return Ok(()) };
    let cluster = started?;
    for (file, identity) in
        [("scheduler.kubeconfig", Identity::Scheduler), ("controller-manager.kubeconfig", Identity::ControllerManager)]
    {
        write_kubeconfig(&cluster, &flags.data_dir, file, identity)?;
    }
    let admin = write_kubeconfig(&cluster, &flags.data_dir, "admin.kubeconfig", Identity::Admin)?;
    let dir = shown(&flags.data_dir);
    tell(format_args!(
        "The API server is ready at {}; kubeconfig: {admin}\n\
         Next: coracle controller-manager --kubeconfig {dir}/controller-manager.kubeconfig; \
         coracle scheduler --kubeconfig {dir}/scheduler.kubeconfig",
        cluster.url()
    ));
    signals.received().await;
    signals.orderly(cluster.stop()).await
}

/// Writes a kubeconfig into the data directory; gives its path.
fn write_kubeconfig(cluster: &Cluster, dir: &Path, file: &str, identity: Identity) -> anyhow::Result<String> {
    let path = std::path::absolute(dir.join(file)).with_context(|| shown(dir))?;
    cluster.pki().write_kubeconfig(identity, &cluster.url(), &path)?;
    Ok(shown(&path))
}
