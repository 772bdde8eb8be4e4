//! What may stand in `managedFields` and in the options of a write.

use super::MANAGER_MAX;
use crate::document;
use crate::field::{Errors, is_printable};
use serde_json::Value;

const SUBRESOURCE_MAX: usize = 256;

/// Checks `metadata.managedFields` of an object.
pub fn validate_managed_fields(object: &Value, errors: &mut Errors) {
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    for (i, entry) in document::get_list(object, "metadata.managedFields").iter().enumerate() {
        let at = format!("metadata.managedFields[{i}]");
        let operation = text(entry, "operation");
        if !matches!(&*operation, "Apply" | "Update") {
            errors.invalid(format!("{at}.operation"), operation, "must be `Apply` or `Update`");
        }
        let fields_type = text(entry, "fieldsType");
        if !matches!(&*fields_type, "" | "FieldsV1") {
            errors.invalid(format!("{at}.fieldsType"), fields_type, "must be `FieldsV1`");
        }
        validate_field_manager(&text(entry, "manager"), &format!("{at}.manager"), errors);
        if text(entry, "subresource").len() > SUBRESOURCE_MAX {
            errors.too_long(format!("{at}.subresource"), SUBRESOURCE_MAX);
        }
    }
}

/// Checks a manager's name: length and printable characters.
pub fn validate_field_manager(name: &str, field: &str, errors: &mut Errors) {
    if name.len() > MANAGER_MAX {
        // Of what is in there nothing is said: each character would be an error that shows all of them.
        return errors.too_long(field, MANAGER_MAX);
    }
    for (at, c) in name.char_indices().filter(|(_, c)| !is_printable(*c)) {
        errors.invalid(field, name, format!("invalid character U+{:04X} (at position {at})", c as u32));
    }
}

/// Checks `fieldManager` and `force` of a patch; `is_apply`: its type is `application/apply-patch+yaml`. Failures are
/// those of a `PatchOptions.meta.k8s.io`.
pub fn validate_patch_options(field_manager: &str, force: Option<bool>, is_apply: bool, errors: &mut Errors) {
    if is_apply && field_manager.is_empty() {
        errors.required("fieldManager", "is required for apply patch");
    }
    if !is_apply && force.is_some() {
        errors.forbidden("force", "may not be specified for non-apply patch");
    }
    validate_field_manager(field_manager, "fieldManager", errors);
}
