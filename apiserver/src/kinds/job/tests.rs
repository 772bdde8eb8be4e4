//! Rules of Jobs and CronJobs.

use super::Job;
use super::status::index_count;
use crate::authn::User;
use crate::kinds::cron_job::CronJob;
use crate::kinds::{Context, Rules};
use api::document;
use api::field::Errors;
use api::{Value, time};
use serde_json::json;

fn template() -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}})
}

fn made(rules: &dyn Rules, spec: Value, fields: &[(&str, Value)]) -> Value {
    let mut object = json!({"metadata": {"name": "j", "namespace": "n", "uid": "u"}, "spec": spec});
    for (path, value) in fields {
        document::set(&mut object, path, value.clone());
    }
    rules.default(&mut object);
    let user = User::default();
    rules.prepare_for_create(
        &mut object,
        &Context { user: &user, now: time::parse("2026-01-02T03:04:05Z").unwrap(), labelled: true },
    );
    object
}

fn job(fields: &[(&str, Value)]) -> Value {
    made(&Job, json!({"template": template()}), fields)
}

fn cron_job(fields: &[(&str, Value)]) -> Value {
    made(&CronJob, json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template()}}}), fields)
}

fn texts(errors: Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

fn problems(rules: &dyn Rules, object: &Value) -> Vec<String> {
    let mut errors = Errors::new();
    rules.check(object, None, &mut errors);
    texts(errors)
}

#[test]
fn jobs_select_their_pods_by_uid() {
    let job = job(&[]);
    assert_eq!(problems(&Job, &job), [""; 0]);
    assert_eq!(job["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}));
    assert_eq!(
        job["spec"]["template"]["metadata"]["labels"],
        json!({
            "job-name": "j", "batch.kubernetes.io/job-name": "j", "controller-uid": "u",
            "batch.kubernetes.io/controller-uid": "u",
        })
    );
    let spec = &job["spec"];
    assert_eq!((&spec["completions"], &spec["parallelism"], &spec["backoffLimit"]), (&json!(1), &json!(1), &json!(6)));
    assert_eq!(spec["podReplacementPolicy"], "TerminatingOrFailed");
}

#[test]
fn jobs_are_checked() {
    let rows = [
        (
            "spec.template.spec.restartPolicy",
            json!("Always"),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        ("spec.parallelism", json!(-1), "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
        (
            "spec.backoffLimitPerIndex",
            json!(1),
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
        ),
        (
            "spec.managedBy",
            json!("me"),
            "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        (
            "spec.podFailurePolicy",
            json!({"rules": [{"action": "FailIndex"}]}),
            "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
        ),
        (
            "spec.podFailurePolicy",
            json!({"rules": [{"action": "Ignore"}]}),
            "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
        ),
        (
            "spec.podFailurePolicy",
            json!({"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [2, 1]}}]}),
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,1]: must be ordered",
        ),
        (
            "spec.successPolicy",
            json!({"rules": []}),
            "spec.successPolicy: Invalid value: {\"Rules\":[]}: requires indexed completion mode",
        ),
    ];
    for (path, value, problem) in rows {
        let found = problems(&Job, &job(&[(path, value)]));
        assert!(found.iter().any(|found| found == problem), "{path}: {found:#?}");
    }
}

#[test]
fn templates_of_jobs_change_only_while_suspended() {
    let selector = ("spec.template.spec.nodeSelector", json!({"a": "b"}));
    let check = |old: &Value, new: &Value| {
        let mut errors = Errors::new();
        Job.validate_update(new, old, &mut errors);
        texts(errors)
    };
    let suspended = ("spec.suspend", json!(true));
    assert_eq!(check(&job(std::slice::from_ref(&suspended)), &job(&[suspended.clone(), selector.clone()])), [""; 0]);
    let found = check(&job(&[]), &job(&[selector]));
    assert!(found[0].starts_with("spec.template: Invalid value: {") && found[0].ends_with(": field is immutable"));
    let found = check(&job(&[]), &job(&[("spec.completions", json!(2)), ("spec.parallelism", json!(1))]));
    assert_eq!(found, ["spec.completions: Invalid value: 2: field is immutable"]);
}

#[test]
fn status_of_jobs_is_consistent() {
    let check = |old: Value, new: Value| {
        let (mut before, mut now) = (job(&[]), job(&[]));
        before["status"] = old;
        now["status"] = new;
        let mut errors = Errors::new();
        Job.validate_status_update(&now, &before, &mut errors);
        texts(errors)
    };
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let done = json!({
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")], "succeeded": 1,
        "startTime": "2026-01-02T03:04:05Z", "completionTime": "2026-01-02T03:04:06Z",
    });
    assert_eq!(check(json!({"startTime": "2026-01-02T03:04:05Z"}), done.clone()), [""; 0]);
    assert_eq!(
        check(done, json!({"startTime": "2026-01-02T03:04:05Z"})),
        [
            "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
            "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
            "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
        ]
    );
    assert_eq!(
        check(json!({}), json!({"active": 1, "ready": 2})),
        ["status.ready: Invalid value: 2: cannot set more ready pods than active"]
    );
}

#[test]
fn indexes_rise_below_the_completions() {
    for (text, result) in [
        ("", Ok(0)),
        ("0,2-4", Ok(4)),
        ("3,2", Err("non-increasing order, previous: 3, current: 2")),
        ("9", Err("too large index: \"9\"")),
        ("a", Err("cannot convert string to integer for index: \"a\"")),
    ] {
        assert_eq!(index_count(text, 5), result.map_err(str::to_owned), "{text}");
    }
}

#[test]
fn cron_jobs_are_checked() {
    let object = cron_job(&[]);
    assert_eq!(problems(&CronJob, &object), [""; 0]);
    assert_eq!(object["spec"]["concurrencyPolicy"], "Allow");
    assert_eq!(object["spec"]["jobTemplate"]["spec"]["backoffLimit"], Value::Null);
    let rows = [
        ("spec.schedule", json!(""), "spec.schedule: Required value"),
        (
            "spec.schedule",
            json!("61 * * * *"),
            "spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum (59): 61",
        ),
        (
            "spec.schedule",
            json!("TZ=UTC 0 * * * *"),
            "spec.schedule: Invalid value: \"TZ=UTC 0 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ),
        ("spec.timeZone", json!("a b"), "spec.timeZone: Invalid value: \"a b\": unknown time zone a b"),
        (
            "spec.concurrencyPolicy",
            json!("x"),
            "spec.concurrencyPolicy: Unsupported value: \"x\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
        ),
        (
            "metadata.name",
            json!("a".repeat(53)),
            "metadata.name: Invalid value: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\": must be no more than 52 characters",
        ),
        (
            "spec.jobTemplate.spec.manualSelector",
            json!(true),
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
        ),
    ];
    for (path, value, problem) in rows {
        let found = problems(&CronJob, &cron_job(&[(path, value)]));
        assert!(found.iter().any(|found| found == problem), "{path}: {found:#?}");
    }
}
