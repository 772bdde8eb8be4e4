//! What clients send that they should not, and what they are told.

use crate::client::{Answer, Client, name};
use crate::{Space, bare, config_map, deployment};
use coracle::{Cluster, StoreKind};
use http::Method;
use serde_json::json;

async fn send_json(space: &Space, path: &str, text: impl Into<Vec<u8>>) -> Answer {
    space.client.send(Method::POST, path, &[("content-type", "application/json")], text).await
}

async fn send_yaml(space: &Space, path: &str, text: impl Into<Vec<u8>>) -> Answer {
    space.client.send(Method::POST, path, &[("content-type", "application/yaml")], text).await
}

#[test]
fn what_is_not_there_is_404() {
    crate::run(async {
        let space = Space::bare("bad-unknown").await;
        let message = "the server could not find the requested resource";
        for path in [
            "/api/v1/things",
            "/api/v2/pods",
            "/apis/apps/v1beta1/deployments",
            "/apis/apps/v1/namespaces/default/deployments/a/unknown",
            "/api/v1/namespaces/default/configmaps/a/status",
        ] {
            space.client.get(path).await.fails(404, "NotFound", message);
        }
        for path in ["/apis/example.com/v1/widgets", "/apis/example.com", "/nowhere", "/healthz/nothing"] {
            let answer = space.client.get(path).await;
            assert_eq!((answer.code, answer.text.as_str()), (404, "404 page not found\n"), "{path}");
            assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        }
        let nowhere = space.client.post("/api/v1/namespaces/nowhere/configmaps", &config_map("a", json!({}))).await;
        nowhere.fails(404, "NotFound", "namespaces \"nowhere\" not found");
        for (method, path) in [
            (Method::POST, "/api/v1/namespaces/default/configmaps/a"),
            (Method::PUT, "/api/v1/namespaces/default/configmaps"),
            (Method::PATCH, "/api/v1/namespaces/default/configmaps"),
            (Method::DELETE, "/api/v1/namespaces"),
            (Method::GET, "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
            (Method::POST, "/api/v1/configmaps"),
        ] {
            let message = "the server does not allow this method on the requested resource";
            let refused = space.client.send(method, path, &[("content-type", "application/json")], "{}").await;
            refused.fails(405, "MethodNotAllowed", message);
        }
    });
}

#[test]
fn json_and_yaml_that_cannot_be_read_are_400_and_say_where() {
    crate::run(async {
        let space = Space::bare("bad-syntax").await;
        let all = space.core("configmaps");
        for text in ["", "{", "{\"kind\": \"ConfigMap\",\n \"data\": }", "[]", "7", "\"text\"", "{} {}", "\u{feff}{"] {
            let refused = send_json(&space, &all, text).await;
            assert_eq!(
                (refused.code, &refused.json()["reason"]),
                (400, &json!("BadRequest")),
                "{text:?}: {}",
                refused.text
            );
        }
        send_json(&space, &all, "{\n \"metadata\": {\n  \"name\": }\n}")
            .await
            .fails_with(400, "invalid character '}' looking for beginning of value");
        // What is no UTF-8 is taken for U+FFFD, which no name has.
        send_json(&space, &all, b"{\"metadata\": {\"name\": \"\xff\xfe\"}}".to_vec())
            .await
            .fails_with(422, "metadata.name");
        send_yaml(&space, &all, "metadata:\n  name: a\n data: [").await.fails_with(400, "yaml: line ");
        for text in ["- a\n- b", "a: b: c", "a: &x [*x]", "a: *nobody", "%"] {
            assert_eq!(send_yaml(&space, &all, text).await.code, 400, "{text:?}");
        }
        let one =
            space.client.send(Method::PUT, &format!("{all}/a"), &[("content-type", "application/json")], "{").await;
        one.is(400);
    });
}

#[test]
fn values_of_the_wrong_type_are_named() {
    crate::run(async {
        let space = Space::bare("bad-types").await;
        let all = space.group("apps", "deployments");
        let mut object = deployment("a", 1);
        object["spec"]["replicas"] = json!("three");
        let message = "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string \
                       into Go struct field DeploymentSpec.spec.replicas of type int32";
        space.client.post(&all, &object).await.fails(400, "BadRequest", message);
        for (path, value) in
            [("/spec/template/spec/containers", json!({})), ("/metadata/labels", json!(["a"])), ("/spec", json!(1))]
        {
            let mut object = deployment("a", 1);
            object["metadata"]["labels"] = json!({});
            *object.pointer_mut(path).unwrap() = value;
            space.client.post(&all, &object).await.fails_with(400, path.rsplit('/').next().unwrap());
        }
        let message = "Deployment in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Deployment) to \
                       (core.ConfigMap): unknown conversion";
        let configs = space.core("configmaps");
        space.client.post(&configs, &deployment("a", 1)).await.fails(400, "BadRequest", message);
        let secret = json!({ "kind": "Secret", "apiVersion": "v1", "metadata": { "name": "a" } });
        space
            .client
            .post(&configs, &secret)
            .await
            .fails_with(400, "Secret in version \"v1\" cannot be handled as a ConfigMap");
        for (number, why) in [
            ("1e400", "number out of range at line 1"),
            ("99999999999999999999", "spec.replicas"),
            ("2147483648", "spec.replicas"),
            ("1.5", "spec.replicas"),
        ] {
            let text = deployment("a", 77).to_string().replace("77", number);
            send_json(&space, &all, text).await.fails_with(400, why);
        }
    });
}

#[test]
fn names_and_fields_that_are_not_valid_are_422_with_causes() {
    crate::run(async {
        let space = Space::bare("bad-fields").await;
        let all = space.core("configmaps");
        for bad in ["A", "a_b", "-a", "a..b", "a/b", "..", "a b", &"x".repeat(254)] {
            let refused = space.client.post(&all, &config_map(bad, json!({}))).await.is(422);
            let cause = &refused["details"]["causes"][0];
            assert_eq!(
                (&cause["field"], &cause["reason"]),
                (&json!("metadata.name"), &json!("FieldValueInvalid")),
                "{bad}"
            );
        }
        let mut object = config_map("a", json!({ "not/a/key": "x" }));
        object["metadata"]["labels"] = json!({ "bad key": "x", "ok": "bad value" });
        let refused = space.client.post(&all, &object).await.is(422);
        let fields: Vec<_> =
            refused["details"]["causes"].as_array().unwrap().iter().map(|c| c["field"].as_str().unwrap()).collect();
        assert_eq!(fields.iter().filter(|field| **field == "metadata.labels").count(), 2);
        assert!(fields.contains(&"data[not/a/key]"), "{fields:?}");
        assert_eq!((&refused["details"]["kind"], &refused["reason"]), (&json!("ConfigMap"), &json!("Invalid")));
        let mut deployment = deployment("a", -1);
        deployment["spec"]["selector"] = json!({ "matchLabels": { "app": "other" } });
        let refused = space.client.post(&space.group("apps", "deployments"), &deployment).await;
        let refused = refused.fails_with(422, "spec.replicas: Invalid value: -1: must be greater than or equal to 0");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("`selector` does not match template `labels`"), "{message}");
        let many = json!({ "metadata": { "name": "a", "annotations": { "x": "y".repeat(300_000) } } });
        space.client.post(&all, &many).await.fails_with(422, "metadata.annotations: Too long");
        space
            .client
            .post(&all, &config_map("a", json!({ "x": "y".repeat(1_100_000) })))
            .await
            .fails_with(422, "Too long");
    });
}

#[test]
fn media_types_that_are_not_spoken_are_415_and_406() {
    crate::run(async {
        let space = Space::bare("bad-media").await;
        let all = space.core("configmaps");
        for media_type in ["text/plain", "application/xml", "application/x-www-form-urlencoded", "json"] {
            let refused = space.client.send(Method::POST, &all, &[("content-type", media_type)], "{}").await;
            assert_eq!(refused.is(415)["reason"], "UnsupportedMediaType");
        }
        space.create(&all, config_map("a", json!({}))).await;
        for media_type in ["application/json", "application/patch+json", ""] {
            let one = format!("{all}/a");
            let refused = space.client.send(Method::PATCH, &one, &[("content-type", media_type)], "{}").await;
            refused.fails(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        }
        for accept in ["text/html", "application/xml", "application/json;as=Table;v=v7;g=meta.k8s.io"] {
            let refused = space.client.get_as(&all, accept).await;
            assert_eq!(refused.is(406)["reason"], "NotAcceptable");
        }
        let message = "406: Not Acceptable\n\nAvailable representations: \
                       application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let refused = space.client.get_as(&format!("{all}/a"), "application/*").await;
        assert_eq!(refused.fails(406, "NotAcceptable", message)["details"], json!({}));
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        space.client.get_as(&all, browser).await.is(200);
    });
}

#[test]
fn bodies_are_bounded() {
    crate::run(async {
        let space = Space::bare("bad-size").await;
        let all = space.core("configmaps");
        let large = config_map("a", json!({ "x": "y".repeat(4 << 20) })).to_string();
        let refused = send_json(&space, &all, large).await.is(413);
        assert_eq!(refused["reason"], "RequestEntityTooLarge");
        for depth in [200, 100_000] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            send_json(&space, &all, format!("{{\"metadata\":{{\"name\":\"a\"}},\"x\":{open}{close}}}")).await.is(400);
            let (open, close) = ("{\"a\":".repeat(depth), "}".repeat(depth));
            send_json(&space, &all, format!("{open}1{close}")).await.is(400);
            send_yaml(&space, &all, format!("x: {}{}", "[".repeat(depth), "]".repeat(depth))).await.is(400);
        }
        space.client.get(&format!("{all}/a")).await.is(404);
    });
}

#[test]
fn bombs_do_not_go_off() {
    crate::run(async {
        let space = Space::bare("bad-bombs").await;
        let all = space.core("configmaps");
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..30 {
            let previous = format!("*a{}", level - 1);
            laughs += &format!("a{level}: &a{level} [{}]\n", vec![previous; 9].join(","));
        }
        send_yaml(&space, &all, laughs).await.is(400);
        space.create(&all, config_map("a", json!({ "x": "y".repeat(100_000) }))).await;
        let mut doubling = Vec::new();
        for step in 0..40 {
            doubling.push(json!({ "op": "copy", "from": "/data", "path": format!("/data/d{step}") }));
        }
        let one = format!("{all}/a");
        let refused = space.client.patch(&one, "json", &json!(doubling)).await;
        assert!((400..500).contains(&refused.code), "{}", refused.text);
        let many = vec![json!({ "op": "test", "path": "/metadata/name", "value": "a" }); 10_001];
        let refused = space.client.patch(&one, "json", &json!(many)).await;
        refused.fails_with(413, "The allowed maximum operations in a JSON patch is 10000, got 10001");
        let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
        for kind in ["json", "merge", "strategic-merge"] {
            let media_type = format!("application/{kind}-patch+json");
            let refused = space.client.send(Method::PATCH, &one, &[("content-type", &media_type)], deep.clone()).await;
            refused.is(400);
        }
        assert_eq!(space.client.get(&one).await.ok()["data"].as_object().map(|data| data.len()), Some(1));
    });
}

#[test]
fn duplicate_keys_are_reported_and_the_last_one_counts() {
    crate::run(async {
        let space = Space::bare("bad-duplicates").await;
        let all = space.core("configmaps");
        let text = r#"{"metadata": {"name": "a", "labels": {"x": "1"}, "labels": {"x": "2"}}}"#;
        let strict = send_json(&space, &format!("{all}?fieldValidation=Strict"), text).await;
        strict.fails_with(400, "strict decoding error: duplicate field \"metadata.labels\"");
        let warned = send_json(&space, &all, text).await;
        assert_eq!(warned.warnings(), ["299 - \"duplicate field \\\"metadata.labels\\\"\""]);
        assert_eq!(warned.ok()["metadata"]["labels"]["x"], "2");
        let warned = send_yaml(&space, &all, "metadata:\n  name: b\ndata:\n  x: a\n  x: b\n").await;
        assert_eq!(warned.warnings(), ["299 - \"line 5: key \\\"x\\\" already set in map\""]);
        assert_eq!(warned.ok()["data"]["x"], "b");
    });
}

#[test]
fn patches_that_make_no_sense_change_nothing() {
    crate::run(async {
        let space = Space::bare("bad-patches").await;
        let one = space.group("apps", "deployments/a");
        let created = space.create(&space.group("apps", "deployments"), deployment("a", 1)).await;
        for (kind, patch, code) in [
            ("merge", json!([1]), 400),
            ("merge", json!({ "spec": { "replicas": "many" } }), 422),
            ("merge", json!({ "metadata": { "name": "b" } }), 400),
            ("merge", json!({ "spec": { "selector": { "matchLabels": { "app": "b" } } } }), 422),
            ("merge", json!({ "spec": null }), 422),
            ("json", json!({}), 400),
            ("json", json!([{ "op": "twist", "path": "/spec" }]), 422),
            ("json", json!([{ "op": "remove", "path": "/spec/nothing" }]), 422),
            ("json", json!([{ "op": "replace", "path": "", "value": [] }]), 422),
            ("json", json!([{ "op": "add", "path": "/spec/template/spec/containers/99", "value": {} }]), 422),
            ("json", json!([{ "op": "remove", "path": "/metadata" }]), 400),
            (
                "strategic-merge",
                json!({ "spec": { "template": { "spec": { "containers": [{ "image": "x" }] } } } }),
                500,
            ),
            ("strategic-merge", json!({ "metadata": { "labels": { "a b": "c" } } }), 422),
        ] {
            let refused = space.client.patch(&one, kind, &patch).await;
            assert_eq!(refused.code, code, "{kind} {patch}: {}", refused.text);
            assert_eq!(refused.json()["kind"], "Status");
        }
        assert_eq!(space.client.get(&one).await.ok(), created);
        space.client.patch(&space.group("apps", "deployments/b"), "merge", &json!({})).await.is(404);
    });
}

#[test]
fn parameters_that_make_no_sense_are_refused() {
    crate::run(async {
        let space = Space::bare("bad-parameters").await;
        let all = space.core("configmaps");
        for query in ["limit=many", "timeoutSeconds=soon", "resourceVersion=-1", "timeout=later", "labelSelector=a%20b"]
        {
            space.client.get(&format!("{all}?{query}")).await.is(400);
        }
        space.client.delete(&format!("{all}/a?gracePeriodSeconds=x")).await.is(400);
        space.client.delete_with(&format!("{all}/a"), &json!({ "kind": "Pod", "apiVersion": "v1" })).await.is(400);
        let created = space.client.post(&format!("{all}?unknown=parameter"), &config_map("a", json!({}))).await.is(201);
        assert_eq!(name(&created), "a");
    });
}

async fn refusal(start: coracle::ClusterBuilder) -> String {
    match start.start().await {
        Ok(_) => panic!("it started"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn a_start_that_cannot_be_says_why_in_one_line() {
    crate::run(async {
        let running = bare().start().await.unwrap();
        let address = running.address();
        let why = refusal(bare().listen(address.ip(), address.port())).await;
        assert!(why.contains(&format!("cannot listen on {address}")) && !why.contains('\n'), "{why}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let why = refusal(bare().data_dir(file.join("data")).store(StoreKind::embedded())).await;
        assert!(why.contains(file.to_str().unwrap()) && !why.contains('\n'), "{why}");
        let data = dir.path().join("data");
        let first = bare().data_dir(&data).store(StoreKind::embedded()).start().await.unwrap();
        let why = refusal(bare().data_dir(&data).store(StoreKind::embedded())).await;
        assert!(why.contains("lock") || why.contains("in use"), "{why}");
        first.stop().await;
        let mut tokens = bare();
        tokens.options.token_auth_file = Some(dir.path().join("missing.csv"));
        let why = refusal(tokens).await;
        assert!(why.contains("missing.csv") && !why.contains('\n'), "{why}");
    });
}

#[test]
fn a_server_survives_what_is_not_http() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    crate::run(async {
        let cluster: Cluster = bare().start().await.unwrap();
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 4096], b"\x16\x03\x01\xff\xff"] {
            let mut stream = tokio::net::TcpStream::connect(cluster.address()).await.unwrap();
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        let client = Client::https(&cluster, json!({})).await;
        client.get("/version").await.is(200);
    });
}
