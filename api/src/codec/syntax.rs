//! What is wrong with a text that is no JSON, in the words of Go's `encoding/json`.
//!
//! serde_json reads; only when it refuses is the text gone through here, to say why as clients expect it.

/// Why Go would refuse a text as JSON; `None` if it would not.
pub(super) fn fault(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner { text, at: 0, nested: Vec::new() };
    scanner.document().err()
}

/// Nesting that Go allows.
const DEPTH_MAX: usize = 10_000;

struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
    /// The closing character of each object and list that is open.
    nested: Vec<u8>,
}

/// What may follow in an object or a list.
enum Next {
    Value,
    /// A value, or the end of an empty list.
    FirstItem,
    Key,
    /// A key, or the end of an empty object.
    FirstKey,
    /// A comma or the end.
    Separator,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), String> {
        let mut next = Next::Value;
        loop {
            self.blank();
            next = match next {
                Next::Separator => match self.nested.last() {
                    None => {
                        return if self.at < self.text.len() {
                            self.unexpected("after top-level value")
                        } else {
                            Ok(())
                        };
                    }
                    Some(&end) => self.separator(end)?,
                },
                Next::FirstItem if self.peek() == Some(b']') => self.close(),
                Next::Value | Next::FirstItem => self.value()?,
                Next::FirstKey if self.peek() == Some(b'}') => self.close(),
                Next::Key | Next::FirstKey => self.key()?,
            };
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn unexpected<T>(&self, place: &str) -> Result<T, String> {
        // Where the text ends, Go goes on with a blank, which is only wrong inside numbers, words and escapes.
        let is_inside = place != "in string literal" && (place.starts_with("in ") || place.contains("decimal point"));
        Err(match self.peek() {
            None if is_inside => format!("invalid character ' ' {place}"),
            None => "unexpected end of JSON input".to_owned(),
            Some(byte) => format!("invalid character {} {place}", shown(byte)),
        })
    }

    fn open(&mut self, end: u8) -> Result<(), String> {
        if self.nested.len() >= DEPTH_MAX {
            return self.unexpected("exceeded max depth");
        }
        self.at += 1;
        self.nested.push(end);
        Ok(())
    }

    fn close(&mut self) -> Next {
        self.at += 1;
        self.nested.pop();
        Next::Separator
    }

    fn separator(&mut self, end: u8) -> Result<Next, String> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(if end == b'}' { Next::Key } else { Next::Value })
            }
            Some(byte) if byte == end => Ok(self.close()),
            _ if end == b'}' => self.unexpected("after object key:value pair"),
            _ => self.unexpected("after array element"),
        }
    }

    fn key(&mut self) -> Result<Next, String> {
        if self.peek() != Some(b'"') {
            return self.unexpected("looking for beginning of object key string");
        }
        self.string()?;
        self.blank();
        if self.peek() != Some(b':') {
            return self.unexpected("after object key");
        }
        self.at += 1;
        Ok(Next::Value)
    }

    fn value(&mut self) -> Result<Next, String> {
        match self.peek() {
            Some(b'{') => return self.open(b'}').map(|()| Next::FirstKey),
            Some(b'[') => return self.open(b']').map(|()| Next::FirstItem),
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            _ => return self.unexpected("looking for beginning of value"),
        }
        Ok(Next::Separator)
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for wanted in word.chars() {
            if self.peek() != Some(wanted as u8) {
                return self.unexpected(&format!("in literal {word} (expecting '{wanted}')"));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                None | Some(..0x20) => return self.unexpected("in string literal"),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        self.at += 1;
        match self.peek() {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return self.unexpected("in \\u hexadecimal character escape");
                    }
                    self.at += 1;
                }
            }
            _ => return self.unexpected("in string escape code"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits("in numeric literal")?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self, place: &str) -> Result<(), String> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return self.unexpected(place);
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }
}

/// A byte as Go shows it: taken for a character, in single quotes.
fn shown(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        _ => {
            let quoted = crate::field::quote(&char::from(byte).to_string());
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// The text as Go takes it where serde_json would not: bytes that are no UTF-8, and halves of surrogate pairs, are U+FFFD.
/// `None` if there are none.
pub(super) fn repaired(text: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut changed = false;
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        for _ in chunk.invalid() {
            out.push('\u{fffd}');
            changed = true;
        }
    }
    let mut rest = 0;
    while let Some(found) = out[rest..].find('\\').map(|at| rest + at) {
        let unit = |at: usize| {
            let digits = out.get(at..at + 6)?.strip_prefix("\\u")?;
            u16::from_str_radix(digits, 16).ok()
        };
        rest = match unit(found) {
            Some(0xd800..=0xdbff) if matches!(unit(found + 6), Some(0xdc00..=0xdfff)) => found + 12,
            Some(0xd800..=0xdfff) => {
                out.replace_range(found..found + 6, "\\ufffd");
                changed = true;
                found + 6
            }
            // Whatever is escaped is one character.
            _ => found + 1 + out[found + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_as_go_tells_them() {
        for (text, why) in [
            ("", "unexpected end of JSON input"),
            ("{\"a\":nul", "invalid character ' ' in literal null (expecting 'l')"),
            ("-", "invalid character ' ' in numeric literal"),
            ("nulk", "invalid character 'k' in literal null (expecting 'l')"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u12x4\"", "invalid character 'x' in \\u hexadecimal character escape"),
            ("\"a\tb\"", "invalid character '\\t' in string literal"),
            ("é", "invalid character 'Ã' looking for beginning of value"),
            ("'", "invalid character '\\'' looking for beginning of value"),
        ] {
            assert_eq!(fault(text.as_bytes()).as_deref(), Some(why), "{text}");
        }
        assert_eq!(fault(b"[{\"a\": [1.5e-3, \"x\\u00e9\", true, null, {}, []]}]"), None);
        assert_eq!(fault("[".repeat(20_000).as_bytes()).as_deref(), Some("invalid character '[' exceeded max depth"));
    }

    #[test]
    fn what_go_replaces_is_replaced() {
        assert_eq!(repaired(b"{\"a\":\"x\"}"), None);
        assert_eq!(repaired(b"\"\xff\xfe\"").as_deref(), Some("\"\u{fffd}\u{fffd}\""));
        assert_eq!(
            repaired(br#""\ud800x\\ud800\ud83d\ude00\udc00""#).as_deref(),
            Some(r#""\ufffdx\\ud800\ud83d\ude00\ufffd""#)
        );
    }

    proptest::proptest! {
        /// The two readers agree on what is JSON.
        #[test]
        fn there_is_a_fault_where_serde_json_fails(text in "[\\[\\]{}:,\"\\\\truefalsn0-9.eE+ -]{0,12}") {
            let accepted = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            proptest::prop_assert_eq!(fault(text.as_bytes()).is_none(), accepted, "{}", text);
        }
    }
}
