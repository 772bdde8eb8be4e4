//! Which fields a write cannot own, because the server puts them back: `status` through the main resource, `spec`
//! through `status`. (`GetResetFields` of upstream's strategies.)

use super::set::FieldSet;
use crate::kinds::KINDS;

/// A path of field names; `*` is any element.
pub type Path = &'static [&'static str];

/// The fields that a write through a resource or subresource never owns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ResetFields {
    None,
    /// These, and all below them.
    Except(&'static [Path]),
    /// All but what is on or below these.
    AllBut(&'static [Path]),
}

impl ResetFields {
    /// The paths of which a write owns nothing.
    pub fn excluded(&self) -> &'static [Path] {
        match self {
            ResetFields::Except(paths) => paths,
            ResetFields::None | ResetFields::AllBut(_) => &[],
        }
    }

    pub(super) fn apply(&self, set: &mut FieldSet<'_>) {
        match self {
            ResetFields::None => {}
            ResetFields::Except(paths) => paths.iter().for_each(|path| set.exclude(path)),
            ResetFields::AllBut(paths) => set.keep_only(paths),
        }
    }
}

const STATUS: ResetFields = ResetFields::Except(&[&["status"]]);
const SPEC: ResetFields = ResetFields::Except(&[&["spec"]]);
const ALL_BUT_STATUS: ResetFields = ResetFields::Except(&[&["metadata"], &["spec"]]);

/// Kinds that differ from the rule, and their subresources; `""` is the main resource.
const SPECIAL: &[(&str, &str, ResetFields)] = &[
    ("CertificateSigningRequest", "", ResetFields::Except(&[&["spec"], &["status"]])),
    ("CertificateSigningRequest", "status", ResetFields::Except(&[&["spec"], &["status", "conditions"]])),
    ("CertificateSigningRequest", "approval", ResetFields::Except(&[&["spec"], &["status", "certificate"]])),
    ("Deployment", "status", ResetFields::Except(&[&["spec"], &["metadata", "labels"]])),
    ("Namespace", "finalize", STATUS),
    (
        "Pod",
        "status",
        ResetFields::Except(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]),
    ),
    ("Pod", "ephemeralcontainers", ResetFields::AllBut(&[&["spec", "ephemeralContainers"]])),
    (
        "Pod",
        "resize",
        ResetFields::AllBut(&[
            &["spec", "containers", "*", "resources"],
            &["spec", "containers", "*", "resizePolicy"],
            &["spec", "initContainers", "*", "resources"],
            &["spec", "initContainers", "*", "resizePolicy"],
        ]),
    ),
    ("PodCertificateRequest", "", ResetFields::None),
    ("APIService", "status", ALL_BUT_STATUS),
    ("DeviceTaintRule", "status", ALL_BUT_STATUS),
    ("FlowSchema", "status", ALL_BUT_STATUS),
    ("PodGroup", "status", ALL_BUT_STATUS),
    ("PriorityLevelConfiguration", "status", ALL_BUT_STATUS),
    ("ResourceClaim", "status", ALL_BUT_STATUS),
    ("ResourcePoolStatusRequest", "status", ALL_BUT_STATUS),
    ("ServiceCIDR", "status", ALL_BUT_STATUS),
    ("StorageVersion", "status", ALL_BUT_STATUS),
    ("StorageVersionMigration", "status", ALL_BUT_STATUS),
    ("ValidatingAdmissionPolicy", "status", ALL_BUT_STATUS),
    ("VolumeAttachment", "status", ALL_BUT_STATUS),
];

/// What a write of a kind through a subresource (`""`: the main resource) cannot own. `has_status`: the kind has a
/// `status` subresource. Custom resources follow the rule of their own.
pub fn reset_fields(group: &str, kind: &str, subresource: &str, has_status: bool) -> ResetFields {
    let builtin = KINDS.iter().any(|k| k.group == group && k.kind == kind);
    if builtin && let Some(row) = SPECIAL.iter().find(|row| row.0 == kind && row.1 == subresource) {
        return row.2;
    }
    match subresource {
        "" if has_status => STATUS,
        "status" if builtin => SPEC,
        "status" => ALL_BUT_STATUS,
        _ => ResetFields::None,
    }
}
