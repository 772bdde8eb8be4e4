//! Real etcd, for the tests: members on free ports with directories of their own, ended by their process ids.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{partition, within};
use crate::etcd::{Etcd, EtcdOptions};
use crate::suite;

/// The programs that there are, the newest first: those of `set-up/tools etcd`, or the one on the PATH.
pub(super) fn programs() -> Vec<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("etcd"));
    let known = [tools.join("etcd"), tools.join("etcd-debian")].into_iter().chain(on_path);
    let mut found: Vec<PathBuf> = known.filter_map(|program| program.canonicalize().ok()).collect();
    found.dedup();
    found.truncate(2);
    assert!(!found.is_empty(), "there is no etcd to test with; install it: set-up/tools etcd");
    found
}

/// The newest of them.
pub(super) fn program() -> PathBuf {
    programs().swap_remove(0)
}

/// One for members that are killed: etcd 3.5.0 to 3.5.2 loses changes then.
pub(super) fn program_to_kill() -> PathBuf {
    programs().pop().unwrap()
}

/// A cluster of members on this machine.
pub(super) struct Cluster {
    program: PathBuf,
    dir: TempDir,
    members: Vec<Member>,
    extra: Vec<String>,
    /// Each member has a network namespace of its own; see [`super::partition`].
    apart: bool,
}

struct Member {
    host: String,
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl Cluster {
    pub(super) fn start(program: &Path, count: usize) -> Cluster {
        Cluster::start_with(program, count, &[])
    }

    /// With more flags.
    pub(super) fn start_with(program: &Path, count: usize, extra: &[&str]) -> Cluster {
        // All are bound before any is let go, so that they differ.
        let listeners: Vec<TcpListener> =
            (0..2 * count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(listeners);
        let members = ports.chunks(2).map(|ports| Member::new("127.0.0.1".to_owned(), ports[0], ports[1])).collect();
        Cluster::new(program, members, extra, false)
    }

    /// Members with addresses and network namespaces of their own.
    pub(super) fn start_apart(program: &Path, count: usize) -> Cluster {
        let members = (0..count).map(|at| Member::new(partition::address(at), 2379, 2380)).collect();
        Cluster::new(program, members, &[], true)
    }

    fn new(program: &Path, members: Vec<Member>, extra: &[&str], apart: bool) -> Cluster {
        let shm = Path::new("/dev/shm");
        let dir = if shm.is_dir() { TempDir::new_in(shm) } else { TempDir::new() }.unwrap();
        let extra = extra.iter().map(|flag| (*flag).to_owned()).collect();
        let mut cluster = Cluster { program: program.to_owned(), dir, members, extra, apart };
        (0..cluster.members.len()).for_each(|at| cluster.run(at));
        cluster
    }

    /// Starts a member, or starts it again.
    pub(super) fn run(&mut self, at: usize) {
        let peers: Vec<String> =
            self.members.iter().enumerate().map(|(n, it)| format!("m{n}=http://{}:{}", it.host, it.peer)).collect();
        let member = &self.members[at];
        let (client, peer) = (self.url(at), format!("http://{}:{}", member.host, member.peer));
        let data = self.data(at);
        let log = std::fs::File::create(self.dir.path().join(format!("m{at}.log"))).unwrap();
        let mut command = match self.apart {
            true => partition::command(&member.host, &self.program),
            false => Command::new(&self.program),
        };
        command.args(["--name", &format!("m{at}"), "--data-dir"]).arg(data);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args([
            "--initial-cluster",
            &peers.join(","),
            "--heartbeat-interval",
            "50",
            "--election-timeout",
            "500",
        ]);
        command.args(&self.extra).env_remove("ETCD_NAME").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        if self.apart {
            partition::connect(child.id(), at);
        }
        self.members[at].child = Some(child);
    }

    fn url(&self, at: usize) -> String {
        let secure = self.extra.iter().any(|flag| flag == "--cert-file");
        format!("{}://{}", if secure { "https" } else { "http" }, self.address(at))
    }

    /// Where a member keeps its files.
    pub(super) fn data(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("m{at}"))
    }

    /// Where clients reach a member.
    pub(super) fn address(&self, at: usize) -> String {
        format!("{}:{}", self.members[at].host, self.members[at].client)
    }

    /// Waits until a member tells what the others have.
    pub(super) async fn is_back(&self, at: usize) {
        let options = EtcdOptions { servers: vec![self.url(at)], ..self.options() };
        within(async { while Etcd::open(options.clone(), None, false).await.is_err() {} }).await;
    }

    /// Options for this cluster, as the suite needs them.
    pub(super) fn options(&self) -> EtcdOptions {
        let servers = (0..self.members.len()).map(|at| self.url(at)).collect();
        EtcdOptions { servers, compaction_interval: None, limits: suite::limits(), ..EtcdOptions::default() }
    }

    /// Ends a member as a power cut would.
    pub(super) fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.members[at].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops a member so that its connections stay, or lets it go on.
    pub(super) fn pause(&self, at: usize, paused: bool) {
        let signal = if paused { "-STOP" } else { "-CONT" };
        let done = Command::new("kill").args([signal, &self.process(at).to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// A member's process.
    pub(super) fn process(&self, at: usize) -> u32 {
        self.members[at].child.as_ref().unwrap().id()
    }
}

impl Member {
    fn new(host: String, client: u16, peer: u16) -> Member {
        Member { host, client, peer, child: None }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for at in 0..self.members.len() {
                let log = std::fs::read_to_string(self.dir.path().join(format!("m{at}.log"))).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                eprintln!("member {at} said at the end: {last:#?}");
            }
        }
        (0..self.members.len()).for_each(|at| self.kill(at));
    }
}
