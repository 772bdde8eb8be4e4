//! What the kernel says about the server's processes: memory, CPU, bytes to disk.

use std::fs;
use std::time::Duration;

/// The processes of one server (one of Coracle, several upstream); none when they run elsewhere.
#[derive(Clone, Default)]
pub struct Processes(pub Vec<u32>);

/// Two readings apart in time tell CPU and disk use.
#[derive(Clone, Copy)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Bytes that went to the block layer.
    pub written: u64,
}

impl Processes {
    /// Resident memory now, in bytes; `None` when there is no process to look at.
    pub fn resident(&self) -> Option<f64> {
        self.status("VmRSS:")
    }

    /// The highest resident memory so far, in bytes.
    pub fn highest(&self) -> Option<f64> {
        self.status("VmHWM:")
    }

    /// The part of the resident memory that is no file's: what cannot be dropped and read again.
    pub fn anonymous(&self) -> Option<f64> {
        self.status("RssAnon:")
    }

    fn status(&self, field: &str) -> Option<f64> {
        self.sum(|pid| Some(number(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, field)? as f64 * 1024.0))
    }

    /// CPU time and disk writes since the processes started. The kernel counts CPU in hundredths of a second here.
    pub fn usage(&self) -> Option<Usage> {
        let ticks = self.sum(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The command name, in parentheses, may hold anything; user and system time are fields 14 and 15.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
        })?;
        let written =
            self.sum(|pid| Some(number(&fs::read_to_string(format!("/proc/{pid}/io")).ok()?, "write_bytes:")? as f64))?;
        Some(Usage { cpu: Duration::from_secs_f64(ticks / 100.0), written: written as u64 })
    }

    fn sum(&self, read: impl Fn(u32) -> Option<f64>) -> Option<f64> {
        if self.0.is_empty() { None } else { self.0.iter().map(|pid| read(*pid)).sum() }
    }
}

/// This process's own CPU time so far: what the client costs.
pub fn own_cpu() -> Duration {
    Processes(vec![std::process::id()]).usage().map_or(Duration::ZERO, |usage| usage.cpu)
}

fn number(text: &str, field: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}
