//! Cells of pods and of what runs them.

use super::*;

pub fn pod(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = PodSummary::of(pod);
    let mut restarts = summary.restarts.to_string();
    if let (1.., Some(at)) = (summary.restarts, summary.last_restart) {
        restarts = format!("{} ({} ago)", summary.restarts, between(at, now));
    }
    let ip = get_list(pod, "status.podIPs").first().map(|ip| get_str(ip, "ip").to_owned()).unwrap_or_default();
    row![
        document::name(pod),
        format!("{}/{}", summary.ready, summary.containers),
        summary.reason,
        restarts,
        age(pod, now),
        or(ip, "<none>"),
        or(text_or(pod, "spec.nodeName", ""), "<none>"),
        or(text_or(pod, "status.nominatedNodeName", ""), "<none>"),
        readiness_gates(pod),
    ]
}

/// What the columns Ready, Status and Restarts say of a pod.
struct PodSummary {
    reason: String,
    ready: usize,
    containers: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl PodSummary {
    fn of(pod: &Value) -> PodSummary {
        let phase = get_str(pod, "status.phase");
        let status_reason = get_str(pod, "status.reason");
        let mut summary = PodSummary {
            reason: if status_reason.is_empty() { phase } else { status_reason }.to_owned(),
            ready: 0,
            containers: get_list(pod, "spec.containers").len()
                + get_list(pod, "spec.initContainers").iter().filter(|c| is_sidecar(c)).count(),
            restarts: 0,
            last_restart: None,
        };
        let is_gated = |c: &Value| get_str(c, "type") == "PodScheduled" && get_str(c, "reason") == "SchedulingGated";
        if get_list(pod, "status.conditions").iter().any(is_gated) {
            summary.reason = "SchedulingGated".to_owned();
        }
        if !summary.count_init_containers(pod) {
            summary.count_containers(pod);
        }
        if document::is_terminating(pod) {
            if status_reason == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if !matches!(phase, "Succeeded" | "Failed") {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    fn add_restarts(&mut self, status: &Value) {
        self.restarts += int(status, "restartCount");
        self.last_restart = self.last_restart.max(timestamp(status, "lastState.terminated.finishedAt"));
    }

    /// True while init containers hold the pod back: then they alone say its status. Otherwise only the restarts of
    /// sidecars are counted.
    fn count_init_containers(&mut self, pod: &Value) -> bool {
        let init = get_list(pod, "spec.initContainers");
        let (mut sidecars, mut sidecars_last) = (0, None);
        let mut waiting = None;
        for (index, status) in get_list(pod, "status.initContainerStatuses").iter().enumerate() {
            self.add_restarts(status);
            let name = get_str(status, "name");
            let sidecar = init.iter().any(|c| get_str(c, "name") == name && is_sidecar(c));
            if sidecar {
                sidecars += int(status, "restartCount");
                sidecars_last = sidecars_last.max(timestamp(status, "lastState.terminated.finishedAt"));
            }
            let terminated = get(status, "state.terminated");
            if terminated.is_some_and(|t| int(t, "exitCode") == 0) {
                continue;
            }
            if sidecar && document::get_bool(status, "started") {
                self.ready += usize::from(document::get_bool(status, "ready"));
                continue;
            }
            let reason = get_str(status, "state.waiting.reason");
            waiting = Some(match terminated {
                Some(terminated) => format!("Init:{}", termination(terminated)),
                None if !reason.is_empty() && reason != "PodInitializing" => format!("Init:{reason}"),
                None => format!("Init:{index}/{}", init.len()),
            });
            break;
        }
        let initializing = waiting.is_some();
        if let Some(reason) = waiting {
            self.reason = reason;
        }
        if initializing && !is_condition_true(pod, "status.conditions", "Initialized") {
            return true;
        }
        (self.restarts, self.last_restart) = (sidecars, sidecars_last);
        false
    }

    fn count_containers(&mut self, pod: &Value) {
        let mut running = false;
        let mut failure = None;
        for status in get_list(pod, "status.containerStatuses").iter().rev() {
            self.add_restarts(status);
            let waiting = get_str(status, "state.waiting.reason");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(terminated) = get(status, "state.terminated") {
                self.reason = termination(terminated);
                if int(terminated, "exitCode") != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if document::get_bool(status, "ready") && get(status, "state.running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        // One finished container does not complete the pod.
        if self.reason == "Completed" {
            if running && is_condition_true(pod, "status.conditions", "Ready") {
                self.reason = "Running".to_owned();
            } else if let Some(failure) = failure {
                self.reason = failure;
            } else if running {
                self.reason = "NotReady".to_owned();
            }
        }
    }
}

fn is_sidecar(container: &Value) -> bool {
    get_str(container, "restartPolicy") == "Always"
}

fn termination(terminated: &Value) -> String {
    match (get_str(terminated, "reason"), int(terminated, "signal")) {
        ("", 0) => format!("ExitCode:{}", int(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = get_list(pod, "spec.readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let passed =
        gates.iter().filter(|gate| is_condition_true(pod, "status.conditions", get_str(gate, "conditionType"))).count();
    format!("{passed}/{}", gates.len())
}

pub fn pod_template(object: &Value, _: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object, "template.spec.containers");
    row![document::name(object), names, images, labels(object, "template.metadata.labels")]
}

const TEMPLATE: &str = "spec.template.spec.containers";

pub fn replication_controller(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut row = replicas(object, now);
    row.push(labels(object, "spec.selector").into());
    row
}

pub fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut row = replicas(object, now);
    row.push(selector_cell(object, "spec.selector").into());
    row
}

/// What ReplicaSets and ReplicationControllers have in common.
fn replicas(object: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object, TEMPLATE);
    row![
        document::name(object),
        int(object, "spec.replicas"),
        int(object, "status.replicas"),
        int(object, "status.readyReplicas"),
        age(object, now),
        names,
        images,
    ]
}

pub fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object, TEMPLATE);
    row![
        document::name(object),
        ready_of_desired(object),
        int(object, "status.updatedReplicas"),
        int(object, "status.availableReplicas"),
        age(object, now),
        names,
        images,
        selector(object, "spec.selector").unwrap_or_else(|| "<invalid>".to_owned()),
    ]
}

pub fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object, TEMPLATE);
    row![document::name(object), ready_of_desired(object), age(object, now), names, images]
}

fn ready_of_desired(object: &Value) -> String {
    format!("{}/{}", int(object, "status.readyReplicas"), int(object, "spec.replicas"))
}

pub fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object, TEMPLATE);
    row![
        document::name(object),
        int(object, "status.desiredNumberScheduled"),
        int(object, "status.currentNumberScheduled"),
        int(object, "status.numberReady"),
        int(object, "status.updatedNumberScheduled"),
        int(object, "status.numberAvailable"),
        labels(object, "spec.template.spec.nodeSelector"),
        age(object, now),
        names,
        images,
        selector_cell(object, "spec.selector"),
    ]
}

pub fn controller_revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let owner = get_list(object, "metadata.ownerReferences").iter().find(|o| document::get_bool(o, "controller"));
    let controller = owner.map_or_else(
        || "<none>".to_owned(),
        |owner| {
            let group = get_str(owner, "apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
            let kind = api::kinds::qualified(get_str(owner, "kind"), group).to_lowercase();
            format!("{kind}/{}", get_str(owner, "name"))
        },
    );
    row![document::name(object), controller, int(object, "revision"), age(object, now)]
}

pub fn scale(object: &Value, now: Timestamp) -> Vec<Value> {
    let desired = int(object, "spec.replicas");
    row![document::name(object), desired, int(object, "status.replicas"), age(object, now)]
}

pub fn pod_disruption_budget(object: &Value, now: Timestamp) -> Vec<Value> {
    row![
        document::name(object),
        text_or(object, "spec.minAvailable", "N/A"),
        text_or(object, "spec.maxUnavailable", "N/A"),
        int(object, "status.disruptionsAllowed"),
        age(object, now),
    ]
}
