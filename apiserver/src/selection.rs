//! Label and field selectors against stored objects, without decoding more of them than is asked about.

use crate::params::ListOptions;
use crate::resources::Resource;
use api::selector::{FieldSelector, Selector};
use api::status::ApiError;
use api::{Value, document};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use storage::Entry;

const METADATA_FIELDS: &str = "\"metadata.name\", \"metadata.namespace\"";

/// The selectors of a list or watch.
pub struct Selection {
    labels: Option<Selector>,
    fields: FieldSelector,
    /// True when every field requirement can be answered from the key alone.
    by_key: bool,
    /// The parts of an object that the fields are read from.
    paths: Vec<&'static str>,
}

impl Selection {
    /// Parses the selectors and checks that the kind has the fields.
    pub fn new(resource: &Resource, options: &ListOptions) -> Result<Selection, ApiError> {
        let labels = match options.label_selector.as_str() {
            "" => None,
            text => Some(Selector::parse(text).map_err(ApiError::bad_request)?),
        };
        let fields = FieldSelector::parse(&options.field_selector).map_err(ApiError::bad_request)?;
        for term in &fields.terms {
            let field = term.path.as_str();
            let known = field == "metadata.name"
                || (field == "metadata.namespace" && resource.kind.namespaced)
                || resource.rules.selectable_fields().contains(&field);
            if !known {
                let by_metadata = resource.rules.selectable_fields().is_empty();
                return Err(ApiError::bad_request(match by_metadata {
                    true => {
                        format!("{} is not a known field selector: only {METADATA_FIELDS}", api::field::quote(field))
                    }
                    false => resource.rules.unknown_field(field),
                }));
            }
        }
        let by_key = fields.terms.iter().all(|t| matches!(t.path.as_str(), "metadata.name" | "metadata.namespace"));
        let mut paths = vec!["metadata.name", "metadata.namespace"];
        paths.extend(resource.rules.selectable_paths());
        Ok(Selection { labels, fields, by_key, paths })
    }

    pub fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_everything()
    }

    /// The one key that can match, when the selectors name it.
    pub fn only_key(&self, resource: &Resource, namespace: &str) -> Option<String> {
        let equal = |path: &str| self.fields.exact_value(path).filter(|value| !value.is_empty());
        let name = equal("metadata.name")?;
        match (resource.kind.namespaced, namespace) {
            (false, _) => Some(resource.key("", name)),
            (true, "") => Some(resource.key(equal("metadata.namespace")?, name)),
            (true, namespace) => Some(resource.key(namespace, name)),
        }
    }

    pub fn matches(&self, resource: &Resource, entry: &Entry) -> bool {
        self.matches_bytes(resource, &entry.key, &entry.value)
    }

    fn matches_bytes(&self, resource: &Resource, key: &str, bytes: &[u8]) -> bool {
        if !self.fields.is_everything() && !self.fields_match(resource, key, bytes) {
            return false;
        }
        match &self.labels {
            None => true,
            Some(selector) => {
                let labels = labels(bytes);
                selector.matches_by(|key| labels.get(key).map(|v| v.as_ref()))
            }
        }
    }

    fn fields_match(&self, resource: &Resource, key: &str, bytes: &[u8]) -> bool {
        let (namespace, name) = resource.split_key(key);
        let object: Option<Value> = match (self.by_key, resource.conversion) {
            (true, _) => None,
            (false, None) => document::pick(bytes, &self.paths).ok(),
            (false, Some(_)) => resource.read(bytes).ok(),
        };
        self.fields.matches_by(|field| match (field, &object) {
            ("metadata.name", _) => name.into(),
            ("metadata.namespace", _) => namespace.into(),
            (field, Some(object)) => resource.rules.selectable_field(object, field).into(),
            (_, None) => "".into(),
        })
    }
}

#[derive(Deserialize, Default)]
struct OnlyLabels<'a> {
    #[serde(borrow, default)]
    metadata: LabelsOf<'a>,
}
#[derive(Deserialize, Default)]
struct LabelsOf<'a> {
    #[serde(borrow, default)]
    labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

fn labels(bytes: &[u8]) -> BTreeMap<Cow<'_, str>, Cow<'_, str>> {
    serde_json::from_slice::<OnlyLabels>(bytes).map(|o| o.metadata.labels).unwrap_or_default()
}
