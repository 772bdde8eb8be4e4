//! `serviceaccounts/token`: signs a token for a service account (TokenRequest).
//!
//! Follows `pkg/registry/core/serviceaccount/storage/token.go`.

use crate::decode;
use crate::registry::{Call, Object};
use crate::request::{Incoming, wanted_without_table};
use crate::resources::{self, Resource};
use crate::response::Body;
use crate::server::ApiServer;
use crate::verbs;
use api::Value;
use api::document;
use api::field::Errors;
use api::managed::{self, ResetFields, Writer};
use api::schema::Schema;
use api::status::ApiError;
use http::Response;
use jiff::SignedDuration;
use pki::service_account::{Claims, DEFAULT_ISSUER, ObjectRef, TokenRequest};

const GROUP: &str = "authentication.k8s.io";
const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

/// Upstream's kubelets ask for tokens of this age; those of pods are made to live longer, so that old clients, which do not
/// read a token again, only draw warnings.
const EXTENDED_FROM_SECONDS: i64 = 3607;
const EXTENDED_TO_SECONDS: i64 = 365 * 24 * 60 * 60;

pub async fn create(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let output = wanted_without_table(incoming)?;
    let (call, validation) = verbs::writing(server, resource, incoming, "CreateOptions")?;
    let mut request = decode::subresource(&call, incoming, GROUP, "v1", "TokenRequest", validation)?;
    let seconds = document::get_i64(&request, "spec.expirationSeconds").unwrap_or(DEFAULT_SECONDS);
    document::set(&mut request, "spec.expirationSeconds", seconds);
    note_manager(&call, &mut request);
    check_names(&call, &request)?;
    let account = server.read(&call)?.into_value(resource)?;
    check_uid(&call, &request, &account)?;
    validate(seconds)?;
    let mut audiences: Vec<String> =
        document::get_list(&request, "spec.audiences").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences = vec![DEFAULT_ISSUER.to_owned()];
    }
    let bound = bound_object(&call, &request)?;
    let is_extended = bound.pod.is_some()
        && seconds == EXTENDED_FROM_SECONDS
        && audiences.iter().all(|audience| server.authenticators.api_audiences.contains(audience));
    let claims = Claims::new(
        TokenRequest {
            issuer: DEFAULT_ISSUER,
            namespace: call.namespace,
            service_account: reference_to(&account),
            pod: bound.pod,
            secret: bound.secret,
            node: bound.node,
            audiences: audiences.clone(),
            expiration_seconds: if is_extended { EXTENDED_TO_SECONDS } else { seconds },
            warn_after_seconds: is_extended.then_some(seconds),
        },
        call.now,
    );
    let token = server.pki.service_accounts().sign(&claims).map_err(ApiError::internal)?;
    let expires = call.now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(call.now);
    document::set(&mut request, "metadata.name", call.name);
    document::set(&mut request, "metadata.namespace", call.namespace);
    document::set(&mut request, "metadata.uid", document::uid(&account));
    document::set(&mut request, "metadata.creationTimestamp", api::time::format(call.now));
    document::set(&mut request, "spec.audiences", audiences);
    // Go writes this one even when there is none.
    if document::get(&request, "spec.boundObjectRef").is_none() {
        document::set(&mut request, "spec.boundObjectRef", Value::Null);
    }
    document::set(&mut request, "status.token", token);
    document::set(&mut request, "status.expirationTimestamp", api::time::format(expires));
    Ok(verbs::reply(201, &call, Object::Built(request), output))
}

/// The request has managed fields of its own, though nothing keeps them.
fn note_manager(call: &Call<'_>, request: &mut Value) {
    let Some(ty) = Schema::of_kind(GROUP, "v1", "TokenRequest") else { return };
    let writer = Writer { api_version: "authentication.k8s.io/v1", ..call.writer() };
    managed::update(request, None, ty, &writer, &ResetFields::None);
}

/// Name and namespace, where the request has them, must be the account's.
fn check_names(call: &Call<'_>, request: &Value) -> Result<(), ApiError> {
    for (key, what, own) in [("name", "name", call.name), ("namespace", "namespace", call.namespace)] {
        let path = format!("metadata.{key}");
        let given = document::get_str(request, &path).to_owned();
        if !given.is_empty() && given != own {
            let mut errors = Errors::new();
            errors.invalid(path, given, format!("must match the service account {what} if specified"));
            return Err(ApiError::invalid(GROUP, "TokenRequest", call.name, &errors));
        }
    }
    Ok(())
}

fn check_uid(call: &Call<'_>, request: &Value, account: &Value) -> Result<(), ApiError> {
    let (wanted, uid) = (document::uid(request), document::uid(account));
    if wanted.is_empty() || wanted == uid {
        return Ok(());
    }
    let why = format!("the UID in the token request ({wanted}) does not match the UID of the service account ({uid})");
    Err(ApiError::conflict_in(GROUP, "TokenRequest", call.name, why))
}

fn validate(seconds: i64) -> Result<(), ApiError> {
    let mut errors = Errors::new();
    const FIELD: &str = "spec.expirationSeconds";
    if seconds < MIN_SECONDS {
        errors.invalid(FIELD, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > MAX_SECONDS {
        errors.invalid(FIELD, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(GROUP, "TokenRequest", "", &errors)) }
}

/// What a token lives and dies with; a pod's node is only named.
#[derive(Default)]
struct Bound {
    pod: Option<ObjectRef>,
    secret: Option<ObjectRef>,
    node: Option<ObjectRef>,
}

fn reference_to(object: &Value) -> ObjectRef {
    ObjectRef { name: document::name(object).to_owned(), uid: document::uid(object).to_owned() }
}

fn bound_object(call: &Call<'_>, request: &Value) -> Result<Bound, ApiError> {
    let Some(reference) = document::get(request, "spec.boundObjectRef").filter(|r| r.is_object()) else {
        return Ok(Bound::default());
    };
    let text = |key: &str| document::get_str(reference, key);
    let (kind, name, api_version) = (text("kind"), text("name"), text("apiVersion"));
    let is_core = !api_version.contains('/');
    let (plural, namespace) = match kind {
        "Pod" if is_core => ("pods", call.namespace),
        "Secret" if is_core => ("secrets", call.namespace),
        "Node" if is_core => ("nodes", ""),
        _ => {
            let group_version = if is_core { format!("/{api_version}") } else { api_version.to_owned() };
            let why = format!("cannot bind token to object of type {group_version}, Kind={kind}");
            return Err(ApiError::bad_request(why));
        }
    };
    let object = read(call, plural, namespace, name)?;
    if kind == "Pod" && document::get_str(&object, "spec.serviceAccountName") != call.name {
        let why = format!(
            "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
            api::field::quote(call.name)
        );
        return Err(ApiError::bad_request(why));
    }
    let wanted = text("uid");
    if !wanted.is_empty() && wanted != document::uid(&object) {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict_in("", kind, name, why));
    }
    let itself = Some(reference_to(&object));
    Ok(match kind {
        "Pod" => Bound { pod: itself, node: node_of(call, &object)?, ..Bound::default() },
        "Secret" => Bound { secret: itself, ..Bound::default() },
        _ => Bound { node: itself, ..Bound::default() },
    })
}

/// The node that a pod runs on; without a uid when it is gone.
fn node_of(call: &Call<'_>, pod: &Value) -> Result<Option<ObjectRef>, ApiError> {
    let name = document::get_str(pod, "spec.nodeName");
    if name.is_empty() {
        return Ok(None);
    }
    match read(call, "nodes", "", name) {
        Ok(node) => Ok(Some(reference_to(&node))),
        Err(failure) if failure.code == 404 => Ok(Some(ObjectRef { name: name.to_owned(), uid: String::new() })),
        Err(failure) => Err(failure),
    }
}

fn read(call: &Call<'_>, plural: &'static str, namespace: &str, name: &str) -> Result<Value, ApiError> {
    let resource = resources::builtin("", plural);
    let call = Call { resource, subresource: "", namespace, name, warnings: Default::default(), ..*call };
    call.server.read(&call)?.into_value(resource)
}
