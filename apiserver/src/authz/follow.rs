//! Keeps an [`Authorizer`] up with the RBAC objects in the store.

use std::sync::Arc;
use std::time::Duration;

use api::Value;
use api::kinds;
use storage::{Entry, Error, Event, Range, Store, Watch};

use super::Authorizer;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The resources that decide, with their kinds.
pub const KINDS: [(&str, &str); 4] = [
    ("clusterroles", "ClusterRole"),
    ("clusterrolebindings", "ClusterRoleBinding"),
    ("roles", "Role"),
    ("rolebindings", "RoleBinding"),
];

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Reads all RBAC objects, and returns a future that follows their changes until the store is closed. When this returns, the
/// authorizer is as current as the store.
pub fn follow(
    authorizer: Arc<Authorizer>,
    store: Arc<dyn Store>,
) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let mut watches = load(&authorizer, &*store)?;
    Ok(async move {
        loop {
            let [a, b, c, d] = &mut watches;
            let (at, event) = tokio::select! {
                event = a.next() => (0, event),
                event = b.next() => (1, event),
                event = c.next() => (2, event),
                event = d.next() => (3, event),
            };
            match event {
                Ok(event) => apply(&authorizer, KINDS[at], &event),
                Err(Error::Compacted { .. }) => watches = load_again(&authorizer, &*store).await,
                Err(_) => return,
            }
        }
    })
}

/// As [`load`], until that succeeds: an authorizer that follows no more would grant for ever what was taken away.
async fn load_again(authorizer: &Authorizer, store: &dyn Store) -> [Watch; 4] {
    loop {
        match load(authorizer, store) {
            Ok(watches) => return watches,
            Err(error) => tracing::error!(%error, "RBAC objects cannot be read"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn prefix(resource: &str) -> String {
    kinds::find(GROUP, "v1", resource).map_or_else(|| format!("/registry/{resource}/"), |kind| kind.store_prefix())
}

/// Replaces all that the authorizer knows by what the store holds.
fn load(authorizer: &Authorizer, store: &dyn Store) -> Result<[Watch; 4], Error> {
    let prefixes = KINDS.map(|(resource, _)| prefix(resource));
    let at = store.revision();
    let mut lists = Vec::with_capacity(KINDS.len());
    for prefix in &prefixes {
        lists.push(store.range(Range { prefix, at: Some(at), ..Range::default() })?.entries);
    }
    let objects = lists.iter().zip(&prefixes).zip(KINDS).flat_map(|((entries, prefix), (_, kind))| {
        entries.iter().filter_map(move |entry| {
            let (namespace, name) = names(&entry.key, prefix)?;
            Some((kind, namespace, name, decode(entry)?))
        })
    });
    authorizer.replace(objects);
    let [a, b, c, d] = prefixes;
    Ok([store.watch(&a, at)?, store.watch(&b, at)?, store.watch(&c, at)?, store.watch(&d, at)?])
}

fn apply(authorizer: &Authorizer, (resource, kind): (&str, &str), event: &Event) {
    if let Some((namespace, name)) = names(&event.key, &prefix(resource)) {
        let object = event.entry.as_deref().and_then(decode);
        authorizer.apply(kind, namespace, name, object.as_ref());
    }
}

/// The namespace (may be empty) and name that a key ends in.
fn names<'a>(key: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let rest = key.strip_prefix(prefix)?;
    Some(rest.split_once('/').unwrap_or(("", rest)))
}

/// What cannot be read grants nothing.
fn decode(entry: &Entry) -> Option<Value> {
    let object = serde_json::from_slice(&entry.value);
    object
        .inspect_err(|error| tracing::error!(key = &*entry.key, %error, "an RBAC object in the store is damaged"))
        .ok()
}
