//! What a failed request means to its sender.

use kube::core::Status;

use crate::client::Error;

/// The `Status` of a failure that the server answered.
pub fn status(error: &Error) -> Option<&Status> {
    match error {
        Error::Api(status) => Some(status),
        _ => None,
    }
}

/// The HTTP code of a failure that the server answered; 0 for one of the transport.
pub fn code(error: &Error) -> u16 {
    status(error).map_or(0, |s| s.code)
}

/// The `Status` reason; empty for a failure of the transport.
pub fn reason(error: &Error) -> &str {
    status(error).map_or("", |s| s.reason.as_str())
}

pub fn is_not_found(error: &Error) -> bool {
    code(error) == 404
}
/// A conflict of versions or preconditions, as opposed to a name that is taken.
pub fn is_conflict(error: &Error) -> bool {
    code(error) == 409 && reason(error) != "AlreadyExists"
}
pub fn is_already_exists(error: &Error) -> bool {
    reason(error) == "AlreadyExists"
}
/// The revision is no longer kept: list again.
pub fn is_expired(error: &Error) -> bool {
    code(error) == 410
}
/// An object cannot be created because its namespace is being deleted.
pub fn is_namespace_terminating(error: &Error) -> bool {
    let causes = status(error).and_then(|s| s.details.as_ref()).map(|d| d.causes.as_slice());
    causes.unwrap_or_default().iter().any(|c| c.reason == "NamespaceTerminating")
}
/// How long the server asks to wait, in seconds.
pub fn retry_after_seconds(error: &Error) -> Option<u32> {
    let seconds = status(error)?.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then_some(seconds)
}
