//! What `kubectl get` shows: the columns of each kind and the cells of an object, printed on the server.
//!
//! Cells follow upstream's `pkg/printers/internalversion`; quantities are printed as stored (in canonical form).

mod batch;
mod cluster;
#[rustfmt::skip]
mod definitions;
mod network;
mod policy;
mod storage;
mod workloads;

use api::Value;
use api::document::{self, get, get_i64, get_list, get_map, get_str};
use api::selector::Selector;
use definitions as d;
use jiff::Timestamp;

/// Cells of different types as one list.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$(api::Value::from($cell)),*] };
}
use row;

/// A column of a table, as `meta.k8s.io/v1` describes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer`, `boolean`, `date`.
    pub kind: &'static str,
    /// `name` for the primary identifier, else empty.
    pub format: &'static str,
    pub description: &'static str,
    /// 0 is always shown, 1 only in wide output.
    pub priority: i32,
}

/// How a kind is printed.
pub struct Printer {
    group: &'static str,
    kind: &'static str,
    pub columns: &'static [Column],
    /// The cells of one object, one a column.
    pub cells: fn(&Value, Timestamp) -> Vec<Value>,
}

const fn printer(
    group: &'static str,
    kind: &'static str,
    columns: &'static [Column],
    cells: fn(&Value, Timestamp) -> Vec<Value>,
) -> Printer {
    Printer { group, kind, columns, cells }
}

/// The printer of kinds that have none of their own.
static DEFAULT: Printer = printer("", "", d::CREATED_AT, |o, _| row![document::name(o), created(o)]);

#[rustfmt::skip]
static PRINTERS: &[Printer] = &[
    printer("", "ComponentStatus", d::COMPONENT_STATUS, cluster::component_status),
    printer("", "ConfigMap", d::CONFIG_MAP, cluster::config_map),
    printer("", "Endpoints", d::ENDPOINTS, network::endpoints),
    printer("", "Event", d::EVENT, cluster::event),
    printer("events.k8s.io", "Event", d::EVENT, cluster::event),
    printer("", "Namespace", d::NAMESPACE, cluster::namespace),
    printer("", "Node", d::NODE, cluster::node),
    printer("", "PersistentVolume", d::PERSISTENT_VOLUME, storage::persistent_volume),
    printer("", "PersistentVolumeClaim", d::PERSISTENT_VOLUME_CLAIM, storage::persistent_volume_claim),
    printer("", "Pod", d::POD, workloads::pod),
    printer("", "PodTemplate", d::POD_TEMPLATE, workloads::pod_template),
    printer("", "ReplicationController", d::REPLICATION_CONTROLLER, workloads::replication_controller),
    printer("", "ResourceQuota", d::RESOURCE_QUOTA, cluster::resource_quota),
    printer("", "Secret", d::SECRET, cluster::secret),
    printer("", "Service", d::SERVICE, network::service),
    printer("", "ServiceAccount", d::NAME_AND_AGE, name_and_age),
    printer("admissionregistration.k8s.io", "MutatingAdmissionPolicy", d::MUTATING_ADMISSION_POLICY, policy::mutating_admission_policy),
    printer("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", d::ADMISSION_POLICY_BINDING, policy::admission_policy_binding),
    printer("admissionregistration.k8s.io", "MutatingWebhookConfiguration", d::WEBHOOKS, policy::webhooks),
    printer("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", d::VALIDATING_ADMISSION_POLICY, policy::validating_admission_policy),
    printer("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", d::ADMISSION_POLICY_BINDING, policy::admission_policy_binding),
    printer("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", d::WEBHOOKS, policy::webhooks),
    printer("apiregistration.k8s.io", "APIService", d::API_SERVICE, policy::api_service),
    printer("apps", "ControllerRevision", d::CONTROLLER_REVISION, workloads::controller_revision),
    printer("apps", "DaemonSet", d::DAEMON_SET, workloads::daemon_set),
    printer("apps", "Deployment", d::DEPLOYMENT, workloads::deployment),
    printer("apps", "ReplicaSet", d::REPLICA_SET, workloads::replica_set),
    printer("apps", "StatefulSet", d::STATEFUL_SET, workloads::stateful_set),
    printer("autoscaling", "HorizontalPodAutoscaler", d::HORIZONTAL_POD_AUTOSCALER, batch::horizontal_pod_autoscaler),
    printer("autoscaling", "Scale", d::SCALE, workloads::scale),
    printer("batch", "CronJob", d::CRON_JOB, batch::cron_job),
    printer("batch", "Job", d::JOB, batch::job),
    printer("certificates.k8s.io", "CertificateSigningRequest", d::CERTIFICATE_SIGNING_REQUEST, policy::certificate_signing_request),
    printer("coordination.k8s.io", "Lease", d::LEASE, cluster::lease),
    printer("discovery.k8s.io", "EndpointSlice", d::ENDPOINT_SLICE, network::endpoint_slice),
    printer("flowcontrol.apiserver.k8s.io", "FlowSchema", d::FLOW_SCHEMA, policy::flow_schema),
    printer("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", d::PRIORITY_LEVEL_CONFIGURATION, policy::priority_level_configuration),
    printer("networking.k8s.io", "IPAddress", d::IP_ADDRESS, network::ip_address),
    printer("networking.k8s.io", "Ingress", d::INGRESS, network::ingress),
    printer("networking.k8s.io", "IngressClass", d::INGRESS_CLASS, network::ingress_class),
    printer("networking.k8s.io", "NetworkPolicy", d::NETWORK_POLICY, network::network_policy),
    printer("networking.k8s.io", "ServiceCIDR", d::SERVICE_CIDR, network::service_cidr),
    printer("node.k8s.io", "RuntimeClass", d::RUNTIME_CLASS, cluster::runtime_class),
    printer("policy", "PodDisruptionBudget", d::POD_DISRUPTION_BUDGET, workloads::pod_disruption_budget),
    printer("rbac.authorization.k8s.io", "ClusterRoleBinding", d::CLUSTER_ROLE_BINDING, policy::role_binding),
    printer("rbac.authorization.k8s.io", "RoleBinding", d::ROLE_BINDING, policy::role_binding),
    printer("resource.k8s.io", "DeviceClass", d::NAME_AND_AGE, name_and_age),
    printer("resource.k8s.io", "ResourceClaim", d::RESOURCE_CLAIM, storage::resource_claim),
    printer("resource.k8s.io", "ResourceClaimTemplate", d::NAME_AND_AGE, name_and_age),
    printer("resource.k8s.io", "ResourceSlice", d::RESOURCE_SLICE, storage::resource_slice),
    printer("scheduling.k8s.io", "PriorityClass", d::PRIORITY_CLASS, cluster::priority_class),
    printer("storage.k8s.io", "CSIDriver", d::CSI_DRIVER, storage::csi_driver),
    printer("storage.k8s.io", "CSINode", d::CSI_NODE, storage::csi_node),
    printer("storage.k8s.io", "StorageClass", d::STORAGE_CLASS, storage::storage_class),
    printer("storage.k8s.io", "VolumeAttachment", d::VOLUME_ATTACHMENT, storage::volume_attachment),
    printer("storage.k8s.io", "VolumeAttributesClass", d::VOLUME_ATTRIBUTES_CLASS, storage::volume_attributes_class),
];

/// The printer of a kind, by its group and `kind` (a subresource's body, such as Scale, has one too).
pub fn printer_of(group: &str, kind: &str) -> &'static Printer {
    PRINTERS.iter().find(|p| p.kind == kind && p.group == group).unwrap_or(&DEFAULT)
}

const CREATED: &str = "metadata.creationTimestamp";

/// When the object was created; of one that never was (a bookmark's), what Go has for no time.
fn created(object: &Value) -> &str {
    match get_str(object, CREATED) {
        "" => "0001-01-01T00:00:00Z",
        created => created,
    }
}

fn name_and_age(object: &Value, now: Timestamp) -> Vec<Value> {
    row![document::name(object), age(object, now)]
}

fn age(object: &Value, now: Timestamp) -> String {
    since(object, CREATED, now)
}

/// How long ago the time at `path` was, or `<unknown>`.
fn since(object: &Value, path: &str, now: Timestamp) -> String {
    timestamp(object, path).map_or_else(|| "<unknown>".to_owned(), |at| between(at, now))
}

fn timestamp(object: &Value, path: &str) -> Option<Timestamp> {
    get_str(object, path).parse().ok()
}

fn between(from: Timestamp, to: Timestamp) -> String {
    human_duration(to.duration_since(from).as_secs())
}

/// A duration in seconds with two or three significant figures, as upstream's `duration.HumanDuration` prints it.
pub fn human_duration(seconds: i64) -> String {
    // A remainder of zero is left out.
    let pair = |whole: i64, unit: char, rest: i64, rest_unit: char| match rest {
        0 => format!("{whole}{unit}"),
        _ => format!("{whole}{unit}{rest}{rest_unit}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => pair(days, 'd', hours % 24, 'h'),
        _ if years < 2 => format!("{days}d"),
        _ if years < 8 => pair(years, 'y', days % 365, 'd'),
        _ => format!("{years}y"),
    }
}

/// The integer at a path; 0 where it is missing.
fn int(object: &Value, path: &str) -> i64 {
    get_i64(object, path).unwrap_or_default()
}

/// The string, number or boolean at a path as text, or `default` where it is missing.
fn text_or(object: &Value, path: &str, default: &str) -> String {
    match get(object, path) {
        None | Some(Value::Null) => default.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// `text`, or `default` when it is empty.
fn or(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

fn bool_or(object: &Value, path: &str, default: bool) -> bool {
    get(object, path).and_then(Value::as_bool).unwrap_or(default)
}

/// Whether an object holds a list of conditions at `path` with this one true.
fn is_condition_true(object: &Value, path: &str, condition: &str) -> bool {
    find_condition(object, path, condition).is_some_and(|c| get_str(c, "status") == "True")
}

fn find_condition<'a>(object: &'a Value, path: &str, condition: &str) -> Option<&'a Value> {
    get_list(object, path).iter().find(|c| get_str(c, "type") == condition)
}

/// The strings of a list, joined by commas.
fn joined(object: &Value, path: &str) -> String {
    get_list(object, path).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// The names and the images of the containers at `path`, as two cells.
fn containers(object: &Value, path: &str) -> (String, String) {
    let list = get_list(object, path);
    let column = |key| list.iter().map(|c| get_str(c, key)).collect::<Vec<_>>().join(",");
    (column("name"), column("image"))
}

/// A map of labels as `a=b,c=d` sorted by key, or `<none>`.
fn labels(object: &Value, path: &str) -> String {
    let mut pairs: Vec<_> = get_map(object, path)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort_unstable();
    or(pairs.join(","), "<none>")
}

/// A label selector in its text form, sorted by key; `None` when it cannot be read.
fn selector(object: &Value, path: &str) -> Option<String> {
    Selector::from_object(get(object, path)).ok().map(|selector| selector.to_string())
}

/// A label selector as most kinds print it.
fn selector_cell(object: &Value, path: &str) -> String {
    selector(object, path).map_or_else(|| "<error>".to_owned(), |text| or(text, "<none>"))
}

/// The first `max` of `items`, joined, and how many more there are.
fn first_few<S: AsRef<str>>(items: &[S], separator: &str, max: usize) -> String {
    let shown = items.iter().take(max).map(S::as_ref).collect::<Vec<_>>().join(separator);
    if items.len() > max { format!("{shown} + {} more...", items.len() - max) } else { shown }
}

#[cfg(test)]
mod tests;
