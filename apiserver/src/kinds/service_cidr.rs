//! ServiceCIDR and IPAddress: the ranges of service addresses, and which addresses are taken.

use super::equality::same;
use super::ip::is_single_or_dual;
use super::path::{Path, child, descend, invalid_each, list, shown, text, texts};
use super::printed::printed;
use super::{Context, MetadataChecks, Rules};
use api::field::Errors;
use api::{Value, document, names};
use ipnet::IpNet;

pub struct ServiceCidr;
pub struct IpAddress;

const CIDRS: Path = Path::root("spec.cidrs");

impl Rules for ServiceCidr {
    /// What stays is not looked at again.
    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        match old {
            Some(old) => self.validate_update(object, old, errors),
            None => self.validate(object, errors),
        }
    }

    /// The status is all that its subresource changes.
    fn prepare_for_status_update(&self, object: &mut Value, old: &Value, _: &Context) {
        keep_metadata(object, old);
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let spec = child(object, "spec").unwrap_or(&Value::Null);
        let cidrs = list(spec, "cidrs");
        match cidrs.len() {
            0 => return errors.required(CIDRS, "at least one CIDR required"),
            3.. => {
                let shown = printed(&[("CIDRs", cidrs.to_vec().into())]);
                return errors.invalid_printed(CIDRS, shown, "may only hold up to 2 values");
            }
            _ => {}
        }
        for (i, cidr) in texts(spec, "cidrs").enumerate() {
            invalid_each(errors, &CIDRS.index(i), cidr, names::canonical_cidr(cidr));
        }
        let nets: Vec<IpNet> = texts(spec, "cidrs").filter_map(|cidr| cidr.parse().ok()).collect();
        if !is_single_or_dual(nets.iter().map(|net| net.addr().is_ipv4())) {
            const WHY: &str =
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            errors.invalid(CIDRS, shown(child(spec, "cidrs")), WHY);
        }
    }

    /// A second range may be added; nothing else changes.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        const IMMUTABLE: &str = "field is immutable";
        let of = |object| child(object, "spec").map_or(&[][..], |spec| list(spec, "cidrs"));
        let (new, old) = (of(object), of(old));
        if new.len() != old.len() && (old.len(), new.len()) != (1, 2) {
            return errors.invalid(CIDRS, shown(descend(object, &["spec", "cidrs"])), IMMUTABLE);
        }
        for (i, (new, _)) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new != old) {
            errors.invalid(CIDRS.index(i), new.clone(), IMMUTABLE);
        }
        if new.len() > old.len() {
            self.validate(object, errors);
        }
    }
}

/// Puts back the metadata that a write of the status may not change.
fn keep_metadata(object: &mut Value, old: &Value) {
    for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let path = format!("metadata.{key}");
        match document::get(old, &path) {
            Some(value) => document::set(object, &path, value.clone()),
            None => drop(document::remove(object, &path)),
        }
    }
}

impl Rules for IpAddress {
    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        self.validate(object, errors);
        if let Some(old) = old {
            self.validate_update(object, old, errors);
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        const PATH: Path = Path::root("spec.parentRef");
        let spec = child(object, "spec").unwrap_or(&Value::Null);
        let Some(parent) = child(spec, "parentRef") else { return errors.required(PATH, "") };
        let group = text(parent, "group");
        if !group.is_empty() {
            invalid_each(errors, &PATH.at("group"), group, names::dns1123_subdomain(group));
        }
        for key in ["resource", "name", "namespace"] {
            match text(parent, key) {
                "" if key != "namespace" => errors.required(PATH.at(key), ""),
                value => invalid_each(errors, &PATH.at(key), value, names::path_segment(value)),
            }
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let parent = |object| descend(object, &["spec", "parentRef"]);
        if same(parent(object), parent(old)) {
            return;
        }
        const WHY: &str = "field is immutable";
        let Some(parent) = parent(object) else { return errors.invalid("spec.parentRef", Value::Null, WHY) };
        let shown =
            ["Group", "Resource", "Namespace", "Name"].map(|key| (key, text(parent, &key.to_lowercase()).into()));
        errors.invalid_printed("spec.parentRef", printed(&shown), WHY);
    }

    fn validate_name(&self, name: &str, _: bool) -> Vec<String> {
        names::canonical_ip(name)
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::FIRST_AGAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ranges_only_grow_by_a_family() {
        let object = |cidrs: &[&str]| json!({"spec": {"cidrs": cidrs}});
        let update = |new: &[&str], old: &[&str]| {
            let mut errors = Errors::new();
            ServiceCidr.check(&object(new), Some(&object(old)), &mut errors);
            errors.0.first().map_or_else(String::new, ToString::to_string)
        };
        assert_eq!(update(&["10.0.0.0/24", "2001:db8::/64"], &["10.0.0.0/24"]), "");
        let changed = "spec.cidrs[0]: Invalid value: \"10.1.0.0/24\": field is immutable";
        assert_eq!(update(&["10.1.0.0/24"], &["10.0.0.0/24"]), changed);
        assert!(update(&["10.0.0.0/24", "10.1.0.0/24"], &["10.0.0.0/24"]).contains("no more than one IP"));
        assert!(update(&[], &["10.0.0.0/24"]).ends_with("field is immutable"));
        assert_eq!(IpAddress.validate_name("010.0.0.1", false), ["must not have leading 0s"]);
    }
}
