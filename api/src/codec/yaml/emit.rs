//! Trees as YAML, byte for byte as `sigs.k8s.io/yaml` writes them: what is quoted and how, where long lines are broken, and in
//! which order the keys stand.

use super::scalar::{Style, sorted_keys, style_of};
use crate::field::show_number;
use serde_json::{Map, Value};

/// Columns after which a text is broken at its next space.
const WIDTH: usize = 80;
/// Bytes of a key that may stand on a line with its value.
const MAX_KEY: usize = 128;
const INDENT: usize = 2;

/// A document as YAML.
pub fn encode(value: &Value) -> String {
    let mut emitter = Emitter { out: String::new(), column: 0, at_space: true, at_start: true };
    emitter.value(value, 0, Place::Root);
    emitter.line(0);
    emitter.out
}

/// What stands around a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// After the hyphen of a list's item.
    Item,
    /// After a key on the same line.
    Value,
    /// After the colon of a key that has lines of its own.
    LongValue,
    Key,
    LongKey,
}

struct Emitter {
    out: String,
    /// Characters of the line so far.
    column: usize,
    /// Whether the last one was a space, or there was none.
    at_space: bool,
    /// Whether the line has nothing but spaces and the signs that begin items.
    at_start: bool,
}

impl Emitter {
    /// `indent`: of the lists and maps that begin here.
    fn value(&mut self, value: &Value, indent: usize, place: Place) {
        // The lines of a text stand further in than what it belongs to.
        let text_indent = if place == Place::Root { INDENT } else { indent };
        match value {
            Value::Object(map) if !map.is_empty() => self.map(map, indent),
            Value::Array(items) if !items.is_empty() => {
                // A list below a key begins where the key does.
                let indent = if place == Place::Value { indent - INDENT } else { indent };
                self.list(items, indent);
            }
            Value::Object(_) => self.sign("{}", true, false),
            Value::Array(_) => self.sign("[]", true, false),
            Value::String(text) => self.text(text, text_indent, place),
            Value::Null => self.plain("null", text_indent, place),
            Value::Bool(value) => self.plain(if *value { "true" } else { "false" }, text_indent, place),
            Value::Number(number) => self.plain(&show_number(number), text_indent, place),
        }
    }

    fn map(&mut self, map: &Map<String, Value>, indent: usize) {
        for key in sorted_keys(map) {
            self.line(indent);
            let Some(value) = map.get(key) else { continue };
            if key.len() <= MAX_KEY && !has_break(key) {
                self.text(key, indent, Place::Key);
                self.sign(":", false, false);
                self.value(value, indent + INDENT, Place::Value);
            } else {
                self.sign("?", true, true);
                self.text(key, indent + INDENT, Place::LongKey);
                self.line(indent);
                self.sign(":", true, true);
                self.value(value, indent + INDENT, Place::LongValue);
            }
        }
    }

    fn list(&mut self, items: &[Value], indent: usize) {
        for item in items {
            self.line(indent);
            self.sign("-", true, true);
            self.value(item, indent + INDENT, Place::Item);
        }
    }

    fn text(&mut self, text: &str, indent: usize, place: Place) {
        match style_of(text, place == Place::Key) {
            Style::Plain => self.plain(text, indent, place),
            Style::Single => self.single(text, indent, place),
            Style::Double => self.double(text, indent, place),
            Style::Literal => self.literal(text, indent),
        }
    }

    /// Ends the line where it has more than an indentation, and indents.
    fn line(&mut self, indent: usize) {
        if !self.at_start || self.column > indent || (self.column == indent && !self.at_space) {
            self.newline();
        }
        while self.column < indent {
            self.put(' ');
        }
        self.at_space = true;
        self.at_start = true;
    }

    fn newline(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn put(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    /// `spaced`: it needs a space before it. `begins`: what follows may stand on the line.
    fn sign(&mut self, sign: &str, spaced: bool, begins: bool) {
        if spaced && !self.at_space {
            self.put(' ');
        }
        sign.chars().for_each(|c| self.put(c));
        self.at_space = false;
        self.at_start &= begins;
    }

    /// Writes a break that the text has.
    fn line_break(&mut self, c: char) {
        self.out.push(c);
        self.column = 0;
        self.at_start = true;
    }

    fn plain(&mut self, text: &str, indent: usize, place: Place) {
        if !self.at_space {
            self.put(' ');
        }
        self.words(text, indent, place, false);
        self.at_space = false;
        self.at_start = false;
    }

    fn single(&mut self, text: &str, indent: usize, place: Place) {
        self.sign("'", true, false);
        self.words(text, indent, place, true);
        self.sign("'", false, false);
    }

    /// Writes a text, with long lines broken at single spaces.
    fn words(&mut self, text: &str, indent: usize, place: Place, quoted: bool) {
        let (mut spaces, mut breaks) = (false, false);
        for (at, c) in text.char_indices() {
            if c == ' ' {
                let followed = text.as_bytes().get(at + 1) == Some(&b' ');
                let at_edge = quoted && (at == 0 || at + 1 == text.len());
                if place != Place::Key && !spaces && self.column > WIDTH && !at_edge && !followed {
                    self.line(indent);
                } else {
                    self.put(c);
                }
                spaces = true;
            } else if is_break(c) {
                if !breaks && c == '\n' {
                    self.newline();
                }
                self.line_break(c);
                breaks = true;
            } else {
                if breaks {
                    self.line(indent);
                }
                if quoted && c == '\'' {
                    self.put('\'');
                }
                self.put(c);
                self.at_start = false;
                (spaces, breaks) = (false, false);
            }
        }
    }

    fn double(&mut self, text: &str, indent: usize, place: Place) {
        self.sign("\"", true, false);
        let mut spaces = false;
        for (at, c) in text.char_indices() {
            if let Some(escape) = escaped(c) {
                escape.chars().for_each(|c| self.put(c));
                spaces = false;
            } else if c == ' ' {
                if place != Place::Key && !spaces && self.column > WIDTH && at > 0 && at + 1 < text.len() {
                    self.line(indent);
                    if text.as_bytes().get(at + 1) == Some(&b' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(c);
                }
                spaces = true;
            } else {
                self.put(c);
                spaces = false;
            }
        }
        self.sign("\"", false, false);
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.sign("|", true, false);
        if text.starts_with([' ', '\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
            self.sign(&INDENT.to_string(), false, false);
        }
        let mut last = text.chars().rev();
        match (last.next().is_some_and(is_break), last.next()) {
            (false, _) => self.sign("-", false, false),
            (true, before) if before.is_none_or(is_break) => self.sign("+", false, false),
            _ => {}
        }
        self.newline();
        self.at_space = true;
        self.at_start = true;
        let mut breaks = true;
        for c in text.chars() {
            if is_break(c) {
                self.line_break(c);
                breaks = true;
            } else {
                if breaks {
                    self.line(indent);
                }
                self.put(c);
                self.at_start = false;
                breaks = false;
            }
        }
    }
}

fn has_break(text: &str) -> bool {
    text.contains(is_break)
}

/// The ends of lines that YAML knows.
pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What may stand in a text as it is.
pub(super) fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// How a character is written between double quotes, if not as it is.
fn escaped(c: char) -> Option<String> {
    if is_printable(c) && !is_break(c) && !matches!(c, '"' | '\\') {
        return None;
    }
    let short = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            let code = u32::from(c);
            return Some(match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            });
        }
    };
    Some(format!("\\{short}"))
}
