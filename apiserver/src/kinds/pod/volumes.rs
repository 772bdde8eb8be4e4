//! Volumes of a pod: each of exactly one type, and what the types ask for.

use super::super::path::{
    Path, child, entries, has, in_range, int, invalid_each, list, one_of, opt_text, range_message, required_one_of,
    required_text, text,
};
use super::claim::validate_claim_template;
use super::env::{VOLUME_FIELDS, validate_field_ref, validate_resource_field_ref};
use super::projected;
use super::{Scope, Volume};
use api::field::Errors;
use api::resource_list::quantity;
use api::{Value, names};
use std::collections::HashSet;

/// A volume type: its key, and the fields of it that must be given.
struct Type {
    key: &'static str,
    /// The fields that must be given.
    required: &'static [&'static str],
    /// What else is checked, with the volume's name.
    rule: fn(&Value, &Path, &mut Errors),
}

const fn simple(key: &'static str, required: &'static [&'static str]) -> Type {
    Type { key, required, rule: |_, _, _| {} }
}

const fn ruled(key: &'static str, rule: fn(&Value, &Path, &mut Errors)) -> Type {
    Type { key, required: &[], rule }
}

/// The types, in the order in which a second one is complained about.
const TYPES: [Type; 30] = [
    ruled("emptyDir", empty_dir),
    ruled("hostPath", host_path),
    Type { key: "gitRepo", required: &["repository"], rule: git_repo },
    Type { key: "gcePersistentDisk", required: &["pdName"], rule: partition },
    Type { key: "awsElasticBlockStore", required: &["volumeID"], rule: partition },
    Type { key: "secret", required: &["secretName"], rule: keys_to_paths },
    Type { key: "nfs", required: &["server", "path"], rule: nfs },
    Type { key: "iscsi", required: &["targetPortal"], rule: iscsi },
    simple("glusterfs", &["endpoints", "path"]),
    ruled("flocker", flocker),
    simple("persistentVolumeClaim", &["claimName"]),
    ruled("rbd", rbd),
    Type { key: "cinder", required: &["volumeID"], rule: secret_ref },
    ruled("cephfs", monitors),
    ruled("quobyte", quobyte),
    ruled("downwardAPI", downward_api),
    ruled("fc", fibre_channel),
    Type { key: "flexVolume", required: &["driver"], rule: flex },
    Type { key: "configMap", required: &["name"], rule: keys_to_paths },
    simple("azureFile", &["secretName", "shareName"]),
    simple("vsphereVolume", &["volumePath"]),
    simple("photonPersistentDisk", &["pdID"]),
    simple("portworxVolume", &["volumeID"]),
    Type { key: "azureDisk", required: &["diskName", "diskURI"], rule: azure_disk },
    ruled("storageos", storage_os),
    simple("projected", &[]),
    simple("scaleIO", &["gateway", "system", "volumeName"]),
    ruled("csi", csi),
    ruled("ephemeral", ephemeral),
    simple("image", &[]),
];

/// Whether a volume names no type at all; it becomes an `emptyDir`.
pub fn is_untyped(volume: &Value) -> bool {
    !TYPES.iter().any(|kind| has(volume, kind.key))
}

/// Checks the volumes, and fills `scope.volumes`; `pod_name` is empty in a template.
pub fn validate<'a>(spec: &'a Value, pod_name: &str, scope: &mut Scope<'a>, path: &Path, errors: &mut Errors) {
    let volumes = list(spec, "volumes");
    let created: HashSet<String> = volumes
        .iter()
        .filter(|volume| !pod_name.is_empty() && has(volume, "ephemeral"))
        .map(|volume| format!("{pod_name}-{}", text(volume, "name")))
        .collect();
    let mut names_seen = HashSet::new();
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        let before = errors.0.len();
        let name = text(volume, "name");
        validate_source(volume, name, pod_name, scope, &path, errors);
        if name.is_empty() {
            errors.required(path.at("name"), "");
        } else {
            invalid_each(errors, &path.at("name"), name, names::dns1123_label(name));
        }
        if names_seen.contains(name) {
            errors.duplicate(path.at("name"), name);
        }
        let valid = errors.0.len() == before;
        if valid {
            names_seen.insert(name);
        }
        let known = scope.volumes.get(name).is_some_and(|volume| volume.valid);
        scope.volumes.insert(name, Volume { source: volume, valid: valid || known });
        if let Some(claim) = child(volume, "persistentVolumeClaim").map(|source| text(source, "claimName"))
            && created.contains(claim)
        {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(path.at("persistentVolumeClaim.claimName"), claim, detail);
        }
    }
}

fn validate_source(volume: &Value, name: &str, pod_name: &str, scope: &Scope, path: &Path, errors: &mut Errors) {
    let mut first = true;
    for kind in &TYPES {
        let Some(source) = child(volume, kind.key) else { continue };
        // Some places have their own spelling in messages.
        if !first {
            let at = match kind.key {
                "cephfs" => "cephFS",
                "downwardAPI" => "downwarAPI",
                key => key,
            };
            errors.forbidden(path.at(at), "may not specify more than 1 volume type");
            continue;
        }
        let at = path.at(if kind.key == "gcePersistentDisk" { "persistentDisk" } else { kind.key });
        first = false;
        for key in kind.required {
            required_text(errors, source, &at, key);
        }
        (kind.rule)(source, &at, errors);
        match kind.key {
            "projected" => projected::validate(source, &scope.options, &at, errors),
            "image" => image(source, scope.is_pod, &at, errors),
            _ => {}
        }
        if kind.key == "ephemeral" && !pod_name.is_empty() && !name.is_empty() {
            let claim = format!("{pod_name}-{name}");
            for message in names::dns1123_subdomain(&claim) {
                errors.invalid(path.at("name"), name, format!("PVC name \"{claim}\": {message}"));
            }
        }
        let portal = text(source, "targetPortal");
        if kind.key == "iscsi" && has(source, "initiatorName") && name.len() + 1 + portal.len() > 64 {
            let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            errors.invalid(path.at("name"), name, detail);
        }
    }
    if first {
        errors.required(path, "must specify a volume type");
    }
}

/// Checks a source of the type `key`, in pods or elsewhere, alone.
pub fn validate_volume_source(key: &str, source: &Value, path: &Path, errors: &mut Errors) {
    let Some(kind) = TYPES.iter().find(|kind| kind.key == key) else { return };
    for key in kind.required {
        required_text(errors, source, path, key);
    }
    (kind.rule)(source, path, errors);
}

/// A file mode at `key`, where given.
pub(super) fn file_mode(source: &Value, key: &str, path: &Path, errors: &mut Errors) {
    if let Some(mode) = int(source, key).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path.at(key), mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

pub(super) fn no_backsteps(target: &str, path: &Path, errors: &mut Errors) {
    if target.split('/').any(|part| part == "..") {
        errors.invalid(path, target, "must not contain '..'");
    }
}

/// A path below the place where it is used.
pub(super) fn descending(target: &str, path: &Path, errors: &mut Errors) {
    if target.starts_with('/') {
        errors.invalid(path, target, "must be a relative path");
    }
    no_backsteps(target, path, errors);
}

/// A path below a volume whose names with two dots are its own.
pub(super) fn not_reserved(target: &str, path: &Path, errors: &mut Errors) {
    descending(target, path, errors);
    if target.starts_with("..") && !target.starts_with("../") {
        errors.invalid(path, target, "must not start with '..'");
    }
}

pub(super) fn key_to_path(item: &Value, path: &Path, errors: &mut Errors) {
    required_text(errors, item, path, "key");
    required_text(errors, item, path, "path");
    not_reserved(text(item, "path"), &path.at("path"), errors);
    file_mode(item, "mode", path, errors);
}

fn keys_to_paths(source: &Value, path: &Path, errors: &mut Errors) {
    file_mode(source, "defaultMode", path, errors);
    let items = path.at("items");
    for (i, item) in list(source, "items").iter().enumerate() {
        key_to_path(item, &items.index(i), errors);
    }
}

fn empty_dir(source: &Value, path: &Path, errors: &mut Errors) {
    if child(source, "sizeLimit").is_some_and(|limit| quantity(limit).is_none_or(|limit| limit.is_negative())) {
        errors.forbidden(path.at("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
}

fn host_path(source: &Value, path: &Path, errors: &mut Errors) {
    const TYPES: [&str; 8] =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let target = text(source, "path");
    if target.is_empty() {
        return errors.required(path.at("path"), "");
    }
    no_backsteps(target, &path.at("path"), errors);
    one_of(errors, &path.at("type"), text(source, "type"), &TYPES);
}

fn git_repo(source: &Value, path: &Path, errors: &mut Errors) {
    descending(text(source, "directory"), &path.at("directory"), errors);
}

fn partition(source: &Value, path: &Path, errors: &mut Errors) {
    // Zero means that no partition is named.
    let partition = int(source, "partition").unwrap_or_default();
    if !(0..=255).contains(&partition) {
        errors.invalid(path.at("partition"), partition, range_message(1, 255));
    }
}

fn nfs(source: &Value, path: &Path, errors: &mut Errors) {
    let target = text(source, "path");
    if !target.starts_with('/') {
        errors.invalid(path.at("path"), target, "must be an absolute path");
    }
}

fn iscsi(source: &Value, path: &Path, errors: &mut Errors) {
    let iqn = text(source, "iqn");
    if iqn.is_empty() {
        errors.required(path.at("iqn"), "");
    } else {
        iscsi_name(iqn, &path.at("iqn"), errors);
    }
    in_range(errors, &path.at("lun"), int(source, "lun").unwrap_or_default(), 0, 255);
    let chap = ["chapAuthDiscovery", "chapAuthSession"].iter().any(|key| super::super::path::flag(source, key));
    if chap && !has(source, "secretRef") {
        errors.required(path.at("secretRef"), "");
    }
    if let Some(initiator) = opt_text(source, "initiatorName") {
        iscsi_name(initiator, &path.at("initiatorname"), errors);
    }
}

fn iscsi_name(name: &str, path: &Path, errors: &mut Errors) {
    if let Some(problem) = iscsi_name_problem(name) {
        errors.invalid(path, name, problem);
    }
}

/// What is wrong with the name of an iSCSI target or initiator.
pub fn iscsi_name_problem(name: &str) -> Option<&'static str> {
    let alphanumeric = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let valid = match name.get(..3) {
        Some("iqn") => is_iqn(name),
        Some(prefix @ ("eui" | "naa")) => {
            let length = if prefix == "eui" { 16 } else { 32 };
            name.get(4..).is_some_and(|rest| alphanumeric(rest, length))
        }
        _ => return Some("must be valid format starting with iqn, eui, or naa"),
    };
    (!valid).then_some("must be valid format")
}

/// `iqn.<year>-<month>.<reversed domain>:<anything>` (RFC 3720).
fn is_iqn(name: &str) -> bool {
    let Some((head, tail)) = name.split_once(':') else { return false };
    let date = head.get(4..11).map(str::as_bytes).unwrap_or_default();
    let digits = |range: std::ops::Range<usize>| date.get(range).is_some_and(|d| d.iter().all(u8::is_ascii_digit));
    let domain = head.get(12..).unwrap_or_default();
    head.as_bytes().get(3) == Some(&b'.')
        && digits(0..4)
        && date.get(4) == Some(&b'-')
        && digits(5..7)
        && head.as_bytes().get(11) == Some(&b'.')
        && !domain.is_empty()
        && domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && !tail.is_empty()
        && !tail.contains(|c: char| ",;*&$|".contains(c) || c.is_ascii_whitespace())
}

fn flocker(source: &Value, path: &Path, errors: &mut Errors) {
    let (name, uuid) = (text(source, "datasetName"), text(source, "datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => errors.required(path, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            errors.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously")
        }
        _ => {}
    }
    if name.contains('/') {
        errors.invalid(path.at("datasetName"), name, "must not contain '/'");
    }
}

fn monitors(source: &Value, path: &Path, errors: &mut Errors) {
    if list(source, "monitors").is_empty() {
        errors.required(path.at("monitors"), "");
    }
}

fn rbd(source: &Value, path: &Path, errors: &mut Errors) {
    monitors(source, path, errors);
    required_text(errors, source, path, "image");
}

fn secret_ref(source: &Value, path: &Path, errors: &mut Errors) {
    if let Some(secret) = child(source, "secretRef") {
        required_text(errors, secret, &path.at("secretRef"), "name");
    }
}

fn quobyte(source: &Value, path: &Path, errors: &mut Errors) {
    let detail = "must be a host:port pair or multiple pairs separated by commas";
    let registry = text(source, "registry");
    if registry.is_empty() {
        errors.required(path.at("registry"), detail);
    } else if text(source, "tenant").len() >= 65 {
        errors.required(path.at("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    } else if registry.split(',').any(|pair| pair.rsplit_once(':').is_none()) {
        errors.invalid(path.at("registry"), registry, detail);
    }
    required_text(errors, source, path, "volume");
}

fn downward_api(source: &Value, path: &Path, errors: &mut Errors) {
    file_mode(source, "defaultMode", path, errors);
    for file in list(source, "items") {
        downward_api_file(file, path, errors);
    }
}

/// A file with a field of the pod in it.
pub(super) fn downward_api_file(file: &Value, path: &Path, errors: &mut Errors) {
    required_text(errors, file, path, "path");
    not_reserved(text(file, "path"), &path.at("path"), errors);
    if let Some(reference) = child(file, "fieldRef") {
        validate_field_ref(reference, &VOLUME_FIELDS, &path.at("fieldRef"), errors);
        if has(file, "resourceFieldRef") {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid(path, "resource", detail);
        }
    } else if let Some(reference) = child(file, "resourceFieldRef") {
        validate_resource_field_ref(reference, true, &path.at("resourceFieldRef"), errors);
    } else {
        errors.required(path, "one of fieldRef and resourceFieldRef is required");
    }
    file_mode(file, "mode", path, errors);
}

fn fibre_channel(source: &Value, path: &Path, errors: &mut Errors) {
    let targets = child(source, "targetWWNs").filter(|_| !list(source, "targetWWNs").is_empty());
    let ids = !list(source, "wwids").is_empty();
    let path_of_targets = path.at("targetWWNs");
    match targets {
        None if !ids => errors.required(path_of_targets, "must specify either targetWWNs or wwids, but not both"),
        Some(targets) if ids => {
            let detail = "targetWWNs and wwids can not be specified simultaneously";
            errors.invalid(path_of_targets, targets.clone(), detail);
        }
        _ => {}
    }
    if targets.is_some() {
        match int(source, "lun") {
            None => errors.required(path.at("lun"), "lun is required if targetWWNs is specified"),
            Some(lun) => in_range(errors, &path.at("lun"), lun, 0, 255),
        }
    }
}

fn flex(source: &Value, path: &Path, errors: &mut Errors) {
    let options = path.at("options");
    for (key, _) in entries(source, "options") {
        let namespace = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            errors.invalid(options.key(key), key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn azure_disk(source: &Value, path: &Path, errors: &mut Errors) {
    if let Some(mode) = opt_text(source, "cachingMode") {
        one_of(errors, &path.at("cachingMode"), mode, &["None", "ReadOnly", "ReadWrite"]);
    }
    let Some(kind) = opt_text(source, "kind") else { return };
    one_of(errors, &path.at("kind"), kind, &["Dedicated", "Managed", "Shared"]);
    let uri = text(source, "diskURI");
    let (prefix, form) = if kind == "Managed" {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    if !uri.starts_with(prefix) {
        errors.not_supported(path.at("diskURI"), uri, &[form]);
    }
}

fn storage_os(source: &Value, path: &Path, errors: &mut Errors) {
    required_text(errors, source, path, "volumeName");
    for key in ["volumeName", "volumeNamespace"] {
        let name = text(source, key);
        if !name.is_empty() {
            invalid_each(errors, &path.at(key), name, names::dns1123_label(name));
        }
    }
    secret_ref(source, path, errors);
}

fn csi(source: &Value, path: &Path, errors: &mut Errors) {
    let driver = text(source, "driver");
    let driver_path = path.at("driver");
    if driver.is_empty() {
        errors.required(driver_path, "");
    } else {
        if driver.len() > 63 {
            errors.too_long(driver_path, 63);
        }
        invalid_each(errors, &driver_path, driver, names::dns1123_subdomain(&driver.to_lowercase()));
    }
    if let Some(secret) = child(source, "nodePublishSecretRef") {
        let name = text(secret, "name");
        if name.is_empty() {
            errors.required(path.at("nodePublishSecretRef.name"), "");
        } else {
            invalid_each(errors, &path.at("name"), name, names::dns1123_subdomain(name));
        }
    }
}

fn image(source: &Value, is_pod: bool, path: &Path, errors: &mut Errors) {
    if is_pod {
        required_text(errors, source, path, "reference");
    }
    let policy = text(source, "pullPolicy");
    required_one_of(errors, &path.at("pullPolicy"), policy, &["Always", "IfNotPresent", "Never"]);
}

fn ephemeral(source: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("volumeClaimTemplate");
    match child(source, "volumeClaimTemplate") {
        Some(template) => validate_claim_template(template, &path, errors),
        None => errors.required(path, ""),
    }
}
