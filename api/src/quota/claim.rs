//! What PersistentVolumeClaims count for: themselves and their storage, in all and by storage class.

use super::{COUNTED, Measure, Requirement, number};
use crate::document::{self, Value};
use crate::resource_list::{ResourceList, list};
use crate::storage_class;
use jiff::Timestamp;

const CLAIMS: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
/// Between a class and what is counted of it.
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";

pub const MEASURE: Measure = Measure {
    resource: CLAIMS,
    names: &[CLAIMS, STORAGE],
    also: |name| name.rsplit_once(BY_CLASS).is_some_and(|(_, what)| matches!(what, CLAIMS | STORAGE)),
    usage: Some(usage),
    meets,
    changes: |subresource, _, _| matches!(subresource, "" | "status"),
    ..COUNTED
};

fn usage(claim: &Value, _: Timestamp) -> ResourceList {
    let mut usage = ResourceList::from([(CLAIMS.to_owned(), number(1))]);
    let allocated = list(claim, "status.allocatedResources").remove("storage");
    if let Some(asked) = list(claim, "spec.resources.requests").remove("storage") {
        // A volume that cannot shrink to what is asked for now is still there.
        let most = allocated.filter(|allocated| *allocated > asked).unwrap_or(asked);
        usage.insert(STORAGE.to_owned(), most.rounded_up());
    }
    let class = storage_class::name_of(claim);
    if !class.is_empty() {
        let of_class = usage.iter().map(|(name, amount)| (format!("{class}{BY_CLASS}{name}"), *amount));
        let of_class: Vec<_> = of_class.collect();
        usage.extend(of_class);
    }
    usage
}

fn meets(requirement: &Requirement, claim: &Value) -> bool {
    const CLASSES: [&str; 3] = [
        "spec.volumeAttributesClassName",
        "status.currentVolumeAttributesClassName",
        "status.modifyVolumeStatus.targetVolumeAttributesClassName",
    ];
    let classes = CLASSES.iter().map(|path| document::get_str(claim, path)).filter(|class| !class.is_empty());
    let classes: Vec<&str> = classes.collect();
    requirement.scope == "VolumeAttributesClass" && requirement.admits(&classes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource_list::shown;
    use serde_json::json;

    #[test]
    fn storage_counts_in_all_and_by_class() {
        let mut claim = json!({ "metadata": {}, "spec": { "resources": { "requests": { "storage": "1Gi" } } } });
        let shown = |claim: &Value| shown(&usage(claim, Timestamp::UNIX_EPOCH));
        assert_eq!(shown(&claim), "persistentvolumeclaims=1,requests.storage=1Gi");
        claim["spec"]["storageClassName"] = json!("gold");
        claim["status"] = json!({ "allocatedResources": { "storage": "2Gi" } });
        assert_eq!(
            shown(&claim),
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
             gold.storageclass.storage.k8s.io/requests.storage=2Gi,persistentvolumeclaims=1,requests.storage=2Gi"
        );
        assert!((MEASURE.also)("gold.storageclass.storage.k8s.io/requests.storage"));
        assert!(!(MEASURE.also)("gold.storageclass.storage.k8s.io/pods"));
    }

    #[test]
    fn claims_are_chosen_by_each_of_their_classes() {
        let requirement = |values: &[&str]| Requirement {
            scope: "VolumeAttributesClass".to_owned(),
            operator: "In".to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let claim = json!({
            "spec": { "volumeAttributesClassName": "gold" },
            "status": { "currentVolumeAttributesClassName": "silver" },
        });
        assert!(meets(&requirement(&["gold"]), &claim) && meets(&requirement(&["silver"]), &claim));
        assert!(!meets(&requirement(&["bronze"]), &claim));
    }
}
