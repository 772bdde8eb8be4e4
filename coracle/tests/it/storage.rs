//! The embedded store under a cluster: what a user is told when it fails, and the commands for its files.

use crate::client::{Client, version};
use crate::{Space, bare, config_map};
use coracle::{Cluster, StoreKind};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use storage::LogOptions;

async fn start(dir: &Path, change: impl FnOnce(&mut LogOptions)) -> Cluster {
    let mut options = LogOptions::default();
    change(&mut options);
    let builder = bare().data_dir(dir).store(StoreKind::Embedded(options));
    builder.start().await.expect("a cluster")
}

/// Runs the binary; its exit status and what it printed.
fn coracle(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_coracle")).args(arguments).output().expect("the binary runs");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&printed).into_owned())
}

#[test]
fn a_failing_disk_is_told_of_and_reads_go_on() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let cluster = start(&data, |log| log.segment_bytes = 1).await;
        let space = Space::new(&cluster, "failing").await;
        let all = space.core("configmaps");
        let kept = space.create(&all, config_map("kept", json!({}))).await;
        let client = &space.client;
        assert_eq!(client.get("/readyz").await.text, "ok");
        let metric =
            |text: &str| text.lines().find(|line| line.starts_with("coracle_storage_writable")).map(str::to_owned);
        assert_eq!(metric(&client.get("/metrics").await.text).as_deref(), Some("coracle_storage_writable 1"));

        // The next segment cannot be made; what is written before that is noticed is acknowledged, and kept.
        std::fs::rename(data.join("store"), data.join("away")).unwrap();
        let mut acknowledged = Vec::new();
        let refused = loop {
            let name = format!("more-{}", acknowledged.len());
            let answer = client.post(&all, &config_map(&name, json!({}))).await;
            if answer.code != 201 {
                break answer;
            }
            acknowledged.push(name);
        };
        // What could not be done depends on how far the segment had come when the directory went.
        let whole = "storage is (re)initializing or failed: ";
        let said = refused.text.clone();
        let why = said.split_once(whole).and_then(|(_, rest)| rest.split_once(" a file: ")).expect(&said).0;
        assert!(why.starts_with("cannot "), "{said}");
        let status = refused.fails_with(503, &format!("{whole}{why} a file: No such file"));
        assert!(!status.to_string().contains(&*data.to_string_lossy()), "clients are not told where: {status}");
        assert_eq!((&status["kind"], &status["reason"]), (&json!("Status"), &json!("ServiceUnavailable")));
        client.delete(&format!("{all}/kept")).await.fails_with(503, why);
        assert_eq!(client.get(&format!("{all}/kept")).await.ok(), kept);
        let ready = client.get("/readyz").await;
        assert!(ready.code == 500 && ready.text.contains("[-]etcd failed"), "{}", ready.text);
        let check = client.get("/readyz/etcd").await;
        assert!(check.code == 500 && check.text.contains(why) && check.text.contains("log-"), "{}", check.text);
        assert_eq!(metric(&client.get("/metrics").await.text).as_deref(), Some("coracle_storage_writable 0"));
        cluster.stop().await;

        std::fs::rename(data.join("away"), data.join("store")).unwrap();
        let cluster = start(&data, |_| ()).await;
        let client = Client::new(cluster.client().unwrap());
        assert_eq!(client.get(&format!("{all}/kept")).await.ok(), kept);
        let list = client.get(&all).await.ok();
        assert_eq!(crate::client::names(&list)[1..], acknowledged, "and nothing that was refused");
        cluster.stop().await;
    });
}

#[test]
fn volatile_resources_are_gone_after_a_restart_and_versions_grow() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        let volatile = |log: &mut LogOptions| log.volatile = vec!["/registry/leases/".to_owned()];
        let data = dir.path().join("data");
        let cluster = start(&data, volatile).await;
        let space = Space::new(&cluster, "volatile").await;
        let leases = "/apis/coordination.k8s.io/v1/namespaces/volatile/leases";
        let lease = json!({ "metadata": { "name": "a" }, "spec": { "holderIdentity": "me" } });
        let made = space.create(leases, lease.clone()).await;
        let list = space.client.get(leases).await.ok();
        cluster.stop().await;

        let cluster = start(&data, volatile).await;
        let client = Client::new(cluster.client().unwrap());
        client.get(&format!("{leases}/a")).await.is(404);
        let from =
            format!("{leases}?watch=1&resourceVersion={}", list["metadata"]["resourceVersion"].as_str().unwrap());
        let watched = client.get(&from).await;
        assert!(watched.code == 410 || watched.text.contains("\"code\":410"), "{}", watched.text);
        let again = client.post(leases, &lease).await.ok();
        let number = |object| version(object).parse::<u64>().unwrap();
        assert!(number(&again) > number(&made));
        client.get("/api/v1/namespaces/volatile").await.ok();
        cluster.stop().await;
    });
}

#[test]
fn the_stores_files_are_checked_repaired_saved_and_restored() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (data, other, file) = (path("data"), path("other"), path("backup"));
    let all = "/api/v1/namespaces/files/configmaps";
    crate::run(async {
        let cluster = start(Path::new(&data), |_| ()).await;
        let space = Space::new(&cluster, "files").await;
        for n in 0..5 {
            space.create(all, config_map(&format!("map-{n}"), json!({ "n": "1" }))).await;
        }
        let (code, printed) = coracle(&["storage", "check", "--data-dir", &data]);
        assert!(code == 0 && printed.contains("No damage was found"), "beside a running server: {printed}");
        let (code, printed) = coracle(&["storage", "repair", "--data-dir", &data]);
        assert!(code == 1 && printed.contains("in use by process"), "{printed}");
        let (code, printed) = coracle(&["backup", &file, "--data-dir", &data]);
        assert!(code == 0 && printed.contains("objects as of revision"), "{printed}");
        cluster.stop().await;
    });
    let segment = std::fs::read_dir(Path::new(&data).join("store")).unwrap().map(|file| file.unwrap().path());
    let segment = segment.into_iter().find(|path| path.to_string_lossy().contains("/log-")).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(5).rposition(|part| part == b"map-2").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();

    let (code, printed) = coracle(&["storage", "check", "--data-dir", &data]);
    assert!(code == 1 && printed.contains("checksum") && printed.contains("at offset"), "{printed}");
    let (code, printed) = coracle(&["apiserver", "--data-dir", &data, "--secure-port", "0"]);
    assert!(code == 1 && printed.contains("`coracle storage repair`"), "{printed}");
    let (code, printed) = coracle(&["storage", "repair", "--data-dir", &data]);
    assert!(code == 0 && printed.contains("1 problems") && printed.contains("store.damaged"), "{printed}");
    assert_eq!(coracle(&["storage", "check", "--data-dir", &data]).0, 0);
    let (code, printed) = coracle(&["restore", &file, "--data-dir", &data]);
    assert!(code == 1 && printed.contains("not empty"), "{printed}");
    assert_eq!(coracle(&["restore", &file, "--data-dir", &other]).0, 0);

    for (data, names) in [(&data, "map-0 map-1 map-3 map-4"), (&other, "map-0 map-1 map-2 map-3 map-4")] {
        crate::run(async {
            let cluster = start(Path::new(data), |_| ()).await;
            let client = Client::new(cluster.client().unwrap());
            let list = client.get(all).await.ok();
            assert_eq!(crate::client::names(&list).join(" "), names);
            assert!(version(&list).parse::<u64>().unwrap() > 1_000_000_000, "versions have grown");
            let old = client.get(&format!("{all}?watch=1&resourceVersion=5")).await;
            assert!(old.code == 410 || old.text.contains("\"code\":410"), "{}", old.text);
            cluster.stop().await;
        });
    }
}
