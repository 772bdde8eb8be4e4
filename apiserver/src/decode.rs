//! From a request's body to an object: decoding, field validation, version checks, defaults.

mod expected;

use crate::negotiate::{self, Format};
use crate::params::FieldValidation;
use crate::registry::{Call, meta};
use crate::request::Incoming;
use api::Value;
use api::codec::{self, Decoded, Problem};
use api::document;
use api::field::Errors;
use api::schema::{Schema, TypeRef};
use api::status::ApiError;
use api::{managed, patch};
use expected::{Expected, Given, WrongType};
use std::borrow::Cow;

const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// The object in the body, of the resource's kind, with defaults.
pub fn object(call: &Call<'_>, incoming: &Incoming, validation: FieldValidation) -> Result<Value, ApiError> {
    let format = negotiate::input(&incoming.headers)?;
    let mut object = body(call, &incoming.body, format, &Expected::of(call.resource), validation)?;
    call.dedup_owners(&mut object, "");
    call.resource.default(&mut object);
    Ok(object)
}

/// A body of another kind than the resource's: a subresource's.
pub fn subresource(
    call: &Call<'_>,
    incoming: &Incoming,
    group: &str,
    version: &str,
    kind: &str,
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let ty = Schema::of_kind(group, version, kind).ok_or_else(ApiError::no_such_resource)?;
    let expected = Expected { kind, api_version: &api_version, ty, rules: None };
    let mut object = body(call, &incoming.body, negotiate::input(&incoming.headers)?, &expected, validation)?;
    meta::match_namespace(&mut object, call.resource, call.namespace)?;
    Ok(object)
}

fn body(
    call: &Call<'_>,
    bytes: &[u8],
    format: Format,
    expected: &Expected,
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    let decoded = decode(bytes, format, expected.ty);
    // Of which type the object is, is found out before it is decoded.
    let given = match &decoded {
        Ok(decoded) if !decoded.problems.iter().any(Given::is_meant) => Given::of(&decoded.value),
        Ok(_) | Err(codec::DecodeError::Type(_)) => Given::of(&untyped(bytes, format)),
        Err(_) => Given::default(),
    };
    if let Some(wrong) = given.wrong(expected) {
        return Err(wrong.refused(expected, bytes));
    }
    let decoded = decoded.map_err(|why| expected.refused(&why, bytes))?;
    let mut object = decoded.value;
    expected.name_type(&mut object);
    if let Some(why) = expected.unreadable(&object) {
        return Err(expected.refused(&codec::DecodeError::Type(why), &[]));
    }
    report(call, &decoded.problems, validation).map_err(|why| expected.refused(&codec::DecodeError::Type(why), &[]))?;
    Ok(object)
}

/// A body of a type, in the format that it came in.
pub fn decode(bytes: &[u8], format: Format, ty: TypeRef<'_>) -> Result<Decoded, codec::DecodeError> {
    match format {
        Format::Json => codec::json::decode(bytes, ty),
        Format::Yaml => codec::yaml::decode(bytes, ty),
        Format::Protobuf => codec::protobuf::decode(bytes, ty),
    }
}

/// The tree of a body that does not fit its type.
fn untyped(bytes: &[u8], format: Format) -> Value {
    let tree = match format {
        Format::Json => codec::json::decode_any(bytes),
        Format::Yaml => codec::yaml::decode_any(bytes),
        Format::Protobuf => Ok(Value::Null),
    };
    tree.unwrap_or_default()
}

/// Unknown and duplicate fields: an error, warnings, or nothing.
fn report(call: &Call<'_>, problems: &[Problem], validation: FieldValidation) -> Result<(), String> {
    match validation {
        FieldValidation::Strict if !problems.is_empty() => return Err(codec::strict_error(problems)),
        FieldValidation::Warn => problems.iter().flat_map(Problem::warnings).for_each(|text| call.warn(text)),
        _ => {}
    }
    Ok(())
}

/// The object that a patch makes of `old`: pruned, its unknown fields reported, with defaults. What is wrong with it is a
/// 422 about the patch.
pub fn patched(
    call: &Call<'_>,
    patch: &Patch<'_>,
    old: &Value,
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    let mut object = patched_as(call, patch, old, &Expected::of(call.resource), validation)?;
    call.resource.default(&mut object);
    Ok(object)
}

/// As [`patched`], of a subresource of a kind of its own (group, version, kind), which has no defaults.
pub fn patched_subresource(
    call: &Call<'_>,
    patch: &Patch<'_>,
    old: &Value,
    (group, version, kind): (&str, &str, &str),
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    patched_as(call, patch, old, &Expected { kind, api_version: &api_version, ty: patch.ty, rules: None }, validation)
}

fn patched_as(
    call: &Call<'_>,
    patch: &Patch<'_>,
    old: &Value,
    expected: &Expected,
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    let refused = |why: String| patch.refused(old, why);
    let patched = patch.apply(old)?;
    let is_strategic = patch.kind == PatchKind::Strategic;
    let is_bare = patched.as_object().is_some_and(|map| {
        map.get("apiVersion").is_none_or(|version| version.is_null() || version.as_str() == Some(""))
    });
    if !is_strategic && is_bare {
        return Err(unversioned(call, &patched, validation, refused));
    }
    // Of which type the object is, is found out before it is decoded. Another version is converted.
    if let Some(WrongType::Unreadable(why) | WrongType::Kind { why, .. }) =
        Given::of(&patched).wrong(expected).filter(|_| !is_strategic)
    {
        return Err(refused(why));
    }
    let decoded = match patch.kind {
        PatchKind::Strategic => codec::convert(patched, expected.ty),
        PatchKind::Json | PatchKind::Merge => codec::check(patched, expected.ty),
    };
    let decoded = decoded.map_err(|why| refused(why.to_string()))?;
    let mut object = decoded.value;
    expected.name_type(&mut object);
    match expected.unreadable(&object) {
        Some(why) if is_strategic => return Err(ApiError::new(500, "", why)),
        Some(why) => return Err(refused(why)),
        None => {}
    }
    let mut problems = if patch.checked { patch.problems() } else { Vec::new() };
    problems.extend(decoded.problems);
    report(call, &problems, validation).map_err(refused)?;
    Ok(object)
}

/// What the body of server-side apply asks for.
pub fn applied(body: &[u8]) -> Result<Value, ApiError> {
    let wrong = |why: String| ApiError::bad_request(format!("error decoding YAML: {why}"));
    match codec::yaml::decode_any(body).map_err(|why| wrong(format!("error converting YAML to JSON: {why}")))? {
        object @ (Value::Object(_) | Value::Null) => Ok(object),
        other => Err(wrong(format!("error unmarshaling JSON: while decoding JSON: {}", patch::no_object(&other)))),
    }
}

/// What field validation found in the body of server-side apply.
pub fn report_applied(call: &Call<'_>, problems: &[Problem], validation: FieldValidation) -> Result<(), ApiError> {
    match problems.first() {
        Some(first) if validation == FieldValidation::Strict => {
            Err(ApiError::bad_request(format!("error strict decoding YAML: error converting YAML to JSON: {first}")))
        }
        _ => report(call, problems, validation).map_err(ApiError::bad_request),
    }
}

/// What comes of a patch that takes the version away: upstream decodes the object into its internal type then, which has
/// no JSON names.
fn unversioned(
    call: &Call<'_>,
    patched: &Value,
    validation: FieldValidation,
    refused: impl Fn(String) -> ApiError,
) -> ApiError {
    let keys = patched.as_object().into_iter().flatten().map(|(key, _)| key);
    let unknown = keys.filter(|key| !matches!(key.as_str(), "kind" | "apiVersion"));
    let problems: Vec<Problem> = unknown.map(|key| Problem::Unknown(key.clone())).collect();
    match report(call, &problems, validation).map_err(refused).and_then(|()| meta::match_name(&Value::Null, call.name))
    {
        Err(failure) => failure,
        Ok(()) => ApiError::internal("an object without a name"),
    }
}

/// Server-side apply: the stored object (`{}` where there is none yet) with what is applied merged into it, as its schema writes it,
/// with defaults.
pub fn applied_to(call: &Call<'_>, live: &Value, applied: &Value, force: bool) -> Result<Value, ApiError> {
    let merged = managed::apply(live, applied, call.resource.versions(), &call.writer(), force, &call.reset_fields())?;
    let expected = Expected::of(call.resource);
    let mut object = converted(merged, expected.ty, applied)?;
    expected.name_type(&mut object);
    if let Some(why) = expected.unreadable(&object) {
        return Err(managed::unreadable(applied, &why));
    }
    call.resource.default(&mut object);
    Ok(object)
}

/// What server-side apply has merged, as its schema writes it.
pub fn converted(object: Value, ty: TypeRef<'_>, applied: &Value) -> Result<Value, ApiError> {
    let decoded = codec::convert(object, ty).map_err(|why| managed::unconvertible(applied, &why.to_string()))?;
    Ok(decoded.value)
}

/// The body of a deletion.
pub fn delete_options(bytes: &[u8], format: Format) -> Result<Value, ApiError> {
    let ty = Schema::builtin().get(DELETE_OPTIONS).ok_or_else(|| ApiError::internal("no schema of DeleteOptions"))?;
    let decoded = decode(bytes, format, ty);
    let given = match &decoded {
        Ok(decoded) => Cow::Borrowed(&decoded.value),
        Err(_) => Cow::Owned(untyped(bytes, format)),
    };
    let kind = document::get_str(&given, "kind");
    if !kind.is_empty() && kind != "DeleteOptions" {
        let version = match document::get_str(&given, "apiVersion") {
            "" => "meta.k8s.io/v1",
            version => version,
        };
        const SCHEME: &str = "\"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\"";
        let (kind, version) = (api::field::quote(kind), api::field::quote(version));
        let why = format!("no kind {kind} is registered for version {version} in scheme {SCHEME}");
        return Err(ApiError::bad_request(why));
    }
    decoded.map(|decoded| decoded.value).map_err(|why| ApiError::bad_request(why.to_string()))
}

/// A patch, as the client sent it.
pub struct Patch<'a> {
    kind: PatchKind,
    body: &'a [u8],
    ty: TypeRef<'static>,
    /// Its fields are validated.
    checked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PatchKind {
    Json,
    Merge,
    Strategic,
}

impl<'a> Patch<'a> {
    /// Takes a patch of an object of type `ty`; `media_type`: see [`negotiate::patch_type`].
    pub fn new(
        media_type: &str,
        body: &'a [u8],
        ty: TypeRef<'static>,
        validation: FieldValidation,
    ) -> Result<Patch<'a>, ApiError> {
        let kind = match media_type {
            "application/json-patch+json" => PatchKind::Json,
            "application/merge-patch+json" => PatchKind::Merge,
            "application/strategic-merge-patch+json" => PatchKind::Strategic,
            _ => return Err(ApiError::not_consumed()),
        };
        Ok(Patch { kind, body, ty, checked: validation != FieldValidation::Ignore })
    }

    /// What field validation finds in the patch itself: fields that come twice, and operations with unknown ones.
    pub fn problems(&self) -> Vec<Problem> {
        match self.kind {
            PatchKind::Json => patch::json::problems(self.body),
            PatchKind::Merge | PatchKind::Strategic => codec::json::problems(self.body, |_| true),
        }
    }

    /// The 422 for a patch that makes something wrong of `old`.
    fn refused(&self, old: &Value, why: String) -> ApiError {
        let shown = match self.kind {
            PatchKind::Strategic => patch::strategic::shown(self.body),
            _ => self.apply(old).map(|object| object.to_string()).unwrap_or_default(),
        };
        let mut errors = Errors::new();
        errors.invalid("patch", shown, why);
        ApiError::invalid("", "", "", &errors)
    }

    /// The patched object; what it was may be needed again when somebody else writes in between.
    pub fn apply(&self, old: &Value) -> Result<Value, ApiError> {
        match self.kind {
            PatchKind::Json => patch::json::apply(old.clone(), self.body, self.checked),
            PatchKind::Merge => patch::merge::apply(old.clone(), self.body, self.checked),
            PatchKind::Strategic => patch::strategic::apply(old.clone(), self.body, self.ty),
        }
    }
}
