use super::protobuf::ProtobufWriter;
use super::writer::JsonWriter;
use super::*;
use serde_json::Value;

fn json(scope: Scope, dialect: Dialect) -> Value {
    let mut writer = JsonWriter::new(Vec::new(), dialect);
    write(scope, dialect, &mut writer);
    serde_json::from_slice(&writer.finish()).unwrap()
}

fn document(name: &str) -> Value {
    json(scope(name).unwrap(), Dialect::V3)
}

/// Every `$ref` below a value.
fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

/// Checks that references lead somewhere and that operations have names of their own.
fn assert_whole(document: &Value, name: &str) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{name}: {reference}");
    }
    let items = document["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let ids: Vec<&str> = operations.filter_map(|o| o.get("operationId")?.as_str()).collect();
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "{name} repeats an operation id");
}

#[test]
fn every_document_is_whole() {
    for name in names() {
        assert_whole(&document(&name), &name);
    }
    assert_whole(&json(everything(), Dialect::V2), "version 2");
}

#[test]
fn every_definition_is_described() {
    let swagger = json(everything(), Dialect::V2);
    for (name, definition) in swagger["definitions"].as_object().unwrap() {
        assert!(definition.get("description").is_some_and(|text| text != ""), "{name}");
    }
}

#[test]
fn patch_takes_field_validation() {
    let document = document("apis/apps/v1");
    let path = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let parameters = path["patch"]["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|p| p["name"] == "fieldValidation" && p["in"] == "query"));
    let gvk = json!({"group": "apps", "kind": "Deployment", "version": "v1"});
    assert_eq!(path["patch"]["x-kubernetes-group-version-kind"], gvk);
    assert_eq!(path["patch"]["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(path["get"]["x-kubernetes-action"], "get");
    assert_eq!(path["parameters"].as_array().unwrap().len(), 3, "what all operations take stands once");
}

#[test]
fn operations_have_upstreams_names() {
    let document = document("api/v1");
    let of = |path: &str, method: &str| {
        document["paths"][format!("/api/v1/{path}")][method]["operationId"].as_str().unwrap().to_owned()
    };
    assert_eq!(of("pods", "get"), "listCoreV1PodForAllNamespaces");
    assert_eq!(of("watch/namespaces/{namespace}/pods", "get"), "watchCoreV1NamespacedPodList");
    assert_eq!(of("namespaces/{namespace}/pods", "delete"), "deleteCoreV1CollectionNamespacedPod");
    assert_eq!(of("namespaces/{namespace}/pods/{name}/log", "get"), "readCoreV1NamespacedPodLog");
    assert_eq!(of("nodes/{name}/proxy/{path}", "head"), "connectCoreV1HeadNodeProxyWithPath");
}

#[test]
fn types_carry_what_clients_merge_by() {
    let document = document("api/v1");
    let schemas = &document["components"]["schemas"];
    let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "kind": "Pod", "version": "v1"}]));
    assert_eq!(pod["properties"]["spec"]["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.core.v1.PodSpec");
    assert_eq!(pod["properties"]["spec"]["default"], json!({}));
    let union = &schemas["io.k8s.api.core.v1.SeccompProfile"]["x-kubernetes-unions"][0];
    assert_eq!(union["fields-to-discriminateBy"], json!({"localhostProfile": "LocalhostProfile"}));
}

#[test]
fn version_2_writes_shared_parameters_once() {
    let swagger = json(everything(), Dialect::V2);
    // The fingerprint is of upstream's text.
    assert_eq!(swagger["parameters"]["pretty-tJGM1-ng"]["in"], "query");
    assert_eq!(swagger["parameters"]["body-78PwaGsr"]["required"], true);
    let path = &swagger["paths"]["/api/v1/namespaces/{namespace}/pods"]["parameters"];
    assert_eq!(path[1]["$ref"], "#/parameters/pretty-tJGM1-ng");
}

/// The fields of a message as numbers and contents, for messages that hold nothing but texts and messages.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let varint = |bytes: &mut &[u8]| {
        let (mut value, mut shift) = (0, 0);
        while let Some((first, rest)) = bytes.split_first() {
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            shift += 7;
            if *first < 0x80 {
                break;
            }
        }
        value
    };
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        assert_eq!(key & 7, 2, "field {}", key >> 3);
        let length = varint(&mut bytes) as usize;
        let (content, rest) = bytes.split_at(length);
        fields.push((key >> 3, content));
        bytes = rest;
    }
    fields
}

#[test]
fn protobuf_has_every_path_and_definition() {
    for (dialect, [paths, holder, definitions, entry]) in [(Dialect::V2, [8, 0, 9, 2]), (Dialect::V3, [4, 5, 1, 1])] {
        let of = || if dialect == Dialect::V2 { everything() } else { scope("api/v1").unwrap() };
        let mut writer = ProtobufWriter::new(dialect);
        write(of(), dialect, &mut writer);
        let (bytes, json) = (writer.finish(), json(of(), dialect));
        let one = |bytes, number| fields(bytes).into_iter().find(|f| f.0 == number).unwrap().1;
        let names = |bytes, number: u64| {
            let members = fields(bytes).into_iter().filter(move |f| f.0 == number);
            members.map(|f| String::from_utf8(fields(f.1)[0].1.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(one(&bytes, paths), entry), keys(&json["paths"]));
        let (outer, schemas) = match dialect {
            Dialect::V2 => (&bytes[..], &json["definitions"]),
            Dialect::V3 => (one(&bytes, holder), &json["components"]["schemas"]),
        };
        assert_eq!(names(one(outer, definitions), 1), keys(schemas));
    }
}
