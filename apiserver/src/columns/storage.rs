//! Cells of volumes, storage classes, drivers and claimed devices.

use super::*;
use api::storage_class::{self as classes, name_of as storage_class_name};

pub fn persistent_volume(volume: &Value, now: Timestamp) -> Vec<Value> {
    let claim = get(volume, "spec.claimRef")
        .filter(|c| c.is_object())
        .map_or_else(String::new, |claim| format!("{}/{}", get_str(claim, "namespace"), get_str(claim, "name")));
    row![
        document::name(volume),
        text_or(volume, "spec.capacity.storage", "0"),
        access_modes(volume, "spec.accessModes"),
        get_str(volume, "spec.persistentVolumeReclaimPolicy"),
        phase(volume),
        claim,
        storage_class_name(volume),
        text_or(volume, "spec.volumeAttributesClassName", "<unset>"),
        get_str(volume, "status.reason"),
        age(volume, now),
        text_or(volume, "spec.volumeMode", "<unset>"),
    ]
}

pub fn persistent_volume_claim(claim: &Value, now: Timestamp) -> Vec<Value> {
    let volume = get_str(claim, "spec.volumeName");
    let (mut capacity, mut modes) = (String::new(), String::new());
    if !volume.is_empty() {
        capacity = text_or(claim, "status.capacity.storage", "0");
        modes = access_modes(claim, "status.accessModes");
    }
    row![
        document::name(claim),
        phase(claim),
        volume,
        capacity,
        modes,
        storage_class_name(claim),
        text_or(claim, "spec.volumeAttributesClassName", "<unset>"),
        age(claim, now),
        text_or(claim, "spec.volumeMode", "<unset>"),
    ]
}

fn phase(object: &Value) -> &str {
    if document::is_terminating(object) { "Terminating" } else { get_str(object, "status.phase") }
}

fn access_modes(object: &Value, path: &str) -> String {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let modes = get_list(object, path);
    let short: Vec<&str> = SHORT.iter().filter(|(mode, _)| modes.iter().any(|m| m == mode)).map(|m| m.1).collect();
    short.join(",")
}

pub fn storage_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut name = document::name(object).to_owned();
    if classes::is_default(object) {
        name += " (default)";
    }
    row![
        name,
        get_str(object, "provisioner"),
        text_or(object, "reclaimPolicy", "Delete"),
        text_or(object, "volumeBindingMode", "Immediate"),
        document::get_bool(object, "allowVolumeExpansion"),
        age(object, now),
    ]
}

pub fn volume_attributes_class(object: &Value, now: Timestamp) -> Vec<Value> {
    row![document::name(object), get_str(object, "driverName"), age(object, now)]
}

pub fn volume_attachment(object: &Value, now: Timestamp) -> Vec<Value> {
    row![
        document::name(object),
        get_str(object, "spec.attacher"),
        get_str(object, "spec.source.persistentVolumeName"),
        get_str(object, "spec.nodeName"),
        document::get_bool(object, "status.attached"),
        age(object, now),
    ]
}

pub fn csi_node(object: &Value, now: Timestamp) -> Vec<Value> {
    row![document::name(object), get_list(object, "spec.drivers").len(), age(object, now)]
}

pub fn csi_driver(object: &Value, now: Timestamp) -> Vec<Value> {
    let audiences = get(object, "spec.tokenRequests").and_then(Value::as_array).map_or_else(
        || "<unset>".to_owned(),
        |requests| requests.iter().map(|r| get_str(r, "audience")).collect::<Vec<_>>().join(","),
    );
    row![
        document::name(object),
        bool_or(object, "spec.attachRequired", true),
        bool_or(object, "spec.podInfoOnMount", false),
        bool_or(object, "spec.storageCapacity", false),
        audiences,
        bool_or(object, "spec.requiresRepublish", false),
        or(joined(object, "spec.volumeLifecycleModes"), "<none>"),
        age(object, now),
    ]
}

pub fn resource_claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let deleted = document::is_terminating(object);
    let allocated = get(object, "status.allocation").is_some_and(Value::is_object);
    let reserved = allocated && !get_list(object, "status.reservedFor").is_empty();
    let states =
        [(deleted, "deleted"), (!allocated && !deleted, "pending"), (allocated, "allocated"), (reserved, "reserved")];
    let states: Vec<&str> = states.iter().filter(|(is, _)| *is).map(|(_, state)| *state).collect();
    row![document::name(object), states.join(","), age(object, now)]
}

pub fn resource_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    row![
        document::name(object),
        get_str(object, "spec.nodeName"),
        get_str(object, "spec.driver"),
        get_str(object, "spec.pool.name"),
        age(object, now),
    ]
}
