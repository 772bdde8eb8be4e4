//! Keys and values on their way to etcd and back.

use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::failure::{Failure, Kind};
use super::lease::Leases;
use super::wire::{DELETE, Event, KeyValue};
use crate::state::{Followed, State};
use crate::{Codec, Entry, Error, Place, Put, Revision};

/// What all of the store's keys begin with; in etcd, `--etcd-prefix` and a slash stand in its place.
const ROOT: &str = "/registry/";

/// How keys and values are written in etcd.
#[derive(Clone)]
pub(super) struct Values {
    root: Arc<str>,
    codec: Option<Arc<dyn Codec>>,
    leases: Arc<Leases>,
    /// Knows the keys that are there already, which are not to be kept twice.
    state: Option<Arc<State>>,
}

impl Values {
    pub(super) fn new(prefix: &str, codec: Option<Arc<dyn Codec>>, leases: Arc<Leases>) -> Values {
        Values { root: root(prefix).into(), codec, leases, state: None }
    }

    pub(super) fn with_state(self, state: Arc<State>) -> Values {
        Values { state: Some(state), ..self }
    }

    /// The first key of etcd that may be one of the store's, and the first after them.
    pub(super) fn bounds(&self) -> (Bytes, Bytes) {
        let mut end = self.root.as_bytes().to_vec();
        // The slash at the end becomes the character after it.
        end.pop();
        end.push(b'/' + 1);
        (Bytes::copy_from_slice(self.root.as_bytes()), Bytes::from(end))
    }

    /// The key in etcd.
    pub(super) fn outer(&self, key: &str) -> Result<Bytes, Error> {
        self.kept_at(key).map(Bytes::from)
    }

    fn kept_at(&self, key: &str) -> Result<String, Error> {
        match key.strip_prefix(ROOT) {
            Some(rest) => Ok(format!("{}{rest}", self.root)),
            None => Err(Error::Invalid("a key begins with /registry/")),
        }
    }

    /// The key of a key in etcd, if it is one of the store's.
    fn inner(&self, key: &[u8]) -> Option<Arc<str>> {
        let rest = key.strip_prefix(self.root.as_bytes())?;
        let Ok(rest) = std::str::from_utf8(rest) else {
            tracing::warn!(key = %key.escape_ascii(), "a key in etcd is not text; it is ignored");
            return None;
        };
        let key = format!("{ROOT}{rest}");
        let known = self.state.as_ref().and_then(|state| state.get(&key)).map(|entry| entry.key.clone());
        Some(known.unwrap_or_else(|| key.into()))
    }

    /// What etcd is to keep of a new value.
    pub(super) async fn seal(&self, key: &str, put: &Put) -> Result<Bytes, Error> {
        let Some(codec) = self.codec.clone().filter(|codec| codec.seals(key)) else { return Ok(put.value.clone()) };
        let (key, kept_at, value) = (key.to_owned(), self.kept_at(key)?, put.value.clone());
        let sealing = tokio::task::spawn_blocking(move || {
            let place = Place { key: &key, kept_at: &kept_at };
            Ok(codec.seal(place, &value)?.unwrap_or(value))
        });
        sealing.await.unwrap_or_else(|error| Err(error.to_string())).map_err(Error::Sealing)
    }

    /// What was listed. Asks for the time that is left to it.
    pub(super) async fn listed(&self, client: &Client, kvs: Vec<KeyValue>) -> Result<Vec<Followed>, Failure> {
        self.leases.learn(client, kvs.iter().map(|kv| kv.lease).collect()).await?;
        let listed = self.tried(kvs).await?;
        listed.iter().for_each(complain);
        Ok(listed)
    }

    /// As [`Values::listed`], of what could not be read before.
    pub(super) async fn tried(&self, kvs: Vec<KeyValue>) -> Result<Vec<Followed>, Failure> {
        let values = self.clone();
        self.off_thread(move || kvs.iter().filter_map(|kv| values.read(kv)).collect()).await
    }

    /// What happened to the store's keys.
    pub(super) async fn changes(&self, events: Vec<Event>) -> Result<Vec<Followed>, Failure> {
        let values = self.clone();
        self.off_thread(move || {
            let change = |event: &Event| {
                let kv = event.kv.as_ref()?;
                match event.r#type {
                    DELETE => {
                        Some(Followed::Delete { key: values.inner(&kv.key)?, revision: revision(kv.mod_revision) })
                    }
                    _ => values.read(kv).inspect(complain),
                }
            };
            events.iter().filter_map(change).collect()
        })
        .await
    }

    /// A codec may take its time.
    async fn off_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        if self.codec.is_none() {
            return Ok(work());
        }
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| Failure::new(Kind::Refused, format!("values of etcd cannot be decoded: {error}")))
    }

    /// The entry of a key and its value. Never shares memory with the message that it came in.
    fn read(&self, kv: &KeyValue) -> Option<Followed> {
        let key = self.inner(&kv.key)?;
        let at = revision(kv.mod_revision);
        let opened = match &self.codec {
            Some(codec) => {
                codec.open(Place { key: &key, kept_at: std::str::from_utf8(&kv.key).unwrap_or_default() }, &kv.value)
            }
            None => Ok(crate::Opened { value: Bytes::copy_from_slice(&kv.value), revision_at: None, stale: false }),
        };
        match opened {
            Ok(opened) => {
                let value =
                    if opened.revision_at.is_none() { Bytes::copy_from_slice(&opened.value) } else { opened.value };
                let put = Put { value, revision_at: opened.revision_at, ttl: None };
                let mut entry = Entry::new(key, &put, revision(kv.create_revision), at, self.leases.deadline(kv.lease));
                entry.stale = opened.stale;
                Some(Followed::Put(Arc::new(entry)))
            }
            Err(reason) => Some(Followed::Unreadable { key, revision: at, reason }),
        }
    }
}

/// Says that a value cannot be read.
fn complain(followed: &Followed) {
    if let Followed::Unreadable { key, revision, reason } = followed {
        tracing::error!(%key, revision, reason, "a value in etcd cannot be read");
    }
}

/// What keys begin with, for `--etcd-prefix`: a path between slashes, made as upstream makes it.
fn root(prefix: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in prefix.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.iter().fold("/".to_owned(), |root, part| root + part + "/")
}

/// etcd's revisions are never negative.
pub(super) fn revision(of_etcd: i64) -> Revision {
    Revision::try_from(of_etcd).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_replaces_the_root() {
        for (prefix, root) in [
            ("/registry", "/registry/"),
            ("clusters/one/", "/clusters/one/"),
            ("//clusters//./two/../one", "/clusters/one/"),
            ("", "/"),
            ("/", "/"),
        ] {
            let values = Values::new(prefix, None, Arc::default());
            let outer = values.outer("/registry/pods/a/b").unwrap();
            assert_eq!(&*outer, format!("{root}pods/a/b").as_bytes());
            assert_eq!(values.inner(&outer).as_deref(), Some("/registry/pods/a/b"));
            let (start, end) = values.bounds();
            assert!(start <= outer && outer < end);
            assert!(values.inner(b"other/pods/a/b").is_none() && values.inner(b"compact_rev_key").is_none());
            assert!(values.inner(&[root.as_bytes(), b"\xff"].concat()).is_none());
        }
        assert!(Values::new("/registry", None, Arc::default()).outer("/elsewhere").is_err());
    }
}
