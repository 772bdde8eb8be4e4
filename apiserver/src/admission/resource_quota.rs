//! ResourceQuota: nothing is written that exceeds a quota of its namespace, and what is written is charged.
//!
//! Follows `k8s.io/apiserver/pkg/admission/plugin/resourcequota`. The charge raises `status.used` of the quota by a write that
//! expects the version that was looked at, just before the object's own: so two writes never share what only one may have,
//! through whichever servers they come. What is charged for a write that fails then, the controller gives back.

use super::Operation;
use crate::registry::{Call, Part};
use crate::resources;
use api::document;
use api::quota::{Change, Evaluator, Quota, charge as charge_quotas};
use api::resource_list::ResourceList;
use api::status::ApiError;
use api::{Map, Value};
use futures::future::BoxFuture;
use std::hash::{DefaultHasher, Hash, Hasher};
use storage::Range;
use tokio::sync::{Mutex, MutexGuard};

/// Refuses what the quotas do not allow as they are now; a dry run goes no further.
pub fn validate(call: &Call<'_>, _: Operation, object: Option<&Value>, old: Option<&Value>) -> Result<(), ApiError> {
    let Some(object) = object else { return Ok(()) };
    let Some(change) = change(call, object, old) else { return Ok(()) };
    charge_quotas(&quotas(call)?, &change).map(drop).map_err(|why| refused(call, object, why))
}

/// Charges each quota that the object counts in. Writes of a namespace take turns at this.
pub fn charge<'a>(
    call: &'a Call<'_>,
    object: &'a Value,
    old: Option<&'a Value>,
) -> BoxFuture<'a, Result<(), ApiError>> {
    Box::pin(async move {
        let Some(change) = change(call, object, old) else { return Ok(()) };
        if quotas(call)?.is_empty() {
            return Ok(());
        }
        let _turn = call.server.quota_turns.take(call.namespace).await;
        let quotas = quotas(call)?;
        for (i, _) in charge_quotas(&quotas, &change).map_err(|why| refused(call, object, why))? {
            charge_one(call, &quotas[i].name, object, &change).await?;
        }
        Ok(())
    })
}

fn change<'a>(call: &'a Call<'_>, object: &'a Value, old: Option<&'a Value>) -> Option<Change<'a>> {
    let kind = call.resource.kind;
    if !kind.namespaced {
        return None;
    }
    Change::new(Evaluator::of(kind.group, kind.resource)?, call.subresource, object, old, call.now)
}

/// The quotas of the namespace, by name.
fn quotas(call: &Call<'_>) -> Result<Vec<Quota>, ApiError> {
    let quotas = resources::builtin("", "resourcequotas");
    let range = Range { prefix: &quotas.scope(call.namespace), ..Range::default() };
    let found = call.server.store.range(range).map_err(|error| call.server.store_error(error))?;
    found.entries.iter().map(|entry| Ok(Quota::read(&quotas.read(&entry.value)?))).collect()
}

/// Raises what is used of a quota, if it allows the change in the version that is replaced.
async fn charge_one(call: &Call<'_>, name: &str, object: &Value, change: &Change<'_>) -> Result<(), ApiError> {
    let resource = resources::builtin("", "resourcequotas");
    let own = Call { subresource: "status", ..Call::internal(call.server, resource, call.namespace, name) };
    let raise = |stored: &Value| {
        let charged = charge_quotas(&[Quota::read(stored)], change).map_err(|why| refused(call, object, why))?;
        let mut quota = stored.clone();
        if let Some((_, used)) = charged.into_iter().next() {
            document::set(&mut quota, "status.used", written(&used));
        }
        Ok(quota)
    };
    match call.server.update(&own, Part::Status, &raise).await {
        // A quota that is gone limits nothing.
        Err(failure) if failure.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

fn written(list: &ResourceList) -> Map {
    list.iter().map(|(name, amount)| (name.clone(), amount.to_string().into())).collect()
}

fn refused(call: &Call<'_>, object: &Value, why: String) -> ApiError {
    let kind = call.resource.kind;
    ApiError::forbidden(kind.group, kind.resource, document::name(object), why)
}

/// Whose turn it is to charge, by namespace: writers of one server need not run into each other's charges. Namespaces may share
/// a turn.
pub struct Turns(Vec<Mutex<()>>);

impl Default for Turns {
    fn default() -> Turns {
        Turns((0..64).map(|_| Mutex::default()).collect())
    }
}

impl Turns {
    async fn take(&self, namespace: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        let at = hasher.finish() % self.0.len() as u64;
        self.0[at as usize].lock().await
    }
}
