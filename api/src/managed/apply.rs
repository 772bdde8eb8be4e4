//! Apply: the merge of what a manager wants into the live object.

use super::conflict::{Conflict, conflict_error};
use super::element::same;
use super::fields::{fields, misfits};
use super::managers::{Manager, Managers, Operation};
use super::merge::{merge, remove, with_named_parents};
use super::set::FieldSet;
use super::shape::Shape;
use super::versions::{Changes, Versions};
use super::{MANAGED_FIELDS, ResetFields, Writer, after_update, empty_object, last_applied, strip_metadata};
use crate::document;
use crate::schema::TypeRef;
use crate::status::ApiError;
use serde_json::Value;
use std::borrow::Cow;

/// Applies `applied`, as the client sent it, to `live`, the stored object (`{}` where there is none yet). Gives the
/// merged object with its managed fields, still to be decoded by its schema and defaulted as a body would be; or, if
/// the live object is as wanted already, that with the managed fields. Fields that the manager applied the last time
/// and not now are removed unless others own them. What others own and this would change is a conflict, or with
/// `force` becomes the manager's. `reset`: see [`super::reset_fields`].
///
/// Errors: 400 for another type than `ty` or managed fields in the patch, 409 with causes for conflicts, 500 with
/// upstream's message for what does not fit the schema.
pub fn apply<'a>(
    live: &Value,
    applied: &Value,
    versions: impl Into<Versions<'a>>,
    writer: &Writer<'_>,
    force: bool,
    reset: &ResetFields,
) -> Result<Value, ApiError> {
    let versions = versions.into();
    let ty = versions.ty;
    let list = document::get(live, MANAGED_FIELDS);
    let stored = Managers::decode(list).map_err(|why| unfit(format!("failed to decode managed fields: {why}")))?;
    check_type(applied, ty, writer)?;
    let exists = live.as_object().is_some_and(|map| !map.is_empty());
    let untyped = if exists { misfits(live, versions.here(), true) } else { None };
    if let (true, Some(why)) = (stored.0.is_empty(), &untyped) {
        const WHAT: &str = "failed to create manager for existing fields: failed to convert new object";
        return Err(unfit(format!("{WHAT} ({}) to smd typed: {why}", describe(live))));
    }
    if document::get(applied, MANAGED_FIELDS).is_some_and(Value::is_array) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    if let Some(why) = misfits(applied, versions.here(), false) {
        return Err(unfit(format!("failed to create typed patch object ({}): {why}", describe(applied))));
    }
    if let Some(why) = untyped {
        return Err(unfit(format!("failed to create typed live object ({}): {why}", describe(live))));
    }
    let zero = empty_object(ty);
    let mut bare;
    let live = if !exists {
        &zero
    } else {
        bare = live.clone();
        document::metadata_mut(&mut bare).remove("managedFields");
        &bare
    };
    let managers = if stored.0.is_empty() {
        let before = Writer { manager: "before-first-apply", ..*writer };
        after_update(&zero, live, stored, &versions, &before, reset)
    } else {
        stored
    };
    let mut managers = managers;
    // Noted in another group, it counts no more, but its time does.
    let before = managers.find(&writer.entry(Operation::Apply)).and_then(|previous| previous.time.clone());
    managers.retain_known(&versions);
    let turn = Turn { live, applied, versions, writer, reset, before };
    let (merged, managers) = match turn.run(managers.clone(), force) {
        Ok(done) => done,
        Err(mut conflicts) => {
            last_applied::excuse(&mut conflicts, live, ty, writer);
            if !conflicts.is_empty() {
                return Err(conflict_error(conflicts));
            }
            turn.run(managers, true).map_err(conflict_error)?
        }
    };
    let mut object = merged.unwrap_or_else(|| live.clone());
    last_applied::refresh(&mut object, applied, writer);
    let copy = |place: usize| list.and_then(|list| list.get(place)).cloned().unwrap_or_default();
    if let Some(list) = managers.encode().into_list(copy) {
        document::metadata_mut(&mut object).insert("managedFields".to_owned(), list);
    }
    Ok(object)
}

/// The object does not fit its type; upstream has no reason for this.
fn unfit(message: String) -> ApiError {
    ApiError::new(500, "", message)
}

/// The merged object cannot be decoded. `applied`: what the client sent.
pub fn unconvertible(applied: &Value, why: &str) -> ApiError {
    let (what, kind) = (describe(applied), type_text(applied));
    unfit(format!(
        "failed to convert new object ({what}) to proper version: unable to convert unstructured object to {kind}: {why}"
    ))
}

/// The merged object fits its type, but its kind cannot read it. `applied`: what the client sent.
pub fn unreadable(applied: &Value, why: &str) -> ApiError {
    unfit(format!("failed to convert to unversioned ({}): {why}", describe(applied)))
}

fn check_type(applied: &Value, ty: TypeRef<'_>, writer: &Writer<'_>) -> Result<(), ApiError> {
    let kind = ty.gvk.as_ref().map_or("", |gvk| &gvk.2);
    let given = document::get_str(applied, "kind");
    if document::get_str(applied, "apiVersion") == writer.api_version && (given == kind || kind.is_empty()) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("invalid object type: {}", type_text(applied))))
}

/// `apps/v1, Kind=Deployment`; the core group leaves its place empty.
fn type_text(object: &Value) -> String {
    let (version, kind) = (document::get_str(object, "apiVersion"), document::get_str(object, "kind"));
    match version.matches('/').count() {
        0 => format!("/{version}, Kind={kind}"),
        1 => format!("{version}, Kind={kind}"),
        _ => "/, Kind=".to_owned(),
    }
}

fn describe(object: &Value) -> String {
    format!("{}/{}; {}", document::namespace(object), document::name(object), type_text(object))
}

/// One attempt to apply.
struct Turn<'a> {
    /// Without managed fields.
    live: &'a Value,
    applied: &'a Value,
    versions: Versions<'a>,
    writer: &'a Writer<'a>,
    reset: &'a ResetFields,
    /// When the manager's entry last changed.
    before: Option<Cow<'a, str>>,
}

impl<'a> Turn<'a> {
    /// The merged object, `None` if it is the live one, and the entries after it; or what stands against it.
    fn run(&self, mut managers: Managers<'a>, force: bool) -> Result<(Option<Value>, Managers<'a>), Vec<Conflict<'a>>> {
        for manager in &mut managers.0 {
            manager.reconcile(self.versions.shape(&manager.version));
        }
        let shape = self.versions.here();
        let mut entry = self.writer.entry(Operation::Apply);
        let now = std::mem::replace(&mut entry.time, self.before.clone());
        let last = managers.find(&entry).cloned();
        entry.set = fields(self.applied, shape);
        self.reset.apply(&mut entry.set);
        managers.put(entry.clone());

        let mut merged = merge(Some(self.live), Some(self.applied), shape).unwrap_or_default();
        if let Some(last) = last
            && let Some(pruned) = self.prune(&merged, &last, &managers)
        {
            merged = pruned;
        }
        let conflicts = self.take(&merged, &mut managers, &entry);
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        let changed = !same(self.live, &merged);
        if let Some(own) = managers.0.iter_mut().find(|m| m.is(&entry)) {
            strip_metadata(&mut own.set);
            if changed {
                own.time = now;
            }
        }
        managers.0.retain(|m| !m.set.is_empty());
        Ok((changed.then_some(merged), managers))
    }

    /// Takes what changes from all managers but the writer's own entry; gives what that were.
    fn take(&self, merged: &Value, managers: &mut Managers<'a>, own: &Manager<'a>) -> Vec<Conflict<'a>> {
        let written = self.writer.api_version;
        let changes = Changes::new(self.live, merged, &self.versions, written, managers.versions(), self.reset);
        let mut conflicts = Vec::new();
        for manager in managers.0.iter_mut().filter(|m| !m.is(own)) {
            let [taken, removed] = changes.at(&manager.version);
            let fields = manager.set.intersection(taken);
            manager.lose(taken);
            manager.lose(removed);
            if !fields.is_empty() {
                let owner = Manager { set: FieldSet::default(), ..manager.clone() };
                conflicts.push(Conflict { owner, fields });
            }
        }
        conflicts
    }

    /// The merged object without what the manager applied the last time, does not any more, and nobody else owns;
    /// `None` if that is nothing. What others have below a field keeps the field.
    fn prune(&self, merged: &Value, last: &Manager<'_>, managers: &Managers<'_>) -> Option<Value> {
        let managed = |version: &str| {
            let sets = managers.0.iter().filter(|m| m.version == version).map(|m| m.set.clone());
            FieldSet::union(sets.collect())
        };
        let mut given_up = last.set.clone();
        given_up.subtract(&managed(&last.version));
        if given_up.is_empty() {
            return None;
        }
        // The version that it was applied in comes first: what its conversion needs is back then.
        let mut versions: Vec<&str> = managers.versions().filter(|version| *version != last.version).collect();
        versions.sort_unstable();
        versions.dedup();
        versions.insert(0, &last.version);
        let convert = |object, from: &str, to: &str| self.versions.converted(object, from, to);
        let written = self.writer.api_version;
        let shape = self.versions.shape(&last.version);
        // First all that was applied goes; then what somebody owns comes back.
        let mut at: &str = &last.version;
        let merged = convert(Cow::Borrowed(merged), written, at);
        let mut pruned = Cow::Owned(without(&merged, &named(&last.set, shape), shape));
        for version in versions {
            let shape = self.versions.shape(version);
            let whole = convert(Cow::Borrowed(&*merged), &last.version, version);
            let left = convert(pruned, at, version);
            let mut unowned = all(&whole, shape);
            unowned.subtract(&all(&left, shape));
            unowned.subtract(&named(&managed(version), shape));
            pruned = Cow::Owned(without(&whole, &unowned, shape));
            at = version;
        }
        // Of what would go now, only what was this manager's.
        let left = convert(pruned, at, &last.version);
        let mut gone = all(&merged, shape);
        gone.subtract(&all(&left, shape));
        let pruned = without(&merged, &gone.intersection(&named(&last.set, shape)), shape);
        Some(convert(Cow::Owned(pruned), &last.version, written).into_owned())
    }
}

/// All fields of an object.
fn all<'a>(object: &'a Value, shape: Shape<'a>) -> FieldSet<'a> {
    named(&fields(object, shape), shape)
}

fn named<'a>(set: &FieldSet<'a>, shape: Shape<'_>) -> FieldSet<'a> {
    with_named_parents(set, Some(shape)).into_owned()
}

fn without(object: &Value, gone: &FieldSet<'_>, shape: Shape<'_>) -> Value {
    let mut object = object.clone();
    remove(&mut object, gone, shape);
    object
}
