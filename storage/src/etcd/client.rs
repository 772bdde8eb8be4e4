//! The members of an etcd cluster as one: calls go round those that answer, and are tried again where that is safe.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::channel::mpsc;
use http::uri::PathAndQuery;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::failure::{Failure, Kind};
use super::wire::{Answer, RangeRequest, RangeResponse, Request, StatusRequest, WATCH, WatchRequest, WatchResponse};
use super::{EtcdOptions, OpenError};

/// How long a call is tried on one member and another.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one member may take for a question.
const READ: Duration = Duration::from_secs(3);
/// How long one member may take for a page of a list.
const PAGE: Duration = Duration::from_secs(15);
/// How long one member may take for a change: longer than etcd's own limit, so that it is etcd that says how it ended.
const WRITE: Duration = Duration::from_secs(8);
/// A member that leaves a call without an answer for so long is not given others while there are members that do answer; and a
/// question is put to a second one.
const SLOW: Duration = Duration::from_millis(500);
const CONNECT: Duration = Duration::from_secs(2);
/// etcd closes connections that are pinged more often.
const PING: Duration = Duration::from_secs(5);
const PONG: Duration = Duration::from_secs(3);
/// How long a member that failed is left alone while there are others: doubled with each failure, up to [`REST_MAX`].
const REST: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(15);

/// A cluster's members.
pub(super) struct Client {
    members: Vec<Member>,
    next: AtomicUsize,
    /// 0 until one is known.
    cluster: AtomicU64,
}

struct Member {
    address: String,
    channel: Channel,
    condition: Mutex<Condition>,
}

#[derive(Default)]
struct Condition {
    failures: u32,
    rests_until: Option<Instant>,
    /// When the calls began that it has not answered, each with a number of its own.
    waiting: BTreeSet<(Instant, usize)>,
    /// What it said of itself since it last failed.
    version: Option<Version>,
}

/// Major, minor and patch.
pub(super) type Version = (u32, u32, u32);

/// A watch stream.
pub(super) struct Following {
    pub(super) requests: mpsc::Sender<WatchRequest>,
    pub(super) answers: Streaming<WatchResponse>,
}

impl Client {
    /// Connects to nobody yet.
    pub(super) fn new(options: &EtcdOptions) -> Result<Client, OpenError> {
        let tls = tls(options)?;
        let member = |server: &String| {
            let wrong = |reason: String| OpenError::Options(format!("etcd server {server:?}: {reason}"));
            let secure = server.starts_with("https://");
            if !secure && !server.starts_with("http://") {
                return Err(wrong("it is to be a URL, such as https://10.0.0.1:2379".to_owned()));
            }
            let endpoint = Endpoint::from_shared(server.clone()).map_err(|error| wrong(error.to_string()))?;
            let endpoint = match &tls {
                Some(tls) if secure => endpoint.tls_config(tls.clone()).map_err(|error| wrong(cause(&error)))?,
                None if secure => {
                    return Err(wrong("its certificate cannot be checked without --etcd-cafile".to_owned()));
                }
                _ => endpoint,
            };
            let endpoint = endpoint.connect_timeout(CONNECT).tcp_nodelay(true).initial_stream_window_size(4 << 20);
            let endpoint =
                endpoint.http2_keep_alive_interval(PING).keep_alive_timeout(PONG).keep_alive_while_idle(true);
            let channel = endpoint.initial_connection_window_size(8 << 20).connect_lazy();
            Ok(Member { address: server.clone(), channel, condition: Mutex::default() })
        };
        let members = options.servers.iter().map(member).collect::<Result<Vec<Member>, OpenError>>()?;
        if members.is_empty() {
            return Err(OpenError::Options("no etcd server is given; say --etcd-servers".to_owned()));
        }
        // Several servers on one cluster do not all begin with the same member.
        let next = AtomicUsize::new(std::process::id() as usize);
        Ok(Client { members, next, cluster: AtomicU64::new(0) })
    }

    /// Asks until a member answers.
    pub(super) async fn read<R: Request>(&self, request: R) -> Result<R::Answer, Failure> {
        let mut first = pin!(self.call(request.clone(), READ, is_temporary));
        match timeout(SLOW, &mut first).await {
            Ok(result) => result,
            Err(_) => tokio::select! {
                result = first => result,
                result = self.call(request, READ, is_temporary) => result,
            },
        }
    }

    /// As [`Client::read`], of much.
    pub(super) async fn page(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        self.call(request, PAGE, is_temporary).await
    }

    /// Asks for a change, again only while it is certain that none was made.
    pub(super) async fn write<R: Request>(&self, request: R) -> Result<R::Answer, Failure> {
        self.call(request, WRITE, |kind| kind == Kind::NotDone).await
    }

    async fn call<R: Request>(
        &self,
        request: R,
        limit: Duration,
        again: impl Fn(Kind) -> bool,
    ) -> Result<R::Answer, Failure> {
        let start = Instant::now();
        let mut tries = 0;
        loop {
            let member = self.choose(None);
            let failure = match self.attempt(member, request.clone(), limit).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            tries += 1;
            if !again(failure.kind) || start.elapsed() > PATIENCE {
                return Err(failure);
            }
            tracing::debug!(reason = failure.text, "trying another etcd member");
            if tries % self.members.len() == 0 {
                sleep(delay(tries / self.members.len())).await;
            }
        }
    }

    async fn attempt<R: Request>(&self, at: usize, request: R, limit: Duration) -> Result<R::Answer, Failure> {
        let member = &self.members[at];
        self.check(at).await?;
        let result = {
            let _waiting = member.waiting(self.next.load(Ordering::Relaxed));
            member.unary(request, limit).await
        };
        match &result {
            Ok(_) => member.answered(),
            Err(failure) if is_temporary(failure.kind) => self.failed(at),
            Err(_) => {}
        }
        result
    }

    /// Makes sure, before anything is asked of a member, that it belongs to the cluster and is not a learner. Returns its
    /// version.
    pub(super) async fn check(&self, at: usize) -> Result<Version, Failure> {
        let member = &self.members[at];
        if let Some(version) = member.condition.lock().version {
            return Ok(version);
        }
        let status = member.unary(StatusRequest {}, READ).await.map_err(|failure| {
            self.failed(at);
            Failure { kind: if failure.kind == Kind::Unknown { Kind::NotDone } else { failure.kind }, ..failure }
        })?;
        let cluster = status.header().cluster_id;
        let known = self.cluster.compare_exchange(0, cluster, Ordering::AcqRel, Ordering::Acquire);
        let trouble = match known {
            Err(known) if known != cluster => Some(format!(
                "it belongs to another cluster ({cluster:x}) than the rest ({known:x}): take it out of --etcd-servers; or, if \
                 etcd was restored from a backup, start this server again"
            )),
            _ => status.is_learner.then(|| "it is a learner, which answers nothing yet".to_owned()),
        };
        if let Some(trouble) = trouble {
            self.failed(at);
            return Err(Failure::at(&member.address, Kind::NotDone, &format!(": {trouble}")));
        }
        let version = parse(&status.version);
        if loses_changes(version) {
            let why = "etcd 3.5.0 to 3.5.2 can lose changes when it is killed: bring it to 3.5.3 or newer";
            tracing::warn!(member = member.address, version = status.version, "{why}");
        }
        member.condition.lock().version = Some(version);
        Ok(version)
    }

    /// Begins a watch stream with a member.
    pub(super) async fn watch(&self, member: usize, first: WatchRequest) -> Result<Following, Failure> {
        let (mut requests, receiver) = mpsc::channel(4);
        let address = &self.members[member].address;
        let begun = async {
            requests.try_send(first).map_err(|error| Status::internal(error.to_string()))?;
            let request = with_leader(receiver);
            let mut grpc = self.members[member].grpc().await?;
            let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
            grpc.streaming(request, PathAndQuery::from_static(WATCH), codec).await
        };
        let failure = match timeout(READ, begun).await {
            Ok(Ok(answers)) => return Ok(Following { requests, answers: answers.into_inner() }),
            Ok(Err(status)) => Failure::of(address, &status),
            Err(_) => Failure::at(address, Kind::Unknown, " does not answer"),
        };
        self.failed(member);
        Err(failure)
    }

    /// The member whose turn it is of those that have not failed lately, rather not `avoid`; else the one that has rested most.
    pub(super) fn choose(&self, avoid: Option<usize>) -> usize {
        let (count, now) = (self.members.len(), Instant::now());
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let rest = |at: usize| {
            let condition = self.members[at].condition.lock();
            let is_slow = condition.waiting.first().is_some_and(|(began, _)| *began + SLOW < now);
            (condition.rests_until.filter(|until| *until > now), is_slow, avoid == Some(at))
        };
        (0..count).map(|n| (turn.wrapping_add(n)) % count).min_by_key(|at| rest(*at)).unwrap_or_default()
    }

    /// Leaves a member alone for a while.
    pub(super) fn failed(&self, at: usize) {
        let mut condition = self.members[at].condition.lock();
        condition.failures = (condition.failures + 1).min(10);
        let rest = (REST * 2_u32.pow(condition.failures - 1)).min(REST_MAX);
        condition.rests_until = Some(Instant::now() + rest);
        condition.version = None;
    }

    /// A member's address.
    pub(super) fn address(&self, at: usize) -> &str {
        &self.members[at].address
    }
}

impl Member {
    async fn grpc(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        Ok(grpc)
    }

    async fn unary<R: Request>(&self, request: R, limit: Duration) -> Result<R::Answer, Failure> {
        let call = async {
            let codec = ProstCodec::<R, R::Answer>::default();
            self.grpc().await?.unary(with_leader(request), PathAndQuery::from_static(R::PATH), codec).await
        };
        match timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Failure::of(&self.address, &status)),
            Err(_) => {
                let what = format!(" has not answered for {} s", limit.as_secs());
                Err(Failure::at(&self.address, Kind::Unknown, &what))
            }
        }
    }

    /// Notes that a call waits, until the value is dropped.
    fn waiting(&self, number: usize) -> Waiting<'_> {
        let call = (Instant::now(), number);
        self.condition.lock().waiting.insert(call);
        Waiting { member: self, call }
    }

    fn answered(&self) {
        let mut condition = self.condition.lock();
        condition.failures = 0;
        condition.rests_until = None;
    }
}

struct Waiting<'a> {
    member: &'a Member,
    call: (Instant, usize),
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.member.condition.lock().waiting.remove(&self.call);
    }
}

/// Whether another member may answer better.
fn is_temporary(kind: Kind) -> bool {
    matches!(kind, Kind::NotDone | Kind::Unknown)
}

/// A request that a member without a leader refuses at once.
fn with_leader<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

/// Whether a member that is killed may come back without changes that it had acknowledged, and go on as if it had them: see
/// etcd's CHANGELOG-3.5, "data inconsistency".
fn loses_changes(version: Version) -> bool {
    matches!(version, (3, 5, 0..=2))
}

/// How long to wait after so many failures, from nothing to a second.
pub(super) fn delay(failures: usize) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => Duration::from_millis(25 << n.min(6)).min(Duration::from_secs(1)),
    }
}

fn tls(options: &EtcdOptions) -> Result<Option<ClientTlsConfig>, OpenError> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| OpenError::Options(format!("{}: {error}", path.display())));
    let mut tls = match &options.cafile {
        Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
        None => return Ok(None),
    };
    match (&options.certfile, &options.keyfile) {
        (Some(certificate), Some(key)) => tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?)),
        (None, None) => {}
        _ => return Err(OpenError::Options("--etcd-certfile and --etcd-keyfile go together".to_owned())),
    }
    Ok(Some(tls))
}

/// An error with those behind it.
fn cause(error: &dyn std::error::Error) -> String {
    let behind = std::iter::successors(error.source(), |error| error.source());
    behind.fold(error.to_string(), |text, error| format!("{text}: {error}"))
}

/// `3.5.13` or `3.6.0-rc.1`; what is not a number counts as 0.
fn parse(version: &str) -> Version {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(servers: &[&str]) -> Result<Client, OpenError> {
        let servers = servers.iter().map(|server| (*server).to_owned()).collect();
        Client::new(&EtcdOptions { servers, ..EtcdOptions::default() })
    }

    #[tokio::test]
    async fn members_take_turns_and_those_that_failed_rest() {
        let client = client(&["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"]).unwrap();
        let turns = |avoid| {
            let mut turns: Vec<usize> = (0..3).map(|_| client.choose(avoid)).collect();
            turns.sort_unstable();
            turns
        };
        assert_eq!(turns(None), [0, 1, 2]);
        assert!(!turns(Some(1)).contains(&1));
        client.failed(2);
        assert!(!turns(None).contains(&2));
        client.failed(0);
        client.failed(0);
        client.failed(1);
        client.failed(1);
        client.failed(1);
        assert_eq!(turns(None), [2, 2, 2], "if all have failed, the one that rested longest for what it did");
        client.members[1].answered();
        assert_eq!(turns(Some(1)), [1, 1, 1], "rather the one to avoid than one that fails");
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_options_is_said() {
        for (servers, why) in [
            (&[][..], "no etcd server is given"),
            (&["10.0.0.1:2379"], "it is to be a URL"),
            (&["https://10.0.0.1:2379"], "without --etcd-cafile"),
        ] {
            let error = client(servers).err().unwrap().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn versions() {
        let losing = ["3.4.23", "3.5.0", "3.5.2", "3.5.3", "3.6.0"].map(|version| loses_changes(parse(version)));
        assert_eq!(losing, [false, true, true, false, false]);
        assert_eq!(
            (parse("3.5.13"), parse("3.6.0-rc.1"), parse("4"), parse("")),
            ((3, 5, 13), (3, 6, 0), (4, 0, 0), (0, 0, 0))
        );
    }
}
