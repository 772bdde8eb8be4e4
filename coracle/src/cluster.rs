//! A control plane inside this process: the same one that `coracle server` runs.

use anyhow::Context as _;
use apiserver::encryption::{Encryption, Sealed};
use apiserver::{ApiServer, Body, Layout};
use component::leader::LeaderElection;
use component::metrics::Metrics;
use http::{Request, Response};
use jiff::Timestamp;
use kube::client::Body as ClientBody;
use pki::{Auth, Identity, Kubeconfig, Pki};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::etcd::{self, EtcdOptions};
use storage::{Codec, LogOptions, Store};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where the objects are kept.
#[derive(Debug, Clone)]
pub enum StoreKind {
    /// In memory only: gone with the process.
    Memory,
    /// In the data directory's log, which is kept as these say.
    Embedded(LogOptions),
    /// In etcd, which other servers may use too; certificates are in the data directory.
    Etcd(EtcdOptions),
}

impl StoreKind {
    /// In the data directory's log, kept as usual.
    pub fn embedded() -> StoreKind {
        StoreKind::Embedded(LogOptions::default())
    }
}

/// Which components run beside the API server.
#[derive(Debug, Clone, Copy)]
pub struct Components {
    pub scheduler: bool,
    pub controller_manager: bool,
}

/// How a cluster is to be started. The defaults are a test's: everything in memory, on a free loopback port.
#[derive(Clone)]
pub struct ClusterBuilder {
    data_dir: Option<PathBuf>,
    store: StoreKind,
    bind_address: IpAddr,
    secure_port: u16,
    hollow_nodes: usize,
    components: Components,
    tls_sans: Vec<String>,
    pub options: apiserver::Options,
    pub controllers: controller_manager::Options,
}

impl Default for ClusterBuilder {
    fn default() -> ClusterBuilder {
        ClusterBuilder {
            data_dir: None,
            store: StoreKind::Memory,
            bind_address: Ipv4Addr::LOCALHOST.into(),
            secure_port: 0,
            hollow_nodes: 0,
            components: Components { scheduler: true, controller_manager: true },
            tls_sans: Vec::new(),
            options: apiserver::Options::default(),
            controllers: controller_manager::Options::default(),
        }
    }
}

impl ClusterBuilder {
    /// Keeps certificates here, and objects too with [`StoreKind::Embedded`]. Made when it is missing.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    pub fn store(mut self, store: StoreKind) -> Self {
        self.store = store;
        self
    }

    /// Port 0 takes a free one.
    pub fn listen(mut self, address: IpAddr, port: u16) -> Self {
        self.bind_address = address;
        self.secure_port = port;
        self
    }

    /// Simulated nodes, on which pods run in name only.
    pub fn hollow_nodes(mut self, count: usize) -> Self {
        self.hollow_nodes = count;
        self
    }

    pub fn components(mut self, components: Components) -> Self {
        self.components = components;
        self
    }

    /// More names and addresses for the serving certificate.
    pub fn tls_sans(mut self, names: Vec<String>) -> Self {
        self.tls_sans = names;
        self
    }

    /// Starts the cluster. When this returns, it takes requests.
    pub async fn start(self) -> anyhow::Result<Cluster> {
        let stop = CancellationToken::new();
        // What was begun ends when the rest of the start fails.
        let begun = stop.clone().drop_guard();
        let pki = Arc::new(self.pki()?);
        let address = SocketAddr::new(self.bind_address, self.secure_port);
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; choose another --secure-port (0 takes a free one) or --bind-address")
        })?;
        let encryption = self.encryption().await?;
        let store = open_store(&self.store, self.data_dir.as_deref(), encryption.clone()).await?;
        let options = self.options.clone();
        let server = ApiServer::start(store.clone(), pki.clone(), options, encryption, stop.clone()).await?;
        let address = listener.local_addr()?;
        let following = server.publish(address).await?;
        let mut cluster =
            Cluster { server: server.clone(), store, pki: pki.clone(), address, stop, tasks: Vec::new(), hollow: None };
        cluster.tasks.push(tokio::spawn(following));
        let tls = pki.server_config()?;
        cluster.tasks.push(tokio::spawn(apiserver::serve(server, listener, tls)));
        cluster.start_components(&self)?;
        begun.disarm();
        Ok(cluster)
    }

    fn pki(&self) -> anyhow::Result<Pki> {
        let mut options = pki::Options::new(Timestamp::now());
        options.tls_sans = self.tls_sans.clone();
        if !self.bind_address.is_unspecified() && !self.bind_address.is_loopback() {
            options.tls_sans.push(self.bind_address.to_string());
        }
        options.advertise_address = self.options.advertise_address;
        if let Some(first) = self.options.service_cluster_ip_ranges.first().and_then(|range| range.hosts().next()) {
            options.service_cluster_ip = first;
        }
        Ok(match &self.data_dir {
            Some(dir) => Pki::load_or_create(dir, &options)?,
            None => Pki::in_memory(&options)?,
        })
    }

    async fn encryption(&self) -> anyhow::Result<Option<Arc<Encryption>>> {
        let reloads = self.options.encryption_provider_config_automatic_reload;
        match self.options.encryption_provider_config.clone() {
            Some(file) => {
                // A key service may take its time.
                let loading = tokio::task::spawn_blocking(move || Encryption::load(&file, reloads));
                loading.await?.map(Some).map_err(anyhow::Error::msg)
            }
            None if reloads => anyhow::bail!(
                "--encryption-provider-config-automatic-reload must be set with --encryption-provider-config"
            ),
            None => Ok(None),
        }
    }
}

/// Opens a store with its values kept as `encryption` says.
pub async fn open_store(
    store: &StoreKind,
    data_dir: Option<&Path>,
    encryption: Option<Arc<Encryption>>,
) -> anyhow::Result<Arc<dyn Store>> {
    let sealed = encryption.map(codec);
    match (store, data_dir) {
        (StoreKind::Memory, _) => Ok(storage::memory()),
        (StoreKind::Embedded(options), Some(dir)) => {
            Ok(storage::open(&dir.join("store"), options.clone(), sealed).await?)
        }
        (StoreKind::Etcd(options), _) => {
            Ok(etcd::open(options.clone(), Some(sealed.unwrap_or_else(|| Arc::new(Layout)))).await?)
        }
        (StoreKind::Embedded(_), None) => anyhow::bail!("the embedded store needs a data directory"),
    }
}

/// Keeps values as `encryption` says, and reads what upstream's servers have kept.
pub fn codec(encryption: Arc<Encryption>) -> Arc<dyn Codec> {
    Arc::new(Sealed::new(encryption, Arc::new(Layout)))
}

/// A running cluster. Dropping it stops it; [`Cluster::stop`] also waits.
pub struct Cluster {
    server: Arc<ApiServer>,
    store: Arc<dyn Store>,
    pki: Arc<Pki>,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    hollow: Option<hollow_node::Handle>,
}

impl Cluster {
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    fn start_components(&mut self, builder: &ClusterBuilder) -> anyhow::Result<()> {
        let metrics = Metrics::default();
        if builder.components.controller_manager {
            let client = self.client_as(Identity::ControllerManager)?;
            let options = controller_manager::Options {
                root_ca: self.pki.ca_pem().to_owned(),
                service_account_keys: Some(self.pki.service_accounts()),
                ..builder.controllers.clone()
            };
            self.server.components.lock().insert("controller-manager");
            self.spawn_component("kube-controller-manager", client, move |client, stop| {
                controller_manager::run(client, options.clone(), stop)
            });
        }
        if builder.components.scheduler {
            let client = self.client_as(Identity::Scheduler)?;
            self.server.components.lock().insert("scheduler");
            self.spawn_component("kube-scheduler", client, move |client, stop| {
                let options = scheduler::Options { metrics: metrics.clone(), ..scheduler::Options::default() };
                scheduler::run(client, options, stop)
            });
        }
        if builder.hollow_nodes > 0 {
            self.start_hollow_nodes(builder.hollow_nodes)?;
        }
        Ok(())
    }

    fn start_hollow_nodes(&mut self, count: usize) -> anyhow::Result<()> {
        let (server, pki) = (self.server.clone(), self.pki.clone());
        let clients = move |node: &str| {
            let certificate = pki.issue_node(node, Timestamp::now()).map_err(anyhow::Error::from);
            certificate.and_then(|certificate| in_process_client(&server, &certificate)).unwrap_or_else(|error| {
                tracing::error!(%error, node, "a hollow node has no identity");
                client_of(server.clone(), None)
            })
        };
        let options = hollow_nodes(&self.pki, count)?;
        self.hollow = Some(options.handle.clone());
        let watcher = self.client()?;
        self.spawn("hollow nodes", hollow_node::run(watcher, clients, options, self.stop.clone()));
        Ok(())
    }

    /// Runs a component: as long as the server, or, where other servers run it too, whenever it holds its lease.
    fn spawn_component<W>(
        &mut self,
        name: &'static str,
        client: kube::Client,
        work: impl Fn(kube::Client, CancellationToken) -> W + Send + Sync + 'static,
    ) where
        W: Future<Output = anyhow::Result<()>> + Send,
    {
        let stop = self.stop.clone();
        if !self.store.is_shared() {
            return self.spawn(name, async move { work(client, stop).await });
        }
        let election = election(name);
        self.spawn(name, async move {
            let transport = component::Client::new(client.clone(), name);
            while !stop.is_cancelled() {
                let leading = election.lead(&transport, stop.clone(), |token| work(client.clone(), token));
                if let Err(error) = leading.await {
                    tracing::warn!(%error, "the {name} stopped working and waits for its lease");
                }
            }
            Ok(())
        });
    }

    fn spawn(&mut self, name: &'static str, work: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.tasks.push(tokio::spawn(async move {
            if let Err(error) = work.await {
                tracing::error!(%error, "the {name} ended");
            }
        }));
    }

    /// A client with all rights, in this process: no TCP, no TLS.
    pub fn client(&self) -> anyhow::Result<kube::Client> {
        self.client_as(Identity::Admin)
    }

    fn client_as(&self, identity: Identity) -> anyhow::Result<kube::Client> {
        in_process_client(&self.server, self.pki.certificate(identity))
    }

    /// A client that is nobody: only what everybody may see.
    pub fn anonymous_client(&self) -> kube::Client {
        client_of(self.server.clone(), None)
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for clients outside the process.
    pub fn url(&self) -> String {
        url(self.address)
    }

    /// The kubeconfig of a user with all rights.
    pub fn kubeconfig(&self) -> String {
        self.pki.kubeconfig(Identity::Admin, &self.url())
    }

    /// Stops and restarts hollow nodes, when there are any.
    pub fn hollow_nodes(&self) -> Option<&hollow_node::Handle> {
        self.hollow.as_ref()
    }

    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Ends everything in order: requests that are under way get their answer, what was acknowledged is on disk.
    pub async fn stop(mut self) {
        self.stop.cancel();
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
        self.store.close().await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// This process as a candidate for a component's lease.
pub fn election(component: &str) -> LeaderElection {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    LeaderElection::new(component, &format!("{}_{}", host.trim(), uuid::Uuid::new_v4()))
}

/// How the hollow nodes of a cluster with these keys are to run.
pub fn hollow_nodes(pki: &Pki, count: usize) -> anyhow::Result<hollow_node::Options> {
    let serving = pki.issue_serving("hollow-node", &["localhost", "127.0.0.1", "::1"], Timestamp::now())?;
    let kubelet_api = hollow_node::KubeletApi {
        address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        tls: pki::server_config(&serving, pki.clients().subjects().to_vec())?,
        clients: pki.clients().clone(),
    };
    Ok(hollow_node::Options { count, kubelet_api: Some(kubelet_api), ..hollow_node::Options::default() })
}

/// `https://127.0.0.1:6443`; a server that listens everywhere is reached at the loopback address.
pub fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    format!("https://{}", SocketAddr::new(ip, address.port()))
}

fn in_process_client(server: &Arc<ApiServer>, certificate: &pki::CertifiedKey) -> anyhow::Result<kube::Client> {
    let peer = server.trust().identify(&certificate.chain()?, Timestamp::now());
    Ok(client_of(server.clone(), Some(Arc::new(peer))))
}

fn client_of(server: Arc<ApiServer>, peer: Option<Arc<apiserver::authn::PeerIdentity>>) -> kube::Client {
    let service = tower::service_fn(move |request: Request<ClientBody>| {
        let (server, peer) = (server.clone(), peer.clone());
        async move { Ok::<Response<Body>, Infallible>(apiserver::in_process(server, request, peer).await) }
    });
    kube::Client::new(service, "default")
}

/// The kubeconfig of a node.
pub fn node_kubeconfig(pki: &Pki, name: &str, server: &str) -> anyhow::Result<String> {
    let certificate = pki.issue_node(name, Timestamp::now())?;
    let user = format!("system:node:{name}");
    Ok(Kubeconfig {
        server,
        ca_pem: pki.ca_pem(),
        cluster: "coracle",
        context: "coracle",
        user: &user,
        auth: Auth::ClientCertificate(&certificate),
    }
    .to_yaml())
}
