//! Secret.

use super::config_map::{MAX_SIZE, decoded_len, validate_immutable};
use super::path::{Path, entries, invalid_each, map, text};
use super::{MetadataChecks, Rules, internal, key_pair};
use api::field::Errors;
use api::{Value, document, names};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub struct Secret;

impl Rules for Secret {
    fn default(&self, secret: &mut Value) {
        if text(secret, "type").is_empty() {
            document::set(secret, "type", "Opaque");
        }
        // Clients may give values as text; they are never stored or read in that form.
        if let Some(Value::Object(texts)) = document::remove(secret, "stringData")
            && !texts.is_empty()
        {
            let data = document::child(document::as_map(secret), "data");
            for (key, value) in texts {
                data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
            }
        }
    }

    fn validate(&self, secret: &Value, errors: &mut Errors) {
        const DATA: Path = Path::root("data");
        let mut size = 0;
        for (key, value) in entries(secret, "data") {
            invalid_each(errors, &DATA.key(key), key, names::config_map_key(key));
            size += decoded_len(value);
        }
        if size > MAX_SIZE {
            errors.too_long(DATA, MAX_SIZE);
        }
        let has = |key: &str| map(secret, "data").is_some_and(|data| data.contains_key(key));
        let mut require = |key: &str| {
            if !has(key) {
                errors.required(DATA.key(key), "");
            }
        };
        match text(secret, "type") {
            "kubernetes.io/service-account-token" => {
                const ACCOUNT: &str = "kubernetes.io/service-account.name";
                if document::annotation(secret, ACCOUNT).is_none_or(str::is_empty) {
                    errors.required(Path::root("metadata.annotations").key(ACCOUNT), "");
                }
            }
            "kubernetes.io/dockercfg" => docker_config(secret, ".dockercfg", errors),
            "kubernetes.io/dockerconfigjson" => docker_config(secret, ".dockerconfigjson", errors),
            "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
                require("username");
                require("password");
            }
            "kubernetes.io/ssh-auth" => {
                let key = map(secret, "data").and_then(|data| data.get("ssh-privatekey"));
                if key.is_none_or(|key| decoded_len(key) == 0) {
                    errors.required(DATA.key("ssh-privatekey"), "");
                }
            }
            "kubernetes.io/tls" => {
                require("tls.crt");
                require("tls.key");
            }
            _ => {}
        }
    }

    fn validate_update(&self, secret: &Value, old: &Value, errors: &mut Errors) {
        internal::immutable(errors, secret, old, &Path::root(""), "type", "string");
        validate_immutable(secret, old, &["data"], errors);
    }

    fn warnings(&self, secret: &Value, _old: Option<&Value>) -> Vec<String> {
        let bytes = |key: &str| {
            let text = map(secret, "data").and_then(|data| data.get(key)?.as_str()).unwrap_or_default();
            STANDARD.decode(text).unwrap_or_default()
        };
        match text(secret, "type") {
            "kubernetes.io/tls" => key_pair::problem(&bytes("tls.crt"), &bytes("tls.key")).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}

/// The configuration must be there, and be a JSON object.
fn docker_config(secret: &Value, key: &str, errors: &mut Errors) {
    let path = Path::root("data");
    let path = path.key(key);
    let Some(value) = map(secret, "data").and_then(|data| data.get(key)) else {
        return errors.required(path, "");
    };
    let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    let what = match api::codec::json::decode_any(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Number(_)) => "number",
        Ok(Value::Bool(_)) => "bool",
        Err(why) => return errors.invalid(path, "<secret contents redacted>", why),
    };
    let why = format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}");
    errors.invalid(path, "<secret contents redacted>", why);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_become_data() {
        let mut secret = json!({"data": {"a": "MQ==", "b": "Mg=="}, "stringData": {"b": "3"}});
        Secret.default(&mut secret);
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "MQ==", "b": "Mw=="}}));
    }

    #[test]
    fn types_require_their_keys() {
        let cases = [
            (json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}), "data[tls.key]: Required value"),
            (json!({"type": "kubernetes.io/basic-auth"}), "data[username]: Required value"),
            (json!({"type": "kubernetes.io/basic-auth", "data": {"password": ""}}), ""),
            (
                json!({"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}}),
                "data[ssh-privatekey]: Required value",
            ),
            (json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}), ""),
            (
                json!({"type": "kubernetes.io/service-account-token"}),
                "metadata.annotations[kubernetes.io/service-account.name]: Required value",
            ),
        ];
        for (secret, expected) in cases {
            let mut errors = Errors::new();
            Secret.validate(&secret, &mut errors);
            assert_eq!(errors.0.first().map_or_else(String::new, ToString::to_string), expected);
        }
    }

    #[test]
    fn the_type_stays() {
        let mut errors = Errors::new();
        Secret.validate_update(&json!({"type": "a"}), &json!({"type": "b"}), &mut errors);
        assert_eq!(errors.0[0].to_string(), "type: Invalid value: \"a\": field is immutable");
    }
}
