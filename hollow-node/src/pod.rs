//! What a hollow node reads of a Pod.

use std::time::Duration;

use component::meta::{Meta, Projection, StringMap, or_default, timestamp};
use jiff::Timestamp;
use serde::Deserialize;

/// The prefix of the annotations that steer a hollow node.
pub const PREFIX: &str = "hollow.coracle.dev/";

/// A Pod. Of its labels nothing is kept, of its annotations those with [`PREFIX`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Document")]
pub struct Pod {
    pub metadata: Meta,
    pub spec: Spec,
    pub status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub node_name: String,
    pub host_network: bool,
    pub restart_policy: String,
    pub active_deadline_seconds: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub ephemeral_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub readiness_gates: Vec<ReadinessGate>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub name: String,
    pub image: String,
    /// Only init containers have one; `Always` makes it a sidecar.
    #[serde(deserialize_with = "or_default")]
    pub restart_policy: String,
    #[serde(deserialize_with = "or_default")]
    pub resources: Resources,
    #[serde(deserialize_with = "or_default")]
    pub startup_probe: Probe,
    #[serde(deserialize_with = "or_default")]
    pub readiness_probe: Probe,
}

/// What a container asks for, and is given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    #[serde(deserialize_with = "or_default")]
    pub requests: StringMap,
    #[serde(deserialize_with = "or_default")]
    pub limits: StringMap,
}

/// A probe. There is nothing that it could ask, so it succeeds the first time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    pub initial_delay_seconds: u32,
}

impl Container {
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == "Always"
    }

    /// How long after its start a container counts as started: its startup probe has succeeded.
    pub fn started_after(&self) -> Duration {
        Duration::from_secs(self.startup_probe.initial_delay_seconds.into())
    }

    /// How long after its start a container is ready: its readiness probe, which waits for the startup probe, has succeeded.
    pub fn ready_after(&self) -> Duration {
        self.started_after().max(Duration::from_secs(self.readiness_probe.initial_delay_seconds.into()))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadinessGate {
    pub condition_type: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub phase: String,
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    #[serde(deserialize_with = "timestamp")]
    pub start_time: Option<Timestamp>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// Since when a container runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    #[serde(deserialize_with = "or_default")]
    pub running: Running,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    #[serde(deserialize_with = "timestamp")]
    pub started_at: Option<Timestamp>,
}

/// A condition of a Pod or a Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    pub r#type: String,
    pub status: String,
    #[serde(deserialize_with = "timestamp")]
    pub last_transition_time: Option<Timestamp>,
}

impl From<Document> for Pod {
    fn from(Document { metadata, spec, status }: Document) -> Self {
        Self { metadata: slim(metadata), spec, status }
    }
}

/// Metadata without what nothing here reads.
pub fn slim(metadata: Meta) -> Meta {
    let ours: StringMap = metadata.annotations.iter().filter(|(key, _)| key.starts_with(PREFIX)).collect();
    Meta {
        labels: StringMap::default(),
        annotations: ours,
        owner_references: Vec::new(),
        finalizers: Vec::new(),
        ..metadata
    }
}

impl Projection for Pod {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Pod {
    pub fn condition(&self, r#type: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.r#type == r#type)
    }

    /// Whether it ended; such a pod does nothing any more.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// The value of the annotation with [`PREFIX`] and this name.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.get(&format!("{PREFIX}{name}"))
    }

    /// After what time the containers exit by themselves: annotation `exit-after`, such as `2s`, `500ms`, `1m30s`.
    pub fn exit_after(&self) -> Option<Duration> {
        self.annotation("exit-after").and_then(parse_duration)
    }

    /// The exit code they then have: annotation `exit-code`, 0 without it.
    pub fn exit_code(&self) -> i32 {
        self.annotation("exit-code").and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// When the pod will have been active for as long as it may, if it was admitted then.
    pub fn deadline(&self, admitted: Timestamp) -> Option<Timestamp> {
        admitted.checked_add(Duration::from_secs(self.spec.active_deadline_seconds?)).ok()
    }

    /// When the containers stop, once the pod is being deleted: after annotation `termination-seconds`, but within the grace
    /// period.
    pub fn stops_at(&self) -> Option<Timestamp> {
        let deadline = self.metadata.deletion_timestamp?;
        let grace = self.metadata.deletion_grace_period_seconds.unwrap_or(0).max(0);
        let wanted = self.annotation("termination-seconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        deadline.checked_sub(Duration::from_secs(grace.saturating_sub(wanted).max(0).unsigned_abs())).ok()
    }
}

/// Reads a duration as Go writes it: numbers with the units h, m, s, ms.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let seconds = match &rest[digits..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(amount * seconds).ok()?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, millis) in [("2s", 2000), ("500ms", 500), ("1m30s", 90_000), ("1.5s", 1500), ("1h", 3_600_000)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "2", "s", "2 s", "2d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn containers_stop_within_the_grace_period() {
        let stops_at = |wanted: &str| {
            let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {
                "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30,
                "annotations": {"hollow.coracle.dev/termination-seconds": wanted, "other": "x"},
            }}))
            .unwrap();
            assert_eq!(pod.metadata.annotations.len(), 1);
            pod.stops_at().unwrap().to_string()
        };
        assert_eq!(stops_at("0"), "2026-01-01T00:00:00Z");
        assert_eq!(stops_at("5"), "2026-01-01T00:00:05Z");
        assert_eq!(stops_at("50"), "2026-01-01T00:00:30Z");
    }
}
