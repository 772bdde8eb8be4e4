//! Counting pods that have ended, each once, and the end of the Job itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use component::client::PatchType;
use component::events::EventType;
use component::resource::{JOBS, PODS};
use serde_json::{Value, json};

use super::policy::{self, Verdict};
use super::{FINALIZER, Sync, is_tracked};
use crate::controllers::without_zeros;
use crate::kinds::{Condition, Job, JobStatus, Pod};
use crate::plan::Action;

/// Uids in a status at the same time; each has 36 letters.
const MOST_UNCOUNTED: usize = 500;

/// Takes the tracking finalizer off a pod.
pub fn untrack(pod: &Pod) -> Action {
    let body = json!({ "metadata": { "uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER] } });
    Action::patch(PODS, &pod.metadata, "", PatchType::Strategic, body)
}

impl Sync<'_> {
    /// Completes the status, writes it if it changed, and lets go of the pods that are in it.
    pub(super) fn track(&mut self) {
        self.move_uncounted_to_counters();
        let (pods, all) = self.count_ended();
        if self.job.is_indexed() {
            self.status.succeeded = self.done.count();
            self.status.completed_indexes = self.done.to_string();
            let per_index = self.job.spec.backoff_limit_per_index.is_some();
            self.status.failed_indexes = per_index.then(|| self.failed_indexes.to_string());
        }
        let settled = all && pods.is_empty() && self.status.uncounted_terminated_pods.is_empty();
        let finish = self.announce_end().filter(|_| settled && self.status.terminating == Some(0));
        if let Some(finish) = &finish {
            self.finish(finish.clone());
        }
        let free: Vec<Action> = pods.iter().map(|pod| untrack(pod)).collect();
        self.write(free);
        if let Some(finish) = finish {
            self.report(&finish);
        }
    }

    /// Pods whose finalizer is gone are in the counters from now on.
    fn move_uncounted_to_counters(&mut self) {
        let held: BTreeSet<&str> =
            self.pods.iter().filter(|pod| is_tracked(pod)).map(|pod| pod.metadata.uid.as_str()).collect();
        let settle = |uids: &mut Vec<String>| {
            let before = uids.len();
            uids.retain(|uid| held.contains(uid.as_str()));
            (before - uids.len()) as i64
        };
        let uncounted = &mut self.status.uncounted_terminated_pods;
        self.status.succeeded += settle(&mut uncounted.succeeded);
        self.status.failed += settle(&mut uncounted.failed);
    }

    /// Notes the pods that have ended. Gives those to let go, and whether these are all.
    fn count_ended(&mut self) -> (Vec<Arc<Pod>>, bool) {
        let mut free = Vec::new();
        let lost = self.end.as_ref().is_some_and(|end| end.kind != "SuccessCriteriaMet");
        for pod in self.pods.iter().filter(|pod| is_tracked(pod)) {
            let failed = policy::is_failed(self.job, pod);
            if !self.may_let_go(pod, failed) {
                continue;
            }
            free.push(pod.clone());
            let uncounted = &mut self.status.uncounted_terminated_pods;
            let uid = &pod.metadata.uid;
            let valid = !self.job.is_indexed() || policy::index(self.job, pod).is_some();
            if pod.status.phase == "Succeeded" && !uncounted.failed.contains(uid) {
                // Of an indexed job the index tells that it was counted.
                if !self.job.is_indexed() && !uncounted.succeeded.contains(uid) {
                    uncounted.succeeded.push(uid.clone());
                }
            } else if (failed || lost)
                && valid
                && !uncounted.failed.contains(uid)
                && policy::judge(self.job, pod) != Verdict::Ignore
            {
                uncounted.failed.push(uid.clone());
            }
            if uncounted.succeeded.len() + uncounted.failed.len() >= MOST_UNCOUNTED {
                return (free, false);
            }
        }
        (free, true)
    }

    fn may_let_go(&self, pod: &Pod, failed: bool) -> bool {
        if self.job.metadata.is_terminating() || self.end.is_some() || pod.status.phase == "Succeeded" {
            return true;
        }
        // The last failed pod of an index stays until its replacement has taken over the number of failures.
        let awaited = policy::index(self.job, pod).and_then(|index| self.awaiting.get(&index));
        failed && awaited.is_none_or(|last| last.metadata.uid != pod.metadata.uid)
    }

    /// Puts the interim condition into the status; gives the final one that follows when all pods are gone.
    fn announce_end(&mut self) -> Option<Condition> {
        let end = self.end.clone()?;
        let last = match end.kind.as_str() {
            "SuccessCriteriaMet" => "Complete",
            "FailureTarget" => "Failed",
            _ => return Some(end),
        };
        if self.job.holds(&end.kind).is_none() {
            self.status.conditions.push(end.clone());
            // It has to be seen before the end: the final condition comes with the next look.
            return None;
        }
        Some(self.condition(last, "True", &end.reason, &end.message))
    }

    fn finish(&mut self, condition: Condition) {
        if condition.kind == "Complete" {
            self.status.completion_time = condition.last_transition_time.clone();
        }
        self.status.conditions.push(condition);
    }

    fn report(&mut self, finish: &Condition) {
        let many = self.job.spec.completions.is_some_and(|wanted| self.status.succeeded > wanted);
        if finish.kind == "Complete" && many {
            let note = "Too many succeeded pods running after completion count reached";
            self.plan.act(Action::event(self.say(EventType::Warning, "TooManySucceededPods", note)));
        }
        let event = match finish.kind.as_str() {
            "Complete" => self.say(EventType::Normal, "Completed", "Job completed"),
            _ => self.say(EventType::Warning, &finish.reason, &finish.message),
        };
        self.plan.act(Action::event(event));
    }

    fn write(&mut self, free: Vec<Action>) {
        // When pods could not be made or deleted, what has ended is counted nevertheless.
        let mut without = self.status.clone();
        without.active = self.active.len() as i64;
        let instead: Vec<Action> = status_patch(self.job, &without).into_iter().chain(free.clone()).collect();
        self.plan.on_failure = Some(Box::new(move |_| instead));
        if let Some(patch) = status_patch(self.job, &self.status) {
            self.plan.act(patch);
        }
        self.plan.each(free);
    }
}

/// With the version that was read, so that no pod is counted on top of a status that is not known yet.
fn status_patch(job: &Job, status: &JobStatus) -> Option<Action> {
    if *status == job.status {
        return None;
    }
    let mut body = without_zeros(json!(status), &["active", "succeeded", "failed"]);
    for empty in
        ["/completedIndexes", "/conditions", "/uncountedTerminatedPods/succeeded", "/uncountedTerminatedPods/failed"]
    {
        if let Some(value) = body.pointer_mut(empty)
            && (*value == json!("") || *value == json!([]))
        {
            *value = Value::Null;
        }
    }
    let version = job.metadata.resource_version.to_string();
    let body = json!({ "metadata": { "resourceVersion": version }, "status": body });
    Some(Action::merge(JOBS, &job.metadata, "status", body))
}
