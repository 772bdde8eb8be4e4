//! Jobs (`batch/v1`).

mod policy;
mod status;
#[cfg(test)]
mod tests;

use super::deployment::{default_template_of, drop_disabled_at, spec_mut};
use super::equality::same;
use super::internal;
use super::labels::{invalid_selector, matches, validate_changed_selector};
use super::path::{
    Path, child, descend, flag, has, immutable, int, invalid_each, list, non_negative_fields, opt_text, shown, text,
};
use super::pod::{Owner, default, dns_label_warning, template_warnings, validate_template};
use super::replica_set::count_field;
use super::{Context, MetadataChecks, Rules};
use api::document::{self, as_map};
use api::field::Errors;
use api::{Map, Value, names};
use serde_json::json;

/// Rules of Jobs.
pub struct Job;

const MAX_PARALLELISM: i64 = 100_000;
const MAX_FAILED_INDEXES: i64 = 100_000;
const MANY_COMPLETIONS: i64 = 100_000;
/// With very many completions, parallelism and failed indexes are bounded lower.
const MAX_WITH_MANY: i64 = 10_000;

/// Labels with the Job's name and uid, under the names of today and of long ago.
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Defaults of a Job's specification. In a CronJob's template they are left open.
fn default_spec(spec: &mut Value) {
    if !has(spec, "completions") && !has(spec, "parallelism") {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    let backoff = if has(spec, "backoffLimitPerIndex") { i32::MAX } else { 6 };
    default(spec, "backoffLimit", backoff);
    let replacement = if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    // An empty text is not none.
    for (key, value) in [("completionMode", "NonIndexed"), ("podReplacementPolicy", replacement)] {
        if !has(spec, key) {
            as_map(spec).insert(key.to_owned(), value.into());
        }
    }
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
}

/// Defaults inside a Job's specification, in a CronJob's template too.
pub(super) fn default_nested(spec: &mut Value) {
    let rules = spec.pointer_mut("/podFailurePolicy/rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        let patterns = rule.get_mut("onPodConditions").and_then(Value::as_array_mut);
        for pattern in patterns.into_iter().flatten() {
            default(pattern, "status", "True");
        }
    }
}

/// Unless the client manages it, a Job selects its pods by its own uid.
fn generate_selector(job: &mut Value) {
    if document::get_bool(job, "spec.manualSelector") {
        return;
    }
    let (name, uid) = (document::name(job).to_owned(), document::uid(job).to_owned());
    let spec = spec_mut(job);
    let Some(spec) = spec.as_object_mut() else { return };
    let labels = document::child(document::child(document::child(spec, "template"), "metadata"), "labels");
    for (keys, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
        for key in keys {
            labels.entry(key).or_insert_with(|| value.as_str().into());
        }
    }
    let selector = document::child(document::child(spec, "selector"), "matchLabels");
    selector.entry(UID_LABELS[1]).or_insert_with(|| uid.into());
}

/// Without a selector of the client's, template and selector are as [`generate_selector`] makes them.
///
/// `prefixed` says whether the labels of today are needed; Jobs from long ago have only the old ones.
fn validate_generated_selector(job: &Value, spec: &Value, prefixed: bool, errors: &mut Errors) {
    let Some(selector) = child(spec, "selector").filter(|_| !flag(spec, "manualSelector")) else { return };
    let (name, uid) = (document::name(job), document::uid(job));
    if uid.is_empty() {
        errors.required("metadata.uid", "");
    }
    let metadata = Path::root("spec.template.metadata");
    let path = metadata.at("labels");
    let labels = descend(spec, &["template", "metadata", "labels"]);
    let pairs = [(UID_LABELS[0], uid), (NAME_LABELS[0], name), (UID_LABELS[1], uid), (NAME_LABELS[1], name)];
    let pairs = if prefixed { &pairs[..] } else { &pairs[..2] };
    for &(key, value) in pairs {
        let detail = format!("must be '{value}'");
        match labels.and_then(|labels| opt_text(labels, key)) {
            None => errors.required(path.key(key), detail),
            Some(have) if have != value => errors.invalid(path.key(key), shown(labels), detail),
            Some(_) => {}
        }
    }
    let expected: Map = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    if matches(Some(selector), Some(&expected)) == Some(false) {
        invalid_selector(selector, "spec.selector", "`selector` not auto-generated", errors);
    }
}

/// Checks a Job's specification but for its selector, which a template does not have.
pub(super) fn validate_spec(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    non_negative_fields(errors, spec, path, &counts);
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        errors.required(path.at("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = opt_text(spec, "managedBy") {
        validate_managed_by(manager, &path.at("managedBy"), errors);
    }
    match opt_text(spec, "completionMode") {
        Some("Indexed") => validate_indexed(spec, path, errors),
        Some("NonIndexed") | None => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(value) = int(spec, key) {
                    errors.invalid(path.at(key), value, "requires indexed completion mode");
                }
            }
        }
        Some(other) => errors.not_supported(path.at("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
    policy::validate(spec, path, errors);
    let empty = Value::Object(Map::new());
    let template = child(spec, "template").unwrap_or(&empty);
    let at = path.at("template");
    validate_template(template, &Owner::replacing(old, &["template"]), &at, errors);
    let restart = child(template, "spec").map(|spec| text(spec, "restartPolicy")).unwrap_or_default();
    let at = at.at("spec.restartPolicy");
    match restart {
        "" | "Always" => errors.required(at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if has(spec, "podFailurePolicy") => {
            errors.invalid(at, restart, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(at, other, &["OnFailure", "Never"]),
    }
}

/// Checks the specification of a Job, with its selector.
fn validate_selecting_spec(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::root("spec");
    validate_spec(spec, old, &path, errors);
    let selector = child(spec, "selector");
    match selector {
        None => errors.required(path.at("selector"), ""),
        Some(selector) => {
            let old = old.and_then(|old| child(old, "selector"));
            validate_changed_selector(selector, old, &path.at("selector"), errors);
        }
    }
    let labels = descend(spec, &["template", "metadata", "labels"]);
    if matches(selector, labels.and_then(Value::as_object)) == Some(false) {
        let detail = "`selector` does not match template `labels`";
        errors.invalid(path.at("template.metadata.labels"), shown(labels), detail);
    }
}

fn validate_managed_by(manager: &str, path: &Path, errors: &mut Errors) {
    const MAX_LENGTH: usize = 63;
    const PATH: &str = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
    if manager.is_empty() {
        return errors.required(path, "");
    }
    match manager.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty()) {
        None => errors.invalid(path, manager, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
        Some((host, rest)) => {
            invalid_each(errors, path, host, names::dns1123_subdomain(host));
            if !rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b)) {
                errors.invalid(path, rest, names::regex_error("Invalid path", PATH, &[]));
            }
        }
    }
    if manager.len() > MAX_LENGTH {
        errors.too_long(path, MAX_LENGTH);
    }
}

fn validate_indexed(spec: &Value, path: &Path, errors: &mut Errors) {
    let (completions, parallelism) = (int(spec, "completions"), int(spec, "parallelism").unwrap_or_default());
    let failed = int(spec, "maxFailedIndexes");
    if completions.is_none() {
        errors.required(path.at("completions"), "when completion mode is Indexed");
    }
    if parallelism > MAX_PARALLELISM {
        let detail = format!("must be less than or equal to {MAX_PARALLELISM} when completion mode is Indexed");
        errors.invalid(path.at("parallelism"), parallelism, detail);
    }
    if let (Some(completions), Some(failed)) = (completions, failed)
        && failed > completions
    {
        errors.invalid(path.at("maxFailedIndexes"), failed, "must be less than or equal to completions");
    }
    if let Some(failed) = failed.filter(|failed| *failed > MAX_FAILED_INDEXES) {
        let detail = format!("must be less than or equal to {MAX_FAILED_INDEXES}");
        errors.invalid(path.at("maxFailedIndexes"), failed, detail);
    }
    if completions.unwrap_or_default() <= MANY_COMPLETIONS || !has(spec, "backoffLimitPerIndex") {
        return;
    }
    if failed.is_none() {
        let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
        errors.required(path.at("maxFailedIndexes"), detail);
    }
    for (key, value) in [("parallelism", parallelism), ("maxFailedIndexes", failed.unwrap_or_default())] {
        if value > MAX_WITH_MANY {
            let detail = format!(
                "must be less than or equal to {MAX_WITH_MANY} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
            );
            errors.invalid(path.at(key), value, detail);
        }
    }
}

/// While a Job is suspended and has no pods, the pods' resources and where they run may still change.
fn is_template_mutable(old: &Value) -> bool {
    let suspended = document::get_bool(old, "spec.suspend");
    let started = document::get(old, "status.startTime").is_some_and(|time| !time.is_null());
    suspended
        && (!started || status::is_true(old, "Suspended"))
        && document::get_i64(old, "status.active").unwrap_or_default() == 0
}

fn validate_template_update(new: &Value, old: &Value, is_mutable: bool, errors: &mut Errors) {
    if !is_mutable {
        return internal::immutable(errors, new, old, &Path::root("spec"), "template", "PodTemplateSpec");
    }
    let pod = |spec: &Value| {
        let mut pod = descend(spec, &["template", "spec"]).cloned().unwrap_or_else(|| json!({}));
        for key in ["nodeSelector", "tolerations", "schedulingGates"] {
            document::remove(&mut pod, key);
        }
        document::remove(&mut pod, "affinity.nodeAffinity");
        if child(&pod, "affinity").and_then(Value::as_object).is_some_and(Map::is_empty) {
            document::remove(&mut pod, "affinity");
        }
        for key in ["containers", "initContainers"] {
            let containers = pod.get_mut(key).and_then(Value::as_array_mut);
            containers.into_iter().flatten().for_each(|container| drop(document::remove(container, "resources")));
        }
        pod
    };
    if !same(Some(&pod(new)), Some(&pod(old))) {
        let value = shown(descend(new, &["template", "spec"]));
        errors.invalid_printed("spec.template.spec", internal::compact("PodSpec", &value), "field is immutable");
    }
}

impl Rules for Job {
    fn default(&self, object: &mut Value) {
        default_template_of(object);
        let spec = spec_mut(object);
        default_spec(spec);
        default_nested(spec);
    }

    fn inherit(&self, object: &mut Value) {
        if document::labels(object).is_none_or(Map::is_empty)
            && let Some(labels) = descend(object, &["spec", "template", "metadata", "labels"]).cloned()
        {
            document::set(object, "metadata.labels", labels);
        }
    }

    fn prepare_for_create(&self, object: &mut Value, context: &Context) {
        let has_labels = descend(object, &["spec", "template", "metadata", "labels"]).is_some();
        generate_selector(object);
        // Upstream's defaults make one map of the two, so that a Job without labels gets the generated ones, too.
        if !context.labelled && has_labels {
            document::metadata_mut(object).remove("labels");
            self.inherit(object);
        }
        drop_disabled_at(object, None, "spec.template.spec");
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _context: &Context) {
        drop_disabled_at(object, Some(old), "spec.template.spec");
    }

    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let empty = Value::Object(Map::new());
        let spec = child(object, "spec").unwrap_or(&empty);
        let old_spec = old.map(|old| child(old, "spec").unwrap_or(&empty));
        let had = |key| old_spec.and_then(|old| descend(old, &["template", "metadata", "labels", key])).is_some();
        let prefixed = old.is_none() || had(NAME_LABELS[1]) && had(UID_LABELS[1]);
        validate_generated_selector(object, spec, prefixed, errors);
        validate_selecting_spec(spec, old_spec, errors);
        let completions = int(spec, "completions").unwrap_or_default();
        if text(spec, "completionMode") == "Indexed" && completions > 0 {
            let name = document::name(object);
            let host = format!("{name}-{}", completions - 1);
            if !names::dns1123_label(&host).is_empty() {
                let detail = format!("will not able to create pod with invalid DNS label: {host}");
                errors.invalid("metadata.name", name, detail);
            }
        }
        // Upstream's checks of an update begin with those of the specification once more.
        if let Some(old) = old {
            validate_selecting_spec(spec, old_spec, errors);
            self.validate_update(object, old, errors);
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let empty = Value::Object(Map::new());
        let (new, old_spec) = (child(object, "spec").unwrap_or(&empty), child(old, "spec").unwrap_or(&empty));
        let path = Path::root("spec");
        let completions = int(new, "completions");
        if text(new, "completionMode") != "Indexed" {
            immutable(errors, new, old_spec, &path, "completions");
        } else if completions != int(old_spec, "completions")
            && completions.is_some()
            && completions != int(new, "parallelism")
        {
            let detail = "can only be modified in tandem with spec.parallelism";
            errors.invalid(path.at("completions"), completions.unwrap_or_default(), detail);
        }
        internal::immutable(errors, new, old_spec, &path, "selector", "*LabelSelector");
        validate_template_update(new, old_spec, is_template_mutable(old), errors);
        immutable(errors, new, old_spec, &path, "completionMode");
        internal::immutable(errors, new, old_spec, &path, "podFailurePolicy", "*PodFailurePolicy");
        immutable(errors, new, old_spec, &path, "backoffLimitPerIndex");
        immutable(errors, new, old_spec, &path, "managedBy");
        internal::immutable(errors, new, old_spec, &path, "successPolicy", "*SuccessPolicy");
    }

    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        status::validate(object, old, errors);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some_and(|old| same(child(object, "spec"), child(old, "spec"))) {
            return Vec::new();
        }
        let mut warnings: Vec<String> = match old {
            None => dns_label_warning(document::name(object)).into_iter().collect(),
            Some(_) => Vec::new(),
        };
        warnings.extend(child(object, "spec").into_iter().flat_map(|spec| spec_warnings(spec, &Path::root("spec"))));
        warnings
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn unknown_field(&self, field: &str) -> String {
        format!("field label {} not supported for Job", api::field::quote(field))
    }

    fn deletion_warning(&self) -> Option<&'static str> {
        Some(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
        )
    }

    fn selectable_paths(&self) -> &'static [&'static str] {
        &["status.succeeded"]
    }

    fn selectable_field(&self, object: &Value, _field: &str) -> String {
        count_field(object, "status.succeeded")
    }

    /// Older than garbage collection: pods outlive a Job that is deleted without a word about them.
    fn orphans_by_default(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        !same(child(object, "spec"), child(old, "spec"))
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::FIRST_AGAIN
    }
}

/// Warnings about a Job's specification at `path`.
pub(super) fn spec_warnings(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let count = |key| int(spec, key).unwrap_or_default();
    if text(spec, "completionMode") == "Indexed"
        && count("completions") > MANY_COMPLETIONS
        && count("parallelism") > MAX_WITH_MANY
    {
        warnings.push(format!("{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"));
    }
    if let Some(template) = child(spec, "template") {
        warnings.extend(template_warnings(&path.at("template"), template));
    }
    warnings
}

/// Names of all containers that pods of the template have from the start.
fn container_names(spec: &Value) -> std::collections::HashSet<&str> {
    let pod = descend(spec, &["template", "spec"]);
    ["containers", "initContainers"]
        .iter()
        .flat_map(|key| pod.map(|pod| list(pod, key)).unwrap_or_default())
        .map(|container| text(container, "name"))
        .collect()
}
