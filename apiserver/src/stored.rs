//! The form in which objects stand in a store that others share: upstream's etcd layout, read in any form that upstream
//! writes.
//!
//! Objects are written as JSON, in the order of [`api::document::encode`], with the resource version left empty (upstream
//! takes it from etcd, whatever the object says). Upstream writes built-in objects as protobuf, in an envelope that begins
//! with `k8s\0`, and CustomResourceDefinitions, APIServices and custom objects as JSON. What is not in our form is decoded,
//! defaulted and encoded anew while it is read, so that in memory there is one form only.

use crate::kinds::custom_resource_definition::from_v1beta1;
use crate::resources::{self, Resource};
use api::Value;
use api::codec;
use api::document;
use api::kinds::KINDS;
use api::schema::Schema;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::OnceLock;
use storage::{Codec, Opened, Place};

/// What precedes protobuf.
const PROTOBUF: &[u8] = b"k8s\0";

/// Reads every form, and writes ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout;

impl Codec for Layout {
    fn seal(&self, _: Place<'_>, _: &Bytes) -> Result<Option<Bytes>, String> {
        Ok(None)
    }

    fn seals(&self, _: &str) -> bool {
        false
    }

    fn open(&self, place: Place<'_>, kept: &Bytes) -> Result<Opened, String> {
        let resource = stored_at(place.key);
        match document::revision_gap(kept) {
            Some((api_version, at)) if resource.is_none_or(|resource| resource.api_version == api_version) => {
                Ok(Opened { value: kept.clone(), revision_at: Some(at), stale: false })
            }
            _ => {
                let object = document::encode(&foreign(kept, resource)?);
                Ok(Opened { value: object.bytes.into(), revision_at: Some(object.revision_at), stale: true })
            }
        }
    }
}

/// The resource, in the version that is stored, whose objects have keys like this one.
fn stored_at(key: &str) -> Option<&'static Resource> {
    static BY_PREFIX: OnceLock<BTreeMap<String, &'static Resource>> = OnceLock::new();
    let by_prefix = BY_PREFIX.get_or_init(|| {
        let all = KINDS.iter().filter(|kind| kind.is_stored());
        let all = all.filter_map(|kind| resources::find(kind.group, kind.version, kind.resource));
        all.filter(|resource| resource.conversion.is_none()).map(|it| (it.prefix.clone(), it)).collect()
    });
    // No prefix begins with another one: the greatest that is not beyond the key is the only candidate.
    by_prefix
        .range::<str, _>((Bound::Unbounded, Bound::Included(key)))
        .next_back()
        .filter(|(prefix, _)| key.starts_with(*prefix))
        .map(|(_, it)| *it)
}

/// A version's `apiVersion` and kind, and how its objects become ones of a version that is served.
type Older = (&'static str, &'static str, fn(Value) -> Value);

/// Versions that are not served any more, or never were, but in which upstream stores.
const OLDER: &[Older] = &[
    ("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition", from_v1beta1),
    ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicy", |it| {
        renamed(it, "admissionregistration.k8s.io/v1")
    }),
    ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicyBinding", |it| {
        renamed(it, "admissionregistration.k8s.io/v1")
    }),
];

/// A version with the same fields.
fn renamed(mut object: Value, api_version: &str) -> Value {
    document::set(&mut object, "apiVersion", api_version);
    object
}

/// The object of a value that somebody else wrote, as we would store it.
fn foreign(kept: &[u8], resource: Option<&'static Resource>) -> Result<Value, String> {
    let mut object = if kept.starts_with(PROTOBUF) { from_protobuf(kept, resource)? } else { from_json(kept)? };
    if let Some((_, _, convert)) = older(document::get_str(&object, "apiVersion"), document::get_str(&object, "kind")) {
        object = convert(object);
    }
    let Some(resource) = resource else { return Ok(object) };
    let written = resources::of(&object).ok_or_else(|| {
        let (kind, version) = (document::get_str(&object, "kind"), document::get_str(&object, "apiVersion"));
        format!("no kind {kind} is known in version {version}")
    })?;
    if written.prefix != resource.prefix {
        return Err(format!("a {} stands where {} are kept", written.kind.kind, resource.kind.resource));
    }
    let mut object = codec::check(object, written.ty).map_err(|error| error.to_string())?.value;
    written.complete(&mut object);
    Ok(written.to_stored(&object))
}

fn older(api_version: &str, kind: &str) -> Option<&'static Older> {
    OLDER.iter().find(|it| (it.0, it.1) == (api_version, kind))
}

fn from_json(kept: &[u8]) -> Result<Value, String> {
    codec::json::decode_any(kept).map_err(|error| format!("the value is neither JSON nor protobuf: {error}"))
}

fn undecodable(error: &codec::DecodeError) -> String {
    format!("the value is not the protobuf of an object: {error}")
}

/// Of a type that is known, or of `resource`'s where only the version is another.
fn from_protobuf(kept: &[u8], resource: Option<&Resource>) -> Result<Value, String> {
    let (api_version, kind) = codec::protobuf::envelope(kept).map_err(|error| undecodable(&error))?;
    let (group, version) = document::split_version(&api_version);
    let same_fields = resource.filter(|_| older(&api_version, &kind).is_some()).map(|resource| resource.ty);
    let ty = Schema::of_kind(group, version, &kind).or(same_fields);
    let ty = ty.ok_or_else(|| format!("no kind {kind} is known in version {api_version}"))?;
    Ok(codec::protobuf::decode(kept, ty).map_err(|error| undecodable(&error))?.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn each_stored_resource_is_found_by_its_keys() {
        for kind in KINDS.iter().filter(|kind| kind.is_stored()) {
            let key = format!("{}a/b", kind.store_prefix());
            let found = stored_at(&key).map(|resource| resource.kind.resource);
            assert_eq!(found, Some(kind.resource), "{key}");
        }
        assert!(stored_at("/registry/example.com/widgets/a/b").is_none());
        assert!(stored_at("/registry/pod").is_none());
    }

    #[test]
    fn our_own_form_is_taken_as_it_is() {
        let object = serde_json::json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}});
        let bytes: Bytes = document::encode(&object).bytes.into();
        let opened = Layout.open("/registry/configmaps/default/a".into(), &bytes).unwrap();
        assert_eq!((opened.value.as_ptr(), opened.stale), (bytes.as_ptr(), false));
        assert_eq!(
            &opened.value[..opened.revision_at.unwrap()],
            br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":""#
        );
    }

    /// Keys, values as an upstream v1.36 server wrote them, and what it answered to a GET of them.
    const GOLDEN: &str = include_str!("stored/golden.txt");

    #[test]
    fn what_upstream_wrote_is_what_it_answers() {
        for row in GOLDEN.lines().collect::<Vec<_>>().chunks(3) {
            let [key, kept, answer] = row else { panic!("three lines each") };
            let opened = Layout.open((*key).into(), &STANDARD.decode(kept).unwrap().into()).unwrap();
            assert!(opened.stale, "{key}");
            let mut object: Value = serde_json::from_slice(&opened.value).unwrap();
            document::remove(&mut object, "metadata.resourceVersion");
            match serde_json::from_str(answer).unwrap() {
                Value::Null => assert_eq!(document::get_str(&object, "range"), "30000-32767", "{key}"),
                answer => assert_eq!(object, answer, "{key}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let error = |key: &str, kept: &'static [u8]| Layout.open(key.into(), &Bytes::from_static(kept)).err().unwrap();
        let pod = "/registry/pods/default/a";
        assert_eq!(
            error(pod, b"x"),
            "the value is neither JSON nor protobuf: invalid character 'x' looking for beginning of value"
        );
        assert_eq!(error(pod, br#"{"kind":"Secret","apiVersion":"v1"}"#), "a Secret stands where pods are kept");
        assert_eq!(error(pod, br#"{"kind":"Pod","apiVersion":"v9"}"#), "no kind Pod is known in version v9");
        assert_eq!(error(pod, b"k8s\0\xff"), "the value is not the protobuf of an object: unexpected EOF");
    }
}
