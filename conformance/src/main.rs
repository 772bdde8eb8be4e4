//! A black-box suite for a Kubernetes control plane: what a user sees with kubectl, with client libraries and with raw requests.

mod case;
mod cases;
mod context;
mod differential;
mod etcd;
mod key_service;
mod run;
mod server;
mod upstream;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the cases against a cluster, or against clusters that it starts from a binary.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = false)]
pub struct Arguments {
    /// The cluster to try, with the rights of an administrator; --start goes before it
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// The binary to try: everything is run, on clusters of its own that are thrown away
    #[arg(long, value_name = "BINARY")]
    start: Option<PathBuf>,
    /// The kubectl to use
    #[arg(long, value_name = "FILE", env = "KUBECTL", default_value = "kubectl")]
    kubectl: PathBuf,
    /// A Python that has the package `kubernetes`
    #[arg(long, value_name = "FILE", env = "PYTHON", default_value = "python3")]
    python: PathBuf,
    /// The Helm to use
    #[arg(long, value_name = "FILE", default_value = "helm")]
    helm: PathBuf,
    /// The etcd that servers are tried on
    #[arg(long, value_name = "FILE", default_value = "etcd")]
    etcd: PathBuf,
    /// A directory `node_modules` that has the package `@kubernetes/client-node`
    #[arg(long, value_name = "DIR", default_value = "node_modules")]
    node_modules: PathBuf,
    /// Cases at the same time
    #[arg(long, value_name = "N", default_value_t = 6)]
    jobs: usize,
    /// How many times the server is killed under a stream of writes
    #[arg(long, value_name = "N", default_value_t = 100)]
    kills: usize,
    /// Write what the cluster answers to the differential cases into the suite as what is right
    #[arg(long)]
    record: bool,
    /// Where the differential cases are: requests in *.yaml, and in expected/ the right answers
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/differential"))]
    differential: PathBuf,
    /// Only list the cases
    #[arg(long)]
    list: bool,
    /// Only cases whose name contains one of these
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    #[command(subcommand)]
    command: Option<Judge>,
}

/// Another judge than this suite.
#[derive(Subcommand)]
enum Judge {
    Upstream(upstream::UpstreamArguments),
    Mutate(differential::mutate::MutateArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Some(Judge::Upstream(upstream)) => upstream::run(&arguments, upstream),
        Some(Judge::Mutate(mutate)) => differential::mutate::run(&arguments, mutate),
        None => run::run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
