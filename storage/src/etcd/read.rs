//! How far etcd is: one linearizable read for all who ask at the same time.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::client::Client;
use super::health::Health;
use super::values::revision;
use super::wire::{Answer, RangeRequest};
use crate::state::State;
use crate::{Error, Revision};

type Reply = oneshot::Sender<Result<Revision, Error>>;

/// The way to the task that reads.
pub(super) struct Reads(mpsc::UnboundedSender<Reply>);

impl Reads {
    /// Asks by the way of a `key` that may be read.
    pub(super) fn start(
        tasks: &mut JoinSet<()>,
        client: Arc<Client>,
        state: Arc<State>,
        health: Arc<Health>,
        key: Bytes,
    ) -> Reads {
        let (sender, receiver) = mpsc::unbounded_channel();
        tasks.spawn(run(client, state, health, key, receiver));
        Reads(sender)
    }

    /// A revision at or after that of everything acknowledged to anyone before the call.
    pub(super) async fn revision(&self) -> Result<Revision, Error> {
        let closed = |_| Error::Unavailable("the store was closed".to_owned());
        let (sender, receiver) = oneshot::channel();
        self.0.send(sender).map_err(|_| closed(()))?;
        receiver.await.map_err(|_| closed(()))?
    }
}

/// Reads for all who have asked until then; who asks while a read is under way waits for the next one.
async fn run(
    client: Arc<Client>,
    state: Arc<State>,
    health: Arc<Health>,
    key: Bytes,
    mut asked: mpsc::UnboundedReceiver<Reply>,
) {
    // Only the header of the answer matters, and that it is not from a member that lags behind.
    let question = RangeRequest { key, limit: 1, count_only: true, ..RangeRequest::default() };
    let mut replies = Vec::new();
    while asked.recv_many(&mut replies, usize::MAX).await > 0 {
        let before = state.revision();
        let result = client.read(question.clone()).await.map(|answer| revision(answer.header().revision));
        let result = result.map_err(Error::from).and_then(|revision| {
            if revision >= before {
                return Ok(revision);
            }
            Err(health.lose_history(&state, &format!("it is at revision {revision} and was at {before}")))
        });
        replies.drain(..).for_each(|reply| drop(reply.send(result.clone())));
    }
}
