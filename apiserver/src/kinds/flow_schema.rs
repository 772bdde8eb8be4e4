//! FlowSchema and PriorityLevelConfiguration (KEP-1040).

use super::equality::same;
use super::path::{Path, child, descend, flag, has, int, invalid_each, list, text, texts};
use super::subresources::keep_metadata;
use super::{Context, MetadataChecks, Rules, internal};
use crate::bootstrap::flow_control;
use api::field::Errors;
use api::{Value, document, names};
use serde_json::json;
use std::collections::HashSet;

pub struct FlowSchema;
pub struct PriorityLevelConfiguration;

const SPEC: Path = Path::root("spec");
const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

impl Rules for FlowSchema {
    fn default(&self, schema: &mut Value) {
        if document::get_i64(schema, "spec.matchingPrecedence").unwrap_or_default() == 0 {
            document::set(schema, "spec.matchingPrecedence", 1000);
        }
    }

    fn validate(&self, schema: &Value, errors: &mut Errors) {
        let spec = child(schema, "spec").unwrap_or(&Value::Null);
        let path = SPEC.at("matchingPrecedence");
        match int(spec, "matchingPrecedence").unwrap_or_default() {
            low @ ..=0 => errors.invalid(path, low, "must be a positive value"),
            high @ 10_001.. => errors.invalid(path, high, "must not be greater than 10000"),
            1 if document::name(schema) != "exempt" => {
                errors.invalid(path, 1, "only the schema named 'exempt' may have matchingPrecedence 1");
            }
            _ => {}
        }
        if let Some(method) = child(spec, "distinguisherMethod")
            && !matches!(text(method, "type"), "ByNamespace" | "ByUser")
        {
            let path = SPEC.at("distinguisherMethod.type");
            let shown = json!({"Type": text(method, "type")});
            errors.not_supported(path, shown, &["ByNamespace", "ByUser"]);
        }
        let path = SPEC.at("priorityLevelConfiguration.name");
        match descend(spec, &["priorityLevelConfiguration", "name"]).and_then(Value::as_str).unwrap_or_default() {
            "" => errors.required(path, "must reference a priority level"),
            name => invalid_each(errors, &path, name, names::dns1123_subdomain(name)),
        }
        let path = SPEC.at("rules");
        for (i, rule) in list(spec, "rules").iter().enumerate() {
            validate_rule(rule, &path.index(i), errors);
        }
        let name = document::name(schema);
        if fixed_spec(flow_control::flow_schemas(), name).is_some_and(|fixed| !same(Some(&fixed), Some(spec))) {
            let printed = internal::compact("FlowSchemaSpec", spec);
            errors.invalid_printed(SPEC, printed, format!("spec of '{name}' must equal the fixed value"));
        }
        validate_conditions(schema, errors);
    }

    fn validate_status_update(&self, schema: &Value, _: &Value, errors: &mut Errors) {
        validate_conditions(schema, errors);
    }

    fn prepare_for_status_update(&self, schema: &mut Value, old: &Value, _: &Context) {
        keep_metadata(schema, old);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks { status_update: &[], ..MetadataChecks::AS_NEW }
    }
}

/// The specification of an object that the server cannot do without, which is the same everywhere.
fn fixed_spec(mut objects: impl Iterator<Item = Value>, name: &str) -> Option<Value> {
    if !flow_control::MANDATORY.contains(&name) {
        return None;
    }
    objects.find(|object| document::name(object) == name).and_then(|object| object.get("spec").cloned())
}

fn validate_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    let subjects = list(rule, "subjects");
    let at = path.at("subjects");
    if subjects.is_empty() {
        errors.required(at, "subjects must contain at least one value");
    }
    for (i, subject) in subjects.iter().enumerate() {
        validate_subject(subject, &at.index(i), errors);
    }
    let (resources, others) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    let at = path.at("resourceRules");
    for (i, rule) in resources.iter().enumerate() {
        validate_resource_rule(rule, &at.index(i), errors);
    }
    let at = path.at("nonResourceRules");
    for (i, rule) in others.iter().enumerate() {
        let path = at.index(i);
        validate_verbs(rule, &path, errors);
        let urls = wildcard_alone(rule, "nonResourceURLs", "non-resource URLs", &path, errors);
        if list(rule, "nonResourceURLs").is_empty() {
            errors.required(path.at("nonResourceURLs"), "nonResourceURLs must contain at least one value");
        }
        for (i, url) in urls.into_iter().enumerate() {
            if let Some(why) = bad_url(url) {
                errors.invalid(path.at("nonResourceURLs").index(i), url, why);
            }
        }
    }
}

fn validate_subject(subject: &Value, path: &Path, errors: &mut Errors) {
    const KINDS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = text(subject, "kind");
    let Some((_, field)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        return errors.not_supported(path.at("kind"), kind, &["Group", "ServiceAccount", "User"]);
    };
    let path_of = path.at(field);
    match child(subject, field) {
        None => errors.required(path_of, format!("{field} is required when subject kind is '{kind}'")),
        Some(named) => {
            let name = text(named, "name");
            if name.is_empty() {
                errors.required(path_of.at("name"), "");
            } else if kind == "ServiceAccount" && name != "*" {
                invalid_each(errors, &path_of.at("name"), name, names::dns1123_subdomain(name));
            }
            if kind == "ServiceAccount" {
                match text(named, "namespace") {
                    "" => errors.required(path_of.at("namespace"), "must specify namespace for service account"),
                    name => invalid_each(errors, &path_of.at("namespace"), name, names::dns1123_label(name)),
                }
            }
        }
    }
    for (other_kind, other) in KINDS.iter().filter(|(other, _)| *other != kind) {
        if has(subject, other) {
            let message = format!("{other} is forbidden when subject kind is not '{other_kind}'");
            errors.forbidden(path.at(other), message);
        }
    }
}

fn validate_resource_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    validate_verbs(rule, path, errors);
    for (key, what, missing) in [
        ("apiGroups", "api groups", "resource rules must supply at least one api group"),
        ("resources", "resources", "resource rules must supply at least one resource"),
    ] {
        if list(rule, key).is_empty() {
            errors.required(path.at(key), missing);
        }
        wildcard_alone(rule, key, what, path, errors);
    }
    if list(rule, "namespaces").is_empty() && !flag(rule, "clusterScope") {
        const WHY: &str = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.required(path.at("namespaces"), WHY);
    }
    for (i, namespace) in wildcard_alone(rule, "namespaces", "namespaces", path, errors).into_iter().enumerate() {
        for why in names::dns1123_label(namespace) {
            let message = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
            errors.invalid(path.at("namespaces").index(i), namespace, message);
        }
    }
}

fn validate_verbs(rule: &Value, path: &Path, errors: &mut Errors) {
    if list(rule, "verbs").is_empty() {
        errors.required(path.at("verbs"), "verbs must contain at least one value");
    }
    let verbs = wildcard_alone(rule, "verbs", "verbs", path, errors);
    if verbs.iter().any(|verb| !VERBS.contains(verb)) {
        errors.not_supported(path.at("verbs"), json!(verbs), &VERBS);
    }
}

/// The values of a list without a wildcard; a wildcard must be the only value.
fn wildcard_alone<'a>(rule: &'a Value, key: &str, what: &str, path: &Path, errors: &mut Errors) -> Vec<&'a str> {
    let values: Vec<&str> = texts(rule, key).collect();
    if !values.contains(&"*") {
        return values;
    }
    if values.len() > 1 {
        let message = format!("if '*' is present, must not specify other {what}");
        errors.invalid(path.at(key), json!(values), message);
    }
    Vec::new()
}

fn bad_url(url: &str) -> Option<&'static str> {
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if url.contains('*') && (url.matches('*').count() > 1 || !url.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

fn validate_conditions(object: &Value, errors: &mut Errors) {
    let path = Path::root("status.conditions");
    let conditions = document::get_list(object, "status.conditions");
    let mut seen = HashSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            errors.duplicate(path.index(i).at("type"), kind);
        }
        if kind.is_empty() {
            errors.required(path.index(i).at("type"), "");
        }
    }
}

impl Rules for PriorityLevelConfiguration {
    fn default(&self, level: &mut Value) {
        let mut fill = |parent: &str, key: &str, value: i64, zero_too: bool| {
            let path = format!("{parent}.{key}");
            let present = document::get(level, parent).is_some_and(Value::is_object);
            let now = document::get_i64(level, &path);
            if present && (now.is_none() || (zero_too && now == Some(0))) {
                document::set(level, &path, value);
            }
        };
        for (kind, shares) in [("spec.exempt", 0), ("spec.limited", 30)] {
            fill(kind, "nominalConcurrencyShares", shares, false);
            fill(kind, "lendablePercent", 0, false);
        }
        for (key, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
            fill("spec.limited.limitResponse.queuing", key, value, true);
        }
    }

    fn validate(&self, level: &Value, errors: &mut Errors) {
        let spec = child(level, "spec").unwrap_or(&Value::Null);
        let kind = text(spec, "type");
        if (document::name(level) == "exempt") != (kind == "Exempt") {
            errors.invalid(SPEC.at("type"), kind, "must be 'Exempt' if and only if `name` is 'exempt'");
        }
        match kind {
            "Exempt" => {
                if has(spec, "limited") {
                    errors.forbidden(SPEC.at("limited"), "must be nil if the type is not Limited");
                }
                if let Some(exempt) = child(spec, "exempt") {
                    validate_nominal(exempt, &SPEC.at("exempt"), errors);
                    validate_lendable(exempt, &SPEC.at("exempt"), errors);
                }
            }
            "Limited" => {
                if has(spec, "exempt") {
                    errors.forbidden(SPEC.at("exempt"), "must be nil if the type is Limited");
                }
                match child(spec, "limited") {
                    None => errors.required(SPEC.at("limited"), "must not be empty when type is Limited"),
                    Some(limited) => validate_limited(limited, &SPEC.at("limited"), errors),
                }
            }
            other => errors.not_supported(SPEC.at("type"), other, &["Exempt", "Limited"]),
        }
        validate_fixed_level(level, spec, errors);
        validate_conditions(level, errors);
    }

    fn validate_create(&self, level: &Value, errors: &mut Errors) {
        validate_annotation(level, errors);
    }

    fn validate_update(&self, level: &Value, _: &Value, errors: &mut Errors) {
        validate_annotation(level, errors);
    }

    fn validate_status_update(&self, level: &Value, _: &Value, errors: &mut Errors) {
        validate_conditions(level, errors);
    }

    fn prepare_for_status_update(&self, level: &mut Value, old: &Value, _: &Context) {
        keep_metadata(level, old);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks { status_update: &[], ..MetadataChecks::AS_NEW }
    }
}

/// An annotation of conversion between versions that are no longer served.
fn validate_annotation(level: &Value, errors: &mut Errors) {
    const ROUND_TRIP: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
    if document::annotation(level, ROUND_TRIP).is_some() {
        errors.forbidden("metadata.annotations", format!("annotation '{ROUND_TRIP}' is forbidden"));
    }
}

/// Of the level that everybody needs, only what it lends may change.
fn validate_fixed_level(level: &Value, spec: &Value, errors: &mut Errors) {
    let name = document::name(level);
    let Some(fixed) = fixed_spec(flow_control::priority_levels(), name) else { return };
    let mut found = spec.clone();
    if name == "exempt" {
        document::set(&mut found, "exempt", fixed["exempt"].clone());
    }
    if !same(Some(&fixed), Some(&found)) {
        let except = if name == "exempt" { " except the 'spec.exempt' field" } else { "" };
        let printed = internal::compact("PriorityLevelConfigurationSpec", spec);
        errors.invalid_printed(SPEC, printed, format!("spec of '{name}'{except} must equal the fixed value"));
    }
}

fn validate_nominal(object: &Value, path: &Path, errors: &mut Errors) {
    if let Some(shares) = int(object, "nominalConcurrencyShares").filter(|shares| *shares < 0) {
        errors.invalid(path.at("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
}

fn validate_lendable(object: &Value, path: &Path, errors: &mut Errors) {
    if let Some(percent) = int(object, "lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        errors.invalid(path.at("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn validate_limited(limited: &Value, path: &Path, errors: &mut Errors) {
    validate_nominal(limited, path, errors);
    let at = path.at("limitResponse");
    let response = child(limited, "limitResponse").unwrap_or(&Value::Null);
    let queuing = at.at("queuing");
    match (text(response, "type"), child(response, "queuing")) {
        ("Reject", Some(_)) => errors.forbidden(queuing, "must be nil if limited.limitResponse.type is not Limited"),
        ("Reject", None) => {}
        ("Queue", None) => errors.required(queuing, "must not be empty if limited.limitResponse.type is Limited"),
        ("Queue", Some(given)) => validate_queuing(given, &queuing, errors),
        (other, _) => errors.not_supported(at.at("type"), other, &["Queue", "Reject"]),
    }
    validate_lendable(limited, path, errors);
    if let Some(percent) = int(limited, "borrowingLimitPercent").filter(|percent| *percent < 0) {
        errors.invalid(path.at("borrowingLimitPercent"), percent, "if specified, must be a non-negative integer");
    }
}

fn validate_queuing(queuing: &Value, path: &Path, errors: &mut Errors) {
    const MAX_QUEUES: i64 = 10_000_000;
    const MAX_HASH_BITS: u32 = 60;
    let number = |key| int(queuing, key).unwrap_or_default();
    let (queues, hand) = (number("queues"), number("handSize"));
    if number("queueLengthLimit") <= 0 {
        errors.invalid(path.at("queueLengthLimit"), number("queueLengthLimit"), "must be positive");
    }
    if queues <= 0 {
        errors.invalid(path.at("queues"), queues, "must be positive");
    } else if queues > MAX_QUEUES {
        errors.invalid(path.at("queues"), queues, format!("must not be greater than {MAX_QUEUES}"));
    }
    let at = path.at("handSize");
    if hand <= 0 {
        errors.invalid(at, hand, "must be positive");
    } else if hand > queues {
        errors.invalid(at, hand, format!("should not be greater than queues ({queues})"));
    } else if entropy_bits(queues, hand) > MAX_HASH_BITS {
        let message = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        );
        errors.invalid(at, hand, message);
    }
}

/// How many bits it takes to deal a hand from a deck, as upstream bounds it.
fn entropy_bits(deck: i64, hand: i64) -> u32 {
    ((deck as f64).log2() * hand as f64).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::first_error as first;

    #[test]
    fn what_is_wrong_is_said() {
        let subject = json!({"kind": "Group", "group": {"name": "g"}});
        let rule = json!({"subjects": [subject], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/healthz", "/a/*"]}]});
        let level = json!({"name": "global-default"});
        assert_eq!(first(&FlowSchema, json!({"priorityLevelConfiguration": level, "rules": [rule]})), "");
        assert_eq!(
            first(&FlowSchema, json!({"priorityLevelConfiguration": level, "matchingPrecedence": 1})),
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"
        );
        let queue = |queuing: Value| json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}});
        assert_eq!(first(&PriorityLevelConfiguration, queue(json!({}))), "");
        assert_eq!(
            first(&PriorityLevelConfiguration, queue(json!({"handSize": 65}))),
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 65: should not be greater than queues (64)"
        );
    }
}
