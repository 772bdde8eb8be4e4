//! `metav1.Status` failures: the error type of everything between the wire and the store.
//!
//! Codes, reasons and messages follow `k8s.io/apimachinery/pkg/api/errors`; clients match on them.

use crate::field::{Errors, quote};
use crate::kinds::{Kind, qualified};
use serde_json::{Value, json};
use std::collections::HashSet;

/// One entry of `details.causes`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

/// A failure as the client sees it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ApiError(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parts {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    /// Whether the details are there though all of them are empty: what answers without knowing of an object does so.
    pub bare_details: bool,
    /// Details; the object is left out when all of it is empty.
    pub name: String,
    pub group: String,
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: u32,
    /// Where an expired list can go on, at the newest state.
    pub continue_token: String,
}

impl std::ops::Deref for ApiError {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}
impl std::ops::DerefMut for ApiError {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}
impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for ApiError {}

impl ApiError {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> ApiError {
        ApiError(Box::new(Parts { code, reason, message: message.into(), ..Parts::default() }))
    }

    /// What is answered before any handler is reached: for a path, a method or a content type that is not served.
    pub fn unreached(code: u16, reason: &'static str, message: &str) -> ApiError {
        let mut failure = Self::new(code, reason, message);
        failure.bare_details = true;
        failure
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> ApiError {
        self.group = group.to_owned();
        self.kind = kind.to_owned();
        self.name = name.to_owned();
        self
    }

    pub fn with_retry_after(mut self, seconds: u32) -> ApiError {
        self.retry_after_seconds = seconds;
        self
    }

    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> ApiError {
        self.causes.push(Cause { reason: reason.to_owned(), message: message.into(), field: field.to_owned() });
        self
    }

    pub fn not_found(kind: &Kind, name: &str) -> ApiError {
        Self::not_found_in(kind.group, kind.resource, name)
    }

    pub fn not_found_in(group: &str, resource: &str, name: &str) -> ApiError {
        let message = format!("{} {} not found", qualified(resource, group), quote(name));
        Self::new(404, "NotFound", message).about(group, resource, name)
    }

    /// 404 for a path or resource that this server does not have.
    pub fn no_such_resource() -> ApiError {
        Self::unreached(404, "NotFound", "the server could not find the requested resource")
    }

    /// 405 for a verb that a path does not have.
    pub fn no_such_method() -> ApiError {
        let message = "the server does not allow this method on the requested resource";
        Self::unreached(405, "MethodNotAllowed", message)
    }

    pub fn already_exists(kind: &Kind, name: &str) -> ApiError {
        let message = format!("{} {} already exists", kind.qualified_resource(), quote(name));
        Self::new(409, "AlreadyExists", message).about(kind.group, kind.resource, name)
    }

    pub fn conflict(kind: &Kind, name: &str, why: impl std::fmt::Display) -> ApiError {
        Self::conflict_in(kind.group, kind.resource, name, why)
    }

    /// As [`ApiError::conflict`], where the answer names a kind instead of a resource.
    pub fn conflict_in(group: &str, what: &str, name: &str, why: impl std::fmt::Display) -> ApiError {
        let message = format!("Operation cannot be fulfilled on {} {}: {why}", qualified(what, group), quote(name));
        Self::new(409, "Conflict", message).about(group, what, name)
    }

    /// The optimistic-concurrency conflict.
    pub fn modified(kind: &Kind, name: &str) -> ApiError {
        const WHY: &str = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, WHY)
    }

    pub fn forbidden(group: &str, resource: &str, name: &str, why: impl std::fmt::Display) -> ApiError {
        let what = qualified(resource, group);
        let message = match (what.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{what} is forbidden: {why}"),
            (false, false) => format!("{what} {} is forbidden: {why}", quote(name)),
        };
        Self::new(403, "Forbidden", message).about(group, resource, name)
    }

    pub fn unauthorized() -> ApiError {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 500 with what validation found, where upstream makes no 422 of it.
    pub fn unclassified(errors: &Errors) -> ApiError {
        Self::new(500, "", in_one(errors))
    }

    /// 422 with one cause a field.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &Errors) -> ApiError {
        let what = qualified(kind, group);
        let message = format!("{what} {} is invalid: {}", quote(name), in_one(errors));
        let mut failure = Self::new(422, "Invalid", message).about(group, kind, name);
        failure.causes = errors
            .0
            .iter()
            .map(|e| Cause { reason: e.kind.reason().to_owned(), message: e.body(), field: e.field.clone() })
            .collect();
        failure
    }

    pub fn bad_request(message: impl Into<String>) -> ApiError {
        Self::new(400, "BadRequest", message)
    }

    pub fn method_not_allowed(kind: &Kind, action: &str) -> ApiError {
        let message = format!("{action} is not supported on resources of kind {}", quote(&kind.qualified_resource()));
        Self::new(405, "MethodNotAllowed", message).about(kind.group, kind.resource, "")
    }

    /// 410: a resource version or continue token that is no longer kept.
    pub fn expired(message: impl Into<String>) -> ApiError {
        Self::new(410, "Expired", message)
    }

    pub fn internal(why: impl std::fmt::Display) -> ApiError {
        Self::new(500, "InternalError", format!("Internal error occurred: {why}")).with_cause("", why.to_string(), "")
    }

    pub fn unavailable(why: impl Into<String>) -> ApiError {
        Self::new(503, "ServiceUnavailable", why)
    }

    pub fn timeout(why: impl std::fmt::Display) -> ApiError {
        Self::new(504, "Timeout", format!("Timeout: {why}"))
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> ApiError {
        Self::new(429, "TooManyRequests", message).with_retry_after(retry_after_seconds)
    }

    pub fn too_large(why: impl std::fmt::Display) -> ApiError {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: {why}"))
    }

    pub fn not_acceptable(accepted: &str) -> ApiError {
        let message = format!("only the following media types are accepted: {accepted}");
        Self::new(406, "NotAcceptable", message)
    }

    /// 406 of a path that has answers only in these forms.
    pub fn not_produced(available: &str) -> ApiError {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {available}");
        Self::unreached(406, "NotAcceptable", &message)
    }

    /// 415 of a path that takes bodies in other forms only.
    pub fn not_consumed() -> ApiError {
        Self::unreached(415, "UnsupportedMediaType", "415: Unsupported Media Type")
    }

    pub fn unsupported_media_type(accepted: &str) -> ApiError {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut details = serde_json::Map::new();
        let mut put = |key: &str, text: &str| {
            if !text.is_empty() {
                details.insert(key.to_owned(), text.into());
            }
        };
        put("name", &self.name);
        put("group", &self.group);
        put("kind", &self.kind);
        put("uid", &self.uid);
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|cause| {
                let mut object = serde_json::Map::new();
                for (key, text) in [("reason", &cause.reason), ("message", &cause.message), ("field", &cause.field)] {
                    if !text.is_empty() {
                        object.insert(key.to_owned(), text.as_str().into());
                    }
                }
                Value::Object(object)
            });
            details.insert("causes".to_owned(), causes.collect());
        }
        if self.retry_after_seconds > 0 {
            details.insert("retryAfterSeconds".to_owned(), self.retry_after_seconds.into());
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.continue_token.is_empty() {
            status["metadata"]["continue"] = self.continue_token.as_str().into();
        }
        if !details.is_empty() || self.bare_details {
            status["details"] = Value::Object(details);
        }
        status
    }
}

/// All errors in one text, each of them once.
fn in_one(errors: &Errors) -> String {
    let lines: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    let mut seen = HashSet::new();
    let lines: Vec<&str> = lines.iter().map(String::as_str).filter(|line| seen.insert(*line)).collect();
    if let [only] = lines[..] { only.to_owned() } else { format!("[{}]", lines.join(", ")) }
}

/// The `Status` of a deletion that is complete.
pub fn deleted(kind: &Kind, name: &str, uid: &str) -> Value {
    let mut details = json!({ "name": name, "kind": kind.resource, "uid": uid });
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_lists_every_field_once() {
        let mut errors = Errors::new();
        errors.required("spec.containers", "");
        errors.invalid("metadata.name", "A b", "must be lower case");
        let failure = ApiError::invalid("apps", "Deployment", "x", &errors);
        assert_eq!(
            failure.message,
            "Deployment.apps \"x\" is invalid: [spec.containers: Required value, metadata.name: Invalid value: \"A b\": must be lower case]"
        );
        assert_eq!(failure.to_value()["details"]["causes"][1]["reason"], "FieldValueInvalid");
    }
}
