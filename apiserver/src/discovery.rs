//! What the server serves: the discovery documents, legacy and aggregated, and `/version`.
//!
//! Follows `meta/v1` (`APIGroupList`, `APIResourceList`) and `apidiscovery.k8s.io` v2 (KEP-3352). All documents are made once per
//! set of resources; requests copy bytes.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::LazyLock;

use api::Value;
use api::kinds::{KINDS, Kind};
use api::status::ApiError;
use aws_lc_rs::digest;
use base64::Engine;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use serde_json::json;

use crate::negotiate::{self, Format, Output};
use crate::request::Incoming;
use crate::response::{self, Body};
use crate::server::ApiServer;

/// The version of Kubernetes that this server is.
pub const VERSION: &str = "v1.36.2";

type Text = Cow<'static, str>;

/// A resource as discovery shows it: a built-in kind, or what a custom resource definition says.
#[derive(Debug, Clone)]
pub struct Resource {
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    pub name: Text,
    pub singular: Text,
    pub short_names: Vec<Text>,
    pub categories: Vec<Text>,
    pub namespaced: bool,
    pub verbs: Vec<Text>,
    /// The version that the store holds; `None` for what is not stored.
    pub stored: Option<(Text, Text)>,
    pub subresources: Vec<Subresource>,
}

/// A part of a resource with a path of its own.
#[derive(Debug, Clone)]
pub struct Subresource {
    pub name: Text,
    /// Of the body; group and version are empty where they are the resource's.
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    pub verbs: Vec<Text>,
}

fn texts(words: &'static [&'static str]) -> Vec<Text> {
    words.iter().map(|word| Cow::Borrowed(*word)).collect()
}

impl From<&'static Kind> for Resource {
    fn from(kind: &'static Kind) -> Resource {
        let subresources = kind.subresources.iter().map(|sub| {
            let own = sub.kind.is_empty() || (sub.group == kind.group && sub.version == kind.version);
            Subresource {
                name: sub.name.into(),
                group: if own { "".into() } else { sub.group.into() },
                version: if own { "".into() } else { sub.version.into() },
                kind: if sub.kind.is_empty() { kind.kind.into() } else { sub.kind.into() },
                verbs: texts(sub.verbs),
            }
        });
        // Two kinds are served in two shapes and stored in one.
        let stored = match (kind.group, kind.resource) {
            ("events.k8s.io", "events") => ("", "v1"),
            ("autoscaling", "horizontalpodautoscalers") => ("autoscaling", "v2"),
            // Upstream stores some kinds in the version before, and clients see which by a hash.
            (
                "apiextensions.k8s.io" | "admissionregistration.k8s.io",
                "customresourcedefinitions" | "mutatingadmissionpolicies" | "mutatingadmissionpolicybindings",
            ) => (kind.group, "v1beta1"),
            _ => (kind.group, kind.version),
        };
        Resource {
            group: kind.group.into(),
            version: kind.version.into(),
            kind: kind.kind.into(),
            name: kind.resource.into(),
            singular: kind.singular().into(),
            short_names: texts(kind.short_names),
            categories: texts(kind.categories),
            namespaced: kind.namespaced,
            verbs: texts(kind.verbs),
            stored: kind.is_stored().then(|| (stored.0.into(), stored.1.into())),
            subresources: subresources.collect(),
        }
    }
}

/// How far to the front a built-in group stands; others are at [`OTHER_GROUPS`], by name.
const GROUP_PRIORITIES: &[(&str, i32)] = &[
    ("", 18000),
    ("apiregistration.k8s.io", 17900),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("admissionregistration.k8s.io", 16700),
    ("apiextensions.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("resource.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
];
const OTHER_GROUPS: i32 = 1000;

/// How far to the front a group stands, as APIServices say it.
pub fn group_priority(group: &str) -> i32 {
    GROUP_PRIORITIES.iter().find(|(name, _)| *name == group).map_or(OTHER_GROUPS, |(_, priority)| *priority)
}

fn group_order(group: &str) -> (Reverse<i32>, &str) {
    (Reverse(group_priority(group)), group)
}

/// Versions in the order of preference: `v2`, `v1`, `v2beta1`, `v1alpha1`, then the others by name.
fn version_order(version: &str) -> (Reverse<(u32, u32, u32)>, &str) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let (major, stage, minor) = match rest.find(|c: char| !c.is_ascii_digit()) {
            None => (rest, 3, "0"),
            Some(at) => {
                let (major, rest) = rest.split_at(at);
                match rest.strip_prefix("beta") {
                    Some(minor) => (major, 2, minor),
                    None => (major, 1, rest.strip_prefix("alpha")?),
                }
            }
        };
        Some((stage, major.parse().ok()?, minor.parse().ok()?))
    };
    (Reverse(parse().unwrap_or_default()), version)
}

/// The discovery documents of a set of resources.
#[derive(Debug)]
pub struct Discovery {
    /// By path: `/apis`, `/apis/apps`, `/api/v1`, `/apis/apps/v1`.
    legacy: HashMap<String, Bytes>,
    /// The aggregated documents at `/api` and `/apis`.
    aggregated: [Aggregated; 2],
}

/// An aggregated document, and its tag with quotes.
#[derive(Debug)]
struct Aggregated {
    body: Bytes,
    etag: String,
}

/// What the aggregated documents' media types have after the format.
const AGGREGATED: &str = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The documents of the built-in resources.
static BUILT_IN: LazyLock<Discovery> = LazyLock::new(|| Discovery::new(KINDS.iter().map(Resource::from)));

/// Answers a GET of a path below `/api` or `/apis` that is no resource; `None` where there is no document.
pub fn serve(server: &ApiServer, incoming: &Incoming) -> Option<Result<Response<Body>, ApiError>> {
    let path = incoming.route.path.trim_end_matches('/');
    if let (Some(document), Some(format)) = (BUILT_IN.aggregated(path), negotiate::aggregated(&incoming.headers)) {
        return Some(Ok(document.answer(incoming, format)));
    }
    let own = (path == "/api").then(|| core_versions(server.address.get()));
    let document = own.as_ref().or_else(|| BUILT_IN.legacy.get(path))?;
    Some(wanted(incoming, path).map(|output| in_form(document, output)))
}

/// The document at `/api`, which says where the server is: there is no other address for any client.
fn core_versions(address: Option<&SocketAddr>) -> Bytes {
    let addresses: Vec<Value> = address
        .map(|address| json!({ "clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string() }))
        .into_iter()
        .collect();
    bytes(&json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses }))
}

/// The form of a document that the client wants and that upstream has at this path.
fn wanted(incoming: &Incoming, path: &str) -> Result<Output, ApiError> {
    let is_group = path.starts_with("/apis") && path.split('/').count() <= 3;
    if !is_group {
        negotiate::produced(&incoming.headers, negotiate::MEDIA_TYPES)?;
    }
    negotiate::output(&incoming.headers, &incoming.query, negotiate::Transforms::None)
}

/// A document, copied where it is wanted as it is kept.
fn in_form(document: &Bytes, output: Output) -> Response<Body> {
    match serde_json::from_slice(document) {
        Ok(document) if output != negotiate::JSON => response::value(200, &document, output),
        _ => response::bytes(200, output.format.media_type(), document.clone()),
    }
}

/// The paths of the documents.
pub fn paths() -> impl Iterator<Item = &'static String> {
    BUILT_IN.legacy.keys()
}

impl Discovery {
    /// The documents of these resources, in which those of a group and version keep their order.
    pub fn new(resources: impl Iterator<Item = Resource>) -> Discovery {
        let groups = group(resources);
        let mut legacy = HashMap::new();
        let mut list = Vec::new();
        for (name, versions) in &groups {
            for (version, resources) in versions {
                let (path, document) = version_document(name, version, resources);
                legacy.insert(path, bytes(&document));
            }
            if !name.is_empty() {
                let group = group_document(name, versions);
                let mut own = group.clone();
                own["kind"] = "APIGroup".into();
                own["apiVersion"] = "v1".into();
                legacy.insert(format!("/apis/{name}"), bytes(&own));
                list.push(group);
            }
        }
        legacy.insert("/apis".into(), bytes(&json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": list })));
        Discovery { legacy, aggregated: ["/api", "/apis"].map(|path| aggregated_document(&groups, path)) }
    }

    /// The aggregated document of a path.
    fn aggregated(&self, path: &str) -> Option<&Aggregated> {
        let [core, groups] = &self.aggregated;
        match path {
            "/api" => Some(core),
            "/apis" => Some(groups),
            _ => None,
        }
    }
}

impl Aggregated {
    fn answer(&self, incoming: &Incoming, format: Format) -> Response<Body> {
        let known = incoming.headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == self.etag.as_str());
        let media_type = format!("{}{AGGREGATED}", format.media_type());
        let mut response = match known {
            true => response::bytes(304, &media_type, Bytes::new()),
            false => in_form(&self.body, Output { format, ..negotiate::JSON }),
        };
        let headers = response.headers_mut();
        for (name, value) in [(header::CONTENT_TYPE, &media_type), (header::ETAG, &self.etag)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        response
    }
}

/// The document at `/version`.
pub fn version() -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let commit = option_env!("CORACLE_GIT_COMMIT").unwrap_or_default();
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": VERSION,
        "gitCommit": commit,
        "gitTreeState": if commit.is_empty() { "archive" } else { "clean" },
        "buildDate": option_env!("CORACLE_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{architecture}", std::env::consts::OS),
    })
}

/// A group's versions, most preferred first.
type Versions = Vec<(Text, Vec<Resource>)>;

/// Groups in upstream's order, with their versions and resources.
fn group(resources: impl Iterator<Item = Resource>) -> Vec<(Text, Versions)> {
    let mut groups: BTreeMap<Text, BTreeMap<Text, Vec<Resource>>> = BTreeMap::new();
    for resource in resources {
        let versions = groups.entry(resource.group.clone()).or_default();
        versions.entry(resource.version.clone()).or_default().push(resource);
    }
    let sorted = |versions: BTreeMap<Text, Vec<Resource>>| {
        let mut versions: Versions = versions.into_iter().collect();
        versions.sort_by(|a, b| version_order(&a.0).cmp(&version_order(&b.0)));
        versions
    };
    let mut groups: Vec<_> = groups.into_iter().map(|(name, versions)| (name, sorted(versions))).collect();
    groups.sort_by(|a, b| group_order(&a.0).cmp(&group_order(&b.0)));
    groups
}

fn group_document(name: &str, versions: &Versions) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|(version, _)| json!({ "groupVersion": format!("{name}/{version}"), "version": version }))
        .collect();
    json!({ "name": name, "preferredVersion": versions.first(), "versions": versions })
}

/// The path and the `APIResourceList` of a group and version.
fn version_document(group: &str, version: &str, resources: &[Resource]) -> (String, Value) {
    let mut list = Vec::new();
    for resource in resources {
        let mut entry = json!({
            "name": resource.name,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": resource.verbs,
        });
        insert_names(&mut entry, resource);
        if let Some((group, version)) = &resource.stored {
            entry["storageVersionHash"] = storage_version_hash(group, version, &resource.kind).into();
        }
        list.push(entry);
        for sub in &resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", resource.name, sub.name),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": sub.kind,
                "verbs": sub.verbs,
            });
            if !sub.version.is_empty() {
                entry["group"] = sub.group.as_ref().into();
                entry["version"] = sub.version.as_ref().into();
            }
            list.push(entry);
        }
    }
    let mut document = json!({ "kind": "APIResourceList", "resources": list });
    if group.is_empty() {
        document["groupVersion"] = version.into();
        return (format!("/api/{version}"), document);
    }
    document["apiVersion"] = "v1".into();
    document["groupVersion"] = format!("{group}/{version}").into();
    (format!("/apis/{group}/{version}"), document)
}

fn insert_names(entry: &mut Value, resource: &Resource) {
    for (key, list) in [("shortNames", &resource.short_names), ("categories", &resource.categories)] {
        if !list.is_empty() {
            entry[key] = json!(list);
        }
    }
}

/// Tells storage versions apart; upstream's function.
fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    let hash = digest::digest(&digest::SHA256, format!("{group}/{version}/{kind}").as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&hash.as_ref()[..8])
}

/// The document at `/api` (the core group) or `/apis` (the others).
fn aggregated_document(groups: &[(Text, Versions)], path: &str) -> Aggregated {
    let shown = groups.iter().filter(|(name, _)| name.is_empty() == (path == "/api"));
    let items: Vec<Value> = shown
        .map(|(name, versions)| {
            let metadata = if name.is_empty() { json!({}) } else { json!({ "name": name }) };
            let versions: Vec<Value> = versions
                .iter()
                .map(|(version, resources)| {
                    let resources: Vec<Value> = resources.iter().map(aggregated_resource).collect();
                    json!({ "version": version, "resources": resources, "freshness": "Current" })
                })
                .collect();
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    let body = bytes(&json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }));
    let hash = digest::digest(&digest::SHA256, &body);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    Aggregated { body, etag: format!("\"{hash}\"") }
}

fn aggregated_resource(resource: &Resource) -> Value {
    let response =
        |group: &Text, version: &Text, kind: &Text| json!({ "group": group, "version": version, "kind": kind });
    let own = response(&"".into(), &"".into(), &resource.kind);
    let mut entry = json!({
        "resource": resource.name,
        "responseKind": own,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    insert_names(&mut entry, resource);
    let subresources = resource.subresources.iter().map(|sub| {
        let kind = response(&sub.group, &sub.version, &sub.kind);
        json!({ "subresource": sub.name, "responseKind": kind, "verbs": sub.verbs })
    });
    let subresources: Vec<Value> = subresources.collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}

fn bytes(document: &Value) -> Bytes {
    Bytes::from(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(discovery: &Discovery, path: &str) -> Value {
        serde_json::from_slice(&discovery.legacy[path]).unwrap()
    }

    #[test]
    fn groups_and_versions_stand_in_order_of_preference() {
        let discovery = &*BUILT_IN;
        let groups = read(discovery, "/apis");
        let names: Vec<&str> =
            groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
        assert_eq!(names[..3], ["apiregistration.k8s.io", "apps", "events.k8s.io"]);
        assert_eq!(read(discovery, "/apis/autoscaling")["preferredVersion"]["version"], "v2");
        let mut versions = ["v1alpha1", "foo", "v1", "v10", "v2beta1", "v1beta2"];
        versions.sort_by(|a, b| version_order(a).cmp(&version_order(b)));
        assert_eq!(versions, ["v10", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]);
    }

    #[test]
    fn resources_are_listed_with_their_subresources() {
        let list = read(&BUILT_IN, "/apis/apps/v1");
        let scale = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == "deployments/scale").unwrap();
        assert_eq!((&scale["group"], &scale["kind"]), (&"autoscaling".into(), &"Scale".into()));
        // Upstream's own hash of apps/v1/Deployment.
        let deployment = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == "deployments").unwrap();
        assert_eq!(deployment["storageVersionHash"], "8aSe+NMegvE=");
    }

    #[test]
    fn custom_resources_come_after_the_built_in_ones() {
        let thing = Resource {
            group: "example.com".into(),
            version: "v1".into(),
            kind: "Thing".into(),
            name: "things".into(),
            singular: "thing".into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            verbs: texts(&["get"]),
            stored: None,
            subresources: Vec::new(),
        };
        let discovery = Discovery::new(KINDS.iter().map(Resource::from).chain([thing]));
        let groups: Value = serde_json::from_slice(&discovery.aggregated("/apis").unwrap().body).unwrap();
        assert_eq!(groups["items"].as_array().unwrap().last().unwrap()["metadata"]["name"], "example.com");
    }
}
