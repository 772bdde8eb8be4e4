//! The rules of every kind on objects that nobody meant: what the differential suite holds for valid, changed.

use super::edit::{changed, changes, nodes};
use super::inputs::REQUEST;
use super::{bounded, runner};
use crate::authn::User;
use crate::columns::printer_of;
use crate::kinds::Context;
use crate::registry::meta;
use crate::resources::{self, Resource};
use crate::route::{Query, Route};
use api::field::Errors;
use api::kinds::KINDS;
use api::status::ApiError;
use api::{Value, codec, document, managed, time};
use http::Method;
use serde_json::json;
use std::collections::HashSet;
use std::path::Path;

/// The valid object of each topic of the differential suite, and what it is.
fn objects() -> Vec<(&'static Resource, Value)> {
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/differential");
    let files = std::fs::read_dir(tables).unwrap().map(|entry| entry.unwrap().path());
    let topics = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let object = |path: std::path::PathBuf| {
        let topic = codec::yaml::decode_any(&std::fs::read(path).unwrap()).unwrap();
        let at = document::get_str(&topic, "path").replace("{namespace}", "a");
        let route = Route::parse(&Method::GET, &at, &Query::parse(None));
        let resource = resources::find(&route.group, &route.version, &route.resource)?;
        Some((resource, document::get(&topic, "object")?.clone()))
    };
    let mut objects: Vec<_> = topics.filter_map(object).collect();
    // Its topic has no one object: what is valid depends on who asks.
    let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "a"},
        "spec": {"signerName": "example.com/signer", "usages": ["client auth"], "request": REQUEST}});
    objects.push((resources::builtin("certificates.k8s.io", "certificatesigningrequests"), request));
    objects
}

/// What the server does with an object that is created, and with one that is to replace another, but for admission and the
/// store.
fn write(resource: &Resource, sent: &Value, old: &Value) {
    let Ok(decoded) = codec::json::decode(sent.to_string().as_bytes(), resource.ty) else { return };
    let context = Context { user: &User::anonymous(), now: time::now(), labelled: true };
    let (rules, kind) = (resource.rules, resource.kind);
    let mut object = decoded.value;
    resource.default(&mut object);
    let mut errors = Errors::new();
    let mut created = object.clone();
    let _ = rules.given_warnings(&created);
    rules.prepare_for_create(&mut created, &context);
    meta::validate(&created, resource, &mut errors);
    rules.check(&created, None, &mut errors);
    let _ = rules.warnings(&created, None);
    let refused = ApiError::invalid(kind.group, kind.kind, document::name(&object), &errors);
    assert!(nodes(&refused.to_value()) <= 32 + 4 * errors.0.len());
    for (new, old) in [(&object, old), (old, &created)] {
        let (mut new, mut errors) = (new.clone(), Errors::new());
        rules.prepare_for_update(&mut new, old, &context);
        managed::update(&mut new, Some(old), resource.ty, &super::readers::writer(), &managed::ResetFields::None);
        rules.check(&new, Some(old), &mut errors);
        let _ = (rules.warnings(&new, Some(old)), rules.generation_changed(&new, old));
        rules.prepare_for_status_update(&mut new, old, &context);
        rules.validate_status_update(&new, old, &mut errors);
        let _ = rules.status_warnings(&new);
    }
    let _ = (printer_of(kind.group, kind.kind).cells)(&created, context.now);
    for field in rules.selectable_fields() {
        let _ = rules.selectable_field(&created, field);
    }
    let _ = (rules.grace_period(&created, Some(-1)), rules.grace_period(&created, None), rules.is_kept(&created));
    rules.mark_deleted(&mut object);
    resource.through_store(&mut object);
    let _ = document::encode(&object);
}

#[test]
fn no_rule_fails_on_changed_objects() {
    for (resource, object) in objects() {
        let valid = codec::json::decode(object.to_string().as_bytes(), resource.ty);
        let mut old = valid.unwrap_or_else(|why| panic!("{}: {why}", resource.kind.kind)).value;
        resource.default(&mut old);
        let length = object.to_string().len();
        let run = runner(40).run(&changes(), |changes| {
            let sent = changed(&object, &changes);
            bounded(length + sent.to_string().len(), || write(resource, &sent, &old));
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{}: {failure}", resource.kind.kind));
    }
}

#[test]
fn every_kind_with_a_topic_is_tried() {
    let tried: HashSet<&str> = objects().iter().map(|(resource, _)| resource.kind.kind).collect();
    let written = KINDS.iter().filter(|kind| kind.has_verb("create") && kind.has_verb("update"));
    let left: Vec<&str> = written.map(|kind| kind.kind).filter(|kind| !tried.contains(kind)).collect();
    assert_eq!(left, [""; 0]);
}
