use super::*;
use crate::codec::{self, DecodeError, MAX_DEPTH, json};
use crate::kinds::KINDS;
use crate::schema::{FieldType, Presence, Schema, TypeRef, fill};
use crate::{Map, Value};
use proptest::prelude::*;
use serde_json::json;
use std::collections::HashSet;

/// Bodies that kubectl 1.32 sent, taken off the wire, and what the same command prints with `--dry-run=client -o json`.
#[rustfmt::skip]
const SENT: &[(&str, &str, &str, &str)] = &[
    // kubectl create sa demo
    ("", "v1", "6b3873000a140a027631120e536572766963654163636f756e7412160a140a0464656d6f12001a0022002a003200380042001a002200",
     r#"{"kind":"ServiceAccount","apiVersion":"v1","metadata":{"name":"demo","creationTimestamp":null}}"#),
    // kubectl create namespace demo
    ("", "v1", "6b3873000a0f0a02763112094e616d657370616365121c0a140a0464656d6f12001a0022002a0032003800420012001a020a001a002200",
     r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"demo","creationTimestamp":null},"spec":{},"status":{}}"#),
    // kubectl create configmap c --from-literal=a=1 --from-literal=b=
    ("", "v1", "6b3873000a0f0a0276311209436f6e6669674d617012220a110a016312001a0022002a0032003800420012060a016112013112050a016212001a002200",
     r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c","creationTimestamp":null},"data":{"a":"1","b":""}}"#),
    // kubectl create secret generic s --from-literal=k=v
    ("", "v1", "6b3873000a0c0a0276311206536563726574121d0a110a017312001a0022002a0032003800420012060a016b1201761a001a002200",
     r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","creationTimestamp":null},"data":{"k":"dg=="}}"#),
    // kubectl create quota q --hard=cpu=1,memory=512Mi
    ("", "v1", "6b3873000a130a027631120d5265736f7572636551756f746112360a110a017112001a0022002a00320038004200121f0a0a0a0363707512030a01310a110a066d656d6f727912070a053531324d691a001a002200",
     r#"{"kind":"ResourceQuota","apiVersion":"v1","metadata":{"name":"q","creationTimestamp":null},"spec":{"hard":{"cpu":"1","memory":"512Mi"}},"status":{}}"#),
    // kubectl create service clusterip web --tcp=80:http
    ("", "v1", "6b3873000a0d0a027631120753657276696365126c0a1f0a0377656212001a0022002a003200380042005a0a0a03617070120377656212450a1e0a0738302d6874747012035443501850220a080110001a04687474702800120a0a0361707012037765621a002209436c757374657249503a00420052005a00600068001a020a001a002200",
     r#"{"kind":"Service","apiVersion":"v1","metadata":{"name":"web","creationTimestamp":null,"labels":{"app":"web"}},"spec":{"ports":[{"name":"80-http","protocol":"TCP","port":80,"targetPort":"http"}],"selector":{"app":"web"},"type":"ClusterIP"},"status":{"loadBalancer":{}}}"#),
    // kubectl create deployment web --image=nginx --replicas=3 --port=80
    ("apps", "v1", "6b3873000a150a07617070732f7631120a4465706c6f796d656e7412b8010a1f0a0377656212001a0022002a003200380042005a0a0a0361707012037765621286010803120c0a0a0a0361707012037765621a6c0a1c0a0012001a0022002a003200380042005a0a0a036170701203776562124c122e0a056e67696e7812056e67696e782a00320a0a001000185022002a0042006a007200800100880100900100a201001a00320042004a0052005800600068008201008a01009a0100c2010022020a00280038001a0c0800100018002000280038001a002200",
     r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web","creationTimestamp":null,"labels":{"app":"web"}},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"creationTimestamp":null,"labels":{"app":"web"}},"spec":{"containers":[{"name":"nginx","image":"nginx","ports":[{"containerPort":80}],"resources":{}}]}},"strategy":{}},"status":{}}"#),
    // kubectl create cronjob cj --image=busybox --schedule=*/1
    ("batch", "v1", "6b3873000a130a0862617463682f7631120743726f6e4a6f621295010a120a02636a12001a0022002a00320038004200127d0a032a2f311a002a740a120a02636a12001a0022002a00320038004200125e325c0a100a0012001a0022002a00320038004200124812210a02636a120762757379626f782a0042006a007200800100880100900100a201001a094f6e4661696c757265320042004a0052005800600068008201008a01009a0100c201001a001a002200",
     r#"{"kind":"CronJob","apiVersion":"batch/v1","metadata":{"name":"cj","creationTimestamp":null},"spec":{"schedule":"*/1","jobTemplate":{"metadata":{"name":"cj","creationTimestamp":null},"spec":{"template":{"metadata":{"creationTimestamp":null},"spec":{"containers":[{"name":"cj","image":"busybox","resources":{}}],"restartPolicy":"OnFailure"}}}}},"status":{}}"#),
    // kubectl create pdb p --selector=a=b --min-available=50%
    ("policy", "v1", "6b3873000a200a09706f6c6963792f76311213506f6444697372757074696f6e42756467657412360a110a017012001a0022002a0032003800420012150a09080110001a0335302512080a060a01611201621a0a080018002000280030001a002200",
     r#"{"kind":"PodDisruptionBudget","apiVersion":"policy/v1","metadata":{"name":"p","creationTimestamp":null},"spec":{"minAvailable":"50%","selector":{"matchLabels":{"a":"b"}}},"status":{"disruptionsAllowed":0,"currentHealthy":0,"desiredHealthy":0,"expectedPods":0}}"#),
    // kubectl create token demo --duration=1h
    ("authentication.k8s.io", "v1", "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e52657175657374121d0a100a0012001a0022002a00320038004200120320901c1a040a0012001a002200",
     r#"{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","metadata":{},"spec":{"audiences":null,"expirationSeconds":3600},"status":{"token":"","expirationTimestamp":null}}"#),
];

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn ty(group: &str, version: &str, kind: &str) -> TypeRef<'static> {
    Schema::of_kind(group, version, kind).unwrap()
}

fn pod() -> TypeRef<'static> {
    ty("", "v1", "Pod")
}

#[test]
fn kubectls_bodies_are_read_as_its_json_and_written_again_as_they_came() {
    for (group, version, hex, text) in SENT {
        let (api_version, kind) = envelope(&unhex(hex)).unwrap();
        let ty = ty(group, version, &kind);
        let expected = json::decode(text.as_bytes(), ty).unwrap();
        assert_eq!(api_version, expected.value["apiVersion"]);
        assert_eq!(decode(&unhex(hex), ty).unwrap(), expected, "{kind}");
        let written: String = encode(&expected.value, ty).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(written, *hex, "{kind}");
    }
}

/// The types of requests and answers: every kind and subresource, their lists, and what all of them share.
fn roots() -> Vec<TypeRef<'static>> {
    let of = |group: &str, version: &str, kind: &str| {
        Schema::of_kind(group, version, kind).unwrap_or_else(|| panic!("no {group}/{version} {kind}"))
    };
    let mut roots: Vec<_> = [
        "DeleteOptions",
        "Status",
        "PartialObjectMetadata",
        "PartialObjectMetadataList",
        "APIGroup",
        "APIGroupList",
        "APIResourceList",
        "APIVersions",
    ]
    .into_iter()
    .map(|kind| of("meta", "v1", kind))
    .collect();
    roots.push(of("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList"));
    for kind in KINDS {
        roots.push(of(kind.group, kind.version, kind.kind));
        if kind.has_verb("list") {
            roots.push(of(kind.group, kind.version, &kind.list_kind()));
        }
        // Options are read from the query.
        let bodies = kind.subresources.iter().filter(|s| !s.kind.is_empty() && !s.kind.ends_with("Options"));
        roots.extend(bodies.map(|s| of(s.group, s.version, s.kind)));
    }
    roots
}

#[test]
fn every_field_has_a_number_of_its_own() {
    let own: HashSet<_> = roots().iter().map(|ty| ty.name.clone()).collect();
    let (mut todo, mut seen) = (roots(), HashSet::new());
    while let Some(ty) = todo.pop() {
        if !seen.insert(ty.name.clone()) {
            continue;
        }
        let mut numbers = HashSet::new();
        for field in &ty.ty.fields {
            todo.extend(ty.target(&field.ty));
            // A request's own type stands in the envelope.
            if (ty.gvk.is_some() || own.contains(&ty.name)) && matches!(&*field.name, "apiVersion" | "kind") {
                continue;
            }
            assert_ne!(field.tag, 0, "{}.{}", ty.name, field.name);
            assert!(numbers.insert((field.inline, field.tag)), "{}.{}", ty.name, field.name);
        }
    }
}

#[test]
fn what_is_no_protobuf_is_told_as_upstream_does() {
    let refused = |bytes: &[u8]| decode(bytes, pod()).unwrap_err().to_status("Pod", "v1", bytes).message.clone();
    let unrecognized = "the object provided is unrecognized (must be of type Pod): ";
    let prefix = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
    assert_eq!(refused(b""), format!("{unrecognized}empty data (<empty>)"));
    assert_eq!(refused(b"{}"), format!("{unrecognized}{prefix} ({{}})"));
    assert_eq!(refused(MAGIC), format!("{unrecognized}empty body (6b387300)"));
    assert_eq!(refused(b"k8s\0\x12\x05"), format!("{unrecognized}unexpected EOF (6b3873001205)"));
    let inner = |raw: &[u8]| refused(&[&b"k8s\0\x12"[..], &[raw.len() as u8], raw].concat());
    let handled = "Pod in version \"v1\" cannot be handled as a Pod: ";
    for (raw, why) in [
        (&b"\x0a\x05"[..], "unexpected EOF"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "proto: negative length found during unmarshaling"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "proto: integer overflow"),
        (b"\x08\x00", "proto: wrong wireType = 0 for field Metadata"),
        (b"\x00", "proto: Pod: illegal tag 0 (wire type 0)"),
        (b"\x0c", "proto: Pod: wiretype end group for non-group"),
        (b"\x7f", "proto: illegal wireType 7"),
    ] {
        assert_eq!(inner(raw), format!("{handled}{why}"));
    }
    assert_eq!(decode(b"k8s\0\x12\x00", pod()).unwrap().value, json!({}));
}

#[test]
fn events_come_back() {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410});
    let mut frames = Vec::new();
    for event in ["ADDED", "ERROR"] {
        write_event(&mut frames, event, &encode_any(&status).unwrap());
    }
    let whole = frames.len();
    frames.extend_from_slice(&[0, 0, 0, 9, 1]);
    let found = events(&frames).unwrap();
    assert_eq!(found.iter().map(|(event, _)| event.as_str()).collect::<Vec<_>>(), ["ADDED", "ERROR"]);
    assert_eq!(decode_any(found[1].1).unwrap(), status);
    assert!(events(&[0, 0, 0, 1, 7]).is_err() && whole > 0);
    let unknown = wrap("v1", "Thing", b"");
    assert_eq!(decode_any(&unknown).unwrap_err().to_string(), "no kind \"Thing\" is registered for version \"v1\"");
}

/// A Pod's body with these bytes as its spec.
fn with_spec(spec: &[u8]) -> Result<Value, DecodeError> {
    let mut w = wire::Writer { out: MAGIC.to_vec() };
    w.message(2, |w| w.text(2, spec));
    decode(&w.out, pod()).map(|decoded| decoded.value["spec"].clone())
}

#[test]
fn fields_may_be_unknown_repeated_or_packed() {
    // terminationGracePeriodSeconds (4) twice, hostNetwork (11) true then false, and numbers 99 of every wire type.
    let spec = b"\x20\x05\x20\x00\x58\x01\x58\x00\x98\x06\x01\x99\x06\0\0\0\0\0\0\0\0\x9a\x06\x01a\x9b\x06\x08\x01\x9c\x06\x9d\x06\0\0\0\0";
    assert_eq!(with_spec(spec).unwrap(), json!({"terminationGracePeriodSeconds": 0}));
    // securityContext (14) in two parts: supplementalGroups (4) packed and not, runAsUser (2).
    let spec = b"\x72\x06\x22\x02\x01\x02\x20\x03\x72\x02\x10\x07";
    assert_eq!(with_spec(spec).unwrap(), json!({"securityContext": {"runAsUser": 7, "supplementalGroups": [1, 2, 3]}}));
    // nodeSelector (7): an entry without a value, a repeated key, a key that is not UTF-8.
    let spec = b"\x3a\x03\x0a\x01a\x3a\x06\x0a\x01b\x12\x01x\x3a\x06\x0a\x01b\x12\x01y\x3a\x03\x0a\x01\xff";
    assert_eq!(with_spec(spec).unwrap(), json!({"nodeSelector": {"a": "", "b": "y", "\u{fffd}": ""}}));
    // A group that never ends.
    assert_eq!(with_spec(b"\x9b\x06\x9b\x06\x9c\x06").unwrap_err().to_string(), "unexpected EOF");
}

#[test]
fn nesting_is_limited() {
    let schema =
        Schema::builtin().get("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").unwrap();
    let not = schema.field("not").unwrap().tag;
    let nested = |levels: usize| {
        let message = |tag, inner: Vec<u8>| {
            let mut w = wire::Writer::default();
            w.text(tag, inner);
            w.out
        };
        let raw = (0..levels).fold(Vec::new(), |inner, _| message(not, inner));
        decode(&[MAGIC, &message(2, raw)].concat(), schema)
    };
    let deepest = nested(MAX_DEPTH - 2).unwrap().value;
    assert!(json::decode(deepest.to_string().as_bytes(), schema).is_ok());
    assert_eq!(nested(MAX_DEPTH - 1).unwrap_err().to_string(), "proto: exceeded max depth");
    assert!(nested(3000).is_err());

    let revision = ty("apps", "v1", "ControllerRevision");
    let data = |levels: usize| {
        let data = (0..levels).fold(json!(1), |inner, _| json!([inner]));
        decode(&encode(&json!({"data": data}), revision), revision)
    };
    assert!(data(MAX_DEPTH - 2).is_ok());
    assert_eq!(data(MAX_DEPTH - 1).unwrap_err().to_string(), "proto: exceeded max depth");
    assert!(data(MAX_DEPTH + 1).is_err());
}

/// Small random values, from a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.roll(texts.len() as u64) as usize]
    }

    fn int(&mut self, bits: u32) -> i64 {
        let any = self.roll(u64::MAX) as i64;
        [0, 1, -1, any >> (64 - bits)][self.roll(4) as usize]
    }

    /// An object of a type. Lists and maps are never empty: protobuf cannot tell them from none.
    fn object(&mut self, ty: TypeRef<'static>, depth: u32) -> Value {
        let mut map = Map::new();
        for field in &ty.ty.fields {
            let leaf = ty.target(&field.ty).is_none();
            if field.tag > 0 && (self.roll(3) == 0 || field.required) && (leaf || depth > 0) {
                map.insert(field.name.to_string(), self.value(&field.ty, ty, depth));
            }
        }
        Value::Object(map)
    }

    fn list(&mut self, ty: &FieldType, owner: TypeRef<'static>, depth: u32) -> Value {
        (0..1 + self.roll(3)).map(|_| self.value(ty, owner, depth)).collect()
    }

    fn value(&mut self, ty: &FieldType, owner: TypeRef<'static>, depth: u32) -> Value {
        let target =
            |this: &mut Dice| owner.target(ty).map_or(Value::Null, |ty| this.object(ty, depth.saturating_sub(1)));
        match ty {
            FieldType::String => self.pick(&["", "a", "web-0", "ünïcode \u{0}\"", "10.0.0.1"]).into(),
            FieldType::Bytes => self.pick(&["", "dg==", "AAEC", "/+8="]).into(),
            FieldType::Int32 => self.int(32).into(),
            FieldType::Int64 => self.int(64).into(),
            FieldType::Float => [json!(0), json!(5), json!(-1.5), json!(1e300)][self.roll(4) as usize].clone(),
            FieldType::Bool => (self.roll(2) == 0).into(),
            FieldType::Quantity => self.pick(&["0", "100m", "1.5Gi", "1e3", "-2", "3n"]).into(),
            FieldType::IntOrString if self.roll(2) == 0 => self.int(32).into(),
            FieldType::IntOrString => self.pick(&["", "25%", "http"]).into(),
            FieldType::Time => {
                self.pick(&["1970-01-01T00:00:00Z", "2026-01-02T03:04:05Z", "1950-12-31T23:59:59Z"]).into()
            }
            FieldType::MicroTime => self.pick(&["1969-12-31T23:59:59.000001Z", "2026-01-02T03:04:05.999999Z"]).into(),
            FieldType::Duration => self.pick(&["0s", "1h2m3.5s", "-15ms", "1ns"]).into(),
            FieldType::FieldsV1 => json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}),
            FieldType::RawExtension => json!({"kind": "X", "n": [1, 2.5, null, "s"], "o": {}}),
            FieldType::Json => {
                [json!(1), json!("s"), json!([]), json!({"a": null}), json!(false)][self.roll(5) as usize].clone()
            }
            FieldType::SchemaOrBool(_) if self.roll(2) == 0 => (self.roll(2) == 0).into(),
            FieldType::SchemaOrArray(id) if self.roll(2) == 0 => {
                self.list(&FieldType::Ref(*id), owner, depth.saturating_sub(1))
            }
            FieldType::SchemaOrStrings(_) if self.roll(2) == 0 => self.list(&FieldType::String, owner, 0),
            FieldType::Ref(_)
            | FieldType::SchemaOrBool(_)
            | FieldType::SchemaOrArray(_)
            | FieldType::SchemaOrStrings(_) => target(self),
            FieldType::List(item) => self.list(item, owner, depth),
            FieldType::Map(item) => {
                let keys =
                    (0..1 + self.roll(3)).map(|_| self.pick(&["", "a", "b.io/c", "é"]).to_owned()).collect::<Vec<_>>();
                keys.into_iter().map(|key| (key, self.value(item, owner, depth))).collect()
            }
        }
    }
}

/// Every kind survives protobuf as it does JSON, but for what Go writes unasked.
#[test]
fn objects_of_every_kind_come_back() {
    for ty in roots() {
        for seed in 1..=30 {
            let mut object = Dice(0x9e37_79b9_7f4a_7c15 ^ (seed << 32)).object(ty, 6);
            if let Some((group, version, kind)) = &ty.gvk {
                object["apiVersion"] =
                    if group.is_empty() { json!(version) } else { json!(format!("{group}/{version}")) };
                object["kind"] = json!(kind);
            }
            let mut expected = codec::check(object, ty).unwrap().value;
            let bytes = encode(&expected, ty);
            let mut found = decode(&bytes, ty).unwrap().value;
            assert_eq!(encode(&found, ty), bytes, "{}", ty.name);
            fill(&mut expected, ty);
            fill(&mut found, ty);
            assert_eq!(found, expected, "{}", ty.name);
        }
    }
}

#[test]
fn pointers_to_zero_stay() {
    let deployment = ty("apps", "v1", "Deployment");
    let sent = json!({"spec": {"replicas": 0, "paused": true}});
    let found = decode(&encode(&sent, deployment), deployment).unwrap().value;
    assert_eq!((&found["spec"]["replicas"], &found["spec"]["paused"]), (&json!(0), &json!(true)));
    assert_eq!(deployment.field_at("spec.replicas").map(|f| f.presence), Some(Presence::Pointer));
}

proptest! {
    /// Whatever arrives is answered, never a panic.
    #[test]
    fn any_bytes_are_answered(raw in proptest::collection::vec(any::<u8>(), 0..120)) {
        for bytes in [raw.clone(), [MAGIC, &raw].concat(), [&b"k8s\0\x12\x78"[..], &raw].concat()] {
            for ty in [pod(), ty("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), ty("apps", "v1", "ControllerRevision")] {
                let _ = (decode(&bytes, ty), envelope(&bytes));
            }
        }
    }

    /// What a client sends, damaged: bytes changed, left out, put in from elsewhere. What can still be read can be written,
    /// and is then read as the same.
    #[test]
    fn damaged_objects_are_answered(at: usize, damages in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<u8>(), 0..4u8), 1..6)) {
        let golden = &GOLDEN[at % GOLDEN.len()];
        let mut bytes = golden.protobuf.clone();
        for (from, length, byte, kind) in damages {
            let from = from % bytes.len().max(1);
            let end = bytes.len().min(from + length % 20);
            match kind {
                0 if !bytes.is_empty() => bytes[from] = byte,
                1 => drop(bytes.drain(from..end)),
                2 => bytes.insert(from.min(bytes.len()), byte),
                _ => {
                    let part = bytes[from..end].to_vec();
                    bytes.splice(from..from, part);
                }
            }
        }
        if let Ok(first) = decode(&bytes, golden.ty) {
            let again = encode(&first.value, golden.ty);
            let second = decode(&again, golden.ty).unwrap().value;
            prop_assert_eq!(encode(&second, golden.ty), again);
        }
    }
}

static GOLDEN: std::sync::LazyLock<Vec<golden::Golden>> = std::sync::LazyLock::new(golden::all);

/// The tree of a body of 3 MiB, which is what a server reads, grows with the body and no faster.
#[test]
fn many_small_parts_are_read_in_their_order() {
    // Containers without a field, supplemental groups packed, entries of a map under one key, one message in many parts.
    let spec = |number: u16, part: &[u8]| {
        let mut w = wire::Writer::default();
        for _ in 0..100_000 {
            w.text(number, part);
        }
        with_spec(&w.out).unwrap()
    };
    assert_eq!(spec(2, b"")["containers"].as_array().unwrap().len(), 100_000);
    assert_eq!(
        spec(14, b"\x22\x02\x01\x02")["securityContext"]["supplementalGroups"].as_array().unwrap().len(),
        200_000
    );
    assert_eq!(spec(7, b"\x0a\x01a\x12\x01b")["nodeSelector"], json!({"a": "b"}));
    assert_eq!(spec(14, b"\x10\x07")["securityContext"], json!({"runAsUser": 7}));
}

#[test]
#[ignore = "a measurement: cargo test --release -- --ignored protobuf::tests::timing"]
fn timing() {
    let (group, version, hex, _) = SENT[6];
    let (bytes, ty) = (unhex(hex), ty(group, version, "Deployment"));
    let value = decode(&bytes, ty).unwrap().value;
    let start = std::time::Instant::now();
    for _ in 0..10_000 {
        std::hint::black_box(decode(&bytes, ty)).ok();
    }
    println!("decode: {:?}", start.elapsed() / 10_000);
    let start = std::time::Instant::now();
    for _ in 0..10_000 {
        std::hint::black_box(encode(&value, ty));
    }
    println!("encode: {:?}", start.elapsed() / 10_000);
}
