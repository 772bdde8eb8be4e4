//! Of which type an object is, and of which it has to be.

use crate::kinds::Rules;
use crate::resources::Resource;
use api::Value;
use api::codec;
use api::document;
use api::kinds::is_unserved;
use api::schema::{Schema, TypeRef};
use api::status::ApiError;

/// What a body has to be.
pub(super) struct Expected<'a> {
    pub kind: &'a str,
    pub api_version: &'a str,
    pub ty: TypeRef<'static>,
    /// Of the kind, where it is a resource's own.
    pub rules: Option<&'static dyn Rules>,
}

impl Expected<'_> {
    pub fn of(resource: &Resource) -> Expected<'_> {
        Expected {
            kind: resource.kind.kind,
            api_version: &resource.api_version,
            ty: resource.ty,
            rules: Some(resource.rules),
        }
    }

    /// Why an object that fits the type cannot be decoded all the same.
    pub fn unreadable(&self, object: &Value) -> Option<String> {
        self.rules.and_then(|rules| rules.unreadable(object))
    }

    pub fn version(&self) -> &str {
        self.api_version.rsplit('/').next().unwrap_or_default()
    }

    fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Where upstream's registry of the type stands, as its errors say, and whether it has the other groups' types too.
    fn scheme(&self) -> (&'static str, bool) {
        match self.group() {
            "apiextensions.k8s.io" => ("k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55", false),
            "apiregistration.k8s.io" => ("k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28", false),
            _ => ("k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30", true),
        }
    }

    /// Go's package of the type that upstream works with.
    fn package(&self) -> &str {
        match self.group() {
            "" | "events.k8s.io" => "core",
            "rbac.authorization.k8s.io" => "rbac",
            group => group.split('.').next().unwrap_or_default(),
        }
    }

    /// Says in the object what it is.
    pub fn name_type(&self, object: &mut Value) {
        let map = document::as_map(object);
        map.insert("kind".into(), self.kind.into());
        map.insert("apiVersion".into(), self.api_version.into());
    }

    /// A body that is no such object.
    pub fn refused(&self, why: &codec::DecodeError, body: &[u8]) -> ApiError {
        why.to_status(self.kind, self.version(), body)
    }
}

/// The type that an object says it is of.
#[derive(Default)]
pub(super) struct Given {
    kind: String,
    api_version: String,
    /// Why either cannot be read.
    unreadable: Option<String>,
}

impl Given {
    pub fn of(object: &Value) -> Given {
        let mut given = Given::default();
        for (key, value) in object.as_object().into_iter().flatten() {
            let (name, place) = match () {
                _ if names_type(key, "kind") => ("kind", &mut given.kind),
                _ if names_type(key, "apiVersion") => ("apiVersion", &mut given.api_version),
                _ => continue,
            };
            let found = match value {
                Value::Null => continue,
                Value::String(text) => {
                    text.clone_into(place);
                    continue;
                }
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            given.unreadable.get_or_insert_with(|| {
                const WHERE: &str = "couldn't get version/kind; json parse error: json: cannot unmarshal";
                format!("{WHERE} {found} into Go struct field .{name} of type string")
            });
        }
        given
    }

    /// Whether a problem is with a field that means the type, but is written in other letters.
    pub fn is_meant(problem: &codec::Problem) -> bool {
        let codec::Problem::Unknown(key) = problem else { return false };
        names_type(key, "kind") || names_type(key, "apiVersion")
    }

    /// What is wrong with the type, if anything. What is left out is as expected.
    pub fn wrong(&self, expected: &Expected<'_>) -> Option<WrongType> {
        if let Some(why) = &self.unreadable {
            return Some(WrongType::Unreadable(why.clone()));
        }
        let kind = if self.kind.is_empty() { expected.kind } else { &self.kind };
        let api_version = if self.api_version.is_empty() { expected.api_version } else { &self.api_version };
        // Evictions may be sent in the version that came before.
        let is_older_eviction = expected.kind == "Eviction" && (kind, api_version) == ("Eviction", "policy/v1beta1");
        if (kind, api_version) == (expected.kind, expected.api_version) || is_older_eviction {
            return None;
        }
        let (group, version) = api::document::split_version(api_version);
        if version.contains('/') {
            return Some(WrongType::Unreadable(format!("unexpected GroupVersion string: {api_version}")));
        }
        let (scheme, whole) = expected.scheme();
        let is_served = (whole || group == expected.group()) && Schema::of_kind(group, version, kind).is_some();
        let is_known = is_served || (is_unserved(group, version) && kind == expected.kind);
        // The list of anything has a schema of its own nowhere.
        let is_known = is_known || (whole && (api_version, kind) == ("v1", "List"));
        let why = match (is_known, kind == expected.kind) {
            (false, _) => {
                format!("no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \"{scheme}\"")
            }
            (true, true) => return Some(WrongType::Version(api_version.to_owned())),
            (true, false) => {
                let wanted = expected.kind;
                format!("converting ({version}.{kind}) to ({}.{wanted}): unknown conversion", expected.package())
            }
        };
        Some(WrongType::Kind { kind: kind.to_owned(), version: version.to_owned(), why })
    }
}

/// The type is read as `encoding/json` reads, to which capitals are the same as small letters.
fn names_type(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name)
}

/// How an object is of another type than the expected one.
pub(super) enum WrongType {
    /// The version is none; why.
    Unreadable(String),
    /// Another version of the same kind.
    Version(String),
    Kind {
        kind: String,
        version: String,
        why: String,
    },
}

impl WrongType {
    /// The 400 for a body.
    pub fn refused(self, expected: &Expected<'_>, body: &[u8]) -> ApiError {
        match self {
            WrongType::Unreadable(why) => expected.refused(&codec::DecodeError::Envelope(why), body),
            WrongType::Version(given) => ApiError::bad_request(format!(
                "the API version in the data ({given}) does not match the expected API version ({})",
                expected.api_version
            )),
            WrongType::Kind { kind, version, why } => ApiError::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {}: {why}",
                expected.kind
            )),
        }
    }
}
