//! A URI as it stands in a request: with a scheme, or a path from the root. Follows Go's `net/url`.

use std::net::Ipv6Addr;

pub fn is_request_uri(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    if text.is_empty() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    let Some((scheme, rest)) = scheme(text) else { return false };
    let rest = rest.split('?').next().unwrap_or_default();
    if !rest.starts_with('/') {
        return !scheme.is_empty();
    }
    let with_authority = rest.strip_prefix("//").filter(|_| !scheme.is_empty());
    let Some(rest) = with_authority else { return is_escaped(rest) };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    is_authority(authority, scheme) && is_escaped(path)
}

/// The scheme, which may be missing, and what follows it.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)));
    match end.filter(|end| text[*end..].starts_with(':')) {
        Some(0) => None,
        Some(end) if text.starts_with(|first: char| first.is_ascii_alphabetic()) => {
            Some((&text[..end], &text[end + 1..]))
        }
        _ => Some(("", text)),
    }
}

/// Whether each percent sign has its two digits.
fn is_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|after| after.get(..2).is_some_and(super::hex))
}

fn is_authority(authority: &str, scheme: &str) -> bool {
    let Some((user, host)) = authority.rsplit_once('@') else { return is_host(authority, scheme) };
    let user = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte))
        && is_escaped(user);
    user && is_host(host, scheme)
}

fn is_host(host: &str, scheme: &str) -> bool {
    let port = |text: &str| text.is_empty() || text.strip_prefix(':').is_some_and(super::digits);
    match host.rfind('[') {
        Some(0) => {
            let Some((address, after)) = host[1..].rsplit_once(']') else { return false };
            let (address, zone) = match address.split_once("%25") {
                Some((address, zone)) => (address, Some(zone)),
                None => (address, None),
            };
            let zone = zone.is_none_or(|zone| !zone.is_empty() && is_escaped(zone) && is_host_text(zone));
            port(after) && zone && address.parse::<Ipv6Addr>().is_ok()
        }
        Some(_) => false,
        None => {
            // Databases have several hosts, each with its port.
            let web = matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https");
            let at = if web { host.find(':') } else { host.rfind(':') };
            at.is_none_or(|at| port(&host[at..])) && is_escaped(host) && is_host_text(host) && escapes_bytes(host)
        }
    }
}

/// Whether there is nothing in a name that would have to be escaped.
fn is_host_text(host: &str) -> bool {
    host.bytes()
        .all(|byte| !byte.is_ascii() || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte))
}

/// In the name of a host, only what is not ASCII may be escaped.
fn escapes_bytes(host: &str) -> bool {
    host.split('%').skip(1).all(|after| after.starts_with(|digit: char| !digit.is_digit(8)) || after.starts_with("25"))
}
