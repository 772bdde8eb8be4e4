//! What client-go's serializer makes of objects: `api/testdata/protobuf/` has each as JSON and as it is on the wire.

use super::{Encoder, decode, encode, encode_any, envelope, wrap};
use crate::codec::json;
use crate::schema::{Schema, TypeRef, fill};
use std::path::{Path, PathBuf};

/// An object that the data have in both forms.
pub(super) struct Golden {
    pub name: String,
    pub ty: TypeRef<'static>,
    pub json: Vec<u8>,
    pub protobuf: Vec<u8>,
}

pub(super) fn all() -> Vec<Golden> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/protobuf");
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let mut found: Vec<Golden> = files.filter(|path| path.extension().is_some_and(|e| e == "pb")).map(read).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn read(path: PathBuf) -> Golden {
    let protobuf = std::fs::read(&path).unwrap();
    let (api_version, kind) = envelope(&protobuf).unwrap();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    Golden {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        ty: Schema::of_kind(group, version, &kind).unwrap(),
        json: std::fs::read(path.with_extension("json")).unwrap(),
        protobuf,
    }
}

#[test]
fn what_client_go_writes_is_read_as_its_json() {
    for golden in all() {
        let mut found = decode(&golden.protobuf, golden.ty).unwrap().value;
        let mut expected = json::decode(&golden.json, golden.ty).unwrap();
        assert_eq!(expected.problems, [], "{}", golden.name);
        // Protobuf cannot leave out what is no pointer.
        fill(&mut found, golden.ty);
        fill(&mut expected.value, golden.ty);
        assert_eq!(found, expected.value, "{}", golden.name);
    }
}

#[test]
fn objects_are_written_as_client_go_writes_them() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for golden in all() {
        let tree = json::decode(&golden.json, golden.ty).unwrap().value;
        assert_eq!(hex(&encode(&tree, golden.ty)), hex(&golden.protobuf), "{}", golden.name);
        assert_eq!(encode_any(&tree).as_ref(), Some(&golden.protobuf), "{}", golden.name);
        // Stored bytes give the same as a tree, though their fields are in another order.
        let mut stored = crate::document::encode(&tree);
        let version = crate::document::resource_version(&tree).bytes();
        stored.bytes.splice(stored.revision_at..stored.revision_at, version);
        let (api_version, kind) = envelope(&golden.protobuf).unwrap();
        let mut encoder = Encoder::new(golden.ty);
        let message = encoder.encode(&mut serde_json::Deserializer::from_slice(&stored.bytes)).unwrap();
        assert_eq!(hex(&wrap(&api_version, &kind, message)), hex(&golden.protobuf), "{}", golden.name);
    }
}
