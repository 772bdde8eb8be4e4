//! Probes and lifecycle handlers of containers.

use super::super::path::{Path, child, has, in_range, int, invalid_each, list, non_negative_fields, one_of, text};
use super::Scope;
use api::field::Errors;
use api::{Value, names};

/// Which probe it is decides on two of its fields.
#[derive(Clone, Copy, PartialEq)]
pub enum Probe {
    Liveness,
    Readiness,
    Startup,
}

impl Probe {
    const ALL: [Probe; 3] = [Probe::Liveness, Probe::Readiness, Probe::Startup];

    fn key(self) -> &'static str {
        match self {
            Probe::Liveness => "livenessProbe",
            Probe::Readiness => "readinessProbe",
            Probe::Startup => "startupProbe",
        }
    }
}

const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// Checks the lifecycle and the probes of a container that may have them.
pub fn validate(container: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    if let Some(lifecycle) = child(container, "lifecycle") {
        validate_lifecycle(lifecycle, scope, &path.at("lifecycle"), errors);
    }
    for kind in Probe::ALL {
        if let Some(probe) = child(container, kind.key()) {
            validate_probe(probe, kind, scope, &path.at(kind.key()), errors);
        }
    }
}

/// Init containers that end before the others start have neither.
pub fn forbid(container: &Value, path: &Path, errors: &mut Errors) {
    for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if has(container, key) {
            errors.forbidden(path.at(key), "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn validate_probe(probe: &Value, kind: Probe, scope: &Scope, path: &Path, errors: &mut Errors) {
    validate_handler(probe, &HANDLERS[..4], scope, path, errors);
    let counts = ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    non_negative_fields(errors, probe, path, &counts);
    let grace = int(probe, "terminationGracePeriodSeconds");
    if let Some(grace) = grace.filter(|grace| *grace <= 0) {
        errors.invalid(path.at("terminationGracePeriodSeconds"), grace, "must be greater than 0");
    }
    let successes = int(probe, "successThreshold").unwrap_or_default();
    match kind {
        Probe::Readiness => {
            if let Some(grace) = grace {
                let detail = "must not be set for readinessProbes";
                errors.invalid(path.at("terminationGracePeriodSeconds"), grace, detail);
            }
        }
        _ if successes != 1 => errors.invalid(path.at("successThreshold"), successes, "must be 1"),
        _ => {}
    }
}

fn validate_lifecycle(lifecycle: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    const ALLOWED: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];
    for key in ["postStart", "preStop"] {
        if let Some(handler) = child(lifecycle, key) {
            validate_handler(handler, &ALLOWED, scope, &path.at(key), errors);
        }
    }
}

fn validate_handler(handler: &Value, allowed: &[&str], scope: &Scope, path: &Path, errors: &mut Errors) {
    let mut first = true;
    for &key in allowed {
        let Some(action) = child(handler, key) else { continue };
        let path = path.at(key);
        if !first {
            errors.forbidden(path, "may not specify more than 1 handler type");
            continue;
        }
        first = false;
        match key {
            "exec" if list(action, "command").is_empty() => errors.required(path.at("command"), ""),
            "httpGet" => validate_http_get(action, &path, errors),
            "tcpSocket" | "grpc" => validate_port(action, &path, errors),
            "sleep" => validate_sleep(action, scope, &path, errors),
            _ => {}
        }
    }
    if first {
        errors.required(path, "must specify a handler type");
    }
}

fn validate_http_get(action: &Value, path: &Path, errors: &mut Errors) {
    if text(action, "path").is_empty() {
        errors.required(path.at("path"), "");
    }
    validate_port(action, path, errors);
    one_of(errors, &path.at("scheme"), text(action, "scheme"), &["HTTP", "HTTPS"]);
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        invalid_each(errors, &path.at("httpHeaders"), name, names::http_header_name(name));
    }
}

/// A port by number or by name.
fn validate_port(action: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("port");
    match child(action, "port") {
        Some(Value::String(name)) => invalid_each(errors, &path, name, names::port_name(name)),
        port => in_range(errors, &path, port.and_then(Value::as_i64).unwrap_or_default(), 1, 65535),
    }
}

fn validate_sleep(action: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    let seconds = int(action, "seconds").unwrap_or_default();
    if let Some(grace) = scope.grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(path, seconds, detail);
    }
}
