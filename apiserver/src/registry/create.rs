//! Create.

use super::{Call, Object, check, meta};
use crate::kinds::Context;
use crate::resources::Resource;
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
        // A dry run does not come to the store, which is what refuses it.
        if !call.dry_run && !matches!(document::resource_version(&object), "" | "0") {
            return Err(ApiError::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        document::metadata_mut(&mut object).remove("resourceVersion");
        call.track(&mut object, None);
        meta::fill(&mut object, resource, call.namespace, call.now)?;
        admission::mutate(call, &mut object, None).await?;
        if resource.has_status && !resource.rules.keeps_status_on_create() {
            document::as_map(&mut object).remove("status");
        }
        let reservation = reserve::for_write(call, None, &mut object)?;
        let context = Context { user: call.user, now: call.now };
        resource.rules.given_warnings(&object).into_iter().for_each(|warning| call.warn(warning));
        resource.rules.prepare_for_create(&mut object, &context);
        self.complete(resource, &mut object);
        let mut errors = Errors::new();
        meta::validate(&object, resource, &mut errors);
        resource.rules.check(&object, None, &mut errors);
        if errors.is_empty() {
            meta::validate_any(&object, resource, &mut errors);
        }
        check(resource, document::name(&object), &errors)?;
        api::schema::settle(&mut object, resource.ty);
        for warning in resource.rules.warnings(&object, None) {
            call.warn(warning);
        }
        admission::validate(call, Some(&object), None)?;
        let name = document::name(&object);
        let key = resource.key(call.namespace, name);
        if call.dry_run {
            if let Some(entry) = self.store.get(&key).map_err(|e| self.store_error(e))? {
                return Err(taken(resource, name, Some(&entry)));
            }
            return Ok(Object::Built(object));
        }
        match self.commit(call, &key, Expect::Absent, Some(&object)).await? {
            Ok(committed) => {
                reservation.keep();
                Ok(Object::Stored(committed.entry))
            }
            Err(current) => Err(taken(resource, name, current.as_deref())),
        }
    }
}

/// 409: there is such an object, or not quite yet none.
fn taken(resource: &Resource, name: &str, current: Option<&Entry>) -> ApiError {
    let mut failure = ApiError::already_exists(resource.kind, name);
    let object = current.and_then(|entry| resource.read(&entry.value).ok());
    if object.is_some_and(|object| document::is_terminating(&object)) {
        failure.message = format!("object is being deleted: {}", failure.message);
    }
    failure
}
