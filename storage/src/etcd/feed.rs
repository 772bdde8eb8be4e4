//! What feeds the state: a list, and one watch from there on that is begun anew as often as need be.
//!
//! A watch shows that it has come to a revision by a change of that revision. But etcd counts changes of other keys too,
//! and somebody may wait for the revision of one. So either all keys are watched, and every revision is seen; or, where
//! etcd's versions tell it rightly, only those of the prefix, and the watch is asked how far it has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::Listed;
use super::client::{Client, Following, Version, delay};
use super::failure::{Failure, Kind};
use super::health::{Health, Trouble};
use super::values::{Values, revision};
use super::wire::{
    Answer, Event, RangeRequest, ResponseHeader, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use crate::state::{Followed, State};
use crate::{Error, Revision};

/// Bytes of a page of the list, about.
const PAGE: usize = 4 << 20;
/// Keys of the first page, and at most.
const FIRST_PAGE: i64 = 100;
const PAGE_KEYS: i64 = 10_000;
/// How long nothing may arrive on a watch, though a change is known to exist, before another member is asked for it.
const STALL: Duration = Duration::from_secs(2);
/// A watch that lasted so long was none that failed.
const STEADY: Duration = Duration::from_secs(5);
/// How often a watch is asked for its progress while somebody waits for it.
const ASK: Duration = Duration::from_millis(50);

/// The task that feeds the state, and those who wait for it.
pub(super) struct Feed {
    client: Arc<Client>,
    state: Arc<State>,
    values: Values,
    health: Arc<Health>,
    narrow: bool,
    /// The greatest revision that somebody waits for.
    wanted: AtomicU64,
    /// Told when that grew.
    asked: Notify,
    /// Told when something is known to be missing from the state.
    incomplete: Notify,
}

/// Why a watch ended.
enum End {
    /// It can go on where it was.
    Broken(String),
    /// What comes next is not to be had any more.
    Lost(String),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        End::Broken(failure.text)
    }
}

impl Feed {
    /// `narrow`: to watch the keys of the prefix only, whatever etcd's version.
    pub(super) fn new(
        client: Arc<Client>,
        state: Arc<State>,
        values: Values,
        health: Arc<Health>,
        narrow: bool,
    ) -> Arc<Feed> {
        let (wanted, asked, incomplete) = (AtomicU64::new(0), Notify::new(), Notify::new());
        Arc::new(Feed { client, state, values, health, narrow, wanted, asked, incomplete })
    }

    /// Has everything listed anew, for a change was not told that must have been.
    pub(super) fn list_anew(&self) {
        self.incomplete.notify_one();
    }

    /// Returns when the state has come to `revision`. Waits as long as that takes: the revision exists.
    pub(super) async fn reach(&self, revision: Revision) -> Result<(), Error> {
        let mut revisions = self.state.revisions();
        if self.state.revision() < revision && self.wanted.fetch_max(revision, Ordering::AcqRel) < revision {
            self.asked.notify_one();
        }
        let _ = revisions.wait_for(|latest| *latest >= revision || self.state.is_closed()).await;
        if self.state.revision() >= revision {
            return Ok(());
        }
        self.health.history()?;
        Err(Error::Unavailable("the store was closed".to_owned()))
    }

    /// The task; ends with the store.
    pub(super) async fn run(self: Arc<Feed>) {
        let (mut failures, mut member) = (0, None);
        while !self.state.is_closed() {
            let began = Instant::now();
            let (why, lost) = match self.follow(&mut member).await {
                End::Broken(why) => (why, false),
                End::Lost(why) => (why, true),
            };
            if began.elapsed() > STEADY {
                failures = 0;
            }
            tracing::warn!(why, revision = self.state.revision(), "the watch of etcd ended; it is begun anew");
            // One interruption is nothing to speak of.
            if failures > 0 {
                self.health.report(Trouble::Watch, &format!("etcd cannot be watched: {why}"));
            }
            sleep(delay(failures)).await;
            failures += 1;
            if lost {
                self.start_over().await;
            }
        }
    }

    /// Watches until that ends.
    async fn follow(&self, last: &mut Option<usize>) -> End {
        let member = self.client.choose(*last);
        *last = Some(member);
        match self.begin(member).await {
            Ok((mut following, narrow)) => {
                let end = self.receive(&mut following, narrow).await.unwrap_or_else(|end| end);
                match end {
                    End::Broken(why) => {
                        self.client.failed(member);
                        End::Broken(format!("{}: {why}", self.client.address(member)))
                    }
                    lost => lost,
                }
            }
            Err(failure) => failure.into(),
        }
    }

    async fn begin(&self, member: usize) -> Result<(Following, bool), Failure> {
        let version = self.client.check(member).await?;
        let narrow = self.narrow || tells_progress(version);
        let (key, range_end) = match narrow {
            true => self.values.bounds(),
            false => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
        };
        self.confirm().await?;
        let start_revision = i64::try_from(self.state.revision() + 1).unwrap_or(i64::MAX);
        let create = WatchCreateRequest { key, range_end, start_revision, fragment: true };
        let request = WatchRequest { create: Some(create), progress: None };
        Ok((self.client.watch(member, request).await?, narrow))
    }

    /// Makes sure, before the watch goes on where it was, that etcd's history is the one so far: if it was restored from a backup,
    /// what is known may not be so, and the changes that come next may not be those that came next.
    async fn confirm(&self) -> Result<(), Failure> {
        let known = self.state.revision();
        let Some((key, entry)) = self.state.last_change() else { return Ok(()) };
        let Ok(outer) = self.values.outer(&key) else { return Ok(()) };
        let at = i64::try_from(known).unwrap_or(i64::MAX);
        let question = RangeRequest { key: outer, revision: at, ..RangeRequest::default() };
        let seen = match self.client.read(question).await {
            Ok(answer) => {
                let found = self.values.tried(answer.kvs).await?.into_iter().next();
                match (&entry, found) {
                    (None, None) | (_, Some(Followed::Unreadable { .. })) => return Ok(()),
                    (Some(entry), Some(Followed::Put(found)))
                        if (entry.revision, &entry.value) == (found.revision, &found.value) =>
                    {
                        return Ok(());
                    }
                    _ => format!("at revision {known} it does not hold what it held then"),
                }
            }
            Err(failure) if failure.kind == Kind::Future => format!("it is at a revision before {known}"),
            // The watch will tell.
            Err(failure) if failure.kind == Kind::Compacted => return Ok(()),
            Err(failure) => return Err(failure),
        };
        self.health.lose_history(&self.state, &seen);
        Err(Failure::new(Kind::Refused, seen))
    }

    async fn receive(&self, following: &mut Following, narrow: bool) -> Result<End, End> {
        let mut events = Vec::new();
        // Where the state is, and until when it may stay there; while more is known to exist.
        let mut behind: Option<(Revision, Instant)> = None;
        loop {
            let at = self.state.revision();
            let is_behind = at < self.wanted.load(Ordering::Acquire);
            let here = behind.filter(|(before, _)| *before == at);
            behind = is_behind.then(|| here.unwrap_or_else(|| (at, Instant::now() + STALL)));
            let patience = behind.map_or_else(Instant::now, |(_, until)| until);
            let message = tokio::select! {
                message = following.answers.message() => message,
                () = self.incomplete.notified() => return Ok(End::Lost("a change was not told".to_owned())),
                () = sleep_until(patience), if is_behind => {
                    return Ok(End::Broken("changes do not arrive".to_owned()));
                }
                () = self.asked.notified() => {
                    if narrow {
                        ask(following);
                    }
                    continue;
                }
                () = sleep(ASK), if is_behind && narrow => {
                    ask(following);
                    continue;
                }
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(End::Broken("the stream ended".to_owned())),
                Err(status) => return Ok(End::Broken(status.message().to_owned())),
            };
            if message.canceled || message.compact_revision > 0 {
                return Ok(end(&message));
            }
            if message.created {
                self.health.clear(Trouble::Watch);
            }
            let header = message.header.unwrap_or_default();
            let is_progress = narrow && !message.created && message.events.is_empty() && events.is_empty();
            events.extend(message.events);
            if message.fragment {
                behind = None;
                continue;
            }
            if is_progress {
                self.state.follow([], revision(header.revision));
            } else if !events.is_empty() {
                self.apply(std::mem::take(&mut events), narrow).await?;
            }
        }
    }

    /// Makes visible what happened up to the last revision of it.
    async fn apply(&self, events: Vec<Event>, narrow: bool) -> Result<(), End> {
        let revisions = events.iter().map(|event| event.kv.as_ref().map_or(0, |kv| revision(kv.mod_revision)));
        let mut last = self.state.revision();
        for revision in revisions {
            if revision > last + 1 && !narrow {
                return Err(End::Lost(format!("etcd left out what comes after revision {last} and before {revision}")));
            }
            last = revision.max(last);
        }
        let changes = self.values.changes(events).await?;
        self.state.follow(changes, last);
        Ok(())
    }

    /// Lists anew: what happened since the last revision that was seen is not to be had.
    async fn start_over(&self) {
        match list(&self.client, &self.values).await {
            Ok(listed) => {
                tracing::warn!(revision = listed.revision, "everything is listed anew; watches begin again");
                self.state.reset(listed.revision, listed.entries);
            }
            Err(failure) => self.health.report(Trouble::Watch, &failure.text),
        }
    }
}

/// Asks how far the watch has come. If the last question has not been sent yet, one is enough.
fn ask(following: &mut Following) {
    let _ = following.requests.try_send(WatchRequest { create: None, progress: Some(WatchProgressRequest {}) });
}

fn end(message: &WatchResponse) -> End {
    match message.compact_revision {
        0 => End::Broken(message.cancel_reason.clone()),
        revision => End::Lost(format!("etcd's history is compacted up to revision {revision}")),
    }
}

/// Whether etcd answers the question for progress after the changes that came before, never ahead of them: versions before
/// 3.4.31 and 3.5.13 do not always.
pub(super) fn tells_progress(version: Version) -> bool {
    match version {
        (3, 4, patch) => patch >= 31,
        (3, 5, patch) => patch >= 13,
        (major, minor, _) => (major, minor) >= (3, 6),
    }
}

/// All of the store's keys at one revision.
pub(super) async fn list(client: &Client, values: &Values) -> Result<Listed, Failure> {
    loop {
        match list_pages(client, values).await {
            // It was compacted between two pages.
            Err(failure) if failure.kind == Kind::Compacted => {}
            result => return result,
        }
    }
}

async fn list_pages(client: &Client, values: &Values) -> Result<Listed, Failure> {
    let (mut key, range_end) = values.bounds();
    let (mut limit, mut listed) = (FIRST_PAGE, Listed { revision: 0, entries: Vec::new() });
    loop {
        let at = i64::try_from(listed.revision).unwrap_or(i64::MAX);
        let question = RangeRequest { key, range_end: range_end.clone(), limit, revision: at, count_only: false };
        let page = client.page(question).await?;
        if listed.revision == 0 {
            let ResponseHeader { revision: at, .. } = page.header();
            listed.revision = revision(at);
        }
        let bytes: usize = page.kvs.iter().map(|kv| kv.key.len() + kv.value.len() + 1).sum();
        let fitting = page.kvs.len().saturating_mul(PAGE) / bytes.max(1);
        limit = i64::try_from(fitting).unwrap_or(PAGE_KEYS).clamp(1, PAGE_KEYS);
        let last = page.kvs.last().map(|kv| Bytes::from([&kv.key[..], b"\0"].concat()));
        listed.entries.extend(values.listed(client, page.kvs).await?);
        match last {
            Some(next) if page.more => key = next,
            _ => return Ok(listed),
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn old_versions_are_not_asked_for_progress() {
        for (version, expected) in [
            ((3, 4, 30), false),
            ((3, 4, 31), true),
            ((3, 5, 1), false),
            ((3, 5, 13), true),
            ((3, 6, 0), true),
            ((4, 0, 0), true),
            ((3, 3, 27), false),
            ((0, 0, 0), false),
        ] {
            assert_eq!(tells_progress(version), expected, "{version:?}");
        }
    }
}
