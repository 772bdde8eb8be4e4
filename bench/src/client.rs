//! A lean HTTPS client: one connection a client, bodies counted and dropped, nothing parsed that is not asked for. `kube::Client` is
//! not used here because its layers cost more than a request costs the server.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where a server is and who asks: everything a connection needs, read once from a kubeconfig.
#[derive(Clone)]
pub struct Endpoint {
    address: SocketAddr,
    server_name: ServerName<'static>,
    authority: String,
    authorization: Option<HeaderValue>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Endpoint {
    /// Reads the current context of a kubeconfig: client certificate or bearer token (no exec plugins).
    pub async fn open(kubeconfig: &Path) -> Result<Self> {
        let file =
            Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        let host = config.cluster_url.host().context("the kubeconfig's server has no host")?.to_owned();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let address =
            tokio::net::lookup_host((bare.as_str(), port)).await?.next().context("the server's name has no address")?;
        // Serialising is the way kube offers to see the token.
        let identity = serde_json::to_value(&config.auth_info)?;
        let authorization = match identity.get("token").and_then(Value::as_str) {
            Some(token) => Some(HeaderValue::from_str(&format!("Bearer {token}"))?),
            None => None,
        };
        let tls = |protocol: &[u8]| -> Result<Arc<ClientConfig>> {
            let mut tls = config.rustls_client_config()?;
            tls.alpn_protocols = vec![protocol.to_vec()];
            Ok(Arc::new(tls))
        };
        Ok(Self {
            address,
            server_name: ServerName::try_from(config.tls_server_name.clone().unwrap_or(bare))?,
            authority: format!("{host}:{port}"),
            authorization,
            http1: tls(b"http/1.1")?,
            http2: tls(b"h2")?,
        })
    }

    async fn dial(&self, tls: &Arc<ClientConfig>) -> Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let stream = TlsConnector::from(tls.clone()).connect(self.server_name.clone(), tcp).await?;
        Ok(TokioIo::new(stream))
    }

    /// A kept-alive HTTP/1.1 connection of its own: the cheapest form for one request at a time.
    pub async fn connect(&self) -> Result<Connection> {
        let (sender, driver) = http1::handshake(self.dial(&self.http1).await?).await?;
        tokio::spawn(driver);
        Ok(Connection { sender: Sender::Http1(sender), endpoint: self.clone() })
    }

    /// An HTTP/2 connection; its clones share it, a stream each.
    pub async fn connect_shared(&self) -> Result<Connection> {
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(1 << 24)
            .handshake(self.dial(&self.http2).await?)
            .await?;
        tokio::spawn(driver);
        Ok(Connection { sender: Sender::Http2(sender), endpoint: self.clone() })
    }

    /// One request on a new connection; the answer's status and body, whatever the status.
    pub async fn once(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let response = self.connect().await?.send(method, path, body).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// One request on a new connection whose answer must be 2xx JSON.
    pub async fn json(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(serde_json::to_vec(body)?) };
        let (status, bytes) = self.once(method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path}: {status} {}", excerpt(&bytes));
        }
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// Media types of a request and of its answer.
#[derive(Clone, Copy)]
pub struct Media {
    pub sent: &'static str,
    pub accepted: &'static str,
}

pub const JSON: &str = "application/json";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

impl Default for Media {
    fn default() -> Media {
        Media { sent: JSON, accepted: JSON }
    }
}

impl Media {
    pub fn accepting(accepted: &'static str) -> Media {
        Media { accepted, ..Media::default() }
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// One client's connection.
pub struct Connection {
    sender: Sender,
    endpoint: Endpoint,
}

impl Connection {
    /// Another handle on an HTTP/2 connection; none on HTTP/1.1.
    pub fn share(&self) -> Option<Connection> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => {
                Some(Connection { sender: Sender::Http2(sender.clone()), endpoint: self.endpoint.clone() })
            }
        }
    }

    /// Sends a request (JSON body, or none when empty) and gives the answer's head; the body is still to be read.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        self.send_as(method, path, body, Media::default()).await
    }

    /// `send` with other media types.
    pub async fn send_as(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        media: Media,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).header(ACCEPT, HeaderValue::from_static(media.accepted));
        request = match &self.sender {
            Sender::Http1(_) => request.uri(path).header(HOST, &self.endpoint.authority),
            Sender::Http2(_) => request.uri(format!("https://{}{path}", self.endpoint.authority)),
        };
        if let Some(authorization) = &self.endpoint.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static(media.sent));
        }
        let request = request.body(Full::new(body))?;
        Ok(match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }

    /// Gets a JSON document.
    pub async fn json(&mut self, path: &str) -> Result<Value> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("GET {path}: {status} {}", excerpt(&bytes));
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Sends a request, reads and drops the body: its size in bytes. Anything but 2xx is an error with the server's words.
    pub async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Result<usize> {
        self.call_as(method, path, body, Media::default()).await
    }

    /// `call` with other media types.
    pub async fn call_as(&mut self, method: Method, path: &str, body: Bytes, media: Media) -> Result<usize> {
        let response = self.send_as(method.clone(), path, body, media).await?;
        drain(&method, path, response).await
    }
}

/// Reads and drops an answer's body: its size in bytes. Anything but 2xx is an error with the server's words.
pub async fn drain(method: &Method, path: &str, response: Response<Incoming>) -> Result<usize> {
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        bail!("{method} {path}: {status} {}", excerpt(&body.collect().await?.to_bytes()));
    }
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        size += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(size)
}

/// The beginning of a body, for an error message.
fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned()
}
