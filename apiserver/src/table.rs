//! `meta.k8s.io` Tables: what a client asks for with `as=Table`, as kubectl does.

use crate::columns::{self, Column, Printer};
use crate::kinds;
use api::{Map, Value, document};
use jiff::Timestamp;
use serde_json::json;

/// What a row carries besides its cells; the `includeObject` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// From the query parameter; the error is the message of the 400.
    pub fn parse(text: &str) -> Result<IncludeObject, String> {
        match text {
            "" | "Metadata" => Ok(IncludeObject::Metadata),
            "None" => Ok(IncludeObject::None),
            "Object" => Ok(IncludeObject::Object),
            other => Err(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {}: \
                 must be 'Metadata', 'Object', 'None', or empty",
                api::field::quote(other)
            )),
        }
    }
}

/// How a table is made.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// `meta.k8s.io/v1` or `meta.k8s.io/v1beta1`, as the client asked.
    pub api_version: &'a str,
    pub include: IncludeObject,
    /// Leaves the column definitions out, as every event of a watch but the first does.
    pub no_headers: bool,
    pub now: Timestamp,
}

/// The table of some objects of a group and kind. `list_meta` is the list's metadata, or for a single object (a GET, a watch
/// event) an object with its resource version.
pub fn table(
    (group, kind): (&str, &str),
    objects: impl IntoIterator<Item = Value>,
    list_meta: Value,
    options: &Options,
) -> Value {
    let printer = columns::printer_of(group, kind);
    let mut objects: Vec<Value> = objects.into_iter().collect();
    if kind == "FlowSchema" {
        // In the order in which they match.
        let precedence = |o: &Value| (document::get_i64(o, "spec.matchingPrecedence"), document::name(o).to_owned());
        objects.sort_by_cached_key(precedence);
    }
    let rows = objects.into_iter().map(|object| row(printer, object, options)).collect();
    assemble(printer.columns.iter().map(definition).collect(), rows, list_meta, options)
}

/// A table from rows that were made elsewhere: a custom resource's, whose definition names the columns.
pub fn assemble(definitions: Vec<Value>, rows: Vec<Value>, list_meta: Value, options: &Options) -> Value {
    let definitions = if options.no_headers { Value::Null } else { Value::Array(definitions) };
    json!({
        "kind": "Table", "apiVersion": options.api_version, "metadata": list_meta,
        "columnDefinitions": definitions, "rows": rows,
    })
}

/// One object's row; takes the object, for most of it may go into the answer.
pub fn row(printer: &Printer, object: Value, options: &Options) -> Value {
    let cells = (printer.cells)(&object, options.now);
    let conditions = conditions(&object);
    assemble_row(cells, conditions, object, options)
}

/// A row of these cells.
pub fn assemble_row(cells: Vec<Value>, conditions: Option<Value>, object: Value, options: &Options) -> Value {
    let mut row = Map::new();
    row.insert("cells".to_owned(), Value::Array(cells));
    row.extend(conditions.map(|c| ("conditions".to_owned(), c)));
    match options.include {
        IncludeObject::None => {
            row.insert("object".to_owned(), Value::Null);
        }
        IncludeObject::Metadata => {
            row.insert("object".to_owned(), partial_metadata(object, options.api_version));
        }
        IncludeObject::Object => {
            row.insert("object".to_owned(), object);
        }
    }
    Value::Object(row)
}

/// An object's `PartialObjectMetadata` in this version of `meta.k8s.io`.
pub fn partial_metadata(mut object: Value, api_version: &str) -> Value {
    let (group, _) = document::group_version(&object);
    let hidden = kinds::rules(group, document::get_str(&object, "kind")).version_annotations();
    document::drop_annotations(&mut object, hidden);
    let metadata = object.get_mut("metadata").map_or_else(|| json!({}), Value::take);
    json!({ "kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": metadata })
}

/// A column as the client reads it.
pub fn definition(column: &Column) -> Value {
    json!({
        "name": column.name, "type": column.kind, "format": column.format,
        "description": column.description, "priority": column.priority,
    })
}

/// The conditions of an object's row: of a pod that is done, which lets clients hide it.
pub fn conditions(object: &Value) -> Option<Value> {
    if document::get_str(object, "kind") != "Pod" {
        return None;
    }
    let phase = document::get_str(object, "status.phase");
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!([{ "type": "Completed", "status": "True", "reason": phase, "message": message }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_carries_metadata_and_completion() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {}, "status": {"phase": "Succeeded"}});
        let mut options = Options {
            api_version: "meta.k8s.io/v1",
            include: IncludeObject::Metadata,
            no_headers: false,
            now: Timestamp::UNIX_EPOCH,
        };
        let got = table(("", "Pod"), [pod.clone()], json!({"resourceVersion": "7"}), &options);
        assert_eq!(got["columnDefinitions"][0]["format"], "name");
        assert_eq!(got["rows"][0]["conditions"][0]["reason"], "Succeeded");
        assert_eq!(
            got["rows"][0]["object"],
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}})
        );
        options.include = IncludeObject::None;
        options.no_headers = true;
        let got = table(("", "Pod"), [pod], json!({}), &options);
        assert!(got["columnDefinitions"].is_null() && got["rows"][0]["object"].is_null());
    }
}
