//! Carries plans out: requests, events about them, and which revisions the caches must have seen afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::document;
use api::patch::merge::merge;
use api::quota::{Evaluator, Requirement};
use api::resource_list::{self, ResourceList};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::client::{self, Client, ListOptions};
use component::events::{Event, Recorder};
use component::{Meta, PartialObject, Resource};
use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use pki::{LegacyClaims, ServiceAccountKeys};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::plan::{Action, Answer, Answers, Query, Report, Step};

/// Requests under way at once for one plan.
const CONCURRENCY: usize = 32;
/// Objects a live list reads.
const LISTED: u32 = 500;
/// Objects of a page that are counted whole.
const COUNTED: u32 = 100;

/// What was written, so that the next reconcile can wait for it.
#[derive(Default)]
pub struct Writes {
    pub revisions: BTreeMap<Resource, u64>,
    /// Objects whose deletion was accepted.
    pub deleted: Vec<(Resource, String, String)>,
}

impl Writes {
    fn wrote(&mut self, resource: Resource, revision: u64) {
        let known = self.revisions.entry(resource).or_default();
        *known = revision.max(*known);
    }
}

pub struct Executor {
    pub client: Client,
    pub recorder: Recorder,
    /// Signs tokens of service accounts.
    pub keys: Option<Arc<ServiceAccountKeys>>,
}

/// An action's effect on the caches.
enum Effect {
    None,
    Wrote(Resource, u64),
    Deleted(Resource, String, String),
}

impl Executor {
    /// Asks the server; a failure is an answer too.
    pub async fn ask(&self, queries: Vec<Query>) -> Answers {
        let answers = stream::iter(queries).map(|query| async move {
            let found = match &query {
                Query::Get(resource, namespace, name) => {
                    let found = there(self.client.get_metadata(*resource, namespace, name).await);
                    found.map(|object| Answer::Found(object.into_iter().map(|object| object.metadata).collect()))
                }
                Query::Read(resource, namespace, name) => {
                    there(self.client.get(*resource, namespace, name).await).map(Answer::Object)
                }
                Query::Usage(resource, namespace, requirements) => {
                    self.usage(*resource, namespace, requirements).await.map(Answer::Usage)
                }
                Query::List(resource, namespace) => {
                    let options = ListOptions { limit: LISTED, metadata_only: true, ..ListOptions::default() };
                    // A resource that is not served holds nothing.
                    let page = there(self.client.list::<PartialObject>(*resource, namespace, &options).await);
                    let items = page.map(|page| page.map(|page| page.items).unwrap_or_default());
                    items.map(|items| Answer::Found(items.into_iter().map(|o| o.metadata).collect()))
                }
            };
            let answer = found.unwrap_or_else(|error| Answer::Failed(message(&error)));
            (query, answer)
        });
        answers.buffer_unordered(CONCURRENCY).collect().await
    }

    /// Adds up what the objects of a namespace count for, page by page.
    async fn usage(
        &self,
        resource: Resource,
        namespace: &str,
        requirements: &[Requirement],
    ) -> client::Result<ResourceList> {
        let mut total = ResourceList::new();
        let Some(evaluator) = Evaluator::of(resource.group, resource.plural) else { return Ok(total) };
        if evaluator.is_count() {
            // Such objects meet no requirement. The first one and how many there are besides is all.
            let options = ListOptions { limit: 1, metadata_only: true, ..ListOptions::default() };
            if requirements.is_empty()
                && let Some(page) = there(self.client.list::<IgnoredAny>(resource, namespace, &options).await)?
            {
                let remaining = i64::try_from(page.remaining).unwrap_or(i64::MAX);
                total = evaluator.usage_of(remaining.saturating_add(i64::from(!page.items.is_empty())));
            }
            return Ok(total);
        }
        let mut options = ListOptions { limit: COUNTED, ..ListOptions::default() };
        loop {
            let page = self.client.list::<Value>(resource, namespace, &options).await?;
            let now = Timestamp::now();
            for object in page.items.iter().filter(|object| evaluator.meets(requirements, object)) {
                resource_list::add(&mut total, &evaluator.usage(object, now));
            }
            options.continue_token = page.continue_token;
            if options.continue_token.is_empty() {
                return Ok(total);
            }
        }
    }

    /// Runs the steps until one fails; gives that failure's message.
    pub async fn run(&self, steps: Vec<Step>, writes: &mut Writes) -> Result<(), String> {
        for step in steps {
            match step {
                Step::One(action) => self.all(vec![action], writes).await?,
                Step::Each(actions) => self.all(actions, writes).await?,
                Step::Repeat(action, mut left) => {
                    let mut batch = 1;
                    while left > 0 {
                        batch = left.min(batch);
                        self.all(vec![action.clone(); batch], writes).await?;
                        left -= batch;
                        batch *= 2;
                    }
                }
            }
        }
        Ok(())
    }

    async fn all(&self, actions: Vec<Action>, writes: &mut Writes) -> Result<(), String> {
        let mut outcomes = stream::iter(actions).map(|action| self.one(action)).buffer_unordered(CONCURRENCY);
        let mut first = Ok(());
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(Effect::None) => {}
                Ok(Effect::Wrote(resource, revision)) => writes.wrote(resource, revision),
                Ok(Effect::Deleted(resource, namespace, name)) => writes.deleted.push((resource, namespace, name)),
                Err(failure) if first.is_ok() => first = Err(failure),
                Err(_) => {}
            }
        }
        first
    }

    async fn one(&self, action: Action) -> Result<Effect, String> {
        let (report, outcome) = self.send(action).await;
        let (event, name, failure) = match &outcome {
            Ok((_, name)) => (report.success, name.as_str(), String::new()),
            Err(error) => (report.failure, "", message(error)),
        };
        if let Some(event) = event {
            let note = event.note.replace("{name}", name).replace("{error}", &failure);
            self.recorder.event(Event { note, ..*event });
        }
        match outcome {
            Ok((effect, _)) => Ok(effect),
            Err(_) => Err(failure),
        }
    }

    /// Replaces an object as it was read: with a merge patch applied and, where claims are given, their token in its data.
    async fn amend(
        &self,
        resource: Resource,
        mut object: Value,
        body: Value,
        token: Option<Box<LegacyClaims>>,
    ) -> client::Result<(Effect, String)> {
        merge(&mut object, body);
        if let Some(claims) = token {
            let keys =
                self.keys.as_ref().ok_or_else(|| client::Error::Service("there is no key to sign with".into()))?;
            let token = keys.sign(&claims).map_err(|error| client::Error::Service(error.into()))?;
            document::set(&mut object, "data.token", STANDARD.encode(token));
        }
        let (namespace, name) = (document::namespace(&object), document::name(&object));
        let written = self.client.update::<Written>(resource, namespace, name, "", &object).await;
        written.map(|written| written.effect(resource))
    }

    /// Sends a request; gives its effect and the object's name.
    async fn send(&self, action: Action) -> (Report, client::Result<(Effect, String)>) {
        match action {
            Action::Event(event) => {
                self.recorder.event(*event);
                (Report::default(), Ok((Effect::None, String::new())))
            }
            Action::Create { resource, namespace, body, mut report } => {
                let created = match self.client.create::<Written>(resource, &namespace, &body).await {
                    Ok(written) => Ok(written.effect(resource)),
                    // Nothing can be made there any more, and nothing needs to be.
                    Err(error) if client::is_namespace_terminating(&error) => {
                        report = Report::default();
                        Ok((Effect::None, String::new()))
                    }
                    Err(error) => Err(error),
                };
                (report, created)
            }
            Action::Update { resource, namespace, name, subresource, body, report } => {
                let written = self.client.update::<Written>(resource, &namespace, &name, subresource, &body).await;
                (report, written.map(|written| written.effect(resource)))
            }
            Action::Patch { resource, namespace, name, subresource, patch, body, report } => {
                match self.client.patch::<Written>(resource, &namespace, &name, subresource, patch, &body).await {
                    Err(error) if client::is_not_found(&error) => (Report::default(), Ok((Effect::None, name))),
                    outcome => (report, outcome.map(|written| written.effect(resource))),
                }
            }
            Action::Amend { resource, namespace, name, resource_version, body, token } => {
                let amended = match there(self.client.get::<Value>(resource, &namespace, &name).await) {
                    Ok(Some(object)) if document::resource_version(&object) == resource_version.to_string() => {
                        self.amend(resource, object, body, token).await
                    }
                    // It is gone, or a newer version comes through the watch and is looked at then.
                    Ok(_) => Ok((Effect::None, name)),
                    Err(error) => Err(error),
                };
                (Report::default(), amended)
            }
            Action::Delete { resource, namespace, name, options, report } => {
                match self.client.delete(resource, &namespace, &name, &options).await {
                    Err(error) if client::is_not_found(&error) => (Report::default(), Ok((Effect::None, name))),
                    outcome => (report, outcome.map(|_| (Effect::Deleted(resource, namespace, name.clone()), name))),
                }
            }
            Action::DeleteCollection { resource, namespace, options } => {
                let outcome = self.client.delete_collection(resource, &namespace, &options).await;
                (Report::default(), outcome.map(|_: IgnoredAny| (Effect::None, String::new())))
            }
        }
    }
}

/// As much of an answer as is needed.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    metadata: Meta,
}

impl Written {
    fn effect(self, resource: Resource) -> (Effect, String) {
        (Effect::Wrote(resource, self.metadata.resource_version), self.metadata.name)
    }
}

/// What was found, or nothing where it is not there.
fn there<T>(outcome: client::Result<T>) -> client::Result<Option<T>> {
    match outcome {
        Err(error) if client::is_not_found(&error) => Ok(None),
        other => other.map(Some),
    }
}

fn message(error: &component::Error) -> String {
    client::status(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}
