//! A newcomer's walk with kubectl.

pub mod access;
pub mod apply;
pub mod discovery;
pub mod namespaces;
pub mod network;
pub mod nodes;
pub mod objects;
pub mod pods;
pub mod workloads;
