//! The versions of a custom resource: schemas, subresources, columns and selectable fields.

use super::schema::{self, Leniency};
use super::{SPEC, schema_of, structural};
use crate::kinds::equality::same;
use crate::kinds::internal;
use crate::kinds::path::{Path, child, descend, flag, list, opt_text, text};
use api::field::{Errors, is_printable, quote_json};
use api::{Value, names};
use std::collections::HashSet;

/// Whether all versions have the same here. It is then checked once, as a field of the specification, which is where
/// upstream keeps it in memory.
fn is_shared(versions: &[Value], key: &str) -> bool {
    versions.iter().all(|version| same(child(version, key), child(&versions[0], key)))
}

/// What all versions have in common.
pub struct Shared {
    pub schema: bool,
    subresources: bool,
    columns: bool,
    fields: bool,
}

impl Shared {
    /// The versions as upstream holds them: without what they share.
    pub fn printed(&self, spec: &Value) -> String {
        if child(spec, "versions").is_none() {
            return "null".to_owned();
        }
        let shared = [
            (self.schema, "schema"),
            (self.subresources, "subresources"),
            (self.columns, "additionalPrinterColumns"),
            (self.fields, "selectableFields"),
        ];
        let versions = list(spec, "versions");
        let with_schemas = schema::can_be_shown(versions.iter().filter_map(schema_of));
        let own = versions.iter().map(|version| {
            let fields = version.as_object().into_iter().flatten();
            let own = fields.filter(|(key, _)| !shared.iter().any(|(shared, name)| *shared && name == key));
            let own = own.filter(|(key, _)| with_schemas || *key != "schema");
            let mut own = Value::Object(own.map(|(key, value)| (key.clone(), value.clone())).collect());
            if let Some(schema) = own.pointer_mut("/schema/openAPIV3Schema") {
                *schema = schema::in_memory(schema);
            }
            own
        });
        internal::compact_list("CustomResourceDefinitionVersion", &own.collect::<Vec<_>>())
    }

    /// What these versions have in common.
    pub fn of(versions: &[Value]) -> Shared {
        let shared = |key| is_shared(versions, key);
        Shared {
            schema: shared("schema"),
            subresources: shared("subresources"),
            columns: shared("additionalPrinterColumns"),
            fields: shared("selectableFields"),
        }
    }
}

/// Whether the version had the same selectable fields before.
fn has_same_fields(version: &Value, old: &[Value]) -> bool {
    let before = old.iter().find(|before| text(before, "name") == text(version, "name"));
    before.is_some_and(|before| list(before, "selectableFields") == list(version, "selectableFields"))
}

fn has_status(version: &Value) -> bool {
    descend(version, &["subresources", "status"]).is_some()
}

/// Checks what is a version's own.
pub fn validate_version(
    version: &Value,
    old: &[Value],
    shared: &Shared,
    lenient: Leniency,
    path: &Path,
    errors: &mut Errors,
) {
    let name = text(version, "name");
    let messages = names::dns1035_label(name);
    if !messages.is_empty() {
        errors.invalid(path.at("name"), name, messages.join(","));
    }
    validate_deprecation(version, path, errors);
    if let Some(schema) = schema_of(version).filter(|_| !shared.schema) {
        schema::validate(schema, has_status(version), lenient, &path.at("schema.openAPIV3Schema"), errors);
    }
    if !shared.subresources {
        validate_subresources(version, path, errors);
    }
    if !shared.columns {
        validate_columns(version, path, errors);
    }
    if !shared.fields {
        let known = has_same_fields(version, old);
        // Upstream looks for the schema beside the fields, where one that is shared is not.
        match schema_of(version).filter(|_| !shared.schema) {
            Some(schema) => validate_selectable(version, schema, known, path, errors),
            None if list(version, "selectableFields").is_empty() => {}
            None => {
                const WHY: &str = "may only be set when `version.schema.openAPIV3Schema` is not included";
                errors.invalid(path.at("selectableFields"), "", WHY);
            }
        }
    }
}

/// Checks what all versions share, as upstream sees it: in the specification itself.
pub fn validate_shared(versions: &[Value], old: &[Value], shared: &Shared, lenient: Leniency, errors: &mut Errors) {
    let Some(first) = versions.first() else { return };
    let known = has_same_fields(first, old);
    let schema = schema_of(first);
    if let Some(schema) = schema.filter(|_| shared.schema) {
        let path = SPEC.at("validation.openAPIV3Schema");
        schema::validate(schema, versions.iter().any(has_status), lenient, &path, errors);
    }
    if shared.subresources {
        validate_subresources(first, &SPEC, errors);
    }
    if shared.columns {
        validate_columns(first, &SPEC, errors);
    }
    if shared.fields && !list(first, "selectableFields").is_empty() {
        if shared.schema && child(first, "schema").is_some() {
            validate_selectable(first, schema.unwrap_or(&Value::Null), known, &SPEC, errors);
        } else {
            errors.invalid(SPEC.at("selectableFields"), "", "may only be set when validations.schema is included");
        }
    }
}

fn validate_deprecation(version: &Value, path: &Path, errors: &mut Errors) {
    const MAX: usize = 256;
    let Some(warning) = opt_text(version, "deprecationWarning") else { return };
    let at = path.at("deprecationWarning");
    // Upstream has a pointer here, which it shows as JSON.
    let shown = || quote_json(warning);
    if !flag(version, "deprecated") {
        return errors.invalid_printed(at, shown(), "can only be set for deprecated versions");
    }
    if warning.len() > MAX {
        errors.invalid_printed(at, shown(), format!("must be <= {MAX} characters long"));
    }
    if warning.is_empty() {
        errors.invalid_printed(at, shown(), "must not be an empty string");
    }
    if let Some((i, _)) = warning.char_indices().find(|(_, c)| !is_printable(*c)) {
        let message =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {i}");
        errors.invalid_printed(at, shown(), message);
    }
}

/// `known` says that they are as before; there may then be too many.
fn validate_selectable(version: &Value, schema: &Value, known: bool, path: &Path, errors: &mut Errors) {
    const MAX: usize = 8;
    const SCALAR: &str = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
        formats are allowed.";
    let path = path.at("selectableFields");
    let mut seen = HashSet::new();
    for (i, field) in list(version, "selectableFields").iter().enumerate() {
        let at = path.index(i);
        let at = at.at("jsonPath");
        let json_path = text(field, "jsonPath");
        if json_path.is_empty() {
            errors.required(at, "");
            continue;
        }
        let found = match structural::field_at(schema, json_path, false) {
            Ok(found) => found,
            Err(why) => {
                errors.invalid(at, json_path, format!("is an invalid path: {why}"));
                continue;
            }
        };
        if json_path.trim_start_matches('.').split('.').next() == Some("metadata") {
            errors.invalid(at, json_path, "must not point to fields in metadata");
        }
        if !matches!(text(found, "type"), "string" | "boolean" | "integer") {
            errors.invalid(at, json_path, SCALAR);
        }
        if !seen.insert(json_path) {
            errors.duplicate(at, json_path);
        }
    }
    if seen.len() > MAX && !known {
        errors.too_many(path, seen.len(), MAX);
    }
}

fn validate_subresources(version: &Value, path: &Path, errors: &mut Errors) {
    const DOT: &str = "must be a simple json path starting with .";
    let Some(scale) = descend(version, &["subresources", "scale"]) else { return };
    let path = path.at("subresources.scale");
    for (key, prefixes, under) in [
        ("specReplicasPath", &[".spec."] as &[&str], ".spec"),
        ("statusReplicasPath", &[".status."], ".status"),
        ("labelSelectorPath", &[".spec.", ".status."], "either .spec or .status"),
    ] {
        let value = text(scale, key);
        if value.is_empty() {
            if key != "labelSelectorPath" {
                errors.required(path.at(key), "");
            }
        } else if !value.starts_with('.') {
            errors.invalid(path.at(key), value, DOT);
        } else if !prefixes.iter().any(|prefix| value.starts_with(prefix)) {
            errors.invalid(path.at(key), value, format!("should be a json path under {under}"));
        }
    }
}

fn validate_columns(version: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("additionalPrinterColumns");
    for (i, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        validate_column(column, &path.index(i), errors);
    }
}

fn validate_column(column: &Value, path: &Path, errors: &mut Errors) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    if text(column, "name").is_empty() {
        errors.required(path.at("name"), "");
    }
    match text(column, "type") {
        "" => errors.required(path.at("type"), format!("must be one of {}", TYPES.join(","))),
        kind if !TYPES.contains(&kind) => {
            errors.invalid(path.at("type"), kind, format!("must be one of {}", TYPES.join(",")));
        }
        _ => {}
    }
    let format = text(column, "format");
    if !format.is_empty() && !FORMATS.contains(&format) {
        errors.invalid(path.at("format"), format, format!("must be one of {}", FORMATS.join(",")));
    }
    match text(column, "jsonPath") {
        "" => errors.required(path.at("JSONPath"), ""),
        json_path if !json_path.starts_with('.') => {
            errors.invalid(path.at("JSONPath"), json_path, "must be a simple json path starting with .");
        }
        _ => {}
    }
}
