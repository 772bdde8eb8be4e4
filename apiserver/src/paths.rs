//! Paths that are no resources: discovery, version, health, metrics, OpenAPI, keys.

use crate::discovery;
use crate::negotiate::{self, INDENTED};
use crate::openapi;
use crate::request::Incoming;
use crate::response::{self, Body};
use crate::server::ApiServer;
use api::kinds::KINDS;
use api::status::ApiError;
use http::{HeaderValue, Method, Response, header};
use pki::service_account::{DEFAULT_ISSUER, DISCOVERY_MAX_AGE_SECONDS, JWKS_PATH, OPENID_CONFIGURATION_PATH};
use serde_json::json;

/// Answers a request that is about no resource. Discovery of versions, `/version` and what is about tokens are read only; the others answer any
/// method with the same.
pub fn serve(server: &ApiServer, incoming: &Incoming) -> Result<Response<Body>, ApiError> {
    let path = incoming.route.path.as_str();
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    if is_read_only(path, &parts) && incoming.method != Method::GET {
        return Err(ApiError::no_such_method());
    }
    match parts.as_slice() {
        ["" | "index.html"] => Ok(response::value(200, &json!({ "paths": paths(server) }), INDENTED)),
        ["healthz" | "livez" | "readyz", ..] => Ok(server.health.answer(path, incoming).unwrap_or_else(not_found)),
        ["metrics"] => Ok(response::bytes(200, crate::metrics::CONTENT_TYPE, server.metrics.render(&*server.store))),
        ["metrics", "slis"] => Ok(response::bytes(200, crate::metrics::CONTENT_TYPE, server.health.slis())),
        ["version"] | ["version", ""] => {
            negotiate::produced(&incoming.headers, "application/json")?;
            Ok(response::value(200, &discovery::version(), INDENTED))
        }
        ["openapi", rest @ ..] => openapi::serve(incoming, rest),
        ["api", ..] => discovery::serve(server, incoming).unwrap_or_else(|| Err(ApiError::no_such_resource())),
        ["apis", group, ..] if is_group(group) => {
            discovery::serve(server, incoming).unwrap_or_else(|| Err(ApiError::no_such_resource()))
        }
        ["apis", ..] => discovery::serve(server, incoming).unwrap_or_else(|| Ok(not_found())),
        _ if is_at(path, JWKS_PATH) => {
            Ok(cached(response::bytes(200, "application/jwk-set+json", server.pki.service_accounts().jwks())))
        }
        _ if is_at(path, OPENID_CONFIGURATION_PATH) => {
            let host = server.address.get().map(|address| format!("https://{address}"));
            let jwks = format!("{}{JWKS_PATH}", host.as_deref().unwrap_or(DEFAULT_ISSUER));
            let document = server.pki.service_accounts().openid_configuration(DEFAULT_ISSUER, &jwks);
            Ok(cached(response::bytes(200, "application/json", document)))
        }
        _ => Ok(not_found()),
    }
}

/// Whether it is the path, with or without a slash at its end.
fn is_at(path: &str, wanted: &str) -> bool {
    path.strip_suffix('/').unwrap_or(path) == wanted
}

/// What those who verify service-account tokens may keep for a while.
fn cached(mut response: Response<Body>) -> Response<Body> {
    let value = HeaderValue::from_str(&format!("public, max-age={DISCOVERY_MAX_AGE_SECONDS}"));
    response.headers_mut().extend(value.ok().map(|value| (header::CACHE_CONTROL, value)));
    response
}

/// What `/` lists.
fn paths(server: &ApiServer) -> Vec<String> {
    const OTHERS: &[&str] = &[
        OPENID_CONFIGURATION_PATH,
        "/api",
        "/apis/",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        JWKS_PATH,
        "/version",
    ];
    let mut paths: Vec<String> = OTHERS.iter().map(|path| (*path).to_owned()).collect();
    paths.extend(discovery::paths().cloned());
    paths.extend(server.health.paths());
    paths.sort();
    paths
}

/// The paths that upstream's API installer owns, which refuses methods that it has not.
fn is_read_only(path: &str, parts: &[&str]) -> bool {
    match parts {
        ["api"] | ["api", ""] | ["version"] | ["version", ""] => true,
        ["api", version] | ["api", version, ""] => is_served("", version),
        ["apis", group, version] | ["apis", group, version, ""] => is_served(group, version),
        _ => is_at(path, JWKS_PATH) || is_at(path, OPENID_CONFIGURATION_PATH),
    }
}

fn is_served(group: &str, version: &str) -> bool {
    KINDS.iter().any(|kind| kind.group == group && kind.version == version)
}

/// Whether anything is served in this group.
pub fn is_group(group: &str) -> bool {
    KINDS.iter().any(|kind| kind.group == group)
}

/// The answer where there is nothing at all: a page, as of any web server.
pub fn not_found() -> Response<Body> {
    let mut response = response::bytes(404, "text/plain; charset=utf-8", "404 page not found\n");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
