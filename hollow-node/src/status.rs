//! The status of a pod on a hollow node: a pure function of the pod, where it runs, and the time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use component::meta::{StringMap, format_time};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::pod::{Container, Pod, Resources};
use crate::timeline::{Run, State, Timeline};

/// Where and since when a pod runs.
#[derive(Clone, Debug)]
pub struct Placement {
    pub host_ip: String,
    /// None until the node can give one.
    pub pod_ip: Option<String>,
    /// When the node took the pod.
    pub admitted: Timestamp,
    /// When it had an address for it; from then on, starting takes its time.
    pub prepared: Timestamp,
    /// What each step of starting takes: the sandbox, then each init container.
    pub start_delay: Duration,
}

/// How far a pod has come; the difference of two is what events tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub init_started: usize,
    /// How many times the containers were started.
    pub runs: u32,
    /// The containers wait for this restart (0: for none).
    pub backing_off: u32,
    pub stopped: bool,
}

/// A pod at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// The patch of the pod's `status`.
    pub status: Value,
    pub progress: Progress,
    /// When it will look different by itself.
    pub next_change: Option<Timestamp>,
    /// All containers have stopped because the pod is being deleted; it can go.
    pub stopped: bool,
}

/// The pod's status at `now`.
pub fn status_at(pod: &Pod, place: &Placement, now: Timestamp) -> Moment {
    let (stops_at, deadline) = (pod.stops_at(), pod.deadline(place.admitted));
    let stopped = stops_at.is_some_and(|stop| stop <= now);
    // Deletion times are whole seconds, cut off: the containers lived into that second, as far as it has passed.
    let end_of_second = |stop: Timestamp| stop.checked_add(Duration::from_secs(1)).unwrap_or(stop).min(now);
    let lived_until = stops_at.filter(|_| stopped).map_or(now, end_of_second);
    let reached = deadline.filter(|deadline| *deadline <= lived_until);
    let timeline = Timeline::new(pod, place, reached.unwrap_or(lived_until));
    let overdue = reached.filter(|_| timeline.main.exit_code().is_none());
    let ended = overdue.or(stopped.then_some(lived_until));
    let stop = |run: Run| ended.map_or(run, |at| run.stop(at));
    let inits: Vec<Run> = timeline.inits.into_iter().map(stop).collect();
    let main = stop(timeline.main);
    let seen = Seen { pod, place, now, inits: &inits, main: &main };
    let phase = if overdue.is_some() { "Failed" } else { phase(pod, &inits, &main, stopped) };
    let mut status = seen.status(phase);
    if overdue.is_some() {
        status.insert("reason".into(), "DeadlineExceeded".into());
        status.insert("message".into(), "Pod was active on the node longer than the specified deadline".into());
    }
    let started = |run: &&Run| !matches!(run.state, State::Waiting | State::Lost);
    let progress = Progress {
        init_started: inits.iter().filter(started).count(),
        runs: if started(&&main) { main.restarts + 1 } else { 0 },
        backing_off: if matches!(main.state, State::BackOff { .. }) { main.restarts + 1 } else { 0 },
        stopped: ended.is_some(),
    };
    let changes = inits.iter().chain([&main]).filter_map(|run| run.next_change);
    let probed = seen.containers().flat_map(|(container, run)| run.probed(container));
    let ends = deadline.filter(|_| main.exit_code().is_none()).into_iter().chain(stops_at);
    let next_change = changes.chain(probed).chain(ends).filter(|at| *at > now).min();
    Moment { status: Value::Object(status), progress, next_change, stopped }
}

fn phase(pod: &Pod, inits: &[Run], main: &Run, stopped: bool) -> &'static str {
    if pod.is_terminal() {
        return if pod.status.phase == "Failed" { "Failed" } else { "Succeeded" };
    }
    match (main.state, main.exit_code()) {
        _ if !stopped && !initialized(pod, inits) => "Pending",
        (State::Waiting, _) => "Pending",
        (_, Some(0)) => "Succeeded",
        (_, Some(_)) => "Failed",
        _ => "Running",
    }
}

fn initialized(pod: &Pod, inits: &[Run]) -> bool {
    pod.spec.init_containers.iter().zip(inits).all(|(container, run)| match run.state {
        State::Ended { code, .. } => code == 0,
        State::Running { .. } => container.is_sidecar(),
        _ => false,
    })
}

/// What a status says, before it is written down.
struct Seen<'a> {
    pod: &'a Pod,
    place: &'a Placement,
    now: Timestamp,
    inits: &'a [Run],
    main: &'a Run,
}

impl<'a> Seen<'a> {
    fn init_containers(&self) -> impl Iterator<Item = (&'a Container, &'a Run)> + use<'a> {
        self.pod.spec.init_containers.iter().zip(self.inits)
    }

    /// All of them that may be probed.
    fn containers(&self) -> impl Iterator<Item = (&'a Container, &'a Run)> + use<'a> {
        let main = self.main;
        let sidecars = self.init_containers().filter(|(container, _)| container.is_sidecar());
        sidecars.chain(self.pod.spec.containers.iter().map(move |container| (container, main)))
    }

    fn is_ready(&self, container: &Container, run: &Run) -> bool {
        run.is_running_for(container.ready_after(), self.now)
    }

    fn status(&self, phase: &str) -> Map<String, Value> {
        let Seen { pod, place, .. } = self;
        let initializing = !initialized(pod, self.inits);
        let mut status = Map::new();
        status.insert("observedGeneration".into(), pod.metadata.generation.into());
        status.insert("phase".into(), phase.into());
        status.insert("startTime".into(), format_time(place.admitted).into());
        status.insert("hostIP".into(), place.host_ip.as_str().into());
        status.insert("hostIPs".into(), json!([{"ip": place.host_ip}]));
        if let Some(ip) = &place.pod_ip {
            status.insert("podIP".into(), ip.as_str().into());
            status.insert("podIPs".into(), json!([{"ip": ip}]));
        }
        status.insert("conditions".into(), self.conditions(phase));
        if !self.inits.is_empty() {
            let each = self.init_containers().map(|(container, run)| {
                let done = matches!(run.state, State::Ended { code: 0, .. }) && !container.is_sidecar();
                self.container(container, run, done || container.is_sidecar() && self.is_ready(container, run), true)
            });
            status.insert("initContainerStatuses".into(), each.collect());
        }
        let main = self.main;
        let each = pod.spec.containers.iter();
        let each = each.map(|container| self.container(container, main, self.is_ready(container, main), initializing));
        status.insert("containerStatuses".into(), each.collect());
        if !pod.spec.ephemeral_containers.is_empty() {
            let each = pod.spec.ephemeral_containers.iter().map(|container| self.ephemeral(container));
            status.insert("ephemeralContainerStatuses".into(), each.collect());
        }
        status
    }

    /// An ephemeral container starts when the node sees it, and ends with the others; it is never started again.
    fn ephemeral(&self, container: &Container) -> Value {
        let known = self.pod.status.ephemeral_container_statuses.iter().find(|status| status.name == container.name);
        let since = known.and_then(|status| status.state.running.started_at).unwrap_or(self.now);
        let run = Run::still(match self.main.state {
            State::Waiting | State::Lost => self.main.state,
            State::Ended { at, code, .. } => State::Ended { since: since.min(at), at, code },
            State::Running { .. } | State::BackOff { .. } => State::Running { since },
        });
        self.container(container, &run, false, false)
    }
}

impl Seen<'_> {
    fn container(&self, container: &Container, run: &Run, ready: bool, initializing: bool) -> Value {
        let pod = self.pod;
        let id = |restarts: u32| format!("hollow://{}", digest(&(&pod.metadata.uid, &container.name, restarts)));
        let ended = |since: Timestamp, at: Timestamp, code: i32, restarts: u32| {
            json!({"terminated": {
                "exitCode": code,
                "reason": if code == 0 { "Completed" } else { "Error" },
                "startedAt": format_time(since),
                "finishedAt": format_time(at),
                "containerID": id(restarts),
            }})
        };
        let last = |(since, at, code)| ended(since, at, code, run.restarts.saturating_sub(1));
        let (state, last_state) = match run.state {
            State::Waiting if initializing && !pod.spec.init_containers.is_empty() => {
                (json!({"waiting": {"reason": "PodInitializing"}}), json!({}))
            }
            State::Waiting => (json!({"waiting": {"reason": "ContainerCreating"}}), json!({})),
            State::Running { since } => {
                (json!({"running": {"startedAt": format_time(since)}}), run.last.map_or(json!({}), last))
            }
            State::Ended { since, at, code } => {
                (ended(since, at, code, run.restarts), run.last.map_or(json!({}), last))
            }
            State::BackOff { since, at, code, wait } => {
                let message = backoff_message(pod, container, wait);
                let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}});
                (waiting, ended(since, at, code, run.restarts))
            }
            State::Lost => {
                let message = "The container could not be located when the pod was terminated";
                let ended = json!({"exitCode": 137, "reason": "ContainerStatusUnknown", "message": message});
                (json!({"terminated": ended}), json!({}))
            }
        };
        let exists = !matches!(run.state, State::Waiting | State::Lost);
        let mut status = json!({
            "name": container.name,
            "image": container.image,
            "imageID": if exists { image_id(&container.image) } else { String::new() },
            "state": state,
            "lastState": last_state,
            "ready": ready,
            "started": run.is_running_for(container.started_after(), self.now),
            "restartCount": run.restarts,
        });
        if exists {
            status["containerID"] = id(run.restarts).into();
            acknowledge(&container.resources, &mut status);
        }
        status
    }
}

/// Whatever a container asks for it is given at once, at its start and when it is resized.
fn acknowledge(resources: &Resources, status: &mut Value) {
    let quantities = |map: &StringMap| map.iter().map(|(name, quantity)| (name.to_owned(), quantity.into())).collect();
    let given = [("requests", &resources.requests), ("limits", &resources.limits)];
    let given = given.map(|(name, map)| (name.to_owned(), Value::Object(quantities(map))));
    let given = given.into_iter().filter(|(_, map)| map.as_object().is_some_and(|map| !map.is_empty()));
    status["resources"] = Value::Object(given.collect());
    if let Some(requests) = status["resources"].get("requests").cloned() {
        status["allocatedResources"] = requests;
    }
}

fn backoff_message(pod: &Pod, container: &Container, wait: Duration) -> String {
    let (minutes, seconds) = (wait.as_secs() / 60, wait.as_secs() % 60);
    let wait = if minutes == 0 { format!("{seconds}s") } else { format!("{minutes}m{seconds}s") };
    format!("back-off {wait} restarting failed container={} pod={}", container.name, described(pod))
}

/// A pod as kubelets name it in messages: `name_namespace(uid)`.
pub fn described(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!("{}_{}({})", meta.name, meta.namespace, meta.uid)
}

impl Seen<'_> {
    fn conditions(&self, phase: &str) -> Value {
        let Seen { pod, place, now, .. } = *self;
        let names = |containers: &mut dyn Iterator<Item = &Container>| {
            containers.map(|container| container.name.as_str()).collect::<Vec<_>>().join(" ")
        };
        let ended = match phase {
            "Succeeded" => Some("PodCompleted"),
            "Failed" => Some("PodFailed"),
            _ => None,
        };
        let incomplete = self.init_containers().filter(|(container, run)| match run.state {
            State::Running { .. } => !container.is_sidecar(),
            State::Ended { .. } => false,
            _ => true,
        });
        let incomplete = names(&mut incomplete.map(|(container, _)| container));
        let initialized = match (ended, incomplete.as_str()) {
            (Some("PodCompleted"), _) => Condition::new(true, "PodCompleted", ""),
            (_, "") => Condition::new(true, "", ""),
            (_, names) => {
                let message = format!("containers with incomplete status: [{names}]");
                Condition::new(false, "ContainersNotInitialized", &message)
            }
        };
        let unready = self.containers().filter(|(container, run)| !self.is_ready(container, run));
        let unready = names(&mut unready.map(|(container, _)| container));
        let containers_ready = match (ended, unready.as_str()) {
            (Some(reason), _) => Condition::new(false, reason, ""),
            (None, "") => Condition::new(true, "", ""),
            (None, names) => {
                Condition::new(false, "ContainersNotReady", &format!("containers with unready status: [{names}]"))
            }
        };
        let ready = if containers_ready.status { readiness_gates(pod) } else { containers_ready.clone() };
        let sandbox = Condition::new(place.pod_ip.is_some() && ended.is_none(), "", "");
        let mut all = vec![
            sandbox.document("PodReadyToStartContainers", pod, now),
            initialized.document("Initialized", pod, now),
            ready.document("Ready", pod, now),
            containers_ready.document("ContainersReady", pod, now),
        ];
        // Binding writes this one; only a pod made with a nodeName comes without.
        if pod.condition("PodScheduled").is_none_or(|condition| condition.status != "True") {
            all.push(Condition::new(true, "", "").document("PodScheduled", pod, now));
        }
        Value::Array(all)
    }
}

/// `Ready`, when all containers are: as the conditions say that the pod's readiness gates name.
fn readiness_gates(pod: &Pod) -> Condition {
    let unready = pod.spec.readiness_gates.iter().filter_map(|gate| {
        let name = &gate.condition_type;
        match pod.condition(name) {
            None => Some(format!("corresponding condition of pod readiness gate \"{name}\" does not exist.")),
            Some(condition) if condition.status != "True" => {
                Some(format!("the status of pod readiness gate \"{name}\" is not \"True\", but {}", condition.status))
            }
            Some(_) => None,
        }
    });
    let messages = unready.collect::<Vec<_>>().join(", ");
    if messages.is_empty() {
        Condition::new(true, "", "")
    } else {
        Condition::new(false, "ReadinessGatesNotReady", &messages)
    }
}

#[derive(Clone)]
struct Condition {
    status: bool,
    reason: &'static str,
    message: String,
}

impl Condition {
    fn new(status: bool, reason: &'static str, message: &str) -> Self {
        Self { status, reason, message: message.to_owned() }
    }

    /// The condition as it goes into the status. One that says what the pod says already keeps its time.
    fn document(&self, r#type: &str, pod: &Pod, now: Timestamp) -> Value {
        let status = if self.status { "True" } else { "False" };
        let before = pod.condition(r#type);
        let since = before.filter(|before| before.status == status).and_then(|before| before.last_transition_time);
        let mut document = json!({
            "type": r#type,
            "status": status,
            "observedGeneration": pod.metadata.generation,
            "lastTransitionTime": format_time(since.unwrap_or(now)),
        });
        for (key, text) in [("reason", self.reason), ("message", self.message.as_str())] {
            if !text.is_empty() {
                document[key] = text.into();
            } else if before.is_some() {
                // In a patch, null removes what the condition said before.
                document[key] = Value::Null;
            }
        }
        document
    }
}

/// The image's name with a digest in the place of its tag.
fn image_id(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    format!("{name}@sha256:{}", digest(&image))
}

/// 64 hexadecimal digits that look like an identifier and are the same each time.
pub fn digest(of: &impl Hash) -> String {
    let words = (0u8..4).map(|salt| {
        let mut hasher = DefaultHasher::new();
        (salt, of).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    });
    words.collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
