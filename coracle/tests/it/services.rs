//! Services: which addresses and ports they get, keep and give back.

use crate::{Space, bare};
use serde_json::{Value, json};

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({ "metadata": { "name": name }, "spec": {
        "selector": { "app": name }, "ports": [{ "port": 80 }],
    } });
    for (key, value) in spec.as_object().into_iter().flatten() {
        service["spec"][key] = value.clone();
    }
    service
}

fn ip(service: &Value) -> &str {
    service["spec"]["clusterIP"].as_str().unwrap_or_default()
}

fn node_port(service: &Value) -> i64 {
    service["spec"]["ports"][0]["nodePort"].as_i64().unwrap_or_default()
}

#[test]
fn a_service_gets_an_address_and_defaults() {
    crate::run(async {
        let space = Space::bare("services-defaults").await;
        let all = space.core("services");
        let first = space.create(&all, service("a", json!({}))).await;
        let spec = &first["spec"];
        let address: std::net::Ipv4Addr = ip(&first).parse().expect("an address");
        assert_eq!((address.octets()[0], address.octets()[1] & 0xf0), (10, 96), "{address}");
        let expected = json!({
            "clusterIP": ip(&first), "clusterIPs": [ip(&first)], "type": "ClusterIP", "sessionAffinity": "None",
            "selector": { "app": "a" }, "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
        });
        assert_eq!(*spec, expected);
        assert_eq!(first["status"], json!({ "loadBalancer": {} }));
        let second = space.create(&all, service("b", json!({}))).await;
        assert_ne!(ip(&first), ip(&second));
        let same = space.client.put(&format!("{all}/a"), &service("a", json!({}))).await.ok();
        assert_eq!(ip(&same), ip(&first), "an update that leaves the address out keeps it");
    });
}

#[test]
fn an_address_that_is_taken_is_refused_until_it_is_free() {
    crate::run(async {
        let space = Space::bare("services-taken").await;
        let all = space.core("services");
        let wish = |name: &str, ip: &str| service(name, json!({ "clusterIP": ip }));
        space.create(&all, wish("a", "10.96.7.7")).await;
        let refused = space.client.post(&all, &wish("b", "10.96.7.7")).await;
        let message = "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.7.7\"]: \
                       failed to allocate IP 10.96.7.7: provided IP is already allocated";
        let status = refused.fails(422, "Invalid", message);
        assert_eq!(status["details"]["causes"][0]["field"], "spec.clusterIPs");
        for (ip, why) in [
            ("10.1.1.1", "the provided network does not match the current range"),
            ("ten", "must be a valid IP address"),
        ] {
            space.client.post(&all, &wish("b", ip)).await.fails_with(422, why);
        }
        space.client.post(&format!("{all}?dryRun=All"), &wish("b", "10.96.7.8")).await.is(201);
        space.create(&all, wish("c", "10.96.7.8")).await;
        let moved =
            space.client.patch(&format!("{all}/a"), "merge", &json!({ "spec": { "clusterIP": "10.96.7.9" } })).await;
        moved.fails_with(422, "spec.clusterIPs[0]: Invalid value: [\"10.96.7.9\"]: may not change once set");
        space.client.delete(&format!("{all}/a")).await.is(200);
        assert_eq!(ip(&space.create(&all, wish("b", "10.96.7.7")).await), "10.96.7.7");
    });
}

#[test]
fn node_ports_are_given_kept_and_freed() {
    crate::run(async {
        let space = Space::bare("services-nodeport").await;
        let all = space.core("services");
        let wish = |name: &str, port: i64| {
            service(name, json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": port }] }))
        };
        let any = space.create(&all, service("any", json!({ "type": "NodePort" }))).await;
        assert!((30000..=32767).contains(&node_port(&any)), "{any}");
        let fixed = space.create(&all, wish("fixed", 30123)).await;
        assert_eq!((node_port(&fixed), &fixed["spec"]["externalTrafficPolicy"]), (30123, &json!("Cluster")));
        let message = "Service \"other\" is invalid: spec.ports[0].nodePort: Invalid value: 30123: \
                       provided port is already allocated";
        space.client.post(&all, &wish("other", 30123)).await.fails(422, "Invalid", message);
        let message = "Service \"other\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not \
                       in the valid range. The range of valid ports is 30000-32767";
        space.client.post(&all, &wish("other", 80)).await.fails(422, "Invalid", message);
        let inner = space.client.put(&format!("{all}/fixed"), &service("fixed", json!({}))).await.ok();
        assert_eq!((node_port(&inner), &inner["spec"]["type"]), (0, &json!("ClusterIP")));
        assert_eq!(ip(&inner), ip(&fixed));
        space.create(&all, wish("other", 30123)).await;
        space.client.delete(&format!("{all}/other")).await.is(200);
        space.create(&all, wish("third", 30123)).await;
        let kept = service("any", json!({ "type": "NodePort", "ports": [{ "port": 8080 }] }));
        let kept = space.client.put(&format!("{all}/any"), &kept).await.ok();
        assert!((30000..=32767).contains(&node_port(&kept)));
    });
}

#[test]
fn headless_and_external_services_have_no_address() {
    crate::run(async {
        let space = Space::bare("services-headless").await;
        let all = space.core("services");
        let headless = space.create(&all, service("headless", json!({ "clusterIP": "None" }))).await;
        assert_eq!((ip(&headless), &headless["spec"]["clusterIPs"]), ("None", &json!(["None"])));
        let external = json!({ "type": "ExternalName", "externalName": "example.com" });
        let external = space.create(&all, service("external", external)).await;
        assert!(external["spec"].get("clusterIP").is_none(), "{external}");
        let inner = space.client.put(&format!("{all}/external"), &service("external", json!({}))).await.ok();
        assert!(ip(&inner).starts_with("10."), "{inner}");
        let outer = service("external", json!({ "type": "ExternalName", "externalName": "example.com" }));
        let outer = space.client.put(&format!("{all}/external"), &outer).await.ok();
        assert!(outer["spec"].get("clusterIP").is_none(), "{outer}");
        space.create(&all, service("heir", json!({ "clusterIP": ip(&inner) }))).await;
    });
}

#[test]
fn what_makes_no_sense_is_named() {
    crate::run(async {
        let space = Space::bare("services-invalid").await;
        let all = space.core("services");
        for (spec, why) in [
            (json!({ "ports": [] }), "spec.ports: Required value"),
            (
                json!({ "ports": [{ "port": 0 }] }),
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ),
            (json!({ "type": "Sideways" }), "spec.type: Unsupported value: \"Sideways\""),
            (json!({ "ports": [{ "port": 1 }, { "port": 2 }] }), "spec.ports[0].name: Required value"),
            (json!({ "sessionAffinity": "Often" }), "spec.sessionAffinity: Unsupported value: \"Often\""),
            (
                json!({ "ports": [{ "port": 1, "protocol": "ICMP" }] }),
                "spec.ports[0].protocol: Unsupported value: \"ICMP\"",
            ),
        ] {
            space.client.post(&all, &service("a", spec)).await.fails_with(422, why);
        }
        space.client.post(&all, &service("1-a", json!({}))).await.is(201);
        space.client.post(&all, &service("a.b", json!({}))).await.fails_with(422, "metadata.name: Invalid value");
    });
}

#[test]
fn the_kubernetes_service_leads_to_the_server() {
    crate::run(async {
        let cluster = bare().start().await.unwrap();
        let space = Space::new(&cluster, "services-kubernetes").await;
        let service = space.client.get("/api/v1/namespaces/default/services/kubernetes").await.ok();
        let port = &service["spec"]["ports"][0];
        assert_eq!((ip(&service), &port["name"], &port["port"]), ("10.96.0.1", &json!("https"), &json!(443)));
        assert_eq!(service["metadata"]["labels"], json!({ "component": "apiserver", "provider": "kubernetes" }));
        let endpoints = space.client.get("/api/v1/namespaces/default/endpoints/kubernetes").await.ok();
        assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], cluster.address().port());
        let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
        let slice = space.client.get(slice).await.ok();
        assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "kubernetes");
        assert_eq!(slice["ports"][0]["port"], cluster.address().port());
        let mut taken = json!({ "metadata": { "name": "a" }, "spec": { "clusterIP": "10.96.0.1" } });
        taken["spec"]["ports"] = json!([{ "port": 80 }]);
        space.client.post(&space.core("services"), &taken).await.is(422);
        let address = &endpoints["subsets"][0]["addresses"][0]["ip"];
        let versions = space.client.get("/api").await.ok();
        let told = json!([{ "clientCIDR": "0.0.0.0/0",
            "serverAddress": format!("{}:{}", address.as_str().unwrap(), endpoints["subsets"][0]["ports"][0]["port"]) }]);
        assert_eq!(versions["serverAddressByClientCIDRs"], told);
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        let servers = "labelSelector=apiserver.kubernetes.io/identity%3Dkube-apiserver";
        let held = space.client.until_all(leases, servers, |all| all.len() == 1).await;
        let (name, lease) = held.first_key_value().unwrap();
        assert!(lease["spec"]["holderIdentity"].as_str().unwrap().starts_with(name), "{lease}");
        assert_eq!(lease["spec"]["leaseDurationSeconds"], 3600);
    });
}

const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";

#[test]
fn each_address_is_an_object() {
    crate::run(async {
        let space = Space::bare("services-addresses").await;
        let all = space.core("services");
        let web = space.create(&all, service("web", json!({}))).await;
        let address = format!("{ADDRESSES}/{}", ip(&web));
        let object = space.client.get(&address).await.ok();
        let labels = json!({ "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io" });
        assert_eq!(object["metadata"]["labels"], labels);
        let parent = json!({ "resource": "services", "namespace": "services-addresses", "name": "web" });
        assert_eq!(object["spec"]["parentRef"], parent);
        let outer = service("web", json!({ "type": "ExternalName", "externalName": "example.com" }));
        space.client.put(&format!("{all}/web"), &outer).await.ok();
        space.client.get(&address).await.is(404);
        let back = service("web", json!({ "clusterIP": ip(&web) }));
        space.client.put(&format!("{all}/web"), &back).await.ok();
        space.client.get(&address).await.ok();
        space.client.delete(&format!("{all}/web")).await.ok();
        space.client.get(&address).await.is(404);
        space.client.post(&format!("{all}?dryRun=All"), &back).await.is(201);
        space.client.get(&address).await.is(404);
    });
}

#[test]
fn a_failed_write_leaves_no_address() {
    crate::run(async {
        let space = Space::bare("services-failed").await;
        let all = space.core("services");
        space.create(&all, service("web", json!({}))).await;
        let again = service("web", json!({ "clusterIP": "10.96.8.1" }));
        space.client.post(&all, &again).await.is(409);
        let wrong = service("b", json!({ "clusterIP": "10.96.8.1", "sessionAffinity": "Often" }));
        space.client.post(&all, &wrong).await.is(422);
        space.client.get(&format!("{ADDRESSES}/10.96.8.1")).await.is(404);
        space.create(&all, service("b", json!({ "clusterIP": "10.96.8.1" }))).await;
    });
}

#[test]
fn an_address_that_somebody_holds_is_taken() {
    crate::run(async {
        let space = Space::bare("services-held").await;
        let parent = json!({ "group": "example.com", "resource": "gateways", "name": "a" });
        let held = json!({ "metadata": { "name": "10.96.8.2" }, "spec": { "parentRef": parent } });
        space.create(ADDRESSES, held).await;
        let wish = service("web", json!({ "clusterIP": "10.96.8.2" }));
        let taken = "failed to allocate IP 10.96.8.2: provided IP is already allocated";
        space.client.post(&space.core("services"), &wish).await.fails_with(422, taken);
        space.client.delete(&format!("{ADDRESSES}/10.96.8.2")).await.ok();
        space.create(&space.core("services"), wish).await;
    });
}

#[test]
fn a_lost_address_is_written_again() {
    crate::run(async {
        let space = Space::bare("services-lost").await;
        let web = space.create(&space.core("services"), service("web", json!({}))).await;
        let address = format!("{ADDRESSES}/{}", ip(&web));
        let first = space.client.get(&address).await.ok();
        space.client.delete(&address).await.ok();
        let second = space.client.until_code(&address, 200).await.ok();
        assert_eq!(second["spec"], first["spec"]);
        let events = format!("{}?fieldSelector=reason%3DClusterIPNotAllocated", space.core("events"));
        let event = &space.client.get(&events).await.ok()["items"][0];
        assert_eq!(event["involvedObject"]["name"], "web");
        let note = format!("Cluster IP [IPv4]: {} is not allocated; repairing", ip(&web));
        assert_eq!(event["message"], note);
    });
}

#[test]
fn another_range_gives_addresses_too() {
    crate::run(async {
        let cluster = bare().start().await.unwrap();
        let space = Space::new(&cluster, "services-ranges").await;
        let all = space.core("services");
        let wish = |name: &str| service(name, json!({ "clusterIP": "10.199.0.5" }));
        space.client.post(&all, &wish("a")).await.fails_with(422, "does not match the current range");
        let extra = json!({ "metadata": { "name": "extra" }, "spec": { "cidrs": ["10.199.0.0/28"] } });
        space.create(CIDRS, extra).await;
        space.create(&all, wish("a")).await;
        let not_ready = json!({ "status": { "conditions": [{
            "type": "Ready", "status": "False", "reason": "Terminating", "message": "",
            "lastTransitionTime": "2024-01-01T00:00:00Z",
        }] } });
        space.client.patch(&format!("{CIDRS}/extra/status"), "merge", &not_ready).await.ok();
        space.client.delete(&format!("{all}/a")).await.ok();
        space.client.post(&all, &wish("a")).await.fails_with(422, "does not match the current range");
    });
}

#[test]
fn services_of_two_families() {
    crate::run(async {
        let mut builder = bare();
        builder.options.service_cluster_ip_ranges =
            vec!["10.96.0.0/16".parse().unwrap(), "fd00:96::/112".parse().unwrap()];
        let cluster = builder.start().await.unwrap();
        let space = Space::new(&cluster, "services-dual").await;
        let all = space.core("services");
        let cidr = space.client.get(&format!("{CIDRS}/kubernetes")).await.ok();
        assert_eq!(cidr["spec"]["cidrs"], json!(["10.96.0.0/16", "fd00:96::/112"]));
        let single = space.create(&all, service("web", json!({}))).await;
        assert_eq!(single["spec"]["ipFamilies"], json!(["IPv4"]));
        let policy = |policy: &str| json!({ "spec": { "ipFamilyPolicy": policy } });
        let dual = space.client.patch(&format!("{all}/web"), "merge", &policy("PreferDualStack")).await.ok();
        assert_eq!(dual["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
        let second = dual["spec"]["clusterIPs"][1].as_str().unwrap();
        assert!(second.starts_with("fd00:96::"), "{second}");
        space.client.get(&format!("{ADDRESSES}/{second}")).await.ok();
        let back = space.client.patch(&format!("{all}/web"), "merge", &policy("SingleStack")).await.ok();
        assert_eq!(back["spec"]["clusterIPs"], single["spec"]["clusterIPs"]);
        space.client.get(&format!("{ADDRESSES}/{second}")).await.is(404);
        let six = space.create(&all, service("six", json!({ "ipFamilies": ["IPv6"] }))).await;
        assert!(ip(&six).starts_with("fd00:96::"), "{six}");
    });
}
