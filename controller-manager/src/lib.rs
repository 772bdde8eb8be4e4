//! The controller manager: a client of the API that makes the cluster's state follow its objects.
//!
//! A controller is a row in [`CONTROLLERS`]: what wakes it up, and a pure `reconcile` from a [`View`] of the shared informers'
//! stores to a [`plan::Plan`]. The runtime owns the queues, retries, requests and clocks.

use std::sync::Arc;
use std::time::Duration;

use component::Client;
use component::events::{Recorder, Style};
use component::health::Health;
use component::metrics::{Metrics, Workqueues};
use ipnet::IpNet;
use jiff::Timestamp;
use pki::ServiceAccountKeys;
use tokio_util::sync::CancellationToken;

mod controllers;
mod execute;
mod informers;
mod jobs;
mod kinds;
mod plan;
mod queue;
mod runtime;
mod selector;
mod workloads;
#[cfg(test)]
mod world;

pub use controllers::CONTROLLERS;
use execute::Executor;
use informers::Informers;
pub use runtime::{Controller, View};

/// Settings, by the names and meanings of upstream's flags.
#[derive(Clone)]
pub struct Options {
    /// `--cluster-cidr`: where the nodes' pod CIDRs are cut from, at most one network of each family.
    pub cluster_cidr: Vec<IpNet>,
    /// `--node-cidr-mask-size-ipv4` and `-ipv6`.
    pub node_cidr_mask_size_ipv4: u8,
    pub node_cidr_mask_size_ipv6: u8,
    /// `--allocate-node-cidrs`.
    pub allocate_node_cidrs: bool,
    /// `--service-cluster-ip-range`: left out when pod CIDRs are allocated.
    pub service_cluster_ip_range: Vec<IpNet>,
    /// The PEM text of `--root-ca-file`; published in every namespace unless it is empty.
    pub root_ca: String,
    /// The key of `--service-account-private-key-file`, which signs the tokens in Secrets; without it there are none.
    pub service_account_keys: Option<Arc<ServiceAccountKeys>>,
    /// `--node-monitor-grace-period`: without a heartbeat for so long, a node is unknown.
    pub node_monitor_grace_period: Duration,
    /// `--node-startup-grace-period`: the same for a node that never reported.
    pub node_startup_grace_period: Duration,
    /// `--node-eviction-rate` and `--secondary-node-eviction-rate`: nodes a second and zone.
    pub node_eviction_rate: f64,
    pub secondary_node_eviction_rate: f64,
    /// `--large-cluster-size-threshold` and `--unhealthy-zone-threshold`.
    pub large_cluster_size_threshold: usize,
    pub unhealthy_zone_threshold: f64,
    /// `--terminated-pod-gc-threshold`: as many terminated pods are kept; 0 keeps all.
    pub terminated_pod_gc_threshold: usize,
    /// `--resource-quota-sync-period`: how long until what a quota has is counted again, whatever happened.
    pub resource_quota_sync_period: Duration,
    /// `--controllers`: `*` for all, `name` for one, `-name` for all but one.
    pub controllers: Vec<String>,
    /// Where the queues' metrics and the health checks go.
    pub metrics: Metrics,
    pub health: Health,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            cluster_cidr: vec![IpNet::V4(ipnet::Ipv4Net::new_assert([10, 244, 0, 0].into(), 16))],
            node_cidr_mask_size_ipv4: 24,
            node_cidr_mask_size_ipv6: 64,
            allocate_node_cidrs: true,
            service_cluster_ip_range: Vec::new(),
            root_ca: String::new(),
            service_account_keys: None,
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            node_eviction_rate: 0.1,
            secondary_node_eviction_rate: 0.01,
            large_cluster_size_threshold: 50,
            unhealthy_zone_threshold: 0.55,
            terminated_pod_gc_threshold: 12500,
            resource_quota_sync_period: Duration::from_secs(5 * 60),
            controllers: vec!["*".to_owned()],
            metrics: Metrics::default(),
            health: Health::default(),
        }
    }
}

impl Options {
    /// Whether `--controllers` leaves a controller on.
    fn enables(&self, name: &str) -> bool {
        let named = |entry: &String| entry.strip_prefix('-').unwrap_or(entry) == name;
        match self.controllers.iter().find(|entry| named(entry)) {
            Some(entry) => !entry.starts_with('-'),
            None => self.controllers.iter().any(|entry| entry == "*"),
        }
    }
}

/// Runs all controllers as one client until `stop`. The identity must be `system:kube-controller-manager` or may do as much. A
/// server that cannot be reached is waited for.
pub async fn run(client: kube::Client, options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let client = Client::new(client, "kube-controller-manager");
    let ended = stop.child_token();
    let _guard = ended.clone().drop_guard();
    let informers = Informers::start(&client, &ended);
    if options.service_account_keys.is_none() {
        tracing::info!("Secrets get no tokens of service accounts: there is no private key");
    }
    let recorder = Recorder::start(client.clone(), Style::Core, "", ended.clone());
    let queues = Workqueues::new(&options.metrics);
    let progress: Vec<_> = informers.all.iter().map(|(resource, informer)| (*resource, informer.progress())).collect();
    options.health.check("informers", move || match progress.iter().find(|(_, progress)| !progress.borrow().synced) {
        Some((resource, _)) => Err(format!("{resource} is not listed yet")),
        None => Ok(()),
    });
    let shared = runtime::Shared {
        informers,
        executor: Executor { client, recorder, keys: options.service_account_keys.clone() },
        options: options.clone(),
        started: Timestamp::now(),
    };
    let enabled = CONTROLLERS.iter().filter(move |row| options.enables(row.name));
    runtime::run(enabled, Arc::new(shared), &queues, stop).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_chosen_as_upstream_does() {
        let with =
            |list: &[&str]| Options { controllers: list.iter().map(|s| s.to_string()).collect(), ..Options::default() };
        assert!(with(&["*"]).enables("a") && !with(&["*", "-a"]).enables("a"));
        assert!(with(&["a"]).enables("a") && !with(&["a"]).enables("b"));
    }
}
