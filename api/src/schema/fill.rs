//! What an object gets without asking: `+default` values, and the zeros that Go writes.

use super::{Field, FieldType, ListType, Presence, TypeRef};
use serde_json::Value;
use std::borrow::Cow;

/// Applies the schema's `+default`s wherever the field's parent is there. Defaults that a kind computes are the kind's
/// own rules.
pub fn default(value: &mut Value, ty: TypeRef<'_>) {
    walk(value, ty, &mut |value, ty| {
        for field in &ty.ty.fields {
            // `+default=""` of a field that Go omits when empty says nothing.
            if let Some(default) = &field.default
                && (field.presence != Presence::Omit || *default != field.ty.zero())
                && let Some(map) = value.as_object_mut()
                && map.get(&*field.name).is_none_or(Value::is_null)
            {
                map.insert(field.name.to_string(), default.clone());
            }
        }
    });
}

/// Writes what upstream writes for fields without `omitempty`: the zero values of those which are no pointers
/// (`status.replicas: 0`, `strategy: {}`, `rules: null`), and null for the others.
pub fn fill(value: &mut Value, ty: TypeRef<'_>) {
    walk(value, ty, &mut |value, ty| {
        let Some(map) = value.as_object_mut() else { return };
        for field in &ty.ty.fields {
            let zero = match field.presence {
                Presence::Always => field.ty.zero(),
                Presence::Null => Value::Null,
                Presence::Pointer | Presence::Omit => continue,
            };
            if map.get(&*field.name).is_none_or(Value::is_null) {
                map.insert(field.name.to_string(), zero);
            }
        }
    });
}

/// Brings lists and maps that were sent empty to what upstream's store gives back: nothing, or null where they are always
/// written. True when there were any.
pub fn settle(value: &mut Value, ty: TypeRef<'_>) -> bool {
    let mut found = false;
    walk(value, ty, &mut |value, ty| {
        let Some(map) = value.as_object_mut() else { return };
        map.retain(|key, value| {
            let Some(field) = ty.field(key).filter(|field| is_empty(&field.ty, value)) else { return true };
            found = true;
            if field.presence == Presence::Always {
                *value = Value::Null;
            }
            field.presence != Presence::Omit
        });
    });
    found
}

/// The document as server-side apply sees it: without the lists and maps that are empty and that JSON leaves out then. Below
/// an atomic list they stay, as upstream compares those as they are in memory. Copied only where there are any.
pub fn written<'v>(value: &'v Value, ty: TypeRef<'_>) -> Cow<'v, Value> {
    if !has_empty(value, ty) {
        return Cow::Borrowed(value);
    }
    let is_atomic = |field: &Field| {
        matches!(field.ty, FieldType::List(_)) && matches!(field.list, ListType::Unset | ListType::Atomic)
    };
    let mut value = value.clone();
    walk_where(&mut value, ty, &|field| !is_atomic(field), &mut |value, ty| {
        let Some(map) = value.as_object_mut() else { return };
        let is_written = |field: &Field, value: &Value| field.presence != Presence::Omit || !is_empty(&field.ty, value);
        map.retain(|key, value| ty.field(key).is_none_or(|field| is_written(field, value)));
    });
    Cow::Owned(value)
}

/// Gives `old`, which was stored, the empty lists and maps that `new` was sent with where it has none itself: whoever
/// compares the two takes them for equal then, as upstream does.
pub fn align(old: &mut Value, new: &Value, ty: TypeRef<'_>) {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return };
    for (key, new) in new.iter().filter(|(_, new)| new.is_object() || new.is_array()) {
        let Some(field) = ty.field(key) else { continue };
        match old.get_mut(key).filter(|old| !old.is_null()) {
            None if is_empty(&field.ty, new) => drop(old.insert(key.clone(), new.clone())),
            None => {}
            Some(old) => align_field(old, new, &field.ty, ty),
        }
    }
}

fn align_field(old: &mut Value, new: &Value, field: &FieldType, ty: TypeRef<'_>) {
    match (field, old, new) {
        (FieldType::List(inner), Value::Array(old), Value::Array(new)) => {
            old.iter_mut().zip(new).for_each(|(old, new)| align_field(old, new, inner, ty));
        }
        (FieldType::Map(inner), Value::Object(old), Value::Object(new)) => {
            for (key, new) in new {
                if let Some(old) = old.get_mut(key) {
                    align_field(old, new, inner, ty);
                }
            }
        }
        (field, old, new) => {
            if let Some(inner) = ty.target(field) {
                align(old, new, inner);
            }
        }
    }
}

fn is_empty(ty: &FieldType, value: &Value) -> bool {
    match (ty, value) {
        (FieldType::List(_), Value::Array(items)) => items.is_empty(),
        (FieldType::Map(_), Value::Object(fields)) => fields.is_empty(),
        _ => false,
    }
}

/// Whether a list or a map somewhere in the object is empty.
fn has_empty(value: &Value, ty: TypeRef<'_>) -> bool {
    let Value::Object(map) = value else { return false };
    map.iter().filter(|(_, value)| value.is_object() || value.is_array()).any(|(key, value)| {
        ty.field(key).is_some_and(|field| is_empty(&field.ty, value) || has_empty_below(value, &field.ty, ty))
    })
}

fn has_empty_below(value: &Value, field: &FieldType, ty: TypeRef<'_>) -> bool {
    match (field, value) {
        (FieldType::List(inner), Value::Array(items)) => items.iter().any(|item| has_empty_below(item, inner, ty)),
        (FieldType::Map(inner), Value::Object(map)) => map.values().any(|item| has_empty_below(item, inner, ty)),
        (_, value) => ty.target(field).is_some_and(|inner| has_empty(value, inner)),
    }
}

/// Calls `visit` for every object of a known type, parents first.
fn walk(value: &mut Value, ty: TypeRef<'_>, visit: &mut impl FnMut(&mut Value, TypeRef<'_>)) {
    walk_where(value, ty, &|_| true, visit);
}

/// As [`walk`], below those fields only that `enters` is true of.
fn walk_where(
    value: &mut Value,
    ty: TypeRef<'_>,
    enters: &impl Fn(&Field) -> bool,
    visit: &mut impl FnMut(&mut Value, TypeRef<'_>),
) {
    if !value.is_object() {
        return;
    }
    visit(value, ty);
    let Some(map) = value.as_object_mut() else { return };
    for (key, child) in map.iter_mut().filter(|(_, child)| child.is_object() || child.is_array()) {
        if let Some(field) = ty.field(key).filter(|field| enters(field)) {
            walk_field(child, &field.ty, ty, enters, visit);
        }
    }
}

fn walk_field(
    value: &mut Value,
    field: &FieldType,
    ty: TypeRef<'_>,
    enters: &impl Fn(&Field) -> bool,
    visit: &mut impl FnMut(&mut Value, TypeRef<'_>),
) {
    match (field, value) {
        (FieldType::List(inner), Value::Array(items)) => {
            items.iter_mut().for_each(|item| walk_field(item, inner, ty, enters, visit));
        }
        (FieldType::Map(inner), Value::Object(map)) => {
            map.values_mut().for_each(|item| walk_field(item, inner, ty, enters, visit));
        }
        (FieldType::SchemaOrArray(_), Value::Array(items)) => {
            items.iter_mut().for_each(|item| walk_field(item, field, ty, enters, visit));
        }
        (_, value) => {
            if let Some(inner) = ty.target(field) {
                walk_where(value, inner, enters, visit);
            }
        }
    }
}
