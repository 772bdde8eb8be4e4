//! A topic's file.

use super::edit::Path;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Requests about one kind, or one behaviour.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// The collection.
    #[serde(default)]
    pub path: String,
    /// Paths of values that the server is free to choose: only that there is one is compared.
    #[serde(default)]
    pub volatile: Vec<Path>,
    /// Paths below every object of what upstream's controllers set when they come to it, or what differs between the users
    /// who ask: not looked at. In tables, only names are compared then.
    #[serde(default)]
    pub hidden: Vec<Path>,
    /// What exists before.
    #[serde(default)]
    pub setup: Vec<Existing>,
    /// A valid object.
    #[serde(default)]
    pub object: Value,
    /// Ask what is asked about objects of every kind, too.
    #[serde(default)]
    pub standard: bool,
    /// Changes of the object that are carried out before the tables that need it.
    #[serde(default)]
    pub prepare: Vec<Prepare>,
    /// POSTs of the object with changes, dry.
    #[serde(default)]
    pub create: Vec<Change>,
    /// PUTs of the existing object with changes, dry.
    #[serde(default)]
    pub update: Vec<Change>,
    /// The same to its status.
    #[serde(default)]
    pub status: Vec<Change>,
    /// The same to other subresources, by their names.
    #[serde(default)]
    pub subresources: BTreeMap<String, Vec<Change>>,
    /// PATCHes of the existing object, dry.
    #[serde(default)]
    pub patch: Vec<Patch>,
    /// What does not fit the tables, carried out in order.
    #[serde(default)]
    pub requests: Vec<Request>,
}

/// An object that is made first.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Existing {
    /// The collection.
    pub path: String,
    pub body: Value,
}

/// A change of the object, or of a subresource, that is carried out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepare {
    #[serde(default)]
    pub subresource: String,
    set: BTreeMap<Path, Value>,
}

/// A change of the object.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Change {
    #[serde(default)]
    name: String,
    #[serde(default)]
    set: BTreeMap<Path, Value>,
    #[serde(default)]
    remove: Vec<Path>,
    #[serde(default)]
    pub query: String,
    /// `json`, `yaml` or `protobuf`; the answer is wanted in JSON all the same.
    #[serde(default)]
    format: String,
    /// Compare `managedFields` too.
    #[serde(default)]
    pub managed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    #[serde(default)]
    name: String,
    /// `json`, `merge`, `strategic` or `apply`.
    #[serde(rename = "type")]
    form: String,
    #[serde(default)]
    pub subresource: String,
    /// A tree, or the text itself.
    body: Value,
    #[serde(default)]
    pub query: String,
    #[serde(default)]
    pub managed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub name: String,
    pub method: String,
    pub path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A tree, sent as JSON, or the text itself.
    #[serde(default)]
    body: Value,
    /// The body's bytes in base64, instead.
    #[serde(default)]
    base64: String,
    /// Ask again, for a while, as long as the answer has this code: what authorizes follows what is written, soon.
    #[serde(default)]
    pub again_while: Option<u16>,
    #[serde(default)]
    pub managed: bool,
}

impl Topic {
    pub fn parse(text: &str) -> Result<Topic> {
        let topic: Topic = serde_saphyr::from_str(text)?;
        ensure!(!topic.path.is_empty() || topic.create.is_empty() && !topic.needs_object(), "path is missing");
        let mut names = BTreeSet::new();
        let created = topic.create.iter().map(|c| format!("create: {}", c.label()));
        let updated = topic.update.iter().map(|c| format!("update: {}", c.label()));
        let statuses = topic.status.iter().map(|c| format!("status: {}", c.label()));
        let patches = topic.patch.iter().map(|p| format!("patch: {}", p.label()));
        let others = topic
            .subresources
            .iter()
            .flat_map(|(name, changes)| changes.iter().map(move |change| format!("{name}: {}", change.label())));
        let requests = topic.requests.iter().map(|r| format!("requests: {}", r.name));
        for name in created.chain(updated).chain(statuses).chain(others).chain(patches).chain(requests) {
            ensure!(names.insert(name.clone()), "two cases are called {name:?}; give one a name");
        }
        Ok(topic)
    }

    /// Whether the object has to exist.
    pub fn needs_object(&self) -> bool {
        self.standard
            || !(self.update.is_empty()
                && self.status.is_empty()
                && self.patch.is_empty()
                && self.subresources.is_empty())
    }

    pub fn object_path(&self) -> String {
        object_path(&self.path, &self.object)
    }
}

fn object_path(collection: &str, object: &Value) -> String {
    format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap_or_default())
}

impl Existing {
    pub fn object_path(&self) -> String {
        object_path(&self.path, &self.body)
    }
}

impl Prepare {
    pub fn apply(&self, object: &Value) -> Result<Value> {
        let mut object = object.clone();
        for (path, value) in &self.set {
            path.set(&mut object, value.clone()).with_context(|| format!("set {path}"))?;
        }
        Ok(object)
    }
}

impl Change {
    /// Whether this is the object as it is.
    pub fn is_empty(&self) -> bool {
        self.label().is_empty()
    }

    /// The name, or what is changed.
    pub fn label(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let set = self.set.iter().map(|(path, value)| format!("{path}={value}"));
        let removed = self.remove.iter().map(|path| format!("no {path}"));
        let rest = [&self.query, &self.format].into_iter().filter(|text| !text.is_empty()).cloned();
        let managed = self.managed.then(|| "managed".to_owned());
        set.chain(removed).chain(rest).chain(managed).collect::<Vec<_>>().join(", ")
    }

    /// What it sets, and where.
    pub fn said(&self) -> String {
        self.set.iter().map(|(path, value)| format!("{path}: {value}\n")).collect()
    }

    pub fn touches(&self, path: &str) -> bool {
        self.set.keys().chain(&self.remove).any(|changed| changed.to_string() == path)
    }

    pub fn apply(&self, object: &Value) -> Result<Value> {
        let mut object = object.clone();
        for path in &self.remove {
            path.remove(&mut object);
        }
        for (path, value) in &self.set {
            path.set(&mut object, value.clone()).with_context(|| format!("set {path}"))?;
        }
        Ok(object)
    }

    /// The content type and the body.
    pub fn encode(&self, body: &Value) -> Result<(&'static str, Vec<u8>)> {
        match self.format.as_str() {
            "" | "json" => Ok(("application/json", body.to_string().into_bytes())),
            "yaml" => Ok(("application/yaml", serde_saphyr::to_string(body)?.into_bytes())),
            "protobuf" => {
                let bytes = api::codec::protobuf::encode_any(body).context("there is no protobuf of this kind")?;
                Ok(("application/vnd.kubernetes.protobuf", bytes))
            }
            other => bail!("{other:?} is no format; there are json, yaml and protobuf"),
        }
    }
}

impl Patch {
    pub fn label(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let parts = [self.form.clone(), self.subresource.clone(), self.body.to_string(), self.query.clone()];
        let managed = self.managed.then(|| "managed".to_owned());
        parts.into_iter().filter(|part| !part.is_empty()).chain(managed).collect::<Vec<_>>().join(" ")
    }

    pub fn content_type(&self) -> Result<&'static str> {
        Ok(match self.form.as_str() {
            "json" => "application/json-patch+json",
            "merge" => "application/merge-patch+json",
            "strategic" => "application/strategic-merge-patch+json",
            "apply" => "application/apply-patch+yaml",
            other => bail!("{other:?} is no type of patch; there are json, merge, strategic and apply"),
        })
    }

    pub fn bytes(&self) -> Result<Vec<u8>> {
        Ok(body(&self.body))
    }
}

impl Request {
    pub fn bytes(&self) -> Result<Vec<u8>> {
        if self.base64.is_empty() {
            return Ok(body(&self.body));
        }
        base64::engine::general_purpose::STANDARD.decode(&self.base64).with_context(|| self.name.clone())
    }

    /// What `headers` says, else JSON.
    pub fn content_type(&self) -> &str {
        self.header("content-type").unwrap_or("application/json")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The headers besides the content type.
    pub fn headers(&self) -> Vec<(String, String)> {
        let others = self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        others.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

fn body(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        tree => tree.to_string().into_bytes(),
    }
}
