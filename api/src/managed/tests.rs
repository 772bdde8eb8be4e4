//! Upstream's behaviours, by what a user sees.

use super::*;
use crate::schema::Schema;
use crate::status::ApiError;
use serde_json::json;

mod properties;

fn ty(group: &str, version: &str, kind: &str) -> TypeRef<'static> {
    Schema::of_kind(group, version, kind).unwrap()
}

fn deployment_type() -> TypeRef<'static> {
    ty("apps", "v1", "Deployment")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn writer(manager: &str, second: i64) -> Writer<'_> {
    Writer { manager, api_version: "apps/v1", subresource: "", now: at(second) }
}

const STATUS: ResetFields = ResetFields::Except(&[&["status"]]);

/// Creates or updates as the server does: filled, then noted.
fn write(mut object: Value, old: Option<&Value>, writer: &Writer<'_>) -> Value {
    crate::schema::fill(&mut object, deployment_type());
    update(&mut object, old, deployment_type(), writer, &STATUS);
    document::set(&mut object, "metadata.uid", "u");
    object
}

fn apply_as(live: &Value, applied: &Value, writer: &Writer<'_>, force: bool) -> Result<Value, ApiError> {
    let mut object = apply(live, applied, deployment_type(), writer, force, &STATUS)?;
    crate::schema::fill(&mut object, deployment_type());
    document::set(&mut object, "metadata.uid", "u");
    Ok(object)
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "default", "labels": { "app": "web" } },
        "spec": {
            "replicas": 3,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [
                    { "name": "a", "image": "nginx:1", "ports": [{ "containerPort": 80, "protocol": "TCP" }] },
                ] },
            },
        },
    })
}

fn with(mut object: Value, path: &str, value: Value) -> Value {
    document::set(&mut object, path, value);
    object
}

/// `(manager, operation, subresource, time, fieldsV1)` of each entry.
fn entries(object: &Value) -> Vec<(String, String, String, String, Value)> {
    let text = |e: &Value, key: &str| document::get_str(e, key).to_owned();
    document::get_list(object, "metadata.managedFields")
        .iter()
        .map(|e| {
            (text(e, "manager"), text(e, "operation"), text(e, "subresource"), text(e, "time"), e["fieldsV1"].clone())
        })
        .collect()
}

fn names(object: &Value) -> Vec<String> {
    entries(object).into_iter().map(|e| format!("{} {}", e.0, e.1)).collect()
}

#[test]
fn create_notes_what_was_set() {
    let object = write(deployment(), None, &writer("kubectl", 0));
    let expected = json!({
        "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
                "f:spec": { "f:containers": { "k:{\"name\":\"a\"}": {
                    ".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                    "f:ports": { ".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                        ".": {}, "f:containerPort": {}, "f:protocol": {},
                    } },
                } } },
            },
        },
    });
    let list = entries(&object);
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].3, "2023-11-14T22:13:20Z");
    assert_eq!(list[0].4, expected, "{:#}", list[0].4);
    assert_eq!(object["metadata"]["managedFields"][0]["fieldsType"], "FieldsV1");
    assert_eq!(object["metadata"]["managedFields"][0]["apiVersion"], "apps/v1");
}

#[test]
fn update_moves_ownership_of_what_changed() {
    let old = write(deployment(), None, &writer("kubectl", 0));
    let new = write(with(old.clone(), "spec.replicas", json!(5)), Some(&old), &writer("hpa", 9));
    let list = entries(&new);
    assert_eq!(list[0].4["f:spec"].get("f:replicas"), None);
    assert_eq!((&*list[0].3, &*list[1].3), ("2023-11-14T22:13:20Z", "2023-11-14T22:13:29Z"));
    assert_eq!(list[1].4, json!({ "f:spec": { "f:replicas": {} } }));
    // What is removed is nobody's.
    let mut bare = new.clone();
    document::remove(&mut bare, "metadata.labels");
    let gone = write(bare, Some(&new), &writer("hpa", 10));
    assert_eq!(entries(&gone)[0].4.get("f:metadata"), None);
    assert_eq!(entries(&gone)[1].3, "2023-11-14T22:13:29Z");
}

#[test]
fn an_update_of_nothing_keeps_entries_and_times() {
    let old = write(deployment(), None, &writer("kubectl", 0));
    assert_eq!(write(old.clone(), Some(&old), &writer("other", 50)), old);
    let mut stripped = old.clone();
    document::remove(&mut stripped, "metadata.managedFields");
    assert_eq!(write(stripped, Some(&old), &writer("other", 50)), old);
}

#[test]
fn a_client_may_reset_managed_fields() {
    let old = write(deployment(), None, &writer("kubectl", 0));
    for reset in [json!([]), json!([{}])] {
        let sent = with(old.clone(), "metadata.managedFields", reset);
        let new = write(sent, Some(&old), &writer("kubectl", 1));
        assert_eq!(new["metadata"].get("managedFields"), None);
        // From then on nothing is tracked, until something is applied.
        let next = write(with(new.clone(), "spec.replicas", json!(1)), Some(&new), &writer("kubectl", 2));
        assert_eq!(next["metadata"].get("managedFields"), None);
    }
    // An invalid list, and a list sent to a subresource, change nothing.
    let sent = with(old.clone(), "metadata.managedFields", json!([{ "manager": "x", "operation": "Guess" }]));
    assert_eq!(write(sent, Some(&old), &writer("kubectl", 1)), old);
    let mut sent = with(old.clone(), "metadata.managedFields", json!([]));
    let status = Writer { subresource: "status", ..writer("kubectl", 1) };
    update(&mut sent, Some(&old), deployment_type(), &status, &ResetFields::None);
    assert_eq!(sent, old);
}

#[test]
fn a_status_writer_owns_status_only() {
    let old = write(deployment(), None, &writer("kubectl", 0));
    let sent = with(with(old.clone(), "status.replicas", json!(2)), "spec.replicas", json!(9));
    let mut new = sent.clone();
    let controller = Writer { subresource: "status", ..writer("controller", 5) };
    update(&mut new, Some(&old), deployment_type(), &controller, &reset_fields("apps", "Deployment", "status", true));
    assert_eq!(entries(&new)[1].2, "status");
    assert_eq!(entries(&new)[1].4, json!({ "f:status": { "f:replicas": {} } }));
    assert!(entries(&new)[0].4["f:spec"].get("f:replicas").is_some());
    // And the main resource never status.
    assert_eq!(entries(&write(sent, Some(&old), &writer("kubectl", 5)))[0].4.get("f:status"), None);
}

#[test]
fn conflicts_are_told_as_upstream_tells_them() {
    let live = write(deployment(), None, &writer("kubectl-create", 0));
    let wanted = with(deployment(), "spec.replicas", json!(5));
    let failure = apply_as(&live, &wanted, &writer("me", 1), false).unwrap_err();
    assert_eq!((failure.code, failure.reason), (409, "Conflict"));
    assert_eq!(
        failure.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1: .spec.replicas"
    );
    assert_eq!(failure.causes[0].reason, "FieldManagerConflict");
    assert_eq!(failure.causes[0].message, "conflict with \"kubectl-create\" using apps/v1");
    assert_eq!(failure.causes[0].field, ".spec.replicas");

    let mut wanted = with(wanted, "metadata.labels.app", json!("x"));
    wanted["spec"]["template"]["spec"]["containers"][0]["image"] = json!("nginx:2");
    let failure = apply_as(&live, &wanted, &writer("me", 1), false).unwrap_err();
    assert_eq!(
        failure.message,
        "Apply failed with 3 conflicts: conflicts with \"kubectl-create\" using apps/v1:\n- .metadata.labels.app\n\
         - .spec.replicas\n- .spec.template.spec.containers[name=\"a\"].image"
    );

    let forced = apply_as(&live, &wanted, &writer("me", 1), true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    let owner = |object: &Value, i: usize| entries(object)[i].4["f:spec"].get("f:replicas").is_some();
    assert_eq!(names(&forced), ["me Apply", "kubectl-create Update"]);
    assert_eq!((owner(&forced, 0), owner(&forced, 1)), (true, false));

    let applier = apply_as(&forced, &with(deployment(), "spec.replicas", json!(6)), &writer("you", 2), false);
    assert!(applier.unwrap_err().message.starts_with("Apply failed with 3 conflicts: conflicts with \"me\":\n"));
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let first = apply_as(&json!({}), &deployment(), &writer("me", 0), false).unwrap();
    assert_eq!(names(&first), ["me Apply"]);
    assert_eq!(first["spec"]["strategy"], json!({}));
    let second = apply_as(&first, &deployment(), &writer("me", 99), false).unwrap();
    assert_eq!(second, first);
    // Agreement is no conflict: both own the fields.
    let shared = apply_as(&first, &deployment(), &writer("you", 99), false).unwrap();
    assert_eq!(names(&shared), ["you Apply", "me Apply"]);
    assert_eq!(entries(&shared)[0].3, "");
    assert_eq!(entries(&shared)[0].4, entries(&shared)[1].4);
}

#[test]
fn what_is_given_up_goes_unless_others_own_it() {
    let mut both = deployment();
    both["spec"]["template"]["spec"]["containers"] = json!([
        { "name": "a", "image": "nginx:1", "env": [{ "name": "X", "value": "1" }] },
        { "name": "b", "image": "busybox" },
    ]);
    let both = with(both, "metadata.annotations", json!({ "note": "mine" }));
    let first = apply_as(&json!({}), &both, &writer("me", 0), false).unwrap();
    // Somebody sets a field of container `a`, and owns `b`.
    let theirs = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "default" },
        "spec": { "template": { "spec": { "containers": [{ "name": "b", "image": "busybox" }] } } },
    });
    let shared = apply_as(&first, &theirs, &writer("you", 1), false).unwrap();
    let mut less = both.clone();
    less["spec"]["template"]["spec"]["containers"] = json!([{ "name": "a", "image": "nginx:1" }]);
    document::remove(&mut less, "spec.replicas");
    document::remove(&mut less, "metadata.annotations");
    let after = apply_as(&shared, &less, &writer("me", 2), false).unwrap();
    assert_eq!(after["spec"].get("replicas"), None);
    assert_eq!(after["metadata"].get("annotations"), None);
    let containers = &after["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers[0].get("env"), None);
    assert_eq!(containers[1], json!({ "name": "b", "image": "busybox", "resources": {} }));
    // The other one lets go as well.
    let mut none = theirs.clone();
    document::remove(&mut none, "spec");
    let after = apply_as(&after, &none, &writer("you", 3), false).unwrap();
    assert_eq!(document::get_list(&after, "spec.template.spec.containers").len(), 1);
    assert_eq!(names(&after), ["me Apply"]);
}

#[test]
fn lists_keep_upstreams_order() {
    let container = |name: &str| json!({ "name": name, "image": name });
    let list = |names: &[&str]| {
        let mut object = deployment();
        object["spec"]["template"]["spec"]["containers"] = names.iter().map(|n| container(n)).collect();
        object
    };
    let order = |live: &[&str], applied: &[&str]| -> Vec<String> {
        let live = write(list(live), None, &writer("x", 0));
        let object = apply_as(&live, &list(applied), &writer("me", 1), true).unwrap();
        let containers = document::get_list(&object, "spec.template.spec.containers");
        containers.iter().map(|c| document::get_str(c, "name").to_owned()).collect()
    };
    assert_eq!(order(&["a", "b", "c"], &["c", "a"]), ["b", "c", "a"]);
    assert_eq!(order(&["a", "b", "c"], &["d"]), ["a", "b", "c", "d"]);
    assert_eq!(order(&["a", "b", "c"], &["a", "x", "c"]), ["a", "b", "x", "c"]);
    assert_eq!(order(&["a", "b"], &["b", "a"]), ["b", "a"]);
}

#[test]
fn client_side_apply_is_taken_over() {
    let last = deployment().to_string();
    let csa =
        with(deployment(), "metadata.annotations", json!({ "kubectl.kubernetes.io/last-applied-configuration": last }));
    let live = write(csa, None, &writer("kubectl-client-side-apply", 0));
    let wanted = with(deployment(), "spec.replicas", json!(7));
    let object = apply_as(&live, &wanted, &writer("kubectl", 1), false).unwrap();
    assert_eq!(object["spec"]["replicas"], 7);
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    assert_eq!(document::annotation(&object, annotation), Some(&*format!("{wanted}\n")));
    // Not for other managers, and not for what changed since.
    assert_eq!(apply_as(&live, &wanted, &writer("argo", 1), false).unwrap_err().causes.len(), 1);
    let live = write(with(live.clone(), "spec.replicas", json!(4)), Some(&live), &writer("hpa", 2));
    let failure = apply_as(&live, &wanted, &writer("kubectl", 3), false).unwrap_err();
    assert_eq!(failure.message, "Apply failed with 1 conflict: conflict with \"hpa\" using apps/v1: .spec.replicas");
}

#[test]
fn only_what_kubectl_applied_and_nobody_changed_is_taken_over() {
    let object = |label: Value, replicas: i32, app: &str, image: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d", "labels": label },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": app } }, "template": {
                "metadata": { "labels": { "app": app } },
                "spec": { "containers": [{ "name": "c", "image": image }] },
            } },
        })
    };
    let mut last = object(Value::Null, 3, "a", "v1");
    document::remove(&mut last, "metadata.labels");
    let containers = last["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({ "name": "c2", "image": "v2" }));
    let annotation = json!({ "kubectl.kubernetes.io/last-applied-configuration": last.to_string() });
    let live = with(object(json!({ "app": "a" }), 100, "a", "v2"), "metadata.annotations", annotation);
    let wanted = object(json!({ "app": "new" }), 333, "new", "new");
    let live = with(live, "metadata.uid", json!("u"));
    let failure = apply_as(&live, &wanted, &writer("kubectl", 0), false).unwrap_err();
    let fields: Vec<&str> = failure.causes.iter().map(|c| &*c.field).collect();
    let expected = [".metadata.labels.app", ".spec.replicas", ".spec.template.spec.containers[name=\"c\"].image"];
    assert_eq!(fields, expected);
}

#[test]
fn a_field_that_was_taken_over_is_not_removed() {
    let mine = apply_as(&json!({}), &deployment(), &writer("me", 0), false).unwrap();
    let scaled = write(with(mine.clone(), "spec.replicas", json!(8)), Some(&mine), &writer("hpa", 1));
    let mut without = deployment();
    document::remove(&mut without, "spec.replicas");
    let object = apply_as(&scaled, &without, &writer("me", 2), false).unwrap();
    assert_eq!(object["spec"]["replicas"], 8);
    assert_eq!(object, scaled);
}

#[test]
fn untracked_fields_belong_to_before_first_apply() {
    let mut live = write(deployment(), None, &writer("kubectl", 0));
    document::remove(&mut live, "metadata.managedFields");
    let failure = apply_as(&live, &with(deployment(), "spec.replicas", json!(1)), &writer("me", 1), false).unwrap_err();
    assert_eq!(
        failure.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
    let object = apply_as(&live, &deployment(), &writer("me", 1), false).unwrap();
    assert_eq!(names(&object), ["me Apply", "before-first-apply Update"]);
}

#[test]
fn a_key_that_is_always_written_need_not_be_given() {
    let applied = with(deployment(), "spec.template.spec.containers", json!([{ "image": "a" }]));
    let object = apply_as(&json!({}), &applied, &writer("me", 0), false).unwrap();
    let owned = &object["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"];
    assert_eq!(owned["f:containers"], json!({ "k:{\"name\":\"\"}": { ".": {}, "f:image": {} } }));
}

#[test]
fn entries_of_versions_that_a_kind_does_not_have_are_dropped() {
    let mut live = apply_as(&json!({}), &deployment(), &writer("me", 0), false).unwrap();
    let entry = |version: &str| {
        json!({ "manager": version, "operation": "Update", "apiVersion": version,
        "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:paused": {} } } })
    };
    live["metadata"]["managedFields"] = ["v1", "apps/v9", "apps/v1beta2", "apps/v1"].map(entry).into();
    let object = apply_as(&live, &deployment(), &writer("me", 1), true).unwrap();
    assert_eq!(names(&object), ["me Apply", "apps/v1 Update"]);
}

#[test]
fn a_patch_that_does_not_fit_is_refused() {
    let refuse = |applied: Value| {
        let failure = apply_as(&json!({}), &applied, &writer("me", 0), false).unwrap_err();
        (failure.code, failure.message.clone())
    };
    let prefix = "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): ";
    for (path, value, why) in [
        ("spec.foo", json!(1), ".spec.foo: field not declared in schema"),
        ("spec.replicas", json!("3"), ".spec.replicas: expected numeric (int or float), got string"),
        ("spec.template", json!("x"), ".spec.template: expected map, got &{x}"),
        (
            "spec.template.spec.containers",
            json!([{ "name": "a" }, { "name": "a" }]),
            ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]",
        ),
    ] {
        assert_eq!(refuse(with(deployment(), path, value)), (500, format!("{prefix}{why}")));
    }
    let nil = "metadata.managedFields must be nil".to_owned();
    assert_eq!(refuse(with(deployment(), "metadata.managedFields", json!([]))), (400, nil));
    let kind = "invalid object type: /v1, Kind=Deployment".to_owned();
    assert_eq!(refuse(with(deployment(), "apiVersion", json!("v1"))), (400, kind));
}

#[test]
fn old_updaters_become_ancient() {
    let mut object = write(deployment(), None, &writer("first", 0));
    for i in 1..15 {
        let name = format!("m{i:02}");
        let next = with(object.clone(), &format!("metadata.labels.l{i:02}"), json!("x"));
        object = write(next, Some(&object), &writer(&name, i));
    }
    let list = names(&object);
    assert_eq!(list.len(), 10);
    assert_eq!((&*list[0], &*list[9]), ("ancient-changes Update", "m14 Update"));
    assert_eq!(entries(&object)[0].3, "2023-11-14T22:13:25Z");
    assert!(entries(&object)[0].4["f:metadata"]["f:labels"].get("f:l05").is_some());
}

#[test]
fn times_alone_are_no_change() {
    let old = write(deployment(), None, &writer("kubectl", 0));
    let mut new = old.clone();
    new["metadata"]["managedFields"][0]["time"] = json!("2030-01-01T00:00:00Z");
    let mut other = with(new.clone(), "spec.replicas", json!(1));
    keep_times(&mut new, &old);
    assert_eq!(new, old);
    keep_times(&mut other, &old);
    assert_eq!(other["metadata"]["managedFields"][0]["time"], "2030-01-01T00:00:00Z");
}

#[test]
fn sets_are_owned_item_by_item() {
    let pod = |finalizers: Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "p", "finalizers": finalizers }, "spec": { "containers": [] },
        })
    };
    let writer = |manager| Writer { manager, api_version: "v1", subresource: "", now: at(0) };
    let apply = |live: &Value, applied: Value, manager| {
        apply(live, &applied, ty("", "v1", "Pod"), &writer(manager), false, &STATUS).unwrap()
    };
    let object = apply(&json!({}), pod(json!(["a/a", "b/b"])), "me");
    let object = apply(&object, pod(json!(["c/c"])), "you");
    assert_eq!(object["metadata"]["finalizers"], json!(["a/a", "b/b", "c/c"]));
    assert_eq!(entries(&object)[1].4, json!({ "f:metadata": { "f:finalizers": { "v:\"c/c\"": {} } } }));
    let object = apply(&object, pod(json!(["b/b"])), "me");
    assert_eq!(object["metadata"]["finalizers"], json!(["b/b", "c/c"]));
}

#[test]
fn a_selector_is_owned_as_a_whole() {
    // An entry from before the selector was atomic is brought in line.
    let mut old = write(deployment(), None, &writer("kubectl", 0));
    old["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:selector"] =
        json!({ "f:matchLabels": { ".": {}, "f:app": {} } });
    let new = write(with(old.clone(), "spec.replicas", json!(1)), Some(&old), &writer("kubectl", 1));
    assert_eq!(entries(&new)[0].4["f:spec"]["f:selector"], json!({}));
    let mut wanted = deployment();
    wanted["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    let failure = apply_as(&new, &wanted, &writer("me", 2), false).unwrap_err();
    assert!(failure.causes.iter().any(|c| c.field == ".spec.selector"));
}

#[test]
fn duplicates_of_a_key_are_owned_together() {
    let env = |items: Value| {
        let mut object = deployment();
        object["spec"]["template"]["spec"]["containers"] = json!([{ "name": "a", "env": items }]);
        object
    };
    let doubled = env(json!([{ "name": "X", "value": "1" }, { "name": "X", "value": "2" }]));
    let live = write(doubled, None, &writer("kubectl", 0));
    let path = "/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"a\"}/f:env/k:{\"name\":\"X\"}";
    assert_eq!(entries(&live)[0].4.pointer(path), Some(&json!({})));
    // Applied, the item takes the place of all of them.
    let object = apply_as(&live, &env(json!([{ "name": "X", "value": "3" }])), &writer("me", 1), true).unwrap();
    let env = &object["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(env, &json!([{ "name": "X", "value": "3" }]));
}

#[test]
fn raw_data_is_owned_as_a_whole() {
    let revision = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": { "name": "r" },
        "data": { "spec": { "template": {} } }, "revision": 1,
    });
    let ty = ty("apps", "v1", "ControllerRevision");
    let mut object = revision.clone();
    update(&mut object, None, ty, &writer("kubectl", 0), &ResetFields::None);
    assert_eq!(entries(&object)[0].4, json!({ "f:data": {}, "f:revision": {} }));
}

#[test]
fn resize_owns_resources_only() {
    let reset = reset_fields("", "Pod", "resize", true);
    let fields = json!({ "f:spec": { "f:nodeName": {}, "f:containers": { "k:{\"name\":\"a\"}": {
        ".": {}, "f:image": {}, "f:resources": { "f:limits": { "f:cpu": {} } },
    } } } });
    let mut set = FieldSet::from_value(&fields).unwrap();
    reset.apply(&mut set);
    assert_eq!(
        set.to_json(),
        r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:resources":{"f:limits":{"f:cpu":{}}}}}}}"#
    );
}

#[test]
fn managers_are_named_by_field_manager_or_user_agent() {
    assert_eq!(manager_name("x", "kubectl/1"), "x");
    assert_eq!(manager_name("", "kubectl/v1.36 (linux)"), "kubectl");
    assert_eq!(manager_name("", "a\u{7}b/1"), "ab");
    assert_eq!(manager_name("", &"x".repeat(300)).len(), 128);
}

#[test]
fn an_object_that_does_not_fit_is_not_tracked() {
    let account = ty("", "v1", "ServiceAccount");
    let writer = Writer { manager: "m", api_version: "v1", subresource: "", now: at(0) };
    let with_secrets = |secrets: Value| json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "a", "uid": "u" }, "secrets": secrets });
    let mut tracked = with_secrets(json!([{ "name": "s" }, { "name": "s" }]));
    update(&mut tracked, None, account, &writer, &ResetFields::None);
    assert_eq!(names(&tracked), ["m Update"]);
    let mut keyless = with_secrets(json!([{}]));
    update(&mut keyless, Some(&tracked), account, &writer, &ResetFields::None);
    assert_eq!(names(&keyless), [""; 0]);
    let applied = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "a" } });
    let refused = apply(&keyless, &applied, account, &writer, true, &ResetFields::None).unwrap_err();
    assert_eq!(refused.code, 500);
    assert!(refused.message.starts_with("failed to create manager for existing fields"), "{}", refused.message);
}

#[test]
fn scale_shows_who_owns_replicas() {
    let object = write(deployment(), None, &writer("kubectl", 0));
    let list = scale_managed_fields(&object, &["spec", "replicas"]).unwrap();
    assert_eq!(list[0]["apiVersion"], "autoscaling/v1");
    assert_eq!(list[0]["fieldsV1"], json!({ "f:spec": { "f:replicas": {} } }));
    // A write of the scale takes the replicas from who had them; after one that changes nothing they stand apart, as upstream.
    let scale = |replicas: i32| {
        json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "web", "uid": "u" },
            "spec": { "replicas": replicas }, "status": { "replicas": 0 },
        })
    };
    let old = with(scale(3), "metadata.managedFields", list);
    let scaler = Writer { manager: "hpa", api_version: "autoscaling/v1", subresource: "scale", now: at(1) };
    for (replicas, entry_names) in
        [(3, &["kubectl Update", "kubectl Update"][..]), (4, &["hpa Update", "kubectl Update"][..])]
    {
        let mut new = scale(replicas);
        update(&mut new, Some(&old), ty("autoscaling", "v1", "Scale"), &scaler, &ResetFields::None);
        let list = scaled_managed_fields(&object, &new, "apps/v1", &["spec", "replicas"]).unwrap();
        let parent = with(object.clone(), "metadata.managedFields", list);
        assert_eq!(names(&parent), entry_names);
        let of = if replicas == 4 { "scale" } else { "" };
        assert_eq!((&*entries(&parent)[0].2, &*entries(&parent)[0].3), (of, ""));
        assert_eq!(entries(&parent)[0].4, json!({ "f:spec": { "f:replicas": {} } }));
        assert_eq!(parent["metadata"]["managedFields"][0]["apiVersion"], "apps/v1");
        assert_eq!(entries(&parent)[1].4["f:spec"].get("f:replicas"), None);
    }
}

#[test]
fn upstreams_encoding_and_order() {
    let text = concat!(
        r#"{"f:a":{},"f:b":{".":{},"f:c":{}},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:x":{}},"#,
        r#""k:{\"containerPort\":443}":{},"v:1":{},"v:\"a\\u003cb\"":{},"v:true":{},"i:3":{}}"#
    );
    let value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(FieldSet::from_value(&value).unwrap().to_json(), text);
    // Unknown elements are left out; what cannot be read is an error.
    let value = json!({ "x:1": {}, "f:a": {} });
    assert_eq!(FieldSet::from_value(&value).unwrap().to_json(), r#"{"f:a":{}}"#);
    for bad in [json!({ "f": {} }), json!({ "fa": {} }), json!({ "i:x": {} }), json!({ "k:[": {} }), json!([])] {
        assert!(FieldSet::from_value(&bad).is_err());
    }
}
