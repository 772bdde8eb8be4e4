//! When which container starts, exits and restarts: it follows from the moment the node took the pod, so nothing needs to be
//! remembered.

use std::time::Duration;

use jiff::Timestamp;

use crate::pod::{Container, Pod};
use crate::status::Placement;

/// A container that ran this long starts its back-off anew.
const BACKOFF_RESET: Duration = Duration::from_secs(600);
const LONGEST_BACKOFF: u64 = 300;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
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
pub struct Run {
    pub state: State,
    pub restarts: u32,
    /// The run before.
    pub last: Option<(Timestamp, Timestamp, i32)>,
    pub next_change: Option<Timestamp>,
}

impl Run {
    /// Nothing before, and nothing to come.
    pub fn still(state: State) -> Self {
        Self { state, restarts: 0, last: None, next_change: None }
    }
}

/// The runs of a pod's containers.
pub struct Timeline {
    pub inits: Vec<Run>,
    /// All containers do the same.
    pub main: Run,
}

impl Timeline {
    /// They, when the pod has lived until `now`.
    pub fn new(pod: &Pod, place: &Placement, now: Timestamp) -> Self {
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
pub fn backoff(crashes: u32) -> Duration {
    match crashes {
        0 => Duration::ZERO,
        n => Duration::from_secs((10u64 << (n - 1).min(10)).min(LONGEST_BACKOFF)),
    }
}

pub fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}

impl Run {
    /// What the run has become when the pod was stopped.
    pub fn stop(self, at: Timestamp) -> Self {
        let state = match self.state {
            State::Running { since } => State::Ended { since, at: at.max(since), code: 0 },
            State::BackOff { since, at, code, .. } => State::Ended { since, at, code },
            State::Waiting => State::Lost,
            ended => ended,
        };
        Self { state, next_change: None, ..self }
    }

    /// Whether it is running, and has been for that long.
    pub fn is_running_for(&self, time: Duration, now: Timestamp) -> bool {
        matches!(self.state, State::Running { since } if after(since, time) <= now)
    }

    /// When what its container's probes say changes.
    pub fn probed(&self, container: &Container) -> impl Iterator<Item = Timestamp> {
        let since = match self.state {
            State::Running { since } => Some(since),
            _ => None,
        };
        let times = [container.started_after(), container.ready_after()];
        since.into_iter().flat_map(move |since| times.map(|time| after(since, time)))
    }

    /// With what it ended for good; none while it has not.
    pub fn exit_code(&self) -> Option<i32> {
        match self.state {
            State::Ended { code, .. } => Some(code),
            State::Lost => Some(137),
            _ => None,
        }
    }
}
