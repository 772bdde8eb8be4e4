//! The nodes and what runs on them: an array of slots, updated by deltas, with a log of which slots changed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use component::meta::{Meta, Projection, or_default};
use serde::Deserialize;

use crate::pod::{HostPort, Requirements, Taint};
use crate::resource::{Quantity, Resources};

/// Index of a node in the snapshot; reused after the node and its last pod are gone.
pub type Slot = u32;

/// The change log's length: a reader further behind looks at everything again.
const LOG: usize = 16 * 1024;

/// A Node as the scheduler's informer keeps it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "NodeShape")]
pub struct NodeObject {
    metadata: Meta,
    pub node: Arc<Node>,
}

impl Projection for NodeObject {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// What scheduling reads of a Node. While two are equal, nothing that matters has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
    pub allocatable: Resources,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeShape {
    metadata: Meta,
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeSpec {
    unschedulable: bool,
    #[serde(deserialize_with = "or_default")]
    taints: Vec<Taint>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeStatus {
    #[serde(deserialize_with = "or_default")]
    allocatable: BTreeMap<String, Quantity>,
}

impl From<NodeShape> for NodeObject {
    fn from(NodeShape { metadata, spec, status }: NodeShape) -> Self {
        let node = Node {
            name: metadata.name.clone(),
            labels: metadata.labels.to_map(),
            unschedulable: spec.unschedulable,
            taints: spec.taints,
            allocatable: Resources::from_list(&status.allocatable),
        };
        let metadata = Meta {
            labels: Default::default(),
            annotations: Default::default(),
            owner_references: Vec::new(),
            finalizers: Vec::new(),
            ..metadata
        };
        Self { metadata, node: Arc::new(node) }
    }
}

/// A node and the sums over the pods on it, bound or assumed.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    pub node: Arc<Node>,
    /// False while only its pods are known.
    pub known: bool,
    pub requested: Resources,
    /// cpu and memory with defaults for containers that request none.
    pub non_zero: (i64, i64),
    pub pods: i64,
    pub ports: Vec<HostPort>,
    /// How many pods of each priority.
    priorities: BTreeMap<i32, u32>,
}

impl NodeInfo {
    /// A node with nothing on it.
    pub fn empty(node: &Node) -> Self {
        Self { node: Arc::new(node.clone()), known: true, ..Self::default() }
    }

    /// Whether a pod of lower priority runs here.
    pub fn has_lower_priority(&self, priority: i32) -> bool {
        self.priorities.range(..priority).next().is_some()
    }

    pub fn add_pod(&mut self, wants: &Requirements, priority: i32) {
        self.requested.add(&wants.requests);
        self.non_zero = (self.non_zero.0 + wants.non_zero.0, self.non_zero.1 + wants.non_zero.1);
        self.pods += 1;
        self.ports.extend(wants.host_ports.iter().cloned());
        *self.priorities.entry(priority).or_default() += 1;
    }

    pub fn remove_pod(&mut self, wants: &Requirements, priority: i32) {
        self.requested.subtract(&wants.requests);
        self.non_zero = (self.non_zero.0 - wants.non_zero.0, self.non_zero.1 - wants.non_zero.1);
        self.pods -= 1;
        for port in &wants.host_ports {
            if let Some(at) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(at);
            }
        }
        if let Some(count) = self.priorities.get_mut(&priority) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&priority);
            }
        }
    }
}

/// What became of a node that was set.
#[derive(Debug, PartialEq)]
pub enum Change {
    /// Nothing that scheduling reads.
    None,
    Added,
    /// It was this before.
    Updated(Arc<Node>),
}

/// All nodes. Every change of a slot is one entry in the log, so that readers catch up by the difference.
#[derive(Default)]
pub struct Snapshot {
    slots: Vec<NodeInfo>,
    free: Vec<Slot>,
    by_name: HashMap<String, Slot>,
    /// The slots of known nodes, in no particular order.
    live: Vec<Slot>,
    /// Slots in the order they changed; the last has the number `generation`.
    log: VecDeque<Slot>,
    generation: u64,
}

impl Snapshot {
    /// The slots of the nodes that exist.
    pub fn nodes(&self) -> &[Slot] {
        &self.live
    }

    /// One more than the highest slot in use.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    pub fn node(&self, slot: Slot) -> &NodeInfo {
        &self.slots[slot as usize]
    }

    /// The slot of a node that exists.
    pub fn find(&self, name: &str) -> Option<Slot> {
        self.by_name.get(name).copied().filter(|slot| self.node(*slot).known)
    }

    /// The number of changes so far.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The slots changed after `generation` (with repeats), or none when the log does not reach back that far.
    pub fn changes_since(&self, generation: u64) -> Option<impl Iterator<Item = Slot> + '_> {
        let behind = usize::try_from(self.generation - generation).ok()?;
        let from = self.log.len().checked_sub(behind)?;
        Some(self.log.range(from..).copied())
    }

    /// Adds or replaces a node.
    pub fn set_node(&mut self, node: Arc<Node>) -> Change {
        let slot = self.slot(&node.name);
        let info = &mut self.slots[slot as usize];
        if info.known && info.node == node {
            return Change::None;
        }
        let old = std::mem::replace(&mut info.node, node);
        let was_known = std::mem::replace(&mut info.known, true);
        if !was_known {
            self.live.push(slot);
        }
        self.touch(slot);
        if was_known { Change::Updated(old) } else { Change::Added }
    }

    /// Forgets a node; its pods stay counted until they go, too.
    pub fn remove_node(&mut self, name: &str) {
        let Some(slot) = self.find(name) else { return };
        let info = &mut self.slots[slot as usize];
        info.known = false;
        info.node = Arc::new(Node { name: name.to_owned(), ..Node::default() });
        self.live.retain(|live| *live != slot);
        self.touch(slot);
        self.release_if_empty(slot);
    }

    /// Counts a pod on a node, which may not be known yet.
    pub fn add_pod(&mut self, node_name: &str, wants: &Requirements, priority: i32) -> Slot {
        let slot = self.slot(node_name);
        self.slots[slot as usize].add_pod(wants, priority);
        self.touch(slot);
        slot
    }

    /// Takes a pod off the node it was added to.
    pub fn remove_pod(&mut self, slot: Slot, wants: &Requirements, priority: i32) {
        self.slots[slot as usize].remove_pod(wants, priority);
        self.touch(slot);
        self.release_if_empty(slot);
    }

    fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let node = Arc::new(Node { name: name.to_owned(), ..Node::default() });
        let info = NodeInfo { node, ..NodeInfo::default() };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = info;
                slot
            }
            None => {
                self.slots.push(info);
                (self.slots.len() - 1) as Slot
            }
        };
        self.by_name.insert(name.to_owned(), slot);
        slot
    }

    fn release_if_empty(&mut self, slot: Slot) {
        let info = &self.slots[slot as usize];
        if !info.known && info.pods == 0 {
            self.by_name.remove(&info.node.name);
            self.free.push(slot);
        }
    }

    fn touch(&mut self, slot: Slot) {
        if self.log.len() == LOG {
            self.log.pop_front();
        }
        self.log.push_back(slot);
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Arc<Node> {
        Arc::new(Node { name: name.into(), ..Node::default() })
    }

    #[test]
    fn a_pod_seen_before_its_node_is_counted() {
        let mut snapshot = Snapshot::default();
        let wants = Requirements { non_zero: (100, 200), ..Requirements::default() };
        let slot = snapshot.add_pod("a", &wants, 0);
        assert_eq!(snapshot.find("a"), None);
        assert_eq!(snapshot.set_node(node("a")), Change::Added);
        assert_eq!(snapshot.find("a"), Some(slot));
        assert_eq!(snapshot.node(slot).non_zero, (100, 200));
        assert_eq!(snapshot.set_node(node("a")), Change::None, "the same again is no change");
    }

    #[test]
    fn a_slot_is_reused_only_when_node_and_pods_are_gone() {
        let mut snapshot = Snapshot::default();
        let wants = Requirements::default();
        let slot = snapshot.add_pod("a", &wants, 0);
        snapshot.set_node(node("a"));
        snapshot.remove_node("a");
        assert_ne!(snapshot.add_pod("b", &wants, 0), slot);
        snapshot.remove_pod(slot, &wants, 0);
        assert_eq!(snapshot.add_pod("c", &wants, 0), slot);
    }

    #[test]
    fn readers_catch_up_by_the_log() {
        let mut snapshot = Snapshot::default();
        snapshot.set_node(node("a"));
        let seen = snapshot.generation();
        let slot = snapshot.add_pod("a", &Requirements::default(), 0);
        assert_eq!(snapshot.changes_since(seen).unwrap().collect::<Vec<_>>(), [slot]);
        for _ in 0..LOG {
            snapshot.add_pod("a", &Requirements::default(), 0);
        }
        assert!(snapshot.changes_since(seen).is_none());
    }
}
