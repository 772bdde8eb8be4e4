//! Members in network namespaces of their own, one of which is cut off from the others or from everybody.
//!
//! The test runs itself again in a new network namespace, in which it may do what it likes, with the members' around it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::load::Load;
use super::open;
use super::server::{self, Cluster};

/// Set in the namespace.
const INSIDE: &str = "CORACLE_TEST_IN_NAMESPACE";

pub(super) fn address(member: usize) -> String {
    format!("10.77.0.{}", member + 1)
}

/// A command that waits for its namespace to be connected and then becomes `program`.
pub(super) fn command(host: &str, program: &Path) -> Command {
    let wait = format!(
        "while ! ip link show dev eth >/dev/null 2>&1; do sleep 0.01; done
         ip link set lo up; ip addr add {host}/24 dev eth; ip link set eth up; exec \"$0\" \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &wait]).arg(program);
    command
}

/// Connects the namespace of a process to the bridge.
pub(super) fn connect(process: u32, member: usize) {
    let namespace = |process: &str| std::fs::metadata(format!("/proc/{process}/ns/net")).unwrap().ino();
    while namespace(&process.to_string()) == namespace("self") {
        std::thread::yield_now();
    }
    let link = format!("m{member}");
    // It is there already if the member was started before: with the namespace, the other end has gone.
    let _ = Command::new("ip").args(["link", "del", &link]).stderr(Stdio::null()).status();
    ip(&format!("link add {link} type veth peer name eth netns {process}"));
    ip(&format!("link set {link} master hub up"));
}

fn ip(arguments: &str) {
    run("ip", arguments);
}

fn run(program: &str, arguments: &str) {
    let done = Command::new(program).args(arguments.split(' ')).status().unwrap();
    assert!(done.success(), "{program} {arguments}");
}

/// Lets a member reach the others, or not. Clients reach it still.
fn from_peers(cluster: &Cluster, member: usize, cut: bool) {
    let verb = if cut { "add" } else { "del" };
    for peer in (0..3).filter(|peer| *peer != member) {
        run("nsenter", &format!("-t {} -n ip route {verb} blackhole {}/32", cluster.process(member), address(peer)));
    }
}

/// Lets a member reach anybody, or not.
fn from_all(member: usize, cut: bool) {
    ip(&format!("link set m{member} {}", if cut { "down" } else { "up" }));
}

#[test]
fn a_member_that_is_cut_off_tells_nothing_old() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(cut_off());
    }
    let may = Command::new("unshare").args(["-rn", "ip", "link", "add", "hub", "type", "bridge"]).output();
    if !may.is_ok_and(|it| it.status.success()) {
        println!("SKIPPED: network namespaces are not permitted here, or there is no iproute2");
        return;
    }
    let name = "etcd::tests::partition::a_member_that_is_cut_off_tells_nothing_old";
    let mut inside = Command::new("unshare");
    inside.args(["-rn", "--kill-child"]).arg(std::env::current_exe().unwrap());
    let done = inside.args(["--exact", name, "--nocapture"]).env(INSIDE, "1").status().unwrap();
    assert!(done.success());
}

async fn cut_off() {
    for arguments in
        ["link set lo up", "link add hub type bridge", "addr add 10.77.0.100/24 dev hub", "link set hub up"]
    {
        ip(arguments);
    }
    let cluster = Cluster::start_apart(&server::program(), 3);
    let load = Load::start(open(&cluster).await, open(&cluster).await);
    load.goes_on().await;
    for member in 0..3 {
        from_peers(&cluster, member, true);
        load.goes_on().await;
        from_peers(&cluster, member, false);
        cluster.is_back(member).await;
        load.goes_on().await;
    }
    for member in 0..2 {
        from_all(member, true);
        load.goes_on().await;
        from_all(member, false);
        cluster.is_back(member).await;
        load.goes_on().await;
    }
    load.check().await;
}
