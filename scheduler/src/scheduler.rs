//! The scheduler without its clients: it takes changes of the cluster and gives decisions, and touches nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use component::{Key, Projection};

use crate::cycle::Cycle;
use crate::plugin::{Event, PLUGINS, PluginSet, Rejection, Write};
use crate::pod::Pod;
use crate::queue::{Depth, Queue, Queued};
use crate::snapshot::{Change, Node, Slot, Snapshot};

/// What to do about one pod.
#[derive(Debug)]
pub enum Decision {
    /// Carry out the writes in order; then call [`Scheduler::bind_failed`] if one fails.
    Bind { pod: Arc<Pod>, node: String, writes: Vec<Write> },
    /// Tell that the pod does not fit.
    Unschedulable { pod: Arc<Pod>, message: String },
    /// Tell that the pod is being deleted and will not be scheduled.
    Deleting { pod: Arc<Pod> },
}

/// All pods of the scheduler's name and all nodes. Time is the duration since the start.
pub struct Scheduler {
    name: String,
    pods: HashMap<Key, Tracked>,
    snapshot: Snapshot,
    queue: Queue,
    cycle: Cycle,
}

struct Tracked {
    pod: Arc<Pod>,
    state: State,
}

enum State {
    /// In the queue.
    Queued,
    /// Counted on a node while it is being bound there.
    Assumed(Slot, Box<Queued>),
    Bound(Slot),
}

impl Scheduler {
    /// Schedules pods with this `schedulerName`. For the other arguments see [`Cycle::new`].
    pub fn new(name: &str, percentage_of_nodes_to_score: u8, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            pods: HashMap::new(),
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            cycle: Cycle::new(percentage_of_nodes_to_score, seed),
        }
    }

    /// A node came or changed.
    pub fn node_applied(&mut self, node: Arc<Node>, now: Duration) {
        let event = match self.snapshot.set_node(node.clone()) {
            Change::None => return,
            Change::Added => None,
            Change::Updated(old) => Some(old),
        };
        self.queue.event(&Event::Node { old: event.as_deref(), new: &node }, now);
    }

    pub fn node_deleted(&mut self, name: &str) {
        self.snapshot.remove_node(name);
    }

    /// A pod came or changed.
    pub fn pod_applied(&mut self, pod: Arc<Pod>, now: Duration) {
        let key = pod.key();
        if self.pods.get(&key).is_some_and(|tracked| tracked.pod.metadata.uid != pod.metadata.uid) {
            self.pod_deleted(&key, now);
        }
        if pod.terminal {
            self.pod_deleted(&key, now);
        } else if !pod.node_name.is_empty() {
            self.assigned(key, pod, now);
        } else if pod.scheduler_name == self.name {
            self.pending(key, pod, now);
        }
    }

    /// A pod is gone, or has ended and uses nothing any more.
    pub fn pod_deleted(&mut self, key: &Key, now: Duration) {
        let Some(Tracked { pod, state }) = self.pods.remove(key) else { return };
        match state {
            State::Queued => self.queue.remove(key),
            State::Assumed(slot, _) => {
                unreserve(&pod);
                self.free(&pod, slot, now);
            }
            State::Bound(slot) => self.free(&pod, slot, now),
        }
    }

    /// Decides about the next pod; none when no pod is ready.
    pub fn next(&mut self, now: Duration) -> Option<Decision> {
        let queued = self.queue.pop(now)?;
        let pod = queued.pod.clone();
        if pod.metadata.is_terminating() {
            self.pods.remove(&pod.key());
            return Some(Decision::Deleting { pod });
        }
        let (slot, writes) = match self.choose(&pod) {
            Ok(chosen) => chosen,
            Err((message, rejectors)) => {
                self.queue.unschedulable(queued, rejectors, now);
                return Some(Decision::Unschedulable { pod, message });
            }
        };
        let node = self.snapshot.node(slot).node.name.clone();
        self.snapshot.add_pod(&node, &pod.requirements, pod.priority);
        self.pods.insert(pod.key(), Tracked { pod: pod.clone(), state: State::Assumed(slot, Box::new(queued)) });
        Some(Decision::Bind { pod, node, writes })
    }

    /// Binding the pod failed: it is forgotten on its node and tried again after a back-off. Tells whether it is still ours
    /// to schedule.
    pub fn bind_failed(&mut self, pod: &Pod, now: Duration) -> bool {
        let key = pod.key();
        match self.pods.remove(&key) {
            Some(Tracked { pod: assumed, state: State::Assumed(slot, queued) })
                if assumed.metadata.uid == pod.metadata.uid =>
            {
                unreserve(&assumed);
                self.free(&assumed, slot, now);
                self.pods.insert(key, Tracked { pod: queued.pod.clone(), state: State::Queued });
                self.queue.retry(*queued, now);
                true
            }
            Some(other) => {
                self.pods.insert(key, other);
                false
            }
            None => false,
        }
    }

    /// The pod as it was last seen, if it is still waiting.
    pub fn waiting(&self, pod: &Pod) -> Option<&Arc<Pod>> {
        let tracked = self.pods.get(&pod.key()).filter(|tracked| matches!(tracked.state, State::Queued))?;
        (tracked.pod.metadata.uid == pod.metadata.uid).then_some(&tracked.pod)
    }

    /// When to call [`Scheduler::next`] again although nothing has happened.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.queue.next_deadline()
    }

    pub fn depth(&self) -> Depth {
        self.queue.depth()
    }

    fn assigned(&mut self, key: Key, pod: Arc<Pod>, now: Duration) {
        let before = self.pods.remove(&key);
        let slot = match &before {
            Some(Tracked { pod: old, state: State::Assumed(slot, _) | State::Bound(slot) })
                if Arc::ptr_eq(&old.requirements, &pod.requirements)
                    && old.priority == pod.priority
                    && self.snapshot.node(*slot).node.name == pod.node_name =>
            {
                *slot
            }
            _ => {
                let slot = self.snapshot.add_pod(&pod.node_name, &pod.requirements, pod.priority);
                match before {
                    Some(Tracked { state: State::Queued, .. }) => self.queue.remove(&key),
                    Some(Tracked { pod: old, state: State::Assumed(slot, _) | State::Bound(slot) }) => {
                        self.free(&old, slot, now);
                    }
                    None => {}
                }
                slot
            }
        };
        self.pods.insert(key, Tracked { pod, state: State::Bound(slot) });
    }

    fn pending(&mut self, key: Key, pod: Arc<Pod>, now: Duration) {
        match self.pods.get_mut(&key) {
            Some(Tracked { state: State::Assumed(..), .. }) if pod.metadata.is_terminating() => {
                self.pod_deleted(&key, now);
            }
            // Its place was chosen for the old version; the new one counts once that place is confirmed or refused.
            Some(Tracked { state: State::Assumed(_, queued), .. }) => queued.pod = pod,
            // A bound pod never becomes unbound; this is an echo from before.
            Some(Tracked { state: State::Bound(_), .. }) => {}
            // Given up already, or not worth beginning.
            None if pod.metadata.is_terminating() => {}
            Some(Tracked { state: State::Queued, .. }) | None => {
                self.queue.put(pod.clone(), now);
                self.pods.insert(key, Tracked { pod, state: State::Queued });
            }
        }
    }

    /// A node for the pod with every plugin's consent, and the writes that bind it.
    fn choose(&mut self, pod: &Pod) -> Result<(Slot, Vec<Write>), (String, PluginSet)> {
        let slot =
            self.cycle.schedule(pod, &self.snapshot).map_err(|error| (error.message.clone(), error.rejectors))?;
        let info = self.snapshot.node(slot);
        for (index, row) in PLUGINS.iter().enumerate() {
            let consent = row.plugin.reserve(pod, info).and_then(|()| row.plugin.permit(pod, info));
            if let Err(Rejection { reasons, .. }) = consent {
                unreserve(pod);
                return Err((format!("0/1 nodes are available: 1 {}.", reasons.join(", ")), 1 << index));
            }
        }
        let node = &info.node.name;
        let mut writes: Vec<Write> = PLUGINS.iter().flat_map(|row| row.plugin.pre_bind(pod, node)).collect();
        writes.extend(PLUGINS.iter().find_map(|row| row.plugin.bind(pod, node)));
        Ok((slot, writes))
    }

    fn free(&mut self, pod: &Pod, slot: Slot, now: Duration) {
        self.snapshot.remove_pod(slot, &pod.requirements, pod.priority);
        self.queue.event(&Event::PodFreed(&pod.requirements), now);
    }
}

fn unreserve(pod: &Pod) {
    PLUGINS.iter().rev().for_each(|row| row.plugin.unreserve(pod));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECOND: Duration = Duration::from_secs(1);

    fn scheduler(nodes: &[(&str, &str)]) -> Scheduler {
        let mut scheduler = Scheduler::new("default-scheduler", 0, 1);
        for (name, cpu) in nodes {
            scheduler.node_applied(node(name, cpu), Duration::ZERO);
        }
        scheduler
    }

    fn node(name: &str, cpu: &str) -> Arc<Node> {
        let object: crate::snapshot::NodeObject = serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}},
        }))
        .unwrap();
        object.node
    }

    fn pod(name: &str, spec: serde_json::Value) -> Arc<Pod> {
        let mut document = json!({
            "metadata": {"namespace": "d", "name": name, "uid": format!("uid-{name}")},
            "spec": {
                "schedulerName": "default-scheduler",
                "containers": [{"resources": {"requests": {"cpu": "1"}}}],
            },
        });
        document["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(document).unwrap())
    }

    fn bound(decision: Option<Decision>) -> (Arc<Pod>, String) {
        match decision {
            Some(Decision::Bind { pod, node, writes }) => {
                assert_eq!(writes.len(), 1);
                (pod, node)
            }
            other => panic!("not bound: {other:?}"),
        }
    }

    #[test]
    fn an_assumed_pod_counts_until_binding_fails() {
        let mut scheduler = scheduler(&[("n", "1")]);
        scheduler.pod_applied(pod("a", json!({})), SECOND);
        scheduler.pod_applied(pod("b", json!({})), SECOND);
        let (a, _) = bound(scheduler.next(SECOND));
        assert!(matches!(scheduler.next(SECOND), Some(Decision::Unschedulable { .. })), "the node is taken by a");
        assert!(scheduler.bind_failed(&a, SECOND));
        // The error makes a wait a second, and frees the node for b.
        let (b, _) = bound(scheduler.next(SECOND));
        assert_eq!(b.metadata.name, "b");
        assert!(scheduler.next(SECOND).is_none());
        assert!(matches!(scheduler.next(2 * SECOND), Some(Decision::Unschedulable { .. })));
    }

    #[test]
    fn a_confirmed_binding_is_counted_once() {
        let mut scheduler = scheduler(&[("n", "2")]);
        scheduler.pod_applied(pod("a", json!({})), SECOND);
        bound(scheduler.next(SECOND));
        scheduler.pod_applied(pod("a", json!({"nodeName": "n"})), SECOND);
        let slot = scheduler.snapshot.find("n").unwrap();
        assert_eq!(scheduler.snapshot.node(slot).requested.milli_cpu, 1000);
        assert!(!scheduler.bind_failed(&pod("a", json!({})), SECOND), "an answer that came too late is not believed");
        scheduler.pod_deleted(&Key::new("d", "a"), SECOND);
        assert_eq!(scheduler.snapshot.node(slot).requested.milli_cpu, 0);
    }

    #[test]
    fn a_pod_waits_for_a_node_and_then_for_room() {
        let mut scheduler = scheduler(&[]);
        scheduler.pod_applied(pod("a", json!({})), SECOND);
        let Some(Decision::Unschedulable { message, .. }) = scheduler.next(SECOND) else { panic!() };
        assert_eq!(message, "no nodes available to schedule pods");
        assert!(scheduler.next(100 * SECOND).is_none());
        scheduler.node_applied(node("n", "1"), 100 * SECOND);
        bound(scheduler.next(100 * SECOND));
        scheduler.pod_applied(pod("b", json!({})), 101 * SECOND);
        assert!(matches!(scheduler.next(101 * SECOND), Some(Decision::Unschedulable { .. })));
        assert!(scheduler.next(101 * SECOND).is_none());
        scheduler.pod_deleted(&Key::new("d", "a"), 110 * SECOND);
        assert_eq!(bound(scheduler.next(110 * SECOND)).0.metadata.name, "b");
    }

    #[test]
    fn other_schedulers_pods_are_counted_but_not_scheduled() {
        let mut scheduler = scheduler(&[("n", "1")]);
        scheduler.pod_applied(pod("a", json!({"schedulerName": "other"})), SECOND);
        assert!(scheduler.next(SECOND).is_none());
        scheduler.pod_applied(pod("a", json!({"schedulerName": "other", "nodeName": "n"})), SECOND);
        scheduler.pod_applied(pod("b", json!({})), SECOND);
        assert!(matches!(scheduler.next(SECOND), Some(Decision::Unschedulable { .. })));
    }

    #[test]
    fn spreading_over_equal_nodes() {
        let nodes: Vec<String> = (0..10).map(|i| format!("n{i}")).collect();
        let mut scheduler = scheduler(&nodes.iter().map(|name| (name.as_str(), "4")).collect::<Vec<_>>());
        let mut used: HashMap<String, u32> = HashMap::new();
        for i in 0..30 {
            scheduler.pod_applied(pod(&format!("p{i}"), json!({})), SECOND);
            *used.entry(bound(scheduler.next(SECOND)).1).or_default() += 1;
        }
        assert!(used.len() == 10 && used.values().all(|count| *count == 3), "{used:?}");
    }
}
