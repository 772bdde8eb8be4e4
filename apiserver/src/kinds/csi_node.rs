//! CSINode, CSIStorageCapacity and VolumeAttachment: what drivers and nodes tell about volumes.

use super::csi_driver::validate_driver_name;
use super::equality::same;
use super::labels::validate_selector;
use super::node::invalid_node_name;
use super::path::{Path, child, entries, int, invalid_each, non_negative, opt_text, text, texts};
use super::persistent_volume::{default_spec, validate_inline_spec};
use super::subresources::keep_metadata;
use super::{Context, MetadataCheck, MetadataChecks, Rules, internal};
use api::field::Errors;
use api::resource_list::quantity;
use api::{Value, document, names};
use serde_json::json;
use std::collections::{HashMap, HashSet};

pub struct CsiNode;
pub struct CsiStorageCapacity;
pub struct VolumeAttachment;

impl Rules for CsiNode {
    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AS_NEW
    }

    fn validate(&self, node: &Value, errors: &mut Errors) {
        const PATH: Path = Path::root("spec.drivers");
        let drivers = document::get_list(node, "spec.drivers");
        let mut seen = HashSet::new();
        for (i, driver) in drivers.iter().enumerate() {
            let path = PATH.index(i);
            let name = text(driver, "name");
            validate_driver_name(errors, &path.at("name"), name);
            validate_node_id(text(driver, "nodeID"), &path.at("nodeID"), errors);
            if let Some(allocatable) = child(driver, "allocatable") {
                non_negative(errors, allocatable, &path.at("allocatable"), "count");
            }
            if !seen.insert(name) {
                errors.duplicate(path.at("name"), name);
            }
            let mut keys = HashSet::new();
            for key in texts(driver, "topologyKeys") {
                if key.is_empty() {
                    errors.required(path, "");
                }
                if !keys.insert(key) {
                    errors.duplicate(path, key);
                }
                invalid_each(errors, &path, key, names::qualified_name(key));
            }
        }
    }

    fn validate_update(&self, node: &Value, old: &Value, errors: &mut Errors) {
        let fixed = |driver: &Value| {
            let mut driver = driver.clone();
            document::as_map(&mut driver).remove("allocatable");
            driver
        };
        let drivers = document::get_list(node, "spec.drivers");
        // Names are unique.
        let drivers: HashMap<&str, &Value> = drivers.iter().map(|driver| (text(driver, "name"), driver)).collect();
        for before in document::get_list(old, "spec.drivers") {
            let now = drivers.get(text(before, "name"));
            if let Some(now) = now.filter(|now| fixed(now) != fixed(before)) {
                let printed = internal::compact("CSINodeDriver", &fixed(now));
                errors.invalid_printed("spec.drivers", printed, "field is immutable");
            }
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn validate_node_id(id: &str, path: &Path, errors: &mut Errors) {
    const MAX: usize = 256;
    if id.is_empty() {
        errors.required(path, "");
    }
    if id.len() > MAX {
        errors.invalid(path, id, format!("must be {MAX} characters or less"));
    }
}

impl Rules for CsiStorageCapacity {
    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }

    fn validate(&self, capacity: &Value, errors: &mut Errors) {
        if let Some(topology) = child(capacity, "nodeTopology") {
            validate_selector(topology, &Path::root("nodeTopology"), errors);
        }
        let class = text(capacity, "storageClassName");
        invalid_each(errors, &Path::root("storageClassName"), class, names::dns1123_subdomain(class));
        if let Some(amount) = child(capacity, "capacity")
            && quantity(amount).is_some_and(|amount| amount.is_negative())
        {
            errors.invalid("capacity", amount.clone(), "must be greater than or equal to 0");
        }
    }

    fn validate_update(&self, capacity: &Value, old: &Value, errors: &mut Errors) {
        for (key, kind) in [("nodeTopology", "*LabelSelector"), ("storageClassName", "string")] {
            internal::immutable(errors, capacity, old, &Path::root(""), key, kind);
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

impl Rules for VolumeAttachment {
    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks { status_update: &[MetadataCheck::New], ..MetadataChecks::AS_NEW }
    }

    fn default(&self, attachment: &mut Value) {
        if let Some(spec) = attachment.pointer_mut("/spec/source/inlineVolumeSpec") {
            default_spec(spec);
        }
    }

    fn prepare_for_create(&self, attachment: &mut Value, _: &Context) {
        document::set(attachment, "status", json!({"attached": false}));
    }

    fn check(&self, attachment: &Value, old: Option<&Value>, errors: &mut Errors) {
        const SOURCE: Path = Path::root("spec.source");
        const WHICH: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        let spec = child(attachment, "spec").unwrap_or(&Value::Null);
        validate_driver_name(errors, &Path::root("spec.attacher"), text(spec, "attacher"));
        let source = child(spec, "source").unwrap_or(&Value::Null);
        let volume = opt_text(source, "persistentVolumeName");
        match (child(source, "inlineVolumeSpec"), volume) {
            (None, None) => errors.required(SOURCE, WHICH),
            (Some(_), Some(_)) => errors.forbidden(SOURCE, WHICH),
            (None, Some("")) => {
                errors.required(SOURCE.at("persistentVolumeName"), "must specify non empty persistentVolumeName");
            }
            (None, Some(_)) => {}
            (Some(inline), None) => validate_inline_spec(inline, &SOURCE.at("inlineVolumeSpec"), errors),
        }
        invalid_node_name(errors, &Path::root("spec.nodeName"), text(spec, "nodeName"));
        validate_attachment_status(attachment, errors);
        if let Some(name) = volume {
            invalid_each(errors, &SOURCE.at("persistentVolumeName"), name, names::dns1123_subdomain(name));
        }
        if old.is_some_and(|old| !same(Some(spec), child(old, "spec"))) {
            let printed = internal::compact("VolumeAttachmentSpec", spec);
            errors.invalid_printed("spec", printed, "field is immutable");
        }
    }

    fn prepare_for_status_update(&self, attachment: &mut Value, old: &Value, _: &Context) {
        keep_metadata(attachment, old);
    }

    /// Everything is looked at again.
    fn validate_status_update(&self, attachment: &Value, old: &Value, errors: &mut Errors) {
        self.check(attachment, Some(old), errors);
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

fn validate_attachment_status(attachment: &Value, errors: &mut Errors) {
    const PATH: Path = Path::root("status");
    const MAX_METADATA: usize = 256 * 1024;
    const MAX_MESSAGE: usize = 1024;
    let Some(status) = child(attachment, "status") else { return };
    let size: usize = entries(status, "attachmentMetadata")
        .map(|(key, value)| key.len() + value.as_str().unwrap_or_default().len())
        .sum();
    if size > MAX_METADATA {
        errors.too_long(PATH.at("attachmentMetadata"), MAX_METADATA);
    }
    for key in ["attachError", "detachError"] {
        let Some(error) = child(status, key) else { continue };
        let path = PATH.at(key);
        if text(error, "message").len() > MAX_MESSAGE {
            // The number is upstream's.
            errors.too_long(path.at("message"), MAX_METADATA);
        }
        if let Some(code) = int(error, "errorCode").filter(|code| *code < 0) {
            errors.invalid(path.at("errorCode"), code, names::inclusive_range(0, i32::MAX.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_stay_as_they_registered() {
        let node = |id: &str, count: i64| json!({"spec": {"drivers": [{"name": "d.io", "nodeID": id, "allocatable": {"count": count}}]}});
        let mut errors = Errors::new();
        CsiNode.validate(&node("a", 1), &mut errors);
        CsiNode.validate_update(&node("a", 2), &node("a", 1), &mut errors);
        assert!(errors.is_empty());
        CsiNode.validate_update(&node("b", 1), &node("a", 1), &mut errors);
        assert_eq!(errors.0[0].field, "spec.drivers");
    }
}
