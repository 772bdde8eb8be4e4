//! The entries of one resource, and its lists of the present and the past.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::ring::Ring;
use crate::{Entry, Error, Event, RangeResult, Revision};

/// One resource.
pub(crate) struct Shard {
    /// What its keys start with.
    pub(crate) name: Arc<str>,
    pub(crate) entries: BTreeMap<Arc<str>, Arc<Entry>>,
    pub(crate) ring: Arc<Ring>,
}

/// Where a list begins and ends.
pub(crate) type Bounds<'a> = (Bound<&'a str>, Bound<&'a str>);

/// The part of `key` that names its resource, and whether it does so completely: `/registry/pods/`, or
/// `/registry/example.com/widgets/` when the second segment is an API group. All keys that start with a complete one belong
/// to it.
pub(crate) fn shard_of(key: &str) -> (&str, bool) {
    let mut slashes = key.match_indices('/').map(|(at, _)| at).skip(1);
    let (Some(root), Some(mut end)) = (slashes.next(), slashes.next()) else {
        return (&key[..key.rfind('/').map_or(0, |at| at + 1)], false);
    };
    if key[root..end].contains('.') {
        match slashes.next() {
            Some(third) => end = third,
            None => return (&key[..=end], false),
        }
    }
    (&key[..=end], true)
}

/// The least string greater than every string that starts with `prefix`.
pub(crate) fn successor(prefix: &str) -> Option<String> {
    let mut bound = prefix.to_owned();
    while let Some(last) = bound.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            bound.push(next);
            return Some(bound);
        }
    }
    None
}

impl Shard {
    /// How many keys lie within `bounds`.
    pub(crate) fn count(&self, bounds: Bounds<'_>) -> usize {
        self.entries.range::<str, _>(bounds).count()
    }

    /// Adds to `result` up to `limit` entries as of revision `at` and the number of those left out.
    pub(crate) fn list(
        &self,
        bounds: Bounds<'_>,
        at: Revision,
        limit: usize,
        result: &mut RangeResult,
    ) -> Result<(), Error> {
        let history = self.ring.history.read();
        if at < history.floor() {
            return Err(Error::Compacted { oldest: history.floor() });
        }
        let mut present = self.entries.range::<str, _>(bounds).map(|(_, entry)| entry);
        if limit < self.entries.len() {
            result.entries.reserve(limit);
        }
        if history.newest_until(at).next().is_none() {
            result.entries.extend(present.by_ref().take(limit).cloned());
            result.remaining += present.count();
            return Ok(());
        }
        let undone = undo(history.newest_until(at), bounds);
        let was = undone.values().filter(|undo| undo.before.is_some()).count();
        let is = undone.values().filter(|undo| undo.present).count();
        let total = self.count(bounds) + was - is;
        let before = result.entries.len();
        merge(present, undone, limit, &mut result.entries);
        result.remaining += total - (result.entries.len() - before);
        Ok(())
    }
}

/// What a key held at an older revision, and whether it holds something now.
struct Undo<'a> {
    before: Option<&'a Arc<Entry>>,
    present: bool,
}

/// The keys within `bounds` that `events` (newest first) changed, with what the first of the changes replaced.
fn undo<'a>(events: impl Iterator<Item = &'a Arc<Event>>, bounds: Bounds<'_>) -> BTreeMap<&'a str, Undo<'a>> {
    let mut undone: BTreeMap<&str, Undo<'_>> = BTreeMap::new();
    for event in events.filter(|event| RangeBounds::<str>::contains::<str>(&bounds, &event.key)) {
        let change = undone.entry(&event.key).or_insert(Undo { before: None, present: event.entry.is_some() });
        change.before = event.previous.as_ref();
    }
    undone
}

/// Adds up to `limit` entries to `entries`, in key order: those of `present` unless `undone` has the key.
fn merge<'a>(
    present: impl Iterator<Item = &'a Arc<Entry>>,
    undone: BTreeMap<&str, Undo<'a>>,
    limit: usize,
    entries: &mut Vec<Arc<Entry>>,
) {
    let end = entries.len().saturating_add(limit);
    let mut undone = undone.into_iter().peekable();
    for entry in present {
        while let Some((_, undo)) = undone.next_if(|(key, _)| **key < *entry.key) {
            entries.extend(undo.before.cloned());
        }
        match undone.next_if(|(key, _)| **key == *entry.key) {
            Some((_, undo)) => entries.extend(undo.before.cloned()),
            None => entries.push(entry.clone()),
        }
        if entries.len() >= end {
            break;
        }
    }
    entries.extend(undone.filter_map(|(_, undo)| undo.before.cloned()));
    entries.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_its_resource() {
        for (key, name, complete) in [
            ("/registry/pods/default/web", "/registry/pods/", true),
            ("/registry/pods/", "/registry/pods/", true),
            ("/registry/pods", "/registry/", false),
            ("/registry/example.com/widgets/a/b", "/registry/example.com/widgets/", true),
            ("/registry/example.com/widgets", "/registry/example.com/", false),
            ("/", "/", false),
            ("key", "", false),
        ] {
            assert_eq!(shard_of(key), (name, complete), "{key}");
        }
    }

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(successor("/a/").as_deref(), Some("/a0"));
        assert_eq!(successor("/a\u{10FFFF}").as_deref(), Some("/b"));
        assert_eq!(successor("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(successor(""), None);
    }
}
