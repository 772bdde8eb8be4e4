//! CSIDriver.

use super::equality::same;
use super::path::{Path, child, has, int, invalid_each, list, one_of, opt_text, shown, text, texts};
use super::{Context, Rules};
use api::field::Errors;
use api::{Value, document, names};
use serde_json::json;
use std::collections::HashSet;

pub struct CsiDriver;

const SPEC: Path = Path::root("spec");
/// A field of a feature that v1.36 leaves off.
const OFF: &str = "spec.preventPodSchedulingIfMissing";

impl Rules for CsiDriver {
    fn default(&self, driver: &mut Value) {
        let defaults = [
            ("spec.attachRequired", json!(true)),
            ("spec.podInfoOnMount", json!(false)),
            ("spec.storageCapacity", json!(false)),
            ("spec.fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
            ("spec.requiresRepublish", json!(false)),
            ("spec.seLinuxMount", json!(false)),
        ];
        for (path, value) in defaults {
            if document::get(driver, path).is_none_or(Value::is_null) {
                document::set(driver, path, value);
            }
        }
        if document::get_list(driver, "spec.volumeLifecycleModes").is_empty() {
            document::set(driver, "spec.volumeLifecycleModes", json!(["Persistent"]));
        }
    }

    fn validate(&self, driver: &Value, errors: &mut Errors) {
        let spec = child(driver, "spec").unwrap_or(&Value::Null);
        for (key, path) in [
            ("attachRequired", "attachedRequired"),
            ("podInfoOnMount", "podInfoOnMount"),
            ("storageCapacity", "storageCapacity"),
        ] {
            if !has(spec, key) {
                errors.required(SPEC.at(path), "");
            }
        }
        if let Some(policy) = opt_text(spec, "fsGroupPolicy") {
            one_of(errors, &SPEC.at("fsGroupPolicy"), policy, &["File", "None", "ReadWriteOnceWithFSType"]);
        }
        validate_token_requests(list(spec, "tokenRequests"), errors);
        for mode in texts(spec, "volumeLifecycleModes") {
            one_of(errors, &SPEC.at("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
        }
        if !has(spec, "seLinuxMount") {
            errors.required(SPEC.at("seLinuxMount"), "");
        }
        if let Some(seconds) = int(spec, "nodeAllocatableUpdatePeriodSeconds").filter(|seconds| *seconds < 10) {
            let path = SPEC.at("nodeAllocatableUpdatePeriodSeconds");
            errors.invalid(path, seconds, "must be greater than or equal to 10 seconds");
        }
        if has(spec, "serviceAccountTokenInSecrets") && list(spec, "tokenRequests").is_empty() {
            const WHY: &str = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
            let value = shown(child(spec, "serviceAccountTokenInSecrets"));
            errors.invalid(SPEC.at("serviceAccountTokenInSecrets"), value, WHY);
        }
    }

    fn check(&self, driver: &Value, old: Option<&Value>, errors: &mut Errors) {
        self.validate(driver, errors);
        let Some(old) = old else { return };
        let spec = |object| child(object, "spec").unwrap_or(&Value::Null);
        for (key, path) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")] {
            if child(spec(driver), key) != child(spec(old), key) {
                errors.invalid(SPEC.at(path), shown(child(spec(driver), key)), "field is immutable");
            }
        }
    }

    fn prepare_for_create(&self, driver: &mut Value, _: &Context) {
        document::remove(driver, OFF);
    }

    /// The generation counts changes only; a new object has none.
    fn prepare_for_update(&self, driver: &mut Value, old: &Value, _: &Context) {
        document::remove(driver, OFF);
        if !same(child(driver, "spec"), child(old, "spec")) {
            let generation = document::get_i64(old, "metadata.generation").unwrap_or_default();
            document::set(driver, "metadata.generation", generation + 1);
        }
    }

    fn warnings(&self, driver: &Value, old: Option<&Value>) -> Vec<String> {
        const LOGGED: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to \
            prevent possible logging of tokens in volume attributes";
        let requests = document::get_list(driver, "spec.tokenRequests");
        let changed = old.is_none_or(|old| document::get_list(old, "spec.tokenRequests") != requests);
        let set = child(driver, "spec").is_some_and(|spec| has(spec, "serviceAccountTokenInSecrets"));
        if requests.is_empty() || !changed || set { Vec::new() } else { vec![LOGGED.to_owned()] }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn validate_token_requests(requests: &[Value], errors: &mut Errors) {
    let path = SPEC.at("tokenRequests");
    let mut seen = HashSet::new();
    for (i, request) in requests.iter().enumerate() {
        let path = path.index(i);
        let audience = text(request, "audience");
        if !seen.insert(audience) {
            errors.duplicate(path.at("audience"), audience);
            continue;
        }
        let at = path.at("expirationSeconds");
        match int(request, "expirationSeconds") {
            Some(seconds @ ..600) => errors.invalid(at, seconds, "may not specify a duration less than 10 minutes"),
            Some(seconds) if seconds > 1 << 32 => {
                errors.invalid(at, seconds, "may not specify a duration larger than 2^32 seconds");
            }
            _ => {}
        }
    }
}

/// The name of a driver, where another object refers to one.
pub fn validate_driver_name(errors: &mut Errors, path: &Path, name: &str) {
    const MAX: usize = 63;
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > MAX {
        errors.too_long(path, MAX);
    }
    invalid_each(errors, path, name, names::dns1123_subdomain(&name.to_lowercase()));
}
