//! What holds for any sets and objects.

use super::*;
use proptest::prelude::*;

fn fields_v1() -> impl Strategy<Value = Value> {
    let element = prop_oneof![
        "[a-zA-Z0-9./:\"<&é]{0,6}".prop_map(|s| format!("f:{s}")),
        "[a-z\"<\\\\]{1,4}".prop_map(|s| Element::Value(Cow::Owned(s.into())).to_key()),
        any::<i32>().prop_map(|n| format!("v:{n}")),
        (0..20i64).prop_map(|n| format!("i:{n}")),
        ("[a-z]{1,4}", 0..500).prop_map(|(s, n)| format!("k:{{\"name\":\"{s}\",\"port\":{n}}}")),
    ];
    let leaf = Just(json!({}));
    leaf.prop_recursive(4, 64, 6, move |inner| {
        (prop::collection::btree_map(element.clone(), inner, 1..6), any::<bool>()).prop_map(|(map, own)| {
            let mut map: crate::Map = map.into_iter().collect();
            if own {
                map.insert(".".into(), json!({}));
            }
            Value::Object(map)
        })
    })
}

/// Any JSON, of keys that mean something in a deployment.
fn json() -> impl Strategy<Value = Value> {
    const KEYS: &[&str] = &[
        "metadata",
        "labels",
        "finalizers",
        "managedFields",
        "fieldsV1",
        "operation",
        "spec",
        "selector",
        "template",
        "containers",
        "name",
        "ports",
        "containerPort",
        "env",
        "status",
        "resources",
        "limits",
        "x",
        "f:spec",
        "k:{}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..3).prop_map(Value::from),
        prop::sample::select(KEYS).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(KEYS), inner, 0..5)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics(old in json(), new in json(), applied in json()) {
        let mut object = new.clone();
        update(&mut object, Some(&old), deployment_type(), &writer("w", 0), &STATUS);
        let mut applied = if applied.is_object() { applied } else { json!({}) };
        applied["apiVersion"] = json!("apps/v1");
        applied["kind"] = json!("Deployment");
        document::set(&mut applied, "metadata.name", "web");
        if let Ok(once) = apply(&old, &applied, deployment_type(), &writer("w", 1), true, &STATUS) {
            apply(&once, &applied, deployment_type(), &writer("w", 1), true, &STATUS).unwrap();
        }
    }

    #[test]
    fn fields_v1_round_trips(mut fields in fields_v1()) {
        // The whole object is nobody's.
        fields.as_object_mut().unwrap().remove(".");
        let set = FieldSet::from_value(&fields).unwrap();
        prop_assert_eq!(&set.to_value(), &fields);
        let text: Value = serde_json::from_str(&set.to_json()).unwrap();
        prop_assert_eq!(FieldSet::from_value(&text).unwrap(), set);
    }

    #[test]
    fn sets_obey_their_laws(a in fields_v1(), b in fields_v1()) {
        let (a, b) = (FieldSet::from_value(&a).unwrap(), FieldSet::from_value(&b).unwrap());
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.unite(b.clone());
        ba.unite(a.clone());
        prop_assert_eq!(&ab, &ba);
        // a = (a - b) + (a & b)
        let mut rest = a.clone();
        rest.subtract(&b);
        prop_assert!(rest.intersection(&b).is_empty());
        rest.unite(a.intersection(&b));
        prop_assert_eq!(&rest, &a);
        let mut none = a.clone();
        none.subtract_recursively(&ab);
        prop_assert!(none.is_empty());
    }

    #[test]
    fn apply_twice_is_once(
        replicas in prop::option::of(0..5),
        labels in prop::collection::btree_map("[a-c]", "[x-z]", 0..3),
        images in prop::collection::btree_map("[a-d]", "[x-z]{1,3}", 1..4),
        mine in prop::collection::btree_map("[a-d]", "[x-z]{1,3}", 1..4),
    ) {
        let object = |images: &std::collections::BTreeMap<String, String>| {
            let mut object = deployment();
            object["metadata"]["labels"] = json!(labels);
            object["spec"]["replicas"] = json!(replicas);
            let containers = images.iter().map(|(name, image)| json!({ "name": name, "image": image }));
            object["spec"]["template"]["spec"]["containers"] = containers.collect();
            object
        };
        let live = apply_as(&json!({}), &object(&images), &writer("you", 0), false).unwrap();
        let once = apply_as(&live, &object(&mine), &writer("me", 1), true).unwrap();
        let twice = apply_as(&once, &object(&mine), &writer("me", 2), true).unwrap();
        prop_assert_eq!(&twice, &once);
        // Giving all up again leaves nothing that only the second manager had.
        let empty = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" } });
        let back = apply_as(&once, &empty, &writer("me", 3), true).unwrap();
        let left = document::get_list(&back, "spec.template.spec.containers");
        prop_assert!(left.iter().all(|c| images.contains_key(document::get_str(c, "name"))));
    }
}
