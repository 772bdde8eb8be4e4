//! What the update of a pod or template may keep although a new one may not have it: checks became stricter over time, and
//! what was stored before stays changeable.

use super::super::labels::validate_selector;
use super::super::path::{Path, child, descend, flag, list, text};
use super::resources::is_whole_pages;
use super::volumes::not_reserved;
use super::{affinity, containers, security};
use api::Value;
use api::field::Errors;
use api::resource_list::is_huge_page;

/// Each is true when the old specification already breaks the rule.
#[derive(Clone, Copy, Default)]
pub struct Options {
    /// Huge pages that are no multiple of their size.
    pub broken_huge_pages: bool,
    /// Values in the label selectors of pod affinity.
    pub selector_values: bool,
    /// Values in required node affinity.
    pub node_affinity_values: bool,
    /// Label selectors of topology spread constraints.
    pub spread_selectors: bool,
    /// `matchLabelKeys` of topology spread constraints that are not part of the selector.
    pub plain_label_keys: bool,
    /// Token files outside of their volume.
    pub token_paths: bool,
    /// Kernel parameters of a namespace that is the host's.
    pub host_sysctls: bool,
    /// Block devices in pods with a user namespace.
    pub user_namespace_devices: bool,
    /// The host's network in pods with a user namespace.
    pub user_namespace_network: bool,
    /// Resizing by restart of init containers that end.
    pub restarted_init_containers: bool,
    /// SELinux labels by mount options (KEP-1710).
    pub selinux_mount: bool,
    /// Tolerations that compare numbers.
    pub comparing_tolerations: bool,
}

impl Options {
    /// What a specification that replaces `old` may keep; nothing for a new one.
    pub fn new(old: Option<&Value>) -> Options {
        let Some(old) = old else { return Options::default() };
        let operator = |toleration: &Value| matches!(text(toleration, "operator"), "Lt" | "Gt");
        let user_namespace = child(old, "hostUsers").and_then(Value::as_bool) == Some(false);
        let mut huge_pages = false;
        let mut devices = false;
        containers::visit(old, &Path::root(""), |container, _| {
            huge_pages |= breaks_huge_pages(container);
            devices |= !list(container, "volumeDevices").is_empty();
        });
        let (selector_values, node_affinity_values) =
            child(old, "affinity").map(affinity::invalid_values).unwrap_or_default();
        let spread = || list(old, "topologySpreadConstraints");
        Options {
            broken_huge_pages: huge_pages,
            selector_values,
            node_affinity_values,
            spread_selectors: fails(|errors| {
                for selector in spread().iter().filter_map(|constraint| child(constraint, "labelSelector")) {
                    validate_selector(selector, &Path::root(""), errors);
                }
            }),
            plain_label_keys: fails(|errors| {
                for constraint in spread() {
                    affinity::validate_label_keys(constraint, &Path::root(""), errors);
                }
            }),
            token_paths: fails(|errors| token_paths(old, errors)),
            host_sysctls: fails(|errors| security::validate_host_sysctls(old, errors)),
            user_namespace_devices: user_namespace && devices,
            user_namespace_network: user_namespace && flag(old, "hostNetwork"),
            restarted_init_containers: list(old, "initContainers").iter().any(restarts_to_resize),
            selinux_mount: descend(old, &["securityContext", "seLinuxChangePolicy"]).and_then(Value::as_str)
                == Some("MountOption"),
            comparing_tolerations: list(old, "tolerations").iter().any(operator),
        }
    }
}

fn fails(check: impl FnOnce(&mut Errors)) -> bool {
    let mut errors = Errors::new();
    check(&mut errors);
    !errors.is_empty()
}

fn breaks_huge_pages(container: &Value) -> bool {
    ["limits", "requests"].iter().any(|key| {
        let amounts = descend(container, &["resources", key]).and_then(Value::as_object);
        amounts.into_iter().flatten().any(|(name, value)| is_huge_page(name) && !is_whole_pages(name, value))
    })
}

fn token_paths(spec: &Value, errors: &mut Errors) {
    for volume in list(spec, "volumes").iter().filter_map(|volume| child(volume, "projected")) {
        for token in list(volume, "sources").iter().filter_map(|source| child(source, "serviceAccountToken")) {
            not_reserved(text(token, "path"), &Path::root(""), errors);
        }
    }
}

fn restarts_to_resize(container: &Value) -> bool {
    text(container, "restartPolicy") != "Always"
        && list(container, "resizePolicy").iter().any(|policy| text(policy, "restartPolicy") == "RestartContainer")
}
