//! Subresources that are more than a part of their object, and the review kinds that are answered and forgotten.

mod binding;
mod eviction;
mod log;
mod scale;
mod token;

use crate::authz::review;
use crate::registry::{Object, Part, meta};
use crate::request::{Incoming, wanted_without_table};
use crate::resources::Resource;
use crate::response::Body;
use crate::server::ApiServer;
use crate::{decode, negotiate, verbs};
use api::document;
use api::status::ApiError;
use http::Response;
use std::sync::Arc;

/// Answers a request about a subresource.
pub async fn serve(
    server: &Arc<ApiServer>,
    resource: &'static Resource,
    incoming: Incoming,
) -> Result<Response<Body>, ApiError> {
    let route = &incoming.route;
    let Some(subresource) = resource.kind.subresource(&route.subresource) else {
        return Err(ApiError::no_such_resource());
    };
    let verb = if route.verb == "deletecollection" { "delete" } else { route.verb };
    if !subresource.verbs.contains(&verb) {
        return Err(ApiError::no_such_method());
    }
    negotiate::routed(&incoming)?;
    let part = match subresource.name {
        "status" => Part::Status,
        "finalize" => Part::Finalize,
        "approval" => Part::Approval,
        "ephemeralcontainers" => Part::EphemeralContainers,
        "resize" => Part::Resize,
        "scale" => return scale::serve(server, resource, &incoming).await,
        "binding" => return binding::create(server, resource, &incoming).await,
        "eviction" => return eviction::create(server, resource, &incoming).await,
        "token" => return token::create(server, resource, &incoming).await,
        "log" => return log::get(server, resource, incoming).await,
        stream => return Err(unserved(server, resource, &incoming, stream)),
    };
    match verb {
        "get" => verbs::get(server, resource, &incoming).await,
        "update" => verbs::update(server, resource, &incoming, part).await,
        "patch" => verbs::patch(server, resource, &incoming, part).await,
        _ => Err(ApiError::no_such_method()),
    }
}

/// The answer to a stream from a pod, or to a proxied request.
fn unserved(server: &ApiServer, resource: &'static Resource, incoming: &Incoming, stream: &str) -> ApiError {
    let unhosted = || -> Result<bool, ApiError> {
        if stream == "proxy" {
            return Ok(false);
        }
        let call = verbs::reading(server, resource, incoming);
        let object = server.read(&call)?.into_value(resource)?;
        Ok(document::get_str(&object, "spec.nodeName").is_empty())
    };
    match unhosted() {
        Err(failure) => failure,
        Ok(true) => ApiError::bad_request(format!("pod {} does not have a host assigned", incoming.route.name)),
        Ok(false) => ApiError::new(501, "NotImplemented", format!("{stream} is not served by this server yet")),
    }
}

/// Answers a kind that is not stored: reviews, and the old form of a binding.
pub async fn review(
    server: &Arc<ApiServer>,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let output = wanted_without_table(incoming)?;
    if resource.kind.kind == "Binding" {
        return binding::create_by_name(server, incoming).await;
    }
    let (call, validation) = verbs::writing(server, resource, incoming, "CreateOptions")?;
    let mut body = decode::object(&call, incoming, validation)?;
    meta::wipe(&mut body);
    meta::match_namespace(&mut body, resource, call.namespace)?;
    call.track(&mut body, None);
    let mut answer = match resource.kind.kind {
        "TokenReview" => token_review(server, &body, incoming).await?,
        kind => review::review(kind, &body, call.namespace, call.user, &server.authorizer, call.now)?,
    };
    api::schema::settle(&mut answer, resource.ty);
    Ok(verbs::reply(201, &call, Object::Built(answer), output))
}

async fn token_review(server: &ApiServer, body: &api::Value, incoming: &Incoming) -> Result<api::Value, ApiError> {
    let (token, audiences) = review::token_of(body)?;
    let outcome = server.authenticators.authenticate_token(token, &audiences, incoming.now, &incoming.warnings).await;
    let outcome = match outcome {
        Ok(identity) => Ok(Some(((*identity.user).clone(), identity.audiences))),
        Err(why) => Err(review::token_error(&why.to_string())),
    };
    Ok(review::token_review(body, outcome))
}
