//! Counts what ResourceQuotas are about and writes it into their status (upstream's `pkg/controller/resourcequota`).
//!
//! Admission charges what is made; this gives back what is gone, and counts from the beginning for a quota that is new. What there
//! is, is asked of the server and not kept: nothing is known of pods and claims here as long as there is no quota.

use std::collections::HashSet;
use std::time::Duration;

use api::quota::{Evaluator, Requirement};
use api::resource_list::{self, ResourceList, list};
use component::resource::{PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES};
use component::{Delta, Resource, Store};
use serde_json::{Map, Value, json};

use crate::informers::Informers;
use crate::kinds::{ContainerStatus, Pod, ResourceQuota, Service};
use crate::plan::{Action, Answer, Plan, Query};
use crate::queue::{Item, Queue};
use crate::runtime::View;

/// How long objects that go are gathered before they are counted: many often go together.
const GATHER: Duration = Duration::from_millis(25);

pub fn watch(informers: &Informers, queue: &Queue) {
    let each = queue.clone();
    informers.resource_quotas.subscribe(move |delta| match delta {
        Delta::Added(quota) => each.add(Item::of(RESOURCE_QUOTAS, &quota.metadata)),
        Delta::Updated { old, new } if old.spec != new.spec || is_behind(new) => {
            each.add(Item::of(RESOURCE_QUOTAS, &new.metadata));
        }
        // A charge.
        Delta::Updated { .. } | Delta::Deleted(_) => {}
    });
    let replenish = Replenish { quotas: informers.resource_quotas.store().clone(), queue: queue.clone() };
    let pods = replenish.clone();
    informers.pods.subscribe(move |delta| match delta {
        Delta::Updated { old, new } if counts_otherwise(old, new) => pods.count(PODS, &new.metadata.namespace),
        _ => {}
    });
    let services = replenish.clone();
    informers.services.subscribe(move |delta| match delta {
        Delta::Updated { old, new } if is_exposed_otherwise(old, new) => {
            services.count(SERVICES, &new.metadata.namespace)
        }
        _ => {}
    });
    for resource in countable() {
        let Some(informer) = informers.all.get(&resource) else { continue };
        let replenish = replenish.clone();
        informer.subscribe_metadata(Box::new(move |change| match change {
            (Some(gone), None) => replenish.count(resource, &gone.namespace),
            (Some(_), Some(claim)) if resource == PERSISTENT_VOLUME_CLAIMS => {
                replenish.count(resource, &claim.namespace)
            }
            _ => {}
        }));
    }
}

/// Wakes the quotas that a change may give something back to.
#[derive(Clone)]
struct Replenish {
    quotas: Store<ResourceQuota>,
    queue: Queue,
}

impl Replenish {
    fn count(&self, resource: Resource, namespace: &str) {
        for quota in self.quotas.in_namespace(namespace) {
            if tracks(&resource, &list(&quota.spec, "hard")) {
                self.queue.add_after(Item::of(RESOURCE_QUOTAS, &quota.metadata), GATHER);
            }
        }
    }
}

/// Whether the status is not about what the spec says now.
fn is_behind(quota: &ResourceQuota) -> bool {
    let hard = list(&quota.spec, "hard");
    let counted = |name: &String| quota.status.used.get(name).is_some() || !countable().any(|r| tracks_name(&r, name));
    hard != resource_list::amounts(&quota.status.hard) || !hard.keys().all(counted)
}

fn counts_otherwise(old: &Pod, new: &Pod) -> bool {
    let has_deadline = |pod: &Pod| pod.spec.active_deadline_seconds.is_some();
    let resized = |old: &[ContainerStatus], new: &[ContainerStatus]| {
        old.iter().any(|old| new.iter().any(|new| new.name == old.name && new.resources != old.resources))
    };
    let (was, is) = (&old.status, &new.status);
    (!old.is_terminal() && new.is_terminal())
        || has_deadline(old) != has_deadline(new)
        || resized(&was.container_statuses, &is.container_statuses)
        || resized(&was.init_container_statuses, &is.init_container_statuses)
}

fn is_exposed_otherwise(old: &Service, new: &Service) -> bool {
    old.spec.kind != new.spec.kind || old.spec.ports.len() != new.spec.ports.len()
}

/// The resources whose objects quotas can count, each in one version.
fn countable() -> impl Iterator<Item = Resource> {
    let mut seen = HashSet::new();
    let whole = |kind: &api::kinds::Kind| ["create", "list", "watch", "delete"].iter().all(|verb| kind.has_verb(verb));
    let kinds = api::kinds::KINDS.iter().filter(move |kind| kind.namespaced && whole(kind));
    kinds
        .filter(move |kind| {
            Evaluator::of(kind.group, kind.resource).is_some() && seen.insert((kind.group, kind.resource))
        })
        .map(Resource::of)
}

fn tracks_name(resource: &Resource, name: &str) -> bool {
    Evaluator::of(resource.group, resource.plural).is_some_and(|evaluator| evaluator.tracks(name))
}

fn tracks(resource: &Resource, hard: &ResourceList) -> bool {
    hard.keys().any(|name| tracks_name(resource, name))
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    let Some(known) = view.stores.resource_quotas.get(item.namespace(), item.name()) else { return Plan::none() };
    // It is read before what it counts, and written only in this version: a charge in between is not overwritten.
    let read = Query::Read(RESOURCE_QUOTAS, item.namespace().to_owned(), item.name().to_owned());
    let quota = match view.answers.get(&read) {
        None => return Plan::ask(vec![read]),
        Some(Answer::Object(Some(quota))) => quota,
        Some(Answer::Failed(message)) => return Plan { retry: Some(message.clone()), ..Plan::none() },
        Some(_) => return Plan::none(),
    };
    let hard = list(quota, "spec.hard");
    let requirements = quota.get("spec").map(Requirement::all).unwrap_or_default();
    let counted: Vec<(Resource, Query)> = countable()
        .filter(|resource| tracks(resource, &hard))
        .map(|resource| (resource, Query::Usage(resource, item.namespace().to_owned(), requirements.clone())))
        .collect();
    let open = counted.iter().map(|(_, query)| query).filter(|query| !view.answers.contains_key(query));
    let open: Vec<Query> = open.cloned().collect();
    if !open.is_empty() {
        return Plan::ask(open);
    }
    let (counts, failures) = sum(view, &hard, &counted);
    let mut used = list(quota, "status.used");
    used.extend(counts);
    used.retain(|name, _| hard.contains_key(name));
    let mut plan = Plan::none();
    plan.again_after(view.options.resource_quota_sync_period);
    if hard != list(quota, "status.hard") || used != list(quota, "status.used") {
        plan.act(Action::merge(RESOURCE_QUOTAS, &known.metadata, "status", status_patch(quota, &used)));
    }
    if !failures.is_empty() {
        plan.retry = Some(failures.join(", "));
    }
    plan
}

/// What was counted in all, and why something could not be.
fn sum(view: &View<'_>, hard: &ResourceList, counted: &[(Resource, Query)]) -> (ResourceList, Vec<String>) {
    let (mut sum, mut failures) = (ResourceList::new(), Vec::new());
    for (resource, query) in counted {
        match view.answers.get(query) {
            Some(Answer::Usage(usage)) => {
                for name in hard.keys().filter(|name| tracks_name(resource, name)) {
                    sum.entry(name.clone()).or_insert(resource_list::NONE);
                }
                resource_list::add(&mut sum, usage);
            }
            Some(Answer::Failed(message)) => failures.push(message.clone()),
            _ => {}
        }
    }
    (sum, failures)
}

/// The patch that makes this the status of the quota.
fn status_patch(quota: &Value, used: &ResourceList) -> Value {
    let at = |path: &str| api::document::get_map(quota, path).cloned().unwrap_or_default();
    let used = used.iter().map(|(name, amount)| (name.clone(), amount.to_string().into()));
    let replaced = |new: Map<String, Value>, old: Map<String, Value>| {
        // What is left out of a merge patch stays.
        let mut patch: Map<String, Value> = old.into_iter().map(|(name, _)| (name, Value::Null)).collect();
        patch.extend(new);
        patch
    };
    json!({
        "metadata": { "resourceVersion": api::document::resource_version(quota) },
        "status": {
            "hard": replaced(at("spec.hard"), at("status.hard")),
            "used": replaced(used.collect(), at("status.used")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    fn pod(name: &str, phase: &str) -> Value {
        json!({
            "metadata": { "name": name, "namespace": "n" },
            "spec": { "containers": [{ "name": "a", "resources": { "requests": { "cpu": "500m" } } }] },
            "status": { "phase": phase, "qosClass": "Burstable" },
        })
    }

    fn quota(spec: Value) -> Value {
        json!({ "metadata": { "name": "q", "namespace": "n" }, "spec": spec })
    }

    fn item() -> Item {
        Item::new(RESOURCE_QUOTAS, "n", "q")
    }

    #[test]
    fn a_new_quota_gets_its_status() {
        let mut world = World::new();
        world.put(PODS, pod("a", "Running"));
        world.put(PODS, pod("b", "Succeeded"));
        let hard = json!({ "pods": "2", "count/pods": "9", "cpu": "2", "services": "1", "resourcequotas": "1", "count/foos.example.com": "1" });
        world.put(RESOURCE_QUOTAS, quota(json!({ "hard": hard })));
        assert!(is_behind(&world.stores.resource_quotas.get("n", "q").unwrap()));
        assert_eq!(world.reconcile(reconcile, &item()), 1);
        let used = json!({ "pods": "1", "count/pods": "2", "cpu": "500m", "services": "0", "resourcequotas": "1" });
        assert_eq!(world.get(RESOURCE_QUOTAS, "n", "q").unwrap()["status"], json!({ "hard": hard, "used": used }));
        assert!(!is_behind(&world.stores.resource_quotas.get("n", "q").unwrap()));
        assert_eq!(world.reconcile(reconcile, &item()), 0, "nothing has changed");
        assert_eq!(world.requeued, Some(Duration::from_secs(300)));
    }

    #[test]
    fn what_is_no_longer_limited_leaves_the_status() {
        let mut world = World::new();
        world.put(RESOURCE_QUOTAS, quota(json!({ "hard": { "pods": "2", "services": "2" } })));
        world.reconcile(reconcile, &item());
        world.change(RESOURCE_QUOTAS, "n", "q", json!({ "spec": { "hard": { "services": null, "pods": "3" } } }));
        assert!(is_behind(&world.stores.resource_quotas.get("n", "q").unwrap()));
        world.reconcile(reconcile, &item());
        let status = &world.get(RESOURCE_QUOTAS, "n", "q").unwrap()["status"];
        assert_eq!(*status, json!({ "hard": { "pods": "3" }, "used": { "pods": "0" } }));
    }

    #[test]
    fn only_what_meets_the_scopes_counts() {
        let mut world = World::new();
        world.put(PODS, pod("a", "Running"));
        let mut effortless = pod("b", "Running");
        effortless["status"]["qosClass"] = json!("BestEffort");
        world.put(PODS, effortless);
        world.put(RESOURCE_QUOTAS, quota(json!({ "hard": { "pods": "2" }, "scopes": ["BestEffort"] })));
        world.reconcile(reconcile, &item());
        assert_eq!(world.get(RESOURCE_QUOTAS, "n", "q").unwrap()["status"]["used"], json!({ "pods": "1" }));
    }

    #[test]
    fn pods_that_end_or_change_their_resources_are_counted_again() {
        let read = |value: Value| serde_json::from_str::<Pod>(&value.to_string()).unwrap();
        let mut new = pod("a", "Running");
        assert!(!counts_otherwise(&read(pod("a", "Pending")), &read(new.clone())));
        assert!(counts_otherwise(&read(new.clone()), &read(pod("a", "Failed"))));
        let status = |cpu: &str| json!([{ "name": "a", "resources": { "requests": { "cpu": cpu } } }]);
        new["status"]["containerStatuses"] = status("1");
        let mut resized = new.clone();
        resized["status"]["containerStatuses"] = status("2");
        assert!(counts_otherwise(&read(new.clone()), &read(resized)));
        let mut limited = new.clone();
        limited["spec"]["activeDeadlineSeconds"] = json!(5);
        assert!(counts_otherwise(&read(new), &read(limited)));
    }
}
