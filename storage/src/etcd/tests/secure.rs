//! TLS, with certificates on both sides.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::server::{self, Cluster};
use super::shared::HeaderOnly;
use super::{Marked, within};
use crate::etcd::client::Client;
use crate::etcd::compactor::{Look, turn};
use crate::etcd::wire::Request;
use crate::etcd::{Etcd, EtcdOptions, OpenError};
use crate::suite::{delete, next, put};
use crate::{Expect, Store};

/// The files of a certificate, valid for this machine, and of the authority that signed it.
struct Files {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// Signs certificates.
struct Authority<'a> {
    dir: &'a Path,
    ca: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

fn write(dir: &Path, name: &str, text: String) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

impl<'a> Authority<'a> {
    fn new(dir: &'a Path, name: &str) -> Authority<'a> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = write(dir, &format!("{name}-ca.pem"), params.self_signed(&key).unwrap().pem());
        Authority { dir, ca, issuer: Issuer::new(params, key) }
    }

    /// A certificate of somebody, who is etcd's user of that name.
    fn sign(&self, name: &str) -> Files {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Files {
            ca: self.ca.clone(),
            certificate: write(self.dir, &format!("{name}.pem"), certificate.pem()),
            key: write(self.dir, &format!("{name}-key.pem"), key.serialize_pem()),
        }
    }
}

/// A member that wants certificates of this authority.
fn start(files: &Files) -> Cluster {
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (ca, certificate, key) = (text(&files.ca), text(&files.certificate), text(&files.key));
    let flags = ["--cert-file", &certificate, "--key-file", &key, "--trusted-ca-file", &ca, "--client-cert-auth"];
    Cluster::start_with(&server::program(), 1, &flags)
}

fn options(cluster: &Cluster, ca: &Files, identity: Option<&Files>) -> EtcdOptions {
    EtcdOptions {
        cafile: Some(ca.ca.clone()),
        certfile: identity.map(|files| files.certificate.clone()),
        keyfile: identity.map(|files| files.key.clone()),
        ..cluster.options()
    }
}

async fn open(options: EtcdOptions) -> Result<Arc<Etcd>, OpenError> {
    Etcd::open(options, Some(Arc::new(Marked)), false).await
}

/// What is said of a member that does not take our certificate.
const CLOSED: &str = "received fatal alert|connection closed|broken pipe|connection reset";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, others) =
        (Authority::new(dir.path(), "ours").sign("us"), Authority::new(dir.path(), "others").sign("they"));
    let cluster = start(&ours);
    let options = |ca, identity| options(&cluster, ca, identity);
    let store = open(options(&ours, Some(&ours))).await.unwrap();
    store.commit(put("/registry/a/x", Expect::Absent, "secret")).await.unwrap();
    assert_eq!(store.count("/registry/a/"), 1);
    let refused = [
        (options(&others, Some(&ours)), "invalid peer certificate"),
        // The connection is closed; whether the reason comes before, depends on who is faster.
        (options(&ours, None), CLOSED),
        (options(&ours, Some(&others)), CLOSED),
    ];
    // Each is tried for some time.
    join_all(refused.map(|(options, why)| async move {
        let error = open(options).await.err().unwrap().to_string();
        assert!(why.split('|').any(|why| error.contains(why)), "{error}");
    }))
    .await;
}

/// Users of etcd without passwords, each with a role of what it may do: those keys, to be read (0), written (1) or both (2).
async fn grant(root: &Client, user: &str, permissions: &[(i32, &str, &str)]) {
    let role = format!("{user}-role");
    root.read(UserAdd { name: user.into(), options: Some(UserOptions { no_password: true }) }).await.unwrap();
    root.read(RoleAdd { name: role.clone() }).await.unwrap();
    for (kind, key, range_end) in permissions {
        let permission = Permission { kind: *kind, key: (*key).into(), range_end: (*range_end).into() };
        root.read(RoleGrant { name: role.clone(), permission: Some(permission) }).await.unwrap();
    }
    root.read(UserGrantRole { user: user.into(), role }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificates_name_is_the_user_of_an_etcd_that_asks_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ours");
    let [root, coracle, reader, stranger] = ["root", "coracle", "reader", "stranger"].map(|name| authority.sign(name));
    let cluster = start(&root);
    let options = |who: &Files| options(&cluster, who, Some(who));
    // Until the member is there.
    drop(open(options(&root)).await.unwrap());
    let admin = Client::new(&options(&root)).unwrap();
    admin.read(UserAdd { name: "root".into(), options: Some(UserOptions { no_password: true }) }).await.unwrap();
    admin.read(UserGrantRole { user: "root".into(), role: "root".into() }).await.unwrap();
    let own = [(0, "\0", "\0"), (2, "/registry/", "/registry0"), (2, "compact_rev_key", "")];
    grant(&admin, "coracle", &own).await;
    grant(&admin, "reader", &own[..1]).await;
    admin.read(AuthEnable {}).await.unwrap();

    let store = open(options(&coracle)).await.unwrap();
    let mut watch = store.watch("/registry/a/", store.revision()).unwrap();
    let mut first = put("/registry/a/x", Expect::Absent, "value");
    first.put.as_mut().unwrap().ttl = Some(Duration::from_secs(600));
    store.commit(first).await.unwrap();
    store.commit(delete("/registry/a/x", Expect::Any)).await.unwrap();
    within(async { (next(&mut watch).await, next(&mut watch).await) }).await;
    store.catch_up().await.unwrap();
    let look = turn(&store.client, Look::default()).await.unwrap();
    assert_eq!(turn(&store.client, look).await.unwrap().version, 2, "it may compact");
    assert_eq!(store.health(), Ok(()));

    let reads = open(options(&reader)).await.unwrap();
    let refused = reads.commit(put("/registry/a/x", Expect::Absent, "value")).await.unwrap_err().to_string();
    assert!(refused.contains("permission denied") && refused.contains("needs a role that may"), "{refused}");
    let refused = open(options(&stranger)).await.err().unwrap().to_string();
    assert!(refused.contains("permission denied") && refused.contains("client certificate"), "{refused}");
}

#[derive(Clone, PartialEq, Message)]
struct UserAdd {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "3")]
    options: Option<UserOptions>,
}

#[derive(Clone, PartialEq, Message)]
struct UserOptions {
    #[prost(bool, tag = "1")]
    no_password: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RoleAdd {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct RoleGrant {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    permission: Option<Permission>,
}

#[derive(Clone, PartialEq, Message)]
struct Permission {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(string, tag = "3")]
    range_end: String,
}

#[derive(Clone, PartialEq, Message)]
struct UserGrantRole {
    #[prost(string, tag = "1")]
    user: String,
    #[prost(string, tag = "2")]
    role: String,
}

#[derive(Clone, PartialEq, Message)]
struct AuthEnable {}

macro_rules! methods {
    ($($request:ident: $method:literal,)*) => {$(
        impl Request for $request {
            type Answer = HeaderOnly;
            const PATH: &'static str = concat!("/etcdserverpb.Auth/", $method);
        }
    )*};
}

methods! {
    UserAdd: "UserAdd",
    RoleAdd: "RoleAdd",
    RoleGrant: "RoleGrantPermission",
    UserGrantRole: "UserGrantRole",
    AuthEnable: "AuthEnable",
}
