//! The verbs of a resource: from a request to the registry, and back.

use crate::decode::{self, Patch};
use crate::negotiate::{self, Output};
use crate::params::{DeleteOptions, FieldValidation, ListOptions, dry_run, field_validation, patch_options};
use crate::registry::{self, Call, Object, Part, meta};
use crate::request::{Incoming, allowed, wanted};
use crate::resources::Resource;
use crate::response::{self, Body};
use crate::selection::Selection;
use crate::server::ApiServer;
use crate::{authz, component_status, subresources, websocket};
use api::selector::FieldSelector;
use api::status::{self, ApiError};
use api::{Value, codec, document};
use http::{Method, Response};
use std::sync::Arc;

/// The content type of server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";

/// Answers a request about a resource that exists.
pub async fn serve(
    server: &Arc<ApiServer>,
    resource: &'static Resource,
    incoming: Incoming,
) -> Result<Response<Body>, ApiError> {
    let route = &incoming.route;
    check_scope(resource, &incoming)?;
    if !route.name.is_empty() && !["get", "update", "patch", "delete"].iter().any(|verb| resource.kind.has_verb(verb)) {
        return Err(ApiError::no_such_resource());
    }
    if !route.rest.is_empty() && route.subresource != "proxy" {
        return Err(ApiError::no_such_resource());
    }
    if incoming.method == Method::HEAD {
        return Err(ApiError::no_such_method());
    }
    if !route.subresource.is_empty() {
        return subresources::serve(server, resource, incoming).await;
    }
    // Creation is the collection's, update and patch are an object's.
    let misplaced = match route.verb {
        "create" => !route.collection,
        "update" | "patch" => route.collection,
        _ => false,
    };
    // Whoever can list can ask for a watch, and be refused by the resource itself.
    let unwatchable = route.verb == "watch" && !resource.kind.has_verb("watch") && resource.kind.has_verb("list");
    if misplaced || !(unwatchable || resource.kind.has_verb(route.verb)) {
        return Err(ApiError::no_such_method());
    }
    if !resource.kind.deprecation.is_empty() {
        incoming.warnings.add(resource.kind.deprecation);
    }
    if unwatchable {
        return Err(ApiError::method_not_allowed(resource.kind, "watch"));
    }
    negotiate::routed(&incoming)?;
    match route.verb {
        "get" | "list" if !resource.kind.is_stored() => component_status::serve(server, resource, &incoming).await,
        "get" => get(server, resource, &incoming).await,
        "list" => list(server, resource, &incoming).await,
        "watch" => watch(server, resource, &incoming).await,
        "create" => create(server, resource, &incoming).await,
        "update" => update(server, resource, &incoming, Part::Main).await,
        "patch" => patch(server, resource, &incoming, Part::Main).await,
        "delete" => delete(server, resource, &incoming).await,
        "deletecollection" => delete_collection(server, resource, &incoming).await,
        _ => Err(ApiError::no_such_resource()),
    }
}

/// A cluster-scoped resource is not found below a namespace, nor a single namespaced object outside one.
fn check_scope(resource: &Resource, incoming: &Incoming) -> Result<(), ApiError> {
    let route = &incoming.route;
    // A namespace's own path names it as the namespace too; another one's would be reached with this one's rights.
    let own = resource.kind.resource == "namespaces" && route.namespace == route.name;
    let in_namespace = !route.namespace.is_empty() && !own;
    match (resource.kind.namespaced, in_namespace) {
        (false, true) => Err(ApiError::no_such_resource()),
        // Across namespaces, objects can be listed and watched.
        (true, false) if !route.collection || !resource.kind.has_verb("list") => Err(ApiError::no_such_resource()),
        (true, false) if !matches!(route.verb, "list" | "watch") => Err(ApiError::no_such_method()),
        _ => Ok(()),
    }
}

/// The registry's view of a request that writes, and how its fields are validated; `options` is the kind that errors about
/// its parameters name.
pub fn writing<'a>(
    server: &'a ApiServer,
    resource: &'static Resource,
    incoming: &'a Incoming,
    options: &str,
) -> Result<(Call<'a>, FieldValidation), ApiError> {
    let validation = field_validation(&incoming.query, options)?;
    Ok((checked(server, resource, incoming), validation))
}

/// The registry's view of a request that writes and whose parameters were checked.
pub fn checked<'a>(server: &'a ApiServer, resource: &'static Resource, incoming: &'a Incoming) -> Call<'a> {
    Call { dry_run: incoming.query.get("dryRun").is_some(), ..reading(server, resource, incoming) }
}

/// The registry's view of a request that reads.
pub fn reading<'a>(server: &'a ApiServer, resource: &'static Resource, incoming: &'a Incoming) -> Call<'a> {
    Call {
        server,
        user: &incoming.user,
        resource,
        subresource: &incoming.route.subresource,
        namespace: if resource.kind.namespaced { &incoming.route.namespace } else { "" },
        name: &incoming.route.name,
        dry_run: false,
        now: incoming.now,
        manager: &incoming.manager,
        applies: false,
        warnings: incoming.warnings.clone(),
    }
}

/// Encodes what a write gave.
pub fn reply(code: u16, call: &Call<'_>, object: Object, output: Output) -> Response<Body> {
    match object {
        Object::Stored(entry) => response::entry(code, call.resource, &entry, output),
        Object::Built(object) => response::built(code, call.resource, object, output),
    }
}

pub async fn get(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let output = wanted(incoming)?;
    let call = reading(server, resource, incoming);
    let object = read(&call, incoming).await?;
    Ok(reply(200, &call, object, output))
}

/// The object that a GET names, not older than it asks for.
pub async fn read(call: &Call<'_>, incoming: &Incoming) -> Result<Object, ApiError> {
    if incoming.query.flag("export") {
        let message = "the export parameter, deprecated since v1.14, is no longer supported";
        return Err(ApiError::bad_request(message));
    }
    call.server.at_least(call.resource, incoming.query.get("resourceVersion").unwrap_or_default()).await?;
    call.server.read(call)
}

async fn list(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let output = wanted(incoming)?;
    let options = ListOptions::parse(&incoming.query, false)?;
    let call = reading(server, resource, incoming);
    Ok(response::list(server.list(&call, &options).await?, output))
}

async fn watch(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let output = wanted(incoming)?;
    // The old paths are watches without a flag.
    let mut options = ListOptions::parse(&incoming.query, incoming.query.flag("watch"))?;
    let media_type = negotiate::stream_type(output)?;
    let name = &incoming.route.name;
    if !name.is_empty() {
        // The request was authorized for this name alone.
        if options.fields.is_everything() {
            options.fields = FieldSelector::equal("metadata.name", name);
        } else if options.fields.exact_value("metadata.name") != Some(name) {
            return Err(ApiError::bad_request("fieldSelector metadata.name doesn't match requested name"));
        }
    }
    let call = reading(server, resource, incoming);
    let watch = server.watch(&call, &options, output).await?;
    if websocket::is_requested(&incoming.headers) {
        return Ok(websocket::watch(watch, output.format, incoming));
    }
    Ok(response::watch(watch, media_type))
}

async fn create(
    server: &Arc<ApiServer>,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    if !resource.kind.is_stored() {
        return subresources::review(server, resource, incoming).await;
    }
    let output = wanted(incoming)?;
    negotiate::input(&incoming.headers)?;
    let (call, validation) = writing(server, resource, incoming, "CreateOptions")?;
    let mut object = decode::object(&call, incoming, validation)?;
    meta::wipe(&mut object);
    let created = server.create(&call, object).await?;
    Ok(reply(201, &call, created, output))
}

pub async fn update(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
    part: Part,
) -> Result<Response<Body>, ApiError> {
    let output = wanted(incoming)?;
    let (call, validation) = writing(server, resource, incoming, "UpdateOptions")?;
    let mut object = decode::object(&call, incoming, validation)?;
    meta::match_namespace(&mut object, resource, call.namespace)?;
    meta::match_name(&object, call.name)?;
    if part == Part::Main && resource.rules.allow_create_on_update() && server.read(&call).is_err_and(|e| e.code == 404)
    {
        check_create_on_update(&call, incoming, &object)?;
        let uid = document::uid(&object);
        if !uid.is_empty() {
            return Err(call.precondition_failed("UID", uid, ""));
        }
        // The version of something that is gone binds nobody.
        let mut object = object;
        document::metadata_mut(&mut object).remove("resourceVersion");
        let created = server.create(&call, object).await?;
        return Ok(reply(201, &call, created, output));
    }
    let change = |old: &Value| meta::match_uid(&call, &object, old).map(|()| object.clone());
    let updated = server.update(&call, part, &change).await?;
    Ok(reply(200, &call, updated, output))
}

/// An update that creates needs the right to create, and the name in the object.
fn check_create_on_update(call: &Call<'_>, incoming: &Incoming, object: &Value) -> Result<(), ApiError> {
    let route = &incoming.route;
    allowed(
        call.server,
        &authz::Attributes {
            user: call.user,
            verb: "create",
            namespace: &route.namespace,
            group: &route.group,
            version: &route.version,
            resource: &route.resource,
            subresource: "",
            name: &route.name,
            path: &route.path,
        },
    )?;
    meta::match_name(object, call.name)
}

pub async fn patch(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
    part: Part,
) -> Result<Response<Body>, ApiError> {
    let media_type = negotiate::patch_type(&incoming.headers)?;
    let output = wanted(incoming)?;
    let is_apply = media_type == APPLY;
    let (force, validation) = patch_options(&incoming.query, is_apply)?;
    let call = checked(server, resource, incoming);
    if is_apply {
        return apply(Call { applies: true, ..call }, incoming, part, force, validation, output).await;
    }
    let patch = Patch::new(media_type, &incoming.body, resource.ty, validation)?;
    let updated = server.update(&call, part, &|old| decode::patched(&call, &patch, old, validation)).await?;
    Ok(reply(200, &call, updated, output))
}

/// Server-side apply: merges what the client wants into the object, or creates it.
async fn apply(
    call: Call<'_>,
    incoming: &Incoming,
    part: Part,
    force: bool,
    validation: FieldValidation,
    output: Output,
) -> Result<Response<Body>, ApiError> {
    let wanted = decode::applied(&incoming.body)?;
    let problems =
        if validation == FieldValidation::Ignore { Vec::new() } else { codec::yaml::problems(&incoming.body) };
    let applied = |live: &Value| {
        let merged = decode::applied_to(&call, live, &wanted, force)?;
        decode::report_applied(&call, &problems, validation)?;
        Ok(merged)
    };
    match call.server.update(&call, part, &applied).await {
        Err(failure) if failure.code == 404 && part == Part::Main => {}
        other => return other.map(|object| reply(200, &call, object, output)),
    }
    let object = applied(&serde_json::json!({}))?;
    // Checked before anything else is.
    registry::parse_version(document::resource_version(&object))?;
    let uid = document::uid(&object);
    if !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(ApiError::conflict(call.resource.kind, call.name, why));
    }
    check_create_on_update(&call, incoming, &object)?;
    let created = call.server.create(&call, object).await?;
    Ok(reply(201, &call, created, output))
}

async fn delete(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let output = wanted(incoming)?;
    let (call, options) = deletion(server, resource, incoming)?;
    let deleted = server.delete(&call, &options).await?;
    let accepted = !deleted.gone && options.orphan_dependents == Some(false);
    let code = if accepted { 202 } else { 200 };
    if deleted.gone && !resource.rules.returns_deleted() {
        let object = deleted.object.into_value(resource)?;
        let done = status::deleted(resource.kind, &incoming.route.name, document::uid(&object));
        return Ok(response::value(code, &done, output));
    }
    Ok(reply(code, &call, deleted.object, output))
}

/// The call and the options of a deletion, from its body or its query.
fn deletion<'a>(
    server: &'a ApiServer,
    resource: &'static Resource,
    incoming: &'a Incoming,
) -> Result<(Call<'a>, DeleteOptions), ApiError> {
    let options = if incoming.body.is_empty() {
        DeleteOptions::from_query(&incoming.query)?
    } else {
        DeleteOptions::from_body(&decode::delete_options(&incoming.body, negotiate::input(&incoming.headers)?)?)?
    };
    dry_run(incoming.query.all("dryRun"), "DeleteOptions")?;
    Ok((Call { dry_run: options.dry_run, ..reading(server, resource, incoming) }, options))
}

async fn delete_collection(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let output = wanted(incoming)?;
    let list = ListOptions::parse(&incoming.query, false)?;
    // A field that the kind has not is refused before the body is looked at.
    Selection::new(resource, &list)?;
    let (call, options) = deletion(server, resource, incoming)?;
    let reply = server.list(&call, &list).await?;
    server.delete_collection(&call, &reply.entries, &options).await?;
    Ok(response::list(reply, output))
}
