//! The version in which upstream stores CustomResourceDefinitions: v1beta1, whatever the client wrote.
//!
//! Follows `apiextensions/v1/conversion.go`: what all versions have in common stands beside them there.

use api::document::{self, Map, Value};

/// Fields of v1beta1's spec that v1 has in each version, under which names.
const COMMON: [(&str, &str); 3] = [
    ("validation", "schema"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
];

/// A definition in v1beta1 as one in v1.
pub fn from_v1beta1(mut definition: Value) -> Value {
    document::set(&mut definition, "apiVersion", "apiextensions.k8s.io/v1");
    let spec = document::child(document::as_map(&mut definition), "spec");
    let version = spec.remove("version");
    let common: Vec<(&str, Value)> = COMMON.iter().filter_map(|(old, new)| Some((*new, spec.remove(*old)?))).collect();
    let mut versions = match spec.remove("versions") {
        Some(Value::Array(versions)) if !versions.is_empty() => versions,
        _ => vec![serde_json::json!({"name": version.unwrap_or_default(), "served": true, "storage": true})],
    };
    for version in versions.iter_mut().map(document::as_map) {
        for (field, value) in &common {
            version.entry(*field).or_insert_with(|| value.clone());
        }
        rename_paths(version);
    }
    spec.insert("versions".to_owned(), Value::Array(versions));
    // Where it is missing, v1beta1 means yes.
    if spec.get("preserveUnknownFields").and_then(Value::as_bool).unwrap_or(true) {
        spec.insert("preserveUnknownFields".to_owned(), true.into());
    } else {
        spec.remove("preserveUnknownFields");
    }
    if let Some(conversion) = spec.get_mut("conversion").map(document::as_map) {
        let webhook =
            [("webhookClientConfig", "clientConfig"), ("conversionReviewVersions", "conversionReviewVersions")];
        let webhook = webhook.into_iter().filter_map(|(old, new)| Some((new.to_owned(), conversion.remove(old)?)));
        let webhook: Map = webhook.collect();
        if !webhook.is_empty() {
            conversion.insert("webhook".to_owned(), Value::Object(webhook));
        }
    }
    definition
}

/// The columns' `JSONPath` is `jsonPath` in v1.
fn rename_paths(version: &mut Map) {
    let columns = version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut);
    for column in columns.into_iter().flatten().map(document::as_map) {
        if let Some(path) = column.remove("JSONPath") {
            column.insert("jsonPath".to_owned(), path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_versions_share_goes_into_each() {
        let spec = json!({
            "group": "a.b", "version": "v1", "validation": {"openAPIV3Schema": {"type": "object"}},
            "additionalPrinterColumns": [{"name": "Age", "type": "date", "JSONPath": ".metadata.creationTimestamp"}],
            "versions": [{"name": "v1", "served": true, "storage": true}, {"name": "v2", "schema": {}}],
            "conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "https://a"}, "conversionReviewVersions": ["v1"]},
            "preserveUnknownFields": false,
        });
        let column = json!([{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        assert_eq!(
            from_v1beta1(json!({"apiVersion": "apiextensions.k8s.io/v1beta1", "spec": spec})),
            json!({"apiVersion": "apiextensions.k8s.io/v1", "spec": {
                "group": "a.b",
                "versions": [
                    {"name": "v1", "served": true, "storage": true, "schema": schema, "additionalPrinterColumns": column},
                    {"name": "v2", "schema": {}, "additionalPrinterColumns": column},
                ],
                "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://a"}, "conversionReviewVersions": ["v1"]}},
            }})
        );
        let old = from_v1beta1(json!({"spec": {"version": "v1"}}));
        assert_eq!(old["spec"]["preserveUnknownFields"], true);
        assert_eq!(old["spec"]["versions"], json!([{"name": "v1", "served": true, "storage": true}]));
    }
}
