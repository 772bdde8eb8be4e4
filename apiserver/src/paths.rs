//! Paths that are no resources: discovery, version, health, metrics, OpenAPI, keys.

use crate::discovery;
use crate::negotiate::{self, JSON};
use crate::openapi;
use crate::request::Incoming;
use crate::response::{self, Body};
use crate::server::ApiServer;
use api::status::ApiError;
use http::{Method, Response};
use pki::service_account::{DEFAULT_ISSUER, JWKS_PATH, OPENID_CONFIGURATION_PATH};
use serde_json::json;

/// Answers a request that is about no resource.
pub fn serve(server: &ApiServer, incoming: &Incoming) -> Result<Response<Body>, ApiError> {
    if !matches!(incoming.method, Method::GET | Method::HEAD) {
        return Err(ApiError::no_such_resource());
    }
    let path = incoming.route.path.as_str();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        [""] => Ok(response::value(200, &json!({ "paths": discovery::paths() }), JSON)),
        ["healthz" | "livez" | "readyz", ..] => server.health.answer(path, incoming),
        ["metrics"] => Ok(response::bytes(200, crate::metrics::CONTENT_TYPE, server.metrics.render(&*server.store))),
        ["version"] => {
            negotiate::produced(&incoming.headers, "application/json")?;
            Ok(response::value(200, &discovery::version(), JSON))
        }
        ["openapi", rest @ ..] => openapi(rest),
        ["api" | "apis", ..] => discovery::serve(incoming),
        _ if path == JWKS_PATH => {
            Ok(response::bytes(200, "application/jwk-set+json", server.pki.service_accounts().jwks()))
        }
        _ if path == OPENID_CONFIGURATION_PATH => {
            let jwks = format!("{DEFAULT_ISSUER}{JWKS_PATH}");
            let document = server.pki.service_accounts().openid_configuration(DEFAULT_ISSUER, &jwks);
            Ok(response::bytes(200, "application/json", document))
        }
        _ => Err(ApiError::no_such_resource()),
    }
}

fn openapi(parts: &[&str]) -> Result<Response<Body>, ApiError> {
    let document = match parts {
        ["v2"] => Some(openapi::v2()),
        ["v3"] => Some(openapi::index()),
        ["v3", "api", version] => openapi::group_version("", version),
        ["v3", "apis", group, version] => openapi::group_version(group, version),
        _ => None,
    };
    let document = document.ok_or_else(ApiError::no_such_resource)?;
    Ok(response::bytes(200, "application/json", document))
}
