//! CertificateSigningRequest.

use super::path::{Path, child, int, list, shown, text, texts};
use super::{Context, MetadataChecks, Rules, diff};
use api::field::{Errors, quote};
use api::{Value, document, names, time};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use x509_parser::prelude::{FromDer, Pem, X509Certificate, X509CertificationRequest};

pub struct CertificateSigningRequest;

const CONDITIONS: Path = Path::root("status.conditions");
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

impl Rules for CertificateSigningRequest {
    /// Who asks is what the server knows, not what the client says.
    fn prepare_for_create(&self, request: &mut Value, context: &Context) {
        let spec = document::child(document::as_map(request), "spec");
        for key in ["username", "uid", "groups", "extra"] {
            spec.remove(key);
        }
        let user = context.user;
        spec.insert("username".to_owned(), user.name.as_str().into());
        if !user.uid.is_empty() {
            spec.insert("uid".to_owned(), user.uid.as_str().into());
        }
        if !user.groups.is_empty() {
            spec.insert("groups".to_owned(), json!(user.groups));
        }
        if !user.extra.is_empty() {
            spec.insert("extra".to_owned(), json!(user.extra));
        }
        document::set(request, "status", json!({}));
    }

    fn prepare_for_update(&self, request: &mut Value, old: &Value, _: &Context) {
        if let Some(spec) = old.get("spec") {
            document::set(request, "spec", spec.clone());
        }
    }

    fn prepare_for_status_update(&self, request: &mut Value, old: &Value, context: &Context) {
        keep_decisions(request, old);
        set_times(request, old, context.now);
    }

    fn validate(&self, request: &Value, errors: &mut Errors) {
        validate(request, errors);
    }

    fn validate_status_update(&self, request: &Value, old: &Value, errors: &mut Errors) {
        validate(request, errors);
        decisions_stay(request, old, errors);
        no_decision_is_made(request, old, errors);
        let certificate = |object| document::get_str(object, "status.certificate");
        if certificate(request) != certificate(old) && !certificate(old).is_empty() {
            errors.forbidden("status.certificate", "updates may not modify existing certificate content");
        }
    }

    fn validate_name(&self, _: &str, _: bool) -> Vec<String> {
        Vec::new()
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::FIRST_AGAIN
    }
}

/// Before an update of the `approval` subresource: all but the conditions is already the old object's.
pub fn prepare_for_approval(request: &mut Value, old: &Value, now: Timestamp) {
    set_times(request, old, now);
}

/// Checks an update of the `approval` subresource.
pub fn validate_approval(request: &Value, old: &Value, errors: &mut Errors) {
    validate(request, errors);
    decisions_stay(request, old, errors);
}

fn conditions<'a>(request: &'a Value, kind: &str) -> Vec<&'a Value> {
    document::get_list(request, "status.conditions").iter().filter(|c| text(c, "type") == kind).collect()
}

/// Approved and Denied conditions keep what they were; only their number may differ, which validation refuses.
fn keep_decisions(request: &mut Value, old: &Value) {
    for kind in ["Approved", "Denied"] {
        let before: Vec<Value> = conditions(old, kind).into_iter().cloned().collect();
        let now = request.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        let now: Vec<&mut Value> = now.into_iter().flatten().filter(|c| text(c, "type") == kind).collect();
        if now.len() == before.len() {
            now.into_iter().zip(before).for_each(|(now, before)| *now = before);
        }
    }
}

/// Fills in when conditions were updated and when they last changed.
fn set_times(request: &mut Value, old: &Value, now: Timestamp) {
    let now = time::format(now);
    // Of two of the same type and status the first counts.
    let before = document::get_list(old, "status.conditions").iter().rev();
    let before: HashMap<(&str, &str), &Value> = before.map(|c| ((text(c, "type"), text(c, "status")), c)).collect();
    let current = request.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in current.into_iter().flatten() {
        if text(condition, "lastUpdateTime").is_empty() {
            document::set(condition, "lastUpdateTime", now.as_str());
        }
        if text(condition, "lastTransitionTime").is_empty() {
            let before = before.get(&(text(condition, "type"), text(condition, "status")));
            let at = before.map(|c| text(c, "lastTransitionTime")).filter(|at| !at.is_empty()).unwrap_or(&now);
            let at = at.to_owned();
            document::set(condition, "lastTransitionTime", at);
        }
    }
}

fn validate(request: &Value, errors: &mut Errors) {
    let spec = child(request, "spec").unwrap_or(&Value::Null);
    let encoded = text(spec, "request");
    if let Err(why) = check_request(encoded) {
        errors.invalid("spec.request", shown(child(spec, "request")), why);
    }
    let path = Path::root("spec.usages");
    let usages: Vec<&str> = texts(spec, "usages").collect();
    if usages.is_empty() {
        errors.required(path, "");
    }
    let mut seen = HashSet::new();
    for (i, usage) in usages.iter().enumerate() {
        if !USAGES.contains(usage) {
            errors.not_supported(path.index(i), *usage, &USAGES);
        }
        if !seen.insert(usage) {
            errors.duplicate(path.index(i), *usage);
        }
    }
    validate_signer_name(text(spec, "signerName"), &Path::root("spec.signerName"), errors);
    if let Some(seconds) = int(spec, "expirationSeconds").filter(|seconds| *seconds < 600) {
        const WHY: &str = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid("spec.expirationSeconds", seconds, WHY);
    }
    let status = child(request, "status").unwrap_or(&Value::Null);
    validate_conditions(list(status, "conditions"), errors);
    if let Err(why) = check_certificate(text(status, "certificate")) {
        errors.invalid("status.certificate", "<certificate data>", why);
    }
}

/// The request must be one PEM block with a PKCS#10 request in it, signed by the key that is to be certified.
pub fn check_request(encoded: &str) -> Result<(), String> {
    let pem = request_pem(encoded)?;
    let request = parse_request(&pem)?;
    request.verify_signature().map_err(|_| {
        // As the library that upstream uses says it.
        let algorithm = request.signature_algorithm.algorithm.to_id_string();
        let why = match algorithm.as_str() {
            "1.3.101.112" => "x509: Ed25519 verification failure",
            rsa if rsa.starts_with("1.2.840.113549.1.1.") => "crypto/rsa: verification error",
            ecdsa if ecdsa.starts_with("1.2.840.10045.4.3.") => "x509: ECDSA verification failure",
            _ => "x509: cannot verify signature: algorithm unimplemented",
        };
        why.to_owned()
    })
}

fn request_pem(encoded: &str) -> Result<Pem, String> {
    const NOT_PEM: &str = "PEM block type must be CERTIFICATE REQUEST";
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let pem = Pem::iter_from_buffer(&bytes).next().and_then(Result::ok).ok_or(NOT_PEM)?;
    if pem.label == "CERTIFICATE REQUEST" { Ok(pem) } else { Err(NOT_PEM.to_owned()) }
}

fn parse_request(pem: &Pem) -> Result<X509CertificationRequest<'_>, String> {
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).map_err(|error| error.to_string())?;
    Ok(request)
}

/// The organizations in the subject of a PEM request in base64: the groups that a client certificate would give.
pub fn organizations(encoded: &str) -> Result<Vec<String>, String> {
    let pem = request_pem(encoded)?;
    let request = parse_request(&pem)?;
    let organizations = request.certification_request_info.subject.iter_organization();
    organizations.map(|name| name.as_str().map(str::to_owned).map_err(|error| error.to_string())).collect()
}

/// The certificate of a status: PEM blocks of certificates and nothing else, in base64; none is fine.
pub fn check_certificate(encoded: &str) -> Result<(), String> {
    if encoded.is_empty() {
        return Ok(());
    }
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let mut blocks = 0;
    for pem in Pem::iter_from_buffer(&bytes).map_while(Result::ok) {
        if pem.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {}", quote(&pem.label)));
        }
        X509Certificate::from_der(&pem.contents).map_err(|error| error.to_string())?;
        blocks += 1;
    }
    if blocks == 0 { Err("must contain at least one CERTIFICATE PEM block".to_owned()) } else { Ok(()) }
}

/// `example.com/signer-name`
fn validate_signer_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name == "kubernetes.io/legacy-unknown" {
        return errors.invalid(path, name, "the legacy signerName is not allowed via this API version");
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        const WHY: &str = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(path, name, WHY);
    };
    const MAX_DOMAIN: usize = 253;
    // The domain, a slash, and a label with a subdomain.
    const MAX: usize = MAX_DOMAIN + 1 + 63 + 1 + 253;
    if domain.len() > MAX_DOMAIN {
        errors.too_long(path, MAX_DOMAIN);
    }
    validate_labels(domain, names::dns1123_label, path, errors);
    if !domain.contains('.') {
        errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
    validate_labels(rest, names::dns1123_subdomain, path, errors);
    if name.len() > MAX {
        errors.too_long(path, MAX);
    }
}

/// Reports the first label of `part` that is wrong.
fn validate_labels(part: &str, check: fn(&str) -> Vec<String>, path: &Path, errors: &mut Errors) {
    let wrong = part.split('.').map(|label| (label, check(label))).find(|(_, messages)| !messages.is_empty());
    for (label, why) in wrong.iter().flat_map(|(label, messages)| messages.iter().map(move |why| (label, why))) {
        errors.invalid(path, part, format!("validating label {}: {why}", quote(label)));
    }
}

fn validate_conditions(conditions: &[Value], errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = CONDITIONS.index(i);
        let kind = text(condition, "type");
        if kind.is_empty() {
            errors.required(path.at("type"), "");
        }
        let allowed: &[&str] = match kind {
            "Approved" | "Denied" | "Failed" => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        match text(condition, "status") {
            "" => errors.required(path.at("status"), ""),
            status if !allowed.contains(&status) => errors.not_supported(path.at("status"), status, allowed),
            _ => {}
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !other.is_empty() && seen.contains(other) {
            errors.invalid(CONDITIONS, kind, "Approved and Denied conditions are mutually exclusive");
        }
        if !seen.insert(kind) {
            errors.duplicate(path.at("type"), kind);
        }
    }
}

fn decisions_stay(request: &Value, old: &Value, errors: &mut Errors) {
    for kind in ["Approved", "Denied", "Failed"] {
        if conditions(request, kind).len() < conditions(old, kind).len() {
            errors.forbidden(CONDITIONS, format!("updates may not remove a condition of type {}", quote(kind)));
        }
    }
}

/// Only the `approval` subresource approves or denies.
fn no_decision_is_made(request: &Value, old: &Value, errors: &mut Errors) {
    for kind in ["Approved", "Denied"] {
        let (now, before) = (conditions(request, kind), conditions(old, kind));
        if now.len() > before.len() {
            errors.forbidden(CONDITIONS, format!("updates may not add a condition of type {}", quote(kind)));
        } else if now.len() == before.len() && now != before {
            let changes = diff::diff("CertificateSigningRequestCondition", &json!(before), &json!(now));
            let message = format!("updates may not modify a condition of type {}\n{changes}", quote(kind));
            errors.forbidden(CONDITIONS, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(object: Value) -> String {
        let mut errors = Errors::new();
        validate_signer_name(text(&object, "signerName"), &Path::root("spec.signerName"), &mut errors);
        validate_conditions(list(&object, "conditions"), &mut errors);
        errors.0.first().map_or_else(String::new, ToString::to_string)
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(first(json!({"signerName": "kubernetes.io/kube-apiserver-client"})), "");
        assert_eq!(
            first(json!({"signerName": "mine/a"})),
            "spec.signerName: Invalid value: \"mine\": should be a domain with at least two segments separated by dots"
        );
        let both = json!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]);
        assert_eq!(
            first(json!({"signerName": "a.b/c", "conditions": both})),
            "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"
        );
        let garbage = STANDARD.encode("garbage");
        assert_eq!(check_request(&garbage).unwrap_err(), "PEM block type must be CERTIFICATE REQUEST");
    }

    #[test]
    fn status_neither_approves_nor_forgets() {
        let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
        let mut errors = Errors::new();
        no_decision_is_made(&approved, &json!({}), &mut errors);
        decisions_stay(&json!({}), &approved, &mut errors);
        let details: Vec<&str> = errors.0.iter().map(|e| e.detail.as_str()).collect();
        assert_eq!(
            details,
            [
                "updates may not add a condition of type \"Approved\"",
                "updates may not remove a condition of type \"Approved\""
            ]
        );
    }
}
