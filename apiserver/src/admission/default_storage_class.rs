//! DefaultStorageClass: a claim that names no class gets the default one.

use super::Operation;
use crate::registry::Call;
use crate::resources;
use api::Value;
use api::document;
use api::status::ApiError;
use api::storage_class;
use std::cmp::Reverse;
use storage::Range;

pub fn mutate(call: &Call<'_>, operation: Operation, claim: &mut Value) -> Result<(), ApiError> {
    let kind = call.resource.kind.kind;
    if operation != Operation::Create || kind != "PersistentVolumeClaim" || !call.subresource.is_empty() {
        return Ok(());
    }
    let named = document::get(claim, "spec.storageClassName").is_some_and(|class| !class.is_null());
    if named || document::annotation(claim, storage_class::ANNOTATION).is_some() {
        return Ok(());
    }
    let resource = resources::builtin("storage.k8s.io", "storageclasses");
    let range = Range { prefix: &resource.prefix, ..Range::default() };
    let list = call.server.store.range(range).map_err(|error| call.server.store_error(error))?;
    let classes = list.entries.iter().map(|entry| resource.read(&entry.value)).collect::<Result<Vec<_>, _>>()?;
    if let Some(class) = default_class(&classes) {
        document::set(claim, "spec.storageClassName", class);
    }
    Ok(())
}

/// The name of the newest class that is marked as the default one; of several, the first in the alphabet.
fn default_class(classes: &[Value]) -> Option<&str> {
    let age = |class: &&Value| {
        (Reverse(document::get_str(class, "metadata.creationTimestamp").to_owned()), document::name(class).to_owned())
    };
    classes.iter().filter(|class| storage_class::is_default(class)).min_by_key(age).map(document::name)
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
        assert_eq!(default_class(&none), None);
        let several = [
            class("old", "2026-01-01T00:00:00Z", DEFAULTS[0], "true"),
            class("z", "2026-01-02T00:00:00Z", DEFAULTS[1], "true"),
            class("b", "2026-01-02T00:00:00Z", DEFAULTS[0], "true"),
        ];
        assert_eq!(default_class(&several), Some("b"));
    }
}
