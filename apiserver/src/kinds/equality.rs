//! When two parts of documents mean the same.
//!
//! A field that upstream writes only when it is set may be missing in one document and hold the type's zero value in
//! another. Fields whose zero value differs from "not set" (`allowPrivilegeEscalation: false`) stay different.

use api::{Map, Value};

/// Booleans for which false is the same as not set.
const PLAIN_FLAGS: [&str; 7] = ["hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty", "readOnly"];
/// Numbers for which zero is the same as not set.
const PLAIN_NUMBERS: [&str; 5] =
    ["hostPort", "initialDelaySeconds", "minReadySeconds", "partition", "observedGeneration"];
/// Texts for which empty is something else than not set.
const OPTIONAL_TEXTS: [&str; 14] = [
    "hostnameOverride",
    "fsGroupChangePolicy",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
    "runtimeClassName",
    "mountPropagation",
    "recursiveReadOnly",
    "procMount",
    "localhostProfile",
    "gmsaCredentialSpecName",
    "gmsaCredentialSpec",
    "runAsUserName",
    "storageClassName",
    "volumeAttributesClassName",
];
/// Maps and plain structs for which empty is the same as not set.
const PLAIN_MAPS: [&str; 14] = [
    "nodeSelector",
    "limits",
    "requests",
    "matchLabels",
    "labels",
    "annotations",
    "options",
    "volumeAttributes",
    "overhead",
    "resources",
    "metadata",
    "strategy",
    "updateStrategy",
    "divisor",
];

/// Whether two values mean the same; `None` is a missing one.
pub fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    same_at("", a, b)
}

fn same_at(key: &str, a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a.filter(|a| !is_unset(key, a)), b.filter(|b| !is_unset(key, b))) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => same_fields(a, b),
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_at(key, Some(a), Some(b)))
        }
        (a, b) => a == b,
    }
}

fn same_fields(a: &Map, b: &Map) -> bool {
    a.iter().all(|(key, value)| same_at(key, Some(value), b.get(key)))
        && b.iter().all(|(key, value)| a.contains_key(key) || same_at(key, None, Some(value)))
}

fn is_unset(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() && !key.is_empty() && !OPTIONAL_TEXTS.contains(&key),
        Value::Array(items) => items.is_empty(),
        Value::Bool(false) => PLAIN_FLAGS.contains(&key),
        Value::Number(number) => number.as_i64() == Some(0) && PLAIN_NUMBERS.contains(&key),
        Value::Object(fields) => fields.is_empty() && PLAIN_MAPS.contains(&key),
        Value::Bool(true) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn zero_is_the_same_as_missing_only_where_it_means_the_same() {
        let same = |a, b| super::same(Some(&a), Some(&b));
        assert!(same(json!({"hostNetwork": false, "tolerations": [], "nodeSelector": {}}), json!({})));
        assert!(same(json!({"a": [{"readOnly": false, "name": "x"}]}), json!({"a": [{"name": "x", "subPath": ""}]})));
        assert!(!same(json!({"allowPrivilegeEscalation": false}), json!({})));
        assert!(!same(json!({"securityContext": {}}), json!({})));
        assert!(!same(json!({"args": ["a", ""]}), json!({"args": ["a"]})));
    }
}
