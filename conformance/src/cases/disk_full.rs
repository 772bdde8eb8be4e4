//! A file system that is filled to the last byte under a running server, and then freed.

use crate::case::{Case, Needs, Skipped};
use crate::context::{Answer, Cluster, Context, until};
use crate::server::Server;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const CASES: &[Case] = &[Case::new("disk_full::filled_and_freed", Needs::Binary, filled_and_freed)];

/// Bytes of the file system.
const SIZE: u64 = 64 << 20;
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// More writes than there can be room for.
const ENOUGH: usize = 40_000;

fn filled_and_freed(outer: &Context) -> Result<()> {
    let mount = Mount::new(outer.dir.path())?;
    let data_dir = mount.path.join("data");
    let mut server = start(outer, &data_dir, outer.dir.path().join("first.log"))?;
    let cluster = Cluster::connect("", &server.kubeconfig(), Some(&data_dir), &outer.settings.runtime)?;
    let cx = outer.on(&cluster, "default")?;
    let mut acknowledged = Vec::new();
    for _ in 0..20 {
        ensure!(create(&cx, acknowledged.len())?.status == 201, "while there is room");
        acknowledged.push(acknowledged.len());
    }
    let filler = mount.path.join("filler");
    let filled = fill(&filler)?;
    let refused = loop {
        let answer = create(&cx, acknowledged.len())?;
        if answer.status != 201 {
            break answer;
        }
        acknowledged.push(acknowledged.len());
        ensure!(acknowledged.len() < ENOUGH, "the disk does not fill up");
    };
    let status = refused.refused(503, "ServiceUnavailable", &["storage"])?;
    ensure!(status["message"].as_str().is_some_and(|text| text.contains("No space left on device")), "{status}");
    ensure!(create(&cx, ENOUGH)?.status >= 500, "and every later write");

    let ready = cx.read("/readyz")?;
    ensure!(ready.status == 500 && ready.text.contains("[-]etcd failed"), "{} {}", ready.status, ready.text);
    let why = cx.read("/readyz/etcd")?;
    ensure!(why.status == 500 && why.text.contains("No space left on device"), "{} {}", why.status, why.text);
    ensure!(cx.read("/metrics")?.text.contains("\ncoracle_storage_writable 0"), "the metric");
    until("the log to say it", Duration::from_secs(5), || {
        Ok(server.process.printed()?.contains("accepts no more changes"))
    })?;
    all_there(&cx, &acknowledged).context("reads go on")?;

    fs::remove_file(&filler)?;
    server.process.signal("TERM")?;
    let mut server = start(outer, &data_dir, outer.dir.path().join("second.log"))?;
    let cluster = Cluster::connect("", &server.kubeconfig(), Some(&data_dir), &outer.settings.runtime)?;
    let cx = outer.on(&cluster, "default")?;
    all_there(&cx, &acknowledged).context("after the restart")?;
    ensure!(create(&cx, ENOUGH)?.status == 201 && cx.read("/readyz")?.status == 200, "it goes on");
    server.process.signal("TERM")?;
    outer.note(format!("{} MiB filled, {} config maps acknowledged", filled >> 20, acknowledged.len()));
    Ok(())
}

/// A server whose output goes elsewhere than the full disk.
fn start(outer: &Context, data_dir: &Path, log: PathBuf) -> Result<Server> {
    let directory = data_dir.to_str().context("the path is not UTF-8")?;
    let arguments = ["apiserver", "--data-dir", directory, "--bind-address", "127.0.0.1", "--secure-port", "0"];
    let process = crate::server::Process::start(outer.binary()?, &arguments, &log)?;
    let mut server = Server { process, data_dir: data_dir.to_owned() };
    server.process.until_printed("is ready at https://")?;
    Ok(server)
}

fn name(number: usize) -> String {
    format!("full-{number}")
}

fn create(cx: &Context, number: usize) -> Result<Answer> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name(number) }, "data": { "filling": format!("{number};").repeat(1000) },
    });
    cx.post(CONFIG_MAPS, &object)
}

/// Exactly what was acknowledged is there, and whole; the first one that was not may be.
fn all_there(cx: &Context, acknowledged: &[usize]) -> Result<()> {
    let list = cx.read(CONFIG_MAPS)?.json()?;
    let found: std::collections::BTreeMap<&str, &str> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| Some((item["metadata"]["name"].as_str()?, item["data"]["filling"].as_str()?)))
        .collect();
    for number in acknowledged {
        let filling = found.get(name(*number).as_str()).with_context(|| format!("{} is lost", name(*number)))?;
        ensure!(**filling == format!("{number};").repeat(1000), "{} is not whole", name(*number));
    }
    Ok(())
}

/// Writes until there is no room for another byte; returns how many fit.
fn fill(path: &Path) -> Result<u64> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut filled = 0;
    for piece in [1 << 16, 1 << 12, 1] {
        let bytes = vec![0; piece];
        loop {
            match file.write(&bytes) {
                Ok(0) => break,
                Ok(written) => filled += written as u64,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    // What waits in memory has its place reserved.
    file.sync_all()?;
    Ok(filled)
}

/// A file system in a file. It is unmounted when this is dropped.
struct Mount {
    path: PathBuf,
}

impl Mount {
    fn new(dir: &Path) -> Result<Mount> {
        let (image, path) = (dir.join("image"), dir.join("mount"));
        File::create(&image)?.set_len(SIZE)?;
        fs::create_dir(&path)?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&image])?;
        run("mount", &["-o", "loop"], &[&image, &path])?;
        Ok(Mount { path })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy"], &[&self.path]);
    }
}

/// Runs a program that only administrators may run, and that need not be there.
fn run(program: &str, options: &[&str], paths: &[&Path]) -> Result<()> {
    let output = match Command::new(program).args(options).args(paths).output() {
        Ok(output) => output,
        Err(error) => bail!(Skipped(format!("{program}: {error}"))),
    };
    if !output.status.success() {
        bail!(Skipped(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(())
}
