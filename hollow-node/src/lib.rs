//! Hollow nodes: simulated kubelets, by the hundreds in one process.
//!
//! A hollow node registers its Node, renews its Lease, and takes the pods that are bound to it through the life that a kubelet
//! would give them, each with the node's own identity. Nothing runs: containers exist in the pods' status only.
//!
//! What pods and nodes do is steered by annotations, so kubectl is enough:
//!
//! | on | annotation | effect |
//! |---|---|---|
//! | Pod | `hollow.coracle.dev/exit-after: "2s"` | the containers exit that long after each start; without it they run until deleted |
//! | Pod | `hollow.coracle.dev/exit-code: "1"` | with this code (default 0): `restartPolicy` then decides, as ever |
//! | Pod | `hollow.coracle.dev/termination-seconds: "5"` | a deleted pod takes that long to stop, within its grace period |
//! | Node | `hollow.coracle.dev/stopped: "true"` | the node falls silent, as if its machine had lost power, until the annotation goes |
//!
//! A Node that is deleted stays away until [`Handle::start`], as a kubelet's does until that restarts.
//!
//! Probes have nothing to ask and succeed when their `initialDelaySeconds` are over; a pod fails at its `activeDeadlineSeconds`; what
//! containers ask for they are given at once, when they are resized too; an ephemeral container runs with the others.
//!
//! - [`status`]: a pod's status as a pure function of pod, place and time; `timeline`: what its containers do when; [`events`] as the
//!   difference of two statuses;
//! - [`node`]: the documents of Node and Lease; [`address`]: pod addresses;
//! - `simulation`: one loop for all nodes; `writes`: its requests;
//! - [`server`]: the kubelet API, for `kubectl logs`.

pub mod address;
pub mod events;
pub mod node;
pub mod pod;
pub mod server;
mod simulation;
pub mod status;
mod timeline;
pub mod timers;
mod writes;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use component::client::Client;
use component::resource::{NODES, PODS};
use component::{Delta, Informer};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use node::Shape;
pub use server::KubeletApi;

use crate::simulation::{Changed, Simulation};

/// How many hollow nodes, and what kind.
#[derive(Clone)]
pub struct Options {
    pub count: usize,
    /// Node n is called `{prefix}{n}`.
    pub prefix: String,
    pub shape: Shape,
    /// What each step of starting a pod takes: its sandbox, and then each init container. With zero, a pod's first status is
    /// Running.
    pub start_delay: Duration,
    /// Whether pods have events.
    pub events: bool,
    /// Writes under way at once, of all nodes together.
    pub parallel_writes: usize,
    /// Serves the kubelet API of all nodes; none serves it not.
    pub kubelet_api: Option<KubeletApi>,
    /// Stops and starts nodes.
    pub handle: Handle,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            count: 1,
            prefix: "hollow-".to_owned(),
            shape: Shape::default(),
            start_delay: Duration::from_millis(100),
            events: true,
            parallel_writes: 64,
            kubelet_api: None,
            handle: Handle::default(),
        }
    }
}

impl Options {
    /// The nodes' names.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.count).map(|n| format!("{}{n}", self.prefix))
    }
}

/// Stops and starts nodes of a running simulation; clones are the same handle.
#[derive(Clone, Default)]
pub struct Handle(Arc<Switches>);

#[derive(Default)]
struct Switches {
    stopped: Mutex<HashSet<String>>,
    started: Mutex<HashSet<String>>,
    changed: Notify,
}

impl Handle {
    /// The node falls silent: no lease, no status, no answer to changes of its pods.
    pub fn stop(&self, name: &str) {
        self.0.stopped.lock().insert(name.to_owned());
        self.0.changed.notify_one();
    }

    /// The node is back; if its Node was deleted, it registers again.
    pub fn start(&self, name: &str) {
        self.0.stopped.lock().remove(name);
        self.0.started.lock().insert(name.to_owned());
        self.0.changed.notify_one();
    }

    fn is_stopped(&self, name: &str) -> bool {
        self.0.stopped.lock().contains(name)
    }

    fn take_start(&self, name: &str) -> bool {
        self.0.started.lock().remove(name)
    }
}

/// Runs hollow nodes until `stop`. `watcher` watches all Nodes and Pods for them; `clients` gives the client of the node with a
/// name (identity `system:node:NAME`), and is asked once a node. An error means that the kubelet API cannot be served.
pub async fn run(
    watcher: kube::Client,
    clients: impl Fn(&str) -> kube::Client + Send + Sync,
    options: Options,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let stop = stop.child_token();
    let _guard = stop.clone().drop_guard();
    let watcher = Client::new(watcher, "kubelet");
    let names: Arc<HashSet<String>> = Arc::new(options.names().collect());
    let pods = Informer::<pod::Pod>::builder(watcher.clone(), PODS).start(stop.clone());
    let nodes = Informer::<node::Node>::builder(watcher, NODES).start(stop.clone());
    let mut shape = options.shape.clone();
    if let Some(api) = &options.kubelet_api {
        shape.kubelet_port = Some(server::start(api, pods.store().clone(), names.clone(), stop.clone()).await?);
    }
    // Unbounded, as informers must not block. It holds what one burst of the watch brings.
    let (changes, mut changed) = mpsc::unbounded_channel();
    let (sender, ours) = (changes.clone(), names.clone());
    nodes.subscribe(move |delta| {
        if ours.contains(&delta.object().metadata.name) {
            let _ = sender.send(Changed::Node(delta.clone()));
        }
    });
    pods.subscribe(move |delta: &Delta<pod::Pod>| {
        if names.contains(&delta.object().spec.node_name) {
            let _ = changes.send(Changed::Pod(delta.clone()));
        }
    });
    let handle = options.handle.clone();
    let mut simulation = Simulation::new(clients, options, shape, stop.clone());
    loop {
        simulation.start_writes();
        let timer = simulation.next_timer();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(change) = changed.recv() => simulation.apply(change),
            Some(done) = simulation.done() => simulation.finished(done),
            () = handle.0.changed.notified() => simulation.switch_all(),
            () = sleep_until(timer) => simulation.ring(),
        }
    }
}

async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
