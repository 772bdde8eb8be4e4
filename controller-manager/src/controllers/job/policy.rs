//! What a Job's policies say about its pods: failures that end it or do not count, successes that are enough, waits between tries.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::indexes::Indexes;
use crate::kinds::{ContainerStatus, ExitCodes, Job, Pod, condition};

pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// The first wait after a failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// What the pod failure policy makes of a failed pod.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts towards the limits, as all failures do without a policy.
    Count,
    Ignore,
    FailIndex,
    /// The job fails, with this message.
    FailJob(String),
}

/// Whether a pod counts as failed. A pod that is told to go is failed at once, unless only failed ones are replaced.
pub fn is_failed(job: &Job, pod: &Pod) -> bool {
    pod.status.phase == "Failed"
        || (!job.replaces_failed_only() && pod.metadata.is_terminating() && pod.status.phase != "Succeeded")
}

/// The first rule of the pod failure policy that matches decides (KEP-3329).
pub fn judge(job: &Job, pod: &Pod) -> Verdict {
    let rules = job.spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (at, rule) in rules.enumerate() {
        let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
        let found = match &rule.on_exit_codes {
            Some(codes) => exit_code(pod, codes)
                .map(|(container, code)| format!("Container {container} for pod {name} failed with exit code {code}")),
            None => rule
                .on_pod_conditions
                .iter()
                .find(|p| condition(&pod.status.conditions, &p.kind).is_some_and(|c| c.status == p.status))
                .map(|p| format!("Pod {name} has condition {}", p.kind)),
        };
        let Some(what) = found else { continue };
        match rule.action.as_str() {
            "Ignore" => return Verdict::Ignore,
            "FailIndex" => return Verdict::FailIndex,
            "Count" => return Verdict::Count,
            "FailJob" => return Verdict::FailJob(format!("{what} matching FailJob rule at index {at}")),
            _ => {}
        }
    }
    Verdict::Count
}

/// The container and its exit code that the requirement is about.
fn exit_code<'a>(pod: &'a Pod, codes: &ExitCodes) -> Option<(&'a str, i64)> {
    let matches = |status: &&ContainerStatus| {
        let code = status.exit_code().unwrap_or_default();
        let listed = codes.values.contains(&code);
        code != 0
            && codes.container_name.as_ref().is_none_or(|name| *name == status.name)
            && match codes.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
    };
    let all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    all.filter(|status| status.exit_code().is_some())
        .find(matches)
        .map(|s| (&*s.name, s.exit_code().unwrap_or_default()))
}

/// The message of the success policy's first rule that is satisfied (KEP-3998).
pub fn success(job: &Job, succeeded: &Indexes) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let enough = |rule: &&crate::kinds::SuccessRule| {
        let count = |have: i64| rule.succeeded_count.is_some_and(|wanted| have >= wanted);
        match &rule.succeeded_indexes {
            Some(text) => {
                let wanted = Indexes::parse(text, job.completions());
                let have = wanted.overlap(succeeded);
                !wanted.is_empty() && (have == wanted.count() || count(have))
            }
            None => count(succeeded.count()),
        }
    };
    let rules = &job.spec.success_policy.as_ref()?.rules;
    let at = rules.iter().position(|rule| enough(&rule))?;
    Some(format!("Matched rules at index {at}"))
}

/// The pod's completion index; `None` where there is none below the job's completions.
pub fn index(job: &Job, pod: &Pod) -> Option<i64> {
    let index = pod.metadata.annotations.get(INDEX)?.parse::<i64>().ok()?;
    (0..job.completions()).contains(&index).then_some(index)
}

/// A counter in an annotation; 0 for one that is missing or no number.
pub fn counter(pod: &Pod, annotation: &str) -> i64 {
    let text = pod.metadata.annotations.get(annotation);
    text.and_then(|text| text.parse::<i32>().ok()).filter(|n| *n >= 0).map_or(0, i64::from)
}

/// How long until the next pod may be made, by the failures since the last success.
pub fn wait(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Duration {
    let ended = |wanted: &dyn Fn(&Pod) -> bool| -> Vec<Timestamp> {
        pods.iter().filter(|pod| wanted(pod)).filter_map(|pod| finish_time(pod)).collect()
    };
    let last_success = ended(&|pod| pod.status.phase == "Succeeded").into_iter().max();
    let mut failures = ended(&|pod| is_failed(job, pod));
    failures.retain(|at| last_success.is_none_or(|success| *at > success));
    remaining(failures.len() as i64, failures.into_iter().max(), now)
}

/// The same for one index, by its last failed pod.
pub fn wait_of_index(last: Option<&Arc<Pod>>, now: Timestamp) -> Duration {
    let Some(pod) = last else { return Duration::ZERO };
    let failures = counter(pod, FAILURES) + counter(pod, IGNORED_FAILURES) + 1;
    remaining(failures, finish_time(pod), now)
}

fn remaining(failures: i64, last: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(last) = last.filter(|_| failures > 0) else { return Duration::ZERO };
    let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(16);
    let wait = (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT);
    let passed = now.duration_since(last);
    if passed.is_negative() { wait } else { wait.saturating_sub(passed.unsigned_abs()) }
}

/// When the pod ended: by its containers, else by its condition, else by its deletion, else as old as it is.
pub fn finish_time(pod: &Pod) -> Option<Timestamp> {
    let containers = &pod.status.container_statuses;
    let by_containers = || {
        let ends: Option<Vec<Timestamp>> = containers.iter().map(ContainerStatus::finished_at).collect();
        ends?.into_iter().max()
    };
    let by_condition = || condition(&pod.status.conditions, "Ready").filter(|c| c.status == "False")?.transitioned();
    let by_deletion = || {
        let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or_default());
        pod.metadata.deletion_timestamp?.checked_sub(grace).ok()
    };
    by_containers().or_else(by_condition).or_else(by_deletion).or(pod.metadata.creation_timestamp)
}
