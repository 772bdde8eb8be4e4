//! The claims of the tokens that are kept in Secrets of the type `kubernetes.io/service-account-token`: they have no end, and live as
//! long as their Secret and their service account (upstream's `pkg/serviceaccount/legacy.go`).

use serde::{Deserialize, Serialize};

use crate::service_account::one_or_many;

/// The issuer of every such token, and of no other.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// A token's claims, in upstream's order. What is missing is empty: its reader says what of it must be there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LegacyClaims {
    /// The server's own tokens have none, and are for the API server.
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub aud: Vec<String>,
    pub iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret_name: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub service_account_name: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub service_account_uid: String,
    pub sub: String,
}

impl LegacyClaims {
    /// Claims of the token in a Secret of a service account, which is of this name and uid.
    pub fn new(namespace: &str, secret_name: &str, (name, uid): (&str, &str)) -> LegacyClaims {
        LegacyClaims {
            aud: Vec::new(),
            iss: LEGACY_ISSUER.to_owned(),
            namespace: namespace.to_owned(),
            secret_name: secret_name.to_owned(),
            service_account_name: name.to_owned(),
            service_account_uid: uid.to_owned(),
            sub: format!("system:serviceaccount:{namespace}:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use rcgen::KeyPair;

    use super::*;
    use crate::ServiceAccountKeys;
    use crate::service_account::{Claims, TokenError, unverified_issuer};

    #[test]
    fn a_token_has_upstreams_claims_and_cannot_be_read_as_a_bound_one() {
        let keys = ServiceAccountKeys::from_pem(&KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let claims = LegacyClaims::new("ci", "deployer-token", ("deployer", "u-1"));
        let token = keys.sign(&claims).unwrap();
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        // As Go writes them: sorted.
        let wanted = concat!(
            r#"{"iss":"kubernetes/serviceaccount","kubernetes.io/serviceaccount/namespace":"ci","#,
            r#""kubernetes.io/serviceaccount/secret.name":"deployer-token","#,
            r#""kubernetes.io/serviceaccount/service-account.name":"deployer","#,
            r#""kubernetes.io/serviceaccount/service-account.uid":"u-1","sub":"system:serviceaccount:ci:deployer"}"#,
        );
        assert_eq!(String::from_utf8(payload).unwrap(), wanted);
        assert_eq!(unverified_issuer(&token).as_deref(), Some(LEGACY_ISSUER));
        assert_eq!(keys.verify(&token), Ok(claims));
        assert_eq!(keys.verify::<Claims>(&token), Err(TokenError::Malformed));
    }
}
