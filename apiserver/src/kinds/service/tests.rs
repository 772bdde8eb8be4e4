use super::allocate::{Allocator, plan};
use super::*;

fn service(spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": "s"}, "spec": spec});
    Service.default(&mut service);
    service
}

fn allocator() -> Allocator {
    Allocator::new(&["10.96.0.0/24".parse().unwrap()], 30000..=32767, 7)
}

fn created(spec: Value, allocator: &mut Allocator) -> Value {
    let mut service = service(spec);
    let reservation = plan(None, &mut service, allocator).unwrap();
    allocator.commit(reservation);
    service
}

fn messages(spec: Value) -> Vec<String> {
    let service = created(spec, &mut allocator());
    let mut errors = Errors::new();
    Service.validate(&service, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_filled_in() {
    let service = service(json!({"type": "LoadBalancer", "ports": [{"port": 80}]}));
    let expected = json!({
        "type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None", "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
        "allocateLoadBalancerNodePorts": true,
    });
    assert_eq!(service["spec"], expected);
}

#[test]
fn what_is_wrong_is_said() {
    let cases = [
        (json!({"ports": [{"port": 80}]}), ""),
        (json!({}), "spec.ports: Required value"),
        (
            json!({"ports": [{"port": 0}]}),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (json!({"ports": [{"port": 1}, {"port": 2, "name": "b"}]}), "spec.ports[0].name: Required value"),
        (
            json!({"ports": [{"port": 1, "protocol": "ICMP"}]}),
            "spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (json!({"type": "ExternalName"}), "spec.externalName: Required value"),
        (
            json!({"ports": [{"port": 1, "nodePort": 30001}]}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            json!({"ports": [{"port": 1}], "externalTrafficPolicy": "Local"}),
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ),
        (
            json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 1}]}),
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ),
        (
            json!({"ports": [{"port": 1}], "loadBalancerClass": "a/b"}),
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(messages(spec.clone()).first().map_or("", String::as_str), expected, "{spec}");
    }
}

#[test]
fn addresses_and_ports_are_given_once() {
    let mut allocator = allocator();
    let a = created(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}), &mut allocator);
    assert_eq!(a["spec"]["clusterIPs"], json!([a["spec"]["clusterIP"]]));
    assert_eq!(a["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(a["spec"]["ipFamilyPolicy"], "SingleStack");
    let refused =
        |spec: Value, allocator: &mut Allocator| plan(None, &mut service(spec), allocator).unwrap_err().message.clone();
    assert_eq!(
        refused(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}), &mut allocator),
        "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    );
    assert_eq!(
        refused(json!({"clusterIP": "192.168.0.1", "ports": [{"port": 80}]}), &mut allocator),
        "Service \"s\" is invalid: spec.clusterIPs: Invalid value: [\"192.168.0.1\"]: failed to allocate IP \
         192.168.0.1: the provided network does not match the current range"
    );
    let taken = a["spec"]["clusterIP"].clone();
    let again = json!({"clusterIP": taken, "ports": [{"port": 80}]});
    assert!(refused(again.clone(), &mut allocator).ends_with("provided IP is already allocated"));
    allocator.release(&a);
    created(again, &mut allocator);
}

#[test]
fn a_failed_plan_takes_nothing() {
    let mut allocator = Allocator::new(&["10.96.0.0/30".parse().unwrap()], 30000..=30000, 1);
    let mut bad = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 1}]}));
    let failure = plan(None, &mut bad, &mut allocator).unwrap_err();
    assert!(failure.message.ends_with("The range of valid ports is 30000-30000"), "{}", failure.message);
    created(json!({"ports": [{"port": 80}]}), &mut allocator);
    created(json!({"ports": [{"port": 80}]}), &mut allocator);
    let full = plan(None, &mut service(json!({"ports": [{"port": 80}]})), &mut allocator).unwrap_err();
    assert_eq!(full.code, 500);
}

#[test]
fn ports_of_one_number_share_a_node_port() {
    let ports = json!([{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP", "nodePort": 30053}]);
    let service = created(json!({"type": "NodePort", "ports": ports}), &mut allocator());
    assert_eq!(service["spec"]["ports"][0]["nodePort"], 30053);
    assert_eq!(service["spec"]["ports"][1]["nodePort"], 30053);
}

#[test]
fn a_put_of_the_manifest_keeps_what_was_allocated() {
    let mut allocator = allocator();
    let manifest = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]});
    let old = created(manifest.clone(), &mut allocator);
    let mut new = service(manifest);
    let reservation = plan(Some(&old), &mut new, &mut allocator).unwrap();
    assert_eq!(reservation, allocate::Reservation::default());
    assert_eq!(new["spec"], old["spec"]);
    allocator.commit(reservation);
}

#[test]
fn a_changed_type_frees_what_it_does_not_need() {
    let mut allocator = allocator();
    let old = created(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}), &mut allocator);
    let mut new = old.clone();
    document::set(&mut new, "spec.type", "ExternalName");
    document::set(&mut new, "spec.externalName", "example.org");
    let reservation = plan(Some(&old), &mut new, &mut allocator).unwrap();
    drop_what_the_type_does_not_have(&mut new, &old);
    allocator.commit(reservation);
    assert_eq!(new["spec"]["ports"], json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]));
    assert!(child(spec(&new), "clusterIP").is_none() && child(spec(&new), "externalTrafficPolicy").is_none());
    let ip = old["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    assert_eq!((allocator.reserve(ip), allocator.reserve_port(30080)), (Ok(()), Ok(())));
}

#[test]
fn the_primary_address_stays() {
    let mut allocator = allocator();
    let old = created(json!({"ports": [{"port": 80}], "clusterIP": "10.96.0.9"}), &mut allocator);
    let mut new = old.clone();
    document::set(&mut new, "spec.clusterIP", "10.96.0.8");
    let reservation = plan(Some(&old), &mut new, &mut allocator).unwrap();
    allocator.roll_back(reservation);
    let mut errors = Errors::new();
    Service.validate_update(&new, &old, &mut errors);
    assert_eq!(errors.0[0].to_string(), "spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set");
}

#[test]
fn selectorless_headless_services_have_both_families() {
    let service = created(json!({"clusterIP": "None"}), &mut allocator());
    assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(service["spec"]["ipFamilyPolicy"], "RequireDualStack");
    let demanding = json!({"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]});
    let failure = plan(None, &mut self::service(demanding), &mut allocator()).unwrap_err();
    assert!(failure.message.ends_with("this cluster is not configured for dual-stack services"));
}
