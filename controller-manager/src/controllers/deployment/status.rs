//! What a deployment's status says, and whether the rollout makes progress (upstream's `progress.go`).

use std::time::Duration;

use component::resource::DEPLOYMENTS;
use serde_json::json;

use super::rollout::Rollout;
use crate::controllers::{conditions, without_zeros};
use crate::kinds::{Condition, DeploymentStatus, condition};
use crate::plan::Action;

impl Rollout<'_> {
    /// Whether the status that was last written says that all is done.
    pub fn is_complete(&self) -> bool {
        self.completes(&self.deployment.status)
    }

    fn completes(&self, status: &DeploymentStatus) -> bool {
        let replicas = self.deployment.spec.replicas;
        status.updated_replicas == replicas
            && status.replicas == replicas
            && status.available_replicas == replicas
            && status.observed_generation >= self.deployment.metadata.generation
    }

    /// Adds the status patch to the plan, and the deadline of the next look at the progress.
    pub fn finish_status(&mut self) {
        let mut status = self.counts();
        self.set_availability(&status);
        if self.estimates_progress {
            self.estimate_progress(&status);
            self.copy_replica_failure();
        }
        status.conditions = std::mem::take(&mut self.conditions);
        let finished = self.completes(&status);
        let deadline = self.deployment.spec.progress_deadline_seconds;
        if let Some(progress) = condition(&status.conditions, "Progressing").filter(|_| self.has_progress_deadline())
            && !finished
            && progress.reason != "ProgressDeadlineExceeded"
            && let (Some(updated), Some(deadline)) = (updated(progress), deadline)
        {
            let passed = self.view.now.duration_since(updated);
            let left = Duration::from_secs(deadline.unsigned_abs()).saturating_sub(passed.unsigned_abs());
            self.plan.again_after(left + Duration::from_secs(1));
        }
        if status != self.deployment.status {
            let body = self.status_body(status);
            self.plan.act(Action::merge(DEPLOYMENTS, &self.deployment.metadata, "status", body));
        }
    }

    fn status_body(&self, status: DeploymentStatus) -> serde_json::Value {
        let zeros = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
        ];
        json!({ "status": without_zeros(json!(status), &zeros) })
    }

    fn counts(&self) -> DeploymentStatus {
        let sum = |of: fn(&crate::kinds::ReplicaSetStatus) -> i64| -> i64 {
            self.sets.iter().map(|set| of(&set.object.status)).sum()
        };
        let available = sum(|s| s.available_replicas);
        let wanted: i64 = self.sets.iter().map(|set| set.replicas).sum();
        // Sets that were never synced do not count; one that was and does not say makes the sum unknown.
        let synced = self.sets.iter().map(|s| &s.object.status);
        let synced = synced.filter(|s| s.observed_generation != 0 || s.terminating_replicas.is_some());
        let terminating: Option<i64> = synced.map(|s| s.terminating_replicas).sum();
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: sum(|s| s.replicas),
            updated_replicas: self.new_set().map_or(0, |new| new.object.status.replicas),
            ready_replicas: sum(|s| s.ready_replicas),
            available_replicas: available,
            unavailable_replicas: (wanted - available).max(0),
            terminating_replicas: terminating,
            collision_count: self.collision_count,
            conditions: Vec::new(),
        }
    }

    fn set_availability(&mut self, status: &DeploymentStatus) {
        let enough = status.available_replicas >= self.deployment.spec.replicas - self.max_unavailable();
        let (value, reason, message) = if enough {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        let mut new = Condition::new("Available", value, reason, message, self.view.now);
        new.last_update_time = new.last_transition_time.clone();
        conditions::set(&mut self.conditions, new);
    }

    fn estimate_progress(&mut self, status: &DeploymentStatus) {
        if !self.has_progress_deadline() {
            return conditions::remove(&mut self.conditions, "Progressing");
        }
        let current = condition(&self.conditions, "Progressing").cloned();
        let reason = current.as_ref().map(|c| c.reason.as_str()).unwrap_or_default();
        if status.replicas == status.updated_replicas && reason == "NewReplicaSetAvailable" {
            return;
        }
        let who = match self.new_set() {
            Some(new) => format!("ReplicaSet \"{}\"", new.object.metadata.name),
            None => format!("Deployment \"{}\"", self.deployment.metadata.name),
        };
        if self.completes(status) {
            self.progressing("True", "NewReplicaSetAvailable", &format!("{who} has successfully progressed."));
        } else if self.made_progress(status) {
            // The same reason again must still move the update time.
            conditions::remove(&mut self.conditions, "Progressing");
            self.progressing("True", "ReplicaSetUpdated", &format!("{who} is progressing."));
            if let Some(current) = current.filter(Condition::is_true)
                && let Some(new) = self.conditions.iter_mut().find(|c| c.kind == "Progressing")
            {
                new.last_transition_time = current.last_transition_time;
            }
        } else if current.is_some_and(|current| self.timed_out(&current)) {
            self.progressing("False", "ProgressDeadlineExceeded", &format!("{who} has timed out progressing."));
        }
    }

    fn made_progress(&self, new: &DeploymentStatus) -> bool {
        let old = &self.deployment.status;
        new.updated_replicas > old.updated_replicas
            || new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
            || new.ready_replicas > old.ready_replicas
            || new.available_replicas > old.available_replicas
    }

    fn timed_out(&self, current: &Condition) -> bool {
        match current.reason.as_str() {
            "NewReplicaSetAvailable" => false,
            "ProgressDeadlineExceeded" => true,
            _ => {
                let deadline = self.deployment.spec.progress_deadline_seconds.unwrap_or(i64::MAX);
                updated(current).is_some_and(|at| self.view.now.duration_since(at).as_secs() > deadline)
            }
        }
    }

    /// A set that cannot make or delete pods shows in the deployment, the new one's failure first.
    fn copy_replica_failure(&mut self) {
        let failure = |set: &super::Set| condition(&set.object.status.conditions, "ReplicaFailure").cloned();
        let found = self.new_set().and_then(failure).or_else(|| self.sets.iter().find_map(failure));
        match found {
            Some(mut found) => {
                found.last_update_time = found.last_transition_time.clone();
                conditions::set(&mut self.conditions, found);
            }
            None => conditions::remove(&mut self.conditions, "ReplicaFailure"),
        }
    }
}

fn updated(condition: &Condition) -> Option<jiff::Timestamp> {
    condition.last_update_time.as_ref()?.parse().ok()
}
