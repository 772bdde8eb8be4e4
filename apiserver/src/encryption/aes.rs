//! AES-GCM with the whole key in the store as authenticated data, and AES-CBC with PKCS #7 padding.

use super::chain::{Plain, TOO_SHORT, Transformer};
use super::fingerprint;
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

const NONCE: usize = aead::NONCE_LEN;
const TAG: usize = 16;
const BLOCK: usize = cipher::AES_CBC_IV_LEN;

/// AES-GCM: a random nonce, the ciphertext and its tag.
pub(super) struct Gcm {
    key: LessSafeKey,
    fingerprint: Vec<u8>,
}

impl Gcm {
    /// `secret` has 16, 24 or 32 bytes.
    pub(super) fn new(secret: &[u8]) -> Result<Gcm, String> {
        let algorithm = match secret.len() {
            16 => &aead::AES_128_GCM,
            24 => &aead::AES_192_GCM,
            32 => &aead::AES_256_GCM,
            other => return Err(format!("crypto/aes: invalid key size {other}")),
        };
        let key = UnboundKey::new(algorithm, secret).map_err(|_| "the key cannot be used for AES-GCM")?;
        Ok(Gcm { key: LessSafeKey::new(key), fingerprint: fingerprint(secret) })
    }
}

impl Transformer for Gcm {
    fn seal(&self, key: &str, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let mut nonce = [0; NONCE];
        random(&mut nonce)?;
        out.reserve(NONCE + plain.len() + TAG);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from(key.as_bytes()), &mut out[start..]);
        out.extend_from_slice(sealed.map_err(|_| "AES-GCM failed to encrypt")?.as_ref());
        Ok(())
    }

    fn open(&self, key: &str, kept: &[u8]) -> Result<Plain, String> {
        let (nonce, sealed) = kept.split_first_chunk::<NONCE>().ok_or(TOO_SHORT)?;
        let mut plain = Plain::current(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(key.as_bytes()), &mut plain.bytes);
        let length = opened.map_err(|_| "cipher: message authentication failed")?.len();
        plain.bytes.truncate(length);
        Ok(plain)
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.fingerprint.clone()
    }
}

/// AES-CBC: a random initialization vector and the padded ciphertext. Nothing says whether that was changed.
pub(super) struct Cbc {
    encrypting: EncryptingKey,
    decrypting: DecryptingKey,
    fingerprint: Vec<u8>,
}

impl Cbc {
    /// `secret` has 16, 24 or 32 bytes.
    pub(super) fn new(secret: &[u8]) -> Result<Cbc, String> {
        let algorithm = match secret.len() {
            16 => &cipher::AES_128,
            24 => &cipher::AES_192,
            32 => &cipher::AES_256,
            other => return Err(format!("crypto/aes: invalid key size {other}")),
        };
        let unusable = |_| "the key cannot be used for AES-CBC".to_owned();
        let key = || UnboundCipherKey::new(algorithm, secret).map_err(unusable);
        Ok(Cbc {
            encrypting: EncryptingKey::cbc(key()?).map_err(unusable)?,
            decrypting: DecryptingKey::cbc(key()?).map_err(unusable)?,
            fingerprint: fingerprint(secret),
        })
    }
}

impl Transformer for Cbc {
    fn seal(&self, _: &str, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let mut vector = [0; BLOCK];
        random(&mut vector)?;
        let padding = BLOCK - plain.len() % BLOCK;
        out.reserve(BLOCK + plain.len() + padding);
        out.extend_from_slice(&vector);
        let start = out.len();
        out.extend_from_slice(plain);
        out.resize(out.len() + padding, padding as u8);
        let context = EncryptionContext::Iv128(FixedLength::from(vector));
        let sealed = self.encrypting.less_safe_encrypt(&mut out[start..], context);
        sealed.map(drop).map_err(|_| "AES-CBC failed to encrypt".to_owned())
    }

    fn open(&self, _: &str, kept: &[u8]) -> Result<Plain, String> {
        let (vector, sealed) = kept.split_first_chunk::<BLOCK>().ok_or(TOO_SHORT)?;
        if sealed.len() % BLOCK != 0 {
            return Err("the stored data is not a multiple of the block size".to_owned());
        }
        let mut plain = Plain::current(sealed.to_vec());
        let context = DecryptionContext::Iv128(FixedLength::from(*vector));
        let opened = self.decrypting.decrypt(&mut plain.bytes, context);
        opened.map_err(|_| "AES-CBC failed to decrypt")?;
        let padding = plain.bytes.last().map_or(0, |last| usize::from(*last));
        let Some(length) = plain.bytes.len().checked_sub(padding).filter(|_| padding > 0) else {
            return Err("invalid PKCS7 data (empty or not padded)".to_owned());
        };
        if plain.bytes[length..].iter().any(|byte| usize::from(*byte) != padding) {
            return Err("invalid padding on input".to_owned());
        }
        plain.bytes.truncate(length);
        Ok(plain)
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.fingerprint.clone()
    }
}

pub(super) fn random(into: &mut [u8]) -> Result<(), String> {
    aws_lc_rs::rand::fill(into).map_err(|_| "the system gives no random bytes".to_owned())
}
