//! The review kinds: questions about who one is and what one may do, answered and forgotten.
//!
//! Follows `authorization.k8s.io/v1` and `authentication.k8s.io/v1`.

use std::collections::BTreeMap;

use api::document::{self, Map};
use api::field::Errors;
use api::selector::{FieldSelector, Selector};
use api::status::ApiError;
use api::{Value, names};
use jiff::Timestamp;
use serde_json::json;

use super::{Attributes, Authorizer, Decision};
use crate::authn::User;
use crate::kinds::internal::compact;

const GROUP: &str = "authorization.k8s.io";

/// The kinds that [`review`] answers.
pub const KINDS: &[&str] = &[
    "SubjectAccessReview",
    "LocalSubjectAccessReview",
    "SelfSubjectAccessReview",
    "SelfSubjectRulesReview",
    "SelfSubjectReview",
];

/// Answers a review of one of [`KINDS`] that `user` has posted to `namespace` (empty but for a LocalSubjectAccessReview).
/// Returns the document with its status; 400 or 422 for a question that makes no sense.
pub fn review(
    kind: &str,
    body: &Value,
    namespace: &str,
    user: &User,
    authorizer: &Authorizer,
    now: Timestamp,
) -> Result<Value, ApiError> {
    match kind {
        "SelfSubjectRulesReview" => rules_review(body, user, authorizer),
        "SelfSubjectReview" => Ok(json!({
            "kind": kind,
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": { "creationTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() },
            "status": { "userInfo": user_info(user) },
        })),
        "SelfSubjectAccessReview" => {
            validate_access_review(kind, body, None)?;
            Ok(with_status(body, access(body, user, authorizer)))
        }
        "LocalSubjectAccessReview" => {
            validate_access_review(kind, body, Some(namespace))?;
            Ok(with_status(body, access(body, &subject(body), authorizer)))
        }
        "SubjectAccessReview" => {
            validate_access_review(kind, body, None)?;
            Ok(with_status(body, access(body, &subject(body), authorizer)))
        }
        _ => Err(ApiError::bad_request(format!("{kind} is no review"))),
    }
}

fn with_status(body: &Value, status: Value) -> Value {
    let mut answer = body.clone();
    document::metadata_mut(&mut answer);
    document::set(&mut answer, "status", status);
    answer
}

/// `authentication.k8s.io/v1` `UserInfo`.
pub fn user_info(user: &User) -> Value {
    let mut info = json!({ "username": user.name });
    if !user.uid.is_empty() {
        document::set(&mut info, "uid", user.uid.as_str());
    }
    if !user.groups.is_empty() {
        document::set(&mut info, "groups", user.groups.clone());
    }
    if !user.extra.is_empty() {
        let extra: Map = user.extra.iter().map(|(key, values)| (key.clone(), values.clone().into())).collect();
        document::set(&mut info, "extra", extra);
    }
    info
}

fn strings(value: &Value, path: &str) -> Vec<String> {
    document::get_list(value, path).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The user that a review asks about.
fn subject(body: &Value) -> User {
    let extra = document::get_map(body, "spec.extra").into_iter().flatten().map(|(key, values)| {
        let values = values.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        (key.clone(), values)
    });
    User {
        name: document::get_str(body, "spec.user").to_owned(),
        uid: document::get_str(body, "spec.uid").to_owned(),
        groups: strings(body, "spec.groups"),
        extra: extra.collect::<BTreeMap<String, Vec<String>>>(),
    }
}

/// The status of an access review.
fn access(body: &Value, user: &User, authorizer: &Authorizer) -> Value {
    let is_resource = present(body, "spec.resourceAttributes");
    let at = if is_resource { "spec.resourceAttributes" } else { "spec.nonResourceAttributes" };
    let asked = document::get(body, at).unwrap_or(&Value::Null);
    let text = |key| document::get_str(asked, key);
    let attributes = Attributes {
        user,
        verb: text("verb"),
        namespace: text("namespace"),
        group: text("group"),
        version: match text("version") {
            "" => "*",
            version => version,
        },
        resource: text("resource"),
        subresource: text("subresource"),
        name: text("name"),
        path: text("path"),
    };
    let decision = authorizer.authorize(&attributes);
    let mut status = json!({ "allowed": decision.is_allowed() });
    let reason = match decision {
        Decision::Allow { reason } => reason.to_string(),
        Decision::Deny { reason } => {
            document::set(&mut status, "denied", true);
            reason
        }
        Decision::NoOpinion { reason } => reason,
    };
    let errors = selector_errors(body);
    if !errors.is_empty() {
        document::set(&mut status, "evaluationError", errors.join("; "));
    }
    if !reason.is_empty() {
        document::set(&mut status, "reason", reason);
    }
    status
}

/// Whether a struct is given at a path; `null` counts as not given.
fn present(body: &Value, path: &str) -> bool {
    document::get(body, path).is_some_and(|value| !value.is_null())
}

/// `namespace`: the URL's, for a LocalSubjectAccessReview.
fn validate_access_review(kind: &str, body: &Value, namespace: Option<&str>) -> Result<(), ApiError> {
    let mut errors = Errors::new();
    let (resource, path) = (present(body, "spec.resourceAttributes"), present(body, "spec.nonResourceAttributes"));
    if resource && path {
        let why = "cannot be specified in combination with resourceAttributes";
        errors.invalid_printed("spec.nonResourceAttributes", shown_path(body), why);
    }
    if !resource && !path {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.invalid("spec.resourceAttributes", Value::Null, why);
    }
    let nobody = document::get_str(body, "spec.user").is_empty() && document::get_list(body, "spec.groups").is_empty();
    if kind != "SelfSubjectAccessReview" && nobody {
        errors.invalid("spec.user", "", "at least one of user or group must be specified");
    }
    validate_selector(body, "fieldSelector", &mut errors);
    validate_selector(body, "labelSelector", &mut errors);
    validate_metadata(body, namespace, &mut errors);
    if let Some(namespace) = namespace {
        let asked = document::get_str(body, "spec.resourceAttributes.namespace");
        if resource && asked != own_namespace(body, namespace) {
            errors.invalid("spec.resourceAttributes.namespace", asked, "must match metadata.namespace");
        }
        if path {
            errors.invalid_printed(
                "spec.nonResourceAttributes",
                shown_path(body),
                "disallowed on this kind of request",
            );
        }
    }
    if !errors.is_empty() {
        // Upstream has lost the kind when it comes to this.
        return Err(ApiError::invalid(GROUP, "", "", &errors));
    }
    match namespace {
        Some(namespace) if own_namespace(body, namespace) != namespace => {
            let why = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
            Err(ApiError::bad_request(why))
        }
        _ => Ok(()),
    }
}

/// The path and verb that a review asks about, as upstream shows them.
fn shown_path(body: &Value) -> String {
    let text = |key: &str| Value::from(document::get_str(body, &format!("spec.nonResourceAttributes.{key}")));
    format!("{{\"Path\":{},\"Verb\":{}}}", text("path"), text("verb"))
}

/// The document's namespace; the URL's where it has none.
fn own_namespace<'a>(body: &'a Value, url: &'a str) -> &'a str {
    match document::namespace(body) {
        "" => url,
        own => own,
    }
}

fn validate_metadata(body: &Value, namespace: Option<&str>, errors: &mut Errors) {
    let Some(metadata) = document::get_map(body, "metadata") else { return };
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let allowed = |key: &str| key == "managedFields" || (key == "namespace" && namespace.is_some());
    if metadata.iter().any(|(key, value)| !allowed(key) && !empty(value)) {
        let why = if namespace.is_some() { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid_printed("metadata", compact("ObjectMeta", &Value::Object(metadata.clone())), why);
    }
}

fn validate_selector(body: &Value, name: &str, errors: &mut Errors) {
    let at = format!("spec.resourceAttributes.{name}");
    if !present(body, &at) {
        return;
    }
    let raw = document::get_str(body, &format!("{at}.rawSelector"));
    let requirements = document::get_list(body, &format!("{at}.requirements"));
    if !raw.is_empty() && !requirements.is_empty() {
        errors.invalid(format!("{at}.rawSelector"), raw, "may not specified at the same time as requirements");
    }
    if raw.is_empty() && requirements.is_empty() {
        let why = format!("when {at} is specified, requirements or rawSelector is required");
        errors.required(format!("{at}.requirements"), why);
    }
    let is_label = name == "labelSelector";
    for (index, requirement) in requirements.iter().enumerate() {
        let at = format!("{at}.requirements[{index}]");
        let key = document::get_str(requirement, "key");
        if !is_label && key.is_empty() {
            errors.required(format!("{at}.key"), "must be specified");
        }
        let values = document::get_list(requirement, "values");
        match document::get_str(requirement, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(format!("{at}.values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(format!("{at}.values"), why);
            }
            _ => {}
        }
        if !is_label {
            continue;
        }
        for why in names::qualified_name(key) {
            errors.invalid(format!("{at}.key"), key, why);
        }
        for (i, value) in values.iter().filter_map(Value::as_str).enumerate() {
            for why in names::label_value(value) {
                errors.invalid(format!("{at}.values[{i}]"), value, why);
            }
        }
    }
}

/// What is said about selectors that cannot be understood; access is then decided without them.
fn selector_errors(body: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for name in ["fieldSelector", "labelSelector"] {
        let at = format!("spec.resourceAttributes.{name}");
        let requirements = document::get_list(body, &format!("{at}.requirements"));
        let raw = document::get_str(body, &format!("{at}.rawSelector"));
        let is_label = name == "labelSelector";
        let understood = requirements.iter().filter(|r| is_understood(r, is_label)).count();
        let is_wrong = match (raw, is_label) {
            ("", _) => false,
            (raw, true) => Selector::parse(raw).is_err(),
            (raw, false) => FieldSelector::parse(raw).is_err(),
        };
        if understood < requirements.len() && understood > 0 {
            all.push(format!("{at} partially ignored due to parse error"));
        } else if understood < requirements.len() || (is_wrong && requirements.is_empty()) {
            all.push(format!("{at} ignored due to parse error"));
        }
    }
    all
}

/// A field is compared with one value only.
fn is_understood(requirement: &Value, is_label: bool) -> bool {
    let values = document::get_list(requirement, "values").len();
    match document::get_str(requirement, "operator") {
        "In" | "NotIn" => is_label || values == 1,
        "Exists" | "DoesNotExist" => is_label,
        _ => false,
    }
}

fn rules_review(body: &Value, user: &User, authorizer: &Authorizer) -> Result<Value, ApiError> {
    let namespace = document::get_str(body, "spec.namespace");
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let found = authorizer.rules_for(user, namespace);
    let part = |keep: fn(&super::rule::Rule) -> bool, drop: &[&str]| -> Vec<Value> {
        let kept = found.rules.iter().filter(|rule| keep(rule));
        kept.map(|rule| {
            let mut value = rule.to_value();
            for key in drop {
                document::remove(&mut value, key);
            }
            value
        })
        .collect()
    };
    let mut status = json!({
        "resourceRules": part(|rule| !rule.resources.is_empty(), &["nonResourceURLs"]),
        "nonResourceRules": part(
            |rule| !rule.non_resource_urls.is_empty(), &["apiGroups", "resources", "resourceNames"],
        ),
        "incomplete": false,
    });
    if !found.errors.is_empty() {
        document::set(&mut status, "evaluationError", super::aggregate(found.errors.clone()));
    }
    Ok(json!({
        "kind": "SelfSubjectRulesReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": {},
        "status": status,
    }))
}

/// The token and the audiences (none: the server's own) that a TokenReview asks about.
pub fn token_of(body: &Value) -> Result<(&str, Vec<String>), ApiError> {
    match document::get_str(body, "spec.token") {
        "" => Err(ApiError::bad_request("token is required for TokenReview in authentication")),
        token => Ok((token, strings(body, "spec.audiences"))),
    }
}

/// What a TokenReview says is wrong with a token: upstream asks its own tokens first, and they do not know it.
pub fn token_error(why: &str) -> String {
    const UNKNOWN: &str = "invalid bearer token";
    if why == UNKNOWN { why.to_owned() } else { format!("[{UNKNOWN}, {why}]") }
}

/// Answers a TokenReview. `outcome`: the token's user and those of the audiences that it is for, `None` when nobody knows the
/// token, or what was wrong with it.
pub fn token_review(body: &Value, outcome: Result<Option<(User, Vec<String>)>, String>) -> Value {
    let mut status = json!({});
    match outcome {
        Ok(Some((user, audiences))) => {
            status = json!({ "authenticated": true, "user": user_info(&user) });
            if !audiences.is_empty() {
                document::set(&mut status, "audiences", audiences);
            }
        }
        Ok(None) => status["user"] = json!({}),
        Err(error) => status = json!({ "user": {}, "error": error }),
    }
    with_status(body, status)
}
