//! Leader election over a Lease, so that of several processes one works. The record is upstream's (client-go
//! `tools/leaderelection`), so ours and an upstream component can stand in for each other.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::client::{self, Client};
use crate::informer::random;
use crate::meta::format_micro_time;
use crate::resource::LEASES;

/// Which lease, and how often it is renewed. The defaults are upstream's.
#[derive(Debug, Clone)]
pub struct LeaderElection {
    pub namespace: String,
    pub name: String,
    /// Unique among the candidates: host name and a UUID.
    pub identity: String,
    pub lease_duration: Duration,
    pub renew_deadline: Duration,
    pub retry_period: Duration,
}

impl LeaderElection {
    /// For a component's lease in `kube-system`, such as `kube-scheduler`.
    pub fn new(name: &str, identity: &str) -> LeaderElection {
        LeaderElection {
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// Waits for the lease, then runs `work` until it ends, `stop` is cancelled or the lease is lost, which is an error. The token
    /// given to `work` ends with leadership.
    pub async fn lead<F>(
        &self,
        client: &Client,
        stop: CancellationToken,
        work: impl FnOnce(CancellationToken) -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let mut seen = Seen::default();
        while !self.attempt(client, &mut seen).await {
            let jitter = 1.0 + 1.2 * (random() % 1024) as f64 / 1024.0;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.retry_period.mul_f64(jitter)) => {}
            }
        }
        tracing::info!(lease = self.name, identity = self.identity, "became leader");
        let leading = stop.child_token();
        let outcome = tokio::select! {
            outcome = work(leading.clone()) => outcome,
            () = self.renew(client, &mut seen) => {
                leading.cancel();
                anyhow::bail!("leader election lost: lease {}/{} was not renewed in time", self.namespace, self.name);
            }
        };
        leading.cancel();
        self.release(client).await;
        outcome
    }

    /// Renews until that fails for the whole renew deadline.
    async fn renew(&self, client: &Client, seen: &mut Seen) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.retry_period).await;
            let left = self.renew_deadline.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.attempt(client, seen)).await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) if renewed.elapsed() < self.renew_deadline => {}
                _ => return,
            }
        }
    }

    /// Takes or renews the lease; true when it is ours.
    async fn attempt(&self, client: &Client, seen: &mut Seen) -> bool {
        let now = Timestamp::now();
        let lease = match client.get::<Value>(LEASES, &self.namespace, &self.name).await {
            Ok(lease) => lease,
            Err(error) if client::is_not_found(&error) => {
                let mut lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": { "name": self.name, "namespace": self.namespace },
                });
                lease["spec"] = self.record(&Value::Null, now);
                return client.create::<Value>(LEASES, &self.namespace, &lease).await.is_ok();
            }
            Err(error) => {
                tracing::debug!(%error, lease = self.name, "cannot read the lease");
                return false;
            }
        };
        seen.observe(&lease["spec"], Instant::now());
        if !seen.may_take(&self.identity, Instant::now()) {
            return false;
        }
        let mut next = lease;
        next["spec"] = self.record(&next["spec"], now);
        let written = client.update::<Value>(LEASES, &self.namespace, &self.name, "", &next).await;
        if let Err(error) = &written {
            tracing::debug!(%error, lease = self.name, "cannot write the lease");
        }
        written.is_ok()
    }

    /// The lease's spec with us as the holder.
    fn record(&self, old: &Value, now: Timestamp) -> Value {
        let mine = old["holderIdentity"].as_str() == Some(&self.identity);
        let transitions = old["leaseTransitions"].as_i64().unwrap_or_default();
        let mut spec = if old.is_object() { old.clone() } else { json!({}) };
        spec["holderIdentity"] = self.identity.as_str().into();
        spec["leaseDurationSeconds"] = self.lease_duration.as_secs().into();
        spec["renewTime"] = format_micro_time(now).into();
        if !mine {
            spec["acquireTime"] = format_micro_time(now).into();
            spec["leaseTransitions"] = (if old.is_object() { transitions + 1 } else { 0 }).into();
        }
        spec
    }

    /// Gives the lease up, so that the next candidate need not wait for its end.
    async fn release(&self, client: &Client) {
        let released = client.update_with(LEASES, &self.namespace, &self.name, "", |lease| {
            let mine = lease["spec"]["holderIdentity"].as_str() == Some(&self.identity);
            if mine {
                lease["spec"]["holderIdentity"] = "".into();
                lease["spec"]["leaseDurationSeconds"] = 1.into();
                lease["spec"]["renewTime"] = format_micro_time(Timestamp::now()).into();
            }
            mine
        });
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), released).await {
            tracing::debug!(%error, lease = self.name, "cannot release the lease");
        }
    }
}

/// The last record seen and when, by this host's clock: the clocks of the candidates need not agree.
#[derive(Default)]
struct Seen {
    record: Value,
    at: Option<Instant>,
}

impl Seen {
    fn observe(&mut self, record: &Value, now: Instant) {
        if self.at.is_none() || self.record != *record {
            self.record = record.clone();
            self.at = Some(now);
        }
    }

    fn may_take(&self, identity: &str, now: Instant) -> bool {
        let holder = self.record["holderIdentity"].as_str().unwrap_or_default();
        let lasts = Duration::from_secs(self.record["leaseDurationSeconds"].as_u64().unwrap_or_default());
        let expired = self.at.is_none_or(|at| at + lasts <= now);
        holder.is_empty() || holder == identity || expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_it_was_not_renewed_for_its_duration() {
        let start = Instant::now();
        let record = json!({ "holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "x" });
        let mut seen = Seen::default();
        seen.observe(&record, start);
        assert!(!seen.may_take("me", start + Duration::from_secs(14)));
        assert!(seen.may_take("other", start));
        assert!(seen.may_take("me", start + Duration::from_secs(15)));
        let renewed = json!({ "holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "y" });
        seen.observe(&renewed, start + Duration::from_secs(14));
        assert!(!seen.may_take("me", start + Duration::from_secs(20)));
    }

    #[test]
    fn a_new_holder_counts_as_a_transition() {
        let election = LeaderElection::new("kube-scheduler", "me");
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(election.record(&Value::Null, now)["leaseTransitions"], 0);
        let old = json!({ "holderIdentity": "other", "leaseTransitions": 3, "acquireTime": "then" });
        assert_eq!(election.record(&old, now)["leaseTransitions"], 4);
        let mine = json!({ "holderIdentity": "me", "leaseTransitions": 3, "acquireTime": "then" });
        assert_eq!(election.record(&mine, now)["acquireTime"], "then");
    }
}
