//! What is wrong with an expression, as clients are told: where, why, and the line with a mark below.

use std::fmt::Write;

/// One fault. Lines count from one and columns from zero, in characters; one that concerns no place in particular has
/// neither.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub at: Option<(usize, usize)>,
    pub message: String,
}

/// So many are told, and how many more there are.
pub const MAX_PROBLEMS: usize = 100;
/// A longer line is not repeated.
const MAX_LINE: usize = 16_384;

impl Problem {
    pub fn new(at: (usize, usize), message: impl Into<String>) -> Problem {
        Problem { at: Some(at), message: message.into() }
    }

    /// Of the whole expression.
    pub fn of_all(message: impl Into<String>) -> Problem {
        Problem { at: None, message: message.into() }
    }
}

/// The text of an expression, by lines.
pub struct Source<'a> {
    lines: Vec<&'a str>,
}

impl<'a> Source<'a> {
    pub fn new(text: &'a str) -> Source<'a> {
        Source { lines: if text.is_empty() { Vec::new() } else { text.split('\n').collect() } }
    }

    /// The line and the column at an offset, which counts bytes.
    pub fn place(&self, offset: usize) -> (usize, usize) {
        let mut rest = offset;
        for (i, line) in self.lines.iter().enumerate() {
            if rest <= line.len() {
                return self.place_in(i + 1, rest);
            }
            rest -= line.len() + 1;
        }
        (self.lines.len().max(1), rest)
    }

    /// The same of a line and a number of bytes in it.
    pub fn place_in(&self, line: usize, bytes: usize) -> (usize, usize) {
        let before = self.line(line).and_then(|text| text.get(..bytes));
        (line, before.map_or(bytes, |before| before.chars().count()))
    }

    /// The offset of a line and column, in bytes.
    pub fn offset(&self, line: usize, column: usize) -> usize {
        let before: usize = self.lines.iter().take(line.saturating_sub(1)).map(|line| line.len() + 1).sum();
        let text = self.line(line).unwrap_or_default();
        before + text.char_indices().nth(column).map_or(text.len(), |(at, _)| at)
    }

    pub fn line(&self, number: usize) -> Option<&'a str> {
        self.lines.get(number.checked_sub(1)?).copied()
    }

    /// All that was found, in the order of the text.
    pub fn tell(&self, mut problems: Vec<Problem>) -> String {
        problems.sort_by_key(|problem| problem.at);
        let mut told: Vec<String> = problems.iter().take(MAX_PROBLEMS).map(|problem| self.tell_one(problem)).collect();
        if let Some(more @ 1..) = problems.len().checked_sub(MAX_PROBLEMS) {
            told.push(format!("{more} more errors were truncated"));
        }
        told.join("\n")
    }

    fn tell_one(&self, problem: &Problem) -> String {
        let Some((line, column)) = problem.at else {
            return format!("ERROR: <input>:-1:0: {}", problem.message);
        };
        // Where there is no text, there is no first column.
        let shown = if self.lines.is_empty() { column } else { column + 1 };
        let mut told = format!("ERROR: <input>:{line}:{shown}: {}", problem.message);
        let Some(text) = self.line(line).filter(|text| text.len() <= MAX_LINE) else { return told };
        let _ = write!(told, "\n | {}\n | ", text.replace('\t', " "));
        let is_wide = |char: Option<char>| char.is_some_and(|char| !char.is_ascii());
        let mut chars = text.chars();
        for _ in 0..column.min(text.len()) {
            match chars.next() {
                Some(char) => told.push(if is_wide(Some(char)) { '\u{ff0e}' } else { '.' }),
                None => break,
            }
        }
        told.push(if is_wide(chars.next()) { '\u{ff3e}' } else { '^' });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_shown_below_its_line() {
        let source = Source::new("'日本' ==\n\t日");
        assert_eq!(source.place(13), (2, 1));
        assert_eq!(
            source.tell(vec![Problem::new((2, 1), "b"), Problem::new((1, 3), "a"), Problem::of_all("c")]),
            "ERROR: <input>:-1:0: c\nERROR: <input>:1:4: a\n | '日本' ==\n | .．．^\nERROR: <input>:2:2: b\n |  日\n | .＾"
        );
    }
}
