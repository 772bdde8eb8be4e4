//! APIService.

use super::path::{Path, child, flag, has, int, invalid_each, list, one_of, text};
use super::subresources::keep_metadata;
use super::{Context, MetadataChecks, Rules};
use api::field::{Errors, quote};
use api::{Value, document, names, time};
use serde_json::json;

pub struct ApiService;

impl Rules for ApiService {
    fn default(&self, object: &mut Value) {
        let service = object.pointer_mut("/spec/service").filter(|service| service.is_object());
        if let Some(service) = service.filter(|service| !has(service, "port")) {
            document::set(service, "port", 443);
        }
    }

    /// What the server serves itself is available at once.
    fn prepare_for_create(&self, object: &mut Value, context: &Context) {
        if document::get(object, "spec.service").is_none_or(Value::is_null) {
            let condition = json!({"type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available",
                "lastTransitionTime": time::format(context.now)});
            document::set(object, "status", json!({"conditions": [condition]}));
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let spec = child(object, "spec").unwrap_or(&Value::Null);
        let (group, version) = (text(spec, "group"), text(spec, "version"));
        if group.is_empty() {
            if version != "v1" {
                errors.required("spec.group", "only v1 may have an empty group and it better be legacy kube");
            }
        } else {
            invalid_each(errors, &Path::root("spec.group"), group, names::dns1123_subdomain(group));
        }
        invalid_each(errors, &Path::root("spec.version"), version, names::dns1035_label(version));
        for (key, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
            let priority = int(spec, key).unwrap_or_default();
            if !(1..=max).contains(&priority) {
                errors.invalid(format!("spec.{key}"), priority, format!("must be positive and less than {max}"));
            }
        }
        validate_service(spec, errors);
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value, _: &Context) {
        keep_metadata(object, old);
    }

    fn validate_status_update(&self, object: &Value, _: &Value, errors: &mut Errors) {
        let path = Path::root("status.conditions");
        let status = child(object, "status").unwrap_or(&Value::Null);
        for (i, condition) in list(status, "conditions").iter().enumerate() {
            one_of(errors, &path.index(i).at("status"), text(condition, "status"), &["True", "False", "Unknown"]);
        }
    }

    fn validate_name(&self, name: &str, _: bool) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate_name_of(&self, object: &Value, name: &str, prefix: bool) -> Vec<String> {
        let messages = self.validate_name(name, prefix);
        let text = |key: &str| document::get_str(object, &format!("spec.{key}"));
        let required = format!("{}.{}", text("version"), text("group"));
        if !messages.is_empty() || name == required {
            return messages;
        }
        vec![format!("must be `spec.version+\".\"+spec.group`: {}", quote(&required))]
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks { finalizers: false, ..MetadataChecks::AGAIN }
    }
}

fn validate_service(spec: &Value, errors: &mut Errors) {
    let bundle = text(spec, "caBundle");
    let insecure = flag(spec, "insecureSkipTLSVerify");
    let Some(service) = child(spec, "service") else {
        if !bundle.is_empty() {
            let size = super::config_map::decoded_len(&bundle.into());
            errors.invalid("spec.caBundle", format!("{size} bytes"), "local APIServices may not have a caBundle");
        }
        if insecure {
            const WHY: &str = "local APIServices may not have insecureSkipTLSVerify";
            errors.invalid("spec.insecureSkipTLSVerify", true, WHY);
        }
        return;
    };
    for key in ["namespace", "name"] {
        if text(service, key).is_empty() {
            errors.required(format!("spec.service.{key}"), "");
        }
    }
    let port = int(service, "port").unwrap_or_default();
    let messages = names::port_number(port);
    if !messages.is_empty() {
        errors.invalid("spec.service.port", port, format!("port is not valid: {}", messages.join(", ")));
    }
    if insecure && !bundle.is_empty() {
        errors.invalid("spec.insecureSkipTLSVerify", true, "may not be true if caBundle is present");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_version_and_group() {
        let first = |name: &str| {
            let spec = json!({"group": "a.io", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 1});
            let object = json!({"metadata": {"name": name}, "spec": spec});
            ApiService.validate_name_of(&object, name, false).join(", ")
        };
        assert_eq!(first("v1.a.io"), "");
        assert_eq!(first("x"), "must be `spec.version+\".\"+spec.group`: \"v1.a.io\"");
    }
}
