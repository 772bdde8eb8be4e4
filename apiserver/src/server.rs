//! The server's state, shared by every request.

use crate::admission::resource_quota::Turns;
use crate::authn::{Authenticators, User};
use crate::authz::Authorizer;
use crate::encryption::Encryption;
use crate::health::Health;
use crate::kinds::service::allocate::Allocator;
use crate::metrics::Metrics;
use parking_lot::Mutex;
use pki::Pki;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use storage::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What the server is told at its start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Addresses of Services: a range, or one of each family, the default one first. The first address is the `kubernetes`
    /// service's.
    pub service_cluster_ip_ranges: Vec<ipnet::IpNet>,
    /// Inclusive bounds of NodePorts.
    pub service_node_port_range: (u16, u16),
    /// The address that the `kubernetes` service leads to; found out when `None`.
    pub advertise_address: Option<IpAddr>,
    /// Static bearer tokens, in upstream's CSV.
    pub token_auth_file: Option<PathBuf>,
    /// Users with hashed passwords.
    pub basic_auth_file: Option<PathBuf>,
    /// Requests that are worked on at the same time, watches and streams not counted.
    pub max_requests_inflight: usize,
    /// An `EncryptionConfiguration`: how resources are kept in the store.
    pub encryption_provider_config: Option<PathBuf>,
    /// Whether changes of that file are taken into use as they are made.
    pub encryption_provider_config_automatic_reload: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            service_cluster_ip_ranges: vec![ipnet::IpNet::V4(ipnet::Ipv4Net::new_assert([10, 96, 0, 0].into(), 12))],
            service_node_port_range: (30000, 32767),
            advertise_address: None,
            token_auth_file: None,
            basic_auth_file: None,
            max_requests_inflight: 600,
            encryption_provider_config: None,
            encryption_provider_config_automatic_reload: false,
        }
    }
}

/// The API server.
pub struct ApiServer {
    pub options: Options,
    pub store: Arc<dyn Store>,
    pub pki: Arc<Pki>,
    pub authenticators: Authenticators,
    pub authorizer: Arc<Authorizer>,
    pub services: Mutex<Allocator>,
    /// Who may charge the quotas of a namespace.
    pub quota_turns: Turns,
    pub metrics: Metrics,
    pub health: Health,
    /// How the store keeps values, if not as they are.
    pub encryption: Option<Arc<Encryption>>,
    /// As whom the server itself writes.
    pub own_user: User,
    pub seats: Semaphore,
    /// Which components run in this process: `scheduler`, `controller-manager`.
    pub components: Mutex<BTreeSet<&'static str>>,
    /// Where others reach the server; unset until it listens.
    pub address: OnceLock<SocketAddr>,
    /// TLS towards kubelets.
    pub kubelet_tls: Arc<rustls::ClientConfig>,
    /// Cancelled when the server is to end: watches and streams stop.
    pub stop: CancellationToken,
}
