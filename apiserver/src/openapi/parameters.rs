//! What requests take in their address.

use super::Dialect;
use api::schema::{Field, FieldType, Schema};
use base64::Engine;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A parameter in a path or a query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameter {
    pub name: &'static str,
    /// `path` or `query`.
    pub place: &'static str,
    /// OpenAPI's name of the type.
    pub ty: &'static str,
    pub about: Cow<'static, str>,
}

pub(super) const PRETTY: Parameter = Parameter {
    name: "pretty",
    place: "query",
    ty: "string",
    about: Cow::Borrowed(
        "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget).",
    ),
};

/// What a path's braces stand for. `kind` is that of the answer.
pub(super) fn of_path(path: &str, kind: &str) -> Vec<Parameter> {
    let known = [
        ("name", format!("name of the {kind}").into()),
        ("namespace", "object name and auth scope, such as for teams and projects".into()),
        ("path", "path to the resource".into()),
    ];
    let there = known.into_iter().filter(|(name, _)| path.contains(&format!("{{{name}}}")));
    there.map(|(name, about)| Parameter { name, place: "path", ty: "string", about }).collect()
}

/// The query parameters that stand for the fields of a built-in type (`io.k8s.api.core.v1.PodLogOptions`).
pub(super) fn options(name: &str) -> Vec<Parameter> {
    let Some(ty) = Schema::builtin().get(name) else { return Vec::new() };
    let description = ty.ty.description();
    let parameter = |field: &'static Field| {
        let Cow::Borrowed(name) = field.name else { return None };
        Some(Parameter { name, place: "query", ty: simple(&field.ty)?, about: description.field(name) })
    };
    ty.ty.fields.iter().filter(|field| !matches!(&*field.name, "apiVersion" | "kind")).filter_map(parameter).collect()
}

/// Only what fits into a query: of a list, one value after another.
fn simple(ty: &FieldType) -> Option<&'static str> {
    match ty {
        FieldType::String => Some("string"),
        FieldType::Int32 | FieldType::Int64 => Some("integer"),
        FieldType::Bool => Some("boolean"),
        FieldType::List(inner) => simple(inner),
        _ => None,
    }
}

impl Parameter {
    fn to_value(&self, dialect: Dialect) -> Value {
        let mut value = match dialect {
            Dialect::V3 => json!({ "schema": { "type": self.ty, "uniqueItems": true } }),
            Dialect::V2 => json!({ "type": self.ty, "uniqueItems": true }),
        };
        value["name"] = self.name.into();
        value["in"] = self.place.into();
        if !self.about.is_empty() {
            value["description"] = (*self.about).into();
        }
        if self.place == "path" {
            value["required"] = true.into();
        }
        value
    }

    /// The parameter where an operation has it. Version 2 writes once what all operations share, and refers to it; not
    /// what depends on the kind, nor what old clients look for in place.
    pub(super) fn place(&self, dialect: Dialect, shared: &mut BTreeMap<String, Value>) -> Value {
        let value = self.to_value(dialect);
        if dialect == Dialect::V3 || matches!(self.name, "name" | "fieldValidation" | "dryRun") {
            return value;
        }
        let text = |text: &str| Value::from(text).to_string();
        let required = if self.place == "path" { r#","required":true"# } else { "" };
        let definition = format!(
            r#"{{"uniqueItems":true,"type":"{}","description":{},"name":"{}","in":"{}"{required}}}"#,
            self.ty,
            text(&self.about),
            self.name,
            self.place
        );
        share(self.name, &definition, value, shared)
    }
}

/// The body as a parameter of version 2.
pub(super) fn body(ty: &str, required: bool, shared: &mut BTreeMap<String, Value>) -> Value {
    let reference = Dialect::V2.reference(ty);
    let mut value = json!({ "in": "body", "name": "body", "schema": { "$ref": reference } });
    if required {
        value["required"] = true.into();
    }
    if !ty.starts_with("io.k8s.apimachinery") {
        return value;
    }
    let must = if required { r#""required":true,"# } else { "" };
    let definition = format!(r#"{{"name":"body","in":"body",{must}"schema":{{"$ref":"{reference}"}}}}"#);
    share("body", &definition, value, shared)
}

/// Keeps a definition that operations share and gives the reference to it. Its name ends with a fingerprint (48 bits of
/// FNV-1) of its text.
fn share(name: &str, definition: &str, value: Value, shared: &mut BTreeMap<String, Value>) -> Value {
    let fold = |hash: u64, byte: u8| hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte);
    let hash = definition.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    let short = base64::engine::general_purpose::URL_SAFE.encode(&hash.to_be_bytes()[..6]);
    let name = format!("{name}-{short}");
    let reference = json!({ "$ref": format!("#/parameters/{name}") });
    shared.entry(name).or_insert(value);
    reference
}
