//! The file of recorded answers: one line an answer, so that a change is read as a change.

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::path::Path;

/// An answer as it is compared.
pub struct Observed {
    /// `table: label`
    pub id: String,
    pub value: Value,
}

/// The recorded answers by their `id`.
pub type Expected = Map<String, Value>;

pub fn read(file: &Path) -> Result<Expected> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{}; --record makes it from a cluster that is right", file.display()))?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}

pub fn write(file: &Path, observed: &[Observed]) -> Result<()> {
    let mut text = String::from("{");
    for (index, answer) in observed.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}\n{}: {}", Value::from(answer.id.as_str()), answer.value)?;
    }
    text.push_str("\n}\n");
    std::fs::write(file, text).with_context(|| file.display().to_string())
}
