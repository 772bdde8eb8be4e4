//! A single address of electronic mail, with or without a name, as Go's `net/mail` reads it.

use std::net::IpAddr;

/// What is left to read.
struct Reader<'t>(&'t str);

/// `a@b.io`, `Ann <a@b.io>`, or a group of one.
pub fn is_email(text: &str) -> bool {
    let mut reader = Reader(text);
    reader.address(true) == Some(1) && reader.skip_comments() && reader.0.is_empty()
}

/// What may stand in an atom.
fn is_atom(c: char) -> bool {
    is_visible(c) && !"()<>[]:;@\\,\"".contains(c)
}

fn is_visible(c: char) -> bool {
    !c.is_ascii() || c.is_ascii_graphic()
}

impl<'t> Reader<'t> {
    fn eat(&mut self, c: char) -> bool {
        let after = self.0.strip_prefix(c);
        self.0 = after.unwrap_or(self.0);
        after.is_some()
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// Whether the comments here end.
    fn skip_comments(&mut self) -> bool {
        self.skip_space();
        while self.eat('(') {
            if !self.comment() {
                return false;
            }
            self.skip_space();
        }
        true
    }

    /// The rest of a comment; comments may be in it.
    fn comment(&mut self) -> bool {
        let mut depth = 1;
        let mut chars = self.0.chars();
        while depth > 0 {
            match chars.next() {
                None => break,
                Some('\\') => _ = chars.next(),
                Some('(') => depth += 1,
                Some(')') => depth -= 1,
                Some(_) => {}
            }
        }
        self.0 = chars.as_str();
        depth == 0
    }

    /// How many addresses there are: one, or those of a group.
    fn address(&mut self, group: bool) -> Option<usize> {
        self.skip_space();
        if self.specification().is_some() {
            self.skip_space();
            return if self.eat('(') { self.comment().then_some(1) } else { Some(1) };
        }
        if !self.0.starts_with('<') {
            self.phrase()?;
        }
        self.skip_space();
        if group && self.eat(':') {
            return self.group();
        }
        (self.eat('<') && self.specification().is_some() && self.eat('>')).then_some(1)
    }

    fn group(&mut self) -> Option<usize> {
        self.skip_space();
        if self.eat(';') {
            return self.skip_comments().then_some(0);
        }
        let mut count = 0;
        loop {
            self.skip_space();
            count += self.address(false)?;
            if !self.skip_comments() {
                return None;
            }
            if self.eat(';') {
                return self.skip_comments().then_some(count);
            }
            if !self.eat(',') {
                return None;
            }
        }
    }

    /// `a@b.io`. Where there is none, nothing is read.
    fn specification(&mut self) -> Option<()> {
        let mut reader = Reader(self.0);
        reader.skip_space();
        if reader.0.starts_with('"') {
            reader.quoted().filter(|quoted| !quoted.is_empty())?;
        } else {
            reader.strict_atom()?;
        }
        if !reader.eat('@') {
            return None;
        }
        reader.skip_space();
        if reader.eat('[') {
            let (literal, after) = reader.0.split_once(']')?;
            literal.parse::<IpAddr>().ok()?;
            reader.0 = after;
        } else {
            reader.strict_atom()?;
        }
        self.0 = reader.0;
        Some(())
    }

    /// Words; at least one.
    fn phrase(&mut self) -> Option<()> {
        let mut words = 0;
        loop {
            if words > 0 && !self.skip_comments() {
                return None;
            }
            self.skip_space();
            let word = if self.0.starts_with('"') { self.quoted().map(drop) } else { self.atom().map(drop) };
            match word {
                Some(()) => words += 1,
                None => return (words > 0).then_some(()),
            }
        }
    }

    fn atom(&mut self) -> Option<&'t str> {
        let end = self.0.find(|c| !is_atom(c)).unwrap_or(self.0.len());
        let (atom, after) = self.0.split_at(end);
        self.0 = after;
        (!atom.is_empty()).then_some(atom)
    }

    /// One with something around each of its dots.
    fn strict_atom(&mut self) -> Option<()> {
        let atom = self.atom()?;
        atom.split('.').all(|part| !part.is_empty()).then_some(())
    }

    /// What stands in quotes, as it is written. Where they do not end, nothing is read.
    fn quoted(&mut self) -> Option<&'t str> {
        let inner = self.0.strip_prefix('"')?;
        let mut escaped = false;
        for (at, c) in inner.char_indices() {
            match c {
                ' ' | '\t' => escaped = false,
                c if !is_visible(c) => return None,
                '"' if !escaped => {
                    self.0 = &inner[at + 1..];
                    return Some(&inner[..at]);
                }
                c => escaped = c == '\\' && !escaped,
            }
        }
        None
    }
}
