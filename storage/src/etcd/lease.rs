//! Leases: etcd deletes a key when its lease ends. One is shared by the keys of about the same deadline, for each costs etcd
//! memory and a write.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::client::Client;
use super::failure::Failure;
use super::wire::{LeaseGrantRequest, LeaseTimeToLiveRequest};
use crate::expiry;

/// As upstream: a lease is given to so many keys.
const KEYS: u32 = 1000;
/// A lease lives longer than what it is granted for, by this part of the time to live and at most [`LONGER`] seconds; for that
/// time it is given to others.
const PART: u64 = 20;
const LONGER: u64 = 60;

/// How many leases are asked for at once.
const ASKED: usize = 16;

/// The leases that this process was granted, and those of others that were there when it began.
#[derive(Default)]
pub(super) struct Leases {
    /// By time to live in seconds, those that may be given to more keys.
    open: tokio::sync::Mutex<HashMap<u64, Open>>,
    /// When they end, in milliseconds since the epoch.
    deadlines: parking_lot::Mutex<HashMap<i64, u64>>,
}

#[derive(Clone, Copy)]
struct Open {
    id: i64,
    ends: Instant,
    keys: u32,
}

impl Leases {
    /// A lease that lasts for `ttl` from now at least.
    pub(super) async fn lease(&self, client: &Client, ttl: Duration) -> Result<i64, Failure> {
        let seconds = ttl.as_millis().div_ceil(1000).clamp(1, u128::from(u32::MAX)) as u64;
        let mut open = self.open.lock().await;
        let now = Instant::now();
        open.retain(|_, lease| lease.ends > now);
        if let Some(lease) = open.get_mut(&seconds)
            && lease.ends > now + Duration::from_secs(seconds)
            && lease.keys < KEYS
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let asked = seconds + (seconds / PART).min(LONGER);
        let clock = expiry::now();
        // A lease that is granted and not used ends by itself, so asking twice does no harm.
        let granted = client.read(LeaseGrantRequest { ttl: asked as i64 }).await?;
        let lasts = granted.ttl.max(0) as u64;
        open.insert(seconds, Open { id: granted.id, ends: now + Duration::from_secs(lasts), keys: 1 });
        let mut deadlines = self.deadlines.lock();
        deadlines.retain(|_, deadline| *deadline > clock);
        deadlines.insert(granted.id, clock + lasts * 1000);
        Ok(granted.id)
    }

    /// Asks when those of these leases end that others were granted: what has one keeps its time when it is moved elsewhere.
    pub(super) async fn learn(&self, client: &Client, ids: BTreeSet<i64>) -> Result<(), Failure> {
        let unknown: Vec<i64> = {
            let deadlines = self.deadlines.lock();
            ids.into_iter().filter(|id| *id != 0 && !deadlines.contains_key(id)).collect()
        };
        let asked = unknown.into_iter().map(|id| async move {
            let clock = expiry::now();
            let answer = client.read(LeaseTimeToLiveRequest { id }).await?;
            // One that is over has been since the list: what had it is about to go.
            self.deadlines.lock().insert(id, clock + answer.ttl.max(0) as u64 * 1000);
            Ok(())
        });
        stream::iter(asked).buffer_unordered(ASKED).try_collect().await
    }

    /// When what has this lease expires, in milliseconds since the epoch, if that is known.
    pub(super) fn deadline(&self, id: i64) -> Option<u64> {
        (id != 0).then(|| self.deadlines.lock().get(&id).copied()).flatten()
    }

    /// The lease is not there any more.
    pub(super) async fn forget(&self, id: i64) {
        self.open.lock().await.retain(|_, lease| lease.id != id);
    }
}
