//! What a case is.

use crate::context::Context;

/// What a case needs, and so when it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// A namespace in a cluster that others use at the same time.
    Cluster,
    /// The same, in a cluster that this program started: it knows the keys and flags of that one.
    Started,
    /// Nobody else in the cluster, because it changes nodes.
    Nodes,
    /// The binary: it starts servers of its own.
    Binary,
    /// The binary, and nobody else on the machine.
    Machine,
}

/// One behaviour that a user can see.
pub struct Case {
    /// `topic::what_is_seen`
    pub name: &'static str,
    pub needs: Needs,
    pub run: fn(&Context) -> anyhow::Result<()>,
}

impl Case {
    pub const fn new(name: &'static str, needs: Needs, run: fn(&Context) -> anyhow::Result<()>) -> Case {
        Case { name, needs, run }
    }

    /// `walk` of `walk::netshoot`
    pub fn topic(&self) -> &'static str {
        self.name.split("::").next().unwrap_or_default()
    }
}

/// An error that means: this cannot be tried here.
#[derive(Debug)]
pub struct Skipped(pub String);

impl std::fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}
