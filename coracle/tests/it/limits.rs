//! Each limit of ARCHITECTURE.md that a client can come to: what is at it is taken, and what is one beyond is refused as the table says.

use crate::client::Answer;
use crate::{Space, config_map};
use http::Method;
use serde_json::{Value, json};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const BODY: usize = 3 << 20;

async fn post_as(space: &Space, media_type: &str, query: &str, body: impl Into<Vec<u8>>) -> Answer {
    let path = space.core("configmaps") + query;
    space.client.send(Method::POST, &path, &[("content-type", media_type)], body).await
}

async fn patch(space: &Space, name: &str, operations: &[Value]) -> Answer {
    let path = format!("{}/{name}", space.core("configmaps"));
    let body = Value::from(operations).to_string();
    space.client.send(Method::PATCH, &path, &[("content-type", JSON_PATCH)], body).await
}

#[test]
fn a_body() {
    crate::run(async {
        let space = Space::bare("limit-body").await;
        let text = config_map("a", json!({ "a": "b" })).to_string();
        let with = |length: usize| text.clone() + &" ".repeat(length - text.len());
        post_as(&space, JSON, "", with(BODY)).await.is(201);
        post_as(&space, JSON, "?dryRun=All", with(BODY + 1)).await.fails_with(413, "limit is 3145728");
    });
}

#[test]
fn nesting() {
    crate::run(async {
        let space = Space::bare("limit-depth").await;
        // The object is a level itself.
        let nested = |levels: usize| {
            let lists = levels - 1;
            format!("{{\"metadata\":{{\"name\":\"a\"}},\"x\":{}{}}}", "[".repeat(lists), "]".repeat(lists))
        };
        for media_type in [JSON, YAML] {
            let query = "?dryRun=All&fieldValidation=Ignore";
            post_as(&space, media_type, query, nested(127)).await.is(201);
            let refused = post_as(&space, media_type, query, nested(128)).await;
            assert_eq!((refused.code, &refused.json()["reason"]), (400, &json!("BadRequest")), "{}", refused.text);
        }
    });
}

#[test]
fn operations_of_a_json_patch() {
    crate::run(async {
        let space = Space::bare("limit-operations").await;
        let data = json!({ "a": "x", "b": "y".repeat(500_000) });
        space.client.post(&space.core("configmaps"), &config_map("a", data)).await.is(201);
        let test = |count: usize| vec![json!({ "op": "test", "path": "/data/a", "value": "x" }); count];
        patch(&space, "a", &test(10_000)).await.is(200);
        patch(&space, "a", &test(10_001)).await.fails_with(413, "10000");
        // Six copies of half a million bytes are within 3 MiB, seven are not; neither is ever stored.
        let copy = |count: usize| -> Vec<Value> {
            let copies = (0..count).map(|_| json!({ "op": "copy", "from": "/data/b", "path": "/data/c" }));
            copies.chain([json!({ "op": "remove", "path": "/data/c" })]).collect()
        };
        patch(&space, "a", &copy(6)).await.is(200);
        patch(&space, "a", &copy(7)).await.is(422);
    });
}

#[test]
fn a_field_managers_name() {
    crate::run(async {
        let space = Space::bare("limit-manager").await;
        let body = config_map("a", json!({})).to_string();
        for (length, code) in [(128, 201), (129, 422)] {
            let query = format!("?dryRun=All&fieldManager={}", "m".repeat(length));
            post_as(&space, JSON, &query, body.clone()).await.is(code);
        }
    });
}

#[test]
fn managers_of_updates() {
    crate::run(async {
        let space = Space::bare("limit-updates").await;
        post_as(&space, JSON, "?fieldManager=m0", config_map("a", json!({ "k0": "v" })).to_string()).await.is(201);
        for n in 1..=10 {
            let path = format!("{}/a?fieldManager=m{n}", space.core("configmaps"));
            let answer = space.client.patch(&path, "merge", &json!({ "data": { format!("k{n}"): "v" } })).await.ok();
            let managers: Vec<&str> = answer["metadata"]["managedFields"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["manager"].as_str().unwrap())
                .collect();
            assert_eq!(managers.len(), (n + 1).min(10), "{managers:?}");
            assert_eq!(managers.contains(&"ancient-changes"), n == 10, "{managers:?}");
        }
    });
}

#[test]
fn annotations_and_data() {
    crate::run(async {
        let space = Space::bare("limit-sizes").await;
        let annotated = |bytes: usize| {
            let mut object = config_map("a", json!({}));
            object["metadata"]["annotations"] = json!({ "a": "x".repeat(bytes - 1) });
            object.to_string()
        };
        post_as(&space, JSON, "?dryRun=All", annotated(256 << 10)).await.is(201);
        post_as(&space, JSON, "?dryRun=All", annotated((256 << 10) + 1))
            .await
            .fails_with(422, "metadata.annotations: Too long: may not be more than 262144 bytes");
    });
}

#[test]
fn a_stored_object() {
    crate::run(async {
        let space = Space::bare("limit-stored").await;
        let all = space.group("apps", "controllerrevisions");
        let revision =
            |bytes: usize| json!({ "metadata": { "name": "a" }, "revision": 1, "data": { "x": "y".repeat(bytes) } });
        // What is stored holds its managed fields too, so a body that is let in may be too large for that.
        space.client.post(&all, &revision(BODY - 2_000)).await.is(201);
        let refused = space.client.put(&format!("{all}/a"), &revision(BODY - 150)).await;
        assert!([413, 422].contains(&refused.code), "{}", refused.text);
        space.client.post(&all, &revision(BODY)).await.fails_with(413, "limit is 3145728");
    });
}

#[test]
fn managed_fields_that_are_sent() {
    crate::run(async {
        let space = Space::bare("limit-sent").await;
        let entry = |n: usize| {
            json!({ "manager": format!("m{n}"), "operation": "Apply", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
                    "fieldsType": "FieldsV1", "fieldsV1": { "f:data": { "f:a": {} } } })
        };
        let path = format!("{}/a", space.core("configmaps"));
        space.client.post(&space.core("configmaps"), &config_map("a", json!({ "a": "b" }))).await.is(201);
        for (count, taken) in [(1_000, true), (1_001, false)] {
            let mut object = config_map("a", json!({ "a": "b" }));
            object["metadata"]["managedFields"] = (0..count).map(entry).collect();
            let answer = space.client.put(&(path.clone() + "?dryRun=All"), &object).await.ok();
            let managers = answer["metadata"]["managedFields"].as_array().unwrap().len();
            assert_eq!(managers > 900, taken, "{count} sent, {managers} kept");
        }
    });
}
