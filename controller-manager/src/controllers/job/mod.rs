//! Jobs: pods until enough of them have succeeded, or too many have failed (upstream's `pkg/controller/job`).
//!
//! A pod holds a finalizer until its end is in the Job's status (KEP-2307): first its uid goes into `uncountedTerminatedPods`,
//! then the finalizer goes, then the counter goes up. So each pod counts once, whatever fails in between.

mod indexes;
mod manage;
mod policy;
mod tracking;

use std::collections::BTreeMap;
use std::sync::Arc;

use component::meta::format_time;
use component::resource::{JOBS, PODS};
use component::{Delta, Store};
use jiff::SignedDuration;
use serde_json::json;

use self::indexes::Indexes;
use self::policy::Verdict;
use super::claim::{self, Claimant};
use crate::informers::{CONTROLLER, Informers};
use crate::kinds::{Condition, Job, JobStatus, Pod};
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const REPORTER: &str = "job-controller";
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

pub fn watch(informers: &Informers, queue: &Queue) {
    let (each, pods) = (queue.clone(), informers.pods.store().clone());
    informers.jobs.subscribe(move |delta| {
        let job = delta.object();
        each.add(Item::of(JOBS, &job.metadata));
        if matches!(delta, Delta::Deleted(_)) {
            let left = pods.by(CONTROLLER, &job.metadata.uid);
            left.iter().for_each(|pod| each.add(Item::of(PODS, &pod.metadata)));
        }
    });
    claim::watch_pods(&informers.pods, informers.jobs.store(), JOBS, |job| &job.spec.selector, queue);
    let (queue, jobs) = (queue.clone(), informers.jobs.store().clone());
    informers.pods.subscribe(move |delta| {
        let pod = delta.object();
        if !matches!(delta, Delta::Deleted(_)) && is_tracked(pod) && is_orphan(&jobs, pod) {
            queue.add(Item::of(PODS, &pod.metadata));
        }
    });
}

fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.has_finalizer(FINALIZER)
}

/// Whether no Job will ever count the pod.
fn is_orphan(jobs: &Store<Job>, pod: &Pod) -> bool {
    match pod.metadata.controller() {
        None => true,
        Some(owner) if owner.kind == JOBS.kind => {
            jobs.get(&pod.metadata.namespace, &owner.name).is_none_or(|job| job.metadata.uid != owner.uid)
        }
        Some(_) => false,
    }
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    if item.resource == PODS {
        return free_orphan(view, item);
    }
    let Some(job) = view.stores.jobs.get(item.namespace(), item.name()) else { return Plan::none() };
    if job.finished().is_some() || job.is_managed_elsewhere() || job.spec.selector.is_empty() {
        return Plan::none();
    }
    let claimant = Claimant { resource: JOBS, meta: &job.metadata, selector: &job.spec.selector };
    match claimant.claim(view, PODS, &view.stores.pods, |_| true) {
        Ok((pods, patches)) => Sync::new(view, &job, pods).plan(patches),
        Err(plan) => *plan,
    }
}

fn free_orphan(view: &View<'_>, item: &Item) -> Plan {
    let mut plan = Plan::none();
    if let Some(pod) = view.stores.pods.get(item.namespace(), item.name())
        && is_tracked(&pod)
        && is_orphan(&view.stores.jobs, &pod)
    {
        plan.act(tracking::untrack(&pod));
    }
    plan
}

/// One look at a Job and its pods.
struct Sync<'a> {
    view: &'a View<'a>,
    job: &'a Job,
    pods: Vec<Arc<Pod>>,
    active: Vec<Arc<Pod>>,
    /// The status as it becomes.
    status: JobStatus,
    /// What ends the job: `SuccessCriteriaMet`, `FailureTarget`, or the `Failed` that follows an earlier `FailureTarget`.
    end: Option<Condition>,
    succeeded: i64,
    failed: i64,
    /// Indexes that the status knows as succeeded, and those with what has succeeded since.
    counted: Indexes,
    done: Indexes,
    failed_indexes: Indexes,
    /// Of indexes that wait for their next try: the last failed pod, which keeps the number of failures.
    awaiting: BTreeMap<i64, Arc<Pod>>,
    plan: Plan,
}

impl<'a> Sync<'a> {
    fn new(view: &'a View<'a>, job: &'a Job, pods: Vec<Arc<Pod>>) -> Sync<'a> {
        let active: Vec<Arc<Pod>> = pods.iter().filter(|pod| pod.is_active()).cloned().collect();
        let mut sync = Sync {
            view,
            job,
            active,
            pods,
            status: job.status.clone(),
            end: None,
            succeeded: 0,
            failed: 0,
            counted: Indexes::default(),
            done: Indexes::default(),
            failed_indexes: Indexes::default(),
            awaiting: BTreeMap::new(),
            plan: Plan::none(),
        };
        sync.count();
        sync
    }

    fn plan(mut self, patches: Vec<Action>) -> Plan {
        self.plan.each(patches);
        if self.status.start_time.is_none() && !self.job.spec.suspend {
            self.status.start_time = Some(format_time(self.view.now));
        }
        self.end = self.find_end();
        let ready = |pods: &[Arc<Pod>]| pods.iter().filter(|pod| pod.is_ready()).count() as i64;
        let terminating = self.pods.iter().filter(|pod| pod.metadata.is_terminating() && !pod.is_terminal()).count();
        let gone = if self.end.is_some() { self.delete_active() } else { self.manage() };
        self.status.ready = Some(ready(&self.active) - ready(&gone));
        self.status.terminating = Some((terminating + gone.len()) as i64);
        self.track();
        self.plan
    }

    fn is_valid(&self, pod: &Pod) -> bool {
        !self.job.is_indexed() || policy::index(self.job, pod).is_some()
    }

    /// Pods that have ended since the status was written.
    fn fresh(&self, known: &[String], ended: impl Fn(&Pod) -> bool) -> i64 {
        let fresh = |pod: &&Arc<Pod>| is_tracked(pod) && !known.contains(&pod.metadata.uid) && self.is_valid(pod);
        self.pods.iter().filter(fresh).filter(|pod| ended(pod)).count() as i64
    }

    fn count(&mut self) {
        let (status, job) = (&self.job.status, self.job);
        let uncounted = &status.uncounted_terminated_pods;
        let succeeded = self.fresh(&uncounted.succeeded, |pod| pod.status.phase == "Succeeded");
        let failed = self
            .fresh(&uncounted.failed, |pod| policy::is_failed(job, pod) && policy::judge(job, pod) != Verdict::Ignore);
        self.succeeded = status.succeeded + succeeded + uncounted.succeeded.len() as i64;
        self.failed = status.failed + failed + uncounted.failed.len() as i64;
        if !job.is_indexed() {
            return;
        }
        let indexes = |wanted: &dyn Fn(&Pod) -> bool| -> Vec<i64> {
            let tracked = self.pods.iter().filter(|pod| is_tracked(pod) && wanted(pod));
            tracked.filter_map(|pod| policy::index(job, pod)).collect()
        };
        let done = indexes(&|pod| pod.status.phase == "Succeeded");
        let failed = indexes(&|pod| self.fails_its_index(pod));
        self.counted = Indexes::parse(&status.completed_indexes, job.completions());
        self.done = self.counted.with(done);
        self.succeeded = self.done.count();
        if job.spec.backoff_limit_per_index.is_some() {
            let known = status.failed_indexes.as_deref().unwrap_or_default();
            self.failed_indexes = Indexes::parse(known, job.completions()).with(failed);
            self.awaiting = self.find_awaiting();
        }
    }

    fn fails_its_index(&self, pod: &Pod) -> bool {
        let Some(limit) = self.job.spec.backoff_limit_per_index else { return false };
        policy::is_failed(self.job, pod)
            && match policy::judge(self.job, pod) {
                Verdict::FailIndex => true,
                Verdict::Ignore => false,
                _ => policy::counter(pod, policy::FAILURES) >= limit,
            }
    }

    fn find_awaiting(&self) -> BTreeMap<i64, Arc<Pod>> {
        let running: Vec<i64> = self.active.iter().filter_map(|pod| policy::index(self.job, pod)).collect();
        let mut awaiting: BTreeMap<i64, Arc<Pod>> = BTreeMap::new();
        let rank = |pod: &Pod| {
            let failures = policy::counter(pod, policy::FAILURES) + policy::counter(pod, policy::IGNORED_FAILURES);
            (failures, policy::finish_time(pod))
        };
        for pod in self.pods.iter().filter(|pod| is_tracked(pod) && policy::is_failed(self.job, pod)) {
            let Some(index) = policy::index(self.job, pod) else { continue };
            let settled = self.done.has(index) || self.failed_indexes.has(index) || running.contains(&index);
            if !settled && awaiting.get(&index).is_none_or(|last| rank(last) <= rank(pod)) {
                awaiting.insert(index, pod.clone());
            }
        }
        awaiting
    }

    /// Whether the job is at its end, in upstream's order: what was decided before, then failures, then the success policy.
    fn find_end(&mut self) -> Option<Condition> {
        let job = self.job;
        if let Some(met) = job.holds("SuccessCriteriaMet") {
            return Some(met.clone());
        }
        if let Some(target) = job.holds("FailureTarget") {
            return Some(self.condition("Failed", "True", &target.reason, &target.message));
        }
        let fails = |reason, message: &str| Some(self.condition("FailureTarget", "True", reason, message));
        let failed = self.pods.iter().filter(|pod| policy::is_failed(job, pod));
        let fatal = failed.map(|pod| policy::judge(job, pod)).find_map(|verdict| match verdict {
            Verdict::FailJob(message) => Some(message),
            _ => None,
        });
        if let Some(message) = fatal {
            return fails("PodFailurePolicy", &message);
        }
        if self.failed > job.spec.backoff_limit || self.restarts_exceed_limit() {
            return fails("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        if let Some(left) = self.time_left() {
            if !left.is_positive() {
                return fails("DeadlineExceeded", "Job was active longer than specified deadline");
            }
            self.plan.again_after(left.unsigned_abs());
        }
        let lost = self.failed_indexes.count();
        if job.spec.max_failed_indexes.is_some_and(|most| lost > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(self.condition("FailureTarget", "True", "MaxFailedIndexesExceeded", message));
        }
        if lost > 0 && lost + self.done.count() >= job.completions() {
            return Some(self.condition("FailureTarget", "True", "FailedIndexes", "Job has failed indexes"));
        }
        let message = policy::success(job, &self.done).filter(|_| job.is_indexed())?;
        Some(self.condition("SuccessCriteriaMet", "True", "SuccessPolicy", &message))
    }

    /// Restarts of containers count where pods are not replaced.
    fn restarts_exceed_limit(&self) -> bool {
        let template = crate::kinds::template(&self.job.spec.template);
        if template["spec"]["restartPolicy"] != json!("OnFailure") {
            return false;
        }
        let running = self.pods.iter().filter(|pod| matches!(pod.status.phase.as_str(), "Running" | "Pending"));
        let restarts: i64 = running
            .flat_map(|pod| pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses))
            .map(|container| container.restart_count)
            .sum();
        restarts > 0 && restarts >= self.job.spec.backoff_limit
    }

    /// Until the deadline; `None` without one.
    fn time_left(&self) -> Option<SignedDuration> {
        let limit = self.job.spec.active_deadline_seconds.filter(|_| !self.job.spec.suspend)?;
        let started = self.job.started().unwrap_or(self.view.now);
        Some(SignedDuration::from_secs(limit) - self.view.now.duration_since(started))
    }

    fn condition(&self, kind: &str, status: &str, reason: &str, message: &str) -> Condition {
        let probed = Some(format_time(self.view.now));
        Condition { last_probe_time: probed, ..Condition::new(kind, status, reason, message, self.view.now) }
    }
}

#[cfg(test)]
mod tests;
