//! A real etcd, which servers are started on.

use crate::context::{Context, until};
use crate::server::{Process, free_port};
use anyhow::{Context as _, Result};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

/// An etcd of one member, on free ports of loopback.
pub struct Etcd {
    _process: Process,
    pub url: String,
    pub data_dir: PathBuf,
}

impl Etcd {
    pub fn start(outer: &Context) -> Result<Etcd> {
        let (client, peer) = (free_port()?, free_port()?);
        let (url, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let data_dir = outer.dir.path().join("etcd");
        let arguments = [
            "--data-dir",
            data_dir.to_str().context("the path is not UTF-8")?,
            "--listen-client-urls",
            &url,
            "--advertise-client-urls",
            &url,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &format!("default={peer}"),
        ];
        let process = Process::start(&outer.settings.etcd, &arguments, &data_dir.with_extension("log"));
        let process = process.context("`set-up/tools etcd` installs one; --etcd FILE says where it is")?;
        until("etcd to be healthy", Duration::from_secs(30), || Ok(is_healthy(client)))?;
        Ok(Etcd { _process: process, url, data_dir })
    }
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\"true\""))
}
