//! How two answers differ, in lines for a person.

use serde_json::Value;

/// Lines `path: wanted …, got …`; `None` when the answers are the same.
pub fn differences(wanted: &Value, got: &Value) -> Option<String> {
    let mut lines = Vec::new();
    collect("", Some(wanted), Some(got), &mut lines);
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn collect(path: &str, wanted: Option<&Value>, got: Option<&Value>, lines: &mut Vec<String>) {
    match (wanted, got) {
        (wanted, got) if wanted == got => {}
        (Some(Value::Object(wanted)), Some(Value::Object(got))) => {
            for (key, value) in wanted {
                collect(&format!("{path}.{key}"), Some(value), got.get(key), lines);
            }
            for (key, value) in got.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
                collect(&format!("{path}.{key}"), None, Some(value), lines);
            }
        }
        (Some(Value::Array(wanted)), Some(Value::Array(got))) if wanted.len() == got.len() => {
            for (index, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                collect(&format!("{path}[{index}]"), Some(wanted), Some(got), lines);
            }
        }
        (wanted, got) => {
            let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
            lines.push(format!("  {path}\n    upstream: {}\n    here:     {}", shown(wanted), shown(got)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_difference_has_its_path() {
        let text = differences(&json!({"a": [1, 2], "b": 1}), &json!({"a": [1, 3], "c": 1})).unwrap();
        for part in [".a[1]\n    upstream: 2\n    here:     3", ".b\n    upstream: 1\n    here:     nothing", ".c\n"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(differences(&json!(1), &json!(1)), None);
    }
}
