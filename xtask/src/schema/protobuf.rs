//! k8s-pb: field numbers, the `+marker`s of the doc comments, and the types that k8s-openapi leaves out: lists, and the
//! options that requests carry in their query.

use super::{Field, Type, Types, docs, openapi, rust_files};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use syn::Item;

struct Message {
    description: String,
    markers: Vec<String>,
    /// By name without underscores, in lower case.
    fields: HashMap<String, MessageField>,
}

struct MessageField {
    description: String,
    /// As the Rust source has it.
    name: String,
    /// In the table's notation.
    ty: Option<String>,
    place: usize,
    tag: u32,
    markers: Vec<String>,
    /// The message that the field holds, with its module path.
    message: Option<String>,
}

/// Adds tags and markers to the types that protobuf has too.
pub fn read(directory: &Path, types: &mut Types) -> Result<()> {
    // By lower-case name: prost writes `HttpGetAction` for `HTTPGetAction`.
    let messages = messages(directory)?;
    for name in INTERNAL {
        let message = messages.get(&name.to_lowercase()).with_context(|| format!("k8s-pb has no {name}"))?;
        types.insert((*name).to_owned(), options(message));
    }
    for (name, ty) in types.iter_mut() {
        let Some(message) = messages.get(&name.to_lowercase()) else { continue };
        if is_list(ty) {
            describe(ty, message);
        }
        ty.union = ty.union.take().or_else(|| union(message));
        ty.atomic |= message.markers.iter().any(|m| m == "structType=atomic");
        for (key, field) in &mut ty.fields {
            field.place = message.fields.get(&key.to_lowercase()).map_or(field.place, |read| read.place);
        }
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

/// Types that no body has: what requests carry in their query, and what stands in the store only.
const INTERNAL: &[&str] = &[
    "api.core.v1.NodeProxyOptions",
    "api.core.v1.PodAttachOptions",
    "api.core.v1.PodExecOptions",
    "api.core.v1.PodLogOptions",
    "api.core.v1.PodPortForwardOptions",
    "api.core.v1.PodProxyOptions",
    "api.core.v1.RangeAllocation",
    "api.core.v1.ServiceProxyOptions",
    "apimachinery.pkg.apis.meta.v1.CreateOptions",
    "apimachinery.pkg.apis.meta.v1.ListOptions",
    "apimachinery.pkg.apis.meta.v1.PatchOptions",
    "apimachinery.pkg.apis.meta.v1.UpdateOptions",
];

fn options(message: &Message) -> Type {
    let field = |field: &MessageField| {
        let read =
            Field { description: field.description.clone(), ty: field.ty.clone()?, presence: '?', ..Field::default() };
        Some((camel(&field.name), read))
    };
    let fields = message.fields.values().filter_map(field).collect();
    Type { description: message.description.clone(), fields, ..Type::default() }
}

/// `limit_bytes` as `limitBytes`; prost forgets which letters of an abbreviation were great.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        match word {
            "tls" => camel.push_str("TLS"),
            _ => camel.extend([first.to_uppercase().as_str(), rest]),
        }
    }
    camel
}

fn is_list(ty: &Type) -> bool {
    ty.gvk.as_ref().is_some_and(|gvk| gvk.ends_with("List")) && ty.fields.contains_key("items")
}

/// k8s-openapi has one list for all kinds, and thus nothing to say about each.
fn describe(list: &mut Type, message: &Message) {
    list.description.clone_from(&message.description);
    for key in ["metadata", "items"] {
        if let (Some(field), Some(read)) = (list.fields.get_mut(key), message.fields.get(key)) {
            field.description.clone_from(&read.description);
        }
    }
}

/// The field that says which of the others is set; empty where none does.
fn union(message: &Message) -> Option<String> {
    let is_discriminator = |field: &&MessageField| field.markers.iter().any(|m| m == "unionDiscriminator");
    let discriminator = message.fields.values().find(is_discriminator).map(|field| camel(&field.name));
    message.markers.iter().any(|m| m == "union").then(|| discriminator.unwrap_or_default())
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
    let text = description(&docs(&item.attrs));
    let mut message = Message { description: text, markers: markers(&item.attrs), fields: HashMap::new() };
    for (place, field) in item.fields.iter().enumerate() {
        let Some(ident) = &field.ident else { continue };
        let name = ident.to_string().trim_start_matches("r#").to_owned();
        let read = MessageField {
            description: description(&docs(&field.attrs)),
            ty: openapi::notation(&field.ty).map(|(ty, _)| ty),
            place,
            tag: field.attrs.iter().find_map(tag).unwrap_or_default(),
            markers: markers(&field.attrs),
            message: message_name(&field.ty, module),
            name,
        };
        message.fields.insert(read.name.replace('_', "").to_lowercase(), read);
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

/// A comment as OpenAPI shows it: lines are joined, except where one is empty or indented; instructions to generators are
/// left out.
fn description(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines.iter().map(|line| line.trim_end()).take_while(|line| *line != "---") {
        let unindented = line.trim_start();
        if line.is_empty() {
            text.pop();
            text.push_str("\n\n");
        } else if unindented.starts_with("TODO") || unindented.starts_with('+') {
            continue;
        } else if unindented.len() < line.len() {
            // What continues an item of a list has one space more than in Go.
            text.pop();
            let line = line.strip_prefix("   ").map_or(line.to_owned(), |rest| format!("  {rest}"));
            text.push_str(&format!("\n{line}\n"));
        } else {
            text.push_str(line);
            text.push(' ');
        }
    }
    without_markup(text.trim())
}

/// What rustdoc would take for markup is escaped there, and addresses stand between `<` and `>`.
fn without_markup(text: &str) -> String {
    let mut text = text.to_owned();
    for mark in ["[", "]", "<", ">", "*", "_", "`"] {
        text = text.replace(&format!("\\{mark}"), mark);
    }
    let mut parts = text.split("<http");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str("http");
        plain.push_str(&part.replacen('>', "", 1));
    }
    plain
}

fn markers(attributes: &[syn::Attribute]) -> Vec<String> {
    let lines = docs(attributes);
    lines.iter().filter_map(|line| Some(line.trim().strip_prefix('+')?.to_owned())).collect()
}
