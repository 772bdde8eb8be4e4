//! OpenAPI documents: pure functions of KINDS and the schema table, made when they are asked for and kept by nobody.
//!
//! Version 3 has one document for each group, each group and version, and each path beside them, and an index of all
//! documents; version 2 (Swagger) has one for everything. kubectl reads them for `explain`, for strategic merge on its
//! side, and to learn whether PATCH takes `fieldValidation`.

mod operations;
mod parameters;
mod paths;
mod protobuf;
mod schemas;
mod serve;
mod writer;

pub use serve::serve;

use api::kinds::KINDS;
use operations::Operation;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use writer::{Section, Writer};

/// Which OpenAPI a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

impl Dialect {
    /// The reference to a type.
    fn reference(self, name: &str) -> String {
        match self {
            Dialect::V2 => format!("#/definitions/{name}"),
            Dialect::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

/// What a document is about.
#[derive(Default)]
struct Scope {
    operations: Vec<Operation>,
    /// The groups and versions.
    versions: Vec<(&'static str, &'static str)>,
}

/// The built-in groups and versions.
fn versions() -> BTreeSet<(&'static str, &'static str)> {
    KINDS.iter().map(|kind| (kind.group, kind.version)).collect()
}

/// `api/v1` or `apis/apps/v1`.
fn version_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The names of the documents of version 3: their paths, without slashes at the ends.
fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (group, version) in versions() {
        let path = version_path(group, version);
        names.extend(path.rsplit_once('/').map(|(group, _)| group.to_owned()));
        names.insert(path);
    }
    names.extend(operations::others().iter().map(|other| other.path.trim_matches('/').to_owned()));
    names
}

/// What the document of this name is about; `None`: there is no such document.
fn scope(name: &str) -> Option<Scope> {
    let parts: Vec<&str> = name.split('/').collect();
    let (group, version) = match parts[..] {
        ["api"] => ("", None),
        ["api", version] => ("", Some(version)),
        ["apis", group] => (group, None),
        ["apis", group, version] => (group, Some(version)),
        _ => {
            let other = operations::others().into_iter().find(|other| other.path.trim_matches('/') == name)?;
            return Some(Scope { operations: vec![other], versions: Vec::new() });
        }
    };
    let kinds =
        KINDS.iter().filter(|kind| kind.group == group && version.is_none_or(|version| kind.version == version));
    let first = kinds.clone().next()?;
    if version.is_none() {
        return Some(Scope { operations: vec![operations::of_group(group)], versions: Vec::new() });
    }
    let mut operations = vec![operations::of_version(first.group, first.version)];
    operations.extend(kinds.flat_map(operations::of_kind));
    let versions = BTreeSet::from([("", "v1"), (first.group, first.version)]).into_iter().collect();
    Some(Scope { operations, versions })
}

/// What the document of version 2 is about.
fn everything() -> Scope {
    let mut operations: Vec<Operation> = operations::others().into();
    operations.extend(
        versions().iter().map(|(group, _)| *group).collect::<BTreeSet<_>>().into_iter().map(operations::of_group),
    );
    operations.extend(versions().iter().map(|(group, version)| operations::of_version(group, version)));
    operations.extend(KINDS.iter().flat_map(operations::of_kind));
    let known = schemas::KNOWN_VERSIONS.iter();
    let versions = known.flat_map(|(group, versions)| versions.iter().map(|version| (*group, *version))).collect();
    Scope { operations, versions }
}

/// Writes a document, a member at a time: no tree of the whole is ever made.
fn write(scope: Scope, dialect: Dialect, writer: &mut impl Writer) {
    let of_operation =
        |o: &Operation| o.body.iter().map(|body| body.0.clone()).chain(o.answer.clone()).collect::<Vec<_>>();
    let types = schemas::reachable(scope.operations.iter().flat_map(of_operation).collect());
    let mut shared = BTreeMap::new();
    paths::each(scope.operations, dialect, &mut shared, |path, item| writer.member(Section::Paths, path, item));
    for name in types {
        writer.member(Section::Definitions, &name, &schemas::definition(&name, &scope.versions, dialect));
    }
    for (name, parameter) in shared {
        writer.member(Section::Parameters, &name, &parameter);
    }
    let token = json!({ "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey" });
    writer.member(Section::Security, "BearerToken", &token);
}

fn info() -> Value {
    json!({ "title": "Kubernetes", "version": "1.36" })
}

#[cfg(test)]
mod tests;
