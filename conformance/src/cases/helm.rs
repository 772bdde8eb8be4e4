//! Helm: a chart with a Deployment, a Service, a ConfigMap, RBAC and a Job as hook, through its whole life.

use crate::case::{Case, Needs, Skipped};
use crate::context::{Context, has};
use anyhow::{Result, bail, ensure};
use std::process::Command;

pub const CASES: &[Case] = &[Case::new("helm::life_of_a_release", Needs::Cluster, life_of_a_release)];

const CHART: &[(&str, &str)] = &[
    ("Chart.yaml", include_str!("../../data/chart/Chart.yaml")),
    ("values.yaml", include_str!("../../data/chart/values.yaml")),
    ("templates/release.yaml", include_str!("../../data/chart/templates/release.yaml")),
];

fn life_of_a_release(cx: &Context) -> Result<()> {
    if Command::new(&cx.settings.helm).arg("version").output().is_err() {
        bail!(Skipped(format!("{} does not run", cx.settings.helm.display())));
    }
    let chart = cx.dir.path().join("chart");
    std::fs::create_dir_all(chart.join("templates"))?;
    for (file, text) in CHART {
        std::fs::write(chart.join(file), text)?;
    }
    let chart = chart.to_string_lossy();
    has(&helm(cx, &["install", "shop", &chart, "--wait"])?, &["STATUS: deployed", "REVISION: 1"])?;
    ensure!(cx.path("deployment/shop", "{.status.readyReplicas}")? == "2", "not ready after --wait");
    ensure!(cx.path("configmap/shop", "{.data.greeting}")? == "hello");
    // The hook ran to its end and, as it asks for, went.
    ensure!(cx.kubectl("get jobs -o name")?.is_empty(), "the hook is still there");
    has(&cx.kubectl("get events --field-selector reason=Completed")?, &["job/shop-migrate", "Job completed"])?;
    let may = "auth can-i list configmaps --as";
    let account = format!("system:serviceaccount:{}:shop", cx.namespace);
    ensure!(cx.kubectl(&format!("{may} {account}"))?.trim() == "yes", "the role binding has no effect");

    let changes = ["upgrade", "shop", &chart, "--wait", "--set", "replicas=3,greeting=servus"];
    has(&helm(cx, &changes)?, &["STATUS: deployed", "REVISION: 2"])?;
    ensure!(cx.path("deployment/shop", "{.status.readyReplicas}")? == "3");
    ensure!(cx.path("configmap/shop", "{.data.greeting}")? == "servus");

    helm(cx, &["rollback", "shop", "1", "--wait"])?;
    ensure!(cx.path("configmap/shop", "{.data.greeting}")? == "hello");
    has(&helm(cx, &["history", "shop"])?, &["superseded", "Rollback to 1"])?;

    has(&helm(cx, &["uninstall", "shop", "--wait"])?, &["release \"shop\" uninstalled"])?;
    let left = cx.kubectl("get deployments,services,configmaps,roles,rolebindings,serviceaccounts,secrets -o name")?;
    let left: Vec<&str> = left.lines().filter(|name| name.contains("shop")).collect();
    ensure!(left.is_empty(), "{left:?} is left");
    Ok(())
}

fn helm(cx: &Context, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(&cx.settings.helm);
    command.arg("--kubeconfig").arg(&cx.cluster()?.kubeconfig).args(["-n", &cx.namespace]).args(arguments);
    for place in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(place, cx.dir.path().join(place));
    }
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "helm {}: {text}{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(text)
}
