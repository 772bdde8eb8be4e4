//! The scheduling framework: the extension points by upstream's names, and [`PLUGINS`], the plugins with their weights.
//!
//! Filters and scores see [`Requirements`], not the whole pod. That keeps the scheduling signature honest: what a plugin
//! cannot read cannot make two pods of one signature differ. A plugin that needs more of the pod adds it there.
//!
//! Upstream: <https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/>.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::Duration;

use component::Resource;

use crate::cycle::Diagnosis;
use crate::plugins::*;
use crate::pod::{Pod, Requirements};
use crate::snapshot::{Node, NodeInfo, Snapshot};

/// The highest score a node can get from one plugin, before its weight.
pub const MAX_NODE_SCORE: i64 = 100;

/// A plugin and the weight of its scores; 0 for one that does not score.
pub struct Row {
    pub plugin: &'static dyn Plugin,
    pub weight: i64,
}

/// Every plugin, in the order the extension points run them (upstream's default profile).
pub static PLUGINS: &[Row] = &[
    row(&SchedulingGates, 0),
    row(&PrioritySort, 0),
    row(&NodeUnschedulable, 0),
    row(&NodeName, 0),
    row(&TaintToleration, 3),
    row(&NodeAffinity, 2),
    row(&NodePorts, 0),
    row(&NodeResourcesFit, 1),
    row(&DefaultPreemption, 0),
    row(&NodeResourcesBalancedAllocation, 1),
    row(&DefaultBinder, 0),
];

const fn row(plugin: &'static dyn Plugin, weight: i64) -> Row {
    Row { plugin, weight }
}

/// A set of plugins: bit n stands for row n of [`PLUGINS`].
pub type PluginSet = u32;

/// Pods leave the queue in the order of this key: by priority, then by the time they were queued.
pub type SortKey = (Reverse<i32>, Duration);

/// One stage of placing a pod is one method; each has a default that lets everything pass.
pub trait Plugin: Sync {
    fn name(&self) -> &'static str;

    /// Whether the pod may enter the active queue at all.
    fn pre_enqueue(&self, _pod: &Pod) -> Result<(), Rejection> {
        Ok(())
    }

    /// The order of the queue; exactly one plugin answers. `since` is when the pod was queued.
    fn queue_sort(&self, _pod: &Pod, _since: Duration) -> Option<SortKey> {
        None
    }

    /// Looks at the pod alone: may narrow the search to named nodes, or end it.
    fn pre_filter(&self, _pod: &Pod) -> PreFilter {
        PreFilter::All
    }

    /// Whether the node can take a pod with these requirements.
    fn filter(&self, _wants: &Requirements, _node: &NodeInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// Runs when no node fits. Its message ends the `FailedScheduling` message.
    fn post_filter(&self, _pod: &Pod, _snapshot: &Snapshot, _diagnosis: &Diagnosis) -> Option<String> {
        None
    }

    /// Whether the plugin scores pods with these requirements; else it adds nothing to any node.
    fn pre_score(&self, _wants: &Requirements) -> bool {
        true
    }

    /// A node's score, 0 to [`MAX_NODE_SCORE`] once normalized. Only called for rows with a weight.
    fn score(&self, _wants: &Requirements, _node: &NodeInfo) -> i64 {
        0
    }

    fn normalize_score(&self) -> Normalize {
        Normalize::AsIs
    }

    /// The pod is about to be assumed on the node. After an error each plugin's `unreserve` runs.
    fn reserve(&self, _pod: &Pod, _node: &NodeInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// Undoes `reserve`; also runs when binding fails.
    fn unreserve(&self, _pod: &Pod) {}

    /// The last word before binding.
    fn permit(&self, _pod: &Pod, _node: &NodeInfo) -> Result<(), Rejection> {
        Ok(())
    }

    /// Writes that must succeed, in order, before the pod is bound.
    fn pre_bind(&self, _pod: &Pod, _node_name: &str) -> Vec<Write> {
        Vec::new()
    }

    /// The write that binds; the first plugin to answer wins.
    fn bind(&self, _pod: &Pod, _node_name: &str) -> Option<Write> {
        None
    }

    /// The pod is bound.
    fn post_bind(&self, _pod: &Pod, _node_name: &str) {}

    /// Queueing hint: whether the event may let a pod pass that this plugin has rejected.
    fn may_help(&self, _wants: &Requirements, _event: &Event<'_>) -> bool {
        false
    }
}

/// Why a plugin refused a pod, in the words that reach the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reasons: Vec<Cow<'static, str>>,
    /// Removing pods from the node would not help (upstream: UnschedulableAndUnresolvable).
    pub unresolvable: bool,
}

impl Rejection {
    pub fn resolvable(reason: &'static str) -> Self {
        Self { reasons: vec![reason.into()], unresolvable: false }
    }

    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: vec![reason.into()], unresolvable: true }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum PreFilter {
    All,
    /// Only these nodes are worth a look.
    Nodes(Vec<String>),
    Reject(Rejection),
}

/// How raw scores become 0 to [`MAX_NODE_SCORE`] over the feasible nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalize {
    /// They already are.
    AsIs,
    /// In proportion to the highest.
    ByMax,
    /// The same, upside down: the highest raw score becomes 0.
    ByMaxReversed,
}

impl Normalize {
    /// The normalized form of `raw`, where `max` is the highest raw score of a feasible node.
    pub fn apply(self, raw: i64, max: i64) -> i64 {
        match self {
            Self::AsIs => raw,
            Self::ByMax if max == 0 => 0,
            Self::ByMax => MAX_NODE_SCORE * raw / max,
            Self::ByMaxReversed if max == 0 => MAX_NODE_SCORE,
            Self::ByMaxReversed => MAX_NODE_SCORE - MAX_NODE_SCORE * raw / max,
        }
    }
}

/// A change in the cluster that may make a waiting pod schedulable.
pub enum Event<'a> {
    /// A node came (`old` is none) or changed in what scheduling reads.
    Node { old: Option<&'a Node>, new: &'a Node },
    /// A pod left its node, or takes less of it than before.
    PodFreed(&'a Requirements),
    /// The waiting pod itself changed; these were its requirements.
    PodChanged { old: &'a Requirements },
}

/// A subresource to create, such as a pod's `binding`.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub resource: Resource,
    pub namespace: String,
    pub name: String,
    pub subresource: &'static str,
    pub body: serde_json::Value,
}

/// The names of a set's plugins, sorted.
pub fn names(set: PluginSet) -> Vec<&'static str> {
    let rows = PLUGINS.iter().enumerate().filter(|(index, _)| set & (1 << index) != 0);
    let mut names: Vec<_> = rows.map(|(_, row)| row.plugin.name()).collect();
    names.sort_unstable();
    names
}

/// The first objection of a plugin to queueing the pod.
pub fn pre_enqueue(pod: &Pod) -> Result<(), Rejection> {
    PLUGINS.iter().try_for_each(|row| row.plugin.pre_enqueue(pod))
}

/// The place in the queue of a pod that was queued at `since`.
pub fn sort_key(pod: &Pod, since: Duration) -> SortKey {
    PLUGINS.iter().find_map(|row| row.plugin.queue_sort(pod, since)).unwrap_or((Reverse(0), since))
}

/// Whether the event may help a pod that the plugins of `rejectors` refused.
pub fn may_help(rejectors: PluginSet, wants: &Requirements, event: &Event<'_>) -> bool {
    let mut rows = PLUGINS.iter().enumerate();
    rejectors == 0 || rows.any(|(index, row)| rejectors & (1 << index) != 0 && row.plugin.may_help(wants, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_normalize_as_upstream() {
        assert_eq!(Normalize::ByMax.apply(1, 3), 33);
        assert_eq!(Normalize::ByMax.apply(0, 0), 0);
        assert_eq!(Normalize::ByMaxReversed.apply(0, 0), 100);
        assert_eq!(Normalize::ByMaxReversed.apply(1, 3), 67);
        assert_eq!(Normalize::ByMaxReversed.apply(3, 3), 0);
    }

    #[test]
    fn one_plugin_sorts_and_one_binds() {
        let pod = Pod::default();
        assert_eq!(PLUGINS.iter().filter_map(|row| row.plugin.queue_sort(&pod, Duration::ZERO)).count(), 1);
        assert_eq!(PLUGINS.iter().filter_map(|row| row.plugin.bind(&pod, "n")).count(), 1);
        assert!(PLUGINS.len() <= PluginSet::BITS as usize);
    }
}
