//! Why etcd did not answer as it should, and what that says of a change that was asked for.

use std::error::Error as _;

use tonic::{Code, ConnectError, Status};

use crate::Error;

/// A call that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// With the member's address.
    pub(super) text: String,
    /// Without it: clients need not know where etcd is.
    pub(super) told: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing was done, and another member may do it.
    NotDone,
    /// It may have been done, or may be done yet.
    Unknown,
    /// Nothing was done: the lease of a put has ended.
    NoLease,
    /// Nothing was done: the quota is used up.
    NoSpace,
    /// Nothing was done: the request is larger than etcd accepts.
    TooLarge,
    /// The revision has been compacted.
    Compacted,
    /// The revision is yet to come.
    Future,
    /// etcd does not do this, whoever is asked.
    Refused,
}

impl Failure {
    /// Of which nothing more is known than `told`, which names no address.
    pub(super) fn new(kind: Kind, told: impl Into<String>) -> Failure {
        let told = told.into();
        Failure { kind, text: told.clone(), told }
    }

    /// Of one `member`: `etcd at MEMBER WHAT`.
    pub(super) fn at(member: &str, kind: Kind, what: &str) -> Failure {
        Failure { kind, text: format!("etcd at {member}{what}"), told: format!("etcd{what}") }
    }

    /// What `member` answered, or that it did not.
    pub(super) fn of(member: &str, status: &Status) -> Failure {
        let said = status.message();
        let kind = kind(status);
        let what = match kind {
            Kind::NoSpace => format!(" takes no more: {said}. {QUOTA}"),
            Kind::Refused if status.code() == Code::PermissionDenied => {
                format!(" refuses: {said}. Its user for the client certificate needs a role that may {RIGHTS}")
            }
            _ => format!(": {}", reason(status)),
        };
        Failure::at(member, kind, &what)
    }
}

pub(super) const QUOTA: &str =
    "Compact and defragment it, raise --quota-backend-bytes if need be, then: etcdctl alarm disarm";

const RIGHTS: &str = "read all keys and write those of --etcd-prefix and compact_rev_key";

/// Errors of etcd by which nothing was done and that another member need not have.
const ELSEWHERE: [&str; 6] = [
    "auth store is old",
    "no leader",
    "server stopped",
    "too many requests",
    "not supported for learner",
    "not capable",
];

fn kind(status: &Status) -> Kind {
    let said = status.message();
    let says = |what: &str| said.contains(what);
    if was_never_sent(status) || ELSEWHERE.into_iter().any(says) {
        return Kind::NotDone;
    }
    match status.code() {
        Code::NotFound if says("lease not found") => Kind::NoLease,
        Code::ResourceExhausted if says("database space exceeded") => Kind::NoSpace,
        Code::InvalidArgument if says("request is too large") => Kind::TooLarge,
        // gRPC's own limit, which is a little above etcd's.
        Code::ResourceExhausted if says("larger than max") => Kind::TooLarge,
        Code::OutOfRange if says("compacted") => Kind::Compacted,
        Code::OutOfRange if says("future revision") => Kind::Future,
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => Kind::Refused,
        Code::FailedPrecondition | Code::OutOfRange | Code::NotFound | Code::DataLoss => Kind::Refused,
        _ => Kind::Unknown,
    }
}

/// Whether there was no connection to send the request on.
fn was_never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The message, or the innermost of the errors behind it, which says most.
fn reason(status: &Status) -> String {
    let mut innermost = None;
    let mut source = status.source();
    while let Some(error) = source {
        innermost = Some(error.to_string());
        source = error.source();
    }
    innermost.unwrap_or_else(|| status.message().to_owned())
}

/// What a client is told; the rest is for the log.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        tracing::warn!(reason = failure.text, "etcd does not do what is asked");
        match failure.kind {
            Kind::Unknown => Error::Unavailable(format!(
                "{}. Whether the change was made is not known: read the object before trying again",
                failure.told
            )),
            _ => Error::Unavailable(failure.told),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_decides_whether_a_change_may_have_been_made() {
        for (code, said, expected) in [
            (Code::Unavailable, "etcdserver: no leader", Kind::NotDone),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
                Kind::Unknown,
            ),
            (Code::Unavailable, "etcdserver: leader changed", Kind::Unknown),
            (Code::ResourceExhausted, "etcdserver: too many requests", Kind::NotDone),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", Kind::NoSpace),
            (Code::NotFound, "etcdserver: requested lease not found", Kind::NoLease),
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", Kind::Compacted),
            (Code::PermissionDenied, "etcdserver: permission denied", Kind::Refused),
            (Code::Unknown, "h2 protocol error: error reading a body from connection", Kind::Unknown),
            (Code::Cancelled, "operation was canceled", Kind::Unknown),
        ] {
            assert_eq!(Failure::of("m", &Status::new(code, said)).kind, expected, "{said}");
        }
    }
}
