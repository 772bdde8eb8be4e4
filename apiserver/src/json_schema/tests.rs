use super::*;
use serde_json::json;

fn found(schema: &Value, value: &Value) -> Vec<String> {
    let mut errors = Errors::new();
    validate(schema, value, &Path::root("x"), &mut Work::default(), &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn each_error_says_where_it_is() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {
        "b": {"type": "array", "items": {"type": "object", "required": ["c"]}}},
        "additionalProperties": {"type": "string", "maxLength": 1}});
    assert_eq!(
        found(&schema, &json!({"b": [{}], "d": "ab", "e": 1})),
        [
            "x.d: Too long: may not be more than 1 byte",
            "x.e: Invalid value: \"integer\": .e in body must be of type string: \"integer\"",
            "x.b[0].c: Required value",
            "x.a: Required value",
        ]
    );
}

#[test]
fn of_several_schemas_the_nearest_is_told() {
    let schema = json!({"type": "object", "anyOf": [
        {"required": ["z"]},
        {"required": ["z"], "properties": {"a": {"maximum": 3}}},
    ], "not": {"required": ["a"]}});
    assert_eq!(
        found(&schema, &json!({"a": 5})),
        [
            "x: Invalid value: \"\": \"\" must validate at least one schema (anyOf)",
            "x.a: Invalid value: 5: a in body should be less than or equal to 3",
            "x.z: Required value",
            "x: Invalid value: \"\": \"\" must not validate the schema (not)",
        ]
    );
    let one = json!({"oneOf": [{"minimum": 1}, {"minimum": 2}, {"minimum": 9}]});
    assert_eq!(found(&one, &json!(1)), Vec::<String>::new());
    let why = "x: Invalid value: \"\": \"\" must validate one and only one schema (oneOf). Found 2 valid alternatives";
    assert_eq!(found(&one, &json!(2)), [why]);
}

#[test]
fn work_ends_however_much_there_is() {
    const TOO_LONG: &str = "x: Invalid value: \"\": checking it against its schema takes too long";
    // Each item against each schema.
    let many = json!({"items": {"allOf": vec![json!({"type": "integer"}); 2_000]}});
    assert_eq!(found(&many, &json!(vec![1; 2_000])), [TOO_LONG]);
    // A schema that is not to fit does not, when nobody can tell.
    let not = json!({"not": many});
    assert_eq!(found(&not, &json!(vec![1; 2_000])), [TOO_LONG]);
    let fields = json!({"items": {"required": vec!["a"; 2_000]}});
    assert_eq!(found(&fields, &json!(vec![json!({"a": 1}); 2_000])), [TOO_LONG]);
    let values = json!({"items": {"enum": (0..2_000).collect::<Vec<_>>()}});
    assert_eq!(found(&values, &json!(vec![-1; 2_000])), [TOO_LONG]);
    // Long texts, and expressions with many states.
    let text = json!("a".repeat(1 << 20));
    let pattern =
        json!({"allOf": (0..1_000).map(|i| json!({"pattern": format!("[^b]{{1,500}}{i}$")})).collect::<Vec<_>>()});
    assert_eq!(found(&pattern, &text), [TOO_LONG]);
}

#[test]
fn what_is_told_has_a_limit() {
    let schema = json!({"items": {"type": "integer"}});
    let told = found(&schema, &json!(vec!["a"; 100_000]));
    assert!((1_000..100_000).contains(&told.len()), "{}", told.len());
}

#[test]
fn formats_are_gos() {
    for (format, right, wrong) in [
        ("date-time", "2024-01-01t00:00:00.5+01:00", "2024-01-01T00:00:00"),
        ("duration", "3 days 5 hours", "5 fortnights"),
        ("email", "Ann <a@b.io>", "a@b.io, c@d.io"),
        ("hostname", "a-b.io", "a_b"),
        ("ipv4", "01.2.3.4", "::1"),
        ("mac", "0123.4567.89ab", "01:23-45:67:89:ab"),
        ("uri", "mailto:a@b.io", "a/b"),
        ("uuid4", "6f1c2e56-0f0c-4a7e-9d3a-0a8f6a2b9c11", "6f1c2e56-0f0c-4a7e-7d3a-0a8f6a2b9c11"),
    ] {
        let schema = json!({"type": "string", "format": format});
        assert_eq!(found(&schema, &json!(right)), Vec::<String>::new(), "{format}");
        assert_eq!(found(&schema, &json!(wrong)).len(), 1, "{format}");
    }
}
