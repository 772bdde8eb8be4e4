//! What a case is.

use crate::context::Context;
use crate::differential;
use std::borrow::Cow;
use std::path::PathBuf;

/// What a case needs, and so when it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// A namespace in a cluster that others use at the same time.
    Cluster,
    /// The same, in a cluster that this program started: it knows the keys and flags of that one.
    Started,
    /// Nobody else in the cluster, because it changes nodes.
    Nodes,
    /// An API server by itself, so that no controller changes what is looked at.
    Apiserver,
    /// The binary: it starts servers of its own.
    Binary,
    /// The binary, and nobody else on the machine.
    Machine,
}

/// One behaviour that a user can see.
#[derive(Clone)]
pub struct Case {
    /// `topic::what_is_seen`
    pub name: Cow<'static, str>,
    pub needs: Needs,
    pub run: Run,
}

/// What a case does.
#[derive(Clone)]
pub enum Run {
    Code(fn(&Context) -> anyhow::Result<()>),
    /// The requests of a file of the differential suite.
    Topic(PathBuf),
}

impl Case {
    pub const fn new(name: &'static str, needs: Needs, run: fn(&Context) -> anyhow::Result<()>) -> Case {
        Case { name: Cow::Borrowed(name), needs, run: Run::Code(run) }
    }

    /// `walk` of `walk::netshoot`
    pub fn topic(&self) -> &str {
        self.name.split("::").next().unwrap_or_default()
    }

    pub fn run(&self, cx: &Context) -> anyhow::Result<()> {
        match &self.run {
            Run::Code(run) => run(cx),
            Run::Topic(file) => differential::run(cx, file),
        }
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
