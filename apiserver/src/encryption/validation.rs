//! What a configuration may say, in upstream's words. No message holds a secret.

use super::config::{Configuration, Key, Kms, Provider};
use super::resource::GroupResource;
use api::Value;
use api::field::{Errors, quote};
use api::time::format_duration;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::SignedDuration;
use serde_json::json;
use std::collections::BTreeSet;
use zeroize::Zeroizing;

const AES_SIZES: &[usize] = &[16, 24, 32];
const SECRETBOX_SIZES: &[usize] = &[32];
pub(super) const NO_PROVIDER: &str =
    "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
const TWO_PROVIDERS: &str =
    "more than one provider specified in a single element, should split into different list elements";

/// Everything that is wrong, as one sentence.
pub(super) fn validate(configuration: &Configuration, reload: bool) -> Result<(), String> {
    let mut errors = Errors::new();
    if configuration.resources.is_empty() {
        errors.required("resources", "at least one resources is required");
    }
    let mut services = BTreeSet::new();
    for (index, rule) in configuration.resources.iter().enumerate() {
        let (resources, providers) = (format!("resources[{index}].resources"), format!("resources[{index}].providers"));
        if rule.resources.is_empty() {
            errors.required(&resources, format!("at least one {resources} is required"));
        }
        validate_overlap(&rule.resources, &resources, &mut errors);
        for (index, name) in rule.resources.iter().enumerate() {
            if let Some(why) = wrong_name(name) {
                errors.invalid(format!("{resources}[{index}]"), name.as_str(), why);
            }
        }
        if rule.providers.is_empty() {
            errors.required(&providers, format!("at least one {providers} is required"));
        }
        for (index, provider) in rule.providers.iter().enumerate() {
            validate_provider(provider, &format!("{providers}[{index}]"), &mut services, reload, &mut errors);
        }
    }
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

fn validate_overlap(names: &[String], path: &str, errors: &mut Errors) {
    let all: Vec<GroupResource<'_>> = names.iter().map(|name| GroupResource::parse(name)).collect();
    let (mut is_twice, mut overlaps) = (false, false);
    for (index, one) in all.iter().enumerate() {
        for (_, other) in all.iter().enumerate().filter(|(it, _)| *it != index) {
            // The first pair of equal ones is only that.
            if one == other && !is_twice {
                is_twice = true;
                continue;
            }
            let is_any = one.resource == "*" || other.resource == "*";
            overlaps |= *one == GroupResource::ANY || (one.group == other.group && is_any);
        }
    }
    let names = || Value::from(names.to_vec());
    if is_twice {
        errors.invalid(path, names(), "the same resource cannot be specified multiple times");
    }
    if overlaps {
        let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they \
                   will be masked";
        errors.invalid(path, names(), why);
    }
}

fn wrong_name(name: &str) -> Option<&'static str> {
    let GroupResource { group, resource } = GroupResource::parse(name);
    let (group, resource) = (&*group, &*resource);
    match name {
        _ if name.to_lowercase() != name => Some("resource name should not contain capital letters"),
        "*" => Some("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"),
        "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations" => {
            Some("resources which do not have REST API/s cannot be encrypted")
        }
        _ if group == "events.k8s.io" => Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
        ),
        _ if group == "extensions" => Some("'extensions' group has been removed and cannot be used for encryption"),
        _ if group == "*" && resource != "*" => Some("encrypting the same resource across groups is not supported"),
        _ => None,
    }
}

fn validate_provider<'a>(
    provider: &'a Provider,
    path: &str,
    services: &mut BTreeSet<&'a str>,
    reload: bool,
    errors: &mut Errors,
) {
    let Provider { aesgcm, aescbc, secretbox, identity, kms } = provider;
    let given = [aesgcm.is_some(), aescbc.is_some(), secretbox.is_some(), *identity, kms.is_some()];
    match given.iter().filter(|given| **given).count() {
        0 => errors.invalid_printed(path, printed(provider), NO_PROVIDER),
        1 => {}
        _ => errors.invalid_printed(path, printed(provider), TWO_PROVIDERS),
    }
    match provider {
        Provider { kms: Some(kms), .. } => {
            validate_kms(kms, &format!("{path}.kms"), services, reload, errors);
            services.insert(&kms.name);
        }
        Provider { aesgcm: Some(keys), .. } => validate_keys(keys, &format!("{path}.aesgcm.keys"), AES_SIZES, errors),
        Provider { aescbc: Some(keys), .. } => validate_keys(keys, &format!("{path}.aescbc.keys"), AES_SIZES, errors),
        Provider { secretbox: Some(keys), .. } => {
            validate_keys(keys, &format!("{path}.secretbox.keys"), SECRETBOX_SIZES, errors);
        }
        _ => {}
    }
}

/// A provider as Go prints it, without its keys.
fn printed(provider: &Provider) -> String {
    let keys = |keys: &Option<Vec<Key>>| {
        keys.as_ref().map(|keys| {
            let keys = keys.iter().map(|key| json!({ "Name": key.name, "Secret": "REDACTED" }));
            json!({ "Keys": keys.collect::<Vec<_>>() })
        })
    };
    let kms = provider.kms.as_ref().map(|kms| {
        json!({
            "APIVersion": kms.api_version, "Name": kms.name, "CacheSize": kms.cache_size, "Endpoint": kms.endpoint,
            "Timeout": format_duration(kms.timeout),
        })
    });
    let identity = provider.identity.then(|| json!({}));
    let fields = [
        ("AESGCM", keys(&provider.aesgcm)),
        ("AESCBC", keys(&provider.aescbc)),
        ("Secretbox", keys(&provider.secretbox)),
        ("Identity", identity),
        ("KMS", kms),
    ];
    let fields = fields.map(|(name, value)| format!("{}:{}", quote(name), value.unwrap_or_default()));
    format!("{{{}}}", fields.join(","))
}

fn validate_keys(keys: &[Key], path: &str, sizes: &[usize], errors: &mut Errors) {
    if keys.is_empty() {
        errors.required(path, "at least one keys is required");
    }
    for (index, key) in keys.iter().enumerate() {
        if key.name.is_empty() {
            errors.required(format!("{path}[{index}].name"), "name is a mandatory field for a key");
        }
        let path = format!("{path}[{index}].secret");
        if key.secret.is_empty() {
            errors.required(path, "secret is a mandatory field for a key");
            continue;
        }
        match secret(key) {
            None => errors.invalid(path, "REDACTED", "secrets must be base64 encoded"),
            Some(secret) if !sizes.contains(&secret.len()) => {
                let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
                let (length, sizes) = (secret.len(), sizes.join(" "));
                let why = format!("secret is not of the expected length, got {length}, expected one of [{sizes}]");
                errors.invalid(path, "REDACTED", why);
            }
            Some(_) => {}
        }
    }
}

/// The key itself; `None` if it is not in base64. Line breaks in it are left out, as Go does.
pub(super) fn secret(key: &Key) -> Option<Zeroizing<Vec<u8>>> {
    let text: Zeroizing<String> = Zeroizing::new(key.secret.chars().filter(|c| !matches!(c, '\n' | '\r')).collect());
    BASE64_STANDARD.decode(text.as_bytes()).ok().map(Zeroizing::new)
}

fn validate_kms(kms: &Kms, path: &str, services: &BTreeSet<&str>, reload: bool, errors: &mut Errors) {
    let Kms { api_version, name, cache_size, endpoint, timeout } = kms;
    if name.is_empty() {
        errors.required(format!("{path}.name"), "name is a mandatory field for a provider");
    }
    if api_version != "v1" && name.contains(':') {
        let why = format!("invalid KMS provider name {name}, must not contain ':'");
        errors.invalid(format!("{path}.name"), name.as_str(), why);
    }
    if (reload || api_version != "v1") && services.contains(name.as_str()) {
        let why = format!("duplicate KMS provider name {name}, names must be unique");
        errors.invalid(format!("{path}.name"), name.as_str(), why);
    }
    if *timeout <= SignedDuration::ZERO {
        errors.invalid(format!("{path}.timeout"), format_duration(*timeout), "timeout should be a positive value");
    }
    validate_endpoint(endpoint, &format!("{path}.endpoint"), errors);
    match cache_size {
        Some(size) if api_version != "v1" => {
            errors.invalid(format!("{path}.cachesize"), *size, "cachesize is not supported in v2");
        }
        Some(0) => {
            let why = "cachesize should be a positive value, or negative to disable";
            errors.invalid(format!("{path}.cachesize"), 0, why);
        }
        _ => {}
    }
    if !matches!(api_version.as_str(), "v1" | "v2") {
        let why = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
        errors.invalid(format!("{path}.apiVersion"), api_version.as_str(), why);
    }
}

fn validate_endpoint(endpoint: &str, path: &str, errors: &mut Errors) {
    if endpoint.is_empty() {
        return errors.invalid(path, "", "endpoint is a mandatory field for a kms");
    }
    match scheme(endpoint) {
        Err(why) => {
            let why = format!("invalid endpoint for kms provider, error: parse {}: {why}", quote(endpoint));
            errors.invalid(path, endpoint, why);
        }
        Ok("unix") => {}
        Ok(other) => {
            let why = format!("unsupported scheme {} for KMS provider, only unix is supported", quote(other));
            errors.invalid(path, endpoint, why);
        }
    }
}

/// The scheme of a URL, empty if it has none; what is wrong with it, in Go's words.
fn scheme(url: &str) -> Result<&str, String> {
    if url.chars().any(|c| c.is_ascii_control()) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        let escape: String = rest[at..].chars().take(3).collect();
        if escape.len() < 3 || !escape[1..].bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("invalid URL escape {}", quote(&escape)));
        }
        rest = &rest[at + 3..];
    }
    match url.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.')) {
        Some(0) if url.starts_with(':') => Err("missing protocol scheme".to_owned()),
        Some(at) if url[at..].starts_with(':') && url.starts_with(|c: char| c.is_ascii_alphabetic()) => Ok(&url[..at]),
        Some(at) if url[at..].starts_with(':') => Err("first path segment in URL cannot contain colon".to_owned()),
        _ => Ok(""),
    }
}
