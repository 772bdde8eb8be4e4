//! Every kind has its cases: a topic with an object of it, that is asked for in every verb and format, and changed in each way.

use super::topic::Topic;
use api::kinds::{KINDS, Kind};
use std::collections::BTreeSet;
use std::path::Path;

const RESOURCES: &str = include_str!("../../data/api-resources.tsv");

fn topics() -> Vec<Topic> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("differential");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.map(|path| Topic::parse(&std::fs::read_to_string(path).unwrap()).unwrap()).collect()
}

/// Collections, such as `/apis/apps/v1/deployments`, with the types of patches that they get.
fn patched() -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for topic in topics() {
        for patch in &topic.patch {
            all.insert((without_namespace(&topic.path), patch.content_type().unwrap().to_owned()));
        }
        for request in topic.requests.iter().filter(|request| request.method == "PATCH") {
            let target = request.path.split('?').next().unwrap_or_default();
            let (collection, _) = target.rsplit_once('/').unwrap_or_default();
            all.insert((without_namespace(collection), request.content_type().to_owned()));
        }
    }
    all
}

/// `/api/v1/namespaces/{namespace}/pods` as `/api/v1/pods`.
fn without_namespace(path: &str) -> String {
    match path.split_once("/namespaces/").and_then(|(base, rest)| Some((base, rest.split_once('/')?.1))) {
        Some((base, resource)) => format!("{base}/{resource}"),
        None => path.to_owned(),
    }
}

#[test]
fn every_kind_is_applied_and_patched() {
    let patched = patched();
    let mut missing = Vec::new();
    for row in RESOURCES.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = row.split('\t').collect();
        let [resource, _, version, _, _, verbs, ..] = columns[..] else { panic!("{row}") };
        if !verbs.split(',').any(|verb| verb == "patch") {
            continue;
        }
        let base = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
        for form in ["application/apply-patch+yaml", "application/strategic-merge-patch+json"] {
            if !patched.contains(&(format!("{base}/{resource}"), form.to_owned())) {
                missing.push(format!("{version} {resource}: {form}"));
            }
        }
    }
    assert!(missing.is_empty(), "no case:\n{}", missing.join("\n"));
}

/// Upstream's own controllers change objects of these kinds while they are asked for.
const CHANGED_BY_OTHERS: [&str; 1] = ["CustomResourceDefinition"];

fn collection(kind: &Kind) -> String {
    let version = kind.api_version();
    let base = if kind.group.is_empty() { "/api/" } else { "/apis/" };
    format!("{base}{version}/{}", kind.resource)
}

/// What a topic lacks of a kind's cases.
fn lacks(kind: &Kind, topics: &[Topic]) -> Vec<&'static str> {
    let path = collection(kind);
    let own: Vec<&Topic> = topics.iter().filter(|topic| without_namespace(&topic.path) == path).collect();
    let any = |has: fn(&Topic) -> bool| own.iter().any(|topic| has(topic));
    let needs = [
        (any(|topic| topic.standard) || CHANGED_BY_OTHERS.contains(&kind.kind), "the standard requests"),
        (any(|topic| topic.create.len() > 3), "creates, also of what is wrong"),
        (any(|topic| !topic.update.is_empty()), "updates"),
        (any(|topic| !topic.status.is_empty()) || kind.subresource("status").is_none(), "updates of the status"),
        (any(|topic| !topic.patch.is_empty()), "patches"),
    ];
    needs.into_iter().filter(|(is_there, _)| !is_there).map(|(_, what)| what).collect()
}

#[test]
fn every_kind_has_a_topic() {
    let topics = topics();
    let asked = |path: &str| {
        let mut requests = topics.iter().flat_map(|topic| &topic.requests);
        requests.any(|request| without_namespace(request.path.split('?').next().unwrap_or_default()) == path)
    };
    let mut missing = Vec::new();
    for kind in KINDS {
        let lacking = match kind.is_stored() {
            true => lacks(kind, &topics),
            false if asked(&collection(kind)) => Vec::new(),
            false => vec!["requests"],
        };
        missing.extend(lacking.into_iter().map(|what| format!("{}: {what}", kind.qualified_kind())));
    }
    assert!(missing.is_empty(), "no cases:\n{}", missing.join("\n"));
}
