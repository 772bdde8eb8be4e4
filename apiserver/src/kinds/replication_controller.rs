//! ReplicationControllers (`core/v1`).

use super::deployment::{default_template_of, drop_disabled_at, spec_mut, workload_warnings};
use super::equality::same;
use super::path::{Path, child, descend, entries, non_negative, shown};
use super::pod::{Owner, default, validate_always, validate_template};
use super::replica_set::{count_field, validate_replicas_status};
use super::{Context, Rules, subdomain_once_made};
use api::document;
use api::field::Errors;
use api::{Map, Value};

/// Rules of ReplicationControllers.
pub struct ReplicationController;

impl Rules for ReplicationController {
    fn default(&self, object: &mut Value) {
        let labels = descend(object, &["spec", "template", "metadata", "labels"]).cloned();
        let spec = spec_mut(object);
        default(spec, "replicas", 1);
        if spec.get("template").is_some_and(|template| !template.is_null()) {
            default_template_of(object);
        }
        if let Some(labels) = labels {
            for path in ["spec.selector", "metadata.labels"] {
                if document::get_map(object, path).is_none_or(Map::is_empty) {
                    document::set(object, path, labels.clone());
                }
            }
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        drop_disabled_at(object, None, "spec.template.spec");
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _context: &Context) {
        drop_disabled_at(object, Some(old), "spec.template.spec");
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_once_made(name, prefix)
    }

    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let empty = Value::Object(Map::new());
        let spec = child(object, "spec").unwrap_or(&empty);
        let path = Path::root("spec");
        non_negative(errors, spec, &path, "minReadySeconds");
        let has_selector = entries(spec, "selector").next().is_some();
        if !has_selector {
            errors.required(path.at("selector"), "");
        }
        non_negative(errors, spec, &path, "replicas");
        let at = path.at("template");
        let Some(template) = child(spec, "template") else { return errors.required(at, "") };
        // A plain map selects by what it says, valid or not.
        let labels = descend(template, &["metadata", "labels"]);
        let differs = |(key, value)| labels.and_then(|labels| child(labels, key)) != Some(value);
        if entries(spec, "selector").any(differs) {
            let detail = "`selector` does not match template `labels`";
            errors.invalid(at.at("metadata.labels"), shown(labels), detail);
        }
        validate_template(template, &Owner::replacing(old, &["spec", "template"]), &at, errors);
        validate_always("ReplicationController", template, &at, errors);
    }

    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut Errors) {
        validate_replicas_status(object, errors);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        match old {
            // Upstream takes the two the wrong way round: it warns of the template that goes.
            Some(old) => workload_warnings(old, Some(object)),
            None => workload_warnings(object, None),
        }
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn selectable_field(&self, object: &Value, field: &str) -> String {
        count_field(object, field)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        !same(child(object, "spec"), child(old, "spec"))
    }

    fn orphans_by_default(&self) -> bool {
        true
    }
}
