//! As many pods as a Job wants now: the missing ones made, the others deleted.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component::events::{Event, EventType};
use component::meta::format_time;
use component::resource::{JOBS, PODS};
use serde_json::{Value, json};

use super::policy::{self, FAILURES, IGNORED_FAILURES, INDEX, Verdict};
use super::{FINALIZER, REPORTER, Sync, is_tracked, tracking};
use crate::controllers::replica_set::{deletion_order, pod_from_template};
use crate::controllers::{child, event};
use crate::kinds::{Pod, condition, template};
use crate::plan::{Action, Step};

/// Pods made or deleted in one go.
const BURST: usize = 500;
/// What a generated name's prefix may be long, so that the suffix still fits into a label.
const LONGEST_PREFIX: usize = 58;
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

impl Sync<'_> {
    pub(super) fn say(&self, kind: EventType, reason: &str, note: &str) -> Event {
        event(REPORTER, (JOBS, &self.job.metadata), kind, reason, note.to_owned())
    }

    fn deletion(&self, pod: &Pod) -> Action {
        Action::delete(PODS, &pod.metadata).reporting(
            Some(self.say(EventType::Normal, "SuccessfulDelete", "Deleted pod: {name}")),
            Some(self.say(EventType::Warning, "FailedDelete", "Error deleting: {error}")),
        )
    }

    /// The end has come: nothing goes on running. Gives the pods that are deleted.
    pub(super) fn delete_active(&mut self) -> Vec<Arc<Pod>> {
        self.plan.each(self.active.iter().map(|pod| self.deletion(pod)).collect());
        self.status.active = 0;
        self.active.clone()
    }

    /// Makes or deletes pods, and sees whether the job is complete. Gives the pods that are deleted.
    pub(super) fn manage(&mut self) -> Vec<Arc<Pod>> {
        let mut gone = Vec::new();
        let mut made = 0;
        if !self.job.metadata.is_terminating() {
            let active = self.active.len() as i64;
            let wanted = self.wanted_active();
            gone = self.surplus(usize::try_from(active - wanted).unwrap_or_default());
            if gone.is_empty() {
                made = self.create_missing(wanted);
            } else {
                self.delete(&gone);
            }
        }
        self.status.active = (self.active.len() - gone.len() + made) as i64;
        let enough = self.job.spec.completions.map_or(self.succeeded > 0, |wanted| self.succeeded >= wanted);
        if enough && self.status.active == 0 {
            let message = "Reached expected number of succeeded pods";
            self.end = Some(self.condition("SuccessCriteriaMet", "True", "CompletionsReached", message));
        } else if !self.job.metadata.is_terminating() {
            self.note_suspension();
        }
        gone
    }

    fn wanted_active(&self) -> i64 {
        let spec = &self.job.spec;
        match spec.completions {
            _ if spec.suspend => 0,
            Some(completions) => (completions - self.succeeded).clamp(0, spec.parallelism),
            // A work queue: after the first success nobody new is asked to help.
            None if self.succeeded > 0 => self.active.len() as i64,
            None => spec.parallelism,
        }
    }

    /// The pods to delete: at least so many, and of pods with the same index all but one.
    fn surplus(&self, at_least: usize) -> Vec<Arc<Pod>> {
        let by_worth = |a: &Arc<Pod>, b: &Arc<Pod>| -> Ordering { deletion_order(a, b, (0, 0), self.view.now) };
        let (mut gone, mut kept) = (Vec::new(), self.active.clone());
        if self.job.is_indexed() {
            let mut by_index: BTreeMap<Option<i64>, Vec<Arc<Pod>>> = BTreeMap::new();
            for pod in kept.drain(..) {
                by_index.entry(policy::index(self.job, &pod)).or_default().push(pod);
            }
            for (index, mut pods) in by_index {
                pods.sort_by(by_worth);
                kept.extend(index.and_then(|_| pods.pop()));
                gone.append(&mut pods);
            }
        }
        if gone.len() < at_least {
            kept.sort_by(by_worth);
            gone.extend(kept.into_iter().take(at_least - gone.len()));
        }
        gone.truncate(BURST);
        gone
    }

    /// Deletes pods that are not to count as failed: without their finalizer nobody counts them.
    fn delete(&mut self, pods: &[Arc<Pod>]) {
        self.plan.each(pods.iter().filter(|pod| is_tracked(pod)).map(|pod| tracking::untrack(pod)).collect());
        self.plan.each(pods.iter().map(|pod| self.deletion(pod)).collect());
    }

    /// Plans the creation of pods up to the wanted number; how many.
    fn create_missing(&mut self, wanted: i64) -> usize {
        let going = if self.job.replaces_failed_only() {
            self.pods.iter().filter(|pod| pod.metadata.is_terminating() && !pod.is_terminal()).count()
        } else {
            0
        };
        let missing = usize::try_from(wanted - (self.active.len() + going) as i64).unwrap_or_default().min(BURST);
        if missing == 0 {
            return 0;
        }
        let per_index = self.job.spec.backoff_limit_per_index.is_some();
        let wait = if per_index { Duration::ZERO } else { policy::wait(self.job, &self.pods, self.view.now) };
        if !wait.is_zero() {
            self.plan.again_after(wait);
            return 0;
        }
        if !self.job.is_indexed() {
            let create = self.creation(self.pod(None));
            self.plan.steps.push(Step::Repeat(create, missing));
            return missing;
        }
        let ready = self.indexes_to_start(missing);
        self.plan.each(ready.iter().map(|index| self.creation(self.pod(Some(*index)))).collect());
        ready.len()
    }

    fn indexes_to_start(&mut self, count: usize) -> Vec<i64> {
        let busy = self.pods.iter().filter(|pod| {
            pod.is_active() || self.job.replaces_failed_only() && pod.metadata.is_terminating() && !pod.is_terminal()
        });
        let busy: Vec<i64> = busy.filter_map(|pod| policy::index(self.job, pod)).collect();
        let mut pending = self.done.with(busy).and(&self.failed_indexes).missing(count, self.job.completions());
        let wait = |index: &i64| policy::wait_of_index(self.awaiting.get(index), self.view.now);
        let shortest = pending.iter().map(&wait).min();
        pending.retain(|index| wait(index).is_zero());
        if let Some(wait) = shortest.filter(|_| pending.is_empty()) {
            self.plan.again_after(wait);
        }
        pending
    }

    fn creation(&self, pod: Value) -> Action {
        Action::create(PODS, &self.job.metadata.namespace, pod).reporting(
            Some(self.say(EventType::Normal, "SuccessfulCreate", "Created pod: {name}")),
            Some(self.say(EventType::Warning, "FailedCreate", "Error creating: {error}")),
        )
    }

    fn pod(&self, index: Option<i64>) -> Value {
        let meta = &self.job.metadata;
        let mut pod = pod_from_template(JOBS, meta, template(&self.job.spec.template));
        let finalizers = child(&mut pod, "metadata").entry("finalizers").or_insert_with(|| json!([]));
        if let Value::Array(names) = finalizers
            && !names.contains(&json!(FINALIZER))
        {
            names.push(json!(FINALIZER));
        }
        if let Some(index) = index {
            self.mark(&mut pod, index);
        }
        pod
    }

    /// Tells a pod its index: by annotation, label, host name and environment.
    fn mark(&self, pod: &mut Value, index: i64) {
        let name = &self.job.metadata.name;
        let suffix = format!("-{index}-");
        let prefix: String = name.chars().take(LONGEST_PREFIX.saturating_sub(suffix.len())).collect();
        let metadata = child(pod, "metadata");
        metadata.insert("generateName".to_owned(), json!(format!("{prefix}{suffix}")));
        for part in ["annotations", "labels"] {
            metadata.entry(part).or_insert_with(|| json!({}))[INDEX] = json!(index.to_string());
        }
        if self.job.spec.backoff_limit_per_index.is_some() {
            let (failures, ignored) = self.failures_of(index);
            metadata["annotations"][FAILURES] = json!(failures.to_string());
            if ignored > 0 {
                metadata["annotations"][IGNORED_FAILURES] = json!(ignored.to_string());
            }
        }
        let spec = child(pod, "spec");
        spec.insert("hostname".to_owned(), json!(format!("{name}-{index}")));
        for part in ["containers", "initContainers"] {
            let containers = spec.get_mut(part).and_then(Value::as_array_mut);
            containers.into_iter().flatten().for_each(tell_index);
        }
    }

    /// How often the index has failed, and how often that did not count.
    fn failures_of(&self, index: i64) -> (i64, i64) {
        let Some(last) = self.awaiting.get(&index) else { return (0, 0) };
        let (failures, ignored) = (policy::counter(last, FAILURES), policy::counter(last, IGNORED_FAILURES));
        match policy::judge(self.job, last) {
            Verdict::Ignore => (failures, ignored + 1),
            _ => (failures + 1, ignored),
        }
    }

    fn note_suspension(&mut self) {
        let suspend = self.job.spec.suspend;
        let (status, reason, message) =
            if suspend { ("True", "JobSuspended", "Job suspended") } else { ("False", "JobResumed", "Job resumed") };
        let known = condition(&self.job.status.conditions, "Suspended");
        // A job that never was suspended needs no word about it.
        if known.map_or(!suspend, |known| known.status == status && known.reason == reason) {
            return;
        }
        let new = self.condition("Suspended", status, reason, message);
        match self.status.conditions.iter_mut().find(|known| known.kind == new.kind) {
            Some(known) => *known = new,
            None => self.status.conditions.push(new),
        }
        self.status.start_time = (!suspend).then(|| format_time(self.view.now));
        let reason = if suspend { "Suspended" } else { "Resumed" };
        self.plan.act(Action::event(self.say(EventType::Normal, reason, message)));
    }
}

fn tell_index(container: &mut Value) {
    let Value::Object(container) = container else { return };
    let Value::Array(variables) = container.entry("env").or_insert_with(|| json!([])) else { return };
    if variables.iter().any(|variable| variable["name"] == INDEX_VARIABLE) {
        return;
    }
    let path = format!("metadata.labels['{INDEX}']");
    variables.push(json!({ "name": INDEX_VARIABLE, "valueFrom": { "fieldRef": { "fieldPath": path } } }));
}
