//! A controller's work queue: one entry an item, one worker an item, waits for retries and deadlines.
//!
//! Upstream's `util/workqueue` in one type: an item that is added while it is worked on is worked on again afterwards.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use component::metrics::Workqueue;
use component::{Key, Meta, Resource};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a controller works on: an object, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Item {
    pub resource: Resource,
    pub key: Key,
}

impl Item {
    pub fn new(resource: Resource, namespace: &str, name: &str) -> Item {
        Item { resource, key: Key::new(namespace, name) }
    }
    pub fn of(resource: Resource, meta: &Meta) -> Item {
        Item::new(resource, &meta.namespace, &meta.name)
    }
    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }
    pub fn name(&self) -> &str {
        &self.key.name
    }
}

/// The first wait after a failure, and the longest, as upstream's default rate limiter.
const FIRST_RETRY: Duration = Duration::from_millis(5);
const LONGEST_RETRY: Duration = Duration::from_secs(1000);

#[derive(Default)]
struct State {
    ready: VecDeque<(Item, Instant)>,
    /// In `ready`, or to be put there once it is no longer worked on.
    dirty: HashSet<Item>,
    working: HashMap<Item, Instant>,
    failures: HashMap<Item, u32>,
    /// Deadlines; an entry counts only when it is the item's in `earliest`.
    later: BinaryHeap<Reverse<(Instant, Item)>>,
    earliest: HashMap<Item, Instant>,
}

/// A work queue; clones share it.
#[derive(Clone)]
pub struct Queue(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Notify,
    metrics: Workqueue,
}

impl Queue {
    pub fn new(metrics: Workqueue) -> Queue {
        Queue(Arc::new(Inner { state: Mutex::default(), changed: Notify::new(), metrics }))
    }

    /// Asks for an item to be worked on as soon as a worker is free.
    pub fn add(&self, item: Item) {
        self.0.add(&mut self.0.state.lock(), item);
    }

    /// Asks for an item to be worked on after a while. Of several waits the shortest counts.
    pub fn add_after(&self, item: Item, wait: Duration) {
        let at = Instant::now() + wait;
        let state = &mut *self.0.state.lock();
        if state.earliest.get(&item).is_some_and(|known| *known <= at) {
            return;
        }
        state.earliest.insert(item.clone(), at);
        state.later.push(Reverse((at, item)));
        self.0.changed.notify_one();
    }

    /// The next item, once there is one. The caller must say [`Queue::done`] with it.
    pub async fn next(&self) -> Item {
        loop {
            let wake = {
                let state = &mut *self.0.state.lock();
                let now = Instant::now();
                let wake = self.0.promote(state, now);
                if let Some((item, since)) = state.ready.pop_front() {
                    state.dirty.remove(&item);
                    state.working.insert(item.clone(), now);
                    self.0.metrics.depth.set(state.ready.len() as i64);
                    self.0.metrics.queue_seconds.observe((now - since).as_secs_f64());
                    return item;
                }
                wake
            };
            match wake {
                Some(at) => tokio::select! {
                    () = self.0.changed.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.0.changed.notified().await,
            }
        }
    }

    /// Ends the work on an item; `failed` puts it back after a wait that doubles with each failure in a row.
    pub fn done(&self, item: &Item, failed: bool) {
        let wait = {
            let state = &mut *self.0.state.lock();
            if let Some(since) = state.working.remove(item) {
                self.0.metrics.work_seconds.observe(since.elapsed().as_secs_f64());
            }
            if state.dirty.remove(item) {
                self.0.add(state, item.clone());
            }
            if failed {
                let failures = state.failures.entry(item.clone()).or_default();
                *failures += 1;
                Some(retry_wait(*failures))
            } else {
                state.failures.remove(item);
                None
            }
        };
        if let Some(wait) = wait {
            self.0.metrics.retries.inc();
            self.add_after(item.clone(), wait);
        }
    }
}

fn retry_wait(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << (failures - 1).min(20)).min(LONGEST_RETRY)
}

impl Inner {
    fn add(&self, state: &mut State, item: Item) {
        if !state.dirty.insert(item.clone()) {
            return;
        }
        self.metrics.adds.inc();
        if !state.working.contains_key(&item) {
            state.ready.push_back((item, Instant::now()));
            self.metrics.depth.set(state.ready.len() as i64);
            self.changed.notify_one();
        }
    }

    /// Moves what is due; gives the next deadline.
    fn promote(&self, state: &mut State, now: Instant) -> Option<Instant> {
        while let Some(Reverse((at, item))) = state.later.peek().cloned() {
            let counts = state.earliest.get(&item) == Some(&at);
            if counts && at > now {
                return Some(at);
            }
            state.later.pop();
            if counts {
                state.earliest.remove(&item);
                self.add(state, item);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use component::metrics::{Metrics, Workqueues};
    use component::resource::PODS;
    use futures::FutureExt;

    fn queue() -> Queue {
        Queue::new(Workqueues::new(&Metrics::default()).queue("test"))
    }

    /// The next item, if it can be worked on without waiting.
    fn ready(queue: &Queue) -> Option<Item> {
        queue.next().now_or_never()
    }

    #[test]
    fn an_item_has_one_worker_at_a_time() {
        let queue = queue();
        let item = Item::new(PODS, "n", "a");
        queue.add(item.clone());
        queue.add(item.clone());
        assert_eq!(ready(&queue), Some(item.clone()));
        queue.add(item.clone());
        assert_eq!(ready(&queue), None, "it is being worked on");
        queue.done(&item, false);
        assert_eq!(ready(&queue), Some(item.clone()));
        queue.done(&item, false);
        assert_eq!(ready(&queue), None);
    }

    #[test]
    fn the_shortest_wait_counts() {
        let queue = queue();
        let item = Item::new(PODS, "n", "a");
        let start = Instant::now();
        queue.add_after(item.clone(), Duration::from_secs(60));
        queue.add_after(item.clone(), Duration::from_secs(5));
        let promote = |seconds| queue.0.promote(&mut queue.0.state.lock(), start + Duration::from_secs(seconds));
        assert!(promote(4).is_some_and(|next| next < start + Duration::from_secs(6)));
        assert_eq!(promote(6), None, "the longer wait is void");
        assert_eq!(queue.0.state.lock().ready.len(), 1);
    }

    #[tokio::test]
    async fn failures_wait_longer_each_time() {
        assert_eq!([1, 2, 3].map(|failures| retry_wait(failures).as_millis()), [5, 10, 20]);
        assert_eq!(retry_wait(60), LONGEST_RETRY);
        let queue = queue();
        let item = Item::new(PODS, "n", "a");
        queue.add(item.clone());
        assert!(ready(&queue).is_some());
        queue.done(&item, true);
        assert_eq!(ready(&queue), None);
        assert!(queue.0.state.lock().earliest.contains_key(&item));
    }
}
