//! Dates and lengths of time.

use api::time::parse_duration;

/// `2006-01-02`.
pub fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let written = bytes.len() == 10
        && bytes.iter().enumerate().all(|(i, byte)| match i {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    written && text.parse::<jiff::civil::Date>().is_ok()
}

/// RFC 3339, as strictly as upstream has it: there may be anything behind a second `T`.
pub fn is_date_time(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut parts = text.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    is_date(date) && is_time(time)
}

/// `15:04:05.000z`, or with an offset of any size.
fn is_time(time: &str) -> bool {
    let Some((clock, rest)) = time.split_at_checked(8) else { return false };
    let written = clock.bytes().enumerate().all(|(i, byte)| match i {
        2 | 5 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    if !written || &clock[..2] > "23" || &clock[3..5] > "59" || &clock[6..] > "59" {
        return false;
    }
    let zone = |zone: &str| {
        let offset = zone.strip_prefix(['+', '-']).and_then(|offset| offset.split_once(':'));
        zone == "z" || offset.is_some_and(|(h, m)| h.len() == 2 && m.len() == 2 && super::digits(h) && super::digits(m))
    };
    let mut chars = rest.chars();
    // Upstream takes any character for the point.
    let fraction = chars.next().map(|_| chars.as_str()).unwrap_or_default();
    let after = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    zone(rest) || (after.len() < fraction.len() && !rest.starts_with('\n') && zone(after))
}

/// Units, by how they are spelled; the last one of a row is a beginning.
const UNITS: [&[&str]; 8] = [
    &["ns", "nano"],
    &["us", "µs", "micro"],
    &["ms", "milli"],
    &["s", "sec"],
    &["m", "min"],
    &["h", "hr", "hour"],
    &["d", "day"],
    &["w", "wk", "week"],
];

/// Go's durations, and `3 days 5 hours`, in whatever words stand around.
pub fn is_duration(text: &str) -> bool {
    if parse_duration(text).is_ok() {
        return true;
    }
    let mut found = false;
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let word = after.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
        let length = word.find(|c: char| !(c.is_ascii_alphabetic() || c == 'µ')).unwrap_or(word.len());
        rest = after;
        if length == 0 {
            continue;
        }
        if number.parse::<i64>().is_err() {
            return false;
        }
        let unit = word[..length].to_lowercase();
        rest = &word[length..];
        found |= UNITS.iter().any(|names| {
            names.contains(&unit.as_str()) || names.last().is_some_and(|beginning| unit.starts_with(beginning))
        });
    }
    found
}
