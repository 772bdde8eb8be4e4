//! Namespaces and what is in them.

use crate::case::{Case, Needs};
use crate::context::{Context, has};
use anyhow::{Result, ensure};

pub const CASES: &[Case] = &[
    Case::new("walk::delete_namespace", Needs::Cluster, delete_namespace),
    Case::new("walk::namespace_that_ends", Needs::Cluster, namespace_that_ends),
    Case::new("walk::system_namespaces_stay", Needs::Cluster, system_namespaces_stay),
];

fn delete_namespace(cx: &Context) -> Result<()> {
    let name = format!("{}-full", cx.namespace);
    has(&cx.kubectl(&format!("create namespace {name}"))?, &[&format!("namespace/{name} created")])?;
    cx.until("its service account", || {
        Ok(cx.kubectl(&format!("get serviceaccounts -n {name} -o name"))?.contains("default"))
    })?;
    cx.kubectl(&format!("create deployment web --image=nginx --replicas=3 -n {name}"))?;
    cx.kubectl(&format!("expose deployment web --port=80 -n {name}"))?;
    cx.kubectl(&format!("create configmap c -n {name}"))?;
    cx.kubectl(&format!("create secret generic s -n {name}"))?;
    cx.kubectl(&format!("rollout status deployment/web --timeout=60s -n {name}"))?;
    has(&cx.kubectl(&format!("delete namespace {name}"))?, &[&format!("namespace \"{name}\" deleted")])?;
    has(&cx.kubectl_fails(&format!("get namespace {name}"))?, &["NotFound"])?;
    let kinds =
        "deployments,replicasets,pods,services,endpoints,endpointslices,configmaps,secrets,serviceaccounts,events";
    let left = cx.kubectl(&format!("get {kinds} -n {name} -o name"))?;
    ensure!(left.is_empty(), "left behind: {left}");
    cx.kubectl(&format!("create namespace {name}"))?;
    cx.kubectl(&format!("delete namespace {name} --wait=false")).map(|_| ())
}

/// A finalizer inside holds the namespace, and nothing new gets in.
fn namespace_that_ends(cx: &Context) -> Result<()> {
    let name = format!("{}-held", cx.namespace);
    cx.kubectl(&format!("create namespace {name}"))?;
    cx.kubectl_reading(
        &format!("apply -n {name} -f -"),
        "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [example.com/hold]}}",
    )?;
    cx.kubectl(&format!("delete namespace {name} --wait=false"))?;
    cx.until_path(&format!("namespace/{name}"), "{.status.phase}", "Terminating")?;
    has(&cx.kubectl("get namespaces")?, &["Terminating"])?;
    let refused = cx.kubectl_fails(&format!("create configmap late -n {name}"))?;
    has(
        &refused,
        &["is forbidden", &format!("unable to create new content in namespace {name} because it is being terminated")],
    )?;
    cx.until("the condition that tells why", || {
        let conditions = cx.path(&format!("namespace/{name}"), "{.status.conditions}")?;
        Ok(conditions.contains("SomeFinalizersRemain")
            && conditions.contains("example.com/hold in 1 resource instances"))
    })?;
    cx.kubectl(&format!("patch configmap held -n {name} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'"))?;
    cx.kubectl(&format!("wait --for=delete namespace/{name} --timeout=60s")).map(|_| ())
}

fn system_namespaces_stay(cx: &Context) -> Result<()> {
    for name in ["default", "kube-system", "kube-public"] {
        let refused = cx.kubectl_fails(&format!("delete namespace {name} --wait=false"))?;
        has(&refused, &["Forbidden", "this namespace may not be deleted"])?;
    }
    Ok(())
}
