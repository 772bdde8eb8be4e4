//! Which API servers there are: each has a Lease in `kube-system`, which whoever outlives it takes away (KEP-1965).

use crate::registry::Call;
use crate::resources::{self, Resource};
use crate::server::ApiServer;
use api::status::ApiError;
use api::{Value, document, time};
use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use storage::Range;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

const NAMESPACE: &str = "kube-system";
const LABEL: &str = "apiserver.kubernetes.io/identity";
const SERVER: &str = "kube-apiserver";
const RENEWAL: Duration = Duration::from_secs(10);
const LIFE_SECONDS: i64 = 3600;
/// How often leases that have expired are looked for.
const SWEEP: Duration = Duration::from_secs(3600);

fn leases() -> &'static Resource {
    resources::builtin("coordination.k8s.io", "leases")
}

/// Renews the server's lease until the server stops.
pub async fn hold(server: Arc<ApiServer>) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = name(&host);
    let holder = format!("{name}_{}", Uuid::new_v4());
    let mut renewal = interval(RENEWAL);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept: Option<Instant> = None;
    while server.stop.run_until_cancelled(renewal.tick()).await.is_some() {
        if let Err(failure) = renew(&server, &name, &holder, &host).await {
            tracing::warn!(%failure, "the lease of this server's identity is not renewed");
        }
        if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
            swept = Some(Instant::now());
            sweep(&server).await;
        }
    }
}

/// The name of the lease of a host's server: upstream's hash of the host's name and of what the server is, each after its length.
fn name(host: &str) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
    let prefixed = |part: &str| {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        [&length.to_be_bytes()[..], part.as_bytes()].concat()
    };
    let hash = digest(&SHA256, &[host, SERVER].map(prefixed).concat());
    let bits: Vec<u8> =
        hash.as_ref().iter().take(16).flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let letter = |five: &[u8]| {
        let value = (0..5).fold(0, |value, at| value << 1 | five.get(at).copied().unwrap_or_default());
        char::from(ALPHABET[usize::from(value)])
    };
    format!("apiserver-{}", bits.chunks(5).map(letter).collect::<String>())
}

async fn renew(server: &ApiServer, name: &str, holder: &str, host: &str) -> Result<(), ApiError> {
    let call = Call::internal(server, leases(), NAMESPACE, name);
    let renewed = |old: &Value| {
        let mut lease = old.clone();
        let labels = document::child(document::metadata_mut(&mut lease), "labels");
        labels.insert(LABEL.to_owned(), SERVER.into());
        labels.insert("kubernetes.io/hostname".to_owned(), host.into());
        lease["spec"] = json!({
            "holderIdentity": holder, "leaseDurationSeconds": LIFE_SECONDS, "renewTime": time::format_micro(call.now),
        });
        Ok(lease)
    };
    let metadata = json!({ "name": name, "namespace": NAMESPACE });
    let lease = json!({ "kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": metadata });
    server.put_own(&call, &renewed, || renewed(&lease)).await
}

/// Deletes the leases of servers that have not been there for long.
async fn sweep(server: &ApiServer) {
    let prefix = leases().scope(NAMESPACE);
    let found = server.store.range(Range { prefix: &prefix, ..Range::default() }).unwrap_or_default();
    for entry in found.entries {
        let is_gone = leases().read(&entry.value).is_ok_and(|lease| is_expired(&lease, Timestamp::now()));
        let (_, name) = leases().split_key(&entry.key);
        let call = Call::internal(server, leases(), NAMESPACE, name);
        if is_gone && let Err(failure) = server.delete(&call, &Default::default()).await {
            tracing::debug!(%failure, name, "the lease of a server that is gone stays");
        }
    }
}

/// Whether this is the lease of a server that did not renew it in time, or says nothing of when.
fn is_expired(lease: &Value, now: Timestamp) -> bool {
    if document::labels(lease).and_then(|labels| labels.get(LABEL)).is_none_or(|server| server != SERVER) {
        return false;
    }
    let renewed = time::parse(document::get_str(lease, "spec.renewTime")).ok();
    let until = renewed.zip(document::get_i64(lease, "spec.leaseDurationSeconds"));
    let until = until.and_then(|(at, seconds)| at.checked_add(SignedDuration::from_secs(seconds)).ok());
    until.is_none_or(|until| until < now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_name_that_upstream_gives_it() {
        assert_eq!(name("vm"), "apiserver-wlv32tlttr4jl3gtroqexyxapa");
    }

    #[test]
    fn only_leases_of_servers_expire() {
        let now = time::parse("2026-01-01T02:00:00Z").unwrap();
        let lease = |label: &str, renewed: &str| {
            json!({ "metadata": { "labels": { LABEL: label } },
                "spec": { "renewTime": renewed, "leaseDurationSeconds": 3600 } })
        };
        assert!(is_expired(&lease(SERVER, "2026-01-01T00:59:59.000000Z"), now));
        assert!(!is_expired(&lease(SERVER, "2026-01-01T01:00:01.000000Z"), now));
        assert!(!is_expired(&lease("other", "2026-01-01T00:00:00.000000Z"), now));
        assert!(is_expired(&json!({ "metadata": { "labels": { LABEL: SERVER } } }), now));
    }
}
