//! Deletes Jobs so many seconds after they finished (upstream's `pkg/controller/ttlafterfinished`).

use component::Resource;
use component::client::{DeleteOptions, Preconditions};
use component::resource::JOBS;
use jiff::SignedDuration;

use crate::informers::Informers;
use crate::kinds::Job;
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const RESOURCE: Resource = JOBS;

pub fn watch(informers: &Informers, queue: &Queue) {
    let queue = queue.clone();
    informers.jobs.subscribe(move |delta| {
        let job: &Job = delta.object();
        if job.spec.ttl_seconds_after_finished.is_some() && job.finished().is_some() {
            queue.add(Item::of(RESOURCE, &job.metadata));
        }
    });
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let Some(job) = view.stores.jobs.get(item.namespace(), item.name()) else { return Plan::none() };
    let (Some(ttl), Some(finished)) = (job.spec.ttl_seconds_after_finished, job.finished()) else {
        return Plan::none();
    };
    if job.metadata.is_terminating() {
        return Plan::none();
    }
    let since = finished.transitioned().unwrap_or(view.now);
    let left = SignedDuration::from_secs(ttl) - view.now.duration_since(since);
    let mut plan = Plan::none();
    if left.is_positive() {
        plan.again_after(left.unsigned_abs());
        return plan;
    }
    // With the version: a job whose time to live was just raised stays.
    let options = DeleteOptions {
        propagation_policy: Some("Foreground"),
        preconditions: Some(Preconditions {
            uid: Some(job.metadata.uid.clone()),
            resource_version: Some(job.metadata.resource_version.to_string()),
        }),
        ..DeleteOptions::default()
    };
    plan.act(Action::delete_with(RESOURCE, &job.metadata, options));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;
    use serde_json::json;

    #[test]
    fn a_job_goes_when_its_time_is_over() {
        let mut world = World::new();
        let finished = component::meta::format_time(world.now);
        let job = json!({
            "metadata": { "namespace": "n", "name": "j" },
            "spec": { "ttlSecondsAfterFinished": 30 },
            "status": { "conditions": [{ "type": "Complete", "status": "True", "lastTransitionTime": finished }] },
        });
        world.put(JOBS, job);
        let item = Item::new(JOBS, "n", "j");
        world.pass(10);
        assert_eq!(world.reconcile(reconcile, &item), 0);
        assert_eq!(world.requeued, Some(std::time::Duration::from_secs(20)));
        world.pass(20);
        world.reconcile(reconcile, &item);
        assert_eq!(world.get(JOBS, "n", "j").unwrap()["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    }
}
