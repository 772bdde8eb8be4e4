//! ResourceClaim, its template, DeviceClass and ResourceSlice (KEP-4381).

mod claim;
mod device;
mod names;
mod slice;
mod status;

use super::equality::same;
use super::labels::validate_template_metadata;
use super::path::{Path, child, list, opt_text};
use super::subresources::keep_metadata;
use super::{Context, MetadataChecks, Rules, internal};
use api::field::{BadValue, ErrorType, Errors};
use api::resource_list::is_extended;
use api::{Value, document};
use serde_json::json;
use std::collections::HashSet;
use std::hash::Hash;

pub struct ResourceClaim;
pub struct ResourceClaimTemplate;
pub struct DeviceClass;
pub struct ResourceSlice;

const SPEC: Path = Path::root("spec");

impl Rules for ResourceClaim {
    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::FIRST_AGAIN
    }

    fn default(&self, claim: &mut Value) {
        claim::default_requests(claim.pointer_mut("/spec/devices"));
    }

    fn prepare_for_create(&self, claim: &mut Value, _: &Context) {
        document::set(claim, "status", json!({}));
    }

    fn prepare_for_status_update(&self, claim: &mut Value, old: &Value, _: &Context) {
        keep_metadata(claim, old);
        status::forget_deallocated(claim, old);
    }

    /// What cannot change needs no second look.
    fn check(&self, claim: &Value, old: Option<&Value>, errors: &mut Errors) {
        match old {
            Some(old) => fixed("ResourceClaimSpec", claim, old, errors),
            None => claim::validate_spec(child(claim, "spec").unwrap_or(&Value::Null), &SPEC, errors),
        }
    }

    fn validate_status_update(&self, claim: &Value, old: &Value, errors: &mut Errors) {
        status::validate(claim, old, errors);
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

impl Rules for ResourceClaimTemplate {
    fn default(&self, template: &mut Value) {
        claim::default_requests(template.pointer_mut("/spec/spec/devices"));
    }

    fn check(&self, template: &Value, old: Option<&Value>, errors: &mut Errors) {
        let spec = child(template, "spec").unwrap_or(&Value::Null);
        if let Some(metadata) = child(spec, "metadata") {
            validate_template_metadata(metadata, &SPEC.at("metadata"), errors);
        }
        claim::validate_spec(child(spec, "spec").unwrap_or(&Value::Null), &SPEC.at("spec"), errors);
        if let Some(old) = old {
            fixed("ResourceClaimTemplateSpec", template, old, errors);
        }
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::FIRST_AGAIN
    }
}

impl Rules for DeviceClass {
    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::FIRST_AGAIN
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        super::subdomain_once_made(name, prefix)
    }

    fn validate(&self, class: &Value, errors: &mut Errors) {
        let spec = child(class, "spec").unwrap_or(&Value::Null);
        claim::validate_selectors(spec, &SPEC, errors);
        let path = SPEC.at("config");
        each(list(spec, "config"), MAX_CONFIGS, &path, errors, claim::validate_configuration);
        if let Some(name) = opt_text(spec, "extendedResourceName").filter(|name| !is_extended(name)) {
            errors.invalid(SPEC.at("extendedResourceName"), name, "must be a valid extended resource name");
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

/// The node of a stored slice.
fn node_of(entry: &storage::Entry) -> String {
    let slice = document::pick(&entry.value, &["spec.nodeName"]).unwrap_or_default();
    document::get_str(&slice, "spec.nodeName").to_owned()
}

impl Rules for ResourceSlice {
    fn prepare_for_create(&self, slice: &mut Value, context: &Context) {
        slice::drop_disabled(slice);
        slice::date_taints(slice, context.now);
    }

    fn prepare_for_update(&self, slice: &mut Value, _: &Value, context: &Context) {
        slice::drop_disabled(slice);
        slice::date_taints(slice, context.now);
    }

    fn check(&self, slice: &Value, old: Option<&Value>, errors: &mut Errors) {
        let spec = |object| child(object, "spec").unwrap_or(&Value::Null);
        slice::validate(spec(slice), old.map(spec), errors);
    }

    fn warnings(&self, slice: &Value, _: Option<&Value>) -> Vec<String> {
        let driver = document::get_str(slice, "spec.driver");
        if driver == driver.to_lowercase() {
            return Vec::new();
        }
        let driver = api::field::quote(driver);
        vec![format!("spec.driver: driver names should be lowercase; {driver} contains uppercase characters")]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.driver", "spec.nodeName"]
    }

    fn unknown_field(&self, field: &str) -> String {
        format!("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {field}")
    }

    fn watch_index(&self) -> Option<(&'static str, storage::Tag)> {
        Some(("spec.nodeName", node_of))
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

/// A specification of this internal type never changes.
fn fixed(kind: &str, object: &Value, old: &Value, errors: &mut Errors) {
    if !same(child(object, "spec"), child(old, "spec")) {
        let printed = internal::compact(kind, child(object, "spec").unwrap_or(&Value::Null));
        errors.invalid_printed("spec", printed, "field is immutable");
    }
}

const MAX_CONFIGS: usize = 32;
/// How many requests a claim may have, and how many devices it may be given.
const MAX_REQUESTS: usize = 32;

/// Checks each item, unless there are too many.
fn each(items: &[Value], max: usize, path: &Path, errors: &mut Errors, check: impl Fn(&Value, &Path, &mut Errors)) {
    if items.len() > max {
        return errors.too_many(path, items.len(), max);
    }
    for (i, item) in items.iter().enumerate() {
        check(item, &path.index(i), errors);
    }
}

/// As [`each`]; then no two items may have the same key.
fn each_once<K: Hash + Eq + Into<Key>>(
    items: &[Value],
    max: usize,
    path: &Path,
    errors: &mut Errors,
    key: impl Fn(&Value) -> K,
    check: impl Fn(&Value, &Path, &mut Errors),
) {
    each(items, max, path, errors, check);
    if items.len() > max {
        return;
    }
    let mut seen = HashSet::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        if !seen.insert(key(item)) {
            let Key(shown) = key(item).into();
            errors.add(ErrorType::Duplicate, path.index(i), Some(shown), "");
        }
    }
}

/// What says which item it is, as messages show it.
struct Key(BadValue);

impl From<Value> for Key {
    fn from(value: Value) -> Key {
        Key(BadValue::Value(value))
    }
}

impl From<String> for Key {
    fn from(text: String) -> Key {
        Key(BadValue::Value(text.into()))
    }
}

/// An item that a structure stands for, which is printed.
#[derive(PartialEq, Eq, Hash)]
struct Printed(String);

impl From<Printed> for Key {
    fn from(Printed(text): Printed) -> Key {
        Key(BadValue::Printed(text))
    }
}

#[cfg(test)]
mod tests;
