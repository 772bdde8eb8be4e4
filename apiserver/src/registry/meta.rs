//! `metadata`: what the server fills in, what may change, and what is valid.
//!
//! Follows `k8s.io/apiserver/pkg/registry/rest` and `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.

use crate::kinds::internal::{compact, compact_list};
use crate::kinds::{MetadataCheck, path_segment};
use crate::registry::Call;
use crate::resources::Resource;
use api::document::{self, Map, Value};
use api::field::Errors;
use api::names;
use api::status::ApiError;
use jiff::Timestamp;

/// Bytes of all annotations of an object together.
const MAX_ANNOTATIONS: usize = 256 << 10;
/// A generated name is at most a label long: this much of `generateName`, then the suffix.
const MAX_GENERATED_PREFIX: usize = 63 - SUFFIX_LENGTH;
const SUFFIX_LENGTH: usize = 5;
/// Letters and digits that cannot spell a word, as upstream's `rand.String`.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Drops from what a client posts the metadata that only the server says. What comes of an apply or an update keeps it, as
/// upstream.
pub fn wipe(object: &mut Value) {
    let metadata = document::metadata_mut(object);
    for key in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(key);
    }
}

/// Fills in a new object's metadata: name from `generateName`, uid, creation time.
pub fn fill(object: &mut Value, resource: &Resource, now: Timestamp) {
    let metadata = document::metadata_mut(object);
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, prefix) = (text("name"), text("generateName"));
    if name.is_empty() && !prefix.is_empty() {
        metadata.insert("name".into(), generate_name(&prefix).into());
    }
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), api::time::format(now).into());
    if resource.rules.has_generation() {
        metadata.insert("generation".into(), 1.into());
    }
}

/// `prefix` with a random suffix.
fn generate_name(prefix: &str) -> String {
    let mut end = prefix.len().min(MAX_GENERATED_PREFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &prefix[..end], random_suffix())
}

/// The random part of a generated name.
pub fn random_suffix() -> String {
    let mut random = [0u8; SUFFIX_LENGTH];
    if getrandom::fill(&mut random).is_err() {
        random = [0; SUFFIX_LENGTH];
    }
    random.iter().map(|byte| SUFFIX_ALPHABET[usize::from(*byte) % SUFFIX_ALPHABET.len()] as char).collect()
}

/// Refuses an object of another name than the URL's.
pub fn match_name(object: &Value, name: &str) -> Result<(), ApiError> {
    match document::name(object) {
        given if given == name => Ok(()),
        "" => {
            let why = format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
            Err(ApiError::bad_request(why))
        }
        given => {
            let why = format!("the name of the object ({given}) does not match the name on the URL ({name})");
            Err(ApiError::bad_request(why))
        }
    }
}

/// Refuses an object of another uid than the stored one's.
pub fn match_uid(call: &Call<'_>, object: &Value, old: &Value) -> Result<(), ApiError> {
    let (given, stored) = (document::uid(object), document::uid(old));
    if given.is_empty() || given == stored { Ok(()) } else { Err(call.precondition_failed("UID", given, stored)) }
}

/// Drops owner references that are there already. Gives their uids, as a warning has them.
pub fn dedup_owners(object: &mut Value) -> Option<String> {
    let Some(Value::Array(owners)) = document::metadata_mut(object).get_mut("ownerReferences") else { return None };
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    let mut seen = std::collections::HashSet::new();
    let mut twice = Vec::new();
    for owner in owners.drain(..) {
        if seen.insert(owner.to_string()) {
            kept.push(owner);
        } else {
            twice.push(document::get_str(&owner, "uid").to_owned());
        }
    }
    *owners = kept;
    (!twice.is_empty()).then(|| twice.join(", "))
}

/// Puts the request's namespace into the object, or refuses one that differs.
pub fn match_namespace(object: &mut Value, resource: &Resource, namespace: &str) -> Result<(), ApiError> {
    let given = document::namespace(object);
    if !resource.kind.namespaced {
        if !given.is_empty() {
            document::metadata_mut(object).remove("namespace");
        }
        return Ok(());
    }
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    document::metadata_mut(object).insert("namespace".into(), namespace.into());
    Ok(())
}

/// Carries over what an update cannot change.
pub fn carry_over(object: &mut Value, old: &Value) {
    let metadata = document::metadata_mut(object);
    let empty = Map::new();
    let before = document::get_map(old, "metadata").unwrap_or(&empty);
    for key in ["generation", "creationTimestamp"] {
        match before.get(key) {
            Some(value) => metadata.insert(key.into(), value.clone()),
            None => metadata.remove(key),
        };
    }
    if let Some(value) = before.get("deletionTimestamp") {
        metadata.insert("deletionTimestamp".into(), value.clone());
    }
    for key in ["uid", "deletionGracePeriodSeconds"] {
        let missing = metadata.get(key).is_none_or(|v| v.is_null() || v == "");
        if let (true, Some(value)) = (missing, before.get(key)) {
            metadata.insert(key.into(), value.clone());
        }
    }
}

/// Checks metadata as the kind does, of a new object.
pub fn validate(object: &Value, resource: &Resource, errors: &mut Errors) {
    let names = |name: &str, prefix| resource.rules.validate_name_of(object, name, prefix);
    validate_named(object, resource.kind.namespaced, &names, errors);
    if resource.rules.metadata_checks().finalizers {
        validate_finalizer_domains(object, errors);
    }
}

/// Checks what holds for metadata of every kind: whatever a kind takes as a name, it has to fit into a path; no other key
/// may look like it.
pub fn validate_any(object: &Value, resource: &Resource, errors: &mut Errors) {
    validate_named(object, resource.kind.namespaced, &path_segment, errors);
}

/// Checks metadata of an object in another one, of whatever kind. It may do without a name.
pub fn validate_embedded(object: &Value, errors: &mut Errors) {
    if document::name(object).is_empty() {
        let mut named = object.clone();
        document::set(&mut named, "metadata.name", "fakename");
        return validate_embedded(&named, errors);
    }
    validate_named(object, !document::get_str(object, "metadata.namespace").is_empty(), &path_segment, errors);
}

fn validate_named(object: &Value, namespaced: bool, problems: &dyn Fn(&str, bool) -> Vec<String>, errors: &mut Errors) {
    let empty = Map::new();
    let metadata = document::get_map(object, "metadata").unwrap_or(&empty);
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
    let (name, prefix) = (text("name"), text("generateName"));
    if !prefix.is_empty() {
        for message in problems(prefix, true) {
            errors.invalid("metadata.generateName", prefix, message);
        }
    }
    if name.is_empty() {
        errors.required("metadata.name", "name or generateName is required");
    } else {
        for message in problems(name, false) {
            errors.invalid("metadata.name", name, message);
        }
    }
    if namespaced {
        for message in names::dns1123_label(text("namespace")) {
            errors.invalid("metadata.namespace", text("namespace"), message);
        }
    }
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|g| *g < 0) {
        errors.invalid("metadata.generation", generation, "must be greater than or equal to 0");
    }
    validate_labels(metadata, errors);
    validate_annotations(metadata, errors);
    validate_owners(document::get_list(object, "metadata.ownerReferences"), errors);
    validate_finalizers(object, errors);
    api::managed::validate_managed_fields(object, errors);
}

fn validate_labels(metadata: &Map, errors: &mut Errors) {
    for (key, value) in metadata.get("labels").and_then(Value::as_object).into_iter().flatten() {
        for message in names::qualified_name(key) {
            errors.invalid("metadata.labels", key.as_str(), message);
        }
        for message in names::label_value(value.as_str().unwrap_or_default()) {
            errors.invalid("metadata.labels", value.clone(), message);
        }
    }
}

fn validate_annotations(metadata: &Map, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in metadata.get("annotations").and_then(Value::as_object).into_iter().flatten() {
        for message in names::qualified_name(&key.to_lowercase()) {
            errors.invalid("metadata.annotations", key.as_str(), message);
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_ANNOTATIONS {
        errors.too_long("metadata.annotations", MAX_ANNOTATIONS);
    }
}

/// The version of `group/version`; none where there are more parts.
fn version_of(api_version: &str) -> &str {
    match api_version.split_once('/') {
        Some((_, version)) if version.contains('/') => "",
        Some((_, version)) => version,
        None => api_version,
    }
}

fn validate_owners(owners: &[Value], errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for owner in owners {
        let text = |key: &str| document::get_str(owner, key);
        let field = |key: &str| format!("metadata.ownerReferences.{key}");
        if version_of(text("apiVersion")).is_empty() {
            errors.invalid(field("apiVersion"), text("apiVersion"), "version must not be empty");
        }
        for key in ["kind", "name", "uid"] {
            if text(key).is_empty() {
                errors.invalid(field(key), "", "must not be empty");
            }
        }
        if text("apiVersion") == "v1" && text("kind") == "Event" {
            let message = "/v1, Kind=Event is disallowed from being an owner";
            errors.invalid_printed("metadata.ownerReferences", compact("OwnerReference", owner), message);
        }
        if document::get_bool(owner, "controller") {
            let this = format!("{}/{}", text("kind"), text("name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => errors.invalid_printed(
                    "metadata.ownerReferences",
                    compact_list("OwnerReference", owners),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    ),
                ),
            }
        }
    }
}

pub const ORPHAN: &str = "orphan";
pub const FOREGROUND: &str = "foregroundDeletion";

fn validate_finalizers(object: &Value, errors: &mut Errors) {
    let finalizers: Vec<&str> = document::finalizers(object).collect();
    for finalizer in &finalizers {
        for message in names::qualified_name(finalizer) {
            errors.invalid("metadata.finalizers", *finalizer, message);
        }
    }
    if finalizers.contains(&ORPHAN) && finalizers.contains(&FOREGROUND) {
        let message = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.invalid("metadata.finalizers", finalizers, message);
    }
}

/// A finalizer without a domain has to be one of Kubernetes' own.
fn validate_finalizer_domains(object: &Value, errors: &mut Errors) {
    const STANDARD: [&str; 3] = ["kubernetes", ORPHAN, FOREGROUND];
    for (i, finalizer) in document::finalizers(object).enumerate() {
        if !finalizer.contains('/') && !STANDARD.contains(&finalizer) {
            let message = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(format!("metadata.finalizers[{i}]"), finalizer, message);
        }
    }
}

/// Checks an update: what holds for every kind, then the kind's own passes.
pub fn validate_change(
    object: &Value,
    old: &Value,
    resource: &Resource,
    passes: &[MetadataCheck],
    errors: &mut Errors,
) {
    validate_any(object, resource, errors);
    validate_update(object, old, errors);
    for pass in passes {
        match pass {
            MetadataCheck::New => validate(object, resource, errors),
            MetadataCheck::Update => {
                validate_update(object, old, errors);
                if resource.rules.metadata_checks().finalizers {
                    validate_finalizer_domains(object, errors);
                }
            }
        }
    }
}

/// Checks what may change in metadata.
fn validate_update(object: &Value, old: &Value, errors: &mut Errors) {
    if document::is_terminating(old) {
        let before: std::collections::HashSet<&str> = document::finalizers(old).collect();
        let mut added: Vec<&str> = document::finalizers(object).filter(|f| !before.contains(f)).collect();
        added.sort_unstable();
        if !added.is_empty() {
            let list: Vec<String> = added.iter().map(|f| api::field::quote(f)).collect();
            errors.forbidden(
                "metadata.finalizers",
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    list.join(", ")
                ),
            );
        }
    }
    for key in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let path = format!("metadata.{key}");
        let (new, before) = (document::get(object, &path), document::get(old, &path));
        if new != before {
            errors.invalid(path, new.cloned().unwrap_or(Value::Null), "field is immutable");
        }
    }
    let empty = Map::new();
    let metadata = document::get_map(object, "metadata").unwrap_or(&empty);
    validate_labels(metadata, errors);
    validate_annotations(metadata, errors);
    validate_owners(document::get_list(object, "metadata.ownerReferences"), errors);
    api::managed::validate_managed_fields(object, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_takes_names_that_leave_their_path() {
        let requests = crate::resources::builtin("certificates.k8s.io", "certificatesigningrequests");
        let problems = |name: &str| {
            let object = serde_json::json!({"metadata": {"name": name}});
            let mut errors = Errors::new();
            validate(&object, requests, &mut errors);
            validate_any(&object, requests, &mut errors);
            errors.0
        };
        for name in ["..", "a/b", "a%2fb"] {
            assert!(!problems(name).is_empty(), "{name}");
        }
        assert!(problems("A b").is_empty());
    }

    #[test]
    fn generated_names_fit_a_label() {
        let name = generate_name(&"x".repeat(300));
        assert_eq!(name.len(), 63);
        assert!(generate_name("web-").starts_with("web-"));
    }
}
