//! Templates of PersistentVolumeClaims: in ephemeral volumes and in StatefulSets.

use super::super::labels::{validate_annotations, validate_labels, validate_selector};
use super::super::path::{Path, child, descend, has, invalid_each, one_of, opt_text, required_text, text, texts};
use super::resources::{quantity, validate_quantity};
use api::field::Errors;
use api::{Map, Value, names};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Checks the `volumeClaimTemplate` of an ephemeral volume: labels, annotations and the claim's specification.
pub fn validate_claim_template(template: &Value, path: &Path, errors: &mut Errors) {
    if let Some(metadata) = child(template, "metadata") {
        let path = path.at("metadata");
        validate_annotations(metadata, &path, errors);
        validate_labels(metadata, &path, "labels", errors);
        for (key, value) in metadata.as_object().into_iter().flatten() {
            let set = !value.is_null() && value.as_str() != Some("");
            if set && key != "labels" && key != "annotations" {
                errors.forbidden(path.at(key), "cannot be set");
            }
        }
    }
    let empty = Value::Null;
    validate_claim_spec(child(template, "spec").unwrap_or(&empty), &path.at("spec"), errors);
}

/// Checks the specification of a new claim.
pub fn validate_claim_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let modes = path.at("accessModes");
    if texts(spec, "accessModes").next().is_none() {
        errors.required(modes, "at least 1 access mode is required");
    }
    if let Some(selector) = child(spec, "selector") {
        validate_selector(selector, &path.at("selector"), errors);
    }
    for mode in texts(spec, "accessModes") {
        one_of(errors, &modes, mode, &ACCESS_MODES);
    }
    let single = texts(spec, "accessModes").any(|mode| mode == "ReadWriteOncePod");
    let others = texts(spec, "accessModes").any(|mode| mode != "ReadWriteOncePod" && ACCESS_MODES.contains(&mode));
    if single && others {
        errors.forbidden(modes, "may not use ReadWriteOncePod with other access modes");
    }
    validate_storage(spec, path, errors);
    for key in ["storageClassName", "volumeAttributesClassName"] {
        if let Some(name) = opt_text(spec, key).filter(|name| !name.is_empty()) {
            invalid_each(errors, &path.at(key), name, names::dns1123_subdomain(name));
        }
    }
    if let Some(mode) = opt_text(spec, "volumeMode") {
        one_of(errors, &path.at("volumeMode"), mode, &["Block", "Filesystem"]);
    }
    validate_data_sources(spec, path, errors);
}

fn validate_storage(spec: &Value, path: &Path, errors: &mut Errors) {
    let resources = path.at("resources");
    let path = resources.key("storage");
    let Some(storage) = descend(spec, &["resources", "requests", "storage"]) else {
        return errors.required(path, "");
    };
    match quantity(storage).filter(|storage| storage.is_zero() || storage.is_negative()) {
        Some(storage) => errors.invalid(path, storage.to_string(), "must be greater than zero"),
        None => validate_quantity("storage", storage, &path, errors),
    }
}

fn validate_data_sources(spec: &Value, path: &Path, errors: &mut Errors) {
    let (source, reference) = (child(spec, "dataSource"), child(spec, "dataSourceRef"));
    for (key, source) in [("dataSource", source), ("dataSourceRef", reference)] {
        let Some(source) = source else { continue };
        let path = path.at(key);
        required_text(errors, source, &path, "name");
        required_text(errors, source, &path, "kind");
        let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
        if group.is_empty() && kind != "PersistentVolumeClaim" {
            errors.invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
        }
        if !group.is_empty() {
            invalid_each(errors, &path.at("apiGroup"), group, names::dns1123_subdomain(group));
        }
    }
    let (Some(source), Some(reference)) = (source, reference) else { return };
    // Upstream prints the path of the other field, which it has no text for.
    let at = Value::Object(Map::new());
    let same = ["apiGroup", "kind", "name"].iter().all(|key| text(source, key) == text(reference, key));
    if has(reference, "namespace") && !text(reference, "namespace").is_empty() {
        errors.invalid(path, at, "may not be specified when dataSourceRef.namespace is specified");
    } else if !same {
        errors.invalid(path, at, "must match dataSourceRef");
    }
}
