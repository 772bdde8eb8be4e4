//! Objects as Kubernetes prints its in-memory types: some messages show a whole structure, with Go's names of the fields,
//! in the order of their declaration, and with the zero values of what is not set.

use super::equality::same;
use super::path::{Path, child};
use api::Value;
use api::field::{Errors, quote_json};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;

static TYPES: LazyLock<HashMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let lines = include_str!("internal.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, fields)| (name, fields.split_whitespace().map(Field::parse).collect()))
        .collect()
});

struct Field {
    name: &'static str,
    /// The field's name in the API; letters' case does not count.
    json: &'static str,
    kind: Option<&'static str>,
    /// Whether it holds a map of them.
    of_keys: bool,
    /// What stands for a value that is not set; `None` leaves the field out.
    zero: Option<&'static str>,
    of_parent: bool,
    embedded: bool,
}

impl Field {
    /// Reads one word of the table.
    fn parse(word: &'static str) -> Field {
        let (word, embedded) = word.strip_prefix('+').map_or((word, false), |word| (word, true));
        let (word, kind) = word.split_once(':').map_or((word, None), |(word, kind)| (word, Some(kind)));
        let (kind, of_keys) = match kind.and_then(|kind| kind.strip_prefix('@')) {
            Some(kind) => (Some(kind), true),
            None => (kind, false),
        };
        let (word, zero) = match word.split_once('=') {
            Some((word, zero)) => (word, Some(zero)),
            None if word.ends_with('*') => (word.trim_end_matches('*'), Some("null")),
            None if word.ends_with('~') => (word.trim_end_matches('~'), None),
            None => (word, Some("\"\"")),
        };
        let (word, of_parent) = word.strip_suffix('^').map_or((word, false), |word| (word, true));
        let (name, json) = word.split_once('/').unwrap_or((word, word));
        Field { name, json, kind, of_keys, zero, of_parent, embedded }
    }
}

/// What stands at `key` must be what it was. `kind` is a type of the table, `string` or `int`; `*` before it says that it
/// may be missing, which is null then.
pub fn immutable(errors: &mut Errors, new: &Value, old: &Value, path: &Path, key: &str, kind: &str) {
    immutable_at(errors, child(new, key), child(old, key), &path.at(key), kind);
}

/// The same, of what stands at `path`.
pub fn immutable_at(errors: &mut Errors, new: Option<&Value>, old: Option<&Value>, path: &Path, kind: &str) {
    const WHY: &str = "field is immutable";
    if same(new, old) {
        return;
    }
    let shown = match (new, kind) {
        (Some(value), _) if !value.is_object() && !value.is_array() => value.clone(),
        (None, "string") => "".into(),
        (None, "int") => 0.into(),
        (None, kind) if kind.starts_with('*') => Value::Null,
        (new, kind) => {
            let printed = compact(kind.trim_start_matches('*'), new.unwrap_or(&Value::Null));
            return errors.invalid_printed(path, printed, WHY);
        }
    };
    errors.invalid(path, shown, WHY);
}

/// The value in one line, as error messages show it. `kind` is a type of the table.
pub fn compact(kind: &str, value: &Value) -> String {
    let mut printer = Printer { out: String::new(), indent: None };
    printer.value((Some(kind), false), value, &Value::Null);
    printer.out
}

/// A list of `kind`, in one line.
pub fn compact_list(kind: &str, values: &[Value]) -> String {
    let values: Vec<String> = values.iter().map(|value| compact(kind, value)).collect();
    format!("[{}]", values.join(","))
}

/// The value over several lines, each level indented by one space.
pub fn pretty(kind: &str, value: &Value) -> String {
    let mut printer = Printer { out: String::new(), indent: Some(0) };
    printer.value((Some(kind), false), value, &Value::Null);
    printer.out
}

struct Printer {
    out: String,
    /// The level, where each field has its own line.
    indent: Option<usize>,
}

impl Printer {
    fn value(&mut self, (kind, of_keys): Holds, value: &Value, parent: &Value) {
        match (value, kind.filter(|_| !of_keys).and_then(|kind| TYPES.get(kind))) {
            (Value::Array(items), _) => {
                let items = items.iter().map(|item| (None, (kind, false), Some(item), "null", &Value::Null));
                self.list('[', ']', items.collect());
            }
            (Value::Object(fields), None) => {
                let below = (kind, false);
                let fields =
                    fields.iter().map(|(key, value)| (Some(key.as_str()), below, Some(value), "null", &Value::Null));
                self.list('{', '}', fields.collect());
            }
            (_, Some(fields)) if value.is_object() || value.is_null() => {
                let mut found = Vec::new();
                collect(fields, value, parent, &mut found);
                self.list('{', '}', found);
            }
            (Value::String(text), _) => self.out.push_str(&quote_json(text)),
            (other, _) => {
                // Writing into a string cannot fail.
                let _ = write!(self.out, "{other}");
            }
        }
    }

    /// Entries between brackets: the name in an object, the type, the value or what stands for it, and the structure around.
    fn list(&mut self, open: char, close: char, entries: Vec<Entry>) {
        self.out.push(open);
        let empty = entries.is_empty();
        self.indent = self.indent.map(|level| level + 1);
        for (i, (name, kind, value, zero, parent)) in entries.into_iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            self.line();
            if let Some(name) = name {
                self.out.push_str(&quote_json(name));
                self.out.push(':');
                if self.indent.is_some() {
                    self.out.push(' ');
                }
            }
            match value {
                Some(value) => self.value(kind, value, parent),
                // A structure that is no pointer is there, with all its fields.
                None if zero == "\"\"" && kind.0.is_some() => self.value(kind, &Value::Null, parent),
                None => self.out.push_str(zero),
            }
        }
        self.indent = self.indent.map(|level| level - 1);
        if !empty {
            self.line();
        }
        self.out.push(close);
    }

    fn line(&mut self) {
        if let Some(level) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', level));
        }
    }
}

type Entry<'a> = (Option<&'a str>, Holds<'a>, Option<&'a Value>, &'a str, &'a Value);

/// A type of the table, where it is one, and whether a map of it stands there.
type Holds<'a> = (Option<&'a str>, bool);

fn collect<'a>(fields: &'static [Field], value: &'a Value, parent: &'a Value, found: &mut Vec<Entry<'a>>) {
    for field in fields {
        if field.embedded {
            if let (Some(fields), Some(value)) = (TYPES.get(field.name), child(value, "metadata")) {
                collect(fields, value, parent, found);
            }
            continue;
        }
        let at = if field.of_parent { parent } else { value };
        let own = at.as_object().into_iter().flatten().find(|(key, _)| key.eq_ignore_ascii_case(field.json));
        let own = own.map(|(_, value)| value).filter(|value| !value.is_null());
        match (own, field.zero) {
            (None, None) => {}
            (Some(Value::Array(items)), None) if items.is_empty() => {}
            (Some(Value::Object(fields)), None) if fields.is_empty() => {}
            (own, zero) => {
                found.push((Some(field.name), (field.kind, field.of_keys), own, zero.unwrap_or("null"), value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn structures_show_every_field_in_the_order_of_declaration() {
        let claim = json!({"resourceClaimName": "x", "name": "a"});
        let shown = "{\"Name\":\"a\",\"ResourceClaimName\":\"x\",\"ResourceClaimTemplateName\":null}";
        assert_eq!(compact("PodResourceClaim", &claim), shown);
        let spec = compact("PodSpec", &json!({"hostPID": true, "containers": [{"name": "<c>", "tty": true}]}));
        assert!(spec.contains("\"SecurityContext\":{\"HostNetwork\":false,\"HostPID\":true,"), "{spec}");
        assert!(spec.contains("{\"Name\":\"\\u003cc\\u003e\",\"Image\":\"\",\"Command\":null,"), "{spec}");
        assert!(spec.contains("\"Resources\":{\"Limits\":null,\"Requests\":null,\"Claims\":null}"), "{spec}");
        assert_eq!(pretty("PodOS", &json!({"name": "linux"})), "{\n \"Name\": \"linux\"\n}");
        let selector = json!({"matchLabels": {"b": "c"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]});
        let shown = "{\"matchLabels\":{\"b\":\"c\"},\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Exists\"}]}";
        assert_eq!(compact("LabelSelector", &selector), shown);
    }

    #[test]
    fn a_text_that_may_not_change_is_quoted_as_any_text() {
        let said = |new: Value, kind: &str| {
            let mut errors = Errors::new();
            immutable(&mut errors, &new, &json!({"a": "old"}), &Path::root("spec"), "a", kind);
            errors.0[0].to_string()
        };
        assert_eq!(said(json!({"a": "<b>"}), "string"), "spec.a: Invalid value: \"<b>\": field is immutable");
        assert_eq!(said(json!({}), "string"), "spec.a: Invalid value: \"\": field is immutable");
        assert_eq!(said(json!({}), "*LabelSelector"), "spec.a: Invalid value: null: field is immutable");
    }
}
