//! ResourceClaim, its template, DeviceClass and ResourceSlice (KEP-4381).

use super::csi_driver::validate_driver_name;
use super::path::{Path, child, has, immutable, int, invalid_each, list, text};
use super::webhook_configuration::set_missing;
use super::{Context, Rules};
use api::field::Errors;
use api::{Value, document, names};
use serde_json::json;

pub struct ResourceClaim;
pub struct ResourceClaimTemplate;
pub struct DeviceClass;
pub struct ResourceSlice;

const MAX_REQUESTS: usize = 32;
const MAX_DEVICES: usize = 128;

impl Rules for ResourceClaim {
    fn default(&self, claim: &mut Value) {
        default_requests(claim.pointer_mut("/spec/devices"));
    }

    fn prepare_for_create(&self, claim: &mut Value, _: &Context) {
        document::set(claim, "status", json!({}));
    }

    fn validate(&self, claim: &Value, errors: &mut Errors) {
        let devices = document::get(claim, "spec.devices").unwrap_or(&Value::Null);
        validate_requests(devices, &Path::root("spec.devices"), errors);
    }

    fn validate_update(&self, claim: &Value, old: &Value, errors: &mut Errors) {
        immutable(errors, claim, old, &Path::root(""), "spec");
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

impl Rules for ResourceClaimTemplate {
    fn default(&self, template: &mut Value) {
        default_requests(template.pointer_mut("/spec/spec/devices"));
    }

    fn validate(&self, template: &Value, errors: &mut Errors) {
        let devices = document::get(template, "spec.spec.devices").unwrap_or(&Value::Null);
        validate_requests(devices, &Path::root("spec.spec.devices"), errors);
    }

    fn validate_update(&self, template: &Value, old: &Value, errors: &mut Errors) {
        immutable(errors, template, old, &Path::root(""), "spec");
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

/// One device each, unless the request says otherwise.
fn default_requests(devices: Option<&mut Value>) {
    let requests = devices.and_then(|devices| devices.get_mut("requests")).and_then(Value::as_array_mut);
    for request in requests.into_iter().flatten() {
        if let Some(exactly) = request.get_mut("exactly").filter(|exactly| exactly.is_object()) {
            default_count(exactly);
        }
        let alternatives = request.get_mut("firstAvailable").and_then(Value::as_array_mut);
        alternatives.into_iter().flatten().for_each(default_count);
    }
}

fn default_count(request: &mut Value) {
    set_missing(request, [("allocationMode", json!("ExactCount"))]);
    if text(request, "allocationMode") == "ExactCount" && int(request, "count").unwrap_or_default() == 0 {
        document::set(request, "count", 1);
    }
}

fn validate_requests(devices: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("requests");
    let requests = list(devices, "requests");
    if requests.len() > MAX_REQUESTS {
        errors.too_many(path, requests.len(), MAX_REQUESTS);
    }
    for (i, request) in requests.iter().enumerate() {
        let path = path.index(i);
        let name = text(request, "name");
        match name {
            "" => errors.required(path.at("name"), ""),
            name => invalid_each(errors, &path.at("name"), name, names::dns1123_label(name)),
        }
        if requests[..i].iter().any(|other| text(other, "name") == name) {
            errors.duplicate(path.at("name"), name);
        }
        match (child(request, "exactly"), list(request, "firstAvailable")) {
            (None, []) => errors.required(path, "exactly one of `exactly` or `firstAvailable` is required"),
            (Some(_), [_, ..]) => {
                errors.invalid(
                    path,
                    Value::Null,
                    "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
                );
            }
            (Some(exactly), []) => validate_request(exactly, &path.at("exactly"), errors),
            (None, alternatives) => {
                let path = path.at("firstAvailable");
                for (i, alternative) in alternatives.iter().enumerate() {
                    validate_request(alternative, &path.index(i), errors);
                }
            }
        }
    }
}

fn validate_request(request: &Value, path: &Path, errors: &mut Errors) {
    match text(request, "deviceClassName") {
        "" => errors.required(path.at("deviceClassName"), ""),
        name => invalid_each(errors, &path.at("deviceClassName"), name, names::dns1123_subdomain(name)),
    }
    let count = int(request, "count").unwrap_or_default();
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            errors.invalid(path.at("count"), count, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count <= 0 => errors.invalid(path.at("count"), count, "must be greater than zero"),
        "All" | "ExactCount" => {}
        other => errors.not_supported(path.at("allocationMode"), other, &["All", "ExactCount"]),
    }
}

impl Rules for DeviceClass {
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
    fn validate(&self, slice: &Value, errors: &mut Errors) {
        const SPEC: Path = Path::root("spec");
        let spec = child(slice, "spec").unwrap_or(&Value::Null);
        validate_driver_name(errors, &SPEC.at("driver"), text(spec, "driver"));
        if document::get_str(slice, "spec.pool.name").is_empty() {
            errors.required(SPEC.at("pool.name"), "");
        }
        let scopes = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
        match scopes.iter().filter(|key| has(spec, key)).count() {
            1 => {}
            0 => errors.required(SPEC, format!("exactly one of {} is required", quoted(&scopes))),
            _ => {
                let message = format!("exactly one of {} is required, but multiple fields are set", quoted(&scopes));
                errors.invalid(SPEC, Value::Null, message);
            }
        }
        let devices = list(spec, "devices");
        let path = SPEC.at("devices");
        if devices.len() > MAX_DEVICES {
            errors.too_many(path, devices.len(), MAX_DEVICES);
        }
        for (i, device) in devices.iter().enumerate() {
            let (path, name) = (path.index(i), text(device, "name"));
            match name {
                "" => errors.required(path.at("name"), ""),
                name => invalid_each(errors, &path.at("name"), name, names::dns1123_label(name)),
            }
            if devices[..i].iter().any(|other| text(other, "name") == name) {
                errors.duplicate(path.at("name"), name);
            }
        }
    }

    fn validate_update(&self, slice: &Value, old: &Value, errors: &mut Errors) {
        let spec = |object| child(object, "spec").unwrap_or(&Value::Null);
        for key in ["driver", "nodeName"] {
            immutable(errors, spec(slice), spec(old), &Path::root("spec"), key);
        }
        if document::get_str(slice, "spec.pool.name") != document::get_str(old, "spec.pool.name") {
            errors.invalid("spec.pool.name", document::get_str(slice, "spec.pool.name"), "field is immutable");
        }
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

fn quoted(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_completed_and_checked() {
        let mut claim =
            json!({"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}]}}});
        ResourceClaim.default(&mut claim);
        assert_eq!(claim.pointer("/spec/devices/requests/0/exactly/count"), Some(&json!(1)));
        let mut errors = Errors::new();
        ResourceClaim.validate(&claim, &mut errors);
        assert!(errors.is_empty());
        ResourceClaim.validate(&json!({"spec": {"devices": {"requests": [{"name": "a"}]}}}), &mut errors);
        assert_eq!(errors.0[0].field, "spec.devices.requests[0]");
    }
}
