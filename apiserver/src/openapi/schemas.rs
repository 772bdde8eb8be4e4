//! The types of a document.

use super::Dialect;
use api::schema::{Description, Field, FieldType, ListType, Presence, Schema, TypeRef};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

/// The groups and versions that Kubernetes has types for, served or not: version 2 says which versions of `DeleteOptions`
/// and `WatchEvent` there are.
#[rustfmt::skip]
pub(super) static KNOWN_VERSIONS: &[(&str, &[&str])] = &[
    ("", &["v1"]),
    ("admission.k8s.io", &["v1", "v1beta1"]),
    ("admissionregistration.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("apiextensions.k8s.io", &["v1", "v1beta1"]),
    ("apiregistration.k8s.io", &["v1", "v1beta1"]),
    ("apps", &["v1", "v1beta1", "v1beta2"]),
    ("authentication.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("authorization.k8s.io", &["v1", "v1beta1"]),
    ("autoscaling", &["v1", "v2"]),
    ("batch", &["v1", "v1beta1"]),
    ("certificates.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("coordination.k8s.io", &["v1", "v1alpha2", "v1beta1"]),
    ("discovery.k8s.io", &["v1", "v1beta1"]),
    ("events.k8s.io", &["v1", "v1beta1"]),
    ("extensions", &["v1beta1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1", "v1beta1", "v1beta2", "v1beta3"]),
    ("imagepolicy.k8s.io", &["v1alpha1"]),
    ("internal.apiserver.k8s.io", &["v1alpha1"]),
    ("networking.k8s.io", &["v1", "v1beta1"]),
    ("node.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("policy", &["v1", "v1beta1"]),
    ("rbac.authorization.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("resource.k8s.io", &["v1", "v1alpha3", "v1beta1", "v1beta2"]),
    ("scheduling.k8s.io", &["v1", "v1alpha2", "v1beta1"]),
    ("storage.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("storagemigration.k8s.io", &["v1beta1"]),
];

/// The types that these types reach, with themselves, in order.
pub(super) fn reachable(mut open: Vec<String>) -> BTreeSet<String> {
    let schema = Schema::builtin();
    let mut reached = BTreeSet::new();
    while let Some(name) = open.pop() {
        if reached.contains(&name) {
            continue;
        }
        if let Some(ty) = schema.get(&name) {
            open.extend(ty.ty.fields.iter().filter_map(|field| named(&field.ty, schema)));
        }
        reached.insert(name);
    }
    reached
}

/// The definition that a field's type or its items' type has, if any.
fn named(ty: &FieldType, schema: &Schema) -> Option<String> {
    Some(match ty {
        FieldType::List(inner) | FieldType::Map(inner) => return named(inner, schema),
        FieldType::Ref(id) => schema.at(*id).ty.name.to_string(),
        FieldType::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(),
        FieldType::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
        FieldType::RawExtension => RAW_EXTENSION.to_owned(),
        FieldType::Time => format!("{META}.Time"),
        FieldType::MicroTime => format!("{META}.MicroTime"),
        FieldType::Duration => format!("{META}.Duration"),
        FieldType::FieldsV1 => format!("{META}.FieldsV1"),
        FieldType::Json => format!("{EXTENSIONS}.JSON"),
        FieldType::SchemaOrBool(_) => format!("{EXTENSIONS}.JSONSchemaPropsOrBool"),
        FieldType::SchemaOrArray(_) => format!("{EXTENSIONS}.JSONSchemaPropsOrArray"),
        FieldType::SchemaOrStrings(_) => format!("{EXTENSIONS}.JSONSchemaPropsOrStringArray"),
        _ => return None,
    })
}

/// The definition of a type. `versions` are the groups and versions that the document is about.
pub(super) fn definition(name: &str, versions: &[(&str, &str)], dialect: Dialect) -> Value {
    match Schema::builtin().get(name) {
        Some(ty) => object(ty, versions, dialect),
        None => scalar(name, dialect),
    }
}

/// A type that is no object, or any object.
fn scalar(name: &str, dialect: Dialect) -> Value {
    let mut value = match (name.rsplit('.').next().unwrap_or_default(), dialect) {
        ("Quantity", Dialect::V3) => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
        ("IntOrString", Dialect::V3) => {
            json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] })
        }
        ("IntOrString", Dialect::V2) => json!({ "format": "int-or-string", "type": "string" }),
        ("Time" | "MicroTime", _) => json!({ "format": "date-time", "type": "string" }),
        ("Quantity" | "Duration", _) => json!({ "type": "string" }),
        ("FieldsV1" | "RawExtension" | "Patch", _) => json!({ "type": "object" }),
        _ => json!({}),
    };
    value["description"] = Description::of(name).text().into();
    value
}

fn object(ty: TypeRef<'_>, versions: &[(&str, &str)], dialect: Dialect) -> Value {
    let description = ty.ty.description();
    let mut properties = Map::new();
    for field in &ty.ty.fields {
        let mut property = property(field, &description.field(&field.name), ty.schema, dialect);
        if let Some(values) = description.values(&field.name) {
            of_each(&mut property)["enum"] = values;
        }
        properties.insert(field.name.to_string(), property);
    }
    let mut value = json!({ "description": description.text(), "type": "object" });
    if !properties.is_empty() {
        value["properties"] = Value::Object(properties);
    }
    let mut required: Vec<&Field> = ty.ty.fields.iter().filter(|f| f.required).collect();
    required.sort_by_key(|field| field.place);
    if !required.is_empty() {
        value["required"] = required.iter().map(|field| &*field.name).collect();
    }
    let gvk = |group: &str, version: &str, kind: &str| json!({ "group": group, "kind": kind, "version": version });
    if let Some((group, version, kind)) = &ty.ty.gvk {
        value["x-kubernetes-group-version-kind"] = json!([gvk(group, version, kind)]);
    } else if let Some(kind @ ("DeleteOptions" | "WatchEvent")) = ty.ty.name.rsplit('.').next() {
        // These belong to all groups.
        value["x-kubernetes-group-version-kind"] =
            versions.iter().map(|(group, version)| gvk(group, version, kind)).collect();
    }
    if ty.ty.atomic {
        value["x-kubernetes-map-type"] = "atomic".into();
    }
    if let Some(discriminator) = &ty.ty.union {
        value["x-kubernetes-unions"] = json!([union(ty, discriminator)]);
    }
    value
}

/// What is said of a field's items, where it has some, or of the field.
fn of_each(property: &mut Value) -> &mut Value {
    for key in ["items", "additionalProperties"] {
        if property.get(key).is_some() {
            return &mut property[key];
        }
    }
    property
}

/// Which fields exclude each other, with their names in Go.
fn union(ty: TypeRef<'_>, discriminator: &str) -> Value {
    let go_name = |name: &str| name[..1].to_uppercase() + &name[1..];
    let members = ty.ty.fields.iter().filter(|field| field.name != discriminator);
    let members: Map<String, Value> =
        members.map(|field| (field.name.to_string(), go_name(&field.name).into())).collect();
    let mut value = json!({ "fields-to-discriminateBy": members });
    if !discriminator.is_empty() {
        value["discriminator"] = discriminator.into();
    }
    value
}

fn property(field: &Field, about: &str, schema: &Schema, dialect: Dialect) -> Value {
    let mut value = value_of(&field.ty, schema, dialect);
    if !about.is_empty() {
        value["description"] = about.into();
    }
    if dialect == Dialect::V3
        && let Some(default) = field.default.clone().or_else(|| implied_default(field))
    {
        value["default"] = default;
    }
    match &field.list {
        ListType::Unset => {}
        ListType::Atomic => value["x-kubernetes-list-type"] = "atomic".into(),
        ListType::Set => value["x-kubernetes-list-type"] = "set".into(),
        ListType::Map(keys) => {
            value["x-kubernetes-list-type"] = "map".into();
            value["x-kubernetes-list-map-keys"] = keys.iter().map(|k| Value::from(&**k)).collect();
        }
    }
    if field.atomic || field.granular {
        value["x-kubernetes-map-type"] = if field.atomic { "atomic" } else { "granular" }.into();
    }
    let strategies =
        [(field.patch.merge, "merge"), (field.patch.replace, "replace"), (field.patch.retain_keys, "retainKeys")];
    let strategies: Vec<&str> = strategies.iter().filter(|s| s.0).map(|s| s.1).collect();
    if !strategies.is_empty() {
        value["x-kubernetes-patch-strategy"] = strategies.join(",").into();
    }
    if !field.merge_key.is_empty() {
        value["x-kubernetes-patch-merge-key"] = (&*field.merge_key).into();
    }
    // What stands beside a reference means nothing in version 3.
    if dialect == Dialect::V3
        && value.as_object().is_some_and(|map| map.len() > 1)
        && let Some(reference) = value.as_object_mut().and_then(|map| map.remove("$ref"))
    {
        value["allOf"] = json!([{ "$ref": reference }]);
    }
    value
}

/// The zero value of what is always there, which version 3 shows.
fn implied_default(field: &Field) -> Option<Value> {
    let shown = matches!(
        field.ty,
        FieldType::Ref(_)
            | FieldType::String
            | FieldType::Int32
            | FieldType::Int64
            | FieldType::Float
            | FieldType::Bool
    );
    (field.presence == Presence::Always && shown).then(|| field.ty.zero())
}

fn value_of(ty: &FieldType, schema: &Schema, dialect: Dialect) -> Value {
    match ty {
        FieldType::String => json!({ "type": "string" }),
        FieldType::Bytes => json!({ "type": "string", "format": "byte" }),
        FieldType::Int32 => json!({ "type": "integer", "format": "int32" }),
        FieldType::Int64 => json!({ "type": "integer", "format": "int64" }),
        FieldType::Float => json!({ "type": "number", "format": "double" }),
        FieldType::Bool => json!({ "type": "boolean" }),
        FieldType::List(inner) => json!({ "type": "array", "items": value_of(inner, schema, dialect) }),
        FieldType::Map(inner) => {
            json!({ "type": "object", "additionalProperties": value_of(inner, schema, dialect) })
        }
        other => match named(other, schema) {
            Some(name) => json!({ "$ref": dialect.reference(&name) }),
            None => json!({}),
        },
    }
}
