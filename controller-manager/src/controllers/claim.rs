//! Adopting and releasing: which objects belong to a controller (upstream's `controller_ref_manager`).

use std::sync::Arc;

use component::client::PatchType;
use component::store::orphans;
use component::{Delta, Informer, Meta, OwnerReference, Projection, Resource, Store};
use serde_json::json;

use crate::informers::CONTROLLER;
use crate::kinds::Pod;
use crate::plan::{Action, Answer, Plan, Query};
use crate::queue::{Item, Queue};
use crate::runtime::View;
use crate::selector::LabelSelector;

/// The objects of a claimant, and the patches that make them so.
pub type Claimed<T> = (Vec<Arc<T>>, Vec<Action>);

/// A controller that claims objects by its selector.
pub struct Claimant<'a> {
    pub resource: Resource,
    pub meta: &'a Meta,
    pub selector: &'a LabelSelector,
}

/// The reference of an object to the controller that made it.
pub fn controller_reference(resource: Resource, meta: &Meta) -> OwnerReference {
    OwnerReference {
        api_version: resource.api_version(),
        kind: resource.kind.to_owned(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        controller: true,
        block_owner_deletion: true,
    }
}

/// Wakes a controller when one of its pods changes, or one that it might adopt.
pub fn watch_pods<T: Projection>(
    pods: &Informer<Pod>,
    owners: &Store<T>,
    resource: Resource,
    selector: fn(&T) -> &LabelSelector,
    queue: &Queue,
) {
    let (queue, owners) = (queue.clone(), owners.clone());
    let wake = move |pod: &Pod| match pod.metadata.controller() {
        Some(owner) if owner.kind == resource.kind => {
            queue.add(Item::new(resource, &pod.metadata.namespace, &owner.name));
        }
        Some(_) => {}
        // An orphan: whoever selects it may adopt it.
        None => {
            for owner in owners.in_namespace(&pod.metadata.namespace) {
                let selector = selector(&owner);
                if !selector.is_empty() && selector.matches(&pod.metadata.labels) {
                    queue.add(Item::of(resource, owner.meta()));
                }
            }
        }
    };
    pods.subscribe(move |delta| match delta {
        Delta::Added(pod) => wake(pod),
        // Nobody cares for an orphan that goes.
        Delta::Deleted(pod) if pod.metadata.controller().is_none() => {}
        Delta::Deleted(pod) => wake(pod),
        Delta::Updated { old, new } => {
            let owner_changed = old.metadata.controller() != new.metadata.controller();
            if owner_changed && old.metadata.controller().is_some() {
                wake(old);
            }
            let relabelled = old.metadata.labels != new.metadata.labels;
            if new.metadata.controller().is_some() || owner_changed || relabelled {
                wake(new);
            }
        }
    });
}

impl Claimant<'_> {
    /// The objects that belong to the claimant, with the patches that adopt those without a controller and release those that
    /// the selector no longer matches. Gives a plan instead when the server must be asked first: only a claimant that still exists
    /// may adopt.
    pub fn claim<T: Projection>(
        &self,
        view: &View<'_>,
        children: Resource,
        store: &Store<T>,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<Claimed<T>, Box<Plan>> {
        let mut patches = Vec::new();
        let mut mine = store.by(CONTROLLER, &self.meta.uid);
        mine.retain(|child| {
            if !wanted(child) || child.meta().namespace != self.meta.namespace {
                return false;
            }
            let matches = self.selector.matches(&child.meta().labels);
            if !matches && !self.meta.is_terminating() {
                patches.push(self.release(children, child.meta()));
            }
            matches
        });
        let mut found = Vec::new();
        if !self.meta.is_terminating() {
            found = store.by(CONTROLLER, &orphans(&self.meta.namespace));
            found.retain(|child| {
                wanted(child) && !child.meta().is_terminating() && self.selector.matches(&child.meta().labels)
            });
        }
        if !found.is_empty() && self.may_adopt(view)? {
            for child in found {
                patches.push(self.adopt(children, child.meta()));
                mine.push(child);
            }
        }
        mine.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
        Ok((mine, patches))
    }

    fn may_adopt(&self, view: &View<'_>) -> Result<bool, Box<Plan>> {
        let query = Query::Get(self.resource, self.meta.namespace.clone(), self.meta.name.clone());
        match view.answers.get(&query) {
            Some(Answer::Found(found)) => {
                Ok(found.first().is_some_and(|live| live.uid == self.meta.uid && !live.is_terminating()))
            }
            Some(Answer::Failed(message)) => Err(Box::new(Plan { retry: Some(message.clone()), ..Plan::none() })),
            _ => Err(Box::new(Plan::ask(vec![query]))),
        }
    }

    fn adopt(&self, children: Resource, child: &Meta) -> Action {
        let owner = controller_reference(self.resource, self.meta);
        let body = json!({ "metadata": { "uid": child.uid, "ownerReferences": [owner] } });
        Action::patch(children, child, "", PatchType::Strategic, body)
    }

    fn release(&self, children: Resource, child: &Meta) -> Action {
        let owner = json!({ "$patch": "delete", "uid": self.meta.uid });
        let body = json!({ "metadata": { "uid": child.uid, "ownerReferences": [owner] } });
        Action::patch(children, child, "", PatchType::Strategic, body)
    }
}
