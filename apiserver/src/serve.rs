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
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use jiff::Timestamp;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

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
/// How long a client may be silent: it is asked whether it is there after the first, then after each second, as often as the
/// third says. These are the times of Go's listeners.
const SILENCE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(15), 9);
/// How long a client may leave what it is sent unread: the time that a silent one has.
const UNREAD: Duration = Duration::from_secs(150);
/// A failed `accept` (no file descriptors left) is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// One of the places for connections; the server's end waits a while for it to become free.
struct Place {
    _permit: OwnedSemaphorePermit,
    _open: TaskTrackerToken,
}

/// What a request needs to make another protocol of its connection. The connection keeps its place.
#[derive(Clone)]
pub struct Upgrade {
    connection: OnUpgrade,
    place: Arc<Place>,
}

impl Upgrade {
    /// Puts it into a request whose connection may change.
    fn offer<B>(request: &mut Request<B>, place: &Arc<Place>) {
        if let Some(connection) = request.extensions_mut().remove::<OnUpgrade>() {
            request.extensions_mut().insert(Upgrade { connection, place: place.clone() });
        }
    }

    /// Runs a session on the connection once the answer to the request, a 101, is sent; or none, if the client goes before.
    pub async fn run<F: Future<Output = ()>>(self, session: impl FnOnce(TokioIo<Upgraded>) -> F) {
        if let Ok(connection) = self.connection.await {
            session(TokioIo::new(connection)).await;
        }
        drop(self.place);
    }
}

/// Serves a listener until the server is stopped; then ends its connections.
pub async fn serve(server: Arc<ApiServer>, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    let trust = Arc::new(server.trust());
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let Ok(permit) = places.clone().acquire_owned().await else { break };
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
        let place = Arc::new(Place { _permit: permit, _open: connections.token() });
        tokio::spawn(async move {
            if let Err(error) = connection(server, stream, acceptor, trust, place).await {
                tracing::debug!(%error, "connection ended");
            }
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
    place: Arc<Place>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    give_up_on_absent(&stream, UNREAD)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = (!chain.is_empty()).then(|| Arc::new(trust.identify(chain, Timestamp::now())));
    let stop = server.stop.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        Upgrade::offer(&mut request, &place);
        respond(server.clone(), request, peer.clone())
    });
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

/// Ends the connection, in the kernel, when the client is gone without a word or reads nothing of what waits for it. Nothing
/// above would notice: hyper does not look at a body that it cannot send, and a watch may have nothing to say for long.
fn give_up_on_absent(stream: &TcpStream, unread: Duration) -> std::io::Result<()> {
    let (idle, interval, tries) = SILENCE;
    let socket = socket2::SockRef::from(stream);
    socket
        .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(tries))?;
    socket.set_tcp_user_timeout(Some(unread))
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Empty;
    use hyper::{client, server};
    use tokio::io::AsyncWriteExt;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn who_does_not_read_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        give_up_on_absent(&stream, Duration::from_millis(100)).unwrap();
        let writing = async { while stream.write_all(&[0; 1 << 16]).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(20), writing).await.expect("an end");
    }

    #[tokio::test]
    async fn a_connection_keeps_its_place_whatever_is_spoken_on_it() {
        let (places, connections) = (Arc::new(Semaphore::new(1)), TaskTracker::new());
        let permit = places.clone().acquire_owned().await.unwrap();
        let place = Arc::new(Place { _permit: permit, _open: connections.token() });
        let (upgrades, mut upgrade) = tokio::sync::mpsc::unbounded_channel();
        let service = service_fn(move |mut request: Request<Incoming>| {
            Upgrade::offer(&mut request, &place);
            let _ = upgrades.send(request.extensions_mut().remove::<Upgrade>());
            let response = Response::builder().status(101).body(Empty::<Bytes>::new());
            async move { response }
        });
        let (one, other) = tokio::io::duplex(1 << 10);
        let served = server::conn::http1::Builder::new().serve_connection(TokioIo::new(one), service).with_upgrades();
        let served = tokio::spawn(served);
        let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(other)).await.unwrap();
        let _client = tokio::spawn(connection.with_upgrades());
        let request = Request::get("/").header("connection", "upgrade").header("upgrade", "x");
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let upgraded = hyper::upgrade::on(answer).await.unwrap();
        // HTTP has ended.
        served.await.unwrap().unwrap();
        let ((begin, begun), (end, ended)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        let upgrade = upgrade.recv().await.unwrap().unwrap();
        let session = upgrade.run(async move |_| {
            let _ = begin.send(());
            let _ = ended.await;
        });
        let session = tokio::spawn(session);
        begun.await.unwrap();
        assert_eq!((places.available_permits(), connections.len()), (0, 1));
        drop((end, upgraded));
        session.await.unwrap();
        assert_eq!((places.available_permits(), connections.len()), (1, 0));
    }
}
