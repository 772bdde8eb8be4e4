//! The kubelet API of all hollow nodes, on one port. It has no containers to show, and says so.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use component::Store;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::pod::Pod;

/// Connections at once; more wait.
const CONNECTIONS: usize = 256;
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How the kubelet API is served.
#[derive(Clone)]
pub struct KubeletApi {
    /// Port 0 takes a free one. The Nodes name the port.
    pub address: SocketAddr,
    /// The serving certificate; must ask for a client certificate (see `pki::tls::server_config`).
    pub tls: Arc<rustls::ServerConfig>,
    /// Who may call: certificates of this CA in the group `system:masters`, as the API server's for kubelets is.
    pub clients: pki::ClientVerifier,
}

/// Serves until `stop`. Gives the port.
pub async fn start(
    api: &KubeletApi,
    pods: Store<Pod>,
    nodes: Arc<HashSet<String>>,
    stop: CancellationToken,
) -> anyhow::Result<u16> {
    let listener = TcpListener::bind(api.address)
        .await
        .with_context(|| format!("the hollow nodes' kubelet API cannot listen on {}", api.address))?;
    let port = listener.local_addr()?.port();
    let (api, seats) = (api.clone(), Arc::new(Semaphore::new(CONNECTIONS)));
    tokio::spawn(async move {
        loop {
            let Ok(seat) = seats.clone().acquire_owned().await else { return };
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "the hollow nodes' kubelet API cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let (api, pods, nodes, stop) = (api.clone(), pods.clone(), nodes.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    served = serve(stream, api, pods, nodes) => if let Err(error) = served {
                        tracing::debug!(%error, "a connection to the hollow nodes' kubelet API failed");
                    },
                }
                drop(seat);
            });
        }
    });
    Ok(port)
}

async fn serve(
    stream: TcpStream,
    api: KubeletApi,
    pods: Store<Pod>,
    nodes: Arc<HashSet<String>>,
) -> anyhow::Result<()> {
    let stream = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(api.tls.clone()).accept(stream)).await??;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let identity = api.clients.verify(chain, jiff::Timestamp::now()).ok();
    let service = service_fn(move |request: Request<Incoming>| {
        let (code, text) = match &identity {
            None => (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()),
            Some(identity) if !identity.groups.iter().any(|group| group == "system:masters") => {
                let reason =
                    format!("Forbidden (user={}, verb=get, resource=nodes, subresource(s)=[proxy])\n", identity.user);
                (StatusCode::FORBIDDEN, reason)
            }
            Some(_) => answer(request.method(), request.uri().path(), request.uri().query(), &pods, &nodes),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = code;
        let content_type = header::HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    server.http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(HANDSHAKE);
    server.serve_connection(TokioIo::new(stream), service).await.map_err(anyhow::Error::from_boxed)
}

/// What a request by someone who may gets: code and text.
fn answer(
    method: &Method,
    path: &str,
    query: Option<&str>,
    pods: &Store<Pod>,
    nodes: &HashSet<String>,
) -> (StatusCode, String) {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments[..] {
        ["healthz"] => (StatusCode::OK, "ok".to_owned()),
        ["containerLogs", namespace, pod, container] if method == Method::GET => {
            logs(namespace, pod, container, query.unwrap_or_default(), pods, nodes)
        }
        ["exec" | "attach" | "portForward" | "run", namespace, pod, ..] => {
            let text =
                format!("hollow node: pod {namespace}/{pod} runs in name only, there is nothing to connect to\n");
            (StatusCode::NOT_IMPLEMENTED, text)
        }
        _ => (StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
    }
}

fn logs(
    namespace: &str,
    name: &str,
    container: &str,
    query: &str,
    pods: &Store<Pod>,
    nodes: &HashSet<String>,
) -> (StatusCode, String) {
    let Some(pod) = pods.get(namespace, name).filter(|pod| nodes.contains(&pod.spec.node_name)) else {
        return (StatusCode::NOT_FOUND, format!("pod \"{name}\" does not exist\n"));
    };
    let mut containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    if !containers.any(|candidate| candidate.name == container) {
        return (StatusCode::NOT_FOUND, format!("container \"{container}\" not found in pod \"{name}\"\n"));
    }
    if query.split('&').any(|pair| pair == "tailLines=0") {
        return (StatusCode::OK, String::new());
    }
    let text =
        format!("hollow node: container {container} of pod {namespace}/{name} runs in name only, it has no output\n");
    (StatusCode::OK, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_say_what_they_are() {
        let pods = Store::<Pod>::default();
        let pod = serde_json::json!({"metadata": {"namespace": "d", "name": "p"},
            "spec": {"nodeName": "hollow-0", "containers": [{"name": "c"}]}});
        pods.put(Arc::new(serde_json::from_value(pod).unwrap()));
        let nodes = HashSet::from(["hollow-0".to_owned()]);
        let get = |path: &str, query| {
            let (code, text) = answer(&Method::GET, path, query, &pods, &nodes);
            (code.as_u16(), text)
        };
        assert_eq!(
            get("/containerLogs/d/p/c", Some("follow=true&tailLines=10")),
            (200, "hollow node: container c of pod d/p runs in name only, it has no output\n".to_owned())
        );
        assert_eq!(get("/containerLogs/d/p/c", Some("tailLines=0")), (200, String::new()));
        assert_eq!(get("/containerLogs/d/p/x", None), (404, "container \"x\" not found in pod \"p\"\n".to_owned()));
        assert_eq!(get("/containerLogs/d/q/c", None), (404, "pod \"q\" does not exist\n".to_owned()));
        assert_eq!(get("/exec/d/p/c", None).0, 501);
        assert_eq!(get("/pods", None).0, 404);
        assert!(answer(&Method::GET, "/containerLogs/d/p/c", None, &pods, &HashSet::new()).0.is_client_error());
    }
}
