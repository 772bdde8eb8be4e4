use crate::plugin::{MAX_NODE_SCORE, Plugin};
use crate::pod::Requirements;
use crate::snapshot::NodeInfo;

/// Prefers nodes whose cpu and memory the pod would leave more evenly used.
pub struct NodeResourcesBalancedAllocation;

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    /// Pods that request neither balance nothing, and would all go to one node.
    fn pre_score(&self, wants: &Requirements) -> bool {
        wants.requests.milli_cpu != 0 || wants.requests.memory != 0
    }

    fn score(&self, wants: &Requirements, node: &NodeInfo) -> i64 {
        let allocatable = [node.node.allocatable.milli_cpu, node.node.allocatable.memory];
        let used = [node.requested.milli_cpu, node.requested.memory];
        let with_pod = [used[0] + wants.requests.milli_cpu, used[1] + wants.requests.memory];
        improvement(with_pod, used, allocatable)
    }
}

/// 75 when the pod changes nothing in the balance, towards 100 when it improves it, towards 50 when it worsens it.
fn improvement(with_pod: [i64; 2], without: [i64; 2], allocatable: [i64; 2]) -> i64 {
    let half = MAX_NODE_SCORE / 2;
    half + (half + balance(with_pod, allocatable) - balance(without, allocatable)) / 2
}

/// One minus the standard deviation of the used fractions, as a score.
fn balance(used: [i64; 2], allocatable: [i64; 2]) -> i64 {
    let fraction = |i: usize| (used[i] as f64 / allocatable[i] as f64).min(1.0);
    let deviation = match allocatable {
        [0, _] | [_, 0] => 0.0,
        _ => ((fraction(0) - fraction(1)) / 2.0).abs(),
    };
    ((1.0 - deviation) * MAX_NODE_SCORE as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_equal_upstream_s() {
        // cpu 3000 of 10000 and memory 5000 of 20000 beside an empty node: from upstream's own table of cases.
        assert_eq!(improvement([3000, 5000], [0, 0], [10000, 20000]), 50 + (50 + 97 - 100) / 2);
        // Fractions 0.6 and 0.25 after, 0.6 and 0 before: the pod improves the balance.
        assert_eq!(improvement([6000, 5000], [6000, 0], [10000, 20000]), 50 + (50 + 82 - 70) / 2);
        // No allocatable memory: nothing to balance.
        assert_eq!(improvement([1000, 0], [0, 0], [4000, 0]), 75);
        // Over-committed fractions count as full.
        assert_eq!(balance([20000, 20000], [10000, 20000]), 100);
    }
}
