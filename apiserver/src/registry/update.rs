//! Update and patch: the loop that every change of a stored object goes through.

use super::{Call, Object, check, meta};
use crate::kinds::{Context, subresources};
use crate::server::ApiServer;
use crate::{admission, reserve};
use api::Value;
use api::document;
use api::field::Errors;
use api::managed::{self, ResetFields};
use api::status::ApiError;
use std::sync::Arc;
use storage::{Entry, Expect};

/// Which part of the object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but `status`, where that is a subresource.
    Main,
    Status,
    /// A namespace's `spec.finalizers`.
    Finalize,
    /// A certificate signing request's approval conditions.
    Approval,
    EphemeralContainers,
    Resize,
    /// `spec.replicas`.
    Scale,
    /// The pod's node through `binding`: the change is computed by the server.
    Internal,
}

/// How often a change without a resource version is tried again on conflict before the client is told.
const TRIES: usize = 20;

impl ApiServer {
    /// Changes the object that the call names: `change` makes the new object from the old one. It may run more than
    /// once. A resource version in what it returns is a precondition.
    pub async fn update(
        &self,
        call: &Call<'_>,
        part: Part,
        change: &(dyn Fn(&Value) -> Result<Value, ApiError> + Sync),
    ) -> Result<Object, ApiError> {
        let key = call.key();
        let mut entry = call.entry()?;
        for _ in 0..TRIES {
            match self.update_once(call, part, change, &key, &entry).await? {
                Ok(object) => return Ok(object),
                Err(Some(current)) => entry = current,
                Err(None) => return Err(ApiError::not_found(call.resource.kind, call.name)),
            }
        }
        Err(ApiError::modified(call.resource.kind, call.name))
    }

    /// One turn of the loop; `Ok(Err(current))` when somebody else wrote in between. A version that the client named
    /// is then found to differ in the next turn.
    async fn update_once(
        &self,
        call: &Call<'_>,
        part: Part,
        change: &(dyn Fn(&Value) -> Result<Value, ApiError> + Sync),
        key: &str,
        entry: &Arc<Entry>,
    ) -> Result<Result<Object, Option<Arc<Entry>>>, ApiError> {
        let resource = call.resource;
        let mut old = resource.read(&entry.value)?;
        let mut object = change(&old)?;
        let version = document::resource_version(&object).to_owned();
        meta::match_namespace(&mut object, resource, call.namespace)?;
        meta::match_name(&object, call.name)?;
        let context = Context { user: call.user, now: call.now, labelled: true };
        resource.rules.inherit(&mut object);
        restrict(call, part, &mut object, &old, &context);
        // What the server computes (a binding, a scale) is noted by whoever computes it, if at all.
        if part != Part::Internal && part != Part::Scale {
            call.track(&mut object, Some(&old));
        }
        // Rules may tell an empty list from none, but it is no change.
        if !resource.rules.tells_empty_lists() {
            api::schema::align(&mut old, &object, resource.ty);
        }
        admission::mutate(call, &mut object, Some(&old)).await?;
        call.confirm_rights(&object, Some(&old))?;
        check_version(call, part, &version, &old)?;
        call.dedup_owners(&mut object, " after mutating admission happens");
        meta::carry_over(&mut object, &old);
        let reservation = reserve::for_write(call, Some(&old), &mut object)?;
        match part {
            Part::Status => resource.rules.prepare_for_status_update(&mut object, &old, &context),
            Part::Main | Part::Scale => prepare_main(call, &mut object, &old, &context),
            _ => {}
        }
        resource.complete(&mut object);
        // A binding or a status is no change of what the user wants.
        if !matches!(part, Part::Internal | Part::Status)
            && resource.rules.has_generation()
            && resource.rules.generation_changed(&object, &old)
        {
            let generation = document::get_i64(&old, "metadata.generation").unwrap_or(0) + 1;
            document::set(&mut object, "metadata.generation", generation);
        }
        validate(call, part, &object, &old)?;
        admission::validate(call, Some(&object), Some(&old))?;
        resource.settle(&mut object);
        api::schema::settle(&mut old, resource.ty);
        let remove = ends_deletion(call, &object);
        document::metadata_mut(&mut object).insert("resourceVersion".into(), document::resource_version(&old).into());
        if !call.dry_run {
            // What is stored has none.
            document::metadata_mut(&mut object).remove("selfLink");
        }
        managed::keep_times(&mut object, &old);
        // What would be kept in another form now is written although it does not change: so keys are rotated.
        if object == old && !remove && !self.is_stale(entry) {
            return Ok(Ok(Object::Stored(entry.clone())));
        }
        if call.dry_run {
            return Ok(Ok(Object::Built(object)));
        }
        let written = if remove { None } else { Some(&object) };
        if !remove {
            admission::charge(call, &object, Some(&old)).await?;
        }
        reservation.claim(&object).await?;
        let outcome = self.commit(call, key, Expect::Revision(entry.revision), written).await;
        reservation.settle(matches!(outcome, Ok(Ok(_)))).await;
        match outcome? {
            Ok(_) if remove => {
                reserve::release(call, &object).await;
                Ok(Ok(Object::Built(object)))
            }
            Ok(committed) => Ok(Ok(Object::Stored(committed.entry))),
            Err(current) => Ok(Err(current)),
        }
    }
}

/// Checks the resource version that the client sent; empty where it sent none.
fn check_version(call: &Call<'_>, part: Part, version: &str, old: &Value) -> Result<(), ApiError> {
    let kind = call.resource.kind;
    if matches!(version, "" | "0") {
        if part != Part::Internal && !call.resource.rules.allow_unconditional_update() && call.subresource.is_empty() {
            let mut errors = Errors::new();
            errors.invalid("metadata.resourceVersion", 0, "must be specified for an update");
            return Err(ApiError::invalid(kind.group, kind.resource, call.name, &errors));
        }
        return Ok(());
    }
    if version == document::resource_version(old) {
        return Ok(());
    }
    parse_version(version)?;
    Err(ApiError::modified(kind, call.name))
}

/// Refuses a resource version that is none; an empty one is well.
pub fn parse_version(version: &str) -> Result<(), ApiError> {
    if version.is_empty() || version.parse::<u64>().is_ok() {
        return Ok(());
    }
    let why = format!("strconv.ParseUint: parsing {}: invalid syntax", api::field::quote(version));
    Err(ApiError::new(500, "", why))
}

/// Puts back everything that a write of this part may not change.
fn restrict(call: &Call<'_>, part: Part, object: &mut Value, old: &Value, context: &Context) {
    if part != Part::Status {
        return subresources::restrict(part, object, old, context);
    }
    let given = document::as_map(object);
    let (status, metadata) = (given.remove("status"), given.remove("metadata"));
    let mut new = old.clone();
    let map = document::as_map(&mut new);
    map.remove("status");
    if let Some(status) = status {
        map.insert("status".into(), status);
    }
    if let Some(Value::Object(mut metadata)) = metadata {
        put_back(&mut metadata, old, &call.reset_fields());
        map.insert("metadata".into(), metadata.into());
    }
    *object = new;
}

/// Puts back the metadata that a write through `status` cannot own.
fn put_back(metadata: &mut document::Map, old: &Value, reset: &ResetFields) {
    let empty = document::Map::new();
    let before = document::get_map(old, "metadata").unwrap_or(&empty);
    for path in reset.excluded() {
        match path {
            ["metadata"] => {
                let managed = metadata.remove("managedFields");
                *metadata = before.clone();
                metadata.remove("managedFields");
                metadata.extend(managed.map(|managed| ("managedFields".to_owned(), managed)));
            }
            ["metadata", key] => {
                metadata.remove(*key);
                metadata.extend(before.get(*key).map(|value| ((*key).to_owned(), value.clone())));
            }
            _ => {}
        }
    }
}

fn prepare_main(call: &Call<'_>, object: &mut Value, old: &Value, context: &Context) {
    let resource = call.resource;
    if resource.has_status {
        let map = document::as_map(object);
        match old.get("status") {
            Some(status) => map.insert("status".into(), status.clone()),
            None => map.remove("status"),
        };
    }
    resource.rules.prepare_for_update(object, old, context);
}

fn validate(call: &Call<'_>, part: Part, object: &Value, old: &Value) -> Result<(), ApiError> {
    let rules = call.resource.rules;
    let mut errors = Errors::new();
    let checks = rules.metadata_checks();
    let passes = if part == Part::Status { checks.status_update } else { checks.update };
    meta::validate_change(object, old, call.resource, passes, &mut errors);
    match part {
        Part::Status => rules.validate_status_update(object, old, &mut errors),
        Part::Main | Part::Scale => rules.check(object, Some(old), &mut errors),
        _ => subresources::validate(part, object, old, &mut errors),
    }
    check(call.resource, call.name, &errors)?;
    let warnings = match part {
        Part::Main | Part::Scale => rules.warnings(object, Some(old)),
        Part::Status => rules.status_warnings(object),
        _ => Vec::new(),
    };
    warnings.into_iter().for_each(|warning| call.warn(warning));
    Ok(())
}

/// Whether the update takes away the last thing that kept an object which is marked for deletion.
fn ends_deletion(call: &Call<'_>, object: &Value) -> bool {
    document::is_terminating(object)
        && document::get_i64(object, "metadata.deletionGracePeriodSeconds").unwrap_or(0) == 0
        && document::finalizers(object).next().is_none()
        && !call.resource.rules.is_kept(object)
}
