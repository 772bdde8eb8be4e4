//! Encryption at rest: what a store keeps of the resources that an `EncryptionConfiguration` names.
//!
//! The formats are upstream's, byte for byte, so that either server reads what the other has written: the provider's prefix,
//! the key's name, and what the provider makes of the value (`aes.rs`, `secretbox.rs`, `kms/`). The whole key
//! in the store is authenticated with the value by AES-GCM: a value that was moved to another key is refused.

mod aes;
mod chain;
mod codec;
mod config;
mod kms;
mod metrics;
mod reload;
mod resource;
mod secretbox;
mod shape;
#[cfg(test)]
mod tests;
mod validation;

use crate::encryption::metrics::Direction;
use api::kinds::KINDS;
use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use chain::{Chain, ENCRYPTED, Identity, Link, NO_PREFIX, Transformer};
use config::{Configuration, Key, Provider};
use kms::Kms;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use resource::GroupResource;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;
use storage::{Place, Revision, Store};

pub use codec::Sealed;

/// What is told of a value that was refused because it stands in clear.
const IN_CLEAR: &str = "identity is not among the providers that may read it";

/// What providers need of the server.
struct Surroundings<'a> {
    clock: &'a Arc<Clock>,
    metrics: &'a Arc<metrics::Metrics>,
}

/// How values are kept, as a file says. Holds keys: has no `Debug`.
pub struct Encryption {
    file: PathBuf,
    reloads: bool,
    loaded: ArcSwap<Loaded>,
    /// What has been kept in another way since a revision.
    changes: Mutex<Changes>,
    clock: Arc<Clock>,
    metrics: Arc<metrics::Metrics>,
}

/// Tells the store's revision, once there is a store.
#[derive(Default)]
struct Clock(OnceLock<Weak<dyn Store>>);

impl Clock {
    fn revision(&self) -> Revision {
        self.0.get().and_then(Weak::upgrade).map_or(0, |store| store.revision())
    }
}

/// What one version of the file has led to.
struct Loaded {
    /// By group and resource, either of which may be `*`.
    chains: HashMap<String, HashMap<String, Chain>>,
    /// The file's, to tell whether it has changed.
    hash: String,
    services: Vec<Arc<Kms>>,
}

/// The last revisions at which values may still have been written in an older form.
#[derive(Default)]
struct Changes {
    builtin: HashMap<GroupResource<'static>, Revision>,
    /// Of custom objects.
    custom: Revision,
}

/// A value that was read.
pub struct Unsealed {
    pub value: Bytes,
    /// Whether it would be kept in another form if it were written now.
    pub stale: bool,
}

impl Encryption {
    /// Reads a file, and asks the key services that it names; blocks meanwhile. `reloads`: whether it is to be followed; names of key services must be unique then.
    pub fn load(file: &Path, reloads: bool) -> Result<Arc<Encryption>, String> {
        let (clock, metrics) = (Arc::<Clock>::default(), Arc::<metrics::Metrics>::default());
        let loaded = Loaded::read(file, reloads, &Surroundings { clock: &clock, metrics: &metrics })?;
        metrics.loaded(&loaded.hash);
        Ok(Arc::new(Encryption {
            file: file.to_owned(),
            reloads,
            loaded: ArcSwap::from_pointee(loaded),
            changes: Mutex::default(),
            clock,
            metrics,
        }))
    }

    /// What to keep of `plain`; `None`: the value itself.
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Option<Bytes>, String> {
        let loaded = self.loaded.load();
        let Some(chain) = loaded.chain(place.key).filter(|chain| !chain.is_identity()) else { return Ok(None) };
        let (begin, mut sealed) = (Instant::now(), Vec::new());
        let result = chain.seal(place.kept_at, plain, &mut sealed);
        self.metrics.transformed(place.key, Direction::ToStorage, chain.prefix(), begin, result.is_ok());
        result.map(|()| Some(sealed.into()))
    }

    /// Whether values of `key` are kept in another form than their own.
    pub fn seals(&self, key: &str) -> bool {
        self.loaded.load().chain(key).is_some_and(|chain| !chain.is_identity())
    }

    /// The value of which `kept` was made by this server or upstream's, in the same place.
    pub fn open(&self, place: Place<'_>, kept: &Bytes) -> Result<Unsealed, String> {
        if !kept.starts_with(ENCRYPTED) {
            return self.open_as_is(place.key).map(|stale| Unsealed { value: kept.clone(), stale });
        }
        let (loaded, begin) = (self.loaded.load(), Instant::now());
        let (result, prefix) = match loaded.chain(place.key) {
            Some(chain) => (chain.open(place.kept_at, kept), chain.prefix_of(kept).unwrap_or("unknown")),
            None => (Identity.open(place.kept_at, kept), "identity"),
        };
        self.metrics.transformed(place.key, Direction::FromStorage, prefix, begin, result.is_ok());
        result.map(|plain| Unsealed { value: plain.bytes.into(), stale: plain.stale })
    }

    /// For a value of `key` that stands in clear: whether it would be written in another form now, or why it is refused.
    pub fn open_as_is(&self, key: &str) -> Result<bool, String> {
        match self.loaded.load().chain(key) {
            None => Ok(false),
            Some(chain) if chain.has_identity() => Ok(!chain.is_identity()),
            Some(_) => Err(format!("{NO_PREFIX}: {IN_CLEAR}")),
        }
    }

    /// Whether what is kept of a value that was last changed at `revision` would be written in another form now, because the
    /// configuration has changed since.
    pub fn is_outdated(&self, key: &str, revision: Revision) -> bool {
        let changed = self.loaded.load().chain(key).map_or(0, Chain::changed);
        let changes = self.changes.lock();
        let resource = GroupResource::of_key(key);
        revision <= changed.max(changes.builtin.get(&resource).copied().unwrap_or(changes.custom))
    }

    /// Shows what encryption counts.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// What is wrong with the key services.
    pub fn health(&self) -> Result<(), String> {
        self.loaded.load().health()
    }

    /// Whether `/readyz` and `/healthz` are to tell of key services: if there are any, or may be some later.
    pub fn has_health(&self) -> bool {
        self.reloads || !self.loaded.load().services.is_empty()
    }

    /// Takes a changed file into use; `revision` is the store's. Gives whether it had changed. Blocks as [`Encryption::load`].
    fn reload(&self, revision: Revision) -> Result<bool, String> {
        let old = self.loaded.load_full();
        if hash(&config::read(&self.file)?) == old.hash {
            return Ok(false);
        }
        let new = Loaded::read(&self.file, true, &Surroundings { clock: &self.clock, metrics: &self.metrics })?;
        new.health().map_err(|error| format!("health check for new transformers failed: {error}"))?;
        let mut changes = self.changes.lock();
        for kind in KINDS.iter().filter(|kind| kind.is_stored()) {
            let resource = GroupResource::of_kind(kind);
            let changed = old.fingerprint(&resource) != new.fingerprint(&resource);
            let since = changes.builtin.entry(resource).or_default();
            *since = if changed { revision } else { *since };
        }
        changes.custom = revision;
        self.metrics.loaded(&new.hash);
        self.loaded.store(Arc::new(new));
        Ok(true)
    }
}

impl Loaded {
    fn read(file: &Path, reloads: bool, surroundings: &Surroundings<'_>) -> Result<Loaded, String> {
        let parsing = |error: String| format!("error while parsing file: {error}");
        let bytes = config::read(file).map_err(|error| parsing(format!("error while loading file: {error}")))?;
        let configuration = config::parse(&bytes).map_err(|error| {
            let file = api::field::quote(&file.display().to_string());
            parsing(format!("error decoding encryption provider configuration file {file}: {error}"))
        })?;
        validation::validate(&configuration, reloads).map_err(parsing)?;
        let mut services = Vec::new();
        let chains = build(&configuration, surroundings, &mut services);
        let chains = chains.map_err(|error| format!("error while building transformers: {error}"))?;
        Ok(Loaded { chains, hash: hash(&bytes), services })
    }

    fn health(&self) -> Result<(), String> {
        let wrong = self.services.iter().enumerate().filter_map(|(index, service)| {
            let error = service.health().err()?;
            Some(format!("kms-provider-{index}: {error}"))
        });
        match wrong.collect::<Vec<_>>().as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    /// How the values of `key` are kept; `None`: as they are.
    fn chain(&self, key: &str) -> Option<&Chain> {
        // Most configurations have few rules, most servers no configuration at all.
        if self.chains.is_empty() { None } else { self.chain_of(&GroupResource::of_key(key)) }
    }

    fn chain_of(&self, resource: &GroupResource<'_>) -> Option<&Chain> {
        let find = |group: &str, resource: &str| self.chains.get(group)?.get(resource);
        let GroupResource { group, resource } = resource;
        find(group, resource).or_else(|| find(group, "*")).or_else(|| find("*", "*"))
    }

    fn fingerprint(&self, resource: &GroupResource<'_>) -> Vec<u8> {
        self.chain_of(resource).map(Chain::fingerprint).unwrap_or_default()
    }
}

/// The chain of each resource that the configuration names.
fn build(
    configuration: &Configuration,
    surroundings: &Surroundings<'_>,
    services: &mut Vec<Arc<Kms>>,
) -> Result<HashMap<String, HashMap<String, Chain>>, String> {
    let mut links: HashMap<GroupResource<'static>, Vec<Link>> = HashMap::new();
    for rule in &configuration.resources {
        let own = rule.providers.iter().map(|provider| link(provider, surroundings, services));
        let own = own.collect::<Result<Vec<Link>, String>>()?;
        for name in &rule.resources {
            let resource = GroupResource::parse(name).into_owned();
            for earlier in [resource.any_in_group(), GroupResource::ANY] {
                if links.contains_key(&earlier) {
                    let (name, earlier) = (resource.name(), earlier.name());
                    return Err(format!("resource \"{name}\" is masked by earlier rule \"{earlier}\""));
                }
            }
            links.entry(resource).or_default().extend(own.iter().cloned());
        }
    }
    let mut chains: HashMap<String, HashMap<String, Chain>> = HashMap::new();
    for (GroupResource { group, resource }, links) in links {
        let of_group = chains.entry(group.into_owned()).or_default();
        of_group.insert(resource.into_owned(), Chain::new(links, NO_PREFIX));
    }
    Ok(chains)
}

fn link(provider: &Provider, surroundings: &Surroundings<'_>, services: &mut Vec<Arc<Kms>>) -> Result<Link, String> {
    const NO_AES_KEY: &str = "no matching key was found for the provided AES transformer";
    const NO_BOX_KEY: &str = "no matching key was found for the provided Secretbox transformer";
    let (prefix, transformer): (&str, Arc<dyn Transformer>) = match provider {
        Provider { aesgcm: Some(keys), .. } => {
            ("k8s:enc:aesgcm:v1:", Arc::new(keyed(keys, NO_AES_KEY, aes::Gcm::new)?))
        }
        Provider { aescbc: Some(keys), .. } => {
            ("k8s:enc:aescbc:v1:", Arc::new(keyed(keys, NO_AES_KEY, aes::Cbc::new)?))
        }
        Provider { secretbox: Some(keys), .. } => {
            ("k8s:enc:secretbox:v1:", Arc::new(keyed(keys, NO_BOX_KEY, secretbox::Secretbox::new)?))
        }
        Provider { kms: Some(kms), .. } if kms.api_version == "v1" => return Err(KMS_V1.to_owned()),
        Provider { kms: Some(kms), .. } => {
            let service = Arc::new(Kms::start(kms, surroundings.clock.clone(), surroundings.metrics.clone())?);
            services.push(service.clone());
            return Ok(Link { prefix: format!("k8s:enc:kms:v2:{}:", kms.name), transformer: service });
        }
        Provider { identity: true, .. } => ("", Arc::new(Identity)),
        _ => return Err(validation::NO_PROVIDER.to_owned()),
    };
    Ok(Link { prefix: prefix.to_owned(), transformer })
}

const KMS_V1: &str = "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  \
                      Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.";

/// A transformer for each key, told apart by their names.
fn keyed<T: Transformer + 'static>(
    keys: &[Key],
    none: &'static str,
    make: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<Chain, String> {
    let link = |key: &Key| {
        let failed = |error: String| format!("error while creating cipher for named key {}: {error}", key.name);
        let secret = validation::secret(key).ok_or_else(|| failed("illegal base64 data".to_owned()))?;
        Ok(Link { prefix: format!("{}:", key.name), transformer: Arc::new(make(&secret).map_err(failed)?) })
    };
    Ok(Chain::new(keys.iter().map(link).collect::<Result<_, String>>()?, none))
}

/// Tells keys apart without telling anything of them.
fn fingerprint(secret: &[u8]) -> Vec<u8> {
    digest(&SHA256, secret).as_ref().to_vec()
}

/// `sha256:` and the digest, as upstream's metrics have it.
fn hash(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
