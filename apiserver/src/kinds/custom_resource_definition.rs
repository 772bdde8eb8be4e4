//! CustomResourceDefinition: names, versions and stored versions. The schemas in it are read where custom resources
//! are served.

use super::path::{Path, child, descend, flag, has, invalid_each, list, required_one_of, text, texts};
use super::webhook_configuration::validate_client;
use super::{Context, Rules};
use api::field::Errors;
use api::{Value, document, names};
use serde_json::json;

pub struct CustomResourceDefinition;

const SPEC: Path = Path::root("spec");

impl Rules for CustomResourceDefinition {
    fn default(&self, definition: &mut Value) {
        let kind = document::get_str(definition, "spec.names.kind").to_owned();
        if !kind.is_empty() {
            for (path, value) in
                [("spec.names.singular", kind.to_lowercase()), ("spec.names.listKind", format!("{kind}List"))]
            {
                if document::get_str(definition, path).is_empty() {
                    document::set(definition, path, value);
                }
            }
        }
        if document::get(definition, "spec.conversion").is_none_or(Value::is_null) {
            document::set(definition, "spec.conversion", json!({"strategy": "None"}));
        }
        let service = definition.pointer_mut("/spec/conversion/webhook/clientConfig/service");
        if let Some(service) = service.filter(|service| service.is_object() && !has(service, "port")) {
            document::set(service, "port", 443);
        }
    }

    fn prepare_for_create(&self, definition: &mut Value, _: &Context) {
        document::set(definition, "status", json!({}));
        remember_stored_version(definition);
    }

    fn prepare_for_update(&self, definition: &mut Value, _: &Value, _: &Context) {
        remember_stored_version(definition);
    }

    fn validate(&self, definition: &Value, errors: &mut Errors) {
        let spec = child(definition, "spec").unwrap_or(&Value::Null);
        let (group, plural) = (text(spec, "group"), document::get_str(definition, "spec.names.plural"));
        if document::name(definition) != format!("{plural}.{group}") {
            const WHY: &str = "must be spec.names.plural+\".\"+spec.group";
            errors.invalid("metadata.name", document::name(definition), WHY);
        }
        let messages = names::dns1123_subdomain(group);
        if group.is_empty() {
            errors.required(SPEC.at("group"), "");
        } else if !messages.is_empty() {
            errors.invalid(SPEC.at("group"), group, messages.join(","));
        } else if !group.contains('.') {
            errors.invalid(SPEC.at("group"), group, "should be a domain with at least one dot");
        }
        required_one_of(errors, &SPEC.at("scope"), text(spec, "scope"), &["Cluster", "Namespaced"]);
        if flag(spec, "preserveUnknownFields") {
            errors.invalid(SPEC.at("preserveUnknownFields"), true, "must be false");
        }
        validate_versions(spec, errors);
        let crd_names = child(spec, "names").unwrap_or(&Value::Null);
        for key in ["plural", "singular", "kind", "listKind"] {
            if text(crd_names, key).is_empty() {
                errors.required(SPEC.at("names").at(key), "");
            }
        }
        validate_names(crd_names, &SPEC.at("names"), errors);
        validate_conversion(spec, errors);
    }

    fn validate_update(&self, definition: &Value, old: &Value, errors: &mut Errors) {
        validate_stored_versions(definition, errors);
        let established = document::get_list(old, "status.conditions")
            .iter()
            .any(|condition| text(condition, "type") == "Established" && text(condition, "status") == "True");
        for path in ["spec.scope", "spec.names.kind"] {
            if established && document::get_str(definition, path) != document::get_str(old, path) {
                errors.invalid(path, document::get_str(definition, path), "field is immutable");
            }
        }
        for path in ["spec.group", "spec.names.plural"] {
            if document::get_str(definition, path) != document::get_str(old, path) {
                errors.invalid(path, document::get_str(definition, path), "field is immutable");
            }
        }
    }

    fn validate_status_update(&self, definition: &Value, _: &Value, errors: &mut Errors) {
        if let Some(accepted) = descend(definition, &["status", "acceptedNames"]) {
            validate_names(accepted, &Path::root("status.acceptedNames"), errors);
        }
        validate_stored_versions(definition, errors);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// `status.storedVersions` gets the storage version; only an administrator takes one out.
fn remember_stored_version(definition: &mut Value) {
    let versions = document::get_list(definition, "spec.versions");
    let Some(stored) = versions.iter().find(|version| flag(version, "storage")) else { return };
    let name = Value::from(text(stored, "name"));
    let mut known = document::get_list(definition, "status.storedVersions").to_vec();
    if !known.contains(&name) {
        known.push(name);
        document::set(definition, "status.storedVersions", known);
    }
}

fn validate_versions(spec: &Value, errors: &mut Errors) {
    let path = SPEC.at("versions");
    let versions = list(spec, "versions");
    for (i, version) in versions.iter().enumerate() {
        let path = path.index(i);
        if descend(version, &["schema", "openAPIV3Schema"]).is_none() {
            errors.required(path.at("schema.openAPIV3Schema"), "");
        }
        let name = text(version, "name");
        let messages = names::dns1035_label(name);
        if !messages.is_empty() {
            errors.invalid(path.at("name"), name, messages.join(","));
        }
        if let Some(scale) = descend(version, &["subresources", "scale"]) {
            validate_scale(scale, &path.at("subresources.scale"), errors);
        }
        let columns = path.at("additionalPrinterColumns");
        for (i, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
            validate_column(column, &columns.index(i), errors);
        }
    }
    let all = || Value::from(versions.to_vec());
    let name_of = |version| text(version, "name");
    if versions.iter().enumerate().any(|(i, v)| versions[..i].iter().any(|other| name_of(other) == name_of(v))) {
        errors.invalid(path, all(), "must contain unique version names");
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        errors.invalid(path, all(), "must have exactly one version marked as storage version");
    }
}

fn validate_scale(scale: &Value, path: &Path, errors: &mut Errors) {
    for (key, prefix, optional) in [
        ("specReplicasPath", ".spec.", false),
        ("statusReplicasPath", ".status.", false),
        ("labelSelectorPath", "", true),
    ] {
        let value = text(scale, key);
        let known = if prefix.is_empty() {
            value.starts_with(".spec.") || value.starts_with(".status.")
        } else {
            value.starts_with(prefix)
        };
        if value.is_empty() && !optional {
            errors.required(path.at(key), "");
        } else if !value.is_empty() && !known {
            let under = if prefix.is_empty() { "either .spec or .status" } else { prefix.trim_end_matches('.') };
            errors.invalid(path.at(key), value, format!("should be a json path under {under}"));
        }
    }
}

fn validate_column(column: &Value, path: &Path, errors: &mut Errors) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 9] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];
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

fn validate_names(crd_names: &Value, path: &Path, errors: &mut Errors) {
    for key in ["plural", "singular", "kind", "listKind"] {
        let value = text(crd_names, key);
        let mixed_case = key.to_lowercase().ends_with("kind");
        let messages = names::dns1035_label(&if mixed_case { value.to_lowercase() } else { value.to_owned() });
        if value.is_empty() || messages.is_empty() {
            continue;
        }
        let prefix = if mixed_case { "may have mixed case, but should otherwise match: " } else { "" };
        errors.invalid(path.at(key), value, format!("{prefix}{}", messages.join(",")));
    }
    let (kind, list_kind) = (text(crd_names, "kind"), text(crd_names, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        errors.invalid(path.at("listKind"), list_kind, "kind and listKind may not be the same");
    }
    for key in ["shortNames", "categories"] {
        for (i, name) in texts(crd_names, key).enumerate() {
            let messages = names::dns1035_label(name);
            if !messages.is_empty() {
                errors.invalid(path.at(key).index(i), name, messages.join(","));
            }
        }
    }
}

fn validate_conversion(spec: &Value, errors: &mut Errors) {
    let path = SPEC.at("conversion");
    let Some(conversion) = child(spec, "conversion") else { return };
    let strategy = text(conversion, "strategy");
    required_one_of(errors, &path.at("strategy"), strategy, &["None", "Webhook"]);
    let webhook = child(conversion, "webhook");
    match (strategy, webhook) {
        ("Webhook", None) => {
            errors.required(path.at("webhookClientConfig"), "required when strategy is set to Webhook")
        }
        ("Webhook", Some(webhook)) => {
            let config = child(webhook, "clientConfig").unwrap_or(&Value::Null);
            validate_client(config, &path.at("webhookClientConfig"), errors);
            let versions: Vec<&str> = texts(webhook, "conversionReviewVersions").collect();
            let path = path.at("conversionReviewVersions");
            if versions.is_empty() {
                errors.required(path, "");
            } else if !versions.iter().any(|version| matches!(*version, "v1" | "v1beta1")) {
                errors.invalid(path, json!(versions), "must include at least one of v1, v1beta1");
            }
            for (i, version) in versions.iter().enumerate() {
                invalid_each(errors, &path.index(i), version, names::dns1035_label(version));
            }
        }
        (_, Some(_)) => {
            errors.forbidden(path.at("webhookClientConfig"), "should not be set when strategy is not set to Webhook")
        }
        _ => {}
    }
}

fn validate_stored_versions(definition: &Value, errors: &mut Errors) {
    let path = Path::root("status.storedVersions");
    let stored = document::get_list(definition, "status.storedVersions");
    let versions = document::get_list(definition, "spec.versions");
    if stored.is_empty() {
        return errors.invalid(path, json!(stored), "must have at least one stored version");
    }
    let storage = versions.iter().find(|version| flag(version, "storage")).map(|version| text(version, "name"));
    if let Some(storage) = storage.filter(|storage| !stored.iter().any(|version| version == storage)) {
        errors.invalid(path, json!(stored), format!("must have the storage version {storage}"));
    }
    for (i, version) in stored.iter().enumerate() {
        if !versions.iter().any(|known| version == text(known, "name")) {
            let name = version.as_str().unwrap_or_default();
            let message = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            errors.invalid(path.index(i), name, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Value {
        let mut definition = json!({"metadata": {"name": "widgets.a.io"}, "spec": {"group": "a.io", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        CustomResourceDefinition.default(&mut definition);
        definition
    }

    fn first(definition: &Value) -> String {
        let mut errors = Errors::new();
        CustomResourceDefinition.validate(definition, &mut errors);
        errors.0.first().map_or_else(String::new, |error| format!("{}: {}", error.field, error.detail))
    }

    #[test]
    fn names_are_completed_and_checked() {
        let mut definition = definition();
        assert_eq!(definition["spec"]["names"]["listKind"], "WidgetList");
        assert_eq!(first(&definition), "");
        definition["spec"]["versions"][0]["storage"] = false.into();
        assert_eq!(first(&definition), "spec.versions: must have exactly one version marked as storage version");
        definition["metadata"]["name"] = "x".into();
        assert_eq!(first(&definition), "metadata.name: must be spec.names.plural+\".\"+spec.group");
    }

    #[test]
    fn stored_versions_are_remembered() {
        let mut definition = definition();
        document::set(&mut definition, "status.storedVersions", json!(["v0"]));
        remember_stored_version(&mut definition);
        assert_eq!(definition["status"]["storedVersions"], json!(["v0", "v1"]));
        let mut errors = Errors::new();
        validate_stored_versions(&definition, &mut errors);
        assert_eq!(errors.0[0].field, "status.storedVersions[0]");
    }
}
