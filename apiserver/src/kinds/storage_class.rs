//! StorageClass and VolumeAttributesClass.

use super::path::{Path, child, entries, has, immutable, invalid_each, list, one_of, opt_text, text, texts};
use super::{MetadataChecks, Rules};
use api::field::Errors;
use api::{Value, document, names};
use std::collections::{BTreeMap, BTreeSet, HashSet};

pub struct StorageClass;
pub struct VolumeAttributesClass;

const ROOT: Path = Path::root("");

impl Rules for StorageClass {
    fn default(&self, class: &mut Value) {
        for (key, value) in [("reclaimPolicy", "Delete"), ("volumeBindingMode", "Immediate")] {
            if !has(class, key) {
                document::set(class, key, value);
            }
        }
    }

    fn validate(&self, class: &Value, errors: &mut Errors) {
        validate_provisioner(class, "provisioner", errors);
        validate_parameters(class, errors);
        let policy = text(class, "reclaimPolicy");
        if !policy.is_empty() {
            one_of(errors, &Path::root("reclaimPolicy"), policy, &["Delete", "Retain"]);
        }
        let path = Path::root("volumeBindingMode");
        match opt_text(class, "volumeBindingMode") {
            None => errors.required(path, ""),
            Some(mode) => one_of(errors, &path, mode, &["Immediate", "WaitForFirstConsumer"]),
        }
        validate_topologies(list(class, "allowedTopologies"), errors);
    }

    fn check(&self, class: &Value, old: Option<&Value>, errors: &mut Errors) {
        self.validate(class, errors);
        let Some(old) = old else { return };
        for key in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            immutable(errors, class, old, &ROOT, key);
        }
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}

impl Rules for VolumeAttributesClass {
    fn validate(&self, class: &Value, errors: &mut Errors) {
        validate_provisioner(class, "driverName", errors);
        validate_parameters(class, errors);
        if entries(class, "parameters").next().is_none() {
            errors.required("parameters", "must contain at least one key/value pair");
        }
    }

    fn validate_update(&self, class: &Value, old: &Value, errors: &mut Errors) {
        for key in ["driverName", "parameters"] {
            if child(class, key) != child(old, key) {
                errors.forbidden(key, format!("updates to {key} are forbidden."));
            }
        }
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}

fn validate_provisioner(class: &Value, key: &str, errors: &mut Errors) {
    match text(class, key) {
        "" => errors.required(key, ""),
        name => {
            let lower = name.to_lowercase();
            invalid_each(errors, &Path::root(key), &lower, names::qualified_name(&lower));
        }
    }
}

fn validate_parameters(class: &Value, errors: &mut Errors) {
    const MAX_COUNT: usize = 512;
    const MAX_SIZE: usize = 256 * 1024;
    if entries(class, "parameters").count() > MAX_COUNT {
        return errors.too_long("parameters", MAX_COUNT);
    }
    let mut size = 0;
    for (key, value) in entries(class, "parameters") {
        if key.is_empty() {
            errors.invalid("parameters", key, "field can not be empty.");
        }
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > MAX_SIZE {
        errors.too_long("parameters", MAX_SIZE);
    }
}

/// What a term asks for, whatever the order.
fn requirements(term: &Value) -> BTreeMap<&str, BTreeSet<&str>> {
    let expressions = list(term, "matchLabelExpressions").iter();
    expressions.map(|expression| (text(expression, "key"), texts(expression, "values").collect())).collect()
}

fn validate_topologies(terms: &[Value], errors: &mut Errors) {
    let path = Path::root("allowedTopologies");
    let mut terms_seen = BTreeMap::new();
    for (i, term) in terms.iter().enumerate() {
        let path = path.index(i);
        let path = path.at("matchLabelExpressions");
        let expressions = list(term, "matchLabelExpressions");
        let mut seen = HashSet::new();
        for (i, expression) in expressions.iter().enumerate() {
            let path = path.index(i);
            let key = text(expression, "key");
            if list(expression, "values").is_empty() {
                errors.required(path.at("values"), "");
            }
            let mut values = HashSet::new();
            for (i, value) in texts(expression, "values").enumerate() {
                if !values.insert(value) {
                    errors.duplicate(path.at("values").index(i), value);
                }
            }
            invalid_each(errors, &path.at("key"), key, names::qualified_name(key));
            if !seen.insert(key) {
                errors.duplicate(path.at("key"), key);
            }
        }
        // Upstream compares with as many empty terms as there are terms, too.
        let wanted = requirements(term);
        let empty = if wanted.is_empty() { terms.len() } else { 0 };
        let equal = terms_seen.entry(wanted).or_insert(0);
        for _ in 0..empty + *equal {
            if errors.is_full() {
                break;
            }
            errors.duplicate(path, "");
        }
        *equal += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (json!({"provisioner": "Example.com/P"}), ""),
            (json!({}), "provisioner: Required value"),
            (
                json!({"provisioner": "a", "reclaimPolicy": "Recycle"}),
                "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
            ),
        ];
        for (mut class, expected) in cases {
            StorageClass.default(&mut class);
            let mut errors = Errors::new();
            StorageClass.validate(&class, &mut errors);
            assert_eq!(errors.0.first().map_or_else(String::new, ToString::to_string), expected);
        }
        let mut errors = Errors::new();
        let class = |name: &str| json!({"provisioner": name, "volumeBindingMode": "Immediate"});
        StorageClass.check(&class("a"), Some(&class("b")), &mut errors);
        assert_eq!(errors.0[0].to_string(), "provisioner: Invalid value: \"a\": field is immutable");
    }
}
