//! Templates of pods, as workloads hold them.

use super::super::labels::{is_empty, matches, validate_annotations, validate_labels};
use super::super::path::{Path, child, descend, has, list, shown, text};
use super::{Owner, annotations, spec};
use api::document;
use api::field::Errors;
use api::{Map, Value};

/// Checks a `PodTemplateSpec`.
pub fn validate(template: &Value, owner: &Owner, path: &Path, errors: &mut Errors) {
    let empty = Value::Object(Map::new());
    if let Some(metadata) = child(template, "metadata") {
        validate_labels(metadata, path, "labels", errors);
        validate_annotations(metadata, path, errors);
        annotations::validate(template, owner.old, &path.at("annotations"), errors);
    }
    let at = path.at("spec");
    let spec = child(template, "spec").unwrap_or(&empty);
    spec::validate(spec, owner, &at, errors);
    annotations::validate_match_fields(template, &at, errors);
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.forbidden(at.at("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Checks the template of a workload whose pods run for ever: selected by `selector` (without one nothing is), and always
/// restarted.
pub fn validate_replicated(
    workload: &str,
    template: &Value,
    selector: Option<&Value>,
    owner: &Owner,
    path: &Path,
    errors: &mut Errors,
) {
    if !selector.is_some_and(is_empty) {
        validate_selected(template, selector, path, errors);
    }
    validate(template, owner, path, errors);
    validate_always(workload, template, path, errors);
}

/// Pods of the template must be selected.
pub fn validate_selected(template: &Value, selector: Option<&Value>, path: &Path, errors: &mut Errors) {
    if matches(selector, document::labels(template)) == Some(false) {
        let labels = shown(descend(template, &["metadata", "labels"]));
        errors.invalid(path.at("metadata.labels"), labels, "`selector` does not match template `labels`");
    }
}

/// Pods of the template restart always, and without a deadline.
pub fn validate_always(workload: &str, template: &Value, path: &Path, errors: &mut Errors) {
    let spec = shown(None);
    let spec = child(template, "spec").unwrap_or(&spec);
    let at = path.at("spec");
    let restart = text(spec, "restartPolicy");
    if restart != "Always" {
        errors.not_supported(at.at("restartPolicy"), restart, &["Always"]);
    }
    if has(spec, "activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {workload} is not Supported");
        errors.forbidden(at.at("activeDeadlineSeconds"), detail);
    }
}
