use super::*;
use crate::schema::Schema;
use serde_json::json;

fn patched(kind: &str, object: Value, patch: Value) -> Result<Value, ApiError> {
    let ty = Schema::builtin().get(&format!("io.k8s.api.{kind}")).unwrap();
    apply(object, patch.to_string().as_bytes(), ty)
}

fn pod(spec: Value, patch: Value) -> Value {
    let object = patched("core.v1.Pod", json!({ "spec": spec }), json!({ "spec": patch })).unwrap();
    object["spec"].clone()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect()
}

#[test]
fn lists_merge_by_key_and_new_items_come_as_the_patch_orders_them() {
    let spec = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]});
    let result = pod(
        spec,
        json!({"containers": [{"name": "c", "image": "3"}, {"name": "b", "image": "9", "env": [{"name": "X"}]}]}),
    );
    assert_eq!(result["containers"][2], json!({"name": "b", "image": "9", "env": [{"name": "X"}]}));
    assert_eq!(names(&result["containers"]), ["c", "a", "b"]);
}

#[test]
fn set_element_order_arranges_the_whole_list() {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "server"}, {"name": "c"}]});
    let patch = json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "new"}],
        "containers": [{"name": "new", "image": "x"}, {"name": "b", "$patch": "delete"}]});
    assert_eq!(names(&pod(spec.clone(), patch)["containers"]), ["server", "c", "a", "new"]);
    let wrong = json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "z"}]}});
    let error = patched("core.v1.Pod", json!({ "spec": spec }), wrong).unwrap_err();
    assert!(
        error.message.starts_with("The order in patch list:\n[map[name:z]]\n doesn't match $setElementOrder list:")
    );
}

#[test]
fn directives_delete_and_replace() {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "securityContext": {"runAsUser": 1}, "nodeSelector": {"a": "1", "b": "2"}});
    assert_eq!(
        names(&pod(spec.clone(), json!({"containers": [{"$patch": "delete", "name": "a"}]}))["containers"]),
        ["b"]
    );
    let replaced = pod(spec.clone(), json!({"containers": [{"name": "z"}, {"$patch": "replace"}]}));
    assert_eq!(names(&replaced["containers"]), ["z"]);
    let replaced = pod(spec.clone(), json!({"securityContext": {"$patch": "replace", "fsGroup": 2}}));
    assert_eq!(replaced["securityContext"], json!({"fsGroup": 2}));
    assert_eq!(pod(spec.clone(), json!({"securityContext": {"$patch": "delete"}}))["securityContext"], json!({}));
    assert_eq!(
        pod(spec.clone(), json!({"nodeSelector": {"a": null, "c": "3"}}))["nodeSelector"],
        json!({"b": "2", "c": "3"})
    );
    assert!(pod(spec, json!({"securityContext": null})).get("securityContext").is_none());
}

#[test]
fn atomic_lists_are_replaced_and_sets_of_scalars_merged() {
    let spec = json!({"containers": [{"name": "a", "args": ["x", "y"]}], "tolerations": [{"key": "a"}]});
    let result = pod(spec, json!({"containers": [{"name": "a", "args": ["z"]}], "tolerations": [{"key": "b"}]}));
    assert_eq!(result["containers"][0]["args"], json!(["z"]));
    assert_eq!(result["tolerations"], json!([{"key": "b"}]));
    let object = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let patch = json!({"metadata": {"finalizers": ["d"], "$deleteFromPrimitiveList/finalizers": ["b"]}});
    let finalizers =
        |patch: Value| patched("core.v1.Pod", object.clone(), patch).unwrap()["metadata"]["finalizers"].clone();
    assert_eq!(finalizers(patch), json!(["d", "a", "c"]));
    assert_eq!(finalizers(json!({"metadata": {"$setElementOrder/finalizers": ["c", "a"]}})), json!(["b", "c", "a"]));
}

#[test]
fn retain_keys_clears_the_other_members_of_a_union() {
    let object = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let result = patched("apps.v1.Deployment", object.clone(), patch).unwrap();
    assert_eq!(result["spec"]["strategy"], json!({"type": "Recreate"}));
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": {}}}});
    let error = patched("apps.v1.Deployment", object, patch).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (400, "invalid patch format of retainKeys"));
    let spec = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let patch = json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]});
    assert_eq!(pod(spec, patch)["volumes"], json!([{"name": "v", "hostPath": {"path": "/x"}}]));
}

#[test]
fn patches_that_do_not_fit_are_told() {
    let error = |patch| patched("core.v1.Pod", json!({"spec": {"containers": [{"name": "a"}]}}), patch).unwrap_err();
    assert_eq!(
        error(json!({"spec": {"containers": [{"image": "x"}]}})).message,
        "map: map[image:x] does not contain declared merge key: name"
    );
    assert_eq!(
        error(json!({"spec": {"$patch": "explode"}})).message,
        "unknown patch type: explode in map: map[$patch:explode]"
    );
    assert_eq!(error(json!([])).code, 400);
}

#[test]
fn what_was_not_there_is_added_without_nulls_and_directives() {
    let patch = json!({"spec": {"volumes": [{"name": "a", "emptyDir": {"medium": null}}, {"$patch": "delete", "name": "b"}], "affinity": null}});
    assert_eq!(
        patched("core.v1.Pod", json!({}), patch).unwrap(),
        json!({"spec": {"volumes": [{"name": "a", "emptyDir": {}}]}})
    );
}
