//! Compaction of etcd's history by one of the servers, Kubernetes' own too: they share a key and its rules with upstream.
//!
//! The version of the key counts the compactions. Who finds it as it was after his last look is the one who compacts, to
//! the revision of that look; who does not lets another be the one for that time.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::failure::{Failure, Kind};
use super::values::revision;
use super::wire::{Answer, CompactionRequest, Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, VERSION};
use crate::Revision;

const KEY: &str = "compact_rev_key";

/// What the key's version was, and the revision at that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) version: i64,
    pub(super) revision: Revision,
}

/// The task.
pub(super) async fn run(client: Arc<Client>, interval: Duration) {
    let mut last = Look::default();
    loop {
        tokio::time::sleep(interval).await;
        match turn(&client, last).await {
            Ok(look) => last = look,
            Err(failure) => tracing::warn!(reason = failure.text, "etcd's history was not compacted"),
        }
    }
}

/// Compacts to where the last look was, if nobody has since.
pub(super) async fn turn(client: &Client, last: Look) -> Result<Look, Failure> {
    let unchanged = Compare { target: VERSION, key: KEY.into(), version: Some(last.version), ..Compare::default() };
    let put = PutRequest { key: KEY.into(), value: last.revision.to_string().into(), lease: 0 };
    let success = vec![RequestOp { put: Some(put), delete: None }];
    let answer = client.write(TxnRequest { compare: vec![unchanged], success }).await?;
    let now = revision(answer.header().revision);
    if !answer.succeeded {
        let found = client.read(RangeRequest { key: KEY.into(), ..RangeRequest::default() }).await?;
        let version = found.kvs.first().map_or(0, |kv| kv.version);
        return Ok(Look { version, revision: now });
    }
    if last.revision > 0 {
        compact(client, last.revision).await?;
        tracing::debug!(revision = last.revision, "etcd's history is compacted");
    }
    Ok(Look { version: last.version + 1, revision: now })
}

/// Gives up etcd's history before a revision.
pub(super) async fn compact(client: &Client, before: Revision) -> Result<(), Failure> {
    match client.read(CompactionRequest { revision: i64::try_from(before).unwrap_or(i64::MAX) }).await {
        Err(failure) if failure.kind != Kind::Compacted => Err(failure),
        _ => Ok(()),
    }
}
