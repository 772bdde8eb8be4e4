//! Namespace: lives until its content is gone and the `kubernetes` finalizer of its specification with it.

use super::path::{Path, descend, invalid_each, shown, text, texts};
use super::{Context, MetadataChecks, Rules};
use api::field::Errors;
use api::{Value, document, names};
use serde_json::json;

pub struct Namespace;

impl Rules for Namespace {
    fn default(&self, namespace: &mut Value) {
        label_with_name(namespace);
        if let Some(status) = namespace.get_mut("status").filter(|status| text(status, "phase").is_empty()) {
            document::set(status, "phase", "Active");
        }
    }

    fn prepare_for_create(&self, namespace: &mut Value, _: &Context) {
        // A generated name is known by now.
        label_with_name(namespace);
        document::set(namespace, "status", json!({"phase": "Active"}));
        let mut finalizers = document::get_list(namespace, "spec.finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
            finalizers.push("kubernetes".into());
            document::set(namespace, "spec.finalizers", finalizers);
        }
    }

    fn prepare_for_update(&self, namespace: &mut Value, old: &Value, _: &Context) {
        match document::get(old, "spec.finalizers") {
            Some(finalizers) => document::set(namespace, "spec.finalizers", finalizers.clone()),
            None => drop(document::remove(namespace, "spec.finalizers")),
        }
    }

    fn validate(&self, namespace: &Value, errors: &mut Errors) {
        validate_finalizers(namespace, |_| FINALIZERS.to_string(), errors);
    }

    fn validate_status_update(&self, namespace: &Value, _: &Value, errors: &mut Errors) {
        let phase = descend(namespace, &["status", "phase"]);
        let (wanted, when) = match document::is_terminating(namespace) {
            true => ("Terminating", "not empty"),
            false => ("Active", "empty"),
        };
        if phase.is_none_or(|phase| phase != wanted) {
            let message = format!("may only be '{wanted}' if `deletionTimestamp` is {when}");
            errors.invalid("status.Phase", shown(phase.or(Some(&"".into()))), message);
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns1123_label(&if prefix { names::mask_trailing_dash(name) } else { name.to_owned() })
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    /// There is no grace for namespaces, not even one of no seconds.
    fn mark_deleted(&self, namespace: &mut Value) {
        document::metadata_mut(namespace).remove("deletionGracePeriodSeconds");
        document::set(namespace, "status.phase", "Terminating");
    }

    /// Until the namespace controller has emptied it.
    fn is_kept(&self, namespace: &Value) -> bool {
        !document::get_list(namespace, "spec.finalizers").is_empty()
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn has_own_preconditions(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::FIRST_AGAIN
    }
}

fn label_with_name(namespace: &mut Value) {
    let name = document::name(namespace).to_owned();
    if !name.is_empty() {
        let labels = document::child(document::metadata_mut(namespace), "labels");
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

const FINALIZERS: Path = Path::root("spec.finalizers");

/// Where a finalizer stands is told by `at`, from its place in the list.
fn validate_finalizers(namespace: &Value, at: impl Fn(usize) -> String, errors: &mut Errors) {
    let spec = namespace.get("spec").unwrap_or(&Value::Null);
    for (i, finalizer) in texts(spec, "finalizers").enumerate() {
        let path = at(i);
        let path = Path::root(&path);
        invalid_each(errors, &path, finalizer, names::qualified_name(finalizer));
        if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion") {
            const WHY: &str = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(path, finalizer, WHY);
        }
    }
}

/// Before an update of the `finalize` subresource: only the specification's finalizers are the client's.
pub fn prepare_for_finalize(namespace: &mut Value, old: &Value) {
    match old.get("status") {
        Some(status) => document::set(namespace, "status", status.clone()),
        None => drop(document::remove(namespace, "status")),
    }
}

/// Checks an update of the `finalize` subresource.
pub fn validate_finalize(namespace: &Value, errors: &mut Errors) {
    validate_finalizers(namespace, |i| FINALIZERS.index(i).to_string(), errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phase_follows_deletion() {
        let mut namespace = json!({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}});
        let mut errors = Errors::new();
        Namespace.validate_status_update(&namespace, &Value::Null, &mut errors);
        assert_eq!(
            errors.0[0].to_string(),
            "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
        );
        document::set(&mut namespace, "metadata.deletionTimestamp", "2024-01-01T00:00:00Z");
        let mut errors = Errors::new();
        Namespace.validate_status_update(&namespace, &Value::Null, &mut errors);
        assert!(errors.is_empty());
    }

    #[test]
    fn finalizers_are_named_well() {
        let namespace = json!({"spec": {"finalizers": ["kubernetes", "mine", "a.b/c"]}});
        let mut errors = Errors::new();
        Namespace.validate(&namespace, &mut errors);
        let expected = "spec.finalizers: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified";
        assert_eq!(errors.0.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }
}
