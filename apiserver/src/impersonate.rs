//! Impersonation: a caller that may acts as somebody else (`kubectl --as`).
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/filters/impersonation.go`.

use crate::authn::{ANONYMOUS, AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP, User};
use crate::authz::Attributes;
use crate::request::{Incoming, allowed};
use crate::server::ApiServer;
use api::field::quote;
use api::names;
use api::status::ApiError;
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeMap;

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const EXTRA: &str = "impersonate-extra-";

/// The user that the request's headers ask for, once the caller was found to have the right to be it.
pub fn requested(server: &ApiServer, incoming: &Incoming) -> Result<Option<User>, ApiError> {
    let headers = &incoming.headers;
    let name = text(headers, "impersonate-user")?;
    let uid = text(headers, "impersonate-uid")?;
    let mut groups: Vec<String> = all(headers, "impersonate-group")?;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in headers.keys().filter(|key| key.as_str().starts_with(EXTRA)) {
        let field = crate::route::percent_decode(&key.as_str()[EXTRA.len()..]);
        extra.entry(field).or_default().extend(all(headers, key.as_str())?);
    }
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        let asked = go_syntax(&uid, &groups, &extra);
        return Err(ApiError::bad_request(format!("requested {asked} without impersonating a user name")));
    }
    may(server, incoming, "", name_resource(&name), &name)?;
    for group in &groups {
        may(server, incoming, "", ("groups", "", ""), group)?;
    }
    if !uid.is_empty() {
        may(server, incoming, "authentication.k8s.io", ("uids", "", ""), &uid)?;
    }
    for (key, values) in &extra {
        for value in values {
            may(server, incoming, "authentication.k8s.io", ("userextras", key, ""), value)?;
        }
    }
    if groups.is_empty()
        && let Some((namespace, _)) = service_account(&name)
    {
        groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let is_in = |name: &str| groups.iter().any(|group| group == name);
    let everybody = if name == ANONYMOUS { UNAUTHENTICATED_GROUP } else { AUTHENTICATED_GROUP };
    // Who asks to be unauthenticated is not made authenticated.
    if !is_in(everybody) && !is_in(UNAUTHENTICATED_GROUP) {
        groups.push(everybody.into());
    }
    Ok(Some(User { name, uid, groups, extra }))
}

/// A user without a name, as Go writes a value of its type.
fn go_syntax(uid: &str, groups: &[String], extra: &BTreeMap<String, Vec<String>>) -> String {
    let list = |values: &[String]| match values {
        [] => "[]string(nil)".to_owned(),
        values => format!("[]string{{{}}}", values.iter().map(|value| quote(value)).collect::<Vec<_>>().join(", ")),
    };
    let pairs: Vec<String> = extra.iter().map(|(key, values)| format!("{}:{}", quote(key), list(values))).collect();
    let extra = if extra.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", pairs.join(", ")) };
    let (uid, groups) = (quote(uid), list(groups));
    format!("&user.DefaultInfo{{Name:\"\", UID:{uid}, Groups:{groups}, Extra:map[string][]string{extra}}}")
}

/// Namespace and name of a service account's user; any other name is a plain user's.
fn service_account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    let valid = names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

/// Resource, subresource and namespace of the right to be this user.
fn name_resource(name: &str) -> (&'static str, &str, &str) {
    match service_account(name) {
        Some((namespace, _)) => ("serviceaccounts", "", namespace),
        None => ("users", "", ""),
    }
}

fn may(
    server: &ApiServer,
    incoming: &Incoming,
    group: &str,
    (resource, subresource, namespace): (&str, &str, &str),
    name: &str,
) -> Result<(), ApiError> {
    let name = service_account(name).filter(|_| resource == "serviceaccounts").map_or(name, |(_, name)| name);
    let attributes = Attributes {
        user: &incoming.user,
        verb: "impersonate",
        namespace,
        group,
        version: if group.is_empty() { "" } else { "v1" },
        resource,
        subresource,
        name,
        path: &incoming.route.path,
    };
    allowed(server, &attributes)
}

fn text(headers: &HeaderMap, key: &str) -> Result<String, ApiError> {
    Ok(all(headers, key)?.into_iter().next().unwrap_or_default())
}

/// The values of a header. One that cannot be read is refused: without it the request would be somebody else's.
fn all(headers: &HeaderMap, key: &str) -> Result<Vec<String>, ApiError> {
    let text = |value: &HeaderValue| String::from_utf8(value.as_bytes().to_vec());
    let values: Result<Vec<String>, _> = headers.get_all(key).iter().map(text).collect();
    values.map_err(|_| ApiError::bad_request(format!("the header {key} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_has_a_namespace_and_a_name() {
        assert_eq!(service_account("system:serviceaccount:a:b"), Some(("a", "b")));
        for other in ["a", "system:serviceaccount:a", "system:serviceaccount::b", "system:serviceaccount:a:b:c"] {
            assert_eq!(service_account(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_in_any_script_is_read_and_a_broken_one_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("impersonate-user", HeaderValue::from_bytes("m\u{fc}ller".as_bytes()).unwrap());
        assert_eq!(text(&headers, "impersonate-user").unwrap(), "m\u{fc}ller");
        headers.insert("impersonate-user", HeaderValue::from_bytes(b"m\xfcller").unwrap());
        assert_eq!(text(&headers, "impersonate-user").unwrap_err().code, 400);
    }
}
