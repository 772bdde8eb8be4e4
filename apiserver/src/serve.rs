//! Connections: TCP, TLS with an optional client certificate, HTTP/1.1 and HTTP/2.

use crate::authn::{PeerIdentity, PeerTrust};
use crate::request;
use crate::response::Body;
use crate::server::ApiServer;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use jiff::Timestamp;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// Connections at the same time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16384;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take for a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// Requests at the same time on one HTTP/2 connection; clients that watch everything need room.
const MAX_STREAMS: u32 = 1000;
/// Resets of streams that are not open yet, before the connection is ended (HTTP/2 rapid reset).
const MAX_PENDING_RESETS: usize = 50;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const MAX_HEADERS: u32 = 64 << 10;
/// How long open requests may take to end once the server is told to stop.
const DRAIN: Duration = Duration::from_millis(1500);
/// A failed `accept` (no file descriptors left) is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves a listener until the server is stopped; then ends its connections.
pub async fn serve(server: Arc<ApiServer>, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    let trust = Arc::new(server.trust());
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            _ = server.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (server, acceptor, trust) = (server.clone(), acceptor.clone(), trust.clone());
        connections.spawn(async move {
            if let Err(error) = connection(server, stream, acceptor, trust).await {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
    connections.close();
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
}

async fn connection(
    server: Arc<ApiServer>,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    trust: Arc<PeerTrust>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = (!chain.is_empty()).then(|| Arc::new(trust.identify(chain, Timestamp::now())));
    let stop = server.stop.clone();
    let service = service_fn(move |request: Request<Incoming>| respond(server.clone(), request, peer.clone()));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADERS as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(KEEP_ALIVE)
        .adaptive_window(true);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

async fn respond(
    server: Arc<ApiServer>,
    request: Request<Incoming>,
    peer: Option<Arc<PeerIdentity>>,
) -> Result<Response<Body>, Infallible> {
    Ok(request::handle(server, request, peer).await)
}

/// Answers a request that comes from inside the process: no TCP and no TLS, but the same authentication, authorization
/// and admission. `peer` is what a client certificate would have proved.
pub async fn in_process<B>(
    server: Arc<ApiServer>,
    request: Request<B>,
    peer: Option<Arc<PeerIdentity>>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    request::handle(server, request.map(|body| body.boxed_unsync()), peer).await
}
