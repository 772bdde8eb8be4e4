//! Addresses and names of hosts.

use api::names;
use regex::bytes::Regex;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;

/// As Go had it before it refused leading zeros; one of version 6 may end like one of version 4.
pub fn is_ipv4(text: &str) -> bool {
    text.contains('.') && names::sloppy_ip(text).is_some()
}

pub fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

pub fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let max = match names::sloppy_ip(address) {
        Some(_) if !address.contains(':') => 32,
        Some(IpAddr::V6(_) | IpAddr::V4(_)) => 128,
        None => return false,
    };
    !length.is_empty() && super::digits(length) && length.parse::<u32>().is_ok_and(|length| length <= max)
}

/// 6, 8 or 20 bytes, with colons or dashes between them, or dots between each two, or nothing.
pub fn is_mac(text: &str) -> bool {
    let parts = |separator: char, length: usize| {
        let right = text.split(separator).all(|part| part.len() == length && super::hex(part));
        right && matches!(text.split(separator).count() * length / 2, 6 | 8 | 20)
    };
    parts(':', 2) || parts('-', 2) || parts('.', 4) || (super::hex(text) && matches!(text.len(), 12 | 16 | 40))
}

/// A name by itself, or with a top-level domain of two letters or more. Letters are those of any language, and so are
/// symbols. Upstream has one expression for it, which is tens of megabytes when it is compiled.
pub fn is_hostname(text: &str) -> bool {
    const MAX: usize = 255;
    const LABEL_MAX: usize = 63;
    let fits = text.len() <= MAX && text.split('.').all(|label| label.len() <= LABEL_MAX);
    fits && match text.rsplit_once('.') {
        Some((labels, top)) => is_made_of(&TOP, top) && top.chars().nth(1).is_some() && labels.split('.').all(is_label),
        None => is_single(text),
    }
}

/// A dash may only be its second character.
fn is_single(label: &str) -> bool {
    let mut rest = label.chars();
    let first = rest.next().map_or("", |first| &label[..first.len_utf8()]);
    let rest = rest.as_str();
    is_made_of(&LETTERS, first) && (rest.is_empty() || is_all(&LETTERS, rest.strip_prefix('-').unwrap_or(rest)))
}

/// Dashes may be anywhere but at its ends.
fn is_label(label: &str) -> bool {
    let inner = label.replace('-', "");
    is_made_of(&LETTERS, &inner) && !label.starts_with('-') && !label.ends_with('-')
}

type Class = LazyLock<Option<Regex>>;

/// Letters, digits and symbols.
static LETTERS: Class = LazyLock::new(|| Regex::new(r"^[a-zA-Z0-9\p{S}\p{L}]+$").ok());
/// What top-level domains are made of.
static TOP: Class = LazyLock::new(|| Regex::new(r"^[a-zA-Z\p{L}]+$").ok());

fn is_made_of(class: &Class, text: &str) -> bool {
    class.as_ref().is_some_and(|class| class.is_match(text.as_bytes()))
}

fn is_all(class: &Class, text: &str) -> bool {
    text.is_empty() || is_made_of(class, text)
}

#[cfg(test)]
mod tests {
    use super::is_hostname;

    #[test]
    fn names_of_hosts() {
        for name in ["a", "a-", "a-b1", "ab", "a.bc", "a--b.cd", "\u{e4}.\u{e4}\u{e4}", "1.ab", "+.ab", &"a".repeat(63)]
        {
            assert!(is_hostname(name), "{name}");
        }
        for other in
            ["", "-", "-a", "ab-c", "a--b", "a.b", "a.b1", "-a.bc", "a-.bc", ".bc", "a..bc", "a.", &"a".repeat(64)]
        {
            assert!(!is_hostname(other), "{other}");
        }
    }
}
