//! Nodes, one at a time and with nobody else in the cluster.

use crate::case::{Case, Needs};
use crate::context::{Context, has};
use anyhow::{Context as _, Result, ensure};

pub const CASES: &[Case] = &[
    Case::new("walk::nodes", Needs::Nodes, nodes),
    Case::new("walk::cordon", Needs::Nodes, cordon),
    Case::new("walk::drain", Needs::Nodes, drain),
    Case::new("walk::taint", Needs::Nodes, taint),
];

fn one_node(cx: &Context) -> Result<String> {
    cx.ready_nodes()?.into_iter().next().context("no ready node")
}

fn nodes(cx: &Context) -> Result<()> {
    let node = one_node(cx)?;
    has(&cx.kubectl("get nodes")?, &["STATUS", "ROLES", "VERSION", "Ready", "v1.36"])?;
    let described = cx.kubectl(&format!("describe node {node}"))?;
    has(
        &described,
        &[
            "Capacity:",
            "Allocatable:",
            "PodCIDR:",
            "Ready",
            "KubeletReady",
            "MemoryPressure",
            "Lease:",
            "Allocated resources:",
        ],
    )?;
    has(&cx.kubectl("get leases -n kube-node-lease")?, &[&node])?;
    has(&cx.kubectl(&format!("get node {node} --show-labels"))?, &[&format!("kubernetes.io/hostname={node}")])
}

fn cordon(cx: &Context) -> Result<()> {
    let node = one_node(cx)?;
    has(&cx.kubectl(&format!("cordon {node}"))?, &[&format!("node/{node} cordoned")])?;
    has(&cx.kubectl(&format!("get node {node}"))?, &["Ready,SchedulingDisabled"])?;
    cx.until_path(&format!("node/{node}"), "{.spec.taints[*].key}", "node.kubernetes.io/unschedulable")?;
    cx.kubectl("create deployment away --image=nginx --replicas=6")?;
    cx.kubectl("rollout status deployment/away --timeout=60s")?;
    let used = cx.path("pods", "{.items[*].spec.nodeName}")?;
    ensure!(!used.split(' ').any(|name| name == node), "a pod went to the cordoned node: {used}");
    cx.kubectl(&format!("uncordon {node}"))?;
    cx.until_path(&format!("node/{node}"), "{.spec.taints}", "")
}

fn drain(cx: &Context) -> Result<()> {
    cx.kubectl("create deployment moving --image=nginx --replicas=6")?;
    cx.kubectl("rollout status deployment/moving --timeout=60s")?;
    let used = cx.path("pods", "{.items[*].spec.nodeName}")?;
    let node = used.split(' ').next().context("no pod")?.to_owned();
    cx.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: bare}}, spec: {{nodeName: {node}, containers: [{{name: c, image: i}}]}}}}"
    ))?;
    let refused = cx.kubectl_fails(&format!("drain {node} --timeout=30s"))?;
    has(&refused, &["cannot delete Pods that declare no controller", "bare"])?;
    let printed =
        cx.kubectl(&format!("drain {node} --force --ignore-daemonsets --delete-emptydir-data --timeout=60s"))?;
    has(&printed, &["evicting pod", &format!("node/{node} drained")])?;
    cx.kubectl("rollout status deployment/moving --timeout=60s")?;
    cx.until_path("deployment/moving", "{.status.readyReplicas}", "6")?;
    let left = cx.kubectl(&format!("get pods --field-selector spec.nodeName={node} -o name"))?;
    ensure!(left.is_empty(), "left on the node: {left}");
    cx.kubectl_fails("get pod bare")?;
    cx.kubectl(&format!("uncordon {node}")).map(|_| ())
}

fn taint(cx: &Context) -> Result<()> {
    let node = one_node(cx)?;
    has(&cx.kubectl(&format!("taint node {node} dedicated=db:NoSchedule"))?, &[&format!("node/{node} tainted")])?;
    cx.kubectl("create deployment others --image=nginx --replicas=4")?;
    cx.kubectl("rollout status deployment/others --timeout=60s")?;
    ensure!(
        !cx.path("pods", "{.items[*].spec.nodeName}")?.split(' ').any(|name| name == node),
        "the taint was not heeded"
    );
    cx.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: tolerant}}, spec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}, \
         tolerations: [{{key: dedicated, operator: Equal, value: db, effect: NoSchedule}}], containers: [{{name: c, image: i}}]}}}}"
    ))?;
    cx.kubectl("wait --for=condition=Ready pod/tolerant --timeout=60s")?;
    // NoExecute drives away what does not tolerate it.
    cx.kubectl(&format!("taint node {node} broken:NoExecute"))?;
    cx.kubectl("wait --for=delete pod/tolerant --timeout=60s")?;
    has(&cx.kubectl("get events")?, &["TaintManagerEviction"])?;
    cx.kubectl(&format!("taint node {node} dedicated- broken-"))?;
    ensure!(cx.path(&format!("node/{node}"), "{.spec.taints}")?.is_empty());
    Ok(())
}
