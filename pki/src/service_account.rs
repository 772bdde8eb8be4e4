//! Service-account tokens: the key pair, the claims upstream puts into a token, and the documents by which others verify one
//! (<https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::{Error, Result};

/// The issuer of tokens unless `--service-account-issuer` says otherwise.
pub const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Where the key set is served, as `application/jwk-set+json`.
pub const JWKS_PATH: &str = "/openid/v1/jwks";
/// Where the discovery document is served, as `application/json`.
pub const OPENID_CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
/// How long both may be cached (`Cache-Control: public, max-age=3600`).
pub const DISCOVERY_MAX_AGE_SECONDS: u32 = 3600;

/// A token's claims. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub aud: Vec<String>,
    pub exp: i64,
    #[serde(default)]
    pub iat: i64,
    pub iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
    #[serde(default)]
    pub nbf: i64,
    #[serde(default)]
    pub sub: String,
}

/// What a token says of its service account and of the object its life is bound to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<ObjectRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectRef>,
    #[serde(default)]
    pub serviceaccount: ObjectRef,
    /// From when use of the token should be warned of, for tokens whose life was extended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// One object, by name and uid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectRef {
    #[serde(default)]
    pub name: String,
    /// Empty of an object that is gone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What [`Claims::new`] needs.
pub struct TokenRequest<'a> {
    pub issuer: &'a str,
    pub namespace: &'a str,
    pub service_account: ObjectRef,
    /// The bound pod, with its node in `node` when it has one.
    pub pod: Option<ObjectRef>,
    pub secret: Option<ObjectRef>,
    pub node: Option<ObjectRef>,
    pub audiences: Vec<String>,
    pub expiration_seconds: i64,
    /// Seconds from now, or None.
    pub warn_after_seconds: Option<i64>,
}

impl Claims {
    /// Claims of a token that starts now, with a new `jti`.
    pub fn new(request: TokenRequest<'_>, now: Timestamp) -> Claims {
        let now = now.as_second();
        Claims {
            aud: request.audiences,
            exp: now + request.expiration_seconds,
            iat: now,
            iss: request.issuer.to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            nbf: now,
            sub: format!("system:serviceaccount:{}:{}", request.namespace, request.service_account.name),
            kubernetes: KubernetesClaims {
                namespace: request.namespace.to_owned(),
                node: request.node,
                pod: request.pod,
                secret: request.secret,
                serviceaccount: request.service_account,
                warnafter: request.warn_after_seconds.map(|seconds| now + seconds),
            },
        }
    }
}

/// Why a token's signature was not accepted. Never holds any of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is malformed")]
    Malformed,
    #[error("invalid signature, no keys found")]
    UnknownKey,
    #[error("invalid signature")]
    Signature,
}

/// The ES256 key pair that signs and verifies service-account tokens.
pub struct ServiceAccountKeys {
    signing: EncodingKey,
    verifying: DecodingKey,
    header: Header,
    validation: Validation,
    key_id: String,
    public_key_pem: String,
    x: String,
    y: String,
}

impl fmt::Debug for ServiceAccountKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountKeys").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl ServiceAccountKeys {
    /// Keys from a PEM private key, which must be ECDSA P-256.
    pub fn from_pem(private_key: &str) -> Result<ServiceAccountKeys> {
        let pair = KeyPair::from_pem(private_key)?;
        if pair.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(Error::Authority("service-account keys must be ECDSA P-256".into()));
        }
        // The uncompressed point: 4, x, y.
        let point = pair.public_key_raw();
        let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let key_id = URL_SAFE_NO_PAD.encode(digest(&SHA256, &pair.subject_public_key_info()));
        let mut header = Header::new(Algorithm::ES256);
        (header.typ, header.kid) = (None, Some(key_id.clone()));
        // Times and audiences are judged by authentication, which knows the clock and the leeway.
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        Ok(ServiceAccountKeys {
            signing: EncodingKey::from_ec_der(pair.serialized_der()),
            verifying: DecodingKey::from_ec_components(&x, &y).map_err(|error| Error::Pem(error.to_string()))?,
            header,
            validation,
            key_id,
            public_key_pem: pair.public_key_pem(),
            x,
            y,
        })
    }

    /// The header `kid` of tokens: base64url of the SHA-256 of the DER public key, as upstream derives it.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    pub fn public_key_pem(&self) -> &str {
        &self.public_key_pem
    }

    /// A signed token of [`Claims`] or [`crate::LegacyClaims`].
    pub fn sign(&self, claims: &impl Serialize) -> Result<String> {
        jsonwebtoken::encode(&self.header, claims, &self.signing).map_err(|error| Error::Sign(error.to_string()))
    }

    /// The claims of a token with this key's signature. Judges neither times, issuer, audience nor bound objects.
    pub fn verify<C: DeserializeOwned>(&self, token: &str) -> Result<C, TokenError> {
        use jsonwebtoken::errors::ErrorKind;
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.kid.is_some_and(|kid| kid != self.key_id) {
            return Err(TokenError::UnknownKey);
        }
        let decoded = jsonwebtoken::decode(token, &self.verifying, &self.validation);
        decoded.map(|token| token.claims).map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenError::Signature,
            _ => TokenError::Malformed,
        })
    }

    /// The key set served at [`JWKS_PATH`].
    pub fn jwks(&self) -> String {
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256", "x": self.x, "y": self.y,
        }]})
        .to_string()
    }

    /// The document served at [`OPENID_CONFIGURATION_PATH`]. `jwks_uri` is a URL that relying parties can reach:
    /// `https://<external address>/openid/v1/jwks` unless `--service-account-jwks-uri` says otherwise.
    pub fn openid_configuration(&self, issuer: &str, jwks_uri: &str) -> String {
        json!({
            "issuer": issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
        .to_string()
    }
}

/// The `iss` claim of something shaped like a JWT, unverified: only to choose who should verify it.
pub fn unverified_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Issuer>(&payload).ok().map(|claims| claims.iss)
}

/// RFC 7519 allows `aud` to be one string.
pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> ServiceAccountKeys {
        ServiceAccountKeys::from_pem(&KeyPair::generate().unwrap().serialize_pem()).unwrap()
    }

    fn claims() -> Claims {
        let object = |name: &str| ObjectRef { name: name.into(), uid: format!("uid-{name}") };
        let request = TokenRequest {
            issuer: DEFAULT_ISSUER,
            namespace: "default",
            service_account: object("web"),
            pod: Some(object("web-1")),
            secret: None,
            node: Some(object("node-1")),
            audiences: vec![DEFAULT_ISSUER.into()],
            expiration_seconds: 3600,
            warn_after_seconds: Some(3000),
        };
        Claims::new(request, Timestamp::from_second(1_700_000_000).unwrap())
    }

    fn part(token: &str, index: usize) -> serde_json::Value {
        let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap();
        serde_json::from_slice(&part).unwrap()
    }

    #[test]
    fn a_token_has_upstreams_header_and_claims() {
        let keys = keys();
        let claims = claims();
        let token = keys.sign(&claims).unwrap();
        assert_eq!(part(&token, 0), json!({"alg": "ES256", "kid": keys.key_id()}));
        let wanted = json!({
            "aud": [DEFAULT_ISSUER], "exp": 1_700_003_600, "iat": 1_700_000_000, "nbf": 1_700_000_000,
            "iss": DEFAULT_ISSUER, "sub": "system:serviceaccount:default:web", "jti": claims.jti,
            "kubernetes.io": {
                "namespace": "default", "warnafter": 1_700_003_000,
                "serviceaccount": {"name": "web", "uid": "uid-web"},
                "pod": {"name": "web-1", "uid": "uid-web-1"}, "node": {"name": "node-1", "uid": "uid-node-1"},
            },
        });
        assert_eq!(part(&token, 1), wanted);
        assert_eq!(keys.verify(&token), Ok(claims));
        assert_eq!(unverified_issuer(&token).as_deref(), Some(DEFAULT_ISSUER));
    }

    #[test]
    fn a_token_of_another_key_or_algorithm_or_with_changed_claims_is_refused() {
        let (ours, theirs) = (keys(), keys());
        let verify = |token: &str| ours.verify::<Claims>(token);
        assert_eq!(verify(&theirs.sign(&claims()).unwrap()), Err(TokenError::UnknownKey));
        let encoded = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = ours.sign(&claims()).unwrap();
        let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
        let mut forged = claims();
        forged.kubernetes.serviceaccount.name = "admin".into();
        parts[1] = encoded(serde_json::to_value(forged).unwrap());
        assert_eq!(verify(&parts.join(".")), Err(TokenError::Signature));
        for header in [json!({"alg": "none"}), json!({"alg": "HS256", "kid": ours.key_id()}), json!({"alg": "RS256"})] {
            parts[0] = encoded(header);
            assert!(verify(&parts.join(".")).is_err(), "{}", parts[0]);
        }
        assert_eq!(verify("no.token"), Err(TokenError::Malformed));
    }

    #[test]
    fn the_published_key_verifies_a_token() {
        let keys = keys();
        let set: serde_json::Value = serde_json::from_str(&keys.jwks()).unwrap();
        let key: jsonwebtoken::jwk::Jwk = serde_json::from_value(set["keys"][0].clone()).unwrap();
        assert_eq!(key.common.key_id.as_deref(), Some(keys.key_id()));
        let token = keys.sign(&claims()).unwrap();
        let decoding = DecodingKey::from_jwk(&key).unwrap();
        assert!(jsonwebtoken::decode::<Claims>(&token, &decoding, &keys.validation).is_ok());
        let discovery: serde_json::Value =
            serde_json::from_str(&keys.openid_configuration(DEFAULT_ISSUER, "https://h:1/openid/v1/jwks")).unwrap();
        assert_eq!(discovery["id_token_signing_alg_values_supported"], json!(["ES256"]));
    }
}
