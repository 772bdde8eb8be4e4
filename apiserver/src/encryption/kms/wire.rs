//! Messages of key services, version 2 (`k8s.io/kms/apis/v2`), and of what is stored (`EncryptedObject`). Keys are never printed.

use prost::Message;
use std::collections::BTreeMap;
use std::fmt;

/// A request with one answer.
pub(in crate::encryption) trait Request: Message + Clone + Default + 'static {
    type Answer: Message + Default + 'static;
    const PATH: &'static str;
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::encryption) struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
pub(in crate::encryption) struct StatusResponse {
    #[prost(string, tag = "1")]
    pub(in crate::encryption) version: String,
    #[prost(string, tag = "2")]
    pub(in crate::encryption) healthz: String,
    #[prost(string, tag = "3")]
    pub(in crate::encryption) key_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::encryption) struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(in crate::encryption) ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(in crate::encryption) uid: String,
    #[prost(string, tag = "3")]
    pub(in crate::encryption) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(in crate::encryption) annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::encryption) struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(in crate::encryption) plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::encryption) struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(in crate::encryption) plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(in crate::encryption) uid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::encryption) struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(in crate::encryption) ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(in crate::encryption) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(in crate::encryption) annotations: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for DecryptResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptResponse")
    }
}

impl fmt::Debug for EncryptRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptRequest({})", self.uid)
    }
}

impl Request for StatusRequest {
    type Answer = StatusResponse;
    const PATH: &'static str = "/v2.KeyManagementService/Status";
}

impl Request for DecryptRequest {
    type Answer = DecryptResponse;
    const PATH: &'static str = "/v2.KeyManagementService/Decrypt";
}

impl Request for EncryptRequest {
    type Answer = EncryptResponse;
    const PATH: &'static str = "/v2.KeyManagementService/Encrypt";
}

/// How the plaintext of `encrypted_dek_source` leads to the key.
pub(super) const AES_GCM_KEY: i32 = 0;
pub(super) const HKDF_SHA256_XNONCE_AES_GCM_SEED: i32 = 1;

/// What is kept of a value.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) encrypted_data: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) encrypted_dek_source: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(super) annotations: BTreeMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    pub(super) encrypted_dek_source_type: i32,
}

const KEY_ID_LIMIT: usize = 1 << 10;
const SOURCE_LIMIT: usize = 1 << 10;
const ANNOTATIONS_LIMIT: usize = 32 << 10;

impl EncryptedObject {
    /// What is wrong with it, in upstream's words.
    pub(super) fn validate(&self) -> Result<(), String> {
        if !matches!(self.encrypted_dek_source_type, AES_GCM_KEY | HKDF_SHA256_XNONCE_AES_GCM_SEED) {
            return Err(format!("unknown encryptedDEKSourceType: {}", self.encrypted_dek_source_type));
        }
        if self.encrypted_data.is_empty() {
            return Err("encrypted data is empty".to_owned());
        }
        let before = "failed to validate encrypted DEK source: encrypted DEK source is";
        match self.encrypted_dek_source.len() {
            0 => return Err(format!("{before} empty")),
            length if length > SOURCE_LIMIT => {
                return Err(format!("{before} {length} bytes, which exceeds the max size of {SOURCE_LIMIT}"));
            }
            _ => {}
        }
        validate_key_id(&self.key_id).map_err(|(_, why)| format!("failed to validate key id: {why}"))?;
        self.validate_annotations().map_err(|why| format!("failed to validate annotations: {why}"))
    }

    fn validate_annotations(&self) -> Result<(), String> {
        for name in self.annotations.keys() {
            let name = name.strip_suffix('.').unwrap_or(name);
            let wrong = api::names::dns1123_subdomain(name);
            let why = match wrong.first() {
                None if !name.contains('.') => "should be a domain with at least two segments separated by dots",
                None => continue,
                Some(why) => why,
            };
            return Err(format!("annotations: Invalid value: {}: {why}", api::field::quote(name)));
        }
        let size: usize = self.annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size > ANNOTATIONS_LIMIT {
            return Err(format!(
                "total size of annotations is {size}, which exceeds the max size of {ANNOTATIONS_LIMIT}"
            ));
        }
        Ok(())
    }
}

/// What is wrong with a key's name: upstream's code for it, and in words.
pub(super) fn validate_key_id(key_id: &str) -> Result<(), (&'static str, String)> {
    match key_id.len() {
        0 => Err(("empty", "keyID is empty".to_owned())),
        length if length > KEY_ID_LIMIT => {
            Err(("too_long", format!("keyID is {length} bytes, which exceeds the max size of {KEY_ID_LIMIT}")))
        }
        _ => Ok(()),
    }
}
