//! StatefulSets (`apps/v1`).

use super::deployment::{default_amount, default_template_of, drop_disabled_at, spec_mut, workload_warnings};
use super::equality::same;
use super::internal;
use super::labels::{invalid_selector, is_empty, matches, validate_annotations, validate_labels, validate_selector};
use super::path::{
    Path, at_most, child, collision_count_grows, descend, int, invalid_each, list, non_negative, non_negative_fields,
    one_of, text,
};
use super::persistent_volume_claim::claim_warnings;
use super::pod::{
    Owner, default, default_claim, validate_always, validate_claim_spec, validate_selected, validate_template,
};
use super::{Context, Rules};
use api::document::as_map;
use api::field::Errors;
use api::{Map, Value, names};
use serde_json::json;
use std::collections::BTreeSet;

/// Rules of StatefulSets.
pub struct StatefulSet;

/// What an update may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];

fn validate_strategy(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("updateStrategy");
    let empty = Value::Object(Map::new());
    let strategy = child(spec, "updateStrategy").unwrap_or(&empty);
    match (text(strategy, "type"), child(strategy, "rollingUpdate")) {
        ("", _) => errors.required(path, ""),
        ("OnDelete", Some(rolling)) => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            let printed = internal::compact("RollingUpdateStatefulSetStrategy", rolling);
            errors.invalid_printed(path.at("rollingUpdate"), printed, detail);
        }
        ("RollingUpdate", Some(rolling)) => non_negative(errors, rolling, &path.at("rollingUpdate"), "partition"),
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => {
            let printed = internal::compact("StatefulSetUpdateStrategy", strategy);
            errors.invalid_printed(path, printed, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

fn validate_pods(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let at = path.at("selector");
    let selector = child(spec, "selector");
    match selector {
        None => errors.required(at, ""),
        Some(selector) => {
            validate_selector(selector, &at, errors);
            if is_empty(selector) {
                invalid_selector(selector, at, "empty selector is invalid for statefulset", errors);
            }
        }
    }
    let template = &template_of_pods(spec);
    let path = path.at("template");
    match selector {
        Some(selector) if matches(Some(selector), None).is_none() => invalid_selector(selector, at, "", errors),
        _ => {
            if !selector.is_some_and(is_empty) {
                validate_selected(template, selector, &path, errors);
            }
            validate_template(template, &Owner::replacing(old, &["spec", "template"]), &path, errors);
            // Upstream looks at these once more.
            if let Some(metadata) = child(template, "metadata") {
                validate_labels(metadata, &path, "labels", errors);
                validate_annotations(metadata, &path, errors);
            }
        }
    }
    validate_always("StatefulSet", template, &path, errors);
}

/// The template as it is checked: with a volume for each claim, and without the names that every pod gets for itself.
fn template_of_pods(spec: &Value) -> Value {
    let mut template = child(spec, "template").cloned().unwrap_or_else(|| json!({}));
    for key in ["spec.subdomain", "spec.hostname"] {
        api::document::remove(&mut template, key);
    }
    let claims = list(spec, "volumeClaimTemplates");
    if claims.is_empty() {
        return template;
    }
    let name_of =
        |claim: &Value| descend(claim, &["metadata", "name"]).and_then(Value::as_str).unwrap_or_default().to_owned();
    let names: BTreeSet<String> = claims.iter().map(name_of).collect();
    let others = descend(&template, &["spec", "volumes"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let others = others.into_iter().filter(|volume| !names.contains(text(volume, "name")));
    let volume = |name: &String| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    let volumes: Vec<Value> = names.iter().map(volume).chain(others).collect();
    api::document::set(&mut template, "spec.volumes", volumes);
    template
}

impl Rules for StatefulSet {
    fn default(&self, object: &mut Value) {
        default_template_of(object);
        let spec = spec_mut(object);
        default(spec, "podManagementPolicy", "OrderedReady");
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "updateStrategy", json!({}));
        if let Some(strategy) = spec.get_mut("updateStrategy") {
            if text(strategy, "type").is_empty() {
                default(strategy, "type", "RollingUpdate");
                default(strategy, "rollingUpdate", json!({}));
            }
            if let Some(rolling) = strategy.get_mut("rollingUpdate").filter(|rolling| rolling.is_object()) {
                default_amount(rolling, "partition", 0);
            }
        }
        default(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
        if let Some(policy) = spec.get_mut("persistentVolumeClaimRetentionPolicy") {
            default(policy, "whenDeleted", "Retain");
            default(policy, "whenScaled", "Retain");
        }
        let claims = spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten() {
            as_map(claim).insert("apiVersion".to_owned(), "v1".into());
            as_map(claim).insert("kind".to_owned(), "PersistentVolumeClaim".into());
            default_claim(claim);
            default(claim, "status", json!({}));
            if let Some(status) = claim.get_mut("status") {
                default(status, "phase", "Pending");
            }
        }
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        drop_disabled_at(object, None, "spec.template.spec");
        // MaxUnavailableStatefulSet is off by default in this version.
        api::document::remove(object, "spec.updateStrategy.rollingUpdate.maxUnavailable");
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _context: &Context) {
        drop_disabled_at(object, Some(old), "spec.template.spec");
        let path = "spec.updateStrategy.rollingUpdate.maxUnavailable";
        if api::document::get(old, path).is_none() {
            api::document::remove(object, path);
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut Errors) {
        let Some(spec) = child(object, "spec") else { return };
        let path = Path::root("spec");
        let claims = path.at("volumeClaimTemplates");
        let empty = Value::Object(Map::new());
        for (i, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
            let path = claims.index(i);
            validate_claim_spec(child(claim, "spec").unwrap_or(&empty), &path.at("spec"), errors);
        }
        let service = text(spec, "serviceName");
        if !service.is_empty() {
            invalid_each(errors, &path.at("serviceName"), service, names::dns1123_label(service));
        }
    }

    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let empty = Value::Object(Map::new());
        let spec = child(object, "spec").unwrap_or(&empty);
        let path = Path::root("spec");
        let at = path.at("podManagementPolicy");
        match text(spec, "podManagementPolicy") {
            "" => errors.required(at, ""),
            "OrderedReady" | "Parallel" => {}
            other => errors.invalid(at, other, "must be 'OrderedReady' or 'Parallel'"),
        }
        validate_strategy(spec, &path, errors);
        if let Some(policy) = child(spec, "persistentVolumeClaimRetentionPolicy") {
            let path = path.at("persistentVolumeClaimRetentionPolicy");
            for key in ["whenDeleted", "whenScaled"] {
                one_of(errors, &path.at(key), text(policy, key), &["Retain", "Delete"]);
            }
        }
        non_negative_fields(errors, spec, &path, &["replicas", "minReadySeconds"]);
        if let Some(start) = child(spec, "ordinals").and_then(|o| int(o, "start")).filter(|start| *start < 0) {
            errors.invalid(path.at("ordinals.start"), start, "must be greater than or equal to 0");
        }
        validate_pods(spec, old, &path, errors);
        match old {
            Some(old) => self.validate_update(object, old, errors),
            None => self.validate_create(object, errors),
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let fixed = |object: &Value| {
            let mut spec = child(object, "spec").and_then(Value::as_object).cloned().unwrap_or_default();
            spec.retain(|key, _| !CHANGEABLE.contains(&key.as_str()));
            Value::Object(spec)
        };
        if !same(Some(&fixed(object)), Some(&fixed(old))) {
            errors.forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
        }
    }

    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let path = Path::root("status");
        let Some(status) = child(object, "status") else { return };
        let counts = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ];
        non_negative_fields(errors, status, &path, &counts);
        for key in ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
            at_most(errors, status, &path, key, "replicas", "cannot be greater than status.replicas");
        }
        let detail = "cannot be greater than status.readyReplicas";
        at_most(errors, status, &path, "availableReplicas", "readyReplicas", detail);
        collision_count_grows(errors, object, old);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings: Vec<String> = workload_warnings(object, old);
        // A name that is no DNS label is refused anyway.
        warnings.retain(|warning| !warning.starts_with("metadata.name: "));
        let claims = Path::root("spec.volumeClaimTemplates");
        let claim_specs = child(object, "spec").map(|spec| list(spec, "volumeClaimTemplates")).unwrap_or_default();
        for (i, claim) in claim_specs.iter().enumerate() {
            let path = claims.index(i);
            let path = if old.is_some() { path.at("Spec") } else { path };
            warnings.extend(claim_warnings(child(claim, "spec").unwrap_or(&Value::Null), &path));
        }
        let limit = child(object, "spec").and_then(|spec| int(spec, "revisionHistoryLimit"));
        if limit.is_some_and(|limit| limit < 0) {
            warnings.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
        }
        warnings
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns1123_label(&if prefix { names::mask_trailing_dash(name) } else { name.to_owned() })
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        !same(child(object, "spec"), child(old, "spec"))
    }
}
