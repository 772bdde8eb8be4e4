//! `scale`: the number of replicas of a workload, as `autoscaling/v1` `Scale`.

use crate::decode::{self, Patch};
use crate::kinds::scale;
use crate::negotiate;
use crate::params::{FieldValidation, field_validation, patch_options};
use crate::registry::{Call, Object, Part, meta};
use crate::request::{Incoming, wanted};
use crate::resources::Resource;
use crate::response::Body;
use crate::server::ApiServer;
use crate::verbs;
use api::Value;
use api::document;
use api::managed::{self, ResetFields, Writer};
use api::schema::{Schema, TypeRef};
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
    let call = verbs::checked(server, resource, incoming);
    let object = match incoming.route.verb {
        "get" => verbs::read(&call, incoming).await?,
        "update" => update(&call, incoming, field_validation(&incoming.query, "UpdateOptions")?).await?,
        _ => {
            let media_type = negotiate::patch_type(&incoming.headers)?;
            match patch_options(&incoming.query, media_type == verbs::APPLY)? {
                (force, _) if media_type == verbs::APPLY => apply(&call, incoming, force).await?,
                (_, validation) => patch(&call, media_type, incoming, validation).await?,
            }
        }
    };
    let scale = scale::scale_of(resource.kind.kind, &object.into_value(resource)?);
    Ok(verbs::reply(200, &call, Object::Built(scale), output))
}

async fn update(call: &Call<'_>, incoming: &Incoming, validation: FieldValidation) -> Result<Object, ApiError> {
    let scale = decode::subresource(call, incoming, "autoscaling", "v1", "Scale", validation)?;
    let change = |old: &Value| {
        meta::match_uid(call, &scale, old)?;
        scaled(call, old, noted(call, old, scale.clone())?)
    };
    call.server.update(call, Part::Scale, &change).await
}

async fn apply(call: &Call<'_>, incoming: &Incoming, force: bool) -> Result<Object, ApiError> {
    let wanted = decode::applied(&incoming.body)?;
    let change = |old: &Value| {
        let before = owned(call, old);
        let merged = managed::apply(&before, &wanted, schema()?, &writer(call), force, &ResetFields::None)?;
        scaled(call, old, decode::converted(merged, schema()?, &wanted)?)
    };
    call.server.update(call, Part::Scale, &change).await
}

async fn patch(
    call: &Call<'_>,
    media_type: &str,
    incoming: &Incoming,
    validation: FieldValidation,
) -> Result<Object, ApiError> {
    let patch = Patch::new(media_type, &incoming.body, schema()?, validation)?;
    let change = |old: &Value| {
        let wanted =
            decode::patched_subresource(call, &patch, &owned(call, old), ("autoscaling", "v1", "Scale"), validation)?;
        scaled(call, old, noted(call, old, wanted)?)
    };
    call.server.update(call, Part::Scale, &change).await
}

fn schema() -> Result<TypeRef<'static>, ApiError> {
    Schema::of_kind("autoscaling", "v1", "Scale").ok_or_else(ApiError::no_such_resource)
}

fn writer<'a>(call: &'a Call<'_>) -> Writer<'a> {
    Writer { api_version: "autoscaling/v1", ..call.writer() }
}

/// The `Scale` of a workload, with who owns the replicas.
fn owned(call: &Call<'_>, old: &Value) -> Value {
    let mut scale = scale::scale_of(call.resource.kind.kind, old);
    if let Some(owners) = managed::scale_managed_fields(old, REPLICAS) {
        document::set(&mut scale, "metadata.managedFields", owners);
    }
    scale
}

/// A `Scale` that was written, with its new owner.
fn noted(call: &Call<'_>, old: &Value, mut scale: Value) -> Result<Value, ApiError> {
    document::metadata_mut(&mut scale).remove("managedFields");
    managed::update(&mut scale, Some(&owned(call, old)), schema()?, &writer(call), &ResetFields::None);
    Ok(scale)
}

/// The workload with the replicas that a `Scale` asks for; what managed fields say of the `Scale` is said of it.
fn scaled(call: &Call<'_>, old: &Value, scale: Value) -> Result<Value, ApiError> {
    meta::match_name(&scale, call.name)?;
    meta::match_namespace(&mut scale.clone(), call.resource, call.namespace)?;
    let mut object = old.clone();
    let errors = scale::apply_scale(call.resource.kind.kind, &mut object, &scale);
    if !errors.is_empty() {
        return Err(ApiError::invalid("autoscaling", "Scale", document::name(&scale), &errors));
    }
    let version = &call.resource.api_version;
    if let Some(owners) = managed::scaled_managed_fields(old, &scale, version, REPLICAS) {
        document::set(&mut object, "metadata.managedFields", owners);
    }
    Ok(object)
}
