//! RULES: what is particular to a kind, as pure functions over documents. One file a kind, one row here.
//!
//! The registry does what all kinds share: metadata, schema defaults, optimistic concurrency, finalizers, patches.

mod admission_policy;
mod api_service;
pub mod certificate_signing_request;
mod conditions;
mod config_map;
mod controller_revision;
mod cron_job;
mod csi_driver;
mod csi_node;
pub mod custom_resource_definition;
mod daemon_set;
mod deployment;
mod diff;
mod endpoint_slice;
mod endpoints;
mod equality;
pub mod event;
mod expressions;
mod flow_schema;
pub mod horizontal_pod_autoscaler;
mod ingress;
mod int_or_percent;
pub mod internal;
mod ip;
mod job;
mod key_pair;
mod labels;
mod lease;
mod namespace;
mod network_policy;
mod node;
pub(crate) mod path;
mod persistent_volume;
mod persistent_volume_claim;
pub mod pod;
mod pod_disruption_budget;
mod pod_template;
mod printed;
mod priority_class;
mod replica_set;
mod replication_controller;
mod resource;
mod resource_quota;
mod role;
mod runtime_class;
pub mod scale;
mod secret;
pub mod service;
mod service_account;
mod service_cidr;
mod stateful_set;
mod storage_class;
pub mod subresources;
mod webhook_configuration;

pub use equality::same;

use crate::authn::User;
use crate::resources::Conversion;
use api::Value;
use api::document;
use api::field::Errors;
use jiff::Timestamp;

/// What rules may know about the request besides the objects.
pub struct Context<'a> {
    pub user: &'a User,
    pub now: Timestamp,
    /// Whether the client gave the object labels.
    pub labelled: bool,
}

/// A kind's own behaviour; each default is what upstream's generic strategy does.
pub trait Rules: Send + Sync {
    /// Defaults that the schema cannot say. Runs on what clients send, after the schema's defaults.
    fn default(&self, _object: &mut Value) {}

    /// What an object takes from parts of its own that have their defaults already, when the client gave nothing.
    fn inherit(&self, _object: &mut Value) {}

    /// Why an object that fits the schema cannot be decoded all the same.
    fn unreadable(&self, _object: &Value) -> Option<String> {
        None
    }

    /// Before a create: clears what clients may not set. `status` is already dropped where the kind has a status
    /// subresource, and `metadata.generation` is set where [`Rules::has_generation`].
    fn prepare_for_create(&self, _object: &mut Value, _context: &Context) {}

    /// Whether a create may bring a status (a kubelet registers its node with one).
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// Before an update of the main resource: `status` is already the old one where the kind has a status subresource.
    fn prepare_for_update(&self, _object: &mut Value, _old: &Value, _context: &Context) {}

    /// Before an update of `status`: everything but `status` and part of the metadata is already the old one.
    fn prepare_for_status_update(&self, _object: &mut Value, _old: &Value, _context: &Context) {}

    /// All checks of an object but those of its metadata: of a new one, or of one that shall replace `old`. Kinds that
    /// leave alone what was already invalid, or whose order of errors differs, say so here.
    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        match old {
            Some(old) => self.validate_update(object, old, errors),
            None => self.validate_create(object, errors),
        }
        self.validate(object, errors);
    }

    /// Checks a new object beyond [`Rules::validate`].
    fn validate_create(&self, _object: &Value, _errors: &mut Errors) {}

    /// Checks everything but the metadata of a new object (or of one that is updated).
    fn validate(&self, _object: &Value, _errors: &mut Errors) {}

    /// Checks an update beyond [`Rules::validate`], which runs too: immutable fields.
    fn validate_update(&self, _object: &Value, _old: &Value, _errors: &mut Errors) {}

    /// Checks an update of `status`.
    fn validate_status_update(&self, _object: &Value, _old: &Value, _errors: &mut Errors) {}

    /// Warnings for the client about a create or an update (`old` is given).
    fn warnings(&self, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Warnings about what the client sent, before [`Rules::prepare_for_create`] changes it.
    fn given_warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Warnings about an update of `status`.
    fn status_warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// How this kind's own checks go over metadata again.
    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::USUAL
    }

    /// Messages about a bad name; `prefix` when it is a `generateName`.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        api::names::dns1123_subdomain(&if prefix { api::names::mask_trailing_dash(name) } else { name.to_owned() })
    }

    /// The same, of a name in its object.
    fn validate_name_of(&self, _object: &Value, name: &str, prefix: bool) -> Vec<String> {
        self.validate_name(name, prefix)
    }

    /// Field selectors beyond `metadata.name` and `metadata.namespace`: the labels a client may select by.
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// What is said of a field that the kind cannot be selected by, where it can be by others than name and namespace.
    fn unknown_field(&self, field: &str) -> String {
        format!("field label not supported: {field}")
    }

    /// The parts of an object that [`Rules::selectable_field`] reads besides name and namespace.
    fn selectable_paths(&self) -> &'static [&'static str] {
        self.selectable_fields()
    }

    /// The value of a selectable field; by default what stands at its path.
    fn selectable_field(&self, object: &Value, field: &str) -> String {
        match document::get(object, field) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        }
    }

    /// The selectable field by which many watch the kind, each a few of its objects, and how it is read from stored
    /// bytes: changes wake only those whom they concern.
    fn watch_index(&self) -> Option<(&'static str, storage::Tag)> {
        None
    }

    /// Whether `metadata.generation` counts changes of the specification.
    fn has_generation(&self) -> bool {
        false
    }

    /// What else than a changed `spec` raises the generation (a kind without `spec`, for example).
    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        object.get("spec") != old.get("spec")
    }

    /// Annotations in which a version of the kind keeps what it has no field for. Tables and answers of metadata alone, which upstream
    /// makes of the object without a version, do not show them.
    fn version_annotations(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether an empty list where there was none is a change, though both are stored alike.
    fn tells_empty_lists(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether an update without a resource version is taken.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// The grace period in seconds of a deletion that asked for `requested`; `None`: the kind has no graceful
    /// deletion.
    fn grace_period(&self, _object: &Value, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// Marks an object whose deletion begins but cannot end yet (a namespace's phase).
    fn mark_deleted(&self, _object: &mut Value) {}

    /// Whether something besides `metadata.finalizers` keeps an object that is marked for deletion.
    fn is_kept(&self, _object: &Value) -> bool {
        false
    }

    /// Whether a completed deletion answers with the object instead of a `Status`.
    fn returns_deleted(&self) -> bool {
        false
    }

    /// Whether a deletion's preconditions are checked before the store does it, which says so in other words.
    fn has_own_preconditions(&self) -> bool {
        false
    }

    /// What a deletion does when the client names no propagation policy: true orphans dependents (Job and
    /// ReplicationController, for their age).
    fn orphans_by_default(&self) -> bool {
        false
    }

    /// Whether objects can own others, so that a propagation policy has a meaning.
    fn has_dependents(&self) -> bool {
        true
    }

    /// Why the object of this name must never be deleted; 403.
    fn undeletable(&self, _name: &str) -> Option<&'static str> {
        None
    }

    /// A warning for whoever deletes an object without saying what becomes of its dependents.
    fn deletion_warning(&self) -> Option<&'static str> {
        None
    }

    /// How long an object lives before the store drops it, in seconds.
    fn time_to_live(&self) -> Option<u64> {
        None
    }
}

/// [`Rules::check`] of kinds that look at the object first and at what changed afterwards.
fn check_object_first(rules: &dyn Rules, object: &Value, old: Option<&Value>, errors: &mut Errors) {
    rules.validate(object, errors);
    match old {
        Some(old) => rules.validate_update(object, old, errors),
        None => rules.validate_create(object, errors),
    }
}

/// The names of kinds at whose `generateName` nobody looks: only at the name that comes of it.
pub fn subdomain_once_made(name: &str, prefix: bool) -> Vec<String> {
    if prefix { Vec::new() } else { api::names::dns1123_subdomain(name) }
}

/// The names of kinds that take whatever fits into a path.
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if prefix { api::names::path_segment_prefix(name) } else { api::names::path_segment(name) }
}

/// One pass over metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataCheck {
    /// As of a new object: everything that a single object can have wrong.
    New,
    /// What an update may not change, and labels, annotations and owners once more.
    Update,
}

/// The passes over metadata that belong to a kind. On updates the registry makes one of each for every kind; upstream's kinds
/// make theirs besides, and each leaves its own causes in the answer.
#[derive(Debug, Clone, Copy)]
pub struct MetadataChecks {
    /// Whether a new object's metadata are checked with the rest of it; else only when there is nothing else to say.
    pub create: bool,
    pub update: &'static [MetadataCheck],
    pub status_update: &'static [MetadataCheck],
    /// Whether finalizers without a domain have to be Kubernetes' own.
    pub finalizers: bool,
}

impl MetadataChecks {
    /// What most kinds do.
    pub const USUAL: MetadataChecks = MetadataChecks {
        create: true,
        update: &[MetadataCheck::Update],
        status_update: &[MetadataCheck::Update],
        finalizers: true,
    };
    /// Of kinds that look at everything again, as if it were new.
    pub const AGAIN: MetadataChecks =
        MetadataChecks { update: &[MetadataCheck::Update, MetadataCheck::New], ..MetadataChecks::USUAL };
    /// The same, the other way round.
    pub const FIRST_AGAIN: MetadataChecks =
        MetadataChecks { update: &[MetadataCheck::New, MetadataCheck::Update], ..MetadataChecks::USUAL };
    /// Of kinds whose update is checked as if it were new, and only so.
    pub const AS_NEW: MetadataChecks = MetadataChecks { update: &[MetadataCheck::New], ..MetadataChecks::USUAL };
    /// Of kinds that leave metadata to the registry.
    pub const NONE: MetadataChecks =
        MetadataChecks { create: false, update: &[], status_update: &[], finalizers: false };
}

/// Group, kind, and the kind's rules. A kind without a row has the generic behaviour.
#[rustfmt::skip]
static RULES: &[(&str, &str, &dyn Rules)] = &[
    ("", "ConfigMap", &config_map::ConfigMap),
    ("", "Endpoints", &endpoints::Endpoints),
    ("", "Event", &event::Event),
    ("", "LimitRange", &resource_quota::LimitRange),
    ("", "Namespace", &namespace::Namespace),
    ("", "Node", &node::Node),
    ("", "PersistentVolume", &persistent_volume::PersistentVolume),
    ("", "PersistentVolumeClaim", &persistent_volume_claim::PersistentVolumeClaim),
    ("", "Pod", &pod::Pod),
    ("", "PodTemplate", &pod_template::PodTemplate),
    ("", "ReplicationController", &replication_controller::ReplicationController),
    ("", "ResourceQuota", &resource_quota::ResourceQuota),
    ("", "Secret", &secret::Secret),
    ("", "Service", &service::Service),
    ("", "ServiceAccount", &service_account::ServiceAccount),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", &admission_policy::MutatingAdmissionPolicy),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", &admission_policy::MutatingAdmissionPolicyBinding),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", &webhook_configuration::MutatingWebhookConfiguration),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", &admission_policy::ValidatingAdmissionPolicy),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", &admission_policy::ValidatingAdmissionPolicyBinding),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", &webhook_configuration::ValidatingWebhookConfiguration),
    ("apiextensions.k8s.io", "CustomResourceDefinition", &custom_resource_definition::CustomResourceDefinition),
    ("apiregistration.k8s.io", "APIService", &api_service::ApiService),
    ("apps", "ControllerRevision", &controller_revision::ControllerRevision),
    ("apps", "DaemonSet", &daemon_set::DaemonSet),
    ("apps", "Deployment", &deployment::Deployment),
    ("apps", "ReplicaSet", &replica_set::ReplicaSet),
    ("apps", "StatefulSet", &stateful_set::StatefulSet),
    ("autoscaling", "HorizontalPodAutoscaler", &horizontal_pod_autoscaler::HorizontalPodAutoscaler),
    ("batch", "CronJob", &cron_job::CronJob),
    ("batch", "Job", &job::Job),
    ("certificates.k8s.io", "CertificateSigningRequest", &certificate_signing_request::CertificateSigningRequest),
    ("coordination.k8s.io", "Lease", &lease::Lease),
    ("discovery.k8s.io", "EndpointSlice", &endpoint_slice::EndpointSlice),
    ("events.k8s.io", "Event", &event::StrictEvent),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", &flow_schema::FlowSchema),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", &flow_schema::PriorityLevelConfiguration),
    ("networking.k8s.io", "IPAddress", &service_cidr::IpAddress),
    ("networking.k8s.io", "Ingress", &ingress::Ingress),
    ("networking.k8s.io", "IngressClass", &ingress::IngressClass),
    ("networking.k8s.io", "NetworkPolicy", &network_policy::NetworkPolicy),
    ("networking.k8s.io", "ServiceCIDR", &service_cidr::ServiceCidr),
    ("node.k8s.io", "RuntimeClass", &runtime_class::RuntimeClass),
    ("policy", "PodDisruptionBudget", &pod_disruption_budget::PodDisruptionBudget),
    ("rbac.authorization.k8s.io", "ClusterRole", &role::ClusterRole),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", &role::ClusterRoleBinding),
    ("rbac.authorization.k8s.io", "Role", &role::Role),
    ("rbac.authorization.k8s.io", "RoleBinding", &role::RoleBinding),
    ("resource.k8s.io", "DeviceClass", &resource::DeviceClass),
    ("resource.k8s.io", "ResourceClaim", &resource::ResourceClaim),
    ("resource.k8s.io", "ResourceClaimTemplate", &resource::ResourceClaimTemplate),
    ("resource.k8s.io", "ResourceSlice", &resource::ResourceSlice),
    ("scheduling.k8s.io", "PriorityClass", &priority_class::PriorityClass),
    ("storage.k8s.io", "CSIDriver", &csi_driver::CsiDriver),
    ("storage.k8s.io", "CSINode", &csi_node::CsiNode),
    ("storage.k8s.io", "CSIStorageCapacity", &csi_node::CsiStorageCapacity),
    ("storage.k8s.io", "StorageClass", &storage_class::StorageClass),
    ("storage.k8s.io", "VolumeAttachment", &csi_node::VolumeAttachment),
    ("storage.k8s.io", "VolumeAttributesClass", &storage_class::VolumeAttributesClass),
];

/// Versions that are stored in another shape.
static CONVERSIONS: &[(&str, &str, &str, Conversion)] = &[
    (
        "autoscaling",
        "v1",
        "HorizontalPodAutoscaler",
        Conversion {
            stored_group: "autoscaling",
            stored_version: "v2",
            to_stored: horizontal_pod_autoscaler::v1_to_v2,
            from_stored: horizontal_pod_autoscaler::v2_to_v1,
        },
    ),
    (
        "events.k8s.io",
        "v1",
        "Event",
        Conversion { stored_group: "", stored_version: "v1", to_stored: event::to_core, from_stored: event::from_core },
    ),
];

struct Generic;
impl Rules for Generic {}

/// The rules of a kind.
pub fn rules(group: &str, kind: &str) -> &'static dyn Rules {
    let row = RULES.iter().find(|(g, k, _)| *k == kind && *g == group);
    row.map_or(&Generic, |(_, _, rules)| *rules)
}

/// How a version's objects become stored ones and back, where they differ.
pub fn conversion(group: &str, version: &str, kind: &str) -> Option<&'static Conversion> {
    let row = CONVERSIONS.iter().find(|(g, v, k, _)| *k == kind && *g == group && *v == version);
    row.map(|(_, _, _, conversion)| conversion)
}

/// The first thing that validation has to say about an object of this specification, after its defaults: for the tests of
/// the rules.
#[cfg(test)]
pub fn first_error(rules: &dyn Rules, spec: Value) -> String {
    let mut object = serde_json::json!({ "metadata": { "name": "a" }, "spec": spec });
    let mut errors = Errors::new();
    rules.default(&mut object);
    rules.check(&object, None, &mut errors);
    errors.0.first().map_or_else(String::new, ToString::to_string)
}
