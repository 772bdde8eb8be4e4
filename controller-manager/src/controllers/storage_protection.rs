//! Lets claims, volumes and classes of volume attributes go that are deleted, once nobody uses them (upstream's
//! `pkg/controller/volume/pvcprotection`, `pvprotection` and `vacprotection`). Admission protects new ones; those that were made without it are protected here.

use component::resource::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES};
use component::{Delta, Informer, Meta, Projection, Resource};
use serde_json::json;

use crate::informers::{ATTRIBUTES_CLASS, CLAIM, Informers};
use crate::kinds::{PersistentVolume, PersistentVolumeClaim, Pod};
use crate::plan::{Action, Plan};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
const ATTRIBUTES_CLASS_PROTECTION: &str = "kubernetes.io/vac-protection";

pub fn watch_claims(informers: &Informers, queue: &Queue) {
    let each = queue.clone();
    informers.claims.subscribe(move |delta| {
        if change(&delta.object().metadata, CLAIM_PROTECTION).is_some() {
            each.add(Item::of(PERSISTENT_VOLUME_CLAIMS, &delta.object().metadata));
        }
    });
    let (wake, claims) = (queue.clone(), informers.stores().claims.clone());
    informers.pods.subscribe(move |delta| {
        // A name may have come to another pod in between.
        let old = if let Delta::Updated { old, .. } = delta { Some(old) } else { None };
        for pod in old.into_iter().chain([delta.object()]) {
            for (name, _) in claims_of(pod) {
                if claims.get(&pod.metadata.namespace, &name).is_some_and(|claim| claim.metadata.is_terminating()) {
                    wake.add(Item::new(PERSISTENT_VOLUME_CLAIMS, &pod.metadata.namespace, &name));
                }
            }
        }
    });
}

pub fn watch_volumes(informers: &Informers, queue: &Queue) {
    let queue = queue.clone();
    informers.volumes.subscribe(move |delta| {
        if change(&delta.object().metadata, VOLUME_PROTECTION).is_some() {
            queue.add(Item::of(PERSISTENT_VOLUMES, &delta.object().metadata));
        }
    });
}

pub fn watch_attributes_classes(informers: &Informers, queue: &Queue) {
    let each = queue.clone();
    informers.attributes_classes.subscribe(move |delta| {
        if change(&delta.object().metadata, ATTRIBUTES_CLASS_PROTECTION).is_some() {
            each.add(Item::of(VOLUME_ATTRIBUTES_CLASSES, &delta.object().metadata));
        }
    });
    wake_given_up(&informers.claims, queue);
    wake_given_up(&informers.volumes, queue);
}

/// What names classes of volume attributes.
pub trait Attributed: Projection {
    fn add_classes(&self, add: &mut dyn FnMut(&str));
}

impl Attributed for PersistentVolume {
    fn add_classes(&self, add: &mut dyn FnMut(&str)) {
        self.spec.volume_attributes_class_name.iter().for_each(|class| add(class));
    }
}

impl Attributed for PersistentVolumeClaim {
    fn add_classes(&self, add: &mut dyn FnMut(&str)) {
        let target =
            self.status.modify_volume_status.as_ref().map(|status| &status.target_volume_attributes_class_name);
        let named = [&self.spec.volume_attributes_class_name, &self.status.current_volume_attributes_class_name];
        named.into_iter().flatten().chain(target).for_each(|class| add(class));
    }
}

/// Looks at a class when one that named it may do so no longer.
fn wake_given_up<T: Attributed>(informer: &Informer<T>, queue: &Queue) {
    let queue = queue.clone();
    informer.subscribe(move |delta| {
        if let Delta::Updated { old, .. } | Delta::Deleted(old) = delta {
            old.add_classes(&mut |class| queue.add(Item::new(VOLUME_ATTRIBUTES_CLASSES, "", class)));
        }
    });
}

pub fn reconcile_attributes_class(view: &View<'_>, item: &Item) -> Plan {
    let Some(class) = view.stores.attributes_classes.get("", item.name()) else { return Plan::none() };
    let is_used = || {
        !view.stores.volumes.by(ATTRIBUTES_CLASS, item.name()).is_empty()
            || !view.stores.claims.by(ATTRIBUTES_CLASS, item.name()).is_empty()
    };
    protect(VOLUME_ATTRIBUTES_CLASSES, &class.metadata, ATTRIBUTES_CLASS_PROTECTION, is_used)
}

pub fn reconcile_claim(view: &View<'_>, item: &Item) -> Plan {
    let Some(claim) = view.stores.claims.get(item.namespace(), item.name()) else { return Plan::none() };
    let key = format!("{}/{}", item.namespace(), item.name());
    let is_used = || view.stores.pods.by(CLAIM, &key).iter().any(|pod| uses(pod, &claim.metadata));
    protect(PERSISTENT_VOLUME_CLAIMS, &claim.metadata, CLAIM_PROTECTION, is_used)
}

pub fn reconcile_volume(view: &View<'_>, item: &Item) -> Plan {
    let Some(volume) = view.stores.volumes.get("", item.name()) else { return Plan::none() };
    protect(PERSISTENT_VOLUMES, &volume.metadata, VOLUME_PROTECTION, || volume.status.phase == "Bound")
}

/// The claims that a pod's volumes name, and whether the pod has each made for itself.
pub fn claims_of(pod: &Pod) -> impl Iterator<Item = (String, bool)> {
    pod.spec.volumes.iter().filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some((claim.claim_name.clone(), false)),
        (None, Some(_)) => Some((format!("{}-{}", pod.metadata.name, volume.name), true)),
        (None, None) => None,
    })
}

/// Whether a pod holds a claim. One that is on no node does not: no kubelet starts it while the claim is being deleted.
fn uses(pod: &Pod, claim: &Meta) -> bool {
    let shut_down = pod.metadata.is_terminating() && pod.metadata.deletion_grace_period_seconds == Some(0);
    let made_for = || claim.owner_references.iter().any(|owner| owner.uid == pod.metadata.uid);
    !pod.spec.node_name.is_empty()
        && claims_of(pod).any(|(name, own)| name == claim.name && (!own || (!shut_down && made_for())))
}

/// The finalizers that an object is to have; `None` where nothing is to be done, or only once nobody uses it.
fn change(meta: &Meta, finalizer: &str) -> Option<Vec<String>> {
    let protected = meta.finalizers.iter().any(|known| known == finalizer);
    let others = meta.finalizers.iter().filter(|known| *known != finalizer).cloned();
    match (meta.is_terminating(), protected) {
        (true, true) => Some(others.collect()),
        (false, false) => Some(others.chain([finalizer.to_owned()]).collect()),
        _ => None,
    }
}

fn protect(resource: Resource, meta: &Meta, finalizer: &str, is_used: impl Fn() -> bool) -> Plan {
    let mut plan = Plan::none();
    if let Some(finalizers) = change(meta, finalizer).filter(|_| !(meta.is_terminating() && is_used())) {
        let version = meta.resource_version.to_string();
        let body = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": version } });
        plan.act(Action::merge(resource, meta, "", body));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;
    use component::resource::PODS;

    const DELETED: &str = "2027-01-15T08:00:00Z";

    fn claim(world: &mut World) -> Item {
        let metadata = json!({ "namespace": "n", "name": "c", "finalizers": [CLAIM_PROTECTION] });
        world.put(PERSISTENT_VOLUME_CLAIMS, json!({ "metadata": metadata }));
        Item::new(PERSISTENT_VOLUME_CLAIMS, "n", "c")
    }

    fn pod(node: &str) -> serde_json::Value {
        let volumes = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }]);
        json!({ "metadata": { "namespace": "n", "name": "p" }, "spec": { "nodeName": node, "volumes": volumes } })
    }

    fn delete(world: &mut World, item: &Item) -> bool {
        world.change(PERSISTENT_VOLUME_CLAIMS, "n", "c", json!({ "metadata": { "deletionTimestamp": DELETED } }));
        world.reconcile(reconcile_claim, item);
        world.get(PERSISTENT_VOLUME_CLAIMS, "n", "c").is_none()
    }

    #[test]
    fn a_claim_waits_for_the_pods_that_use_it() {
        let mut world = World::new();
        let item = claim(&mut world);
        assert_eq!(world.reconcile(reconcile_claim, &item), 0);
        world.put(PODS, pod("node"));
        assert!(!delete(&mut world, &item));
        world.delete(PODS, "n", "p", None);
        world.reconcile(reconcile_claim, &item);
        assert!(world.get(PERSISTENT_VOLUME_CLAIMS, "n", "c").is_none());
    }

    #[test]
    fn one_that_nobody_uses_goes_at_once() {
        let mut world = World::new();
        let item = claim(&mut world);
        assert!(delete(&mut world, &item));
        // A pod that is on no node does not hold it.
        let item = claim(&mut world);
        world.put(PODS, pod(""));
        assert!(delete(&mut world, &item));
    }

    #[test]
    fn a_volume_waits_until_it_is_released() {
        let mut world = World::new();
        let item = Item::new(PERSISTENT_VOLUMES, "", "v");
        world.put(PERSISTENT_VOLUMES, json!({ "metadata": { "name": "v" }, "status": { "phase": "Bound" } }));
        world.reconcile(reconcile_volume, &item);
        let volume = world.get(PERSISTENT_VOLUMES, "", "v").unwrap();
        assert_eq!(volume["metadata"]["finalizers"], json!([VOLUME_PROTECTION]));
        world.change(PERSISTENT_VOLUMES, "", "v", json!({ "metadata": { "deletionTimestamp": DELETED } }));
        assert_eq!(world.reconcile(reconcile_volume, &item), 0);
        world.change(PERSISTENT_VOLUMES, "", "v", json!({ "status": { "phase": "Released" } }));
        world.reconcile(reconcile_volume, &item);
        assert!(world.get(PERSISTENT_VOLUMES, "", "v").is_none());
    }

    #[test]
    fn a_class_waits_until_nobody_names_it() {
        let mut world = World::new();
        let class = |world: &mut World| {
            let metadata =
                json!({ "name": "fast", "finalizers": [ATTRIBUTES_CLASS_PROTECTION], "deletionTimestamp": DELETED });
            world.put(VOLUME_ATTRIBUTES_CLASSES, json!({ "metadata": metadata }));
            world.reconcile(reconcile_attributes_class, &Item::new(VOLUME_ATTRIBUTES_CLASSES, "", "fast"));
            world.get(VOLUME_ATTRIBUTES_CLASSES, "", "fast").is_some()
        };
        let named = json!({ "volumeAttributesClassName": "fast" });
        world.put(PERSISTENT_VOLUMES, json!({ "metadata": { "name": "v" }, "spec": named }));
        assert!(class(&mut world));
        world.change(PERSISTENT_VOLUMES, "", "v", json!({ "spec": { "volumeAttributesClassName": "other" } }));
        for (part, naming) in [
            ("spec", named),
            ("status", json!({ "currentVolumeAttributesClassName": "fast" })),
            ("status", json!({ "modifyVolumeStatus": { "targetVolumeAttributesClassName": "fast" } })),
        ] {
            world.put(PERSISTENT_VOLUME_CLAIMS, json!({ "metadata": { "namespace": "n", "name": "c" }, part: naming }));
            assert!(class(&mut world), "{part}");
        }
        world.put(PERSISTENT_VOLUME_CLAIMS, json!({ "metadata": { "namespace": "n", "name": "c" } }));
        assert!(!class(&mut world));
    }
}
