//! Jobs as their controllers read them.

use component::meta::{Meta, or_default};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::kinds::{Condition, condition};
use crate::selector::LabelSelector;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Job {
    pub metadata: Meta,
    pub spec: JobSpec,
    pub status: JobStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    pub parallelism: i64,
    pub completions: Option<i64>,
    pub completion_mode: String,
    pub suspend: bool,
    pub selector: LabelSelector,
    pub template: Option<Box<RawValue>>,
    pub backoff_limit: i64,
    pub backoff_limit_per_index: Option<i64>,
    pub max_failed_indexes: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    pub ttl_seconds_after_finished: Option<i64>,
    pub pod_failure_policy: Option<PodFailurePolicy>,
    pub success_policy: Option<SuccessPolicy>,
    pub pod_replacement_policy: String,
    pub managed_by: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodFailurePolicy {
    pub rules: Vec<FailureRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailureRule {
    pub action: String,
    pub on_exit_codes: Option<ExitCodes>,
    #[serde(deserialize_with = "or_default")]
    pub on_pod_conditions: Vec<ConditionPattern>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExitCodes {
    pub container_name: Option<String>,
    pub operator: String,
    pub values: Vec<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConditionPattern {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SuccessPolicy {
    pub rules: Vec<SuccessRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessRule {
    pub succeeded_indexes: Option<String>,
    pub succeeded_count: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
    pub start_time: Option<String>,
    pub completion_time: Option<String>,
    pub active: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub terminating: Option<i64>,
    pub ready: Option<i64>,
    pub completed_indexes: String,
    pub failed_indexes: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub uncounted_terminated_pods: Uncounted,
}

/// Pods that have ended and still hold the tracking finalizer: seen, but not yet in the counters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uncounted {
    #[serde(deserialize_with = "or_default")]
    pub succeeded: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub failed: Vec<String>,
}

impl Uncounted {
    pub fn is_empty(&self) -> bool {
        self.succeeded.is_empty() && self.failed.is_empty()
    }
}

impl Job {
    /// The condition that ended it: `Complete` or `Failed`.
    pub fn finished(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| matches!(c.kind.as_str(), "Complete" | "Failed") && c.is_true())
    }

    /// Another condition of its status that holds.
    pub fn holds(&self, kind: &str) -> Option<&Condition> {
        condition(&self.status.conditions, kind).filter(|c| c.is_true())
    }

    pub fn is_indexed(&self) -> bool {
        self.spec.completion_mode == "Indexed"
    }

    /// Whether some other controller works on it (KEP-4368).
    pub fn is_managed_elsewhere(&self) -> bool {
        !matches!(self.spec.managed_by.as_str(), "" | "kubernetes.io/job-controller")
    }

    /// Pods are replaced only once they have failed, not already when they are told to go.
    pub fn replaces_failed_only(&self) -> bool {
        self.spec.pod_replacement_policy == "Failed" || self.spec.pod_failure_policy.is_some()
    }

    pub fn started(&self) -> Option<Timestamp> {
        self.status.start_time.as_ref()?.parse().ok()
    }

    /// Of an indexed job: how many indexes there are.
    pub fn completions(&self) -> i64 {
        self.spec.completions.unwrap_or_default()
    }
}
