//! k8s-openapi: which types there are, their JSON keys, types, descriptions, and what is required.

use super::descriptions::{self, Descriptions};
use super::{Field, Type, Types, rust_files};
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::path::Path;
use syn::{GenericArgument, Item, PathArguments};

/// Reads every GA type below `directory`.
pub fn read(directory: &Path) -> Result<Types> {
    let mut types = Types::new();
    for path in rust_files(directory)? {
        let text = std::fs::read_to_string(&path)?;
        let name = text.strip_prefix("// Generated from definition io.k8s.").and_then(|t| t.lines().next());
        let Some(name) = name.filter(|name| name.contains('.') && is_ga(name)) else {
            continue;
        };
        let file = syn::parse_file(&text).with_context(|| path.display().to_string())?;
        let descriptions = descriptions::read(&text);
        if name.ends_with(".WatchEvent") {
            types.insert(name.to_owned(), watch_event(&descriptions.text));
            continue;
        }
        let Some(mut ty) = file.items.iter().find_map(|item| read_struct(item, &text, &descriptions)) else {
            let scalar = Type { description: descriptions.text, is_scalar: true, ..Type::default() };
            types.insert(name.to_owned(), scalar);
            continue;
        };
        let constants = resource_constants(&file);
        if let Some(kind) = constants.get("KIND") {
            let list = constants.get("LIST_KIND").cloned();
            let gvk = format!("{}/{kind}", constants["API_VERSION"]);
            ty.fields.insert("apiVersion".to_owned(), type_meta(API_VERSION));
            ty.fields.insert("kind".to_owned(), type_meta(KIND));
            if let Some(list) = list.filter(|list| !list.is_empty()) {
                let list_gvk = format!("{}/{list}", constants["API_VERSION"]);
                types.insert(name.replace(&format!(".{kind}"), &format!(".{list}")), list_of(name, kind, list_gvk));
            }
            ty.gvk = Some(gvk);
        }
        types.insert(name.to_owned(), ty);
    }
    Ok(types)
}

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

fn type_meta(description: &str) -> Field {
    Field {
        description: description.to_owned(),
        ty: "s".to_owned(),
        tag: "0".to_owned(),
        presence: '?',
        ..Field::default()
    }
}

/// An enum in Rust, whose text is of the type and of one field.
fn watch_event(text: &str) -> Type {
    let (text, object) = text.split_once("\n\n").unwrap_or((text, ""));
    let field = |ty: &str, tag: &str, description: &str| Field {
        ty: ty.to_owned(),
        tag: tag.to_owned(),
        presence: '0',
        description: description.to_owned(),
        required: true,
        place: usize::from(tag == "2"),
        ..Field::default()
    };
    let fields = [("type", field("s", "1", "")), ("object", field("r", "2", object))];
    let fields = fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect();
    Type { description: text.to_owned(), fields, ..Type::default() }
}

/// k8s-openapi has one generic list type; upstream has one for each kind.
fn list_of(item: &str, kind: &str, gvk: String) -> Type {
    let field = |ty: String, tag: &str, description: String| Field {
        ty,
        tag: tag.to_owned(),
        presence: '0',
        description,
        required: tag == "2",
        ..Field::default()
    };
    let fields = [
        ("apiVersion", type_meta(API_VERSION)),
        ("kind", type_meta(KIND)),
        ("metadata", field("@apimachinery.pkg.apis.meta.v1.ListMeta".to_owned(), "1", "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds".to_owned())),
        ("items", field(format!("[@{item}"), "2", format!("List of {kind} objects."))),
    ];
    Type {
        description: format!("{kind}List is a list of {kind} objects."),
        gvk: Some(gvk),
        fields: fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect(),
        ..Type::default()
    }
}

fn is_ga(name: &str) -> bool {
    !name.split('.').any(|part| {
        part.starts_with('v')
            && (part.contains("alpha") || part.contains("beta"))
            && part.as_bytes()[1].is_ascii_digit()
    })
}

fn read_struct(item: &Item, text: &str, descriptions: &Descriptions) -> Option<Type> {
    let Item::Struct(item) = item else { return None };
    if item.ident == "CustomResourceSubresourceStatus" {
        // An empty struct in Go; k8s-openapi takes any JSON for it.
        return Some(Type { description: descriptions.text.clone(), ..Type::default() });
    }
    let syn::Fields::Named(named) = &item.fields else { return None };
    let keys: HashMap<&str, &str> = text.lines().filter_map(json_key).collect();
    let mut ty = Type { description: descriptions.text.clone(), ..Type::default() };
    for field in &named.named {
        let name = field.ident.as_ref()?.to_string();
        let key = keys.get(name.trim_start_matches("r#"))?;
        let (notation, optional) = notation(&field.ty)?;
        let read = Field {
            description: descriptions.fields.get(*key).cloned().unwrap_or_default(),
            ty: notation,
            // k8s-openapi has no optional metadata; upstream requires it nowhere.
            required: !optional && key != &"metadata",
            presence: if optional { '?' } else { '0' },
            ..Field::default()
        };
        ty.fields.insert((*key).to_owned(), read);
    }
    Some(ty)
}

/// `"availableReplicas" => Field::Key_available_replicas,`
fn json_key(line: &str) -> Option<(&str, &str)> {
    let (key, field) = line.trim().strip_prefix('"')?.split_once("\" => Field::Key_")?;
    Some((field.trim_end_matches(','), key))
}

fn resource_constants(file: &syn::File) -> HashMap<String, String> {
    let mut constants = HashMap::new();
    for item in &file.items {
        let Item::Impl(item) = item else { continue };
        for part in &item.items {
            if let syn::ImplItem::Const(part) = part
                && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &part.expr
            {
                constants.insert(part.ident.to_string(), text.value());
            }
        }
    }
    constants
}

/// A Rust type in the table's notation, and whether it is an `Option`.
pub(super) fn notation(ty: &syn::Type) -> Option<(String, bool)> {
    let syn::Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let argument = |at: usize| match &last.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.iter().nth(at)? {
            GenericArgument::Type(ty) => notation(ty).map(|n| n.0),
            _ => None,
        },
        _ => None,
    };
    let plain = match last.ident.to_string().as_str() {
        "Option" => return Some((argument(0)?, true)),
        "Box" => argument(0)?,
        "Vec" => match argument(0)?.as_str() {
            "u8" => "y".to_owned(),
            item => format!("[{item}"),
        },
        "BTreeMap" => format!("{{{}", argument(1)?),
        "String" => "s".to_owned(),
        "i32" => "i".to_owned(),
        "i64" => "l".to_owned(),
        "f64" => "f".to_owned(),
        "bool" => "b".to_owned(),
        "u8" => "u8".to_owned(),
        "ByteString" => "y".to_owned(),
        "Quantity" => "q".to_owned(),
        "IntOrString" => "o".to_owned(),
        "Time" => "t".to_owned(),
        "MicroTime" => "m".to_owned(),
        "Duration" => "d".to_owned(),
        "FieldsV1" => "v".to_owned(),
        "RawExtension" => "r".to_owned(),
        "JSON" => "j".to_owned(),
        name => {
            let modules = path.path.segments.iter().skip(1).map(|s| s.ident.to_string().replace('_', "-"));
            let full = modules.filter(|module| module != "super").collect::<Vec<_>>().join(".");
            match name.strip_prefix("JSONSchemaPropsOr") {
                Some(other) => {
                    let form = match other {
                        "Bool" => 'B',
                        "Array" => 'A',
                        _ => 'S',
                    };
                    format!("{form}@{}", full.replace(name, "JSONSchemaProps"))
                }
                None => format!("@{full}"),
            }
        }
    };
    Some((plain, false))
}
