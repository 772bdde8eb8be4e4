//! Field selectors: `spec.nodeName=a,status.phase!=Running`.

use std::borrow::Cow;

/// One term of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// Dotted path such as `spec.nodeName`.
    pub path: String,
    pub equal: bool,
    pub value: String,
}

/// Conditions on fields that must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    pub terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Reads `a=b,c!=d`; in values, `\`, `,` and `=` are escaped by a backslash.
    pub fn parse(text: &str) -> Result<FieldSelector, String> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let terms = parts.into_iter().filter(|part| !part.is_empty()).map(|part| {
            let at = part
                .char_indices()
                .map(|(i, _)| i)
                .find(|i| part[*i..].starts_with("!=") || part[*i..].starts_with('='));
            let at = at.ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))?;
            let (path, rest) = part.split_at(at);
            let (equal, raw) = match rest.strip_prefix("!=") {
                Some(raw) => (false, raw),
                None => (true, rest.strip_prefix("==").unwrap_or(&rest[1..])),
            };
            Ok(FieldTerm { path: path.to_owned(), equal, value: unescape(raw)? })
        });
        let mut terms: Vec<FieldTerm> = terms.collect::<Result<_, String>>()?;
        // Of nothing and nothing upstream makes no term.
        terms.retain(|term| !(term.path.is_empty() && term.value.is_empty()));
        Ok(FieldSelector { terms })
    }

    /// Selects what has this value.
    pub fn equal(path: &str, value: &str) -> FieldSelector {
        FieldSelector { terms: vec![FieldTerm { path: path.to_owned(), equal: true, value: value.to_owned() }] }
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an object is selected; a field that it lacks counts as empty.
    pub fn matches_by<'a>(&self, lookup: impl Fn(&str) -> Cow<'a, str>) -> bool {
        self.terms.iter().all(|term| (lookup(&term.path) == term.value) == term.equal)
    }

    /// The value that a field must have, where the selector says so.
    pub fn exact_value(&self, path: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.path == path).map(|t| t.value.as_str())
    }
}

impl std::fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{}{value}", term.path, if term.equal { "=" } else { "!=" })?;
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn unescape(text: &str) -> Result<String, String> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => value.push(c),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return Err(format!("invalid field selector: invalid escape sequence: {sequence}"));
                }
            },
            ',' | '=' => {
                return Err(format!("invalid field selector: unescaped character in value: {}", c as u32));
            }
            c => value.push(c),
        }
    }
    Ok(value)
}
