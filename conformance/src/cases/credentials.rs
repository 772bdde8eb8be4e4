//! Right and wrong credentials.

use crate::case::{Case, Needs};
use crate::context::{Cluster, Context};
use crate::run::{ALICE_PASSWORD, ALICE_TOKEN};
use anyhow::{Context as _, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use kube::config::AuthInfo;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

pub const CASES: &[Case] = &[
    Case::new("credentials::wrong_token", Needs::Cluster, wrong_token),
    Case::new("credentials::wrong_password", Needs::Started, wrong_password),
    Case::new("credentials::static_token", Needs::Started, static_token),
    Case::new("credentials::basic_auth", Needs::Started, basic_auth),
    Case::new("credentials::certificate_of_another_ca", Needs::Cluster, certificate_of_another_ca),
    Case::new("credentials::client_certificates", Needs::Started, client_certificates),
    Case::new("credentials::forged_service_account_token", Needs::Cluster, forged_service_account_token),
    Case::new("credentials::anonymous", Needs::Cluster, anonymous),
    Case::new("credentials::wrong_server_ca", Needs::Cluster, wrong_server_ca),
];

fn auth(value: Value) -> Result<AuthInfo> {
    Ok(serde_json::from_value(value)?)
}

fn unauthorized(cx: &Context, user: AuthInfo) -> Result<()> {
    let client = cx.client_of(user)?;
    for path in ["/api/v1/namespaces/default/pods", "/api", "/version", "/nowhere"] {
        let answer = cx.raw_as(&client, Method::GET, path, &[], "")?;
        let status = answer.refused(401, "Unauthorized", &[]).context(path)?;
        ensure!(status["message"] == "Unauthorized", "{status}");
    }
    Ok(())
}

fn who(cx: &Context, user: AuthInfo) -> Result<(String, String)> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let json = [("content-type", "application/json")];
    let answer = cx.raw_as(&cx.client_of(user)?, Method::POST, path, &json, review.to_string())?;
    ensure!(answer.status == 201, "{} {}", answer.status, answer.text);
    let info = &answer.json()?["status"]["userInfo"];
    Ok((info["username"].as_str().unwrap_or_default().to_owned(), info["groups"].to_string()))
}

fn wrong_token(cx: &Context) -> Result<()> {
    unauthorized(cx, auth(json!({"token": "no-such-token"}))?)?;
    unauthorized(cx, auth(json!({"token": "a.b.c"}))?)?;
    let kubeconfig = cx.kubeconfig_with_token("no-such-token")?;
    let printed = cx.kubectl_fails(&format!("--kubeconfig={} get pods", kubeconfig.display()))?;
    ensure!(printed.contains("You must be logged in to the server"), "{printed}");
    Ok(())
}

fn wrong_password(cx: &Context) -> Result<()> {
    unauthorized(cx, auth(json!({"username": "alice", "password": "wrong"}))?)?;
    unauthorized(cx, auth(json!({"username": "nobody", "password": ALICE_PASSWORD}))?)
}

fn static_token(cx: &Context) -> Result<()> {
    let alice = auth(json!({"token": ALICE_TOKEN}))?;
    let (name, groups) = who(cx, alice.clone())?;
    ensure!(name == "alice" && groups == r#"["readers","writers","system:authenticated"]"#, "{name} {groups}");
    let answer = cx.raw_as(&cx.client_of(alice)?, Method::GET, "/api/v1/nodes", &[], "")?;
    answer.refused(
        403,
        "Forbidden",
        &[r#"nodes is forbidden: User "alice" cannot list resource "nodes" in API group "" at the cluster scope"#],
    )?;
    unauthorized(cx, auth(json!({"token": ALICE_TOKEN.trim_end_matches('f')}))?)
}

fn basic_auth(cx: &Context) -> Result<()> {
    let (name, groups) = who(cx, auth(json!({"username": "alice", "password": ALICE_PASSWORD}))?)?;
    ensure!(name == "alice" && groups == r#"["readers","writers","system:authenticated"]"#, "{name} {groups}");
    Ok(())
}

/// A client certificate for a cluster administrator.
fn certificate(issuer: &Issuer<KeyPair>, from: OffsetDateTime, usage: ExtendedKeyUsagePurpose) -> Result<AuthInfo> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "mallory");
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.not_before = from;
    params.not_after = from + Duration::days(2);
    let certificate = params.signed_by(&key, issuer)?;
    auth(json!({
        "client-certificate-data": STANDARD.encode(certificate.pem()),
        "client-key-data": STANDARD.encode(key.serialize_pem()),
    }))
}

fn certificate_of_another_ca(cx: &Context) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "kubernetes-ca");
    let yesterday = OffsetDateTime::now_utc() - Duration::days(1);
    let user = certificate(&Issuer::new(params, key), yesterday, ExtendedKeyUsagePurpose::ClientAuth)?;
    unauthorized(cx, user)
}

/// Of the cluster's own CA: a good one, an expired one, one that is not yet valid, one for servers.
fn client_certificates(cx: &Context) -> Result<()> {
    let pki = cx.cluster()?.data_dir.as_ref().context("no data directory")?.join("pki");
    let read = |name: &str| std::fs::read_to_string(pki.join(name)).with_context(|| name.to_owned());
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt")?, KeyPair::from_pem(&read("ca.key")?)?)?;
    let now = OffsetDateTime::now_utc();
    let (name, groups) = who(cx, certificate(&issuer, now - Duration::days(1), ExtendedKeyUsagePurpose::ClientAuth)?)?;
    ensure!(name == "mallory" && groups.contains("system:masters"), "{name} {groups}");
    for (what, from, usage) in [
        ("expired", now - Duration::days(9), ExtendedKeyUsagePurpose::ClientAuth),
        ("not yet valid", now + Duration::days(9), ExtendedKeyUsagePurpose::ClientAuth),
        ("for a server", now - Duration::days(1), ExtendedKeyUsagePurpose::ServerAuth),
    ] {
        unauthorized(cx, certificate(&issuer, from, usage)?).context(what)?;
    }
    Ok(())
}

/// A token whose claims or algorithm were changed.
fn forged_service_account_token(cx: &Context) -> Result<()> {
    let token = cx.kubectl("create token default")?;
    let parts: Vec<&str> = token.trim().split('.').collect();
    let [header, claims, signature] = parts[..] else { anyhow::bail!("not a JWT: {token}") };
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let text = String::from_utf8(url.decode(claims)?)?;
    let other = url.encode(text.replace(":default\"", ":admin\"").replace("\"exp\":1", "\"exp\":2"));
    ensure!(other != claims, "nothing was changed in {text}");
    unauthorized(cx, auth(json!({"token": format!("{header}.{other}.{signature}")}))?).context("other claims")?;
    let none = url.encode(r#"{"alg":"none","typ":"JWT"}"#);
    unauthorized(cx, auth(json!({"token": format!("{none}.{claims}.")}))?).context("no algorithm")?;
    let refused = cx.kubectl_fails("create token default --duration=1m")?;
    ensure!(refused.contains("may not specify a duration less than 10 minutes"), "{refused}");
    Ok(())
}

/// Nobody sees health and version, and nothing else.
fn anonymous(cx: &Context) -> Result<()> {
    let nobody = cx.client_of(AuthInfo::default())?;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        let answer = cx.raw_as(&nobody, Method::GET, path, &[], "")?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.text);
    }
    for path in ["/", "/api", "/apis", "/apis/apps/v1", "/openapi/v2", "/openapi/v3", "/metrics", "/nowhere"] {
        let sentence = format!("forbidden: User \"system:anonymous\" cannot get path \"{path}\"");
        cx.raw_as(&nobody, Method::GET, path, &[], "")?.refused(403, "Forbidden", &[&sentence]).context(path)?;
    }
    let sentence = r#"pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "default""#;
    cx.raw_as(&nobody, Method::GET, "/api/v1/namespaces/default/pods", &[], "")?.refused(
        403,
        "Forbidden",
        &[sentence],
    )?;
    // What does not exist is forbidden before it is not found.
    let sentence = r#"nothings.example.com is forbidden: User "system:anonymous" cannot list resource "nothings" in API group "example.com" at the cluster scope"#;
    cx.raw_as(&nobody, Method::GET, "/apis/example.com/v1/nothings", &[], "")?.refused(
        403,
        "Forbidden",
        &[sentence],
    )?;
    Ok(())
}

fn wrong_server_ca(cx: &Context) -> Result<()> {
    let mut kubeconfig = kube::config::Kubeconfig::read_from(&cx.cluster()?.kubeconfig)?;
    let key = KeyPair::generate()?;
    let foreign = STANDARD.encode(CertificateParams::new(vec!["x".to_owned()])?.self_signed(&key)?.pem());
    for cluster in &mut kubeconfig.clusters {
        if let Some(cluster) = &mut cluster.cluster {
            cluster.certificate_authority_data = Some(foreign.clone());
        }
    }
    let client = crate::context::client(&kubeconfig, &cx.settings.runtime)?;
    let answer = cx.raw_as(&client, Method::GET, "/version", &[], "");
    ensure!(answer.is_err(), "a client that trusts another CA got an answer");
    let again = Cluster::connect("", &cx.cluster()?.kubeconfig, None, &cx.settings.runtime)?;
    ensure!(cx.raw_as(&again.client, Method::GET, "/version", &[], "")?.status == 200, "the server suffered");
    Ok(())
}
