//! A request's whole path, top to bottom:
//!
//! parse route -> authenticate -> impersonate -> seat -> authorize -> look up the resource (404 only after 403) ->
//! decode -> registry verb -> encode.

use crate::authn::{self, AuthnError, PeerIdentity, User};
use crate::authz::{self, Attributes, Decision};
use crate::negotiate::{self, INDENTED, Output, Shape, Transforms};
use crate::resources::Resource;
use crate::response::{self, Body, BoxError};
use crate::route::{Query, Route, percent_decode};
use crate::serve::Upgrade;
use crate::server::ApiServer;
use crate::table::IncludeObject;
use crate::{impersonate, paths, reserve, resources, verbs};
use api::status::ApiError;
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The largest body that is read, in bytes; upstream's limit.
const MAX_BODY: usize = 3 << 20;
/// How much of a body that is too large is read and thrown away before the answer, and for how long.
const MAX_DISCARDED: usize = 16 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a request may take, when it names no shorter `timeout` and is no watch or stream.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request waits for a seat before it is turned away.
const SEAT_TIMEOUT: Duration = Duration::from_secs(15);

/// How many characters the warnings of an answer may have, and each of them when they are more; upstream's limits.
const WARNINGS: usize = 4096;
const ONE_OF_MANY_WARNINGS: usize = 256;

/// A request with its target and its caller known.
pub struct Incoming {
    pub method: Method,
    pub headers: HeaderMap,
    pub route: Route,
    pub query: Query,
    pub user: Arc<User>,
    pub body: Bytes,
    pub now: Timestamp,
    /// As whom the client's writes are noted: its `fieldManager`, or what its user agent says before the first slash.
    pub manager: String,
    /// Warnings for the client, whether the request succeeds or not.
    pub warnings: Arc<Warnings>,
    /// For requests that become another protocol.
    pub upgrade: Option<Upgrade>,
}

/// What the server has to say to a client besides the answer, each sentence once: a write that is tried again would
/// repeat it.
#[derive(Default)]
pub struct Warnings(Mutex<Given>);

#[derive(Default)]
struct Given {
    all: Vec<String>,
    /// How many characters of them are told at least.
    told: usize,
}

impl Warnings {
    /// Takes note of a sentence, unless those that came before it leave no room to tell it.
    pub fn add(&self, message: impl Into<String>) {
        let mut given = self.0.lock();
        if given.told > WARNINGS {
            return;
        }
        let message = message.into();
        if !given.all.contains(&message) {
            given.told += message.chars().take(ONE_OF_MANY_WARNINGS).count();
            given.all.push(message);
        }
    }

    /// What there is to tell so far.
    #[cfg(test)]
    pub fn told(&self) -> Vec<String> {
        self.0.lock().all.clone()
    }
}

/// Answers one request. `peer` is who the connection's client certificate, or the in-process transport, says it is.
pub async fn handle<B>(
    server: Arc<ApiServer>,
    mut request: Request<B>,
    peer: Option<Arc<PeerIdentity>>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: Into<BoxError>,
{
    let started = Instant::now();
    let upgrade = request.extensions_mut().remove::<Upgrade>();
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query());
    let route = Route::parse(&parts.method, &percent_decode(parts.uri.path()), &query);
    // A failure is told in the form that is wanted, and where there is no such, for people to read.
    let output = negotiate::output(&parts.headers, &query, Transforms::None).unwrap_or(INDENTED);
    // Only names that the server knows: clients must not be able to fill the metrics with others.
    let kind = resources::find(&route.group, &route.version, &route.resource).map(|resource| resource.kind);
    let (group, resource) = kind.map_or(("", ""), |kind| (kind.group, kind.resource));
    let subresource = kind.and_then(|kind| kind.subresource(&route.subresource)).map_or("", |s| s.name);
    let verb = route.verb;
    let head = parts.method == Method::HEAD;
    let _running = (!route.is_long_running()).then(|| server.metrics.running(verb));
    let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let manager = api::managed::manager_name(query.get("fieldManager").unwrap_or_default(), agent).into_owned();
    let incoming = Incoming {
        manager,
        method: parts.method,
        headers: parts.headers,
        route,
        query,
        user: User::anonymous(),
        body: Bytes::new(),
        now: Timestamp::now(),
        warnings: Arc::default(),
        upgrade,
    };
    let warnings = incoming.warnings.clone();
    let answer = AssertUnwindSafe(answer(&server, incoming, body, peer)).catch_unwind().await;
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => response::failure(&failure, output),
        Err(_) => {
            tracing::error!(resource, verb, "a handler panicked");
            response::failure(
                &ApiError::internal("the request's handler failed; the server's log has the place"),
                output,
            )
        }
    };
    add_warnings(&mut response, &warnings.0.lock().all);
    let asks_password = response.status() == StatusCode::UNAUTHORIZED && server.authenticators.passwords.is_some();
    let headers = response.headers_mut();
    if asks_password {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"kubernetes-master\""));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert("audit-id", id);
    }
    if head {
        response = without_body(response);
    }
    let code = response.status().as_u16();
    server.metrics.observe(verb, group, resource, subresource, code, started.elapsed());
    response
}

/// The answer to a HEAD: the headers alone. HTTP/2 would send the body.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = http_body::Body::size_hint(&body).exact() {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, response::full(Bytes::new()))
}

async fn answer<B>(
    server: &Arc<ApiServer>,
    mut incoming: Incoming,
    body: B,
    peer: Option<Arc<PeerIdentity>>,
) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: Into<BoxError>,
{
    let (headers, warnings) = (&incoming.headers, &incoming.warnings);
    let identity = server.authenticators.authenticate(headers, peer.as_deref(), incoming.now, warnings).await;
    incoming.user = match identity {
        Ok(Some(user)) => user,
        Ok(None) => User::anonymous(),
        Err(AuthnError::Overloaded) => {
            return Err(ApiError::too_many_requests(
                "Too many passwords are being checked, please try again later.",
                1,
            ));
        }
        Err(AuthnError::Refused(why)) => {
            tracing::info!(why, path = incoming.route.path, "unauthorized");
            return Err(ApiError::unauthorized());
        }
    };
    authn::remove_credentials(&mut incoming.headers);
    if let Some(user) = impersonate::requested(server, &incoming)? {
        incoming.user = Arc::new(user);
    }
    let long_running = incoming.route.is_long_running();
    let _seat = if long_running { None } else { Some(seat(server).await?) };
    authorize(server, &incoming)?;
    let timeout = timeout(&incoming)?;
    let work = async {
        // A body that means nothing is not waited for: anybody may ask for the version.
        if !matches!(incoming.method, Method::GET | Method::HEAD) {
            // Streams have no time limit, but what is sent ahead of them has.
            incoming.body = tokio::time::timeout(timeout, read_body(body)).await.unwrap_or_else(|_| Err(too_late()))?;
        }
        if !incoming.route.is_resource {
            return paths::serve(server, &incoming);
        }
        let route = &incoming.route;
        let Some(resource) = resources::find(&route.group, &route.version, &route.resource) else {
            return match paths::is_group(&route.group) {
                true => Err(ApiError::no_such_resource()),
                false => Ok(paths::not_found()),
            };
        };
        if resource.kind.is_stored() && !takes_older(&incoming) {
            // Whatever the verb reads and decides by is then in memory: this is the only place that has to ask.
            let caught_up = tokio::time::timeout(timeout, server.store.catch_up()).await;
            caught_up.map_err(|_| too_late())?.map_err(|error| server.store_error(error))?;
        }
        if reserve::concerns(resource) && !matches!(incoming.method, Method::GET | Method::HEAD) {
            return undisturbed(server.clone(), resource, incoming).await;
        }
        verbs::serve(server, resource, incoming).await
    };
    if long_running {
        return work.await;
    }
    match tokio::time::timeout(timeout, work).await {
        Ok(answer) => answer,
        Err(_) => Err(too_late()),
    }
}

/// Whether a request is content with what the server has, or waits for what it names: a read with a resource version, or the
/// next page of a list.
fn takes_older(incoming: &Incoming) -> bool {
    let has = |name| incoming.query.get(name).is_some_and(|value| !value.is_empty());
    matches!(incoming.method, Method::GET | Method::HEAD) && (has("resourceVersion") || has("continue"))
}

fn too_late() -> ApiError {
    ApiError::timeout("request did not complete within the allotted timeout")
}

/// Serves a request to its end, even when the client goes away or its time is over. A future that is dropped while its
/// write is on the way to the disk would give back what the object on disk holds.
async fn undisturbed(
    server: Arc<ApiServer>,
    resource: &'static Resource,
    incoming: Incoming,
) -> Result<Response<Body>, ApiError> {
    match tokio::spawn(async move { verbs::serve(&server, resource, incoming).await }).await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(ApiError::internal(error)),
    }
}

/// Waits for one of the bounded places for requests that are worked on.
async fn seat(server: &ApiServer) -> Result<tokio::sync::SemaphorePermit<'_>, ApiError> {
    match tokio::time::timeout(SEAT_TIMEOUT, server.seats.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(ApiError::too_many_requests("Too many requests, please try again later.", 1)),
    }
}

/// 403 unless the caller may do what the request asks.
fn authorize(server: &ApiServer, incoming: &Incoming) -> Result<(), ApiError> {
    let route = &incoming.route;
    let attributes = Attributes {
        user: &incoming.user,
        verb: route.verb,
        namespace: &route.namespace,
        group: &route.group,
        version: &route.version,
        resource: &route.resource,
        subresource: &route.subresource,
        name: &route.name,
        path: &route.path,
    };
    allowed(server, &attributes)
}

/// Asks the authorizer; a refusal is upstream's 403.
pub fn allowed(server: &ApiServer, attributes: &Attributes<'_>) -> Result<(), ApiError> {
    match server.authorizer.authorize(attributes) {
        Decision::Allow { .. } => Ok(()),
        Decision::Deny { reason } | Decision::NoOpinion { reason } => Err(authz::forbidden(attributes, &reason)),
    }
}

/// The request's own `timeout`, never longer than the server's.
fn timeout(incoming: &Incoming) -> Result<Duration, ApiError> {
    let Some(text) = incoming.query.get("timeout").filter(|t| !t.is_empty()) else { return Ok(TIMEOUT) };
    match api::time::parse_duration(text) {
        Ok(wanted) if wanted.is_positive() => Ok(wanted.unsigned_abs().min(TIMEOUT)),
        Ok(_) => Ok(TIMEOUT),
        Err(why) => Err(ApiError::bad_request(format!("invalid timeout specified in the request URL - {why}"))),
    }
}

async fn read_body<B>(mut body: B) -> Result<Bytes, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: Into<BoxError>,
{
    match Limited::new(&mut body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(&mut body).await;
            Err(ApiError::too_large(format!("limit is {MAX_BODY}")))
        }
        Err(error) => Err(ApiError::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// Reads on for a while without keeping anything. A client of HTTP/1.1 looks for the answer only when it has sent its
/// body; on a connection that is closed before, it finds a broken pipe instead.
async fn discard<B>(body: &mut B)
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let reading = async {
        let mut left = MAX_DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

/// Puts warnings into a response, as RFC 7234 `Warning` headers: whole, or the beginnings of the first ones if all of them
/// would be too much.
fn add_warnings(response: &mut Response<Body>, warnings: &[String]) {
    let total: usize = warnings.iter().map(|warning| warning.chars().count()).sum();
    let most = if total > WARNINGS { ONE_OF_MANY_WARNINGS } else { total };
    let mut left = WARNINGS;
    for warning in warnings {
        let shown: String = warning.chars().take(most).collect();
        let Some(after) = left.checked_sub(shown.chars().count()) else { return };
        left = after;
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - {}", api::field::quote(&shown)).as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// The form that the client wants; lists and objects can also be tables and metadata.
pub fn wanted(incoming: &Incoming) -> Result<Output, ApiError> {
    let mut output = negotiate::output(&incoming.headers, &incoming.query, Transforms::All)?;
    if output.shape == Shape::Table {
        let include = incoming.query.get("includeObject").unwrap_or_default();
        output.include = IncludeObject::parse(include).map_err(ApiError::bad_request)?;
    }
    Ok(output)
}

/// As [`wanted`], of what is no table to anybody.
pub fn wanted_without_table(incoming: &Incoming) -> Result<Output, ApiError> {
    negotiate::output(&incoming.headers, &incoming.query, Transforms::Metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(warnings: &[String]) -> Vec<usize> {
        let mut response = Response::new(response::full(""));
        add_warnings(&mut response, warnings);
        response.headers().get_all(header::WARNING).iter().map(|value| value.len() - "299 - \"\"".len()).collect()
    }

    #[test]
    fn warnings_that_nobody_would_be_told_are_not_kept() {
        let warnings = Warnings::default();
        (0..100_000).for_each(|i| warnings.add(format!("{i} {}", "x".repeat(50))));
        let kept = warnings.0.lock();
        assert!((70..90).contains(&kept.all.len()), "{}", kept.all.len());
        assert_eq!(warned(&kept.all).len(), kept.all.len() - 1);
    }

    #[test]
    fn warnings_fit_into_headers() {
        assert_eq!(warned(&["x".repeat(3000), "y".repeat(1000)]), [3000, 1000]);
        assert_eq!(warned(&vec!["x".repeat(3000); 100]), [256; 16]);
        assert_eq!(warned(&["\u{e4}".to_owned()]), [2]);
    }
}
