//! What Services count for: themselves, their node ports and load balancers.

use super::{COUNTED, Measure, number};
use crate::document::{self, Value};
use crate::resource_list::ResourceList;
use jiff::Timestamp;

pub const MEASURE: Measure = Measure {
    resource: "services",
    names: &["services", "services.nodeports", "services.loadbalancers"],
    usage: Some(usage),
    changes: |subresource, _, _| subresource.is_empty(),
    ..COUNTED
};

fn usage(service: &Value, _: Timestamp) -> ResourceList {
    let ports = document::get_list(service, "spec.ports");
    let kind = document::get_str(service, "spec.type");
    let balanced = kind == "LoadBalancer";
    let allocates = document::get(service, "spec.allocateLoadBalancerNodePorts") != Some(&Value::Bool(false));
    let node_ports = match kind {
        "NodePort" => ports.len(),
        // The ports may not be given yet: it is the intent that counts.
        "LoadBalancer" if allocates => ports.len(),
        "LoadBalancer" => {
            ports.iter().filter(|port| document::get_i64(port, "nodePort").is_some_and(|p| p != 0)).count()
        }
        _ => 0,
    };
    let counts = [
        ("services", 1),
        ("services.nodeports", i64::try_from(node_ports).unwrap_or(i64::MAX)),
        ("services.loadbalancers", i64::from(balanced)),
    ];
    counts.map(|(name, count)| (name.to_owned(), number(count))).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource_list::shown;
    use serde_json::json;

    #[test]
    fn node_ports_count_as_they_are_meant() {
        let ports = json!([{ "port": 80 }, { "port": 81, "nodePort": 30000 }]);
        for (spec, wanted) in [
            (json!({ "type": "ClusterIP" }), "services=1,services.loadbalancers=0,services.nodeports=0"),
            (json!({ "type": "NodePort" }), "services=1,services.loadbalancers=0,services.nodeports=2"),
            (json!({ "type": "LoadBalancer" }), "services=1,services.loadbalancers=1,services.nodeports=2"),
            (
                json!({ "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false }),
                "services=1,services.loadbalancers=1,services.nodeports=1",
            ),
        ] {
            let mut service = json!({ "spec": spec });
            service["spec"]["ports"] = ports.clone();
            assert_eq!(shown(&usage(&service, Timestamp::UNIX_EPOCH)), wanted);
        }
    }
}
