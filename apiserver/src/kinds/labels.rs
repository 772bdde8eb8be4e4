//! Labels, annotations and label selectors inside other objects: pod templates, selectors of workloads.

use super::internal::compact;
use super::path::{Path, child, entries, invalid_each, list, text, texts};
use api::field::Errors;
use api::selector::Selector;
use api::{Map, Value, names};

/// All annotations of an object together may take this many bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Checks a key of labels, or of anything that is named like one.
pub fn validate_key(key: &str, path: &Path, errors: &mut Errors) {
    invalid_each(errors, path, key, names::qualified_name(key));
}

/// Checks the labels at `key` of `object`.
pub fn validate_labels(object: &Value, path: &Path, key: &str, errors: &mut Errors) {
    let path = path.at(key);
    for (key, value) in entries(object, key) {
        validate_key(key, &path, errors);
        let value = value.as_str().unwrap_or_default();
        invalid_each(errors, &path, value, names::label_value(value));
    }
}

/// Checks the annotations of a metadata object.
pub fn validate_annotations(metadata: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("annotations");
    let mut size = 0;
    for (key, value) in entries(metadata, "annotations") {
        for message in names::qualified_name(&key.to_lowercase()) {
            errors.invalid(path, key, message);
        }
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > ANNOTATIONS_LIMIT {
        errors.too_long(path, ANNOTATIONS_LIMIT);
    }
}

/// Checks the metadata in a template: labels and annotations, nothing else.
pub fn validate_template_metadata(metadata: &Value, path: &Path, errors: &mut Errors) {
    // `generation` is the only number that is there even where nobody set it.
    const OTHERS: [&str; 13] = [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ];
    validate_annotations(metadata, path, errors);
    validate_labels(metadata, path, "labels", errors);
    for key in OTHERS {
        let is_set = |value: &Value| value != "" && !(key == "generation" && value == 0);
        if child(metadata, key).is_some_and(is_set) {
            errors.forbidden(path.at(if key == "uid" { "uID" } else { key }), "cannot be set");
        }
    }
}

/// Checks a `metav1.LabelSelector`.
pub fn validate_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    validate_selector_values(selector, true, path, errors);
}

/// Checks a selector that replaces `old`: where that had expressions with values that no label can have, they may stay.
pub fn validate_changed_selector(selector: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    validate_selector_values(selector, !old.is_some_and(has_invalid_value), path, errors);
}

fn has_invalid_value(selector: &Value) -> bool {
    let mut values = list(selector, "matchExpressions").iter().flat_map(|requirement| texts(requirement, "values"));
    values.any(|value| !names::label_value(value).is_empty())
}

/// Like [`validate_selector`]; the values of requirements are checked where `strict_values`.
pub fn validate_selector_values(selector: &Value, strict_values: bool, path: &Path, errors: &mut Errors) {
    validate_labels(selector, path, "matchLabels", errors);
    let expressions = path.at("matchExpressions");
    for (i, requirement) in list(selector, "matchExpressions").iter().enumerate() {
        validate_requirement(requirement, strict_values, &expressions.index(i), errors);
    }
}

fn validate_requirement(requirement: &Value, strict_values: bool, path: &Path, errors: &mut Errors) {
    let values = list(requirement, "values");
    match text(requirement, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(path.at("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(path.at("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid(path.at("operator"), other, "not a valid selector operator"),
    }
    validate_key(text(requirement, "key"), &path.at("key"), errors);
    let values = path.at("values");
    for (i, value) in texts(requirement, "values").enumerate().filter(|_| strict_values) {
        invalid_each(errors, &values.index(i), value, names::label_value(value));
    }
}

/// A selector that is wrong as a whole.
pub fn invalid_selector(selector: &Value, path: impl Into<String>, detail: &str, errors: &mut Errors) {
    errors.invalid_printed(path, compact("LabelSelector", selector), detail);
}

/// True for a selector that selects everything: without any requirement.
pub fn is_empty(selector: &Value) -> bool {
    entries(selector, "matchLabels").next().is_none() && list(selector, "matchExpressions").is_empty()
}

/// Whether a `metav1.LabelSelector` selects an object with these labels; `None` where the selector is malformed.
pub fn matches(selector: Option<&Value>, labels: Option<&Map>) -> Option<bool> {
    Some(Selector::from_object(selector).ok()?.matches_labels(labels))
}
