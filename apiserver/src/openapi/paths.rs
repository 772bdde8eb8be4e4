//! The operations of a document.

use super::{Dialect, Members, version_path};
use api::kinds::{Kind, Subresource, type_name};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const RESOURCE_LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";

/// Query parameters: name, type, description.
type Parameter = (&'static str, &'static str, &'static str);

const PRETTY: Parameter = (
    "pretty",
    "string",
    "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget).",
);
const DRY_RUN: Parameter = (
    "dryRun",
    "string",
    "When present, indicates that modifications should not be persisted. An invalid or unrecognized dryRun directive will result in an error response and no further processing of the request. Valid values are: - All: all dry run stages will be processed",
);
const FIELD_MANAGER: Parameter = (
    "fieldManager",
    "string",
    "fieldManager is a name associated with the actor or entity that is making these changes. The value must be less than or 128 characters long, and only contain printable characters, as defined by https://golang.org/pkg/unicode/#IsPrint.",
);
const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "fieldValidation instructs the server on how to handle objects in the request (POST/PUT/PATCH) containing unknown or duplicate fields. Valid values are: - Ignore - Warn (the default) - Strict",
);
const FORCE: Parameter = (
    "force",
    "boolean",
    "Force is going to \"force\" Apply requests. It means user will re-acquire conflicting fields owned by other people. Force flag must be unset for non-apply patch requests.",
);
const GRACE: Parameter = (
    "gracePeriodSeconds",
    "integer",
    "The duration in seconds before the object should be deleted. Value must be non-negative integer. The value zero indicates delete immediately. If this value is nil, the default grace period for the specified type will be used.",
);
const ORPHAN: Parameter = (
    "orphanDependents",
    "boolean",
    "Deprecated: please use the PropagationPolicy, this field will be deprecated in 1.7. Should the dependent objects be orphaned.",
);
const PROPAGATION: Parameter = (
    "propagationPolicy",
    "string",
    "Whether and how garbage collection will be performed. Acceptable values are: 'Orphan', 'Background', 'Foreground'.",
);
const LABELS: Parameter = (
    "labelSelector",
    "string",
    "A selector to restrict the list of returned objects by their labels. Defaults to everything.",
);
const FIELDS: Parameter = (
    "fieldSelector",
    "string",
    "A selector to restrict the list of returned objects by their fields. Defaults to everything.",
);

const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const PATCHING: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
const DELETE: &[Parameter] = &[DRY_RUN, GRACE, ORPHAN, PROPAGATION];
const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean", "allowWatchBookmarks requests watch events with type \"BOOKMARK\"."),
    ("continue", "string", "The continue option should be set when retrieving more results from the server."),
    FIELDS,
    LABELS,
    ("limit", "integer", "limit is a maximum number of responses to return for a list call."),
    (
        "resourceVersion",
        "string",
        "resourceVersion sets a constraint on what resource versions a request may be served from.",
    ),
    ("resourceVersionMatch", "string", "resourceVersionMatch determines how resourceVersion is applied to list calls."),
    (
        "sendInitialEvents",
        "boolean",
        "sendInitialEvents=true may be set together with watch=true: the watch then begins with synthetic events for the current state.",
    ),
    (
        "timeoutSeconds",
        "integer",
        "Timeout for the list/watch call. This limits the duration of the call, regardless of any activity or inactivity.",
    ),
    (
        "watch",
        "boolean",
        "Watch for changes to the described resources and return them as a stream of add, update, and remove notifications.",
    ),
];
const DELETE_COLLECTION: &[Parameter] = &[DRY_RUN, FIELDS, GRACE, LABELS, ORPHAN, PROPAGATION];

const PATCH_TYPES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const MEDIA_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// Writes the paths of the kinds, in order.
pub(super) fn write(out: &mut String, kinds: &[&Kind], dialect: Dialect) {
    let mut paths = BTreeMap::new();
    for kind in kinds {
        let base = format!("/{}/", version_path(kind.group, kind.version));
        let tag = tag(kind);
        paths.entry(base).or_insert_with(|| json!({ "get": resources_operation(kind, &tag, dialect) }));
        Writer { kind, tag, dialect, paths: &mut paths }.write();
    }
    let mut members = Members::open(out);
    for (path, item) in &paths {
        members.put(path, item);
    }
    members.close();
}

/// `apps_v1`, `rbacAuthorization_v1`.
fn tag(kind: &Kind) -> String {
    let camel = camel(kind.group);
    let lower = camel[..1].to_lowercase() + &camel[1..];
    format!("{lower}_{}", kind.version)
}

/// `Core`, `Apps`, `RbacAuthorization`.
fn camel(group: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    group.split('.').map(title).collect()
}

fn title(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// What the version serves: its discovery document.
fn resources_operation(kind: &Kind, tag: &str, dialect: Dialect) -> Value {
    json!({
        "description": "get available resources",
        "operationId": format!("get{}{}APIResources", camel(kind.group), title(kind.version)),
        "responses": responses(OK, Some(RESOURCE_LIST), dialect),
        "tags": [tag],
    })
}

struct Writer<'a> {
    kind: &'a Kind,
    tag: String,
    dialect: Dialect,
    paths: &'a mut BTreeMap<String, Value>,
}

/// What one operation is.
struct Operation<'a> {
    method: &'static str,
    /// `x-kubernetes-action`.
    action: &'static str,
    /// `read`, `replace`: the verb as the operation's id has it.
    verb: &'static str,
    description: String,
    parameters: &'static [Parameter],
    /// The body's type, and the answer's.
    body: Option<&'a str>,
    answer: Option<&'a str>,
    codes: &'static [(&'static str, &'static str)],
    /// Comes after the kind in the operation's id.
    suffix: String,
    gvk: (&'a str, &'a str, &'a str),
}

const OK: &[(&str, &str)] = &[("200", "OK")];
const CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];
const UPDATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
const DELETED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];

impl Writer<'_> {
    fn write(&mut self) {
        let kind = self.kind;
        let root = format!("/{}/", version_path(kind.group, kind.version));
        let scoped = if kind.namespaced { format!("{root}namespaces/{{namespace}}/") } else { root.clone() };
        let collection = format!("{scoped}{}", kind.resource);
        let item = format!("{collection}/{{name}}");
        let (object, list) = (kind.type_name(), type_name(kind.group, kind.version, &kind.list_kind()));
        self.collection(&collection, &object, &list);
        self.item(&item, &object);
        if kind.namespaced && kind.has_verb("list") {
            let operation = self.list(&list, "ForAllNamespaces");
            self.add(&format!("{root}{}", kind.resource), operation);
        }
        for sub in kind.subresources {
            self.subresource(&format!("{item}/{}", sub.name), sub, &object);
        }
    }

    fn operation<'o>(&self, method: &'static str, action: &'static str, verb: &'static str) -> Operation<'o> {
        let kind = self.kind;
        Operation {
            method,
            action,
            verb,
            description: String::new(),
            parameters: &[],
            body: None,
            answer: None,
            codes: OK,
            suffix: String::new(),
            gvk: (kind.group, kind.version, kind.kind),
        }
    }

    fn list<'o>(&self, list: &'o str, suffix: &str) -> Operation<'o> {
        Operation {
            description: format!("list or watch objects of kind {}", self.kind.kind),
            parameters: LIST,
            answer: Some(list),
            suffix: suffix.to_owned(),
            ..self.operation("get", "list", "list")
        }
    }

    fn collection(&mut self, path: &str, object: &str, list: &str) {
        let kind = self.kind;
        if kind.has_verb("list") {
            self.add(path, self.list(list, ""));
        }
        if kind.has_verb("create") {
            self.add(
                path,
                Operation {
                    description: format!("create {} {}", article(kind.kind), kind.kind),
                    parameters: WRITE,
                    body: Some(object),
                    answer: Some(object),
                    codes: CREATED,
                    ..self.operation("post", "post", "create")
                },
            );
        }
        if kind.has_verb("deletecollection") {
            self.add(
                path,
                Operation {
                    description: format!("delete collection of {}", kind.kind),
                    parameters: DELETE_COLLECTION,
                    body: Some(DELETE_OPTIONS),
                    answer: Some(STATUS),
                    ..self.operation("delete", "deletecollection", "deleteCollection")
                },
            );
        }
    }

    fn item(&mut self, path: &str, object: &str) {
        let kind = self.kind;
        self.read_and_write(path, kind.verbs, object, "", (kind.group, kind.version, kind.kind));
        if kind.has_verb("delete") {
            self.add(
                path,
                Operation {
                    description: format!("delete {} {}", article(kind.kind), kind.kind),
                    parameters: DELETE,
                    body: Some(DELETE_OPTIONS),
                    answer: Some(STATUS),
                    codes: DELETED,
                    ..self.operation("delete", "delete", "delete")
                },
            );
        }
    }

    /// Get, update and patch, of the object or of a subresource.
    fn read_and_write(&mut self, path: &str, verbs: &[&str], object: &str, sub: &str, gvk: (&str, &str, &str)) {
        let kind = self.kind.kind;
        let what =
            if sub.is_empty() { format!("the specified {kind}") } else { format!("{sub} of the specified {kind}") };
        let suffix = title(sub);
        if verbs.contains(&"get") {
            let operation = self.operation("get", "get", "read");
            let description = format!("read {what}");
            self.add(path, Operation { description, answer: Some(object), suffix: suffix.clone(), gvk, ..operation });
        }
        if verbs.contains(&"update") {
            self.add(
                path,
                Operation {
                    description: format!("replace {what}"),
                    parameters: WRITE,
                    body: Some(object),
                    answer: Some(object),
                    codes: UPDATED,
                    suffix: suffix.clone(),
                    gvk,
                    ..self.operation("put", "put", "replace")
                },
            );
        }
        if verbs.contains(&"patch") {
            self.add(
                path,
                Operation {
                    description: format!("partially update {what}"),
                    parameters: PATCHING,
                    body: Some(PATCH),
                    answer: Some(object),
                    codes: UPDATED,
                    suffix,
                    gvk,
                    ..self.operation("patch", "patch", "patch")
                },
            );
        }
    }

    fn subresource(&mut self, path: &str, sub: &Subresource, object: &str) {
        let kind = self.kind;
        let own = type_name(sub.group, sub.version, sub.kind);
        let (object, gvk) = if sub.kind.is_empty() {
            (object, (kind.group, kind.version, kind.kind))
        } else {
            (own.as_str(), (sub.group, sub.version, sub.kind))
        };
        if matches!(sub.name, "exec" | "attach" | "portforward" | "proxy") {
            return self.connect(path, sub, gvk);
        }
        self.read_and_write(path, sub.verbs, object, sub.name, gvk);
        if sub.verbs.contains(&"create") {
            self.add(
                path,
                Operation {
                    description: format!("create {} of {} {}", sub.name, article(kind.kind), kind.kind),
                    parameters: WRITE,
                    body: Some(object),
                    answer: Some(object),
                    codes: CREATED,
                    suffix: title(sub.name),
                    gvk,
                    ..self.operation("post", "post", "create")
                },
            );
        }
    }

    fn connect(&mut self, path: &str, sub: &Subresource, gvk: (&str, &str, &str)) {
        let methods = [("get", "get"), ("create", "post"), ("update", "put"), ("patch", "patch"), ("delete", "delete")];
        for (_, method) in methods.iter().filter(|(verb, _)| sub.verbs.contains(verb)) {
            let method: &'static str = method;
            let verb: &'static str = match method {
                "get" => "connectGet",
                "post" => "connectPost",
                "put" => "connectPut",
                "patch" => "connectPatch",
                _ => "connectDelete",
            };
            let description =
                format!("connect {} requests to {} of {}", method.to_uppercase(), sub.name, self.kind.kind);
            let suffix = title(sub.name);
            let operation = self.operation(method, "connect", verb);
            self.add(path, Operation { description, suffix, gvk, ..operation });
        }
    }

    fn add(&mut self, path: &str, operation: Operation<'_>) {
        let (kind, dialect) = (self.kind, self.dialect);
        let (verb, method) = match operation.verb.strip_prefix("connect") {
            Some(method) => ("connect", method),
            None if operation.verb == "deleteCollection" => ("delete", "Collection"),
            None => (operation.verb, ""),
        };
        let namespaced = if kind.namespaced && path.contains("{namespace}") { "Namespaced" } else { "" };
        let id = format!(
            "{verb}{}{}{method}{namespaced}{}{}",
            camel(kind.group),
            title(kind.version),
            kind.kind,
            operation.suffix
        );
        let (group, version, name) = operation.gvk;
        let mut parameters: Vec<Value> = operation.parameters.iter().map(|p| query(p, dialect)).collect();
        let mut value = json!({
            "description": operation.description,
            "operationId": id,
            "responses": responses(operation.codes, operation.answer, dialect),
            "tags": [self.tag],
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind": { "group": group, "kind": name, "version": version },
        });
        let media = if operation.body == Some(PATCH) { PATCH_TYPES } else { &["*/*"] };
        let required = operation.body != Some(DELETE_OPTIONS);
        match (operation.body, dialect) {
            (Some(body), Dialect::V3) => {
                value["requestBody"] = content(media, body, dialect);
                if required {
                    value["requestBody"]["required"] = true.into();
                }
            }
            (Some(body), Dialect::V2) => {
                let schema = json!({ "$ref": dialect.reference(body) });
                parameters.push(json!({ "in": "body", "name": "body", "required": required, "schema": schema }));
                value["consumes"] = media.into();
            }
            (None, _) => {}
        }
        if dialect == Dialect::V2 {
            value["produces"] = MEDIA_TYPES.into();
            value["schemes"] = json!(["https"]);
        }
        if !parameters.is_empty() {
            value["parameters"] = parameters.into();
        }
        let item = self
            .paths
            .entry(path.to_owned())
            .or_insert_with(|| json!({ "parameters": path_parameters(path, kind, dialect) }));
        item[operation.method] = value;
    }
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}

fn query((name, ty, description): &Parameter, dialect: Dialect) -> Value {
    parameter(name, ty, description, "query", dialect)
}

fn parameter(name: &str, ty: &str, description: &str, place: &str, dialect: Dialect) -> Value {
    let mut value = json!({ "name": name, "in": place, "description": description });
    match dialect {
        Dialect::V3 => value["schema"] = json!({ "type": ty, "uniqueItems": true }),
        Dialect::V2 => {
            value["type"] = ty.into();
            value["uniqueItems"] = true.into();
        }
    }
    if place == "path" {
        value["required"] = true.into();
    }
    value
}

fn path_parameters(path: &str, kind: &Kind, dialect: Dialect) -> Vec<Value> {
    let mut parameters = Vec::new();
    if path.contains("{name}") {
        parameters.push(parameter("name", "string", &format!("name of the {}", kind.kind), "path", dialect));
    }
    if path.contains("{namespace}") {
        let about = "object name and auth scope, such as for teams and projects";
        parameters.push(parameter("namespace", "string", about, "path", dialect));
    }
    parameters.push(query(&PRETTY, dialect));
    parameters
}

fn content(media: &[&str], body: &str, dialect: Dialect) -> Value {
    let schema = json!({ "schema": { "$ref": dialect.reference(body) } });
    let content: Map<String, Value> = media.iter().map(|m| ((*m).to_owned(), schema.clone())).collect();
    json!({ "content": content })
}

/// `None` answers a string, as streams and proxies do.
fn responses(codes: &[(&str, &str)], answer: Option<&str>, dialect: Dialect) -> Value {
    let mut responses = Map::new();
    for (code, description) in codes {
        let mut response = match (answer, dialect) {
            (Some(answer), Dialect::V3) => content(MEDIA_TYPES, answer, dialect),
            (None, Dialect::V3) => json!({ "content": { "*/*": { "schema": { "type": "string" } } } }),
            (Some(answer), Dialect::V2) => json!({ "schema": { "$ref": dialect.reference(answer) } }),
            (None, Dialect::V2) => json!({ "schema": { "type": "string" } }),
        };
        response["description"] = (*description).into();
        responses.insert((*code).to_owned(), response);
    }
    responses.insert("401".to_owned(), json!({ "description": "Unauthorized" }));
    Value::Object(responses)
}
