//! Create.

use super::{Call, Object, check, meta};
use crate::kinds::Context;
use crate::server::ApiServer;
use crate::{admission, reserve};
use api::Value;
use api::document;
use api::field::Errors;
use api::status::ApiError;
use storage::{Entry, Expect};

/// How often a generated name that is taken is replaced by another.
const GENERATED_NAME_TRIES: usize = 8;

impl ApiServer {
    /// Creates an object that was decoded and defaulted.
    pub async fn create(&self, call: &Call<'_>, object: Value) -> Result<Object, ApiError> {
        let generated =
            document::name(&object).is_empty() && !document::get_str(&object, "metadata.generateName").is_empty();
        if generated {
            for _ in 1..GENERATED_NAME_TRIES {
                match self.create_once(call, object.clone()).await {
                    Err(failure) if failure.reason == "AlreadyExists" => {}
                    other => return other,
                }
            }
        }
        self.create_once(call, object).await
    }

    async fn create_once(&self, call: &Call<'_>, mut object: Value) -> Result<Object, ApiError> {
        let resource = call.resource;
        meta::match_namespace(&mut object, resource, call.namespace)?;
        let labelled = document::labels(&object).is_some_and(|labels| !labels.is_empty());
        resource.rules.inherit(&mut object);
        call.track(&mut object, None);
        admission::mutate(call, &mut object, None).await?;
        call.confirm_rights(&object, None)?;
        meta::fill(&mut object, resource, call.now);
        call.dedup_owners(&mut object, " after mutating admission happens");
        if resource.has_status && !resource.rules.keeps_status_on_create() {
            document::as_map(&mut object).remove("status");
        }
        let reservation = reserve::for_write(call, None, &mut object)?;
        let context = Context { user: call.user, now: call.now, labelled };
        resource.rules.given_warnings(&object).into_iter().for_each(|warning| call.warn(warning));
        resource.rules.prepare_for_create(&mut object, &context);
        resource.complete(&mut object);
        let mut errors = Errors::new();
        if resource.rules.metadata_checks().create {
            meta::validate(&object, resource, &mut errors);
        }
        resource.rules.check(&object, None, &mut errors);
        if errors.is_empty() {
            meta::validate_any(&object, resource, &mut errors);
        }
        check(resource, document::name(&object), &errors)?;
        for warning in resource.rules.warnings(&object, None) {
            call.warn(warning);
        }
        admission::validate(call, Some(&object), None)?;
        resource.settle(&mut object);
        let name = document::name(&object);
        let key = resource.key(call.namespace, name);
        if !call.dry_run && document::resource_version(&object).parse().is_ok_and(|version: u64| version > 0) {
            return Err(ApiError::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        // The commit finds out, too; but what quotas and reservations take is written before it.
        if let Some(taken) = self.store.get(&key).map_err(|e| self.store_error(e))? {
            return Err(self.taken(call, &object, Some(&taken)));
        }
        if call.dry_run {
            return Ok(Object::Built(object));
        }
        for key in ["resourceVersion", "selfLink"] {
            document::metadata_mut(&mut object).remove(key);
        }
        admission::charge(call, &object, None).await?;
        reservation.claim(&object).await?;
        let outcome = self.commit(call, &key, Expect::Absent, Some(&object)).await;
        reservation.settle(matches!(outcome, Ok(Ok(_)))).await;
        match outcome? {
            Ok(committed) => Ok(Object::Stored(committed.entry)),
            Err(taken) => Err(self.taken(call, &object, taken.as_deref())),
        }
    }

    /// The answer to a create of what is there already.
    fn taken(&self, call: &Call<'_>, object: &Value, taken: Option<&Entry>) -> ApiError {
        let mut failure = ApiError::already_exists(call.resource.kind, document::name(object));
        if !document::get_str(object, "metadata.generateName").is_empty() {
            failure.message.push_str(", the server was not able to generate a unique name for the object");
            failure.retry_after_seconds = 1;
        }
        let read =
            |entry: &Entry| call.resource.read(&entry.value).is_ok_and(|object| document::is_terminating(&object));
        if taken.is_some_and(read) {
            failure.message.insert_str(0, "object is being deleted: ");
        }
        failure
    }
}
