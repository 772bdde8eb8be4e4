//! Where a container mounts the pod's volumes and block devices.

use super::super::path::{Path, descend, flag, has, list, one_of, opt_text, required_text, text};
use super::Scope;
use super::volumes::{descending, no_backsteps};
use api::Value;
use api::field::Errors;
use std::collections::{HashMap, HashSet};

/// Checks `volumeMounts` and `volumeDevices` of a container against the pod's volumes.
pub fn validate(container: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    let (mounts, devices) = (list(container, "volumeMounts"), list(container, "volumeDevices"));
    if !mounts.is_empty() {
        validate_mounts(mounts, &Taken::new(devices, "devicePath"), container, scope, &path.at("volumeMounts"), errors);
    }
    if !devices.is_empty() {
        validate_devices(devices, &Taken::new(mounts, "mountPath"), scope, &path.at("volumeDevices"), errors);
    }
}

/// The volumes and paths that the container's other list uses.
struct Taken<'a> {
    names: HashSet<&'a str>,
    paths: HashSet<&'a str>,
}

impl<'a> Taken<'a> {
    fn new(items: &'a [Value], path_key: &str) -> Taken<'a> {
        // Of several uses of a volume, only the last one's path counts.
        let uses: HashMap<&str, &str> = items.iter().map(|item| (text(item, "name"), text(item, path_key))).collect();
        Taken { names: uses.keys().copied().collect(), paths: uses.values().copied().collect() }
    }
}

fn validate_mounts(
    mounts: &[Value],
    taken: &Taken,
    container: &Value,
    scope: &Scope,
    list_path: &Path,
    errors: &mut Errors,
) {
    let mut seen = HashSet::new();
    for (i, mount) in mounts.iter().enumerate() {
        let path = list_path.index(i);
        let (name, target) = (text(mount, "name"), text(mount, "mountPath"));
        required_text(errors, mount, &path, "name");
        if !scope.volumes.get(name).is_some_and(|volume| volume.valid) {
            errors.not_found(path.at("name"), name);
        }
        required_text(errors, mount, &path, "mountPath");
        if !seen.insert(target) {
            errors.invalid(path.at("mountPath"), target, "must be unique");
        }
        if taken.names.contains(name) {
            errors.invalid(path.at("name"), name, "must not already exist in volumeDevices");
        }
        if taken.paths.contains(target) {
            errors.invalid(path.at("mountPath"), target, "must not already exist as a path in volumeDevices");
        }
        let (sub, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        descending(sub, &list_path.at("subPath"), errors);
        if !expression.is_empty() && !sub.is_empty() {
            errors.invalid(path.at("subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
        }
        descending(expression, &list_path.at("subPathExpr"), errors);
        validate_propagation(mount, container, list_path, errors);
    }
}

fn validate_propagation(mount: &Value, container: &Value, path: &Path, errors: &mut Errors) {
    let propagation = opt_text(mount, "mountPropagation");
    if let Some(mode) = propagation {
        let path = path.at("mountPropagation");
        one_of(errors, &path, mode, &["Bidirectional", "HostToContainer", "None"]);
        let privileged = descend(container, &["securityContext", "privileged"]).and_then(Value::as_bool) == Some(true);
        if mode == "Bidirectional" && !privileged {
            errors.forbidden(path, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
    let path = path.at("recursiveReadOnly");
    match opt_text(mount, "recursiveReadOnly") {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !flag(mount, "readOnly") {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            if propagation.is_some_and(|mode| mode != "None") {
                errors.forbidden(path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => errors.not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn validate_devices(devices: &[Value], taken: &Taken, scope: &Scope, list_path: &Path, errors: &mut Errors) {
    let (mut seen_names, mut seen_paths) = (HashSet::new(), HashSet::new());
    for (i, device) in devices.iter().enumerate() {
        let path = list_path.index(i);
        let (name, target) = (text(device, "name"), text(device, "devicePath"));
        required_text(errors, device, &path, "name");
        if seen_names.contains(name) {
            errors.invalid(path.at("name"), name, "must be unique");
        }
        match scope.volumes.get(name).filter(|volume| volume.valid) {
            None => errors.not_found(path.at("name"), name),
            Some(volume) if !has(volume.source, "persistentVolumeClaim") && !has(volume.source, "ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(path.at("name"), name, detail);
            }
            Some(_) => {}
        }
        required_text(errors, device, &path, "devicePath");
        if seen_paths.contains(target) {
            errors.invalid(path.at("devicePath"), target, "must be unique");
        }
        let mut backsteps = Errors::new();
        no_backsteps(target, &path, &mut backsteps);
        if backsteps.is_empty() {
            seen_paths.insert(target);
        } else {
            errors.invalid(path.at("devicePath"), target, "can not contain backsteps ('..')");
        }
        if taken.names.contains(name) {
            errors.invalid(path.at("name"), name, "must not already exist in volumeMounts");
        }
        if taken.paths.contains(target) {
            errors.invalid(path.at("devicePath"), target, "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            seen_names.insert(name);
        }
    }
}
