//! Key services (KMS v2): values are encrypted with keys derived from a seed, and the seed is encrypted by the service.
//!
//! A thread of its own asks the service (`service.rs`), so that values can be opened wherever a store needs them. Writing
//! never waits for the service: the seed is there, and good for some minutes after the service was last seen healthy.

mod client;
mod seed;
mod service;
#[cfg(test)]
mod tests;
mod wire;

use super::chain::{Plain, Transformer};
use super::config;
use super::metrics::{Direction, Metrics};
use super::{Clock, hash};
use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use prost::Message;
use seed::Source;
use service::Ask;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use storage::Revision;
use wire::{DecryptRequest, EncryptedObject, HKDF_SHA256_XNONCE_AES_GCM_SEED};

/// How many decrypted key sources are kept: there is one for each start of a server and each key of the service.
const CACHED: usize = 4096;
/// After how long a health check that finds an answer so old has the service asked again.
const HEALTHY_FOR: Duration = Duration::from_secs(20);
const UNHEALTHY_FOR: Duration = Duration::from_secs(3);

/// What values are written with.
#[derive(Clone)]
struct State {
    source: Arc<Source>,
    /// All but the data.
    object: EncryptedObject,
    /// Until when it may be used without word from the service.
    expires: Instant,
}

/// What is known of the service.
struct Known {
    state: Option<State>,
    /// The last answer to a probe, and when it came.
    health: Result<(), String>,
    probed: Instant,
}

/// What the thread and its users share.
struct Shared {
    name: String,
    known: Mutex<Known>,
    /// Decrypted sources by a digest of what identifies them.
    cache: Mutex<HashMap<Vec<u8>, Arc<Source>>>,
    /// The store's revision when the service changed its key.
    changed: AtomicU64,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
}

/// One key service.
pub(super) struct Kms {
    shared: Arc<Shared>,
    asks: tokio::sync::mpsc::UnboundedSender<Ask>,
    timeout: Duration,
}

impl Kms {
    /// Starts the thread and asks the service for the first time; it may be down, and is asked again then. Blocks meanwhile.
    pub(super) fn start(config: &config::Kms, clock: Arc<Clock>, metrics: Arc<Metrics>) -> Result<Kms, String> {
        let timeout = config.timeout.unsigned_abs();
        let known = Known { state: None, health: Err("not asked yet".to_owned()), probed: Instant::now() };
        let shared = Arc::new(Shared {
            name: config.name.clone(),
            known: Mutex::new(known),
            cache: Mutex::default(),
            changed: AtomicU64::new(0),
            clock,
            metrics,
        });
        let (asks, queue) = tokio::sync::mpsc::unbounded_channel();
        let (first, probed) = mpsc::sync_channel(1);
        let (thread, endpoint) = (shared.clone(), config.endpoint.clone());
        std::thread::Builder::new()
            .name("kms".to_owned())
            .spawn(move || service::run(thread, endpoint, timeout, queue, first))
            .map_err(|error| format!("could not configure KMSv2-Plugin's probe \"{}\", error: {error}", config.name))?;
        let _ = probed.recv();
        Ok(Kms { shared, asks, timeout })
    }

    /// What is wrong with the service, as far as is known; has it asked again if that is old.
    pub(super) fn health(&self) -> Result<(), String> {
        let known = self.shared.known.lock();
        let lasts = if known.health.is_ok() { HEALTHY_FOR } else { UNHEALTHY_FOR };
        if known.probed.elapsed() > lasts {
            let _ = self.asks.send(Ask::Probe);
        }
        known.health.clone()
    }

    /// The source that a stored object names, decrypted by the service if it is not known yet.
    fn source(&self, object: &EncryptedObject) -> Result<Arc<Source>, String> {
        let id = cache_key(object);
        if let Some(source) = self.shared.cache.lock().get(&id) {
            return Ok(source.clone());
        }
        self.shared.metrics.cache_missed();
        let request = DecryptRequest {
            ciphertext: object.encrypted_dek_source.clone(),
            uid: uuid::Uuid::new_v4().to_string(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone(),
        };
        let (reply, answer) = mpsc::sync_channel(1);
        let gone = || "the thread of the key service has ended".to_owned();
        self.asks.send(Ask::Decrypt(request, reply)).map_err(|_| gone())?;
        // The thread keeps the time; the second one is for a thread that does not answer.
        let answered = answer.recv_timeout(self.timeout * 2 + Duration::from_secs(1)).map_err(|_| gone())?;
        let plain = answered.map_err(|error| format!("failed to decrypt DEK, error: {error}"))?;
        let source = Arc::new(match object.encrypted_dek_source_type {
            HKDF_SHA256_XNONCE_AES_GCM_SEED => Source::seed(&plain)?,
            _ => Source::Key(super::aes::Gcm::new(&plain)?),
        });
        self.shared.cache(id, source.clone());
        Ok(source)
    }
}

impl Shared {
    fn state(&self) -> Result<State, String> {
        self.known.lock().state.clone().ok_or_else(|| "got unexpected nil transformer".to_owned())
    }

    fn cache(&self, id: Vec<u8>, source: Arc<Source>) {
        let mut cache = self.cache.lock();
        if cache.len() >= CACHED {
            cache.clear();
        }
        cache.insert(id, source);
        self.metrics.cached(&self.name, cache.len());
    }
}

/// What identifies a source: everything but the data.
fn cache_key(object: &EncryptedObject) -> Vec<u8> {
    let bytes = EncryptedObject { encrypted_data: Vec::new(), ..object.clone() }.encode_to_vec();
    digest(&SHA256, &bytes).as_ref().to_vec()
}

impl Transformer for Kms {
    fn seal(&self, key: &str, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let State { source, mut object, expires } = self.shared.state()?;
        if Instant::now() > expires {
            let ago = expires.elapsed().as_secs();
            let key_id = hash(object.key_id.as_bytes());
            return Err(format!("encryptedDEKSource with keyID hash \"{key_id}\" expired {ago} seconds ago"));
        }
        source.seal(key, plain, &mut object.encrypted_data)?;
        self.shared.metrics.used(Direction::ToStorage, &self.shared.name, &object.key_id);
        out.reserve(object.encoded_len());
        object.encode(out).map_err(|error| error.to_string())
    }

    fn open(&self, key: &str, kept: &[u8]) -> Result<Plain, String> {
        let object = EncryptedObject::decode(kept)
            .map_err(|error| format!("proto: cannot parse invalid wire-format data: {error}"))?;
        object.validate()?;
        let state = self.shared.state()?;
        let source = self.source(&object)?;
        self.shared.metrics.used(Direction::FromStorage, &self.shared.name, &object.key_id);
        let plain = source.open(key, &object.encrypted_data)?;
        let current = &state.object;
        let same =
            object.key_id == current.key_id && object.encrypted_dek_source_type == current.encrypted_dek_source_type;
        Ok(Plain { stale: plain.stale || !same, ..plain })
    }

    fn fingerprint(&self) -> Vec<u8> {
        let state = self.shared.state();
        state.map(|state| state.object.key_id.into_bytes()).unwrap_or_default()
    }

    fn changed(&self) -> Revision {
        self.shared.changed.load(Ordering::Acquire)
    }
}
