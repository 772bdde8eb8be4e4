//! Addresses and names of hosts.

use api::names;
use std::net::{IpAddr, Ipv6Addr};

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
/// symbols.
pub fn is_hostname(text: &str) -> bool {
    const MAX: usize = 255;
    const LABEL_MAX: usize = 63;
    let fits = text.len() <= MAX && text.split('.').all(|label| label.len() <= LABEL_MAX);
    fits && HOSTNAME.as_ref().is_some_and(|hostname| hostname.is_match(text.as_bytes()))
}

/// Upstream's own rule: a label with no two dashes one after the other at its beginning, or labels and a domain.
static HOSTNAME: std::sync::LazyLock<Option<regex::bytes::Regex>> = std::sync::LazyLock::new(|| {
    const LETTER: &str = r"a-zA-Z0-9\p{S}\p{L}";
    let single = format!("[{LETTER}](-?[{LETTER}]{{0,62}})?");
    let label = format!(r"[{LETTER}]([{LETTER}-]{{0,61}}[{LETTER}])?\.");
    regex::bytes::Regex::new(&format!(r"^({single}|({label})+[a-zA-Z\p{{L}}]{{2,63}})$")).ok()
});
