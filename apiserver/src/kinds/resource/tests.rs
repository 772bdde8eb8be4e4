use super::*;
use crate::kinds::first_error as first;

#[test]
fn requests_are_completed_and_checked() {
    let mut claim = json!({"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}]}}});
    ResourceClaim.default(&mut claim);
    assert_eq!(claim.pointer("/spec/devices/requests/0/exactly/count"), Some(&json!(1)));
    let mut errors = Errors::new();
    ResourceClaim.check(&claim, None, &mut errors);
    assert!(errors.is_empty());
    ResourceClaim.check(&json!({"spec": {"devices": {"requests": [{"name": "a"}]}}}), None, &mut errors);
    assert_eq!(errors.0[0].field, "spec.devices.requests[0]");
}

#[test]
fn only_devices_that_were_allocated_have_a_status() {
    let result = json!({"request": "a", "driver": "d.io", "pool": "p", "device": "x"});
    let claim = |allocated: bool| {
        let allocation = if allocated { json!({"devices": {"results": [result]}}) } else { Value::Null };
        json!({"spec": {"devices": {"requests": [{"name": "a"}]}}, "status": {"allocation": allocation,
            "devices": [{"driver": "d.io", "pool": "p", "device": "x"}]}})
    };
    let mut errors = Errors::new();
    ResourceClaim.validate_status_update(&claim(true), &json!({}), &mut errors);
    assert_eq!(errors, Errors::new());
    ResourceClaim.validate_status_update(&claim(false), &json!({}), &mut errors);
    assert_eq!(
        errors.0[0].to_string(),
        "status.devices[0]: Invalid value: \"d.io/p/x\": must be an allocated device in the claim"
    );
    let mut freed = claim(false);
    status::forget_deallocated(&mut freed, &claim(true));
    assert_eq!(freed.pointer("/status/devices"), None);
}

#[test]
fn a_slice_says_where_its_devices_are() {
    let slice = |change: Value| {
        let mut spec = json!({"driver": "d.io", "pool": {"name": "p", "resourceSliceCount": 1}, "nodeName": "n",
            "devices": [{"name": "x", "attributes": {"model": {"string": "a"}}}]});
        document::as_map(&mut spec).extend(change.as_object().cloned().unwrap_or_default());
        let mut errors = Errors::new();
        ResourceSlice.check(&json!({ "spec": spec }), None, &mut errors);
        errors.0.first().map_or_else(String::new, ToString::to_string)
    };
    assert_eq!(slice(json!({})), "");
    assert_eq!(
        slice(json!({"allNodes": true})),
        "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, \
         `perDeviceNodeSelection` is required, but multiple fields are set"
    );
    assert_eq!(
        slice(json!({"devices": [{"name": "x", "attributes": {"v": {"version": "1.0"}}}]})),
        "spec.devices[0].attributes[v].version: Invalid value: \"1.0\": must be a string compatible with semver.org spec 2.0.0"
    );
}

#[test]
fn a_class_checks_its_configuration() {
    assert_eq!(first(&DeviceClass, json!({"config": [{}]})), "spec.config[0].opaque: Required value");
}
