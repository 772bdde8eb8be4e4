//! How deep an expression is nested, before it is parsed: a parser recurses. Counts as upstream's does, in one pass and
//! without recursion; text that is no expression gets some number or other.

/// How deep expressions may stand within each other, and how long chains like `a.b.c` or `1 + 1 + 1` may be.
pub const MAX: usize = 250;

/// Refuses what is nested too deep.
pub fn check(text: &str) -> Result<(), String> {
    let mut levels = vec![Level::default()];
    // Expressions that have begun and not ended.
    let mut open = 1;
    for token in (Tokens { text }) {
        if matches!(token, Token::Close) {
            if levels.len() > 1 {
                let inner = levels.pop().unwrap_or_default();
                open -= 1 + inner.otherwise;
                if let Some(level) = levels.last_mut() {
                    level.closed(inner);
                }
            }
            continue;
        }
        let Some(level) = levels.last_mut() else { break };
        match token {
            Token::Operand => level.has_operand = true,
            Token::Member => level.member(),
            Token::Open(bracket) => {
                let level = Level { opened_by: level.opened(bracket), ..Level::default() };
                levels.push(level);
                open += 1;
            }
            Token::Binary(precedence) => level.operator(precedence),
            Token::Logical => level.end_chains(),
            Token::Question if level.has_operand => level.choose(),
            Token::Question | Token::Close => {}
            Token::Colon if level.undecided > 0 => {
                level.end_chains();
                level.undecided -= 1;
                level.otherwise += 1;
                open += 1;
            }
            Token::Colon | Token::Comma => {
                open -= level.otherwise;
                level.end_element();
            }
        }
        if open > MAX {
            return Err(format!("expression recursion limit exceeded: {MAX}"));
        }
    }
    let deepest = levels.into_iter().map(Level::depth).max().unwrap_or_default();
    if deepest > MAX { Err("max recursion depth exceeded".to_owned()) } else { Ok(()) }
}

/// What waits for its end.
#[derive(Debug, PartialEq)]
pub enum Open {
    Nothing,
    /// `a ? b`, outside of all brackets.
    Choice,
    Bracket,
}

/// What is open where the text is as far as an offset.
pub fn open_before(text: &str, offset: usize) -> Open {
    let (mut brackets, mut choices) = (0_usize, 0_usize);
    let mut has_operand = false;
    for token in (Tokens { text: text.get(..offset).unwrap_or(text) }) {
        match token {
            Token::Open(_) => brackets += 1,
            Token::Close => brackets = brackets.saturating_sub(1),
            Token::Question if brackets == 0 && has_operand => choices += 1,
            Token::Colon if brackets == 0 => choices = choices.saturating_sub(1),
            _ => {}
        }
        has_operand = matches!(token, Token::Operand | Token::Close);
    }
    match (brackets, choices) {
        (0, 0) => Open::Nothing,
        (0, _) => Open::Choice,
        _ => Open::Bracket,
    }
}

/// What stands between two brackets, as far as it was read.
#[derive(Default)]
struct Level {
    opened_by: OpenedBy,
    /// The depth of the deepest element or alternative that is complete.
    deepest: usize,
    /// Choices of the current element, those of them that wait for a colon, and those that had theirs.
    choices: usize,
    undecided: usize,
    otherwise: usize,
    /// Comparisons, sums and products: each is a chain of the next.
    chains: [Chain; 3],
    has_operand: bool,
    operand: usize,
    is_member: bool,
}

/// Operands with operators between them. The first ones are deepest, as `a + b + c` is `(a + b) + c`.
#[derive(Default, Clone, Copy)]
struct Chain {
    operators: usize,
    /// The depth without the operators that follow.
    depth: isize,
}

#[derive(Default, Clone, Copy)]
enum OpenedBy {
    #[default]
    Bracket,
    /// A call of a member, or an index: one more than what is within.
    Selection,
    /// The fields of an object, whose name may have dots.
    Object,
}

impl Chain {
    fn add(&mut self, operand: usize) {
        let below = operand as isize - (self.operators as isize - 1).max(0);
        self.depth = if self.operators == 0 { operand as isize } else { self.depth.max(below) };
    }

    fn end(&mut self) -> usize {
        let Chain { operators, depth } = std::mem::take(self);
        (operators as isize + depth).max(0) as usize
    }
}

impl Level {
    fn member(&mut self) {
        if self.has_operand {
            self.operand += 1;
            self.is_member = true;
        }
    }

    fn opened(&self, bracket: u8) -> OpenedBy {
        match bracket {
            b'(' if self.has_operand && self.is_member => OpenedBy::Selection,
            b'[' if self.has_operand => OpenedBy::Selection,
            b'{' if self.has_operand => OpenedBy::Object,
            _ => OpenedBy::Bracket,
        }
    }

    fn closed(&mut self, inner: Level) {
        let opened_by = inner.opened_by;
        let depth = inner.depth();
        self.operand = match opened_by {
            OpenedBy::Bracket => self.operand.max(depth),
            OpenedBy::Selection if self.is_member => self.operand.max(depth + 1),
            OpenedBy::Selection => self.operand.max(depth) + 1,
            OpenedBy::Object => depth,
        };
        (self.has_operand, self.is_member) = (true, false);
    }

    /// An operator stands after an operand; without one it is a sign.
    fn operator(&mut self, precedence: usize) {
        if self.has_operand {
            self.end_operand(precedence);
            self.chains[precedence].operators += 1;
        }
    }

    /// Adds the operand to the chains that end before an operator of this precedence.
    fn end_operand(&mut self, precedence: usize) {
        let mut operand = std::mem::take(&mut self.operand);
        (self.has_operand, self.is_member) = (false, false);
        for chain in self.chains[precedence..].iter_mut().skip(1).rev() {
            chain.add(operand);
            operand = chain.end();
        }
        self.chains[precedence].add(operand);
    }

    fn end_chains(&mut self) {
        self.end_operand(0);
        self.deepest = self.deepest.max(self.choices + self.chains[0].end());
    }

    fn choose(&mut self) {
        self.choices += 1;
        self.undecided += 1;
        self.end_chains();
    }

    fn end_element(&mut self) {
        self.end_chains();
        (self.choices, self.undecided, self.otherwise) = (0, 0, 0);
    }

    fn depth(mut self) -> usize {
        self.end_element();
        self.deepest
    }
}

enum Token {
    Operand,
    Member,
    Open(u8),
    Close,
    /// A comparison (0), a sum (1) or a product (2).
    Binary(usize),
    Logical,
    Question,
    Colon,
    Comma,
}

struct Tokens<'a> {
    text: &'a str,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            self.text = self.text.trim_start();
            if let Some(comment) = self.text.strip_prefix("//") {
                self.text = &comment[comment.find('\n').unwrap_or(comment.len())..];
                continue;
            }
            let first = self.text.chars().next()?;
            if let Some(token) = self.operand(first) {
                return Some(token);
            }
            let two = self.text.get(..2).unwrap_or_default();
            let (length, token) = match (two, first) {
                ("==" | "!=" | "<=" | ">=", _) => (2, Some(Token::Binary(0))),
                ("&&" | "||", _) => (2, Some(Token::Logical)),
                (".?", _) => (2, Some(Token::Member)),
                (_, '<' | '>') => (1, Some(Token::Binary(0))),
                (_, '+' | '-') => (1, Some(Token::Binary(1))),
                (_, '*' | '/' | '%') => (1, Some(Token::Binary(2))),
                (_, '.') => (1, Some(Token::Member)),
                (_, '?') => (1, Some(Token::Question)),
                (_, ':') => (1, Some(Token::Colon)),
                (_, ',') => (1, Some(Token::Comma)),
                (_, '(' | '[' | '{') => (1, Some(Token::Open(first as u8))),
                (_, ')' | ']' | '}') => (1, Some(Token::Close)),
                _ => (first.len_utf8(), None),
            };
            self.text = &self.text[length..];
            if token.is_some() {
                return token;
            }
        }
    }
}

impl Tokens<'_> {
    /// A word, a number or a string.
    fn operand(&mut self, first: char) -> Option<Token> {
        let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
        if first.is_ascii_digit() {
            self.number();
            return Some(Token::Operand);
        }
        let length = self.text.find(|char| !is_word(char)).unwrap_or(self.text.len());
        let (word, rest) = self.text.split_at(length);
        let is_prefix = word.len() <= 2 && word.bytes().all(|byte| b"rRbB".contains(&byte));
        if is_prefix && rest.starts_with(['"', '\'']) {
            self.text = after_string(rest, word.to_ascii_lowercase().contains('r'));
            return Some(Token::Operand);
        }
        if let Some(quoted) = self.text.strip_prefix('`') {
            self.text = &quoted[quoted.find('`').map_or(quoted.len(), |end| end + 1)..];
            return Some(Token::Operand);
        }
        self.text = rest;
        match word {
            "" => None,
            "in" => Some(Token::Binary(0)),
            _ => Some(Token::Operand),
        }
    }

    fn number(&mut self) {
        let is_part = |char: char| char.is_ascii_alphanumeric();
        let length = |text: &str| text.find(|char| !is_part(char)).unwrap_or(text.len());
        let whole = length(self.text);
        let fraction =
            self.text[whole..].strip_prefix('.').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        self.text = match fraction {
            Some(fraction) => &fraction[length(fraction)..],
            None => &self.text[whole..],
        };
    }
}

/// The text after the string at its beginning.
fn after_string(text: &str, is_raw: bool) -> &str {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    let end = if text.starts_with(&triple) { &*triple } else { quote };
    let mut rest = &text[end.len()..];
    loop {
        let Some(at) = rest.find(['\\', '\n', '"', '\'']) else { return "" };
        let found = &rest[at..];
        if let Some(after) = found.strip_prefix(end) {
            return after;
        }
        let skipped = match found.chars().next() {
            Some('\\') if !is_raw => 1 + found[1..].chars().next().map_or(0, char::len_utf8),
            Some('\n') if end.len() == 1 => return found,
            _ => 1,
        };
        rest = &found[skipped..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_deep(text: String) -> bool {
        check(&text).is_err()
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        for (open, inner, close, max) in [
            ("(", "1", ")", 249),
            ("[", "1", "]", 249),
            ("f(", "1", ")", 249),
            ("{a:", "1", "}", 249),
            ("a?b:", "1", "", 249),
            ("", "1", "+1", 250),
            ("", "a", ".b", 250),
            ("", "a", ".b()", 250),
            ("", "a", "[0]", 250),
            ("", "1", "*1", 250),
        ] {
            let nested = |depth| open.repeat(depth) + inner + &close.repeat(depth);
            assert!(!is_deep(nested(max)), "{open}{close}");
            assert!(is_deep(nested(max + 1)), "{open}{close}");
        }
    }

    #[test]
    fn what_is_only_long_is_not_deep() {
        for part in
            ["a && ", "a.b.c(d) == 'x(((' || ", "!", "[1 * 2 + 3, {'a': b ? c : d}].f() && ", "x - 1 > 2 && // (\n"]
        {
            assert!(!is_deep(part.repeat(1000) + "true"), "{part}");
        }
        assert!(!is_deep(format!("[{}]", "a ? b : c, ".repeat(1000))));
        assert!(!is_deep(format!("{{{}}}", "'''a' \\''' ? b : c: d, ".repeat(1000))));
    }
}
