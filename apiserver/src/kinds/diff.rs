//! What changed between two documents, for people: a unified diff of their indented JSON.

use api::Value;
use serde::Serialize;
use std::fmt::Write;

const CONTEXT: usize = 3;
/// Above this many pairs of lines the changed middle is shown as one block.
const MAX_PAIRS: usize = 1 << 20;
const MAX_LINES: usize = 200;

/// The unified diff from `old` to `new`, with three lines of context and at most some hundred lines.
pub fn diff(old: &Value, new: &Value) -> String {
    let (old, new) = (pretty(old), pretty(new));
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let script = script(&old, &new);
    let mut out = String::new();
    for (lines, hunk) in hunks(&script).into_iter().enumerate() {
        if lines > MAX_LINES {
            break;
        }
        write_hunk(&mut out, &script[hunk]);
    }
    out
}

fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    // Writing a tree into memory cannot fail.
    let _ = value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter));
    String::from_utf8(bytes).unwrap_or_default()
}

/// A line of one text or of both, with the 0-based line numbers in both before it.
struct Line<'a> {
    sign: char,
    text: &'a str,
    at: (usize, usize),
}

fn script<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_middle, new_middle) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut lines = Vec::new();
    let mut at = (0, 0);
    let mut push = |sign: char, text| {
        lines.push(Line { sign, text, at });
        at.0 += usize::from(sign != '+');
        at.1 += usize::from(sign != '-');
    };
    old[..head].iter().for_each(|text| push(' ', text));
    middle(old_middle, new_middle, &mut push);
    old[old.len() - tail..].iter().for_each(|text| push(' ', text));
    lines
}

/// The longest common subsequence's edit script, where the texts are short enough for it.
fn middle<'a>(old: &[&'a str], new: &[&'a str], push: &mut impl FnMut(char, &'a str)) {
    if old.len().saturating_mul(new.len()) > MAX_PAIRS {
        old.iter().for_each(|text| push('-', text));
        new.iter().for_each(|text| push('+', text));
        return;
    }
    let width = new.len() + 1;
    let mut common = vec![0u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            push(' ', old[i]);
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            push('-', old[i]);
            i += 1;
        } else {
            push('+', new[j]);
            j += 1;
        }
    }
}

/// The ranges of lines around changes, those that touch made one.
fn hunks(script: &[Line]) -> Vec<std::ops::Range<usize>> {
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    for (i, _) in script.iter().enumerate().filter(|(_, line)| line.sign != ' ') {
        let (start, end) = (i.saturating_sub(CONTEXT), (i + 1 + CONTEXT).min(script.len()));
        match hunks.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            _ => hunks.push(start..end),
        }
    }
    hunks
}

fn write_hunk(out: &mut String, lines: &[Line]) {
    let Some(first) = lines.first() else { return };
    let span = |start: usize, skip: char| match lines.iter().filter(|line| line.sign != skip).count() {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        count => format!("{},{count}", start + 1),
    };
    let _ = writeln!(out, "@@ -{} +{} @@", span(first.at.0, '+'), span(first.at.1, '-'));
    for line in lines.iter().take(MAX_LINES) {
        let _ = writeln!(out, "{}{}", line.sign, line.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_stand_in_their_context() {
        let text = diff(&json!({"a": 1, "b": {"c": 2, "d": 3}}), &json!({"a": 1, "b": {"c": 4, "d": 3}}));
        assert_eq!(
            text,
            "@@ -1,7 +1,7 @@\n {\n  \"a\": 1,\n  \"b\": {\n-  \"c\": 2,\n+  \"c\": 4,\n   \"d\": 3\n  }\n }\n"
        );
    }
}
