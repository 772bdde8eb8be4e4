//! What the cluster knows of the use of tokens in Secrets: a ConfigMap says since when it is noted, and a label of each Secret on which
//! day its token was used last (upstream's `pkg/controlplane/controller/legacytokentracking`).

use std::sync::Arc;
use std::time::Duration;

use api::status::ApiError;
use api::{Value, document};
use jiff::civil::Date;
use serde_json::json;
use storage::{Error, Watch};
use tokio::sync::mpsc;

use crate::authn::{SecretUse, day};
use crate::registry::{Call, Part};
use crate::resources::{self, Resource};
use crate::server::ApiServer;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-apiserver-legacy-service-account-token-tracking";
const SINCE: &str = "data.since";
/// Uses that may wait for their label; others are noted at the next use.
pub const WAITING: usize = 256;
/// How long to wait when the ConfigMap cannot be followed.
const RETRY: Duration = Duration::from_secs(1);

fn config_maps() -> &'static Resource {
    resources::builtin("", "configmaps")
}

/// Sees to the ConfigMap; what becomes of it from then on comes in the watch.
pub async fn begin(server: &ApiServer) -> Result<Watch, Error> {
    let watch = server.store.watch(&config_maps().key(NAMESPACE, NAME), server.store.revision())?;
    keep_since(server).await;
    Ok(watch)
}

/// Keeps the ConfigMap there and labels the Secrets, until the store is closed.
pub async fn follow(server: Arc<ApiServer>, changes: Watch, mut uses: mpsc::Receiver<SecretUse>) {
    let labelling = async {
        while let Some(used) = uses.recv().await {
            label(&server, &used).await;
        }
    };
    tokio::join!(follow_since(&server, changes), labelling);
}

async fn follow_since(server: &ApiServer, mut changes: Watch) {
    loop {
        let mut error = loop {
            match changes.next().await {
                Ok(_) => keep_since(server).await,
                Err(error) => break error,
            }
        };
        changes = loop {
            match error {
                Error::Unavailable(_) => return,
                Error::Compacted { .. } => {}
                _ => {
                    tracing::warn!(%error, NAME, "the ConfigMap cannot be followed");
                    tokio::time::sleep(RETRY).await;
                }
            }
            match begin(server).await {
                Ok(changes) => break changes,
                Err(failed) => error = failed,
            }
        };
    }
}

/// Makes the ConfigMap, or mends it when what it says is no day.
async fn keep_since(server: &ApiServer) {
    let call = Call::internal(server, config_maps(), NAMESPACE, NAME);
    let today = day(call.now);
    let dated = |old: &Value| {
        let mut map = old.clone();
        if !is_day(document::get_str(old, SINCE)) {
            document::set(&mut map, SINCE, today.as_str());
        }
        Ok(map)
    };
    let new = json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": NAME, "namespace": NAMESPACE } });
    report(server.put_own(&call, &dated, || dated(&new)).await, NAME);
}

/// Whether it is a day as this server writes it.
fn is_day(text: &str) -> bool {
    const FORMAT: &str = "%Y-%m-%d";
    Date::strptime(FORMAT, text).is_ok_and(|date| date.strftime(FORMAT).to_string() == text)
}

/// Notes a use in its Secret, if it still is the same and does not say so.
async fn label(server: &ApiServer, used: &SecretUse) {
    let call = Call::internal(server, resources::builtin("", "secrets"), &used.namespace, &used.name);
    let labelled = |old: &Value| {
        let mut secret = old.clone();
        if let Some((label, value)) = used.label(old) {
            document::child(document::metadata_mut(&mut secret), "labels").insert(label.to_owned(), value.into());
        }
        Ok(secret)
    };
    report(server.update(&call, Part::Main, &labelled).await.map(|_| ()), &used.name);
}

fn report(outcome: Result<(), ApiError>, name: &str) {
    match outcome {
        Err(failure) if failure.code != 404 => {
            tracing::warn!(%failure, name, "the use of tokens in Secrets is not noted")
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_are_days() {
        assert!(is_day("2026-01-31"));
        for text in ["", "2026-02-30", "2026-1-31", "2026-01-31T00:00:00Z", "yesterday"] {
            assert!(!is_day(text), "{text}");
        }
    }
}
