//! How a document is put down, a member at a time.

use super::{Dialect, info};
use serde_json::Value;
use std::io::Write;

/// The parts of a document, in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Paths,
    Definitions,
    /// Of version 2 alone.
    Parameters,
    Security,
}

/// Takes a document's members, section by section; each document has paths and ends with the security section.
pub(super) trait Writer {
    fn member(&mut self, section: Section, name: &str, value: &Value);
}

/// Writes a document as JSON.
pub(super) struct JsonWriter<W> {
    out: W,
    dialect: Dialect,
    section: Option<Section>,
}

impl<W: Write> JsonWriter<W> {
    /// Over something that takes every byte, as what is in memory does.
    pub(super) fn new(mut out: W, dialect: Dialect) -> JsonWriter<W> {
        let head = match dialect {
            Dialect::V2 => r#""swagger":"2.0""#,
            Dialect::V3 => r#""openapi":"3.0.0""#,
        };
        let _ = write!(out, "{{{head},\"info\":{}", info());
        JsonWriter { out, dialect, section: None }
    }

    /// Ends the document.
    pub(super) fn finish(mut self) -> W {
        let _ = self.out.write_all(match self.dialect {
            Dialect::V2 => br#"},"security":[{"BearerToken":[]}]}"#,
            Dialect::V3 => b"}}}",
        });
        self.out
    }

    fn open(&mut self, section: Section) {
        let close = if self.section.is_some() { "}," } else { "," };
        let open = match (section, self.dialect, self.section) {
            (Section::Paths, ..) => r#""paths":{"#,
            (Section::Definitions, Dialect::V2, _) => r#""definitions":{"#,
            (Section::Definitions, Dialect::V3, _) => r#""components":{"schemas":{"#,
            (Section::Parameters, ..) => r#""parameters":{"#,
            (Section::Security, Dialect::V2, _) => r#""securityDefinitions":{"#,
            (Section::Security, Dialect::V3, Some(Section::Definitions)) => r#""securitySchemes":{"#,
            (Section::Security, Dialect::V3, _) => r#""components":{"securitySchemes":{"#,
        };
        let _ = write!(self.out, "{close}{open}");
        self.section = Some(section);
    }
}

impl<W: Write> Writer for JsonWriter<W> {
    fn member(&mut self, section: Section, name: &str, value: &Value) {
        if self.section == Some(section) {
            let _ = self.out.write_all(b",");
        } else {
            self.open(section);
        }
        let _ = write!(self.out, "{}:", Value::from(name));
        let _ = serde_json::to_writer(&mut self.out, value);
    }
}
