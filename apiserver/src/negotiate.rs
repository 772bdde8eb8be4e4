//! Content negotiation: which form the client sends and which it wants back.

use crate::request::Incoming;
use crate::route::Query;
use crate::table::IncludeObject;
use api::status::ApiError;
use http::{HeaderMap, Method, header};

/// How a body or an answer is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    /// Upstream's envelope; client-go's typed clients send it and ask for it.
    Protobuf,
}

impl Format {
    /// In the order of preference of one who takes any.
    const ALL: [Format; 3] = [Format::Json, Format::Yaml, Format::Protobuf];

    pub fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The media type of a watch; `None` where there is no way to tell events apart.
    pub fn stream_type(self) -> Option<&'static str> {
        match self {
            Format::Json => Some("application/json"),
            Format::Yaml => None,
            Format::Protobuf => Some("application/vnd.kubernetes.protobuf;stream=watch"),
        }
    }
}

/// What an object is turned into before it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As it is.
    Object,
    /// `meta.k8s.io/v1` `Table`: the server prints the columns.
    Table,
    /// `PartialObjectMetadata`; not of a list.
    Metadata,
    /// `PartialObjectMetadataList`; only of a list.
    MetadataList,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub format: Format,
    pub shape: Shape,
    /// The version of the shape: `meta.k8s.io/v1` or `meta.k8s.io/v1beta1`.
    pub shape_version: &'static str,
    pub pretty: bool,
    /// What a table's rows carry besides their cells.
    pub include: IncludeObject,
}

const META: &str = "meta.k8s.io/v1";
const META_BETA: &str = "meta.k8s.io/v1beta1";

pub const JSON: Output = Output {
    format: Format::Json,
    shape: Shape::Object,
    shape_version: META,
    pretty: false,
    include: IncludeObject::Metadata,
};

/// What upstream writes as it is, without negotiation: indented.
pub const INDENTED: Output = Output { pretty: true, ..JSON };

/// The types that can be read and written, as the 415 and the 406 list them.
pub const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// The types that a watch can have, as its 406 lists them.
const STREAM_TYPES: &str = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// The types of patches.
pub const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// What upstream's router looks at before a resource's handler: a patch's content type, and whether any of the accepted
/// media types, whatever their parameters, is one that the path has. It knows `*/*`, but no other wildcard.
pub fn routed(incoming: &Incoming) -> Result<(), ApiError> {
    if incoming.method == Method::PATCH && !is_any_patch_type(&incoming.headers) {
        return Err(ApiError::not_consumed());
    }
    let route = &incoming.route;
    match (route.verb, route.subresource.as_str()) {
        ("get", "log") => produced(&incoming.headers, &format!("text/plain, {MEDIA_TYPES}")),
        (_, "proxy" | "exec" | "attach" | "portforward") => Ok(()),
        ("list" | "watch", _) => produced(&incoming.headers, &format!("{MEDIA_TYPES}, {STREAM_TYPES}")),
        _ => produced(&incoming.headers, MEDIA_TYPES),
    }
}

/// The router takes a list of content types, of which any one has to be known.
fn is_any_patch_type(headers: &HeaderMap) -> bool {
    let mut names = text(headers, header::CONTENT_TYPE).split(',').map(|one| one.split(';').next().unwrap_or_default());
    names.any(|name| PATCH_TYPES.contains(&name.trim()))
}

/// The type of a patch. The handler, unlike the router, takes a list for one type, and a blank before the parameters for a
/// part of it.
pub fn patch_type(headers: &HeaderMap) -> Result<&str, ApiError> {
    let name = text(headers, header::CONTENT_TYPE).split(';').next().unwrap_or_default();
    if PATCH_TYPES.contains(&name) {
        return Ok(name);
    }
    if is_any_patch_type(headers) {
        return Err(ApiError::unsupported_media_type(&PATCH_TYPES.join(", ")));
    }
    Err(ApiError::not_consumed())
}

/// Refuses a client that takes none of the media types that a path has.
pub fn produced(headers: &HeaderMap, available: &str) -> Result<(), ApiError> {
    let accept = text(headers, header::ACCEPT);
    let wanted = |clause: &str| {
        let media_type = clause.split(';').next().unwrap_or_default().trim_matches(' ');
        media_type == "*/*" || available.split(", ").any(|available| available == media_type)
    };
    if accept.is_empty() || accept.split(',').any(wanted) { Ok(()) } else { Err(ApiError::not_produced(available)) }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// In which shapes besides its own an answer can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transforms {
    /// In none.
    None,
    /// As metadata. Nobody has columns for reviews, tokens, bindings and evictions.
    Metadata,
    /// As metadata and as a table.
    All,
}

/// The form of an answer that the client prefers.
pub fn output(headers: &HeaderMap, query: &Query, transforms: Transforms) -> Result<Output, ApiError> {
    let accept = text(headers, header::ACCEPT);
    let mut output = match accept {
        "" => JSON,
        _ => {
            let clauses = clauses(accept);
            let forms = clauses.iter().flat_map(|clause| Format::ALL.map(|format| (clause, format)));
            forms
                .filter(|(clause, format)| clause.takes(*format))
                .find_map(|(clause, format)| clause.form(format, transforms))
                .ok_or_else(|| ApiError::not_acceptable(MEDIA_TYPES))?
        }
    };
    output.pretty |= match query.get("pretty").filter(|value| !value.is_empty()) {
        Some(value) => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|tool| text(headers, header::USER_AGENT).starts_with(tool)),
    };
    Ok(output)
}

/// The format in which a client takes aggregated discovery. It comes before a plain document, wherever the two stand.
pub fn aggregated(headers: &HeaderMap) -> Option<Format> {
    let clauses = clauses(text(headers, header::ACCEPT));
    let forms = clauses.iter().flat_map(|clause| Format::ALL.map(|format| (clause, format)));
    let is_aggregated = |clause: &Clause| {
        let wanted = ["as", "g", "v"].map(|name| clause.parameter(name).unwrap_or_default());
        wanted == ["APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2"]
    };
    let found = forms.into_iter().find(|(clause, format)| clause.takes(*format) && is_aggregated(clause));
    found.map(|(_, format)| format)
}

/// The media type of a watch in this form.
pub fn stream_type(output: Output) -> Result<&'static str, ApiError> {
    output.format.stream_type().ok_or_else(|| ApiError::not_acceptable(STREAM_TYPES))
}

/// One of the forms that an `Accept` header lists.
struct Clause<'h> {
    kind: &'h str,
    subkind: &'h str,
    quality: f32,
    parameters: Vec<(&'h str, &'h str)>,
}

/// The forms of an `Accept` header, most wanted first: by quality, and of the same quality the more specific.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    /// More than anybody sends.
    const MANY: usize = 12;
    let mut clauses: Vec<Clause> = accept.split(',').filter_map(Clause::parse).collect();
    // Upstream sorts with a relation that is no order; what comes out depends on the way, which for a handful of clauses is
    // insertion.
    if clauses.len() > MANY {
        clauses.sort_by(|a, b| {
            b.quality
                .total_cmp(&a.quality)
                .then((a.kind == "*", a.subkind == "*").cmp(&(b.kind == "*", b.subkind == "*")))
        });
        return clauses;
    }
    for end in 1..clauses.len() {
        let mut at = end;
        while at > 0 && clauses[at].before(&clauses[at - 1]) {
            clauses.swap(at, at - 1);
            at -= 1;
        }
    }
    clauses
}

impl<'h> Clause<'h> {
    fn parse(text: &'h str) -> Option<Clause<'h>> {
        let mut parts = text.split(';').map(|part| part.trim_matches(' '));
        let media = parts.next()?;
        let (kind, subkind) = media.split_once('/').unwrap_or((media, ""));
        let (kind, subkind) = match (kind.trim_matches(' '), subkind.trim_matches(' ')) {
            ("*", "") => ("*", "*"),
            (_, "") => return None,
            (_, subkind) if subkind.contains('/') => return None,
            both => both,
        };
        let mut clause = Clause { kind, subkind, quality: 1.0, parameters: Vec::new() };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim_matches(' ') {
                _ if value.is_empty() || value.contains('=') => {}
                "q" => clause.quality = value.parse().ok().filter(|quality: &f32| !quality.is_nan()).unwrap_or(0.0),
                key => clause.parameters.push((key, value.trim_matches(' '))),
            }
        }
        Some(clause)
    }

    fn before(&self, other: &Clause<'_>) -> bool {
        let narrower = |own: &str, others: &str| own != "*" && others == "*";
        self.quality > other.quality || narrower(self.kind, other.kind) || narrower(self.subkind, other.subkind)
    }

    fn takes(&self, format: Format) -> bool {
        let (kind, subkind) = format.media_type().split_once('/').unwrap_or_default();
        match (self.kind, self.subkind) {
            ("*", "*") => true,
            (own, "*") => own == kind,
            own => own == (kind, subkind),
        }
    }

    /// The last value of a parameter.
    fn parameter(&self, name: &str) -> Option<&'h str> {
        self.parameters.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// What the clause asks for in a format, where that can be had.
    fn form(&self, format: Format, transforms: Transforms) -> Option<Output> {
        let streams = self.parameter("stream").is_none_or(|stream| stream == "watch" && format.stream_type().is_some());
        if !streams || self.parameter("sv").is_some_and(|version| version != "v1" || transforms == Transforms::None) {
            return None;
        }
        let [kind, group, shape_version] = ["as", "g", "v"].map(|name| self.parameter(name));
        let pretty = self.parameter("pretty") == Some("1");
        if kind.or(group).or(shape_version).is_none() {
            return Some(Output { format, pretty, ..JSON });
        }
        let shape_version = match (group?, shape_version?) {
            ("meta.k8s.io", "v1") => META,
            ("meta.k8s.io", "v1beta1") => META_BETA,
            _ => return None,
        };
        let shape = match kind? {
            "Table" if format != Format::Protobuf && transforms == Transforms::All => Shape::Table,
            "PartialObjectMetadata" => Shape::Metadata,
            "PartialObjectMetadataList" => Shape::MetadataList,
            _ => return None,
        };
        (transforms != Transforms::None).then_some(Output { format, shape, shape_version, pretty, ..JSON })
    }
}

/// The form of a request's body. No content type means JSON.
pub fn input(headers: &HeaderMap) -> Result<Format, ApiError> {
    let content_type = text(headers, header::CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let known = |part: &str| part.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty());
    if content_type.is_empty() {
        return Ok(Format::Json);
    }
    let found = Format::ALL.into_iter().find(|format| format.media_type() == media_type);
    let found = found.filter(|_| parts.all(|part| part.is_empty() || known(part)));
    found.ok_or_else(|| ApiError::unsupported_media_type(MEDIA_TYPES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> Result<Output, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, text.parse().unwrap());
        output(&headers, &Query::parse(None), Transforms::All)
    }

    fn format(text: &str) -> Option<Format> {
        accept(text).ok().map(|output| output.format)
    }

    #[test]
    fn kubectl_gets_a_table() {
        let header = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accept(header).unwrap().shape, Shape::Table);
    }

    #[test]
    fn there_is_no_table_in_protobuf() {
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(
            accept(table).unwrap_err().message,
            format!("only the following media types are accepted: {MEDIA_TYPES}")
        );
        assert_eq!(accept(&format!("{table},application/json")).unwrap(), JSON);
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io";
        let got = accept(metadata).unwrap();
        assert_eq!((got.format, got.shape, got.shape_version), (Format::Protobuf, Shape::Metadata, META_BETA));
    }

    #[test]
    fn the_preferred_format_is_taken() {
        let cases = [
            ("application/vnd.kubernetes.protobuf,application/json", Some(Format::Protobuf)),
            ("application/json;q=0.5, application/vnd.kubernetes.protobuf", Some(Format::Protobuf)),
            ("application/json;q=x,application/yaml;q=0.1", Some(Format::Yaml)),
            ("*/*, application/yaml;q=0.1", Some(Format::Yaml)),
            ("text/html,*", Some(Format::Json)),
            ("application/*", Some(Format::Json)),
            ("application/*;stream=watch,application/yaml", Some(Format::Yaml)),
            ("application/yaml;stream=watch", None),
            ("application/json;stream=other", None),
            ("application/json;sv=v2,application/yaml;sv=v1", Some(Format::Yaml)),
            ("application/json;g=meta.k8s.io", None),
            ("text/html", None),
            ("application", None),
            ("application/json/x", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(format(text), wanted, "{text}");
        }
    }

    #[test]
    fn clients_choose_aggregated_discovery() {
        let chosen = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            aggregated(&headers)
        };
        let of = |format: &str, version: &str| {
            format!("{format};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
        };
        let kubectl = [of("application/json", "v2"), of("application/json", "v2beta1"), "application/json".to_owned()];
        assert_eq!(chosen(&kubectl.join(",")), Some(Format::Json));
        assert_eq!(chosen(&kubectl[1..].join(",")), None);
        assert_eq!(chosen(&format!("*/*,{}", of("application/vnd.kubernetes.protobuf", "v2"))), Some(Format::Protobuf));
    }

    #[test]
    fn the_router_knows_whole_media_types() {
        let produced = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            produced(&headers, MEDIA_TYPES).is_ok()
        };
        for accept in ["", "*/*;q=0", "text/html, application/yaml;as=x", "application/vnd.kubernetes.protobuf"] {
            assert!(produced(accept), "{accept}");
        }
        for accept in ["application/*", "*", "text/html"] {
            assert!(!produced(accept), "{accept}");
        }
    }

    #[test]
    fn tools_for_people_get_lines() {
        let pretty = |agent: &str, query: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, agent.parse().unwrap());
            output(&headers, &Query::parse(Some(query)), Transforms::None).unwrap().pretty
        };
        assert_eq!(
            [
                pretty("curl/8", ""),
                pretty("curl/8", "pretty=0"),
                pretty("kubectl", ""),
                pretty("kubectl", "pretty=true")
            ],
            [true, false, false, true]
        );
    }
}
