//! Delete and deletecollection: preconditions, grace, finalizers, propagation.
//!
//! Follows `BeforeDelete` and the generic store's `Delete` in `k8s.io/apiserver/pkg/registry`.

use super::{Call, Object, meta};
use crate::params::DeleteOptions;
use crate::server::ApiServer;
use crate::{admission, reserve};
use api::Value;
use api::document;
use api::status::ApiError;
use futures::stream::{self, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use storage::{Entry, Expect};

const TRIES: usize = 20;
/// Objects of a collection that are deleted at the same time.
const DELETIONS_AT_ONCE: usize = 16;

/// A deletion's outcome.
pub struct Deleted {
    /// The object as it was or, where it is only marked, as it is now.
    pub object: Object,
    /// False while grace or finalizers keep it.
    pub gone: bool,
}

/// What a deletion does to an object.
enum Step {
    /// A deletion is under way already and this one changes nothing.
    Pending,
    /// It is marked, and stays until grace and finalizers are over.
    Mark(Value),
    /// It goes, and was this at the end.
    Remove(Value),
}

impl ApiServer {
    pub async fn delete(&self, call: &Call<'_>, options: &DeleteOptions) -> Result<Deleted, ApiError> {
        let key = call.key();
        let rules = call.resource.rules;
        if let Some(why) = rules.undeletable(call.name) {
            let kind = call.resource.kind;
            return Err(ApiError::forbidden(kind.group, kind.resource, call.name, why));
        }
        warn(call, options);
        let mut entry = call.entry()?;
        for _ in 0..TRIES {
            match self.delete_once(call, options, &key, &entry).await? {
                Ok(deleted) => return Ok(deleted),
                Err(Some(current)) => entry = current,
                Err(None) => return Err(ApiError::not_found(call.resource.kind, call.name)),
            }
        }
        Err(ApiError::modified(call.resource.kind, call.name))
    }

    async fn delete_once(
        &self,
        call: &Call<'_>,
        options: &DeleteOptions,
        key: &str,
        entry: &Arc<Entry>,
    ) -> Result<Result<Deleted, Option<Arc<Entry>>>, ApiError> {
        let old = call.resource.read(&entry.value)?;
        check_preconditions(call, options, &old)?;
        let step = plan(call, options, &old);
        admission::validate(call, None, Some(&old))?;
        let expect = Expect::Revision(entry.revision);
        match step {
            Step::Pending => Ok(Ok(Deleted { object: Object::Stored(entry.clone()), gone: false })),
            Step::Mark(object) if call.dry_run => Ok(Ok(Deleted { object: Object::Built(object), gone: false })),
            Step::Remove(last) if call.dry_run => Ok(Ok(Deleted { object: Object::Built(last), gone: true })),
            Step::Mark(object) => Ok(match self.commit(call, key, expect, Some(&object)).await? {
                Ok(committed) => Ok(Deleted { object: Object::Stored(committed.entry), gone: false }),
                Err(current) => Err(current),
            }),
            Step::Remove(mut last) => Ok(match self.commit(call, key, expect, None).await? {
                Ok(committed) => {
                    reserve::release(call, &old).await;
                    document::set(&mut last, "metadata.resourceVersion", committed.revision.to_string());
                    Ok(Deleted { object: Object::Built(last), gone: true })
                }
                Err(current) => Err(current),
            }),
        }
    }

    /// Deletes every object that a list gave, several at a time, so that they share the disk's flushes.
    pub async fn delete_collection(
        &self,
        call: &Call<'_>,
        entries: &[Arc<Entry>],
        options: &DeleteOptions,
    ) -> Result<(), ApiError> {
        if !entries.is_empty() {
            warn(call, options);
        }
        let entries = entries.iter().map(Ok::<_, ApiError>);
        let each = |entry: &'_ Arc<Entry>| {
            let entry = entry.clone();
            async move {
                let (namespace, name) = call.resource.split_key(&entry.key);
                let one = Call { namespace, name, warnings: Default::default(), ..*call };
                match self.delete(&one, options).await {
                    Err(failure) if failure.code != 404 => Err(failure),
                    _ => Ok(()),
                }
            }
        };
        stream::iter(entries).try_for_each_concurrent(DELETIONS_AT_ONCE, each).await
    }
}

/// Warns of what a deletion does that does not say what is to become of the dependents.
fn warn(call: &Call<'_>, options: &DeleteOptions) {
    if options.orphan_dependents.is_none()
        && options.propagation_policy.is_none()
        && let Some(warning) = call.resource.rules.deletion_warning()
    {
        call.warn(warning);
    }
}

fn check_preconditions(call: &Call<'_>, options: &DeleteOptions, old: &Value) -> Result<(), ApiError> {
    let checks = [
        (&options.uid, document::uid(old), "UID", "deleted and then recreated"),
        (&options.resource_version, document::resource_version(old), "ResourceVersion", "modified"),
    ];
    for (wanted, actual, what, why) in checks {
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != actual) {
            let kind = call.resource.kind;
            if call.resource.rules.has_own_preconditions() {
                let why =
                    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}");
                return Err(ApiError::conflict(kind, call.name, why));
            }
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({actual}). The object might have been {why}"
            );
            return Err(ApiError::conflict_in(call.resource.stored_group(), kind.kind, call.name, why));
        }
    }
    Ok(())
}

/// Decides what this deletion does to the object.
fn plan(call: &Call<'_>, options: &DeleteOptions, old: &Value) -> Step {
    let rules = call.resource.rules;
    let requested = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let terminating = document::is_terminating(old);
    let mut object = old.clone();
    let mut graceful = false;
    let period = rules.grace_period(old, requested);
    if terminating {
        let current = document::get_i64(old, "metadata.deletionGracePeriodSeconds").unwrap_or(0);
        if period.is_some() && current > 0 {
            match requested.filter(|seconds| *seconds < current) {
                None => return Step::Pending,
                Some(seconds) => shorten_grace(&mut object, current, seconds, call.now),
            }
            graceful = document::get_i64(&object, "metadata.deletionGracePeriodSeconds") != Some(0);
        }
    } else if let Some(seconds) = period.filter(|seconds| *seconds > 0) {
        mark(&mut object, call.now, seconds);
        graceful = true;
    }
    let finalizers = finalizers(call, options, old);
    if finalizers.is_empty() {
        document::metadata_mut(&mut object).remove("finalizers");
    } else {
        document::metadata_mut(&mut object).insert("finalizers".into(), finalizers.clone().into());
    }
    let kept = !finalizers.is_empty() || rules.is_kept(old);
    if !graceful && !kept {
        if period.is_some() && !terminating {
            mark(&mut object, call.now, 0);
        }
        return Step::Remove(object);
    }
    if kept && !graceful {
        // Finalizers outlive the grace period: nothing is left to wait for but them.
        if !terminating {
            mark(&mut object, call.now, 0);
        } else if document::get(&object, "metadata.deletionGracePeriodSeconds").is_some() {
            document::set(&mut object, "metadata.deletionGracePeriodSeconds", 0);
        }
    }
    rules.mark_deleted(&mut object);
    if object == *old { Step::Pending } else { Step::Mark(object) }
}

fn mark(object: &mut Value, now: Timestamp, seconds: i64) {
    let deadline = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    document::set(object, "metadata.deletionTimestamp", api::time::format(deadline));
    document::set(object, "metadata.deletionGracePeriodSeconds", seconds);
    if let Some(generation) = document::get_i64(object, "metadata.generation").filter(|g| *g > 0) {
        document::set(object, "metadata.generation", generation + 1);
    }
}

/// Moves the deadline of a deletion that is under way; never into the past.
fn shorten_grace(object: &mut Value, current: i64, seconds: i64, now: Timestamp) {
    let deadline = api::time::parse(document::get_str(object, "metadata.deletionTimestamp"))
        .ok()
        .and_then(|at| at.checked_sub(SignedDuration::from_secs(current - seconds)).ok())
        .unwrap_or(now);
    let (deadline, seconds) = if deadline < now { (now, seconds.min(1)) } else { (deadline, seconds) };
    document::set(object, "metadata.deletionTimestamp", api::time::format(deadline));
    document::set(object, "metadata.deletionGracePeriodSeconds", seconds);
}

/// The finalizers that the object has from now on: the propagation policy is kept as one of them.
fn finalizers(call: &Call<'_>, options: &DeleteOptions, old: &Value) -> Vec<Value> {
    if !call.resource.rules.has_dependents() {
        return document::finalizers(old).map(Value::from).collect();
    }
    let before: Vec<&str> = document::finalizers(old).collect();
    let wanted = match (options.orphan_dependents, options.propagation_policy.as_deref()) {
        (Some(true), _) | (None, Some("Orphan")) => Some(meta::ORPHAN),
        (Some(false), _) | (None, Some("Background")) => None,
        (None, Some(_)) => Some(meta::FOREGROUND),
        (None, None) if before.contains(&meta::ORPHAN) => Some(meta::ORPHAN),
        (None, None) if before.contains(&meta::FOREGROUND) => Some(meta::FOREGROUND),
        (None, None) => call.resource.rules.orphans_by_default().then_some(meta::ORPHAN),
    };
    let others = before.into_iter().filter(|f| *f != meta::ORPHAN && *f != meta::FOREGROUND);
    others.chain(wanted).map(Value::from).collect()
}
