//! PersistentVolume.

mod sources;

pub use sources::{has_source, validate_csi};

use super::path::{Path, child, descend, has, invalid_each, list, one_of, opt_text, shown, text, texts};
use super::pod::{deprecated_label, round_up_at, validate_node_selector};
use super::{Context, MetadataCheck, MetadataChecks, Rules, diff, equality};
use api::field::Errors;
use api::resource_list::quantity;
use api::{Value, document, names, time};
use serde_json::json;

pub struct PersistentVolume;

const SPEC: Path = Path::root("spec");
pub const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

impl Rules for PersistentVolume {
    fn default(&self, volume: &mut Value) {
        for (path, value) in [
            ("status.phase", "Pending"),
            ("spec.persistentVolumeReclaimPolicy", "Retain"),
            ("spec.volumeMode", "Filesystem"),
        ] {
            if document::get_str(volume, path).is_empty() {
                document::set(volume, path, value);
            }
        }
        if let Some(spec) = volume.get_mut("spec") {
            round_up_at(spec, &["capacity"]);
        }
        let host_path = volume.pointer_mut("/spec/hostPath").filter(|source| source.is_object());
        if let Some(source) = host_path.filter(|source| !has(source, "type")) {
            document::set(source, "type", "");
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

fn validate_spec(spec: &Value, name: &str, errors: &mut Errors) {
    let modes = SPEC.at("accessModes");
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
    sources::validate(spec, name, &SPEC, errors);
    let is_root = descend(spec, &["hostPath", "path"]).and_then(Value::as_str).is_some_and(is_root);
    if is_root && policy == "Recycle" {
        const WHY: &str = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(SPEC.at("persistentVolumeReclaimPolicy"), WHY);
    }
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
    let capacity = child(spec, "capacity").and_then(Value::as_object).filter(|capacity| !capacity.is_empty());
    let Some(capacity) = capacity else {
        errors.required(path, "");
        return errors.not_supported(path, Value::Null, &["storage"]);
    };
    if !capacity.contains_key("storage") || capacity.len() > 1 {
        errors.not_supported(path, Value::Object(capacity.clone()), &["storage"]);
    }
    for (resource, amount) in capacity {
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
