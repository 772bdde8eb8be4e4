//! Every kind that can be patched has an apply and a strategic merge among the cases.

use super::topic::Topic;
use std::collections::BTreeSet;
use std::path::Path;

const RESOURCES: &str = include_str!("../../data/api-resources.tsv");

/// Collections, such as `/apis/apps/v1/deployments`, with the types of patches that they get.
fn patched() -> BTreeSet<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("differential");
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let topic = Topic::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
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
