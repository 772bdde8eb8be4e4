//! The cluster that is judged.

use super::{Subset, UpstreamArguments};
use crate::Arguments;
use crate::server::{Process, Server, components};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Nodes of a cluster that is started for tests that need some.
const NODES: &str = "4";

/// The cluster to try. What was started ends when this is dropped.
pub struct Judged {
    pub kubeconfig: PathBuf,
    /// Where the processes that were started log.
    pub logs: Vec<PathBuf>,
    /// What it is made of, in words.
    pub what: String,
    _server: Option<Server>,
    _beside: Vec<Process>,
}

/// The cluster that was named, or one that is started.
pub fn cluster(arguments: &Arguments, upstream: &UpstreamArguments, output: &Path) -> Result<Judged> {
    let Some(binary) = &arguments.start else {
        let kubeconfig = arguments.kubeconfig.as_ref().context("say --kubeconfig FILE or --start BINARY")?;
        let kubeconfig = std::path::absolute(kubeconfig)?;
        return Ok(Judged { kubeconfig, logs: vec![], what: "a given cluster".into(), _server: None, _beside: vec![] });
    };
    let binary = std::path::absolute(binary)?;
    let nodes = if upstream.subset == Subset::Api { "0" } else { NODES };
    let data_dir = output.join("server");
    if data_dir.exists() {
        fs::remove_dir_all(&data_dir)?;
    }
    let flags: Vec<&str> = upstream.server_flag.iter().flat_map(|flag| flag.split('=')).collect();
    let (server, beside) = if upstream.components {
        components(&binary, &data_dir, &flags, nodes)?
    } else {
        let flags = [&["--hollow-nodes", nodes], &flags[..]].concat();
        (Server::start(&binary, "server", &data_dir, &flags)?, Vec::new())
    };
    let mut logs = vec![server.process.log().to_owned()];
    logs.extend(beside.iter().map(|process| process.log().to_owned()));
    let mut what = if upstream.components { "a process a component" } else { "one process" }.to_owned();
    for flag in &upstream.server_flag {
        what = format!("{what}, `{flag}`");
    }
    let kubeconfig = server.kubeconfig();
    Ok(Judged { kubeconfig, logs, what, _server: Some(server), _beside: beside })
}
