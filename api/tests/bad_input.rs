//! Every decoder and patch on bytes that nobody meant: mutations of real bodies. None panics, what comes out nests no deeper than
//! allowed, and its size is bounded by the input's, so that neither time nor memory can grow faster than that.

use coracle_api::codec::{self, MAX_DEPTH};
use coracle_api::managed::{self, FieldSet, ResetFields, Writer};
use coracle_api::patch;
use coracle_api::quantity::Quantity;
use coracle_api::schema::{Schema, TypeRef};
use coracle_api::selector::{FieldSelector, Selector};
use coracle_api::{Value, time};
use proptest::prelude::*;
use serde_json::json;

const DEPLOYMENT: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","labels":{"a":"b"},"finalizers":["a/b","c/d"],
 "creationTimestamp":"2026-01-02T03:04:05Z","managedFields":[{"manager":"m","operation":"Apply","apiVersion":"apps/v1","time":"2026-01-02T03:04:05Z",
 "fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{},"f:image":{}}}}}}}}]},
 "spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"strategy":{"rollingUpdate":{"maxSurge":"25%"}},"template":{"metadata":{"labels":{"a":"b"}},
 "spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"env":[{"name":"A","value":"1"}],"resources":{"requests":{"cpu":"100m","memory":"1.5Gi"}}}],
 "volumes":[{"name":"v","emptyDir":{}}],"tolerations":[{"key":"k"}]}}}}"#;

const YAML: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: &m\n  name: d\n  labels: {a: b, <<: *m}\nspec:\n  replicas: 0o17\n  template:\n    spec:\n      containers:\n      - name: c\n        image: |\n          text\n        args: [a, 'b', \"c\\n\"]\n---\nx: y\n";

const JSON_PATCH: &str = r#"[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"n"}},{"op":"copy","from":"/metadata","path":"/spec/x"},
 {"op":"move","from":"/spec/replicas","path":"/metadata/labels/z"},{"op":"test","path":"/spec/a~1b","value":null},{"op":"remove","path":"/metadata/finalizers/-1"}]"#;

const STRATEGIC: &str = r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a/b"],"$setElementOrder/finalizers":["c/d"]},"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"},
 "template":{"spec":{"$setElementOrder/containers":[{"name":"n"},{"name":"c"}],"containers":[{"name":"n","image":"z"},{"$patch":"delete","name":"c"}],"volumes":[{"$patch":"replace"},{"name":"w"}]}}}}"#;

/// A change of a text: where, how many bytes go, and which come.
#[derive(Debug, Clone)]
enum Edit {
    Replace(prop::sample::Index, usize, Vec<u8>),
    /// A part of the text comes again at another place.
    Repeat(prop::sample::Index, prop::sample::Index, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    const TOKENS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "null",
        "true",
        "-1",
        "1e999",
        "\"$patch\":\"replace\",",
        "\"\\ud800\"",
        "\u{feff}",
        "&a ",
        "*a",
        "<<: ",
        "\n",
        "\t",
        "- ",
        "---\n",
        "''",
        "!!binary ",
        "/",
        "~1",
        "99999999999999999999",
    ];
    let bytes = prop_oneof![
        prop::sample::select(TOKENS).prop_map(|token| token.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    let edit = prop_oneof![
        (any::<prop::sample::Index>(), 0..8usize, bytes).prop_map(|(at, len, new)| Edit::Replace(at, len, new)),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..60usize)
            .prop_map(|(from, to, len)| Edit::Repeat(from, to, len)),
    ];
    prop::collection::vec(edit, 1..8)
}

fn edited(text: &str, edits: &[Edit]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits {
        match edit {
            Edit::Replace(at, len, new) => {
                let at = at.index(bytes.len() + 1);
                let end = (at + len).min(bytes.len());
                bytes.splice(at..end, new.iter().copied());
            }
            Edit::Repeat(from, to, len) => {
                let from = from.index(bytes.len() + 1);
                let part = bytes[from..(from + len).min(bytes.len())].to_vec();
                let to = to.index(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
        }
    }
    bytes
}

fn deployment() -> TypeRef<'static> {
    Schema::builtin().get("io.k8s.api.apps.v1.Deployment").unwrap()
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(map) => map.values().map(nodes).sum(),
        _ => 0,
    }
}

/// `input`: the bytes that the value came of.
fn is_bounded(value: &Value, input: usize) -> bool {
    codec::depth(value, MAX_DEPTH + 8) <= MAX_DEPTH + 1 && nodes(value) <= input + 8
}

fn writer() -> Writer<'static> {
    Writer { manager: "m", api_version: "apps/v1", subresource: "", now: time::parse("2026-02-03T04:05:06Z").unwrap() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn json_bodies(edits in edits()) {
        let bytes = edited(DEPLOYMENT, &edits);
        if let Ok(decoded) = codec::json::decode(&bytes, deployment()) {
            prop_assert!(is_bounded(&decoded.value, bytes.len()) && decoded.problems.len() <= 100);
            let _ = codec::strict_error(&decoded.problems);
        }
        if let Ok(value) = codec::json::decode_any(&bytes) {
            prop_assert!(is_bounded(&value, bytes.len()));
            for decoded in [codec::check(value.clone(), deployment()), codec::convert(value, deployment())].into_iter().flatten() {
                prop_assert!(is_bounded(&decoded.value, bytes.len()));
            }
        }
        prop_assert!(codec::json::problems(&bytes, |_| true).len() <= 100);
    }

    #[test]
    fn yaml_bodies(edits in edits()) {
        for text in [YAML, DEPLOYMENT] {
            let bytes = edited(text, &edits);
            // Aliases repeat what they stand for, within the reader's budget.
            if let Ok(decoded) = codec::yaml::decode(&bytes, deployment()) {
                prop_assert!(is_bounded(&decoded.value, 100 * bytes.len()));
            }
            let _ = (codec::yaml::decode_any(&bytes), codec::yaml::problems(&bytes));
        }
    }

    #[test]
    fn protobuf_bodies(edits in edits(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let whole = edited(DEPLOYMENT, &edits);
        for bytes in [bytes, whole] {
            let framed = [codec::protobuf::MAGIC, &bytes].concat();
            if let Ok(decoded) = codec::protobuf::decode(&framed, deployment()) {
                prop_assert!(nodes(&decoded.value) <= 64 * framed.len() + 1024);
            }
        }
    }

    #[test]
    fn json_patches(edits in edits(), checked: bool) {
        let object: Value = serde_json::from_str(DEPLOYMENT).unwrap();
        let bytes = edited(JSON_PATCH, &edits);
        if let Ok(patched) = patch::json::apply(object, &bytes, checked) {
            // Each operation can copy all of the object once.
            prop_assert!(nodes(&patched) <= (bytes.len() / 8 + 2) * (DEPLOYMENT.len() + bytes.len()));
        }
        prop_assert!(patch::json::problems(&bytes).len() <= 100);
    }

    #[test]
    fn merge_patches(edits in edits(), checked: bool) {
        let object: Value = serde_json::from_str(DEPLOYMENT).unwrap();
        for text in [STRATEGIC, DEPLOYMENT] {
            let bytes = edited(text, &edits);
            if let Ok(patched) = patch::merge::apply(object.clone(), &bytes, checked) {
                prop_assert!(is_bounded(&patched, bytes.len() + DEPLOYMENT.len()));
            }
        }
    }

    #[test]
    fn strategic_merge_patches(edits in edits()) {
        let object: Value = serde_json::from_str(DEPLOYMENT).unwrap();
        for text in [STRATEGIC, DEPLOYMENT] {
            let bytes = edited(text, &edits);
            if let Ok(patched) = patch::strategic::apply(object.clone(), &bytes, deployment()) {
                prop_assert!(is_bounded(&patched, bytes.len() + DEPLOYMENT.len()));
            }
            let _ = patch::strategic::shown(&bytes);
        }
    }

    #[test]
    fn applied_objects(edits in edits(), force: bool) {
        let live: Value = serde_json::from_str(DEPLOYMENT).unwrap();
        let bytes = edited(&DEPLOYMENT.replace("managedFields", "annotations"), &edits);
        if let Ok(applied) = codec::yaml::decode_any(&bytes) {
            for live in [&live, &json!({})] {
                if let Ok(merged) = managed::apply(live, &applied, deployment(), &writer(), force, &ResetFields::None) {
                    prop_assert!(nodes(&merged) <= 4 * (bytes.len() + DEPLOYMENT.len()));
                    let _ = codec::convert(merged, deployment());
                }
            }
        }
    }

    #[test]
    fn stored_managed_fields(edits in edits()) {
        let bytes = edited(DEPLOYMENT, &edits);
        if let Ok(mut object) = codec::json::decode_any(&bytes) {
            let old: Value = serde_json::from_str(DEPLOYMENT).unwrap();
            managed::update(&mut object, Some(&old), deployment(), &writer(), &ResetFields::None);
            if let Ok(set) = FieldSet::from_value(&object) {
                prop_assert!(set.to_json().len() <= 8 * bytes.len() + 4096);
            }
        }
    }

    #[test]
    fn small_languages(text in "[ -~]{0,40}|[a-z0-9.,=!()/ -]{0,60}|[0-9.eEinumkKMGTP+-]{0,20}") {
        let _ = (Selector::parse(&text), FieldSelector::parse(&text));
        if let Ok(written) = Quantity::canonical(&text) {
            prop_assert!(written.len() <= text.len() + 40);
        }
        let _ = (time::canonical(&text), time::canonical_micro(&text), time::parse_duration(&text));
    }
}

/// Bodies that a quadratic reader would take minutes for.
#[test]
fn large_bodies_are_read_in_one_go() {
    const COUNT: usize = 20_000;
    let list = |item: &dyn Fn(usize) -> Value| Value::from((0..COUNT).map(item).collect::<Vec<Value>>());
    let containers = list(&|i| json!({ "name": format!("c{i}"), "image": "i" }));
    let order = list(&|i| json!({ "name": format!("c{}", COUNT - i) }));
    let finalizers = list(&|i| format!("example.com/f{i}").into());
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "finalizers": finalizers},
        "spec": {"template": {"spec": {"containers": containers}}}});
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": finalizers},
        "spec": {"template": {"spec": {"$setElementOrder/containers": order}}}});
    let patched = patch::strategic::apply(object.clone(), patch.to_string().as_bytes(), deployment()).unwrap();
    assert_eq!(patched["spec"]["template"]["spec"]["containers"][0]["name"], "c0");
    assert_eq!(patched["metadata"]["finalizers"], json!([]));
    let merged = managed::apply(&json!({}), &object, deployment(), &writer(), false, &ResetFields::None).unwrap();
    let again = managed::apply(&merged, &object, deployment(), &writer(), false, &ResetFields::None).unwrap();
    assert_eq!(nodes(&again), nodes(&merged));
    let unknown: serde_json::Map<String, Value> = (0..COUNT).map(|i| (format!("x{i}"), Value::Null)).collect();
    let decoded = codec::json::decode(Value::Object(unknown).to_string().as_bytes(), deployment()).unwrap();
    assert_eq!(decoded.problems.len(), 100);
    let escapes = format!("{{\"kind\":\"{}\"}}", "\\ud800".repeat(COUNT));
    assert!(codec::json::decode(escapes.as_bytes(), deployment()).is_ok());
    assert!(codec::json::decode("[".repeat(COUNT).as_bytes(), deployment()).is_err());
}
