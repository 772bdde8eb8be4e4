//! ServiceAccount.

use super::{Context, MetadataChecks, Rules};
use api::{Value, document};
use serde_json::json;

pub struct ServiceAccount;

impl Rules for ServiceAccount {
    fn prepare_for_create(&self, account: &mut Value, _: &Context) {
        keep_secret_names(account);
    }

    fn prepare_for_update(&self, account: &mut Value, _: &Value, _: &Context) {
        keep_secret_names(account);
    }

    fn warnings(&self, account: &Value, old: Option<&Value>) -> Vec<String> {
        const ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";
        let has = |object| document::annotation(object, ANNOTATION).is_some();
        if !has(account) || old.is_some_and(has) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{ANNOTATION}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )]
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}

/// References to secrets are names and nothing else.
fn keep_secret_names(account: &mut Value) {
    let secrets = account.get_mut("secrets").and_then(Value::as_array_mut);
    for secret in secrets.into_iter().flatten() {
        *secret = match secret.get_mut("name").map(Value::take) {
            Some(name) => json!({ "name": name }),
            None => json!({}),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_names() {
        let mut account = json!({"secrets": [{"name": "a", "namespace": "b"}]});
        keep_secret_names(&mut account);
        assert_eq!(account, json!({"secrets": [{"name": "a"}]}));
    }
}
