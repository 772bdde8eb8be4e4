//! TLS, with certificates on both sides.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::Marked;
use super::server::{self, Cluster};
use crate::etcd::{Etcd, EtcdOptions};
use crate::suite::put;
use crate::{Expect, Store};

/// The files of an authority and of a certificate that it signed, valid for this machine.
struct Files {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

fn files(dir: &Path, name: &str) -> Files {
    let file = |what: &str, text: String| {
        let path = dir.join(format!("{name}-{what}.pem"));
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let ca = authority.self_signed(&ca_key).unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(authority, ca_key)).unwrap();
    Files {
        ca: file("ca", ca.pem()),
        certificate: file("certificate", certificate.pem()),
        key: file("key", key.serialize_pem()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, others) = (files(dir.path(), "ours"), files(dir.path(), "others"));
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (ca, certificate, key) = (text(&ours.ca), text(&ours.certificate), text(&ours.key));
    let flags = ["--cert-file", &certificate, "--key-file", &key, "--trusted-ca-file", &ca, "--client-cert-auth"];
    let cluster = Cluster::start_with(&server::program(), 1, &flags);
    let options = |ca: &Files, identity: Option<&Files>| EtcdOptions {
        cafile: Some(ca.ca.clone()),
        certfile: identity.map(|files| files.certificate.clone()),
        keyfile: identity.map(|files| files.key.clone()),
        ..cluster.options()
    };
    let open = |options: EtcdOptions| Etcd::open(options, Some(Arc::new(Marked)), false);
    let store = open(options(&ours, Some(&ours))).await.unwrap();
    store.commit(put("/registry/a/x", Expect::Absent, "secret")).await.unwrap();
    assert_eq!(store.count("/registry/a/"), 1);
    let refused = [
        (options(&others, Some(&ours)), "invalid peer certificate"),
        // Newer ones close the connection only.
        (options(&ours, None), "received fatal alert|connection closed"),
        (options(&ours, Some(&others)), "received fatal alert|connection closed"),
    ];
    for (options, why) in refused {
        let error = open(options).await.err().unwrap().to_string();
        assert!(why.split('|').any(|why| error.contains(why)), "{error}");
    }
}
