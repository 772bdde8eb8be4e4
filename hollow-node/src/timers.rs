//! Many timers on one clock: for thousands of nodes, a tree costs less than a task each.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// At most one timer for each `D`.
#[derive(Debug)]
pub struct Timers<D> {
    by_time: BTreeSet<(Instant, D)>,
    times: HashMap<D, Instant>,
}

impl<D> Default for Timers<D> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), times: HashMap::new() }
    }
}

impl<D: Ord + Hash + Clone> Timers<D> {
    /// Sets the timer, in the place of an earlier one.
    pub fn set(&mut self, due: D, at: Instant) {
        self.cancel(&due);
        self.times.insert(due.clone(), at);
        self.by_time.insert((at, due));
    }

    pub fn cancel(&mut self, due: &D) {
        if let Some((due, at)) = self.times.remove_entry(due) {
            self.by_time.remove(&(at, due));
        }
    }

    /// The next moment at which [`Timers::pop`] gives something.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// A timer whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<D> {
        let at = self.next().filter(|at| *at <= now)?;
        let (_, due) = self.by_time.pop_first()?;
        debug_assert_eq!(self.times.get(&due), Some(&at));
        self.times.remove(&due);
        Some(due)
    }
}

/// The next of the moments that lie whole periods after `first`; not at once, if it was only just one of them.
pub fn next(first: Instant, period: Duration, now: Instant) -> Instant {
    let soonest = now + period / 10;
    let periods = soonest.saturating_duration_since(first).as_secs_f64() / period.as_secs_f64();
    first + period.mul_f64(periods.ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_set_again_rings_once() {
        let now = Instant::now();
        let mut timers = Timers::default();
        timers.set("a", now + Duration::from_secs(1));
        timers.set("b", now + Duration::from_secs(2));
        timers.set("a", now + Duration::from_secs(3));
        assert_eq!(timers.pop(now + Duration::from_secs(1)), None);
        assert_eq!(timers.pop(now + Duration::from_secs(5)), Some("b"));
        assert_eq!(timers.pop(now + Duration::from_secs(5)), Some("a"));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_period_is_kept_however_late_one_is() {
        let (first, second) = (Instant::now(), Duration::from_secs(1));
        let after = |millis| (next(first, second, first + Duration::from_millis(millis)) - first).as_secs_f64();
        assert_eq!([0, 5, 500, 950, 1005, 7300].map(after), [1.0, 1.0, 1.0, 2.0, 2.0, 8.0]);
        assert_eq!(next(first + second, second, first), first + second);
    }
}
