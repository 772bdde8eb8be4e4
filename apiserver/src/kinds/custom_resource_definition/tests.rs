use super::*;

fn definition() -> Value {
    let mut definition = json!({"metadata": {"name": "widgets.a.io"}, "spec": {"group": "a.io", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    CustomResourceDefinition.default(&mut definition);
    remember_stored_version(&mut definition);
    definition
}

fn first(definition: &Value) -> String {
    let mut errors = Errors::new();
    CustomResourceDefinition.check(definition, None, &mut errors);
    errors.0.first().map_or_else(String::new, |error| format!("{}: {}", error.field, error.detail))
}

#[test]
fn names_are_completed_and_checked() {
    let mut definition = definition();
    assert_eq!(definition["spec"]["names"]["listKind"], "WidgetList");
    assert_eq!(first(&definition), "");
    definition["spec"]["versions"][0]["storage"] = false.into();
    assert_eq!(first(&definition), "spec.versions: must have exactly one version marked as storage version");
    let name = |name: &str| CustomResourceDefinition.validate_name_of(&definition, name, false);
    assert!(name("widgets.a.io").is_empty());
    assert_eq!(name("x"), ["must be spec.names.plural+\".\"+spec.group"]);
}

#[test]
fn stored_versions_are_remembered() {
    let mut definition = definition();
    document::set(&mut definition, "status.storedVersions", json!(["v0"]));
    remember_stored_version(&mut definition);
    assert_eq!(definition["status"]["storedVersions"], json!(["v0", "v1"]));
    let mut errors = Errors::new();
    validate_stored_versions(&definition, &mut errors);
    assert_eq!(errors.0[0].field, "status.storedVersions[0]");
}

#[test]
fn schemas_are_structural() {
    let with = |property: Value| {
        let mut definition = definition();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
            json!({"type": "object", "properties": {"a": property}});
        first(&definition)
    };
    const AT: &str = "spec.validation.openAPIV3Schema.properties[a]";
    let cases = [
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            String::new(),
        ),
        (json!({}), format!("{AT}.type: must not be empty for specified object fields")),
        (json!({"type": "array"}), format!("{AT}.items: must be specified")),
        (
            json!({"type": "object", "anyOf": [{"type": "object"}]}),
            format!("{AT}.anyOf[0].type: must be empty to be structural"),
        ),
        (
            json!({"type": "integer", "maximum": 2, "default": 3}),
            format!("{AT}.default:  in body should be less than or equal to 2"),
        ),
        (json!({"type": "object", "default": {"b": 1}}), format!("{AT}.default: must not have unknown fields")),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}),
            format!("{AT}.x-kubernetes-list-map-keys: must not be empty if x-kubernetes-list-type is map"),
        ),
    ];
    for (property, expected) in cases {
        assert_eq!(with(property), expected);
    }
}

#[test]
fn what_was_wrong_may_stay_wrong() {
    let mut old = definition();
    old["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"type": "object", "properties": {"a":
        {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}}});
    let mut errors = Errors::new();
    CustomResourceDefinition.check(&old, Some(&old), &mut errors);
    assert_eq!(errors, Errors::new());
    CustomResourceDefinition.check(&old, None, &mut errors);
    assert_eq!(errors.0.len(), 1);
}

#[test]
fn selectable_fields_are_scalars_of_the_schema() {
    let schema =
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}});
    let found = |path: &str, brackets| structural::field_at(&schema, path, brackets).map(|found| text(found, "type"));
    assert_eq!(found(".spec.a", false), Ok("string"));
    assert_eq!(found(".spec['a']", true), Ok("string"));
    assert_eq!(found(".spec['a']", false), Err("array notation is not allowed".to_owned()));
    assert_eq!(found("spec", false), Err("expected [ or . but got: spec".to_owned()));
    assert_eq!(found(".spec.b", false), Err("does not refer to a valid field".to_owned()));
    assert_eq!(found(".spec.", false), Err("unexpected end of JSON path".to_owned()));
}
