//! `coracle kubeconfig`: prints a kubeconfig from a data directory's keys.

use clap::Args;
use jiff::Timestamp;
use pki::{Identity, Options, Pki};
use std::path::PathBuf;

#[derive(Args)]
pub struct KubeconfigFlags {
    /// The data directory of the server
    #[arg(long, value_name = "DIR", default_value = "./coracle-data")]
    data_dir: PathBuf,
    /// URL of the server
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:6443")]
    server: String,
    /// Whose: admin, scheduler, controller-manager, or node:NAME
    #[arg(long, default_value = "admin")]
    user: String,
}

pub fn print(flags: KubeconfigFlags) -> anyhow::Result<()> {
    if !flags.data_dir.join("pki").is_dir() {
        anyhow::bail!(
            "{} holds no cluster yet; start one with: coracle server --data-dir {0}",
            flags.data_dir.display()
        );
    }
    let pki = Pki::load_or_create(&flags.data_dir, &Options::new(Timestamp::now()))?;
    let identity = match flags.user.as_str() {
        "admin" => Identity::Admin,
        "scheduler" => Identity::Scheduler,
        "controller-manager" => Identity::ControllerManager,
        other => match other.strip_prefix("node:") {
            Some(name) if !name.is_empty() => {
                print!("{}", coracle::node_kubeconfig(&pki, name, &flags.server)?);
                return Ok(());
            }
            _ => anyhow::bail!("--user {other:?}: say admin, scheduler, controller-manager or node:NAME"),
        },
    };
    print!("{}", pki.kubeconfig(identity, &flags.server));
    Ok(())
}
