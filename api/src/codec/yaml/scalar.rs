//! How a text is written, so that it is read as a text again; and the order of keys.

use super::emit::{is_break, is_printable};
use serde_json::{Map, Value};
use std::cmp::Ordering;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    /// Line by line.
    Literal,
}

/// What a text has that some styles cannot show.
#[derive(Default)]
struct Looks {
    breaks: bool,
    /// Only escapes can show it.
    special: bool,
    /// Spaces or breaks at either end.
    padded: bool,
    trailing_space: bool,
    /// A space after a break.
    break_space: bool,
    /// A break after a space.
    space_break: bool,
    /// A sign that means something to YAML where it stands.
    indicator: bool,
}

/// The style of a text; one on the line of its value is a key's.
pub(super) fn style_of(text: &str, is_key: bool) -> Style {
    let looks = Looks::of(text);
    let literal = !(looks.trailing_space || looks.space_break || looks.special);
    if text.contains('\n') {
        return if literal && !is_key { Style::Literal } else { Style::Double };
    }
    if !is_text(text) || is_base_60(text) {
        return Style::Double;
    }
    let quoted = looks.padded || looks.break_space || looks.space_break || looks.special || looks.breaks;
    if !quoted && !looks.indicator {
        return Style::Plain;
    }
    if looks.break_space || looks.space_break || looks.special { Style::Double } else { Style::Single }
}

impl Looks {
    fn of(text: &str) -> Looks {
        let is_space = |c: char| c == ' ' || is_break(c);
        let mut looks = Looks {
            padded: text.starts_with(is_space) || text.ends_with(is_space),
            trailing_space: text.ends_with(' '),
            indicator: text.starts_with("---") || text.starts_with("..."),
            ..Looks::default()
        };
        let mut before = None;
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            let ends_word = characters.peek().is_none_or(|next| matches!(next, ' ' | '\t'));
            looks.indicator |= match (before, c) {
                (
                    None,
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`',
                ) => true,
                (None, '?' | '-') | (_, ':') => ends_word,
                (Some(before), '#') => matches!(before, ' ' | '\t') || is_break(before),
                _ => false,
            };
            looks.special |= !is_printable(c);
            looks.breaks |= is_break(c);
            looks.break_space |= c == ' ' && before.is_some_and(is_break);
            looks.space_break |= is_break(c) && before == Some(' ');
            before = Some(c);
        }
        looks
    }
}

/// Whether YAML 1.1 reads this as a text where it is not quoted.
fn is_text(text: &str) -> bool {
    const WORDS: [&str; 39] = [
        "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n",
        "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan", ".NaN", ".NAN", ".inf", ".Inf",
        ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
    ];
    match text.as_bytes().first() {
        _ if WORDS.contains(&text) => false,
        Some(b'.') => !is_yaml_float(text),
        Some(b'0'..=b'9' | b'+' | b'-') => !(is_time(text) || is_number(&text.replace('_', ""))),
        _ => true,
    }
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    is_integer(unsigned, text.starts_with('-'), text.starts_with('+')) || is_yaml_float(unsigned)
}

/// An integer of 64 bits in one of Go's notations.
fn is_integer(digits: &str, negative: bool, signed: bool) -> bool {
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let most = match (negative, signed) {
        (true, _) => 1 << 63,
        (_, true) => (1 << 63) - 1,
        _ => u128::from(u64::MAX),
    };
    is_plain && u128::from_str_radix(digits, radix).is_ok_and(|number| number <= most)
}

/// Digits, a fraction and an exponent; one of the first two is there.
fn is_yaml_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(text);
    let rest = &text[whole..];
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => (digits(rest), &rest[digits(rest)..]),
        None => (0, rest),
    };
    let exponent = rest.strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
    let is_whole = match exponent {
        Some(exponent) => !exponent.is_empty() && digits(exponent) == exponent.len(),
        None => rest.is_empty(),
    };
    // What is too large for a float is a text.
    whole + fraction > 0 && is_whole && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `190:20:30`, which YAML 1.1 takes for a number.
fn is_base_60(text: &str) -> bool {
    let Some((whole, rest)) = text.strip_prefix(['+', '-']).unwrap_or(text).split_once(':') else { return false };
    let (parts, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let is_part = |part: &str| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    whole.starts_with(|c: char| c.is_ascii_digit())
        && whole.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
        && parts.split(':').all(is_part)
        && fraction.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
}

/// A date, or a date and a time.
fn is_time(text: &str) -> bool {
    if text.len() < 8 || text.as_bytes()[4] != b'-' || !text.as_bytes()[..4].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let mut parts = date.split('-').map(|part| two_digits(part).or_else(|| (part.len() == 4).then_some(0)));
    let (Some(Some(_)), Some(Some(month)), Some(Some(day)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let year = text[..4].parse().unwrap_or_default();
    let Ok(month) = i8::try_from(month) else { return false };
    let is_date = i8::try_from(day).is_ok_and(|day| jiff::civil::Date::new(year, month, day).is_ok());
    is_date && time.is_none_or(is_clock)
}

/// `T1:02:03.5Z` or ` 1:02:03.5`.
fn is_clock(text: &str) -> bool {
    let zoned = !text.starts_with(' ');
    let text = &text[1..];
    let zone = text.find(['Z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone);
    let is_zone = match zone {
        "" => !zoned,
        "Z" => zoned,
        _ => {
            zoned
                && zone.len() == 6
                && zone.as_bytes()[3] == b':'
                && [&zone[1..3], &zone[4..]].into_iter().all(|part| two_digits(part).is_some())
        }
    };
    let (clock, fraction) = clock.split_once(['.', ',']).unwrap_or((clock, "0"));
    let limits = [23, 59, 59];
    let mut parts = clock.split(':');
    let fits = limits.iter().all(|limit| parts.next().and_then(two_digits).is_some_and(|part| part <= *limit));
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    is_zone && fits && parts.next().is_none() && is_fraction
}

fn two_digits(text: &str) -> Option<u8> {
    let is_short = matches!(text.len(), 1 | 2) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_short { text.parse().ok() } else { None }
}

/// A map's keys in the order that people expect: letters last, and numbers by their size.
pub(super) fn sorted_keys(map: &Map<String, Value>) -> Vec<&str> {
    let mut keys: Vec<&str> = map.keys().map(String::as_str).collect();
    sort(&mut keys);
    keys
}

/// Sorts by [`compare`], which is no order: of some keys each is before the next and the last before the first. Go's sort gives
/// them in some order then; the standard library's would panic.
fn sort(keys: &mut Vec<&str>) {
    // Go inserts, too, while there are few.
    const FEW: usize = 12;
    if keys.len() <= FEW {
        for end in 1..keys.len() {
            let mut at = end;
            while at > 0 && compare(keys[at], keys[at - 1]) == Ordering::Less {
                keys.swap(at, at - 1);
                at -= 1;
            }
        }
        return;
    }
    let mut right = keys.split_off(keys.len() / 2);
    let mut left = std::mem::take(keys);
    sort(&mut left);
    sort(&mut right);
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if compare(b, a) == Ordering::Less { right.next() } else { left.next() };
        keys.extend(next);
    }
    keys.extend(left.chain(right));
}

fn compare(a: &str, b: &str) -> Ordering {
    // The first difference decides; only what is before and after it is looked at.
    let differs = a.char_indices().zip(b.chars()).find(|((_, a), b)| a != b);
    let Some(((at, x), y)) = differs else { return a.len().cmp(&b.len()) };
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Digits before the difference belong to the same number: a zero there makes the other one's digits count.
    let before = a[..at].bytes().rev().take_while(u8::is_ascii_digit);
    let begun = (x == '0' || y == '0') && before.into_iter().any(|digit| digit != b'0');
    let number = |text: &str| {
        let digits = text.bytes().take_while(u8::is_ascii_digit);
        digits.fold((i64::from(begun), 0), |(number, count), digit| {
            (number.wrapping_mul(10).wrapping_add(i64::from(digit - b'0')), count + 1)
        })
    };
    let ((x_number, x_digits), (y_number, y_digits)): ((i64, usize), (i64, usize)) =
        (number(&a[at..]), number(&b[at..]));
    x_number.cmp(&y_number).then(x_digits.cmp(&y_digits)).then(x.cmp(&y))
}
