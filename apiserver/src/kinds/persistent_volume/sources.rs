//! Where persistent volumes come from: one source each, and what every kind of source asks for.

use super::super::csi_driver::validate_driver_name;
use super::super::path::{Path, child, flag, has, in_range, int, invalid_each, list, opt_text, required_text, text};
use super::super::pod::{iscsi_name_problem, validate_volume_source};
use api::field::Errors;
use api::{Map, Value, document, names};

type Rule = fn(&Value, &str, &Path, &mut Errors);

/// A kind of source: its key, where its own errors are said to be, the fields that must be given, and what else is checked,
/// with the volume's name.
struct Source {
    key: &'static str,
    place: &'static str,
    required: &'static [&'static str],
    rule: Rule,
}

const fn source(key: &'static str, required: &'static [&'static str], rule: Rule) -> Source {
    Source { key, place: key, required, rule }
}

/// A source that pods have alike.
macro_rules! as_in_pods {
    ($key:literal, $place:literal) => {
        Source {
            key: $key,
            place: $place,
            required: &[],
            rule: |source, _, path, errors| validate_volume_source($key, source, path, errors),
        }
    };
    ($key:literal) => {
        as_in_pods!($key, $key)
    };
}

/// In the order in which a second one is complained about.
const SOURCES: [Source; 22] = [
    as_in_pods!("hostPath"),
    as_in_pods!("gcePersistentDisk", "persistentDisk"),
    as_in_pods!("awsElasticBlockStore"),
    source("glusterfs", &["endpoints", "path"], glusterfs),
    as_in_pods!("flocker"),
    as_in_pods!("nfs"),
    as_in_pods!("rbd"),
    as_in_pods!("quobyte"),
    as_in_pods!("cephfs"),
    source("iscsi", &["targetPortal"], iscsi),
    source("cinder", &["volumeID"], secret_ref),
    as_in_pods!("fc"),
    as_in_pods!("flexVolume"),
    source("azureFile", &["secretName", "shareName"], azure_file),
    as_in_pods!("vsphereVolume"),
    as_in_pods!("photonPersistentDisk"),
    as_in_pods!("portworxVolume"),
    as_in_pods!("azureDisk"),
    as_in_pods!("scaleIO"),
    source("local", &[], local),
    source("storageos", &[], storage_os),
    source("csi", &[], |source, _, path, errors| validate_csi(source, path, errors)),
];

/// The source of a specification, alone.
pub fn of(spec: &Value) -> Value {
    let members = SOURCES.iter().filter_map(|source| Some((source.key.to_owned(), child(spec, source.key)?.clone())));
    Value::Object(members.collect::<Map>())
}

/// Checks that there is one source, and what it says; `placed` when it is said on which nodes the volume is.
pub fn validate(spec: &Value, name: &str, placed: bool, path: &Path, errors: &mut Errors) {
    let mut first = true;
    for source in &SOURCES {
        let Some(value) = child(spec, source.key) else { continue };
        // A flexVolume is never too many.
        if !first && source.key != "flexVolume" {
            let place = if source.key == "cephfs" { "cephFS" } else { source.key };
            errors.forbidden(path.at(place), "may not specify more than 1 volume type");
            continue;
        }
        first = false;
        let at = path.at(source.place);
        for key in source.required {
            required_text(errors, value, &at, key);
        }
        (source.rule)(value, name, &at, errors);
        if source.key == "local" && !placed {
            errors.required(path.at("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if first {
        errors.required(path, "must specify a volume type");
    }
}

fn glusterfs(source: &Value, _: &str, path: &Path, errors: &mut Errors) {
    let at = path.at("endpointsNamespace");
    match opt_text(source, "endpointsNamespace") {
        None => {}
        Some("") => errors.invalid(at, "", "if the endpointnamespace is set, it must be a valid namespace name"),
        Some(namespace) => invalid_each(errors, &at, namespace, names::dns1123_label(namespace)),
    }
}

fn iscsi(source: &Value, name: &str, path: &Path, errors: &mut Errors) {
    const VALID: &str = "must be valid format";
    let portal = text(source, "targetPortal");
    if has(source, "initiatorName") && name.len() + 1 + portal.len() > 64 {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.invalid(path.at("targetportal"), portal, detail);
    }
    match text(source, "iqn") {
        "" => errors.required(path.at("iqn"), ""),
        iqn if iscsi_name_problem(iqn).is_some() => errors.invalid(path.at("iqn"), iqn, VALID),
        _ => {}
    }
    in_range(errors, &path.at("lun"), int(source, "lun").unwrap_or_default(), 0, 255);
    let chap = flag(source, "chapAuthDiscovery") || flag(source, "chapAuthSession");
    match child(source, "secretRef") {
        None if chap => errors.required(path.at("secretRef"), ""),
        None => {}
        Some(secret) => required_text(errors, secret, &path.at("secretRef"), "name"),
    }
    if let Some(initiator) = opt_text(source, "initiatorName").filter(|name| iscsi_name_problem(name).is_some()) {
        errors.invalid(path.at("initiatorname"), initiator, VALID);
    }
}

/// A secret of the source, which is in some namespace.
fn secret_ref(source: &Value, _: &str, path: &Path, errors: &mut Errors) {
    if let Some(secret) = child(source, "secretRef") {
        let path = path.at("secretRef");
        required_text(errors, secret, &path, "name");
        required_text(errors, secret, &path, "namespace");
    }
}

fn azure_file(source: &Value, _: &str, path: &Path, errors: &mut Errors) {
    if opt_text(source, "secretNamespace") == Some("") {
        errors.required(path.at("secretNamespace"), "");
    }
}

fn local(source: &Value, _: &str, path: &Path, errors: &mut Errors) {
    let target = text(source, "path");
    if target.is_empty() {
        errors.required(path.at("path"), "");
    } else if target.split('/').any(|part| part == "..") {
        errors.invalid(path.at("path"), target, "must not contain '..'");
    }
}

fn storage_os(source: &Value, _: &str, path: &Path, errors: &mut Errors) {
    validate_volume_source("storageos", source, path, errors);
    if let Some(secret) = child(source, "secretRef") {
        required_text(errors, secret, &path.at("secretRef"), "namespace");
    }
}

/// Checks a volume of a CSI driver.
fn validate_csi(source: &Value, path: &Path, errors: &mut Errors) {
    validate_driver_name(errors, &path.at("driver"), text(source, "driver"));
    required_text(errors, source, path, "volumeHandle");
    const SECRETS: [&str; 4] =
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
    for key in SECRETS {
        let Some(secret) = child(source, key) else { continue };
        let path = path.at(key);
        match text(secret, "name") {
            "" => errors.required(path.at("name"), ""),
            name => invalid_each(errors, &path.at("name"), name, names::dns1123_subdomain(name)),
        }
        match text(secret, "namespace") {
            "" => errors.required(path.at("namespace"), ""),
            namespace => invalid_each(errors, &path.at("namespace"), namespace, names::dns1123_label(namespace)),
        }
    }
}

/// Sources that take mount options by annotation; for others upstream refuses the annotation.
const WITH_MOUNT_OPTIONS: [&str; 13] = [
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

/// Mount options in the annotation of old go with some sources only.
pub fn validate_mount_options(volume: &Value, spec: &Value, errors: &mut Errors) {
    const ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";
    if document::annotation(volume, ANNOTATION).is_some() && !WITH_MOUNT_OPTIONS.iter().any(|key| has(spec, key)) {
        let path = format!("metadata.annotations.{ANNOTATION}");
        errors.forbidden(path, "may not specify mount options for this volume type");
    }
}

/// Warnings about sources that no longer work.
pub fn warnings(spec: &Value) -> Vec<String> {
    const GONE: [(&str, &str, &str); 6] = [
        ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    let found = GONE.iter().filter(|(key, ..)| has(spec, key));
    found.map(|(_, place, message)| format!("spec.{place}: {message}")).collect()
}

/// The terms of the nodes that a volume can be used on.
pub fn node_terms(spec: &Value) -> &[Value] {
    let required = super::super::path::descend(spec, &["nodeAffinity", "required"]);
    required.map(|required| list(required, "nodeSelectorTerms")).unwrap_or_default()
}
