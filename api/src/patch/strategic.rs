//! Strategic merge patch: a merge patch that knows which lists are sets and which are maps, from the schema.
//!
//! Behaviour, directives and sentences follow `k8s.io/apimachinery/pkg/util/strategicpatch`.

use super::unprocessable;
use crate::schema::{Field, FieldType, TypeRef};
use crate::status::ApiError;
use crate::{Map, Value, codec};
use std::collections::{HashMap, HashSet};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies a patch to an object of type `ty`. 400 for a malformed patch, 422 for lists of lists, 500 (upstream's code) for
/// a patch that does not fit the object.
pub fn apply(object: Value, patch: &[u8], ty: TypeRef<'_>) -> Result<Value, ApiError> {
    let patch = match codec::json::decode_any(patch).map_err(ApiError::bad_request)? {
        Value::Object(patch) => patch,
        Value::Null => Map::new(),
        other => return Err(ApiError::bad_request(super::no_object(&other))),
    };
    let Value::Object(object) = object else { return Err(bad("invalid JSON document")) };
    merge_map(object, patch, Some(ty)).map(Value::Object)
}

/// A patch as the sentence of a refusal shows it: as Go prints maps.
pub fn shown(patch: &[u8]) -> String {
    codec::json::decode_any(patch).map(|patch| GoPrint(&patch).to_string()).unwrap_or_default()
}

fn bad(why: &str) -> ApiError {
    ApiError::bad_request(why)
}

/// Upstream answers 500 with the bare sentence.
fn misfit(why: String) -> ApiError {
    ApiError::new(500, "", why)
}

fn no_merge_key(map: &Value, key: &str) -> ApiError {
    misfit(format!("map: {} does not contain declared merge key: {key}", GoPrint(map)))
}

fn bad_argument(expected: &str, found: &Value) -> ApiError {
    let found = match found {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    misfit(format!("expected a {expected}, but received a {found}"))
}

/// A value as Go's `%v` prints it.
struct GoPrint<'a>(&'a Value);

impl std::fmt::Display for GoPrint<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Value::Null => f.write_str("<nil>"),
            Value::String(text) => f.write_str(text),
            Value::Array(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if i > 0 { " " } else { "" }, GoPrint(item))?;
                }
                f.write_str("]")
            }
            Value::Object(map) => {
                f.write_str("map[")?;
                for (i, (key, item)) in map.iter().enumerate() {
                    write!(f, "{}{key}:{}", if i > 0 { " " } else { "" }, GoPrint(item))?;
                }
                f.write_str("]")
            }
            // Go writes a whole number without a point.
            Value::Number(n) if n.is_f64() => match n.as_f64() {
                Some(whole) if whole.fract() == 0.0 && whole.abs() < 1e21 => write!(f, "{whole:.0}"),
                _ => n.fmt(f),
            },
            other => other.fmt(f),
        }
    }
}

/// A value as Go's `%s` prints it: what is no text with its type.
fn go_text(value: &Value) -> String {
    let ty = match value {
        Value::Null => return "%!s(<nil>)".to_owned(),
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) | Value::Array(_) | Value::Object(_) => return GoPrint(value).to_string(),
    };
    format!("%!s({ty}={})", GoPrint(value))
}

fn merge_map(mut original: Map, mut patch: Map, ty: Option<TypeRef<'_>>) -> Result<Map, ApiError> {
    match patch.remove(DIRECTIVE) {
        None => {}
        Some(directive) if directive == "replace" => return Ok(patch),
        Some(directive) if directive == "delete" => return Ok(Map::new()),
        Some(directive) => {
            let kind = go_text(&directive);
            patch.insert(DIRECTIVE.to_owned(), directive);
            return Err(misfit(format!("unknown patch type: {kind} in map: {}", GoPrint(&Value::Object(patch)))));
        }
    }
    retain_keys(&mut original, &mut patch)?;
    order_lists(&mut original, &mut patch, ty)?;
    for (key, value) in patch {
        let (name, deletes) = match key.strip_prefix(DELETE_FROM) {
            Some(name) => (name, true),
            None if key.starts_with("$deleteFromPrimitiveList") => {
                return Err(bad("invalid patch format of primitive list"));
            }
            None => (key.as_str(), false),
        };
        if value.is_null() {
            original.remove(name);
            continue;
        }
        let field = ty.and_then(|ty| ty.field(name));
        let inner = ty.zip(field).and_then(|(ty, field)| ty.target(&field.ty));
        let merged = match (original.remove(name), value) {
            (Some(Value::Object(_)), value @ Value::Object(_)) if is_replaced(field) => Some(value),
            (Some(Value::Object(old)), Value::Object(new)) => {
                check_opaque(&old, &new, field)?;
                // Between a map and its values there is one level without a type.
                let inner = inner.filter(|_| !matches!(field.map(|f| &f.ty), Some(FieldType::Map(_))));
                Some(Value::Object(merge_map(old, new, inner)?))
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                Some(Value::Array(merge_field_list(old, new, field, inner, deletes)?))
            }
            (old, _) if deletes => old,
            (_, mut value) => {
                discard_nulls(&mut value);
                without_directives(value)
            }
        };
        if let Some(merged) = merged {
            original.insert(name.to_owned(), merged);
        }
    }
    Ok(original)
}

/// What upstream keeps as bytes has no fields to merge by; only its scalars can be patched.
fn check_opaque(old: &Map, new: &Map, field: Option<&Field>) -> Result<(), ApiError> {
    let name = match field.map(|f| &f.ty) {
        Some(FieldType::RawExtension) => "RawExtension",
        Some(FieldType::FieldsV1) => "FieldsV1",
        Some(FieldType::Json) => "JSON",
        _ => return Ok(()),
    };
    let is_merged = |key: &str, value: &Value| match old.get(key) {
        Some(Value::Object(_)) => value.is_object(),
        Some(Value::Array(_)) => value.is_array(),
        _ => false,
    };
    match new.iter().find(|(key, value)| is_merged(key, value)).filter(|_| !new.contains_key(DIRECTIVE)) {
        Some((key, _)) => {
            let key = crate::field::quote(key);
            Err(misfit(format!("unable to find api field in struct {name} for the json field {key}")))
        }
        None => Ok(()),
    }
}

fn is_replaced(field: Option<&Field>) -> bool {
    field.is_some_and(|f| f.patch.replace)
}

/// `$retainKeys`: the patch's fields must be among these keys, and the original's others go.
fn retain_keys(original: &mut Map, patch: &mut Map) -> Result<(), ApiError> {
    const WRONG: &str = "invalid patch format of retainKeys";
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(bad(WRONG)) };
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let keeps = |key: &str| keys.contains(key);
    let is_directive = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !is_directive(key) && !keeps(key)) {
        return Err(bad(WRONG));
    }
    original.retain(|key, _| keeps(key));
    Ok(())
}

/// `$setElementOrder/...`: merges each list that has one and puts it in order. Those lists leave the patch.
fn order_lists(original: &mut Map, patch: &mut Map, ty: Option<TypeRef<'_>>) -> Result<(), ApiError> {
    const WRONG: &str = "invalid patch format of setElementOrder list";
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with("$setElementOrder")).cloned().collect();
    for key in directives {
        let order = match patch.remove(&key) {
            Some(Value::Array(order)) => order,
            Some(other) => return Err(bad_argument("[]interface {}", &other)),
            None => continue,
        };
        let name = key.strip_prefix(SET_ORDER).ok_or_else(|| bad(WRONG))?;
        let list = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(bad_argument("[]interface {}", &other)),
        };
        let (live, wanted) = (list(original.remove(name))?, list(patch.remove(name))?);
        let field = ty.and_then(|ty| ty.field(name));
        let (Some(ty), Some(field)) = (ty, field) else {
            let owner = ty.map_or("", |ty| ty.ty.short_name());
            return Err(misfit(format!(
                "unable to find api field in struct {owner} for the json field {}",
                crate::field::quote(name)
            )));
        };
        let merge_key = &*field.merge_key;
        check_order(wanted.as_deref().unwrap_or_default(), &order, merge_key)?;
        let live_order =
            live_order(live.as_deref().unwrap_or_default(), wanted.as_deref().unwrap_or_default(), merge_key)?;
        let merged = match (live, wanted) {
            (Some(live), None) => live,
            (None, Some(wanted)) => wanted.into_iter().filter_map(without_directives).collect(),
            (Some(live), Some(wanted)) => merge_field_list(live, wanted, Some(field), ty.target(&field.ty), false)?,
            (None, None) => continue,
        };
        let order = order_keys(&order, merge_key, merged.is_empty())?;
        original.insert(name.to_owned(), Value::Array(arrange(merged, &order, &live_order, merge_key)?));
    }
    Ok(())
}

/// The order that items of the server's keep. Upstream deletes and appends in the live list's own memory before it looks
/// at the order, so the first new items take the places that deleted ones leave at the end; clients see that.
fn live_order(live: &[Value], patch: &[Value], merge_key: &str) -> Result<Vec<String>, ApiError> {
    let mut order = keys_of(live, merge_key)?;
    let is_deletion = |item: &&Value| item.get(DIRECTIVE).is_some_and(|d| d == "delete");
    let gone: HashSet<String> = patch.iter().filter(is_deletion).flat_map(|item| key_of(item, merge_key)).collect();
    if !gone.is_empty() {
        order.retain(|key| !gone.contains(key));
        let kept: HashSet<String> = order.iter().cloned().collect();
        let new = patch.iter().filter(|item| item.get(DIRECTIVE).is_none()).flat_map(|item| key_of(item, merge_key));
        order.extend(new.filter(|key| !kept.contains(key)));
        order.truncate(live.len());
    }
    Ok(order)
}

/// The patch's items must stand in the order list, in its order.
fn check_order(patch: &[Value], order: &[Value], merge_key: &str) -> Result<(), ApiError> {
    if order.is_empty() || patch.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let key = key_of(item, merge_key)?;
        let mut found = false;
        for other in rest.by_ref() {
            if key_of(other, merge_key)? == key {
                found = true;
                break;
            }
        }
        if !found {
            let (patch, order) = (Value::from(patch), Value::from(order));
            return Err(misfit(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                GoPrint(&patch),
                GoPrint(&order)
            )));
        }
    }
    Ok(())
}

fn merge_field_list(
    old: Vec<Value>,
    new: Vec<Value>,
    field: Option<&Field>,
    inner: Option<TypeRef<'_>>,
    deletes: bool,
) -> Result<Vec<Value>, ApiError> {
    if !deletes && !field.is_some_and(|f| f.patch.merge) {
        return Ok(new);
    }
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    let merge_key = field.map_or("", |f| &*f.merge_key);
    if !same_sort(&old, &new)? {
        let (order, live_order) = (keys_of(&new, "")?, keys_of(&old, "")?);
        let patched: HashSet<&str> = order.iter().map(String::as_str).collect();
        let mut old = old.into_iter().zip(&live_order);
        if deletes {
            return Ok(old.filter(|(_, key)| !patched.contains(key.as_str())).map(|(item, _)| item).collect());
        }
        let mut seen = HashSet::new();
        let all = old.by_ref().chain(new.into_iter().zip(&order));
        let merged = all.filter(|(_, key)| seen.insert(key.as_str())).map(|(item, _)| item).collect();
        return arrange(merged, &order, &live_order, "");
    }
    if merge_key.is_empty() {
        return Err(misfit("cannot merge lists without merge key for struct".to_owned()));
    }
    let (old, new) = special_items(old, new, merge_key)?;
    let (order, live_order) = (keys_of(&new, merge_key)?, keys_of(&old, merge_key)?);
    let mut places: HashMap<String, usize> = HashMap::new();
    for (at, key) in live_order.iter().enumerate() {
        places.entry(key.clone()).or_insert(at);
    }
    let mut merged = old;
    for (item, key) in new.into_iter().zip(&order) {
        match places.get(key) {
            Some(at) => {
                if let (Value::Object(old), Value::Object(item)) = (merged[*at].take(), item) {
                    merged[*at] = Value::Object(merge_map(old, item, inner)?);
                }
            }
            None => {
                places.insert(key.clone(), merged.len());
                merged.push(item);
            }
        }
    }
    arrange(merged, &order, &live_order, merge_key)
}

/// Whether the items are objects; they must all be of one sort, and not lists.
fn same_sort(old: &[Value], new: &[Value]) -> Result<bool, ApiError> {
    let mut items = old.iter().chain(new);
    let Some(first) = items.next() else { return Ok(false) };
    if first.is_array() {
        return Err(unprocessable());
    }
    if items.any(|item| std::mem::discriminant(item) != std::mem::discriminant(first)) {
        let lists = Value::from(vec![Value::from(old), Value::from(new)]);
        return Err(misfit(format!("list element types are not identical: {}", GoPrint(&lists))));
    }
    Ok(first.is_object())
}

/// Carries out the items of the patch that are directives, and gives both lists without them.
fn special_items(mut old: Vec<Value>, new: Vec<Value>, merge_key: &str) -> Result<(Vec<Value>, Vec<Value>), ApiError> {
    let mut replace = false;
    let mut gone = HashSet::new();
    let mut plain = Vec::with_capacity(new.len());
    for item in new {
        match item.get(DIRECTIVE) {
            None => plain.push(item),
            Some(directive) if directive == "delete" => {
                gone.insert(key_of(&item, merge_key)?);
            }
            Some(directive) if directive == "replace" => replace = true,
            Some(directive) if directive == "merge" => {
                return Err(misfit("merging lists cannot yet be specified in the patch".to_owned()));
            }
            Some(directive) => {
                return Err(misfit(format!("unknown patch type: {} in map: {}", go_text(directive), GoPrint(&item))));
            }
        }
    }
    if !gone.is_empty() {
        old.retain(|item| !key_of(item, merge_key).is_ok_and(|key| gone.contains(&key)));
    }
    Ok(if replace { (plain, Vec::new()) } else { (old, plain) })
}

/// What an item is told apart by: the JSON of its merge key's value, or of itself.
fn key_of(item: &Value, merge_key: &str) -> Result<String, ApiError> {
    match item {
        item if merge_key.is_empty() => Ok(item.to_string()),
        Value::Object(map) => map.get(merge_key).map(Value::to_string).ok_or_else(|| no_merge_key(item, merge_key)),
        other => Err(bad_argument("map[string]interface {}", other)),
    }
}

/// The keys of an order list. Items that are no objects are told of where there is something to put in order.
fn order_keys(order: &[Value], merge_key: &str, has_nothing: bool) -> Result<Vec<String>, ApiError> {
    let stray = order.iter().position(|item| !item.is_object());
    match stray.filter(|_| !merge_key.is_empty() && !has_nothing) {
        Some(at) => Err(misfit(format!("value for key {at} is not a map"))),
        None => keys_of(order, merge_key),
    }
}

fn keys_of(items: &[Value], merge_key: &str) -> Result<Vec<String>, ApiError> {
    items.iter().map(|item| key_of(item, merge_key)).collect()
}

/// Puts items named by the patch in the patch's order, the others in the live order, and weaves the two: an item of
/// the server's stands before the first of the patch's that it preceded in the live list.
fn arrange(
    items: Vec<Value>,
    order: &[String],
    live_order: &[String],
    merge_key: &str,
) -> Result<Vec<Value>, ApiError> {
    let places = |keys: &'_ [String]| -> HashMap<String, usize> {
        keys.iter().enumerate().rev().map(|(at, key)| (key.clone(), at)).collect()
    };
    let (order, live_order) = (places(order), places(live_order));
    let (mut ours, mut servers) = (Vec::new(), Vec::new());
    for item in items {
        let key = key_of(&item, merge_key)?;
        let live = live_order.get(&key).copied();
        match order.get(&key) {
            Some(at) => ours.push((*at, live, item)),
            None => servers.push((live, item)),
        }
    }
    ours.sort_by_key(|(at, ..)| *at);
    servers.sort_by_key(|(live, _)| live.unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(ours.len() + servers.len());
    let (mut ours, mut servers) = (ours.into_iter().peekable(), servers.into_iter().peekable());
    loop {
        match (servers.peek(), ours.peek()) {
            (Some((server, _)), Some((_, live, _))) => {
                let first = matches!((server, live), (Some(server), Some(live)) if server < live);
                if first {
                    arranged.extend(servers.next().map(|(_, item)| item));
                } else {
                    arranged.extend(ours.next().map(|(.., item)| item));
                }
            }
            (Some(_), None) => arranged.extend(servers.by_ref().map(|(_, item)| item)),
            (None, Some(_)) => arranged.extend(ours.by_ref().map(|(.., item)| item)),
            (None, None) => return Ok(arranged),
        }
    }
}

/// Drops nulls of objects, all the way down.
fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// The value as it is added where nothing was: objects with a directive fall away.
fn without_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => return None,
        Value::Object(map) => {
            Value::Object(map.into_iter().filter_map(|(k, v)| Some((k, without_directives(v)?))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().filter_map(without_directives).collect()),
        other => other,
    })
}

#[cfg(test)]
#[path = "strategic_tests.rs"]
mod tests;
