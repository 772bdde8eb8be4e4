//! The write path of the log: a queue with the state that is to come, and the thread that makes it durable.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::directory::{Directory, Writing, told};
use super::record;
use super::scan::Position;
use super::{LogOptions, Recovered, recovery, snapshot};
use crate::state::{Change, State};
use crate::{Commit, Committed, Error, Range, Revision, Stats, expiry};

/// How many revisions are reserved at a time for changes of which nothing is kept. So many are skipped after a crash.
const RESERVED: u64 = 4096;
/// A batch buffer that has grown beyond this is given back.
const BUFFER: usize = 1 << 20;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// The writers' side.
pub(crate) struct Journal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Arc<State>,
    directory: Arc<Directory>,
    /// See [`LogOptions::volatile`].
    volatile: Vec<String>,
    queue: Mutex<Queue>,
    ready: Condvar,
}

struct Queue {
    /// The revision of the next commit.
    next: Revision,
    /// The latest change, not yet visible, of each key that has one.
    pending: HashMap<Arc<str>, Change>,
    waiting: Vec<Waiting>,
    /// Bytes that wait.
    bytes: usize,
    /// No more changes are accepted, for this reason.
    stopped: Option<Why>,
    closing: bool,
}

/// Why no changes are accepted.
#[derive(Clone)]
struct Why {
    /// For the log and for operators.
    reason: String,
    /// For clients, who need not know the server's files.
    told: String,
}

impl From<&str> for Why {
    fn from(reason: &str) -> Why {
        Why { reason: reason.to_owned(), told: reason.to_owned() }
    }
}

impl From<&io::Error> for Why {
    fn from(error: &io::Error) -> Why {
        Why { reason: error.to_string(), told: told(error) }
    }
}

/// What waits for the thread.
enum Waiting {
    Change(Change, Reply<Committed>),
    /// Answered when everything before it has become visible.
    Barrier(Reply<()>),
}

/// What became of a commit at the queue.
enum Queued {
    Accepted(oneshot::Receiver<Result<Committed, Error>>),
    /// A conflict with a change that is not durable yet: nobody may hear of it until it is.
    Conflict(Error, oneshot::Receiver<Result<(), Error>>),
}

impl Journal {
    /// Starts the thread that writes to the recovered segment.
    pub(super) fn start(recovered: Recovered, directory: Arc<Directory>, options: LogOptions) -> io::Result<Journal> {
        let Recovered { state, base, taken, grown, logged, segment } = recovered;
        let reserved = state.revision();
        let queue = Queue {
            next: reserved + 1,
            pending: HashMap::new(),
            waiting: Vec::new(),
            bytes: 0,
            stopped: None,
            closing: false,
        };
        let volatile = options.volatile.clone();
        let shared = Arc::new(Shared { state, directory, volatile, queue: Mutex::new(queue), ready: Condvar::new() });
        let mut writer = Writer {
            shared: shared.clone(),
            options,
            segment,
            base,
            taken,
            grown,
            logged,
            reserved,
            dirty: false,
            snapshot: None,
            buffer: Vec::new(),
        };
        writer.remove_volatile()?;
        let thread = thread::Builder::new().name("store-log".to_owned()).spawn(move || writer.run())?;
        Ok(Journal { shared, thread: Mutex::new(Some(thread)) })
    }

    /// See [`crate::Store::commit`].
    pub(crate) async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        let gone = |_| Error::Unavailable("the log's writer has ended".to_owned());
        let sealed = match &commit.put {
            Some(put) => self.shared.directory.seal(&commit.key, || put.value.clone())?,
            None => None,
        };
        match self.shared.enqueue(&commit, sealed)? {
            Queued::Accepted(reply) => reply.await.map_err(gone)?,
            Queued::Conflict(conflict, durable) => {
                durable.await.map_err(gone)??;
                Err(conflict)
            }
        }
    }

    /// Whether changes are accepted; if not, why.
    pub(crate) fn health(&self) -> Result<(), String> {
        self.shared.queue.lock().stopped.as_ref().map_or(Ok(()), |why| Err(why.reason.clone()))
    }

    pub(crate) fn stats(&self, stats: Stats) -> Stats {
        self.shared.directory.stats(stats)
    }

    /// Writes out what is queued and ends the thread, which releases the directory.
    pub(crate) async fn close(&self) {
        self.shared.end();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // Its panic, if any, has been reported by the panic hook.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    /// Decides a commit against everything accepted before it, and queues it.
    fn enqueue(&self, commit: &Commit, sealed: Option<Bytes>) -> Result<Queued, Error> {
        let mut queue = self.queue.lock();
        if let Some(why) = &queue.stopped {
            return Err(Error::Unavailable(why.told.clone()));
        }
        if queue.closing {
            return Err(Error::Unavailable("the store is being closed".to_owned()));
        }
        if queue.bytes > self.state.limits.queue_bytes {
            return Err(Error::Busy);
        }
        let pending = queue.pending.get(&commit.key);
        let visible = if pending.is_none() { self.state.get(&commit.key) } else { None };
        let current = pending.map_or(visible.as_ref(), Change::result);
        match Change::decide(commit, current, queue.next, expiry::now(), sealed) {
            Ok(change) => {
                let volatile = self.volatile.iter().any(|prefix| commit.key.starts_with(prefix));
                let change = Change { volatile, ..change };
                let (reply, receiver) = oneshot::channel();
                queue.next += 1;
                queue.bytes += size(&change);
                queue.pending.insert(change.entry.key.clone(), change.clone());
                queue.waiting.push(Waiting::Change(change, reply));
                self.ready.notify_one();
                Ok(Queued::Accepted(receiver))
            }
            Err(conflict) if pending.is_some() => {
                let (reply, receiver) = oneshot::channel();
                queue.waiting.push(Waiting::Barrier(reply));
                self.ready.notify_one();
                Ok(Queued::Conflict(conflict, receiver))
            }
            Err(conflict) => Err(conflict),
        }
    }

    /// All that waits, in order; `None` when the store is being closed and nothing does.
    fn next_batch(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue.lock();
        while queue.waiting.is_empty() {
            if queue.closing {
                return None;
            }
            self.ready.wait(&mut queue);
        }
        queue.bytes = 0;
        Some(std::mem::take(&mut queue.waiting))
    }

    /// Forgets the pending changes up to and including `revision`, which have become visible.
    fn settle(&self, done: &[Committed]) {
        let mut queue = self.queue.lock();
        for committed in done {
            let key = &committed.entry.key;
            if queue.pending.get(key).is_some_and(|change| change.revision == committed.revision) {
                queue.pending.remove(key);
            }
        }
    }

    /// Refuses what waits and all that comes.
    fn stop(&self, why: Why) {
        let mut queue = self.queue.lock();
        let waiting = std::mem::take(&mut queue.waiting);
        waiting.into_iter().for_each(|waiting| waiting.refuse(&why));
        queue.pending.clear();
        queue.stopped.get_or_insert(why);
    }

    fn end(&self) {
        self.queue.lock().closing = true;
        self.directory.closing.store(true, Ordering::Relaxed);
        self.ready.notify_one();
    }
}

impl Waiting {
    fn change(&self) -> Option<&Change> {
        match self {
            Waiting::Change(change, _) => Some(change),
            Waiting::Barrier(_) => None,
        }
    }

    fn refuse(self, why: &Why) {
        let error = Error::Unavailable(why.told.clone());
        // Nobody may be waiting for the answer any more.
        match self {
            Waiting::Change(_, reply) => drop(reply.send(Err(error))),
            Waiting::Barrier(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// What a change takes in the queue, about.
fn size(change: &Change) -> usize {
    size_of::<Waiting>() + change.entry.key.len() + change.result().map_or(0, |entry| entry.value.len())
}

/// The thread's side.
struct Writer {
    shared: Arc<Shared>,
    options: LogOptions,
    segment: Writing,
    /// The revision of the last snapshot.
    base: Revision,
    /// The store's revision when the last snapshot was begun: the next one need not reach further back.
    taken: Revision,
    /// Bytes of log since then.
    grown: u64,
    /// The revision of the last change that has a record.
    logged: Revision,
    /// Up to this revision changes may be made visible of which nothing is kept: no later start goes on below it.
    reserved: Revision,
    /// Something was written since the log was opened.
    dirty: bool,
    snapshot: Option<JoinHandle<io::Result<Revision>>>,
    buffer: Vec<u8>,
}

/// Stops the queue however the thread ends, and lets go of the directory.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.stop("the log's writer has ended".into());
        self.0.directory.unlock();
    }
}

impl Writer {
    fn run(mut self) {
        let ending = Ending(self.shared.clone());
        match self.serve() {
            Ok(()) => self.shared.stop("the store was closed".into()),
            Err(why) => {
                tracing::error!(reason = why.reason, "the store accepts no more changes: durability is lost");
                self.shared.stop(why);
                self.shared.directory.closing.store(true, Ordering::Relaxed);
            }
        }
        self.join_snapshot();
        // Only now may another process write here.
        drop(ending);
    }

    /// Deletes, and records that, what was once kept of resources of which nothing is to be kept now.
    fn remove_volatile(&mut self) -> io::Result<()> {
        let list = |prefix: &String| self.shared.state.range(Range { prefix, ..Range::default() });
        let lists: Result<Vec<_>, _> = self.options.volatile.iter().map(list).collect();
        let entries = lists.map_err(io::Error::other)?.into_iter().flat_map(|list| list.entries);
        let mut queue = self.shared.queue.lock();
        let delete = |entry| {
            let revision = queue.next;
            queue.next += 1;
            let change = Change { entry, deletes: true, revision, sealed: None, replaces: None, volatile: false };
            Waiting::Change(change, oneshot::channel().0)
        };
        let batch: Vec<Waiting> = entries.map(delete).collect();
        drop(queue);
        self.write(&batch)?;
        self.acknowledge(batch);
        Ok(())
    }

    /// Until the store is closed, or the first failure.
    fn serve(&mut self) -> Result<(), Why> {
        while let Some(batch) = self.shared.next_batch() {
            if let Err(error) = self.write(&batch) {
                let why = Why::from(&error);
                self.shared.stop(why.clone());
                batch.into_iter().for_each(|waiting| waiting.refuse(&why));
                return Err(why);
            }
            self.acknowledge(batch);
            self.maintain().map_err(|error| Why::from(&error))?;
        }
        if self.dirty {
            self.buffer.clear();
            let top = self.shared.state.revision();
            record::encode_mark(&mut self.buffer, self.logged, top);
            self.flush().and_then(|()| self.segment.finish()).map_err(|error| Why::from(&error))?;
        }
        Ok(())
    }

    /// Writes and flushes the changes of a batch.
    fn write(&mut self, batch: &[Waiting]) -> io::Result<()> {
        self.buffer.clear();
        let (mut logged, mut reserved) = (self.logged, self.reserved);
        let changes = || batch.iter().filter_map(Waiting::change);
        if let Some(last) = changes().rfind(|change| change.volatile).filter(|last| last.revision > reserved) {
            reserved = last.revision + RESERVED;
            record::encode_reserve(&mut self.buffer, logged, reserved, &self.options.volatile);
        }
        for change in changes() {
            if !change.volatile {
                let starts = self.buffer.is_empty();
                record::encode(&mut self.buffer, change, starts, logged, self.options.compress_from);
                logged = change.revision;
            }
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.flush()?;
        (self.logged, self.reserved) = (logged, reserved);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.dirty = true;
        self.segment.write(&self.buffer)?;
        self.segment.sync()?;
        self.grown += self.buffer.len() as u64;
        if self.buffer.capacity() > BUFFER {
            self.buffer = Vec::new();
        }
        let mut segments = self.shared.directory.segments.lock();
        if let Some(mut newest) = segments.last_entry() {
            newest.insert(self.segment.length);
        }
        Ok(())
    }

    /// Makes a durable batch visible and answers its writers.
    fn acknowledge(&mut self, batch: Vec<Waiting>) {
        let (mut changes, mut replies, mut barriers) = (Vec::new(), Vec::new(), Vec::new());
        for waiting in batch {
            match waiting {
                Waiting::Change(change, reply) => {
                    changes.push(change);
                    replies.push(reply);
                }
                Waiting::Barrier(reply) => barriers.push(reply),
            }
        }
        let done = self.shared.state.apply(changes);
        self.shared.settle(&done);
        // A writer may have stopped waiting.
        replies.into_iter().zip(done).for_each(|(reply, committed)| drop(reply.send(Ok(committed))));
        barriers.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
    }

    /// Begins a new segment and a snapshot when it is time.
    fn maintain(&mut self) -> io::Result<()> {
        if self.snapshot.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join_snapshot();
        }
        let growth = self.options.snapshot_bytes.max(self.options.snapshot_ratio * self.shared.state.live_bytes());
        let due = self.grown > growth && self.snapshot.is_none();
        if (due || self.segment.length >= self.options.segment_bytes) && !self.segment.is_empty() {
            self.segment.finish()?;
            let position = Position { last: self.logged, top: self.shared.state.revision() };
            self.segment = recovery::create_segment(&self.shared.directory, position, &self.options.volatile)?;
            self.reserved = position.top;
        }
        if due {
            self.grown = 0;
            let from = std::mem::replace(&mut self.taken, self.shared.state.revision());
            let (shared, base) = (self.shared.clone(), self.base);
            let take = move || snapshot::take(&shared.directory, &shared.state, base, from, &shared.volatile);
            self.snapshot = Some(thread::Builder::new().name("store-snapshot".to_owned()).spawn(take)?);
        }
        Ok(())
    }

    /// Waits for the snapshot. That it failed costs room on the disk and nothing else; the next one is tried when the log has
    /// grown as much again.
    fn join_snapshot(&mut self) {
        let Some(snapshot) = self.snapshot.take() else { return };
        match snapshot.join() {
            Ok(Ok(base)) => self.base = base,
            Ok(Err(error)) => {
                self.shared.directory.count_failed_snapshot();
                tracing::warn!(%error, "no snapshot was written; the log stays longer");
            }
            Err(_) => tracing::warn!("no snapshot was written: its thread panicked"),
        }
    }
}
