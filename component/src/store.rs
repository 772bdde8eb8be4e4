//! What an informer knows: objects by namespace and name, and by the indexes that its readers ask for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::meta::Projection;

/// Namespace (empty for cluster-scoped kinds) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }
}

/// `namespace/name`, or `name` alone.
impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// Gives an object's values in an index, each to the callback.
pub type IndexFn<T> = fn(&T, &mut dyn FnMut(&str));

/// A shared, readable set of objects. Cloning gives another handle on the same set.
pub struct Store<T>(Arc<RwLock<Inner<T>>>);

struct Inner<T> {
    objects: BTreeMap<Box<str>, BTreeMap<Box<str>, Arc<T>>>,
    count: usize,
    indexes: Vec<Index<T>>,
}

struct Index<T> {
    name: &'static str,
    values: IndexFn<T>,
    buckets: HashMap<Box<str>, Vec<Arc<T>>>,
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Store(self.0.clone())
    }
}

impl<T: Projection> Default for Store<T> {
    fn default() -> Self {
        Store::new(&[])
    }
}

impl<T: Projection> Store<T> {
    pub fn new(indexes: &[(&'static str, IndexFn<T>)]) -> Store<T> {
        let indexes = indexes.iter().map(|&(name, values)| Index { name, values, buckets: HashMap::new() }).collect();
        Store(Arc::new(RwLock::new(Inner { objects: BTreeMap::new(), count: 0, indexes })))
    }

    /// `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.0.read().objects.get(namespace)?.get(name).cloned()
    }

    /// All objects, by namespace and name.
    pub fn list(&self) -> Vec<Arc<T>> {
        self.0.read().objects.values().flat_map(|names| names.values().cloned()).collect()
    }

    /// A namespace's objects, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        self.0.read().objects.get(namespace).into_iter().flat_map(|names| names.values().cloned()).collect()
    }

    /// The objects with a value in an index, in no order; none where the store has no index of that name.
    pub fn by(&self, index: &str, value: &str) -> Vec<Arc<T>> {
        let inner = self.0.read();
        let index = inner.indexes.iter().find(|i| i.name == index);
        debug_assert!(index.is_some(), "no such index");
        index.and_then(|i| i.buckets.get(value)).cloned().unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        self.0.read().count
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds or replaces an object; gives the one that was there.
    pub fn put(&self, object: Arc<T>) -> Option<Arc<T>> {
        let inner = &mut *self.0.write();
        let meta = object.meta();
        if !inner.objects.contains_key(meta.namespace.as_str()) {
            inner.objects.insert(meta.namespace.as_str().into(), BTreeMap::new());
        }
        let names = inner.objects.get_mut(meta.namespace.as_str())?;
        let old = match names.get_mut(meta.name.as_str()) {
            Some(slot) => Some(std::mem::replace(slot, object.clone())),
            None => {
                names.insert(meta.name.as_str().into(), object.clone());
                inner.count += 1;
                None
            }
        };
        for index in &mut inner.indexes {
            if let Some(old) = &old {
                index.remove(old);
            }
            index.add(&object);
        }
        old
    }

    /// Removes an object; gives the one that was there.
    pub fn remove(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let inner = &mut *self.0.write();
        let names = inner.objects.get_mut(namespace)?;
        let old = names.remove(name)?;
        if names.is_empty() {
            inner.objects.remove(namespace);
        }
        inner.count -= 1;
        for index in &mut inner.indexes {
            index.remove(&old);
        }
        Some(old)
    }
}

impl<T> Index<T> {
    fn add(&mut self, object: &Arc<T>) {
        (self.values)(object, &mut |value| match self.buckets.get_mut(value) {
            Some(bucket) => bucket.push(object.clone()),
            None => {
                self.buckets.insert(value.into(), vec![object.clone()]);
            }
        });
    }

    fn remove(&mut self, object: &Arc<T>) {
        (self.values)(object, &mut |value| {
            let Some(bucket) = self.buckets.get_mut(value) else { return };
            if let Some(at) = bucket.iter().position(|o| Arc::ptr_eq(o, object)) {
                bucket.swap_remove(at);
            }
            if bucket.is_empty() {
                self.buckets.remove(value);
            }
        });
    }
}

/// An index by the uids of owners.
pub fn by_owner<T: Projection>(object: &T, add: &mut dyn FnMut(&str)) {
    for owner in &object.meta().owner_references {
        add(&owner.uid);
    }
}

/// An index by the uid of the owner that controls the object; one without stands under [`orphans`] of its namespace.
pub fn by_controller<T: Projection>(object: &T, add: &mut dyn FnMut(&str)) {
    match object.meta().controller() {
        Some(owner) => add(&owner.uid),
        None => add(&orphans(&object.meta().namespace)),
    }
}

/// The value in a [`by_controller`] index of a namespace's objects that nobody controls.
pub fn orphans(namespace: &str) -> String {
    format!("orphans/{namespace}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::PartialObject;

    fn object(name: &str, owner: &str) -> Arc<PartialObject> {
        let text = format!(
            r#"{{"metadata":{{"namespace":"n","name":"{name}","ownerReferences":[{{"uid":"{owner}","controller":true}}]}}}}"#
        );
        Arc::new(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn indexes_follow_the_objects() {
        let store = Store::new(&[("owner", by_owner as IndexFn<_>)]);
        store.put(object("a", "x"));
        store.put(object("b", "x"));
        assert_eq!(store.by("owner", "x").len(), 2);
        assert!(store.put(object("a", "y")).is_some());
        assert_eq!((store.by("owner", "x").len(), store.by("owner", "y").len(), store.len()), (1, 1, 2));
        store.remove("n", "b");
        assert!(store.by("owner", "x").is_empty() && store.in_namespace("n").len() == 1);
        assert!(store.remove("n", "b").is_none() && store.get("", "a").is_none());
    }
}
