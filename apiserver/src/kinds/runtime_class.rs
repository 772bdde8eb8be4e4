//! RuntimeClass.

use super::internal;
use super::labels::validate_labels;
use super::path::{Path, child, descend, entries, immutable, invalid_each, list, text};
use super::pod::{container_resource_name, validate_quantity, validate_tolerations};
use super::{MetadataCheck, MetadataChecks, Rules, check_object_first};
use api::field::Errors;
use api::{Value, names};
use std::collections::HashSet;

pub struct RuntimeClass;

impl Rules for RuntimeClass {
    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        check_object_first(self, object, old, errors);
    }

    fn validate(&self, class: &Value, errors: &mut Errors) {
        match text(class, "handler") {
            "" => errors.required("handler", ""),
            handler => invalid_each(errors, &Path::root("handler"), handler, names::dns1123_label(handler)),
        }
        let limits = Path::root("overhead.limits");
        let overhead = descend(class, &["overhead"]).unwrap_or(&Value::Null);
        for (resource, amount) in entries(overhead, "podFixed") {
            container_resource_name(resource, &limits.key(resource), errors);
            validate_quantity(resource, amount, &limits.key(resource), errors);
        }
        if let Some(scheduling) = child(class, "scheduling") {
            let path = Path::root("scheduling");
            validate_labels(scheduling, &path, "nodeSelector", errors);
            let tolerations = list(scheduling, "tolerations");
            let path = path.at("tolerations");
            validate_tolerations(tolerations, false, &path, errors);
            let key = |toleration| ["key", "operator", "value", "effect"].map(|part| text(toleration, part));
            let mut seen = HashSet::new();
            for (i, toleration) in tolerations.iter().enumerate() {
                if !seen.insert(key(toleration)) {
                    errors.duplicate_printed(path.index(i), internal::compact("Toleration", toleration));
                }
            }
        }
    }

    fn validate_update(&self, class: &Value, old: &Value, errors: &mut Errors) {
        immutable(errors, class, old, &Path::root(""), "handler");
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn metadata_checks(&self) -> MetadataChecks {
        const UPDATE: &[MetadataCheck] = &[MetadataCheck::New, MetadataCheck::Update];
        MetadataChecks { update: UPDATE, finalizers: false, ..MetadataChecks::USUAL }
    }
}
