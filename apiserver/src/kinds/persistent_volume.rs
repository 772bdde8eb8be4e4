//! PersistentVolume.

mod sources;

use super::path::{Path, child, descend, entries, has, invalid_each, list, one_of, opt_text, shown, text, texts};
use super::pod::{deprecated_label, round_up_at, validate_node_selector};
use super::{Context, MetadataCheck, MetadataChecks, Rules, diff, equality};
use api::field::Errors;
use api::resource_list::quantity;
use api::{Value, document, names, time};
use serde_json::json;

pub struct PersistentVolume;

const SPEC: Path = Path::root("spec");
const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

impl Rules for PersistentVolume {
    fn default(&self, volume: &mut Value) {
        for (path, value) in [("status.phase", "Pending"), ("spec.persistentVolumeReclaimPolicy", "Retain")] {
            if document::get_str(volume, path).is_empty() {
                document::set(volume, path, value);
            }
        }
        if document::get(volume, "spec.volumeMode").is_none_or(Value::is_null) {
            document::set(volume, "spec.volumeMode", "Filesystem");
        }
        if let Some(spec) = volume.get_mut("spec") {
            default_spec(spec);
        }
    }

    fn prepare_for_create(&self, volume: &mut Value, context: &Context) {
        let now = time::format(context.now);
        document::set(volume, "status", json!({"phase": "Pending", "lastPhaseTransitionTime": now}));
    }

    fn prepare_for_status_update(&self, volume: &mut Value, old: &Value, context: &Context) {
        const PATH: &str = "status.lastPhaseTransitionTime";
        let since = |volume| document::get(volume, PATH).filter(|at| !at.is_null()).cloned();
        let same_phase = document::get_str(volume, "status.phase") == document::get_str(old, "status.phase");
        match (same_phase, since(volume), since(old)) {
            (true, None, Some(at)) => document::set(volume, PATH, at),
            (false, new, old) if new.is_none() || new == old => {
                document::set(volume, PATH, time::format(context.now));
            }
            _ => {}
        }
    }

    fn check(&self, volume: &Value, old: Option<&Value>, errors: &mut Errors) {
        let spec = child(volume, "spec").unwrap_or(&Value::Null);
        validate_spec(spec, document::name(volume), errors);
        sources::validate_mount_options(volume, spec, errors);
        // Upstream's checks of an update begin with those of the volume once more.
        if let Some(old) = old {
            validate_spec(spec, document::name(volume), errors);
            self.validate_update(volume, old, errors);
        }
    }

    fn validate_update(&self, volume: &Value, old: &Value, errors: &mut Errors) {
        let spec = |object| child(object, "spec").unwrap_or(&Value::Null);
        let (new_source, old_source) = (source(spec(volume), spec(old)), source(spec(old), spec(old)));
        if !equality::same(Some(&new_source), Some(&old_source)) {
            let changes = diff::diff("PersistentVolumeSource", &old_source, &new_source);
            let message = format!("spec.persistentvolumesource is immutable after creation\n{changes}");
            errors.forbidden("spec.persistentvolumesource", message);
        }
        if child(spec(volume), "volumeMode") != child(spec(old), "volumeMode") {
            errors.invalid("volumeMode", shown(child(spec(volume), "volumeMode")), "field is immutable");
        }
        let affinity = child(spec(old), "nodeAffinity");
        if affinity.is_some() && !equality::same(child(spec(volume), "nodeAffinity"), affinity) {
            const WHY: &str = "field is immutable, except for updating from beta label to GA";
            errors.invalid("nodeAffinity", shown(child(spec(volume), "nodeAffinity")), WHY);
        }
        if has(spec(old), "volumeAttributesClassName") && !has(spec(volume), "volumeAttributesClassName") {
            const WHY: &str = "update from non-nil value to nil is forbidden";
            errors.forbidden("spec.volumeAttributesClassName", WHY);
        }
    }

    fn warnings(&self, volume: &Value, _: Option<&Value>) -> Vec<String> {
        const DEPRECATED: [(&str, &str); 2] = [
            (
                "volume.beta.kubernetes.io/storage-class",
                "deprecated since v1.8; use \"storageClassName\" attribute instead",
            ),
            (
                "volume.beta.kubernetes.io/mount-options",
                "deprecated since v1.31; use \"mountOptions\" attribute instead",
            ),
        ];
        let spec = child(volume, "spec").unwrap_or(&Value::Null);
        let annotated = DEPRECATED.iter().filter(|(key, _)| document::annotation(volume, key).is_some());
        let mut warnings: Vec<String> =
            annotated.map(|(key, message)| format!("metadata.annotations[{key}]: {message}")).collect();
        if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
            warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        for (i, term) in sources::node_terms(spec).iter().enumerate() {
            for (j, expression) in list(term, "matchExpressions").iter().enumerate() {
                let key = text(expression, "key");
                if let Some(message) = deprecated_label(key) {
                    let path = format!("spec.nodeAffinity.required.nodeSelectorTerms[{i}].matchExpressions[{j}].key");
                    warnings.push(format!("{path}: {key} is {message}"));
                }
            }
        }
        warnings.extend(sources::warnings(spec));
        warnings
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks { update: &[MetadataCheck::New, MetadataCheck::New], ..MetadataChecks::USUAL }
    }
}

/// The source alone. A secret for expansion may be added to a CSI source that had none.
fn source(spec: &Value, old: &Value) -> Value {
    let mut source = sources::of(spec);
    if document::get(old, "csi").is_some_and(|csi| !has(csi, "controllerExpandSecretRef")) {
        document::remove(&mut source, "csi.controllerExpandSecretRef");
    }
    source
}

/// What is set in the specification of every volume, one within an attachment too.
pub fn default_spec(spec: &mut Value) {
    round_up_at(spec, &["capacity"]);
    let host_path = spec.get_mut("hostPath").filter(|source| source.is_object());
    if let Some(source) = host_path.filter(|source| !has(source, "type")) {
        document::set(source, "type", "");
    }
}

fn validate_access_modes(spec: &Value, path: &Path, errors: &mut Errors) {
    let modes = path.at("accessModes");
    if list(spec, "accessModes").is_empty() {
        errors.required(modes, "");
    }
    for mode in texts(spec, "accessModes") {
        one_of(errors, &modes, mode, &ACCESS_MODES);
    }
    let alone = texts(spec, "accessModes").any(|mode| mode == "ReadWriteOncePod");
    if alone && texts(spec, "accessModes").any(|mode| ACCESS_MODES[..3].contains(&mode)) {
        errors.forbidden(modes, "may not use ReadWriteOncePod with other access modes");
    }
}

/// The root of a host is not emptied.
fn validate_recycled(spec: &Value, path: &Path, errors: &mut Errors) {
    let is_root = descend(spec, &["hostPath", "path"]).and_then(Value::as_str).is_some_and(is_root);
    if is_root && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        const WHY: &str = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(path.at("persistentVolumeReclaimPolicy"), WHY);
    }
}

/// Checks the specification of a volume that a VolumeAttachment describes itself: only what a driver needs to attach it.
pub fn validate_inline_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    const CONTEXT: &str = "in the context of inline volumes";
    let not_here = |key: &str, errors: &mut Errors| {
        errors.forbidden(path.at(key), format!("may not be specified {CONTEXT}"));
    };
    if has(spec, "claimRef") {
        not_here("claimRef", errors);
    }
    if entries(spec, "capacity").next().is_some() {
        not_here("capacity", errors);
    }
    if !has(spec, "csi") {
        errors.required(path.at("csi"), format!("has to be specified {CONTEXT}"));
    }
    validate_access_modes(spec, path, errors);
    if !matches!(text(spec, "persistentVolumeReclaimPolicy"), "" | "Retain") {
        errors.forbidden(path.at("persistentVolumeReclaimPolicy"), format!("may only be Retain {CONTEXT}"));
    }
    if has(spec, "nodeAffinity") {
        not_here("nodeAffinity", errors);
    }
    sources::validate(spec, "", false, path, errors);
    validate_recycled(spec, path, errors);
    if !text(spec, "storageClassName").is_empty() {
        not_here("storageClassName", errors);
    }
    if opt_text(spec, "volumeMode").is_some_and(|mode| mode != "Filesystem") {
        let why = format!("may not specify volumeMode other than Filesystem {CONTEXT}");
        errors.forbidden(path.at("volumeMode"), why);
    }
}

fn validate_spec(spec: &Value, name: &str, errors: &mut Errors) {
    validate_access_modes(spec, &SPEC, errors);
    validate_capacity(spec, errors);
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    if !policy.is_empty() {
        let path = SPEC.at("persistentVolumeReclaimPolicy");
        one_of(errors, &path, policy, &["Delete", "Recycle", "Retain"]);
    }
    if let Some(affinity) = child(spec, "nodeAffinity") {
        let path = SPEC.at("nodeAffinity.required");
        match child(affinity, "required") {
            Some(selector) => validate_node_selector(selector, &path, errors),
            None => errors.required(path, "must specify required node constraints"),
        }
    }
    sources::validate(spec, name, has(spec, "nodeAffinity"), &SPEC, errors);
    validate_recycled(spec, &SPEC, errors);
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        invalid_each(errors, &SPEC.at("storageClassName"), class, names::dns1123_subdomain(class));
    }
    if let Some(mode) = opt_text(spec, "volumeMode") {
        one_of(errors, &SPEC.at("volumeMode"), mode, &["Block", "Filesystem"]);
    }
    if let Some(class) = opt_text(spec, "volumeAttributesClassName") {
        let path = SPEC.at("volumeAttributesClassName");
        match class {
            "" => errors.required(path, "an empty string is disallowed"),
            class => invalid_each(errors, &path, class, names::dns1123_subdomain(class)),
        }
        if !has(spec, "csi") {
            errors.required(SPEC.at("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

/// Whether a path means `/`.
fn is_root(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| matches!(part, "" | "." | ".."))
}

fn validate_capacity(spec: &Value, errors: &mut Errors) {
    let path = SPEC.at("capacity");
    let capacity = || entries(spec, "capacity");
    if capacity().next().is_none() {
        errors.required(path, "");
    }
    if !capacity().any(|(resource, _)| resource == "storage") || capacity().count() > 1 {
        errors.not_supported(path, shown(child(spec, "capacity")), &["storage"]);
    }
    for (resource, amount) in capacity() {
        let Some(amount) = quantity(amount) else { continue };
        if amount.value() < 0 {
            errors.invalid(path.key(resource), amount.value(), "must be a valid resource quantity");
        }
        if amount.is_zero() || amount.is_negative() {
            errors.invalid(path.key(resource), amount.to_string(), "must be greater than zero");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let spec = |source: Value| {
            let mut spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]});
            document::as_map(&mut spec).extend(source.as_object().cloned().unwrap_or_default());
            spec
        };
        let cases = [
            (spec(json!({"hostPath": {"path": "/a"}})), ""),
            (spec(json!({})), "spec: Required value: must specify a volume type"),
            (
                spec(json!({"hostPath": {"path": "/a"}, "nfs": {}})),
                "spec.nfs: Forbidden: may not specify more than 1 volume type",
            ),
            (
                spec(json!({"local": {"path": "/a"}})),
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
            ),
            (
                spec(json!({"csi": {"driver": "d", "volumeHandle": "h"}, "capacity": {"storage": "0"}})),
                "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
            ),
        ];
        for (spec, expected) in cases {
            let mut errors = Errors::new();
            PersistentVolume.check(&json!({ "spec": spec }), None, &mut errors);
            assert_eq!(errors.0.first().map_or_else(String::new, ToString::to_string), expected);
        }
    }
}
