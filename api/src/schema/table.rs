//! Reads the generated table of built-in types.
//!
//! A line that begins with a letter is a type: its name (`io.k8s.` left out) and, for kinds, `group/version/Kind`;
//! then `A` atomic, `U:field` union.
//! A line that begins with a space is a field: JSON key, type, protobuf tag (`2.1`: embedded in 2), flags.
//!
//! Types: `s` string, `y` bytes, `i` int32, `l` int64, `f` float, `b` bool, `q` quantity, `o` int-or-string, `t` time,
//! `m` micro time, `d` duration, `v` fieldsV1, `r` raw extension, `j` any JSON, `@name` a type, `B@` `A@` `S@` a JSON
//! schema or bool, list, strings; `[` before a type is a list of it, `{` a map.
//!
//! Flags: `!` required (with a number: the place among the required fields, where the order is not by name), `*` pointer, `n` pointer whose absence is written, `0` zero is written, `=json` default, `L:atomic`, `L:set`, `L:map:keys`, `P:merge,retainKeys:key`
//! patch strategy and merge key, `A` atomic, `G` granular.

use super::{Field, FieldType, ListType, PatchStrategy, Presence, Schema, Text, Type, TypeId};
use std::collections::HashMap;

/// Reads the table. What cannot be read is left out: the table is generated and checked by a test.
pub(super) fn parse(text: &'static str) -> Schema {
    let mut ids: HashMap<&'static str, TypeId> = HashMap::with_capacity(1024);
    for line in text.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_alphabetic())) {
        let name = line.split(' ').next().unwrap_or(line);
        ids.insert(name, ids.len() as TypeId);
    }
    let mut types: Vec<Type> = Vec::with_capacity(ids.len());
    for line in text.lines() {
        if let Some(field) = line.strip_prefix(' ') {
            if let (Some(ty), Some(field)) = (types.last_mut(), parse_field(field, &ids)) {
                ty.fields.push(field);
            }
        } else if line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            types.push(parse_type(line));
        }
    }
    Schema::new(types)
}

fn parse_type(line: &'static str) -> Type {
    let mut words = line.split(' ');
    let mut ty = Type::new(format!("io.k8s.{}", words.next().unwrap_or_default()));
    for word in words {
        match word.rsplit('/').collect::<Vec<_>>()[..] {
            ["A"] => ty.atomic = true,
            [flag] => ty.union = flag.strip_prefix("U:").map(Text::Borrowed),
            [kind, version, group] => ty.gvk = Some((group.into(), version.into(), kind.into())),
            [kind, version] => ty.gvk = Some(("".into(), version.into(), kind.into())),
            _ => {}
        }
    }
    ty
}

fn parse_field(line: &'static str, ids: &HashMap<&'static str, TypeId>) -> Option<Field> {
    let (name, rest) = line.split_once(' ')?;
    let (ty, rest) = rest.split_once(' ')?;
    let (tag, mut flags) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut field = Field::new(name, parse_field_type(ty, ids)?);
    let mut tags = tag.rsplit('.');
    field.tag = tags.next()?.parse().ok()?;
    let outer: Vec<u8> = tags.rev().filter_map(|t| t.parse().ok()).collect();
    for (slot, tag) in field.inline.iter_mut().zip(outer) {
        *slot = tag;
    }
    field.presence = Presence::Omit;
    while !flags.is_empty() {
        if let Some(json) = flags.strip_prefix('=') {
            field.default = serde_json::from_str(json).ok();
            break;
        }
        let (flag, rest) = flags.split_once(' ').unwrap_or((flags, ""));
        set_flag(&mut field, flag);
        flags = rest;
    }
    Some(field)
}

fn set_flag(field: &mut Field, flag: &'static str) {
    match flag {
        "*" => field.presence = Presence::Pointer,
        "n" => field.presence = Presence::Null,
        "0" => field.presence = Presence::Always,
        "A" => field.atomic = true,
        "G" => field.granular = true,
        "L:atomic" => field.list = ListType::Atomic,
        "L:set" => field.list = ListType::Set,
        _ => {
            if let Some(place) = flag.strip_prefix('!') {
                field.required = true;
                field.place = place.parse().unwrap_or_default();
            } else if let Some(keys) = flag.strip_prefix("L:map:") {
                field.list = ListType::Map(keys.split(',').map(Text::Borrowed).collect());
            } else if let Some(patch) = flag.strip_prefix("P:") {
                let (strategies, key) = patch.split_once(':').unwrap_or((patch, ""));
                let has = |name| strategies.split(',').any(|s| s == name);
                field.patch =
                    PatchStrategy { merge: has("merge"), retain_keys: has("retainKeys"), replace: has("replace") };
                field.merge_key = Text::Borrowed(key);
            }
        }
    }
}

fn parse_field_type(text: &str, ids: &HashMap<&'static str, TypeId>) -> Option<FieldType> {
    let id = |name: &str| ids.get(name).copied();
    Some(match text {
        "s" => FieldType::String,
        "y" => FieldType::Bytes,
        "i" => FieldType::Int32,
        "l" => FieldType::Int64,
        "f" => FieldType::Float,
        "b" => FieldType::Bool,
        "q" => FieldType::Quantity,
        "o" => FieldType::IntOrString,
        "t" => FieldType::Time,
        "m" => FieldType::MicroTime,
        "d" => FieldType::Duration,
        "v" => FieldType::FieldsV1,
        "r" => FieldType::RawExtension,
        "j" => FieldType::Json,
        _ => match text.split_at_checked(1)? {
            ("[", item) => FieldType::List(Box::new(parse_field_type(item, ids)?)),
            ("{", item) => FieldType::Map(Box::new(parse_field_type(item, ids)?)),
            ("@", name) => FieldType::Ref(id(name)?),
            ("B", name) => FieldType::SchemaOrBool(id(name.strip_prefix('@')?)?),
            ("A", name) => FieldType::SchemaOrArray(id(name.strip_prefix('@')?)?),
            ("S", name) => FieldType::SchemaOrStrings(id(name.strip_prefix('@')?)?),
            _ => return None,
        },
    })
}
