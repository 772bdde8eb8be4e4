//! Conditions of workload statuses: set and removed as upstream's `SetCondition` and `RemoveCondition` do.

use crate::kinds::Condition;

/// Adds or replaces the condition of its type, unless status and reason are the same. The transition time stays when the status does.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    if let Some(old) = conditions.iter().find(|c| c.kind == new.kind) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time.clone();
        }
    }
    remove(conditions, &new.kind);
    conditions.push(new);
}

pub fn remove(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.kind != kind);
}
