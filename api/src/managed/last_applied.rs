//! The way from client-side apply to server-side apply: `kubectl`'s annotation with what it applied last.

use super::compare::compare;
use super::conflict::Conflict;
use super::element::write_go_json;
use super::fields::{fields, misfits};
use super::shape::Shape;
use super::{TypeRef, Writer};
use crate::document;
use serde_json::Value;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that takes part; others opt out by having another name.
const KUBECTL: &str = "kubectl";
/// Bytes of an object's annotations.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// Takes out of the conflicts what `kubectl` itself applied on the client side and nobody changed since. With an
/// annotation that cannot be used all conflicts stay.
pub(super) fn excuse(conflicts: &mut Vec<Conflict<'_>>, live: &Value, ty: TypeRef<'_>, writer: &Writer<'_>) {
    if writer.manager != KUBECTL {
        return;
    }
    let text = document::annotation(live, ANNOTATION).unwrap_or_default();
    let Ok(last @ Value::Object(_)) = serde_json::from_str::<Value>(text) else { return };
    let shape = Shape::of_type(ty);
    if document::get_str(&last, "apiVersion") != writer.api_version
        || misfits(&last, shape, false).is_some()
        || misfits(live, shape, false).is_some()
    {
        return;
    }
    let mut own = fields(&last, shape);
    let changes = compare(&last, live, shape);
    for changed in [&changes.modified, &changes.added, &changes.removed] {
        own.subtract(changed);
    }
    for conflict in conflicts.iter_mut() {
        conflict.fields.subtract(&own);
    }
    conflicts.retain(|c| !c.fields.is_empty());
}

/// Brings the annotation up to date with what `kubectl` applied, if the object has one.
pub(super) fn refresh(object: &mut Value, applied: &Value, writer: &Writer<'_>) {
    if writer.manager != KUBECTL || document::annotation(object, ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut applied = applied.clone();
    if let Some(Value::Object(annotations)) = applied.pointer_mut("/metadata/annotations") {
        annotations.remove(ANNOTATION);
    }
    let mut text = String::new();
    write_go_json(&mut text, &applied);
    text.push('\n');
    let annotations = document::child(document::metadata_mut(object), "annotations");
    annotations.insert(ANNOTATION.to_owned(), text.into());
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_MAX {
        annotations.remove(ANNOTATION);
    }
}
