//! Errors of single fields, as validation collects them.
//!
//! Wording and cause types follow `k8s.io/apimachinery/pkg/util/validation/field`.

use crate::Value;
use serde_json::Number;

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TooFew,
    Internal,
    TypeInvalid,
}

impl ErrorType {
    /// The `reason` of a status cause.
    pub fn reason(self) -> &'static str {
        match self {
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::TooFew => "FieldValueTooFew",
            ErrorType::Internal => "InternalError",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            ErrorType::NotFound => "Not found",
            ErrorType::Required => "Required value",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::Invalid | ErrorType::TypeInvalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::TooLong => "Too long",
            ErrorType::TooMany => "Too many",
            ErrorType::TooFew => "Too few",
            ErrorType::Internal => "Internal error",
        }
    }
}

/// One field's error.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    pub kind: ErrorType,
    /// Path such as `spec.containers[0].name`.
    pub field: String,
    pub value: Option<BadValue>,
    pub detail: String,
}

/// The value that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum BadValue {
    Value(Value),
    /// A structure, as Kubernetes prints it.
    Printed(String),
}

impl BadValue {
    /// Bytes that the value shows, about.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        match self {
            BadValue::Value(Value::String(text)) | BadValue::Printed(text) => text.len(),
            BadValue::Value(other) => crate::document::size(other),
        }
    }
}

/// `supported values: "a", "b"`
fn one_of(supported: &[&str]) -> String {
    let list: Vec<String> = supported.iter().map(|s| quote(s)).collect();
    if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) }
}

impl FieldError {
    /// The message without the path, as it stands in a status cause.
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            match value {
                BadValue::Value(Value::String(s)) => text.push_str(&quote(s)),
                BadValue::Value(Value::Number(number)) => text.push_str(&show_number(number)),
                BadValue::Value(other) => text.push_str(&escape_html(&other.to_string())),
                BadValue::Printed(printed) => text.push_str(printed),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A number as Go's `%v` prints it: `1000000`, but `1e+06` where it is a float.
pub fn show_number(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{float}"),
    }
}

/// A string in double quotes with escapes, as Go's `%q` prints it.
pub fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// A string of JSON as Go writes it: with the characters escaped that mean something in HTML.
pub fn quote_json(s: &str) -> String {
    escape_html(&Value::from(s).to_string())
}

/// Escapes what Go escapes in JSON. The characters stand in strings only.
fn escape_html(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// Go's `unicode.IsPrint`, nearly: no controls, no white space but the blank, nothing invisible.
pub fn is_printable(c: char) -> bool {
    let invisible = matches!(c as u32, 0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff
        | 0xe000..=0xf8ff | 0xfff0..=0xfffb | 0xe0000..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}

/// Bytes of text that a refusal tells of what is wrong. What is found once they are reached is left out.
pub const TEXT_MAX: usize = 1 << 20;
/// What counts for an error besides its texts.
const AROUND: usize = 128;

/// The errors found so far; validation functions push into it. Of very many only the first are kept: what they show is
/// the client's, and longer than what it sent.
#[derive(Debug, Default, PartialEq)]
pub struct Errors(pub Vec<FieldError>, Told);

/// How much text the errors that were added are.
#[derive(Debug, Default, PartialEq)]
struct Told(usize);

impl Errors {
    pub fn new() -> Errors {
        Errors::default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether no more errors are kept.
    pub fn is_full(&self) -> bool {
        self.1.0 > TEXT_MAX && !self.is_empty()
    }

    /// Adds what was found elsewhere.
    pub fn append(&mut self, found: Errors) {
        for error in found.0 {
            self.add(error.kind, error.field, error.value, error.detail);
        }
    }

    /// Adds an error, unless there are very many. (The first one is always kept.)
    pub fn add(
        &mut self,
        kind: ErrorType,
        field: impl Into<String>,
        value: Option<BadValue>,
        detail: impl Into<String>,
    ) {
        if self.is_full() {
            return;
        }
        let (field, detail) = (field.into(), detail.into());
        self.1.0 += AROUND + field.len() + detail.len() + value.as_ref().map_or(0, BadValue::len);
        self.0.push(FieldError { kind, field, value, detail });
    }

    fn push(&mut self, kind: ErrorType, field: impl Into<String>, value: Option<Value>, detail: impl Into<String>) {
        self.add(kind, field, value.map(BadValue::Value), detail);
    }

    /// A value that must be given is missing; `detail` may be empty.
    pub fn required(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.push(ErrorType::Required, field, None, detail);
    }

    pub fn invalid(&mut self, field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(ErrorType::Invalid, field, Some(value.into()), detail);
    }

    /// Like [`Errors::invalid`], for a structure that `printed` shows.
    pub fn invalid_printed(&mut self, field: impl Into<String>, printed: String, detail: impl Into<String>) {
        self.add(ErrorType::Invalid, field, Some(BadValue::Printed(printed)), detail);
    }

    /// Like [`Errors::not_supported`], for a structure.
    pub fn not_supported_printed(&mut self, field: impl Into<String>, printed: String, supported: &[&str]) {
        self.add(ErrorType::NotSupported, field, Some(BadValue::Printed(printed)), one_of(supported));
    }

    /// Like [`Errors::duplicate`], for a structure.
    pub fn duplicate_printed(&mut self, field: impl Into<String>, printed: String) {
        self.add(ErrorType::Duplicate, field, Some(BadValue::Printed(printed)), "");
    }

    pub fn type_invalid(&mut self, field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(ErrorType::TypeInvalid, field, Some(value.into()), detail);
    }

    pub fn duplicate(&mut self, field: impl Into<String>, value: impl Into<Value>) {
        self.push(ErrorType::Duplicate, field, Some(value.into()), "");
    }

    pub fn not_found(&mut self, field: impl Into<String>, value: impl Into<Value>) {
        self.push(ErrorType::NotFound, field, Some(value.into()), "");
    }

    pub fn forbidden(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.push(ErrorType::Forbidden, field, None, detail);
    }

    /// `supported` in the order upstream lists them (sorted, where upstream sorts).
    pub fn not_supported(&mut self, field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) {
        self.push(ErrorType::NotSupported, field, Some(value.into()), one_of(supported));
    }

    /// `max` in bytes.
    pub fn too_long(&mut self, field: impl Into<String>, max: usize) {
        let unit = if max == 1 { "byte" } else { "bytes" };
        self.push(ErrorType::TooLong, field, None, format!("may not be more than {max} {unit}"));
    }

    /// `max` in characters.
    pub fn too_long_characters(&mut self, field: impl Into<String>, max: usize) {
        let unit = if max == 1 { "character" } else { "characters" };
        self.push(ErrorType::TooLong, field, None, format!("may not be more than {max} {unit}"));
    }

    pub fn too_many(&mut self, field: impl Into<String>, actual: usize, max: usize) {
        let unit = if max == 1 { "item" } else { "items" };
        self.push(ErrorType::TooMany, field, Some(actual.into()), format!("must have at most {max} {unit}"));
    }

    pub fn internal(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.push(ErrorType::Internal, field, None, detail);
    }
}
