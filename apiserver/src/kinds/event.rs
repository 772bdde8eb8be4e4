//! Event, stored in the shape of core/v1 and served in that of events.k8s.io/v1 too.
//!
//! [`StrictEvent`] holds the rules of events.k8s.io/v1; its errors name fields as core/v1 does, as upstream's do.

use super::internal;
use super::path::{Path, child, has, int, invalid_each, text};
use super::{MetadataChecks, Rules, check_object_first, path_segment};
use api::field::Errors;
use api::{Value, document, names};
use std::borrow::Cow;

pub struct Event;
pub struct StrictEvent;

/// Fields that the two shapes name differently: core, events.k8s.io.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// An events.k8s.io/v1 Event as a core/v1 one.
pub fn to_core(event: Value) -> Value {
    convert(event, "v1", RENAMED.map(|(core, new)| (new, core)))
}

/// A core/v1 Event as an events.k8s.io/v1 one.
pub fn from_core(event: Value) -> Value {
    convert(event, "events.k8s.io/v1", RENAMED)
}

/// The event in the shape that is stored.
pub fn as_core(event: &Value) -> Cow<'_, Value> {
    match text(event, "apiVersion") {
        "events.k8s.io/v1" => Cow::Owned(to_core(event.clone())),
        _ => Cow::Borrowed(event),
    }
}

fn convert(mut event: Value, api_version: &str, names: [(&str, &str); 7]) -> Value {
    let map = document::as_map(&mut event);
    map.insert("apiVersion".to_owned(), api_version.into());
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
    event
}

const TIME_TO_LIVE_SECONDS: u64 = 3600;

impl Rules for Event {
    fn validate(&self, event: &Value, errors: &mut Errors) {
        validate(event, "reportingComponent", errors);
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }

    fn selectable_field(&self, event: &Value, field: &str) -> String {
        let component = document::get_str(event, "source.component");
        let field = match field {
            "source" if component.is_empty() => "reportingComponent",
            "source" => "source.component",
            other => other,
        };
        document::get_str(event, field).to_owned()
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn has_dependents(&self) -> bool {
        false
    }

    fn time_to_live(&self) -> Option<u64> {
        Some(TIME_TO_LIVE_SECONDS)
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        path_segment(name, prefix)
    }

    fn metadata_checks(&self) -> MetadataChecks {
        MetadataChecks::NONE
    }
}

impl Rules for StrictEvent {
    fn check(&self, event: &Value, old: Option<&Value>, errors: &mut Errors) {
        check_object_first(self, event, old, errors);
    }

    fn validate_create(&self, event: &Value, errors: &mut Errors) {
        let event = as_core(event);
        validate_series(&event, errors);
        validate_strictly(&event, errors);
    }

    fn validate(&self, event: &Value, errors: &mut Errors) {
        validate(&as_core(event), "reportingController", errors);
    }

    fn validate_update(&self, event: &Value, old: &Value, errors: &mut Errors) {
        let (event, old) = (&*as_core(event), &*as_core(old));
        if child(event, "series") != child(old, "series") {
            validate_series(event, errors);
        }
        // In upstream's order, which looks at the reason twice.
        const FIXED: [(&str, &str, &str); 14] = [
            ("involvedObject", "involvedObject", "ObjectReference"),
            ("reason", "reason", "string"),
            ("message", "message", "string"),
            ("source", "source", "EventSource"),
            ("firstTimestamp", "firstTimestamp", "*"),
            ("lastTimestamp", "lastTimestamp", "*"),
            ("count", "count", "int"),
            ("reason", "reason", "string"),
            ("type", "type", "string"),
            ("eventTime", "eventTime", "*"),
            ("action", "action", "string"),
            ("related", "related", "*ObjectReference"),
            ("reportingComponent", "reportingController", "string"),
            ("reportingInstance", "reportingInstance", "string"),
        ];
        for (key, path, kind) in FIXED {
            internal::immutable_at(errors, child(event, key), child(old, key), &Path::root(path), kind);
        }
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ]
    }

    fn selectable_field(&self, event: &Value, field: &str) -> String {
        // Stored objects have the core shape.
        let stored = match field.strip_prefix("regarding.") {
            Some(part) => format!("involvedObject.{part}"),
            None if field == "reportingController" => "reportingComponent".to_owned(),
            None => field.to_owned(),
        };
        let value = document::get(event, &stored).or_else(|| document::get(event, field));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn has_dependents(&self) -> bool {
        false
    }

    fn time_to_live(&self) -> Option<u64> {
        Some(TIME_TO_LIVE_SECONDS)
    }
}

/// What every event has to satisfy; `controller` is how the client knows the reporting controller's field.
fn validate(event: &Value, controller: &str, errors: &mut Errors) {
    const NAMESPACE: Path = Path::root("involvedObject.namespace");
    let namespace = document::namespace(event);
    let involved = document::get_str(event, "involvedObject.namespace");
    let by_time = has(event, "eventTime");
    let matches = match (by_time, involved) {
        (false, "") => matches!(namespace, "" | "default"),
        (false, involved) => namespace == involved,
        (true, "") => matches!(namespace, "default" | "kube-system"),
        (true, _) => true,
    };
    if !matches {
        errors.invalid(NAMESPACE, involved, "does not match event.namespace");
    }
    if !by_time {
        return;
    }
    let reporter = text(event, "reportingComponent");
    let path = Path::root(controller);
    if reporter.is_empty() {
        errors.required(path, "");
    }
    invalid_each(errors, &path, reporter, names::qualified_name(reporter));
    for key in ["reportingInstance", "action", "reason"] {
        let value = text(event, key);
        if value.is_empty() {
            errors.required(key, "");
        }
        if value.len() > 128 {
            errors.invalid(key, "", "can have at most 128 characters");
        }
    }
    if text(event, "message").len() > 1024 {
        errors.invalid("message", "", "can have at most 1024 characters");
    }
}

fn validate_series(event: &Value, errors: &mut Errors) {
    if let Some(series) = child(event, "series") {
        if int(series, "count").unwrap_or_default() < 2 {
            errors.invalid("series.count", "", "should be at least 2");
        }
        if !has(series, "lastObservedTime") {
            errors.required("series.lastObservedTime", "");
        }
    }
}

/// What events.k8s.io/v1 asks of new events beyond that: the fields of the old shape are not used.
fn validate_strictly(event: &Value, errors: &mut Errors) {
    if !has(event, "eventTime") {
        errors.required("eventTime", "");
    }
    let kind = text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid("type", "", format!("has invalid value: {kind}"));
    }
    for key in ["firstTimestamp", "lastTimestamp"] {
        if has(event, key) {
            errors.invalid(key, "", "needs to be unset");
        }
    }
    if int(event, "count").unwrap_or_default() != 0 {
        errors.invalid("count", "", "needs to be unset");
    }
    let source = child(event, "source").unwrap_or(&Value::Null);
    if !text(source, "component").is_empty() || !text(source, "host").is_empty() {
        errors.invalid("source", "", "needs to be unset");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn first(rules: &dyn Rules, event: Value) -> String {
        let mut errors = Errors::new();
        rules.validate(&event, &mut errors);
        rules.validate_create(&event, &mut errors);
        errors.0.first().map_or_else(String::new, ToString::to_string)
    }

    #[test]
    fn shapes_convert_both_ways() {
        let core =
            json!({"apiVersion": "v1", "involvedObject": {"kind": "Pod"}, "message": "m", "reportingComponent": "c"});
        let new = from_core(core.clone());
        let expected = json!({"apiVersion": "events.k8s.io/v1", "regarding": {"kind": "Pod"}, "note": "m", "reportingController": "c"});
        assert_eq!(new, expected);
        assert_eq!(to_core(new), core);
    }

    #[test]
    fn namespaces_must_agree() {
        let event = |namespace: &str, involved: &str| json!({"metadata": {"namespace": namespace}, "involvedObject": {"namespace": involved}});
        assert_eq!(first(&Event, event("a", "a")), "");
        assert_eq!(first(&Event, event("default", "")), "");
        let wrong = "involvedObject.namespace: Invalid value: \"b\": does not match event.namespace";
        assert_eq!(first(&Event, event("a", "b")), wrong);
    }

    #[test]
    fn new_events_are_checked_strictly() {
        let mut event = json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}, "type": "Normal",
            "eventTime": "2024-01-01T00:00:00.000000Z", "reportingComponent": "x.io/c", "reportingInstance": "i",
            "action": "Do", "reason": "R"});
        assert_eq!(first(&StrictEvent, event.clone()), "");
        event["count"] = 1.into();
        let event = from_core(event);
        assert_eq!(first(&StrictEvent, event.clone()), "count: Invalid value: \"\": needs to be unset");
        let mut event = event;
        event["action"] = "".into();
        assert_eq!(first(&StrictEvent, event), "action: Required value");
    }
}
