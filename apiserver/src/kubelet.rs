//! Requests to kubelets: over TLS, with the server's own client certificate, to the address of the node.
//!
//! The kubelet must show a certificate of the cluster's CA. Redirects are answers like any other: they are not followed.

use crate::response::{Body, BoxError};
use crate::server::ApiServer;
use api::Value;
use api::document;
use api::status::ApiError;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use pki::Identity;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_PORT: i64 = 10250;
/// Bytes of a kubelet's refusal that are passed on.
const MAX_REFUSAL: usize = 10_000;

/// TLS towards kubelets.
pub fn client_config(pki: &pki::Pki) -> anyhow::Result<Arc<ClientConfig>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pki.ca_pem().as_bytes()) {
        roots.add(certificate?)?;
    }
    let own = pki.certificate(Identity::KubeletClient);
    let config = ClientConfig::builder_with_provider(pki::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(own.chain()?, own.private_key()?)?;
    Ok(Arc::new(config))
}

/// Gets a path from a node's kubelet and passes its body on as a stream; what the kubelet refuses becomes a `Status`. Of its
/// headers only the content type reaches the client: a kubelet has no say in where clients go and what they keep.
pub async fn get(server: &ApiServer, node: &Value, path: &str) -> Result<Response<Body>, ApiError> {
    let name = document::name(node);
    let failed = |why: &dyn std::fmt::Display| {
        let message = format!("Get \"{path}\" from the kubelet of node {}: {why}", api::field::quote(name));
        ApiError::new(500, "InternalError", message)
    };
    let (address, port) = address(node).ok_or_else(|| failed(&"the node has no address"))?;
    let connect = async {
        let stream = TcpStream::connect((address, port)).await?;
        let connector = TlsConnector::from(server.kubelet_tls.clone());
        let stream = connector.connect(ServerName::from(address), stream).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok::<_, BoxError>(sender)
    };
    let mut sender = match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(Ok(sender)) => sender,
        Ok(Err(error)) => return Err(failed(&error)),
        Err(_) => return Err(failed(&"the connection timed out")),
    };
    let request =
        Request::get(path).header("host", name).body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let (parts, body) = answer.into_parts();
    if parts.status.is_success() {
        let mut response = Response::new(body.map_err(BoxError::from).boxed_unsync());
        let media_type = parts.headers.get(CONTENT_TYPE).cloned();
        response.headers_mut().insert(CONTENT_TYPE, media_type.unwrap_or(HeaderValue::from_static("text/plain")));
        return Ok(response);
    }
    let text = match Limited::new(body, MAX_REFUSAL).collect().await {
        Ok(text) => String::from_utf8_lossy(&text.to_bytes()).into_owned(),
        Err(error) => error.to_string(),
    };
    Err(refusal(parts.status, text))
}

/// What a client is told about a request that its pod's kubelet refused.
fn refusal(status: StatusCode, text: String) -> ApiError {
    match status {
        StatusCode::BAD_REQUEST => ApiError::bad_request(text),
        StatusCode::NOT_FOUND => {
            let message = format!("the server could not find the requested resource: {text}");
            ApiError::new(404, "NotFound", message)
        }
        _ => ApiError::internal(text),
    }
}

/// Where the node's kubelet listens: its internal address, else its external one. Host names are not resolved, so that
/// nobody's DNS steers the server's requests.
fn address(node: &Value) -> Option<(IpAddr, u16)> {
    let addresses = document::get_list(node, "status.addresses");
    let of_type = |kind: &str| {
        let found = addresses.iter().find(|a| document::get_str(a, "type") == kind)?;
        document::get_str(found, "address").parse::<IpAddr>().ok()
    };
    let port = document::get_i64(node, "status.daemonEndpoints.kubeletEndpoint.Port").unwrap_or(DEFAULT_PORT);
    Some((of_type("InternalIP").or_else(|| of_type("ExternalIP"))?, u16::try_from(port).ok()?))
}

/// Percent-encodes a query value.
pub fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
