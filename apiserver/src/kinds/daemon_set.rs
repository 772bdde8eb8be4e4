//! DaemonSets (`apps/v1`).

use super::deployment::{
    default_amount, default_template_of, drop_disabled_at, immutable_selector, spec_mut, workload_warnings,
};
use super::equality::same;
use super::int_or_percent;
use super::internal;
use super::labels::{invalid_selector, is_empty, matches, validate_changed_selector};
use super::path::{Path, child, collision_count_grows, descend, non_negative, non_negative_fields, shown, text};
use super::pod::{Owner, default, validate_always, validate_template};
use super::{Context, Rules};
use api::document;
use api::field::{Errors, quote};
use api::{Map, Value};
use serde_json::json;
use std::num::IntErrorKind;

/// Rules of DaemonSets.
pub struct DaemonSet;

/// Where `apps/v1` keeps the count of the template's changes, a field of older versions.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(object: &Value) -> i64 {
    document::annotation(object, TEMPLATE_GENERATION).and_then(|count| count.parse().ok()).unwrap_or_default()
}

fn set_template_generation(object: &mut Value, count: i64) {
    let annotations = document::child(document::metadata_mut(object), "annotations");
    annotations.insert(TEMPLATE_GENERATION.to_owned(), count.to_string().into());
}

fn template(object: &Value) -> Option<&Value> {
    descend(object, &["spec", "template"])
}

fn validate_strategy(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.at("updateStrategy");
    let empty = Value::Object(Map::new());
    let strategy = child(spec, "updateStrategy").unwrap_or(&empty);
    let at = path.at("rollingUpdate");
    match (text(strategy, "type"), child(strategy, "rollingUpdate")) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.required(at, ""),
        ("RollingUpdate", Some(rolling)) => {
            for key in ["maxUnavailable", "maxSurge"] {
                int_or_percent::validate(rolling, key, &at, errors);
            }
            for key in ["maxUnavailable", "maxSurge"] {
                int_or_percent::validate_at_most_all(rolling, key, &at, errors);
            }
            let given = |key| int_or_percent::amount(rolling, key) != 0;
            match (given("maxUnavailable"), given("maxSurge")) {
                (true, true) => {
                    let surge = shown(child(rolling, "maxSurge"));
                    errors.invalid(at.at("maxSurge"), surge, "may not be set when maxUnavailable is non-zero");
                }
                (false, false) => errors.required(at.at("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
                _ => {}
            }
        }
        _ => {
            let printed = internal::compact("DaemonSetUpdateStrategy", strategy);
            errors.not_supported_printed(path, printed, &["RollingUpdate", "OnDelete"]);
        }
    }
}

impl Rules for DaemonSet {
    fn version_annotations(&self) -> &'static [&'static str] {
        &[TEMPLATE_GENERATION]
    }

    fn unreadable(&self, object: &Value) -> Option<String> {
        let count = document::annotation(object, TEMPLATE_GENERATION)?;
        let why = match count.parse::<i64>().err()?.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Some(format!("strconv.ParseInt: parsing {}: {why}", quote(count)))
    }

    fn default(&self, object: &mut Value) {
        // A count that is not given is none, which is written before anybody's fields are noted.
        if document::annotation(object, TEMPLATE_GENERATION).is_none() {
            set_template_generation(object, 0);
        }
        default_template_of(object);
        let spec = spec_mut(object);
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "updateStrategy", json!({}));
        let Some(strategy) = spec.get_mut("updateStrategy") else { return };
        default(strategy, "type", "RollingUpdate");
        let is_rolling = text(strategy, "type") == "RollingUpdate";
        if is_rolling {
            default(strategy, "rollingUpdate", json!({}));
        }
        if let Some(rolling) = strategy.get_mut("rollingUpdate").filter(|rolling| rolling.is_object()) {
            default_amount(rolling, "maxUnavailable", i64::from(is_rolling));
            default_amount(rolling, "maxSurge", 0);
        }
        // Upstream keeps the count in a field of its own and shows it as an annotation, from the start.
        let count = template_generation(object);
        set_template_generation(object, count);
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        drop_disabled_at(object, None, "spec.template.spec");
        let count = template_generation(object).max(1);
        set_template_generation(object, count);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _context: &Context) {
        drop_disabled_at(object, Some(old), "spec.template.spec");
        let changed = !same(template(object), template(old));
        set_template_generation(object, template_generation(old) + i64::from(changed));
    }

    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        if let Some(old) = old {
            self.validate_update(object, old, errors);
        }
        let empty = Value::Object(Map::new());
        let spec = child(object, "spec").unwrap_or(&empty);
        let path = Path::root("spec");
        let selector = child(spec, "selector");
        let template = child(spec, "template").unwrap_or(&empty);
        if let Some(selector) = selector {
            let old = old.and_then(|old| descend(old, &["spec", "selector"]));
            validate_changed_selector(selector, old, &path.at("selector"), errors);
        }
        if matches(selector, document::labels(template)) == Some(false) {
            let labels = shown(descend(template, &["metadata", "labels"]));
            let detail = "`selector` does not match template `labels`";
            errors.invalid(path.at("template.metadata.labels"), labels, detail);
        }
        if let Some(selector) = selector.filter(|selector| is_empty(selector)) {
            invalid_selector(selector, path.at("selector"), "empty selector is invalid for daemonset", errors);
        }
        let at = path.at("template");
        validate_template(template, &Owner::replacing(old, &["spec", "template"]), &at, errors);
        validate_always("DaemonSet", template, &at, errors);
        non_negative(errors, spec, &path, "minReadySeconds");
        validate_strategy(spec, &path, errors);
        non_negative(errors, spec, &path, "revisionHistoryLimit");
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        immutable_selector(object, old, errors);
    }

    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let Some(status) = child(object, "status") else { return };
        let counts = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        non_negative_fields(errors, status, &Path::root("status"), &counts);
        collision_count_grows(errors, object, old);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let changed = old.is_none_or(|old| !same(template(object), template(old)));
        // Unlike other workloads', the name of a DaemonSet is not looked at.
        workload_warnings(object, old)
            .into_iter()
            .filter(|warning| changed && !warning.starts_with("metadata.name: "))
            .collect()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        !same(child(object, "spec"), child(old, "spec"))
    }
}
