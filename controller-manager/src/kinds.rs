//! The kinds as controllers read them: projections with only the fields that some reconcile uses.

use component::meta::{Meta, Projection, StringMap, format_time, or_default, timestamp};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::hash::{DefaultHasher, Hash, Hasher};

pub use crate::jobs::*;
pub use crate::workloads::*;

macro_rules! projections {
    ($($kind:ident),*) => { $(impl Projection for $kind {
        fn meta(&self) -> &Meta {
            &self.metadata
        }
    })* };
}
projections!(
    Pod,
    Node,
    ReplicaSet,
    Deployment,
    Job,
    Service,
    Endpoints,
    EndpointSlice,
    Namespace,
    Lease,
    RootCertificate,
    ServiceAccount,
    TokenSecret,
    ServiceCidr,
    PersistentVolume,
    PersistentVolumeClaim,
    Scaled,
    PodDisruptionBudget,
    ResourceQuota
);

/// A condition of any kind's status, with the times some kinds have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Condition {
    /// A condition that changes now.
    pub fn new(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Condition {
        Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            last_transition_time: Some(format_time(now)),
            reason: reason.to_owned(),
            message: message.to_owned(),
            ..Condition::default()
        }
    }

    pub fn is_true(&self) -> bool {
        self.status == "True"
    }

    pub fn transitioned(&self) -> Option<Timestamp> {
        self.last_transition_time.as_ref()?.parse().ok()
    }
}

pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Meta,
    pub spec: PodSpec,
    pub status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: String,
    pub restart_policy: String,
    pub hostname: String,
    pub subdomain: String,
    pub tolerations: Vec<Toleration>,
    pub active_deadline_seconds: Option<i64>,
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
    #[serde(deserialize_with = "claimed")]
    pub volumes: Vec<Volume>,
}

/// A volume that is a claim's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    pub name: String,
    pub persistent_volume_claim: Option<ClaimSource>,
    /// A claim that is made for the pod.
    pub ephemeral: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSource {
    pub claim_name: String,
}

/// Only the volumes that are claims': most pods have others alone.
fn claimed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Volume>, D::Error> {
    let mut volumes: Vec<Volume> = or_default(deserializer)?;
    volumes.retain(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
    volumes.shrink_to_fit();
    Ok(volumes)
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub ports: Vec<ContainerPort>,
    pub restart_policy: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    pub name: String,
    pub container_port: i64,
    pub protocol: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    pub key: String,
    pub operator: String,
    pub value: String,
    pub effect: String,
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    pub fn tolerates(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match self.operator.as_str() {
                "" | "Equal" => self.value == taint.value,
                "Exists" => true,
                _ => false,
            }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: String,
    pub reason: String,
    pub conditions: Vec<Condition>,
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    pub container_statuses: Vec<ContainerStatus>,
    pub init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct PodIp {
    #[serde(default)]
    pub ip: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: String,
    pub restart_count: i64,
    pub resources: Fingerprint,
    state: ContainerState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i64,
    #[serde(deserialize_with = "timestamp")]
    finished_at: Option<Timestamp>,
}

/// Tells whether a value is another one than before, without keeping it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprint, D::Error> {
        let mut hasher = DefaultHasher::new();
        <&RawValue>::deserialize(deserializer)?.get().hash(&mut hasher);
        Ok(Fingerprint(hasher.finish()))
    }
}

impl ContainerStatus {
    /// With what it ended, if it has.
    pub fn exit_code(&self) -> Option<i64> {
        self.state.terminated.as_ref().map(|end| end.exit_code)
    }

    pub fn finished_at(&self) -> Option<Timestamp> {
        self.state.terminated.as_ref()?.finished_at
    }
}

impl Pod {
    pub fn is_ready(&self) -> bool {
        condition(&self.status.conditions, "Ready").is_some_and(Condition::is_true)
    }

    /// When the pod became ready, if it is.
    pub fn ready_since(&self) -> Option<Timestamp> {
        condition(&self.status.conditions, "Ready").filter(|c| c.is_true())?.transitioned()
    }

    /// Ready for at least so many seconds.
    pub fn is_available(&self, min_ready_seconds: i64, now: Timestamp) -> bool {
        self.is_ready()
            && (min_ready_seconds == 0
                || self.ready_since().is_some_and(|since| now.duration_since(since).as_secs() >= min_ready_seconds))
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    pub fn is_active(&self) -> bool {
        !self.is_terminal() && !self.metadata.is_terminating()
    }

    /// All addresses; the first is the one the pod is known by.
    pub fn ips(&self) -> Vec<&str> {
        if self.status.pod_ips.is_empty() && !self.status.pod_ip.is_empty() {
            return vec![&self.status.pod_ip];
        }
        self.status.pod_ips.iter().map(|p| p.ip.as_str()).collect()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    pub key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    pub effect: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

impl Taint {
    pub fn is(&self, key: &str, effect: &str) -> bool {
        self.key == key && self.effect == effect
    }

    pub fn added(&self) -> Option<Timestamp> {
        self.time_added.as_ref()?.parse().ok()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    pub metadata: Meta,
    pub spec: ServiceSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    pub ip_families: Vec<String>,
    /// `None` for a service whose endpoints somebody else keeps.
    pub selector: Option<StringMap>,
    pub ports: Vec<ServicePort>,
    pub publish_not_ready_addresses: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    pub name: String,
    pub port: i64,
    pub protocol: String,
    pub app_protocol: Option<String>,
    pub target_port: Option<IntOrString>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    pub metadata: Meta,
    pub subsets: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    pub metadata: Meta,
    pub address_type: String,
    #[serde(deserialize_with = "or_default")]
    pub endpoints: Vec<Value>,
    pub ports: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    pub metadata: Meta,
    pub spec: NamespaceSpec,
    pub status: NamespaceStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceSpec {
    #[serde(deserialize_with = "or_default")]
    pub finalizers: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceStatus {
    pub phase: String,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Lease {
    pub metadata: Meta,
    pub spec: LeaseSpec,
    /// When this version reached us: renewal is judged by our clock, not by the node's.
    #[serde(skip)]
    pub observed: Timestamp,
}

impl Default for Lease {
    fn default() -> Self {
        Lease { metadata: Meta::default(), spec: LeaseSpec::default(), observed: Timestamp::now() }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    #[serde(deserialize_with = "timestamp")]
    pub renew_time: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResourceQuota {
    pub metadata: Meta,
    pub spec: Value,
    pub status: ResourceQuotaStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResourceQuotaStatus {
    pub hard: Value,
    pub used: Value,
}

/// The ConfigMap `kube-root-ca.crt`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RootCertificate {
    pub metadata: Meta,
    pub data: StringMap,
}

/// A service account and the names of the Secrets that it lists.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    pub metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub secrets: Vec<SecretReference>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SecretReference {
    pub name: String,
}

/// A Secret of the type `kubernetes.io/service-account-token`: what of it is there, and nothing that is secret.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TokenSecret {
    pub metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub data: TokenData,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TokenData {
    /// In base64, as all data.
    #[serde(rename = "ca.crt")]
    pub root_ca: String,
    #[serde(rename = "namespace", deserialize_with = "is_filled")]
    pub has_namespace: bool,
    #[serde(rename = "token", deserialize_with = "is_filled")]
    pub has_token: bool,
}

/// Whether there is text, without keeping it.
fn is_filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(!std::borrow::Cow::<'de, str>::deserialize(deserializer)?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations() {
        let taint = Taint { key: "k".into(), effect: "NoExecute".into(), ..Taint::default() };
        assert!(Toleration { operator: "Exists".into(), ..Toleration::default() }.tolerates(&taint));
        assert!(Toleration { key: "k".into(), ..Toleration::default() }.tolerates(&taint));
        assert!(!Toleration { key: "k".into(), value: "v".into(), ..Toleration::default() }.tolerates(&taint));
        assert!(
            !Toleration { key: "k".into(), effect: "NoSchedule".into(), ..Toleration::default() }.tolerates(&taint)
        );
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolume {
    pub metadata: Meta,
    pub spec: WithAttributes,
    pub status: PersistentVolumeStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeStatus {
    pub phase: String,
}

/// The spec of a volume or a claim, as far as it names a VolumeAttributesClass.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WithAttributes {
    pub volume_attributes_class_name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeClaim {
    pub metadata: Meta,
    pub spec: WithAttributes,
    pub status: PersistentVolumeClaimStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeClaimStatus {
    pub current_volume_attributes_class_name: Option<String>,
    pub modify_volume_status: Option<ModifyVolumeStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ModifyVolumeStatus {
    pub target_volume_attributes_class_name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServiceCidr {
    pub metadata: Meta,
    pub spec: ServiceCidrSpec,
    pub status: ServiceCidrStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServiceCidrSpec {
    pub cidrs: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServiceCidrStatus {
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}
