//! Regular expressions as Go has them, which is what clients write: read here, told about in Go's words, and matched by the
//! crate `regex` in time that is linear in the text.
//!
//! The languages differ in little things: classes such as `\d` are ASCII, a bracket or two ampersands in a class are
//! themselves, and so is a brace that begins no repetition.

mod class;

use regex::bytes::{Regex, RegexBuilder};

/// States that an expression may need, about.
const WEIGHT_MAX: usize = 50_000;
/// Groups in groups.
const DEPTH_MAX: usize = 100;
/// What Go takes for a number of repetitions, those of what is repeated included.
const REPEAT_MAX: u32 = 1000;
/// Bytes of a compiled expression.
const SIZE_MAX: usize = 16 << 20;
const NEST_MAX: u32 = 500;

/// An expression that was read.
#[derive(Debug)]
pub struct Pattern {
    /// The same for the crate.
    translated: String,
    weight: usize,
}

impl Pattern {
    /// Reads an expression of Go's, or says why it is none.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let mut parser = Parser { text, at: 0, out: String::new(), open: vec![Group::default()], last_repeat: None };
        parser.run().map_err(|(why, part)| format!("error parsing regexp: {why}: `{part}`"))?;
        let weight = parser.open.first().map_or(0, Group::weight);
        Ok(Pattern { translated: parser.out, weight })
    }

    /// How much work it is to compile it; matching a text is at most this for each byte.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Makes it ready for matching.
    pub fn compile(&self) -> Result<Regex, String> {
        let mut builder = RegexBuilder::new(&self.translated);
        builder.size_limit(SIZE_MAX).dfa_size_limit(SIZE_MAX / 8).nest_limit(NEST_MAX);
        builder.build().map_err(|_| format!("error parsing regexp: {LARGE}: `{}`", self.translated))
    }
}

const LARGE: &str = "expression too large";
const DEEP: &str = "expression nests too deeply";
const BAD_RANGE: &str = "invalid character class range";
const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_NAME: &str = "invalid named capture";
const BAD_FLAGS: &str = "invalid or unsupported Perl syntax";
const BAD_COUNT: &str = "invalid repeat count";

/// Why an expression is none, and the part that is to blame.
type Wrong<'p> = (&'static str, &'p str);

/// What stands in an open group.
#[derive(Default)]
struct Group {
    /// The last thing that can be repeated: its weight, and how often the innermost thing in it is repeated.
    last: Option<(usize, u32)>,
    /// The same of all before it.
    before: (usize, u32),
}

impl Group {
    fn push(&mut self, weight: usize, repeated: u32) {
        self.settle();
        self.last = Some((weight, repeated));
    }

    fn settle(&mut self) {
        if let Some((weight, repeated)) = self.last.take() {
            self.before = (self.before.0.saturating_add(weight), self.before.1.max(repeated));
        }
    }

    fn weight(&self) -> usize {
        self.before.0.saturating_add(self.last.map_or(0, |(weight, _)| weight))
    }

    fn repeated(&self) -> u32 {
        self.before.1.max(self.last.map_or(1, |(_, repeated)| repeated))
    }
}

struct Parser<'p> {
    text: &'p str,
    at: usize,
    out: String,
    open: Vec<Group>,
    /// Where the repetition begins that ends here.
    last_repeat: Option<usize>,
}

impl<'p> Parser<'p> {
    fn rest(&self) -> &'p str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn since(&self, start: usize) -> &'p str {
        &self.text[start..self.at]
    }

    fn atom(&mut self, text: &str, weight: usize) {
        self.out.push_str(text);
        if let Some(group) = self.open.last_mut() {
            group.push(weight, 1);
        }
    }

    fn literal(&mut self, c: u32) {
        let text = char::from_u32(c).map_or_else(|| "[^\\x00-\\x{10FFFF}]".to_owned(), one);
        self.atom(&text, 2);
    }

    fn run(&mut self) -> Result<(), Wrong<'p>> {
        while let Some(c) = self.peek() {
            let start = self.at;
            let before = self.last_repeat.take();
            match c {
                '(' => self.group()?,
                '|' => {
                    self.at += 1;
                    self.out.push('|');
                    self.open.iter_mut().last().into_iter().for_each(Group::settle);
                }
                ')' => self.end_group()?,
                '^' | '$' => {
                    self.at += 1;
                    self.atom(if c == '^' { "^" } else { "$" }, 1);
                }
                '.' => {
                    self.at += 1;
                    self.atom(".", 12);
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    self.at += 1;
                    self.repeat(start, (0, if c == '?' { 1 } else { 0 }), before)?;
                }
                '{' => match self.counts() {
                    None => {
                        self.at = start + 1;
                        self.literal('{'.into());
                    }
                    Some((least, most)) => {
                        let wrong = least > REPEAT_MAX || most.is_some_and(|most| most > REPEAT_MAX || most < least);
                        if wrong {
                            return Err((BAD_COUNT, self.since(start)));
                        }
                        self.repeat(start, (least.max(1), most.unwrap_or(least)), before)?;
                    }
                },
                '\\' => self.backslash()?,
                other => {
                    self.at += other.len_utf8();
                    self.literal(other.into());
                }
            }
            let weight = self.open.iter().fold(0_usize, |sum, group| sum.saturating_add(group.weight()));
            if weight > WEIGHT_MAX {
                return Err((LARGE, self.text));
            }
        }
        if self.open.len() > 1 { Err(("missing closing )", self.text)) } else { Ok(()) }
    }

    fn group(&mut self) -> Result<(), Wrong<'p>> {
        if self.rest().starts_with("(?") {
            return self.flags();
        }
        self.at += 1;
        self.open_group("(?:")
    }

    fn open_group(&mut self, text: &str) -> Result<(), Wrong<'p>> {
        if self.open.len() > DEPTH_MAX {
            return Err((DEEP, self.text));
        }
        self.out.push_str(text);
        self.open.push(Group::default());
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), Wrong<'p>> {
        self.at += 1;
        let closed = self.open.pop();
        let (Some(closed), Some(outer)) = (closed, self.open.last_mut()) else {
            return Err(("unexpected )", self.text));
        };
        outer.push(closed.weight().max(1), closed.repeated());
        self.out.push(')');
        Ok(())
    }

    /// A group with a name, or with flags, or flags alone.
    fn flags(&mut self) -> Result<(), Wrong<'p>> {
        let start = self.at;
        if self.eat("(?P<") || self.eat("(?<") {
            let name_at = self.at;
            let Some(end) = self.text[start..].find('>') else { return Err((BAD_NAME, &self.text[start..])) };
            self.at = start + end + 1;
            let name = &self.text[name_at..start + end];
            if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
                return Err((BAD_NAME, self.since(start)));
            }
            return self.open_group("(?:");
        }
        self.at += 2;
        let (mut on, mut off) = (String::new(), String::new());
        let (mut negative, mut seen) = (false, false);
        while let Some(c) = self.next() {
            match c {
                'i' | 'm' | 's' | 'U' => {
                    seen = true;
                    on.retain(|flag| flag != c);
                    off.retain(|flag| flag != c);
                    if negative { off.push(c) } else { on.push(c) }
                }
                '-' if !negative => (negative, seen) = (true, false),
                ':' | ')' if !negative || seen => {
                    let off = if off.is_empty() { off } else { format!("-{off}") };
                    if c == ':' {
                        return self.open_group(&format!("(?{on}{off}:"));
                    }
                    if !on.is_empty() || !off.is_empty() {
                        self.out.push_str(&format!("(?{on}{off})"));
                    }
                    return Ok(());
                }
                _ => break,
            }
        }
        Err((BAD_FLAGS, self.since(start)))
    }

    /// `{2}`, `{2,}` or `{2,3}`; too large numbers are larger than what is allowed.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        self.at += 1;
        let least = self.number()?;
        let most = match self.eat(",") {
            false => Some(least),
            true if self.peek() == Some('}') => None,
            true => Some(self.number()?),
        };
        self.eat("}").then_some((least, most))
    }

    fn number(&mut self) -> Option<u32> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = self.since(start);
        let written = !digits.is_empty() && (digits.len() == 1 || !digits.starts_with('0'));
        written.then(|| digits.parse().unwrap_or(u32::MAX))
    }

    /// A repetition that begins at `start`: the copies that it needs, and how often it counts in Go.
    fn repeat(&mut self, start: usize, (copies, times): (u32, u32), before: Option<usize>) -> Result<(), Wrong<'p>> {
        self.eat("?");
        if let Some(before) = before {
            return Err(("invalid nested repetition operator", self.since(before)));
        }
        let Some(last) = self.open.last_mut().and_then(|group| group.last.as_mut()) else {
            return Err(("missing argument to repetition operator", self.since(start)));
        };
        let (weight, repeated) = *last;
        let repeated = repeated.saturating_mul(times.max(1));
        if times >= 2 && repeated > REPEAT_MAX {
            return Err((BAD_COUNT, self.since(start)));
        }
        let copies = copies.max(times).max(1) as usize;
        *last = (weight.saturating_mul(copies).saturating_add(1), repeated);
        self.out.push_str(self.since(start));
        self.last_repeat = Some(start);
        Ok(())
    }

    fn backslash(&mut self) -> Result<(), Wrong<'p>> {
        for (escape, text) in [("\\A", "\\A"), ("\\b", "(?-u:\\b)"), ("\\B", "(?-u:\\B)"), ("\\z", "\\z")] {
            if self.eat(escape) {
                self.atom(text, 1);
                return Ok(());
            }
        }
        if self.eat("\\Q") {
            let quoted = self.rest();
            let end = quoted.find("\\E");
            quoted[..end.unwrap_or(quoted.len())].chars().for_each(|c| self.literal(c.into()));
            self.at += end.map_or(quoted.len(), |end| end + 2);
            return Ok(());
        }
        if let Some((class, weight)) = self.class_escape()? {
            self.atom(&class, weight);
            return Ok(());
        }
        let c = self.escape()?;
        self.literal(c);
        Ok(())
    }

    /// A character that is escaped, as its code point.
    fn escape(&mut self) -> Result<u32, Wrong<'p>> {
        let start = self.at;
        self.at += 1;
        let Some(c) = self.next() else { return Err(("trailing backslash at end of expression", "")) };
        let octal = |parser: &Self| parser.peek().and_then(|c| c.to_digit(8));
        let found = match c {
            '1'..='7' if octal(self).is_none() => None,
            '0'..='7' => {
                let mut code = c.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    if let Some(digit) = octal(self) {
                        code = code * 8 + digit;
                        self.at += 1;
                    }
                }
                Some(code)
            }
            'x' => self.hexadecimal(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c.into()),
            _ => None,
        };
        found.ok_or_else(|| (BAD_ESCAPE, self.since(start)))
    }

    /// `41` or `{1F600}`.
    fn hexadecimal(&mut self) -> Option<u32> {
        let first = self.next()?;
        if first != '{' {
            let second = self.next()?;
            return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let mut code = None;
        loop {
            match self.next()? {
                '}' => return code,
                digit => code = Some(code.unwrap_or_default() * 16 + digit.to_digit(16)?),
            }
            if code.is_some_and(|code| code > char::MAX.into()) {
                return None;
            }
        }
    }
}

/// A character that means itself.
fn one(c: char) -> String {
    if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\x{{{:x}}}", u32::from(c)) }
}

#[cfg(test)]
mod tests;
