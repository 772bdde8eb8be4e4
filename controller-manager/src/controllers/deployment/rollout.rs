//! A rollout under way: which set is new, what is created and deleted, and how it all ends as a plan.

use std::sync::Arc;

use component::events::EventType;
use component::resource::{DEPLOYMENTS, REPLICA_SETS};
use serde_json::{Value, json};

use super::revision::{self, HASH_LABEL, REVISION, Revisions, annotations, canonical, hash, revision};
use super::{REPORTER, Set};
use crate::controllers::claim::controller_reference;
use crate::controllers::{child, conditions, event};
use crate::kinds::{Condition, Deployment, ReplicaSet, condition, template};
use crate::plan::{Action, Plan};
use crate::runtime::View;

pub struct Rollout<'a> {
    pub view: &'a View<'a>,
    pub deployment: &'a Deployment,
    /// All sets, the oldest first.
    pub sets: Vec<Set>,
    new: Option<usize>,
    pub conditions: Vec<Condition>,
    pub collision_count: Option<i64>,
    /// The revision that the deployment is to carry.
    revision: Option<String>,
    /// False where the status is only counted: when scaling, paused or being deleted.
    pub estimates_progress: bool,
    pub plan: Plan,
}

impl<'a> Rollout<'a> {
    pub fn new(view: &'a View<'a>, deployment: &'a Deployment, mut sets: Vec<Arc<ReplicaSet>>, plan: Plan) -> Self {
        sets.sort_by(|a, b| {
            let age = |set: &ReplicaSet| set.metadata.creation_timestamp;
            age(a).cmp(&age(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
        });
        let wanted = canonical(template(&deployment.spec.template));
        // Of several sets with the template the oldest is the new one.
        let new = sets.iter().position(|set| canonical(template(&set.spec.template)) == wanted);
        let sets =
            sets.into_iter().map(|object| Set { replicas: object.spec.replicas, object, changes: Revisions::new() });
        Rollout {
            view,
            deployment,
            sets: sets.collect(),
            new,
            conditions: deployment.status.conditions.clone(),
            collision_count: deployment.status.collision_count,
            revision: None,
            estimates_progress: !deployment.metadata.is_terminating(),
            plan,
        }
    }

    pub fn new_set(&self) -> Option<&Set> {
        self.new.map(|at| &self.sets[at])
    }

    pub fn new_index(&self) -> Option<usize> {
        self.new
    }

    pub fn old_sets(&self) -> impl Iterator<Item = &Set> {
        let new = self.new;
        self.sets.iter().enumerate().filter(move |(at, _)| Some(*at) != new).map(|(_, set)| set)
    }

    pub fn has_progress_deadline(&self) -> bool {
        self.deployment.spec.progress_deadline_seconds.is_some_and(|s| s != i64::from(i32::MAX))
    }

    pub fn progressing(&mut self, status: &str, reason: &str, message: &str) {
        let mut new = Condition::new("Progressing", status, reason, message, self.view.now);
        new.last_update_time = new.last_transition_time.clone();
        conditions::set(&mut self.conditions, new);
    }

    /// A pause stops the clock of the progress deadline.
    pub fn note_pause(&mut self) {
        let reason = condition(&self.conditions, "Progressing").map(|c| c.reason.as_str()).unwrap_or_default();
        if !self.has_progress_deadline() || reason == "ProgressDeadlineExceeded" {
            return;
        }
        match (self.deployment.spec.paused, reason == "DeploymentPaused") {
            (true, false) => self.progressing("Unknown", "DeploymentPaused", "Deployment is paused"),
            (false, true) => self.progressing("Unknown", "DeploymentResumed", "Deployment is resumed"),
            _ => {}
        }
    }

    /// Brings the annotations of the new set, if there is one, and the deployment's revision up to date.
    pub fn sync_revision(&mut self) {
        let next = self.old_sets().map(|set| revision(&set.object.metadata)).max().unwrap_or_default() + 1;
        let Some(at) = self.new else { return };
        let meta = &self.sets[at].object.metadata;
        let changes = annotations(self.deployment, meta, next);
        let carried = changes.get(REVISION).map(String::as_str).or(meta.annotations.get(REVISION));
        self.revision = carried.map(str::to_owned);
        let name = meta.name.clone();
        self.sets[at].changes.extend(changes);
        if self.has_progress_deadline() && condition(&self.conditions, "Progressing").is_none() {
            self.progressing("True", "FoundNewReplicaSet", &format!("Found new replica set \"{name}\""));
        }
    }

    /// Creates the set for the deployment's template. The rollout goes on when it is there.
    pub fn create_new_set(&mut self) {
        let meta = &self.deployment.metadata;
        let template = template(&self.deployment.spec.template);
        let hash = hash(&canonical(template.clone()), self.collision_count.unwrap_or_default());
        let prefix = meta.name.get(..252 - hash.len()).unwrap_or(&meta.name);
        let name = format!("{prefix}-{hash}");
        if self.view.stores.replica_sets.get(&meta.namespace, &name).is_some() {
            // Its template is another one, or it is not ours: the next try gets another hash.
            self.collision_count = Some(self.collision_count.unwrap_or_default() + 1);
            return;
        }
        let next = self.old_sets().map(|set| revision(&set.object.metadata)).max().unwrap_or_default() + 1;
        let replicas = self.new_set_replicas(0);
        let body = self.new_set_body(&name, &hash, template, replicas, next);
        let say = |kind, reason, note| event(REPORTER, (DEPLOYMENTS, meta), kind, reason, note);
        let note = format!("Scaled up replica set {name} from 0 to {replicas}");
        let scaled = (replicas > 0).then(|| say(EventType::Normal, "ScalingReplicaSet", note));
        let failure = format!("Failed to create new replica set \"{name}\": {{error}}");
        let failed = say(EventType::Warning, "ReplicaSetCreateError", failure);
        self.plan.act(Action::create(REPLICA_SETS, &meta.namespace, body).reporting(scaled, Some(failed)));
        self.revision = Some(next.to_string());
        if self.has_progress_deadline() {
            self.fail_progress_with(&name);
            self.progressing("True", "NewReplicaSetCreated", &format!("Created new replica set \"{name}\""));
        }
    }

    /// What the status says when the new set cannot be created.
    fn fail_progress_with(&mut self, name: &str) {
        let (mut conditions, now) = (self.conditions.clone(), self.view.now);
        let (name, meta) = (name.to_owned(), self.deployment.metadata.clone());
        self.plan.on_failure = Some(Box::new(move |error| {
            // Only the cache is behind; the next look finds the set.
            if error.ends_with("already exists") {
                return Vec::new();
            }
            let message = format!("Failed to create new replica set \"{name}\": {error}");
            let mut failed = Condition::new("Progressing", "False", "ReplicaSetCreateError", &message, now);
            failed.last_update_time = failed.last_transition_time.clone();
            conditions::set(&mut conditions, failed);
            vec![Action::merge(DEPLOYMENTS, &meta, "status", json!({ "status": { "conditions": conditions } }))]
        }));
    }

    fn new_set_body(&self, name: &str, hash: &str, mut template: Value, replicas: i64, next: i64) -> Value {
        let meta = &self.deployment.metadata;
        child(child_value(&mut template, "metadata"), "labels").insert(HASH_LABEL.to_owned(), hash.into());
        let mut selector = json!(self.deployment.spec.selector);
        child(&mut selector, "matchLabels").insert(HASH_LABEL.to_owned(), hash.into());
        let mut annotations = annotations(self.deployment, &component::Meta::default(), next);
        annotations.extend(self.size_annotations());
        let mut body = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": meta.namespace,
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [controller_reference(DEPLOYMENTS, meta)],
            },
            "spec": { "replicas": replicas, "selector": selector, "template": template },
        });
        if self.deployment.spec.min_ready_seconds > 0 {
            body["spec"]["minReadySeconds"] = self.deployment.spec.min_ready_seconds.into();
        }
        body
    }

    /// Deletes the oldest sets beyond the history limit, those without pods.
    pub fn clean_up(&mut self) {
        let Some(limit) = self.deployment.spec.revision_history_limit.filter(|l| *l != i64::from(i32::MAX)) else {
            return;
        };
        let mut old: Vec<Arc<ReplicaSet>> =
            self.old_sets().filter(|s| !s.object.metadata.is_terminating()).map(|s| s.object.clone()).collect();
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        old.sort_by_key(|set| revision(&set.metadata));
        old.truncate(surplus);
        old.retain(|set| {
            let observed = set.metadata.generation <= set.status.observed_generation;
            set.status.replicas == 0 && set.spec.replicas == 0 && observed
        });
        self.plan.each(old.iter().map(|set| Action::delete(REPLICA_SETS, &set.metadata)).collect());
    }

    /// The plan: sets first, then the deployment's revision and status.
    pub fn finish(mut self) -> Plan {
        let patches: Vec<Action> = self.sets.iter().filter_map(|set| self.set_patch(set)).collect();
        for patch in patches {
            self.plan.act(patch);
        }
        let meta = &self.deployment.metadata;
        if let Some(revision) = self.revision.take().filter(|r| meta.annotations.get(revision::REVISION) != Some(r)) {
            let body = json!({ "metadata": { "annotations": { REVISION: revision } } });
            // Through the status: a changed annotation of the object itself would raise its generation.
            self.plan.act(Action::merge(DEPLOYMENTS, meta, "status", body));
        }
        self.finish_status();
        self.plan
    }

    fn set_patch(&self, set: &Set) -> Option<Action> {
        let meta = &set.object.metadata;
        let is_new = self.new_set().is_some_and(|new| new.object.metadata.uid == meta.uid);
        let min_ready = self.deployment.spec.min_ready_seconds;
        let mut spec = json!({});
        if set.replicas != set.object.spec.replicas {
            spec["replicas"] = set.replicas.into();
        }
        if is_new && self.estimates_or_scales() && min_ready != set.object.spec.min_ready_seconds {
            spec["minReadySeconds"] = min_ready.into();
        }
        let changed = |(key, value): &(&String, &String)| meta.annotations.get(key) != Some(value.as_str());
        let annotations: Revisions = set.changes.iter().filter(changed).map(|(k, v)| (k.clone(), v.clone())).collect();
        if annotations.is_empty() && spec.as_object().is_none_or(|s| s.is_empty()) {
            return None;
        }
        // The revision is the precondition: the decision was made on this version.
        let mut body = json!({ "metadata": { "resourceVersion": meta.resource_version.to_string() }, "spec": spec });
        if !annotations.is_empty() {
            body["metadata"]["annotations"] = json!(annotations);
        }
        let (from, to) = (set.object.spec.replicas, set.replicas);
        let scaled = (from != to).then(|| {
            let direction = if from < to { "up" } else { "down" };
            let note = format!("Scaled {direction} replica set {} from {from} to {to}", meta.name);
            let about = (DEPLOYMENTS, &self.deployment.metadata);
            event(REPORTER, about, EventType::Normal, "ScalingReplicaSet", note)
        });
        Some(Action::merge(REPLICA_SETS, meta, "", body).reporting(scaled, None))
    }

    fn estimates_or_scales(&self) -> bool {
        !self.deployment.metadata.is_terminating()
    }
}

/// A child of a tree, as a value; made when it is missing.
fn child_value<'v>(value: &'v mut Value, key: &str) -> &'v mut Value {
    api::document::as_map(value).entry(key).or_insert_with(|| json!({}))
}
