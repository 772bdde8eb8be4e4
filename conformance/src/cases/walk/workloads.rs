//! Deployments, replica sets and replication controllers.

use crate::case::{Case, Needs};
use crate::context::{Context, has};
use anyhow::{Result, ensure};

pub const CASES: &[Case] = &[
    Case::new("walk::deployment", Needs::Cluster, deployment),
    Case::new("walk::rollout", Needs::Cluster, rollout),
    Case::new("walk::rollout_pause_and_restart", Needs::Cluster, rollout_pause_and_restart),
    Case::new("walk::rollout_that_cannot_go_on", Needs::Cluster, rollout_that_cannot_go_on),
    Case::new("walk::recreate", Needs::Cluster, recreate),
    Case::new("walk::self_healing", Needs::Cluster, self_healing),
    Case::new("walk::replication_controller", Needs::Cluster, replication_controller),
    Case::new("walk::cascade", Needs::Cluster, cascade),
];

const WEB: &str = "create deployment web --image=nginx --replicas=3";
const STATUS: &str = "rollout status deployment/web --timeout=60s";

fn deployment(cx: &Context) -> Result<()> {
    ensure!(cx.kubectl(WEB)?.trim() == "deployment.apps/web created");
    has(&cx.kubectl(STATUS)?, &["deployment \"web\" successfully rolled out"])?;
    has(
        &cx.kubectl("get deployments -o wide")?,
        &["READY", "UP-TO-DATE", "AVAILABLE", "CONTAINERS", "3/3", "nginx", "app=web"],
    )?;
    has(&cx.kubectl("get replicasets")?, &["DESIRED", "CURRENT", "READY", "web-"])?;
    has(&cx.kubectl("get all")?, &["pod/web-", "deployment.apps/web", "replicaset.apps/web-"])?;
    cx.kubectl("scale deployment web --replicas=5")?;
    cx.until_path("deployment/web", "{.status.readyReplicas}", "5")?;
    cx.kubectl("scale deployment web --current-replicas=5 --replicas=2")?;
    cx.until("two pods", || Ok(cx.kubectl("get pods -o name")?.lines().count() == 2))?;
    has(
        &cx.kubectl_fails("scale deployment web --current-replicas=5 --replicas=1")?,
        &["Expected replicas to be 5, was 2"],
    )?;
    let described = cx.kubectl("describe deployment web")?;
    has(
        &described,
        &[
            "Replicas:               2 desired",
            "StrategyType:           RollingUpdate",
            "25% max unavailable, 25% max surge",
        ],
    )?;
    has(&described, &["ScalingReplicaSet", "Scaled up replica set web-", "deployment-controller"])?;
    has(
        &cx.kubectl("describe replicasets")?,
        &["Controlled By:  Deployment/web", "SuccessfulCreate", "Created pod: web-"],
    )?;
    cx.kubectl("delete deployment web")?;
    cx.until("nothing to be left", || Ok(cx.kubectl("get pods,replicasets -o name")?.is_empty()))
}

fn rollout(cx: &Context) -> Result<()> {
    cx.kubectl(WEB)?;
    cx.kubectl(STATUS)?;
    has(&cx.kubectl("set image deployment/web nginx=nginx:1.27")?, &["deployment.apps/web image updated"])?;
    has(&cx.kubectl(STATUS)?, &["successfully rolled out"])?;
    let images = cx.path("pods", "{.items[*].spec.containers[0].image}")?;
    cx.until("only new pods", || {
        Ok(cx.path("pods", "{.items[*].spec.containers[0].image}")? == "nginx:1.27 nginx:1.27 nginx:1.27")
    })
    .map_err(|error| error.context(images))?;
    let history = cx.kubectl("rollout history deployment/web")?;
    has(&history, &["REVISION  CHANGE-CAUSE", "1         <none>", "2         <none>"])?;
    has(&cx.kubectl("rollout history deployment/web --revision=2")?, &["nginx:1.27", "pod-template-hash="])?;
    has(&cx.kubectl("rollout undo deployment/web")?, &["deployment.apps/web rolled back"])?;
    cx.kubectl(STATUS)?;
    ensure!(cx.path("deployment/web", "{.spec.template.spec.containers[0].image}")? == "nginx");
    let history = cx.kubectl("rollout history deployment/web")?;
    has(&history, &["2         <none>", "3         <none>"])?;
    ensure!(!history.contains("\n1   "), "revision 1 became 3, but it is still there:\n{history}");
    cx.kubectl("rollout undo deployment/web --to-revision=2")?;
    cx.kubectl(STATUS)?;
    ensure!(cx.path("deployment/web", "{.spec.template.spec.containers[0].image}")? == "nginx:1.27");
    has(&cx.kubectl("get replicasets -o wide")?, &["nginx:1.27"])
}

fn rollout_pause_and_restart(cx: &Context) -> Result<()> {
    cx.kubectl("create deployment web --image=nginx --replicas=2")?;
    cx.kubectl(STATUS)?;
    cx.kubectl("rollout pause deployment/web")?;
    cx.kubectl("set image deployment/web nginx=nginx:2")?;
    cx.until_path(
        "deployment/web",
        "{.status.observedGeneration}",
        &cx.path("deployment/web", "{.metadata.generation}")?,
    )?;
    ensure!(cx.kubectl("get replicasets -o name")?.lines().count() == 1, "a paused deployment rolled out");
    cx.kubectl("rollout resume deployment/web")?;
    cx.kubectl(STATUS)?;
    cx.kubectl("rollout restart deployment/web")?;
    cx.kubectl(STATUS)?;
    ensure!(cx.kubectl("get replicasets -o name")?.lines().count() == 3);
    let annotations = cx.path("deployment/web", "{.spec.template.metadata.annotations}")?;
    has(&annotations, &["kubectl.kubernetes.io/restartedAt"])
}

fn rollout_that_cannot_go_on(cx: &Context) -> Result<()> {
    cx.kubectl(WEB)?;
    cx.kubectl(STATUS)?;
    cx.kubectl("set resources deployment/web --requests=cpu=10k")?;
    cx.until_path("deployment/web", "{.status.unavailableReplicas}", "1")?;
    ensure!(
        cx.path("deployment/web", "{.status.availableReplicas}")? == "3",
        "old pods went before new ones were there"
    );
    cx.kubectl("patch deployment web -p '{\"spec\":{\"progressDeadlineSeconds\":1}}'")?;
    let failed = cx.kubectl_fails(STATUS)?;
    has(&failed, &["deployment \"web\" exceeded its progress deadline"])?;
    cx.kubectl("rollout undo deployment/web")?;
    cx.kubectl(STATUS).map(|_| ())
}

fn recreate(cx: &Context) -> Result<()> {
    let manifest = |image: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{replicas: 2, strategy: {{type: Recreate}}, \
             selector: {{matchLabels: {{a: b}}}}, template: {{metadata: {{labels: {{a: b}}}}, \
             spec: {{containers: [{{name: c, image: {image}}}]}}}}}}}}"
        )
    };
    cx.apply(&manifest("one"))?;
    cx.kubectl(STATUS)?;
    cx.apply(&manifest("two"))?;
    cx.kubectl(STATUS)?;
    cx.until("new pods only", || Ok(cx.path("pods", "{.items[*].spec.containers[0].image}")? == "two two"))
}

fn self_healing(cx: &Context) -> Result<()> {
    cx.kubectl(WEB)?;
    cx.kubectl(STATUS)?;
    let before = cx.kubectl("get pods -o name")?;
    let first = before.lines().next().unwrap_or_default();
    cx.kubectl(&format!("delete {first}"))?;
    cx.kubectl("wait --for=jsonpath='{.status.readyReplicas}'=3 deployment/web --timeout=60s")?;
    cx.until("another pod", || {
        let now = cx.kubectl("get pods -o name")?;
        Ok(now.lines().count() == 3 && !now.contains(first))
    })
}

fn replication_controller(cx: &Context) -> Result<()> {
    let manifest = r"
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: old}}
    spec: {containers: [{name: c, image: nginx}]}
";
    has(&cx.apply(manifest)?, &["replicationcontroller/old created"])?;
    cx.until_path("rc/old", "{.status.readyReplicas}", "2")?;
    ensure!(
        cx.path("rc/old", "{.spec.selector}")? == r#"{"app":"old"}"#,
        "the selector is the template's labels by default"
    );
    has(&cx.kubectl("get rc -o wide")?, &["DESIRED", "CURRENT", "READY", "CONTAINERS", "old", "app=old"])?;
    cx.kubectl("scale rc old --replicas=3")?;
    cx.until_path("rc/old", "{.status.readyReplicas}", "3")?;
    cx.kubectl("delete rc old")?;
    cx.until("no pod", || Ok(cx.kubectl("get pods -o name")?.is_empty()))
}

/// The three ways to delete an owner.
fn cascade(cx: &Context) -> Result<()> {
    cx.kubectl("create deployment web --image=nginx")?;
    cx.kubectl(STATUS)?;
    cx.kubectl("delete deployment web --cascade=orphan")?;
    cx.until("an ownerless replica set", || {
        Ok(cx.path("replicasets", "{.items[*].metadata.ownerReferences}")?.is_empty())
    })?;
    ensure!(cx.kubectl("get replicasets,pods -o name")?.lines().count() == 2, "what was orphaned is gone");
    cx.kubectl("create deployment web --image=nginx")?;
    cx.until("the adoption", || Ok(cx.path("replicasets", "{..ownerReferences[0].name}")?.contains("web")))?;
    cx.kubectl("delete deployment web --cascade=foreground")?;
    let left = cx.kubectl("get replicasets,pods -o name")?;
    ensure!(left.is_empty(), "foreground deletion ended before its dependents: {left}");
    Ok(())
}
