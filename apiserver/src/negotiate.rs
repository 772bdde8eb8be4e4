//! Content negotiation: which form the client sends and which it wants back.

use crate::table::IncludeObject;
use api::status::ApiError;
use http::HeaderMap;

/// How an answer is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
}

impl Format {
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
        }
    }
}

/// How a request's body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    Json,
    Yaml,
    /// Upstream's protobuf envelope; client-go's typed clients send it.
    Protobuf,
}

/// What an object is turned into before it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As it is.
    Object,
    /// `meta.k8s.io/v1` `Table`: the server prints the columns.
    Table,
    /// `meta.k8s.io/v1` `PartialObjectMetadata` or its list.
    Metadata,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub format: Format,
    pub shape: Shape,
    pub pretty: bool,
    /// What a table's rows carry besides their cells.
    pub include: IncludeObject,
}

pub const JSON: Output =
    Output { format: Format::Json, shape: Shape::Object, pretty: false, include: IncludeObject::Metadata };

/// The types that can be written, as the 406 lists them.
const WRITABLE: &str = "application/json, application/yaml";
/// The types that can be read, as the 415 lists them.
const READABLE: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// Picks the first acceptable of the client's media types. Quality values are ignored, as upstream's clients list
/// types in their order of preference.
pub fn output(headers: &HeaderMap, transforms: bool) -> Result<Output, ApiError> {
    let Some(accept) = headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok()).filter(|a| !a.is_empty()) else {
        return Ok(JSON);
    };
    accept
        .split(',')
        .find_map(|clause| output_clause(clause.trim(), transforms))
        .ok_or_else(|| ApiError::not_acceptable(WRITABLE))
}

fn output_clause(clause: &str, transforms: bool) -> Option<Output> {
    let mut parts = clause.split(';').map(str::trim);
    let format = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        _ => return None,
    };
    let (mut kind, mut group, mut version, mut pretty) = ("", "", "", false);
    for (key, value) in parts.filter_map(|p| p.split_once('=')) {
        match key {
            "as" => kind = value,
            "g" => group = value,
            "v" => version = value,
            "pretty" => pretty = value == "1" || value == "true",
            _ => {}
        }
    }
    let shape = match kind {
        "" => Shape::Object,
        _ if !transforms || group != "meta.k8s.io" || version != "v1" => return None,
        "Table" => Shape::Table,
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::Metadata,
        _ => return None,
    };
    Some(Output { format, shape, pretty, include: IncludeObject::Metadata })
}

/// The form of a request's body. No content type means JSON.
pub fn input(headers: &HeaderMap) -> Result<Input, ApiError> {
    match &*media_type(headers).to_ascii_lowercase() {
        "" | "application/json" => Ok(Input::Json),
        "application/yaml" => Ok(Input::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Input::Protobuf),
        _ => Err(ApiError::unsupported_media_type(READABLE)),
    }
}

/// The content type without its parameters.
pub fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> Result<Output, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, text.parse().unwrap());
        output(&headers, true)
    }

    #[test]
    fn kubectl_gets_a_table() {
        let header = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accept(header).unwrap().shape, Shape::Table);
    }

    #[test]
    fn a_client_that_prefers_protobuf_gets_json() {
        assert_eq!(accept("application/vnd.kubernetes.protobuf,application/json").unwrap(), JSON);
        assert_eq!(accept("text/html").unwrap_err().code, 406);
    }
}
