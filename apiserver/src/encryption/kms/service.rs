//! The thread that asks a key service: for its state every minute, to decrypt seeds, and to encrypt a new one when it has
//! another key.

use super::client::Client;
use super::seed::{SEED, Source};
use super::wire::{
    DecryptRequest, EncryptRequest, EncryptedObject, HKDF_SHA256_XNONCE_AES_GCM_SEED, StatusRequest, StatusResponse,
    validate_key_id,
};
use super::{Shared, State, cache_key};
use crate::encryption::aes::random;
use crate::encryption::hash;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use zeroize::Zeroizing;

/// How often the service is asked for its state: a seed expires if it does not answer.
const POLL_HEALTHY: Duration = Duration::from_secs(60);
const POLL_UNHEALTHY: Duration = Duration::from_secs(10);
/// For how long a seed may be used after the service was last seen healthy.
const LIFETIME: Duration = Duration::from_secs(180);

/// What the thread is asked for.
pub(super) enum Ask {
    /// Ask the service for its state.
    Probe,
    Decrypt(DecryptRequest, mpsc::SyncSender<Result<Zeroizing<Vec<u8>>, String>>),
}

/// Runs until nobody can ask any more. `first` is told when the service has been probed once.
pub(super) fn run(
    shared: Arc<Shared>,
    endpoint: String,
    timeout: Duration,
    mut asks: UnboundedReceiver<Ask>,
    first: mpsc::SyncSender<()>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            shared.known.lock().health = Err(error.to_string());
            return;
        }
    };
    runtime.block_on(async {
        let client = Client::new(&shared.name, &endpoint, timeout, shared.metrics.clone());
        let mut service = Service { shared, client, version: None };
        service.probe().await;
        let _ = first.send(());
        loop {
            let pause = if service.shared.known.lock().health.is_ok() { POLL_HEALTHY } else { POLL_UNHEALTHY };
            match tokio::time::timeout(pause, asks.recv()).await {
                Ok(None) => return,
                Ok(Some(Ask::Decrypt(request, reply))) => {
                    let answer = service.client.call(request).await;
                    let _ = reply.send(answer.map(|answer| Zeroizing::new(answer.plaintext)));
                }
                Ok(Some(Ask::Probe)) if service.shared.known.lock().probed.elapsed() < Duration::from_secs(1) => {}
                Ok(Some(Ask::Probe)) | Err(_) => service.probe().await,
            }
        }
    });
}

struct Service {
    shared: Arc<Shared>,
    client: Client,
    /// The version of the protocol that the service told first.
    version: Option<String>,
}

impl Service {
    /// Asks for the state, and notes what is wrong.
    async fn probe(&mut self) {
        let name = self.shared.name.clone();
        let health = match self.client.call(StatusRequest {}).await {
            Err(error) => Err(format!(
                "failed to perform status section of the healthz check for KMS Provider {name}, error: {error}"
            )),
            Ok(status) => self
                .judge(status)
                .await
                .map_err(|error| format!("kmsv2 Provider {name} is not healthy, error: {error}")),
        };
        if let Err(error) = &health {
            tracing::warn!(name, error, "the key service failed its health check");
        }
        let mut known = self.shared.known.lock();
        (known.health, known.probed) = (health, Instant::now());
    }

    /// Judges a state; renews the seed if the service has another key.
    async fn judge(&mut self, status: StatusResponse) -> Result<(), String> {
        let StatusResponse { version, healthz, key_id } = status;
        let mut errors = Vec::new();
        if healthz != "ok" {
            errors.push(format!("got unexpected healthz status: {healthz}"));
        }
        if !matches!(version.as_str(), "v2" | "v2beta1") {
            errors.push(format!("expected KMSv2 API version v2, got {version}"));
        } else {
            let first = self.version.get_or_insert_with(|| version.clone());
            if *first != version {
                errors.push(format!(
                    "KMSv2 API version should not change after the initial status response version {first}, got {version}"
                ));
            }
        }
        match validate_key_id(&key_id) {
            Err((code, why)) => {
                self.shared.metrics.invalid_key_id(&self.shared.name, code);
                errors.push(format!("got invalid KMSv2 KeyID hash \"{}\": {why}", shown(&key_id)));
            }
            Ok(()) => {
                self.shared.metrics.key_id_told(&self.shared.name, &key_id);
                errors.extend(self.renew(&key_id).await.err());
            }
        }
        match errors.as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    /// Lets the seed in use live on, or makes a new one if the service has another key now.
    async fn renew(&mut self, key_id: &str) -> Result<(), String> {
        // Before asking: the time that it takes counts.
        let expires = Instant::now() + LIFETIME;
        let before = {
            let mut known = self.shared.known.lock();
            match &mut known.state {
                Some(state) if state.object.key_id == key_id => {
                    state.expires = expires;
                    return Ok(());
                }
                state => state.as_ref().map(|state| state.object.key_id.clone()),
            }
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let generated = self.generate(&uid).await;
        match generated {
            Ok((source, object)) if object.key_id == key_id => {
                let source = Arc::new(source);
                self.shared.cache(cache_key(&object), source.clone());
                tracing::info!(name = self.shared.name, uid, key = hash(key_id.as_bytes()), "a new seed is in use");
                self.shared.known.lock().state = Some(State { source, object, expires });
                if before.is_some() {
                    // What was written until now was written with the old one.
                    self.shared.changed.store(self.shared.clock.revision(), Ordering::Release);
                }
                Ok(())
            }
            other => {
                let (error, encrypted) = match &other {
                    Ok((_, object)) => ("<nil>", shown(&object.key_id)),
                    Err(error) => (error.as_str(), String::new()),
                };
                let (told, before) = (shown(key_id), before.map(|id| shown(&id)).unwrap_or_default());
                Err(format!(
                    "failed to rotate DEK uid=\"{uid}\", useSeed=true, errGen={error}, statusKeyIDHash=\"{told}\", \
                     encryptKeyIDHash=\"{encrypted}\", stateKeyIDHash=\"{before}\""
                ))
            }
        }
    }

    async fn generate(&self, uid: &str) -> Result<(Source, EncryptedObject), String> {
        let begin = Instant::now();
        let mut seed = Zeroizing::new([0; SEED]);
        let filled = random(&mut *seed);
        self.shared.metrics.generated(begin, filled.is_ok());
        filled?;
        let request = EncryptRequest { plaintext: seed.to_vec(), uid: uid.to_owned() };
        let answer =
            self.client.call(request).await.map_err(|error| format!("failed to encrypt DEK, error: {error}"))?;
        let mut object = EncryptedObject {
            // Some data, as there always is.
            encrypted_data: vec![0],
            key_id: answer.key_id,
            encrypted_dek_source: answer.ciphertext,
            annotations: answer.annotations,
            encrypted_dek_source_type: HKDF_SHA256_XNONCE_AES_GCM_SEED,
        };
        object.validate()?;
        object.encrypted_data.clear();
        Ok((Source::seed(&*seed)?, object))
    }
}

/// A key's name as it is shown: by its hash, if it has one.
fn shown(key_id: &str) -> String {
    if key_id.is_empty() { String::new() } else { hash(key_id.as_bytes()) }
}
