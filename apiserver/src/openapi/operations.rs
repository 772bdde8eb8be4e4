//! The requests that the server answers, as documents show them: one operation a path and method.

use super::parameters::{self, Parameter};
use api::kinds::{Kind, Subresource, type_name};

/// A list of media types.
pub(super) type Media = &'static [&'static str];

const OBJECTS: Media = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAMS: Media = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const LOGS: Media = &["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const PATCHES: Media = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const JSON: Media = &["application/json"];
const ANY: Media = &["*/*"];

/// A request and its answers.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub path: String,
    /// In lower case.
    pub method: &'static str,
    pub id: String,
    pub tag: String,
    /// Empty where nothing is said.
    pub description: String,
    pub consumes: Media,
    pub produces: Media,
    pub parameters: Vec<Parameter>,
    /// The type of the request's body, and whether there has to be one.
    pub body: Option<(String, bool)>,
    /// The type of the answer; `None`: text.
    pub answer: Option<String>,
    /// Codes with an answer of that type, and what they mean.
    pub codes: &'static [(&'static str, &'static str)],
    /// `x-kubernetes-action`; empty for what is about no resource.
    pub action: &'static str,
    /// Group, version and kind.
    pub gvk: (&'static str, &'static str, &'static str),
}

const OK: &[(&str, &str)] = &[("200", "OK")];
const UPDATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
const CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];
const DELETED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];

/// A verb in documents. `{sub}` in a description is `status of ` for a subresource and nothing for an object.
struct Verb {
    method: &'static str,
    /// `x-kubernetes-action`.
    action: &'static str,
    /// The first and the last part of the operation's id.
    id: (&'static str, &'static str),
    description: &'static str,
    /// The types whose fields are query parameters.
    options: &'static [&'static str],
    consumes: Media,
    produces: Media,
    body: Body,
    answer: Answer,
    codes: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy)]
enum Body {
    None,
    Object,
    Patch,
    DeleteOptions,
}

#[derive(Clone, Copy)]
enum Answer {
    Object,
    List,
    /// A `Status`, or the object for those kinds that answer with what was deleted.
    Deleted,
    Status,
    WatchEvent,
}

const GET: Verb = Verb {
    method: "get",
    action: "get",
    id: ("read", ""),
    description: "read {sub}the specified {kind}",
    options: &[],
    consumes: ANY,
    produces: OBJECTS,
    body: Body::None,
    answer: Answer::Object,
    codes: OK,
};
const LIST: Verb = Verb {
    action: "list",
    id: ("list", ""),
    description: "list or watch objects of kind {kind}",
    options: &["ListOptions"],
    produces: STREAMS,
    answer: Answer::List,
    ..GET
};
/// Of a kind that cannot be watched.
const LIST_ONLY: Verb = Verb { description: "list objects of kind {kind}", ..LIST };
const WATCH: Verb = Verb {
    action: "watch",
    id: ("watch", ""),
    description: "watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter.",
    answer: Answer::WatchEvent,
    ..LIST
};
const WATCH_LIST: Verb = Verb {
    action: "watchlist",
    id: ("watch", "List"),
    description: "watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list operation instead.",
    ..WATCH
};
const CREATE: Verb = Verb {
    method: "post",
    action: "post",
    id: ("create", ""),
    description: "create {sub}{a}{kind}",
    options: &["CreateOptions"],
    body: Body::Object,
    codes: CREATED,
    ..GET
};
const UPDATE: Verb = Verb {
    method: "put",
    action: "put",
    id: ("replace", ""),
    description: "replace {sub}the specified {kind}",
    options: &["UpdateOptions"],
    codes: UPDATED,
    ..CREATE
};
const PATCH: Verb = Verb {
    method: "patch",
    action: "patch",
    id: ("patch", ""),
    description: "partially update {sub}the specified {kind}",
    options: &["PatchOptions"],
    consumes: PATCHES,
    body: Body::Patch,
    ..UPDATE
};
const DELETE: Verb = Verb {
    method: "delete",
    action: "delete",
    id: ("delete", ""),
    description: "delete {sub}{a}{kind}",
    options: &["DeleteOptions"],
    body: Body::DeleteOptions,
    answer: Answer::Deleted,
    codes: DELETED,
    ..GET
};
const DELETE_COLLECTION: Verb = Verb {
    action: "deletecollection",
    id: ("delete", "Collection"),
    description: "delete collection of {kind}",
    options: &["DeleteOptions", "ListOptions"],
    answer: Answer::Status,
    codes: OK,
    ..DELETE
};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The operations of a kind and its subresources.
pub(super) fn of_kind(kind: &'static Kind) -> Vec<Operation> {
    let root = format!("/{}/", super::version_path(kind.group, kind.version));
    let scope = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
    let collection = format!("{scope}{}", kind.resource);
    let item = format!("{collection}/{{name}}");
    let mut writer = Writer { kind, root, sub: None, operations: Vec::new() };
    for (verb, operation) in [
        ("list", if kind.has_verb("watch") { &LIST } else { &LIST_ONLY }),
        ("create", &CREATE),
        ("deletecollection", &DELETE_COLLECTION),
    ] {
        writer.add_if(kind.has_verb(verb), operation, &collection, "");
    }
    for (verb, operation) in [("get", &GET), ("update", &UPDATE), ("patch", &PATCH), ("delete", &DELETE)] {
        writer.add_if(kind.has_verb(verb), operation, &item, "");
    }
    writer.add_if(kind.has_verb("watch"), &WATCH_LIST, &format!("watch/{collection}"), "");
    writer.add_if(kind.has_verb("watch"), &WATCH, &format!("watch/{item}"), "");
    if kind.namespaced {
        let list = if kind.has_verb("watch") { &LIST } else { &LIST_ONLY };
        writer.add_if(kind.has_verb("list"), list, kind.resource, "ForAllNamespaces");
        writer.add_if(kind.has_verb("watch"), &WATCH_LIST, &format!("watch/{}", kind.resource), "ForAllNamespaces");
    }
    for sub in kind.subresources {
        writer.sub = Some(sub);
        writer.subresource(&format!("{item}/{}", sub.name), sub);
    }
    writer.operations
}

struct Writer {
    kind: &'static Kind,
    /// `/api/v1/`.
    root: String,
    sub: Option<&'static Subresource>,
    operations: Vec<Operation>,
}

impl Writer {
    fn subresource(&mut self, path: &str, sub: &Subresource) {
        let options = match sub.name {
            "exec" | "attach" | "portforward" | "proxy" => return self.connect(path, sub),
            "log" => Some("PodLogOptions"),
            _ => None,
        };
        for (verb, operation) in [("get", &GET), ("create", &CREATE), ("update", &UPDATE), ("patch", &PATCH)] {
            self.add_if(sub.verbs.contains(&verb), operation, path, "");
        }
        if let (Some(options), Some(operation)) = (options, self.operations.last_mut()) {
            operation.parameters.extend(parameters::options(&type_name("", "v1", options)));
            operation.produces = LOGS;
            operation.answer = None;
        }
    }

    /// Streams and proxies: the same for every method.
    fn connect(&mut self, path: &str, sub: &Subresource) {
        const PROXY: &[&str] = &["get", "post", "put", "patch", "delete", "head", "options"];
        let proxy = sub.name == "proxy";
        let methods = if proxy { PROXY } else { &PROXY[..2] };
        let places = [(path.to_owned(), ""), (format!("{path}/{{path}}"), "WithPath")];
        let options = parameters::options(&type_name(sub.group, sub.version, sub.kind));
        for (path, suffix) in places.iter().take(if proxy { 2 } else { 1 }) {
            for method in methods {
                let verb = Verb { method, action: "connect", consumes: ANY, produces: ANY, ..GET };
                let mut operation = self.operation(&verb, path, suffix);
                operation.id = self.id("connect", &title(method), suffix, "");
                operation.description =
                    format!("connect {} requests to {} of {}", method.to_uppercase(), sub.name, self.kind.kind);
                operation.answer = None;
                operation.parameters = options.clone();
                operation.parameters.extend(parameters::of_path(path, sub.kind));
                self.operations.push(operation);
            }
        }
    }

    fn add_if(&mut self, condition: bool, verb: &Verb, path: &str, suffix: &str) {
        if condition {
            let operation = self.operation(verb, path, suffix);
            self.operations.push(operation);
        }
    }

    fn operation(&self, verb: &Verb, path: &str, suffix: &str) -> Operation {
        let kind = self.kind;
        let gvk = match self.sub {
            Some(sub) if !sub.kind.is_empty() => (sub.group, sub.version, sub.kind),
            _ => (kind.group, kind.version, kind.kind),
        };
        let object = type_name(gvk.0, gvk.1, gvk.2);
        let mut parameters = parameters::of_path(path, gvk.2);
        parameters.push(parameters::PRETTY);
        for options in verb.options {
            parameters.extend(parameters::options(&format!("{META}.{options}")));
        }
        if verb.action == "deletecollection" {
            parameters.retain(|p| !matches!(p.name, "watch" | "allowWatchBookmarks"));
        }
        let answer = match verb.answer {
            Answer::Object => object.clone(),
            Answer::List => type_name(kind.group, kind.version, &kind.list_kind()),
            // Upstream's document does not know that namespaces answer with themselves.
            Answer::Deleted
                if crate::kinds::rules(kind.group, kind.kind).returns_deleted() && kind.kind != "Namespace" =>
            {
                object.clone()
            }
            Answer::Deleted | Answer::Status => format!("{META}.Status"),
            Answer::WatchEvent => format!("{META}.WatchEvent"),
        };
        let body = match verb.body {
            Body::None => None,
            Body::Object => Some((object, true)),
            Body::Patch => Some((format!("{META}.Patch"), true)),
            Body::DeleteOptions => Some((format!("{META}.DeleteOptions"), false)),
        };
        Operation {
            path: format!("{}{path}", self.root),
            method: verb.method,
            id: self.id(verb.id.0, if verb.id.1 == "Collection" { "Collection" } else { "" }, suffix, verb.id.1),
            tag: format!("{}_{}", lower_camel(kind.group), kind.version),
            description: self.describe(verb.description),
            consumes: verb.consumes,
            produces: verb.produces,
            parameters,
            body,
            answer: Some(answer),
            codes: verb.codes,
            action: verb.action,
            gvk,
        }
    }

    /// `readCoreV1NamespacedPodStatus`, `deleteCoreV1CollectionNamespacedPod`, `connectCoreV1GetNodeProxyWithPath`.
    fn id(&self, verb: &str, before: &str, suffix: &str, after: &str) -> String {
        let kind = self.kind;
        let namespaced = if kind.namespaced && suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
        let sub = self.sub.map_or(String::new(), |sub| title(sub.name));
        let list = if after == "List" { "List" } else { "" };
        let group = camel(kind.group);
        format!("{verb}{group}{}{before}{namespaced}{}{sub}{list}{suffix}", title(kind.version), kind.kind)
    }

    fn describe(&self, template: &str) -> String {
        let kind = self.kind.kind;
        let sub = self.sub.map_or(String::new(), |sub| format!("{} of ", sub.name));
        template.replace("{sub}", &sub).replace("{a}", article(kind)).replace("{kind}", kind)
    }
}

/// With a space after it; plurals have none.
fn article(kind: &str) -> &'static str {
    match kind {
        _ if kind.ends_with('s') && !kind.ends_with("ss") => "",
        _ if kind.starts_with(['A', 'E', 'I', 'O', 'U']) => "an ",
        _ => "a ",
    }
}

/// `Core`, `Apps`, `RbacAuthorization`.
fn camel(group: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    group.split('.').map(title).collect()
}

/// `core`, `apps`, `rbacAuthorization`.
fn lower_camel(group: &str) -> String {
    let camel = camel(group);
    camel[..1].to_lowercase() + &camel[1..]
}

fn title(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// A GET of a document that is about no resource.
fn document(path: &str, id: String, tag: String, description: &str, media: Media, answer: Option<&str>) -> Operation {
    Operation {
        path: path.to_owned(),
        method: "get",
        id,
        tag,
        description: description.to_owned(),
        consumes: media,
        produces: media,
        parameters: Vec::new(),
        body: None,
        answer: answer.map(str::to_owned),
        codes: OK,
        action: "",
        gvk: ("", "", ""),
    }
}

/// What a group and version serves.
pub(super) fn of_version(group: &str, version: &str) -> Operation {
    let id = format!("get{}{}APIResources", camel(group), title(version));
    let tag = format!("{}_{version}", lower_camel(group));
    let answer = format!("{META}.APIResourceList");
    let path = format!("/{}/", super::version_path(group, version));
    document(&path, id, tag, "get available resources", OBJECTS, Some(&answer))
}

/// Which versions a group has.
pub(super) fn of_group(group: &str) -> Operation {
    if group.is_empty() {
        let answer = format!("{META}.APIVersions");
        let (id, tag) = ("getCoreAPIVersions".to_owned(), "core".to_owned());
        return document("/api/", id, tag, "get available API versions", OBJECTS, Some(&answer));
    }
    let answer = format!("{META}.APIGroup");
    let id = format!("get{}APIGroup", camel(group));
    document(&format!("/apis/{group}/"), id, lower_camel(group), "get information of a group", OBJECTS, Some(&answer))
}

/// Which groups there are, the server's version, and its token keys.
pub(super) fn others() -> [Operation; 4] {
    let groups = format!("{META}.APIGroupList");
    let of = |path, id: &str, tag: &str, description, media, answer| {
        document(path, id.to_owned(), tag.to_owned(), description, media, answer)
    };
    let keys = |operation| Operation { consumes: &[], ..operation };
    [
        of("/apis/", "getAPIVersions", "apis", "get available API versions", OBJECTS, Some(groups.as_str())),
        of(
            "/version/",
            "getCodeVersion",
            "version",
            "get the version information for this server",
            JSON,
            Some("io.k8s.apimachinery.pkg.version.Info"),
        ),
        keys(of(
            "/.well-known/openid-configuration/",
            "getServiceAccountIssuerOpenIDConfiguration",
            "WellKnown",
            "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
            JSON,
            None,
        )),
        keys(of(
            "/openid/v1/jwks/",
            "getServiceAccountIssuerOpenIDKeyset",
            "openid",
            "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            &["application/jwk-set+json"],
            None,
        )),
    ]
}
