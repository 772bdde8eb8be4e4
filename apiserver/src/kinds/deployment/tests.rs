//! Rules of the workloads whose pods run for ever.

use super::Deployment;
use crate::authn::User;
use crate::kinds::controller_revision::ControllerRevision;
use crate::kinds::daemon_set::DaemonSet;
use crate::kinds::pod_template::PodTemplate;
use crate::kinds::replica_set::ReplicaSet;
use crate::kinds::replication_controller::ReplicationController;
use crate::kinds::stateful_set::StatefulSet;
use crate::kinds::{Context, Rules};
use api::document;
use api::field::Errors;
use api::{Value, time};
use serde_json::json;

/// A workload whose fields at these paths are set, as the registry makes it.
fn made(rules: &dyn Rules, fields: &[(&str, Value)]) -> Value {
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut object = json!({
        "metadata": {"name": "w", "namespace": "n"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template},
    });
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

fn texts(errors: Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

fn problems(rules: &dyn Rules, object: &Value) -> Vec<String> {
    let mut errors = Errors::new();
    rules.check(object, None, &mut errors);
    texts(errors)
}

fn update_problems(rules: &dyn Rules, fields: &[(&str, Value)]) -> Vec<String> {
    let mut errors = Errors::new();
    rules.check(&made(rules, fields), Some(&made(rules, &[])), &mut errors);
    texts(errors)
}

fn check(rules: &dyn Rules, rows: &[(&str, Value, &str)]) {
    assert_eq!(problems(rules, &made(rules, &[])), [""; 0]);
    for (path, value, problem) in rows {
        let found = problems(rules, &made(rules, &[(path, value.clone())]));
        assert!(found.iter().any(|found| found == problem), "{path} {value}: {found:#?}");
    }
}

#[test]
fn deployments_are_defaulted_and_checked() {
    let object = made(&Deployment, &[]);
    let spec = &object["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    assert_eq!(spec["template"]["spec"]["dnsPolicy"], "ClusterFirst");
    assert_eq!(spec["template"]["spec"]["enableServiceLinks"], Value::Null);
    check(
        &Deployment,
        &[
            ("spec.selector", Value::Null, "spec.selector: Required value"),
            ("spec.selector", json!({}), "spec.selector: Invalid value: {}: empty selector is invalid for deployment"),
            (
                "spec.selector",
                json!({"matchLabels": {"app": "b"}}),
                "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
            ),
            ("spec.replicas", json!(-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
            (
                "spec.template.spec.restartPolicy",
                json!("Never"),
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ),
            (
                "spec.strategy",
                json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ),
            (
                "spec.strategy.rollingUpdate",
                json!({"maxSurge": 0, "maxUnavailable": "0%"}),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
            ),
            (
                "spec.strategy.rollingUpdate",
                json!({"maxUnavailable": "101%"}),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
            (
                "spec.progressDeadlineSeconds",
                json!(0),
                "spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds",
            ),
        ],
    );
    let other = ("spec.selector", json!({"matchLabels": {"app": "b"}}));
    assert_eq!(
        update_problems(&Deployment, &[other]),
        [
            "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"
        ]
    );
    assert!(Deployment.generation_changed(&made(&Deployment, &[("metadata.annotations", json!({"a": "b"}))]), &object));
}

#[test]
fn replica_sets_and_controllers_are_checked() {
    check(
        &ReplicaSet,
        &[(
            "spec.minReadySeconds",
            json!(-1),
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
        )],
    );
    let controller = |fields: &[(&str, Value)]| {
        let mut all = vec![("spec.selector", json!({"app": "a"}))];
        all.extend(fields.iter().cloned());
        made(&ReplicationController, &all)
    };
    assert_eq!(problems(&ReplicationController, &controller(&[])), [""; 0]);
    let plain = controller(&[("spec.selector", Value::Null)]);
    assert_eq!(
        (&plain["spec"]["selector"], &plain["metadata"]["labels"]),
        (&json!({"app": "a"}), &json!({"app": "a"}))
    );
    for (path, value, problem) in [
        ("spec.template", Value::Null, "spec.template: Required value"),
        (
            "spec.selector",
            json!({"app": "b"}),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
        ),
    ] {
        let found = problems(&ReplicationController, &controller(&[(path, value)]));
        assert!(found.iter().any(|found| found == problem), "{found:#?}");
    }
    let status = json!({"status": {"replicas": 1, "readyReplicas": 2}});
    let mut errors = Errors::new();
    ReplicaSet.validate_status_update(&status, &json!({}), &mut errors);
    assert_eq!(texts(errors), ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]);
}

#[test]
fn daemon_sets_are_checked() {
    let object = made(&DaemonSet, &[]);
    assert_eq!(object["metadata"]["annotations"]["deprecated.daemonset.template.generation"], "1");
    check(
        &DaemonSet,
        &[
            (
                "spec.updateStrategy.rollingUpdate",
                json!({"maxUnavailable": 1, "maxSurge": 1}),
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
            ),
            (
                "spec.updateStrategy.rollingUpdate",
                json!({"maxUnavailable": 0}),
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
            ),
            (
                "spec.selector",
                Value::Null,
                "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
            ),
        ],
    );
    let mut new = made(&DaemonSet, &[("spec.template.spec.hostname", json!("h"))]);
    let user = User::default();
    DaemonSet.prepare_for_update(
        &mut new,
        &object,
        &Context { user: &user, now: time::parse("2026-01-02T03:04:05Z").unwrap(), labelled: true },
    );
    assert_eq!(new["metadata"]["annotations"]["deprecated.daemonset.template.generation"], "2");
}

#[test]
fn stateful_sets_are_checked() {
    let object = made(&StatefulSet, &[]);
    assert_eq!(
        object["spec"]["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
    let claim = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    let mount = json!([{"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]);
    let with_claim =
        made(&StatefulSet, &[("spec.volumeClaimTemplates", claim), ("spec.template.spec.containers", mount)]);
    assert_eq!(problems(&StatefulSet, &with_claim), [""; 0]);
    assert_eq!(with_claim["spec"]["volumeClaimTemplates"][0]["status"]["phase"], "Pending");
    check(
        &StatefulSet,
        &[
            (
                "spec.podManagementPolicy",
                json!("x"),
                "spec.podManagementPolicy: Invalid value: \"x\": must be 'OrderedReady' or 'Parallel'",
            ),
            (
                "spec.updateStrategy",
                json!({"type": "OnDelete", "rollingUpdate": {}}),
                "spec.updateStrategy.rollingUpdate: Invalid value: {\"Partition\":0,\"MaxUnavailable\":null}: only allowed for updateStrategy 'RollingUpdate'",
            ),
            (
                "spec.volumeClaimTemplates",
                json!([{"metadata": {"name": "d"}, "spec": {}}]),
                "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
            ),
        ],
    );
    assert_eq!(update_problems(&StatefulSet, &[("spec.replicas", json!(3))]), [""; 0]);
    assert_eq!(
        update_problems(&StatefulSet, &[("spec.serviceName", json!("s"))]),
        [
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        ]
    );
}

#[test]
fn templates_keep_what_they_had() {
    let kinds: [&dyn Rules; 4] = [&Deployment, &ReplicaSet, &StatefulSet, &DaemonSet];
    for rules in kinds {
        let compared = ("spec.template.spec.tolerations", json!([{"key": "a", "operator": "Lt", "value": "1"}]));
        let object = made(rules, std::slice::from_ref(&compared));
        assert_eq!(problems(rules, &object).len(), 1);
        assert_eq!(update_problems(rules, &[compared]).len(), 1);
        let mut errors = Errors::new();
        rules.check(&object, Some(&object), &mut errors);
        assert_eq!(texts(errors), [""; 0]);
    }
}

#[test]
fn revisions_and_templates_are_checked() {
    let found = problems(&ControllerRevision, &json!({"revision": -1}));
    assert_eq!(
        found,
        ["revision: Invalid value: -1: must be greater than or equal to 0", "data: Required value: data is mandatory"]
    );
    let mut template = json!({"template": {"spec": {"containers": []}}});
    PodTemplate.default(&mut template);
    let mut errors = Errors::new();
    PodTemplate.check(&template, None, &mut errors);
    assert_eq!(texts(errors), ["template.spec.containers: Required value"]);
}
