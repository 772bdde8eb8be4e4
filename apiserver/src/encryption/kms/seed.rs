//! What values are encrypted with: keys derived from a seed, one for each value.

use crate::encryption::aes::{Gcm, random};
use crate::encryption::chain::{Plain, TOO_SHORT, Transformer};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use zeroize::Zeroizing;

const INFO: usize = 32;
pub(super) const SEED: usize = 32;

/// The plaintext of a key source.
pub(super) enum Source {
    /// Each value has a key of its own: 32 random bytes in front of it and the seed give it, by HKDF's second step.
    Seed(Prk),
    /// The key of all values.
    Key(Gcm),
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

impl Source {
    /// `seed` has at least 32 random bytes.
    pub(super) fn seed(seed: &[u8]) -> Result<Source, String> {
        if seed.len() < SEED {
            return Err(format!("invalid seed length {} used for key generation", seed.len()));
        }
        Ok(Source::Seed(Prk::new_less_safe(HKDF_SHA256, seed)))
    }

    fn derived(seed: &Prk, info: &[u8]) -> Result<Gcm, String> {
        let mut key = Zeroizing::new([0; 32]);
        let info = [info];
        let expanded = seed.expand(&info, Length).and_then(|expanded| expanded.fill(&mut *key));
        expanded.map_err(|_| "no key could be derived from the seed")?;
        Gcm::new(&*key)
    }

    /// Appends to `out` what is kept of `plain`.
    pub(super) fn seal(&self, key: &str, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Source::Key(gcm) => gcm.seal(key, plain, out),
            Source::Seed(seed) => {
                let mut info = [0; INFO];
                random(&mut info)?;
                out.extend_from_slice(&info);
                Source::derived(seed, &info)?.seal(key, plain, out)
            }
        }
    }

    pub(super) fn open(&self, key: &str, kept: &[u8]) -> Result<Plain, String> {
        match self {
            Source::Key(gcm) => gcm.open(key, kept),
            Source::Seed(seed) => {
                let (info, rest) = kept.split_at_checked(INFO).ok_or(TOO_SHORT)?;
                Source::derived(seed, info)?.open(key, rest)
            }
        }
    }
}
