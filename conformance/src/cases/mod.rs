//! The cases, one file a topic.

mod bad_input;
mod clients;
mod components;
mod concurrency;
mod credentials;
mod disk_full;
mod durability;
mod encryption;
mod helm;
mod lifecycle;
mod node_failure;
mod several_servers;
mod walk;
mod watches;

use crate::case::Case;
use crate::differential;
use std::path::Path;

/// All cases: those written here, and one a topic of the differential suite.
pub fn all(differential: &Path) -> anyhow::Result<Vec<Case>> {
    let topics = [
        node_failure::CASES,
        components::CASES,
        several_servers::CASES,
        lifecycle::CASES,
        walk::discovery::CASES,
        walk::pods::CASES,
        walk::workloads::CASES,
        walk::network::CASES,
        walk::objects::CASES,
        walk::apply::CASES,
        walk::namespaces::CASES,
        walk::access::CASES,
        walk::nodes::CASES,
        clients::CASES,
        helm::CASES,
        watches::CASES,
        concurrency::CASES,
        bad_input::CASES,
        credentials::CASES,
        durability::CASES,
        disk_full::CASES,
        encryption::CASES,
    ];
    Ok(topics.into_iter().flatten().cloned().chain(differential::cases(differential)?).collect())
}
