//! Values that cannot be read are tried again: a key service may be away, or a key be given later.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::client::Client;
use super::failure::Failure;
use super::values::Values;
use super::wire::RangeRequest;
use crate::Entry;
use crate::state::{Followed, State};

/// How long to wait before they are tried again: doubled each time that none can be read, up to the second one.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// How many are tried at a time.
const SOME: usize = 100;

/// The task.
pub(super) async fn mend(client: Arc<Client>, state: Arc<State>, values: Values) {
    let (mut pause, mut after) = (FIRST, String::new());
    loop {
        state.has_unreadable().await;
        sleep(pause).await;
        let keys = state.unreadable(&after, SOME);
        after = keys.last().map(ToString::to_string).unwrap_or_default();
        match again(&client, &values, &keys).await {
            Ok(entries) if entries.is_empty() => {}
            Ok(entries) => {
                tracing::info!(count = entries.len(), "values in etcd that could not be read can be read now");
                state.mend(entries);
                pause = Duration::ZERO;
                continue;
            }
            Err(failure) => tracing::debug!(reason = failure.text, "values cannot be tried again"),
        }
        // After those at the end come those at the beginning.
        if after.is_empty() {
            pause = (pause * 2).clamp(FIRST, LONGEST);
        }
    }
}

/// Those of the keys' entries that can be read.
async fn again(client: &Client, values: &Values, keys: &[Arc<str>]) -> Result<Vec<Arc<Entry>>, Failure> {
    let mut kvs = Vec::new();
    for key in keys {
        let Ok(key) = values.outer(key) else { continue };
        kvs.extend(client.read(RangeRequest { key, ..RangeRequest::default() }).await?.kvs);
    }
    let readable = |followed| match followed {
        Followed::Put(entry) => Some(entry),
        _ => None,
    };
    Ok(values.tried(kvs).await?.into_iter().filter_map(readable).collect())
}
