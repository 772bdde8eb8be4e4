//! CSV as upstream reads its token file (RFC 4180 with Go's errors): quoted fields may hold commas, quotes and newlines, empty
//! lines are skipped, records may differ in length.

use std::fmt;

/// Where a text stops being CSV. Lines and columns (bytes) count from 1. Holds nothing of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CsvError {
    start_line: usize,
    line: usize,
    column: usize,
    reason: &'static str,
}

const BARE_QUOTE: &str = "bare \" in non-quoted field";
const QUOTE: &str = "extraneous or missing \" in quoted-field";

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.start_line != self.line {
            write!(f, "record on line {}; ", self.start_line)?;
        }
        write!(f, "parse error on line {}, column {}: {}", self.line, self.column, self.reason)
    }
}

/// All records of a text.
pub(super) fn records(text: &str) -> Result<Vec<Vec<String>>, CsvError> {
    let mut lines = text.lines().enumerate();
    let mut records = Vec::new();
    while let Some((index, line)) = lines.next() {
        if !line.is_empty() {
            records.push(record(index + 1, line, &mut lines)?);
        }
    }
    Ok(records)
}

fn record<'a>(
    start_line: usize,
    first: &'a str,
    more: &mut impl Iterator<Item = (usize, &'a str)>,
) -> Result<Vec<String>, CsvError> {
    let (mut line, mut text, mut at) = (start_line, first, 0);
    let mut fields = Vec::new();
    loop {
        let error = |line, at, reason| CsvError { start_line, line, column: at + 1, reason };
        let Some(quoted) = text[at..].strip_prefix('"') else {
            let field = text[at..].split(',').next().unwrap_or_default();
            if let Some(quote) = field.find('"') {
                return Err(error(line, at + quote, BARE_QUOTE));
            }
            fields.push(field.to_owned());
            at += field.len() + 1;
            if at > text.len() {
                return Ok(fields);
            }
            continue;
        };
        at = text.len() - quoted.len();
        let mut field = String::new();
        loop {
            let Some(quote) = text[at..].find('"') else {
                field.push_str(&text[at..]);
                field.push('\n');
                let Some((index, next)) = more.next() else { return Err(error(line, text.len(), QUOTE)) };
                (line, text, at) = (index + 1, next, 0);
                continue;
            };
            field.push_str(&text[at..at + quote]);
            at += quote + 1;
            match text.as_bytes().get(at) {
                Some(b'"') => field.push('"'),
                Some(b',') => break,
                None => {
                    fields.push(field);
                    return Ok(fields);
                }
                Some(_) => return Err(error(line, at - 1, QUOTE)),
            }
            at += 1;
        }
        fields.push(field);
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_upstream_reads_them() {
        let text = "t,u,1,\"a,b\"\r\n\n\"x\"\"y\",\"two\nlines\",\n,\n";
        let wanted = vec![vec!["t", "u", "1", "a,b"], vec!["x\"y", "two\nlines", ""], vec!["", ""]];
        assert_eq!(records(text).unwrap(), wanted);
        assert_eq!(records("").unwrap(), Vec::<Vec<String>>::new());
    }

    #[test]
    fn errors_say_where() {
        for (text, wanted) in [
            ("a,b\"c", "parse error on line 1, column 4: bare \" in non-quoted field"),
            ("ok\n\"a\"b,c", "parse error on line 2, column 3: extraneous or missing \" in quoted-field"),
            ("a,\"b\nc", "record on line 1; parse error on line 2, column 2: extraneous or missing \" in quoted-field"),
        ] {
            assert_eq!(records(text).unwrap_err().to_string(), wanted, "{text}");
        }
    }
}
