//! Pod CIDRs: every node gets a network of each family from the cluster's (upstream's range allocator in `pkg/controller/nodeipam`).

use std::collections::HashSet;

use component::events::EventType;
use component::resource::NODES;
use ipnet::IpNet;
use serde_json::json;

use super::event;
use crate::Options;
use crate::informers::Informers;
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

pub fn watch(informers: &Informers, queue: &Queue) {
    let queue = queue.clone();
    informers.nodes.subscribe(move |delta| {
        let node = delta.object();
        if node.spec.pod_cidr.is_empty() {
            queue.add(Item::of(NODES, &node.metadata));
        }
    });
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let mut plan = Plan::none();
    let Some(node) = view.stores.nodes.get("", item.name()) else { return plan };
    let settled = !node.spec.pod_cidr.is_empty() || !node.spec.pod_cidrs.is_empty();
    if !view.options.allocate_node_cidrs || settled || node.metadata.is_terminating() {
        return plan;
    }
    let taken: HashSet<IpNet> = view
        .stores
        .nodes
        .list()
        .iter()
        .flat_map(|node| node.spec.pod_cidrs.iter().chain(std::iter::once(&node.spec.pod_cidr)))
        .filter_map(|cidr| cidr.parse().ok())
        .collect();
    let free: Vec<_> = view.options.cluster_cidr.iter().map(|cidr| free(*cidr, &taken, view.options)).collect();
    let Some(cidrs) = free.into_iter().collect::<Option<Vec<_>>>() else {
        let note = format!("Node {} status is now: CIDRNotAvailable", item.name());
        let about = (NODES, &node.metadata);
        plan.act(Action::event(event("cidrAllocator", about, EventType::Normal, "CIDRNotAvailable", note)));
        plan.retry = Some("no pod CIDR is free".to_owned());
        return plan;
    };
    let texts: Vec<String> = cidrs.iter().map(IpNet::to_string).collect();
    if let Some(first) = texts.first() {
        let body = json!({ "spec": { "podCIDR": first, "podCIDRs": texts } });
        plan.act(Action::merge(NODES, &node.metadata, "", body));
    }
    plan
}

/// The first network of a node's size that nobody has.
fn free(cluster: IpNet, taken: &HashSet<IpNet>, options: &Options) -> Option<IpNet> {
    let size = match cluster {
        IpNet::V4(_) => options.node_cidr_mask_size_ipv4,
        IpNet::V6(_) => options.node_cidr_mask_size_ipv6,
    };
    let overlap = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    // Networks of other sizes come from nodes that were given theirs by somebody else.
    let odd: Vec<&IpNet> = taken.iter().filter(|net| net.prefix_len() != size).collect();
    cluster.subnets(size).ok()?.find(|net| {
        !taken.contains(net)
            && !odd.iter().any(|other| overlap(net, other))
            && !options.service_cluster_ip_range.iter().any(|services| overlap(net, services))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_network_outside_the_services() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let options = Options { service_cluster_ip_range: vec![net("10.244.1.0/25")], ..Options::default() };
        let taken = HashSet::from([net("10.244.0.0/24"), net("10.244.2.128/26")]);
        assert_eq!(free(net("10.244.0.0/16"), &taken, &options), Some(net("10.244.3.0/24")));
        assert_eq!(free(net("10.244.0.0/24"), &taken, &options), None);
    }
}
