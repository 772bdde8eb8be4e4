//! The cluster's keys: two certificate authorities, the certificates of the control plane, the service-account key pair, and
//! kubeconfigs. No I/O but the key directory, no clock: `now` is always an argument.

mod ca;
mod certificate;
mod client;
mod files;
mod keyed_hash;
mod kubeconfig;
mod legacy_token;
pub mod service_account;
mod tls;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;

use crate::ca::Authority;
use crate::certificate::{Subject, Usage};
use crate::files::{Directory, Durability};

pub use crate::certificate::{CertifiedKey, SubjectName};
pub use crate::client::{ClientCertificateError, ClientIdentity, ClientVerifier};
pub use crate::keyed_hash::{Digest, KeyedHash};
pub use crate::kubeconfig::{Auth, Kubeconfig};
pub use crate::legacy_token::{LEGACY_ISSUER, LegacyClaims};
pub use crate::service_account::ServiceAccountKeys;
pub use crate::tls::{provider, server_config};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why keys could not be made, read or used. One line each, fit for whoever starts the server; never holds key material.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {reason}", path.display())]
    Io { path: PathBuf, reason: std::io::Error },
    #[error("{p} can be read by others (mode {mode:04o}); run: chmod {wanted:o} {p}", p = path.display())]
    Exposed { path: PathBuf, mode: u32, wanted: u32 },
    #[error("{}: {reason}; restore it, or move the directory aside to start with new keys", path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("{0:?} is neither an IP address nor a DNS name")]
    SubjectName(String),
    #[error("a certificate names at most 2 organizations, not {0}")]
    Organizations(usize),
    #[error("{0}")]
    Pem(String),
    #[error("{0}")]
    Authority(String),
    #[error("the system has no randomness to give")]
    Randomness,
    #[error("signing a token: {0}")]
    Sign(String),
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Error {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        move |reason| Error::Io { path: path.to_path_buf(), reason }
    }

    fn unusable(path: PathBuf) -> impl FnOnce(Error) -> Error {
        move |error| Error::Unusable { path, reason: error.to_string() }
    }
}

/// What the serving certificate must cover, and when it is.
#[derive(Clone, Debug)]
pub struct Options {
    /// More names and addresses of the server (`--tls-san`).
    pub tls_sans: Vec<String>,
    /// The address of the `kubernetes` service: the first of the service CIDR.
    pub service_cluster_ip: IpAddr,
    pub advertise_address: Option<IpAddr>,
    pub now: Timestamp,
}

impl Options {
    /// Upstream's default service address, no further names.
    pub fn new(now: Timestamp) -> Options {
        let service_cluster_ip = Ipv4Addr::new(10, 96, 0, 1).into();
        Options { tls_sans: Vec::new(), service_cluster_ip, advertise_address: None, now }
    }

    fn subject_names(&self) -> Result<BTreeSet<SubjectName>> {
        let fixed = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), self.service_cluster_ip];
        let mut names: BTreeSet<_> = fixed.map(|name| SubjectName::Dns(name.into())).into();
        names.extend(addresses.into_iter().chain(self.advertise_address).map(SubjectName::Ip));
        // A host name that no certificate can hold is no reason not to start.
        names.extend(host_name().and_then(|name| name.parse().ok()));
        for name in &self.tls_sans {
            names.insert(name.parse()?);
        }
        Ok(names)
    }
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned())
}

/// The certificates every cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// What the API server shows its clients.
    ApiServer,
    /// The API server as a client of kubelets.
    KubeletClient,
    /// The API server as a front proxy to aggregated API servers.
    FrontProxyClient,
    Admin,
    Scheduler,
    ControllerManager,
}

struct Leaf {
    identity: Identity,
    file: &'static str,
    front_proxy: bool,
    common_name: &'static str,
    organizations: &'static [&'static str],
}

/// In the order of [`Identity`]. File names are kubeadm's.
const LEAFS: [Leaf; 6] = [
    leaf(Identity::ApiServer, "apiserver", "kube-apiserver", &[]),
    leaf(Identity::KubeletClient, "apiserver-kubelet-client", "kube-apiserver-kubelet-client", &["system:masters"]),
    Leaf { front_proxy: true, ..leaf(Identity::FrontProxyClient, "front-proxy-client", "front-proxy-client", &[]) },
    leaf(Identity::Admin, "admin", "kubernetes-admin", &["system:masters"]),
    leaf(Identity::Scheduler, "scheduler", "system:kube-scheduler", &[]),
    leaf(Identity::ControllerManager, "controller-manager", "system:kube-controller-manager", &[]),
];

const fn leaf(
    identity: Identity,
    file: &'static str,
    common_name: &'static str,
    organizations: &'static [&'static str],
) -> Leaf {
    Leaf { identity, file, front_proxy: false, common_name, organizations }
}

impl Leaf {
    fn subject(&self, options: &Options) -> Result<Subject<'static>> {
        let (usage, names) = match self.identity {
            Identity::ApiServer => (Usage::Server, options.subject_names()?),
            _ => (Usage::Client, BTreeSet::new()),
        };
        Ok(Subject { common_name: self.common_name, organizations: self.organizations, usage, names })
    }
}

/// The cluster's keys and certificates.
pub struct Pki {
    ca: Authority,
    front_proxy_ca: Authority,
    leafs: Vec<CertifiedKey>,
    service_accounts: Arc<ServiceAccountKeys>,
    clients: ClientVerifier,
    front_proxies: ClientVerifier,
}

impl Pki {
    /// Reads `<data_dir>/pki`, making what is not there. Certificates with less than 90 days left, or that lack a name asked for,
    /// or that are damaged, are replaced; the authorities and the service-account key never are.
    ///
    /// Errors: a directory wider than 0700 or a key wider than 0600, an authority or service-account key that cannot be used, a
    /// name in `tls_sans` that is none, a directory that cannot be written.
    pub fn load_or_create(data_dir: &Path, options: &Options) -> Result<Pki> {
        Directory::open(data_dir)?;
        Pki::build(Some(&Directory::open(&data_dir.join("pki"))?), options)
    }

    /// New keys that live as long as the value.
    pub fn in_memory(options: &Options) -> Result<Pki> {
        Pki::build(None, options)
    }

    fn build(directory: Option<&Directory>, options: &Options) -> Result<Pki> {
        let ca = authority(directory, "ca", "kubernetes", options.now)?;
        let front_proxy_ca = authority(directory, "front-proxy-ca", "front-proxy-ca", options.now)?;
        let service_accounts = service_account_keys(directory)?;
        let certificate = |leaf: &Leaf| {
            let issuer = if leaf.front_proxy { &front_proxy_ca } else { &ca };
            load_or_issue(directory, leaf.file, issuer, &leaf.subject(options)?, options.now)
        };
        Ok(Pki {
            leafs: LEAFS.iter().map(certificate).collect::<Result<_>>()?,
            service_accounts: Arc::new(service_accounts),
            clients: ClientVerifier::new(ca.cert_pem())?,
            front_proxies: ClientVerifier::new(front_proxy_ca.cert_pem())?,
            ca,
            front_proxy_ca,
        })
    }

    /// The cluster CA's certificate: what clients trust, and what goes into the `kube-root-ca.crt` ConfigMaps.
    pub fn ca_pem(&self) -> &str {
        self.ca.cert_pem()
    }

    /// The front-proxy CA's certificate, for `extension-apiserver-authentication`.
    pub fn front_proxy_ca_pem(&self) -> &str {
        self.front_proxy_ca.cert_pem()
    }

    pub fn certificate(&self, identity: Identity) -> &CertifiedKey {
        &self.leafs[identity as usize]
    }

    pub fn service_accounts(&self) -> Arc<ServiceAccountKeys> {
        self.service_accounts.clone()
    }

    /// Trust in the cluster CA's client certificates.
    pub fn clients(&self) -> &ClientVerifier {
        &self.clients
    }

    /// Trust in the front-proxy CA's client certificates.
    pub fn front_proxies(&self) -> &ClientVerifier {
        &self.front_proxies
    }

    /// A client certificate of one year for a user in at most two groups.
    pub fn issue_client(&self, user: &str, groups: &[&str], now: Timestamp) -> Result<CertifiedKey> {
        self.ca.issue_client(user, groups, now)
    }

    /// A kubelet's client certificate.
    pub fn issue_node(&self, name: &str, now: Timestamp) -> Result<CertifiedKey> {
        self.ca.issue_client(&format!("system:node:{name}"), &["system:nodes"], now)
    }

    /// A serving certificate of one year; names are DNS names or IP addresses.
    pub fn issue_serving(&self, common_name: &str, names: &[&str], now: Timestamp) -> Result<CertifiedKey> {
        let names = names.iter().map(|name| name.parse()).collect::<Result<_>>()?;
        self.ca.issue(&Subject { common_name, organizations: &[], usage: Usage::Server, names }, now)
    }

    /// The identity of a client certificate of the cluster CA; see [`ClientVerifier::verify`].
    pub fn verify_client(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<ClientIdentity, ClientCertificateError> {
        self.clients.verify(chain, now)
    }

    /// The API server's TLS: its certificate, HTTP/2 and HTTP/1.1, client certificates asked for and not judged
    /// ([`server_config`]).
    pub fn server_config(&self) -> Result<Arc<rustls::ServerConfig>> {
        let hints = [self.clients.subjects(), self.front_proxies.subjects()].concat();
        server_config(self.certificate(Identity::ApiServer), hints)
    }

    /// A kubeconfig for one of the cluster's own identities, with cluster "coracle" and context "<user>@coracle".
    pub fn kubeconfig(&self, identity: Identity, server: &str) -> String {
        self.with_kubeconfig(identity, server, |kubeconfig| kubeconfig.to_yaml())
    }

    /// Writes [`Pki::kubeconfig`] to a file of mode 0600, whole or not at all.
    pub fn write_kubeconfig(&self, identity: Identity, server: &str, path: &Path) -> Result<()> {
        self.with_kubeconfig(identity, server, |kubeconfig| kubeconfig.write(path))
    }

    fn with_kubeconfig<T>(&self, identity: Identity, server: &str, then: impl FnOnce(Kubeconfig<'_>) -> T) -> T {
        let user = LEAFS[identity as usize].common_name;
        let auth = Auth::ClientCertificate(self.certificate(identity));
        let context = format!("{user}@coracle");
        then(Kubeconfig { server, ca_pem: self.ca_pem(), cluster: "coracle", context: &context, user, auth })
    }
}

/// An authority from its files. The key is written before the certificate: a start that was cut short between the two is
/// continued with the same key.
fn authority(directory: Option<&Directory>, file: &str, common_name: &str, now: Timestamp) -> Result<Authority> {
    let Some(directory) = directory else {
        return Authority::create(common_name, &KeyPair::generate()?.serialize_pem(), now);
    };
    let (cert_file, key_file) = (format!("{file}.crt"), format!("{file}.key"));
    match (directory.read(&cert_file)?, directory.read(&key_file)?) {
        (Some(cert_pem), Some(key_pem)) => {
            Authority::load(&cert_pem, &key_pem, now).map_err(Error::unusable(directory.path(&cert_file)))
        }
        (Some(_), None) => Err(Error::unusable(directory.path(&key_file))(Error::Pem("is missing".into()))),
        (None, key_pem) => {
            let key_pem = match key_pem {
                Some(key_pem) => key_pem,
                None => write_new_key(directory, &key_file)?,
            };
            let made =
                Authority::create(common_name, &key_pem, now).map_err(Error::unusable(directory.path(&key_file)))?;
            directory.write(&cert_file, made.cert_pem(), Durability::Power)?;
            Ok(made)
        }
    }
}

fn write_new_key(directory: &Directory, file: &str) -> Result<String> {
    let key_pem = KeyPair::generate()?.serialize_pem();
    directory.write(file, &key_pem, Durability::Power)?;
    Ok(key_pem)
}

fn service_account_keys(directory: Option<&Directory>) -> Result<ServiceAccountKeys> {
    let Some(directory) = directory else {
        return ServiceAccountKeys::from_pem(&KeyPair::generate()?.serialize_pem());
    };
    let key_pem = match directory.read("sa.key")? {
        Some(key_pem) => key_pem,
        None => write_new_key(directory, "sa.key")?,
    };
    let keys = ServiceAccountKeys::from_pem(&key_pem).map_err(Error::unusable(directory.path("sa.key")))?;
    if directory.read("sa.pub")?.as_deref() != Some(keys.public_key_pem()) {
        directory.write("sa.pub", keys.public_key_pem(), Durability::Process)?;
    }
    Ok(keys)
}

/// The certificate on disk when it still serves the subject, else a new one, kept.
fn load_or_issue(
    directory: Option<&Directory>,
    file: &str,
    issuer: &Authority,
    subject: &Subject<'_>,
    now: Timestamp,
) -> Result<CertifiedKey> {
    let Some(directory) = directory else { return issuer.issue(subject, now) };
    let (cert_file, key_file) = (format!("{file}.crt"), format!("{file}.key"));
    if let (Some(cert_pem), Some(key_pem)) = (directory.read(&cert_file)?, directory.read(&key_file)?) {
        let found = CertifiedKey { cert_pem, key_pem };
        if subject.is_served_by(&found, issuer, now) {
            return Ok(found);
        }
    }
    let made = issuer.issue(subject, now)?;
    directory.write(&key_file, &made.key_pem, Durability::Process)?;
    directory.write(&cert_file, &made.cert_pem, Durability::Process)?;
    Ok(made)
}

#[cfg(test)]
mod tests;
