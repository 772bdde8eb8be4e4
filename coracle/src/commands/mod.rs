//! The commands. Flags have upstream's names wherever upstream has the flag.

mod apiserver;
mod client;
mod kubeconfig;
mod migrate;
mod storage;

use anyhow::Context;
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A Kubernetes control plane: API server, scheduler, controller manager.
#[derive(Parser)]
#[command(name = "coracle", version, about, long_about = LONG, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What is logged, to standard error: error, warn, info, debug, or per module (`apiserver=debug,info`).
    #[arg(long, global = true, default_value = "warn", env = "CORACLE_LOG")]
    log: String,
}

const LONG: &str = "\
A Kubernetes v1.36 control plane in one binary.

Start a whole cluster with three simulated nodes, then talk to it:

    coracle server --data-dir ./coracle-data --hollow-nodes 3
    kubectl --kubeconfig ./coracle-data/admin.kubeconfig get nodes";

#[derive(Subcommand)]
enum Command {
    /// Run everything in one process: API server, scheduler and controller manager
    Server(apiserver::ServerFlags),
    /// Run the API server alone; the other components connect over HTTPS
    Apiserver(apiserver::ApiserverFlags),
    /// Run the scheduler against an API server
    Scheduler(client::SchedulerFlags),
    /// Run the controllers against an API server
    ControllerManager(client::ControllerManagerFlags),
    /// Run simulated nodes against an API server: pods on them run in name only
    HollowNodes(client::HollowNodesFlags),
    /// Print a kubeconfig for a user of a data directory's cluster
    Kubeconfig(kubeconfig::KubeconfigFlags),
    /// Check or repair the embedded store
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    /// Write all objects of the embedded store to a file; the server may go on
    Backup(storage::BackupFlags),
    /// Make a data directory's store from a backup
    Restore(storage::RestoreFlags),
    /// Copy all objects from the embedded store to etcd, or back
    Migrate(migrate::MigrateFlags),
}

pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&arguments.log).map_err(|error| {
        anyhow::anyhow!("--log {:?}: {error}; say for example info or apiserver=debug", arguments.log)
    })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let command = match arguments.command {
        Command::Kubeconfig(flags) => return kubeconfig::print(flags),
        Command::Storage(command) => return storage::run(command),
        Command::Backup(flags) => return storage::backup(flags),
        Command::Restore(flags) => return storage::restore(flags),
        command => command,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        match command {
            Command::Server(flags) => apiserver::server(flags).await,
            Command::Apiserver(flags) => apiserver::apiserver(flags).await,
            Command::Scheduler(flags) => client::scheduler(flags).await,
            Command::ControllerManager(flags) => client::controller_manager(flags).await,
            Command::HollowNodes(flags) => client::hollow_nodes(flags).await,
            Command::Migrate(flags) => migrate::run(flags).await,
            // Done above, without a runtime.
            Command::Kubeconfig(_) | Command::Storage(_) | Command::Backup(_) | Command::Restore(_) => Ok(()),
        }
    });
    // Whatever still runs may not keep the process.
    runtime.shutdown_background();
    ended
}

/// SIGTERM and SIGINT. They end the process at once until this is made, so it is made before anyone is told to rely on
/// an orderly end.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<StopSignals> {
        Ok(StopSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// What the work gives, or nothing when a signal comes first.
    async fn unless_told<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.received() => None,
        }
    }

    /// Waits for an orderly end. As upstream's components do, a second signal does not wait for it.
    async fn orderly<T>(&mut self, end: impl Future<Output = T>) -> anyhow::Result<T> {
        self.unless_told(end).await.context("told to stop a second time: it did not wait for what was still running")
    }
}

/// Tells the user something on standard output, in one write; nobody has to listen.
fn tell(lines: impl std::fmt::Display) {
    let _ = std::io::stdout().write_all(format!("{lines}\n").as_bytes());
}

/// A path as a user can type it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
