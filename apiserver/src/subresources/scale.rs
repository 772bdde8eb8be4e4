//! `scale`: the number of replicas of a workload, as `autoscaling/v1` `Scale`.

use crate::decode::{self, Patch};
use crate::kinds::scale;
use crate::params::field_validation;
use crate::registry::{Call, Object, Part, meta};
use crate::request::{Incoming, wanted};
use crate::resources::Resource;
use crate::response::Body;
use crate::server::ApiServer;
use crate::verbs;
use api::Value;
use api::document;
use api::managed::{self, ResetFields, Writer};
use api::schema::Schema;
use api::status::ApiError;
use http::Response;

/// Where a workload has its replicas.
const REPLICAS: &[&str] = &["spec", "replicas"];

pub async fn serve(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let output = wanted(incoming)?;
    let options = if incoming.route.verb == "patch" { "PatchOptions" } else { "UpdateOptions" };
    let validation = field_validation(&incoming.query, options)?;
    let call = verbs::call(server, resource, incoming, options)?;
    let object = match incoming.route.verb {
        "get" => server.read(&call)?,
        "update" => {
            let scale = decode::subresource(&call, incoming, "autoscaling", "v1", "Scale", validation)?;
            server.update(&call, Part::Scale, &|old| scaled(&call, old, &scale)).await?
        }
        _ => {
            let ty = Schema::of_kind("autoscaling", "v1", "Scale").ok_or_else(ApiError::no_such_resource)?;
            let patch = Patch::new(&incoming.headers, &incoming.body, ty)?;
            let change = |old: &Value| {
                let before = scale::scale_of(resource.kind.kind, old);
                let wanted =
                    decode::patched_subresource(&call, &patch, &before, ("autoscaling", "v1", "Scale"), validation)?;
                scaled(&call, old, &wanted)
            };
            server.update(&call, Part::Scale, &change).await?
        }
    };
    let scale = scale::scale_of(resource.kind.kind, &object.into_value(resource)?);
    Ok(verbs::reply(200, &call, Object::Built(scale), output))
}

/// The workload with the replicas that a `Scale` asks for.
fn scaled(call: &Call<'_>, old: &Value, scale: &Value) -> Result<Value, ApiError> {
    meta::match_name(scale, call.name)?;
    meta::match_namespace(&mut scale.clone(), call.resource, call.namespace)?;
    let mut object = old.clone();
    let errors = scale::apply_scale(call.resource.kind.kind, &mut object, scale);
    if !errors.is_empty() {
        return Err(ApiError::invalid("autoscaling", "Scale", document::name(scale), &errors));
    }
    // Where the Scale names an identity, the update refuses another one.
    if !document::uid(scale).is_empty() {
        document::set(&mut object, "metadata.uid", document::uid(scale));
    }
    track(call, old, scale, &mut object);
    Ok(object)
}

/// Notes the replicas' new owner in the workload: what managed fields say of the `Scale`, said of its parent.
fn track(call: &Call<'_>, old: &Value, scale: &Value, object: &mut Value) {
    let Some(ty) = Schema::of_kind("autoscaling", "v1", "Scale") else { return };
    let mut before = scale::scale_of(call.resource.kind.kind, old);
    if let Some(owners) = managed::scale_managed_fields(old, REPLICAS) {
        document::set(&mut before, "metadata.managedFields", owners);
    }
    let mut after = scale.clone();
    document::metadata_mut(&mut after).remove("managedFields");
    let writer = Writer { api_version: "autoscaling/v1", ..call.writer() };
    managed::update(&mut after, Some(&before), ty, &writer, &ResetFields::None);
    if let Some(owners) = managed::scaled_managed_fields(old, &after, &call.resource.api_version, REPLICAS) {
        document::set(object, "metadata.managedFields", owners);
    }
}
