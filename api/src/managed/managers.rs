//! `metadata.managedFields`: who owns which fields.

use super::merge::reconcile;
use super::set::FieldSet;
use super::shape::Shape;
use super::versions::Versions;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Entries of a list that a client may send.
const SENT_MAX: usize = 1000;

/// How a manager came to own its fields. In the order in which entries are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// One entry of `managedFields`.
#[derive(Debug, Clone)]
pub(super) struct Manager<'a> {
    pub name: Cow<'a, str>,
    pub operation: Operation,
    pub version: Cow<'a, str>,
    pub subresource: Cow<'a, str>,
    /// RFC 3339 with whole seconds.
    pub time: Option<Cow<'a, str>>,
    pub set: FieldSet<'a>,
    /// The place of the stored entry that this still is.
    pub stored: Option<usize>,
}

impl<'a> Manager<'a> {
    /// What tells entries apart. An applier is the same whichever version it used.
    fn identity(&self) -> (&str, Operation, &str, &str) {
        let version = if self.operation == Operation::Apply { "" } else { &*self.version };
        (&self.name, self.operation, version, &self.subresource)
    }

    pub fn is(&self, other: &Manager<'_>) -> bool {
        self.identity() == other.identity()
    }

    /// Takes fields away from the manager.
    pub fn lose(&mut self, fields: &FieldSet<'_>) {
        if self.set.subtract(fields) {
            self.stored = None;
        }
    }

    /// See [`reconcile`].
    pub fn reconcile(&mut self, shape: Shape<'_>) {
        if reconcile(&mut self.set, shape) {
            self.stored = None;
        }
    }

    fn decode(entry: &'a Value, place: usize) -> Result<Manager<'a>, String> {
        let text = |key: &str| Cow::Borrowed(entry.get(key).and_then(Value::as_str).unwrap_or_default());
        let operation = match &*text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let version = text("apiVersion");
        if version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match &*text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {place}")),
            other => {
                let other = crate::field::quote(other);
                return Err(format!("invalid fieldsType {other} in managed fields entry {place}"));
            }
        }
        let set = match entry.get("fieldsV1") {
            Some(fields) => FieldSet::from_value(fields)?,
            None => FieldSet::default(),
        };
        let time = Some(text("time")).filter(|t| !t.is_empty());
        let (name, subresource) = (text("manager"), text("subresource"));
        Ok(Manager { name, operation, version, subresource, time, set, stored: Some(place) })
    }

    fn encode(&self) -> Value {
        let mut entry = crate::Map::new();
        let texts = [
            ("manager", &*self.name),
            ("operation", self.operation.name()),
            ("apiVersion", &*self.version),
            ("time", self.time.as_deref().unwrap_or_default()),
            ("fieldsType", "FieldsV1"),
            ("subresource", &*self.subresource),
        ];
        for (key, text) in texts {
            if !text.is_empty() {
                entry.insert(key.to_owned(), text.into());
            }
        }
        entry.insert("fieldsV1".to_owned(), self.set.to_value());
        Value::Object(entry)
    }
}

/// The entries of an object, no two of which are the same manager.
#[derive(Debug, Clone, Default)]
pub(super) struct Managers<'a>(pub Vec<Manager<'a>>);

impl<'a> Managers<'a> {
    /// Reads `metadata.managedFields`. Of entries for the same manager the last one counts.
    pub fn decode(list: Option<&'a Value>) -> Result<Managers<'a>, String> {
        let entries = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut all = Vec::with_capacity(entries.len());
        for (place, entry) in entries.iter().enumerate() {
            all.push(Manager::decode(entry, place)?);
        }
        let mut managers = Managers(all);
        managers.keep_last();
        Ok(managers)
    }

    /// Keeps of the entries for one manager the last.
    fn keep_last(&mut self) {
        let all = &self.0;
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|a, b| all[*a].identity().cmp(&all[*b].identity()));
        let mut is_stale = vec![false; all.len()];
        for pair in order.windows(2) {
            is_stale[pair[0]] = all[pair[0]].is(&all[pair[1]]);
        }
        let mut is_stale = is_stale.into_iter();
        self.0.retain(|_| !is_stale.next().unwrap_or_default());
    }

    /// The entries that the list in the object that was sent asks for. `None` if it says nothing of use; the stored
    /// ones count then: if it cannot be read, or is too long. An empty list, or one empty entry, asks for tracking to
    /// end.
    pub fn sent(list: &'a Value) -> Option<Managers<'a>> {
        let blank = |entry: &Value| {
            entry.as_object().is_some_and(|map| map.values().all(|v| v.is_null() || v.as_str() == Some("")))
        };
        match &list.as_array()?[..] {
            [] => return Some(Managers::default()),
            [entry] if blank(entry) => return Some(Managers::default()),
            entries if entries.len() > SENT_MAX => return None,
            _ => {}
        }
        Self::decode(Some(list)).ok()
    }

    /// Drops the entries of versions that the kind does not have, or no more.
    pub fn retain_known(&mut self, versions: &Versions<'_>) {
        self.0.retain(|m| versions.is_known(&m.version));
    }

    /// The version of each entry.
    pub fn versions(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|m| &*m.version)
    }

    /// Sets an entry; replaces the one of the same manager.
    pub fn put(&mut self, manager: Manager<'a>) {
        match self.0.iter_mut().find(|m| m.is(&manager)) {
            Some(slot) => *slot = manager,
            None => self.0.push(manager),
        }
    }

    /// As [`Managers::put`], for many.
    pub fn put_all(&mut self, managers: impl IntoIterator<Item = Manager<'a>>) {
        self.0.extend(managers);
        self.keep_last();
    }

    pub fn find(&self, like: &Manager<'_>) -> Option<&Manager<'a>> {
        self.0.iter().find(|m| m.is(like))
    }

    /// The entries in upstream's order.
    pub fn encode(mut self) -> Entries {
        self.0.sort_by(|a, b| key(a).cmp(&key(b)));
        let entry = |m: &Manager<'_>| m.stored.map_or_else(|| Entry::New(m.encode()), Entry::Stored);
        Entries(self.0.iter().map(entry).collect())
    }

    /// Merges the oldest updaters of each version into one entry, `ancient-changes`, until few enough are left.
    pub fn cap_updaters(&mut self, most: usize) {
        const BUCKET: &str = "ancient-changes";
        let mut left = self.0.iter().filter(|m| m.operation == Operation::Update).count();
        if left <= most {
            return;
        }
        let (mut updaters, mut rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|m| m.operation == Operation::Update);
        updaters.sort_by(|a, b| (&a.time, a.identity()).cmp(&(&b.time, b.identity())));
        let is_bucket = |m: &Manager<'_>| m.name == BUCKET && m.subresource.is_empty();
        let buckets: HashMap<String, usize> = updaters
            .iter()
            .enumerate()
            .filter(|(_, m)| is_bucket(m))
            .map(|(at, m)| (m.version.to_string(), at))
            .collect();
        // The first of a version becomes the bucket when a second one follows.
        let mut firsts: HashMap<String, usize> = HashMap::new();
        // The sets that a bucket takes over, united when all are known: it may be large, and they many.
        let mut taken: BTreeMap<usize, Vec<FieldSet<'a>>> = BTreeMap::new();
        let mut is_gone = vec![false; updaters.len()];
        for at in 0..updaters.len() {
            if left <= most {
                break;
            }
            let version = updaters[at].version.to_string();
            let Some(first) = firsts.get(&version) else {
                firsts.insert(version, at);
                continue;
            };
            // The bucket may be a younger entry than its first member.
            let to = buckets.get(&version).filter(|young| **young > at).unwrap_or(first);
            let mut sets = taken.remove(&at).unwrap_or_default();
            sets.push(std::mem::take(&mut updaters[at].set));
            taken.entry(*to).or_default().append(&mut sets);
            let time = updaters[at].time.take();
            let bucket = &mut updaters[*to];
            (bucket.name, bucket.subresource) = (Cow::Borrowed(BUCKET), Cow::Borrowed(""));
            (bucket.time, bucket.stored) = (time, None);
            is_gone[at] = true;
            left -= 1;
        }
        for (to, mut sets) in taken {
            sets.push(std::mem::take(&mut updaters[to].set));
            updaters[to].set = FieldSet::union(sets);
        }
        rest.extend(updaters.into_iter().zip(is_gone).filter(|(_, is_gone)| !is_gone).map(|(m, _)| m));
        self.0 = rest;
    }
}

/// Encoded entries, of which those that did not change are still in the list that was decoded.
pub(super) struct Entries(Vec<Entry>);

enum Entry {
    Stored(usize),
    New(Value),
}

impl Entries {
    /// The list of entries, which takes stored ones from where they are; `None` if there are none.
    pub fn into_list(self, mut take: impl FnMut(usize) -> Value) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        let entries = self.0.into_iter().map(|entry| match entry {
            Entry::Stored(place) => take(place),
            Entry::New(value) => value,
        });
        Some(Value::Array(entries.collect()))
    }
}

fn key<'m>(m: &'m Manager<'_>) -> impl Ord + 'm {
    (m.operation, m.time.as_deref().unwrap_or_default(), &*m.name, &*m.version, &*m.subresource)
}
