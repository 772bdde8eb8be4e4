//! CustomResourceDefinition: names, versions and their schemas, conversion, stored versions.

mod beta;
mod defaults;
mod expressions;
mod schema;
mod structural;
mod versions;

use super::path::{Path, child, descend, flag, has, immutable, list, required_one_of, shown, text, texts};
use super::webhook_configuration::{validate_client, validate_review_versions};
use super::{Context, MetadataChecks, Rules};
use api::field::{Errors, quote};
use api::{Value, document, names};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
pub use beta::from_v1beta1;
use schema::Leniency;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use versions::{Shared, validate_shared, validate_version};
use x509_parser::prelude::Pem;

pub struct CustomResourceDefinition;

const SPEC: Path = Path::root("spec");
const APPROVAL: &str = "api-approved.kubernetes.io";

impl Rules for CustomResourceDefinition {
    fn default(&self, definition: &mut Value) {
        let kind = document::get_str(definition, "spec.names.kind").to_owned();
        if !kind.is_empty() {
            for (path, value) in
                [("spec.names.singular", kind.to_lowercase()), ("spec.names.listKind", format!("{kind}List"))]
            {
                if document::get_str(definition, path).is_empty() {
                    document::set(definition, path, value);
                }
            }
        }
        if document::get(definition, "spec.conversion").is_none_or(Value::is_null) {
            document::set(definition, "spec.conversion", json!({"strategy": "None"}));
        }
        if document::get_list(definition, "status.storedVersions").is_empty() {
            remember_stored_version(definition);
        }
        let service = definition.pointer_mut("/spec/conversion/webhook/clientConfig/service");
        if let Some(service) = service.filter(|service| service.is_object() && !has(service, "port")) {
            document::set(service, "port", 443);
        }
    }

    fn prepare_for_create(&self, definition: &mut Value, _: &Context) {
        let none = json!({"kind": "", "plural": ""});
        document::set(definition, "status", json!({"conditions": null, "acceptedNames": none, "storedVersions": null}));
        remember_stored_version(definition);
        settle_schemas(definition);
    }

    fn prepare_for_update(&self, definition: &mut Value, _: &Value, _: &Context) {
        remember_stored_version(definition);
        settle_schemas(definition);
    }

    fn validate_name_of(&self, definition: &Value, name: &str, prefix: bool) -> Vec<String> {
        let mut messages = self.validate_name(name, prefix);
        let text = |path: &str| document::get_str(definition, path);
        if name != format!("{}.{}", text("spec.names.plural"), text("spec.group")) {
            messages.push("must be spec.names.plural+\".\"+spec.group".to_owned());
        }
        messages
    }

    fn check(&self, definition: &Value, old: Option<&Value>, errors: &mut Errors) {
        let spec = child(definition, "spec").unwrap_or(&Value::Null);
        let old_spec = old.and_then(|old| child(old, "spec"));
        validate_spec(spec, old_spec, errors);
        if let Some(old) = old {
            if is_established(old) {
                validate_ca_bundle(spec, old_spec, errors);
            }
            validate_fixed(definition, old, errors);
        }
        validate_status(definition, errors);
        validate_stored_versions(definition, errors);
        validate_approval(definition, old, errors);
        let kept = old_spec.is_some_and(|old| flag(old, "preserveUnknownFields"));
        if !kept && flag(spec, "preserveUnknownFields") {
            const WHY: &str = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                spec.versions[*].schema instead";
            errors.invalid(SPEC.at("preserveUnknownFields"), true, WHY);
        }
    }

    fn validate_status_update(&self, definition: &Value, _: &Value, errors: &mut Errors) {
        validate_status(definition, errors);
    }

    fn warnings(&self, definition: &Value, old: Option<&Value>) -> Vec<String> {
        let known = old.map(unknown_formats).unwrap_or_default();
        let new = unknown_formats(definition).into_iter().filter(|format| !known.contains(format));
        new.map(|format| format!("unrecognized format {}", quote(&format))).collect()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks { finalizers: false, ..MetadataChecks::USUAL }
    }
}

/// `status.storedVersions` gets the storage version; only an administrator takes one out.
fn remember_stored_version(definition: &mut Value) {
    let versions = document::get_list(definition, "spec.versions");
    let Some(stored) = versions.iter().find(|version| flag(version, "storage")) else { return };
    let name = Value::from(text(stored, "name"));
    let mut known = document::get_list(definition, "status.storedVersions").to_vec();
    if !known.contains(&name) {
        known.push(name);
        document::set(definition, "status.storedVersions", known);
    }
}

fn settle_schemas(definition: &mut Value) {
    let versions = definition.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema").filter(|schema| schema.is_object()) {
            defaults::settle(schema);
        }
    }
}

fn schema_of(version: &Value) -> Option<&Value> {
    descend(version, &["schema", "openAPIV3Schema"])
}

fn unknown_formats(definition: &Value) -> Vec<String> {
    let versions = document::get_list(definition, "spec.versions");
    let schemas = versions.iter().take(if Shared::of(versions).schema { 1 } else { versions.len() });
    schemas.filter_map(schema_of).flat_map(schema::unknown_formats).collect()
}

fn validate_spec(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let group = text(spec, "group");
    let messages = names::dns1123_subdomain(group);
    if group.is_empty() {
        errors.required(SPEC.at("group"), "");
    } else if !messages.is_empty() {
        errors.invalid(SPEC.at("group"), group, messages.join(","));
    } else if !group.contains('.') {
        errors.invalid(SPEC.at("group"), group, "should be a domain with at least one dot");
    }
    required_one_of(errors, &SPEC.at("scope"), text(spec, "scope"), &["Cluster", "Namespaced"]);
    let old_versions = old.map(|old| list(old, "versions")).unwrap_or_default();
    let lenient = old_versions.iter().filter_map(schema_of).map(Leniency::of).fold(Leniency::default(), Leniency::or);
    let versions = list(spec, "versions");
    let path = SPEC.at("versions");
    let none_before = old_versions.iter().any(|version| schema_of(version).is_none());
    for (i, version) in versions.iter().enumerate().filter(|(_, version)| schema_of(version).is_none()) {
        let at = path.index(i);
        if !none_before {
            errors.required(at.at("schema.openAPIV3Schema"), "");
        } else if flag(version, "served") {
            errors.required(at.at("schema.openAPIV3Schema"), "because otherwise all fields are pruned");
        }
    }
    let shared = Shared::of(versions);
    for (i, version) in versions.iter().enumerate() {
        validate_version(version, old_versions, &shared, lenient, &path.index(i), errors);
    }
    let all = || shared.printed(spec);
    let mut seen = HashSet::new();
    if !versions.iter().all(|version| seen.insert(text(version, "name"))) {
        errors.invalid_printed(path, all(), "must contain unique version names");
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        errors.invalid_printed(path, all(), "must have exactly one version marked as storage version");
    }
    if let Some(first) = versions.first() {
        let messages = names::dns1035_label(text(first, "name"));
        if !messages.is_empty() && !text(first, "name").is_empty() {
            errors.invalid(SPEC.at("version"), text(first, "name"), messages.join(","));
        }
    }
    let crd_names = child(spec, "names").unwrap_or(&Value::Null);
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(crd_names, key).is_empty() {
            errors.required(SPEC.at("names").at(key), "");
        }
    }
    validate_names(crd_names, &SPEC.at("names"), errors);
    validate_shared(versions, old_versions, &shared, lenient, errors);
    validate_conversion(spec, old, errors);
}

fn validate_names(crd_names: &Value, path: &Path, errors: &mut Errors) {
    for key in ["plural", "singular", "kind", "listKind"] {
        let value = text(crd_names, key);
        let mixed_case = key.to_lowercase().ends_with("kind");
        let messages = names::dns1035_label(&if mixed_case { value.to_lowercase() } else { value.to_owned() });
        if value.is_empty() || messages.is_empty() {
            continue;
        }
        let prefix = if mixed_case { "may have mixed case, but should otherwise match: " } else { "" };
        errors.invalid(path.at(key), value, format!("{prefix}{}", messages.join(",")));
    }
    let (kind, list_kind) = (text(crd_names, "kind"), text(crd_names, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        errors.invalid(path.at("listKind"), list_kind, "kind and listKind may not be the same");
    }
    for key in ["shortNames", "categories"] {
        for (i, name) in texts(crd_names, key).enumerate() {
            let messages = names::dns1035_label(name);
            if !messages.is_empty() {
                errors.invalid(path.at(key).index(i), name, messages.join(","));
            }
        }
    }
}

fn validate_conversion(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = SPEC.at("conversion");
    let Some(conversion) = child(spec, "conversion") else { return };
    let strategy = text(conversion, "strategy");
    if strategy != "None" && flag(spec, "preserveUnknownFields") {
        errors.invalid(path.at("strategy"), strategy, "must be None if spec.preserveUnknownFields is true");
    }
    required_one_of(errors, &path.at("strategy"), strategy, &["None", "Webhook"]);
    let config = descend(conversion, &["webhook", "clientConfig"]);
    let webhook = child(conversion, "webhook").unwrap_or(&Value::Null);
    let (client, reviews) = (path.at("webhookClientConfig"), path.at("conversionReviewVersions"));
    if strategy != "Webhook" {
        const WHY: &str = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            errors.forbidden(client, WHY);
        }
        if !list(webhook, "conversionReviewVersions").is_empty() {
            errors.forbidden(reviews, WHY);
        }
        return;
    }
    match config {
        None => errors.required(client, "required when strategy is set to Webhook"),
        Some(config) => validate_client(config, &client, errors),
    }
    let before = old.and_then(|old| descend(old, &["conversion", "webhook"])).unwrap_or(&Value::Null);
    let known = |versions: &[Value]| versions.iter().any(|version| version == "v1" || version == "v1beta1");
    let before = list(before, "conversionReviewVersions");
    let versions: Vec<&str> = texts(webhook, "conversionReviewVersions").collect();
    if versions.is_empty() {
        return errors.required(reviews, "");
    }
    validate_review_versions(&versions, before.is_empty() || known(before), &reviews, errors);
}

/// Whether somebody serves the custom resources.
fn is_established(definition: &Value) -> bool {
    let mut conditions = document::get_list(definition, "status.conditions").iter();
    conditions.any(|condition| text(condition, "type") == "Established" && text(condition, "status") == "True")
}

/// Checks the certificates by which a webhook is known, unless those before were wrong too.
fn validate_ca_bundle(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let bundle = |spec| descend(spec, &["conversion", "webhook", "clientConfig"]).map_or("", |at| text(at, "caBundle"));
    let before = old.map(bundle).unwrap_or_default();
    let conversion = child(spec, "conversion").unwrap_or(&Value::Null);
    let now = bundle(spec);
    if now.is_empty() || text(conversion, "strategy") != "Webhook" || wrong_certificates(before).is_some() {
        return;
    }
    if let Some(why) = wrong_certificates(now) {
        let why = format!("unable to load root certificates: {why}");
        errors.invalid(SPEC.at("conversion.webhookClientConfig.caBundle"), now, why);
    }
}

/// Why there is no certificate in a text in base64; nothing is right too.
fn wrong_certificates(encoded: &str) -> Option<&'static str> {
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let blocks: Vec<Pem> = Pem::iter_from_buffer(&bytes).filter_map(Result::ok).collect();
    let certificates = || blocks.iter().filter(|block| block.label == "CERTIFICATE");
    if encoded.is_empty() || certificates().any(|block| block.parse_x509().is_ok()) {
        None
    } else if blocks.is_empty() {
        Some("unable to parse bytes as PEM block")
    } else if certificates().next().is_some() {
        Some("failed to parse certificate: x509: malformed certificate")
    } else {
        Some("no valid certificate authority data seen")
    }
}

/// What cannot change: the place of the custom resources in the store.
fn validate_fixed(definition: &Value, old: &Value, errors: &mut Errors) {
    let spec = |object| child(object, "spec").unwrap_or(&Value::Null);
    let names = |object| descend(object, &["spec", "names"]).unwrap_or(&Value::Null);
    if is_established(old) {
        immutable(errors, spec(definition), spec(old), &SPEC, "scope");
        immutable(errors, names(definition), names(old), &SPEC.at("names"), "kind");
    }
    immutable(errors, spec(definition), spec(old), &SPEC, "group");
    immutable(errors, names(definition), names(old), &SPEC.at("names"), "plural");
}

fn validate_status(definition: &Value, errors: &mut Errors) {
    if let Some(accepted) = descend(definition, &["status", "acceptedNames"]) {
        validate_names(accepted, &Path::root("status.acceptedNames"), errors);
    }
}

#[derive(PartialEq)]
enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

fn approval(definition: &Value) -> Approval {
    let annotation = document::annotation(definition, APPROVAL).unwrap_or_default();
    let host = annotation.split_once("://").filter(|(scheme, _)| !scheme.is_empty());
    match host.and_then(|(_, rest)| rest.split('/').next()) {
        _ if annotation.is_empty() => Approval::Missing,
        _ if annotation.starts_with("unapproved") => Approval::Bypassed,
        Some(host) if !host.is_empty() => Approval::Approved,
        _ => Approval::Invalid,
    }
}

/// Kubernetes' own groups want to be asked first.
fn validate_approval(definition: &Value, old: Option<&Value>, errors: &mut Errors) {
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let group = document::get_str(definition, "spec.group");
    let protected =
        |domain: &str| group == domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    let state = approval(definition);
    if !["k8s.io", "kubernetes.io"].into_iter().any(protected) || old.is_some_and(|old| approval(old) == state) {
        return;
    }
    let annotations = Path::root("metadata.annotations");
    let path = annotations.key(APPROVAL);
    let needed = format!("protected groups must have approval annotation {}", quote(APPROVAL));
    match state {
        Approval::Missing => errors.required(path, format!("{needed}, {SEE}")),
        Approval::Invalid => {
            let value = document::annotation(definition, APPROVAL).unwrap_or_default();
            let message = format!("{needed} with either a URL or a reason starting with \"unapproved\", {SEE}");
            errors.invalid(path, value, message);
        }
        Approval::Bypassed | Approval::Approved => {}
    }
}

fn validate_stored_versions(definition: &Value, errors: &mut Errors) {
    let path = Path::root("status.storedVersions");
    let stored = document::get_list(definition, "status.storedVersions");
    let all = || shown(document::get(definition, "status.storedVersions"));
    let versions = document::get_list(definition, "spec.versions");
    if stored.is_empty() {
        return errors.invalid(path, Value::Null, "must have at least one stored version");
    }
    // Of stored versions with one name, the last counts; each is the one of a single version.
    let mut left: HashMap<&str, usize> =
        stored.iter().enumerate().map(|(i, version)| (version.as_str().unwrap_or_default(), i)).collect();
    for version in versions {
        // Each message has them all.
        if left.remove(text(version, "name")).is_none() && flag(version, "storage") && !errors.is_full() {
            errors.invalid(path, all(), format!("must have the storage version {}", text(version, "name")));
        }
    }
    for (i, version) in stored.iter().enumerate() {
        let name = version.as_str().unwrap_or_default();
        if left.get(name) == Some(&i) {
            let message = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            errors.invalid(path.index(i), name, message);
        }
    }
}

#[cfg(test)]
mod tests;
