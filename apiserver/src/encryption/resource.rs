//! Which resource a key of the store belongs to, and how configurations name resources.

use api::kinds::{KINDS, Kind, qualified};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A resource without its version. In a configuration `*` stands for any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct GroupResource<'a> {
    pub(super) group: Cow<'a, str>,
    pub(super) resource: Cow<'a, str>,
}

impl<'a> GroupResource<'a> {
    pub(super) const ANY: GroupResource<'static> = GroupResource::new("*", "*");

    const fn new(group: &'a str, resource: &'a str) -> GroupResource<'a> {
        GroupResource { group: Cow::Borrowed(group), resource: Cow::Borrowed(resource) }
    }

    /// `secrets`, `deployments.apps`, `*.apps`, `*.` (the core group), `*.*`.
    pub(super) fn parse(text: &'a str) -> GroupResource<'a> {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        GroupResource::new(group, resource)
    }

    /// The resource of an object's key. Custom objects stand below their group.
    pub(super) fn of_key(key: &'a str) -> GroupResource<'a> {
        let rest = key.strip_prefix("/registry/").unwrap_or(key);
        let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
        let second = below.split('/').next().unwrap_or_default();
        let two = rest.get(..first.len() + 1 + second.len()).unwrap_or(rest);
        match builtin().get(first).or_else(|| builtin().get(two)) {
            Some(found) => found.clone(),
            None if first.contains('.') => GroupResource::new(first, second),
            None => GroupResource::new("", first),
        }
    }

    /// As what the objects of a built-in kind are kept.
    pub(super) fn of_kind(kind: &'static Kind) -> GroupResource<'static> {
        let stored = builtin().get(place(&kind.store_prefix())).cloned();
        stored.unwrap_or(GroupResource::new(kind.group, kind.resource))
    }

    /// All resources of the same group.
    pub(super) fn any_in_group(&self) -> GroupResource<'a> {
        GroupResource { resource: Cow::Borrowed("*"), ..self.clone() }
    }

    /// As a configuration names it.
    pub(super) fn name(&self) -> String {
        if self.group.is_empty() && self.resource == "*" {
            "*.".to_owned()
        } else {
            qualified(&self.resource, &self.group)
        }
    }

    pub(super) fn into_owned(self) -> GroupResource<'static> {
        GroupResource { group: self.group.into_owned().into(), resource: self.resource.into_owned().into() }
    }
}

fn place(prefix: &str) -> &str {
    prefix.trim_start_matches("/registry/").trim_end_matches('/')
}

/// The built-in resources by where their objects stand below `/registry/`.
fn builtin() -> &'static HashMap<String, GroupResource<'static>> {
    static BY_PLACE: OnceLock<HashMap<String, GroupResource<'static>>> = OnceLock::new();
    BY_PLACE.get_or_init(|| {
        let mut by_place = HashMap::new();
        for kind in KINDS.iter().filter(|kind| kind.is_stored()) {
            let resource = GroupResource::new(kind.group, kind.resource);
            let known = by_place.entry(place(&kind.store_prefix()).to_owned()).or_insert_with(|| resource.clone());
            // Events of both groups stand in one place, as the core group's.
            if kind.group.is_empty() {
                *known = resource;
            }
        }
        by_place
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_their_resource() {
        for (key, name) in [
            ("/registry/secrets/default/a", "secrets"),
            ("/registry/services/specs/default/a", "services"),
            ("/registry/services/endpoints/default/a", "endpoints"),
            ("/registry/minions/a", "nodes"),
            ("/registry/controllers/default/a", "replicationcontrollers"),
            ("/registry/events/default/a", "events"),
            ("/registry/deployments/default/a", "deployments.apps"),
            ("/registry/ingress/default/a", "ingresses.networking.k8s.io"),
            ("/registry/leases/kube-system/a", "leases.coordination.k8s.io"),
            ("/registry/apiregistration.k8s.io/apiservices/v1.", "apiservices.apiregistration.k8s.io"),
            ("/registry/example.com/widgets/default/a", "widgets.example.com"),
            ("/registry/elsewhere", "elsewhere"),
        ] {
            assert_eq!(GroupResource::of_key(key).name(), name, "{key}");
        }
        for text in ["secrets", "deployments.apps", "*.apps", "*.", "*.*", "a.b.c"] {
            assert_eq!(GroupResource::parse(text).name(), text);
        }
    }
}
