use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::certificate::{DAY, certificates, parse, subject_names};

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn in_days(days: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + days * DAY).unwrap()
}

fn options(now: Timestamp) -> Options {
    Options::new(now)
}

fn names(certified: &CertifiedKey) -> BTreeSet<SubjectName> {
    subject_names(&parse(&certified.chain().unwrap()[0]).unwrap())
}

#[test]
fn identities_are_in_the_order_of_the_table() {
    for (index, row) in LEAFS.iter().enumerate() {
        assert_eq!(row.identity as usize, index);
    }
}

#[test]
fn a_second_start_reads_what_the_first_made() {
    let temporary = tempfile::tempdir().unwrap();
    let data_dir = temporary.path().join("data");
    let first = Pki::load_or_create(&data_dir, &options(now())).unwrap();
    let second = Pki::load_or_create(&data_dir, &options(in_days(200))).unwrap();
    assert_eq!(first.leafs, second.leafs);
    assert_eq!((first.ca_pem(), first.front_proxy_ca_pem()), (second.ca_pem(), second.front_proxy_ca_pem()));
    assert_eq!(first.service_accounts.key_id(), second.service_accounts.key_id());
    let mut files = Vec::new();
    for entry in fs::read_dir(data_dir.join("pki")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        files.push(entry.file_name().into_string().unwrap());
    }
    files.sort();
    let wanted = "admin.crt admin.key apiserver-kubelet-client.crt apiserver-kubelet-client.key apiserver.crt \
                  apiserver.key ca.crt ca.key controller-manager.crt controller-manager.key front-proxy-ca.crt \
                  front-proxy-ca.key front-proxy-client.crt front-proxy-client.key sa.key sa.pub scheduler.crt \
                  scheduler.key";
    assert_eq!(files.join(" "), wanted);
}

#[test]
fn certificates_are_renewed_when_little_time_is_left_and_after_they_expired() {
    let temporary = tempfile::tempdir().unwrap();
    let data_dir = temporary.path().join("data");
    let first = Pki::load_or_create(&data_dir, &options(now())).unwrap();
    for days in [300, 300 + 400] {
        let renewed = Pki::load_or_create(&data_dir, &options(in_days(days))).unwrap();
        assert_eq!(first.ca_pem(), renewed.ca_pem());
        let certificate = renewed.certificate(Identity::Admin);
        assert_ne!(first.certificate(Identity::Admin), certificate);
        renewed.verify_client(&certificate.chain().unwrap(), in_days(days + 300)).unwrap();
    }
}

#[test]
fn the_serving_certificate_follows_the_names_asked_for() {
    let temporary = tempfile::tempdir().unwrap();
    let data_dir = temporary.path().join("data");
    let plain = Pki::load_or_create(&data_dir, &options(now())).unwrap();
    let mut asked = options(now());
    asked.tls_sans = vec!["Box.example.com".into(), "192.168.1.9".into()];
    asked.advertise_address = Some([192, 168, 1, 10].into());
    let wider = Pki::load_or_create(&data_dir, &asked).unwrap();
    let found = names(wider.certificate(Identity::ApiServer));
    for name in [
        "localhost",
        "127.0.0.1",
        "::1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "10.96.0.1",
        "box.example.com",
        "192.168.1.9",
        "192.168.1.10",
    ] {
        assert!(found.contains(&name.parse().unwrap()), "{name} is missing");
    }
    assert_eq!(plain.certificate(Identity::Admin), wider.certificate(Identity::Admin), "only one was replaced");
    let narrower = Pki::load_or_create(&data_dir, &options(now())).unwrap();
    assert_eq!(wider.leafs, narrower.leafs, "a certificate that covers more is kept");
    asked.tls_sans = vec!["not a name".into()];
    let error = Pki::load_or_create(&data_dir, &asked).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), r#""not a name" is neither an IP address nor a DNS name"#);
}

#[test]
fn a_damaged_certificate_is_remade_and_a_damaged_authority_is_an_error() {
    let temporary = tempfile::tempdir().unwrap();
    let data_dir = temporary.path().join("data");
    Pki::load_or_create(&data_dir, &options(now())).unwrap();
    let file = |name: &str| data_dir.join("pki").join(name);
    fs::write(file("admin.crt"), "").unwrap();
    fs::copy(file("scheduler.key"), file("controller-manager.key")).unwrap();
    let mended = Pki::load_or_create(&data_dir, &options(now())).unwrap();
    mended.verify_client(&mended.certificate(Identity::Admin).chain().unwrap(), now()).unwrap();
    mended.server_config().unwrap();
    fs::write(file("ca.crt"), "").unwrap();
    let error = Pki::load_or_create(&data_dir, &options(now())).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("pki/ca.crt: no certificate found"), "{error}");
    fs::remove_file(file("ca.crt")).unwrap();
    Pki::load_or_create(&data_dir, &options(now())).unwrap();
    fs::remove_file(file("ca.key")).unwrap();
    let error = Pki::load_or_create(&data_dir, &options(now())).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("pki/ca.key: is missing"), "{error}");
}

#[test]
fn a_data_directory_open_to_others_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = Pki::load_or_create(temporary.path(), &options(now())).map(|_| ()).unwrap_err().to_string();
    assert!(error.ends_with(&format!("run: chmod 700 {}", temporary.path().display())), "{error}");
}

#[test]
fn an_authority_that_expired_says_so() {
    let temporary = tempfile::tempdir().unwrap();
    let data_dir = temporary.path().join("data");
    Pki::load_or_create(&data_dir, &options(now())).unwrap();
    let error = Pki::load_or_create(&data_dir, &options(in_days(3651))).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("ca.crt: the certificate has expired"), "{error}");
}

#[test]
fn a_client_certificate_speaks_for_its_user_while_it_is_valid() {
    let pki = Pki::in_memory(&options(now())).unwrap();
    let chain = |certified: &CertifiedKey| certified.chain().unwrap();
    let node = pki.issue_node("edge-1", now()).unwrap();
    let identity = pki.verify_client(&chain(&node), now()).unwrap();
    assert_eq!(
        (identity.user.as_str(), identity.groups.as_slice()),
        ("system:node:edge-1", &["system:nodes".into()][..])
    );
    assert_eq!(identity.check_validity(in_days(364)), Ok(()));
    for (time, side) in [(in_days(366), "after"), (in_days(-1), "before")] {
        for error in [identity.check_validity(time).unwrap_err(), pki.verify_client(&chain(&node), time).unwrap_err()] {
            let error = error.to_string();
            assert!(error.contains("x509: certificate has expired or is not yet valid: current time"), "{error}");
            assert!(error.contains(&format!(" is {side} ")), "{error}");
        }
    }
    let serving = pki.issue_serving("system:node:edge-1", &["edge-1", "127.0.0.1"], now()).unwrap();
    assert_eq!(names(&serving).len(), 2);
    let error = pki.verify_client(&chain(&serving), now()).unwrap_err().to_string();
    assert!(error.ends_with("x509: certificate specifies an incompatible key usage"), "{error}");
    let proxy = chain(pki.certificate(Identity::FrontProxyClient));
    assert!(pki.verify_client(&proxy, now()).is_err(), "the front proxy's CA signs no users");
    assert_eq!(pki.front_proxies().verify(&proxy, now()).unwrap().user, "front-proxy-client");
    assert!(pki.verify_client(&[], now()).is_err());
    assert!(pki.verify_client(&[b"nonsense".to_vec().into()], now()).is_err());
}

#[test]
fn several_organizations_are_several_groups() {
    let pki = Pki::in_memory(&options(now())).unwrap();
    let two = pki.issue_client("ann", &["b", "a"], now()).unwrap();
    assert_eq!(pki.verify_client(&two.chain().unwrap(), now()).unwrap().groups, ["b", "a"]);
    assert!(matches!(pki.issue_client("ann", &["a", "b", "c"], now()), Err(Error::Organizations(3))));
}

#[test]
fn a_kubeconfig_embeds_what_it_needs_and_is_for_its_owner_alone() {
    let pki = Pki::in_memory(&options(now())).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("admin.kubeconfig");
    pki.write_kubeconfig(Identity::Admin, "https://127.0.0.1:6443", &path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    let data = |field: &str| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let line = text.lines().find_map(|line| line.trim().strip_prefix(field)).unwrap();
        String::from_utf8(STANDARD.decode(line.trim_start_matches(": ")).unwrap()).unwrap()
    };
    assert_eq!(data("certificate-authority-data"), pki.ca_pem());
    assert_eq!(data("client-key-data"), pki.certificate(Identity::Admin).key_pem);
    certificates(&data("client-certificate-data")).unwrap();
    assert!(text.contains("current-context: \"kubernetes-admin@coracle\"\n"), "{text}");
    let auth = Auth::Token("t\"k");
    let token = Kubeconfig { server: "s", ca_pem: "c", cluster: "c", context: "x", user: "u", auth }.to_yaml();
    assert!(token.ends_with("  user:\n    token: \"t\\\"k\"\n"), "{token}");
}
