use crate::plugin::{Event, Plugin, Rejection};
use crate::pod::{Requirements, Taint, Toleration};
use crate::snapshot::{Node, NodeInfo};

/// Keeps pods off cordoned nodes, unless they tolerate the taint that stands for it.
pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter(&self, wants: &Requirements, node: &NodeInfo) -> Result<(), Rejection> {
        match admits(&node.node, &wants.tolerations) {
            true => Ok(()),
            false => Err(Rejection::unresolvable("node(s) were unschedulable")),
        }
    }

    fn may_help(&self, wants: &Requirements, event: &Event<'_>) -> bool {
        match event {
            Event::Node { old, new } => !new.unschedulable && old.is_none_or(|old| old.unschedulable),
            Event::PodFreed(_) => false,
            Event::PodChanged { .. } => tolerates_cordon(&wants.tolerations),
        }
    }
}

fn admits(node: &Node, tolerations: &[Toleration]) -> bool {
    !node.unschedulable || tolerates_cordon(tolerations)
}

fn tolerates_cordon(tolerations: &[Toleration]) -> bool {
    let cordon =
        Taint { key: "node.kubernetes.io/unschedulable".into(), value: String::new(), effect: "NoSchedule".into() };
    tolerations.iter().any(|toleration| toleration.tolerates(&cordon))
}
