//! XSalsa20 and Poly1305, as in NaCl's secretbox.

use super::aes::random;
use super::chain::{Plain, TOO_SHORT, Transformer};
use super::fingerprint;
use crypto_secretbox::aead::{AeadInPlace, KeyInit};
use crypto_secretbox::{Key, Nonce, Tag, XSalsa20Poly1305};

const NONCE: usize = 24;
const TAG: usize = 16;

/// A random nonce, the tag and the ciphertext. The store's key is not authenticated.
pub(super) struct Secretbox {
    cipher: XSalsa20Poly1305,
    fingerprint: Vec<u8>,
}

impl Secretbox {
    /// `secret` has 32 bytes.
    pub(super) fn new(secret: &[u8]) -> Result<Secretbox, String> {
        if secret.len() != 32 {
            return Err(format!("expected key size 32 for secretbox provider, got {}", secret.len()));
        }
        Ok(Secretbox { cipher: XSalsa20Poly1305::new(Key::from_slice(secret)), fingerprint: fingerprint(secret) })
    }
}

impl Transformer for Secretbox {
    fn seal(&self, _: &str, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let mut nonce = [0; NONCE];
        random(&mut nonce)?;
        out.reserve(NONCE + TAG + plain.len());
        out.extend_from_slice(&nonce);
        let tag_at = out.len();
        out.extend_from_slice(&[0; TAG]);
        out.extend_from_slice(plain);
        let (tag, text) = out[tag_at..].split_at_mut(TAG);
        let sealed = self.cipher.encrypt_in_place_detached(Nonce::from_slice(&nonce), &[], text);
        tag.copy_from_slice(&sealed.map_err(|_| "secretbox failed to encrypt")?);
        Ok(())
    }

    fn open(&self, _: &str, kept: &[u8]) -> Result<Plain, String> {
        let (nonce, rest) = kept.split_first_chunk::<NONCE>().ok_or(TOO_SHORT)?;
        let (tag, text) = rest.split_first_chunk::<TAG>().ok_or(TOO_SHORT)?;
        let mut plain = Plain::current(text.to_vec());
        let (nonce, tag) = (Nonce::from_slice(nonce), Tag::from_slice(tag));
        let opened = self.cipher.decrypt_in_place_detached(nonce, &[], &mut plain.bytes, tag);
        // Upstream's words for a tag that does not fit.
        opened.map_err(|_| "output array was not large enough for encryption")?;
        Ok(plain)
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.fingerprint.clone()
    }
}
