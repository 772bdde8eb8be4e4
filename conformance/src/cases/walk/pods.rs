//! Pods from `kubectl run` to `kubectl delete`.

use crate::case::{Case, Needs};
use crate::context::{Context, has};
use anyhow::{Context as _, Result, ensure};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub const CASES: &[Case] = &[
    Case::new("walk::netshoot", Needs::Cluster, netshoot),
    Case::new("walk::describe_pod", Needs::Cluster, describe_pod),
    Case::new("walk::pod_that_fits_nowhere", Needs::Cluster, pod_that_fits_nowhere),
    Case::new("walk::pod_with_node_selector", Needs::Cluster, pod_with_node_selector),
    Case::new("walk::pod_completes", Needs::Cluster, pod_completes),
    Case::new("walk::graceful_deletion", Needs::Cluster, graceful_deletion),
    Case::new("walk::pod_past_its_deadline", Needs::Cluster, pod_past_its_deadline),
    Case::new("walk::readiness_waits_for_its_delay", Needs::Cluster, readiness_waits_for_its_delay),
    Case::new("walk::pod_is_resized", Needs::Cluster, pod_is_resized),
    Case::new("walk::ephemeral_container", Needs::Cluster, ephemeral_container),
    Case::new("walk::get_watch", Needs::Cluster, get_watch),
    Case::new("walk::wait", Needs::Cluster, wait),
];

const NETSHOOT: &str = "run netshoot --image=nicolaka/netshoot -- sleep 3600";

fn netshoot(cx: &Context) -> Result<()> {
    ensure!(cx.kubectl(NETSHOOT)?.trim() == "pod/netshoot created");
    cx.kubectl("wait --for=condition=Ready pod/netshoot --timeout=60s")?;
    let wide = cx.kubectl("get pods -o wide")?;
    has(&wide, &["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES"])?;
    has(&wide, &["netshoot", "1/1", "Running"])?;
    let line = wide.lines().find(|line| line.starts_with("netshoot")).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let ip: Option<std::net::IpAddr> = words.get(5).and_then(|word| word.parse().ok());
    ensure!(ip.is_some(), "no IP: {line}");
    let node = words.get(6).copied().unwrap_or_default();
    cx.kubectl(&format!("get node {node}"))?;
    has(&cx.kubectl("get pods --show-labels")?, &["LABELS", "run=netshoot"])?;
    ensure!(!cx.kubectl("logs netshoot")?.trim().is_empty(), "the log is empty");
    let spec = cx.path(
        "pod/netshoot",
        "{.spec.containers[0].args} {.spec.restartPolicy} {.spec.serviceAccountName} {.status.qosClass}",
    )?;
    ensure!(spec == r#"["sleep","3600"] Always default BestEffort"#, "{spec}");
    has(&cx.kubectl("delete pod netshoot")?, &["pod \"netshoot\" deleted"])?;
    let gone = cx.kubectl_fails("get pod netshoot")?;
    ensure!(gone.trim() == "Error from server (NotFound): pods \"netshoot\" not found", "{gone}");
    has(&cx.kubectl_tries("get pods")?.1, &["No resources found in"])
}

fn describe_pod(cx: &Context) -> Result<()> {
    cx.kubectl(NETSHOOT)?;
    cx.kubectl("wait --for=condition=Ready pod/netshoot --timeout=60s")?;
    cx.until("all events", || Ok(cx.kubectl("get events -o jsonpath={..reason}")?.contains("Started")))?;
    let described = cx.kubectl("describe pod netshoot")?;
    has(
        &described,
        &["Name:             netshoot", "Priority:         0", "Service Account:  default", "Node:             "],
    )?;
    has(
        &described,
        &["Status:           Running", "Image:         nicolaka/netshoot", "QoS Class:                   BestEffort"],
    )?;
    has(&described, &["kube-api-access-", "/var/run/secrets/kubernetes.io/serviceaccount", "Ready:          True"])?;
    has(&described, &["node.kubernetes.io/not-ready:NoExecute op=Exists for 300s"])?;
    for event in ["Scheduled", "Pulled", "Created", "Started"] {
        has(&described, &[&format!("Normal  {event}")])?;
    }
    let namespace = &cx.namespace;
    has(&described, &["default-scheduler", &format!("Successfully assigned {namespace}/netshoot to "), "kubelet"])
}

fn pod_that_fits_nowhere(cx: &Context) -> Result<()> {
    cx.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: huge}, spec: {containers: [{name: c, image: i, resources: {requests: {cpu: 10k}}}]}}",
    )?;
    cx.until("FailedScheduling", || {
        Ok(cx.kubectl("get events --field-selector reason=FailedScheduling")?.contains("huge"))
    })?;
    has(
        &cx.kubectl("describe pod huge")?,
        &["Pending", "FailedScheduling", "nodes are available", "Insufficient cpu"],
    )?;
    cx.until_path("pod/huge", "{.status.conditions[?(@.type==\"PodScheduled\")].reason}", "Unschedulable")
}

fn pod_with_node_selector(cx: &Context) -> Result<()> {
    let nodes = cx.ready_nodes()?;
    let Some(node) = nodes.last() else { anyhow::bail!("no ready node") };
    cx.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: chosen}}, spec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}, \
         containers: [{{name: c, image: i}}]}}}}"
    ))?;
    cx.until_path("pod/chosen", "{.spec.nodeName}", node)
}

/// The annotation of hollow nodes that ends a container; a real kubelet has the command for that.
fn pod_completes(cx: &Context) -> Result<()> {
    cx.apply(
        r#"{apiVersion: v1, kind: Pod, metadata: {name: once, annotations: {hollow.coracle.dev/exit-after: 100ms}},
            spec: {restartPolicy: Never, containers: [{name: c, image: busybox, command: ["true"]}]}}"#,
    )?;
    cx.until_path("pod/once", "{.status.phase}", "Succeeded")?;
    has(&cx.kubectl("get pod once")?, &["0/1", "Completed"])
}

fn pod_past_its_deadline(cx: &Context) -> Result<()> {
    cx.apply(
        r#"{apiVersion: v1, kind: Pod, metadata: {name: late}, spec: {containers: [{name: c, image: busybox, args: [sleep, "600"]}]}}"#,
    )?;
    cx.kubectl("wait --for=condition=Ready pod/late --timeout=60s")?;
    cx.kubectl(r#"patch pod late -p '{"spec":{"activeDeadlineSeconds":1}}'"#)?;
    cx.until_path("pod/late", "{.status.phase} {.status.reason}", "Failed DeadlineExceeded")
}

fn readiness_waits_for_its_delay(cx: &Context) -> Result<()> {
    cx.apply(
        r#"{apiVersion: v1, kind: Pod, metadata: {name: slow}, spec: {containers: [{name: c, image: busybox, args: [sleep, "600"],
            readinessProbe: {exec: {command: ["true"]}, initialDelaySeconds: 2}}]}}"#,
    )?;
    cx.until_path("pod/slow", "{.status.phase} {.status.containerStatuses[0].ready}", "Running false")?;
    cx.until_path("pod/slow", "{.status.containerStatuses[0].ready}", "true")?;
    let times = "{.status.containerStatuses[0].state.running.startedAt} {.status.conditions[?(@.type==\"Ready\")].lastTransitionTime}";
    let times = cx.path("pod/slow", times)?;
    let time = |text| OffsetDateTime::parse(text, &Rfc3339);
    let (started, ready) = times.split_once(' ').context("two times")?;
    ensure!((time(ready)? - time(started)?).whole_seconds() >= 2, "started at {started}, but ready at {ready}");
    Ok(())
}

fn pod_is_resized(cx: &Context) -> Result<()> {
    cx.apply(
        r#"{apiVersion: v1, kind: Pod, metadata: {name: growing}, spec: {containers: [{name: c, image: busybox, args: [sleep, "600"],
            resources: {requests: {cpu: 100m}}}]}}"#,
    )?;
    let given =
        "{.status.containerStatuses[0].resources.requests.cpu} {.status.containerStatuses[0].allocatedResources.cpu}";
    cx.until_path("pod/growing", given, "100m 100m")?;
    let patch = r#"{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"200m"}}}]}}"#;
    cx.kubectl(&format!("patch pod growing --subresource=resize -p '{patch}'"))?;
    cx.until_path("pod/growing", given, "200m 200m")?;
    cx.until_path("pod/growing", "{.metadata.generation} {.status.observedGeneration}", "2 2")
}

fn ephemeral_container(cx: &Context) -> Result<()> {
    cx.kubectl(NETSHOOT)?;
    cx.kubectl("wait --for=condition=Ready pod/netshoot --timeout=60s")?;
    cx.kubectl("debug netshoot --image=busybox --container=look -- sleep 600")?;
    let seen = "{.status.ephemeralContainerStatuses[0].name} {.status.ephemeralContainerStatuses[0].state}";
    cx.until("the ephemeral container", || Ok(cx.path("pod/netshoot", seen)?.starts_with("look {\"running\"")))?;
    ensure!(cx.path("pod/netshoot", "{.status.containerStatuses[0].restartCount}")? == "0");
    Ok(())
}

fn graceful_deletion(cx: &Context) -> Result<()> {
    cx.kubectl("run leaving --image=nginx")?;
    cx.kubectl("wait --for=condition=Ready pod/leaving --timeout=60s")?;
    let mut watching =
        cx.kubectl_runs("get pod leaving -w -o 'jsonpath={.metadata.deletionGracePeriodSeconds} {.status.phase}\n'")?;
    watching.until_printed("Running")?;
    cx.kubectl("delete pod leaving --grace-period=5 --wait=false")?;
    watching.until_printed("5 Running")?;
    cx.kubectl("wait --for=delete pod/leaving --timeout=60s")?;
    ensure!(!watching.has_ended()?, "the watch ended");
    cx.kubectl("run forced --image=nginx")?;
    cx.kubectl("delete pod forced --force --grace-period=0")?;
    cx.kubectl_fails("get pod forced").map(|_| ())
}

fn get_watch(cx: &Context) -> Result<()> {
    let watching = cx.kubectl_runs("get pods --watch --output-watch-events")?;
    cx.kubectl("run before --image=nginx")?;
    watching.until_printed("Running")?;
    cx.kubectl("run seen --image=nginx")?;
    cx.kubectl("wait --for=condition=Ready pod/seen --timeout=60s")?;
    cx.kubectl("delete pod seen")?;
    watching.until_printed("Terminating")?;
    watching.until_printed("DELETED")?;
    has(&watching.printed()?, &["EVENT", "NAME", "READY", "STATUS", "MODIFIED", "Pending", "ContainerCreating"])
}

fn wait(cx: &Context) -> Result<()> {
    cx.kubectl("run waited --image=nginx")?;
    has(&cx.kubectl("wait --for=condition=Ready pod/waited --timeout=60s")?, &["pod/waited condition met"])?;
    has(&cx.kubectl("wait --for=jsonpath='{.status.phase}'=Running pod/waited --timeout=60s")?, &["condition met"])?;
    cx.kubectl("delete pod waited --wait=false")?;
    cx.kubectl("wait --for=delete pod/waited --timeout=60s")?;
    let late = cx.kubectl_fails("wait --for=condition=Ready pod/waited --timeout=1s")?;
    has(&late, &["pods \"waited\" not found"])
}
