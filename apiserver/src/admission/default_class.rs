//! DefaultStorageClass and DefaultIngressClass: a claim, or an ingress, that names no class gets the default one.

use super::Operation;
use crate::registry::Call;
use crate::resources;
use api::Value;
use api::document;
use api::status::ApiError;
use api::storage_class;
use std::cmp::Reverse;
use storage::Range;

/// Objects of a kind that each belong to a class.
struct Classified {
    kind: &'static str,
    /// Where an object names its class.
    field: &'static str,
    /// Where it did so in earlier days.
    annotation: &'static str,
    /// Group and resource of the classes.
    classes: (&'static str, &'static str),
    is_default: fn(&Value) -> bool,
}

const CLAIMS: Classified = Classified {
    kind: "PersistentVolumeClaim",
    field: "spec.storageClassName",
    annotation: storage_class::ANNOTATION,
    classes: ("storage.k8s.io", "storageclasses"),
    is_default: storage_class::is_default,
};

const INGRESSES: Classified = Classified {
    kind: "Ingress",
    field: "spec.ingressClassName",
    annotation: "kubernetes.io/ingress.class",
    classes: ("networking.k8s.io", "ingressclasses"),
    is_default: |class| document::annotation(class, "ingressclass.kubernetes.io/is-default-class") == Some("true"),
};

pub fn of_claim(call: &Call<'_>, operation: Operation, object: &mut Value) -> Result<(), ApiError> {
    CLAIMS.mutate(call, operation, object)
}

pub fn of_ingress(call: &Call<'_>, operation: Operation, object: &mut Value) -> Result<(), ApiError> {
    INGRESSES.mutate(call, operation, object)
}

impl Classified {
    fn mutate(&self, call: &Call<'_>, operation: Operation, object: &mut Value) -> Result<(), ApiError> {
        if operation != Operation::Create || call.resource.kind.kind != self.kind || !call.subresource.is_empty() {
            return Ok(());
        }
        let named = document::get(object, self.field).is_some_and(|class| !class.is_null());
        if named || document::annotation(object, self.annotation).is_some() {
            return Ok(());
        }
        let (group, resource) = self.classes;
        let resource = resources::builtin(group, resource);
        let range = Range { prefix: &resource.prefix, ..Range::default() };
        let list = call.server.store.range(range).map_err(|error| call.server.store_error(error))?;
        let classes = list.entries.iter().map(|entry| resource.read(&entry.value)).collect::<Result<Vec<_>, _>>()?;
        if let Some(class) = self.default_class(&classes) {
            document::set(object, self.field, class);
        }
        Ok(())
    }

    /// The name of the newest class that is marked as the default one; of several, the first in the alphabet.
    fn default_class<'c>(&self, classes: &'c [Value]) -> Option<&'c str> {
        let age = |class: &&Value| {
            (
                Reverse(document::get_str(class, "metadata.creationTimestamp").to_owned()),
                document::name(class).to_owned(),
            )
        };
        classes.iter().filter(|class| (self.is_default)(class)).min_by_key(age).map(document::name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DEFAULTS: [&str; 2] =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

    #[test]
    fn the_newest_default_wins() {
        let class = |name: &str, made: &str, key: &str, value: &str| json!({"metadata": {"name": name, "creationTimestamp": made, "annotations": {key: value}}});
        let none = [class("a", "2026-01-03T00:00:00Z", DEFAULTS[0], "false"), class("b", "", "other", "true")];
        assert_eq!(CLAIMS.default_class(&none), None);
        let several = [
            class("old", "2026-01-01T00:00:00Z", DEFAULTS[0], "true"),
            class("z", "2026-01-02T00:00:00Z", DEFAULTS[1], "true"),
            class("b", "2026-01-02T00:00:00Z", DEFAULTS[0], "true"),
        ];
        assert_eq!(CLAIMS.default_class(&several), Some("b"));
    }

    #[test]
    fn an_ingress_class_is_marked_by_its_own_annotation() {
        let class = |key: &str| json!({"metadata": {"name": key, "annotations": {key: "true"}}});
        let classes = [class(DEFAULTS[0]), class("ingressclass.kubernetes.io/is-default-class")];
        assert_eq!(INGRESSES.default_class(&classes), Some("ingressclass.kubernetes.io/is-default-class"));
    }
}
