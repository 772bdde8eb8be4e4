//! From a request's body to an object: decoding, field validation, version checks, defaults.

use crate::negotiate::{self, Format};
use crate::params::FieldValidation;
use crate::registry::Call;
use crate::request::Incoming;
use crate::resources::Resource;
use api::Value;
use api::codec::{self, Decoded, Problem};
use api::document;
use api::field::Errors;
use api::patch;
use api::schema::{Schema, TypeRef};
use api::status::ApiError;
use http::HeaderMap;

const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// The object in the body, of the resource's kind, with defaults.
pub fn object(call: &Call<'_>, incoming: &Incoming, validation: FieldValidation) -> Result<Value, ApiError> {
    let format = negotiate::input(&incoming.headers)?;
    let mut object = body(call, &incoming.body, format, &Expected::of(call.resource), validation)?;
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
    let expected = Expected { kind, api_version: &api_version, ty };
    body(call, &incoming.body, negotiate::input(&incoming.headers)?, &expected, validation)
}

/// What a body has to be.
struct Expected<'a> {
    kind: &'a str,
    api_version: &'a str,
    ty: TypeRef<'static>,
}

impl Expected<'_> {
    fn of(resource: &Resource) -> Expected<'_> {
        Expected { kind: resource.kind.kind, api_version: &resource.api_version, ty: resource.ty }
    }

    fn version(&self) -> &str {
        self.api_version.rsplit('/').next().unwrap_or_default()
    }

    /// A body that is no such object.
    fn refused(&self, why: &codec::DecodeError, body: &[u8]) -> ApiError {
        why.to_status(self.kind, self.version(), body)
    }
}

fn body(
    call: &Call<'_>,
    bytes: &[u8],
    format: Format,
    expected: &Expected,
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    let decoded = decode(bytes, format, expected.ty).map_err(|why| expected.refused(&why, bytes))?;
    let mut object = decoded.value;
    check_type(&mut object, expected)?;
    report(call, &decoded.problems, validation).map_err(|why| expected.refused(&codec::DecodeError::Type(why), &[]))?;
    Ok(object)
}

fn decode(bytes: &[u8], format: Format, ty: TypeRef<'_>) -> Result<Decoded, codec::DecodeError> {
    match format {
        Format::Json => codec::json::decode(bytes, ty),
        Format::Yaml => codec::yaml::decode(bytes, ty),
        Format::Protobuf => codec::protobuf::decode(bytes, ty),
    }
}

/// Fills in `kind` and `apiVersion` where the body leaves them out, and refuses others.
fn check_type(object: &mut Value, expected: &Expected) -> Result<(), ApiError> {
    let (kind, api_version) = (document::get_str(object, "kind"), document::get_str(object, "apiVersion"));
    if !api_version.is_empty() && api_version != expected.api_version {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            expected.api_version
        )));
    }
    if !kind.is_empty() && kind != expected.kind {
        let (version, wanted) = (expected.version(), expected.kind);
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {wanted}: converting ({kind}) to ({wanted}): unknown conversion"
        )));
    }
    let map = document::as_map(object);
    map.insert("kind".into(), expected.kind.into());
    map.insert("apiVersion".into(), expected.api_version.into());
    Ok(())
}

/// Unknown and duplicate fields: an error, warnings, or nothing.
fn report(call: &Call<'_>, problems: &[Problem], validation: FieldValidation) -> Result<(), String> {
    match validation {
        FieldValidation::Strict if !problems.is_empty() => return Err(codec::strict_error(problems)),
        FieldValidation::Warn => problems.iter().for_each(|problem| call.warn(problem.to_string())),
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
    patched_as(call, patch, old, &Expected { kind, api_version: &api_version, ty: patch.ty }, validation)
}

fn patched_as(
    call: &Call<'_>,
    patch: &Patch<'_>,
    old: &Value,
    expected: &Expected,
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    let refused = |why: String| patch.refused(old, why);
    let decoded = codec::check(patch.apply(old)?, expected.ty).map_err(|why| refused(why.to_string()))?;
    let mut object = decoded.value;
    check_type(&mut object, expected).map_err(|why| refused(why.message.clone()))?;
    let mut problems = if validation == FieldValidation::Ignore { Vec::new() } else { patch.duplicates() };
    problems.extend(decoded.problems);
    report(call, &problems, validation).map_err(refused)?;
    Ok(object)
}

/// The object that server-side apply has merged: as its schema writes it, with defaults.
pub fn merged(call: &Call<'_>, object: Value) -> Result<Value, ApiError> {
    let expected = Expected::of(call.resource);
    let decoded = codec::check(object, expected.ty).map_err(|why| expected.refused(&why, &[]))?;
    let mut object = decoded.value;
    check_type(&mut object, &expected)?;
    call.resource.default(&mut object);
    Ok(object)
}

/// The body of a deletion.
pub fn delete_options(bytes: &[u8], format: Format) -> Result<Value, ApiError> {
    let ty = Schema::builtin().get(DELETE_OPTIONS).ok_or_else(|| ApiError::internal("no schema of DeleteOptions"))?;
    let decoded = decode(bytes, format, ty).map_err(|why| ApiError::bad_request(why.to_string()))?;
    let kind = document::get_str(&decoded.value, "kind");
    if !kind.is_empty() && kind != "DeleteOptions" {
        return Err(ApiError::bad_request("decoded object cannot be converted to DeleteOptions"));
    }
    Ok(decoded.value)
}

/// A patch, as the client sent it.
pub struct Patch<'a> {
    kind: PatchKind,
    body: &'a [u8],
    ty: TypeRef<'static>,
}

#[derive(Clone, Copy)]
enum PatchKind {
    Json,
    Merge,
    Strategic,
}

impl<'a> Patch<'a> {
    /// Takes a patch of an object of type `ty`, by its content type.
    pub fn new(headers: &HeaderMap, body: &'a [u8], ty: TypeRef<'static>) -> Result<Patch<'a>, ApiError> {
        let kind = match negotiate::media_type(headers) {
            "application/json-patch+json" => PatchKind::Json,
            "application/merge-patch+json" => PatchKind::Merge,
            "application/strategic-merge-patch+json" => PatchKind::Strategic,
            _ => return Err(ApiError::not_consumed()),
        };
        Ok(Patch { kind, body, ty })
    }

    /// The fields that a patch has twice.
    fn duplicates(&self) -> Vec<Problem> {
        let problems = match self.kind {
            PatchKind::Json => None,
            PatchKind::Merge | PatchKind::Strategic => codec::json::decode(self.body, self.ty).ok(),
        };
        problems.map_or_else(Vec::new, |d| d.problems.into_iter().filter(|problem| problem.duplicate).collect())
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
            PatchKind::Json => patch::json::apply(old.clone(), self.body),
            PatchKind::Merge => patch::merge::apply(old.clone(), self.body),
            PatchKind::Strategic => patch::strategic::apply(old.clone(), self.body, self.ty),
        }
    }
}
