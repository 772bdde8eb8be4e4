//! k8s-pb: field numbers, and the `+marker`s of the doc comments.

use super::{Types, docs, rust_files};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use syn::Item;

struct Message {
    markers: Vec<String>,
    /// By name without underscores, in lower case.
    fields: HashMap<String, MessageField>,
}

struct MessageField {
    tag: u32,
    markers: Vec<String>,
    /// The message that the field holds, with its module path.
    message: Option<String>,
}

/// Adds tags and markers to the types that protobuf has too.
pub fn read(directory: &Path, types: &mut Types) -> Result<()> {
    // By lower-case name: prost writes `HttpGetAction` for `HTTPGetAction`.
    let messages = messages(directory)?;
    for (name, ty) in types.iter_mut() {
        let Some(message) = messages.get(&name.to_lowercase()) else { continue };
        ty.atomic |= message.markers.iter().any(|m| m == "structType=atomic");
        for (key, field) in ty.fields.iter_mut().filter(|(_, field)| field.tag.is_empty()) {
            let Some((tag, markers)) = find(&messages, message, &key.to_lowercase()) else { continue };
            field.tag = tag;
            for marker in markers {
                let (marker, value) = marker.split_once('=').unwrap_or((marker, ""));
                match marker {
                    "listMapKey" => field.list_keys.push(value.to_owned()),
                    _ => {
                        field.markers.insert(marker.to_owned(), value.to_owned());
                    }
                }
            }
        }
    }
    Ok(())
}

/// A field by its JSON key; fields that JSON flattens are looked for in the embedded messages.
fn find<'m>(
    messages: &'m BTreeMap<String, Message>,
    message: &'m Message,
    key: &str,
) -> Option<(String, &'m [String])> {
    if let Some(field) = message.fields.get(key) {
        return Some((field.tag.to_string(), &field.markers));
    }
    EMBEDDED.iter().find_map(|name| {
        let field = message.fields.get(*name)?;
        let (tag, markers) = find(messages, messages.get(field.message.as_ref()?)?, key)?;
        Some((format!("{}.{tag}", field.tag), markers))
    })
}

/// Messages that are embedded structs in Go.
const EMBEDDED: [&str; 9] = [
    "volumesource",
    "persistentvolumesource",
    "ephemeralcontainercommon",
    "handler",
    "localobjectreference",
    "deviceconfiguration",
    "rulewithoperations",
    "rule",
    "basicdevice",
];

fn messages(directory: &Path) -> Result<BTreeMap<String, Message>> {
    let mut messages = BTreeMap::new();
    for path in rust_files(directory)? {
        let file = syn::parse_file(&std::fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
        let module = path.parent().and_then(|p| p.strip_prefix(directory).ok()).context("path")?;
        let module = module.display().to_string().replace('/', ".").replace('_', "-");
        for item in &file.items {
            if let Item::Struct(item) = item {
                messages.insert(format!("{module}.{}", item.ident).to_lowercase(), read_message(item, &module));
            }
        }
    }
    Ok(messages)
}

fn read_message(item: &syn::ItemStruct, module: &str) -> Message {
    let mut message = Message { markers: markers(&item.attrs), fields: HashMap::new() };
    for field in &item.fields {
        let Some(ident) = &field.ident else { continue };
        let name = ident.to_string().trim_start_matches("r#").replace('_', "").to_lowercase();
        let tag = field.attrs.iter().find_map(tag).unwrap_or_default();
        let read = MessageField { tag, markers: markers(&field.attrs), message: message_name(&field.ty, module) };
        message.fields.insert(name, read);
    }
    message
}

/// `tag = "12"` in `#[prost(..)]`.
fn tag(attribute: &syn::Attribute) -> Option<u32> {
    let syn::Meta::List(list) = &attribute.meta else { return None };
    let text = list.tokens.to_string().replace(' ', "");
    let (_, rest) = text.split_once("tag=\"")?;
    rest.split('"').next()?.parse().ok()
}

/// The message in `Option<..>`, where it is of the same module.
fn message_name(ty: &syn::Type, module: &str) -> Option<String> {
    let syn::Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    match &last.arguments {
        syn::PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            syn::GenericArgument::Type(ty) => message_name(ty, module),
            _ => None,
        },
        _ if last.ident == "Rule" || path.path.segments.len() == 1 => {
            Some(format!("{module}.{}", last.ident).to_lowercase())
        }
        // A message of another module that is embedded: none yet but core's.
        _ => Some(format!("api.core.v1.{}", last.ident).to_lowercase()),
    }
}

fn markers(attributes: &[syn::Attribute]) -> Vec<String> {
    let lines = docs(attributes);
    lines.iter().filter_map(|line| Some(line.trim().strip_prefix('+')?.to_owned())).collect()
}
