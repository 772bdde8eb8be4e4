//! ReplicaSets and Deployments as their controllers read them.

use component::meta::{Meta, StringMap, or_default};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::kinds::Condition;
use crate::selector::LabelSelector;
use std::collections::BTreeMap;

/// A ReplicaSet, or a ReplicationController, which differs only in its selector.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    pub metadata: Meta,
    pub spec: ReplicaSetSpec,
    pub status: ReplicaSetStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetSpec {
    pub replicas: i64,
    pub min_ready_seconds: i64,
    #[serde(deserialize_with = "selector")]
    pub selector: LabelSelector,
    pub template: Option<Box<RawValue>>,
}

impl Default for ReplicaSetSpec {
    fn default() -> Self {
        ReplicaSetSpec { replicas: 1, min_ready_seconds: 0, selector: LabelSelector::default(), template: None }
    }
}

/// A label selector, or the plain map of a ReplicationController.
fn selector<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<LabelSelector, D::Error> {
    let value: Value = or_default(deserializer)?;
    let whole = ["matchLabels", "matchExpressions"].iter().any(|k| value.get(k).is_some_and(|v| !v.is_string()));
    let parsed = if whole {
        serde_json::from_value(value)
    } else {
        let labels = if value.is_null() { Ok(StringMap::default()) } else { serde_json::from_value(value) };
        labels.map(|match_labels| LabelSelector { match_labels, match_expressions: Vec::new() })
    };
    parsed.map_err(serde::de::Error::custom)
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    pub replicas: i64,
    pub fully_labeled_replicas: i64,
    pub ready_replicas: i64,
    pub available_replicas: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_replicas: Option<i64>,
    pub observed_generation: i64,
    pub conditions: Vec<Condition>,
}

/// A pod template as a tree; an empty object where there is none.
pub fn template(raw: &Option<Box<RawValue>>) -> Value {
    raw.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_else(|| serde_json::json!({}))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Deployment {
    pub metadata: Meta,
    pub spec: DeploymentSpec,
    pub status: DeploymentStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    pub replicas: i64,
    pub min_ready_seconds: i64,
    pub paused: bool,
    pub selector: LabelSelector,
    pub template: Option<Box<RawValue>>,
    pub strategy: DeploymentStrategy,
    pub revision_history_limit: Option<i64>,
    pub progress_deadline_seconds: Option<i64>,
}

impl Default for DeploymentSpec {
    fn default() -> Self {
        DeploymentSpec {
            replicas: 1,
            min_ready_seconds: 0,
            paused: false,
            selector: LabelSelector::default(),
            template: None,
            strategy: DeploymentStrategy::default(),
            revision_history_limit: None,
            progress_deadline_seconds: None,
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStrategy {
    #[serde(rename = "type")]
    pub kind: String,
    pub rolling_update: RollingUpdate,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    pub max_surge: Option<IntOrString>,
    pub max_unavailable: Option<IntOrString>,
}

/// Something that controls pods, as those read it who only want to know how many.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Scaled {
    pub metadata: Meta,
    pub spec: ScaledSpec,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct ScaledSpec {
    pub replicas: i64,
}

impl Default for ScaledSpec {
    fn default() -> Self {
        ScaledSpec { replicas: 1 }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodDisruptionBudget {
    pub metadata: Meta,
    pub spec: PodDisruptionBudgetSpec,
    pub status: PodDisruptionBudgetStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetSpec {
    pub min_available: Option<IntOrString>,
    pub max_unavailable: Option<IntOrString>,
    /// Without one, no pod is covered; an empty one covers all.
    pub selector: Option<LabelSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetStatus {
    pub observed_generation: i64,
    pub current_healthy: i64,
    pub desired_healthy: i64,
    pub expected_pods: i64,
    pub disruptions_allowed: i64,
    /// When evictions were granted that have not happened yet, by the pod's name.
    pub disrupted_pods: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

/// A number, or a percentage of something.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    Int(i64),
    String(String),
}

impl IntOrString {
    /// The number, or the percentage of `total`, rounded up or down; 0 for what is neither.
    pub fn of(&self, total: i64, round_up: bool) -> i64 {
        match self {
            IntOrString::Int(number) => *number,
            IntOrString::String(text) => {
                let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
                let hundredths = percent.saturating_mul(total);
                if round_up { (hundredths + 99) / 100 } else { hundredths / 100 }
            }
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    pub observed_generation: i64,
    pub replicas: i64,
    pub updated_replicas: i64,
    pub ready_replicas: i64,
    pub available_replicas: i64,
    pub unavailable_replicas: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_replicas: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i64>,
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replication_controllers_selector_is_a_plain_map() {
        let read = |text: &str| serde_json::from_str::<ReplicaSet>(text).unwrap().spec.selector;
        let plain = read(r#"{"spec":{"selector":{"app":"web"}}}"#);
        assert_eq!(plain, read(r#"{"spec":{"selector":{"matchLabels":{"app":"web"}}}}"#));
        assert!(read(r#"{"spec":{}}"#).is_empty());
    }

    #[test]
    fn percentages_are_rounded() {
        let quarter = IntOrString::String("25%".into());
        assert_eq!((quarter.of(10, true), quarter.of(10, false), IntOrString::Int(3).of(10, true)), (3, 2, 3));
    }
}
