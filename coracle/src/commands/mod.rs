//! The commands. Flags have upstream's names wherever upstream has the flag.

mod apiserver;
mod client;
mod kubeconfig;
mod migrate;
mod storage;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
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

/// Waits for SIGTERM or SIGINT.
async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Tells the user something on standard output; nobody has to listen.
fn tell(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A path as a user can type it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
