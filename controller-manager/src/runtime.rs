//! Runs controllers: takes items from their queues, reconciles them, carries the plans out, and waits until the caches have
//! seen the writes before the same item is looked at again.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use component::metrics::Workqueues;
use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::execute::{Executor, Writes};
use crate::informers::{Informers, Stores};
use crate::plan::{Answers, Plan};
use crate::queue::{Item, Queue};

/// A row of CONTROLLERS.
pub struct Controller {
    /// Upstream's name for it, as in `--controllers`, events and metrics.
    pub name: &'static str,
    /// Items worked on at once.
    pub workers: usize,
    /// One item after the other, each only when the caches have seen the writes of the one before: for what is allocated from a common
    /// stock.
    pub serial: bool,
    /// Starts only when the metadata of all resources is in the caches.
    pub needs_metadata: bool,
    /// Subscribes to what wakes the controller up.
    pub watch: fn(&Informers, &Queue),
    /// Decides what to do about an item; a pure function of what it is given.
    pub reconcile: fn(&View<'_>, &Item) -> Plan,
}

impl Controller {
    /// A controller with ordinary settings, for the rows to start from.
    pub const fn new(
        name: &'static str,
        watch: fn(&Informers, &Queue),
        reconcile: fn(&View<'_>, &Item) -> Plan,
    ) -> Controller {
        Controller { name, workers: 16, serial: false, needs_metadata: false, watch, reconcile }
    }
}

/// What a reconcile may look at.
pub struct View<'a> {
    pub stores: &'a Stores,
    pub options: &'a Options,
    pub now: Timestamp,
    /// When the controllers were started.
    pub started: Timestamp,
    /// What the item's last plan wanted to be remembered.
    pub remembered: Option<Timestamp>,
    /// What the server answered to [`Plan::ask`].
    pub answers: &'a Answers,
}

/// Everything the controllers share.
pub struct Shared {
    pub informers: Informers,
    pub executor: Executor,
    pub options: Options,
    pub started: Timestamp,
}

/// How long a write may take to come back through a watch before the item is worked on regardless.
const CACHE_WAIT: Duration = Duration::from_secs(5);
/// Rounds of questions that one reconcile may ask.
const ROUNDS: usize = 4;

/// Runs the controllers until `stop`.
pub async fn run(
    controllers: impl Iterator<Item = &'static Controller>,
    shared: Arc<Shared>,
    queues: &Workqueues,
    stop: CancellationToken,
) {
    let mut loops = JoinSet::new();
    for controller in controllers {
        let queue = Queue::new(queues.queue(controller.name));
        let runner = Runner {
            controller,
            shared: shared.clone(),
            queue,
            remembered: Mutex::default(),
            permits: Arc::new(Semaphore::new(if controller.serial { 1 } else { controller.workers })),
        };
        loops.spawn(Arc::new(runner).run());
    }
    stop.cancelled().await;
    loops.shutdown().await;
}

struct Runner {
    controller: &'static Controller,
    shared: Arc<Shared>,
    queue: Queue,
    remembered: Mutex<HashMap<Item, Timestamp>>,
    permits: Arc<Semaphore>,
}

impl Runner {
    async fn run(self: Arc<Self>) {
        self.shared.informers.synced().await;
        if self.controller.needs_metadata {
            self.shared.informers.metadata_synced().await;
        }
        (self.controller.watch)(&self.shared.informers, &self.queue);
        tracing::debug!(controller = self.controller.name, "started");
        let mut tasks = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(permit) = self.permits.clone().acquire_owned().await else { return };
            let item = self.queue.next().await;
            while tasks.try_join_next().is_some() {}
            let runner = self.clone();
            tasks.spawn(async move {
                let mut permit = Some(permit);
                let work = AssertUnwindSafe(runner.work(&item, &mut permit)).catch_unwind().await;
                if work.is_err() {
                    tracing::error!(controller = runner.controller.name, item = %item.key, "a reconcile panicked");
                }
                runner.queue.done(&item, !work.unwrap_or(false));
            });
        }
    }

    /// Reconciles an item; true when nothing failed.
    async fn work(&self, item: &Item, permit: &mut Option<tokio::sync::OwnedSemaphorePermit>) -> bool {
        let controller = self.controller.name;
        let Some(plan) = self.plan(item).await else { return false };
        match plan.remember {
            Some(moment) => self.remembered.lock().insert(item.clone(), moment),
            None => self.remembered.lock().remove(item),
        };
        let mut writes = Writes::default();
        let mut failure = plan.retry;
        if let Err(message) = self.shared.executor.run(plan.steps, &mut writes).await {
            tracing::debug!(controller, item = %item.key, message, "a plan failed; it will be tried again");
            if let Some(actions) = plan.on_failure.map(|make| make(&message)) {
                let steps = actions.into_iter().map(crate::plan::Step::One).collect();
                if let Err(message) = self.shared.executor.run(steps, &mut writes).await {
                    tracing::debug!(controller, item = %item.key, message, "reporting the failure failed too");
                }
            }
            failure = Some(message);
        }
        if let Some(wait) = plan.requeue_after {
            self.queue.add_after(item.clone(), wait);
        }
        if !self.controller.serial {
            permit.take();
        }
        if tokio::time::timeout(CACHE_WAIT, self.caches_have_seen(writes)).await.is_err() {
            tracing::debug!(controller, item = %item.key, "the caches have not seen a write in time");
        }
        failure.is_none()
    }

    /// Reconciles, with as many rounds of questions as it takes.
    async fn plan(&self, item: &Item) -> Option<Plan> {
        let mut answers = Answers::new();
        for _ in 0..ROUNDS {
            let plan = {
                let view = View {
                    stores: self.shared.informers.stores(),
                    options: &self.shared.options,
                    now: Timestamp::now(),
                    started: self.shared.started,
                    remembered: self.remembered.lock().get(item).copied(),
                    answers: &answers,
                };
                (self.controller.reconcile)(&view, item)
            };
            if plan.ask.is_empty() {
                return Some(plan);
            }
            answers.extend(self.shared.executor.ask(plan.ask).await);
        }
        tracing::error!(controller = self.controller.name, item = %item.key, "a reconcile asks without end");
        None
    }

    async fn caches_have_seen(&self, writes: Writes) {
        let informers = &self.shared.informers;
        for (resource, revision) in writes.revisions {
            if let Some(informer) = informers.all.get(&resource) {
                let _ = informer.progress().wait_for(|progress| progress.revision >= revision).await;
            }
        }
        for (resource, namespace, name) in writes.deleted {
            let (Some(informer), Some(store)) = (informers.all.get(&resource), informers.stores().all.get(&resource))
            else {
                continue;
            };
            let gone = || store.metadata(&namespace, &name).is_none_or(|object| object.metadata().is_terminating());
            let _ = informer.progress().wait_for(|_| gone()).await;
        }
    }
}
