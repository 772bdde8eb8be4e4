//! Server-side apply: who owns which field, conflicts, and what happens to fields that are given up.

use crate::client::version;
use crate::{Space, config_map, deployment};
use http::Method;
use serde_json::{Value, json};

/// Applies as a manager; `options` are further query parameters.
async fn apply(space: &Space, path: &str, manager: &str, options: &str, object: &Value) -> crate::client::Answer {
    let path = format!("{path}?fieldManager={manager}{options}");
    let headers = [("content-type", "application/apply-patch+yaml")];
    space.client.send(Method::PATCH, &path, &headers, object.to_string()).await
}

fn applied(data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": data })
}

/// The entry of a manager.
fn entry<'a>(object: &'a Value, manager: &str) -> Option<&'a Value> {
    object["metadata"]["managedFields"].as_array()?.iter().find(|entry| entry["manager"] == manager)
}

#[test]
fn apply_creates_merges_and_takes_back() {
    crate::run(async {
        let space = Space::bare("apply-merge").await;
        let path = space.core("configmaps/a");
        let created = apply(&space, &path, "one", "", &applied(json!({ "x": "1", "y": "1" }))).await.is(201);
        let owned = &entry(&created, "one").expect("an entry")["fieldsV1"]["f:data"];
        assert_eq!(owned, &json!({ "f:x": {}, "f:y": {} }));
        let both = apply(&space, &path, "two", "", &applied(json!({ "z": "2" }))).await.is(200);
        assert_eq!(both["data"], json!({ "x": "1", "y": "1", "z": "2" }));
        let less = apply(&space, &path, "one", "", &applied(json!({ "x": "1" }))).await.is(200);
        assert_eq!(less["data"], json!({ "x": "1", "z": "2" }), "y was given up, z is another's");
        let again = apply(&space, &path, "one", "", &applied(json!({ "x": "1" }))).await.is(200);
        assert_eq!(version(&again), version(&less), "nothing changed, so nothing was written");
    });
}

#[test]
fn a_conflict_names_the_other_manager_and_can_be_forced() {
    crate::run(async {
        let space = Space::bare("apply-conflict").await;
        let path = space.core("configmaps/a");
        apply(&space, &path, "one", "", &applied(json!({ "x": "1" }))).await.is(201);
        let refused = apply(&space, &path, "two", "", &applied(json!({ "x": "2" }))).await;
        let message = "Apply failed with 1 conflict: conflict with \"one\": .data.x";
        let status = refused.fails(409, "Conflict", message);
        assert_eq!(
            status["details"]["causes"],
            json!([{ "reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.x" }])
        );
        let forced = apply(&space, &path, "two", "&force=true", &applied(json!({ "x": "2" }))).await.is(200);
        assert_eq!(forced["data"]["x"], "2");
        assert!(entry(&forced, "one").is_none_or(|e| e["fieldsV1"].get("f:data").is_none()), "{forced}");
    });
}

#[test]
fn other_writes_are_noted_too() {
    crate::run(async {
        let space = Space::bare("apply-others").await;
        let all = space.core("configmaps?fieldManager=maker");
        let created = space.client.post(&all, &config_map("a", json!({ "x": "1" }))).await.is(201);
        let maker = entry(&created, "maker").expect("an entry");
        assert_eq!((&maker["operation"], &maker["fieldsV1"]["f:data"]["f:x"]), (&json!("Update"), &json!({})));
        let one = space.core("configmaps/a");
        let patched =
            space.client.patch(&format!("{one}?fieldManager=patcher"), "merge", &json!({ "data": { "y": "1" } })).await;
        assert!(entry(&patched.is(200), "patcher").is_some());
        let path = space.group("apps", "deployments");
        space.create(&path, deployment("web", 1)).await;
        let status = json!({ "status": { "observedGeneration": 1 } });
        let patch = format!("{path}/web/status?fieldManager=controller");
        let written = space.client.patch(&patch, "merge", &status).await.is(200);
        let controller = entry(&written, "controller").expect("an entry");
        assert_eq!(controller["subresource"], "status");
    });
}

#[test]
fn what_apply_needs_is_said() {
    crate::run(async {
        let space = Space::bare("apply-options").await;
        let path = space.core("configmaps/a");
        let nobody = apply(&space, &path, "", "", &applied(json!({}))).await;
        nobody.fails_with(422, "fieldManager: Required value: is required for apply patch");
        let forced = space.client.patch(&format!("{path}?force=true"), "merge", &json!({})).await;
        forced.fails_with(422, "force: Forbidden: may not be specified for non-apply patch");
        let mut managed = applied(json!({}));
        managed["metadata"]["managedFields"] = json!([]);
        apply(&space, &path, "one", "", &managed).await.fails_with(400, "metadata.managedFields must be nil");
    });
}
