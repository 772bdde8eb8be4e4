//! The differential suite: tables of requests whose answers were observed on upstream Kubernetes v1.36.
//!
//! A topic is a file `conformance/differential/TOPIC.yaml` with requests, and beside it `expected/TOPIC.json` with what upstream
//! answered. `--record` writes the second from the cluster at hand; without it the answers are compared.

mod compare;
#[cfg(test)]
mod coverage;
mod edit;
pub mod mutate;
mod mutation;
mod normal;
mod record;
mod standard;
mod topic;

use crate::case::{Case, Needs, Run};
use crate::context::{Answer, Context};
use anyhow::{Context as _, Result, bail, ensure};
use http::Method;
use record::{Expected, Observed};
use serde_json::{Map, Value, json};
use standard::Standard;
use std::path::{Path, PathBuf};
use std::time::Duration;
use topic::{Change, Prepare, Request, Topic};

/// Differences that a failing topic prints; the rest is only counted.
const PRINTED: usize = 25;
/// How often a write is tried again when somebody else changed the object in between.
const CONFLICTS: usize = 5;
/// How often a request with `again_while` is sent again.
const AGAIN: usize = 250;

/// One case a topic of the directory, named `differential::TOPIC`.
pub fn cases(directory: &Path) -> Result<Vec<Case>> {
    let files = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut topics: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
    topics.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    topics.sort();
    let case = |path: PathBuf| {
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("a topic's name is not UTF-8")?;
        Ok(Case {
            name: format!("differential::{name}").into(),
            needs: Needs::Apiserver,
            run: Run::Topic(path.clone()),
        })
    };
    topics.into_iter().map(case).collect()
}

/// Runs a topic's requests and compares, or records, the answers.
pub fn run(cx: &Context, file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    let topic =
        Topic::parse(&text.replace("{namespace}", &cx.namespace)).with_context(|| format!("{}", file.display()))?;
    let mut runner = Runner { cx, topic: &topic, observed: Vec::new(), made: Vec::new() };
    let outcome = runner.all();
    runner.clean_up();
    outcome?;
    let (directory, name) = (file.parent().context("no directory")?, file.file_stem().context("no name")?);
    let expected = directory.join("expected").join(name).with_extension("json");
    if cx.settings.record {
        record::write(&expected, &runner.observed)?;
        cx.note(format!("{} answers recorded", runner.observed.len()));
        return Ok(());
    }
    judge(cx, &record::read(&expected)?, &runner.observed)
}

fn judge(cx: &Context, expected: &Expected, observed: &[Observed]) -> Result<()> {
    let mut failures = Vec::new();
    for answer in observed {
        match expected.get(&answer.id) {
            None => failures.push(format!("{}: no answer of upstream's is recorded", answer.id)),
            Some(wanted) => {
                let mut wanted = wanted.clone();
                normal::settle(&mut wanted);
                if let Some(why) = compare::differences(&wanted, &answer.value) {
                    failures.push(format!("{}:\n{why}", answer.id));
                }
            }
        }
    }
    let count = format!("{} passed, {} failed", observed.len() - failures.len(), failures.len());
    if failures.is_empty() {
        cx.note(count);
        return Ok(());
    }
    let shown: Vec<&str> = failures.iter().take(PRINTED).map(String::as_str).collect();
    bail!("{count}\n{}{}", shown.join("\n"), if failures.len() > PRINTED { "\n…" } else { "" })
}

struct Runner<'a> {
    cx: &'a Context<'a>,
    topic: &'a Topic,
    observed: Vec<Observed>,
    /// Paths of objects that were made, in order.
    made: Vec<String>,
}

/// What is sent besides method and path.
#[derive(Default)]
struct Sending<'a> {
    content_type: &'a str,
    headers: &'a [(String, String)],
    body: Vec<u8>,
}

impl Runner<'_> {
    fn all(&mut self) -> Result<()> {
        for item in &self.topic.setup {
            let answer = self.cx.post(&item.path, &item.body)?;
            ensure!(matches!(answer.status, 201 | 409), "setup: {} {}", answer.status, answer.text);
            self.made.push(item.object_path());
        }
        self.creates().context("create")?;
        if self.topic.needs_object() {
            let answer = self.cx.post(&self.topic.path, &self.topic.object)?;
            ensure!(answer.status == 201, "creating the object: {} {}", answer.status, answer.text);
            self.made.push(self.topic.object_path());
            self.topic.prepare.iter().try_for_each(|change| self.prepare(change))?;
            self.updates("update", "", &self.topic.update).context("update")?;
            self.updates("status", "/status", &self.topic.status).context("status")?;
            for (subresource, changes) in &self.topic.subresources {
                self.updates(subresource, &suffix(subresource), changes).with_context(|| subresource.clone())?;
            }
            self.patches().context("patch")?;
        }
        self.topic.requests.iter().try_for_each(|request| self.request(request))?;
        match self.topic.standard {
            true => standard::requests(self.topic).iter().try_for_each(|request| self.standard(request)),
            false => Ok(()),
        }
    }

    fn standard(&mut self, request: &Standard) -> Result<()> {
        let object = self.topic.object_path();
        let live = || Ok(without_managed_fields(self.cx.read(&object)?.json()?));
        let body = standard::bytes(request, &self.topic.object, live).context(request.name)?;
        let content_type = if body.is_empty() { "" } else { request.content_type };
        let headers = [("accept".to_owned(), request.accept.to_owned())];
        let sending = Sending { content_type, headers: &headers, body };
        let answer = self.send(request.method.clone(), &request.path, &sending)?;
        let full = self.normal(&answer, &request.said(), request.managed);
        self.keep("standard", request.name, &Value::Null, full);
        Ok(())
    }

    fn prepare(&self, change: &Prepare) -> Result<()> {
        let object = self.topic.object_path();
        let mut tries = 0;
        let answer = loop {
            let body = change.apply(&self.cx.read(&object)?.json()?)?;
            let body = body.to_string().into();
            let sending = Sending { content_type: "application/json", body, ..Sending::default() };
            let answer = self.send(Method::PUT, &format!("{object}{}", suffix(&change.subresource)), &sending)?;
            tries += 1;
            if answer.status != 409 || tries > CONFLICTS {
                break answer;
            }
        };
        ensure!(answer.status == 200, "preparing the object: {} {}", answer.status, answer.text);
        Ok(())
    }

    fn creates(&mut self) -> Result<()> {
        if self.topic.create.is_empty() {
            return Ok(());
        }
        let path = |change: &Change| query(&self.topic.path, &["dryRun=All", &change.query]);
        let mut base = Value::Null;
        for change in std::iter::once(&Change::default()).chain(&self.topic.create) {
            let body = change.apply(&self.topic.object).with_context(|| change.label())?;
            let (content_type, bytes) = change.encode(&body)?;
            let sending = Sending { content_type, body: bytes, ..Sending::default() };
            let answer = self.send(Method::POST, &path(change), &sending)?;
            let full = self.normal(&answer, &change.said(), change.managed);
            self.keep("create", &change.label(), &base, full.clone());
            if change.is_empty() {
                base = full;
            }
        }
        Ok(())
    }

    fn updates(&mut self, table: &str, subresource: &str, changes: &[Change]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let object = self.topic.object_path();
        let mut base = Value::Null;
        for change in std::iter::once(&Change::default()).chain(changes) {
            let path = query(&format!("{object}{subresource}"), &["dryRun=All", &change.query]);
            let mut tries = 0;
            let answer = loop {
                let live = without_managed_fields(self.cx.read(&object)?.json()?);
                let body = change.apply(&live).with_context(|| change.label())?;
                let (content_type, bytes) = change.encode(&body)?;
                let sending = Sending { content_type, body: bytes, ..Sending::default() };
                let answer = self.send(Method::PUT, &path, &sending)?;
                tries += 1;
                let raced = answer.status == 409 && !change.touches("metadata.resourceVersion");
                if !raced || tries > CONFLICTS {
                    break answer;
                }
            };
            let full = self.normal(&answer, &change.said(), change.managed);
            self.keep(table, &change.label(), &base, full.clone());
            if change.is_empty() {
                base = full;
            }
        }
        Ok(())
    }

    fn patches(&mut self) -> Result<()> {
        let object = self.topic.object_path();
        for patch in &self.topic.patch {
            let base = self.cx.read(&object)?;
            let sending = Sending { content_type: patch.content_type()?, body: patch.bytes()?, ..Sending::default() };
            let path = query(&format!("{object}{}", suffix(&patch.subresource)), &["dryRun=All", &patch.query]);
            let answer = self.send(Method::PATCH, &path, &sending)?;
            let said = String::from_utf8_lossy(&sending.body);
            let base = self.normal(&base, &said, patch.managed);
            let full = self.normal(&answer, &said, patch.managed);
            self.keep("patch", &patch.label(), &base, full);
        }
        Ok(())
    }

    fn request(&mut self, request: &Request) -> Result<()> {
        let method: Method = request.method.parse().with_context(|| request.name.clone())?;
        let body = request.bytes()?;
        let content_type = if body.is_empty() { "" } else { request.content_type() };
        let sending = Sending { content_type, headers: &request.headers(), body };
        let mut answer = self.send(method.clone(), &request.path, &sending)?;
        for _ in 0..AGAIN {
            if request.again_while != Some(answer.status) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            answer = self.send(method.clone(), &request.path, &sending)?;
        }
        if method == Method::POST
            && answer.status == 201
            && let Some(name) = answer.json().ok().and_then(|made| made["metadata"]["name"].as_str().map(str::to_owned))
        {
            let collection = request.path.split('?').next().unwrap_or_default();
            self.made.push(format!("{collection}/{name}"));
        }
        let said = String::from_utf8_lossy(&sending.body);
        let full = self.normal(&answer, &said, request.managed);
        self.keep("requests", &request.name, &Value::Null, full);
        Ok(())
    }

    fn send(&self, method: Method, path: &str, sending: &Sending) -> Result<Answer> {
        let mut headers: Vec<(&str, &str)> =
            sending.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if !sending.content_type.is_empty() {
            headers.push(("content-type", sending.content_type));
        }
        self.cx.raw(method, path, &headers, sending.body.clone())
    }

    /// `said` is what the case itself has: what is in it, or in the topic's object, is no choice of the server's.
    fn normal(&self, answer: &Answer, said: &str, managed: bool) -> Value {
        let said = format!("{said}{}", self.topic.object);
        normal::answer(answer, &said, &self.cx.namespace, self.topic, managed)
    }

    /// Keeps an answer: as it is, or as what differs from another one of the same shape.
    fn keep(&mut self, table: &str, label: &str, base: &Value, full: Value) {
        let both_succeeded = base["code"].as_u64().is_some_and(|code| code < 300)
            && full["code"].as_u64().is_some_and(|code| code < 300);
        let value = if both_succeeded {
            let mut short: Map<String, Value> = full.as_object().cloned().unwrap_or_default();
            short.insert("diff".to_owned(), edit::diff(&base["body"], &full["body"]).unwrap_or(json!({})));
            short.remove("body");
            Value::Object(short)
        } else {
            full
        };
        let label = label.replace(&self.cx.namespace, "{namespace}");
        self.observed.push(Observed { id: format!("{table}: {label}"), value });
    }

    fn clean_up(&self) {
        for path in self.made.iter().rev() {
            let _ = self.cx.raw(Method::DELETE, &query(path, &["gracePeriodSeconds=0"]), &[], "");
        }
    }
}

fn without_managed_fields(mut object: Value) -> Value {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    object
}

/// A path with the parameters that are not empty.
fn query(path: &str, parameters: &[&str]) -> String {
    let mut text = path.to_owned();
    for parameter in parameters.iter().filter(|parameter| !parameter.is_empty()) {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(parameter);
    }
    text
}

/// What a subresource adds to an object's path.
fn suffix(subresource: &str) -> String {
    if subresource.is_empty() { String::new() } else { format!("/{subresource}") }
}
