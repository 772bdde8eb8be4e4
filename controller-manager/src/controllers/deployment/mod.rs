//! Deployments: ReplicaSets rolled out one template after the other (upstream's `pkg/controller/deployment`).
//!
//! A reconcile works on copies of the sets' sizes and annotations; the differences become the plan.

use std::sync::Arc;

use component::events::EventType;
use component::resource::{DEPLOYMENTS, REPLICA_SETS};
use component::{Delta, Meta};
use serde_json::json;

use super::claim::Claimant;
use super::event;
use crate::informers::{CONTROLLER, Informers};
use crate::kinds::{Deployment, Pod, ReplicaSet};
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;
use revision::Revisions;
use rollout::Rollout;

mod revision;
mod rollout;
mod scale;
mod status;

const REPORTER: &str = "deployment-controller";

pub fn watch(informers: &Informers, queue: &Queue) {
    let each = queue.clone();
    informers.deployments.subscribe(move |delta| each.add(Item::of(DEPLOYMENTS, &delta.object().metadata)));
    let (wake, deployments) = (queue.clone(), informers.stores().deployments.clone());
    informers.replica_sets.subscribe(move |delta| {
        let set = delta.object();
        if let Delta::Updated { old, new } = delta
            && old.metadata.controller() != new.metadata.controller()
        {
            wake_owner(&wake, &old.metadata);
        }
        if set.metadata.controller().is_some() {
            wake_owner(&wake, &set.metadata);
        } else if !matches!(delta, Delta::Deleted(_)) {
            for deployment in deployments.in_namespace(&set.metadata.namespace) {
                let selector = &deployment.spec.selector;
                if !selector.is_empty() && selector.matches(&set.metadata.labels) {
                    wake.add(Item::of(DEPLOYMENTS, &deployment.metadata));
                }
            }
        }
    });
    // A Recreate deployment goes on when the last old pod is gone.
    let (wake, stores) = (queue.clone(), informers.stores().clone());
    informers.pods.subscribe(move |delta| {
        let Delta::Deleted(pod) = delta else { return };
        let Some(owner) = pod.metadata.controller().filter(|o| o.kind == REPLICA_SETS.kind) else { return };
        if let Some(set) = stores.replica_sets.get(&pod.metadata.namespace, &owner.name)
            && let Some(of) = set.metadata.controller()
            && let Some(deployment) = stores.deployments.get(&pod.metadata.namespace, &of.name)
            && deployment.spec.strategy.kind == "Recreate"
        {
            wake.add(Item::of(DEPLOYMENTS, &deployment.metadata));
        }
    });
}

fn wake_owner(queue: &Queue, set: &Meta) {
    if let Some(owner) = set.controller().filter(|o| o.kind == DEPLOYMENTS.kind) {
        queue.add(Item::new(DEPLOYMENTS, &set.namespace, &owner.name));
    }
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let Some(deployment) = view.stores.deployments.get(item.namespace(), item.name()) else { return Plan::none() };
    if deployment.spec.selector.is_empty() {
        return selects_everything(&deployment);
    }
    let claimant = Claimant { resource: DEPLOYMENTS, meta: &deployment.metadata, selector: &deployment.spec.selector };
    let (sets, patches) = match claimant.claim(view, REPLICA_SETS, &view.stores.replica_sets, |_| true) {
        Ok(claimed) => claimed,
        Err(plan) => return *plan,
    };
    let mut plan = Plan::none();
    plan.each(patches);
    let mut rollout = Rollout::new(view, &deployment, sets, plan);
    if !deployment.metadata.is_terminating() {
        advance(&mut rollout);
    }
    rollout.finish()
}

/// Takes the rollout as far as the state of the cluster allows.
fn advance(rollout: &mut Rollout<'_>) {
    rollout.note_pause();
    rollout.sync_revision();
    if rollout.deployment.spec.paused || rollout.is_scaling() {
        rollout.scale_proportionally();
        if rollout.deployment.spec.paused {
            rollout.clean_up();
        }
        rollout.estimates_progress = false;
    } else if rollout.deployment.spec.strategy.kind == "Recreate" {
        recreate(rollout);
    } else {
        roll(rollout);
    }
}

fn roll(rollout: &mut Rollout<'_>) {
    if rollout.new_set().is_none() {
        return rollout.create_new_set();
    }
    if rollout.scale_up_new() || rollout.scale_down_old() {
        return;
    }
    if rollout.is_complete() {
        rollout.clean_up();
    }
}

fn recreate(rollout: &mut Rollout<'_>) {
    if rollout.scale_old_to_zero() || old_pods_run(rollout) {
        return;
    }
    if rollout.new_set().is_none() {
        return rollout.create_new_set();
    }
    rollout.scale_new_to(rollout.deployment.spec.replicas);
    if rollout.is_complete() {
        rollout.clean_up();
    }
}

/// Whether a pod of an old set may still run, those that are terminating included.
fn old_pods_run(rollout: &Rollout<'_>) -> bool {
    rollout.old_sets().any(|old| {
        let pods = rollout.view.stores.pods.by(CONTROLLER, &old.object.metadata.uid);
        old.object.status.replicas > 0 || pods.iter().any(|pod: &Arc<Pod>| !pod.is_terminal())
    })
}

fn selects_everything(deployment: &Deployment) -> Plan {
    let mut plan = Plan::none();
    let meta = &deployment.metadata;
    let note = "This deployment is selecting all pods. A non-empty selector is required.".to_owned();
    plan.act(Action::event(event(REPORTER, (DEPLOYMENTS, meta), EventType::Warning, "SelectingAll", note)));
    if deployment.status.observed_generation < meta.generation {
        let body = json!({ "status": { "observedGeneration": meta.generation } });
        plan.act(Action::merge(DEPLOYMENTS, meta, "status", body));
    }
    plan
}

/// A set of the deployment, as it is and as it is to be.
struct Set {
    object: Arc<ReplicaSet>,
    replicas: i64,
    changes: Revisions,
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
