//! `coracle storage check`, `coracle storage repair`, `coracle backup` and `coracle restore`: the embedded store's files, without a
//! server.

use super::{shown, tell};
use api::kinds::KINDS;
use clap::{Args, Subcommand, value_parser};
use std::path::PathBuf;
use std::time::Duration;
use storage::LogOptions;
use storage::log::{self, Problem, Summary};

/// How the embedded store is kept.
#[derive(Args)]
pub struct LogFlags {
    /// Resources to keep in memory only, to spare flash: lost in a restart, which kubelets and controllers make good for these two:
    /// leases.coordination.k8s.io,events
    #[arg(long, value_name = "RESOURCES", value_delimiter = ',')]
    volatile_resources: Vec<String>,
    /// Compress objects of at least so many bytes in the store's files, unless they are encrypted
    #[arg(long, value_name = "BYTES")]
    storage_compression: Option<usize>,
    /// How long changes are kept for watches and lists that go on from an older version, if there is room
    #[arg(long, value_name = "SECONDS", default_value_t = 480, value_parser = value_parser!(u64).range(300..))]
    storage_history: u64,
}

impl LogFlags {
    pub fn options(&self) -> anyhow::Result<LogOptions> {
        let mut options = LogOptions { compress_from: self.storage_compression, ..LogOptions::default() };
        options.limits.history_age = Duration::from_secs(self.storage_history);
        options.volatile = self.volatile_resources.iter().map(|name| prefix(name)).collect::<Result<_, _>>()?;
        Ok(options)
    }
}

/// Where the objects of a resource stand in the store: `leases.coordination.k8s.io`, `events`, `widgets.example.com`.
fn prefix(name: &str) -> anyhow::Result<String> {
    let (resource, group) = name.split_once('.').unwrap_or((name, ""));
    if let Some(kind) = KINDS.iter().find(|kind| kind.resource == resource && kind.group == group) {
        return Ok(kind.store_prefix());
    }
    let custom = group.contains('.') && !group.ends_with(".k8s.io") && !name.contains(['/', ',', ' ']);
    anyhow::ensure!(
        custom,
        "--volatile-resources: there is no resource {name:?}; say for example leases.coordination.k8s.io"
    );
    Ok(format!("/registry/{group}/{resource}/"))
}

#[derive(Subcommand)]
pub enum StorageCommand {
    /// Read every record and say what is there and what is damaged; changes nothing, and a server may be running
    Check(DataDir),
    /// Save what is intact of a damaged store, and say what is lost; the damaged files are kept aside
    Repair(DataDir),
}

#[derive(Args)]
pub struct DataDir {
    /// The data directory of the server
    #[arg(long, value_name = "DIR", default_value = "./coracle-data")]
    data_dir: PathBuf,
}

#[derive(Args)]
pub struct BackupFlags {
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    data: DataDir,
}

#[derive(Args)]
pub struct RestoreFlags {
    /// The file that `coracle backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    data: DataDir,
    /// By how much to raise the revision, so that resource versions only grow and nobody goes on watching from what is lost
    #[arg(long, value_name = "N", default_value_t = log::BUMP)]
    bump_revision: u64,
}

impl DataDir {
    fn store(&self) -> PathBuf {
        self.data_dir.join("store")
    }
}

pub fn run(command: StorageCommand) -> anyhow::Result<()> {
    match command {
        StorageCommand::Check(data) => check(&data),
        StorageCommand::Repair(data) => repair(&data),
    }
}

fn check(data: &DataDir) -> anyhow::Result<()> {
    let dir = data.store();
    let report = log::check(&dir)?;
    if report.summary.segments + report.summary.snapshots == 0 && report.problems.is_empty() {
        anyhow::bail!("{} holds no store", shown(&dir));
    }
    summarize(&report.summary);
    report.problems.iter().for_each(tell_of);
    if report.problems.is_empty() {
        tell("No damage was found.");
        return Ok(());
    }
    anyhow::bail!(
        "{} problems in {}; `coracle storage repair --data-dir {}` saves what is intact",
        report.problems.len(),
        shown(&dir),
        shown(&data.data_dir)
    )
}

fn repair(data: &DataDir) -> anyhow::Result<()> {
    let Some(repaired) = log::repair(&data.store())? else {
        tell("No damage was found; nothing was changed.");
        return Ok(());
    };
    repaired.report.problems.iter().for_each(tell_of);
    tell(format_args!("{} problems. {} objects were saved.", repaired.report.problems.len(), repaired.entries));
    tell(format_args!(
        "The store goes on at revision {}: what clients have watched or listed is expired.",
        repaired.revision
    ));
    tell(format_args!(
        "The damaged files are in {}; remove them when they are no longer needed.",
        shown(&repaired.aside)
    ));
    Ok(())
}

pub fn backup(flags: BackupFlags) -> anyhow::Result<()> {
    let saved = log::backup(&flags.data.store(), &flags.file)?;
    let log::Saved { revision, entries, bytes } = saved;
    tell(format_args!("{}: {entries} objects as of revision {revision}, {bytes} bytes", shown(&flags.file)));
    Ok(())
}

pub fn restore(flags: RestoreFlags) -> anyhow::Result<()> {
    let dir = flags.data.store();
    let saved = log::restore(&flags.file, &dir, flags.bump_revision)?;
    tell(format_args!("{}: {} objects; the store goes on at revision {}", shown(&dir), saved.entries, saved.revision));
    Ok(())
}

fn summarize(summary: &Summary) {
    let Summary { revision, oldest, entries, sealed, records, segments, snapshots, bytes, torn, strangers } = summary;
    tell(format_args!("revisions  {oldest} to {revision}"));
    tell(format_args!("objects    {entries}, {sealed} of them encrypted"));
    tell(format_args!("files      {segments} segments with {records} records, {snapshots} snapshots, {bytes} bytes"));
    if *torn > 0 {
        tell(format_args!(
            "            {torn} bytes of a write that is under way or was interrupted; no client was told of it"
        ));
    }
    for stranger in strangers {
        tell(format_args!("            {stranger} is none of the store's files"));
    }
}

fn tell_of(problem: &Problem) {
    let Problem { path, offset, reason, bytes, revisions, keys } = problem;
    tell(format_args!("{} at offset {offset}: {reason}", shown(path)));
    if *bytes > 0 {
        tell(format_args!("    {bytes} bytes cannot be read"));
    }
    if let Some((first, last)) = revisions {
        tell(format_args!("    the changes of revisions {first} to {last} are lost"));
    }
    for key in keys {
        tell(format_args!("    {key}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_found_by_its_name_and_group() {
        assert_eq!(prefix("leases.coordination.k8s.io").unwrap(), "/registry/leases/");
        assert_eq!(prefix("events").unwrap(), prefix("events.events.k8s.io").unwrap());
        assert_eq!(prefix("widgets.example.com").unwrap(), "/registry/example.com/widgets/");
        assert!(prefix("leases").is_err() && prefix("made.up.k8s.io").is_err() && prefix("").is_err());
    }
}
