//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration, and what admission policies share with them.

use super::expressions::validate_expression;
use super::labels::validate_selector;
use super::path::{Path, child, has, int, invalid_each, list, one_of, opt_text, text, texts};
use super::{MetadataChecks, Rules};
use crate::cel::{self, Admission, BOOL};
use api::field::{Errors, quote};
use api::{Value, document, names};
use serde_json::json;
use std::collections::HashSet;

pub struct MutatingWebhookConfiguration;
pub struct ValidatingWebhookConfiguration;

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];

macro_rules! configuration_rules {
    ($configuration:ident, $mutating:literal) => {
        impl Rules for $configuration {
            fn default(&self, configuration: &mut Value) {
                let webhooks = configuration.get_mut("webhooks").and_then(Value::as_array_mut);
                webhooks.into_iter().flatten().for_each(|webhook| default_webhook(webhook, $mutating));
            }

            fn check(&self, configuration: &Value, old: Option<&Value>, errors: &mut Errors) {
                let webhooks = list(configuration, "webhooks");
                let lenient = Leniency::of(webhooks, old.map(|old| list(old, "webhooks")));
                validate_webhooks(webhooks, lenient, errors);
            }

            fn has_generation(&self) -> bool {
                true
            }

            fn generation_changed(&self, configuration: &Value, old: &Value) -> bool {
                child(configuration, "webhooks") != child(old, "webhooks")
            }

            fn tells_empty_lists(&self) -> bool {
                true
            }

            fn allow_unconditional_update(&self) -> bool {
                false
            }

            fn metadata_checks(&self) -> MetadataChecks {
                MetadataChecks { finalizers: false, ..MetadataChecks::AS_NEW }
            }
        }
    };
}

configuration_rules!(MutatingWebhookConfiguration, true);
configuration_rules!(ValidatingWebhookConfiguration, false);

fn default_webhook(webhook: &mut Value, mutating: bool) {
    let mut defaults = vec![
        ("failurePolicy", json!("Fail")),
        ("matchPolicy", json!("Equivalent")),
        ("namespaceSelector", json!({})),
        ("objectSelector", json!({})),
        ("timeoutSeconds", json!(10)),
    ];
    if mutating {
        defaults.push(("reinvocationPolicy", json!("Never")));
    }
    set_missing(webhook, defaults);
    default_scopes(webhook, "rules");
    if let Some(service) = webhook.pointer_mut("/clientConfig/service").filter(|service| service.is_object()) {
        set_missing(service, [("port", json!(443))]);
    }
}

/// Sets the members that are missing or null.
pub fn set_missing(object: &mut Value, defaults: impl IntoIterator<Item = (&'static str, Value)>) {
    for (key, value) in defaults {
        if !has(object, key) {
            document::set(object, key, value);
        }
    }
}

/// Rules apply to all scopes unless they say otherwise.
pub fn default_scopes(object: &mut Value, key: &str) {
    let rules = object.get_mut(key).and_then(Value::as_array_mut);
    rules.into_iter().flatten().for_each(|rule| set_missing(rule, [("scope", json!("*"))]));
}

/// What the configuration that is replaced had wrong, and so may stay wrong.
#[derive(Clone, Copy, Default)]
struct Leniency {
    side_effects: bool,
    unknown_review_versions: bool,
    equal_names: bool,
    label_values: bool,
    unchanged_conditions: bool,
}

impl Leniency {
    fn of(webhooks: &[Value], old: Option<&[Value]>) -> Leniency {
        let Some(old) = old else { return Leniency::default() };
        let versions = |webhook| list(webhook, "admissionReviewVersions");
        let known = |version: &Value| version.as_str().is_some_and(|version| REVIEW_VERSIONS.contains(&version));
        let mut seen = HashSet::new();
        let conditions = |webhooks: &[Value]| -> Vec<Vec<Value>> {
            webhooks.iter().map(|webhook| list(webhook, "matchConditions").to_vec()).collect()
        };
        Leniency {
            side_effects: !old.iter().all(|webhook| NO_SIDE_EFFECTS.contains(&text(webhook, "sideEffects"))),
            unknown_review_versions: old
                .iter()
                .any(|webhook| !versions(webhook).is_empty() && !versions(webhook).iter().any(known)),
            equal_names: !old.iter().all(|webhook| seen.insert(text(webhook, "name"))),
            label_values: old.iter().any(|webhook| {
                let mut errors = Errors::new();
                validate_selectors(webhook, &Path::root(""), &mut errors);
                !errors.is_empty()
            }),
            unchanged_conditions: conditions(webhooks) == conditions(old),
        }
    }
}

fn validate_webhooks(webhooks: &[Value], lenient: Leniency, errors: &mut Errors) {
    let path = Path::root("webhooks");
    let mut seen = HashSet::new();
    for (i, webhook) in webhooks.iter().enumerate() {
        let path = path.index(i);
        validate_webhook(webhook, lenient, &path, errors);
        let versions: Vec<&str> = texts(webhook, "admissionReviewVersions").collect();
        let at = path.at("admissionReviewVersions");
        match versions.is_empty() {
            true => errors.required(at, format!("must specify one of {}", REVIEW_VERSIONS.join(", "))),
            false => validate_review_versions(&versions, !lenient.unknown_review_versions, &at, errors),
        }
        let name = text(webhook, "name");
        if !lenient.equal_names && !name.is_empty() && !seen.insert(name) {
            errors.duplicate(path.at("name"), name);
        }
    }
}

fn validate_webhook(webhook: &Value, lenient: Leniency, path: &Path, errors: &mut Errors) {
    validate_qualified_domain(text(webhook, "name"), &path.at("name"), errors);
    let rules = path.at("rules");
    for (i, rule) in list(webhook, "rules").iter().enumerate() {
        validate_rule(rule, &rules.index(i), errors);
    }
    for (key, allowed) in [("failurePolicy", ["Fail", "Ignore"]), ("matchPolicy", ["Equivalent", "Exact"])] {
        if let Some(value) = opt_text(webhook, key) {
            one_of(errors, &path.at(key), value, &allowed);
        }
    }
    let allowed = if lenient.side_effects { &SIDE_EFFECTS as &[&str] } else { &NO_SIDE_EFFECTS };
    match opt_text(webhook, "sideEffects") {
        Some(value) => one_of(errors, &path.at("sideEffects"), value, allowed),
        None => errors.required(path.at("sideEffects"), format!("must specify one of {}", allowed.join(", "))),
    }
    if let Some(seconds) = int(webhook, "timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
        errors.invalid(path.at("timeoutSeconds"), seconds, "the timeout value must be between 1 and 30 seconds");
    }
    if !lenient.label_values {
        validate_selectors(webhook, path, errors);
    }
    if let Some(policy) = opt_text(webhook, "reinvocationPolicy") {
        one_of(errors, &path.at("reinvocationPolicy"), policy, &["IfNeeded", "Never"]);
    }
    let config = child(webhook, "clientConfig").unwrap_or(&Value::Null);
    validate_client(config, &path.at("clientConfig"), errors);
    if !lenient.unchanged_conditions {
        validate_match_conditions(webhook, false, path, errors);
    }
}

fn validate_selectors(webhook: &Value, path: &Path, errors: &mut Errors) {
    for key in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = child(webhook, key) {
            validate_selector(selector, &path.at(key), errors);
        }
    }
}

/// A domain of at least three labels.
fn validate_qualified_domain(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let messages = names::dns1123_subdomain(name);
    if !messages.is_empty() {
        errors.invalid(path, name, messages.join(","));
    } else if name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

/// Where a webhook is: a URL or a service, not both.
pub fn validate_client(config: &Value, path: &Path, errors: &mut Errors) {
    match (opt_text(config, "url"), child(config, "service")) {
        (Some(url), None) => validate_url(url, &path.at("url"), errors),
        (None, Some(service)) => validate_service(service, &path.at("service"), errors),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

fn validate_url(url: &str, path: &Path, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    if let Some(why) = unreadable(url) {
        let why = format!("url must be a valid URL: parse {}: {why}{FORM}", quote(url));
        return errors.required(path, why);
    }
    let (scheme, rest) = scheme_of(url);
    if scheme != "https" {
        errors.invalid(path, scheme.as_str(), format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.strip_prefix("//").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        errors.invalid(path, "", format!("host must be specified{FORM}"));
    }
    for (part, why) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            errors.invalid(path, part, why);
        }
    }
}

/// The scheme in small letters, if there is one, and what follows it.
fn scheme_of(url: &str) -> (String, &str) {
    let named = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    match url.split_once(':').filter(|(scheme, _)| named(scheme)) {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => (String::new(), url),
    }
}

/// A percent sign without two digits after it, and what stands in their place.
fn wrong_escape(path: &str) -> Option<&str> {
    let at = path.match_indices('%').map(|(at, _)| &path[at..]).find(|rest| {
        let digits = rest.as_bytes().get(1..3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })?;
    Some(at.char_indices().nth(3).map_or(at, |(end, _)| &at[..end]))
}

/// Why a text is no URL at all.
fn unreadable(url: &str) -> Option<String> {
    if url.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Some("net/url: invalid control character in URL".to_owned());
    }
    if url.starts_with(':') {
        return Some("missing protocol scheme".to_owned());
    }
    let (scheme, rest) = scheme_of(url);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    if scheme.is_empty() && rest.split('/').next().is_some_and(|first| first.contains(':')) {
        return Some("first path segment in URL cannot contain colon".to_owned());
    }
    let is_opaque = !scheme.is_empty() && !rest.starts_with('/');
    if let Some(escape) = wrong_escape(rest).filter(|_| !is_opaque) {
        return Some(format!("invalid URL escape {}", quote(escape)));
    }
    let authority = rest.strip_prefix("//")?.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(c) = host.chars().find(|c| matches!(c, ' ' | '<' | '>' | '"' | '\\' | '^' | '`' | '{' | '|' | '}')) {
        return Some(format!("invalid character {} in host name", quote(&c.to_string())));
    }
    let (_, port) = host.rsplit_once(']').unwrap_or(("", host)).1.split_once(':')?;
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    (!digits).then(|| format!("invalid port {} after host", quote(&format!(":{port}"))))
}

fn validate_service(service: &Value, path: &Path, errors: &mut Errors) {
    // Upstream takes one for the other in its messages.
    for (key, named) in [("namespace", "name"), ("name", "namespace")] {
        if text(service, key).is_empty() {
            errors.required(path.at(named), "");
        }
    }
    if let Some(port) = int(service, "port") {
        let messages = names::port_number(port);
        if !messages.is_empty() {
            errors.invalid(path.at("port"), port, format!("port is not valid: {}", messages.join(",")));
        }
    }
    let target = text(service, "path");
    let path = path.at("path");
    match target {
        "" | "/" => return,
        "//" => return errors.invalid(path, target, "segment[0] may not be empty"),
        _ => {}
    }
    if !target.starts_with('/') {
        errors.invalid(path, target, "must start with a '/'");
    }
    // Without a slash, the first byte is lost.
    let inner = String::from_utf8_lossy(target.as_bytes().get(1..).unwrap_or_default());
    for (i, step) in inner.strip_suffix('/').unwrap_or(&inner).split('/').enumerate() {
        if step.is_empty() {
            errors.invalid(path, target, format!("segment[{i}] may not be empty"));
            continue;
        }
        for why in names::dns1123_subdomain(step) {
            errors.invalid(path, target, format!("segment[{i}]: {why}"));
        }
    }
}

/// Checks the operations and resources that a webhook or a policy applies to.
pub fn validate_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for (key, what) in [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let values: Vec<&str> = texts(rule, key).collect();
        let path = path.at(key);
        if values.is_empty() {
            errors.required(path, "");
        }
        if values.len() > 1 && values.contains(&"*") {
            errors.invalid(path, json!(values), format!("if '*' is present, must not specify other {what}"));
        }
        for (i, value) in values.iter().enumerate() {
            match key {
                "operations" => one_of(errors, &path.index(i), value, &OPERATIONS),
                "apiVersions" if value.is_empty() => errors.required(path.index(i), ""),
                _ => {}
            }
        }
    }
    let resources: Vec<&str> = texts(rule, "resources").collect();
    validate_resources(&resources, &path.at("resources"), errors);
    if let Some(scope) = opt_text(rule, "scope") {
        one_of(errors, &path.at("scope"), scope, &["*", "Cluster", "Namespaced"]);
    }
}

fn validate_resources(resources: &[&str], path: &Path, errors: &mut Errors) {
    if resources.is_empty() {
        errors.required(path, "");
    }
    // Only the last resource without a subresource counts here.
    let mut plain = false;
    let mut seen: HashSet<&str> = HashSet::new();
    for (i, resource) in resources.iter().enumerate() {
        if resource.is_empty() {
            errors.required(path.index(i), "");
            continue;
        }
        let Some((name, sub)) = resource.split_once('/') else {
            plain = *resource != "*";
            continue;
        };
        for general in [format!("{name}/*"), format!("*/{sub}")] {
            if seen.contains(general.as_str()) {
                let message = format!("if '{general}' is present, must not specify {resource}");
                errors.invalid(path.index(i), *resource, message);
            }
        }
        seen.insert(resource);
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        errors.invalid(path, json!(resources), "if '*/*' is present, must not specify other resources");
    }
    if resources.contains(&"*") && plain {
        const WHY: &str = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, json!(resources), WHY);
    }
}

/// Checks the versions of reviews that a webhook takes; `known` when this server has to know one of them.
pub fn validate_review_versions(versions: &[&str], known: bool, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (i, version) in versions.iter().enumerate() {
        if !seen.insert(version) {
            errors.invalid(path.index(i), *version, "duplicate version");
            continue;
        }
        invalid_each(errors, &path.index(i), version, names::dns1035_label(version));
    }
    if known && !versions.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        errors.invalid(path, json!(versions), format!("must include at least one of {}", REVIEW_VERSIONS.join(", ")));
    }
}

/// Checks `matchConditions`; their expressions may have parameters where there is a kind of them.
pub fn validate_match_conditions(object: &Value, has_params: bool, path: &Path, errors: &mut Errors) {
    const MAX: usize = 64;
    let path = path.at("matchConditions");
    let conditions = list(object, "matchConditions");
    if conditions.len() > MAX {
        errors.too_many(path, conditions.len(), MAX);
    }
    let mut seen = HashSet::new();
    let environment = cel::admission(Admission { params: has_params, authorizer: true });
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        match text(condition, "expression").trim() {
            "" => errors.required(path.at("expression"), ""),
            expression => {
                validate_expression(expression, &environment, &[BOOL], &path.at("expression"), errors);
            }
        }
        let name = text(condition, "name");
        if name.is_empty() {
            errors.required(path.at("name"), "");
            continue;
        }
        invalid_each(errors, &path.at("name"), name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(path.at("name"), name);
        }
    }
}

/// `group/version` taken apart, or why it is not one.
pub fn split_api_version(version: &str) -> Result<(&str, &str), String> {
    match version.matches('/').count() {
        0 => Ok(("", version)),
        1 => Ok(version.split_once('/').unwrap_or_default()),
        _ => Err(format!("unexpected GroupVersion string: {}", quote(version).trim_matches('"'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let webhook = |change: Value| {
            let mut webhook = json!({"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://example.org/x"}, "rules": [{"operations": ["CREATE"],
                "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
            document::as_map(&mut webhook).extend(change.as_object().cloned().unwrap_or_default());
            let mut configuration = json!({"webhooks": [webhook]});
            ValidatingWebhookConfiguration.default(&mut configuration);
            let mut errors = Errors::new();
            ValidatingWebhookConfiguration.check(&configuration, None, &mut errors);
            errors.0.first().map_or_else(String::new, ToString::to_string)
        };
        assert_eq!(webhook(json!({})), "");
        assert_eq!(
            webhook(json!({"name": "a.b"})),
            "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots"
        );
        assert_eq!(
            webhook(json!({"sideEffects": null})),
            "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"
        );
        assert_eq!(
            webhook(json!({"clientConfig": {}})),
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required"
        );
        assert_eq!(
            webhook(json!({"clientConfig": {"url": "http://example.org"}})),
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"
        );
        assert_eq!(
            webhook(json!({"timeoutSeconds": 31})),
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"
        );
    }
}
