//! Which collection of the API a request is for.

use std::collections::HashSet;
use std::sync::OnceLock;

use parking_lot::Mutex;

/// A resource in one version: what a URL path is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    /// As in an object's `kind`.
    pub kind: &'static str,
    /// As in the URL.
    pub plural: &'static str,
    pub namespaced: bool,
}

const fn namespaced(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Resource {
    Resource { group, version, kind, plural, namespaced: true }
}
const fn cluster(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Resource {
    Resource { namespaced: false, ..namespaced(group, version, kind, plural) }
}

pub const CONFIG_MAPS: Resource = namespaced("", "v1", "ConfigMap", "configmaps");
pub const ENDPOINTS: Resource = namespaced("", "v1", "Endpoints", "endpoints");
pub const EVENTS: Resource = namespaced("", "v1", "Event", "events");
pub const NAMESPACES: Resource = cluster("", "v1", "Namespace", "namespaces");
pub const NODES: Resource = cluster("", "v1", "Node", "nodes");
pub const PERSISTENT_VOLUME_CLAIMS: Resource = namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims");
pub const PERSISTENT_VOLUMES: Resource = cluster("", "v1", "PersistentVolume", "persistentvolumes");
pub const PODS: Resource = namespaced("", "v1", "Pod", "pods");
pub const REPLICATION_CONTROLLERS: Resource = namespaced("", "v1", "ReplicationController", "replicationcontrollers");
pub const RESOURCE_QUOTAS: Resource = namespaced("", "v1", "ResourceQuota", "resourcequotas");
pub const SECRETS: Resource = namespaced("", "v1", "Secret", "secrets");
pub const SERVICE_ACCOUNTS: Resource = namespaced("", "v1", "ServiceAccount", "serviceaccounts");
pub const SERVICES: Resource = namespaced("", "v1", "Service", "services");
pub const CONTROLLER_REVISIONS: Resource = namespaced("apps", "v1", "ControllerRevision", "controllerrevisions");
pub const DAEMON_SETS: Resource = namespaced("apps", "v1", "DaemonSet", "daemonsets");
pub const DEPLOYMENTS: Resource = namespaced("apps", "v1", "Deployment", "deployments");
pub const REPLICA_SETS: Resource = namespaced("apps", "v1", "ReplicaSet", "replicasets");
pub const STATEFUL_SETS: Resource = namespaced("apps", "v1", "StatefulSet", "statefulsets");
pub const CRON_JOBS: Resource = namespaced("batch", "v1", "CronJob", "cronjobs");
pub const JOBS: Resource = namespaced("batch", "v1", "Job", "jobs");
pub const LEASES: Resource = namespaced("coordination.k8s.io", "v1", "Lease", "leases");
pub const ENDPOINT_SLICES: Resource = namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
/// Events in the newer of their two groups.
pub const NEW_EVENTS: Resource = namespaced("events.k8s.io", "v1", "Event", "events");
pub const IP_ADDRESSES: Resource = cluster("networking.k8s.io", "v1", "IPAddress", "ipaddresses");
pub const SERVICE_CIDRS: Resource = cluster("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs");
pub const POD_DISRUPTION_BUDGETS: Resource = namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets");
pub const PRIORITY_CLASSES: Resource = cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses");
pub const STORAGE_CLASSES: Resource = cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses");
pub const VOLUME_ATTRIBUTES_CLASSES: Resource =
    cluster("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses");
pub const CSI_NODES: Resource = cluster("storage.k8s.io", "v1", "CSINode", "csinodes");

impl Resource {
    /// The resource of a row of KINDS.
    pub fn of(kind: &'static api::kinds::Kind) -> Resource {
        Resource {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
            plural: kind.resource,
            namespaced: kind.namespaced,
        }
    }

    /// The built-in resource with this `apiVersion` and `kind`, as an owner reference names it.
    pub fn of_kind(api_version: &str, kind: &str) -> Option<Resource> {
        let (group, version) = api::document::split_version(api_version);
        api::kinds::find_kind(group, version, kind).map(Resource::of)
    }

    /// A resource that was learnt at run time. Its names are kept for as long as the process lives, once each.
    pub fn learnt(group: &str, version: &str, kind: &str, plural: &str, namespaced: bool) -> Resource {
        Resource {
            group: interned(group),
            version: interned(version),
            kind: interned(kind),
            plural: interned(plural),
            namespaced,
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The collection's path; an empty namespace means all of them (or a cluster-scoped resource).
    pub fn path(&self, namespace: &str) -> String {
        let mut path = if self.group.is_empty() { String::from("/api/") } else { format!("/apis/{}/", self.group) };
        path.push_str(self.version);
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(self.plural);
        path
    }
}

/// `deployments.apps`, as in logs and metrics.
impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&api::kinds::qualified(self.plural, self.group))
    }
}

fn interned(text: &str) -> &'static str {
    static NAMES: OnceLock<Mutex<HashSet<&'static str>>> = OnceLock::new();
    let mut names = NAMES.get_or_init(Mutex::default).lock();
    if let Some(known) = names.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    names.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_rows_of_kinds() {
        let constants = [
            CONFIG_MAPS,
            ENDPOINTS,
            EVENTS,
            NAMESPACES,
            NODES,
            PERSISTENT_VOLUME_CLAIMS,
            PERSISTENT_VOLUMES,
            PODS,
            REPLICATION_CONTROLLERS,
            RESOURCE_QUOTAS,
            SECRETS,
            SERVICE_ACCOUNTS,
            SERVICES,
            CONTROLLER_REVISIONS,
            DAEMON_SETS,
            DEPLOYMENTS,
            REPLICA_SETS,
            STATEFUL_SETS,
            CRON_JOBS,
            JOBS,
            LEASES,
            ENDPOINT_SLICES,
            NEW_EVENTS,
            IP_ADDRESSES,
            SERVICE_CIDRS,
            POD_DISRUPTION_BUDGETS,
            PRIORITY_CLASSES,
            STORAGE_CLASSES,
            VOLUME_ATTRIBUTES_CLASSES,
            CSI_NODES,
        ];
        for constant in constants {
            let row = api::kinds::find(constant.group, constant.version, constant.plural);
            assert_eq!(row.map(Resource::of), Some(constant), "{constant}");
        }
    }

    #[test]
    fn paths() {
        assert_eq!(PODS.path("a"), "/api/v1/namespaces/a/pods");
        assert_eq!(PODS.path(""), "/api/v1/pods");
        assert_eq!(DEPLOYMENTS.path("a"), "/apis/apps/v1/namespaces/a/deployments");
        assert_eq!(NODES.path("ignored"), "/api/v1/nodes");
        assert_eq!(Resource::learnt("x.io", "v1", "Foo", "foos", false).path(""), "/apis/x.io/v1/foos");
    }
}
