//! Secrets as digests that mean nothing outside this process.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

use crate::{Error, Result};

/// HMAC-SHA256 under a random key. Looking a secret up, or comparing it, by its digest takes a time that tells nothing of it,
/// and the digests kept in memory reveal nothing either.
pub struct KeyedHash(hmac::Key);

/// What [`KeyedHash::digest`] gives.
pub type Digest = [u8; 32];

impl KeyedHash {
    pub fn new() -> Result<KeyedHash> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        key.map(KeyedHash).map_err(|_| Error::Randomness)
    }

    /// The digest of a sequence: `["a", "bc"]` and `["ab", "c"]` differ.
    pub fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_parts_and_processes_apart() {
        let (one, other) = (KeyedHash::new().unwrap(), KeyedHash::new().unwrap());
        assert_eq!(one.digest(&[b"a", b"bc"]), one.digest(&[b"a", b"bc"]));
        assert_ne!(one.digest(&[b"a", b"bc"]), one.digest(&[b"ab", b"c"]));
        assert_ne!(one.digest(&[b"a"]), other.digest(&[b"a"]));
    }
}
