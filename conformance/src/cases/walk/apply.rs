//! Several writers of one object: server-side apply, conflicts, and the way there from client-side apply.

use crate::case::{Case, Needs};
use crate::context::{Context, has};
use anyhow::{Result, ensure};

pub const CASES: &[Case] = &[
    Case::new("walk::two_managers", Needs::Cluster, two_managers),
    Case::new("walk::from_client_side_apply", Needs::Cluster, from_client_side_apply),
    Case::new("walk::applying_the_same_writes_nothing", Needs::Cluster, applying_the_same_writes_nothing),
    Case::new("walk::warnings", Needs::Cluster, warnings),
    Case::new("walk::top_without_metrics", Needs::Cluster, top_without_metrics),
];

const WEB: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {tier: front}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
";

fn two_managers(cx: &Context) -> Result<()> {
    let apply = |manifest: &str, flags: &str| {
        cx.kubectl_reading(&format!("apply --server-side {flags} -f -"), &format!("---{manifest}"))
    };
    has(&apply(WEB, "--field-manager=first")?, &["deployment.apps/web serverside-applied"])?;
    let other = WEB.replace("image: nginx", "image: caddy");
    let line = "apply --server-side --field-manager=second -f -";
    let (applied, refused) = cx.kubectl_tries_and_reads(line, &format!("---{other}"))?;
    ensure!(!applied, "two managers had their way");
    let conflict =
        "Apply failed with 1 conflict: conflict with \"first\": .spec.template.spec.containers[name=\"web\"].image";
    has(&refused, &[conflict, "--force-conflicts"])?;
    apply(&other, "--field-manager=second --force-conflicts")?;
    ensure!(cx.path("deployment/web", "{.spec.template.spec.containers[0].image}")? == "caddy");
    // The first has lost the image, and keeps the rest, which both want.
    let managed = cx.kubectl("get deployment web -o json --show-managed-fields")?;
    let object: serde_json::Value = serde_json::from_str(&managed)?;
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let of = |manager: &str| entries.iter().find(|entry| entry["manager"] == manager).map(ToString::to_string);
    ensure!(of("first").is_some_and(|entry| !entry.contains("f:image") && entry.contains("f:replicas")), "{managed}");
    ensure!(of("second").is_some_and(|entry| entry.contains("f:image")), "{managed}");
    // What neither says any more goes.
    let without = |manifest: &str| manifest.replace(", labels: {tier: front}", "");
    apply(&without(&other), "--field-manager=second")?;
    ensure!(cx.path("deployment/web", "{.metadata.labels.tier}")? == "front", "the first still wants it");
    apply(&without(&other), "--field-manager=first")?;
    ensure!(cx.path("deployment/web", "{.metadata.labels}")?.is_empty(), "nobody wants it");
    Ok(())
}

fn from_client_side_apply(cx: &Context) -> Result<()> {
    has(&cx.apply(WEB)?, &["deployment.apps/web created"])?;
    let grown = WEB.replace("image: nginx", "image: caddy");
    // The same person changes over: what kubectl owned is owned by the server-side applier, with no conflict.
    let applied = cx.kubectl_reading("apply --server-side -f -", &format!("---{grown}"))?;
    has(&applied, &["deployment.apps/web serverside-applied"])?;
    let smaller = grown.replace(", labels: {tier: front}", "");
    cx.kubectl_reading("apply --server-side -f -", &format!("---{smaller}"))?;
    ensure!(cx.path("deployment/web", "{.metadata.labels}")?.is_empty(), "the label is given up");
    let managers = cx.path("deployment/web", "{.metadata.managedFields[*].manager}")?;
    ensure!(!managers.contains("kubectl-client-side-apply"), "{managers}");
    Ok(())
}

fn applying_the_same_writes_nothing(cx: &Context) -> Result<()> {
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {mode: one}\n";
    let version = || cx.path("configmap/settings", "{.metadata.resourceVersion}");
    cx.kubectl_reading("apply --server-side -f -", settings)?;
    let first = version()?;
    cx.kubectl_reading("apply --server-side -f -", settings)?;
    cx.kubectl("patch configmap settings -p '{\"data\": {\"mode\": \"one\"}}'")?;
    cx.kubectl("label configmap settings absent-")?;
    ensure!(version()? == first, "an object that did not change got a new version");
    Ok(())
}

fn warnings(cx: &Context) -> Result<()> {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: w}\ndatta: {a: b}\n";
    let (made, printed) = cx.kubectl_tries_and_reads("create --validate=warn -f -", text)?;
    ensure!(made, "{printed}");
    has(&printed, &["Warning: unknown field \"datta\""])?;
    let (made, printed) = cx.kubectl_tries_and_reads("create --validate=strict -f -", &text.replace(" w}", " s}"))?;
    ensure!(!made, "{printed}");
    has(&printed, &["strict decoding error: unknown field \"datta\""])?;
    let (_, printed) = cx.kubectl_tries("get endpoints")?;
    has(&printed, &["Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"])
}

fn top_without_metrics(cx: &Context) -> Result<()> {
    for what in ["top pods", "top nodes"] {
        has(&cx.kubectl_fails(what)?, &["error: Metrics API not available"])?;
    }
    Ok(())
}
