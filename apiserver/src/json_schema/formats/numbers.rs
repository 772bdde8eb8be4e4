//! Numbers with a digit that checks the others.

use super::digits;

fn digit(byte: u8) -> u32 {
    u32::from(byte - b'0')
}

pub fn is_credit_card(text: &str) -> bool {
    let number: String = text.chars().filter(char::is_ascii_digit).collect();
    let prefix = |length: usize| number.get(..length).and_then(|prefix| prefix.parse::<u32>().ok()).unwrap_or_default();
    let issued = match number.len() {
        13 => prefix(1) == 4,
        14 => matches!(prefix(3), 300..=305) || matches!(prefix(2), 36 | 38),
        15 => matches!(prefix(2), 34 | 37) || matches!(prefix(4), 2131 | 1800),
        16 => prefix(1) == 4 || matches!(prefix(2), 51..=55) || prefix(4) == 6011 || prefix(2) == 65 || prefix(2) == 35,
        _ => false,
    };
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, byte)| match digit(byte) * if i % 2 == 0 { 1 } else { 2 } {
            large @ 10.. => large - 9,
            small => small,
        })
        .sum();
    issued && sum.is_multiple_of(10)
}

/// Without white space and dashes.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\t' | '\n' | '\x0c' | '\r' | ' ' | '-')).collect()
}

pub fn is_isbn10(text: &str) -> bool {
    let number = plain(text);
    let Some((first, last)) = number.split_at_checked(9) else { return false };
    let last = match last.as_bytes() {
        b"X" => 10,
        [byte @ b'0'..=b'9'] => digit(*byte),
        _ => return false,
    };
    let sum: u32 = if digits(first) { (1..).zip(first.bytes()).map(|(i, byte)| i * digit(byte)).sum() } else { 1 };
    digits(first) && (sum + 10 * last).is_multiple_of(11)
}

pub fn is_isbn13(text: &str) -> bool {
    let number = plain(text);
    if number.len() != 13 || !digits(&number) {
        return false;
    }
    let sum: u32 = number.bytes().enumerate().map(|(i, byte)| digit(byte) * if i % 2 == 0 { 1 } else { 3 }).sum();
    sum.is_multiple_of(10)
}

/// A number of the social security of the United States.
pub fn is_ssn(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 11
        && bytes.iter().enumerate().all(|(i, byte)| match i {
            3 | 6 => matches!(byte, b'-' | b' '),
            _ => byte.is_ascii_digit(),
        })
}
