//! What a reconcile decides: a [`Plan`] of requests, as data.

use std::collections::BTreeMap;
use std::time::Duration;

use api::quota::Requirement;
use api::resource_list::ResourceList;
use component::client::{DeleteOptions, PatchType};
use component::events::Event;
use component::{Meta, Resource};
use jiff::Timestamp;
use pki::LegacyClaims;
use serde_json::Value;

/// One request. An object that is gone already satisfies a deletion and a patch.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Create {
        resource: Resource,
        namespace: String,
        body: Value,
        report: Report,
    },
    /// Replaces an object or, with a `subresource`, a part of it. The body's resource version is the precondition.
    Update {
        resource: Resource,
        namespace: String,
        name: String,
        subresource: &'static str,
        body: Value,
        report: Report,
    },
    Patch {
        resource: Resource,
        namespace: String,
        name: String,
        subresource: &'static str,
        patch: PatchType,
        body: Value,
        report: Report,
    },
    /// Puts a merge patch into an object by reading and replacing it, if it still has this resource version: what may be updated and
    /// not patched. With `token`, a token of these claims becomes its `data.token`, which no plan ever sees.
    Amend {
        resource: Resource,
        namespace: String,
        name: String,
        resource_version: u64,
        body: Value,
        token: Option<Box<LegacyClaims>>,
    },
    Delete {
        resource: Resource,
        namespace: String,
        name: String,
        options: DeleteOptions,
        report: Report,
    },
    /// Deletes everything of a resource in a namespace.
    DeleteCollection {
        resource: Resource,
        namespace: String,
        options: DeleteOptions,
    },
    Event(Box<Event>),
}

/// Events about an action's outcome. In their notes `{name}` stands for the object's name and `{error}` for the failure.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    pub success: Option<Box<Event>>,
    pub failure: Option<Box<Event>>,
}

impl Action {
    pub fn event(event: Event) -> Action {
        Action::Event(Box::new(event))
    }

    pub fn create(resource: Resource, namespace: &str, body: Value) -> Action {
        Action::Create { resource, namespace: namespace.to_owned(), body, report: Report::default() }
    }

    pub fn update(resource: Resource, meta: &Meta, subresource: &'static str, body: Value) -> Action {
        let (namespace, name) = (meta.namespace.clone(), meta.name.clone());
        Action::Update { resource, namespace, name, subresource, body, report: Report::default() }
    }

    /// See [`Action::Amend`].
    pub fn amend(resource: Resource, meta: &Meta, body: Value, token: Option<LegacyClaims>) -> Action {
        let (namespace, name) = (meta.namespace.clone(), meta.name.clone());
        let (resource_version, token) = (meta.resource_version, token.map(Box::new));
        Action::Amend { resource, namespace, name, resource_version, body, token }
    }

    /// A JSON merge patch; an empty `subresource` means the object.
    pub fn merge(resource: Resource, meta: &Meta, subresource: &'static str, body: Value) -> Action {
        Action::patch(resource, meta, subresource, PatchType::Merge, body)
    }

    pub fn patch(resource: Resource, meta: &Meta, subresource: &'static str, patch: PatchType, body: Value) -> Action {
        let (namespace, name) = (meta.namespace.clone(), meta.name.clone());
        Action::Patch { resource, namespace, name, subresource, patch, body, report: Report::default() }
    }

    /// Deletes the object with this uid.
    pub fn delete(resource: Resource, meta: &Meta) -> Action {
        Action::delete_with(resource, meta, DeleteOptions::uid(&meta.uid))
    }

    pub fn delete_with(resource: Resource, meta: &Meta, options: DeleteOptions) -> Action {
        let (namespace, name) = (meta.namespace.clone(), meta.name.clone());
        Action::Delete { resource, namespace, name, options, report: Report::default() }
    }

    /// Sends these events with the outcome.
    pub fn reporting(mut self, success: Option<Event>, failure: Option<Event>) -> Action {
        if let Action::Create { report, .. }
        | Action::Update { report, .. }
        | Action::Patch { report, .. }
        | Action::Delete { report, .. } = &mut self
        {
            *report = Report { success: success.map(Box::new), failure: failure.map(Box::new) };
        }
        self
    }
}

/// A part of a plan; the parts run in order, and the first failure ends the plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    One(Action),
    /// All at once; each is tried whatever becomes of the others.
    Each(Vec<Action>),
    /// A creation so many times, in batches of 1, 2, 4 ...; a failure leaves out the batches that follow.
    Repeat(Action, usize),
}

/// Something to read from the server, because the caches are not sure enough.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// One object's metadata.
    Get(Resource, String, String),
    /// The metadata of what a namespace holds of a resource, the first 500 of it.
    List(Resource, String),
    /// One object, whole.
    Read(Resource, String, String),
    /// What the objects of a resource in a namespace that meet all requirements count for in a quota.
    Usage(Resource, String, Vec<Requirement>),
}

/// What the server said.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The objects found; none for an object that does not exist.
    Found(Vec<Meta>),
    /// The object that was read, if it is there.
    Object(Option<Box<Value>>),
    Usage(ResourceList),
    /// The request failed, with this message.
    Failed(String),
}

pub type Answers = BTreeMap<Query, Answer>;

/// Makes the actions that follow a failure, from its message.
pub type OnFailure = Box<dyn FnOnce(&str) -> Vec<Action> + Send>;

/// What is to be done about an item.
#[derive(Default)]
pub struct Plan {
    /// When not empty, nothing else is done: these are asked, and the item is reconciled again with the answers.
    pub ask: Vec<Query>,
    pub steps: Vec<Step>,
    pub on_failure: Option<OnFailure>,
    pub requeue_after: Option<Duration>,
    /// Treats the item as failed after the steps, with this reason: it is tried again with back-off.
    pub retry: Option<String>,
    /// Comes back in the item's next reconcile as `view.remembered`.
    pub remember: Option<Timestamp>,
}

impl Plan {
    /// Nothing to do.
    pub fn none() -> Plan {
        Plan::default()
    }

    pub fn ask(queries: Vec<Query>) -> Plan {
        Plan { ask: queries, ..Plan::default() }
    }

    pub fn act(&mut self, action: Action) {
        self.steps.push(Step::One(action));
    }

    pub fn each(&mut self, actions: Vec<Action>) {
        if !actions.is_empty() {
            self.steps.push(Step::Each(actions));
        }
    }

    /// Reconciles the item again after a while; of several waits the shortest counts.
    pub fn again_after(&mut self, wait: Duration) {
        self.requeue_after = Some(self.requeue_after.map_or(wait, |known| known.min(wait)));
    }

    /// The actions in order, without their grouping; for tests.
    pub fn actions(&self) -> Vec<&Action> {
        let all = self.steps.iter().flat_map(|step| match step {
            Step::One(action) | Step::Repeat(action, _) => std::slice::from_ref(action),
            Step::Each(actions) => actions.as_slice(),
        });
        all.collect()
    }
}
