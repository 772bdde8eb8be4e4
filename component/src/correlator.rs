//! Which events are written, and how: as new ones, as a higher count of an older one, or not at all.
//!
//! Two ways, as upstream's two recorders: [`Correlator`] for core/v1 events (client-go `tools/record`: spam filter, aggregation of
//! similar events, counts) and [`Series`] for events.k8s.io/v1 (client-go `tools/events`: one event and its series).

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};

use crate::events::{Event, Reference};

/// Entries that each memory keeps; the oldest goes first.
const ENTRIES: usize = 4096;
/// Different messages with one reason, after which they are combined into one event.
const SIMILAR: usize = 10;
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_secs(600);
/// Events that one reporter may send about one object at once, and how long until one more.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;
/// An event that does not come again for this long ends its series.
pub const SERIES_END: SignedDuration = SignedDuration::from_secs(360);

/// What to write for an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub event: Event,
    /// The name of the Event object.
    pub name: String,
    /// When it was first seen.
    pub first: Timestamp,
    pub last: Timestamp,
    /// 1 for a new one; higher when the object exists and is to be patched.
    pub count: u32,
}

/// A map that forgets its oldest entries.
struct Recent<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    fn new() -> Self {
        Recent { entries: HashMap::new(), order: VecDeque::new() }
    }

    fn entry(&mut self, key: K, fresh: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(&key) {
            if self.order.len() >= ENTRIES
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.entries.entry(key).or_insert_with(fresh)
    }
}

/// Who says what kind of thing about which object; the note where it counts.
type Similar = (&'static str, Reference, &'static str, String);
type Exact = (Similar, Option<String>);

struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

struct Group {
    notes: Vec<String>,
    last: Timestamp,
}

struct Written {
    name: String,
    first: Timestamp,
    count: u32,
}

/// Correlates core/v1 events.
pub struct Correlator {
    buckets: Recent<(&'static str, Reference, &'static str), Bucket>,
    groups: Recent<Similar, Group>,
    written: Recent<Exact, Written>,
}

impl Default for Correlator {
    fn default() -> Self {
        Correlator { buckets: Recent::new(), groups: Recent::new(), written: Recent::new() }
    }
}

impl Correlator {
    /// What to write for an event that happens now; `None` when its reporter says too much about its object.
    pub fn correlate(&mut self, mut event: Event, now: Timestamp) -> Option<Record> {
        let regarding = event.regarding.without_version();
        let kind = event.kind.as_str();
        let similar = (event.reporter, regarding.clone(), kind, event.reason.clone());
        let group = self.groups.entry(similar.clone(), || Group { notes: Vec::new(), last: now });
        if now.duration_since(group.last) > SIMILAR_WITHIN {
            group.notes.clear();
        }
        group.last = now;
        if !group.notes.contains(&event.note) {
            group.notes.push(event.note.clone());
        }
        let combined = group.notes.len() >= SIMILAR;
        let exact = if combined {
            group.notes.pop();
            event.note = format!("(combined from similar events): {}", event.note);
            (similar, None)
        } else {
            (similar, Some(event.note.clone()))
        };
        let bucket = self.buckets.entry((event.reporter, regarding, kind), || Bucket { tokens: BURST, filled: now });
        let waited = now.duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + waited / REFILL_SECONDS).min(BURST);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return None;
        }
        bucket.tokens -= 1.0;
        let written = self.written.entry(exact, || Written {
            name: object_name(&event.regarding.name, now),
            first: now,
            count: 0,
        });
        written.count += 1;
        Some(Record { name: written.name.clone(), first: written.first, last: now, count: written.count, event })
    }
}

/// The name of an Event object: the subject's and the time.
pub fn object_name(subject: &str, now: Timestamp) -> String {
    let suffix = format!(".{:x}", now.as_nanosecond());
    // A subject's name that is too long for the suffix is cut; names are ASCII.
    let room = 253 - suffix.len();
    format!("{}{suffix}", subject.get(..room).unwrap_or(subject))
}

/// Events of events.k8s.io/v1 that may still come again.
#[derive(Default)]
pub struct Series {
    running: HashMap<(Similar, String, Option<Reference>), (Record, u32)>,
}

impl Series {
    /// What to write for an event that happens now: the first of its kind, or its second, which starts a series. Later ones are
    /// counted and written by [`Series::finish`].
    pub fn observe(&mut self, event: Event, now: Timestamp) -> Option<Record> {
        let similar = (event.reporter, event.regarding.clone(), event.kind.as_str(), event.reason.clone());
        let key = (similar, event.action.clone(), event.related.clone());
        if let Some((record, written)) = self.running.get_mut(&key) {
            record.count += 1;
            record.last = now;
            if record.count > 2 {
                return None;
            }
            *written = 2;
            return Some(record.clone());
        }
        let name = object_name(&event.regarding.name, now);
        let record = Record { event, name, first: now, last: now, count: 1 };
        if self.running.len() < ENTRIES {
            self.running.insert(key, (record.clone(), 1));
        }
        Some(record)
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Forgets the events that have not come again, and gives those whose last count is still to be written.
    pub fn finish(&mut self, now: Timestamp) -> Vec<Record> {
        let mut last = Vec::new();
        self.running.retain(|_, (record, written)| {
            let ended = now.duration_since(record.last) >= SERIES_END;
            if ended && record.count > *written {
                last.push(record.clone());
            }
            !ended
        });
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::EventType;

    fn event(note: &str) -> Event {
        Event {
            reporter: "replicaset-controller",
            regarding: Reference { kind: "ReplicaSet".into(), name: "web".into(), ..Reference::default() },
            kind: EventType::Normal,
            reason: "SuccessfulCreate".into(),
            note: note.into(),
            ..Event::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn the_same_event_is_counted() {
        let mut correlator = Correlator::default();
        let first = correlator.correlate(event("a"), at(0)).unwrap();
        let second = correlator.correlate(event("a"), at(1)).unwrap();
        assert_eq!((first.count, second.count), (1, 2));
        assert_eq!((first.name, second.first), (second.name, at(0)));
    }

    #[test]
    fn similar_events_are_combined() {
        let mut correlator = Correlator::default();
        let notes: Vec<_> = (0..12).filter_map(|i| correlator.correlate(event(&format!("pod {i}")), at(i))).collect();
        assert_eq!(notes[8].event.note, "pod 8");
        assert_eq!(notes[9].event.note, "(combined from similar events): pod 9");
        assert_eq!((notes[10].count, &notes[10].name), (2, &notes[9].name));
    }

    #[test]
    fn an_object_has_a_budget() {
        let mut correlator = Correlator::default();
        let written = (0..40).filter_map(|i| correlator.correlate(event("a"), at(i))).count();
        assert_eq!(written, 25);
        assert!(correlator.correlate(event("a"), at(400)).is_some());
    }

    #[test]
    fn a_series_is_written_at_its_start_and_end() {
        let mut series = Series::default();
        let counts: Vec<_> = (0..5).map(|i| series.observe(event("a"), at(i)).map(|r| r.count)).collect();
        assert_eq!(counts, [Some(1), Some(2), None, None, None]);
        assert!(series.finish(at(10)).is_empty());
        assert_eq!(series.finish(at(400)).iter().map(|r| r.count).collect::<Vec<_>>(), [5]);
        assert!(series.is_empty());
    }
}
