//! The status of a pod on a hollow node: a pure function of the pod, where it runs, and the time.
//!
//! Nothing runs, so nothing needs to be remembered: when which container starts, exits and restarts follows from the moment
//! the node took the pod.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use component::meta::format_time;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::pod::{Container, Pod};

/// A container that ran this long starts its back-off anew.
const BACKOFF_RESET: Duration = Duration::from_secs(600);
const LONGEST_BACKOFF: u64 = 300;

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

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    Running {
        since: Timestamp,
    },
    Ended {
        since: Timestamp,
        at: Timestamp,
        code: i32,
    },
    /// After the end, until the next start.
    BackOff {
        since: Timestamp,
        at: Timestamp,
        code: i32,
        wait: Duration,
    },
    /// Never started, and will not.
    Lost,
}

/// A container's present run.
#[derive(Clone, Copy, Debug)]
struct Run {
    state: State,
    restarts: u32,
    /// The run before.
    last: Option<(Timestamp, Timestamp, i32)>,
    next_change: Option<Timestamp>,
}

impl Run {
    fn still(state: State) -> Self {
        Self { state, restarts: 0, last: None, next_change: None }
    }
}

/// The pod's status at `now`.
pub fn status_at(pod: &Pod, place: &Placement, now: Timestamp) -> Moment {
    let stops_at = pod.stops_at();
    let stopped = stops_at.is_some_and(|stop| stop <= now);
    // Deletion times are whole seconds, cut off: the containers lived into that second, as far as it has passed.
    let end_of_second = |stop: Timestamp| stop.checked_add(Duration::from_secs(1)).unwrap_or(stop).min(now);
    let lived_until = stops_at.filter(|_| stopped).map_or(now, end_of_second);
    let timeline = Timeline::new(pod, place, lived_until);
    let stop = |run: Run| if stopped { run.stop(lived_until) } else { run };
    let inits: Vec<Run> = timeline.inits.into_iter().map(stop).collect();
    let main = stop(timeline.main);
    let phase = phase(pod, &inits, &main, stopped);
    let next_change =
        inits.iter().chain([&main]).filter_map(|run| run.next_change).chain(stops_at).filter(|at| *at > now);
    let status = status(pod, place, now, &inits, &main, phase);
    let started = |run: &&Run| !matches!(run.state, State::Waiting | State::Lost);
    let progress = Progress {
        init_started: inits.iter().filter(started).count(),
        runs: if started(&&main) { main.restarts + 1 } else { 0 },
        backing_off: if matches!(main.state, State::BackOff { .. }) { main.restarts + 1 } else { 0 },
        stopped,
    };
    Moment { status, progress, next_change: next_change.min(), stopped }
}

struct Timeline {
    inits: Vec<Run>,
    /// All containers do the same.
    main: Run,
}

impl Timeline {
    fn new(pod: &Pod, place: &Placement, now: Timestamp) -> Self {
        let waiting = Run::still(State::Waiting);
        if place.pod_ip.is_none() {
            return Self { inits: vec![waiting; pod.spec.init_containers.len()], main: waiting };
        }
        let mut at = after(place.prepared, place.start_delay);
        let mut inits = Vec::with_capacity(pod.spec.init_containers.len());
        for container in &pod.spec.init_containers {
            let end = after(at, place.start_delay);
            inits.push(match () {
                () if at > now => Run { next_change: Some(at), ..waiting },
                () if container.is_sidecar() => Run::still(State::Running { since: at }),
                () if end > now => Run { next_change: Some(end), ..Run::still(State::Running { since: at }) },
                () => Run::still(State::Ended { since: at, at: end, code: 0 }),
            });
            at = end;
        }
        Self { inits, main: main_run(pod, at, now) }
    }
}

/// The containers' run at `now`, when the first began at `start`.
fn main_run(pod: &Pod, start: Timestamp, now: Timestamp) -> Run {
    if start > now {
        return Run { next_change: Some(start), ..Run::still(State::Waiting) };
    }
    let Some(exit_after) = pod.exit_after() else { return Run::still(State::Running { since: start }) };
    let code = pod.exit_code();
    let restarts = match pod.spec.restart_policy.as_str() {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    };
    let (mut since, mut restart, mut crashes, mut last) = (start, 0, 0, None);
    loop {
        let end = after(since, exit_after);
        if end > now {
            return Run { state: State::Running { since }, restarts: restart, last, next_change: Some(end) };
        }
        if !restarts {
            return Run { state: State::Ended { since, at: end, code }, restarts: restart, last, next_change: None };
        }
        let wait = backoff(crashes);
        let again = after(end, wait);
        if again > now {
            let state = State::BackOff { since, at: end, code, wait };
            return Run { state, restarts: restart, last, next_change: Some(again) };
        }
        last = Some((since, end, code));
        crashes = if exit_after >= BACKOFF_RESET { 0 } else { crashes + 1 };
        since = again;
        restart += 1;
    }
}

/// As the kubelet's: the first restart at once, then after 10 s, doubling to 5 minutes.
fn backoff(crashes: u32) -> Duration {
    match crashes {
        0 => Duration::ZERO,
        n => Duration::from_secs((10u64 << (n - 1).min(10)).min(LONGEST_BACKOFF)),
    }
}

fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}

impl Run {
    /// What the run has become when the pod was stopped.
    fn stop(self, at: Timestamp) -> Self {
        let state = match self.state {
            State::Running { since } => State::Ended { since, at: at.max(since), code: 0 },
            State::BackOff { since, at, code, .. } => State::Ended { since, at, code },
            State::Waiting => State::Lost,
            ended => ended,
        };
        Self { state, next_change: None, ..self }
    }

    fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    fn exit_code(&self) -> Option<i32> {
        match self.state {
            State::Ended { code, .. } => Some(code),
            State::Lost => Some(137),
            _ => None,
        }
    }
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

fn status(pod: &Pod, place: &Placement, now: Timestamp, inits: &[Run], main: &Run, phase: &str) -> Value {
    let initializing = !initialized(pod, inits);
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
    status.insert("conditions".into(), conditions(pod, place, now, inits, main, phase));
    if !inits.is_empty() {
        let each = pod.spec.init_containers.iter().zip(inits);
        let statuses: Vec<Value> = each
            .map(|(container, run)| {
                let done = matches!(run.state, State::Ended { code: 0, .. }) && !container.is_sidecar();
                container_status(pod, container, run, done || run.is_running() && container.is_sidecar(), true)
            })
            .collect();
        status.insert("initContainerStatuses".into(), statuses.into());
    }
    let statuses: Vec<Value> = pod
        .spec
        .containers
        .iter()
        .map(|container| container_status(pod, container, main, main.is_running(), initializing))
        .collect();
    status.insert("containerStatuses".into(), statuses.into());
    Value::Object(status)
}

fn container_status(pod: &Pod, container: &Container, run: &Run, ready: bool, initializing: bool) -> Value {
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
        State::Ended { since, at, code } => (ended(since, at, code, run.restarts), run.last.map_or(json!({}), last)),
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
        "started": run.is_running(),
        "restartCount": run.restarts,
    });
    if exists {
        status["containerID"] = id(run.restarts).into();
    }
    status
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

fn conditions(pod: &Pod, place: &Placement, now: Timestamp, inits: &[Run], main: &Run, phase: &str) -> Value {
    let names = |containers: &mut dyn Iterator<Item = &Container>| {
        containers.map(|container| container.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let ended = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let incomplete = pod.spec.init_containers.iter().zip(inits).filter(|(container, run)| match run.state {
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
    let idle_sidecars = pod.spec.init_containers.iter().zip(inits);
    let idle_sidecars = idle_sidecars.filter(|(container, run)| container.is_sidecar() && !run.is_running());
    let idle = pod.spec.containers.iter().filter(|_| !main.is_running());
    let unready = names(&mut idle_sidecars.map(|(container, _)| container).chain(idle));
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
