//! Services, their endpoints, network policies.

use crate::case::{Case, Needs};
use crate::context::{Context, has};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;

pub const CASES: &[Case] = &[
    Case::new("walk::expose", Needs::Cluster, expose),
    Case::new("walk::node_port", Needs::Cluster, node_port),
    Case::new("walk::headless_and_external", Needs::Cluster, headless_and_external),
    Case::new("walk::network_policy", Needs::Cluster, network_policy),
];

fn web(cx: &Context) -> Result<()> {
    cx.kubectl("create deployment web --image=nginx --replicas=3")?;
    cx.kubectl("rollout status deployment/web --timeout=60s").map(|_| ())
}

fn addresses(cx: &Context, path: &str) -> Result<BTreeSet<String>> {
    Ok(path_words(&cx.kubectl(&format!("get {path}"))?))
}

fn path_words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn expose(cx: &Context) -> Result<()> {
    web(cx)?;
    has(&cx.kubectl("expose deployment web --port=80")?, &["service/web exposed"])?;
    has(&cx.kubectl("get service web -o wide")?, &["ClusterIP", "80/TCP", "<none>", "app=web"])?;
    let ip = cx.path("service/web", "{.spec.clusterIP}")?;
    ip.parse::<std::net::IpAddr>().with_context(|| format!("cluster IP {ip:?}"))?;
    let pods = addresses(cx, "pods -o jsonpath={.items[*].status.podIP}")?;
    ensure!(pods.len() == 3, "{pods:?}");
    cx.until("endpoints", || Ok(addresses(cx, "endpoints web -o jsonpath={.subsets[*].addresses[*].ip}")? == pods))?;
    let slices = "endpointslices -l kubernetes.io/service-name=web -o jsonpath={.items[*].endpoints[*].addresses[0]}";
    cx.until("endpoint slices", || Ok(addresses(cx, slices)? == pods))?;
    has(&cx.kubectl("get endpoints")?, &["ENDPOINTS", "web", ":80"])?;
    has(&cx.kubectl("get endpointslices")?, &["ADDRESSTYPE", "PORTS", "IPv4", "80", "web-"])?;
    cx.kubectl("scale deployment web --replicas=1")?;
    cx.until("one endpoint", || Ok(addresses(cx, slices)?.len() == 1))?;
    has(&cx.kubectl("describe service web")?, &["Selector:                 app=web", "Endpoints:                "])?;
    cx.kubectl("delete service web")?;
    cx.until("no endpoints", || Ok(cx.kubectl("get endpoints,endpointslices -o name")?.is_empty()))
}

fn node_port(cx: &Context) -> Result<()> {
    web(cx)?;
    cx.kubectl("expose deployment web --port=80 --type=NodePort")?;
    let port: u16 = cx.path("service/web", "{.spec.ports[0].nodePort}")?.parse()?;
    ensure!((30000..=32767).contains(&port), "{port}");
    has(&cx.kubectl("get service web")?, &["NodePort", &format!("80:{port}/TCP")])?;
    let taken = cx.kubectl_fails(&format!("create service nodeport other --tcp=80 --node-port={port}"))?;
    has(&taken, &["spec.ports[0].nodePort: Invalid value:", "provided port is already allocated"])?;
    let outside = cx.kubectl_fails("create service nodeport other --tcp=80 --node-port=80")?;
    has(&outside, &["provided port is not in the valid range. The range of valid ports is 30000-32767"])?;
    cx.kubectl("patch service web -p '{\"spec\":{\"type\":\"ClusterIP\"}}'")?;
    ensure!(cx.path("service/web", "{.spec.ports[0].nodePort}")?.is_empty(), "the node port stayed");
    cx.kubectl(&format!("create service nodeport other --tcp=80 --node-port={port}")).map(|_| ())
}

fn headless_and_external(cx: &Context) -> Result<()> {
    cx.kubectl("create service clusterip none --clusterip=None --tcp=80")?;
    ensure!(cx.path("service/none", "{.spec.clusterIP} {.spec.clusterIPs[0]}")? == "None None");
    cx.kubectl("create service externalname far --external-name=example.com")?;
    has(&cx.kubectl("get services")?, &["ExternalName", "example.com", "None"])?;
    let ip = cx.path("service/none", "{.spec.clusterIP}")?;
    has(
        &cx.kubectl_fails("patch service none -p '{\"spec\":{\"clusterIP\":\"10.96.0.77\"}}'")?,
        &["spec.clusterIPs[0]: Invalid value", "may not change once set"],
    )
    .with_context(|| ip)
}

fn network_policy(cx: &Context) -> Result<()> {
    let manifest = r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-web}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}]
";
    has(&cx.apply(manifest)?, &["networkpolicy.networking.k8s.io/only-web created"])?;
    has(&cx.kubectl("get networkpolicy")?, &["POD-SELECTOR", "only-web", "app=db"])?;
    ensure!(
        cx.path("netpol/only-web", "{.spec.policyTypes[*]} {.spec.ingress[0].ports[0].protocol}")? == "Ingress TCP"
    );
    has(
        &cx.kubectl("describe networkpolicy only-web")?,
        &["To Port: 5432/TCP", "PodSelector: app=web", "Policy Types: Ingress"],
    )?;
    cx.kubectl("delete networkpolicy only-web").map(|_| ())
}
