//! `serviceaccounts/token`: signs a token for a service account (TokenRequest).
//!
//! Follows `pkg/registry/core/serviceaccount/storage/token.go`.

use crate::decode;
use crate::params::field_validation;
use crate::registry::{Call, Object};
use crate::request::{Incoming, wanted};
use crate::resources::{self, Resource};
use crate::response::Body;
use crate::server::ApiServer;
use crate::verbs;
use api::Value;
use api::document;
use api::field::Errors;
use api::status::ApiError;
use http::Response;
use jiff::SignedDuration;
use pki::service_account::{Claims, DEFAULT_ISSUER, ObjectRef, TokenRequest};

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

pub async fn create(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let output = wanted(incoming)?;
    let validation = field_validation(&incoming.query, "CreateOptions")?;
    let call = verbs::call(server, resource, incoming, "CreateOptions")?;
    let mut request = decode::subresource(&call, incoming, "authentication.k8s.io", "v1", "TokenRequest", validation)?;
    let account = server.read(&call)?.into_value(resource)?;
    let seconds = document::get_i64(&request, "spec.expirationSeconds").unwrap_or(DEFAULT_SECONDS);
    validate(&request, seconds)?;
    let mut audiences: Vec<String> =
        document::get_list(&request, "spec.audiences").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences = vec![DEFAULT_ISSUER.to_owned()];
    }
    let bound = bound_object(&call, &request, document::name(&account))?;
    let reference = |kind: &str| bound.as_ref().filter(|(k, _)| k == kind).map(|(_, reference)| reference.clone());
    let claims = Claims::new(
        TokenRequest {
            issuer: DEFAULT_ISSUER,
            namespace: call.namespace,
            service_account: ObjectRef { name: call.name.to_owned(), uid: document::uid(&account).to_owned() },
            pod: reference("Pod"),
            secret: reference("Secret"),
            node: reference("Node"),
            audiences: audiences.clone(),
            expiration_seconds: seconds,
            warn_after_seconds: None,
        },
        call.now,
    );
    let token = server.pki.service_accounts().sign(&claims).map_err(ApiError::internal)?;
    let expires = call.now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(call.now);
    document::set(&mut request, "metadata.name", call.name);
    document::set(&mut request, "metadata.namespace", call.namespace);
    document::set(&mut request, "metadata.creationTimestamp", api::time::format(call.now));
    document::set(&mut request, "spec.audiences", audiences);
    document::set(&mut request, "spec.expirationSeconds", seconds);
    document::set(&mut request, "status.token", token);
    document::set(&mut request, "status.expirationTimestamp", api::time::format(expires));
    Ok(verbs::reply(201, &call, Object::Built(request), output))
}

fn validate(request: &Value, seconds: i64) -> Result<(), ApiError> {
    let mut errors = Errors::new();
    const FIELD: &str = "spec.expirationSeconds";
    if seconds < MIN_SECONDS {
        errors.invalid(FIELD, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > MAX_SECONDS {
        errors.invalid(FIELD, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", document::name(request), &errors))
    }
}

/// The pod, secret or node that the token lives and dies with.
fn bound_object(call: &Call<'_>, request: &Value, account: &str) -> Result<Option<(String, ObjectRef)>, ApiError> {
    let Some(reference) = document::get(request, "spec.boundObjectRef").filter(|r| r.is_object()) else {
        return Ok(None);
    };
    let (kind, name) = (document::get_str(reference, "kind"), document::get_str(reference, "name"));
    let (plural, namespace) = match (kind, document::get_str(reference, "apiVersion")) {
        ("Pod", "v1") => ("pods", call.namespace),
        ("Secret", "v1") => ("secrets", call.namespace),
        ("Node", "v1") => ("nodes", ""),
        (kind, version) => {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {} to object of type {version}, Kind={kind}",
                api::field::quote(account)
            )));
        }
    };
    let bound_call = Call {
        resource: resources::builtin("", plural),
        subresource: "",
        namespace,
        name,
        warnings: Default::default(),
        ..*call
    };
    let object = call.server.read(&bound_call)?.into_value(bound_call.resource)?;
    if kind == "Pod" && document::get_str(&object, "spec.serviceAccountName") != account {
        let why = format!(
            "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
            api::field::quote(account)
        );
        return Err(ApiError::bad_request(why));
    }
    let uid = document::uid(&object);
    let wanted = document::get_str(reference, "uid");
    if !wanted.is_empty() && wanted != uid {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(bound_call.resource.kind, name, why));
    }
    Ok(Some((kind.to_owned(), ObjectRef { name: name.to_owned(), uid: uid.to_owned() })))
}
