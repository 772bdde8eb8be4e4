//! What ResourceClaims count for: themselves, and the devices of each class.

use super::{COUNTED, Measure, number};
use crate::document::{self, Value};
use crate::quantity::Quantity;
use crate::resource_list::{ResourceList, add, raise};
use jiff::Timestamp;

/// After a class's name: its devices.
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// Before a class's name: its devices as an extended resource.
const EXTENDED: &str = "requests.deviceclass.resource.kubernetes.io/";
/// As many devices as a claim can be given.
const ALL: i64 = 32;

pub const MEASURE: Measure = Measure {
    group: "resource.k8s.io",
    resource: "resourceclaims",
    also: |name| name.ends_with(DEVICES),
    usage: Some(usage),
    changes: |subresource, _, _| subresource.is_empty(),
    ..COUNTED
};

fn usage(claim: &Value, _: Timestamp) -> ResourceList {
    let mut devices = ResourceList::new();
    for request in document::get_list(claim, "spec.devices.requests") {
        let alternatives = document::get_list(request, "firstAvailable");
        // Of alternatives, the one with the most devices of a class.
        let mut most = ResourceList::new();
        alternatives.iter().chain(request.get("exactly")).for_each(|one| raise(&mut most, &of_class(one)));
        add(&mut devices, &most);
    }
    let named = |(class, amount): (String, Quantity)| {
        [(format!("{class}{DEVICES}"), amount), (format!("{EXTENDED}{class}"), amount)]
    };
    devices.into_iter().flat_map(named).collect()
}

fn of_class(request: &Value) -> ResourceList {
    let count = match document::get_str(request, "allocationMode") {
        "ExactCount" => document::get_i64(request, "count").unwrap_or_default(),
        "All" => ALL,
        _ => 0,
    };
    ResourceList::from([(document::get_str(request, "deviceClassName").to_owned(), number(count))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn devices_are_counted_by_class() {
        let exact = |class: &str, count: i64| json!({ "deviceClassName": class, "allocationMode": "ExactCount", "count": count });
        let claim = json!({ "spec": { "devices": { "requests": [
            { "name": "a", "exactly": exact("gold", 2) },
            { "name": "b", "exactly": { "deviceClassName": "all", "allocationMode": "All" } },
            { "name": "c", "firstAvailable": [exact("gold", 1), exact("gold", 3), exact("silver", 1)] },
        ] } } });
        let usage = usage(&claim, Timestamp::UNIX_EPOCH);
        let of = |class: &str| usage[&format!("{class}{DEVICES}")].value();
        assert_eq!((of("gold"), of("all"), of("silver")), (5, 32, 1));
    }
}
