//! Protobuf in both directions: every answer is the JSON answer in another form.

use crate::client::{Answer, Client, version};
use crate::{Space, config_map, deployment, pod};
use api::codec::protobuf::{encode_any, write_event};
use api::kinds::KINDS;
use http::Method;
use serde_json::{Value, json};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// A namespace in which pods can be created.
async fn space(name: &str) -> Space {
    let space = Space::bare(name).await;
    space.create(&space.core("serviceaccounts"), json!({ "metadata": { "name": "default" } })).await;
    space
}

/// Sends an object (null: none) in protobuf and wants protobuf back.
async fn send(client: &Client, method: Method, path: &str, object: Value) -> Answer {
    let body = if object.is_null() { Vec::new() } else { encode_any(&object).expect("a built-in type") };
    client.send(method, path, &[("content-type", PROTOBUF), ("accept", PROTOBUF)], body).await
}

#[track_caller]
fn is(answer: &Answer, code: u16, object: &Value) {
    assert_eq!((answer.code, answer.media_type()), (code, PROTOBUF), "{}", answer.text);
    assert_eq!(answer.text, String::from_utf8_lossy(&encode_any(object).unwrap()));
    assert_eq!(answer.bytes, encode_any(object).unwrap(), "{object}");
}

#[test]
fn objects_are_written_and_read_in_protobuf() {
    crate::run(async {
        let space = space("protobuf-objects").await;
        let (client, all) = (&space.client, space.core("pods"));
        let one = format!("{all}/a");
        let made = send(client, Method::POST, &all, pod("a")).await;
        let object = client.get(&one).await.ok();
        is(&made, 201, &object);
        is(&send(client, Method::GET, &one, json!(null)).await, 200, &object);
        let mut changed = object.clone();
        changed["metadata"]["labels"] = json!({ "b": "2", "a": "1" });
        let updated = send(client, Method::PUT, &one, changed).await;
        let object = client.get(&one).await.ok();
        assert_eq!(object["metadata"]["labels"]["b"], "2");
        is(&updated, 200, &object);
        let dry_run = send(client, Method::PUT, &format!("{one}?dryRun=All"), object.clone()).await;
        is(&dry_run, 200, &object);
        let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
            "preconditions": { "uid": "other" } });
        let refused = send(client, Method::DELETE, &one, options.clone()).await;
        is(&refused, 409, &client.delete_with(&one, &options).await.is(409));
        let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0 });
        let gone = send(client, Method::DELETE, &one, options).await;
        assert_eq!((gone.code, gone.media_type()), (200, PROTOBUF));
        let missing = send(client, Method::GET, &one, json!(null)).await;
        is(&missing, 404, &client.get(&one).await.is(404));
    });
}

#[test]
fn a_deletion_is_told_as_a_status() {
    crate::run(async {
        let space = Space::bare("protobuf-delete").await;
        let all = space.core("configmaps");
        let made = space.create(&all, config_map("a", json!({ "k": "v" }))).await;
        let gone = send(&space.client, Method::DELETE, &format!("{all}/a"), json!(null)).await;
        let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": { "name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"] } });
        is(&gone, 200, &status);
    });
}

#[test]
fn subresources_and_reviews_speak_protobuf() {
    crate::run(async {
        let space = space("protobuf-parts").await;
        let client = &space.client;
        space.create(&space.group("apps", "deployments"), deployment("web", 2)).await;
        let scale = space.group("apps", "deployments/web/scale");
        let mut object = client.get(&scale).await.ok();
        is(&send(client, Method::GET, &scale, json!(null)).await, 200, &object);
        object["spec"]["replicas"] = json!(3);
        let scaled = send(client, Method::PUT, &scale, object).await;
        is(&scaled, 200, &client.get(&scale).await.ok());

        let review = json!({ "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
            "spec": { "resourceAttributes": { "verb": "get", "resource": "pods" } } });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        is(&send(client, Method::POST, path, review.clone()).await, 201, &client.post(path, &review).await.ok());

        space.create(&space.core("serviceaccounts"), json!({ "metadata": { "name": "s" } })).await;
        let request = json!({ "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {}, "spec": { "expirationSeconds": 600 } });
        let token = send(client, Method::POST, &space.core("serviceaccounts/s/token"), request).await;
        assert_eq!((token.code, token.media_type()), (201, PROTOBUF), "{}", token.text);

        space.create(&space.core("pods"), pod("a")).await;
        let eviction = json!({ "kind": "Eviction", "apiVersion": "policy/v1",
            "metadata": { "name": "a", "namespace": space.name } });
        let evicted = send(client, Method::POST, &space.core("pods/a/eviction"), eviction).await;
        is(
            &evicted,
            201,
            &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 }),
        );
    });
}

#[test]
fn lists_of_every_kind_are_their_json_in_protobuf() {
    crate::run(async {
        let space = space("protobuf-lists").await;
        let client = &space.client;
        for name in ["b", "a"] {
            space.create(&space.core("pods"), pod(name)).await;
            space.create(&space.core("configmaps"), config_map(name, json!({ "k": "v" }))).await;
            space.create(&space.group("apps", "deployments"), deployment(name, 1)).await;
            let target = json!({ "kind": "Deployment", "name": "a", "apiVersion": "apps/v1" });
            let scaler = json!({ "metadata": { "name": name }, "spec": {
                "maxReplicas": 3, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 50 } });
            space.create(&space.group("autoscaling", "horizontalpodautoscalers"), scaler).await;
            let event = json!({ "metadata": { "name": name }, "reason": "r", "message": "m",
                "involvedObject": { "kind": "Pod", "namespace": space.name } });
            space.create(&space.core("events"), event).await;
        }
        for kind in KINDS.iter().filter(|kind| kind.has_verb("list")) {
            let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
            let namespace = if kind.namespaced { format!("namespaces/{}/", space.name) } else { String::new() };
            let path = format!("{root}/{}/{namespace}{}", kind.version, kind.resource);
            let exact = exactly(client, &path).await;
            let json = client.get(&exact).await.ok();
            is(&client.get_as(&exact, PROTOBUF).await, 200, &json);
        }
        let page = exactly(client, &space.core("pods")).await + "&limit=1";
        is(&client.get_as(&page, PROTOBUF).await, 200, &client.get(&page).await.ok());
    });
}

/// The list of `path` as it is now, however often it is asked for: other tests, and controllers, change the cluster meanwhile.
async fn exactly(client: &Client, path: &str) -> String {
    let at = client.get(path).await.ok();
    format!("{path}?resourceVersion={}&resourceVersionMatch=Exact", version(&at))
}

/// Longer than what is kept of a list while its length is taken.
#[test]
fn a_long_list_is_whole() {
    crate::run(async {
        let space = Space::bare("protobuf-long").await;
        let all = space.core("configmaps");
        for name in ["a", "b", "c", "d", "e", "f", "g"] {
            space.create(&all, config_map(name, json!({ "k": name.repeat(900_000) }))).await;
        }
        let list = space.client.get(&all).await.ok();
        assert!(space.client.get_as(&all, PROTOBUF).await.bytes == encode_any(&list).unwrap());
    });
}

#[test]
fn metadata_alone_can_be_had_and_tables_cannot() {
    crate::run(async {
        let space = Space::bare("protobuf-metadata").await;
        let (client, all) = (&space.client, space.core("configmaps"));
        let one = format!("{all}/a");
        space.create(&all, config_map("a", json!({ "k": "v" }))).await;
        let of = |format: &str, kind: &str| format!("{format};as={kind};g=meta.k8s.io;v=v1");
        for (path, kind) in [(&one, "PartialObjectMetadata"), (&all, "PartialObjectMetadataList")] {
            let json = client.get_as(path, &of("application/json", kind)).await.ok();
            assert_eq!(json["kind"], kind);
            let found = client.get_as(path, &of(PROTOBUF, kind)).await;
            is(&found, 200, &json);
        }
        let wrong = "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)";
        client.get_as(&all, &of("application/json", "PartialObjectMetadata")).await.fails(406, "NotAcceptable", wrong);
        let wrong = "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)";
        client.get_as(&one, &of("application/json", "PartialObjectMetadataList")).await.fails(
            406,
            "NotAcceptable",
            wrong,
        );
        let message = "only the following media types are accepted: \
                       application/json, application/yaml, application/vnd.kubernetes.protobuf";
        for path in [&one, &all] {
            client.get_as(path, &of(PROTOBUF, "Table")).await.fails(406, "NotAcceptable", message);
            let table = format!("{},{}", of(PROTOBUF, "Table"), of("application/json", "Table"));
            assert_eq!(client.get_as(path, &table).await.ok()["kind"], "Table");
        }
    });
}

#[test]
fn watches_have_frames_in_protobuf() {
    crate::run(async {
        let space = Space::bare("protobuf-watch").await;
        let (client, all) = (&space.client, space.core("configmaps"));
        space.create(&all, config_map("a", json!({ "k": "v" }))).await;
        let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let mut json = client.watch(&all, query).await;
        let mut frames = client.watch_as(&all, query, WATCH).await;
        let metadata = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
        let mut partial = client.watch_as(&all, query, &metadata).await;
        let mut seen = Vec::new();
        for step in 0..5 {
            match step {
                2 => drop(space.create(&all, config_map("b", json!({}))).await),
                3 => drop(client.patch(&format!("{all}/b"), "merge", &json!({ "data": { "n": "1" } })).await.ok()),
                4 => drop(client.delete(&format!("{all}/b")).await.ok()),
                _ => {}
            }
            let mut event = json.next().await;
            let kind = event["type"].as_str().unwrap().to_owned();
            let frame = frames.next_frame().await;
            if kind == "BOOKMARK" {
                // Its version is the moment's.
                assert!(String::from_utf8_lossy(&frame).contains("k8s.io/initial-events-end"));
                partial.next_frame().await;
                continue;
            }
            let mut expected = Vec::new();
            write_event(&mut expected, &kind, &encode_any(&event["object"]).unwrap());
            assert_eq!(frame, expected);
            event["object"]["kind"] = json!("PartialObjectMetadata");
            event["object"]["apiVersion"] = json!("meta.k8s.io/v1");
            expected.clear();
            write_event(&mut expected, &kind, &encode_any(&event["object"]).unwrap());
            assert_eq!(partial.next_frame().await, expected);
            seen.push(kind);
        }
        assert_eq!(seen, ["ADDED", "ADDED", "MODIFIED", "DELETED"]);
    });
}

#[test]
fn a_watch_says_how_it_is_framed() {
    crate::run(async {
        let space = Space::bare("protobuf-frames").await;
        let watch = format!("{}?watch=1&timeoutSeconds=1", space.core("configmaps"));
        assert_eq!(space.client.get_as(&watch, PROTOBUF).await.media_type(), WATCH);
        assert_eq!(space.client.get_as(&watch, "application/json;stream=watch").await.media_type(), "application/json");
        // The refusal is in YAML, where a long line goes on in the next.
        let message = "only the following media types are accepted: application/json;stream=watch,\n  \
                       application/vnd.kubernetes.protobuf;stream=watch";
        let refused = space.client.get_as(&watch, "application/yaml").await;
        assert!(refused.code == 406 && refused.text.contains(message), "{}", refused.text);
    });
}
