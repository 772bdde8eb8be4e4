//! PersistentVolume.

use super::csi_driver::validate_driver_name;
use super::path::{Path, child, has, invalid_each, list, one_of, opt_text, shown, text, texts};
use super::pod::{quantity, validate_node_selector};
use super::{Context, MetadataCheck, MetadataChecks, Rules, diff, equality};
use api::field::Errors;
use api::{Map, Value, document, names, time};
use serde_json::json;

pub struct PersistentVolume;

const SPEC: Path = Path::root("spec");
pub const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Where a volume can come from; exactly one is set.
pub const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

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

    fn validate(&self, volume: &Value, errors: &mut Errors) {
        validate_spec(child(volume, "spec").unwrap_or(&Value::Null), errors);
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

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["name"]
    }

    fn selectable_field(&self, volume: &Value, _: &str) -> String {
        document::name(volume).to_owned()
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
    let members = SOURCES.iter().filter_map(|key| Some(((*key).to_owned(), child(spec, key)?.clone())));
    let mut source = Value::Object(members.collect::<Map>());
    if document::get(old, "csi").is_some_and(|csi| !has(csi, "controllerExpandSecretRef")) {
        document::remove(&mut source, "csi.controllerExpandSecretRef");
    }
    source
}

fn validate_spec(spec: &Value, errors: &mut Errors) {
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
    validate_source(spec, errors);
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
        if quantity(amount).is_some_and(|amount| amount.nanos() <= 0) {
            errors.invalid(path.key(resource), amount.clone(), "must be greater than zero");
        }
    }
}

fn validate_source(spec: &Value, errors: &mut Errors) {
    let mut sources = SOURCES.iter().filter(|key| has(spec, key));
    let Some(first) = sources.next() else { return errors.required(SPEC, "must specify a volume type") };
    for other in sources {
        errors.forbidden(SPEC.at(other), "may not specify more than 1 volume type");
    }
    let source = child(spec, first).unwrap_or(&Value::Null);
    let path = SPEC.at(first);
    match *first {
        "hostPath" | "local" => {
            let target = text(source, "path");
            if target.is_empty() {
                errors.required(path.at("path"), "");
            } else if target.split('/').any(|part| part == "..") {
                errors.invalid(path.at("path"), target, "must not contain '..'");
            }
        }
        "nfs" => {
            for key in ["server", "path"] {
                if text(source, key).is_empty() {
                    errors.required(path.at(key), "");
                }
            }
            let target = text(source, "path");
            if !target.is_empty() && !target.starts_with('/') {
                errors.invalid(path.at("path"), target, "must be an absolute path");
            }
        }
        "csi" => validate_csi(source, &path, errors),
        _ => {}
    }
    if *first == "local" && !has(spec, "nodeAffinity") {
        errors.required(SPEC.at("nodeAffinity"), "Local volume requires node affinity");
    }
    let is_root = *first == "hostPath" && text(source, "path").trim_matches('/').is_empty();
    if is_root && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        const WHY: &str = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(SPEC.at("persistentVolumeReclaimPolicy"), WHY);
    }
}

/// Checks a volume of a CSI driver.
pub fn validate_csi(source: &Value, path: &Path, errors: &mut Errors) {
    validate_driver_name(errors, &path.at("driver"), text(source, "driver"));
    if text(source, "volumeHandle").is_empty() {
        errors.required(path.at("volumeHandle"), "");
    }
    const SECRETS: [&str; 4] =
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
    for key in SECRETS {
        let Some(secret) = child(source, key) else { continue };
        for part in ["name", "namespace"] {
            if text(secret, part).is_empty() {
                errors.required(path.at(key).at(part), "");
            }
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
            PersistentVolume.validate(&json!({ "spec": spec }), &mut errors);
            assert_eq!(errors.0.first().map_or_else(String::new, ToString::to_string), expected);
        }
    }
}
