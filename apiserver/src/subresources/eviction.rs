//! `pods/eviction`: a deletion that respects disruption budgets.
//!
//! Follows `pkg/registry/core/pod/storage/eviction.go`.

use crate::decode;
use crate::params::{DeleteOptions, field_validation};
use crate::registry::{Call, Part};
use crate::request::{Incoming, wanted};
use crate::resources::{self, Resource};
use crate::response::{self, Body};
use crate::server::ApiServer;
use crate::verbs;
use api::Value;
use api::document;
use api::selector::Selector;
use api::status::ApiError;
use http::Response;
use serde_json::json;
use storage::Range;

/// A budget keeps at most this many pods that are about to go.
const MAX_DISRUPTED_PODS: usize = 2000;
const RETRY_SECONDS: u32 = 10;

pub async fn create(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let validation = field_validation(&incoming.query, "CreateOptions")?;
    let mut call = verbs::call(server, resource, incoming, "CreateOptions")?;
    let eviction = decode::subresource(&call, incoming, "policy", "v1", "Eviction", validation)?;
    let name = document::name(&eviction);
    if !name.is_empty() && name != call.name {
        return Err(ApiError::bad_request(format!(
            "name in URL does not match name in Eviction object: {} != {name}",
            call.name
        )));
    }
    let options = match eviction.get("deleteOptions") {
        Some(options) => DeleteOptions::from_body(options)?,
        None => DeleteOptions::default(),
    };
    call.dry_run |= options.dry_run;
    let pod = server.read(&call)?.into_value(resource)?;
    if !ignores_budgets(&pod) {
        take_from_budget(&call, &pod).await?;
        mark_disrupted(&call).await?;
    }
    server.delete(&call, &options).await?;
    let done = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    Ok(response::value(201, &done, wanted(incoming)?))
}

/// A pod that has ended, never ran, or goes already takes nothing from a budget.
fn ignores_budgets(pod: &Value) -> bool {
    document::is_terminating(pod)
        || matches!(document::get_str(pod, "status.phase"), "Succeeded" | "Failed" | "Pending")
}

/// Takes one disruption from the budget that covers the pod; 429 when it has none left.
async fn take_from_budget(call: &Call<'_>, pod: &Value) -> Result<(), ApiError> {
    let budgets = resources::builtin("policy", "poddisruptionbudgets");
    let prefix = budgets.scope(call.namespace);
    let range = Range { prefix: &prefix, start_after: None, limit: 0, at: None };
    let all = call.server.store.range(range).map_err(|e| call.server.store_error(e))?;
    let mut covering = all.entries.iter().filter_map(|entry| budgets.read(&entry.value).ok()).filter(|budget| {
        let selector = Selector::from_object(document::get(budget, "spec.selector"));
        selector.is_ok_and(|selector| selector.matches_labels(document::labels(pod)))
    });
    let Some(budget) = covering.next() else { return Ok(()) };
    if covering.next().is_some() {
        return Err(ApiError::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    let name = document::name(&budget);
    let budget_call = Call { resource: budgets, subresource: "status", name, warnings: Default::default(), ..*call };
    let change = |old: &Value| disrupted(old, call.name, call.now);
    call.server.update(&budget_call, Part::Status, &change).await.map(|_| ())
}

/// The budget after the pod was taken from it.
fn disrupted(budget: &Value, pod: &str, now: jiff::Timestamp) -> Result<Value, ApiError> {
    let name = document::name(budget);
    let number = |path: &str| document::get_i64(budget, path).unwrap_or(0);
    let refused =
        |why: String| {
            ApiError::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
                .with_cause("DisruptionBudget", why, "")
        };
    if number("status.observedGeneration") < number("metadata.generation") {
        return Err(refused(format!("The disruption budget {name} is still being processed by the server."))
            .with_retry_after(RETRY_SECONDS));
    }
    let allowed = number("status.disruptionsAllowed");
    let taken = document::get_map(budget, "status.disruptedPods").map_or(0, |pods| pods.len());
    if allowed <= 0 || taken > MAX_DISRUPTED_PODS {
        return Err(refused(format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("status.desiredHealthy"),
            number("status.currentHealthy")
        )));
    }
    let mut budget = budget.clone();
    document::set(&mut budget, "status.disruptionsAllowed", allowed - 1);
    let status = document::child(document::as_map(&mut budget), "status");
    document::child(status, "disruptedPods").insert(pod.to_owned(), api::time::format(now).into());
    Ok(budget)
}

/// Notes in the pod's status why it goes.
async fn mark_disrupted(call: &Call<'_>) -> Result<(), ApiError> {
    let change = |old: &Value| {
        let mut pod = old.clone();
        let mut conditions = document::get_list(&pod, "status.conditions").to_vec();
        conditions.retain(|condition| document::get_str(condition, "type") != "DisruptionTarget");
        conditions.push(json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastTransitionTime": api::time::format(call.now),
        }));
        document::set(&mut pod, "status.conditions", conditions);
        Ok(pod)
    };
    call.server.update(call, Part::Internal, &change).await.map(|_| ())
}
