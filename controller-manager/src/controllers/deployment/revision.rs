//! Templates, their hashes, and the annotations that record revisions.

use std::collections::BTreeMap;

use component::Meta;
use serde_json::Value;

use crate::kinds::Deployment;

pub const HASH_LABEL: &str = "pod-template-hash";
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Characters of the revision history that are kept.
const HISTORY: usize = 2000;

/// Annotations of a deployment that its sets do not get.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

/// Annotations to be written.
pub type Revisions = BTreeMap<String, String>;

/// The revision that an object carries; 0 without one or with one that is no number.
pub fn revision(meta: &Meta) -> i64 {
    meta.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// A number in an annotation, when it is one that replicas can have.
pub fn count(meta: &Meta, key: &str) -> Option<i64> {
    meta.annotations.get(key)?.parse::<i32>().ok().filter(|n| *n >= 0).map(i64::from)
}

/// What a new set's annotations must be, apart from the sizes: the deployment's, and the new revision. A set that comes back
/// keeps its former revisions in its history.
pub fn annotations(deployment: &Deployment, set: &Meta, new_revision: i64) -> Revisions {
    let mut changes = Revisions::new();
    for (key, value) in deployment.metadata.annotations.iter() {
        if !NOT_COPIED.contains(&key) && set.annotations.get(key) != Some(value) {
            changes.insert(key.to_owned(), value.to_owned());
        }
    }
    let known = set.annotations.get(REVISION);
    let old = match known.unwrap_or("0").parse::<i64>() {
        Ok(old) => old,
        // Somebody else's text is left alone.
        Err(_) => return changes,
    };
    if old < new_revision {
        changes.insert(REVISION.to_owned(), new_revision.to_string());
        if let Some(known) = known {
            changes.insert(REVISION_HISTORY.to_owned(), history(set.annotations.get(REVISION_HISTORY), known));
        }
    }
    changes
}

fn history(known: Option<&str>, revision: &str) -> String {
    let mut all: Vec<&str> = known.into_iter().flat_map(|text| text.split(',')).filter(|r| !r.is_empty()).collect();
    all.push(revision);
    while all.iter().map(|r| r.len() + 1).sum::<usize>() > HISTORY + 1 && all.len() > 1 {
        all.remove(0);
    }
    all.join(",")
}

/// The template without what does not tell two templates apart: the hash label, nulls, and what is empty.
pub fn canonical(mut template: Value) -> Value {
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    prune(&mut template);
    template
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            // An empty object can mean something (`emptyDir: {}`), but not in metadata, nor can a null anywhere.
            map.retain(|key, v| {
                let empty = v.as_array().is_some_and(Vec::is_empty);
                let empty_meta =
                    matches!(key.as_str(), "metadata" | "labels" | "annotations" | "resources" | "securityContext")
                        && v.as_object().is_some_and(serde_json::Map::is_empty);
                !v.is_null() && !empty && !empty_meta
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// A short hash of a canonical template, of letters and digits that make no words.
pub fn hash(canonical: &Value, collisions: i64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = format!("{canonical}{collisions}");
    // FNV-1a, 32 bits: stable over releases, as the names of existing sets depend on it.
    let sum = text.bytes().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    sum.to_string().bytes().map(|digit| LETTERS[usize::from(digit) % LETTERS.len()] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_are_compared_without_the_hash() {
        let a = json!({"metadata": {"labels": {"app": "x", HASH_LABEL: "1"}, "creationTimestamp": null}, "spec": {"volumes": []}});
        let b = json!({"metadata": {"labels": {"app": "x"}}, "spec": {}});
        assert_eq!(canonical(a.clone()), canonical(b));
        assert_ne!(hash(&canonical(a.clone()), 0), hash(&canonical(a), 1));
        let used = json!({"spec": {"volumes": [{"name": "a", "emptyDir": {}}]}});
        assert_eq!(canonical(used.clone()), used);
    }

    #[test]
    fn a_set_that_comes_back_keeps_its_history() {
        let set: Meta = serde_json::from_value(json!({"annotations": {REVISION: "3", REVISION_HISTORY: "1"}})).unwrap();
        let deployment: Deployment = serde_json::from_str(r#"{"metadata":{"annotations":{"a":"b"}}}"#).unwrap();
        let changes = annotations(&deployment, &set, 5);
        assert_eq!(changes[REVISION], "5");
        assert_eq!(changes[REVISION_HISTORY], "1,3");
        assert_eq!(changes["a"], "b");
        assert!(annotations(&Deployment::default(), &set, 3).is_empty());
    }
}
