//! What is asked about an object of every kind: each verb in each format, what is refused, and each type of patch. A topic with
//! `standard: true` has these requests besides its own.

use super::edit::Path;
use super::topic::Topic;
use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const METADATA_PROTOBUF: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// A request about a topic's object.
pub struct Standard {
    pub name: &'static str,
    pub method: Method,
    pub path: String,
    pub accept: &'static str,
    pub content_type: &'static str,
    pub body: Body,
    /// Compare `managedFields` too.
    pub managed: bool,
}

pub enum Body {
    None,
    /// The topic's object, changed so.
    Object(Vec<(&'static str, Value)>),
    /// What is stored, changed so.
    Live(Vec<(&'static str, Value)>),
    Text(String),
}

/// A row of the table: its path is what follows the collection's, where `{name}` is the object's.
struct Row {
    name: &'static str,
    method: Method,
    path: &'static str,
    accept: &'static str,
    body: Body,
}

impl Row {
    fn get(name: &'static str, path: &'static str, accept: &'static str) -> Row {
        Row { name, method: Method::GET, path, accept, body: Body::None }
    }

    fn create(name: &'static str, query: &'static str, changes: Vec<(&'static str, Value)>) -> Row {
        Row { name, method: Method::POST, path: query, accept: JSON, body: Body::Object(changes) }
    }

    fn update(name: &'static str, query: &'static str, changes: Vec<(&'static str, Value)>) -> Row {
        Row { name, method: Method::PUT, path: query, accept: JSON, body: Body::Live(changes) }
    }

    fn delete(name: &'static str, query: &'static str, options: Value) -> Row {
        let body = if options.is_null() { Body::None } else { Body::Text(options.to_string()) };
        Row { name, method: Method::DELETE, path: query, accept: JSON, body }
    }
}

/// The requests, in their order; the last ones delete the object.
pub fn requests(topic: &Topic) -> Vec<Standard> {
    let name = topic.object["metadata"]["name"].as_str().unwrap_or_default();
    let reads = reads().into_iter().map(|row| (row, JSON));
    let writes = writes().into_iter().map(|row| (row, JSON));
    let rows = reads.chain(writes).chain(patches(topic)).chain(deletes().into_iter().map(|row| (row, JSON)));
    rows.map(|(row, content_type)| Standard {
        name: row.name,
        managed: matches!(row.method, Method::PUT | Method::PATCH | Method::POST),
        path: format!("{}{}", topic.path, row.path.replace("{name}", name)),
        content_type: if row.name.ends_with("in protobuf") && row.method != Method::GET {
            PROTOBUF
        } else {
            content_type
        },
        method: row.method,
        accept: row.accept,
        body: row.body,
    })
    .collect()
}

fn reads() -> Vec<Row> {
    const WATCH: &str = "?watch=true&resourceVersion=0&timeoutSeconds=1&fieldSelector=metadata.name%3D{name}";
    const LIST: &str = "?fieldSelector=metadata.name%3D{name}";
    vec![
        Row::get("get", "/{name}", JSON),
        Row::get("get in protobuf", "/{name}", PROTOBUF),
        Row::get("get as a table", "/{name}", TABLE),
        Row::get("get as metadata", "/{name}", METADATA),
        Row::get("get as metadata in protobuf", "/{name}", METADATA_PROTOBUF),
        Row::get("get as metadata of a list", "/{name}", METADATA_LIST),
        Row::get("get another", "/another-{name}", JSON),
        Row::get("get a subresource that there is not", "/{name}/nothing", JSON),
        Row::get("get at a version to come", "/{name}?resourceVersion=x", JSON),
        Row::get("list", LIST, JSON),
        Row::get("list in protobuf", LIST, PROTOBUF),
        Row::get("list as a table", LIST, TABLE),
        Row::get("list as metadata", LIST, METADATA_LIST),
        Row::get("list by an unknown field", "?fieldSelector=spec.nothing%3Da", JSON),
        Row::get("list nothing", "?labelSelector=nothing%3Dhere", JSON),
        Row::get("list with a bad limit", "?limit=x", JSON),
        Row::get("watch", WATCH, JSON),
        Row::get("watch in protobuf", WATCH, PROTOBUF),
        Row::get("watch as a table", WATCH, TABLE),
        Row::get("watch as metadata in protobuf", WATCH, METADATA_PROTOBUF),
        Row { method: Method::HEAD, ..Row::get("head", "/{name}", JSON) },
        Row { method: Method::OPTIONS, ..Row::get("options", "/{name}", JSON) },
        Row { method: Method::POST, ..Row::get("create of a name", "/{name}", JSON) },
        Row { method: Method::PUT, ..Row::get("update of the collection", "", JSON) },
        Row { method: Method::PATCH, ..Row::get("patch of the collection", "", JSON) },
    ]
}

fn writes() -> Vec<Row> {
    let named = |name: &str| ("metadata.name", Value::from(name));
    vec![
        Row::create("create again", "", vec![]),
        Row::create("create", "?dryRun=All", vec![named("standard")]),
        Row::create("create in protobuf", "?dryRun=All", vec![named("standard")]),
        Row::create("create by a manager", "?dryRun=All&fieldManager=m", vec![named("standard")]),
        Row::create("create by a bad manager", "?dryRun=All&fieldManager=%01", vec![named("standard")]),
        Row::create("create without a name", "?dryRun=All", vec![named("")]),
        Row::create("create in a dry run of something", "?dryRun=Some", vec![named("standard")]),
        Row::create("create of a version", "", vec![named("standard"), ("metadata.resourceVersion", "1".into())]),
        Row::create("create of another kind", "?dryRun=All", vec![("kind", "Nothing".into())]),
        Row::create("create of another version of the API", "?dryRun=All", vec![("apiVersion", "v9".into())]),
        Row::create("create with an unknown field", "?dryRun=All", vec![named("standard"), ("colour", "blue".into())]),
        Row::create(
            "create with an unknown field, strictly",
            "?dryRun=All&fieldValidation=Strict",
            vec![named("standard"), ("colour", "blue".into()), ("metadata.colour", "blue".into())],
        ),
        Row::create(
            "create with a bad label",
            "?dryRun=All",
            vec![
                named("standard"),
                ("metadata.labels", json!({"a b": "c d"})),
                ("metadata.annotations", json!({"a b": ""})),
            ],
        ),
        Row::create(
            "create with an owner",
            "?dryRun=All",
            vec![named("standard"), ("metadata.ownerReferences", json!([{}]))],
        ),
        Row { body: Body::Text("{".to_owned()), ..Row::create("create of no JSON", "", vec![]) },
        Row { body: Body::Text("[]".to_owned()), ..Row::create("create of a list", "", vec![]) },
        Row { body: Body::Text("{\"metadata\":1}".to_owned()), ..Row::create("create with a number", "", vec![]) },
        Row::update("update that changes nothing", "/{name}", vec![]),
        Row::update("update", "/{name}?dryRun=All", vec![("metadata.labels", json!({"standard": "a"}))]),
        Row::update(
            "update in protobuf",
            "/{name}?dryRun=All",
            vec![("metadata.annotations", json!({"standard": "a"}))],
        ),
        Row::update("update of an old version", "/{name}", vec![("metadata.resourceVersion", "1".into())]),
        Row::update("update of no version", "/{name}?dryRun=All", vec![("metadata.resourceVersion", "".into())]),
        Row::update("update of a bad version", "/{name}", vec![("metadata.resourceVersion", "x".into())]),
        Row::update("update of another uid", "/{name}", vec![("metadata.uid", "other".into())]),
        Row::update("update of another name", "/{name}", vec![named("other")]),
        Row::update("update of another one", "/another-{name}?dryRun=All", vec![]),
        Row::update(
            "update of the time",
            "/{name}?dryRun=All",
            vec![("metadata.creationTimestamp", "2020-01-01T00:00:00Z".into())],
        ),
        Row::update(
            "update with bad labels",
            "/{name}?dryRun=All",
            vec![("metadata.labels", json!({"a b": "c"})), ("metadata.finalizers", json!(["a"]))],
        ),
        Row::update("update with a finalizer", "/{name}?dryRun=All", vec![("metadata.finalizers", json!(["a"]))]),
    ]
}

/// What every patch changes: a label.
fn patches(topic: &Topic) -> Vec<(Row, &'static str)> {
    let text = |key: &str| topic.object[key].as_str().unwrap_or_default();
    let applied = |rest: Value| {
        let mut object = json!({"apiVersion": text("apiVersion"), "kind": text("kind"), "metadata": {"name": topic.object["metadata"]["name"]}});
        if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
            for (key, value) in rest {
                match object.get_mut(&key).and_then(Value::as_object_mut) {
                    Some(known) => known.extend(value.as_object().cloned().unwrap_or_default()),
                    None => drop(object.insert(key, value)),
                }
            }
        }
        object.to_string()
    };
    let label = json!({"metadata": {"labels": {"standard": "a"}}});
    const STRICT: &str = "/{name}?dryRun=All&fieldValidation=Strict";
    let rows = [
        (
            "JSON patch",
            "json",
            "/{name}?dryRun=All",
            json!([{"op": "add", "path": "/metadata/labels", "value": {"standard": "a"}}]).to_string(),
        ),
        (
            "JSON patch of nothing",
            "json",
            "/{name}?dryRun=All",
            json!([{"op": "remove", "path": "/nothing"}]).to_string(),
        ),
        (
            "JSON patch that tests",
            "json",
            "/{name}?dryRun=All",
            json!([{"op": "test", "path": "/metadata/name", "value": "other"}]).to_string(),
        ),
        ("JSON patch that is none", "json", "/{name}", json!({"op": "add"}).to_string()),
        ("merge patch", "merge", "/{name}?dryRun=All&fieldManager=m", label.to_string()),
        ("merge patch of the name", "merge", "/{name}", json!({"metadata": {"name": "other"}}).to_string()),
        (
            "merge patch of an old version",
            "merge",
            "/{name}",
            json!({"metadata": {"resourceVersion": "1"}}).to_string(),
        ),
        ("merge patch with an unknown field, strictly", "merge", STRICT, json!({"colour": "blue"}).to_string()),
        ("merge patch that is none", "merge", "/{name}", "[]".to_owned()),
        ("merge patch of another one", "merge", "/another-{name}", label.to_string()),
        ("strategic merge patch", "strategic-merge", "/{name}?dryRun=All", label.to_string()),
        (
            "strategic merge patch of all labels",
            "strategic-merge",
            "/{name}?dryRun=All",
            json!({"metadata": {"labels": {"$patch": "replace", "standard": "a"}}}).to_string(),
        ),
        (
            "strategic merge patch with an unknown directive",
            "strategic-merge",
            "/{name}",
            json!({"metadata": {"$patch": "mix"}}).to_string(),
        ),
        (
            "strategic merge patch with an unknown field, strictly",
            "strategic-merge",
            STRICT,
            json!({"colour": "blue"}).to_string(),
        ),
        ("apply", "apply", "/{name}?dryRun=All&fieldManager=m", applied(label.clone())),
        ("apply by nobody", "apply", "/{name}?dryRun=All", applied(label.clone())),
        ("apply of another name", "apply", "/another-{name}?fieldManager=m", applied(label.clone())),
        (
            "apply of a version",
            "apply",
            "/{name}?fieldManager=m",
            applied(json!({"metadata": {"resourceVersion": "1"}})),
        ),
        (
            "apply with managed fields",
            "apply",
            "/{name}?fieldManager=m",
            applied(json!({"metadata": {"managedFields": [{}]}})),
        ),
        (
            "apply with an unknown field",
            "apply",
            "/{name}?dryRun=All&fieldManager=m",
            applied(json!({"colour": "blue"})),
        ),
        ("apply that is none", "apply", "/{name}?fieldManager=m", "a: [".to_owned()),
    ];
    let row = |(name, form, path, body)| {
        let content_type = match form {
            "json" => "application/json-patch+json",
            "merge" => "application/merge-patch+json",
            "apply" => "application/apply-patch+yaml",
            _ => "application/strategic-merge-patch+json",
        };
        (Row { name, method: Method::PATCH, path, accept: JSON, body: Body::Text(body) }, content_type)
    };
    rows.into_iter().map(row).collect()
}

fn deletes() -> Vec<Row> {
    vec![
        Row::delete("delete another", "/another-{name}", Value::Null),
        Row::delete("delete of another uid", "/{name}", json!({"preconditions": {"uid": "other"}})),
        Row::delete("delete of another version", "/{name}", json!({"preconditions": {"resourceVersion": "1"}})),
        Row::delete("delete with a bad policy", "/{name}", json!({"propagationPolicy": "Sideways"})),
        Row::delete("delete with a number", "/{name}", json!({"propagationPolicy": 1})),
        Row::delete("delete in a dry run", "/{name}?dryRun=All", Value::Null),
        Row::delete(
            "delete a collection in a dry run",
            "?dryRun=All&fieldSelector=metadata.name%3D{name}",
            Value::Null,
        ),
        Row::delete("delete", "/{name}?gracePeriodSeconds=0", Value::Null),
        Row::delete("delete again", "/{name}?gracePeriodSeconds=0", Value::Null),
    ]
}

impl Standard {
    /// What the request has that the server does not choose.
    pub fn said(&self) -> String {
        match &self.body {
            Body::None => String::new(),
            Body::Text(text) => text.clone(),
            Body::Object(changes) | Body::Live(changes) => {
                changes.iter().map(|(path, value)| format!("{path}: {value}\n")).collect()
            }
        }
    }
}

/// The body's bytes; `live` reads what is stored.
pub fn bytes(request: &Standard, object: &Value, live: impl Fn() -> Result<Value>) -> Result<Vec<u8>> {
    let (object, changes) = match &request.body {
        Body::None => return Ok(Vec::new()),
        Body::Text(text) => return Ok(text.clone().into_bytes()),
        Body::Object(changes) => (object.clone(), changes),
        Body::Live(changes) => (live()?, changes),
    };
    let mut object = object;
    for (path, value) in changes {
        let path = Path::try_from((*path).to_owned()).map_err(anyhow::Error::msg)?;
        path.set(&mut object, value.clone())?;
    }
    match request.content_type {
        PROTOBUF => api::codec::protobuf::encode_any(&object).context("there is no protobuf of this kind"),
        _ => Ok(object.to_string().into_bytes()),
    }
}
