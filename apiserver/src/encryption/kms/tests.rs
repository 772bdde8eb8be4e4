use super::wire::{
    AES_GCM_KEY, DecryptResponse, EncryptRequest, EncryptResponse, Request, StatusRequest, StatusResponse,
};
use super::*;
use crate::Layout;
use crate::encryption::{Encryption, Sealed};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::LazyLock;
use storage::{Codec, Place};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tonic::server::{Grpc, UnaryService};
use tonic::{Response, Status};
use tonic_prost::ProstCodec;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

const KEY: &str = "/registry/secrets/g/s";

/// A key service on a socket, whose ciphertext is the plaintext with some bits flipped.
struct Plugin {
    dir: tempfile::TempDir,
    told: Mutex<StatusResponse>,
    decrypted: AtomicU64,
    /// A key's name for `Encrypt` only.
    encrypts_with: Mutex<Option<String>>,
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5a).collect()
}

/// One method of the service: what it answers.
struct Method<R: Request>(Arc<Plugin>, fn(&Plugin, R) -> Result<Answered<R>, Status>);

type Answered<R> = <R as Request>::Answer;
type Reply<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

impl<R: Request> UnaryService<R> for Method<R> {
    type Response = R::Answer;
    type Future = Reply<R::Answer>;

    fn call(&mut self, request: tonic::Request<R>) -> Self::Future {
        let answer = (self.1)(&self.0, request.into_inner());
        Box::pin(async move { answer.map(Response::new) })
    }
}

impl Plugin {
    fn start() -> Arc<Plugin> {
        let told = StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: "k1".into() };
        let plugin = Arc::new(Plugin {
            dir: tempfile::tempdir().unwrap(),
            told: Mutex::new(told),
            decrypted: AtomicU64::new(0),
            encrypts_with: Mutex::default(),
        });
        plugin.listen();
        plugin
    }

    fn listen(self: &Arc<Plugin>) {
        let (weak, _inside) = (Arc::downgrade(self), RUNTIME.enter());
        let listener = UnixListener::bind(self.dir.path().join("kms.sock")).unwrap();
        RUNTIME.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let weak = weak.clone();
                let service = service_fn(move |request| {
                    let plugin = weak.upgrade();
                    async move { Ok::<_, Infallible>(answer(&plugin.expect("a plugin"), request).await) }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
    }

    fn configuration(&self) -> String {
        let socket = self.dir.path().join("kms.sock").display().to_string();
        format!(
            "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [secrets]\n  \
             providers:\n  - kms: {{apiVersion: v2, name: test, endpoint: 'unix://{socket}', timeout: 500ms}}\n"
        )
    }

    fn load(&self) -> Arc<Encryption> {
        let file = self.dir.path().join("encryption.yaml");
        std::fs::write(&file, self.configuration()).unwrap();
        Encryption::load(&file, false).unwrap()
    }

    fn kms(&self) -> Kms {
        let config = crate::encryption::config::parse(self.configuration().as_bytes()).unwrap();
        let kms = config.resources[0].providers[0].kms.clone().unwrap();
        Kms::start(&kms, Arc::default(), Arc::default()).unwrap()
    }
}

async fn answer(
    plugin: &Arc<Plugin>,
    request: http::Request<hyper::body::Incoming>,
) -> http::Response<tonic::body::Body> {
    let status = |plugin: &Plugin, _: StatusRequest| Ok(plugin.told.lock().clone());
    let encrypt = |plugin: &Plugin, request: EncryptRequest| {
        let key_id = plugin.encrypts_with.lock().clone().unwrap_or_else(|| plugin.told.lock().key_id.clone());
        let annotations = [("version.example.com".to_owned(), b"1".to_vec())].into();
        Ok(EncryptResponse { ciphertext: flipped(&request.plaintext), key_id, annotations })
    };
    let decrypt = |plugin: &Plugin, request: DecryptRequest| {
        plugin.decrypted.fetch_add(1, Ordering::Relaxed);
        if request.annotations.is_empty() {
            return Err(Status::invalid_argument("the annotations are missing"));
        }
        Ok(DecryptResponse { plaintext: flipped(&request.ciphertext) })
    };
    async fn unary<R: Request>(
        method: Method<R>,
        request: http::Request<hyper::body::Incoming>,
    ) -> http::Response<tonic::body::Body> {
        Grpc::new(ProstCodec::<R::Answer, R>::default()).unary(method, request).await
    }
    match request.uri().path() {
        StatusRequest::PATH => unary(Method(plugin.clone(), status), request).await,
        EncryptRequest::PATH => unary(Method(plugin.clone(), encrypt), request).await,
        _ => unary(Method(plugin.clone(), decrypt), request).await,
    }
}

fn sealed(kms: &Kms, plain: &str) -> Vec<u8> {
    let mut out = Vec::new();
    kms.seal(KEY, plain.as_bytes(), &mut out).unwrap();
    out
}

fn opened(kms: &Kms, kept: &[u8]) -> Result<(String, bool), String> {
    kms.open(KEY, kept).map(|plain| (String::from_utf8_lossy(&plain.bytes).into_owned(), plain.stale))
}

#[test]
fn a_value_that_upstream_kept_is_read() {
    let plugin = Plugin::start();
    let codec = Sealed::new(plugin.load(), Arc::new(Layout));
    for line in include_str!("golden.txt").lines().filter(|line| !line.starts_with('#')) {
        let (kept_at, kept) = line.split_once(' ').unwrap();
        let place = Place { key: KEY, kept_at };
        let kept = Bytes::from(BASE64_STANDARD.decode(kept).unwrap());
        let object: api::Value = serde_json::from_slice(&codec.open(place, &kept).unwrap().value).unwrap();
        assert_eq!(api::document::get_str(&object, "data.k"), "dg==", "{kept_at}");
        // What is written has the same form.
        let value = Bytes::from_static(b"{}");
        let mine = codec.seal(place, &value).unwrap().unwrap();
        let body = |kept: &Bytes| {
            EncryptedObject::decode(kept.strip_prefix(b"k8s:enc:kms:v2:test:".as_slice()).unwrap()).unwrap()
        };
        let (mine, theirs) = (body(&mine), body(&kept));
        assert_eq!((mine.key_id, mine.annotations), (theirs.key_id, theirs.annotations));
        assert_eq!(mine.encrypted_dek_source_type, theirs.encrypted_dek_source_type);
        assert_eq!(mine.encrypted_dek_source.len(), theirs.encrypted_dek_source.len());
    }
}

#[test]
fn values_come_back_and_the_service_is_asked_once_for_a_seed() {
    let plugin = Plugin::start();
    let kms = plugin.kms();
    let (first, second) = (sealed(&kms, "a secret"), sealed(&kms, "a secret"));
    assert_ne!(first, second);
    assert_eq!(opened(&kms, &first), Ok(("a secret".to_owned(), false)));
    assert_eq!(plugin.decrypted.load(Ordering::Relaxed), 0, "its own seed is known");
    let again = plugin.kms();
    for kept in [&first, &second] {
        assert_eq!(opened(&again, kept), Ok(("a secret".to_owned(), false)));
    }
    assert_eq!(plugin.decrypted.load(Ordering::Relaxed), 1, "another start has to ask, once");
    let moved = kms.open("/registry/secrets/g/other", &first).err();
    assert_eq!(moved.as_deref(), Some("cipher: message authentication failed"));
}

#[test]
fn damaged_values_are_refused() {
    let plugin = Plugin::start();
    let kms = plugin.kms();
    let kept = sealed(&kms, "a secret");
    // The seed's ciphertext is not authenticated by this service: a wrong seed is found out by the value.
    for bit in 0..kept.len() * 8 {
        let mut damaged = kept.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let result = opened(&kms, &damaged);
        let harmless = |(plain, _): &(String, bool)| plain == "a secret";
        assert!(result.as_ref().map_or(true, harmless), "bit {bit}: {result:?}");
    }
    for end in 0..kept.len() {
        assert!(opened(&kms, &kept[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_value_whose_key_stands_there_without_a_seed_is_read() {
    let plugin = Plugin::start();
    let kms = plugin.kms();
    let mut data = Vec::new();
    super::super::aes::Gcm::new(&[7; 32]).unwrap().seal(KEY, b"older", &mut data).unwrap();
    let object = EncryptedObject {
        encrypted_data: data,
        key_id: "k1".into(),
        encrypted_dek_source: flipped(&[7; 32]),
        annotations: [("a.b".to_owned(), Vec::new())].into(),
        encrypted_dek_source_type: AES_GCM_KEY,
    };
    assert_eq!(opened(&kms, &object.encode_to_vec()), Ok(("older".to_owned(), true)));
    let wrong = |change: fn(&mut EncryptedObject)| {
        let mut object = object.clone();
        change(&mut object);
        opened(&kms, &object.encode_to_vec()).unwrap_err()
    };
    assert_eq!(wrong(|object| object.encrypted_dek_source_type = 2), "unknown encryptedDEKSourceType: 2");
    assert_eq!(wrong(|object| object.encrypted_data.clear()), "encrypted data is empty");
    assert_eq!(wrong(|object| object.key_id.clear()), "failed to validate key id: keyID is empty");
    let refused = wrong(|object| {
        object.annotations.clear();
        object.key_id = "k0".into();
    });
    let why = "failed to decrypt DEK, error: rpc error: code = InvalidArgument desc = the annotations are missing";
    assert_eq!(refused, why);
}

/// Has the service asked, and waits for it.
fn probe(kms: &Kms) {
    let before = kms.shared.known.lock().probed;
    // What is not a second old is not asked for again.
    kms.shared.known.lock().probed = before.checked_sub(Duration::from_secs(60)).unwrap_or(before);
    let aged = kms.shared.known.lock().probed;
    let _ = kms.health();
    while kms.shared.known.lock().probed == aged {
        std::thread::yield_now();
    }
}

#[test]
fn a_new_key_of_the_service_leads_to_a_new_seed() {
    let plugin = Plugin::start();
    let kms = plugin.kms();
    let old = sealed(&kms, "a secret");
    plugin.told.lock().key_id = "k2".into();
    *plugin.encrypts_with.lock() = Some("k1".into());
    probe(&kms);
    let error = kms.health().unwrap_err();
    assert!(error.starts_with("kmsv2 Provider test is not healthy, error: failed to rotate DEK"), "{error}");
    assert!(!opened(&kms, &sealed(&kms, "still the old one")).unwrap().1);
    *plugin.encrypts_with.lock() = None;
    probe(&kms);
    assert_eq!(kms.health(), Ok(()));
    assert_eq!(opened(&kms, &old), Ok(("a secret".to_owned(), true)), "is to be written again");
    let new = EncryptedObject::decode(sealed(&kms, "a secret").as_slice()).unwrap();
    assert_eq!(new.key_id, "k2");
}

#[test]
fn an_unhealthy_service_is_told_of_and_writing_ends_when_the_seed_expires() {
    let plugin = Plugin::start();
    let kms = plugin.kms();
    for (change, error) in [
        ((|told| told.healthz = "sick".into()) as fn(&mut StatusResponse), "got unexpected healthz status: sick"),
        (|told| told.version = "v3".into(), "expected KMSv2 API version v2, got v3"),
        (
            |told| told.version = "v2beta1".into(),
            "KMSv2 API version should not change after the initial status response version v2, got v2beta1",
        ),
        (|told| told.key_id.clear(), "got invalid KMSv2 KeyID hash \"\": keyID is empty"),
    ] {
        let told = plugin.told.lock().clone();
        change(&mut plugin.told.lock());
        probe(&kms);
        assert_eq!(kms.health(), Err(format!("kmsv2 Provider test is not healthy, error: {error}")));
        *plugin.told.lock() = told;
    }
    let kept = sealed(&kms, "a secret");
    let expired = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    kms.shared.known.lock().state.as_mut().unwrap().expires = expired;
    let error = kms.seal(KEY, b"x", &mut Vec::new()).unwrap_err();
    assert!(error.contains("expired 1 seconds ago"), "{error}");
    assert_eq!(opened(&kms, &kept), Ok(("a secret".to_owned(), false)), "reading goes on");
    probe(&kms);
    assert!(kms.seal(KEY, b"x", &mut Vec::new()).is_ok(), "and so does writing, when the service is there again");
}

#[test]
fn a_service_that_is_down_is_waited_for_and_then_named() {
    let plugin = Plugin::start();
    std::fs::remove_file(plugin.dir.path().join("kms.sock")).unwrap();
    let kms = plugin.kms();
    let error = kms.health().unwrap_err();
    let before =
        "failed to perform status section of the healthz check for KMS Provider test, error: rpc error: code = ";
    assert!(error.starts_with(before), "{error}");
    assert_eq!(kms.seal(KEY, b"x", &mut Vec::new()), Err("got unexpected nil transformer".to_owned()));
    plugin.listen();
    probe(&kms);
    assert_eq!(kms.health(), Ok(()));
    assert!(kms.seal(KEY, b"x", &mut Vec::new()).is_ok());
}
