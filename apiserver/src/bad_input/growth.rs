//! That the work of a reader grows with its input and no faster: inputs of one shape in two sizes, and what is allocated
//! for them. Nothing is timed; but each shape is also read once in a size with which a reader that compares each part with
//! every other one is seen to hang.

use super::inputs::{DEFINITION, DEPLOYMENT};
use super::readers::{type_of, writer};
use super::{PER_BYTE, SPARE, is_long};
use crate::authn::User;
use crate::cel;
use crate::kinds::Context;
use crate::negotiate;
use crate::registry::meta;
use crate::resources;
use crate::route::Query;
use allocation_counter::{AllocationInfo, measure};
use api::field::Errors;
use api::managed::{self, ResetFields};
use api::selector::{FieldSelector, Selector};
use api::status::ApiError;
use api::{Value, codec, document, patch, time};
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;

struct Shape {
    name: &'static str,
    /// An input of about `10 * n` bytes.
    make: fn(usize) -> Vec<u8>,
    read: fn(&[u8]),
}

const SMALL: usize = 250;
const TIMES: usize = 4;
/// Where a quadratic reader takes seconds, and where it takes minutes.
const LARGE: usize = 10_000;
const TRIED_LONG: usize = 150_000;

#[rustfmt::skip]
const SHAPES: &[Shape] = &[
    Shape { name: "labels", make: |n| typed(&format!(r#"{{"metadata":{{"labels":{{{}}}}}}}"#, list(n, |i| format!(r#""k{i}":"v""#)))), read: deployment },
    Shape { name: "unknown fields", make: |n| typed(&format!("{{{}}}", list(n, |i| format!(r#""x{i}":1"#)))), read: deployment },
    Shape { name: "a field that comes again", make: |n| typed(&format!("{{{}}}", list(n, |_| r#""kind":"a""#.into()))), read: deployment },
    Shape { name: "labels that come again", make: |n| typed(&format!("{{{}}}", list(n, |i| format!(r#""metadata":{{"labels":{{"a{i}":"b"}}}}"#)))), read: deployment },
    Shape { name: "unknown fields below a long name", make: |n| below_long_name(n, |i| format!(r#""x{i}":1"#)), read: definition },
    Shape { name: "one unknown field below a long name", make: |n| below_long_name(n, |_| r#""x":1"#.into()), read: definition },
    Shape { name: "wrong numbers below a long name", make: |n| below_long_name(n, |i| format!(r#""properties":{{"p{i}":{{"maxLength":1.5}}}}"#)), read: definition },
    Shape { name: "containers", make: |n| containers(n, |i| format!(r#"{{"name":"c{i}"}}"#)), read: deployment },
    Shape { name: "empty containers", make: |n| containers(n, |_| "{}".into()), read: deployment },
    Shape { name: "halves of surrogate pairs", make: |n| typed(&format!(r#"{{"kind":"{}"}}"#, r"\ud800".repeat(n))), read: deployment },
    Shape { name: "nesting", make: |n| typed(&format!("[{}]", list(n.div_ceil(20), |_| "[".repeat(100) + &"]".repeat(100)))), read: untyped },
    Shape { name: "keys that come again in a patch", make: |n| typed(&format!(r#"{{"{}":{{{}}}}}"#, "l".repeat(5 * n), list(n, |_| r#""k":1"#.into()))), read: untyped },
    Shape { name: "YAML keys", make: |n| lines(n, |i| format!("k{i}: v")), read: yaml },
    Shape { name: "YAML keys that come again", make: |n| lines(n, |i| format!("k{}: v", i % 2)), read: yaml },
    Shape { name: "YAML aliases", make: |n| format!("a: &a b\nc: [{}]\n", list(n, |_| "*a".into())).into(), read: yaml },
    Shape { name: "YAML anchors", make: |n| lines(n, |i| format!("k{i}: &a{i} v")), read: yaml },
    Shape { name: "YAML merge keys", make: |n| format!("a: &a {{b: c}}\nd:\n{}", String::from_utf8(lines(n, |_| "- <<: *a".into())).unwrap()).into(), read: yaml },
    Shape { name: "YAML text", make: |n| format!("a: |\n{}", "  text\n".repeat(n)).into(), read: yaml },
    Shape { name: "protobuf of empty containers", make: |n| protobuf(&b"\x12\0".repeat(n)), read: any_protobuf },
    Shape { name: "protobuf of unknown fields", make: |n| protobuf(&b"\xfa\x7f\x01a".repeat(n)), read: any_protobuf },
    Shape { name: "protobuf of groups", make: |n| protobuf(&[b"\xfb\x7f".repeat(n), b"\xfc\x7f".repeat(n)].concat()), read: any_protobuf },
    Shape { name: "JSON patch that adds at the end", make: |n| operations(n, |i| json!({"op": "add", "path": "/metadata/finalizers/-", "value": i})), read: json_patch },
    Shape { name: "JSON patch that adds at the beginning", make: |n| operations(n, |i| json!({"op": "add", "path": "/metadata/finalizers/0", "value": i})), read: json_patch },
    Shape { name: "JSON patch that moves all there is", make: |n| operations(n, |i| json!({"op": "move", "from": (["/spec", "/x"][i % 2]), "path": (["/x", "/spec"][i % 2])})), read: json_patch },
    Shape { name: "JSON patch that tests", make: |n| operations(n, |_| json!({"op": "test", "path": "/spec/replicas", "value": 2})), read: json_patch },
    Shape { name: "merge patch", make: |n| typed(&format!(r#"{{"metadata":{{"labels":{{{}}}}}}}"#, list(n, |i| format!(r#""k{i}":null"#)))), read: merge_patch },
    Shape { name: "lists with merge keys", make: |n| containers(n, |i| format!(r#"{{"name":"c{i}"}}"#)), read: strategic_patch },
    Shape { name: "items of one merge key", make: |n| containers(n, |_| r#"{"name":"c"}"#.into()), read: strategic_patch },
    Shape { name: "items to be deleted", make: |n| containers(n, |i| format!(r#"{{"$patch":"delete","name":"c{i}"}}"#)), read: strategic_patch },
    Shape { name: "$setElementOrder", make: |n| order(n), read: strategic_patch },
    Shape { name: "$retainKeys", make: |n| typed(&format!(r#"{{"spec":{{"strategy":{{"$retainKeys":[{}],{}}}}}}}"#, list(n, |i| format!(r#""k{i}""#)), list(n, |i| format!(r#""k{i}":1"#)))), read: strategic_patch },
    Shape { name: "$deleteFromPrimitiveList", make: |n| typed(&format!(r#"{{"metadata":{{"$deleteFromPrimitiveList/finalizers":[{}]}}}}"#, list(n, |i| format!(r#""f/{i}""#)))), read: strategic_patch },
    Shape { name: "apply of containers", make: |n| containers(n, |i| format!(r#"{{"name":"c{i}"}}"#)), read: apply },
    Shape { name: "apply of one container again and again", make: |n| containers(n, |_| r#"{"name":"c"}"#.into()), read: apply },
    Shape { name: "apply of a set", make: |n| typed(&format!(r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"finalizers":[{}]}}}}"#, list(n, |i| format!(r#""f/{i}""#)))), read: apply },
    Shape { name: "apply of what does not fit, below a long name", make: |n| below_long_name(n, |i| format!(r#""properties":{{"p{i}":{{"type":1}}}}"#)), read: apply_definition },
    Shape { name: "conflicts below a long name", make: |n| below_long_name(n, |i| format!(r#""k{i}":1"#)), read: conflict },
    Shape { name: "managers of an update, one of them large", make: |n| managers(n, "Update"), read: update },
    Shape { name: "appliers, and as many changes", make: |n| managers(n, "Apply"), read: update },
    Shape { name: "managers of a scale", make: |n| managers(n, "Apply"), read: scale },
    Shape { name: "label selector", make: |n| list(n, |i| format!("k{i}=v")).into(), read: label_selector },
    Shape { name: "values of a label selector", make: |n| format!("a in ({})", list(n, |i| format!("v{i}"))).into(), read: label_selector },
    Shape { name: "wrong values of a label selector", make: |n| format!("a in ({})", list(n, |i| format!("-{i}"))).into(), read: label_selector },
    Shape { name: "field selector", make: |n| list(n, |i| format!("k{i}=v")).into(), read: field_selector },
    Shape { name: "Accept", make: |n| list(n, |i| format!("a/b;q=0.{i}")).into(), read: accept },
    Shape { name: "Accept, every form wanted more than the one before", make: |n| list(n, |i| format!("a/b;q={i}")).into(), read: accept },
    Shape { name: "query", make: |n| list(n, |i| format!("a{i}=b")).replace(',', "&").into(), read: query },
    Shape { name: "name of a manager that is not to be printed", make: |n| "\u{1}".repeat(n).into(), read: manager },
    Shape { name: "wrong fields", make: |n| containers(n, |i| format!(r#"{{"name":"-{i}"}}"#)), read: validate },
    Shape { name: "wrong fields below a long name", make: |n| below_long_name(n, |i| format!(r#""properties":{{"p{i}":{{"type":"x"}}}}"#)), read: validate_definition },
    Shape { name: "ports of a Service", make: |n| object("v1", "Service", &format!(r#""spec":{{"type":"NodePort","ports":[{}]}}"#, list(n, |i| format!(r#"{{"name":"p{i}","port":{i},"nodePort":{i}}}"#)))), read: validate_any },
    Shape { name: "families of a Service", make: |n| object("v1", "Service", &format!(r#""spec":{{"ipFamilies":[{}]}}"#, list(n, |i| format!(r#""f{i}""#)))), read: validate_any },
    Shape { name: "ports of an EndpointSlice", make: |n| object("discovery.k8s.io/v1", "EndpointSlice", &format!(r#""addressType":"IPv4","ports":[{}]"#, list(n, |i| format!(r#"{{"name":"p{i}"}}"#)))), read: validate_any },
    Shape { name: "versions of a definition", make: |n| object("apiextensions.k8s.io/v1", "CustomResourceDefinition", &format!(r#""spec":{{"versions":[{}]}}"#, list(n, |i| format!(r#"{{"name":"v{i}"}}"#)))), read: validate_any },
    Shape { name: "stored versions of a definition", make: |n| object("apiextensions.k8s.io/v1", "CustomResourceDefinition", &format!(r#""spec":{{"versions":[{}]}},"status":{{"storedVersions":[{}]}}"#, list(n, |i| format!(r#"{{"name":"v{i}","storage":true}}"#)), list(n, |i| format!(r#""w{i}""#)))), read: validate_any },
    Shape { name: "keys of a list in a definition", make: |n| object("apiextensions.k8s.io/v1", "CustomResourceDefinition", &format!(r#""spec":{{"versions":[{{"name":"v1","schema":{{"openAPIV3Schema":{{"type":"object","properties":{{"l":{{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":[{}],"items":{{"type":"object","properties":{{{}}}}}}}}}}}}}}}]}}"#, list(n, |i| format!(r#""k{i}""#)), list(n, |i| format!(r#""k{i}":{{"type":"string"}}"#)))), read: validate_any },
    Shape { name: "selectable fields of a definition", make: |n| object("apiextensions.k8s.io/v1", "CustomResourceDefinition", &format!(r#""spec":{{"versions":[{{"name":"v1","selectableFields":[{}],"schema":{{"openAPIV3Schema":{{"type":"object","properties":{{{}}}}}}}}}]}}"#, list(n, |i| format!(r#"{{"jsonPath":".k{i}"}}"#)), list(n, |i| format!(r#""k{i}":{{"type":"string"}}"#)))), read: validate_any },
    Shape { name: "webhooks", make: |n| object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", &format!(r#""webhooks":[{}]"#, list(n, |i| format!(r#"{{"name":"w{i}.a.b"}}"#)))), read: validate_any },
    Shape { name: "resources of a webhook", make: |n| webhook(&format!(r#""rules":[{{"resources":[{}]}}]"#, list(n, |i| format!(r#""a{i}/b{i}""#)))), read: validate_any },
    Shape { name: "review versions of a webhook", make: |n| webhook(&format!(r#""admissionReviewVersions":[{}]"#, list(n, |i| format!(r#""v{i}""#)))), read: validate_any },
    Shape { name: "conditions of a webhook", make: |n| webhook(&format!(r#""matchConditions":[{}]"#, list(n, |i| format!(r#"{{"name":"c{i}","expression":"e"}}"#)))), read: validate_any },
    Shape { name: "names that a policy matches", make: |n| object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", &format!(r#""spec":{{"matchConstraints":{{"resourceRules":[{{"resourceNames":[{}]}}]}}}}"#, list(n, |i| format!(r#""n{i}""#)))), read: validate_any },
    Shape { name: "actions of a binding", make: |n| object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", &format!(r#""spec":{{"validationActions":[{}]}}"#, list(n, |i| format!(r#""A{i}""#)))), read: validate_any },
    Shape { name: "limits of a LimitRange", make: |n| object("v1", "LimitRange", &format!(r#""spec":{{"limits":[{}]}}"#, list(n, |i| format!(r#"{{"type":"a.b/t{i}"}}"#)))), read: validate_any },
    Shape { name: "drivers of a CSINode", make: |n| object("storage.k8s.io/v1", "CSINode", &format!(r#""spec":{{"drivers":[{}]}}"#, list(n, |i| format!(r#"{{"name":"d{i}","nodeID":"a"}}"#)))), read: validate_any },
    Shape { name: "topology keys of a CSINode", make: |n| object("storage.k8s.io/v1", "CSINode", &format!(r#""spec":{{"drivers":[{{"name":"d","nodeID":"a","topologyKeys":[{}]}}]}}"#, list(n, |i| format!(r#""k{i}""#)))), read: validate_any },
    Shape { name: "audiences of a CSIDriver", make: |n| object("storage.k8s.io/v1", "CSIDriver", &format!(r#""spec":{{"tokenRequests":[{}]}}"#, list(n, |i| format!(r#"{{"audience":"a{i}"}}"#)))), read: validate_any },
    Shape { name: "topologies of a StorageClass", make: |n| object("storage.k8s.io/v1", "StorageClass", &format!(r#""allowedTopologies":[{}]"#, list(n, |i| format!(r#"{{"matchLabelExpressions":[{{"key":"k{i}","values":["v"]}}]}}"#)))), read: validate_any },
    Shape { name: "empty topologies of a StorageClass", make: |n| object("storage.k8s.io/v1", "StorageClass", &format!(r#""allowedTopologies":[{}]"#, list(n, |_| "{}".into()))), read: validate_any },
    Shape { name: "usages of a signing request", make: |n| object("certificates.k8s.io/v1", "CertificateSigningRequest", &format!(r#""spec":{{"usages":[{}]}}"#, list(n, |i| format!(r#""u{i}""#)))), read: validate_any },
    Shape { name: "conditions of a signing request", make: |n| object("certificates.k8s.io/v1", "CertificateSigningRequest", &format!(r#""status":{{"conditions":[{}]}}"#, list(n, |i| format!(r#"{{"type":"t{i}"}}"#)))), read: validate_status },
    Shape { name: "conditions of a budget", make: |n| object("policy/v1", "PodDisruptionBudget", &format!(r#""status":{{"conditions":[{}]}}"#, list(n, |i| format!(r#"{{"type":"t{i}"}}"#)))), read: validate_status },
    Shape { name: "taints of a Node", make: |n| object("v1", "Node", &format!(r#""spec":{{"taints":[{}]}}"#, list(n, |i| format!(r#"{{"key":"k{i}","effect":"NoSchedule"}}"#)))), read: validate_any },
    Shape { name: "addresses of a Node", make: |n| object("v1", "Node", &format!(r#""status":{{"addresses":[{}]}}"#, list(n, |i| format!(r#"{{"type":"Hostname","address":"a{i}"}}"#)))), read: validate_status },
    Shape { name: "addresses of a Pod", make: |n| object("v1", "Pod", &format!(r#""status":{{"podIPs":[{}]}}"#, list(n, |i| format!(r#"{{"ip":"a{i}"}}"#)))), read: validate_status },
    Shape { name: "tolerations of a RuntimeClass", make: |n| object("node.k8s.io/v1", "RuntimeClass", &format!(r#""handler":"h","scheduling":{{"tolerations":[{}]}}"#, list(n, |i| format!(r#"{{"key":"k{i}"}}"#)))), read: validate_any },
    Shape { name: "conditions of a flow schema", make: |n| object("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", &format!(r#""status":{{"conditions":[{}]}}"#, list(n, |i| format!(r#"{{"type":"t{i}"}}"#)))), read: validate_status },
    Shape { name: "devices of a claim", make: |n| object("resource.k8s.io/v1", "ResourceClaim", &format!(r#""status":{{"devices":[{}]}}"#, list(n, |i| format!(r#"{{"driver":"d","pool":"p","device":"d{i}"}}"#)))), read: validate_status },
    Shape { name: "networks of a policy", make: |n| object("networking.k8s.io/v1", "NetworkPolicy", &format!(r#""spec":{{"podSelector":{{}},"ingress":[{{"from":[{}]}}]}}"#, list(n, |i| format!(r#"{{"ipBlock":{{"cidr":"c{i}"}}}}"#)))), read: validate_any },
    Shape { name: "owners", make: |n| typed(&format!(r#"{{"metadata":{{"ownerReferences":[{}]}}}}"#, list(n, |i| format!(r#"{{"uid":"{i}"}}"#)))), read: owners },
    Shape { name: "elements of an expression", make: |n| format!("[{}]", list(n, |i| format!("{i:20}"))).into(), read: compiled },
    Shape { name: "conditions of an expression", make: |n| "object.a &&".repeat(n).into(), read: compiled },
    Shape { name: "an expression's nesting", make: |n| format!("[{}]", list(n.div_ceil(20), |_| "[".repeat(100) + &"]".repeat(100))).into(), read: compiled },
    Shape { name: "names that an expression does not have", make: |n| format!("[{}]", list(n, |i| format!("name_of_something_{i}"))).into(), read: compiled },
    Shape { name: "what is no expression", make: |n| "a b ]] ".repeat(n).into(), read: compiled },
    Shape { name: "strings without an end", make: |n| "'a\n".repeat(n).into(), read: compiled },
    Shape { name: "types that double", make: |n| format!("[{}]", list(n.div_ceil(60), |_| format!("[1]{}", ".map(x, {x: x})".repeat(40)))).into(), read: compiled },
    Shape { name: "values that may be there", make: |n| format!("[{}]", list(n.div_ceil(50), |_| format!("a{}", ".optMap(x, x)".repeat(40)))).into(), read: compiled },
];

fn typed(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn list(n: usize, item: impl Fn(usize) -> String) -> String {
    (0..n).map(item).collect::<Vec<_>>().join(",")
}

fn lines(n: usize, line: impl Fn(usize) -> String) -> Vec<u8> {
    (0..n).map(|i| line(i) + "\n").collect::<String>().into()
}

/// A deployment, to be applied too.
fn containers(n: usize, item: impl Fn(usize) -> String) -> Vec<u8> {
    let items = list(n, item);
    let spec = format!(r#"{{"template":{{"spec":{{"containers":[{items}]}}}}}}"#);
    format!(r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"d"}},"spec":{spec}}}"#).into()
}

/// An object of a kind, with these fields besides its metadata.
fn object(api_version: &str, kind: &str, fields: &str) -> Vec<u8> {
    format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","metadata":{{"name":"a"}},{fields}}}"#).into()
}

/// A webhook's configuration, with these fields of its webhook.
fn webhook(fields: &str) -> Vec<u8> {
    let webhooks = format!(r#""webhooks":[{{"name":"a.b.c",{fields}}}]"#);
    object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", &webhooks)
}

fn order(n: usize) -> Vec<u8> {
    let (items, order) = (list(n, |i| format!(r#"{{"name":"c{i}"}}"#)), list(n, |i| format!(r#"{{"name":"c{i}"}}"#)));
    format!(
        r#"{{"spec":{{"template":{{"spec":{{"containers":[{items}],"$setElementOrder/containers":[{order}]}}}}}}}}"#
    )
    .into()
}

/// A definition with a property of a long name and these parts.
fn below_long_name(n: usize, part: impl Fn(usize) -> String) -> Vec<u8> {
    let parts = list(n, part);
    let parts = match parts.starts_with(r#""properties""#) {
        // One map of them all.
        true => format!(
            r#""properties":{{{}}}"#,
            parts.replace(r#""properties":{"#, "").replace("}},", "},").trim_end_matches('}').to_owned() + "}"
        ),
        false => parts,
    };
    let property = format!(r#"{{"type":"object","properties":{{"{}":{{{parts}}}}}}}"#, "l".repeat(5 * n));
    let version = format!(r#"{{"name":"v1","served":true,"storage":true,"schema":{{"openAPIV3Schema":{property}}}}}"#);
    let spec = format!(
        r#"{{"group":"e.com","scope":"Cluster","names":{{"plural":"as","kind":"A","singular":"a","listKind":"AList"}},"versions":[{version}]}}"#
    );
    format!(r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"as.e.com"}},"spec":{spec}}}"#).into()
}

/// A message in the envelope of a pod's specification.
fn protobuf(message: &[u8]) -> Vec<u8> {
    let mut w = codec::protobuf::Writer::default();
    w.message(2, |w| w.out.extend_from_slice(message));
    codec::protobuf::wrap("v1", "Pod", &w.out)
}

fn operations(n: usize, operation: impl Fn(usize) -> Value) -> Vec<u8> {
    Value::from((0..n.min(10_000)).map(operation).collect::<Vec<_>>()).to_string().into()
}

/// A deployment with many labels, of which the first entry owns all and each other one its own; as many as a client may send.
fn managers(n: usize, operation: &str) -> Vec<u8> {
    let labels: api::Map = (0..n).map(|i| (format!("k{i}"), "v".into())).collect();
    let all: api::Map = (0..n).map(|i| (format!("f:k{i}"), json!({}))).collect();
    let entry = |name: String, labels: Value, second: usize| {
        json!({"manager": name, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
            "time": time::format(time::Timestamp::from_second(second as i64).unwrap()),
            "fieldsV1": {"f:metadata": {"f:labels": labels}, "f:spec": {"f:replicas": {}}}})
    };
    let small = (1..n.min(1000)).map(|i| entry(format!("m{i}"), json!({ format!("f:k{i}"): {} }), i));
    let entries: Vec<Value> = std::iter::once(entry("all".into(), Value::Object(all), 0)).chain(small).collect();
    let metadata = json!({"name": "d", "labels": labels, "managedFields": entries});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 2}})
        .to_string()
        .into()
}

fn deployment(bytes: &[u8]) {
    let Ok(decoded) = codec::json::decode(bytes, type_of(DEPLOYMENT)) else { return };
    let mut object = decoded.value;
    resources::builtin("apps", "deployments").default(&mut object);
    let _ = document::encode(&object);
}

fn definition(bytes: &[u8]) {
    let _ = codec::json::decode(bytes, type_of(DEFINITION));
}

fn untyped(bytes: &[u8]) {
    let _ = (codec::json::decode_any(bytes), codec::json::problems(bytes, |_| true));
}

fn yaml(bytes: &[u8]) {
    let _ = (codec::yaml::decode_any(bytes), codec::yaml::decode(bytes, type_of(DEPLOYMENT)));
}

fn any_protobuf(bytes: &[u8]) {
    let _ = codec::protobuf::decode_any(bytes);
}

fn live() -> Value {
    serde_json::from_str(DEPLOYMENT).unwrap()
}

fn json_patch(bytes: &[u8]) {
    let _ = (patch::json::apply(live(), bytes, true), patch::json::problems(bytes));
}

fn merge_patch(bytes: &[u8]) {
    let _ = patch::merge::apply(live(), bytes, true);
}

/// Onto a small object, and onto what came of it.
fn strategic_patch(bytes: &[u8]) {
    let ty = type_of(DEPLOYMENT);
    if let Ok(patched) = patch::strategic::apply(live(), bytes, ty) {
        let _ = patch::strategic::apply(patched, bytes, ty);
    }
    if let Ok(live) = codec::json::decode_any(bytes) {
        let _ = patch::strategic::apply(live, bytes, ty);
    }
}

fn apply(bytes: &[u8]) {
    let Ok(applied) = codec::yaml::decode_any(bytes) else { return };
    let apply = |live: &Value| managed::apply(live, &applied, type_of(DEPLOYMENT), &writer(), true, &ResetFields::None);
    if let Ok(merged) = apply(&json!({})) {
        let _ = apply(&merged);
    }
    let _ = apply(&live());
}

fn apply_definition(bytes: &[u8]) {
    let Ok(applied) = codec::yaml::decode_any(bytes) else { return };
    let writer = managed::Writer { api_version: "apiextensions.k8s.io/v1", ..writer() };
    let _ = managed::apply(&json!({}), &applied, type_of(DEFINITION), &writer, false, &ResetFields::None);
}

/// Somebody owns all, and somebody else applies other values.
fn conflict(bytes: &[u8]) {
    let Ok(mut live) = codec::json::decode_any(bytes) else { return };
    let ty = type_of(DEFINITION);
    // Of a type that names no fields the long name is one of many.
    let owner = managed::Writer { manager: "owner", api_version: "apiextensions.k8s.io/v1", ..writer() };
    managed::update(&mut live, None, ty, &owner, &ResetFields::None);
    let other = String::from_utf8_lossy(bytes).replace(":1", ":2");
    let Ok(applied) = codec::json::decode_any(other.as_bytes()) else { return };
    let writer = managed::Writer { api_version: "apiextensions.k8s.io/v1", ..writer() };
    let _ =
        managed::apply(&live, &applied, ty, &writer, false, &ResetFields::None).map_err(|failure| failure.to_value());
}

/// Everything changes hands.
fn update(bytes: &[u8]) {
    let Ok(decoded) = codec::json::decode(bytes, type_of(DEPLOYMENT)) else { return };
    let mut changed = decoded.value.clone();
    changed["metadata"]["labels"].as_object_mut().into_iter().flatten().for_each(|(_, value)| *value = "w".into());
    managed::update(&mut changed, Some(&decoded.value), type_of(DEPLOYMENT), &writer(), &ResetFields::None);
}

fn scale(bytes: &[u8]) {
    let Ok(parent) = codec::json::decode_any(bytes) else { return };
    let path = ["spec", "replicas"];
    let entries = managed::scale_managed_fields(&parent, &path).unwrap_or_default();
    let scale = json!({"metadata": {"managedFields": entries}});
    let _ = managed::scaled_managed_fields(&parent, &scale, "apps/v1", &path);
    let _ = managed::scaled_managed_fields(&json!({}), &scale, "apps/v1", &path);
}

fn label_selector(bytes: &[u8]) {
    let _ = Selector::parse(&String::from_utf8_lossy(bytes)).map(|selector| selector.to_string());
}

fn field_selector(bytes: &[u8]) {
    let _ = FieldSelector::parse(&String::from_utf8_lossy(bytes)).map(|selector| selector.to_string());
}

fn accept(bytes: &[u8]) {
    let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_bytes(bytes).unwrap())]);
    let query = Query::parse(None);
    let _ = (negotiate::output(&headers, &query, negotiate::Transforms::All), negotiate::aggregated(&headers));
}

fn query(bytes: &[u8]) {
    let query = Query::parse(Some(&String::from_utf8_lossy(bytes)));
    let _ = crate::params::ListOptions::parse(&query, false);
}

fn manager(bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    let entry = json!({"manager": name, "operation": "Update"});
    let mut errors = Errors::new();
    managed::validate_managed_fields(&json!({"metadata": {"managedFields": [entry]}}), &mut errors);
    let _ = ApiError::invalid("", "A", "a", &errors);
}

fn compiled(bytes: &[u8]) {
    let environment = cel::admission(cel::Admission { params: true, authorizer: true });
    let _ = cel::compile_here(&String::from_utf8_lossy(bytes), &environment);
}

fn validate(bytes: &[u8]) {
    refused(bytes, resources::builtin("apps", "deployments"));
}

/// As a create of it is validated, and as an update that changes nothing.
fn validate_any(bytes: &[u8]) {
    let Some((resource, object)) = typed_object(bytes) else { return };
    refused(bytes, resource);
    let mut errors = Errors::new();
    resource.rules.check(&object, Some(&object), &mut errors);
}

/// As a change of the status is validated.
fn validate_status(bytes: &[u8]) {
    let Some((resource, object)) = typed_object(bytes) else { return };
    let mut errors = Errors::new();
    resource.rules.validate_status_update(&object, &object, &mut errors);
    let _ = ApiError::invalid("", resource.kind.kind, "a", &errors).to_value().to_string();
}

fn typed_object(bytes: &[u8]) -> Option<(&'static resources::Resource, Value)> {
    let object = codec::json::decode_any(bytes).ok()?;
    Some((resources::of(&object)?, object))
}

fn validate_definition(bytes: &[u8]) {
    refused(bytes, resources::builtin("apiextensions.k8s.io", "customresourcedefinitions"));
}

fn refused(bytes: &[u8], resource: &resources::Resource) {
    let Ok(decoded) = codec::json::decode(bytes, resource.ty) else { return };
    let mut object = decoded.value;
    resource.default(&mut object);
    resource
        .rules
        .prepare_for_create(&mut object, &Context { user: &User::anonymous(), now: time::now(), labelled: true });
    let mut errors = Errors::new();
    meta::validate(&object, resource, &mut errors);
    resource.rules.check(&object, None, &mut errors);
    let _ = ApiError::invalid("", resource.kind.kind, "a", &errors).to_value().to_string();
}

fn owners(bytes: &[u8]) {
    let mut object = codec::json::decode_any(bytes).unwrap_or_default();
    let _ = meta::dedup_owners(&mut object);
    refused(object.to_string().as_bytes(), resources::builtin("apps", "deployments"));
}

/// The length of the input, and what was allocated for it: on this thread, so it is the one on which YAML is read.
fn measured(shape: &Shape, n: usize) -> (usize, AllocationInfo) {
    let input = (shape.make)(n);
    let read = || {
        // What is made once is not counted.
        (shape.read)(b"");
        measure(|| (shape.read)(&input))
    };
    let reader = std::thread::Builder::new().name(codec::yaml::THREAD.to_owned()).stack_size(codec::yaml::STACK);
    let info = std::thread::scope(|scope| reader.spawn_scoped(scope, read).unwrap().join().unwrap());
    (input.len(), info)
}

#[test]
fn what_is_allocated_grows_with_the_input() {
    let mut wrong = Vec::new();
    for shape in SHAPES {
        let ((_, small), (_, large)) = (measured(shape, SMALL), measured(shape, TIMES * SMALL));
        for (what, few, many) in
            [("bytes", small.bytes_total, large.bytes_total), ("allocations", small.count_total, large.count_total)]
        {
            // Half as much again is for what is sorted.
            if 2 * many > 3 * TIMES as u64 * (few + 10_000) {
                wrong.push(format!("{}: {few} {what}, then {many}", shape.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn large_inputs_come_to_an_end() {
    let large = if is_long() { TRIED_LONG } else { LARGE };
    let mut wrong = Vec::new();
    for shape in SHAPES {
        let (length, info) = measured(shape, large);
        if info.bytes_max > SPARE + PER_BYTE * length as u64 {
            wrong.push(format!("{}: {} bytes held for {length}", shape.name, info.bytes_max));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
