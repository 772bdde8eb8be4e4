//! Environment variables of containers, and references to fields of the pod.

use super::super::path::{Path, child, descend, has, invalid_each, list, one_of, text};
use super::Scope;
use super::resources::validate_divisor;
use super::volumes::no_backsteps;
use api::field::Errors;
use api::{Value, names};

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
pub(super) const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// Checks `env` and `envFrom` of a container.
pub fn validate(container: &Value, path: &Path, errors: &mut Errors) {
    let env = path.at("env");
    for (i, variable) in list(container, "env").iter().enumerate() {
        let path = env.index(i);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.required(path.at("name"), "");
        } else {
            invalid_each(errors, &path.at("name"), name, names::env_var_name(name));
        }
        if let Some(source) = child(variable, "valueFrom") {
            validate_value_from(source, text(variable, "value"), &path.at("valueFrom"), errors);
        }
    }
    let env_from = path.at("envFrom");
    for (i, source) in list(container, "envFrom").iter().enumerate() {
        validate_env_from(source, &env_from, i, errors);
    }
}

fn validate_env_from(source: &Value, list_path: &Path, i: usize, errors: &mut Errors) {
    let path = list_path.index(i);
    let prefix = text(source, "prefix");
    if !prefix.is_empty() {
        invalid_each(errors, &path.at("prefix"), prefix, names::env_var_name(prefix));
    }
    let mut sources = 0;
    for key in ["configMapRef", "secretRef"] {
        let Some(reference) = child(source, key) else { continue };
        sources += 1;
        let path = path.at(key);
        let name = text(reference, "name");
        if name.is_empty() {
            errors.required(path.at("name"), "");
        } else {
            // Taken as the prefix of a name: a trailing dash is allowed here.
            let whole = name.trim_end_matches('-');
            for message in names::dns1123_subdomain(whole) {
                errors.invalid(path.at("name"), name, message);
            }
        }
    }
    match sources {
        0 => errors.invalid(list_path, "", "must specify one of: `configMapRef` or `secretRef`"),
        1 => {}
        _ => errors.invalid(list_path, "", "may not have more than one field specified at a time"),
    }
}

fn validate_value_from(source: &Value, value: &str, path: &Path, errors: &mut Errors) {
    for key in SOURCES {
        let Some(reference) = child(source, key) else { continue };
        let path = path.at(key);
        match key {
            "fieldRef" => validate_field_ref(reference, &ENV_FIELDS, &path, errors),
            "resourceFieldRef" => validate_resource_field_ref(reference, false, &path, errors),
            "fileKeyRef" => validate_file_key(reference, &path, errors),
            _ => validate_key_selector(reference, &path, errors),
        }
    }
    let sources = SOURCES.iter().filter(|key| has(source, key)).count();
    if sources == 0 {
        let detail =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid(path, "", detail);
    } else if !value.is_empty() {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

fn validate_key_selector(reference: &Value, path: &Path, errors: &mut Errors) {
    let (name, key) = (text(reference, "name"), text(reference, "key"));
    invalid_each(errors, &path.at("name"), name, names::dns1123_subdomain(name));
    if key.is_empty() {
        errors.required(path.at("key"), "");
    } else {
        invalid_each(errors, &path.at("key"), key, names::config_map_key(key));
    }
}

fn validate_file_key(reference: &Value, path: &Path, errors: &mut Errors) {
    let (key, volume, file) = (text(reference, "key"), text(reference, "volumeName"), text(reference, "path"));
    if key.is_empty() {
        errors.required(path.at("key"), "");
    } else {
        invalid_each(errors, &path.at("key"), key, names::env_var_name(key));
    }
    if volume.is_empty() {
        errors.required(path.at("volumeName"), "");
    } else {
        invalid_each(errors, &path.at("volumeName"), volume, names::dns1123_label(volume));
    }
    if file.is_empty() {
        errors.required(path.at("path"), "");
    } else {
        no_backsteps(file, &path.at("path"), errors);
    }
}

/// Splits `metadata.labels['app']` into the map's path and the key.
fn split_subscript(field: &str) -> Option<(&str, &str)> {
    let (map, key) = field.strip_suffix("']")?.split_once("['")?;
    (!map.is_empty()).then_some((map, key))
}

/// A reference to a field of the pod itself.
pub(super) fn validate_field_ref(reference: &Value, supported: &[&str], path: &Path, errors: &mut Errors) {
    const KNOWN: [&str; 14] = [
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "spec.schedulerName",
        "status.phase",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    let (version, field) = (text(reference, "apiVersion"), text(reference, "fieldPath"));
    if version.is_empty() {
        return errors.required(path.at("apiVersion"), "");
    }
    if field.is_empty() {
        return errors.required(path.at("fieldPath"), "");
    }
    let mut bad =
        |why: String| errors.invalid(path.at("fieldPath"), field, format!("error converting fieldPath: {why}"));
    if version != "v1" {
        return bad(format!("unsupported pod version: {version}"));
    }
    match split_subscript(field) {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            invalid_each(errors, path, &key, names::qualified_name(&key));
        }
        Some(("metadata.labels", key)) => invalid_each(errors, path, key, names::qualified_name(key)),
        Some(_) => bad(format!("field label does not support subscript: {field}")),
        None => {
            let field = if field == "spec.host" { "spec.nodeName" } else { field };
            if !KNOWN.contains(&field) {
                return bad(format!("field label not supported: {field}"));
            }
            one_of(errors, &path.at("fieldPath"), field, supported);
        }
    }
}

/// A reference to a request or limit of a container; in a volume it must name the container.
pub(super) fn validate_resource_field_ref(reference: &Value, in_volume: bool, path: &Path, errors: &mut Errors) {
    let resource = text(reference, "resource");
    if in_volume && text(reference, "containerName").is_empty() {
        errors.required(path.at("containerName"), "");
    } else if resource.is_empty() {
        errors.required(path.at("resource"), "");
    } else if !resource.starts_with("requests.hugepages-") && !resource.starts_with("limits.hugepages-") {
        one_of(errors, &path.at("resource"), resource, &RESOURCES);
    }
    validate_divisor(reference, path, errors);
}

/// `fileKeyRef` reads from an `emptyDir` volume of the same pod.
pub fn validate_file_key_volumes(container: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    let env = path.at("env");
    for (i, variable) in list(container, "env").iter().enumerate() {
        let Some(reference) = descend(variable, &["valueFrom", "fileKeyRef"]) else { continue };
        let path = env.index(i);
        let path = path.at("valueFrom.fileKeyRef.volumeName");
        let name = text(reference, "volumeName");
        match scope.volumes.get(name) {
            None => errors.not_found(path, name),
            Some(volume) if !has(volume.source, "emptyDir") => {
                errors.invalid(path, name, "referenced volume must be of type emptyDir");
            }
            Some(_) => {}
        }
    }
}
