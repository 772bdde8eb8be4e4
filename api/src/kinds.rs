//! KINDS: every built-in resource that the server serves, one row each.
//!
//! The rows are the GA surface of Kubernetes v1.36 as its discovery documents list it.

/// A built-in resource in one of its versions.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    /// CamelCase singular, as in an object's `kind`.
    pub kind: &'static str,
    /// Lower-case plural, as in the URL.
    pub resource: &'static str,
    /// Lower-case singular; empty where it is the lower-cased kind.
    singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    stored_at: &'static str,
    /// What clients are warned of; empty for a kind that has a future.
    pub deprecation: &'static str,
}

/// A subresource of a kind: what it reads and writes, and which verbs discovery shows for it.
#[derive(Debug, Clone, Copy)]
pub struct Subresource {
    pub name: &'static str,
    /// Group, version and kind of the body; an empty kind means the parent's.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];
const STATUS: Subresource = sub("status", "", "", "", GET_PATCH_UPDATE);
const SCALE: Subresource = sub("scale", "autoscaling", "v1", "Scale", GET_PATCH_UPDATE);

const fn sub(
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name, group, version, kind, verbs }
}

const fn namespaced(group: &'static str, version: &'static str, kind: &'static str, resource: &'static str) -> Kind {
    Kind {
        group,
        version,
        kind,
        resource,
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: true,
        verbs: ALL_VERBS,
        subresources: &[],
        stored_at: "",
        deprecation: "",
    }
}

const fn cluster(group: &'static str, version: &'static str, kind: &'static str, resource: &'static str) -> Kind {
    Kind { namespaced: false, ..namespaced(group, version, kind, resource) }
}

impl Kind {
    const fn short(self, short_names: &'static [&'static str]) -> Kind {
        Kind { short_names, ..self }
    }
    const fn categories(self, categories: &'static [&'static str]) -> Kind {
        Kind { categories, ..self }
    }
    const fn verbs(self, verbs: &'static [&'static str]) -> Kind {
        Kind { verbs, ..self }
    }
    const fn create_only(self) -> Kind {
        Kind { verbs: &["create"], ..self }
    }
    const fn subresources(self, subresources: &'static [Subresource]) -> Kind {
        Kind { subresources, ..self }
    }
    const fn deprecated(self, deprecation: &'static str) -> Kind {
        Kind { deprecation, ..self }
    }
    const fn stored_at(self, stored_at: &'static str) -> Kind {
        Kind { stored_at, ..self }
    }

    /// `v1` or `apps/v1`, as in an object's `apiVersion`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods` or `deployments.apps`, as in error messages.
    pub fn qualified_resource(&self) -> String {
        qualified(self.resource, self.group)
    }

    /// `Pod` or `Deployment.apps`, as in validation errors.
    pub fn qualified_kind(&self) -> String {
        qualified(self.kind, self.group)
    }

    /// The lower-case singular name.
    pub fn singular(&self) -> String {
        if self.singular.is_empty() { self.kind.to_lowercase() } else { self.singular.to_owned() }
    }

    /// `PodList`.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// Where the objects stand in the store, in upstream's etcd layout: `/registry/pods/`. Ends with a slash.
    pub fn store_prefix(&self) -> String {
        format!("/registry/{}/", if self.stored_at.is_empty() { self.resource } else { self.stored_at })
    }

    /// The schema's name: `io.k8s.api.core.v1.Pod`.
    pub fn type_name(&self) -> String {
        type_name(self.group, self.version, self.kind)
    }

    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// False for the review kinds and bindings, which are answered and forgotten.
    pub fn is_stored(&self) -> bool {
        self.has_verb("get") && self.resource != "componentstatuses"
    }
}

/// `name.group`, or just the name in the core group.
pub fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// The OpenAPI definition name of a built-in type.
pub fn type_name(group: &str, version: &str, kind: &str) -> String {
    match group {
        "" => format!("io.k8s.api.core.{version}.{kind}"),
        "apiextensions.k8s.io" => format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}"),
        "apiregistration.k8s.io" => format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}.{kind}"),
        _ => {
            let package = group.split('.').next().unwrap_or(group);
            format!("io.k8s.api.{package}.{version}.{kind}")
        }
    }
}

/// The kind that serves `resource` in a group and version.
pub fn find(group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.resource == resource && k.group == group && k.version == version)
}

/// The kind with this `kind` in a group and version.
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.kind == kind && k.group == group && k.version == version)
}

#[rustfmt::skip]
pub static KINDS: &[Kind] = &[
    namespaced("", "v1", "Binding", "bindings").create_only(),
    cluster("", "v1", "ComponentStatus", "componentstatuses").short(&["cs"]).deprecated("v1 ComponentStatus is deprecated in v1.19+").verbs(&["get", "list"]),
    namespaced("", "v1", "ConfigMap", "configmaps").short(&["cm"]),
    namespaced("", "v1", "Endpoints", "endpoints").short(&["ep"]).deprecated("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice").stored_at("services/endpoints"),
    namespaced("", "v1", "Event", "events").short(&["ev"]),
    namespaced("", "v1", "LimitRange", "limitranges").short(&["limits"]),
    cluster("", "v1", "Namespace", "namespaces").short(&["ns"]).verbs(&["create", "delete", "get", "list", "patch", "update", "watch"]).subresources(&[sub("finalize", "", "v1", "Namespace", &["update"]), STATUS]),
    cluster("", "v1", "Node", "nodes").short(&["no"]).stored_at("minions").subresources(&[sub("proxy", "", "v1", "NodeProxyOptions", &["create", "delete", "get", "patch", "update"]), STATUS]),
    namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]).subresources(&[STATUS]),
    cluster("", "v1", "PersistentVolume", "persistentvolumes").short(&["pv"]).subresources(&[STATUS]),
    namespaced("", "v1", "Pod", "pods").short(&["po"]).categories(&["all"]).subresources(&[sub("attach", "", "v1", "PodAttachOptions", &["create", "get"]), sub("binding", "", "v1", "Binding", &["create"]), sub("ephemeralcontainers", "", "v1", "Pod", &["get", "patch", "update"]), sub("eviction", "policy", "v1", "Eviction", &["create"]), sub("exec", "", "v1", "PodExecOptions", &["create", "get"]), sub("log", "", "v1", "Pod", &["get"]), sub("portforward", "", "v1", "PodPortForwardOptions", &["create", "get"]), sub("proxy", "", "v1", "PodProxyOptions", &["create", "delete", "get", "patch", "update"]), sub("resize", "", "v1", "Pod", &["get", "patch", "update"]), STATUS]),
    namespaced("", "v1", "PodTemplate", "podtemplates"),
    namespaced("", "v1", "ReplicationController", "replicationcontrollers").short(&["rc"]).categories(&["all"]).stored_at("controllers").subresources(&[SCALE, STATUS]),
    namespaced("", "v1", "ResourceQuota", "resourcequotas").short(&["quota"]).subresources(&[STATUS]),
    namespaced("", "v1", "Secret", "secrets"),
    namespaced("", "v1", "ServiceAccount", "serviceaccounts").short(&["sa"]).subresources(&[sub("token", "authentication.k8s.io", "v1", "TokenRequest", &["create"])]),
    namespaced("", "v1", "Service", "services").short(&["svc"]).categories(&["all"]).stored_at("services/specs").subresources(&[sub("proxy", "", "v1", "ServiceProxyOptions", &["create", "delete", "get", "patch", "update"]), STATUS]),
    cluster("apiregistration.k8s.io", "v1", "APIService", "apiservices").categories(&["api-extensions"]).stored_at("apiregistration.k8s.io/apiservices").subresources(&[STATUS]),
    namespaced("apps", "v1", "ControllerRevision", "controllerrevisions"),
    namespaced("apps", "v1", "DaemonSet", "daemonsets").short(&["ds"]).categories(&["all"]).subresources(&[STATUS]),
    namespaced("apps", "v1", "Deployment", "deployments").short(&["deploy"]).categories(&["all"]).subresources(&[SCALE, STATUS]),
    namespaced("apps", "v1", "ReplicaSet", "replicasets").short(&["rs"]).categories(&["all"]).subresources(&[SCALE, STATUS]),
    namespaced("apps", "v1", "StatefulSet", "statefulsets").short(&["sts"]).categories(&["all"]).subresources(&[SCALE, STATUS]),
    namespaced("events.k8s.io", "v1", "Event", "events").short(&["ev"]),
    cluster("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews").create_only(),
    cluster("authentication.k8s.io", "v1", "TokenReview", "tokenreviews").create_only(),
    namespaced("authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews").create_only(),
    cluster("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews").create_only(),
    cluster("authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews").create_only(),
    cluster("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews").create_only(),
    namespaced("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers").short(&["hpa"]).categories(&["all"]).subresources(&[STATUS]),
    namespaced("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers").short(&["hpa"]).categories(&["all"]).subresources(&[STATUS]),
    namespaced("batch", "v1", "CronJob", "cronjobs").short(&["cj"]).categories(&["all"]).subresources(&[STATUS]),
    namespaced("batch", "v1", "Job", "jobs").categories(&["all"]).subresources(&[STATUS]),
    cluster("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests").short(&["csr"]).subresources(&[sub("approval", "certificates.k8s.io", "v1", "CertificateSigningRequest", &["get", "patch", "update"]), STATUS]),
    cluster("networking.k8s.io", "v1", "IngressClass", "ingressclasses"),
    namespaced("networking.k8s.io", "v1", "Ingress", "ingresses").short(&["ing"]).stored_at("ingress").subresources(&[STATUS]),
    cluster("networking.k8s.io", "v1", "IPAddress", "ipaddresses").short(&["ip"]),
    namespaced("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies").short(&["netpol"]),
    cluster("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs").subresources(&[STATUS]),
    namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets").short(&["pdb"]).subresources(&[STATUS]),
    cluster("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings"),
    cluster("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles"),
    namespaced("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    namespaced("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers"),
    cluster("storage.k8s.io", "v1", "CSINode", "csinodes"),
    namespaced("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities"),
    cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses").short(&["sc"]),
    cluster("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments").subresources(&[STATUS]),
    cluster("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses").short(&["vac"]),
    cluster("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies").categories(&["api-extensions"]),
    cluster("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings").categories(&["api-extensions"]),
    cluster("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations").categories(&["api-extensions"]),
    cluster("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies").categories(&["api-extensions"]).subresources(&[STATUS]),
    cluster("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings").categories(&["api-extensions"]),
    cluster("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations").categories(&["api-extensions"]),
    cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions").short(&["crd", "crds"]).categories(&["api-extensions"]).stored_at("apiextensions.k8s.io/customresourcedefinitions").subresources(&[STATUS]),
    cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses").short(&["pc"]),
    namespaced("coordination.k8s.io", "v1", "Lease", "leases"),
    cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses"),
    namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    cluster("resource.k8s.io", "v1", "DeviceClass", "deviceclasses"),
    namespaced("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims").subresources(&[STATUS]),
    namespaced("resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates"),
    cluster("resource.k8s.io", "v1", "ResourceSlice", "resourceslices"),
    cluster("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas").subresources(&[STATUS]),
    cluster("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations").subresources(&[STATUS]),
];

/// Versions that upstream still reads, though it serves them no more.
const UNSERVED: &[&str] = &[
    "apps/v1beta1",
    "apps/v1beta2",
    "autoscaling/v2beta1",
    "autoscaling/v2beta2",
    "batch/v1beta1",
    "certificates.k8s.io/v1beta1",
    "coordination.k8s.io/v1beta1",
    "discovery.k8s.io/v1beta1",
    "events.k8s.io/v1beta1",
    "extensions/v1beta1",
    "networking.k8s.io/v1beta1",
    "node.k8s.io/v1beta1",
    "policy/v1beta1",
    "rbac.authorization.k8s.io/v1beta1",
    "scheduling.k8s.io/v1beta1",
    "storage.k8s.io/v1beta1",
];

/// Whether this is a version that upstream still reads, though it serves it no more.
pub fn is_unserved(group: &str, version: &str) -> bool {
    UNSERVED.iter().filter_map(|text| text.split_once('/')).any(|row| row == (group, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        let deployment = find("apps", "v1", "deployments").unwrap();
        assert_eq!(deployment.qualified_resource(), "deployments.apps");
        assert_eq!(deployment.type_name(), "io.k8s.api.apps.v1.Deployment");
        assert_eq!(find("", "v1", "nodes").unwrap().store_prefix(), "/registry/minions/");
        let role = find_kind("rbac.authorization.k8s.io", "v1", "Role").unwrap();
        assert_eq!(role.type_name(), "io.k8s.api.rbac.v1.Role");
    }
}
