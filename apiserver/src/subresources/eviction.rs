//! `pods/eviction`: a deletion that respects disruption budgets.
//!
//! Follows `pkg/registry/core/pod/storage/eviction.go`.

use crate::decode;
use crate::params::DeleteOptions;
use crate::registry::{Call, Part};
use crate::request::{Incoming, wanted_without_table};
use crate::resources::{self, Resource};
use crate::response::{self, Body};
use crate::server::ApiServer;
use crate::verbs;
use api::document;
use api::field::Errors;
use api::selector::Selector;
use api::status::ApiError;
use api::{Map, Value};
use http::Response;
use jiff::Timestamp;
use serde_json::json;
use storage::Range;

/// A budget keeps at most this many pods that are about to go.
const MAX_DISRUPTED_PODS: usize = 2000;
const RETRY_SECONDS: u32 = 10;
/// How often a pod that changes meanwhile is looked at again.
const TRIES: usize = 20;

pub async fn create(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let (mut call, validation) = verbs::writing(server, resource, incoming, "CreateOptions")?;
    let eviction = decode::subresource(&call, incoming, "policy", "v1", "Eviction", validation)?;
    let name = document::name(&eviction);
    if name != call.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    const IGNORE_ERRORS: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";
    if eviction.get("deleteOptions").is_some_and(|options| document::get_bool(options, IGNORE_ERRORS)) {
        let mut errors = Errors::new();
        const WHY: &str = "can not be set for pod eviction, try after removing the option";
        errors.invalid(format!("deleteOptions.{IGNORE_ERRORS}"), true, WHY);
        return Err(ApiError::invalid("policy", "Eviction", call.name, &errors));
    }
    call.dry_run |= is_dry(&eviction, incoming)?;
    let given = document::get(&eviction, "deleteOptions").unwrap_or(&Value::Null);
    for _ in 0..TRIES {
        if evict(&call, given).await? {
            let done =
                json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
            return Ok(response::value(201, &done, wanted_without_table(incoming)?));
        }
    }
    Err(ApiError::modified(resource.kind, call.name))
}

/// Whether the eviction itself asks for a dry run; it may not ask for another than the request does.
fn is_dry(eviction: &Value, incoming: &Incoming) -> Result<bool, ApiError> {
    let given: Vec<&str> =
        document::get_list(eviction, "deleteOptions.dryRun").iter().filter_map(Value::as_str).collect();
    let asked: Vec<&str> = incoming.query.all("dryRun").collect();
    if given.is_empty() || asked.is_empty() || given == asked {
        return Ok(!given.is_empty());
    }
    let (asked, given) = (asked.join(" "), given.join(" "));
    let why = format!("Non-matching dry-run options in request and content: [{asked}] and [{given}]");
    Err(ApiError::new(500, "", why))
}

/// One try; false when the pod changed in between, so that it has to be looked at again.
async fn evict(call: &Call<'_>, given: &Value) -> Result<bool, ApiError> {
    let pod = call.server.read(call)?.into_value(call.resource)?;
    let ignored = ignores_budgets(&pod);
    let untouched = if ignored { None } else { take_from_budget(call, &pod).await? };
    let mut options = DeleteOptions::unchecked(given);
    // A pod that took nothing from a budget for it is not ready may not have become ready meanwhile.
    let may_become_ready = document::get_str(&pod, "status.phase") == "Pending" && !document::is_terminating(&pod);
    let pinned = options.resource_version.is_none() && (untouched.is_some() || (ignored && may_become_ready));
    if pinned {
        options.resource_version = Some(document::resource_version(&pod).to_owned());
    }
    match mark_and_delete(call, options, given).await {
        Err(failure) if pinned && failure.reason == "Conflict" => match untouched {
            Some(budget) => Err(still_processed(&budget)),
            None => Ok(false),
        },
        outcome => outcome.map(|()| true),
    }
}

async fn mark_and_delete(call: &Call<'_>, mut options: DeleteOptions, given: &Value) -> Result<(), ApiError> {
    if !call.dry_run {
        let marked = mark_disrupted(call, &options).await?;
        if options.resource_version.is_some() {
            // The mark was ours.
            options.resource_version = Some(document::resource_version(&marked).to_owned());
        }
    }
    // Only the deletion looks at what it is given.
    DeleteOptions::from_body(given)?;
    call.server.delete(call, &options).await.map(|_| ())
}

/// A pod that has ended, never ran, or goes already takes nothing from a budget.
fn ignores_budgets(pod: &Value) -> bool {
    document::is_terminating(pod)
        || matches!(document::get_str(pod, "status.phase"), "Succeeded" | "Failed" | "Pending")
}

fn is_ready(pod: &Value) -> bool {
    let conditions = document::get_list(pod, "status.conditions").iter();
    conditions.filter(|c| document::get_str(c, "type") == "Ready").any(|c| document::get_str(c, "status") == "True")
}

/// Whether a pod that is not ready goes without being counted: it was no part of what the budget guards.
fn lets_unready_go(budget: &Value) -> bool {
    let number = |path: &str| document::get_i64(budget, path).unwrap_or(0);
    let (current, desired) = (number("status.currentHealthy"), number("status.desiredHealthy"));
    document::get_str(budget, "spec.unhealthyPodEvictionPolicy") == "AlwaysAllow" || (current >= desired && desired > 0)
}

/// Takes one disruption from the budget that covers the pod; 429 when it has none left. Gives the name of a budget that
/// covers the pod and lets it go uncounted.
async fn take_from_budget(call: &Call<'_>, pod: &Value) -> Result<Option<String>, ApiError> {
    let budgets = resources::builtin("policy", "poddisruptionbudgets");
    let prefix = budgets.scope(call.namespace);
    let range = Range { prefix: &prefix, start_after: None, limit: 0, at: None };
    let all = call.server.store.range(range).map_err(|e| call.server.store_error(e))?;
    let mut covering = all.entries.iter().filter_map(|entry| budgets.read(&entry.value).ok()).filter(|budget| {
        let selector = Selector::from_object(document::get(budget, "spec.selector"));
        selector.is_ok_and(|selector| selector.matches_labels(document::labels(pod)))
    });
    let Some(budget) = covering.next() else { return Ok(None) };
    if covering.next().is_some() {
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(ApiError::new(500, "", why));
    }
    let name = document::name(&budget);
    if !is_ready(pod) && lets_unready_go(&budget) {
        return Ok(Some(name.to_owned()));
    }
    let budget_call = Call { resource: budgets, subresource: "status", name, warnings: Default::default(), ..*call };
    let change = |old: &Value| disrupted(old, call.name, call.now);
    call.server.update(&budget_call, Part::Status, &change).await.map(|_| None)
}

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

fn still_processed(budget: &str) -> ApiError {
    let why = format!("The disruption budget {budget} is still being processed by the server.");
    ApiError::too_many_requests(REFUSED, RETRY_SECONDS).with_cause("DisruptionBudget", why, "")
}

/// The budget after the pod was taken from it.
fn disrupted(budget: &Value, pod: &str, now: Timestamp) -> Result<Value, ApiError> {
    let name = document::name(budget);
    let number = |path: &str| document::get_i64(budget, path).unwrap_or(0);
    if number("status.observedGeneration") < number("metadata.generation") {
        return Err(still_processed(name));
    }
    let forbidden = |why: &str| Err(ApiError::forbidden("policy", "poddisruptionbudget", name, why));
    let allowed = number("status.disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if document::get_map(budget, "status.disruptedPods").map_or(0, Map::len) > MAX_DISRUPTED_PODS {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        return Err(ApiError::too_many_requests(REFUSED, 0).with_cause("DisruptionBudget", why_none(budget), ""));
    }
    let mut budget = budget.clone();
    document::set(&mut budget, "status.disruptionsAllowed", allowed - 1);
    if allowed == 1 {
        tell_that_none_is_left(&mut budget, now);
    }
    let status = document::child(document::as_map(&mut budget), "status");
    document::child(status, "disruptedPods").insert(pod.to_owned(), api::time::format(now).into());
    Ok(budget)
}

/// Sets the budget's condition as its controller would.
fn tell_that_none_is_left(budget: &mut Value, now: Timestamp) {
    const TYPE: &str = "DisruptionAllowed";
    let mut conditions = document::get_list(budget, "status.conditions").to_vec();
    let before = conditions.iter().find(|condition| document::get_str(condition, "type") == TYPE);
    let unchanged = before.filter(|condition| document::get_str(condition, "status") == "False");
    let since = unchanged.map_or_else(
        || api::time::format(now),
        |condition| document::get_str(condition, "lastTransitionTime").to_owned(),
    );
    let observed = document::get_i64(budget, "status.observedGeneration").unwrap_or(0);
    let none = json!({
        "type": TYPE, "status": "False", "reason": "InsufficientPods", "message": "",
        "observedGeneration": observed, "lastTransitionTime": since,
    });
    match conditions.iter_mut().find(|condition| document::get_str(condition, "type") == TYPE) {
        Some(condition) => *condition = none,
        None => conditions.push(none),
    }
    document::set(budget, "status.conditions", conditions);
}

/// Why a budget allows no disruption.
fn why_none(budget: &Value) -> String {
    let name = document::name(budget);
    let number = |path: &str| document::get_i64(budget, path).unwrap_or(0);
    let conditions = document::get_list(budget, "status.conditions").iter();
    let conditions = conditions.filter(|c| document::get_str(c, "type") == "DisruptionAllowed");
    let of = |key| conditions.clone().next().map_or("", |c| document::get_str(c, key));
    let (reason, message) = (of("reason"), of("message"));
    let explained = of("status") == "False" && !message.is_empty();
    let (current, desired) = (number("status.currentHealthy"), number("status.desiredHealthy"));
    let refuses = format!("The disruption budget {name} does not allow evicting pods currently");
    match () {
        // The numbers of a budget that failed to sync mean nothing.
        () if explained && reason == "SyncFailed" => format!("{refuses} because it failed sync: {message}"),
        () if current <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently")
        }
        () if explained => format!("{refuses} ({reason}): {message}"),
        () => refuses,
    }
}

/// Notes in the pod's status why it goes; gives the pod as it is then. The options' preconditions hold for this too.
async fn mark_disrupted(call: &Call<'_>, options: &DeleteOptions) -> Result<Value, ApiError> {
    let change = |old: &Value| {
        let mut pod = old.clone();
        let mut conditions = document::get_list(&pod, "status.conditions").to_vec();
        conditions.retain(|condition| document::get_str(condition, "type") != "DisruptionTarget");
        conditions.push(json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastTransitionTime": api::time::format(call.now),
        }));
        document::set(&mut pod, "status.conditions", conditions);
        let checks = [
            (&options.uid, document::uid(old), "UID", "deleted and then recreated"),
            (&options.resource_version, document::resource_version(old), "ResourceVersion", "modified"),
        ];
        for (wanted, actual, what, why) in checks {
            if let Some(wanted) = wanted.as_deref().filter(|wanted| !wanted.is_empty() && *wanted != actual) {
                let why = format!(
                    "the {what} in the precondition ({wanted}) does not match the {what} in record ({actual}). The object might have been {why}"
                );
                return Err(ApiError::conflict_in("", "Pod", call.name, why));
            }
        }
        Ok(pod)
    };
    call.server.update(call, Part::Internal, &change).await?.into_value(call.resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(current: i64, desired: i64, allowed: i64) -> Value {
        json!({
            "metadata": {"name": "b", "generation": 2},
            "spec": {},
            "status": {
                "observedGeneration": 2, "currentHealthy": current, "desiredHealthy": desired,
                "disruptionsAllowed": allowed,
            },
        })
    }

    #[test]
    fn a_budget_gives_as_many_disruptions_as_it_has() {
        let taken = disrupted(&budget(3, 2, 1), "web", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(taken["status"]["disruptionsAllowed"], 0);
        assert_eq!(taken["status"]["disruptedPods"]["web"], "1970-01-01T00:00:00Z");
        let refused = disrupted(&budget(2, 2, 0), "web", Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_seconds), (429, 0));
        assert_eq!(refused.causes[0].message, "The disruption budget b needs 2 healthy pods and has 2 currently");
        let mut stale = budget(3, 2, 1);
        stale["status"]["observedGeneration"] = 1.into();
        assert_eq!(disrupted(&stale, "web", Timestamp::UNIX_EPOCH).unwrap_err().retry_after_seconds, RETRY_SECONDS);
    }

    #[test]
    fn an_unready_pod_goes_uncounted_while_enough_are_healthy() {
        assert!(lets_unready_go(&budget(2, 2, 0)));
        assert!(!lets_unready_go(&budget(1, 2, 0)));
        assert!(!lets_unready_go(&budget(0, 0, 0)));
        let mut always = budget(1, 2, 0);
        always["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
        assert!(lets_unready_go(&always));
    }
}
