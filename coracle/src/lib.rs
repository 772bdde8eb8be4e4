//! Coracle as a library: a whole control plane inside a process.

mod cluster;

pub use cluster::{
    Cluster, ClusterBuilder, Components, StoreKind, codec, election, hollow_nodes, node_kubeconfig, open_store, url,
};
