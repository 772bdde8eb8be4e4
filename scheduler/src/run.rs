//! The scheduler's clients: informers in, bindings, conditions and events out.

use std::sync::Arc;
use std::time::Duration;

use component::client::{Client, PatchType};
use component::events::{Event, EventType, Recorder, Reference, Style};
use component::meta::format_time;
use component::metrics::Metrics;
use component::resource::{NODES, PODS};
use component::{Delta, Informer, Projection};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::SchedulerMetrics;
use crate::plugin::{PLUGINS, Write};
use crate::pod::Pod;
use crate::scheduler::{Decision, Scheduler};
use crate::snapshot::NodeObject;

/// Pods decided about before changes of the cluster are looked at again.
const BURST: usize = 64;

/// How to schedule.
#[derive(Clone)]
pub struct Options {
    /// The `schedulerName` of the pods that are scheduled; also who reports the events.
    pub scheduler_name: &'static str,
    /// As in KubeSchedulerConfiguration: 0 adapts to the size of the cluster.
    pub percentage_of_nodes_to_score: u8,
    /// For the choice among equal nodes; none takes a random one.
    pub seed: Option<u64>,
    /// Bindings under way at once.
    pub parallel_binds: usize,
    /// Where the scheduler's metrics go.
    pub metrics: Metrics,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scheduler_name: "default-scheduler",
            percentage_of_nodes_to_score: 0,
            seed: None,
            parallel_binds: 100,
            metrics: Metrics::default(),
        }
    }
}

/// Schedules until `stop`. Ends with an error only when it cannot start.
pub async fn run(client: kube::Client, options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let client = Client::new(client, "kube-scheduler");
    // Ends what this function has started, however it ends.
    let stop = stop.child_token();
    let _guard = stop.clone().drop_guard();
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let recorder = Recorder::start(client.clone(), Style::Series, &host, stop.clone());
    let pods = Informer::<Pod>::builder(client.clone(), PODS)
        .field_selector("status.phase!=Succeeded,status.phase!=Failed")
        .start(stop.clone());
    let nodes = Informer::<NodeObject>::builder(client.clone(), NODES).start(stop.clone());
    let mut shell = Shell::new(client, recorder, options);
    // Unbounded, as the informers must not block; drained before any pod is tried, it stays as short as a burst of the watch.
    let (changes, mut changed) = mpsc::unbounded_channel();
    let sender = changes.clone();
    nodes.subscribe(move |delta| drop(sender.send(Changed::Node(delta.clone()))));
    pods.subscribe(move |delta| drop(changes.send(Changed::Pod(delta.clone()))));
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = async { tokio::join!(nodes.synced(), pods.synced()); } => {}
    }
    loop {
        while let Ok(change) = changed.try_recv() {
            shell.apply(change);
        }
        let more = shell.decide();
        let deadline = shell.deadline();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(change) = changed.recv() => shell.apply(change),
            Some(done) = shell.tasks.join_next() => shell.finished(done.ok().flatten()),
            () = std::future::ready(()), if more => tokio::task::yield_now().await,
            () = sleep_until(deadline) => {}
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

enum Changed {
    Node(Delta<NodeObject>),
    Pod(Delta<Pod>),
}

/// What a task reports; a patch of a condition reports nothing.
struct Bound {
    pod: Arc<Pod>,
    node: String,
    started: Instant,
    error: Option<component::Error>,
}

struct Shell {
    client: Client,
    recorder: Recorder,
    options: Options,
    metrics: SchedulerMetrics,
    scheduler: Scheduler,
    started: Instant,
    tasks: JoinSet<Option<Bound>>,
}

impl Shell {
    fn new(client: Client, recorder: Recorder, options: Options) -> Self {
        let seed = options.seed.unwrap_or_else(component::informer::random);
        let scheduler = Scheduler::new(options.scheduler_name, options.percentage_of_nodes_to_score, seed);
        let metrics = SchedulerMetrics::new(&options.metrics, options.scheduler_name);
        Self { client, recorder, options, metrics, scheduler, started: Instant::now(), tasks: JoinSet::new() }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn deadline(&self) -> Option<Instant> {
        // With all bindings under way, time alone changes nothing; the next one that ends does.
        let deadline = self.scheduler.next_deadline().filter(|_| self.may_bind())?;
        Some(self.started + deadline)
    }

    fn may_bind(&self) -> bool {
        self.tasks.len() < self.options.parallel_binds.max(1)
    }

    fn apply(&mut self, change: Changed) {
        let now = self.now();
        match change {
            Changed::Node(Delta::Deleted(node)) => self.scheduler.node_deleted(&node.node.name),
            Changed::Node(delta) => self.scheduler.node_applied(delta.object().node.clone(), now),
            Changed::Pod(Delta::Deleted(pod)) => self.scheduler.pod_deleted(&pod.key(), now),
            Changed::Pod(delta) => self.scheduler.pod_applied(delta.object().clone(), now),
        }
    }

    /// Decides about some pods; tells whether more may be ready.
    fn decide(&mut self) -> bool {
        for _ in 0..BURST {
            if !self.may_bind() {
                return false;
            }
            let started = Instant::now();
            let Some(decision) = self.scheduler.next(self.now()) else {
                self.metrics.pending(self.scheduler.depth());
                return false;
            };
            match decision {
                Decision::Bind { pod, node, writes } => self.bind(pod, node, writes, started),
                Decision::Unschedulable { pod, message } => {
                    self.metrics.attempt("unschedulable", started.elapsed());
                    self.report_failure(&pod, "Unschedulable", message);
                }
                Decision::Deleting { pod } => {
                    let meta = &pod.metadata;
                    let note = format!("skip schedule deleting pod: {}/{}", meta.namespace, meta.name);
                    self.event(&pod, EventType::Warning, "FailedScheduling", "Scheduling", note);
                }
            }
        }
        true
    }

    fn bind(&mut self, pod: Arc<Pod>, node: String, writes: Vec<Write>, started: Instant) {
        let client = self.client.clone();
        self.tasks.spawn(async move {
            let mut error = None;
            for Write { resource, namespace, name, subresource, body } in writes {
                let answer = client.create_subresource::<IgnoredAny>(resource, &namespace, &name, subresource, &body);
                if let Err(failure) = answer.await {
                    error = Some(failure);
                    break;
                }
            }
            Some(Bound { pod, node, started, error })
        });
    }

    /// Takes note of a binding that has ended.
    fn finished(&mut self, bound: Option<Bound>) {
        let Some(Bound { pod, node, started, error }) = bound else { return };
        let Some(error) = error else {
            self.metrics.attempt("scheduled", started.elapsed());
            PLUGINS.iter().for_each(|row| row.plugin.post_bind(&pod, &node));
            let note = format!("Successfully assigned {}/{} to {node}", pod.metadata.namespace, pod.metadata.name);
            self.event(&pod, EventType::Normal, "Scheduled", "Binding", note);
            return;
        };
        self.metrics.attempt("error", started.elapsed());
        tracing::debug!(pod = %pod.key(), node, %error, "binding failed");
        let now = self.now();
        if self.scheduler.bind_failed(&pod, now) {
            let reason = match &error {
                component::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            };
            self.report_failure(&pod, "SchedulerError", format!("running Bind plugin \"DefaultBinder\": {reason}"));
        }
    }

    /// Writes the event and, if it says anything new, the condition `PodScheduled`.
    fn report_failure(&mut self, pod: &Arc<Pod>, reason: &'static str, message: String) {
        self.event(pod, EventType::Warning, "FailedScheduling", "Scheduling", message.clone());
        let current = self.scheduler.waiting(pod).unwrap_or(pod);
        let now = jiff::Timestamp::now();
        let Some(patch) = condition_patch(current, reason, &message, now) else { return };
        let (client, meta) = (self.client.clone(), pod.metadata.clone());
        self.tasks.spawn(async move {
            let patched =
                client.patch::<IgnoredAny>(PODS, &meta.namespace, &meta.name, "status", PatchType::Strategic, &patch);
            if let Err(error) = patched.await {
                tracing::debug!(pod = %meta.name, %error, "the condition PodScheduled could not be written");
            }
            None
        });
    }

    fn event(&self, pod: &Pod, kind: EventType, reason: &str, action: &str, note: String) {
        self.recorder.event(Event {
            reporter: self.options.scheduler_name,
            regarding: Reference::to(PODS, &pod.metadata),
            related: None,
            kind,
            reason: reason.to_owned(),
            action: action.to_owned(),
            note,
        });
    }
}

/// The patch of `status` that says why the pod is not scheduled; none when it says so already.
fn condition_patch(pod: &Pod, reason: &str, message: &str, now: jiff::Timestamp) -> Option<Value> {
    let before = pod.scheduled.as_ref().filter(|condition| condition.status == "False");
    if before.is_some_and(|before| before.reason == reason && before.message == message) {
        return None;
    }
    // The time of the transition is that of the status, not of the reason.
    let since = before.and_then(|before| before.last_transition_time.clone()).unwrap_or_else(|| format_time(now));
    Some(json!({
        "metadata": {"uid": pod.metadata.uid},
        "status": {"conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "observedGeneration": pod.metadata.generation,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since,
        }]},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_written_once_and_keeps_its_transition() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut pod = Pod::default();
        pod.metadata.uid = "u".into();
        let patch = condition_patch(&pod, "Unschedulable", "0/1 nodes", now).unwrap();
        assert_eq!(patch["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        pod.scheduled = serde_json::from_value(patch["status"]["conditions"][0].clone()).ok();
        assert_eq!(condition_patch(&pod, "Unschedulable", "0/1 nodes", now), None);
        let later = condition_patch(&pod, "Unschedulable", "0/2 nodes", jiff::Timestamp::now()).unwrap();
        assert_eq!(later["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
    }
}
