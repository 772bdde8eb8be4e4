//! What k8s-openapi says about types and fields, from its JSON schemas: its doc comments are changed for rustdoc.

use std::collections::HashMap;

/// The descriptions of one source file's type: its own, and its fields' by JSON key.
#[derive(Debug, Default)]
pub struct Descriptions {
    pub text: String,
    pub fields: HashMap<String, String>,
}

/// Reads the `json_schema!` of a file.
pub fn read(source: &str) -> Descriptions {
    let mut read = Descriptions::default();
    let schema = source.split_once("json_schema!({").map_or("", |(_, rest)| rest);
    let mut key = None;
    for line in schema.lines() {
        let inner = line.trim_start();
        match line.len() - inner.len() {
            12 => read.text = described(inner).unwrap_or(read.text),
            16 => key = inner.strip_prefix('"').and_then(|rest| Some(rest.split_once("\": ")?.0.to_owned())),
            20 => {
                if let (Some(key), Some(text)) = (&key, described(inner)) {
                    read.fields.insert(key.clone(), text);
                }
            }
            _ => {}
        }
    }
    read
}

/// The text in `"description": "text",` or `.insert("description".into(), "text".into());`.
fn described(line: &str) -> Option<String> {
    let literal = match line.strip_prefix("\"description\": ") {
        Some(literal) => literal.trim_end_matches(','),
        None => line.split_once("insert(\"description\".into(), ")?.1.strip_suffix(".into());")?,
    };
    Some(syn::parse_str::<syn::LitStr>(literal).ok()?.value().trim().to_owned())
}
