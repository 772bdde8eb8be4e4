//! The scheduling queue: pods to try now, pods backing off, pods that wait for a change in the cluster, and gated pods.
//!
//! Time is an argument: the duration since the scheduler started.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use component::{Key, Projection};

use crate::plugin::{self, Event, PluginSet, SortKey};
use crate::pod::{Pod, Requirements};

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// A pod no event has helped is tried again after this long all the same.
const LONGEST_UNSCHEDULABLE: Duration = Duration::from_secs(5 * 60);

/// A pod in the queue, or out of it for an attempt.
#[derive(Clone, Debug)]
pub struct Queued {
    pub pod: Arc<Pod>,
    /// Attempts that failed.
    pub failures: u32,
    backoff_until: Duration,
    /// The plugins that refused it the last time.
    rejectors: PluginSet,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Nowhere: being tried.
    Out,
    Active(SortKey, u64),
    /// Backing off; after an error, not even an idle scheduler tries sooner.
    Backoff {
        until: Duration,
        sequence: u64,
        error: bool,
    },
    Unschedulable {
        since: Duration,
        sequence: u64,
    },
    Gated,
}

/// Pods that wait for the same: equal requirements (by their shared address), refused by the same plugins.
type Group = (usize, PluginSet);

#[derive(Default)]
pub struct Queue {
    pods: HashMap<Key, Queued>,
    active: BTreeSet<(SortKey, u64, Key)>,
    backoff: BTreeSet<(Duration, u64, Key)>,
    unschedulable: HashMap<Group, HashSet<Key>>,
    /// The unschedulable by age.
    oldest: BTreeSet<(Duration, u64, Key)>,
    sequence: u64,
}

/// How many pods are where, for the metric `scheduler_pending_pods`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
}

impl Queue {
    /// Adds a pod, or takes over its new version. A version that changes what plugins read gets another chance.
    pub fn put(&mut self, pod: Arc<Pod>, now: Duration) {
        let key = pod.key();
        let Some(queued) = self.take(&key) else {
            let queued = Queued { pod, failures: 0, backoff_until: Duration::ZERO, rejectors: 0, place: Place::Out };
            return self.activate(key, queued, now);
        };
        let place = queued.place;
        let old = queued.pod.clone();
        let queued = Queued { pod, ..queued };
        let wants = &queued.pod.requirements;
        match place {
            Place::Unschedulable { since, sequence } => {
                let changed = !Arc::ptr_eq(&old.requirements, wants)
                    && plugin::may_help(queued.rejectors, wants, &Event::PodChanged { old: &old.requirements });
                match changed {
                    true => self.wake(key, queued, now),
                    false => self.place(key, queued, Place::Unschedulable { since, sequence }),
                }
            }
            Place::Active((_, since), sequence) => {
                let sort_key = plugin::sort_key(&queued.pod, since);
                self.place(key, queued, Place::Active(sort_key, sequence));
            }
            Place::Backoff { .. } => self.place(key, queued, place),
            Place::Gated | Place::Out => self.activate(key, queued, now),
        }
    }

    /// Forgets a pod.
    pub fn remove(&mut self, key: &Key) {
        self.take(key);
    }

    /// The next pod to try. When none is active, pods that back off after a refusal come sooner.
    pub fn pop(&mut self, now: Duration) -> Option<Queued> {
        self.flush(now);
        let key = match self.active.first() {
            Some((_, _, key)) => key.clone(),
            None => {
                let refused = |key: &Key| {
                    self.pods.get(key).is_some_and(|queued| matches!(queued.place, Place::Backoff { error: false, .. }))
                };
                self.backoff.iter().find(|(_, _, key)| refused(key))?.2.clone()
            }
        };
        self.take(&key).map(|queued| Queued { place: Place::Out, ..queued })
    }

    /// Takes back a pod that fits no node; it waits for an event that may help with these plugins.
    pub fn unschedulable(&mut self, queued: Queued, rejectors: PluginSet, now: Duration) {
        let queued = failed(queued, rejectors, now);
        let sequence = self.next_sequence();
        self.place(queued.pod.key(), queued, Place::Unschedulable { since: now, sequence });
    }

    /// Takes back a pod after an error that is not its own.
    pub fn retry(&mut self, queued: Queued, now: Duration) {
        let queued = failed(queued, 0, now);
        let sequence = self.next_sequence();
        let place = Place::Backoff { until: queued.backoff_until, sequence, error: true };
        self.place(queued.pod.key(), queued, place);
    }

    /// Wakes the waiting pods that the event may help. Each group of alike pods is asked once.
    pub fn event(&mut self, event: &Event<'_>, now: Duration) {
        let helped: Vec<Group> = self
            .unschedulable
            .iter()
            .filter(|((_, rejectors), keys)| {
                let wants =
                    keys.iter().next().and_then(|key| self.pods.get(key)).map(|queued| &queued.pod.requirements);
                wants.is_some_and(|wants| plugin::may_help(*rejectors, wants, event))
            })
            .map(|(group, _)| *group)
            .collect();
        for group in helped {
            for key in self.unschedulable.get(&group).cloned().unwrap_or_default() {
                if let Some(queued) = self.take(&key) {
                    self.wake(key, queued, now);
                }
            }
        }
    }

    /// When time alone will next change something.
    pub fn next_deadline(&self) -> Option<Duration> {
        let backoff = self.backoff.first().map(|(until, _, _)| *until);
        let oldest = self.oldest.first().map(|(since, _, _)| *since + LONGEST_UNSCHEDULABLE);
        backoff.into_iter().chain(oldest).min()
    }

    pub fn depth(&self) -> Depth {
        let (active, backoff, unschedulable) = (self.active.len(), self.backoff.len(), self.oldest.len());
        Depth { active, backoff, unschedulable, gated: self.pods.len() - active - backoff - unschedulable }
    }

    /// Moves pods whose time has come.
    fn flush(&mut self, now: Duration) {
        while let Some((_, _, key)) = self.backoff.first().filter(|(until, _, _)| *until <= now).cloned() {
            self.take(&key).into_iter().for_each(|queued| self.activate(key.clone(), queued, now));
        }
        let overdue = |since: Duration| since + LONGEST_UNSCHEDULABLE <= now;
        while let Some((_, _, key)) = self.oldest.first().filter(|(since, _, _)| overdue(*since)).cloned() {
            self.take(&key).into_iter().for_each(|queued| self.wake(key.clone(), queued, now));
        }
    }

    fn activate(&mut self, key: Key, queued: Queued, now: Duration) {
        let place = match plugin::pre_enqueue(&queued.pod) {
            Ok(()) => Place::Active(plugin::sort_key(&queued.pod, now), self.next_sequence()),
            Err(_) => Place::Gated,
        };
        self.place(key, queued, place);
    }

    fn wake(&mut self, key: Key, queued: Queued, now: Duration) {
        if queued.backoff_until <= now {
            return self.activate(key, queued, now);
        }
        let sequence = self.next_sequence();
        let place = Place::Backoff { until: queued.backoff_until, sequence, error: false };
        self.place(key, queued, place);
    }

    fn place(&mut self, key: Key, queued: Queued, place: Place) {
        match place {
            Place::Active(sort_key, sequence) => {
                self.active.insert((sort_key, sequence, key.clone()));
            }
            Place::Backoff { until, sequence, .. } => {
                self.backoff.insert((until, sequence, key.clone()));
            }
            Place::Unschedulable { since, sequence } => {
                self.oldest.insert((since, sequence, key.clone()));
                self.unschedulable.entry(group(&queued)).or_default().insert(key.clone());
            }
            Place::Gated | Place::Out => {}
        }
        self.pods.insert(key, Queued { place, ..queued });
    }

    /// Takes a pod out of the queue; its place still tells where it was.
    fn take(&mut self, key: &Key) -> Option<Queued> {
        let queued = self.pods.remove(key)?;
        match queued.place {
            Place::Active(sort_key, sequence) => {
                self.active.remove(&(sort_key, sequence, key.clone()));
            }
            Place::Backoff { until, sequence, .. } => {
                self.backoff.remove(&(until, sequence, key.clone()));
            }
            Place::Unschedulable { since, sequence } => {
                self.oldest.remove(&(since, sequence, key.clone()));
                let group = group(&queued);
                if let Some(keys) = self.unschedulable.get_mut(&group) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.unschedulable.remove(&group);
                    }
                }
            }
            Place::Gated | Place::Out => {}
        }
        Some(queued)
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

fn group(queued: &Queued) -> Group {
    let wants: *const Requirements = Arc::as_ptr(&queued.pod.requirements);
    (wants as usize, queued.rejectors)
}

fn failed(queued: Queued, rejectors: PluginSet, now: Duration) -> Queued {
    let failures = queued.failures.saturating_add(1);
    Queued { failures, rejectors, backoff_until: now + backoff(failures), ..queued }
}

/// 1 s after the first failure, doubling to 10 s.
fn backoff(failures: u32) -> Duration {
    let doubled = FIRST_BACKOFF.checked_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.map_or(LONGEST_BACKOFF, |wait| wait.min(LONGEST_BACKOFF))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::snapshot::Node;

    const SECOND: Duration = Duration::from_secs(1);

    fn pod(name: &str, spec: serde_json::Value) -> Arc<Pod> {
        serde_json::from_value(json!({"metadata": {"namespace": "d", "name": name, "uid": name}, "spec": spec}))
            .map(Arc::new)
            .unwrap()
    }

    fn names(queue: &mut Queue, now: Duration) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|queued| queued.pod.metadata.name.clone()).collect()
    }

    fn rejected_by(name: &str) -> PluginSet {
        1 << plugin::PLUGINS.iter().position(|row| row.plugin.name() == name).unwrap()
    }

    #[test]
    fn priority_goes_before_age() {
        let mut queue = Queue::default();
        queue.put(pod("old", json!({})), SECOND);
        queue.put(pod("young", json!({})), 2 * SECOND);
        queue.put(pod("important", json!({"priority": 10})), 3 * SECOND);
        assert_eq!(names(&mut queue, 4 * SECOND), ["important", "old", "young"]);
    }

    #[test]
    fn backoff_doubles_to_ten_seconds() {
        assert_eq!([1, 2, 3, 4, 5, 60].map(|n| backoff(n).as_secs()), [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn an_error_waits_out_its_backoff() {
        let mut queue = Queue::default();
        queue.put(pod("a", json!({})), SECOND);
        let queued = queue.pop(SECOND).unwrap();
        queue.retry(queued, SECOND);
        assert!(queue.pop(SECOND).is_none());
        assert_eq!(queue.next_deadline(), Some(2 * SECOND));
        assert_eq!(names(&mut queue, 2 * SECOND), ["a"]);
    }

    #[test]
    fn events_wake_only_whom_they_can_help() {
        let mut queue = Queue::default();
        let wanting = pod("a", json!({"nodeSelector": {"disk": "ssd"}}));
        queue.put(wanting, SECOND);
        let queued = queue.pop(SECOND).unwrap();
        queue.unschedulable(queued, rejected_by("NodeAffinity"), SECOND);
        let other = Node { name: "n".into(), ..Node::default() };
        let right = Node { labels: [("disk".to_owned(), "ssd".to_owned())].into(), ..other.clone() };
        queue.event(&Event::Node { old: None, new: &other }, 20 * SECOND);
        queue.event(&Event::PodFreed(&Requirements::default()), 20 * SECOND);
        assert!(queue.pop(20 * SECOND).is_none());
        queue.event(&Event::Node { old: Some(&other), new: &right }, 20 * SECOND);
        assert_eq!(names(&mut queue, 20 * SECOND), ["a"]);
    }

    #[test]
    fn what_no_event_helps_is_tried_after_five_minutes() {
        let mut queue = Queue::default();
        queue.put(pod("a", json!({})), SECOND);
        let queued = queue.pop(SECOND).unwrap();
        queue.unschedulable(queued, rejected_by("NodeName"), SECOND);
        assert!(queue.pop(300 * SECOND).is_none());
        assert_eq!(queue.next_deadline(), Some(301 * SECOND));
        assert_eq!(names(&mut queue, 301 * SECOND), ["a"]);
    }

    #[test]
    fn a_gated_pod_enters_when_its_gates_are_gone() {
        let mut queue = Queue::default();
        queue.put(pod("a", json!({"schedulingGates": [{"name": "x"}]})), SECOND);
        assert!(queue.pop(SECOND).is_none());
        assert_eq!(queue.depth(), Depth { gated: 1, ..Depth::default() });
        queue.put(pod("a", json!({})), 2 * SECOND);
        assert_eq!(names(&mut queue, 2 * SECOND), ["a"]);
    }

    #[test]
    fn a_status_update_does_not_wake_but_a_toleration_does() {
        let mut queue = Queue::default();
        queue.put(pod("a", json!({})), SECOND);
        let queued = queue.pop(SECOND).unwrap();
        queue.unschedulable(queued, rejected_by("TaintToleration"), SECOND);
        queue.put(pod("a", json!({})), 20 * SECOND);
        assert!(queue.pop(20 * SECOND).is_none());
        queue.put(pod("a", json!({"tolerations": [{"operator": "Exists"}]})), 20 * SECOND);
        assert_eq!(names(&mut queue, 20 * SECOND), ["a"]);
    }
}
