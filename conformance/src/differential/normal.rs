//! Answers without what is different each time: names of namespaces, identities, times and versions.

use super::edit::Path;
use super::topic::Topic;
use crate::context::Answer;
use regex_lite::{Captures, Regex};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

static UUID: LazyLock<Regex> = LazyLock::new(|| regex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static TIME: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|[+-]\d\d:?\d\d))?( UTC)?"));
static TOKEN_VOLUME: LazyLock<Regex> = LazyLock::new(|| regex("kube-api-access-[a-z0-9]{5}"));
/// The version that a failed precondition met.
static MET: LazyLock<Regex> = LazyLock::new(|| regex(r"in record \(\d+\)|ResourceVersion in object meta: \d+"));
/// How long something has been there, in a table.
static AGE: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\d+[smhd])+$"));
/// Other topics add ranges of addresses.
static RANGE: LazyLock<Regex> = LazyLock::new(|| regex(r"The range of valid IPs is [0-9a-f.:/]+"));
static PREFIX: LazyLock<Regex> = LazyLock::new(|| regex(r#"generateName"?: ?"([^"]+)""#));
/// Headers that clients act on; the content type only where it is not JSON.
const HEADERS: &[&str] = &["warning", "retry-after", "allow", "content-type", "location"];

fn regex(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|why| unreachable!("{text}: {why}"))
}

/// `{"code", "body", "headers"?}`. What the request said itself stays as it is.
pub fn answer(answer: &Answer, sent: &str, namespace: &str, topic: &Topic, managed: bool) -> Value {
    let normal = Normal { sent, namespace, managed, hidden: &topic.hidden };
    let mut body = body(&answer.text);
    for path in &topic.volatile {
        path.mask(&mut body, "<chosen>");
    }
    normal.value(&mut body);
    let mut out = json!({"code": answer.status, "body": body});
    let headers = headers(answer, &normal);
    if !headers.is_empty() {
        out["headers"] = Value::Object(headers);
    }
    out
}

fn headers(answer: &Answer, normal: &Normal) -> Map<String, Value> {
    let mut out = Map::new();
    for name in HEADERS {
        let values = answer.headers.get_all(*name).iter().filter_map(|value| value.to_str().ok());
        let values: Vec<Value> = values
            .filter(|value| !(*name == "content-type" && *value == "application/json"))
            .map(|value| Value::from(normal.text(value)))
            .collect();
        if !values.is_empty() {
            out.insert((*name).to_owned(), Value::from(values));
        }
    }
    out
}

/// JSON; a list for the frames of a watch; else the text.
fn body(text: &str) -> Value {
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    let frames: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
    match frames {
        Ok(frames) if !frames.is_empty() => Value::from(frames),
        _ => Value::from(text),
    }
}

/// Without the order of several causes, of which some come from maps.
pub fn unordered(mut answer: Value) -> Value {
    let body = &mut answer["body"];
    if let Some(Value::Array(causes)) = body.pointer_mut("/details/causes")
        && causes.len() > 1
    {
        causes.sort_by_key(Value::to_string);
        body["message"] = "<its causes>".into();
    }
    answer
}

/// Puts in order what has none, as [`answer`] does; for answers that were recorded before it did.
pub fn settle(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(settle),
        Value::Object(map) => {
            sort_managed_fields(map);
            map.values_mut().for_each(settle);
        }
        _ => {}
    }
}

/// Their order is that of their times, in whole seconds, which may or may not be the same.
fn sort_managed_fields(map: &mut Map<String, Value>) {
    if let Some(Value::Array(entries)) = map.get_mut("managedFields") {
        entries.sort_by_key(Value::to_string);
    }
}

struct Normal<'a> {
    sent: &'a str,
    namespace: &'a str,
    managed: bool,
    hidden: &'a [Path],
}

impl Normal<'_> {
    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => self.map(map),
            _ => {}
        }
    }

    fn map(&self, map: &mut Map<String, Value>) {
        if !self.managed {
            map.remove("managedFields");
        }
        if !self.hidden.is_empty() {
            self.hide(map);
        }
        sort_managed_fields(map);
        let prefix = map.get("generateName").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(Value::String(name)) = map.get_mut("name")
            && !prefix.is_empty()
            && name.len() == prefix.len() + 5
            && name.starts_with(&prefix)
        {
            *name = format!("{prefix}<suffix>");
        }
        for (key, value) in map.iter_mut() {
            match value {
                Value::Array(cells) if key == "cells" => cells.iter_mut().for_each(|cell| match cell {
                    Value::String(text) if AGE.is_match(text) => *text = "<age>".to_owned(),
                    other => self.value(other),
                }),
                Value::String(text) if key == "resourceVersion" && !text.is_empty() && !self.said(text) => {
                    *text = "<version>".to_owned();
                }
                other => self.value(other),
            }
        }
    }

    fn hide(&self, map: &mut Map<String, Value>) {
        let partial = map.get("kind").is_some_and(|kind| kind == "PartialObjectMetadata");
        if map.contains_key("metadata") && (map.contains_key("spec") || partial) {
            let mut object = Value::Object(std::mem::take(map));
            self.hidden.iter().for_each(|path| path.remove(&mut object));
            if object["metadata"]["annotations"].as_object().is_some_and(Map::is_empty)
                && let Some(metadata) = object["metadata"].as_object_mut()
            {
                metadata.remove("annotations");
            }
            if let Value::Object(object) = object {
                *map = object;
            }
        }
        if let Some(Value::Array(entries)) = map.get_mut("managedFields") {
            entries.retain(|entry| entry["subresource"] != "status");
        }
        if self.hidden.iter().any(|path| !path.to_string().starts_with("metadata."))
            && let Some(Value::Array(cells)) = map.get_mut("cells")
        {
            cells.truncate(1);
        }
    }

    /// Whether the request had this text.
    fn said(&self, text: &str) -> bool {
        self.sent.contains(&format!("\"{text}\""))
    }

    /// Objects that an error quotes: Go writes their fields in its own order, which nobody reads.
    fn quoted(&self, text: &str) -> String {
        const BEFORE: &str = "Invalid value: ";
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(BEFORE).map(|at| at + BEFORE.len()) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let mut reader = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let object = reader.next().and_then(Result::ok).and_then(|text| serde_json::from_str(&text).ok());
            if let Some(mut object @ Value::Object(_)) = object {
                rest = &rest[reader.byte_offset()..];
                self.value(&mut object);
                out.push_str(&Value::from(object.to_string()).to_string());
            }
        }
        out + rest
    }

    /// A name that was made of the prefix that was sent, also where a sentence quotes it.
    fn generated(&self, text: &str) -> String {
        let Some(found) = PREFIX.captures(self.sent) else { return text.to_owned() };
        let prefix = &found[1];
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(prefix) {
            let (before, after) = rest.split_at(at + prefix.len());
            out.push_str(before);
            let suffix = after.chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit()).count();
            rest = after;
            if suffix == 5 {
                out.push_str("<suffix>");
                rest = &after[5..];
            }
        }
        out + rest
    }

    fn text(&self, text: &str) -> String {
        let text = text.replace(self.namespace, "{namespace}");
        let masked = |regex: &Regex, text: &str, mask: &str| {
            let replaced = regex.replace_all(text, |found: &Captures<'_>| {
                let found = &found[0];
                if self.sent.contains(found) { found.to_owned() } else { mask.to_owned() }
            });
            replaced.into_owned()
        };
        let text = masked(&UUID, &text, "<uid>");
        let text = masked(&TIME, &text, "<time>");
        let text = self.quoted(&text);
        let text = self.generated(&text);
        let text = masked(&RANGE, &text, "<range>");
        let text = masked(&MET, &text, "<met version>");
        masked(&TOKEN_VOLUME, &text, "kube-api-access-<suffix>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_from_run_to_run_is_masked_and_what_was_sent_is_kept() {
        let normal =
            Normal { sent: "{\"at\": \"2020-01-01T00:00:00Z\"}", namespace: "ns-1", managed: false, hidden: &[] };
        let mut body = json!({
            "metadata": {"name": "a-x7k2p", "generateName": "a-", "namespace": "ns-1", "resourceVersion": "12",
                "uid": "6f1c2e56-0f0c-4a7e-9d3a-0a8f6a2b9c11", "managedFields": []},
            "at": "2020-01-01T00:00:00Z", "now": "2026-01-01T00:00:00Z",
        });
        normal.value(&mut body);
        let wanted = json!({
            "metadata": {"name": "a-<suffix>", "generateName": "a-", "namespace": "{namespace}",
                "resourceVersion": "<version>", "uid": "<uid>"},
            "at": "2020-01-01T00:00:00Z", "now": "<time>",
        });
        assert_eq!(body, wanted);
        let quoted = normal
            .text(r#"Invalid value: "{\"b\":1,\"a\":{\"resourceVersion\":\"7\"}}": why, Invalid value: "x": why"#);
        assert_eq!(
            quoted,
            r#"Invalid value: "{\"a\":{\"resourceVersion\":\"<version>\"},\"b\":1}": why, Invalid value: "x": why"#
        );
    }
}
