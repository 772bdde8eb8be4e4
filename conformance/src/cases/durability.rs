//! `kill -9` under a stream of writes, many times.
//!
//! Writers create, replace and delete config maps and note every 2xx. A write whose answer never came may have happened or not,
//! but not by half. After each restart a list has to agree with the notes, and a watch that goes on from the last revision it
//! saw has to deliver every acknowledged change once and in order.

use crate::case::{Case, Needs};
use crate::context::{Context, client, until};
use crate::server::{Process, Server, free_port};
use anyhow::{Context as _, Result, bail, ensure};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::Kubeconfig;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub const CASES: &[Case] = &[Case::new("durability::kill_under_writes", Needs::Machine, kill_under_writes)];

const WRITERS: usize = 8;
const NAMES: u64 = 30;
const LABEL: &str = "written=under-fire";
const CATCH_UP: Duration = Duration::from_secs(20);
const PARKED: Duration = Duration::from_secs(30);

/// The number that a config map holds, or that it is not there.
type State = Option<u64>;

/// What is known of one config map.
#[derive(Default, Clone)]
struct Known {
    /// What the last answered write left, and the revision of the last create or replace.
    state: State,
    revision: u64,
    /// A write whose answer did not come.
    attempted: Option<State>,
}

/// What writers and the watcher noted.
#[derive(Default)]
struct Notes {
    known: BTreeMap<String, Known>,
    /// Answered changes: of what, the state they led to, and their revision (for a deletion: the one before it).
    answered: Vec<(String, u64, State)>,
    seen: BTreeMap<(String, u64), State>,
    watched_to: u64,
    watches: usize,
    /// From where to where a 410 allowed changes to be missed.
    gaps: Vec<(u64, u64)>,
    broken: Vec<String>,
}

/// What all tasks share.
#[derive(Clone)]
struct Field {
    notes: Arc<Mutex<Notes>>,
    parked: Arc<AtomicUsize>,
    /// Whether to write.
    up: watch::Sender<bool>,
}

impl Field {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self, what: String) {
        self.notes().broken.push(what);
    }
}

fn kill_under_writes(outer: &Context) -> Result<()> {
    let data_dir = outer.dir.path().join("data");
    let port = free_port()?.to_string();
    let flags = ["--secure-port", &port, "--store", "embedded"];
    let mut server = Server::start(outer.binary()?, "server", &data_dir, &flags)?;
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig())?;
    let api =
        || Ok::<_, anyhow::Error>(Api::<ConfigMap>::default_namespaced(client(&kubeconfig, &outer.settings.runtime)?));
    let field = Field { notes: Arc::default(), parked: Arc::default(), up: watch::channel(true).0 };
    let reader = api()?;
    field.notes().watched_to = outer.settings.runtime.block_on(listed(&reader))?.1;
    let mut chance = Chance::new();
    let mut tasks = vec![outer.settings.runtime.spawn(follow(api()?, field.clone()))];
    for writer in 0..WRITERS {
        tasks.push(outer.settings.runtime.spawn(write(writer, api()?, field.clone(), chance.fork())));
    }
    outer.note(format!("seed {}", chance.0));
    let mut slowest = Duration::ZERO;
    for kill in 0..outer.settings.kills {
        std::thread::sleep(Duration::from_millis(chance.below(300)));
        field.up.send_replace(false);
        server.process.kill()?;
        if chance.below(10) == 0 {
            killed_while_starting(outer, &data_dir, &flags, &mut chance)?;
        }
        let started = Instant::now();
        server = Server::start(outer.binary()?, "server", &data_dir, &flags).with_context(|| format!("kill {kill}"))?;
        slowest = slowest.max(started.elapsed());
        until("the writers to stop", PARKED, || Ok(field.parked.load(Ordering::SeqCst) == WRITERS))?;
        let (found, revision) = outer.settings.runtime.block_on(listed(&reader))?;
        agrees(&field, &found, revision)
            .with_context(|| format!("after kill {kill} (data in {})", data_dir.display()))?;
        field.up.send_replace(true);
    }
    field.up.send_replace(false);
    until("the writers to stop", PARKED, || Ok(field.parked.load(Ordering::SeqCst) == WRITERS))?;
    // What is missing now is told below.
    let _ = until("the watch to catch up", CATCH_UP, || Ok(missing(&field.notes()).is_empty()));
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let notes = field.notes();
    outer.note(format!(
        "{} kills, {} answered writes, {} events, {} watches, {} gaps, slowest start {} ms",
        outer.settings.kills,
        notes.answered.len(),
        notes.seen.len(),
        notes.watches,
        notes.gaps.len(),
        slowest.as_millis()
    ));
    sound(&notes)?;
    let missing = missing(&notes);
    ensure!(
        missing.is_empty(),
        "the watch never told of {} changes: {:?}",
        missing.len(),
        &missing[..missing.len().min(10)]
    );
    ensure!(notes.answered.len() > outer.settings.kills * 5, "too few writes to mean something");
    Ok(())
}

/// A start that is killed before or while it recovers.
fn killed_while_starting(outer: &Context, data_dir: &Path, flags: &[&str], chance: &mut Chance) -> Result<()> {
    let directory = data_dir.to_string_lossy();
    let mut arguments = vec!["server", "--data-dir", &directory];
    arguments.extend(flags);
    let mut process = Process::start(outer.binary()?, &arguments, &data_dir.with_extension("killed.log"))?;
    std::thread::sleep(Duration::from_millis(chance.below(120)));
    process.kill()
}

// ---- writing ----

/// Writes while it may; stops at an answer that cannot be.
async fn write(writer: usize, api: Api<ConfigMap>, field: Field, mut chance: Chance) {
    let mut up = field.up.subscribe();
    let mut number = 0;
    loop {
        if !*up.borrow_and_update() {
            field.parked.fetch_add(1, Ordering::SeqCst);
            let told = up.wait_for(|up| *up).await.is_ok();
            field.parked.fetch_sub(1, Ordering::SeqCst);
            if !told {
                return;
            }
        }
        let name = format!("w{writer}-{}", chance.below(NAMES));
        let known = field.notes().known.get(&name).cloned().unwrap_or_default();
        if known.attempted.is_some() {
            tokio::task::yield_now().await;
            continue;
        }
        number += 1;
        let wanted = (known.state.is_none() || chance.below(4) > 0).then_some(number);
        field.notes().known.entry(name.clone()).or_default().attempted = Some(wanted);
        match change(&api, &name, &known, wanted).await {
            Ok(revision) => {
                let mut notes = field.notes();
                let revision = revision.unwrap_or(known.revision);
                notes.answered.push((name.clone(), revision, wanted));
                notes.known.insert(name, Known { state: wanted, revision, attempted: None });
            }
            Err(kube::Error::Api(status)) if *up.borrow() || status.code < 500 => {
                field.broken(format!("{name} from {:?} at {} to {wanted:?}: {status:?}", known.state, known.revision));
            }
            // Nobody knows; the list after the restart will tell.
            Err(_) => {}
        }
    }
}

/// One change; the revision that it led to, which a deletion does not tell.
async fn change(api: &Api<ConfigMap>, name: &str, known: &Known, wanted: State) -> kube::Result<Option<u64>> {
    let Some(number) = wanted else {
        api.delete(name, &DeleteParams::default()).await?;
        return Ok(None);
    };
    let mut object = ConfigMap { data: Some(content(number)), ..ConfigMap::default() };
    object.metadata.name = Some(name.to_owned());
    object.metadata.labels = LABEL.split_once('=').map(|(key, value)| [(key.to_owned(), value.to_owned())].into());
    let written = if known.state.is_none() {
        api.create(&PostParams::default(), &object).await?
    } else {
        object.metadata.resource_version = Some(known.revision.to_string());
        api.replace(name, &PostParams::default(), &object).await?
    };
    Ok(Some(revision_of(&written)))
}

/// What a config map with this number has in it; some are a few bytes, some many pages.
fn content(number: u64) -> BTreeMap<String, String> {
    let length = if number.is_multiple_of(10) { 20_000 } else { 200 };
    let filling = format!("{number};").repeat(length / 4);
    [("number".to_owned(), number.to_string()), ("filling".to_owned(), filling)].into()
}

/// The number in it, if all of it is there.
fn number_of(object: &ConfigMap) -> Result<u64> {
    let data = object.data.as_ref().context("no data")?;
    let number = data.get("number").context("no number")?.parse()?;
    ensure!(*data == content(number), "half of {number} is in {:?}", object.metadata.name);
    Ok(number)
}

fn revision_of(object: &ConfigMap) -> u64 {
    object.metadata.resource_version.as_ref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

// ---- reading ----

type Found = BTreeMap<String, (u64, u64)>;

/// All config maps (number and revision by name), and the list's revision.
async fn listed(api: &Api<ConfigMap>) -> Result<(Found, u64)> {
    // A connection to the process that was killed may still be in the pool.
    let mut list = api.list(&ListParams::default().labels(LABEL)).await;
    for _ in 0..3 {
        if list.is_err() {
            list = api.list(&ListParams::default().labels(LABEL)).await;
        }
    }
    let list = list?;
    let revision = list.metadata.resource_version.context("no resourceVersion")?.parse()?;
    let found = list.items.iter().map(|object| {
        Ok((object.metadata.name.clone().unwrap_or_default(), (number_of(object)?, revision_of(object))))
    });
    Ok((found.collect::<Result<_>>()?, revision))
}

/// Compares what is there after a restart with the notes; what was uncertain is known afterwards.
fn agrees(field: &Field, found: &Found, revision: u64) -> Result<()> {
    let notes = &mut *field.notes();
    sound(notes)?;
    let strangers: BTreeSet<_> = found.keys().filter(|name| !notes.known.contains_key(*name)).collect();
    ensure!(strangers.is_empty(), "never written: {strangers:?}");
    ensure!(revision >= notes.watched_to, "the revision went back from {} to {revision}", notes.watched_to);
    for (name, known) in &mut notes.known {
        let (state, at) = found.get(name).map_or((None, known.revision), |(number, at)| (Some(*number), *at));
        let kept = state == known.state && at == known.revision;
        let done = known.attempted == Some(state) && (state.is_none() || at > known.revision);
        if !kept && !done {
            bail!(
                "{name} is {state:?} at {at}; answered was {:?} at {}, under way {:?}",
                known.state,
                known.revision,
                known.attempted
            );
        }
        let last = notes.seen.range((name.clone(), known.revision + 1)..=(name.clone(), u64::MAX)).next_back();
        if let Some(((_, at), seen)) = last {
            ensure!(*seen == state, "a watcher saw {name} become {seen:?} at {at}, but it is {state:?}");
        }
        if done && !kept {
            notes.answered.push((name.clone(), at, state));
        }
        *known = Known { state, revision: at, attempted: None };
    }
    Ok(())
}

fn sound(notes: &Notes) -> Result<()> {
    ensure!(notes.broken.is_empty(), "{}", notes.broken[..notes.broken.len().min(10)].join("\n"));
    Ok(())
}

// ---- watching ----

/// Watches on from where the last watch ended, for ever.
async fn follow(api: Api<ConfigMap>, field: Field) {
    loop {
        let from = field.notes().watched_to;
        match watch_from(&api, &field, from).await {
            Err(error) if is_expired(&error) => {
                if let Ok((_, revision)) = listed(&api).await {
                    let mut notes = field.notes();
                    notes.gaps.push((from, revision));
                    notes.watched_to = revision;
                }
            }
            Err(kube::Error::Api(status)) if *field.up.borrow() => {
                field.broken(format!("watch from {from}: {status:?}"))
            }
            // The server is not there.
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

async fn watch_from(api: &Api<ConfigMap>, field: &Field, from: u64) -> kube::Result<()> {
    let params = WatchParams::default().labels(LABEL).timeout(290);
    let mut events = std::pin::pin!(api.watch(&params, &from.to_string()).await?);
    field.notes().watches += 1;
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let state = number_of(&object).map_err(|error| field.broken(format!("an event with {error:#}"))).ok();
                saw(field, &object, state);
            }
            WatchEvent::Deleted(object) => saw(field, &object, None),
            WatchEvent::Bookmark(bookmark) => {
                let mut notes = field.notes();
                notes.watched_to = bookmark.metadata.resource_version.parse().unwrap_or(notes.watched_to);
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(())
}

fn saw(field: &Field, object: &ConfigMap, state: State) {
    let mut notes = field.notes();
    let (name, at) = (object.metadata.name.clone().unwrap_or_default(), revision_of(object));
    if at <= notes.watched_to {
        let after = notes.watched_to;
        notes.broken.push(format!("an event of {name} at {at} came after one at {after}"));
    }
    notes.watched_to = at;
    notes.seen.insert((name, at), state);
}

/// Answered changes that no event told of.
fn missing(notes: &Notes) -> Vec<(String, u64, State)> {
    let told = |(name, at, state): &&(String, u64, State)| match state {
        Some(_) => notes.seen.get(&(name.clone(), *at)) == Some(state),
        None => notes
            .seen
            .range((name.clone(), at + 1)..=(name.clone(), u64::MAX))
            .next()
            .is_some_and(|(_, seen)| seen.is_none()),
    };
    let excused = |(_, at, _): &&(String, u64, State)| notes.gaps.iter().any(|(_, to)| at <= to);
    notes.answered.iter().filter(|change| !told(change) && !excused(change)).cloned().collect()
}

/// Random numbers from a seed (xorshift64).
struct Chance(u64);

impl Chance {
    fn new() -> Chance {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Chance(now.as_nanos() as u64 | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn fork(&mut self) -> Chance {
        Chance(self.below(u64::MAX) | 1)
    }
}
