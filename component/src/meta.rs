//! `metadata` as clients keep it: only what they read, in as few bytes as it takes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::store::Key;

/// A slim typed reading of a kind: a struct with only the fields that somebody reads.
pub trait Projection: DeserializeOwned + Send + Sync + 'static {
    fn meta(&self) -> &Meta;

    /// Namespace (empty for cluster-scoped kinds) and name.
    fn key(&self) -> Key {
        Key::new(&self.meta().namespace, &self.meta().name)
    }
}

/// An object's metadata.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// 0 where there is none. Comparable within one cluster (KEP-5504).
    #[serde(deserialize_with = "revision")]
    pub resource_version: u64,
    pub generation: i64,
    #[serde(deserialize_with = "timestamp")]
    pub creation_timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "timestamp")]
    pub deletion_timestamp: Option<Timestamp>,
    pub deletion_grace_period_seconds: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    pub labels: StringMap,
    #[serde(deserialize_with = "or_default")]
    pub annotations: StringMap,
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<OwnerReference>,
    #[serde(deserialize_with = "or_default")]
    pub finalizers: Vec<String>,
}

impl Meta {
    pub fn is_terminating(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// The owner that manages this object.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|o| o.controller)
    }

    pub fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|f| f == name)
    }
}

/// Who an object belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub controller: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "or_default")]
    pub block_owner_deletion: bool,
}

/// An object of any kind, of which only the metadata is known.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct PartialObject {
    #[serde(default)]
    pub metadata: Meta,
}

impl Projection for PartialObject {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Labels, annotations or a selector: a sorted slice, a tenth of a tree's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct StringMap(Box<[(Box<str>, Box<str>)]>);

impl StringMap {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|at| &*self.0[at].1)
    }
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// True when every pair of `self` is in `labels`: an equality selector.
    pub fn matches(&self, labels: &StringMap) -> bool {
        self.iter().all(|(k, v)| labels.get(k) == Some(v))
    }
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for StringMap {
    /// The last of equal keys wins.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> StringMap {
        let mut pairs: Vec<(Box<str>, Box<str>)> = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, kept| later.0 == kept.0);
        StringMap(pairs.into_boxed_slice())
    }
}

impl<'de> Deserialize<'de> for StringMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StringMap, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = StringMap;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StringMap, A::Error> {
                let mut pairs: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(map.size_hint().unwrap_or(4));
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs.into_iter().collect())
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl Serialize for StringMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// For `deserialize_with`: RFC 3339, null as `None`.
pub fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    match Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)? {
        Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
        None => Ok(None),
    }
}

/// For `deserialize_with`: null as the default value.
pub fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn revision<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    Ok(text.and_then(|t| t.parse().ok()).unwrap_or_default())
}

/// A moment as `metav1.Time` writes it: whole seconds, UTC.
pub fn format_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A moment as `metav1.MicroTime` writes it.
pub fn format_micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_leniently() {
        let meta: Meta = serde_json::from_str(
            r#"{"name":"a","resourceVersion":"12","labels":{"b":"2","a":"1"},"annotations":null,
                "deletionTimestamp":"2026-01-02T03:04:05Z","creationTimestamp":null,
                "ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u","controller":true}]}"#,
        )
        .unwrap();
        assert_eq!(meta.resource_version, 12);
        assert_eq!(meta.labels.get("a"), Some("1"));
        assert_eq!(meta.controller().map(|o| o.name.as_str()), Some("p"));
        assert_eq!(meta.deletion_timestamp.map(format_time).as_deref(), Some("2026-01-02T03:04:05Z"));
        assert!(meta.creation_timestamp.is_none() && meta.annotations.is_empty());
    }

    #[test]
    fn an_equality_selector() {
        let selector: StringMap = [("app", "web")].into_iter().collect();
        let labels: StringMap = [("tier", "x"), ("app", "old"), ("app", "web")].into_iter().collect();
        assert_eq!(labels.len(), 2);
        assert!(selector.matches(&labels) && StringMap::default().matches(&labels));
        assert!(!labels.matches(&selector));
    }

    #[test]
    fn times_are_written_as_upstream_does() {
        let at = Timestamp::new(1_700_000_000, 5_000).unwrap();
        assert_eq!(format_time(at), "2023-11-14T22:13:20Z");
        assert_eq!(format_micro_time(at), "2023-11-14T22:13:20.000005Z");
    }
}
