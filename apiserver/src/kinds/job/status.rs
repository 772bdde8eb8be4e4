//! Updates of a Job's status: who else than the Job controller writes it must keep to the same rules (KEP-4368).

use super::super::equality::same;
use super::super::internal::compact;
use super::super::path::{Path, child, descend, int, list, non_negative_fields, opt_text, shown, text};
use super::policy::invalid_without_value;
use api::field::Errors;
use api::{Map, Value};
use std::collections::HashSet;

/// Whether a condition of the Job is true.
pub fn is_true(job: &Value, kind: &str) -> bool {
    has_condition(job, kind, "True")
}

fn has_condition(job: &Value, kind: &str, status: &str) -> bool {
    child(job, "status").is_some_and(|job| {
        list(job, "conditions").iter().any(|c| text(c, "type") == kind && text(c, "status") == status)
    })
}

/// A Job with its status, as the checks look at it.
struct View<'a> {
    job: &'a Value,
    status: &'a Value,
    complete: bool,
    failed: bool,
    failure_target: bool,
    success_criteria: bool,
}

impl<'a> View<'a> {
    fn new(job: &'a Value, empty: &'a Value) -> View<'a> {
        View {
            job,
            status: child(job, "status").unwrap_or(empty),
            complete: is_true(job, "Complete"),
            failed: is_true(job, "Failed"),
            failure_target: is_true(job, "FailureTarget"),
            success_criteria: is_true(job, "SuccessCriteriaMet"),
        }
    }

    fn finished(&self) -> bool {
        self.complete || self.failed
    }

    fn count(&self, key: &str) -> i64 {
        int(self.status, key).unwrap_or_default()
    }
}

/// Checks an update of the status. Most rules hold only for what the update changes.
pub fn validate(job: &Value, old: &Value, errors: &mut Errors) {
    let empty = Value::Object(Map::new());
    let (new, old) = (View::new(job, &empty), View::new(old, &empty));
    let path = Path::root("status");
    let counts = ["active", "succeeded", "failed", "ready", "terminating"];
    non_negative_fields(errors, new.status, &path, &counts);
    validate_uncounted(new.status, &path.at("uncountedTerminatedPods"), errors);
    validate_end(&new, &old, &path, errors);
    validate_finished(&new, &old, &path, errors);
    validate_indexes(&new, &old, &path, errors);
    validate_pods(&new, &old, &path, errors);
    validate_success(&new, &path, errors);
    validate_progress(&new, &old, &path, errors);
}

fn validate_uncounted(status: &Value, path: &Path, errors: &mut Errors) {
    let Some(pods) = child(status, "uncountedTerminatedPods") else { return };
    let mut seen = HashSet::new();
    for key in ["succeeded", "failed"] {
        let path = path.at(key);
        for (i, uid) in list(pods, key).iter().enumerate() {
            let uid = uid.as_str().unwrap_or_default();
            if uid.is_empty() {
                errors.invalid(path.index(i), uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(path.index(i), uid);
            }
        }
    }
}

fn changed(new: &View, old: &View, key: &str) -> bool {
    !same(child(new.status, key), child(old.status, key))
}

/// What ends a Job goes together.
fn validate_end(new: &View, old: &View, path: &Path, errors: &mut Errors) {
    let (start, completion) = (child(new.status, "startTime"), child(new.status, "completionTime"));
    let complete_changed = new.complete != old.complete;
    let failed_changed = new.failed != old.failed;
    let (start_changed, completion_changed) = (changed(new, old, "startTime"), changed(new, old, "completionTime"));
    let conditions = path.at("conditions");
    let contradiction = |broken: bool, detail: &str, errors: &mut Errors| {
        if broken {
            invalid_without_value(errors, conditions, detail);
        }
    };
    let both = (complete_changed || failed_changed) && new.complete && new.failed;
    contradiction(both, "cannot set Complete=True and Failed=true conditions", errors);
    let target_changed = new.failure_target != old.failure_target;
    let both = (complete_changed || target_changed) && new.complete && new.failure_target;
    contradiction(both, "cannot set Complete=True and FailureTarget=true conditions", errors);
    let at = path.at("completionTime");
    if complete_changed || completion_changed {
        match completion {
            Some(time) if !new.complete => {
                let detail = "cannot set completionTime when there is no Complete=True condition";
                errors.invalid(at, time.clone(), detail);
            }
            None if new.complete => errors.required(at, "completionTime is required for Complete jobs"),
            _ => {}
        }
    }
    if (start_changed || completion_changed)
        && let (Some(start), Some(completion)) = (start.and_then(Value::as_str), completion.and_then(Value::as_str))
        && completion < start
    {
        errors.invalid(at, completion, "must be equal to or after `startTime`");
    }
    let untargeted = (failed_changed || changed(new, old, "failedIndexes")) && new.failed && !new.failure_target;
    contradiction(untargeted, "cannot set Failed=True condition without the FailureTarget=true condition", errors);
    let criteria_changed = new.success_criteria != old.success_criteria;
    let unmet = (complete_changed || criteria_changed) && new.complete && !new.success_criteria;
    contradiction(unmet, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition", errors);
}

/// The criteria of success are met, or the Job failed.
fn validate_success(new: &View, path: &Path, errors: &mut Errors) {
    let has_policy = descend(new.job, &["spec", "successPolicy"]).is_some();
    let rules = [
        (new.success_criteria && new.failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (
            new.success_criteria && new.failure_target,
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
        (
            has_policy && !new.success_criteria && new.complete,
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
    ];
    for (_, detail) in rules.into_iter().filter(|(broken, _)| *broken) {
        invalid_without_value(errors, path.at("conditions"), detail);
    }
}

/// A finished Job was started, and has nothing left to do.
fn validate_finished(new: &View, old: &View, path: &Path, errors: &mut Errors) {
    let finished_changed = new.finished() != old.finished();
    let active = new.count("active");
    if (finished_changed || changed(new, old, "active")) && active > 0 && new.finished() {
        errors.invalid(path.at("active"), active, "active>0 is invalid for finished job");
    }
    let spec = shown(child(new.job, "spec"));
    let nothing_to_do = super::flag(&spec, "suspend") && int(&spec, "completions") == Some(0);
    let start_changed = changed(new, old, "startTime");
    let started = child(new.status, "startTime").is_some();
    if (finished_changed || start_changed) && !nothing_to_do && !started && new.finished() {
        errors.required(path.at("startTime"), "startTime is required for finished job");
    }
    if (finished_changed || changed(new, old, "uncountedTerminatedPods")) && new.finished() {
        let key = "uncountedTerminatedPods";
        let left =
            child(new.status, key).filter(|pods| ["succeeded", "failed"].iter().any(|key| !list(pods, key).is_empty()));
        if let Some(pods) = left {
            let printed = compact("UncountedTerminatedPods", pods);
            errors.invalid_printed(path.at(key), printed, "must be empty for finished job");
        }
    }
}

fn validate_pods(new: &View, old: &View, path: &Path, errors: &mut Errors) {
    let finished_changed = new.finished() != old.finished();
    let (active, ready, terminating) = (new.count("active"), new.count("ready"), new.count("terminating"));
    if (finished_changed || changed(new, old, "terminating")) && terminating > 0 && new.finished() {
        errors.invalid(path.at("terminating"), terminating, "terminating>0 is invalid for finished job");
    }
    if (changed(new, old, "ready") || changed(new, old, "active")) && ready > active {
        errors.invalid(path.at("ready"), ready, "cannot set more ready pods than active");
    }
}

fn validate_indexes(new: &View, old: &View, path: &Path, errors: &mut Errors) {
    let spec = shown(child(new.job, "spec"));
    let completions = int(&spec, "completions");
    let per_index = child(&spec, "backoffLimitPerIndex").is_some();
    let (completed, failed) = (text(new.status, "completedIndexes"), opt_text(new.status, "failedIndexes"));
    let (completed_changed, failed_changed) =
        (changed(new, old, "completedIndexes"), changed(new, old, "failedIndexes"));
    let at = path.at("completedIndexes");
    if completed_changed {
        if let Some(Err(why)) = completions.map(|completions| index_count(completed, completions)) {
            errors.invalid(at, completed, format!("error parsing completedIndexes: {why}"));
        }
        if !completed.is_empty() && text(&spec, "completionMode") != "Indexed" {
            let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.invalid(at, completed, detail);
        }
    }
    let Some(failed) = failed else { return };
    let at = path.at("failedIndexes");
    if failed_changed {
        if let Some(Err(why)) = completions.filter(|_| per_index).map(|completions| index_count(failed, completions)) {
            errors.invalid(at, failed, format!("error parsing failedIndexes: {why}"));
        }
        if !per_index {
            let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errors.invalid(at, failed, detail);
        }
    }
    if (failed_changed || completed_changed)
        && let Some(index) = completions.and_then(|completions| overlap(completed, failed, completions))
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(at, failed, detail);
    }
}

/// What was reached stays reached.
fn validate_progress(new: &View, old: &View, path: &Path, errors: &mut Errors) {
    let at = path.at("conditions");
    let terminal = [
        ("Failed", old.failed, new.failed),
        ("Complete", old.complete, new.complete),
        ("FailureTarget", old.failure_target, new.failure_target),
    ];
    for (kind, _, _) in terminal.into_iter().filter(|(_, before, now)| *before && !now) {
        invalid_without_value(errors, at, format!("cannot disable the terminal {kind}=True condition"));
    }
    let spec = shown(child(new.job, "spec"));
    let indexed = text(&spec, "completionMode") == "Indexed";
    let elastic = indexed && int(&spec, "completions") == int(&spec, "parallelism");
    for key in ["failed", "succeeded"] {
        if new.count(key) < old.count(key) && (key == "failed" || !elastic) {
            errors.invalid(path.at(key), new.count(key), format!("cannot decrease the {key} counter"));
        }
    }
    if let (Some(now), Some(before)) = (child(new.status, "completionTime"), child(old.status, "completionTime"))
        && now != before
    {
        errors.invalid(path.at("completionTime"), now.clone(), "field is immutable");
    }
    let resuming = is_true(old.job, "Suspended") && has_condition(new.job, "Suspended", "False");
    let started = child(old.status, "startTime").is_some();
    if started && changed(new, old, "startTime") && !resuming && !super::flag(&spec, "suspend") {
        let value = shown(child(new.status, "startTime"));
        errors.invalid(path.at("startTime"), value, "field is immutable for unsuspended job once set");
    }
    if old.success_criteria && !new.success_criteria {
        invalid_without_value(errors, at, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if old.complete && !old.success_criteria && new.success_criteria {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        invalid_without_value(errors, at, detail);
    }
}

/// How many indexes text such as `1,3-5` names, all below `completions` and rising.
pub fn index_count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = text.splitn(4, '-').collect();
    if parts.len() > 2 {
        return Err(format!(
            "the fragment \"{text}\" violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let index = |part: &str| -> Result<i64, String> {
        let index: i64 = part.parse().map_err(|_| format!("cannot convert string to integer for index: \"{part}\""))?;
        if index >= completions { Err(format!("too large index: \"{part}\"")) } else { Ok(index) }
    };
    let first = index(parts[0])?;
    match parts.get(1) {
        None => Ok((first, first)),
        Some(end) => match index(end)? {
            end if first >= end => Err(format!("non-increasing order, previous: {first}, current: {end}")),
            end => Ok((first, end)),
        },
    }
}

/// The first index that both lists name. Parts that cannot be read are passed over.
fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let parse = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (completed, failed) = (parse(completed), parse(failed));
    let (mut i, mut j) = (0, 0);
    while let (Some(c), Some(f)) = (completed.get(i), failed.get(j)) {
        if c.0 <= f.1 && f.0 <= c.1 {
            return Some(c.0.max(f.0));
        }
        if c.0 <= f.0 { i += 1 } else { j += 1 }
    }
    None
}
