//! Whether a text is a regular expression, in the syntax of RE2. Nothing is matched here. What is in doubt is one.

/// How often something may be repeated.
const MAX_REPEAT: u32 = 1_000;

/// Whether a pattern can be compiled.
pub fn is_valid(pattern: &str) -> bool {
    Reader { rest: pattern, open: 0, can_repeat: false, is_repeated: false }.read().is_some()
}

struct Reader<'a> {
    rest: &'a str,
    open: usize,
    /// Whether there is something that a sign of repetition can refer to.
    can_repeat: bool,
    /// Whether the last thing was one.
    is_repeated: bool,
}

impl Reader<'_> {
    fn read(&mut self) -> Option<()> {
        while let Some(char) = self.next() {
            match char {
                '(' => self.group()?,
                ')' => {
                    self.open = self.open.checked_sub(1)?;
                    self.operand();
                }
                '|' => (self.can_repeat, self.is_repeated) = (false, false),
                '*' | '+' | '?' => self.repeat()?,
                '{' => match self.count() {
                    Some((min, max)) => {
                        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || max < min) {
                            return None;
                        }
                        self.repeat()?;
                    }
                    None => self.operand(),
                },
                '[' => self.class()?,
                '\\' if self.rest.starts_with('Q') => {
                    let quoted = &self.rest[1..];
                    self.rest = quoted.split_once("\\E").map_or("", |(_, rest)| rest);
                    self.operand();
                }
                '\\' => self.escape(false).map(|_| self.operand())?,
                _ => self.operand(),
            }
        }
        (self.open == 0).then_some(())
    }

    fn next(&mut self) -> Option<char> {
        let char = self.rest.chars().next()?;
        self.rest = &self.rest[char.len_utf8()..];
        Some(char)
    }

    fn skip(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn operand(&mut self) {
        (self.can_repeat, self.is_repeated) = (true, false);
    }

    fn repeat(&mut self) -> Option<()> {
        if !self.can_repeat || self.is_repeated {
            return None;
        }
        self.skip("?");
        self.is_repeated = true;
        Some(())
    }

    /// `min}`, `min,}` or `min,max}`; anything else is text.
    fn count(&mut self) -> Option<(u32, Option<u32>)> {
        let (range, rest) = self.rest.split_once('}')?;
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().unwrap_or(u32::MAX))
        };
        let counted = match range.split_once(',') {
            None => number(range).map(|count| (count, Some(count)))?,
            Some((min, "")) => (number(min)?, None),
            Some((min, max)) => (number(min)?, Some(number(max)?)),
        };
        self.rest = rest;
        Some(counted)
    }

    fn group(&mut self) -> Option<()> {
        self.open += 1;
        if self.skip("?") {
            let is_named = self.skip("P<") || self.skip("<");
            let end = self.rest.find(if is_named { &['>'][..] } else { &[')', ':'] })?;
            let (head, rest) = self.rest.split_at(end);
            if is_named {
                let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
                if head.is_empty() || !head.chars().all(is_name) {
                    return None;
                }
            } else if !head.chars().all(|flag| "imsU-".contains(flag)) || head.matches('-').count() > 1 {
                return None;
            }
            if rest.starts_with(')') {
                // Flags for what follows in the group around.
                if head.is_empty() {
                    return None;
                }
                self.open -= 1;
            }
            self.rest = &rest[1..];
        }
        (self.can_repeat, self.is_repeated) = (false, false);
        Some(())
    }

    /// What follows a backslash: the character that it stands for, if it stands for one.
    fn escape(&mut self, is_class: bool) -> Option<Option<char>> {
        let char = self.next()?;
        Some(match char {
            'p' | 'P' => {
                if self.skip("{") {
                    let (name, rest) = self.rest.split_once('}')?;
                    self.rest = (!name.trim_start_matches('^').is_empty()).then_some(rest)?;
                } else {
                    self.next()?;
                }
                None
            }
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => None,
            'A' | 'b' | 'B' | 'z' | 'C' if !is_class => None,
            'a' => Some('\u{7}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            'x' => Some(self.hex()?),
            '1'..='7' if !self.rest.starts_with(|next: char| ('0'..='7').contains(&next)) => return None,
            '0'..='7' => {
                let mut value = char.to_digit(8)?;
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|next| next.to_digit(8)) else { break };
                    value = value * 8 + digit;
                    self.next();
                }
                char::from_u32(value)
            }
            _ if char.is_ascii() && !char.is_ascii_alphanumeric() => Some(char),
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<char> {
        let digits = if self.skip("{") {
            let (digits, rest) = self.rest.split_once('}')?;
            self.rest = rest;
            digits
        } else {
            let digits = self.rest.get(..2)?;
            self.rest = &self.rest[2..];
            digits
        };
        let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        char::from_u32(u32::from_str_radix(is_hex.then_some(digits)?, 16).ok()?)
    }

    fn class(&mut self) -> Option<()> {
        self.skip("^");
        let mut is_first = true;
        loop {
            if self.rest.starts_with(']') && !is_first {
                self.skip("]");
                self.operand();
                return Some(());
            }
            is_first = false;
            if let Some(named) = self.rest.strip_prefix("[:")
                && let Some((name, rest)) = named.split_once(":]")
            {
                const NAMES: [&str; 14] = [
                    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
                    "upper", "word", "xdigit",
                ];
                NAMES.contains(&name.trim_start_matches('^')).then_some(())?;
                self.rest = rest;
                continue;
            }
            let Some(low) = self.class_char()? else { continue };
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.skip("-");
                let high = self.class_char()??;
                (low <= high).then_some(())?;
            }
        }
    }

    fn class_char(&mut self) -> Option<Option<char>> {
        match self.next()? {
            '\\' => self.escape(true),
            char => Some(Some(char)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn patterns_are_told_from_other_texts() {
        let patterns = [
            "",
            "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            "a|b",
            "(?i)a(?:b)(?P<n>c)(?<m>d)",
            r"\d+\.\p{Greek}\pL\x41\x{1F600}",
            "a{2}",
            "a{2,}?",
            "a{,2}",
            "a{x",
            "[]a]",
            "[^]]",
            "[[:alpha:]-]",
            r"[\w\-.]",
            r"\Q(\E",
            "a*?b+?c??",
            "^*",
            r"\012\01",
            "[a-]",
            "[+--]",
            r"^\$\{.*\}$",
            "(a|)",
        ];
        for pattern in patterns {
            assert!(is_valid(pattern), "{pattern}");
        }
        let others = [
            "(",
            ")",
            "[",
            "[a",
            "*",
            "a**",
            "(*)",
            "a|*",
            "(?=a)",
            "(?<!a)",
            "a{1001}",
            "a{2,1}",
            r"\",
            r"\1",
            r"\y",
            "[b-a]",
            "[[:alfa:]]",
            "(?P<>a)",
            r"\x4",
            r"[\b]",
            "(?)",
            r"\8",
            "a{2}{3}",
        ];
        for pattern in others {
            assert!(!is_valid(pattern), "{pattern}");
        }
    }
}
