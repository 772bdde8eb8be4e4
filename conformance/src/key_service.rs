//! A key service (KMS, version 2) on a socket, for servers that encrypt with it. It hides nothing: its ciphertext is the plaintext
//! with some bits flipped.

use anyhow::Result;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tonic::server::{Grpc, UnaryService};
use tonic::{Response, Status};
use tonic_prost::ProstCodec;

/// The service. It goes away when this is dropped.
pub struct KeyService {
    socket: PathBuf,
    runtime: Handle,
    keys: Arc<Mutex<Vec<String>>>,
    task: Option<JoinHandle<()>>,
}

impl KeyService {
    /// With one key, `k1`.
    pub fn start(socket: &Path, runtime: &Handle) -> Result<KeyService> {
        let keys = Arc::new(Mutex::new(vec!["k1".to_owned()]));
        let mut service = KeyService { socket: socket.to_owned(), runtime: runtime.clone(), keys, task: None };
        service.come()?;
        Ok(service)
    }

    /// Listens (again).
    pub fn come(&mut self) -> Result<()> {
        let _inside = self.runtime.enter();
        let _ = std::fs::remove_file(&self.socket);
        let (listener, keys) = (UnixListener::bind(&self.socket)?, self.keys.clone());
        self.task = Some(self.runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let keys = keys.clone();
                let service = service_fn(move |request| {
                    let keys = keys.clone();
                    async move { Ok::<_, Infallible>(answer(keys, request).await) }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                connections.spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        }));
        Ok(())
    }

    /// Is away: with its socket and all connections.
    pub fn go(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Its end is the connections'.
            let _ = self.runtime.block_on(task);
        }
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Encrypts with another key from now on, and still decrypts what was encrypted with those before.
    pub fn renew(&self, key: &str) {
        locked(&self.keys).push(key.to_owned());
    }
}

impl Drop for KeyService {
    fn drop(&mut self) {
        self.go();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5a).collect()
}

async fn answer(keys: Arc<Mutex<Vec<String>>>, request: http::Request<Incoming>) -> http::Response<tonic::body::Body> {
    let newest = locked(&keys).last().cloned().unwrap_or_default();
    match request.uri().path() {
        "/v2.KeyManagementService/Status" => {
            let told = StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: newest };
            unary(move |_: StatusRequest| Ok(told), request).await
        }
        "/v2.KeyManagementService/Encrypt" => {
            let annotations = BTreeMap::from([("version.example.com".to_owned(), b"1".to_vec())]);
            let encrypt = move |request: EncryptRequest| {
                Ok(EncryptResponse { ciphertext: flipped(&request.plaintext), key_id: newest, annotations })
            };
            unary(encrypt, request).await
        }
        "/v2.KeyManagementService/Decrypt" => {
            let decrypt = move |request: DecryptRequest| match locked(&keys).contains(&request.key_id) {
                true => Ok(DecryptResponse { plaintext: flipped(&request.ciphertext) }),
                false => Err(Status::not_found("there is no such key")),
            };
            unary(decrypt, request).await
        }
        _ => Status::unimplemented("the method is unknown").into_http(),
    }
}

/// A method of one answer.
struct Method<F>(Option<F>);

impl<R, A, F> UnaryService<R> for Method<F>
where
    A: Send + 'static,
    F: FnOnce(R) -> Result<A, Status>,
{
    type Response = A;
    type Future = Pin<Box<dyn Future<Output = Result<Response<A>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<R>) -> Self::Future {
        let method = self.0.take().ok_or_else(|| Status::internal("it is called once"));
        let answer = method.and_then(|method| method(request.into_inner()));
        Box::pin(async move { answer.map(Response::new) })
    }
}

async fn unary<R, A>(
    method: impl FnOnce(R) -> Result<A, Status>,
    request: http::Request<Incoming>,
) -> http::Response<tonic::body::Body>
where
    R: Message + Default + 'static,
    A: Message + Default + 'static,
{
    Grpc::new(ProstCodec::<A, R>::default()).unary(Method(Some(method)), request).await
}

// `k8s.io/kms/apis/v2`.

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: BTreeMap<String, Vec<u8>>,
}
