//! Annotations that say something about a pod: mirrors of static pods, deletion cost, and security profiles from the
//! time before they were fields.

use super::super::path::{Path, child, descend, entries, opt_text, text};
use super::affinity::validate_tolerations;
use super::containers::visit;
use super::volumes::descending;
use api::Value;
use api::document;
use api::field::Errors;
use std::collections::HashSet;

pub const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The `(key, value)` annotations of a pod or template.
fn annotations(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    child(object, "metadata")
        .into_iter()
        .flat_map(|metadata| entries(metadata, "annotations"))
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}

pub fn is_mirror(pod: &Value) -> bool {
    document::annotation(pod, MIRROR).is_some()
}

/// Checks the annotations of a pod or template that mean something to Kubernetes; `path` is that of the annotations.
/// `old` is what the object replaces.
pub fn validate(object: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let old_cost = old.and_then(|old| document::annotation(old, DELETION_COST));
    let any_cost = old_cost.is_some_and(|cost| !is_deletion_cost(cost));
    let mut containers = None;
    for (key, value) in annotations(object) {
        match key {
            MIRROR if document::get_str(object, "spec.nodeName").is_empty() => {
                let detail = "must set spec.nodeName if mirror pod annotation is set";
                errors.invalid(path.key(key), value, detail);
            }
            TOLERATIONS if !value.is_empty() => match serde_json::from_str::<Vec<Value>>(value) {
                Ok(tolerations) => validate_tolerations(&tolerations, false, &path.at(key), errors),
                Err(_) => errors.invalid(path, key, "unexpected end of JSON input"),
            },
            DELETION_COST if !is_deletion_cost(value) && !any_cost => {
                errors.invalid(path.key(key), value, "must be a 32bit integer");
            }
            SECCOMP_POD => validate_seccomp(value, &path.at(key), errors),
            _ if key.starts_with(SECCOMP_CONTAINER) => validate_seccomp(value, &path.at(key), errors),
            _ => {
                if let Some(container) = key.strip_prefix(APP_ARMOR) {
                    let containers = containers.get_or_insert_with(|| container_names(object));
                    if !containers.contains(container) {
                        errors.invalid(path.key(key), container, "container not found");
                    }
                    validate_app_armor(value, &path.key(key), errors);
                }
            }
        }
    }
}

/// A 32-bit integer without plus sign or leading zeros.
fn is_deletion_cost(value: &str) -> bool {
    (value == "0" || value.starts_with(|c: char| matches!(c, '-' | '1'..='9'))) && value.parse::<i32>().is_ok()
}

fn validate_seccomp(profile: &str, path: &Path, errors: &mut Errors) {
    match profile {
        "runtime/default" | "docker/default" | "unconfined" => {}
        _ => match profile.strip_prefix("localhost/") {
            Some(file) => descending(file, path, errors),
            None => errors.invalid(path, profile, "must be a valid seccomp profile"),
        },
    }
}

fn container_names(object: &Value) -> HashSet<&str> {
    let mut names = HashSet::new();
    if let Some(spec) = child(object, "spec") {
        visit(spec, &Path::root("spec"), |container, _| {
            names.insert(text(container, "name"));
        });
    }
    names
}

fn validate_app_armor(profile: &str, path: &Path, errors: &mut Errors) {
    if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
        errors.invalid(path, profile, format!("invalid AppArmor profile name: \"{profile}\""));
    }
}

/// Where both an annotation and a field name a profile, they must agree. Checked when a pod is made; `path` is that
/// of the specification.
pub fn validate_match_fields(object: &Value, path: &Path, errors: &mut Errors) {
    let Some(annotations) = descend(object, &["metadata", "annotations"]) else { return };
    let Some(spec) = child(object, "spec") else { return };
    let context = child(spec, "securityContext");
    let profile = |context: Option<&'_ Value>, key: &str| context.and_then(|c| child(c, key)).cloned();
    if let (Some(annotation), Some(profile)) = (opt_text(annotations, SECCOMP_POD), profile(context, "seccompProfile"))
    {
        validate_match("seccomp", annotation, &profile, &path.at("securityContext.seccompProfile"), errors);
    }
    let of_pod = profile(context, "appArmorProfile");
    let is_windows = descend(spec, &["os", "name"]).and_then(Value::as_str) == Some("windows");
    visit(spec, path, |container, path| {
        let (name, context) = (text(container, "name"), child(container, "securityContext"));
        if let Some(annotation) = opt_text(annotations, &format!("{SECCOMP_CONTAINER}{name}"))
            && let Some(profile) = profile(context, "seccompProfile")
        {
            validate_match("seccomp", annotation, &profile, &path.at("securityContext.seccompProfile"), errors);
        }
        if let Some(annotation) = opt_text(annotations, &format!("{APP_ARMOR}{name}"))
            && let Some(profile) = profile(context, "appArmorProfile").or_else(|| of_pod.clone())
            && !is_windows
        {
            validate_match("apparmor", annotation, &profile, &path.at("securityContext.appArmorProfile"), errors);
        }
    });
}

fn validate_match(what: &str, annotation: &str, profile: &Value, path: &Path, errors: &mut Errors) {
    let matches = match text(profile, "type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default" || (what == "seccomp" && annotation == "docker/default"),
        "Localhost" => match annotation.strip_prefix("localhost/") {
            Some(file) if opt_text(profile, "localhostProfile") != Some(file) => {
                let detail = format!("{what} profile in annotation and field must match");
                return errors.forbidden(path.at("localhostProfile"), detail);
            }
            file => file.is_some(),
        },
        _ => true,
    };
    if !matches {
        errors.forbidden(path.at("type"), format!("{what} type in annotation and field must match"));
    }
}

/// Annotations that an update may not touch.
pub fn validate_update(pod: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::root("metadata.annotations");
    let guarded = |key: &str| key == MIRROR || key.starts_with(APP_ARMOR);
    for (key, value) in annotations(old).filter(|(key, _)| guarded(key)) {
        if document::annotation(pod, key) != Some(value) {
            let what = if key == MIRROR { "mirror pod annotation" } else { "AppArmor annotations" };
            errors.forbidden(path.key(key), format!("may not remove or update {what}"));
        }
    }
    for (key, _) in annotations(pod).filter(|(key, _)| guarded(key)) {
        if document::annotation(old, key).is_none() {
            let what = if key == MIRROR { "mirror pod annotation" } else { "AppArmor annotations" };
            errors.forbidden(path.key(key), format!("may not add {what}"));
        }
    }
    validate(pod, Some(old), &path, errors);
}

/// The field that an AppArmor annotation stands for; `None` where it is no valid profile.
pub fn app_armor_field(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(serde_json::json!({"type": "Unconfined"})),
        "runtime/default" => Some(serde_json::json!({"type": "RuntimeDefault"})),
        _ => {
            let file = annotation.strip_prefix("localhost/").filter(|file| !file.is_empty() && file.trim() == *file)?;
            Some(serde_json::json!({"type": "Localhost", "localhostProfile": file}))
        }
    }
}
