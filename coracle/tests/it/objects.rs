//! The verbs on one object, whatever its kind.

use crate::client::{name, names, version};
use crate::{Space, config_map, deployment, pod};
use http::Method;
use serde_json::{Value, json};

#[test]
fn an_object_is_created_read_replaced_and_deleted() {
    crate::run(async {
        let space = Space::bare("objects-crud").await;
        let kinds = [
            (space.core("configmaps"), config_map("a", json!({ "k": "v" }))),
            (space.core("secrets"), json!({ "metadata": { "name": "a" }, "stringData": { "k": "v" } })),
            (space.core("serviceaccounts"), json!({ "metadata": { "name": "a" } })),
            (space.group("apps", "deployments"), deployment("a", 1)),
            (space.group("coordination.k8s.io", "leases"), json!({ "metadata": { "name": "a" } })),
            ("/apis/scheduling.k8s.io/v1/priorityclasses".into(), json!({ "metadata": { "name": "a" }, "value": 7 })),
        ];
        for (path, object) in kinds {
            let created = space.client.post(&path, &object).await.is(201);
            let metadata = &created["metadata"];
            assert_eq!(metadata["uid"].as_str().map(str::len), Some(36), "{created}");
            assert!(metadata["creationTimestamp"].as_str().is_some_and(|t| t.len() == 20 && t.ends_with('Z')));
            let one = format!("{path}/a");
            assert_eq!(space.client.get(&one).await.is(200), created);
            let resource = path.rsplit('/').next().unwrap_or_default();
            let again = space.client.post(&path, &object).await.is(409);
            assert_eq!(again["reason"], "AlreadyExists");
            assert_eq!((&again["details"]["name"], &again["details"]["kind"]), (&json!("a"), &json!(resource)));
            let mut changed = created.clone();
            changed["metadata"]["labels"] = json!({ "new": "yes" });
            let updated = space.client.put(&one, &changed).await.is(200);
            assert_eq!(updated["metadata"]["labels"]["new"], "yes");
            assert_ne!(version(&updated), version(&created));
            assert_eq!(updated["metadata"]["uid"], metadata["uid"]);
            space.client.delete(&one).await.is(200);
            let missing = space.client.get(&one).await.is(404);
            assert_eq!(missing["reason"], "NotFound");
            assert!(missing["message"].as_str().is_some_and(|m| m.ends_with(" \"a\" not found")), "{missing}");
        }
    });
}

#[test]
fn the_answers_of_writes_are_upstreams() {
    crate::run(async {
        let space = Space::bare("objects-answers").await;
        let (all, one) = (space.core("configmaps"), space.core("configmaps/a"));
        let created = space.create(&all, config_map("a", json!({}))).await;
        let message = "configmaps \"a\" already exists";
        space.client.post(&all, &config_map("a", json!({}))).await.fails(409, "AlreadyExists", message);
        let elsewhere = json!({ "metadata": { "name": "b", "namespace": "other" } });
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        space.client.post(&all, &elsewhere).await.fails(400, "BadRequest", message);
        let message = "the name of the object (b) does not match the name on the URL (a)";
        space.client.put(&one, &config_map("b", json!({}))).await.fails(400, "BadRequest", message);
        let message = "configmaps \"b\" not found";
        let status = space.client.put(&space.core("configmaps/b"), &config_map("b", json!({}))).await;
        status.fails(404, "NotFound", message);
        let deleted = space.client.delete(&one).await.is(200);
        let expected = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": { "name": "a", "kind": "configmaps", "uid": created["metadata"]["uid"] },
        });
        assert_eq!(drop_empty_group(deleted), expected);
    });
}

fn drop_empty_group(mut status: Value) -> Value {
    if let Some(details) = status["details"].as_object_mut() {
        assert!(details.remove("group").is_none_or(|group| group == ""));
    }
    status
}

#[test]
fn names_are_generated_when_only_a_prefix_is_given() {
    crate::run(async {
        let space = Space::bare("objects-generate").await;
        let prefix = json!({ "metadata": { "generateName": "web-" } });
        let first = space.create(&space.core("configmaps"), prefix.clone()).await;
        let second = space.create(&space.core("configmaps"), prefix).await;
        assert!(name(&first).starts_with("web-") && name(&first).len() == 9, "{first}");
        assert_ne!(name(&first), name(&second));
        let none = space.client.post(&space.core("configmaps"), &json!({ "metadata": {} })).await;
        none.fails_with(422, "metadata.name: Required value: name or generateName is required");
    });
}

#[test]
fn a_stale_writer_gets_a_conflict_and_a_blind_one_wins() {
    crate::run(async {
        let space = Space::bare("objects-conflict").await;
        let one = space.core("configmaps/a");
        let mut first = space.create(&space.core("configmaps"), config_map("a", json!({ "n": "0" }))).await;
        let mut blind = config_map("a", json!({ "n": "1" }));
        space.client.put(&one, &blind).await.is(200);
        first["data"]["n"] = json!("2");
        let message = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; \
                       please apply your changes to the latest version and try again";
        space.client.put(&one, &first).await.fails(409, "Conflict", message);
        let stale = json!({ "metadata": { "resourceVersion": version(&first) }, "data": { "n": "3" } });
        space.client.patch(&one, "merge", &stale).await.fails(409, "Conflict", message);
        blind["metadata"]["uid"] = json!("not-this-one");
        space.client.put(&one, &blind).await.fails_with(409, "Precondition failed: UID in precondition: not-this-one");
        assert_eq!(space.client.get(&one).await.ok()["data"]["n"], "1");
    });
}

#[test]
fn a_write_that_changes_nothing_keeps_the_resource_version() {
    crate::run(async {
        let space = Space::bare("objects-noop").await;
        let one = space.group("apps", "deployments/a");
        let created = space.create(&space.group("apps", "deployments"), deployment("a", 2)).await;
        let put = space.client.put(&one, &deployment("a", 2)).await.ok();
        let patch = json!({ "spec": { "replicas": 2 } });
        for same in [put, space.client.patch(&one, "merge", &patch).await.ok()] {
            assert_eq!(same, created);
        }
    });
}

#[test]
fn generation_counts_changes_of_the_specification_only() {
    crate::run(async {
        let space = Space::bare("objects-generation").await;
        let one = space.group("apps", "deployments/a");
        let created = space.create(&space.group("apps", "deployments"), deployment("a", 1)).await;
        assert_eq!(created["metadata"]["generation"], 1);
        for (patch, generation) in [
            (json!({ "metadata": { "labels": { "x": "y" } } }), 1),
            (json!({ "spec": { "replicas": 5 } }), 2),
            (json!({ "status": { "replicas": 9 } }), 2),
            (json!({ "metadata": { "generation": 77, "uid": null, "creationTimestamp": null } }), 2),
        ] {
            let after = space.client.patch(&one, "merge", &patch).await.ok();
            assert_eq!(after["metadata"]["generation"], generation, "{patch}");
            assert_eq!(after["metadata"]["uid"], created["metadata"]["uid"]);
        }
    });
}

#[test]
fn the_three_kinds_of_patch_do_what_each_is_for() {
    crate::run(async {
        let space = Space::bare("objects-patch").await;
        let one = space.group("apps", "deployments/a");
        space.create(&space.group("apps", "deployments"), deployment("a", 1)).await;
        let containers = |object: &Value| {
            let list = object["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
            list.iter().map(|c| format!("{}={}", c["name"], c["image"]).replace('"', "")).collect::<Vec<_>>().join(",")
        };
        let of = |containers: Value| json!({ "spec": { "template": { "spec": { "containers": containers } } } });
        let side = of(json!([{ "name": "side", "image": "envoy" }]));
        let merged = space.client.patch(&one, "strategic-merge", &side).await.ok();
        assert_eq!(containers(&merged), "side=envoy,main=nginx:1.0");
        let newer = of(json!([{ "name": "main", "image": "nginx:2.0" }, { "name": "side", "$patch": "delete" }]));
        assert_eq!(containers(&space.client.patch(&one, "strategic-merge", &newer).await.ok()), "main=nginx:2.0");
        let replaced = space.client.patch(&one, "merge", &side).await.ok();
        assert_eq!(containers(&replaced), "side=envoy");
        let operations = json!([
            { "op": "test", "path": "/spec/replicas", "value": 1 },
            { "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "envoy:2" },
            { "op": "add", "path": "/metadata/labels", "value": { "a~b": "c" } },
        ]);
        space.client.patch(&one, "json", &operations).await.fails_with(422, "metadata.labels");
        let operations = json!([operations[0], operations[1]]);
        assert_eq!(containers(&space.client.patch(&one, "json", &operations).await.ok()), "side=envoy:2");
        let wrong = json!([{ "op": "test", "path": "/spec/replicas", "value": 2 }]);
        assert_eq!(space.client.patch(&one, "json", &wrong).await.is(422)["reason"], "Invalid");
    });
}

#[test]
fn finalizers_keep_an_object_until_the_last_is_gone() {
    crate::run(async {
        let space = Space::bare("objects-finalizers").await;
        let one = space.core("configmaps/a");
        let mut object = config_map("a", json!({ "n": "0" }));
        object["metadata"]["finalizers"] = json!(["example.com/one", "example.com/two"]);
        space.create(&space.core("configmaps"), object).await;
        let marked = space.client.delete(&one).await.is(200);
        assert_eq!(marked["kind"], "ConfigMap");
        assert!(marked["metadata"]["deletionTimestamp"].is_string());
        assert_eq!(space.client.delete(&one).await.ok()["metadata"], marked["metadata"]);
        let more = json!({ "metadata": { "finalizers": ["example.com/one", "example.com/two", "example.com/new"] } });
        let refused = space.client.patch(&one, "merge", &more).await;
        refused.fails_with(422, "metadata.finalizers: Forbidden: no new finalizers can be added");
        let fewer = json!({ "metadata": { "finalizers": ["example.com/two"] }, "data": { "n": "1" } });
        assert_eq!(space.client.patch(&one, "merge", &fewer).await.ok()["data"]["n"], "1");
        space.client.patch(&one, "merge", &json!({ "metadata": { "finalizers": null } })).await.is(200);
        space.client.get(&one).await.is(404);
    });
}

#[test]
fn a_pod_on_a_node_is_deleted_gracefully_and_one_without_at_once() {
    crate::run(async {
        let space = Space::bare("objects-graceful").await;
        space.create(&space.core("serviceaccounts"), json!({ "metadata": { "name": "default" } })).await;
        space.create(&space.core("pods"), pod("unbound")).await;
        assert_eq!(name(&space.client.delete(&space.core("pods/unbound")).await.is(200)), "unbound");
        space.client.get(&space.core("pods/unbound")).await.is(404);
        let one = space.core("pods/bound");
        let mut bound = pod("bound");
        bound["spec"]["nodeName"] = json!("somewhere");
        space.create(&space.core("pods"), bound).await;
        let marked = space.client.delete(&one).await.is(200);
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
        let shorter = space.client.delete_with(&one, &json!({ "gracePeriodSeconds": 5 })).await.ok();
        assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
        let longer = space.client.delete_with(&one, &json!({ "gracePeriodSeconds": 60 })).await.ok();
        assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 5);
        space.client.delete_with(&one, &json!({ "gracePeriodSeconds": 0 })).await.ok();
        space.client.get(&one).await.is(404);
    });
}

#[test]
fn preconditions_and_policies_of_a_deletion_are_kept() {
    crate::run(async {
        let space = Space::bare("objects-deletion").await;
        let (all, one) = (space.core("configmaps"), space.core("configmaps/a"));
        let created = space.create(&all, config_map("a", json!({}))).await;
        let wrong = json!({ "preconditions": { "uid": "other" } });
        let refused = space.client.delete_with(&one, &wrong).await;
        refused.fails_with(409, "the UID in the precondition (other) does not match the UID in record (");
        let wrong = json!({ "preconditions": { "resourceVersion": "1" } });
        let refused = space.client.delete_with(&one, &wrong).await;
        refused.fails_with(409, "the ResourceVersion in the precondition (1) does not match");
        let unknown = json!({ "propagationPolicy": "Sideways" });
        space.client.delete_with(&one, &unknown).await.fails_with(422, "propagationPolicy: Unsupported value");
        let both = json!({ "propagationPolicy": "Orphan", "orphanDependents": true });
        space.client.delete_with(&one, &both).await.is(422);
        let right = json!({ "preconditions": {
            "uid": created["metadata"]["uid"], "resourceVersion": version(&created) } });
        space.client.delete_with(&one, &right).await.is(200);
        for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
            space.create(&all, config_map("b", json!({}))).await;
            let path = space.core(&format!("configmaps/b?propagationPolicy={policy}"));
            let marked = space.client.delete(&path).await.is(200);
            assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
            let none = json!({ "metadata": { "finalizers": [] } });
            space.client.patch(&space.core("configmaps/b"), "merge", &none).await.ok();
        }
    });
}

#[test]
fn a_collection_is_deleted_by_selector() {
    crate::run(async {
        let space = Space::bare("objects-collection").await;
        let all = space.core("configmaps");
        for (name, tier) in [("a", "web"), ("b", "db"), ("c", "web")] {
            let mut object = config_map(name, json!({}));
            object["metadata"]["labels"] = json!({ "tier": tier });
            space.create(&all, object).await;
        }
        let dry = space.client.delete(&format!("{all}?labelSelector=tier%3Dweb&dryRun=All")).await.is(200);
        assert_eq!(names(&dry), ["a", "c"]);
        let gone = space.client.delete(&format!("{all}?labelSelector=tier%3Dweb")).await.is(200);
        assert_eq!((gone["kind"].as_str(), names(&gone)), (Some("ConfigMapList"), vec!["a", "c"]));
        assert_eq!(names(&space.client.get(&all).await.ok()), ["b"]);
    });
}

#[test]
fn a_dry_run_answers_as_the_write_would_and_writes_nothing() {
    crate::run(async {
        let space = Space::bare("objects-dry").await;
        let (all, one) = (space.core("configmaps"), space.core("configmaps/a"));
        let dry = space.client.post(&format!("{all}?dryRun=All"), &config_map("a", json!({}))).await.is(201);
        assert!(dry["metadata"]["uid"].is_string() && dry["metadata"].get("resourceVersion").is_none(), "{dry}");
        space.client.get(&one).await.is(404);
        let created = space.create(&all, config_map("a", json!({ "n": "0" }))).await;
        space.client.post(&format!("{all}?dryRun=All"), &config_map("a", json!({}))).await.is(409);
        let changed = config_map("a", json!({ "n": "1" }));
        assert_eq!(space.client.put(&format!("{one}?dryRun=All"), &changed).await.ok()["data"]["n"], "1");
        let patch = json!({ "data": { "n": "2" } });
        let patched = space.client.patch(&format!("{one}?dryRun=All"), "merge", &patch).await.ok();
        assert_eq!(patched["data"]["n"], "2");
        space.client.delete(&format!("{one}?dryRun=All")).await.is(200);
        space.client.delete_with(&one, &json!({ "dryRun": ["All"] })).await.is(200);
        assert_eq!(space.client.get(&one).await.ok(), created);
        let other = space.client.post(&format!("{all}?dryRun=Some"), &config_map("b", json!({}))).await;
        other.fails_with(422, "dryRun: Unsupported value");
    });
}

#[test]
fn status_and_specification_are_written_apart() {
    crate::run(async {
        let space = Space::bare("objects-status").await;
        let one = space.group("apps", "deployments/a");
        let mut object = deployment("a", 1);
        object["status"] = json!({ "replicas": 9 });
        let created = space.create(&space.group("apps", "deployments"), object).await;
        assert!(created["status"].get("replicas").is_none(), "{created}");
        let both = json!({ "spec": { "replicas": 4 }, "status": { "replicas": 3, "observedGeneration": 1 } });
        let main = space.client.patch(&one, "merge", &both).await.ok();
        assert_eq!((&main["spec"]["replicas"], main["status"].get("replicas")), (&json!(4), None));
        let both = json!({ "spec": { "replicas": 7 }, "status": { "replicas": 3, "observedGeneration": 1 } });
        let status = space.client.patch(&format!("{one}/status"), "merge", &both).await.ok();
        assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(4), &json!(3)));
        assert_eq!(space.client.get(&format!("{one}/status")).await.ok(), space.client.get(&one).await.ok());
        let replaced = space.client.put(&one, &deployment("a", 5)).await.ok();
        assert_eq!(replaced["status"]["replicas"], 3);
    });
}

#[test]
fn scale_reads_and_writes_replicas() {
    crate::run(async {
        let space = Space::bare("objects-scale").await;
        let one = space.group("apps", "deployments/a");
        let scale = format!("{one}/scale");
        space.create(&space.group("apps", "deployments"), deployment("a", 2)).await;
        let mut read = space.client.get(&scale).await.ok();
        assert_eq!((&read["kind"], &read["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
        assert_eq!((&read["spec"]["replicas"], &read["status"]["selector"]), (&json!(2), &json!("app=a")));
        read["spec"]["replicas"] = json!(6);
        assert_eq!(space.client.put(&scale, &read).await.ok()["spec"]["replicas"], 6);
        space.client.put(&scale, &read).await.is(409);
        let patched = space.client.patch(&scale, "merge", &json!({ "spec": { "replicas": 3 } })).await.ok();
        assert_eq!(patched["spec"]["replicas"], 3);
        let after = space.client.get(&one).await.ok();
        assert_eq!((&after["spec"]["replicas"], &after["metadata"]["generation"]), (&json!(3), &json!(3)));
        space
            .client
            .patch(&scale, "merge", &json!({ "spec": { "replicas": -1 } }))
            .await
            .fails_with(422, "spec.replicas");
    });
}

#[test]
fn unknown_fields_are_refused_reported_or_dropped() {
    crate::run(async {
        let space = Space::bare("objects-fields").await;
        let all = space.group("apps", "deployments");
        let mut object = deployment("a", 1);
        object["spec"]["replica"] = json!(3);
        let refused = space.client.post(&format!("{all}?fieldValidation=Strict"), &object).await;
        let message = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: \
                       unknown field \"spec.replica\"";
        refused.fails(400, "BadRequest", message);
        let warned = space.client.post(&all, &object).await;
        assert_eq!(warned.warnings(), ["299 - \"unknown field \\\"spec.replica\\\"\""]);
        assert!(warned.ok()["spec"].get("replica").is_none());
        let one = space.group("apps", "deployments/a");
        let ignored = space.client.put(&format!("{one}?fieldValidation=Ignore"), &object).await;
        assert!(ignored.warnings().is_empty());
        let patch = json!({ "spec": { "replica": 3 } });
        let refused = space.client.patch(&format!("{one}?fieldValidation=Strict"), "merge", &patch).await;
        refused.fails_with(422, "\": strict decoding error: unknown field \"spec.replica\"");
        let refused = space.client.patch(&format!("{one}?fieldValidation=Strict"), "strategic-merge", &patch).await;
        let message = " \"\" is invalid: patch: Invalid value: \"map[spec:map[replica:3]]\": strict decoding error: \
                       unknown field \"spec.replica\"";
        refused.fails(422, "Invalid", message);
        let headers = [("content-type", "application/merge-patch+json")];
        let twice = r#"{"spec": {"replicas": 1, "replicas": 2}}"#;
        let warned = space.client.send(Method::PATCH, &one, &headers, twice).await;
        assert_eq!(warned.warnings(), ["299 - \"duplicate field \\\"spec.replicas\\\"\""]);
        space.client.post(&format!("{all}?fieldValidation=Loose"), &object).await.fails_with(422, "fieldValidation");
    });
}

#[test]
fn objects_go_in_and_out_as_yaml() {
    crate::run(async {
        let space = Space::bare("objects-yaml").await;
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  port: \"80\"\n  text: |\n    two\n    lines\n";
        let headers = [("content-type", "application/yaml"), ("accept", "application/yaml")];
        let created = space.client.send(Method::POST, &space.core("configmaps"), &headers, text).await;
        assert_eq!((created.code, created.headers["content-type"].to_str().ok()), (201, Some("application/yaml")));
        assert!(
            created.text.contains("kind: ConfigMap\n") && created.text.contains("  port: \"80\"\n"),
            "{}",
            created.text
        );
        let read = space.client.get(&space.core("configmaps/a")).await.ok();
        assert_eq!(read["data"], json!({ "port": "80", "text": "two\nlines\n" }));
    });
}

#[test]
fn a_flow_schema_says_whether_its_priority_level_is_there() {
    crate::run(async {
        let space = Space::bare("dangling").await;
        let of = |resource: &str| format!("/apis/flowcontrol.apiserver.k8s.io/v1/{resource}");
        let dangling = async |name: &str, status: &str, reason: &str| {
            let path = format!("{}/{name}", of("flowschemas"));
            let said = |schema: &Value| {
                let condition = &schema["status"]["conditions"][0];
                condition["type"] == "Dangling" && condition["status"] == status && condition["reason"] == reason
            };
            space.client.until(&path, said).await
        };
        let schema = dangling("catch-all", "False", "Found").await;
        let by_apply = |entry: &Value| entry["operation"] == "Apply" && entry["subresource"] == "status";
        assert!(schema["metadata"]["managedFields"].as_array().unwrap().iter().any(by_apply), "{schema}");
        let schema = json!({ "metadata": { "name": "dangling" },
            "spec": { "priorityLevelConfiguration": { "name": "dangling-level" } } });
        space.client.post(&of("flowschemas"), &schema).await.is(201);
        dangling("dangling", "True", "NotFound").await;
        let level = json!({ "metadata": { "name": "dangling-level" }, "spec": { "type": "Limited", "limited": { "limitResponse": { "type": "Reject" } } } });
        space.client.post(&of("prioritylevelconfigurations"), &level).await.is(201);
        dangling("dangling", "False", "Found").await;
        space.client.delete(&(of("prioritylevelconfigurations") + "/dangling-level")).await.ok();
        dangling("dangling", "True", "NotFound").await;
    });
}

#[test]
fn what_the_server_serves_itself_has_an_api_service() {
    crate::run(async {
        let space = Space::bare("api-services").await;
        let list = space.client.get("/apis/apiregistration.k8s.io/v1/apiservices").await.ok();
        let named = |name: &str| {
            let found = list["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == name);
            found.map(|item| (item["spec"]["groupPriorityMinimum"].clone(), item["status"]["conditions"][0].clone()))
        };
        for (name, priority) in [("v1.", 18000), ("v1.apps", 17800), ("v2.autoscaling", 17500)] {
            let (found, condition) = named(name).unwrap();
            assert_eq!((found, &condition["status"]), (json!(priority), &json!("True")), "{name}");
        }
        assert!(named("v1.apiregistration.k8s.io").is_none());
    });
}
