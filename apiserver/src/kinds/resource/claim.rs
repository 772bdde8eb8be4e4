//! What a claim asks for: requests, constraints between them, and configuration for the drivers.

use super::names::{validate_fully_qualified, validate_label};
use super::{MAX_CONFIGS, MAX_REQUESTS, each, each_once};
use crate::cel::{self, ANY, BOOL};
use crate::kinds::csi_driver::validate_driver_name;
use crate::kinds::labels::validate_key;
use crate::kinds::path::{Path, child, int, invalid_each, list, one_of, opt_text, text};
use api::field::Errors;
use api::{Value, document, names};

const MAX_CONSTRAINTS: usize = 32;
const MAX_SELECTORS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_EXPRESSION: usize = 10 << 10;
const MAX_PARAMETERS: usize = 10 << 10;
pub const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// One device each, unless the request says otherwise.
pub fn default_requests(devices: Option<&mut Value>) {
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
    if text(request, "allocationMode").is_empty() {
        document::set(request, "allocationMode", "ExactCount");
    }
    if text(request, "allocationMode") == "ExactCount" && int(request, "count").unwrap_or_default() == 0 {
        document::set(request, "count", 1);
    }
}

/// The names that constraints, configuration and allocation results may use: a request's, or `request/alternative`.
pub struct Requested<'a>(&'a [Value]);

impl<'a> Requested<'a> {
    /// The requests of a claim's specification.
    pub fn of(spec: &'a Value) -> Requested<'a> {
        Requested(document::get_list(spec, "devices.requests"))
    }

    fn has(&self, name: &str) -> bool {
        let (request, alternative) = match name.split_once('/') {
            Some((request, alternative)) => (request, Some(alternative)),
            None => (name, None),
        };
        // Of two requests with one name, the last counts.
        let found = self.0.iter().rev().find(|known| text(known, "name") == request);
        found.is_some_and(|found| {
            alternative.is_none_or(|name| list(found, "firstAvailable").iter().any(|known| text(known, "name") == name))
        })
    }

    /// Checks a reference to a request.
    pub fn validate(&self, name: &str, path: &Path, errors: &mut Errors) {
        const WHY: &str =
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        if name.matches('/').count() > 1 {
            return errors.invalid(path, name, WHY);
        }
        for part in name.split('/') {
            validate_label(part, path, errors);
        }
        if !self.has(name) {
            errors.invalid(path, name, WHY);
        }
    }

    /// Checks the references of a constraint or a configuration.
    pub fn validate_list(&self, object: &Value, path: &Path, errors: &mut Errors) {
        let check = |name: &Value, path: &Path, errors: &mut Errors| {
            self.validate(name.as_str().unwrap_or_default(), path, errors);
        };
        each_once(list(object, "requests"), MAX_REQUESTS, &path.at("requests"), errors, Value::clone, check);
    }
}

/// Checks a `ResourceClaimSpec`.
pub fn validate_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("devices");
    let devices = child(spec, "devices").unwrap_or(&Value::Null);
    let requested = Requested::of(spec);
    let name = |request: &Value| text(request, "name").to_owned();
    each_once(list(devices, "requests"), MAX_REQUESTS, &path.at("requests"), errors, name, validate_request);
    each(list(devices, "constraints"), MAX_CONSTRAINTS, &path.at("constraints"), errors, |constraint, path, errors| {
        requested.validate_list(constraint, path, errors);
        validate_constraint(constraint, path, errors);
    });
    each(list(devices, "config"), MAX_CONFIGS, &path.at("config"), errors, |config, path, errors| {
        requested.validate_list(config, path, errors);
        validate_configuration(config, path, errors);
    });
}

fn validate_request(request: &Value, path: &Path, errors: &mut Errors) {
    const WHICH: &str = "exactly one of `exactly` or `firstAvailable` is required";
    validate_label(text(request, "name"), &path.at("name"), errors);
    match (child(request, "exactly"), list(request, "firstAvailable")) {
        (None, []) => errors.required(path, WHICH),
        (Some(_), [_, ..]) => {
            errors.invalid(path, Value::Null, format!("{WHICH}, but multiple fields are set"));
        }
        (Some(exactly), []) => validate_devices(exactly, &path.at("exactly"), errors),
        (None, alternatives) => {
            let name = |request: &Value| text(request, "name").to_owned();
            let path = path.at("firstAvailable");
            each_once(alternatives, MAX_ALTERNATIVES, &path, errors, name, |alternative, path, errors| {
                validate_label(text(alternative, "name"), &path.at("name"), errors);
                validate_devices(alternative, path, errors);
            });
        }
    }
}

/// Which devices are asked for, and how many.
fn validate_devices(request: &Value, path: &Path, errors: &mut Errors) {
    match text(request, "deviceClassName") {
        "" => errors.required(path.at("deviceClassName"), ""),
        name => invalid_each(errors, &path.at("deviceClassName"), name, names::dns1123_subdomain(name)),
    }
    validate_selectors(request, path, errors);
    let count = int(request, "count").unwrap_or_default();
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            errors.invalid(path.at("count"), count, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count <= 0 => errors.invalid(path.at("count"), count, "must be greater than zero"),
        "All" | "ExactCount" => {}
        other => errors.not_supported(path.at("allocationMode"), other, &["All", "ExactCount"]),
    }
    let path = path.at("tolerations");
    for (i, toleration) in list(request, "tolerations").iter().enumerate() {
        validate_toleration(toleration, &path.index(i), errors);
    }
}

/// Checks the `selectors` of a request or a class.
pub fn validate_selectors(object: &Value, path: &Path, errors: &mut Errors) {
    each(list(object, "selectors"), MAX_SELECTORS, &path.at("selectors"), errors, |selector, path, errors| {
        let path = path.at("cel");
        match child(selector, "cel") {
            None => errors.required(path, ""),
            Some(cel) if text(cel, "expression").len() > MAX_EXPRESSION => {
                errors.too_long(path.at("expression"), MAX_EXPRESSION);
            }
            Some(cel) => validate_expression(text(cel, "expression"), &path.at("expression"), errors),
        }
    });
}

/// Checks an expression that says whether a device will do.
fn validate_expression(expression: &str, path: &Path, errors: &mut Errors) {
    let why = match cel::compile(expression, &cel::device()) {
        Ok(compiled) if [BOOL, ANY].contains(&compiled.result) => return,
        Ok(compiled) => format!("must evaluate to bool or the unknown type, not {}", compiled.result.full_name()),
        Err(why) => why,
    };
    errors.invalid(path, expression, why);
}

fn validate_toleration(toleration: &Value, path: &Path, errors: &mut Errors) {
    let (key, value) = (text(toleration, "key"), text(toleration, "value"));
    if !key.is_empty() {
        validate_key(key, &path.at("key"), errors);
    }
    match text(toleration, "operator") {
        "Exists" if !value.is_empty() => {
            errors.invalid(path.at("value"), value, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => invalid_each(errors, &path.at("value"), value, names::label_value(value)),
        "" => errors.required(path.at("operator"), ""),
        other => errors.not_supported(path.at("operator"), other, &["Equal", "Exists"]),
    }
    let effect = text(toleration, "effect");
    if !effect.is_empty() {
        one_of(errors, &path.at("effect"), effect, &EFFECTS);
    }
}

fn validate_constraint(constraint: &Value, path: &Path, errors: &mut Errors) {
    // The message is upstream's.
    const WHICH: &str =
        "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
    let attribute = ["matchAttribute", "distinctAttribute"]
        .into_iter()
        .find_map(|key| opt_text(constraint, key).map(|name| (key, name)));
    match attribute {
        Some((key, name)) => validate_fully_qualified(name, &path.at(key), errors),
        None => errors.required(path, WHICH),
    }
}

/// Checks what is said to a driver.
pub fn validate_configuration(config: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("opaque");
    let Some(opaque) = child(config, "opaque") else { return errors.required(path, "") };
    validate_driver_name(errors, &path.at("driver"), text(opaque, "driver"));
    validate_raw(opaque.get("parameters"), MAX_PARAMETERS, &path.at("parameters"), errors);
}

/// Checks an object that only a driver understands.
pub fn validate_raw(raw: Option<&Value>, max: usize, path: &Path, errors: &mut Errors) {
    match raw {
        None | Some(Value::Null) => errors.required(path, ""),
        Some(raw) if raw.to_string().len() > max => errors.too_long(path, max),
        Some(Value::Object(_)) => {}
        Some(_) => errors.invalid(path, "<value omitted>", "must be a valid JSON object"),
    }
}
