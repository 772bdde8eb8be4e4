//! The registry: one implementation of every verb for every resource.
//!
//! A write is read -> change -> mutate -> prepare -> validate -> admit -> commit; on a conflict the whole loop repeats,
//! so that policy always sees the object that is committed.

pub mod continue_token;
mod create;
mod delete;
mod list;
pub mod meta;
mod update;
pub mod watch;

pub use list::ListReply;
pub use update::{Part, parse_version};
pub use watch::{WatchReply, next_event};

use crate::authn::User;
use crate::encryption::Encryption;
use crate::params::revision;
use crate::request::Warnings;
use crate::resources::Resource;
use crate::server::ApiServer;
use api::Value;
use api::field::Errors;
use api::managed::{self, ResetFields, Writer};
use api::status::ApiError;
use jiff::Timestamp;
use std::sync::Arc;
use storage::{Commit, Committed, Entry, Expect, Put};

/// A request as the registry and admission see it.
pub struct Call<'a> {
    pub server: &'a ApiServer,
    pub user: &'a User,
    pub resource: &'static Resource,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub dry_run: bool,
    pub now: Timestamp,
    /// As whom the fields that this call changes are noted in `metadata.managedFields`.
    pub manager: &'a str,
    /// Server-side apply has noted them already.
    pub applies: bool,
    /// Warnings for the client's `Warning` headers.
    pub warnings: Arc<Warnings>,
}

impl<'a> Call<'a> {
    /// A call by the server itself on one of its own resources.
    pub fn internal(server: &'a ApiServer, resource: &'static Resource, namespace: &'a str, name: &'a str) -> Call<'a> {
        Call {
            server,
            user: &server.own_user,
            resource,
            subresource: "",
            namespace,
            name,
            dry_run: false,
            now: Timestamp::now(),
            manager: "kube-apiserver",
            applies: false,
            warnings: Arc::default(),
        }
    }

    pub fn warn(&self, message: impl Into<String>) {
        self.warnings.add(message);
    }

    /// Drops owner references that come twice, with a warning. `when`: since when they do, for the warning.
    pub fn dedup_owners(&self, object: &mut Value, when: &str) {
        if let Some(uids) = meta::dedup_owners(object) {
            self.warn(format!(
                ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, \
                 and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {uids}"
            ));
        }
    }

    /// A demand on the stored object that does not hold: upstream says it with the object's key in its store.
    pub fn precondition_failed(&self, what: &str, wanted: &str, have: &str) -> ApiError {
        let key = self.key();
        let key = if self.dry_run { key.strip_prefix("/registry").unwrap_or(&key) } else { &key };
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {have}"
        );
        ApiError::conflict(self.resource.kind, self.name, why)
    }

    /// The writer that managed fields are noted for.
    pub fn writer(&self) -> Writer<'_> {
        let (manager, api_version) = (self.manager, self.resource.api_version.as_str());
        Writer { manager, api_version, subresource: self.subresource, now: self.now }
    }

    /// What a write through the call's subresource cannot own.
    pub fn reset_fields(&self) -> ResetFields {
        let kind = self.resource.kind;
        managed::reset_fields(kind.group, kind.kind, self.subresource, self.resource.has_status)
    }

    /// Refuses what gives away rights that the user does not have. Upstream does so before it validates.
    fn confirm_rights(&self, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
        let kind = self.resource.kind;
        self.server.authorizer.confirm_write(self.user, kind, self.namespace, self.name, object, old)
    }

    /// Notes which fields the client changes, before admission and rules change others.
    pub fn track(&self, object: &mut Value, old: Option<&Value>) {
        if !self.applies {
            self.resource.complete(object);
            managed::update(object, old, self.resource.versions(), &self.writer(), &self.reset_fields());
        }
    }

    pub fn key(&self) -> String {
        self.resource.key(self.namespace, self.name)
    }

    /// The entry that the call names, or 404.
    pub fn entry(&self) -> Result<Arc<Entry>, ApiError> {
        if self.name.is_empty() {
            return Err(ApiError::bad_request("Name parameter required."));
        }
        let problems = api::names::path_segment(self.name);
        if !problems.is_empty() {
            let name = api::field::quote(self.name);
            return Err(ApiError::bad_request(format!("Name parameter invalid: {name}: {}", problems.join(";"))));
        }
        let found = self.server.store.get(&self.key()).map_err(|error| match error {
            // Whoever asks for one object knows its key; lists name it.
            storage::Error::Unreadable { reason, .. } => ApiError::internal(reason),
            error => self.server.store_error(error),
        })?;
        found.ok_or_else(|| ApiError::not_found(self.resource.kind, self.name))
    }
}

/// What a verb on one object gives.
pub enum Object {
    /// As it stands in the store: its bytes are the answer.
    Stored(Arc<Entry>),
    /// Not in the store (a dry run, a deletion, a subresource).
    Built(Value),
}

impl Object {
    /// The object as a tree, in the shape of `resource`.
    pub fn into_value(self, resource: &Resource) -> Result<Value, ApiError> {
        match self {
            Object::Stored(entry) => resource.read(&entry.value),
            Object::Built(value) => Ok(value),
        }
    }
}

/// A resource version that is no number, where it is not a list's.
fn unreadable(errors: &Errors) -> ApiError {
    ApiError::new(500, "", errors.0[0].to_string())
}

impl ApiServer {
    /// Reads one object.
    pub fn read(&self, call: &Call<'_>) -> Result<Object, ApiError> {
        call.entry().map(Object::Stored)
    }

    /// Waits until what is read next is at least as new as a resource version in a request.
    pub async fn at_least(&self, resource: &Resource, version: &str) -> Result<(), ApiError> {
        let unreadable = |errors: Errors| match resource.stored_group() == "" && resource.kind.kind == "Event" {
            // Upstream has no cache of events: its store reads the version.
            true => ApiError::bad_request(format!("invalid resource version: {}", errors.0[0])),
            false => unreadable(&errors),
        };
        self.wait_for(revision(version).map_err(unreadable)?).await
    }

    /// What a failure of the store means to a client.
    pub fn store_error(&self, error: storage::Error) -> ApiError {
        use storage::Error;
        match error {
            Error::Compacted { .. } => ApiError::expired("The resourceVersion for the provided list is too old."),
            Error::TooLarge { .. } => ApiError::too_large(error),
            Error::Busy => ApiError::too_many_requests(error.to_string(), 1),
            Error::Unavailable(why) => ApiError::unavailable(format!("storage is (re)initializing or failed: {why}")),
            other => ApiError::internal(other),
        }
    }

    /// Whether what the store keeps of an entry is in another form than it would be written in now.
    fn is_stale(&self, entry: &Entry) -> bool {
        let changed = |encryption: &Encryption| encryption.is_outdated(&entry.key, entry.revision);
        entry.stale || self.encryption.as_deref().is_some_and(changed)
    }

    /// Writes an object, or removes it (`None`). A `Conflict` of the store is `Ok(Err(current))`.
    async fn commit(
        &self,
        call: &Call<'_>,
        key: &str,
        expect: Expect,
        object: Option<&Value>,
    ) -> Result<Result<Committed, Option<Arc<Entry>>>, ApiError> {
        let put = object.map(|object| {
            let encoded = encode_stored(call.resource, object);
            let ttl = call.resource.rules.time_to_live().map(std::time::Duration::from_secs);
            Put { value: encoded.bytes.into(), revision_at: Some(encoded.revision_at), ttl }
        });
        match self.store.commit(Commit { key: key.into(), expect, put }).await {
            Ok(committed) => Ok(Ok(committed)),
            Err(storage::Error::Conflict { current }) => Ok(Err(current)),
            Err(error) => Err(self.store_error(error)),
        }
    }
}

/// The bytes of an object in the shape that is stored.
fn encode_stored(resource: &Resource, object: &Value) -> api::document::Encoded {
    match resource.conversion {
        None => api::document::encode(object),
        Some(_) => api::document::encode(&resource.to_stored(object)),
    }
}

/// 422 with what validation found, or nothing.
pub fn check(resource: &Resource, name: &str, errors: &api::field::Errors) -> Result<(), ApiError> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(resource.stored_group(), resource.kind.kind, name, errors))
    }
}
