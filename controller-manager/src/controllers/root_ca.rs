//! Every namespace has a ConfigMap with the cluster's CA, for its pods to trust the API server by (upstream's
//! `rootcacertpublisher`).

use component::Delta;
use component::resource::{CONFIG_MAPS, NAMESPACES};
use serde_json::json;

use crate::informers::Informers;
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const NAME: &str = "kube-root-ca.crt";
const DATA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as \
    the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

pub fn watch(informers: &Informers, queue: &Queue) {
    let each = queue.clone();
    informers.namespaces.subscribe(move |delta| {
        if !matches!(delta, Delta::Deleted(_)) {
            each.add(Item::of(NAMESPACES, &delta.object().metadata));
        }
    });
    let wake = queue.clone();
    informers.root_certificates.subscribe(move |delta| {
        wake.add(Item::new(NAMESPACES, "", &delta.object().metadata.namespace));
    });
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let mut plan = Plan::none();
    let root_ca = view.options.root_ca.as_str();
    let active = view.stores.namespaces.get("", item.name()).is_some_and(|ns| !ns.metadata.is_terminating());
    if root_ca.is_empty() || !active {
        return plan;
    }
    let Some(current) = view.stores.root_certificates.get(item.name(), NAME) else {
        let body = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": NAME, "namespace": item.name(), "annotations": { DESCRIPTION: TEXT } },
            "data": { DATA_KEY: root_ca },
        });
        plan.act(Action::create(CONFIG_MAPS, item.name(), body));
        return plan;
    };
    let described = current.metadata.annotations.get(DESCRIPTION).is_some_and(|text| !text.is_empty());
    if described && current.data.len() == 1 && current.data.get(DATA_KEY) == Some(root_ca) {
        return plan;
    }
    let mut data: serde_json::Map<_, _> =
        current.data.iter().map(|(key, _)| (key.to_owned(), serde_json::Value::Null)).collect();
    data.insert(DATA_KEY.to_owned(), root_ca.into());
    let body = json!({ "metadata": { "annotations": { DESCRIPTION: TEXT } }, "data": data });
    plan.act(Action::merge(CONFIG_MAPS, &current.metadata, "", body));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn the_certificate_is_published_and_kept() {
        let mut world = World::new();
        world.options.root_ca = "PEM".to_owned();
        world.put(NAMESPACES, json!({ "metadata": { "name": "n" } }));
        let item = Item::new(NAMESPACES, "", "n");
        world.reconcile(reconcile, &item);
        assert_eq!(world.get(CONFIG_MAPS, "n", NAME).unwrap()["data"], json!({ "ca.crt": "PEM" }));
        world.change(CONFIG_MAPS, "n", NAME, json!({ "data": { "ca.crt": "other", "more": "x" } }));
        world.reconcile(reconcile, &item);
        assert_eq!(world.get(CONFIG_MAPS, "n", NAME).unwrap()["data"], json!({ "ca.crt": "PEM" }));
        assert_eq!(world.reconcile(reconcile, &item), 0);
    }
}
