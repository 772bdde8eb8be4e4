//! `coracle migrate`: from the embedded store to etcd, or back.

use super::apiserver::EtcdFlags;
use super::{shown, tell};
use anyhow::Context;
use apiserver::encryption::Encryption;
use clap::{Args, ValueEnum};
use coracle::{StoreKind, open_store};
use std::path::PathBuf;
use std::sync::Arc;
use storage::Range;
use storage::migrate::{self, Progress};

#[derive(Args)]
pub struct MigrateFlags {
    /// Where the objects are to go; they are taken from the other one
    #[arg(long, value_enum, value_name = "STORE")]
    to: Target,
    /// The data directory, with the embedded store in it; no server may be running on it
    #[arg(long, value_name = "DIR", default_value = "./coracle-data")]
    data_dir: PathBuf,
    #[command(flatten)]
    etcd: EtcdFlags,
    /// The servers' EncryptionConfiguration, if they have one: values are read and written with its keys
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Target {
    Etcd,
    Embedded,
}

pub async fn run(flags: MigrateFlags) -> anyhow::Result<()> {
    let encryption = flags.encryption_provider_config.as_deref();
    let encryption = encryption.map(|file| Encryption::load(file, false)).transpose().map_err(anyhow::Error::msg)?;
    match flags.to {
        Target::Etcd => to_etcd(&flags, encryption).await,
        Target::Embedded => to_embedded(&flags, encryption).await,
    }
}

async fn to_etcd(flags: &MigrateFlags, encryption: Option<Arc<Encryption>>) -> anyhow::Result<()> {
    let store = flags.data_dir.join("store");
    // Opening would make it.
    anyhow::ensure!(store.is_dir(), "{} holds no store", shown(&store));
    let from = open_store(&StoreKind::embedded(), Some(&flags.data_dir), encryption.clone()).await?;
    let to = open_store(&StoreKind::Etcd(flags.etcd.options()), None, encryption).await?;
    let copied = migrate::copy(&*from, &*to, |progress| match progress {
        Progress::Raising(done, all) => tell(format_args!("raising etcd's revision: {done} of {all}")),
        Progress::Copying(done, all) => tell(format_args!("copying: {done} of {all}")),
    });
    let copied = copied.await?;
    tell(format_args!("etcd holds {copied} objects at revision {}. {} is as it was.", to.revision(), shown(&store)));
    from.close().await;
    to.close().await;
    Ok(())
}

async fn to_embedded(flags: &MigrateFlags, encryption: Option<Arc<Encryption>>) -> anyhow::Result<()> {
    let from = open_store(&StoreKind::Etcd(flags.etcd.options()), None, encryption.clone()).await?;
    let all = from.range(Range::default())?;
    let (dir, count) = (flags.data_dir.join("store"), all.entries.len());
    let codec = encryption.map(coracle::codec);
    let (target, revision) = (dir.clone(), all.revision);
    let made = move || storage::log::create(&target, all.entries, revision, codec);
    tokio::task::spawn_blocking(made).await?.with_context(|| shown(&dir))?;
    tell(format_args!("{} holds {count} objects at revision {revision}. etcd is as it was.", shown(&dir)));
    from.close().await;
    Ok(())
}
