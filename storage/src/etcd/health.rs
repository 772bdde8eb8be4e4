//! Whether etcd takes changes, as far as is known.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::client::Client;
use super::failure::QUOTA;
use super::wire::{AlarmRequest, NO_SPACE};
use crate::Error;
use crate::state::State;

/// How often is asked whether an alarm is over.
const ASK: Duration = Duration::from_secs(5);

/// What can be wrong, and ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// There is no watch, so that reads grow old.
    Watch,
    /// The quota is used up.
    Space,
}

/// What is wrong at present.
#[derive(Default)]
pub(super) struct Health {
    /// Why nothing that is known of etcd holds any more.
    lost: OnceLock<String>,
    troubles: Mutex<BTreeMap<Trouble, String>>,
    space: Notify,
}

impl Health {
    pub(super) fn get(&self) -> Result<(), String> {
        if let Some(why) = self.lost.get() {
            return Err(why.clone());
        }
        self.troubles.lock().values().next().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Refuses everything once etcd was seen with another history than the one that is known. Revisions would be given twice, so
    /// nothing but a new start of all servers mends that.
    pub(super) fn history(&self) -> Result<(), Error> {
        self.lost.get().map_or(Ok(()), |why| Err(Error::Unavailable(why.clone())))
    }

    /// etcd has another history: `seen` says how that was noticed. Ends the watches.
    pub(super) fn lose_history(&self, state: &State, seen: &str) -> Error {
        let why = self.lost.get_or_init(|| {
            let why = format!(
                "etcd has another history than before: {seen}. It was restored from a backup, or a member has lost changes. \
                 Stop all servers and see that the members agree, then start the servers again"
            );
            tracing::error!(why, "nothing is served any more");
            why
        });
        state.close();
        Error::Unavailable(why.clone())
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
