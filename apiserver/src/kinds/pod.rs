//! Pods: `core/v1` Pod, its defaults, what may change when, and its subresources.

mod affinity;
mod annotations;
mod claim;
mod containers;
mod defaults;
mod env;
mod mounts;
mod options;
mod probes;
mod projected;
mod qos;
mod resources;
mod security;
mod spec;
mod status;
mod subresources;
mod template;
#[cfg(test)]
mod tests;
mod update;
mod volumes;
mod warnings;

pub use affinity::{validate_node_selector, validate_tolerations};
pub use claim::validate_claim_spec;
pub use defaults::{default, default_claim, default_template, drop_disabled, round_up_at};
pub use qos::qos_class;
pub use resources::{
    STANDARD_RESOURCES, container_resource_name, is_overcommit_allowed, resource_name, validate_quantity,
};
pub use subresources::{
    bind, check_binding, prepare_ephemeral_containers, prepare_resize, validate_ephemeral_containers, validate_resize,
};
pub use template::{validate as validate_template, validate_always, validate_replicated, validate_selected};
pub use volumes::{iscsi_name_problem, validate_volume_source};
pub use warnings::{deprecated_label, dns_label_warning, template_warnings};

use super::equality::same;
use super::path::{Path, child, descend, int, list, opt_flag, opt_text, text};
use super::{Context, MetadataChecks, Rules};
use api::document;
use api::field::Errors;
use api::{Map, Value, names, time};
use options::Options;
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// Rules of Pods.
pub struct Pod;

/// Who has the specification that is checked.
#[derive(Clone, Copy, Default)]
pub struct Owner<'a> {
    /// A pod itself, not a template.
    pub is_pod: bool,
    /// The pod's name; empty in a template.
    pub name: &'a str,
    pub is_mirror: bool,
    /// The pod or template that is replaced: what it already breaks stays allowed.
    pub old: Option<&'a Value>,
}

impl<'a> Owner<'a> {
    /// Owner of a template at `keys` of a workload, which replaces that of the workload `old`.
    pub fn replacing(old: Option<&'a Value>, keys: &[&str]) -> Owner<'a> {
        Owner { old: old.and_then(|old| descend(old, keys)), ..Owner::default() }
    }
}

/// What the checks of a container need to know of the pod.
struct Scope<'a> {
    volumes: HashMap<&'a str, Volume<'a>>,
    /// Names of the pod's resource claims.
    claims: HashSet<&'a str>,
    /// `terminationGracePeriodSeconds`.
    grace: Option<i64>,
    os: Option<&'a str>,
    restart_policy: &'a str,
    /// The pod shares the host's user namespace.
    host_users: bool,
    is_pod: bool,
    options: Options,
}

struct Volume<'a> {
    source: &'a Value,
    /// Nothing is wrong with it: it can be mounted.
    valid: bool,
}

impl<'a> Scope<'a> {
    fn new(spec: &'a Value, owner: &Owner) -> Scope<'a> {
        Scope {
            volumes: HashMap::new(),
            claims: list(spec, "resourceClaims")
                .iter()
                .map(|claim| text(claim, "name"))
                .filter(|n| !n.is_empty())
                .collect(),
            grace: int(spec, "terminationGracePeriodSeconds"),
            os: child(spec, "os").and_then(|os| opt_text(os, "name")),
            restart_policy: text(spec, "restartPolicy"),
            host_users: opt_flag(spec, "hostUsers") != Some(false),
            is_pod: owner.is_pod,
            options: Options::new(owner.old.and_then(|old| child(old, "spec"))),
        }
    }
}

/// Checks of a pod that are the same when it is made and when it is changed from `old`.
fn validate(pod: &Value, old: Option<&Value>, errors: &mut Errors) {
    annotations::validate(pod, old, &Path::root("metadata.annotations"), errors);
    let empty = Value::Object(Map::new());
    let spec = child(pod, "spec").unwrap_or(&empty);
    let is_mirror = annotations::is_mirror(pod);
    let owner = Owner { is_pod: true, name: document::name(pod), is_mirror, old };
    let path = Path::root("spec");
    spec::validate(spec, &owner, &path, errors);
    spec::validate_pod_only(spec, &path, errors);
}

/// The node of a stored pod.
fn node_of(entry: &storage::Entry) -> String {
    let pod = document::pick(&entry.value, &["spec.nodeName"]).unwrap_or_default();
    document::get_str(&pod, "spec.nodeName").to_owned()
}

impl Rules for Pod {
    fn default(&self, object: &mut Value) {
        defaults::default_pod(object);
    }

    /// Of the status that is given only the class counts.
    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, pod: &mut Value, context: &Context) {
        let class = match document::get_str(pod, "status.qosClass") {
            "" => qos_class(pod),
            class => class,
        };
        let mut status = json!({"phase": "Pending", "qosClass": class});
        let labels = document::labels(pod).cloned().unwrap_or_default();
        let annotations = document::annotations(pod).cloned();
        let Some(spec) = pod.get_mut("spec").filter(|spec| spec.is_object()) else { return };
        drop_disabled(spec, None);
        if !list(spec, "schedulingGates").is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": null, "lastTransitionTime": time::format(context.now),
            }]);
        }
        subresources::apply_label_keys(spec, &labels);
        if let Some(annotations) = annotations {
            subresources::apply_app_armor(spec, &annotations);
        }
        pod["status"] = status;
    }

    fn prepare_for_update(&self, pod: &mut Value, old: &Value, _context: &Context) {
        let Some(spec) = pod.get_mut("spec") else { return };
        drop_disabled(spec, child(old, "spec"));
        // Computed when the pod was made: whoever sends it again need not know them.
        for key in ["priority", "preemptionPolicy"] {
            if child(spec, key).is_none_or(Value::is_null)
                && let Some(old) = child(old, "spec")
            {
                update::restore(spec, old, key);
            }
        }
    }

    fn prepare_for_status_update(&self, pod: &mut Value, old: &Value, _context: &Context) {
        status::prepare(pod, old);
    }

    fn check(&self, pod: &Value, old: Option<&Value>, errors: &mut Errors) {
        validate(pod, old, errors);
        match old {
            Some(old) => update::validate(pod, old, errors),
            None => self.validate_create(pod, errors),
        }
    }

    fn validate_create(&self, pod: &Value, errors: &mut Errors) {
        let Some(spec) = child(pod, "spec") else { return };
        let path = Path::root("spec");
        if !list(spec, "ephemeralContainers").is_empty() {
            errors.forbidden(path.at("ephemeralContainers"), "cannot be set on create");
        }
        if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
            errors.forbidden(path.at("nodeName"), "cannot be set until all schedulingGates have been cleared");
        }
        annotations::validate_match_fields(pod, &path, errors);
    }

    fn validate_status_update(&self, pod: &Value, old: &Value, errors: &mut Errors) {
        status::validate(pod, old, errors);
    }

    fn warnings(&self, pod: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        let problems = names::dns1123_label(document::name(pod)).join(" ");
        if !problems.is_empty() {
            warnings.push(format!("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{problems}]"));
        }
        warnings.extend(template_warnings(&Path::root(""), pod));
        warnings
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }

    fn given_warnings(&self, pod: &Value) -> Vec<String> {
        warnings::given_warnings(pod)
    }

    fn status_warnings(&self, pod: &Value) -> Vec<String> {
        warnings::status_warnings(pod)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.host",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }

    fn selectable_field(&self, pod: &Value, field: &str) -> String {
        match field {
            // What the node was called in the beginning.
            "spec.host" => document::get_str(pod, "spec.nodeName").to_owned(),
            "spec.hostNetwork" => document::get_bool(pod, field).to_string(),
            "status.podIP" => {
                let first = document::get_list(pod, "status.podIPs").first();
                first.map(|ip| text(ip, "ip")).unwrap_or_default().to_owned()
            }
            // Known to the API, but without a value to select by.
            "status.podIPs" => String::new(),
            _ => document::get_str(pod, field).to_owned(),
        }
    }

    fn watch_index(&self) -> Option<(&'static str, storage::Tag)> {
        Some(("spec.nodeName", node_of))
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn tells_empty_lists(&self) -> bool {
        true
    }

    fn generation_changed(&self, pod: &Value, old: &Value) -> bool {
        !same(child(pod, "spec"), child(old, "spec"))
    }

    fn grace_period(&self, pod: &Value, requested: Option<i64>) -> Option<i64> {
        let own = || document::get_i64(pod, "spec.terminationGracePeriodSeconds");
        let finished = matches!(document::get_str(pod, "status.phase"), "Failed" | "Succeeded");
        if finished || document::get_str(pod, "spec.nodeName").is_empty() {
            return Some(0);
        }
        let period = requested.or_else(own).unwrap_or_default();
        Some(if period < 0 { 1 } else { period })
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

/// The value at a path of the status.
fn status_of<'a>(pod: &'a Value, key: &str) -> Option<&'a Value> {
    descend(pod, &["status", key])
}
