//! Names of Go's types and fields, as decoding errors have them, where they differ from the schema's.

use crate::schema::{FieldType, Type, TypeRef};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The structs that Go's type embeds around a field, outermost first; JSON does not show them.
pub(super) fn embedded(owner: &Type, field: &str) -> &'static [&'static str] {
    let names: &[&str] = match owner.short_name() {
        "Volume" => &["VolumeSource"],
        "PersistentVolumeSpec" => &["PersistentVolumeSource"],
        "Probe" => &["ProbeHandler"],
        "EphemeralContainer" => &["EphemeralContainerCommon"],
        "IngressRule" => &["IngressRuleValue"],
        "RuleWithOperations" => &["Rule"],
        "NamedRuleWithOperations" => &["RuleWithOperations", "Rule"],
        "DeviceAllocationConfiguration" | "DeviceClaimConfiguration" | "DeviceClassConfiguration" => {
            &["DeviceConfiguration"]
        }
        "ConfigMapEnvSource"
        | "ConfigMapKeySelector"
        | "ConfigMapProjection"
        | "ConfigMapVolumeSource"
        | "SecretEnvSource"
        | "SecretKeySelector"
        | "SecretProjection" => &["LocalObjectReference"],
        _ => return &[],
    };
    let at = owner.index_of(field).map(|at| owner.fields[at].inline);
    let levels = at.map_or(0, |inline| inline.iter().filter(|tag| **tag != 0).count());
    &names[..levels.min(names.len())]
}

/// Go's name of the type of a field's value. `depth`: how many lists and maps are between the field and the value.
pub(super) fn type_name<'t>(
    ty: &FieldType,
    owner: TypeRef<'t>,
    field: Option<(&Type, &str)>,
    depth: usize,
) -> Cow<'t, str> {
    let known = field.and_then(|(owner, field)| named(owner, field));
    let item = known.and_then(|known| (0..depth).try_fold(known, |name, _| item(name)));
    item.map_or_else(|| plain(ty, owner), Cow::Borrowed)
}

fn plain<'t>(ty: &FieldType, owner: TypeRef<'t>) -> Cow<'t, str> {
    match ty {
        FieldType::Bytes => "[]uint8".into(),
        FieldType::Int32 | FieldType::IntOrString => "int32".into(),
        FieldType::Int64 => "int64".into(),
        FieldType::Float => "float64".into(),
        FieldType::Bool => "bool".into(),
        FieldType::List(inner) => format!("[]{}", plain(inner, owner)).into(),
        FieldType::Map(inner) => format!("map[string]{}", plain(inner, owner)).into(),
        FieldType::Ref(id)
        | FieldType::SchemaOrBool(id)
        | FieldType::SchemaOrArray(id)
        | FieldType::SchemaOrStrings(id) => owner.schema.at(*id).ty.go_name().into(),
        _ => "string".into(),
    }
}

/// The type of a list's or a map's items.
fn item(name: &'static str) -> Option<&'static str> {
    name.strip_prefix("[]").or_else(|| name.strip_prefix("map[")?.split_once(']').map(|(_, item)| item))
}

/// The types that have a name of their own in Go, and are texts, lists or maps in JSON.
fn named(owner: &Type, field: &str) -> Option<&'static str> {
    static NAMES: OnceLock<HashMap<(&'static str, &'static str), &'static str>> = OnceLock::new();
    let names = NAMES.get_or_init(|| read(include_str!("../../schema/go_types.txt")));
    let owner = owner.name.strip_prefix("io.k8s.").unwrap_or(&owner.name);
    names.get(&(owner, field)).copied()
}

/// Lines of a type, a field and the field's type.
fn read(text: &'static str) -> HashMap<(&'static str, &'static str), &'static str> {
    let mut names = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        if let (Some(owner), Some(field), Some(name)) = (words.next(), words.next(), words.next()) {
            names.insert((owner, field), name);
        }
    }
    names
}
