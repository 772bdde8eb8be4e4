use crate::plugin::{Event, Plugin, Rejection};
use crate::pod::{HostPort, Requirements};
use crate::snapshot::NodeInfo;

/// Keeps pods apart that want the same port of the host.
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn filter(&self, wants: &Requirements, node: &NodeInfo) -> Result<(), Rejection> {
        match conflict(&wants.host_ports, &node.ports) {
            true => Err(Rejection::resolvable("node(s) didn't have free ports for the requested pod ports")),
            false => Ok(()),
        }
    }

    fn may_help(&self, wants: &Requirements, event: &Event<'_>) -> bool {
        match event {
            Event::Node { old, .. } => old.is_none(),
            Event::PodFreed(freed) => conflict(&wants.host_ports, &freed.host_ports),
            Event::PodChanged { .. } => false,
        }
    }
}

fn conflict(wanted: &[HostPort], taken: &[HostPort]) -> bool {
    wanted.iter().any(|port| taken.iter().any(|other| port.conflicts(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wildcard_address_conflicts_with_every_address() {
        let port = |ip: &str, protocol: &str, port| HostPort { ip: ip.into(), protocol: protocol.into(), port };
        let taken = [port("127.0.0.1", "TCP", 80)];
        assert!(conflict(&[port("0.0.0.0", "TCP", 80)], &taken));
        assert!(conflict(&[port("127.0.0.1", "TCP", 80)], &taken));
        assert!(!conflict(&[port("127.0.0.2", "TCP", 80)], &taken));
        assert!(!conflict(&[port("0.0.0.0", "UDP", 80)], &taken));
    }
}
