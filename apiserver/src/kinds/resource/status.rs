//! What a claim was given: who may use it, which devices, and what drivers say about them.

use super::names::{validate_label, validate_pool, validate_share};
use super::{MAX_CONFIGS, MAX_REQUESTS, Printed, claim, device, each, each_once};
use crate::kinds::conditions::validate_conditions;
use crate::kinds::csi_driver::validate_driver_name;
use crate::kinds::equality::same;
use crate::kinds::internal;
use crate::kinds::path::{Path, child, has, list, opt_text, required_one_of, required_text, shown, text};
use crate::kinds::pod::validate_node_selector;
use api::field::Errors;
use api::{Value, document};
use std::collections::HashSet;

const STATUS: Path = Path::root("status");
const MAX_CONSUMERS: usize = 256;
const MAX_CONDITIONS: usize = 8;
const MAX_DATA: usize = 10 << 10;
const MAX_ADDRESSES: usize = 16;
const MAX_INTERFACE_NAME: usize = 256;
const MAX_HARDWARE_ADDRESS: usize = 128;

/// `driver/pool/device`, and the share where the device is shared.
fn identity(device: &Value) -> String {
    let id = format!("{}/{}/{}", text(device, "driver"), text(device, "pool"), text(device, "device"));
    match opt_text(device, "shareID") {
        Some(share) => format!("{id}/{share}"),
        None => id,
    }
}

fn allocated(claim: &Value) -> HashSet<String> {
    document::get_list(claim, "status.allocation.devices.results").iter().map(identity).collect()
}

/// Drops what is said about devices that the claim no longer has.
pub fn forget_deallocated(claim: &mut Value, old: &Value) {
    let now = allocated(claim);
    let gone: HashSet<String> = allocated(old).into_iter().filter(|id| !now.contains(id)).collect();
    let Some(devices) = claim.pointer_mut("/status/devices").and_then(Value::as_array_mut) else { return };
    devices.retain(|device| !gone.contains(&identity(device)));
    if devices.is_empty() {
        document::remove(claim, "status.devices");
    }
}

/// Checks a changed status.
pub fn validate(claim: &Value, old: &Value, errors: &mut Errors) {
    let status = |claim| child(claim, "status").unwrap_or(&Value::Null);
    let (new, old_status) = (status(claim), status(old));
    let uid = |consumer: &Value| text(consumer, "uid").to_owned();
    let path = STATUS.at("reservedFor");
    each_once(list(new, "reservedFor"), MAX_CONSUMERS, &path, errors, uid, |consumer, path, errors| {
        for key in ["resource", "name", "uid"] {
            required_text(errors, consumer, path, key);
        }
    });
    let known = allocated(claim);
    let path = STATUS.at("devices");
    let printed = |device: &Value| Printed(internal::compact("SharedDeviceID", device));
    each_once(list(new, "devices"), usize::MAX, &path, errors, printed, |device, path, errors| {
        validate_device(device, &known, path, errors);
    });
    validate_reservations(claim, new, old_status, errors);
    let path = STATUS.at("allocation");
    match (child(new, "allocation"), child(old_status, "allocation")) {
        (Some(now), Some(before)) => {
            if !same(Some(now), Some(before)) {
                errors.invalid(path, now.clone(), "field is immutable");
            }
        }
        (Some(now), None) => {
            let requested = claim::Requested::of(child(claim, "spec").unwrap_or(&Value::Null));
            validate_allocation(now, &requested, &path, errors);
        }
        (None, _) => {}
    }
}

fn validate_reservations(claim: &Value, new: &Value, old: &Value, errors: &mut Errors) {
    let path = STATUS.at("reservedFor");
    let reserved = list(new, "reservedFor");
    if reserved.is_empty() {
        return;
    }
    if !has(new, "allocation") {
        errors.forbidden(path, "may not be specified when `allocated` is not set");
    } else if document::is_terminating(claim)
        && reserved.iter().any(|consumer| !list(old, "reservedFor").contains(consumer))
    {
        const WHY: &str = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.forbidden(path, WHY);
    }
}

fn validate_allocation(allocation: &Value, requested: &claim::Requested, path: &Path, errors: &mut Errors) {
    let devices = child(allocation, "devices").unwrap_or(&Value::Null);
    let at = path.at("devices");
    each(list(devices, "results"), MAX_REQUESTS, &at.at("results"), errors, |result, path, errors| {
        requested.validate(text(result, "request"), &path.at("request"), errors);
        validate_place(result, path, errors);
        device::validate_binding(result, path, errors);
        if let Some(share) = opt_text(result, "shareID") {
            validate_share(share, &path.at("shareID"), errors);
        }
    });
    each(list(devices, "config"), 2 * MAX_CONFIGS, &at.at("config"), errors, |config, path, errors| {
        required_one_of(errors, &path.at("source"), text(config, "source"), &["FromClaim", "FromClass"]);
        requested.validate_list(config, path, errors);
        claim::validate_configuration(config, path, errors);
    });
    if let Some(selector) = child(allocation, "nodeSelector") {
        validate_node_selector(selector, &path.at("nodeSelector"), errors);
    }
}

/// The three names that say which device it is.
fn validate_place(device: &Value, path: &Path, errors: &mut Errors) {
    validate_driver_name(errors, &path.at("driver"), text(device, "driver"));
    validate_pool(text(device, "pool"), &path.at("pool"), errors);
    validate_label(text(device, "device"), &path.at("device"), errors);
}

fn validate_device(device: &Value, known: &HashSet<String>, path: &Path, errors: &mut Errors) {
    validate_place(device, path, errors);
    if let Some(share) = opt_text(device, "shareID") {
        validate_share(share, &path.at("shareID"), errors);
    }
    if !known.contains(&identity(device)) {
        let printed = internal::compact("SharedDeviceID", device);
        errors.invalid_printed(path, printed, "must be an allocated device in the claim");
    }
    let conditions = list(device, "conditions");
    let at = path.at("conditions");
    if conditions.len() > MAX_CONDITIONS {
        errors.too_many(at, conditions.len(), MAX_CONDITIONS);
    }
    validate_conditions(conditions, &at, errors);
    if let Some(data) = child(device, "data") {
        claim::validate_raw(Some(data), MAX_DATA, &path.at("data"), errors);
    }
    if let Some(network) = child(device, "networkData") {
        validate_network(network, &path.at("networkData"), errors);
    }
}

fn validate_network(network: &Value, path: &Path, errors: &mut Errors) {
    for (key, max) in [("interfaceName", MAX_INTERFACE_NAME), ("hardwareAddress", MAX_HARDWARE_ADDRESS)] {
        if text(network, key).len() > max {
            errors.too_long(path.at(key), max);
        }
    }
    each_once(list(network, "ips"), MAX_ADDRESSES, &path.at("ips"), errors, Value::clone, |address, path, errors| {
        if let Some(why) = bad_interface_address(address.as_str().unwrap_or_default()) {
            errors.invalid(path, shown(Some(address)), why);
        }
    });
}

/// What is wrong with an address and the length of its network: `10.1.2.3/24`.
fn bad_interface_address(address: &str) -> Option<String> {
    let net: Result<ipnet::IpNet, _> = address.parse();
    match net {
        Err(_) => Some("must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned()),
        Ok(net) if net.to_string() != address => Some(format!("must be in canonical form (\"{net}\")")),
        Ok(_) => None,
    }
}
