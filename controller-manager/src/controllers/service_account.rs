//! Every namespace has a ServiceAccount named `default` (upstream's `serviceaccounts_controller`).

use component::Delta;
use component::resource::{NAMESPACES, SERVICE_ACCOUNTS};
use serde_json::json;

use crate::informers::Informers;
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const NAME: &str = "default";

pub fn watch(informers: &Informers, queue: &Queue) {
    let each = queue.clone();
    informers.namespaces.subscribe(move |delta| {
        if !matches!(delta, Delta::Deleted(_)) {
            each.add(Item::of(NAMESPACES, &delta.object().metadata));
        }
    });
    let wake = queue.clone();
    informers.service_accounts.subscribe(move |delta| {
        if let Delta::Deleted(account) = delta
            && account.metadata.name == NAME
        {
            wake.add(Item::new(NAMESPACES, "", &account.metadata.namespace));
        }
    });
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let mut plan = Plan::none();
    let active = view.stores.namespaces.get("", item.name()).is_some_and(|ns| !ns.metadata.is_terminating());
    if active && view.stores.service_accounts.get(item.name(), NAME).is_none() {
        let body = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": NAME, "namespace": item.name() },
        });
        plan.act(Action::create(SERVICE_ACCOUNTS, item.name(), body));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn an_active_namespace_gets_its_account() {
        let mut world = World::new();
        world.put(NAMESPACES, json!({ "metadata": { "name": "n" } }));
        world.put(NAMESPACES, json!({ "metadata": { "name": "dying", "deletionTimestamp": "2026-01-01T00:00:00Z" } }));
        let item = Item::new(NAMESPACES, "", "n");
        assert_eq!(world.reconcile(reconcile, &item), 1);
        assert_eq!(world.reconcile(reconcile, &item), 0);
        assert_eq!(world.reconcile(reconcile, &Item::new(NAMESPACES, "", "dying")), 0);
    }
}
