//! All hollow nodes of a process in one loop: changes and timers in, writes out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use component::client::{self, Client, Error};
use component::events::{Recorder, Style};
use component::{Delta, Key, Projection};
use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::address::Pool;
use crate::events::events;
use crate::node::{Node, Shape};
use crate::pod::Pod;
use crate::status::{Placement, Progress, status_at};
use crate::timers::{self, Timers};
use crate::writes;

/// How many nodes renew their leases at the same time.
const LEASES_TOGETHER: usize = 8;
/// As a kubelet: a quarter of the lease's duration.
const LEASE_PERIOD: Duration = Duration::from_secs(10);
/// As a kubelet's nodeStatusReportFrequency.
const STATUS_PERIOD: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(1);
/// Pods wait this long for their node's podCIDR; then they get addresses of a range that only this process knows.
const CIDR_PATIENCE: Duration = Duration::from_secs(3);

/// Something to do for a node or a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Due {
    Register(usize),
    Lease(usize),
    Status(usize),
    Pod(Key),
}

/// What a write has come to.
pub struct Done {
    due: Due,
    result: Result<Wrote, Error>,
}

enum Wrote {
    /// The Node, with this uid.
    Node(String),
    Lease,
    NodeStatus,
    /// A pod's status, of this hash.
    PodStatus(u64),
    PodDeletion,
}

/// A change that an informer saw.
pub enum Changed {
    Node(Delta<Node>),
    Pod(Delta<Pod>),
}

struct HollowNode {
    name: String,
    client: Option<Client>,
    recorder: Option<Recorder>,
    object: Option<Arc<Node>>,
    /// Of the Node as it registered; empty before, and after somebody has deleted it.
    uid: String,
    running: bool,
    reported: Option<Instant>,
    pool: Option<Pool>,
    pods: HashSet<Key>,
}

struct HollowPod {
    pod: Arc<Pod>,
    node: usize,
    admitted: Timestamp,
    prepared: Timestamp,
    ip: Option<IpAddr>,
    progress: Progress,
    /// The hash of the status that the server has from us.
    sent: Option<u64>,
    deleted: bool,
    /// Waiting for its turn or being written; `again` when it changed meanwhile.
    busy: bool,
    again: bool,
}

/// The nodes and their pods.
pub struct Simulation<F> {
    clients: F,
    options: Options,
    shape: Arc<Shape>,
    stop: CancellationToken,
    nodes: Vec<HollowNode>,
    by_name: HashMap<String, usize>,
    pods: HashMap<Key, HollowPod>,
    timers: Timers<Due>,
    began: Instant,
    queue: VecDeque<Due>,
    jobs: JoinSet<Done>,
}

impl<F: Fn(&str) -> kube::Client> Simulation<F> {
    /// `clients` gives the client of the node with a name.
    pub fn new(clients: F, options: Options, shape: Shape, stop: CancellationToken) -> Self {
        let node = |name: String| HollowNode {
            name,
            client: None,
            recorder: None,
            object: None,
            uid: String::new(),
            running: false,
            reported: None,
            pool: None,
            pods: HashSet::new(),
        };
        let nodes: Vec<_> = options.names().map(node).collect();
        let by_name = nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
        let queue = (0..nodes.len()).map(Due::Register).collect();
        Self {
            clients,
            options,
            shape: Arc::new(shape),
            stop,
            nodes,
            by_name,
            pods: HashMap::new(),
            timers: Timers::default(),
            began: Instant::now(),
            queue,
            jobs: JoinSet::new(),
        }
    }

    /// When [`Simulation::ring`] has something to do.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Queues what the clock has made due.
    pub fn ring(&mut self) {
        let now = Instant::now();
        while let Some(due) = self.timers.pop(now) {
            match due {
                Due::Pod(key) => self.want(key),
                due => self.queue.push_back(due),
            }
        }
    }

    /// Waits for a write to end; pending when none is under way.
    pub async fn done(&mut self) -> Option<Done> {
        match self.jobs.join_next().await {
            Some(done) => done.ok(),
            None => std::future::pending().await,
        }
    }

    /// Takes in a change.
    pub fn apply(&mut self, change: Changed) {
        match change {
            Changed::Node(Delta::Deleted(node)) => {
                if let Some(index) = self.by_name.get(&node.metadata.name).copied() {
                    let node = &mut self.nodes[index];
                    (node.object, node.pool) = (None, None);
                    node.uid.clear();
                    self.switch(index);
                }
            }
            Changed::Node(delta) => self.node_changed(delta.object().clone()),
            Changed::Pod(Delta::Deleted(pod)) => self.forget(&pod.key()),
            Changed::Pod(delta) => self.pod_changed(delta.object().clone()),
        }
    }

    /// Looks at the handle again: who is to run and who not.
    pub fn switch_all(&mut self) {
        for index in 0..self.nodes.len() {
            let unregistered = self.nodes[index].uid.is_empty();
            if unregistered && self.options.handle.take_start(&self.nodes[index].name) {
                self.queue.push_back(Due::Register(index));
            }
            self.switch(index);
        }
    }

    fn node_changed(&mut self, object: Arc<Node>) {
        let Some(index) = self.by_name.get(&object.metadata.name).copied() else { return };
        let node = &mut self.nodes[index];
        let range: Option<IpNet> = object.pod_cidr.parse().ok();
        let ready = object.is_ready();
        node.object = Some(object);
        if let Some(range) = range.filter(|range| node.pool.as_ref().is_none_or(|pool| pool.range() != *range)) {
            node.pool = Some(Pool::new(range));
            let waiting: Vec<Key> = node.pods.iter().cloned().collect();
            waiting.into_iter().for_each(|key| self.want(key));
        }
        self.switch(index);
        let node = &self.nodes[index];
        if node.running && !ready {
            let soonest = node.reported.map_or_else(Instant::now, |reported| reported + RETRY);
            self.timers.set(Due::Status(index), soonest);
        }
    }

    /// Starts or stops a node, if what is wanted has changed.
    fn switch(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let stopped = self.options.handle.is_stopped(&node.name)
            || node.object.as_ref().is_some_and(|object| object.is_stopped());
        let run = !stopped && !node.uid.is_empty();
        if std::mem::replace(&mut node.running, run) == run {
            return;
        }
        tracing::debug!(node = node.name, run, "hollow node switched");
        if run {
            let pods: Vec<Key> = node.pods.iter().cloned().collect();
            self.queue.push_back(Due::Lease(index));
            if self.nodes[index].object.as_ref().is_none_or(|object| object.is_ready()) {
                self.timers.set(Due::Status(index), Instant::now() + STATUS_PERIOD);
            } else {
                self.queue.push_back(Due::Status(index));
            }
            pods.into_iter().for_each(|key| self.want(key));
        } else {
            self.timers.cancel(&Due::Lease(index));
            self.timers.cancel(&Due::Status(index));
        }
    }

    fn pod_changed(&mut self, pod: Arc<Pod>) {
        let key = pod.key();
        if self.pods.get(&key).is_some_and(|known| known.pod.metadata.uid != pod.metadata.uid) {
            self.forget(&key);
        }
        let Some(node) = self.by_name.get(&pod.spec.node_name).copied() else { return };
        match self.pods.get_mut(&key) {
            Some(known) => known.pod = pod,
            None => {
                self.nodes[node].pods.insert(key.clone());
                let admitted = pod.status.start_time.unwrap_or_else(Timestamp::now);
                // One that runs already, from before this process, has told its events.
                let placement = self.placement(&pod, [admitted; 2], pod.status.pod_ip.parse().ok());
                let told = pod.status.phase != "Pending" && !pod.status.phase.is_empty();
                let progress =
                    if told { status_at(&pod, &placement, Timestamp::now()).progress } else { Progress::default() };
                let known = HollowPod {
                    pod,
                    node,
                    admitted,
                    prepared: admitted,
                    ip: None,
                    progress,
                    sent: None,
                    deleted: false,
                    busy: false,
                    again: false,
                };
                self.pods.insert(key.clone(), known);
            }
        }
        self.want(key);
    }

    fn forget(&mut self, key: &Key) {
        self.timers.cancel(&Due::Pod(key.clone()));
        self.free_address(key);
        if let Some(known) = self.pods.remove(key) {
            self.nodes[known.node].pods.remove(key);
        }
    }

    fn free_address(&mut self, key: &Key) {
        let Some(known) = self.pods.get_mut(key) else { return };
        if let (Some(pool), Some(ip)) = (&mut self.nodes[known.node].pool, known.ip.take()) {
            pool.free(ip);
        }
    }

    fn want(&mut self, key: Key) {
        let Some(known) = self.pods.get_mut(&key) else { return };
        if std::mem::replace(&mut known.busy, true) {
            known.again = true;
        } else {
            self.queue.push_back(Due::Pod(key));
        }
    }

    /// Starts queued writes, as many as may be under way at once.
    pub fn start_writes(&mut self) {
        while self.jobs.len() < self.options.parallel_writes.max(1) {
            match self.queue.pop_front() {
                Some(Due::Pod(key)) => self.write_pod(key),
                Some(due) => self.write_node(due),
                None => return,
            }
        }
    }

    fn write_node(&mut self, due: Due) {
        let (Due::Register(index) | Due::Lease(index) | Due::Status(index)) = due else { return };
        let node = &mut self.nodes[index];
        let client = client(&mut node.client, &self.clients, &node.name);
        let (name, uid, shape) = (node.name.clone(), node.uid.clone(), self.shape.clone());
        match due {
            Due::Register(_) => {
                self.start(due, async move { writes::register(client, name, shape).await.map(Wrote::Node) })
            }
            _ if !node.running => {}
            Due::Lease(_) => {
                self.start(due, async move { writes::renew(client, name, uid).await.map(|()| Wrote::Lease) })
            }
            _ => {
                node.reported = Some(Instant::now());
                let before = node.object.clone();
                let report = async move { writes::report(client, name, shape, before.as_deref()).await };
                self.start(due, async move { report.await.map(|()| Wrote::NodeStatus) });
            }
        }
    }

    fn start(&mut self, due: Due, write: impl Future<Output = Result<Wrote, Error>> + Send + 'static) {
        self.jobs.spawn(async move { Done { due, result: write.await } });
    }

    /// Brings the server's view of a pod up to date, if it is not.
    fn write_pod(&mut self, key: Key) {
        let Some(known) = self.pods.get_mut(&key) else { return };
        (known.busy, known.again) = (false, false);
        if !self.nodes[known.node].running || known.deleted {
            return;
        }
        let pod = known.pod.clone();
        let (now, due) = (Timestamp::now(), Due::Pod(key.clone()));
        if pod.is_terminal() && !pod.metadata.is_terminating() {
            return self.free_address(&key);
        }
        let address = self.address(&key, &pod);
        let Some(known) = self.pods.get_mut(&key) else { return };
        let (before, sent, index, times) = (known.progress, known.sent, known.node, [known.admitted, known.prepared]);
        let placement = self.placement(&pod, times, address);
        let moment = status_at(&pod, &placement, now);
        let mut hasher = DefaultHasher::new();
        moment.status.to_string().hash(&mut hasher);
        let hash = hasher.finish();
        let waiting = placement.pod_ip.is_none().then(|| now + CIDR_PATIENCE / 4);
        if let Some(at) = moment.next_change.into_iter().chain(waiting).min() {
            self.timers.set(due.clone(), Instant::now() + until(now, at));
        }
        let node = &mut self.nodes[index];
        let client = client(&mut node.client, &self.clients, &node.name);
        if self.options.events && before != moment.progress {
            let start = || Recorder::start(client.clone(), Style::Core, &node.name, self.stop.clone());
            let recorder = node.recorder.get_or_insert_with(start);
            events(&pod, before, moment.progress).into_iter().for_each(|event| recorder.event(event));
        }
        if let Some(known) = self.pods.get_mut(&key) {
            known.progress = moment.progress;
            known.busy = sent != Some(hash) || moment.stopped;
        }
        if sent != Some(hash) && !pod.is_terminal() {
            let status = moment.status;
            let patch = async move { writes::patch_pod(client, pod, status).await.map(|()| Wrote::PodStatus(hash)) };
            self.start(due, patch);
        } else if moment.stopped {
            self.start(due, async move { writes::delete_pod(client, pod).await.map(|()| Wrote::PodDeletion) });
        } else if let Some(known) = self.pods.get_mut(&key) {
            known.busy = false;
        }
    }

    fn placement(&self, pod: &Pod, [admitted, prepared]: [Timestamp; 2], ip: Option<IpAddr>) -> Placement {
        let host_ip = self.shape.host_ip.clone();
        let pod_ip = if pod.spec.host_network { Some(host_ip.clone()) } else { ip.map(|ip| ip.to_string()) };
        Placement { host_ip, pod_ip, admitted, prepared, start_delay: self.options.start_delay }
    }

    /// The pod's address: the one it has, or a new one, or none yet.
    fn address(&mut self, key: &Key, pod: &Pod) -> Option<IpAddr> {
        let known = self.pods.get_mut(key)?;
        let node = &mut self.nodes[known.node];
        if known.ip.is_some() || pod.spec.host_network {
            return known.ip;
        }
        if node.pool.is_none() && until(known.admitted, Timestamp::now()) > CIDR_PATIENCE {
            node.pool = Some(Pool::new(fallback(known.node)));
        }
        let pool = node.pool.as_mut()?;
        let had: Option<IpAddr> = pod.status.pod_ip.parse().ok();
        known.ip = had.filter(|ip| pool.reserve(*ip, key)).or_else(|| pool.allocate(key));
        if known.ip != had {
            known.prepared = Timestamp::now();
        }
        known.ip
    }

    /// Takes note of a write that has ended.
    pub fn finished(&mut self, done: Done) {
        let Done { due, result } = done;
        if let Err(error) = &result {
            tracing::debug!(?due, %error, "a hollow node's write failed");
        }
        match (due, result) {
            (Due::Register(index), Ok(Wrote::Node(uid))) => {
                self.nodes[index].uid = uid;
                self.switch(index);
            }
            (Due::Lease(index), Ok(_)) => {
                // Spreads the renewals of many nodes over the period. A group's come together and reach the disk in a write or two, so
                // that a small cluster hardly writes.
                let groups = self.nodes.len().div_ceil(LEASES_TOGETHER);
                let place = LEASE_PERIOD.mul_f64((index / LEASES_TOGETHER + 1) as f64 / groups as f64);
                self.timers.set(Due::Lease(index), timers::next(self.began + place, LEASE_PERIOD, Instant::now()));
            }
            (due @ Due::Status(_), Ok(_)) => self.timers.set(due, Instant::now() + STATUS_PERIOD),
            (Due::Pod(key), result) => self.pod_written(key, result),
            (due, _) => self.timers.set(due, Instant::now() + RETRY),
        }
    }

    fn pod_written(&mut self, key: Key, result: Result<Wrote, Error>) {
        let Some(known) = self.pods.get_mut(&key) else { return };
        known.busy = false;
        let again = std::mem::take(&mut known.again);
        match result {
            Ok(Wrote::PodStatus(hash)) => {
                known.sent = Some(hash);
                if again || known.pod.metadata.is_terminating() {
                    self.want(key);
                }
            }
            Ok(_) => known.deleted = true,
            // The watch will tell.
            Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => {
                if again {
                    self.want(key);
                }
            }
            Err(_) => self.timers.set(Due::Pod(key), Instant::now() + RETRY),
        }
    }
}

fn client(kept: &mut Option<Client>, clients: &impl Fn(&str) -> kube::Client, name: &str) -> Client {
    kept.get_or_insert_with(|| Client::new(clients(name), "kubelet")).clone()
}

/// Where no controller gives podCIDRs, node n takes the n-th /24 of 100.64.0.0/10.
fn fallback(node: usize) -> IpNet {
    let network = Ipv4Addr::new(100, 64, 0, 0).to_bits() | ((node as u32) << 8 & 0x003f_ff00);
    Ipv4Net::new_assert(Ipv4Addr::from_bits(network), 24).into()
}

/// The time from one moment to a later one, zero when it has passed.
fn until(now: Timestamp, at: Timestamp) -> Duration {
    at.duration_since(now).try_into().unwrap_or_default()
}
