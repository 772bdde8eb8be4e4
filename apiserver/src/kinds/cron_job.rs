//! CronJobs (`batch/v1`).

mod schedule;

use super::deployment::{drop_disabled_at, spec_mut};
use super::equality::same;
use super::job::{default_nested, spec_warnings, validate_spec};
use super::labels::invalid_selector;
use super::path::{
    Path, child, descend, flag, has, non_negative, non_negative_fields, opt_text, required_one_of, text,
};
use super::pod::{default, default_template, dns_label_warning};
use super::{Context, MetadataChecks, Rules};
use api::document::{self, as_map};
use api::field::Errors;
use api::{Map, Value};

/// Rules of CronJobs.
pub struct CronJob;

/// A CronJob's name with eleven characters added is the name of a Job, and that is a label value.
const MAX_NAME: usize = 52;

/// Checks the schedule. A zone in it is refused by now, but stays where it was; a zone's name is looked at when it changes.
fn validate_schedule(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let at = path.at("schedule");
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        errors.required(at, "");
    } else {
        if let Err(why) = schedule::parse(schedule) {
            errors.invalid(at, schedule, why);
        }
        let had_zone = old.is_some_and(|old| text(old, "schedule").contains("TZ"));
        match (schedule.contains("TZ"), had_zone) {
            (true, false) => {
                let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
                errors.invalid(at, schedule, detail);
            }
            (true, true) if has(spec, "timeZone") => {
                let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
                errors.invalid(at, schedule, detail);
            }
            _ => {}
        }
    }
    non_negative(errors, spec, path, "startingDeadlineSeconds");
    let same_zone = |old| opt_text(old, "timeZone") == opt_text(spec, "timeZone");
    if let Some(zone) = opt_text(spec, "timeZone").filter(|_| !old.is_some_and(same_zone)) {
        for problem in schedule::zone_problems(zone) {
            errors.invalid(path.at("timeZone"), zone, problem);
        }
    }
    let policy = text(spec, "concurrencyPolicy");
    required_one_of(errors, &path.at("concurrencyPolicy"), policy, &["Allow", "Forbid", "Replace"]);
}

impl Rules for CronJob {
    fn default(&self, object: &mut Value) {
        let spec = spec_mut(object);
        default(spec, "concurrencyPolicy", "Allow");
        default(spec, "suspend", false);
        default(spec, "successfulJobsHistoryLimit", 3);
        default(spec, "failedJobsHistoryLimit", 1);
        let mut at = spec;
        for key in ["jobTemplate", "spec"] {
            at = as_map(at).entry(key).or_insert(Value::Null);
        }
        as_map(at);
        default_nested(at);
        default_template(as_map(at).entry("template").or_insert(Value::Null));
    }

    fn prepare_for_create(&self, object: &mut Value, _context: &Context) {
        drop_disabled_at(object, None, "spec.jobTemplate.spec.template.spec");
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _context: &Context) {
        drop_disabled_at(object, Some(old), "spec.jobTemplate.spec.template.spec");
    }

    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let empty = Value::Object(Map::new());
        let spec = child(object, "spec").unwrap_or(&empty);
        let path = Path::root("spec");
        validate_schedule(spec, old.map(|old| child(old, "spec").unwrap_or(&empty)), &path, errors);
        let job = descend(spec, &["jobTemplate", "spec"]).unwrap_or(&empty);
        let at = path.at("jobTemplate.spec");
        validate_spec(job, old.and_then(|old| descend(old, &["spec", "jobTemplate", "spec"])), &at, errors);
        if let Some(selector) = child(job, "selector") {
            invalid_selector(selector, at.at("selector"), "`selector` will be auto-generated", errors);
        }
        if flag(job, "manualSelector") {
            errors.not_supported(at.at("manualSelector"), true, &["nil", "false"]);
        }
        let limits = ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
        non_negative_fields(errors, spec, &path, &limits);
        let name = document::name(object);
        if old.is_none() && name.len() > MAX_NAME {
            errors.invalid("metadata.name", name, "must be no more than 52 characters");
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        let Some(spec) = child(object, "spec") else { return warnings };
        if old.is_none() {
            warnings.extend(dns_label_warning(document::name(object)));
        }
        if old.is_none_or(|old| self.generation_changed(object, old))
            && let Some(job) = descend(spec, &["jobTemplate", "spec"])
        {
            warnings.extend(spec_warnings(job, &Path::root("spec.jobTemplate.spec")));
        }
        if old.is_some() && text(spec, "schedule").contains("TZ") {
            warnings.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        warnings
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        !same(child(object, "spec"), child(old, "spec"))
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks { status_update: &[], ..MetadataChecks::USUAL }
    }
}
