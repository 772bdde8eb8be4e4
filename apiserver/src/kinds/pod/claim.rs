//! Templates of PersistentVolumeClaims: in ephemeral volumes and in StatefulSets.

use super::super::labels::{validate_selector, validate_template_metadata};
use super::super::path::{Path, child, descend, has, invalid_each, one_of, opt_text, required_text, text, texts};
use super::resources::validate_quantity;
use api::field::Errors;
use api::resource_list::quantity;
use api::{Value, names};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Checks the `volumeClaimTemplate` of an ephemeral volume: labels, annotations and the claim's specification.
pub fn validate_claim_template(template: &Value, path: &Path, errors: &mut Errors) {
    if let Some(metadata) = child(template, "metadata") {
        validate_template_metadata(metadata, &path.at("metadata"), errors);
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
    validate_class(spec, "storageClassName", path, errors);
    if let Some(mode) = opt_text(spec, "volumeMode") {
        one_of(errors, &path.at("volumeMode"), mode, &["Block", "Filesystem"]);
    }
    validate_data_sources(spec, path, errors);
    validate_class(spec, "volumeAttributesClassName", path, errors);
}

fn validate_class(spec: &Value, key: &str, path: &Path, errors: &mut Errors) {
    if let Some(name) = opt_text(spec, key).filter(|name| !name.is_empty()) {
        invalid_each(errors, &path.at(key), name, names::dns1123_subdomain(name));
    }
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
        let namespace = text(source, "namespace");
        if !namespace.is_empty() {
            invalid_each(errors, &path.at("namespace"), namespace, names::dns1123_label(namespace));
        }
    }
    let (Some(source), Some(reference)) = (source, reference) else { return };
    // The message has a path where a value belongs; it prints as an empty structure.
    let mut invalid = |detail| errors.invalid_printed(path, "{}".to_owned(), detail);
    let same = ["apiGroup", "kind", "name"].iter().all(|key| text(source, key) == text(reference, key));
    if has(reference, "namespace") && !text(reference, "namespace").is_empty() {
        invalid("may not be specified when dataSourceRef.namespace is specified");
    } else if !same {
        invalid("must match dataSourceRef");
    }
}
