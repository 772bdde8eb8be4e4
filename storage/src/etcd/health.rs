//! Whether etcd takes changes, as far as is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::client::Client;
use super::failure::QUOTA;
use super::wire::{AlarmRequest, NO_SPACE};

/// How often is asked whether an alarm is over.
const ASK: Duration = Duration::from_secs(5);

/// What can be wrong; each ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// Its history is not the one that was seen before.
    History,
    /// There is no watch, so that reads grow old.
    Watch,
    /// The quota is used up.
    Space,
}

/// What is wrong at present.
#[derive(Default)]
pub(super) struct Health {
    troubles: Mutex<BTreeMap<Trouble, String>>,
    space: Notify,
}

impl Health {
    pub(super) fn get(&self) -> Result<(), String> {
        self.troubles.lock().values().next().map_or(Ok(()), |why| Err(why.clone()))
    }

    pub(super) fn report(&self, trouble: Trouble, why: &str) {
        if self.troubles.lock().insert(trouble, why.to_owned()).is_none() {
            tracing::error!(why, "etcd is in trouble");
            if trouble == Trouble::Space {
                self.space.notify_one();
            }
        }
    }

    pub(super) fn clear(&self, trouble: Trouble) {
        if self.troubles.lock().remove(&trouble).is_some() {
            tracing::info!(?trouble, "etcd has recovered");
        }
    }

    fn has(&self, trouble: Trouble) -> bool {
        self.troubles.lock().contains_key(&trouble)
    }
}

/// Asks whether there is space again while there is none: writes may not be tried by themselves, for what is not ready is not
/// asked.
pub(super) async fn mend(client: Arc<Client>, health: Arc<Health>) {
    loop {
        health.space.notified().await;
        while health.has(Trouble::Space) {
            tokio::time::sleep(ASK).await;
            match client.read(AlarmRequest {}).await {
                Ok(answer) if answer.alarms.iter().any(|alarm| alarm.kind == NO_SPACE) => {
                    let members: Vec<String> = answer.alarms.iter().map(|it| format!("{:x}", it.member_id)).collect();
                    tracing::warn!(members = members.join(","), "etcd's alarm NOSPACE is raised. {QUOTA}");
                }
                Ok(_) => health.clear(Trouble::Space),
                Err(failure) => tracing::warn!(reason = failure.text, "etcd's alarms cannot be read"),
            }
        }
    }
}
