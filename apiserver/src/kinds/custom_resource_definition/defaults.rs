//! Default values in a schema: they have to fit it.

use super::structural::item;
use crate::json_schema::{self, Work, embedded};
use crate::kinds::path::{Path, child, entries, flag};
use api::field::Errors;
use api::{Map, Value};
use serde_json::json;

const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const OPEN: &str = "x-kubernetes-preserve-unknown-fields";

/// Checks that each default fits its own schema, and holds nothing that pruning would remove. `pruned` says whether that
/// matters.
pub fn validate_defaults(schema: &Value, pruned: bool, path: &Path, errors: &mut Errors) {
    let place = Place { pruned, root: Some(schema), steps: Step::Root, in_metadata: false };
    place.validate(schema, path, &mut Work::default(), errors);
}

/// Where in a schema one is.
#[derive(Clone, Copy)]
struct Place<'a> {
    pruned: bool,
    /// The schema of the object that one is in: the custom resource, or one embedded in it.
    root: Option<&'a Value>,
    /// The way from it.
    steps: Step<'a>,
    /// Whether one is in what that object says about itself.
    in_metadata: bool,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a Step<'a>, &'a str),
    Item(&'a Step<'a>),
}

impl Step<'_> {
    /// The object in which a value stands here.
    fn around(&self, value: Value) -> Value {
        match self {
            Step::Root => {
                let mut object = value;
                if let Some(fields) = object.as_object_mut() {
                    fields.entry("kind").or_insert_with(|| "Validation".into());
                    fields.entry("apiVersion").or_insert_with(|| "validation/v1".into());
                }
                object
            }
            Step::Field(around, name) => around.around(Value::Object(Map::from_iter([((*name).to_owned(), value)]))),
            Step::Item(around) => around.around(json!([value])),
        }
    }
}

impl<'a> Place<'a> {
    fn validate(mut self, schema: &'a Value, path: &Path, work: &mut Work, errors: &mut Errors) {
        let is_object = matches!(self.steps, Step::Root) || flag(schema, EMBEDDED);
        if is_object {
            self = Place { root: Some(schema), steps: Step::Root, in_metadata: false, ..self };
        }
        if let Some(default) = child(schema, "default") {
            let at = path.at("default");
            match self.root.filter(|_| self.in_metadata) {
                Some(root) => self.validate_metadata(default, schema, root, &at, work, errors),
                None => self.validate_value(default, schema, is_object, &at, work, errors),
            }
        }
        if let Some(item) = item(schema) {
            Place { steps: Step::Item(&self.steps), ..self }.validate(item, &path.at("items"), work, errors);
        }
        // Upstream does not look into the values of maps, where there may be no defaults.
        let properties = path.at("properties");
        for (name, property) in entries(schema, "properties") {
            let own = is_object && matches!(name, "metadata" | "apiVersion" | "kind");
            let in_metadata = self.in_metadata || own;
            let steps = Step::Field(&self.steps, name);
            Place { steps, in_metadata, ..self }.validate(property, &properties.key(name), work, errors);
        }
    }

    fn validate_value(
        self,
        default: &Value,
        schema: &Value,
        is_object: bool,
        path: &Path,
        work: &mut Work,
        errors: &mut Errors,
    ) {
        if self.pruned && has_unknown(default, Some(schema), is_object) {
            errors.invalid(path, default.clone(), "must not have unknown fields");
        }
        let mut coerced = default.clone();
        let mut found = embedded::coerce(&mut coerced, schema, is_object, path).err().unwrap_or_default();
        if found.is_empty() {
            embedded::validate(&coerced, schema, is_object, path, &mut found);
        }
        if found.is_empty() {
            json_schema::validate(schema, &coerced, path, work, &mut found);
        }
        errors.append(found);
    }

    /// Checks a default by the metadata that it makes.
    fn validate_metadata(
        self,
        default: &Value,
        schema: &Value,
        root: &Value,
        path: &Path,
        work: &mut Work,
        errors: &mut Errors,
    ) {
        const NOWHERE: Path = Path::root("");
        let mut object = self.steps.around(default.clone());
        let mut found = embedded::coerce(&mut object, root, true, &NOWHERE).err().unwrap_or_default();
        if found.is_empty() {
            embedded::validate(&object, root, true, &NOWHERE, &mut found);
        }
        if found.is_empty() {
            return json_schema::validate(schema, default, path, work, errors);
        }
        let mut sentences: Vec<String> = found.0.iter().map(ToString::to_string).collect();
        sentences.dedup();
        let why = match sentences.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        errors.invalid(path, default.clone(), format!("must result in valid metadata: {why}"));
    }
}

/// Writes the values in a schema as upstream does, which reads them: whole numbers are integers where they have 64 bits, and
/// metadata in the defaults of embedded objects is what the server's type has.
pub fn settle(schema: &mut Value) {
    settle_numbers(schema);
    coerce_below(schema, true);
}

fn settle_numbers(schema: &mut Value) {
    for (key, value) in schema.as_object_mut().into_iter().flatten() {
        match key.as_str() {
            "default" | "enum" | "example" => settle_value(value),
            "items" | "not" | "additionalProperties" if value.is_object() => settle_numbers(value),
            "allOf" | "anyOf" | "oneOf" => value.as_array_mut().into_iter().flatten().for_each(settle_numbers),
            "properties" => value.as_object_mut().into_iter().flatten().for_each(|(_, value)| settle_numbers(value)),
            _ => {}
        }
    }
}

fn settle_value(value: &mut Value) {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Array(items) => items.iter_mut().for_each(settle_value),
        Value::Object(fields) => fields.iter_mut().for_each(|(_, value)| settle_value(value)),
        Value::Number(number) if !number.is_i64() => {
            let Some(float) = number.as_f64() else { return };
            let whole = float.fract() == 0.0 && (-BEYOND..BEYOND).contains(&float);
            *value = if whole { (float as i64).into() } else { float.into() };
        }
        _ => {}
    }
}

fn coerce_below(schema: &mut Value, root: bool) {
    const NOWHERE: Path = Path::root("");
    let embedded = root || flag(schema, EMBEDDED);
    if let Some(mut default) = schema.as_object_mut().and_then(|fields| fields.get_mut("default")).map(Value::take) {
        let before = default.clone();
        let coerced = embedded::coerce(&mut default, schema, embedded, &NOWHERE);
        schema["default"] = if coerced.is_ok() { default } else { before };
    }
    if let Some(item) = schema.get_mut("items").filter(|item| item.is_object()) {
        coerce_below(item, false);
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        let own = embedded && matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
        if property.is_object() && !own {
            coerce_below(property, false);
        }
    }
}

/// Whether some default in the schema would lose fields by pruning.
pub fn has_unpruned_defaults(schema: &Value) -> bool {
    child(schema, "default").is_some_and(|default| has_unknown(default, Some(schema), flag(schema, EMBEDDED)))
        || item(schema).is_some_and(has_unpruned_defaults)
        || entries(schema, "properties").any(|(_, property)| has_unpruned_defaults(property))
}

/// Whether pruning would remove something. Without a schema, it removes all fields; `is_object` keeps what each object has.
fn has_unknown(value: &Value, schema: Option<&Value>, is_object: bool) -> bool {
    let Some(schema) = schema else {
        return match value {
            Value::Object(fields) => !fields.is_empty(),
            Value::Array(items) => items.iter().any(|item| has_unknown(item, None, false)),
            _ => false,
        };
    };
    let open = flag(schema, OPEN);
    match value {
        Value::Array(items) if open => match item(schema) {
            // The items of a list that is open are so too.
            Some(item) => items.iter().any(|value| has_unknown_in_open(value, item)),
            None => false,
        },
        Value::Array(items) => items.iter().any(|value| has_unknown_by(value, item(schema))),
        Value::Object(fields) => has_unknown_fields(fields, schema, open, is_object),
        _ => false,
    }
}

fn has_unknown_by(value: &Value, schema: Option<&Value>) -> bool {
    has_unknown(value, schema, schema.is_some_and(|schema| flag(schema, EMBEDDED)))
}

fn has_unknown_in_open(value: &Value, schema: &Value) -> bool {
    match value {
        Value::Array(items) => {
            item(schema).is_some_and(|item| items.iter().any(|value| has_unknown_in_open(value, item)))
        }
        Value::Object(fields) => has_unknown_fields(fields, schema, true, flag(schema, EMBEDDED)),
        _ => false,
    }
}

fn has_unknown_fields(fields: &Map, schema: &Value, open: bool, is_object: bool) -> bool {
    let others = child(schema, "additionalProperties");
    let own = |key: &str| is_object && matches!(key, "kind" | "apiVersion" | "metadata");
    fields.iter().filter(|(key, _)| !own(key)).any(|(key, value)| {
        match child(schema, "properties").and_then(|properties| child(properties, key)) {
            Some(property) => has_unknown_by(value, Some(property)),
            None => match others {
                Some(others) => has_unknown_by(value, Some(others).filter(|others| others.is_object())),
                None => !open,
            },
        }
    })
}
