//! What a cluster costs when nobody asks anything of it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::figures::mib;
use crate::report::{Detail, Figure};
use crate::target::Target;

/// Long enough that the work of starting is over.
const SETTLE: Duration = Duration::from_secs(4);
/// Leases are renewed every ten seconds: one whole round.
const WINDOW: Duration = Duration::from_secs(10);

/// Size of the stripped binary.
pub fn binary(path: &Path) -> Result<Vec<Figure>> {
    Ok(vec![Figure::lower("binary", mib(std::fs::metadata(path)?.len() as f64), "MiB")])
}

/// Memory, CPU and disk of a server with so many hollow nodes that is left alone. Nothing where its processes are not known.
pub async fn measure(target: &Target, nodes: usize) -> Result<Vec<Figure>> {
    let bed = target.open(nodes).await?;
    if bed.processes.0.is_empty() {
        bed.close().await?;
        return Ok(Vec::new());
    }
    if matches!(target, Target::Coracle { .. }) {
        bed.nodes_ready(nodes).await?;
    }
    sleep(SETTLE).await;
    let before = bed.processes.usage();
    sleep(WINDOW).await;
    let after = bed.processes.usage();
    let label = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
    let mut figures = Vec::new();
    if let (Some(resident), Some(highest)) = (bed.processes.resident(), bed.processes.highest()) {
        let anonymous = mib(bed.processes.anonymous().unwrap_or(0.0));
        let details = vec![Detail::new("not of files", anonymous, "MiB"), Detail::new("highest", mib(highest), "MiB")];
        figures.push(Figure::lower(format!("resident idle, {label}"), mib(resident), "MiB").with(details));
    }
    if let Some((before, after)) = before.zip(after) {
        let seconds = WINDOW.as_secs_f64();
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() / seconds * 100.0;
        let disk = (after.written - before.written) as f64 / seconds / 1024.0;
        figures.push(Figure::lower(format!("idle CPU, {label}"), cpu, "% of a core"));
        figures.push(Figure::lower(format!("idle disk, {label}"), disk, "KiB/s"));
    }
    bed.close().await?;
    Ok(figures)
}
