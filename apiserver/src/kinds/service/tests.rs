use super::allocate::{Allocator, Known, Reservation, held_ports};
use super::pool::Cidr;
use super::*;
use api::status::ApiError;
use std::cell::RefCell;
use std::net::IpAddr;

fn service(spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": "s"}, "spec": spec});
    Service.default(&mut service);
    service
}

/// An allocator with the addresses that the store would have.
struct World {
    allocator: Allocator,
    cidrs: Vec<Cidr>,
    taken: RefCell<BTreeSet<IpAddr>>,
    ports: BTreeSet<u16>,
}

impl World {
    fn new(cidrs: &[&str], ports: std::ops::RangeInclusive<u16>) -> World {
        let cidrs: Vec<Cidr> = cidrs.iter().map(|cidr| Cidr::new(cidr.parse().unwrap())).collect();
        let families = cidrs.iter().map(Cidr::family).collect();
        World {
            allocator: Allocator::new(families, ports, 7),
            cidrs,
            taken: RefCell::default(),
            ports: BTreeSet::new(),
        }
    }

    fn plan(&mut self, old: Option<&Value>, service: &mut Value, dry_run: bool) -> Result<Reservation, ApiError> {
        let is_taken = |ip| self.taken.borrow().contains(&ip);
        let known = Known { cidrs: &self.cidrs, is_taken: &is_taken, ports: &self.ports };
        allocate::plan(old, service, &mut self.allocator, &known, dry_run)
    }

    /// The write succeeded.
    fn keep(&mut self, reservation: Reservation) {
        let mut taken = self.taken.borrow_mut();
        taken.extend(&reservation.addresses);
        taken.retain(|ip| !reservation.freed_addresses.contains(ip));
        self.ports.extend(&reservation.ports);
        self.ports.retain(|port| !reservation.freed_ports.contains(port));
        self.allocator.forget(&reservation);
    }

    fn create(&mut self, spec: Value) -> Value {
        let mut service = service(spec);
        let reservation = self.plan(None, &mut service, false).unwrap();
        self.keep(reservation);
        service
    }

    fn refused(&mut self, spec: Value) -> String {
        self.plan(None, &mut service(spec), false).unwrap_err().message.clone()
    }
}

fn world() -> World {
    World::new(&["10.96.0.0/24"], 30000..=32767)
}

fn messages(spec: Value) -> Vec<String> {
    let service = world().create(spec);
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
    let mut world = world();
    let a = world.create(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}));
    assert_eq!(a["spec"]["clusterIPs"], json!([a["spec"]["clusterIP"]]));
    assert_eq!(a["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(a["spec"]["ipFamilyPolicy"], "SingleStack");
    assert_eq!(
        world.refused(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]})),
        "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    );
    assert_eq!(
        world.refused(json!({"clusterIP": "192.168.0.1", "ports": [{"port": 80}]})),
        "Service \"s\" is invalid: spec.clusterIPs: Invalid value: [\"192.168.0.1\"]: failed to allocate IP \
         192.168.0.1: the provided network does not match the current range"
    );
    let again = json!({"clusterIP": a["spec"]["clusterIP"], "ports": [{"port": 80}]});
    assert!(world.refused(again).ends_with("provided IP is already allocated"));
    world.ports.retain(|port| !held_ports(&a).contains(port));
    world.create(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}));
}

#[test]
fn a_failed_plan_takes_nothing() {
    let mut world = World::new(&["10.96.0.0/30"], 30000..=30000);
    let refused = world.refused(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 1}]}));
    assert!(refused.ends_with("The range of valid ports is 30000-30000"), "{refused}");
    world.create(json!({"ports": [{"port": 80}]}));
    world.create(json!({"ports": [{"port": 80}]}));
    let full = world.plan(None, &mut service(json!({"ports": [{"port": 80}]})), false).unwrap_err();
    assert_eq!(full.code, 500);
}

#[test]
fn a_dry_run_takes_nothing_and_shows_where_there_would_be_values() {
    let mut world = World::new(&["10.96.0.0/30"], 30000..=30001);
    for _ in 0..3 {
        let mut service =
            service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}, {"port": 81}]}));
        let reservation = world.plan(None, &mut service, true).unwrap();
        assert_eq!(reservation, Reservation::default());
        assert_eq!(service["spec"]["clusterIP"], "10.96.0.0");
        assert_eq!(service["spec"]["ports"][1]["nodePort"], 30001);
    }
    world.create(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]}));
}

#[test]
fn addresses_come_from_every_range() {
    let mut world = World::new(&["10.96.0.0/30"], 30000..=30001);
    world.cidrs.push(Cidr::new("10.97.0.0/30".parse().unwrap()));
    for ip in ["10.96.0.1", "10.97.0.1"] {
        assert!(
            world.plan(None, &mut service(json!({"clusterIP": ip, "ports": [{"port": 80}]})), true).is_ok(),
            "{ip}"
        );
    }
    for _ in 0..4 {
        world.create(json!({"ports": [{"port": 80}]}));
    }
    assert!(world.refused(json!({"ports": [{"port": 80}]})).ends_with("range is full"));
}

#[test]
fn a_second_address_comes_and_goes() {
    let mut world = World::new(&["10.96.0.0/24", "fd00::/112"], 30000..=32767);
    let single = world.create(json!({"ports": [{"port": 80}]}));
    let mut dual = single.clone();
    document::set(&mut dual, "spec.ipFamilyPolicy", "RequireDualStack");
    let reservation = world.plan(Some(&single), &mut dual, false).unwrap();
    world.keep(reservation);
    assert_eq!(dual["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!((list(spec(&dual), "clusterIPs").len(), world.taken.borrow().len()), (2, 2));
    let mut back = dual.clone();
    document::set(&mut back, "spec.ipFamilyPolicy", "SingleStack");
    let reservation = world.plan(Some(&dual), &mut back, false).unwrap();
    world.keep(reservation);
    assert_eq!((&back["spec"]["clusterIPs"], world.taken.borrow().len()), (&single["spec"]["clusterIPs"], 1));
}

#[test]
fn ports_of_one_number_share_a_node_port() {
    let ports = json!([{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP", "nodePort": 30053}]);
    let service = world().create(json!({"type": "NodePort", "ports": ports}));
    assert_eq!(service["spec"]["ports"][0]["nodePort"], 30053);
    assert_eq!(service["spec"]["ports"][1]["nodePort"], 30053);
}

#[test]
fn a_put_of_the_manifest_keeps_what_was_allocated() {
    let mut world = world();
    let manifest = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]});
    let old = world.create(manifest.clone());
    let mut new = service(manifest);
    let reservation = world.plan(Some(&old), &mut new, false).unwrap();
    assert_eq!(reservation, Reservation::default());
    assert_eq!(new["spec"], old["spec"]);
}

#[test]
fn a_changed_type_frees_what_it_does_not_need() {
    let mut world = world();
    let old = world.create(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}));
    let mut new = old.clone();
    document::set(&mut new, "spec.type", "ExternalName");
    document::set(&mut new, "spec.externalName", "example.org");
    let reservation = world.plan(Some(&old), &mut new, false).unwrap();
    drop_what_the_type_does_not_have(&mut new, &old);
    world.keep(reservation);
    assert_eq!(new["spec"]["ports"], json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]));
    assert!(child(spec(&new), "clusterIP").is_none() && child(spec(&new), "externalTrafficPolicy").is_none());
    assert!(world.taken.borrow().is_empty());
    world.create(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}));
}

#[test]
fn the_primary_address_stays() {
    let mut world = world();
    let old = world.create(json!({"ports": [{"port": 80}], "clusterIP": "10.96.0.9"}));
    let mut new = old.clone();
    document::set(&mut new, "spec.clusterIP", "10.96.0.8");
    let reservation = world.plan(Some(&old), &mut new, false).unwrap();
    world.allocator.forget(&reservation);
    let mut errors = Errors::new();
    Service.validate_update(&new, &old, &mut errors);
    assert_eq!(errors.0[0].to_string(), "spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set");
}

#[test]
fn selectorless_headless_services_have_both_families() {
    let service = world().create(json!({"clusterIP": "None"}));
    assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(service["spec"]["ipFamilyPolicy"], "RequireDualStack");
    let refused = world().refused(json!({"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}));
    assert!(refused.ends_with("this cluster is not configured for dual-stack services"));
}
