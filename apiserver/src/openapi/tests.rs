use super::*;
use serde_json::Value;

fn document(group: &str, version: &str) -> Value {
    serde_json::from_slice(&group_version(group, version).unwrap()).unwrap()
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

#[test]
fn every_document_is_whole() {
    for (group, version) in versions() {
        let document = document(group, version);
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{group}/{version}: {reference}");
        }
        let ids: Vec<&str> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|item| item.as_object().unwrap().values().filter_map(|o| o.get("operationId")?.as_str()))
            .collect();
        assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "{group}/{version} repeats an operation id");
    }
    let swagger: Value = serde_json::from_slice(&v2()).unwrap();
    let mut found = BTreeSet::new();
    references(&swagger, &mut found);
    assert!(found.iter().all(|r| swagger.pointer(&r[1..]).is_some()));
}

#[test]
fn patch_takes_field_validation() {
    let document = document("apps", "v1");
    let path = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let parameters = path["patch"]["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|p| p["name"] == "fieldValidation" && p["in"] == "query"));
    let gvk = json!({"group": "apps", "kind": "Deployment", "version": "v1"});
    assert_eq!(path["patch"]["x-kubernetes-group-version-kind"], gvk);
    assert_eq!(path["patch"]["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(path["get"]["x-kubernetes-action"], "get");
}

#[test]
fn types_carry_what_clients_merge_by() {
    let document = document("", "v1");
    let ports = &document["components"]["schemas"]["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    let pod = &document["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "kind": "Pod", "version": "v1"}]));
    assert_eq!(pod["properties"]["spec"]["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.core.v1.PodSpec");
    assert_eq!(pod["properties"]["spec"]["default"], json!({}));
}

#[test]
fn the_index_points_at_the_documents() {
    let index: Value = serde_json::from_slice(&index()).unwrap();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="));
    assert_ne!(index["paths"]["api/v1"], index["paths"]["apis/apps/v1"]);
    assert!(group_version("nope", "v1").is_none());
}
