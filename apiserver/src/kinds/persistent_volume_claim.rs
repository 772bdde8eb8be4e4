//! PersistentVolumeClaim.

use super::path::{Path, child, descend, entries, has, invalid_each, shown, text};
use super::pod::{default_claim, validate_claim_spec, validate_quantity};
use super::{Context, MetadataChecks, Rules, check_object_first, diff, equality};
use api::field::{Errors, quote};
use api::quantity::Quantity;
use api::resource_list::{is_native, quantity};
use api::storage_class::ANNOTATION as CLASS_ANNOTATION;
use api::{Value, document, names};
use serde_json::json;

pub struct PersistentVolumeClaim;

const NOTHING: Quantity = Quantity::from_millis(0);
const SIZE: &str = "spec.resources.requests.storage";

impl Rules for PersistentVolumeClaim {
    fn default(&self, claim: &mut Value) {
        default_claim(claim);
        if document::get_str(claim, "status.phase").is_empty() {
            document::set(claim, "status.phase", "Pending");
        }
    }

    fn prepare_for_create(&self, claim: &mut Value, _: &Context) {
        document::set(claim, "status", json!({"phase": "Pending"}));
        normalize_data_sources(claim, &Value::Null);
    }

    fn prepare_for_update(&self, claim: &mut Value, old: &Value, _: &Context) {
        normalize_data_sources(claim, old);
    }

    fn tells_empty_lists(&self) -> bool {
        true
    }

    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        check_object_first(self, object, old, errors);
    }

    fn validate(&self, claim: &Value, errors: &mut Errors) {
        validate_claim_spec(child(claim, "spec").unwrap_or(&Value::Null), &Path::root("spec"), errors);
    }

    fn validate_update(&self, claim: &Value, old: &Value, errors: &mut Errors) {
        let spec = |object| child(object, "spec").unwrap_or(&Value::Null);
        let annotated = |object| document::annotation(object, CLASS_ANNOTATION).unwrap_or_default();
        if annotated(claim) != annotated(old) {
            let path = format!("metadata.annotations.{CLASS_ANNOTATION}");
            errors.invalid(path, annotated(claim), "field is immutable");
        }
        let (new_spec, old_spec) = comparable(claim, old);
        if !equality::same(Some(&new_spec), Some(&old_spec)) {
            let changes = diff::diff("PersistentVolumeClaimSpec", &old_spec, &new_spec);
            errors.forbidden(
                "spec",
                format!(
                    "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                     bound claims\n{changes}"
                ),
            );
        }
        // What is not given counts as nothing.
        let size = |object, path| document::get(object, path).and_then(quantity).unwrap_or(NOTHING);
        if size(claim, SIZE) < size(old, SIZE) && size(claim, SIZE) <= size(old, "status.capacity.storage") {
            errors.forbidden(SIZE, "field can not be less than status.capacity");
        }
        if child(spec(claim), "volumeMode") != child(spec(old), "volumeMode") {
            errors.invalid("volumeMode", shown(child(spec(claim), "volumeMode")), "field is immutable");
        }
        if document::get(old, "status.currentVolumeAttributesClassName").is_some() {
            const WHEN: &str = "is forbidden when status.currentVolumeAttributesClassName is not nil";
            let what = match child(spec(claim), "volumeAttributesClassName") {
                None => "update to nil",
                Some(class) if class == "" => "update to empty string",
                Some(_) => return,
            };
            errors.forbidden("spec.volumeAttributesClassName", format!("{what} {WHEN}"));
        }
    }

    fn validate_status_update(&self, claim: &Value, _: &Value, errors: &mut Errors) {
        validate_status(child(claim, "status").unwrap_or(&Value::Null), errors);
    }

    fn warnings(&self, claim: &Value, _: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if document::annotation(claim, CLASS_ANNOTATION).is_some() {
            warnings.push(format!(
                "metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
        warnings.extend(claim_warnings(child(claim, "spec").unwrap_or(&Value::Null), &Path::root("spec")));
        warnings
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::AGAIN
    }
}

/// Warnings about the specification of a claim: parts of bytes cannot be had.
pub fn claim_warnings(spec: &Value, path: &Path) -> Vec<String> {
    let path = path.at("resources");
    let fraction = |list: &str| {
        let amount = descend(spec, &["resources", list, "storage"]).and_then(quantity)?;
        let path = path.at(list);
        (amount.millis() % 1000 != 0).then(|| {
            let amount = quote(&amount.to_string());
            format!("{}: fractional byte value {amount} is invalid, must be an integer", path.key("storage"))
        })
    };
    ["requests", "limits"].into_iter().filter_map(fraction).collect()
}

fn validate_status(status: &Value, errors: &mut Errors) {
    const STATUS: Path = Path::root("status");
    const RESIZES: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let capacity = STATUS.at("capacity");
    for (resource, amount) in entries(status, "capacity") {
        validate_amount(amount, &capacity.key(resource), errors);
    }
    let resizes = STATUS.at("allocatedResourceStatuses");
    for (resource, resize) in entries(status, "allocatedResourceStatuses") {
        validate_resource_key(resource, &resizes, errors);
        if !resize.as_str().is_some_and(|resize| RESIZES.contains(&resize)) {
            errors.not_supported(resizes, resource, &RESIZES);
        }
    }
    let allocated = STATUS.at("allocatedResources");
    for (resource, amount) in entries(status, "allocatedResources") {
        let at = allocated.key(resource);
        if validate_resource_key(resource, &allocated, errors) && validate_amount(amount, &at, errors) {
            validate_quantity("storage", amount, &at, errors);
        }
    }
}

/// A quantity that is not negative.
fn validate_amount(amount: &Value, path: &Path, errors: &mut Errors) -> bool {
    match quantity(amount).map(|amount| amount.value()) {
        Some(value) if value < 0 => {
            errors.invalid(path, value, "must be a valid resource quantity");
            false
        }
        _ => true,
    }
}

/// Of Kubernetes' own resources a claim has only storage.
fn validate_resource_key(resource: &str, path: &Path, errors: &mut Errors) -> bool {
    let problems = names::qualified_name(resource);
    let valid = problems.is_empty();
    invalid_each(errors, path, resource, problems);
    if valid && is_native(resource) && resource != "storage" {
        errors.not_supported(path, resource, &["storage"]);
        return false;
    }
    valid
}

/// The new and the old specification, alike in what may change: the volume and the class once, and of a bound claim the
/// size and the class of its attributes.
fn comparable(claim: &Value, old: &Value) -> (Value, Value) {
    let spec = |object| child(object, "spec").cloned().unwrap_or_default();
    let (mut new, mut before) = (spec(claim), spec(old));
    if text(&before, "volumeName").is_empty() {
        copy(&new, &mut before, "volumeName");
    }
    let annotated = document::annotation(old, CLASS_ANNOTATION);
    let class = text(&new, "storageClassName");
    if !has(&before, "storageClassName") && annotated.is_none_or(|annotated| annotated == class) {
        copy(&before, &mut new, "storageClassName");
    }
    if document::get_str(claim, "status.phase") == "Bound" {
        copy(&before, &mut new, "volumeAttributesClassName");
        copy(&before, &mut new, "resources.requests.storage");
    }
    (new, before)
}

/// Makes what stands at `path` of `to` what it is in `from`.
fn copy(from: &Value, to: &mut Value, path: &str) {
    match document::get(from, path).cloned() {
        Some(value) => document::set(to, path, value),
        None => drop(document::remove(to, path)),
    }
}

/// `dataSource` and `dataSourceRef` say the same (KEP-1495), unless the reference is to another namespace. What
/// `dataSource` could not name before there was the other field is dropped, as it was then.
fn normalize_data_sources(claim: &mut Value, old: &Value) {
    let of =
        |object: &Value, key: &str| document::get(object, &format!("spec.{key}")).filter(|v| v.is_object()).cloned();
    let in_use = of(old, "dataSource").is_some() || of(old, "dataSourceRef").is_some();
    // References to other namespaces are off by default in this version.
    let elsewhere = of(claim, "dataSourceRef").is_some_and(|reference| !text(&reference, "namespace").is_empty());
    if elsewhere && of(old, "dataSourceRef").is_none() {
        document::remove(claim, "spec.dataSourceRef");
    }
    let mut source = of(claim, "dataSource");
    let reference = of(claim, "dataSourceRef");
    if !in_use && reference.is_none() {
        let known = |source: &Value| match (text(source, "apiGroup"), text(source, "kind")) {
            ("", kind) => kind == "PersistentVolumeClaim",
            (group, kind) => group == "snapshot.storage.k8s.io" && kind == "VolumeSnapshot",
        };
        if source.as_ref().is_some_and(|source| !known(source)) {
            document::remove(claim, "spec.dataSource");
            source = None;
        }
    }
    match (source, reference) {
        (Some(source), None) => document::set(claim, "spec.dataSourceRef", source),
        (None, Some(reference)) if !has(&reference, "namespace") || text(&reference, "namespace").is_empty() => {
            document::set(claim, "spec.dataSource", reference);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(size: &str, phase: &str) -> Value {
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
            "status": {"phase": phase, "capacity": {"storage": "2Gi"}}})
    }

    fn update(new: Value, old: Value) -> String {
        let mut errors = Errors::new();
        PersistentVolumeClaim.validate_update(&new, &old, &mut errors);
        let first = errors.0.first().map_or_else(String::new, ToString::to_string);
        first.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn only_bound_claims_grow() {
        assert_eq!(update(claim("4Gi", "Bound"), claim("3Gi", "Bound")), "");
        assert_eq!(
            update(claim("4Gi", "Pending"), claim("3Gi", "Pending")),
            "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        );
        let shrunk = "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity";
        assert_eq!(update(claim("1Gi", "Bound"), claim("3Gi", "Bound")), shrunk);
        let mut bound = claim("3Gi", "Pending");
        document::set(&mut bound, "spec.volumeName", "v");
        assert_eq!(update(bound.clone(), claim("3Gi", "Pending")), "");
        assert!(update(claim("3Gi", "Pending"), bound).starts_with("spec: Forbidden"));
    }

    #[test]
    fn data_sources_agree() {
        let mut claim = json!({"spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "a"}}});
        normalize_data_sources(&mut claim, &Value::Null);
        assert_eq!(claim["spec"]["dataSourceRef"], claim["spec"]["dataSource"]);
        let mut claim = json!({"spec": {"dataSource": {"apiGroup": "x.io", "kind": "X", "name": "a"}}});
        normalize_data_sources(&mut claim, &Value::Null);
        assert_eq!(claim, json!({"spec": {}}));
    }
}
