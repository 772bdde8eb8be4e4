//! What the clients of the API server share: requests, informers, events, leader election, health and metrics.
//!
//! Everything here is an ordinary client. `kube::Client` is only the transport, so the same code runs over HTTPS and on the
//! in-process service of an embedded cluster.

pub mod client;
pub mod correlator;
pub mod events;
mod failure;
pub mod health;
pub mod informer;
pub mod leader;
pub mod meta;
pub mod metrics;
pub mod resource;
pub mod store;

pub use client::{Client, Error};
pub use informer::{Delta, Informer};
pub use meta::{Meta, OwnerReference, PartialObject, Projection};
pub use resource::Resource;
pub use store::{Key, Store};
