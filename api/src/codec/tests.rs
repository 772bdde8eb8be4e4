use super::*;
use crate::schema::{Schema, align, default, fill, settle, written};
use serde_json::json;

fn ty(name: &str) -> TypeRef<'static> {
    Schema::builtin().get(&format!("io.k8s.api.{name}")).unwrap()
}

fn pod(text: &str) -> Result<Decoded, DecodeError> {
    json::decode(text.as_bytes(), ty("core.v1.Pod"))
}

const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-0","namespace":"default","labels":{"app":"web","tier":"front"},
 "creationTimestamp":null,"ownerReferences":[{"apiVersion":"apps/v1","kind":"StatefulSet","name":"web","uid":"8d0c","controller":true,"blockOwnerDeletion":true}]},
 "spec":{"containers":[{"name":"c","image":"nginx:1.27","ports":[{"containerPort":80,"protocol":"TCP"}],"env":[{"name":"A","value":"b"},{"name":"N","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}],
 "resources":{"requests":{"cpu":"100m","memory":"0.5Gi"},"limits":{"cpu":1,"memory":"1Gi"}},"volumeMounts":[{"name":"v","mountPath":"/v"}],
 "readinessProbe":{"httpGet":{"path":"/","port":"http"},"periodSeconds":10},"livenessProbe":{"tcpSocket":{"port":80}}}],
 "volumes":[{"name":"v","emptyDir":{}},{"name":"s","secret":{"secretName":"s","defaultMode":420}}],"nodeSelector":{"a":"b"},
 "tolerations":[{"key":"k","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"terminationGracePeriodSeconds":30,"hostNetwork":false,"nodeName":""},
 "status":{}}"#;

#[test]
fn a_pod_is_decoded_as_go_would() {
    let decoded = pod(POD).unwrap();
    assert_eq!(decoded.problems, []);
    let spec = &decoded.value["spec"];
    assert_eq!(spec["containers"][0]["resources"]["requests"], json!({"cpu": "100m", "memory": "512Mi"}));
    assert_eq!(spec["containers"][0]["resources"]["limits"]["cpu"], "1");
    assert_eq!(spec["volumes"][0], json!({"name": "v", "emptyDir": {}}));
    assert_eq!(spec["containers"][0]["readinessProbe"]["httpGet"]["port"], "http");
    // Zero values that Go cannot tell from absent ones are gone, and so are nulls.
    assert!(spec.get("hostNetwork").is_none() && spec.get("nodeName").is_none());
    assert!(decoded.value["metadata"].get("creationTimestamp").is_none());
}

#[test]
fn unknown_and_duplicate_fields_are_reported_with_their_paths() {
    let text = r#"{"spec":{"foo":1,"containers":[{"name":"a","bar":{"x":[1]},"name":"b","env":[{"name":"x","Value":"y"}]}],
        "nodeSelector":{"a":"1","a":"2"}},"Kind":"Pod"}"#;
    let decoded = pod(text).unwrap();
    assert_eq!(
        strict_error(&decoded.problems),
        "strict decoding error: unknown field \"spec.foo\", unknown field \"spec.containers[0].bar\", \
         duplicate field \"spec.containers[0].name\", unknown field \"spec.containers[0].env[0].Value\", \
         duplicate field \"spec.nodeSelector.a\", unknown field \"Kind\""
    );
    let container = json!({"name": "b", "env": [{"name": "x"}]});
    assert_eq!(decoded.value, json!({"spec": {"containers": [container], "nodeSelector": {"a": "2"}}}));
}

#[test]
fn wrong_types_are_told_in_gos_words() {
    let message = |ty_name: &str, text: &str| json::decode(text.as_bytes(), ty(ty_name)).unwrap_err().to_string();
    for (name, text, error) in [
        (
            "apps.v1.Deployment",
            r#"{"spec":{"replicas":"3"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":{"containers":[{"name":"a","env":[{"name":"x","value":5}]}]}}"#,
            "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":[]}"#,
            "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec",
        ),
        (
            "core.v1.Pod",
            r#"{"metadata":{"labels":{"a":true}}}"#,
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":{"containers":{}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":{"priority":99999999999}}"#,
            "json: cannot unmarshal number 99999999999 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":{"priority":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            "core.v1.Pod",
            "[]",
            "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { \
             APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":{"priority":1e3,"restartPolicy":5}}"#,
            "json: cannot unmarshal number 1e3 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":{"restartPolicy":5,"priority":"x"}}"#,
            "json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":{"restartPolicy":5,"containers":[{"livenessProbe":{"httpGet":{"port":true}}}]}}"#,
            "json: cannot unmarshal bool into Go struct field \
             HTTPGetAction.spec.containers.livenessProbe.ProbeHandler.httpGet.port of type int32",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":{"overhead":{"cpu":"x"}}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("core.v1.Secret", r#"{"data":{"a":"a_b"}}"#, "illegal base64 data at input byte 1"),
        (
            "core.v1.Pod",
            r#"{"metadata":{"creationTimestamp":"x"}}"#,
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"",
        ),
    ] {
        assert_eq!(message(name, text), error);
    }
    let error = pod(r#"{"spec":1}"#).unwrap_err().to_status("Pod", "v1", b"{}");
    assert_eq!(
        error.message,
        "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field Pod.spec of type v1.PodSpec"
    );
}

#[test]
fn what_can_be_sent_as_json_can_be_read_and_sent_as_yaml() {
    let nested = |depth: usize| format!("{}{{}}{}", r#"{"not":"#.repeat(depth - 1), "}".repeat(depth - 1));
    let schema =
        Schema::builtin().get("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").unwrap();
    let deepest = json::decode(nested(MAX_DEPTH).as_bytes(), schema).unwrap().value;
    for text in [yaml::encode(&deepest), nested(MAX_DEPTH).replace('"', "").replace(':', ": ")] {
        assert_eq!(yaml::decode(text.as_bytes(), schema).unwrap().value, deepest, "{text}");
    }
    assert!(json::decode(nested(MAX_DEPTH + 1).as_bytes(), schema).is_err());
    let lists = |depth: usize| format!("- {}\n", "- ".repeat(depth - 1));
    assert!(yaml::decode_any(lists(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(yaml::decode_any(lists(MAX_DEPTH + 1).as_bytes()), Err("yaml: exceeded max depth".to_owned()));
}

#[test]
fn what_is_not_json_is_a_syntax_error() {
    let deep = "[".repeat(10_000);
    for text in ["", "{", "{}x", "{\"a\":}", "\u{0}", deep.as_str()] {
        assert!(matches!(pod(text), Err(DecodeError::Syntax(_))), "{text:.20}");
    }
    let nested = format!("{}{{}}{}", r#"{"not":"#.repeat(200), "}".repeat(200));
    let schema =
        Schema::builtin().get("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").unwrap();
    assert!(matches!(json::decode(nested.as_bytes(), schema), Err(DecodeError::Syntax(_))));
    assert!(yaml::decode(deep.as_bytes(), ty("core.v1.Pod")).is_err());
    assert!(json::decode(b"\xff", ty("core.v1.Pod")).is_err());
}

#[test]
fn what_comes_again_is_laid_over_what_was_there() {
    let text = r#"{"metadata":{"name":"a","labels":{"a":"b"}},"spec":{"hostname":"x"},"metadata":{"labels":{"c":"d"}},"spec":null}"#;
    let decoded = pod(text).unwrap();
    let labels = json!({"a": "b", "c": "d"});
    assert_eq!(decoded.value, json!({"metadata": {"name": "a", "labels": labels}, "spec": {"hostname": "x"}}));
}

#[test]
fn an_empty_list_stays_until_it_is_written() {
    let text = r#"{"metadata":{"managedFields":[],"finalizers":[]},"spec":{"containers":[{"name":"a","args":[]}],"volumes":null}}"#;
    let mut sent = pod(text).unwrap().value;
    assert_eq!(sent["metadata"], json!({"managedFields": [], "finalizers": []}));
    let stored = json!({"metadata": {}, "spec": {"containers": [{"name": "a"}]}});
    let mut old = stored.clone();
    align(&mut old, &sent, ty("core.v1.Pod"));
    assert_eq!(old, sent, "compared, they are the same");
    assert_eq!(*written(&sent, ty("core.v1.Pod")), stored);
    settle(&mut sent, ty("core.v1.Pod"));
    assert_eq!(sent, stored);
}

#[test]
fn an_empty_list_is_null_where_it_is_always_written() {
    let role = ty("rbac.v1.ClusterRole");
    let sent = json!({"rules": [], "metadata": {"labels": {}}});
    let mut stored = json!({"rules": null});
    align(&mut stored, &sent, role);
    assert_eq!(stored, json!({"rules": []}));
    let mut settled = sent.clone();
    settle(&mut settled, role);
    assert_eq!(settled, json!({"rules": null, "metadata": {}}));
    assert_eq!(written(&sent, role)["rules"], json!([]));
}

#[test]
fn an_empty_list_below_an_atomic_one_makes_it_another() {
    let ty = ty("core.v1.Endpoints");
    let sent = json!({"subsets": [{"addresses": []}], "metadata": {"finalizers": []}});
    assert_eq!(*written(&sent, ty), json!({"subsets": [{"addresses": []}], "metadata": {}}));
}

#[test]
fn a_tree_is_converted_with_other_sentences() {
    let why = |object: Value| convert(object, ty("core.v1.Pod")).unwrap_err().to_string();
    for (object, sentence) in [
        (json!({"spec": {"priority": "3"}}), "unrecognized type: int32"),
        (json!({"spec": {"priority": 3.5}}), "cannot convert float64 to int32"),
        (json!({"spec": {"hostname": 3}}), "cannot convert int64 to string"),
        (json!({"spec": {"hostname": []}}), "unrecognized type: string"),
        (json!({"spec": []}), "cannot restore struct from: slice"),
        (json!({"spec": {"containers": {}}}), "cannot restore slice from map"),
        (json!({"metadata": {"labels": "x"}}), "cannot restore map from string"),
        (json!({"metadata": {"creationTimestamp": 5}}), "json: cannot unmarshal number into Go value of type string"),
    ] {
        assert_eq!(why(object), sentence);
    }
    let decoded = convert(json!({"b": 1, "a": 1, "spec": {"priority": 4294967297u64}}), ty("core.v1.Pod")).unwrap();
    assert_eq!(decoded.value, json!({"spec": {"priority": 1}}));
    assert_eq!(strict_error(&decoded.problems), "strict decoding error: unknown field \"a\", unknown field \"b\"");
}

#[test]
fn nulls_in_lists_and_maps_become_zero_values() {
    let decoded = pod(r#"{"metadata":{"labels":{"a":null},"annotations":null},"spec":{"containers":[null]}}"#).unwrap();
    assert_eq!(decoded.value, json!({"metadata": {"labels": {"a": ""}}, "spec": {"containers": [{}]}}));
}

#[test]
fn yaml_is_read_with_old_scalars() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {1: \"x\", a: \"2\"}\nspec:\n  hostNetwork: yes\n  \
                priority: 5\n  containers:\n  - &c\n    name: a\n    image: \"1.5\"\n    foo: 1\n    name: b\n  initContainers: [*c]\n";
    let decoded = yaml::decode(text.as_bytes(), ty("core.v1.Pod")).unwrap();
    assert_eq!(decoded.value["spec"]["hostNetwork"], true);
    assert_eq!(decoded.value["spec"]["initContainers"][0], json!({"name": "b", "image": "1.5"}));
    assert_eq!(decoded.value["metadata"]["labels"]["1"], "x");
    assert_eq!(
        strict_error(&decoded.problems),
        "strict decoding error: yaml: unmarshal errors:\n  line 14: key \"name\" already set in map\n  line 14: key \
         \"name\" already set in map, unknown field \"spec.containers[0].foo\", unknown field \
         \"spec.initContainers[0].foo\""
    );
    let first = yaml::decode(b"# x\n---\nmetadata: {name: a}\n---\nb: [\n", ty("core.v1.Pod")).unwrap();
    assert_eq!(first.value, json!({"metadata": {"name": "a"}}));
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..20 {
        bomb += &format!("a{i}: &a{i} [{}]\n", format!("*a{},", i - 1).repeat(9));
    }
    assert!(yaml::decode_any(bomb.as_bytes()).is_err());
}

#[test]
fn yaml_is_written_as_kubectl_shows_it() {
    let object = json!({"a": {"b": [], "c": {}}, "list": [{"x": "1", "y": [1, "two"]}, [true, null]], "on": "yes", "text": "l1\n  l2\n"});
    let text = "a:\n  b: []\n  c: {}\nlist:\n- x: \"1\"\n  \"y\":\n  - 1\n  - two\n- - true\n  - null\n\"on\": \"yes\"\ntext: |\n  l1\n    l2\n";
    assert_eq!(yaml::encode(&object), text);
}

#[test]
fn a_tree_is_checked_as_bytes_are() {
    let decoded = check(
        json!({"spec": {"x": 1, "containers": [{"name": "a", "ports": [{"containerPort": 80.0}]}]}}),
        ty("core.v1.Pod"),
    );
    assert!(
        decoded
            .unwrap_err()
            .to_string()
            .starts_with("json: cannot unmarshal number 80.0 into Go struct field ContainerPort")
    );
    let decoded = check(json!({"spec": {"x": 1, "priority": 3}}), ty("core.v1.Pod")).unwrap();
    assert_eq!((decoded.value, decoded.problems.len()), (json!({"spec": {"priority": 3}}), 1));
}

#[test]
fn json_schemas_take_their_other_forms() {
    let schema =
        Schema::builtin().get("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").unwrap();
    let value = json!({"properties": {"a": {"items": {"type": "string"}, "additionalProperties": false, "default": null, "nope": 1}}, "items": [{"type": "x"}],
        "dependencies": {"d": ["e"]}, "additionalItems": {"type": "y"}, "x-kubernetes-int-or-string": true});
    let decoded = check(value.clone(), schema).unwrap();
    assert_eq!(decoded.problems[0], Problem::Unknown("properties.a.nope".to_owned()));
    assert_eq!(decoded.value["properties"]["a"], json!({"items": {"type": "string"}, "additionalProperties": false}));
    assert_eq!(decoded.value["dependencies"], value["dependencies"]);
    assert_eq!(decoded.value["items"], value["items"]);
}

#[test]
fn defaults_and_zeros_are_filled_in() {
    let mut pod = json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 1}]}]}});
    default(&mut pod, ty("core.v1.Pod"));
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
    let mut pulls = json!({"imagePullSecrets": [{}]});
    default(&mut pulls, ty("core.v1.ServiceAccount"));
    assert_eq!(pulls, json!({"imagePullSecrets": [{}]}));
    let mut deployment = json!({"metadata": {}, "spec": {"template": {"spec": {"containers": []}}}});
    fill(&mut deployment, ty("apps.v1.Deployment"));
    let spec = json!({"strategy": {}, "selector": null, "template": {"metadata": {}, "spec": {"containers": []}}});
    assert_eq!(deployment, json!({"metadata": {}, "spec": spec, "status": {}}));
    let mut role = json!({"kind": "ClusterRole"});
    fill(&mut role, ty("rbac.v1.ClusterRole"));
    assert_eq!(role, json!({"kind": "ClusterRole", "metadata": {}, "rules": null}));
}

#[test]
#[ignore = "a measurement: cargo test --release -- --ignored timing"]
fn timing() {
    let start = std::time::Instant::now();
    let _ = Schema::builtin();
    println!("schema: {:?}", start.elapsed());
    let start = std::time::Instant::now();
    for _ in 0..10_000 {
        let _ = std::hint::black_box(pod(POD));
    }
    println!("pod: {:?}", start.elapsed() / 10_000);
}

proptest::proptest! {
    /// Whatever arrives is answered, never a panic; and what is accepted stays as it is when it comes again.
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = json::decode(&bytes, ty("core.v1.Pod"));
        let _ = yaml::decode(&bytes, ty("core.v1.Pod"));
    }

    #[test]
    fn written_yaml_reads_the_same(texts in proptest::collection::vec("[ -~\n\t\u{80}-\u{ff}]{0,12}|[0-9.:+xeE_-]{1,8}|y|No|~|null|[a-z]{1,5}", 1..6)) {
        let value = json!({"a": texts, "b": {"c": texts[0]}, texts[0].clone(): 1});
        let text = yaml::encode(&value);
        proptest::prop_assert_eq!(yaml::decode_any(text.as_bytes()).expect(&text), value);
    }

    #[test]
    fn decoding_is_idempotent(cut in 0..POD.len(), byte in proptest::num::u8::ANY) {
        let mut bytes = POD.as_bytes().to_vec();
        bytes[cut] = byte;
        if let Ok(first) = json::decode(&bytes, ty("core.v1.Pod")) {
            let again = json::decode(first.value.to_string().as_bytes(), ty("core.v1.Pod")).unwrap();
            proptest::prop_assert_eq!(again, Decoded { value: first.value, problems: Vec::new() });
        }
    }
}
