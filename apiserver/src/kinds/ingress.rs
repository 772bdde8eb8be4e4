//! Ingress and IngressClass.

use super::ip::validate_ip;
use super::path::{Path, child, descend, has, in_range, int, invalid_each, list, one_of, opt_text, shown, text, texts};
use super::{MetadataChecks, Rules, internal};
use api::field::Errors;
use api::{Value, document, names};
use std::net::IpAddr;

pub struct Ingress;
pub struct IngressClass;

const SPEC: Path = Path::root("spec");
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

impl Rules for Ingress {
    fn validate_create(&self, ingress: &Value, errors: &mut Errors) {
        let named = descend(ingress, &["spec", "ingressClassName"]).and_then(Value::as_str);
        if let (Some(annotated), Some(named)) = (document::annotation(ingress, CLASS_ANNOTATION), named)
            && annotated != named
        {
            const WHY: &str = "must match `ingressClassName` when both are specified";
            errors.invalid(format!("annotations.{CLASS_ANNOTATION}"), annotated, WHY);
        }
    }

    fn check(&self, ingress: &Value, old: Option<&Value>, errors: &mut Errors) {
        let spec = child(ingress, "spec").unwrap_or(&Value::Null);
        validate_spec(spec, Leniency::of(old), errors);
        if old.is_none() {
            self.validate_create(ingress, errors);
        }
    }

    fn validate_status_update(&self, ingress: &Value, _: &Value, errors: &mut Errors) {
        for (i, address) in document::get_list(ingress, "status.loadBalancer.ingress").iter().enumerate() {
            let path = Path::root("status.loadBalancer.ingress");
            let path = path.index(i);
            let (ip, host) = (text(address, "ip"), text(address, "hostname"));
            if !ip.is_empty() {
                validate_ip(errors, &path.at("ip"), ip);
            }
            if !host.is_empty() {
                let path = path.at("hostname");
                invalid_each(errors, &path, host, names::dns1123_subdomain(host));
                if host.parse::<IpAddr>().is_ok() {
                    errors.invalid(path, host, "must be a DNS name, not an IP address");
                }
            }
        }
    }

    fn warnings(&self, ingress: &Value, old: Option<&Value>) -> Vec<String> {
        let annotated = document::annotation(ingress, CLASS_ANNOTATION).is_some();
        if old.is_some() || !annotated || descend(ingress, &["spec", "ingressClassName"]).is_some() {
            return Vec::new();
        }
        vec![format!("annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead")]
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}

/// What the ingress that is replaced had wrong, and so may stay wrong.
#[derive(Clone, Copy, Default)]
struct Leniency {
    secret_names: bool,
    wildcard_rules: bool,
}

impl Leniency {
    fn of(old: Option<&Value>) -> Leniency {
        let spec = old.and_then(|old| child(old, "spec")).unwrap_or(&Value::Null);
        let bad_name = |tls| !text(tls, "secretName").is_empty() && !secret_name(tls).is_empty();
        let bad_rule = |rule| {
            let mut errors = Errors::new();
            validate_http(rule, &Path::root(""), &mut errors);
            text(rule, "host").contains('*') && !errors.is_empty()
        };
        Leniency {
            secret_names: list(spec, "tls").iter().any(bad_name),
            wildcard_rules: list(spec, "rules").iter().any(bad_rule),
        }
    }
}

fn secret_name(tls: &Value) -> Vec<String> {
    names::dns1123_subdomain(text(tls, "secretName"))
}

fn validate_spec(spec: &Value, lenient: Leniency, errors: &mut Errors) {
    let rules = list(spec, "rules");
    if rules.is_empty() && !has(spec, "defaultBackend") {
        const WHY: &str = "either `defaultBackend` or `rules` must be specified";
        errors.invalid(SPEC, shown(child(spec, "rules")), WHY);
    }
    if let Some(backend) = child(spec, "defaultBackend") {
        validate_backend(backend, &SPEC.at("defaultBackend"), errors);
    }
    let path = SPEC.at("rules");
    for (i, rule) in rules.iter().enumerate() {
        validate_rule(rule, lenient, &path.index(i), errors);
    }
    let path = SPEC.at("tls");
    for (i, tls) in list(spec, "tls").iter().enumerate() {
        let path = path.index(i);
        let hosts = path.at("hosts");
        for (i, host) in texts(tls, "hosts").enumerate() {
            validate_host(host, &hosts.index(i), errors);
        }
        let secret = text(tls, "secretName");
        if !secret.is_empty() && !lenient.secret_names {
            invalid_each(errors, &path.at("secretName"), secret, secret_name(tls));
        }
    }
    if let Some(class) = opt_text(spec, "ingressClassName") {
        invalid_each(errors, &SPEC.at("ingressClassName"), class, names::dns1123_subdomain(class));
    }
}

fn validate_host(host: &str, path: &Path, errors: &mut Errors) {
    let messages = match host.contains('*') {
        true => names::wildcard_dns1123_subdomain(host),
        false => names::dns1123_subdomain(host),
    };
    invalid_each(errors, path, host, messages);
}

fn validate_rule(rule: &Value, lenient: Leniency, path: &Path, errors: &mut Errors) {
    let host = text(rule, "host");
    if !host.is_empty() {
        if host.parse::<IpAddr>().is_ok() {
            errors.invalid(path.at("host"), host, "must be a DNS name, not an IP address");
        }
        validate_host(host, &path.at("host"), errors);
    }
    if !(lenient.wildcard_rules && host.contains('*')) {
        validate_http(rule, path, errors);
    }
}

fn validate_http(rule: &Value, path: &Path, errors: &mut Errors) {
    let Some(http) = child(rule, "http") else { return };
    let path = path.at("http.paths");
    let paths = list(http, "paths");
    if paths.is_empty() {
        errors.required(path, "");
    }
    for (i, route) in paths.iter().enumerate() {
        validate_path(route, &path.index(i), errors);
    }
}

fn validate_path(route: &Value, path: &Path, errors: &mut Errors) {
    let Some(kind) = opt_text(route, "pathType") else {
        return errors.required(path.at("pathType"), "pathType must be specified");
    };
    let target = text(route, "path");
    let at = path.at("path");
    let relative = !target.starts_with('/');
    match kind {
        "Exact" | "Prefix" => {
            if relative {
                errors.invalid(at, target, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| target.contains(**part)) {
                errors.invalid(at, target, format!("must not contain '{part}'"));
            }
            for end in ["/..", "/."].iter().filter(|end| target.ends_with(**end)) {
                errors.invalid(at, target, format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !target.is_empty() && relative {
                errors.invalid(at, target, "must be an absolute path");
            }
        }
        other => {
            errors.not_supported(path.at("pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]);
        }
    }
    let backend = child(route, "backend").unwrap_or(&Value::Null);
    validate_backend(backend, &path.at("backend"), errors);
}

fn validate_backend(backend: &Value, path: &Path, errors: &mut Errors) {
    let service = match (child(backend, "resource"), child(backend, "service")) {
        (Some(_), Some(_)) => return errors.invalid(path, "", "cannot set both resource and service backends"),
        (Some(resource), None) => return validate_reference(resource, &path.at("resource"), errors),
        (None, None) => return errors.invalid(path, "", "resource or service backend is required"),
        (None, Some(service)) => service,
    };
    match text(service, "name") {
        "" => errors.required(path.at("service.name"), ""),
        name => invalid_each(errors, &path.at("service.name"), name, names::dns1123_label(name)),
    }
    let port = child(service, "port").unwrap_or(&Value::Null);
    match (text(port, "name"), int(port, "number").unwrap_or_default()) {
        ("", 0) => errors.required(path, "port name or number is required"),
        ("", number) => in_range(errors, &path.at("service.port.number"), number, 1, 65535),
        (name, 0) => invalid_each(errors, &path.at("service.port.name"), name, names::port_name(name)),
        _ => errors.invalid(path, "", "cannot set both port name & port number"),
    }
}

/// A reference to an object by group, kind and name.
fn validate_reference(reference: &Value, path: &Path, errors: &mut Errors) {
    if let Some(group) = opt_text(reference, "apiGroup") {
        invalid_each(errors, &path.at("apiGroup"), group, names::dns1123_subdomain(group));
    }
    for key in ["kind", "name"] {
        match text(reference, key) {
            "" => errors.required(path.at(key), ""),
            value => invalid_each(errors, &path.at(key), value, names::path_segment(value)),
        }
    }
}

impl Rules for IngressClass {
    fn default(&self, class: &mut Value) {
        let parameters = class.pointer_mut("/spec/parameters").filter(|parameters| parameters.is_object());
        if let Some(parameters) = parameters.filter(|parameters| !has(parameters, "scope")) {
            document::set(parameters, "scope", "Cluster");
        }
    }

    fn validate(&self, class: &Value, errors: &mut Errors) {
        const MAX_CONTROLLER: usize = 250;
        let spec = child(class, "spec").unwrap_or(&Value::Null);
        let controller = text(spec, "controller");
        if controller.len() > MAX_CONTROLLER {
            errors.too_long("spec.controller", MAX_CONTROLLER);
        }
        validate_domain_path(controller, &SPEC.at("controller"), errors);
        let Some(parameters) = child(spec, "parameters") else { return };
        let path = SPEC.at("parameters");
        validate_reference(parameters, &path, errors);
        let at = path.at("namespace");
        match (opt_text(parameters, "scope"), opt_text(parameters, "namespace")) {
            (None, _) => errors.required(path.at("scope"), ""),
            (Some("Namespace"), None) => errors.required(at, "`parameters.scope` is set to 'Namespace'"),
            (Some("Namespace"), Some(name)) => invalid_each(errors, &at, name, names::dns1123_label(name)),
            (Some("Cluster"), Some(_)) => errors.forbidden(at, "`parameters.scope` is set to 'Cluster'"),
            (Some(scope), _) => one_of(errors, &path.at("scope"), scope, &["Cluster", "Namespace"]),
        }
    }

    fn validate_update(&self, class: &Value, old: &Value, errors: &mut Errors) {
        let spec = |object| child(object, "spec").unwrap_or(&Value::Null);
        internal::immutable(errors, spec(class), spec(old), &SPEC, "controller", "string");
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}

/// `acme.io/foo`: a domain and a path.
fn validate_domain_path(value: &str, path: &Path, errors: &mut Errors) {
    if value.is_empty() {
        return errors.required(path, "");
    }
    let Some((host, rest)) = value.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty()) else {
        return errors.invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    invalid_each(errors, path, host, names::dns1123_subdomain(host));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(allowed) {
        errors.invalid(path, rest, names::regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::first_error as first;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said() {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        let rule = |path: Value| json!({"rules": [{"http": {"paths": [path]}}]});
        let cases = [
            (json!({"defaultBackend": backend}), ""),
            (json!({}), "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
            (rule(json!({"path": "/", "pathType": "Prefix", "backend": backend})), ""),
            (
                rule(json!({"path": "/", "backend": backend})),
                "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
            ),
            (
                rule(json!({"path": "/a//b", "pathType": "Exact", "backend": backend})),
                "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b\": must not contain '//'",
            ),
            (
                json!({"rules": [{"host": "10.0.0.1"}]}),
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(first(&Ingress, spec), expected);
        }
        assert_eq!(first(&IngressClass, json!({"controller": "a.b/c"})), "");
        assert_eq!(
            first(&IngressClass, json!({"controller": "c"})),
            "spec.controller: Invalid value: \"c\": must be a domain-prefixed path (such as \"acme.io/foo\")"
        );
    }

    #[test]
    fn a_bad_secret_name_may_stay() {
        let ingress = json!({"spec": {"rules": [{"host": "a.b"}], "tls": [{"secretName": "A_b"}]}});
        let mut errors = Errors::new();
        Ingress.check(&ingress, Some(&ingress), &mut errors);
        assert!(errors.is_empty());
        Ingress.check(&ingress, None, &mut errors);
        assert_eq!(errors.0[0].field, "spec.tls[0].secretName");
    }
}
