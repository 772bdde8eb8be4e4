//! The objects that the server makes when it starts, and keeps complete on later starts.

mod api_services;
mod cluster_roles;
mod controller_roles;
pub mod flow_control;
mod rbac;
mod reconcile;

use api::{Value, document};
use jiff::Timestamp;
use serde_json::json;

pub use reconcile::{Step, reconcile};

/// What the bootstrap objects depend on.
#[derive(Debug, Default)]
pub struct Settings {
    /// The ranges of service addresses, the first one the cluster's primary family: `10.96.0.0/16`.
    pub service_cidrs: Vec<String>,
    /// PEM of the CA that client certificates come from.
    pub client_ca: String,
    /// Where aggregated API servers find out whom to trust; `None` without a front proxy.
    pub front_proxy: Option<FrontProxy>,
}

/// How the server introduces users to aggregated API servers.
#[derive(Debug, Default)]
pub struct FrontProxy {
    /// PEM of the CA that the proxy's client certificate comes from.
    pub ca: String,
    /// Common names that the certificate may have; empty: any.
    pub allowed_names: Vec<String>,
}

/// All of them, in an order in which each can be created: namespaces first.
pub fn documents(settings: &Settings) -> Vec<Value> {
    let mut all: Vec<Value> = namespaces().collect();
    all.extend(priority_classes());
    all.extend(flow_control::priority_levels());
    all.extend(flow_control::flow_schemas());
    all.extend(rbac::cluster_roles());
    all.extend(rbac::cluster_role_bindings());
    all.extend(rbac::roles());
    all.extend(rbac::role_bindings());
    all.push(service_cidr(&settings.service_cidrs));
    all.push(extension_apiserver_authentication(settings));
    all.extend(api_services::api_services());
    all
}

/// As whom upstream writes an object.
pub fn manager(object: &Value) -> &'static str {
    match document::get_str(object, "kind") {
        "FlowSchema" | "PriorityLevelConfiguration" => "api-priority-and-fairness-config-producer-v1",
        _ => "kube-apiserver",
    }
}

fn namespaces() -> impl Iterator<Item = Value> {
    let names = ["default", "kube-system", "kube-public", "kube-node-lease"];
    names.into_iter().map(|name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
}

fn priority_classes() -> impl Iterator<Item = Value> {
    let node = "Used for system critical pods that must not be moved from their current node.";
    let cluster = "Used for system critical pods that must run in the cluster, but can be moved to another node if \
                   necessary.";
    [("system-node-critical", 2_000_001_000, node), ("system-cluster-critical", 2_000_000_000, cluster)]
        .into_iter()
        .map(|(name, value, description)| {
            json!({
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": { "name": name },
                "value": value,
                "description": description,
                "preemptionPolicy": "PreemptLowerPriority",
            })
        })
}

fn service_cidr(cidrs: &[String]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": cidrs },
    })
}

/// The status of the default ServiceCIDR, to be written once it exists and has no Ready condition.
pub fn service_cidr_status(now: Timestamp) -> Value {
    json!({ "conditions": [{
        "type": "Ready",
        "status": "True",
        "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }] })
}

/// The ConfigMap by which aggregated API servers learn how to authenticate users.
fn extension_apiserver_authentication(settings: &Settings) -> Value {
    let mut data = json!({ "client-ca-file": settings.client_ca });
    if let Some(proxy) = &settings.front_proxy {
        data["requestheader-client-ca-file"] = proxy.ca.as_str().into();
        let lists = [
            ("requestheader-username-headers", json!(["X-Remote-User"])),
            ("requestheader-uid-headers", json!(["X-Remote-Uid"])),
            ("requestheader-group-headers", json!(["X-Remote-Group"])),
            ("requestheader-extra-headers-prefix", json!(["X-Remote-Extra-"])),
            ("requestheader-allowed-names", json!(proxy.allowed_names)),
        ];
        for (key, list) in lists {
            data[key] = list.to_string().into();
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "extension-apiserver-authentication", "namespace": "kube-system" },
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::User;
    use crate::authz::{Attributes, Authorizer};
    use api::document;
    use std::collections::HashSet;

    fn authorizer() -> Authorizer {
        let authorizer = Authorizer::new();
        for object in documents(&Settings::default()) {
            let (namespace, name) = (document::namespace(&object), document::name(&object));
            authorizer.apply(document::get_str(&object, "kind"), namespace, name, Some(&object));
        }
        authorizer
    }

    fn allows(authorizer: &Authorizer, user: &User, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
        let (resource, path) = if resource.starts_with('/') { ("", resource) } else { (resource, "") };
        let (version, subresource, name) = ("v1", "", "");
        let asked = Attributes { user, verb, namespace, group, version, resource, subresource, name, path };
        authorizer.authorize(&asked).is_allowed()
    }

    fn user(name: &str, groups: &[&str]) -> User {
        User { name: name.to_owned(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..User::default() }
    }

    #[test]
    fn every_object_has_a_kind_and_a_name_of_its_own() {
        let mut seen = HashSet::new();
        for object in documents(&Settings::default()) {
            let (kind, name) = (document::get_str(&object, "kind").to_owned(), document::name(&object).to_owned());
            assert!(!kind.is_empty() && !name.is_empty(), "{object}");
            let namespace = document::namespace(&object).to_owned();
            assert!(seen.insert((kind, namespace, name)), "twice: {object}");
        }
    }

    #[test]
    fn anonymous_sees_only_health_and_version() {
        let (authorizer, nobody) = (authorizer(), user("system:anonymous", &["system:unauthenticated"]));
        for path in ["/healthz", "/livez", "/readyz", "/version"] {
            assert!(allows(&authorizer, &nobody, "get", "", path, ""), "{path}");
        }
        for path in ["/metrics", "/healthz/etcd", "/api", "/openapi/v2", "/"] {
            assert!(!allows(&authorizer, &nobody, "get", "", path, ""), "{path}");
        }
        assert!(!allows(&authorizer, &nobody, "list", "", "pods", "default"));
    }

    #[test]
    fn components_can_do_their_work() {
        let authorizer = authorizer();
        let manager = user("system:kube-controller-manager", &["system:authenticated"]);
        assert!(allows(&authorizer, &manager, "create", "apps", "replicasets", "a"));
        assert!(allows(&authorizer, &manager, "watch", "example.com", "things", ""));
        assert!(!allows(&authorizer, &manager, "create", "rbac.authorization.k8s.io", "rolebindings", "a"));
        let scheduler = user("system:kube-scheduler", &["system:authenticated"]);
        assert!(allows(&authorizer, &scheduler, "list", "", "nodes", ""));
        assert!(!allows(&authorizer, &scheduler, "get", "", "secrets", "a"));
        let node = user("system:node:n1", &["system:nodes", "system:authenticated"]);
        assert!(allows(&authorizer, &node, "create", "", "nodes", ""));
        assert!(!allows(&authorizer, &node, "delete", "apps", "deployments", "a"));
        assert!(allows(&authorizer, &node, "get", "", "/api", ""));
    }

    #[test]
    fn admin_edit_and_view_gather_their_rules() {
        let authorizer = authorizer();
        for (role, rules) in [("admin", 28), ("edit", 26), ("view", 12)] {
            assert!(authorizer.role_rules("", role).is_some_and(|found| found.len() >= rules), "{role}");
        }
    }

    #[test]
    fn the_trust_of_extension_servers_is_json_in_text() {
        let front_proxy = Some(FrontProxy { ca: "CA".into(), allowed_names: vec!["front-proxy-client".into()] });
        let settings = Settings { client_ca: "PEM".into(), front_proxy, ..Settings::default() };
        let map = extension_apiserver_authentication(&settings);
        assert_eq!(map["data"]["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
        assert_eq!(map["data"]["client-ca-file"], "PEM");
    }
}
