use std::borrow::Cow;

use crate::plugin::{Event, MAX_NODE_SCORE, Plugin, Rejection};
use crate::pod::Requirements;
use crate::snapshot::{Node, NodeInfo};

/// Filters by what the node has left; scores by how much would remain (strategy LeastAllocated over cpu and memory).
pub struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter(&self, wants: &Requirements, node: &NodeInfo) -> Result<(), Rejection> {
        let mut lacking = Lacking::default();
        lacking.check(1, node.pods, node.node.allocatable.pods, || "Too many pods".into());
        // As upstream: a node without room for one more pod counts as resolvable, even one that allows none.
        lacking.unresolvable = false;
        let (wanted, used, allocatable) = (&wants.requests, &node.requested, &node.node.allocatable);
        lacking.check(wanted.milli_cpu, used.milli_cpu, allocatable.milli_cpu, || "Insufficient cpu".into());
        lacking.check(wanted.memory, used.memory, allocatable.memory, || "Insufficient memory".into());
        lacking.check(wanted.ephemeral_storage, used.ephemeral_storage, allocatable.ephemeral_storage, || {
            "Insufficient ephemeral-storage".into()
        });
        for (name, amount) in &wanted.scalar {
            lacking
                .check(*amount, used.scalar(name), allocatable.scalar(name), || format!("Insufficient {name}").into());
        }
        match lacking.reasons.is_empty() {
            true => Ok(()),
            false => Err(Rejection { reasons: lacking.reasons, unresolvable: lacking.unresolvable }),
        }
    }

    fn score(&self, wants: &Requirements, node: &NodeInfo) -> i64 {
        let used = (node.non_zero.0 + wants.non_zero.0, node.non_zero.1 + wants.non_zero.1);
        least_allocated([(used.0, node.node.allocatable.milli_cpu), (used.1, node.node.allocatable.memory)])
    }

    fn may_help(&self, wants: &Requirements, event: &Event<'_>) -> bool {
        match event {
            Event::Node { old, new } => {
                self.filter(wants, &NodeInfo::empty(new)).is_ok() && old.is_none_or(|old| grew(wants, old, new))
            }
            Event::PodFreed(_) => true,
            Event::PodChanged { old } => old.requests != wants.requests,
        }
    }
}

/// Collects what a node lacks.
#[derive(Default)]
struct Lacking {
    reasons: Vec<Cow<'static, str>>,
    /// Even an empty node would lack it.
    unresolvable: bool,
}

impl Lacking {
    fn check(&mut self, wanted: i64, used: i64, allocatable: i64, reason: impl Fn() -> Cow<'static, str>) {
        if wanted > 0 && wanted > allocatable - used {
            self.reasons.push(reason());
            self.unresolvable |= wanted > allocatable;
        }
    }
}

/// Whether the node now offers more of something the pod wants.
fn grew(wants: &Requirements, old: &Node, new: &Node) -> bool {
    let (old, new, wanted) = (&old.allocatable, &new.allocatable, &wants.requests);
    new.pods > old.pods
        || wanted.milli_cpu > 0 && new.milli_cpu > old.milli_cpu
        || wanted.memory > 0 && new.memory > old.memory
        || wanted.ephemeral_storage > 0 && new.ephemeral_storage > old.ephemeral_storage
        || wanted.scalar.iter().any(|(name, _)| new.scalar(name) > old.scalar(name))
}

/// The mean of the free shares of each (used, allocatable), 0 to 100; what the node does not have is left out.
fn least_allocated(resources: [(i64, i64); 2]) -> i64 {
    let offered = resources.into_iter().filter(|(_, allocatable)| *allocatable != 0);
    let (sum, count) = offered.fold((0, 0), |(sum, count), (used, allocatable)| {
        let free = (allocatable - used).max(0);
        (sum + (i128::from(free) * i128::from(MAX_NODE_SCORE) / i128::from(allocatable)) as i64, count + 1)
    });
    if count == 0 { 0 } else { sum / count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resources;

    fn resources(milli_cpu: i64, memory: i64, pods: i64) -> Resources {
        Resources { milli_cpu, memory, pods, ..Resources::default() }
    }

    #[test]
    fn least_allocated_equals_upstream_s() {
        // Upstream's cases: an empty node of 4000/10000 for a pod of 3000/5000, and one of 6000/10000.
        assert_eq!(least_allocated([(3000, 4000), (5000, 10000)]), 37);
        assert_eq!(least_allocated([(3000, 6000), (5000, 10000)]), 50);
        assert_eq!(least_allocated([(5000, 4000), (5000, 10000)]), 25);
        assert_eq!(least_allocated([(0, 0), (0, 0)]), 0);
    }

    #[test]
    fn every_lack_is_named() {
        let node = Node { allocatable: resources(1000, 1000, 1), ..Node::default() };
        let mut info = NodeInfo::empty(&node);
        info.add_pod(&Requirements { requests: resources(600, 600, 0), ..Requirements::default() }, 0);
        let mut requests = resources(500, 2000, 0);
        requests.scalar.push(("example.com/gpu".into(), 1));
        let wants = Requirements { requests, ..Requirements::default() };
        let rejection = NodeResourcesFit.filter(&wants, &info).unwrap_err();
        assert_eq!(
            rejection.reasons,
            ["Too many pods", "Insufficient cpu", "Insufficient memory", "Insufficient example.com/gpu"]
        );
        assert!(rejection.unresolvable, "the memory would not fit an empty node");
    }

    #[test]
    fn a_smaller_full_node_can_be_helped_by_removal() {
        let node = Node { allocatable: resources(1000, 1000, 10), ..Node::default() };
        let mut info = NodeInfo::empty(&node);
        let wants = Requirements { requests: resources(600, 600, 0), ..Requirements::default() };
        assert!(NodeResourcesFit.filter(&wants, &info).is_ok());
        info.add_pod(&wants, 0);
        assert!(!NodeResourcesFit.filter(&wants, &info).unwrap_err().unresolvable);
        info.remove_pod(&wants, 0);
        assert!(NodeResourcesFit.filter(&wants, &info).is_ok());
    }
}
