//! The figures, a file for each group that shares a server.

pub mod formats;
pub mod idle;
pub mod list;
pub mod requests;
pub mod schedule;
pub mod start;
pub mod storage;
pub mod watch;

/// Bytes as MiB.
pub fn mib(bytes: f64) -> f64 {
    bytes / 1_048_576.0
}

/// The middle of some measurements; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
