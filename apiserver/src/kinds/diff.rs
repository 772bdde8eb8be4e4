//! What changed between two texts, for people: a unified diff that finds the same matches as Python's `difflib`, which
//! upstream's library follows.

use super::internal;
use api::Value;
use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

const CONTEXT: usize = 3;
/// From this many lines on, lines that make up more than a hundredth of the text are no starting point for a match.
const POPULAR_FROM: usize = 200;

/// Above this many lines only what both texts begin and end with counts as equal.
const MAX_LINES: usize = 20_000;

/// What changed from `old` to `new`, which are values (or lists) of `kind`, a type of [`internal`].
pub fn diff(kind: &str, old: &Value, new: &Value) -> String {
    unified(&internal::pretty(kind, old), &internal::pretty(kind, new))
}

/// The unified diff with three lines of context; empty for equal texts.
fn unified(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let mut out = String::new();
    for hunk in hunks(changes(&old, &new), old.len(), new.len()) {
        write_hunk(&mut out, &hunk, &old, &new);
    }
    out
}

/// Lines of the old and of the new text that stand for each other; `same` when they are equal.
#[derive(Clone)]
struct Part {
    old: Range<usize>,
    new: Range<usize>,
    same: bool,
}

/// Both texts as a sequence of equal and of different parts.
fn changes(old: &[&str], new: &[&str]) -> Vec<Part> {
    let mut blocks = matching_blocks(old, new);
    blocks.push((old.len(), new.len(), 0));
    let (mut i, mut j) = (0, 0);
    let mut parts: Vec<Part> = Vec::new();
    for (at_old, at_new, size) in blocks {
        if i < at_old || j < at_new {
            parts.push(Part { old: i..at_old, new: j..at_new, same: false });
        }
        (i, j) = (at_old + size, at_new + size);
        if size > 0 {
            match parts.last_mut().filter(|last| last.same) {
                Some(last) => (last.old.end, last.new.end) = (i, j),
                None => parts.push(Part { old: at_old..i, new: at_new..j, same: true }),
            }
        }
    }
    parts
}

/// `(start in old, start in new, length)` of what both have in common, in order.
fn matching_blocks(old: &[&str], new: &[&str]) -> Vec<(usize, usize, usize)> {
    if old.len().max(new.len()) > MAX_LINES {
        return ends(old, new);
    }
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (j, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(j);
    }
    if new.len() >= POPULAR_FROM {
        places.retain(|_, places| places.len() <= new.len() / 100 + 1);
    }
    let mut blocks = Vec::new();
    let mut queue = vec![(0..old.len(), 0..new.len())];
    while let Some((in_old, in_new)) = queue.pop() {
        let (i, j, size) = longest_match(old, new, &places, in_old.clone(), in_new.clone());
        if size > 0 {
            blocks.push((i, j, size));
            if in_old.start < i && in_new.start < j {
                queue.push((in_old.start..i, in_new.start..j));
            }
            if i + size < in_old.end && j + size < in_new.end {
                queue.push((i + size..in_old.end, j + size..in_new.end));
            }
        }
    }
    blocks.sort_unstable();
    blocks
}

fn ends(old: &[&str], new: &[&str]) -> Vec<(usize, usize, usize)> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    vec![(0, 0, head), (old.len() - tail, new.len() - tail, tail)]
}

/// The longest run of equal lines in two ranges; of several the first.
fn longest_match(
    old: &[&str],
    new: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    in_old: Range<usize>,
    in_new: Range<usize>,
) -> (usize, usize, usize) {
    let (mut best_i, mut best_j, mut size) = (in_old.start, in_new.start, 0);
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for i in in_old.clone() {
        let mut next = HashMap::new();
        for &j in places.get(old[i]).into_iter().flatten().filter(|j| in_new.contains(j)) {
            let length = j.checked_sub(1).and_then(|before| lengths.get(&before)).copied().unwrap_or_default() + 1;
            next.insert(j, length);
            if length > size {
                (best_i, best_j, size) = (i + 1 - length, j + 1 - length, length);
            }
        }
        lengths = next;
    }
    // Popular lines extend a match that others began.
    while best_i > in_old.start && best_j > in_new.start && old[best_i - 1] == new[best_j - 1] {
        (best_i, best_j, size) = (best_i - 1, best_j - 1, size + 1);
    }
    while best_i + size < in_old.end && best_j + size < in_new.end && old[best_i + size] == new[best_j + size] {
        size += 1;
    }
    (best_i, best_j, size)
}

/// The changes with their context, those near each other together.
fn hunks(mut parts: Vec<Part>, old: usize, new: usize) -> Vec<Vec<Part>> {
    if let Some(first) = parts.first_mut().filter(|first| first.same) {
        first.old.start = first.old.start.max(first.old.end.saturating_sub(CONTEXT));
        first.new.start = first.new.start.max(first.new.end.saturating_sub(CONTEXT));
    }
    if let Some(last) = parts.last_mut().filter(|last| last.same) {
        last.old.end = last.old.end.min(last.old.start + CONTEXT).min(old);
        last.new.end = last.new.end.min(last.new.start + CONTEXT).min(new);
    }
    let mut hunks = Vec::new();
    let mut hunk: Vec<Part> = Vec::new();
    for mut part in parts {
        if part.same && part.old.len() > 2 * CONTEXT {
            let tail = part.old.start..(part.old.start + CONTEXT);
            hunk.push(Part { old: tail, new: part.new.start..(part.new.start + CONTEXT), same: true });
            hunks.push(std::mem::take(&mut hunk));
            part.old.start = part.old.end - CONTEXT;
            part.new.start = part.new.end - CONTEXT;
        }
        hunk.push(part);
    }
    hunks.push(hunk);
    hunks.retain(|hunk| hunk.iter().any(|part| !part.same));
    hunks
}

fn write_hunk(out: &mut String, hunk: &[Part], old: &[&str], new: &[&str]) {
    let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { return };
    let span = |range: Range<usize>| match range.len() {
        1 => format!("{}", range.start + 1),
        0 => format!("{},0", range.start),
        length => format!("{},{length}", range.start + 1),
    };
    let (in_old, in_new) = (span(first.old.start..last.old.end), span(first.new.start..last.new.end));
    // Writing into a string cannot fail.
    let _ = writeln!(out, "@@ -{in_old} +{in_new} @@");
    let mut lines = |sign: char, lines: &[&str]| {
        for line in lines {
            let _ = writeln!(out, "{sign}{line}");
        }
    };
    for part in hunk {
        if part.same {
            lines(' ', &old[part.old.clone()]);
        } else {
            lines('-', &old[part.old.clone()]);
            lines('+', &new[part.new.clone()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_stand_in_their_context() {
        assert_eq!(unified("a\nb\nc\nd\ne", "a\nb\nX\nd\ne"), "@@ -1,5 +1,5 @@\n a\n b\n-c\n+X\n d\n e\n");
        assert_eq!(unified("a", "a"), "");
        let old: Vec<String> = (0..30).map(|i| i.to_string()).collect();
        let mut new = old.clone();
        new.remove(25);
        new.insert(3, "x".to_owned());
        let text = unified(&old.join("\n"), &new.join("\n"));
        assert_eq!(
            text,
            "@@ -1,6 +1,7 @@\n 0\n 1\n 2\n+x\n 3\n 4\n 5\n@@ -23,7 +24,6 @@\n 22\n 23\n 24\n-25\n 26\n 27\n 28\n"
        );
    }

    #[test]
    fn frequent_lines_do_not_begin_a_match_in_long_texts() {
        let old: Vec<String> = (0..300).map(|i| if i % 2 == 0 { "null".into() } else { i.to_string() }).collect();
        let mut new = old.clone();
        new[101] = "other".to_owned();
        let text = unified(&old.join("\n"), &new.join("\n"));
        assert!(text.contains("\n-101\n+other\n"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with('@')).count(), 1);
    }
}
