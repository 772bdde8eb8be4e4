//! Transformers: what makes of a value what is kept, and back; and the prefixes by which they are told apart.

use std::sync::Arc;
use storage::Revision;

/// What every encrypted value begins with.
pub(super) const ENCRYPTED: &[u8] = b"k8s:enc:";
/// What upstream says where a value shows no sign of being made by one of the providers.
pub(super) const NO_PREFIX: &str = "no matching prefix found";
pub(super) const TOO_SHORT: &str = "the stored data was shorter than the required size";

/// A value in clear.
pub(super) struct Plain {
    pub(super) bytes: Vec<u8>,
    /// Whether it would be kept in another form if it were written now.
    pub(super) stale: bool,
}

impl Plain {
    pub(super) fn current(bytes: Vec<u8>) -> Plain {
        Plain { bytes, stale: false }
    }
}

/// One way to keep values. Errors are in upstream's words.
pub(super) trait Transformer: Send + Sync {
    /// Appends to `out` what is kept of `plain` under `key`, the whole key in the store.
    fn seal(&self, key: &str, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String>;

    /// The value of which `kept` was made; it must be kept under `key`.
    fn open(&self, key: &str, kept: &[u8]) -> Result<Plain, String>;

    /// Whether values are kept as they are.
    fn is_identity(&self) -> bool {
        false
    }

    /// The store's revision when what writes changed by itself; 0 if it never did.
    fn changed(&self) -> Revision {
        0
    }

    /// Something that differs whenever values would be kept with another key, and tells nothing of the key.
    fn fingerprint(&self) -> Vec<u8>;
}

/// Keeps values as they are; refuses to take encrypted ones for that.
pub(super) struct Identity;

impl Transformer for Identity {
    fn seal(&self, _: &str, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(plain);
        Ok(())
    }

    fn open(&self, _: &str, kept: &[u8]) -> Result<Plain, String> {
        if kept.starts_with(ENCRYPTED) {
            return Err("identity transformer tried to read encrypted data".to_owned());
        }
        Ok(Plain::current(kept.to_vec()))
    }

    fn is_identity(&self) -> bool {
        true
    }

    fn fingerprint(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// A transformer, and what stands before its values.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) prefix: String,
    pub(super) transformer: Arc<dyn Transformer>,
}

/// Transformers in order: the first one writes, those whose prefix a value has may read it.
pub(super) struct Chain {
    links: Vec<Link>,
    /// What is said of a value with none of the prefixes.
    none: &'static str,
}

impl Chain {
    /// `links` has at least one element, or nothing can be written.
    pub(super) fn new(links: Vec<Link>, none: &'static str) -> Chain {
        Chain { links, none }
    }

    /// The prefix of what is written.
    pub(super) fn prefix(&self) -> &str {
        self.links.first().map_or("", |link| &link.prefix)
    }

    /// Whether values in clear may be read.
    pub(super) fn has_identity(&self) -> bool {
        self.links.iter().any(|link| link.transformer.is_identity())
    }

    /// The prefix of the link that `kept` seems to be made by.
    pub(super) fn prefix_of(&self, kept: &[u8]) -> Option<&str> {
        let mut matching = self.links.iter().filter(|link| kept.starts_with(link.prefix.as_bytes()));
        matching.next().map(|link| link.prefix.as_str())
    }
}

impl Transformer for Chain {
    fn seal(&self, key: &str, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let first = self.links.first().ok_or(self.none)?;
        out.extend_from_slice(first.prefix.as_bytes());
        first.transformer.seal(key, plain, out)
    }

    fn open(&self, key: &str, kept: &[u8]) -> Result<Plain, String> {
        let mut errors: Vec<String> = Vec::new();
        for (index, link) in self.links.iter().enumerate() {
            let Some(rest) = kept.strip_prefix(link.prefix.as_bytes()) else { continue };
            match link.transformer.open(key, rest) {
                Ok(plain) => return Ok(Plain { stale: plain.stale || index > 0, ..plain }),
                // Identity may stand before the provider that the value was made by.
                Err(_) if link.prefix.is_empty() => {}
                // A later link may have the same prefix and another key.
                Err(error) if !errors.contains(&error) => errors.push(error),
                Err(_) => {}
            }
        }
        match errors.as_slice() {
            [] => Err(self.none.to_owned()),
            [error] => Err(error.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    fn is_identity(&self) -> bool {
        self.links.first().is_some_and(|link| link.transformer.is_identity())
    }

    fn changed(&self) -> Revision {
        self.links.first().map_or(0, |link| link.transformer.changed())
    }

    fn fingerprint(&self) -> Vec<u8> {
        let Some(first) = self.links.first() else { return Vec::new() };
        [first.prefix.as_bytes(), &first.transformer.fingerprint()].concat()
    }
}
