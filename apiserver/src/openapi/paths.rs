//! The operations of a document, path by path.

use super::Dialect;
use super::operations::Operation;
use super::parameters::{self, Parameter};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Calls `each` with every path and its item, in order. What version 2's items share goes into `shared`.
pub(super) fn each(
    operations: Vec<Operation>,
    dialect: Dialect,
    shared: &mut BTreeMap<String, Value>,
    mut each: impl FnMut(&str, &Value),
) {
    let mut paths: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for mut operation in operations {
        paths.entry(std::mem::take(&mut operation.path)).or_default().push(operation);
    }
    for (path, operations) in paths {
        each(&path, &item(&operations, dialect, shared));
    }
}

fn item(operations: &[Operation], dialect: Dialect, shared: &mut BTreeMap<String, Value>) -> Value {
    let common = common(operations);
    let is_common = |p: &Parameter| common.iter().any(|c| (c.name, c.place) == (p.name, p.place));
    let mut item = Map::new();
    for operation in operations {
        let own = operation.parameters.iter().filter(|p| !is_common(p));
        item.insert(operation.method.to_owned(), render(operation, own, dialect, shared));
    }
    if !common.is_empty() {
        item.insert("parameters".to_owned(), list(common.into_iter(), None, dialect, shared));
    }
    Value::Object(item)
}

/// The parameters that every operation of a path has, as the last one has them.
fn common(operations: &[Operation]) -> Vec<&Parameter> {
    let Some((last, others)) = operations.split_last() else { return Vec::new() };
    let has = |o: &Operation, p: &Parameter| o.parameters.iter().any(|q| (q.name, q.place) == (p.name, p.place));
    last.parameters.iter().filter(|p| others.iter().all(|o| has(o, p))).collect()
}

/// Parameters, and in version 2 the body, by name.
fn list<'p>(
    parameters: impl Iterator<Item = &'p Parameter>,
    body: Option<&(String, bool)>,
    dialect: Dialect,
    shared: &mut BTreeMap<String, Value>,
) -> Value {
    let mut all: Vec<((&str, &str), Value)> =
        parameters.map(|p| ((p.name, p.place), p.place(dialect, shared))).collect();
    if let (Some((ty, required)), Dialect::V2) = (body, dialect) {
        all.push((("body", "body"), parameters::body(ty, *required, shared)));
    }
    all.sort_by_key(|(key, _)| *key);
    all.into_iter().map(|(_, value)| value).collect()
}

fn render<'p>(
    operation: &Operation,
    parameters: impl Iterator<Item = &'p Parameter>,
    dialect: Dialect,
    shared: &mut BTreeMap<String, Value>,
) -> Value {
    let mut value = json!({
        "operationId": operation.id,
        "responses": responses(operation, dialect),
        "tags": [operation.tag],
    });
    if !operation.description.is_empty() {
        value["description"] = operation.description.as_str().into();
    }
    let parameters = list(parameters, operation.body.as_ref(), dialect, shared);
    if parameters.as_array().is_some_and(|p| !p.is_empty()) {
        value["parameters"] = parameters;
    }
    match (dialect, &operation.body) {
        (Dialect::V2, _) => {
            if !operation.consumes.is_empty() {
                value["consumes"] = operation.consumes.into();
            }
            value["produces"] = operation.produces.into();
            value["schemes"] = json!(["https"]);
        }
        (Dialect::V3, Some((ty, required))) => {
            value["requestBody"] = content(operation.consumes, json!({ "$ref": dialect.reference(ty) }));
            if *required {
                value["requestBody"]["required"] = true.into();
            }
        }
        (Dialect::V3, None) => {}
    }
    if !operation.action.is_empty() {
        let (group, version, kind) = operation.gvk;
        value["x-kubernetes-action"] = operation.action.into();
        value["x-kubernetes-group-version-kind"] = json!({ "group": group, "kind": kind, "version": version });
    }
    value
}

fn content(media: &[&str], schema: Value) -> Value {
    let content: Map<String, Value> =
        media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema.clone() }))).collect();
    json!({ "content": content })
}

fn responses(operation: &Operation, dialect: Dialect) -> Value {
    let schema = match &operation.answer {
        Some(ty) => json!({ "$ref": dialect.reference(ty) }),
        None => json!({ "type": "string" }),
    };
    let mut responses = Map::new();
    for (code, description) in operation.codes {
        let mut response = match dialect {
            Dialect::V3 => content(operation.produces, schema.clone()),
            Dialect::V2 => json!({ "schema": schema.clone() }),
        };
        response["description"] = (*description).into();
        responses.insert((*code).to_owned(), response);
    }
    responses.insert("401".to_owned(), json!({ "description": "Unauthorized" }));
    Value::Object(responses)
}
