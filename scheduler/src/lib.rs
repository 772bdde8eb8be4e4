//! The scheduler: gives each pending Pod a Node, as kube-scheduler does with its default profile.
//!
//! - [`pod`], [`snapshot`]: what it knows of the cluster, as slim projections;
//! - [`queue`]: which pod is next;
//! - [`cycle`], [`batch`]: which node is best;
//! - [`plugin`], [`plugins`]: what "fits" and "best" mean;
//! - [`scheduler`]: all of these as one state machine without I/O;
//! - [`run`]: its clients around it.

pub mod batch;
pub mod cycle;
mod metrics;
pub mod plugin;
pub mod plugins;
pub mod pod;
pub mod queue;
pub mod resource;
mod run;
pub mod scheduler;
pub mod selector;
pub mod snapshot;

pub use run::{Options, run};
