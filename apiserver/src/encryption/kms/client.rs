//! The connection to a key service: gRPC over a Unix socket.

use super::wire::Request;
use crate::encryption::metrics::Metrics;
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream as Socket};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// How long to wait before another try to connect.
const PAUSE: Duration = Duration::from_millis(100);

/// A client of one service. Must be made inside a runtime.
pub(super) struct Client {
    name: String,
    channel: Channel,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Client {
    /// `endpoint` is `unix:///PATH`, or `unix:///@NAME` for a socket without a file. Connects when it is first asked.
    pub(super) fn new(name: &str, endpoint: &str, timeout: Duration, metrics: Arc<Metrics>) -> Client {
        let path = path(endpoint);
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { connect(&path).await.map(TokioIo::new) }
        });
        // Names the host in requests; the connector goes to the socket whatever it is.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Client { name: name.to_owned(), channel, timeout, metrics }
    }

    /// Asks the service, which may take until the time-out to come up; errors are in the words of upstream's client.
    pub(super) async fn call<R: Request>(&self, request: R) -> Result<R::Answer, String> {
        let (begin, deadline) = (Instant::now(), Instant::now() + self.timeout);
        let result = loop {
            match timeout_at(deadline, self.try_once(request.clone())).await {
                Ok(Err(status)) if status.code() == Code::Unavailable && Instant::now() + PAUSE < deadline => {
                    sleep(PAUSE).await;
                }
                Ok(answered) => break answered,
                Err(_) => break Err(Status::deadline_exceeded("context deadline exceeded")),
            }
        };
        let code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.metrics.asked(&self.name, R::PATH, go_name(code), begin.elapsed());
        result.map_err(|status| format!("rpc error: code = {} desc = {}", go_name(code), description(&status)))
    }

    async fn try_once<R: Request>(&self, request: R) -> Result<R::Answer, Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let codec = ProstCodec::<R, R::Answer>::default();
        let answer = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(R::PATH), codec).await?;
        Ok(answer.into_inner())
    }
}

/// The socket's path in a URL.
fn path(endpoint: &str) -> String {
    let rest = endpoint.strip_prefix("unix:").unwrap_or(endpoint);
    // What stands where a host would is none.
    let path = rest.strip_prefix("//").map_or(rest, |rest| &rest[rest.find('/').unwrap_or(rest.len())..]);
    match path.strip_prefix("/@") {
        Some(name) => format!("@{name}"),
        None => path.to_owned(),
    }
}

async fn connect(path: &str) -> io::Result<UnixStream> {
    let Some(name) = path.strip_prefix('@') else { return UnixStream::connect(path).await };
    let socket = Socket::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

/// What the service said, or why it could not be reached.
fn description(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

fn go_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn endpoints_name_sockets() {
        for (endpoint, wanted) in [
            ("unix:///run/kms.sock", "/run/kms.sock"),
            ("unix:///@kms", "@kms"),
            ("unix:/a", "/a"),
            ("unix://x/a", "/a"),
        ] {
            assert_eq!(path(endpoint), wanted, "{endpoint}");
        }
    }
}
