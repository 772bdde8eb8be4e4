//! The condition `Dangling` of FlowSchemas: whether the priority level that one names is missing. Follows upstream's
//! `util/flowcontrol/apf_controller.go`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use api::status::ApiError;
use api::{Value, document, time};
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use storage::{Error, Range, Watch};

use crate::resources::{self, Resource};
use crate::server::ApiServer;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const DANGLING: &str = "Dangling";
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
/// How long to wait when FlowSchemas cannot be read.
const RETRY: Duration = Duration::from_secs(1);

fn schemas() -> &'static Resource {
    resources::builtin(GROUP, "flowschemas")
}

fn levels() -> &'static Resource {
    resources::builtin(GROUP, "prioritylevelconfigurations")
}

/// Changes of FlowSchemas and of priority levels.
pub type Watches = [Watch; 2];

/// Notes it for all; what changes from then on comes in the watches.
pub async fn begin(server: &ApiServer) -> Result<Watches, Error> {
    let since = server.store.revision();
    let watches = [server.store.watch(&schemas().prefix, since)?, server.store.watch(&levels().prefix, since)?];
    note_all(server, |_| true).await?;
    Ok(watches)
}

/// Keeps the conditions up to date until the store is closed.
pub async fn follow(server: Arc<ApiServer>, mut watches: Watches) {
    loop {
        let Err(mut error) = follow_on(&server, watches).await;
        watches = loop {
            match error {
                Error::Unavailable(_) => return,
                Error::Compacted { .. } => {}
                _ => {
                    tracing::warn!(%error, "FlowSchemas cannot be followed");
                    tokio::time::sleep(RETRY).await;
                }
            }
            match begin(&server).await {
                Ok(watches) => break watches,
                Err(failed) => error = failed,
            }
        };
    }
}

/// Returns when that cannot go on.
async fn follow_on(
    server: &ApiServer,
    [mut schemas_changed, mut levels_changed]: Watches,
) -> Result<Infallible, Error> {
    loop {
        tokio::select! {
            event = schemas_changed.next() => {
                let event = event?;
                if event.entry.is_some() {
                    note(server, schemas().split_key(&event.key).1).await;
                }
            }
            event = levels_changed.next() => {
                let event = event?;
                if event.entry.is_none() || event.previous.is_none() {
                    let name = levels().split_key(&event.key).1;
                    note_all(server, |schema| level(schema) == name).await?;
                }
            }
        }
    }
}

fn level(schema: &Value) -> &str {
    document::get_str(schema, "spec.priorityLevelConfiguration.name")
}

/// Notes it for all that `concerned` takes, at the same time.
async fn note_all(server: &ApiServer, concerned: impl Fn(&Value) -> bool) -> Result<(), Error> {
    let list = server.store.range(Range { prefix: &schemas().prefix, ..Range::default() })?;
    let is_concerned = |value: &[u8]| schemas().read(value).is_ok_and(|schema| concerned(&schema));
    let entries = list.entries.iter().filter(|entry| is_concerned(&entry.value));
    join_all(entries.map(|entry| note(server, schemas().split_key(&entry.key).1))).await;
    Ok(())
}

/// Notes it for one, if that says anything new.
async fn note(server: &ApiServer, name: &str) {
    let wanted = |schema: &Value, now: Timestamp| -> Result<Option<Value>, ApiError> {
        let level = server.store.get(&levels().key("", level(schema))).map_err(|error| server.store_error(error))?;
        let condition = unsaid(schema, level.is_some(), &time::format(now));
        Ok(condition.map(|condition| json!({ "conditions": [condition] })))
    };
    match server.apply_own_status(schemas(), name, MANAGER, wanted).await {
        Err(failure) if failure.code != 404 => {
            tracing::warn!(%failure, name, "a FlowSchema's status is not up to date")
        }
        _ => {}
    }
}

/// The condition that the FlowSchema should have; `None` if it has it already.
fn unsaid(schema: &Value, level_exists: bool, now: &str) -> Option<Value> {
    let (status, reason, rest) = match level_exists {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let level = api::field::quote(level(schema));
    let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {level} {rest}");
    let is_said = |old: &Value| {
        old["type"] == DANGLING && old["status"] == status && old["reason"] == reason && old["message"] == *message
    };
    if document::get_list(schema, "status.conditions").iter().any(is_said) {
        return None;
    }
    Some(json!({
        "type": DANGLING, "status": status, "reason": reason, "message": message, "lastTransitionTime": now,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_already_is_not_said_again() {
        let mut schema = json!({ "spec": { "priorityLevelConfiguration": { "name": "a" } } });
        let missing = unsaid(&schema, false, "1").unwrap();
        assert_eq!((&missing["status"], &missing["reason"]), (&json!("True"), &json!("NotFound")));
        schema["status"]["conditions"] = json!([{ "type": "Other" }, missing]);
        assert_eq!(unsaid(&schema, false, "2"), None);
        let found = unsaid(&schema, true, "3").unwrap();
        assert_eq!((&found["status"], &found["lastTransitionTime"]), (&json!("False"), &json!("3")));
    }
}
