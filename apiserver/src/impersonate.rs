//! Impersonation: a caller that may acts as somebody else (`kubectl --as`).
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/filters/impersonation.go`.

use crate::authn::User;
use crate::authz::Attributes;
use crate::request::{Incoming, allowed};
use crate::server::ApiServer;
use api::status::ApiError;
use http::HeaderMap;
use std::collections::BTreeMap;

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const EXTRA: &str = "impersonate-extra-";

/// The user that the request's headers ask for, once the caller was found to have the right to be it.
pub fn requested(server: &ApiServer, incoming: &Incoming) -> Result<Option<User>, ApiError> {
    let headers = &incoming.headers;
    let name = text(headers, "impersonate-user");
    let uid = text(headers, "impersonate-uid");
    let mut groups: Vec<String> = all(headers, "impersonate-group");
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in headers.keys().filter(|key| key.as_str().starts_with(EXTRA)) {
        let field = crate::route::percent_decode(&key.as_str()[EXTRA.len()..], false);
        extra.insert(field, all(headers, key.as_str()));
    }
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        return Err(ApiError::internal(
            "requested impersonation of groups, a uid or extra fields without impersonating a user",
        ));
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
    let everybody = if name == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !groups.iter().any(|group| group == everybody) {
        groups.push(everybody.into());
    }
    Ok(Some(User { name, uid, groups, extra }))
}

fn service_account(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')
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

fn text(headers: &HeaderMap, key: &str) -> String {
    headers.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn all(headers: &HeaderMap, key: &str) -> Vec<String> {
    headers.get_all(key).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
}
