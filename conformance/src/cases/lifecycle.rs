//! How the process starts and ends, and what it leaves on disk.

use crate::case::{Case, Needs};
use crate::context::{Cluster, Context, has, until};
use crate::server::{Process, Server};
use anyhow::{Context as _, Result, ensure};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("lifecycle::first_start", Needs::Binary, first_start),
    Case::new("lifecycle::second_start", Needs::Binary, second_start),
    Case::new("lifecycle::terminates_with_watchers", Needs::Binary, terminates_with_watchers),
    Case::new("lifecycle::told_to_stop_while_it_starts", Needs::Binary, told_to_stop_while_it_starts),
    Case::new("lifecycle::memory_store", Needs::Binary, memory_store),
    Case::new("lifecycle::port_in_use", Needs::Binary, port_in_use),
    Case::new("lifecycle::unwritable_directory", Needs::Binary, unwritable_directory),
    Case::new("lifecycle::directory_open_to_others", Needs::Binary, directory_open_to_others),
    Case::new("lifecycle::directory_in_use", Needs::Binary, directory_in_use),
    Case::new("lifecycle::kubeconfig_command", Needs::Binary, kubeconfig_command),
    Case::new("lifecycle::help", Needs::Binary, help),
];

const SOON: Duration = Duration::from_secs(2);

fn terminated(server: &mut Server, signal: &str) -> Result<()> {
    let (status, took) = server.process.signal(signal)?;
    ensure!(status.success(), "SIG{signal} ended it with {status}: {}", server.process.printed()?);
    ensure!(took < SOON, "SIG{signal} took {took:?}");
    Ok(())
}

fn connected<'a>(outer: &Context<'a>, server: &Server) -> Result<Cluster> {
    Cluster::connect("", &server.kubeconfig(), Some(&server.data_dir), &outer.settings.runtime)
}

fn first_start(outer: &Context) -> Result<()> {
    let data_dir = outer.dir.path().join("not/yet/there");
    std::fs::create_dir_all(outer.dir.path().join("not/yet"))?;
    let started = Instant::now();
    let mut server = Server::start(outer.binary()?, "server", &data_dir, &["--hollow-nodes", "3"])?;
    let ready = started.elapsed();
    ensure!(server.kubeconfig().is_file(), "no kubeconfig when it said that it is ready");
    let printed = server.process.printed()?;
    ensure!(printed.lines().count() == 2, "wanted two lines:\n{printed}");
    let (_, command) = printed.split_once("Use it: ").context("no line says how to use it")?;
    has(command, &["export KUBECONFIG=", "kubectl get nodes"])?;
    let cluster = connected(outer, &server)?;
    let cx = outer.on(&cluster, "default")?;
    ensure!(cx.read("/readyz")?.status == 200, "it said that it is ready, but /readyz does not");
    cx.until("three nodes", || Ok(cx.ready_nodes()?.len() == 3))?;
    outer.note(format!("ready in {} ms, nodes in {} ms", ready.as_millis(), started.elapsed().as_millis()));
    private(&data_dir)?;
    terminated(&mut server, "TERM")
}

/// Directories 0700, files 0600 (public certificates may be read).
fn private(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
        if path.ends_with("kubectl-cache") {
            continue;
        }
        let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
        if kind?.is_dir() {
            ensure!(mode == 0o700, "{} has mode {mode:o}", path.display());
            private(&path)?;
        } else {
            ensure!(mode == 0o600, "{} has mode {mode:o}", path.display());
        }
    }
    Ok(())
}

fn second_start(outer: &Context) -> Result<()> {
    let data_dir = outer.dir.path().join("data");
    let flags = ["--hollow-nodes", "2"];
    let mut server = Server::start(outer.binary()?, "server", &data_dir, &flags)?;
    let first = std::fs::read_to_string(server.kubeconfig())?;
    let cluster = connected(outer, &server)?;
    let cx = outer.on(&cluster, "default")?;
    cx.until("two nodes", || Ok(cx.ready_nodes()?.len() == 2))?;
    cx.kubectl("create deployment kept --image=nginx --replicas=2")?;
    cx.kubectl("rollout status deployment/kept --timeout=60s")?;
    let identity = "namespace/kube-system";
    let (uid, pods) = (cx.path(identity, "{.metadata.uid}")?, cx.kubectl("get pods -o name")?);
    let token = cx.kubectl("create token default -n default")?;
    terminated(&mut server, "TERM")?;
    let started = Instant::now();
    let mut server = Server::start(outer.binary()?, "server", &data_dir, &flags)?;
    outer.note(format!("started again in {} ms", started.elapsed().as_millis()));
    let second = std::fs::read_to_string(server.kubeconfig())?;
    let line = |text: &str, key: &str| text.lines().find(|line| line.contains(key)).map(str::to_owned);
    for key in ["certificate-authority-data", "client-certificate-data"] {
        ensure!(line(&first, key).is_some() && line(&first, key) == line(&second, key), "{key} changed");
    }
    let cluster = connected(outer, &server)?;
    let cx = outer.on(&cluster, "default")?;
    ensure!(cx.path(identity, "{.metadata.uid}")? == uid, "another cluster");
    ensure!(cx.kubectl("get pods -o name")? == pods, "other pods");
    let kubeconfig = cx.kubeconfig_with_token(token.trim())?;
    cx.kubectl(&format!("--kubeconfig={} auth whoami", kubeconfig.display()))
        .context("a token from before the restart")?;
    cx.kubectl("scale deployment kept --replicas=3")?;
    cx.until_path("deployment/kept", "{.status.readyReplicas}", "3")?;
    terminated(&mut server, "INT")
}

fn terminates_with_watchers(outer: &Context) -> Result<()> {
    let data_dir = outer.dir.path().join("data");
    let mut server = Server::start(outer.binary()?, "server", &data_dir, &["--hollow-nodes", "1"])?;
    let cluster = connected(outer, &server)?;
    let cx = outer.on(&cluster, "default")?;
    cx.until("a node", || Ok(!cx.ready_nodes()?.is_empty()))?;
    let watchers: Vec<_> = (0..3).map(|_| cx.kubectl_runs("get nodes --watch")).collect::<Result<_>>()?;
    watchers.iter().try_for_each(|watcher| watcher.until_printed("Ready"))?;
    terminated(&mut server, "TERM")
}

/// A server that waits for etcd ends in order too: signals are listened to before it begins.
fn told_to_stop_while_it_starts(outer: &Context) -> Result<()> {
    let (data_dir, log) = (outer.dir.path().join("data"), outer.dir.path().join("log"));
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let (directory, etcd) = (data_dir.to_string_lossy(), format!("http://{}", taken.local_addr()?));
    let arguments =
        ["server", "--data-dir", &directory, "--secure-port", "0", "--store", "etcd", "--etcd-servers", &etcd];
    let process = Process::start(outer.binary()?, &arguments, &log)?;
    // It has come as far as etcd, which does not answer.
    taken.set_nonblocking(true)?;
    let mut silent = None;
    until("a connection to etcd", Duration::from_secs(10), || {
        silent = taken.accept().ok();
        Ok(silent.is_some())
    })
    .with_context(|| format!("{:?}", std::fs::read_to_string(&log)))?;
    terminated(&mut Server { process, data_dir }, "TERM")
}

fn memory_store(outer: &Context) -> Result<()> {
    let data_dir = outer.dir.path().join("data");
    let flags = ["--store", "memory"];
    let mut server = Server::start(outer.binary()?, "server", &data_dir, &flags)?;
    let cluster = connected(outer, &server)?;
    outer.on(&cluster, "default")?.kubectl("create configmap fleeting")?;
    terminated(&mut server, "TERM")?;
    let mut server = Server::start(outer.binary()?, "server", &data_dir, &flags)?;
    let cluster = connected(outer, &server)?;
    has(&outer.on(&cluster, "default")?.kubectl_fails("get configmap fleeting")?, &["NotFound"])?;
    terminated(&mut server, "TERM")
}

/// The start fails soon, with one line that has these parts.
fn refused(outer: &Context, arguments: &[&str], parts: &[&str]) -> Result<()> {
    let log = outer.dir.path().join("refused.log");
    let mut process = Process::start(outer.binary()?, arguments, &log)?;
    let status = process.ended(Duration::from_secs(10))?;
    let printed = process.printed()?;
    ensure!(!status.success(), "it ended well: {printed}");
    ensure!(printed.trim().lines().count() == 1, "wanted one line:\n{printed}");
    ensure!(printed.starts_with("error: "), "{printed}");
    has(&printed, parts)
}

fn port_in_use(outer: &Context) -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let data_dir = outer.dir.path().join("data");
    let arguments = ["server", "--data-dir", &data_dir.to_string_lossy(), "--secure-port", &port];
    refused(outer, &arguments, &[&port, "in use", "--secure-port"])
}

fn unwritable_directory(outer: &Context) -> Result<()> {
    let file = outer.dir.path().join("file");
    std::fs::write(&file, "")?;
    let below = file.join("data");
    refused(
        outer,
        &["server", "--data-dir", &below.to_string_lossy(), "--secure-port", "0"],
        &[&below.to_string_lossy()],
    )?;
    refused(outer, &["server", "--data-dir", "/proc/coracle", "--secure-port", "0"], &["/proc/coracle"])
}

fn directory_open_to_others(outer: &Context) -> Result<()> {
    let data_dir = outer.dir.path().join("data");
    let mut server = Server::start(outer.binary()?, "server", &data_dir, &[])?;
    terminated(&mut server, "TERM")?;
    let pki = data_dir.join("pki");
    std::fs::set_permissions(&pki, PermissionsExt::from_mode(0o755))?;
    let arguments = ["server", "--data-dir", &data_dir.to_string_lossy(), "--secure-port", "0"];
    refused(outer, &arguments, &["can be read by others", "chmod 700", &pki.to_string_lossy()])?;
    std::fs::set_permissions(&pki, PermissionsExt::from_mode(0o700))?;
    let key = pki.join("ca.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644))?;
    refused(outer, &arguments, &["can be read by others", "chmod 600", &key.to_string_lossy()])
}

fn directory_in_use(outer: &Context) -> Result<()> {
    let data_dir = outer.dir.path().join("data");
    let mut server = Server::start(outer.binary()?, "server", &data_dir, &[])?;
    let arguments = ["server", "--data-dir", &data_dir.to_string_lossy(), "--secure-port", "0"];
    refused(outer, &arguments, &[&data_dir.to_string_lossy()])?;
    let cluster = connected(outer, &server)?;
    outer.on(&cluster, "default")?.kubectl("create configmap still-writable")?;
    terminated(&mut server, "TERM")
}

fn kubeconfig_command(outer: &Context) -> Result<()> {
    let data_dir = outer.dir.path().join("data");
    let server = Server::start(outer.binary()?, "server", &data_dir, &[])?;
    let (directory, url) = (data_dir.to_string_lossy(), server.url()?);
    for (user, name) in
        [("admin", "kubernetes-admin"), ("scheduler", "system:kube-scheduler"), ("node:edge-1", "system:node:edge-1")]
    {
        let log = outer.dir.path().join("kubeconfig");
        let mut process = Process::start(
            outer.binary()?,
            &["kubeconfig", "--data-dir", &directory, "--server", &url, "--user", user],
            &log,
        )?;
        ensure!(process.ended(Duration::from_secs(10))?.success(), "{}", process.printed()?);
        let cluster = Cluster::connect("", &log, None, &outer.settings.runtime)?;
        let who = outer.on(&cluster, "")?.kubectl("auth whoami -o jsonpath={.status.userInfo.username}")?;
        ensure!(who == name, "{user}: {who}");
    }
    refused(outer, &["kubeconfig", "--data-dir", "/nowhere"], &["/nowhere"])
}

fn help(outer: &Context) -> Result<()> {
    let log = outer.dir.path().join("help");
    for (arguments, parts) in [
        (&["--help"][..], &["server", "apiserver", "scheduler", "controller-manager", "kubeconfig", "kubectl"][..]),
        (
            &["server", "--help"],
            &["--data-dir", "--bind-address", "--secure-port", "--hollow-nodes", "--store", "--tls-san"],
        ),
    ] {
        let mut process = Process::start(outer.binary()?, arguments, &log)?;
        ensure!(process.ended(SOON)?.success());
        has(&process.printed()?, parts)?;
    }
    let mut process = Process::start(outer.binary()?, &["server", "--secure-port", "many"], &log)?;
    ensure!(!process.ended(SOON)?.success());
    has(&process.printed()?, &["--secure-port", "many"])
}
