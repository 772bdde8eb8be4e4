//! PodTemplates (`core/v1`): templates that stand alone.

use super::deployment::drop_disabled_at;
use super::equality::same;
use super::path::{Path, child};
use super::pod::{Owner, default_template, template_warnings, validate_template};
use super::{Context, Rules};
use api::document::as_map;
use api::field::Errors;
use api::{Map, Value};

/// Rules of PodTemplates.
pub struct PodTemplate;

impl Rules for PodTemplate {
    fn default(&self, object: &mut Value) {
        default_template(as_map(object).entry("template").or_insert(Value::Null));
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        drop_disabled_at(object, None, "template.spec");
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _context: &Context) {
        drop_disabled_at(object, Some(old), "template.spec");
    }

    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let empty = Value::Object(Map::new());
        let template = child(object, "template").unwrap_or(&empty);
        let owner = Owner::replacing(old, &["template"]);
        validate_template(template, &owner, &Path::root("template"), errors);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        match child(object, "template") {
            Some(template) if old.is_none_or(|old| self.generation_changed(object, old)) => {
                template_warnings(&Path::root("template"), template)
            }
            _ => Vec::new(),
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        !same(child(object, "template"), child(old, "template"))
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}
