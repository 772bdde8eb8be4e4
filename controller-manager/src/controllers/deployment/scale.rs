//! How many replicas each set of a deployment gets.

use super::revision::{DESIRED_REPLICAS, MAX_REPLICAS, Revisions, count};
use super::rollout::Rollout;
use crate::kinds::IntOrString;

/// `maxSurge` and `maxUnavailable` in pods. When both come to nothing one pod may be unavailable, or no rollout could move.
pub fn fenceposts(surge: Option<&IntOrString>, unavailable: Option<&IntOrString>, replicas: i64) -> (i64, i64) {
    let surge = surge.map_or(0, |value| value.of(replicas, true));
    let unavailable = unavailable.map_or(0, |value| value.of(replicas, false));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

impl Rollout<'_> {
    fn is_rolling(&self) -> bool {
        self.deployment.spec.strategy.kind != "Recreate"
    }

    fn fenceposts(&self) -> (i64, i64) {
        let rolling = &self.deployment.spec.strategy.rolling_update;
        fenceposts(rolling.max_surge.as_ref(), rolling.max_unavailable.as_ref(), self.deployment.spec.replicas)
    }

    fn max_surge(&self) -> i64 {
        if self.is_rolling() { self.fenceposts().0 } else { 0 }
    }

    pub fn max_unavailable(&self) -> i64 {
        let replicas = self.deployment.spec.replicas;
        if self.is_rolling() && replicas > 0 { self.fenceposts().1.min(replicas) } else { 0 }
    }

    pub fn size_annotations(&self) -> Revisions {
        let replicas = self.deployment.spec.replicas;
        Revisions::from([
            (DESIRED_REPLICAS.to_owned(), replicas.to_string()),
            (MAX_REPLICAS.to_owned(), (replicas + self.max_surge()).to_string()),
        ])
    }

    /// Replicas of all sets, as they are to be.
    fn total(&self) -> i64 {
        self.sets.iter().map(|set| set.replicas).sum()
    }

    /// Gives a set another size; true when that is a change.
    fn resize(&mut self, at: usize, replicas: i64) -> bool {
        if self.sets[at].replicas == replicas {
            return false;
        }
        let annotations = self.size_annotations();
        self.sets[at].replicas = replicas;
        self.sets[at].changes.extend(annotations);
        true
    }

    /// The sets but the new one that have replicas, the oldest first.
    fn active_old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|at| Some(*at) != self.new_index() && self.sets[*at].replicas > 0).collect()
    }

    /// How large the new set may be now, when it has `current` replicas.
    pub fn new_set_replicas(&self, current: i64) -> i64 {
        let replicas = self.deployment.spec.replicas;
        if !self.is_rolling() {
            return replicas;
        }
        let surge = self.deployment.spec.strategy.rolling_update.max_surge.as_ref();
        let room = replicas + surge.map_or(0, |value| value.of(replicas, true)) - self.total();
        if room <= 0 { current } else { current + room.min(replicas - current) }
    }

    pub fn scale_new_to(&mut self, replicas: i64) -> bool {
        self.new_index().is_some_and(|at| self.resize(at, replicas))
    }

    /// Takes the new set towards its full size; true when that changes something.
    pub fn scale_up_new(&mut self) -> bool {
        let Some(current) = self.new_set().map(|set| set.replicas) else { return false };
        let replicas = self.deployment.spec.replicas;
        let next = if current > replicas { replicas } else { self.new_set_replicas(current) };
        current != replicas && self.scale_new_to(next)
    }

    pub fn scale_old_to_zero(&mut self) -> bool {
        let old = self.active_old();
        for at in &old {
            self.resize(*at, 0);
        }
        !old.is_empty()
    }

    /// Takes the old sets down as far as availability allows, unhealthy replicas first; true when that changes something.
    pub fn scale_down_old(&mut self) -> bool {
        let old = self.active_old();
        let min_available = self.deployment.spec.replicas - self.max_unavailable();
        let new_unavailable = self.new_set().map_or(0, |new| new.replicas - new.object.status.available_replicas);
        let allowed = self.total() - min_available - new_unavailable;
        if old.is_empty() || allowed <= 0 {
            return false;
        }
        let mut unhealthy = 0;
        for at in &old {
            let (replicas, available) = (self.sets[*at].replicas, self.sets[*at].object.status.available_replicas);
            let down = (allowed - unhealthy).min(replicas - available);
            if down > 0 {
                self.resize(*at, replicas - down);
                unhealthy += down;
            }
        }
        let available: i64 = self.sets.iter().map(|set| set.object.status.available_replicas).sum();
        let mut left = available - min_available;
        let mut healthy = 0;
        for at in old {
            let down = self.sets[at].replicas.min(left);
            if down > 0 {
                self.resize(at, self.sets[at].replicas - down);
                left -= down;
                healthy += down;
            }
        }
        unhealthy + healthy > 0
    }

    /// Whether the deployment's size was changed since its sets were last scaled.
    pub fn is_scaling(&self) -> bool {
        let desired = |at: &usize| count(&self.sets[*at].object.metadata, DESIRED_REPLICAS);
        let active = (0..self.sets.len()).filter(|at| self.sets[*at].replicas > 0);
        active.filter_map(|at| desired(&at)).any(|desired| desired != self.deployment.spec.replicas)
    }

    /// Scales without taking a rollout further: a single set to the full size, several in proportion to their sizes.
    pub fn scale_proportionally(&mut self) {
        let replicas = self.deployment.spec.replicas;
        let active: Vec<usize> = (0..self.sets.len()).filter(|at| self.sets[*at].replicas > 0).collect();
        let newest = self.new_index().or(self.sets.len().checked_sub(1));
        let only = if active.len() > 1 { None } else { active.first().copied().or(newest) };
        if let Some(only) = only {
            self.resize(only, replicas);
        } else if self.new_is_saturated() {
            self.scale_old_to_zero();
        } else if self.is_rolling() {
            self.share_out(active);
        }
    }

    fn new_is_saturated(&self) -> bool {
        let replicas = self.deployment.spec.replicas;
        self.new_set().is_some_and(|new| {
            new.replicas == replicas
                && count(&new.object.metadata, DESIRED_REPLICAS) == Some(replicas)
                && new.object.status.available_replicas == replicas
        })
    }

    fn share_out(&mut self, mut active: Vec<usize>) {
        let replicas = self.deployment.spec.replicas;
        let allowed = if replicas > 0 { replicas + self.max_surge() } else { 0 };
        let to_add = allowed - self.total();
        // The largest first; of equals the newer gains first and the older loses first.
        active.sort_by_key(|at| {
            let age = if to_add > 0 { usize::MAX - *at } else { *at };
            (std::cmp::Reverse(self.sets[*at].replicas), age)
        });
        let mut added = 0;
        let mut sizes: Vec<i64> = Vec::with_capacity(active.len());
        for at in &active {
            let left = to_add - added;
            let share = self.share(*at);
            let share = if left > 0 {
                share.min(left)
            } else if left < 0 {
                share.max(left)
            } else {
                0
            };
            sizes.push(self.sets[*at].replicas + share);
            added += share;
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        let annotations = self.size_annotations();
        for (at, size) in active.into_iter().zip(sizes) {
            self.resize(at, size);
            self.sets[at].changes.extend(annotations.clone());
        }
    }

    /// What a set gains or loses when the deployment is scaled, by its part of the size before.
    fn share(&self, at: usize) -> i64 {
        let set = &self.sets[at];
        let replicas = self.deployment.spec.replicas;
        if replicas == 0 {
            return -set.replicas;
        }
        let before = count(&set.object.metadata, MAX_REPLICAS).filter(|n| *n > 0);
        let before = before.unwrap_or(self.deployment.status.replicas);
        if before == 0 {
            return 0;
        }
        let size = (set.replicas * (replicas + self.max_surge())) as f64 / before as f64;
        size.round() as i64 - set.replicas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fenceposts_never_stop_a_rollout() {
        let percent = |text: &str| Some(IntOrString::String(text.into()));
        assert_eq!(fenceposts(percent("25%").as_ref(), percent("25%").as_ref(), 10), (3, 2));
        assert_eq!(fenceposts(None, percent("25%").as_ref(), 1), (0, 1));
    }
}
