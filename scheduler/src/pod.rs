//! What the scheduler reads of a Pod: a slim projection, and in it the [`Requirements`] that decide where it fits.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock};

use component::meta::{Meta, Projection, or_default};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::resource::{Quantity, Resources};
use crate::selector::Term;

/// A container without a cpu request counts as this much when nodes are scored by free resources.
const DEFAULT_MILLI_CPU: i64 = 100;
/// The same for memory, in bytes.
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// A Pod as the scheduler sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "shape::Pod")]
pub struct Pod {
    /// Without labels, annotations and owners: nothing here reads them.
    pub metadata: Meta,
    pub scheduler_name: String,
    /// Empty until the pod is bound.
    pub node_name: String,
    pub nominated_node_name: String,
    pub priority: i32,
    /// False for `preemptionPolicy: Never`.
    pub may_preempt: bool,
    /// Its phase is Succeeded or Failed: it uses nothing of its node any more.
    pub terminal: bool,
    pub gates: Vec<String>,
    /// The `PodScheduled` condition.
    pub scheduled: Option<Condition>,
    /// Shared: pods with equal requirements point to the same.
    pub requirements: Arc<Requirements>,
}

impl Projection for Pod {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Everything about a pod that filters and scores read. Pods with equal requirements have the same scheduling signature:
/// each node suits them equally well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requirements {
    /// What the pod takes of a node: containers, or the most demanding moment of initialization, plus overhead.
    pub requests: Resources,
    /// cpu and memory again, with a default for each container that names none; scoring counts these.
    pub non_zero: (i64, i64),
    pub host_ports: Vec<HostPort>,
    pub node_selector: Vec<(String, String)>,
    /// Required node affinity: one of the terms has to match.
    pub required: Option<Vec<Term>>,
    /// Preferred node affinity, with weights.
    pub preferred: Vec<(i64, Term)>,
    pub tolerations: Vec<Toleration>,
}

/// A port taken on the node's own address; an address of `0.0.0.0` stands for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    pub fn conflicts(&self, other: &Self) -> bool {
        const ANY: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ANY || other.ip == ANY)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct Toleration {
    pub key: String,
    pub operator: String,
    pub value: String,
    pub effect: String,
}

impl Toleration {
    /// Whether it tolerates the taint: no effect means every effect, no key with `Exists` every taint.
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

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

/// A Pod condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    pub r#type: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: Option<String>,
}

/// Shares equal requirements: ten thousand replicas hold one copy, and sameness is pointer equality.
fn share(requirements: Requirements) -> Arc<Requirements> {
    static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);
    POOL.lock().share(requirements)
}

#[derive(Default)]
struct Pool {
    shared: HashSet<Arc<Requirements>>,
    purge_at: usize,
}

impl Pool {
    fn share(&mut self, requirements: Requirements) -> Arc<Requirements> {
        if let Some(known) = self.shared.get(&requirements) {
            return known.clone();
        }
        if self.shared.len() >= self.purge_at.max(1024) {
            self.shared.retain(|shared| Arc::strong_count(shared) > 1);
            self.purge_at = self.shared.len() * 2;
        }
        let requirements = Arc::new(requirements);
        self.shared.insert(requirements.clone());
        requirements
    }
}

/// The documents' own shape, only as long as one is read.
mod shape {
    use super::*;

    #[derive(Deserialize, Default)]
    #[serde(default)]
    pub struct Pod {
        metadata: Meta,
        spec: Spec,
        status: Status,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    pub struct Spec {
        node_name: String,
        scheduler_name: String,
        #[serde(deserialize_with = "or_default")]
        priority: i32,
        preemption_policy: Option<String>,
        #[serde(deserialize_with = "or_default")]
        scheduling_gates: Vec<Named>,
        #[serde(deserialize_with = "or_default")]
        containers: Vec<Container>,
        #[serde(deserialize_with = "or_default")]
        init_containers: Vec<Container>,
        #[serde(deserialize_with = "or_default")]
        overhead: BTreeMap<String, Quantity>,
        resources: Option<ContainerResources>,
        #[serde(deserialize_with = "or_default")]
        node_selector: BTreeMap<String, String>,
        affinity: Option<Affinity>,
        #[serde(deserialize_with = "or_default")]
        tolerations: Vec<Toleration>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Status {
        phase: String,
        nominated_node_name: String,
        #[serde(deserialize_with = "or_default")]
        conditions: Vec<Condition>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Named {
        name: String,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Container {
        #[serde(deserialize_with = "or_default")]
        resources: ContainerResources,
        #[serde(deserialize_with = "or_default")]
        ports: Vec<Port>,
        restart_policy: Option<String>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct ContainerResources {
        #[serde(deserialize_with = "or_default")]
        requests: BTreeMap<String, Quantity>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Port {
        host_port: i32,
        #[serde(rename = "hostIP")]
        host_ip: String,
        protocol: String,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Affinity {
        node_affinity: Option<NodeAffinity>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct NodeAffinity {
        required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
        #[serde(deserialize_with = "or_default")]
        preferred_during_scheduling_ignored_during_execution: Vec<Preferred>,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct NodeSelector {
        #[serde(deserialize_with = "or_default")]
        node_selector_terms: Vec<Term>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Preferred {
        weight: i64,
        preference: Term,
    }

    impl From<Pod> for super::Pod {
        fn from(Pod { metadata, spec, status }: Pod) -> Self {
            let requirements = share(spec.requirements());
            Self {
                metadata: Meta {
                    labels: Default::default(),
                    annotations: Default::default(),
                    owner_references: Vec::new(),
                    finalizers: Vec::new(),
                    ..metadata
                },
                scheduler_name: spec.scheduler_name,
                node_name: spec.node_name,
                nominated_node_name: status.nominated_node_name,
                priority: spec.priority,
                may_preempt: spec.preemption_policy.as_deref() != Some("Never"),
                terminal: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
                gates: spec.scheduling_gates.into_iter().map(|gate| gate.name).collect(),
                scheduled: status.conditions.into_iter().find(|condition| condition.r#type == "PodScheduled"),
                requirements,
            }
        }
    }

    impl Spec {
        fn requirements(&self) -> Requirements {
            let affinity = self.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
            let required =
                affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
            let preferred = affinity.map_or(&[][..], |a| &a.preferred_during_scheduling_ignored_during_execution);
            Requirements {
                requests: self.requests(|container| Resources::from_list(&container.resources.requests)),
                non_zero: self.non_zero(),
                host_ports: self.host_ports(),
                node_selector: self.node_selector.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
                required: required.map(|selector| selector.node_selector_terms.clone()),
                preferred: preferred.iter().map(|p| (p.weight, p.preference.clone())).collect(),
                tolerations: self.tolerations.clone(),
            }
        }

        /// The pod's total by the formula of KEP-753 (sidecar containers), with pod-level requests (KEP-2837) in the
        /// place of the containers' where given, plus overhead.
        fn requests(&self, of: impl Fn(&Container) -> Resources) -> Resources {
            let mut total = Resources::default();
            for container in &self.containers {
                total.add(&of(container));
            }
            let (mut sidecars, mut initialization) = (Resources::default(), Resources::default());
            for container in &self.init_containers {
                let mut wants = of(container);
                if container.restart_policy.as_deref() == Some("Always") {
                    total.add(&wants);
                    sidecars.add(&wants);
                    initialization.max(&sidecars);
                } else {
                    wants.add(&sidecars);
                    initialization.max(&wants);
                }
            }
            total.max(&initialization);
            if let Some(pod_level) = &self.resources {
                let requests = Resources::from_list(&pod_level.requests);
                if pod_level.requests.contains_key("cpu") {
                    total.milli_cpu = requests.milli_cpu;
                }
                if pod_level.requests.contains_key("memory") {
                    total.memory = requests.memory;
                }
                for huge in requests.scalar.into_iter().filter(|(name, _)| name.starts_with("hugepages-")) {
                    total.scalar.retain(|(name, _)| *name != huge.0);
                    total.add(&Resources { scalar: vec![huge], ..Resources::default() });
                }
            }
            total.add(&Resources::from_list(&self.overhead));
            total.scalar.retain(|(_, amount)| *amount != 0);
            total
        }

        fn non_zero(&self) -> (i64, i64) {
            let total = self.requests(|container| {
                let named = &container.resources.requests;
                let amounts = Resources::from_list(named);
                Resources {
                    milli_cpu: if named.contains_key("cpu") { amounts.milli_cpu } else { DEFAULT_MILLI_CPU },
                    memory: if named.contains_key("memory") { amounts.memory } else { DEFAULT_MEMORY },
                    ..Resources::default()
                }
            });
            (total.milli_cpu, total.memory)
        }

        /// Ports on the host that are held as long as the pod runs: those of containers and sidecars.
        fn host_ports(&self) -> Vec<HostPort> {
            let sidecars = self.init_containers.iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let ports = sidecars.chain(&self.containers).flat_map(|container| &container.ports);
            let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
            ports
                .filter(|port| port.host_port > 0)
                .map(|port| HostPort {
                    ip: or(&port.host_ip, "0.0.0.0"),
                    protocol: or(&port.protocol, "TCP"),
                    port: port.host_port,
                })
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn requirements(spec: serde_json::Value) -> Requirements {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
        (*pod.requirements).clone()
    }

    fn container(cpu: &str, memory: &str) -> serde_json::Value {
        json!({"resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    #[test]
    fn init_containers_count_by_their_maximum() {
        let requests = requirements(json!({
            "initContainers": [container("2", "1G"), container("2", "3G")],
            "containers": [container("2", "1G"), container("1", "1G")],
        }))
        .requests;
        assert_eq!((requests.milli_cpu, requests.memory), (3000, 3_000_000_000));
    }

    #[test]
    fn sidecars_run_beside_later_init_containers_and_containers() {
        let mut sidecar = container("1", "1G");
        sidecar["restartPolicy"] = json!("Always");
        let requests = requirements(json!({
            "initContainers": [sidecar, container("5", "1G")],
            "containers": [container("2", "1G")],
            "overhead": {"cpu": "250m"},
        }))
        .requests;
        assert_eq!((requests.milli_cpu, requests.memory), (6250, 2_000_000_000));
    }

    #[test]
    fn pod_level_requests_replace_the_containers() {
        let requests = requirements(json!({
            "containers": [container("2", "1G"), container("2", "1G")],
            "resources": {"requests": {"cpu": "1"}},
        }))
        .requests;
        assert_eq!((requests.milli_cpu, requests.memory), (1000, 2_000_000_000));
    }

    #[test]
    fn containers_without_requests_count_by_default_in_scores_only() {
        let found = requirements(json!({"containers": [{}, container("1", "1Gi")]}));
        assert_eq!(found.requests.milli_cpu, 1000);
        assert_eq!(found.non_zero, (1100, (1 << 30) + DEFAULT_MEMORY));
    }

    #[test]
    fn replicas_share_requirements() {
        let replica = || -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [container("7", "7G")], "tolerations": null}}))
                .unwrap()
        };
        assert!(Arc::ptr_eq(&replica().requirements, &replica().requirements));
    }
}
