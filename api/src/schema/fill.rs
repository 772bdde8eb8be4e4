//! What an object gets without asking: `+default` values, and the zeros that Go writes.

use super::{FieldType, Presence, TypeRef};
use serde_json::Value;

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

/// Writes the zero values that upstream writes for fields which are neither pointers nor `omitempty`:
/// `status.replicas: 0`, `strategy: {}`, `rules: null`.
pub fn fill(value: &mut Value, ty: TypeRef<'_>) {
    walk(value, ty, &mut |value, ty| {
        let Some(map) = value.as_object_mut() else { return };
        for field in ty.ty.fields.iter().filter(|f| f.presence == Presence::Always) {
            // Upstream's store does not tell an empty list from none.
            if map.get(&*field.name).is_none_or(|value| value.as_array().is_some_and(Vec::is_empty)) {
                map.insert(field.name.to_string(), field.ty.zero());
            }
        }
    });
}

/// Writes empty lists and maps as upstream's store gives them back, where they are written at all: as null.
pub fn settle(value: &mut Value, ty: TypeRef<'_>) {
    walk(value, ty, &mut |value, ty| {
        let Some(map) = value.as_object_mut() else { return };
        for field in ty.ty.fields.iter().filter(|f| f.presence == Presence::Always) {
            let empty = |value: &Value| match (&field.ty, value) {
                (FieldType::List(_), Value::Array(items)) => items.is_empty(),
                (FieldType::Map(_), Value::Object(fields)) => fields.is_empty(),
                _ => false,
            };
            if let Some(value) = map.get_mut(&*field.name).filter(|value| empty(value)) {
                *value = Value::Null;
            }
        }
    });
}

/// Calls `visit` for every object of a known type, parents first.
fn walk(value: &mut Value, ty: TypeRef<'_>, visit: &mut impl FnMut(&mut Value, TypeRef<'_>)) {
    if !value.is_object() {
        return;
    }
    visit(value, ty);
    let Some(map) = value.as_object_mut() else { return };
    for (key, child) in map.iter_mut().filter(|(_, child)| child.is_object() || child.is_array()) {
        if let Some(field) = ty.field(key) {
            walk_field(child, &field.ty, ty, visit);
        }
    }
}

fn walk_field(value: &mut Value, field: &FieldType, ty: TypeRef<'_>, visit: &mut impl FnMut(&mut Value, TypeRef<'_>)) {
    match (field, value) {
        (FieldType::List(inner), Value::Array(items)) => {
            for item in items {
                walk_field(item, inner, ty, visit);
            }
        }
        (FieldType::Map(inner), Value::Object(map)) => {
            for item in map.values_mut() {
                walk_field(item, inner, ty, visit);
            }
        }
        (FieldType::SchemaOrArray(_), Value::Array(items)) => {
            for item in items {
                walk_field(item, field, ty, visit);
            }
        }
        (_, value) => {
            if let Some(inner) = ty.target(field) {
                walk(value, inner, visit);
            }
        }
    }
}
