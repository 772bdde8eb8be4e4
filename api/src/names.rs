//! The syntax of names: what may stand in `metadata.name`, a label, a port name, a config map key, an address.
//!
//! Each check gives the sentences of what is wrong, none for a valid value, worded as
//! `k8s.io/apimachinery/pkg/util/validation` and `k8s.io/apimachinery/pkg/api/validate/content` word them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const LABEL_1123: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_1123: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_KEY_RULE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// `must be no more than 63 characters`.
pub fn max_len(length: usize) -> String {
    format!("must be no more than {length} characters")
}

/// `must be between 1 and 65535, inclusive`.
pub fn inclusive_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// The sentence for a value that a pattern refuses.
pub fn regex_error(rule: &str, pattern: &str, examples: &[&str]) -> String {
    let mut text = format!("{rule} (");
    for (i, example) in examples.iter().enumerate() {
        text.push_str(if i == 0 { "e.g. '" } else { " or '" });
        text.push_str(example);
        text.push_str("', ");
    }
    text + "regex used for validation is '" + pattern + "')"
}

fn one_if(wrong: bool, text: impl FnOnce() -> String) -> Vec<String> {
    if wrong { vec![text()] } else { Vec::new() }
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label_1123(value: &str) -> bool {
    bounded(value, lower, |b| b == b'-')
}

/// Not empty, `end` at both ends, `end` or `inner` between.
fn bounded(value: &str, end: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    match value.as_bytes() {
        [] => false,
        [one] => end(*one),
        [first, middle @ .., last] => end(*first) && end(*last) && middle.iter().all(|b| end(*b) || inner(*b)),
    }
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label_1123)
}

/// RFC 1123 label: most names of services, namespaces and containers.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut errors = one_if(value.len() > 63, || max_len(63));
    if !is_label_1123(value) {
        errors.push(if is_subdomain(value) {
            "must not contain dots".to_owned()
        } else {
            let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
            regex_error(rule, LABEL_1123, &["my-name", "123-abc"])
        });
    }
    errors
}

/// RFC 1123 subdomain: the name of most objects.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = one_if(value.len() > 253, || max_len(253));
    if !is_subdomain(value) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        errors.push(regex_error(rule, SUBDOMAIN_1123, &["example.com"]));
    }
    errors
}

/// As [`dns1123_subdomain`], with underscores allowed (search domains).
pub fn dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    const PART: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    let mut errors = one_if(value.len() > 253, || max_len(253));
    let part = |p: &str| bounded(p.strip_prefix('_').unwrap_or(p), lower, |b| b == b'-' || b == b'_');
    if !value.split('.').all(part) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
        errors.push(regex_error(rule, &format!("{PART}(\\.{PART})*"), &["example.com"]));
    }
    errors
}

/// `*.` and a subdomain.
pub fn wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = one_if(value.len() > 253, || max_len(253));
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        let rule = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        errors.push(regex_error(rule, &format!("\\*\\.{SUBDOMAIN_1123}"), &["*.example.com"]));
    }
    errors
}

/// RFC 1035 label: names of services before relaxation, and CRD names.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut errors = one_if(value.len() > 63, || max_len(63));
    if !(is_label_1123(value) && value.as_bytes().first().is_some_and(u8::is_ascii_lowercase)) {
        let rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
        errors.push(regex_error(rule, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    errors
}

fn is_label_key_name(name: &str) -> bool {
    bounded(name, |b| b.is_ascii_alphanumeric(), |b| matches!(b, b'-' | b'_' | b'.'))
}

/// A qualified name, as label and annotation keys, finalizers and resource names are: `[prefix/]name`.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut parts = value.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(dns1123_subdomain(prefix).into_iter().map(|e| {
                    let e = e.replace("no more than 253 characters", "no more than 253 bytes");
                    format!("prefix part {e}")
                }));
            }
            name
        }
        _ => {
            let text = regex_error(LABEL_KEY_RULE, LABEL_KEY, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "a valid label key {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errors.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_label_key_name(name) {
        let text = regex_error(LABEL_KEY_RULE, LABEL_KEY, &["MyName", "my.name", "123-abc"]);
        errors.push(format!("name part {text}"));
    }
    errors
}

/// A label's value; may be empty.
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = one_if(value.len() > 63, || "must be no more than 63 bytes".to_owned());
    if !value.is_empty() && !is_label_key_name(value) {
        let rule = format!("a valid label must be an empty string or {}", LABEL_KEY_RULE.replacen("must ", "", 1));
        errors.push(regex_error(&rule, &format!("({LABEL_KEY})?"), &["MyValue", "my_value", "12345"]));
    }
    errors
}

/// The key of a ConfigMap or Secret.
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut errors = one_if(value.len() > 253, || max_len(253));
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        errors.push(regex_error(rule, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    errors.extend(not_a_parent_directory(value));
    errors
}

fn not_a_parent_directory(value: &str) -> Vec<String> {
    match value {
        "." | ".." => vec![format!("must not be '{value}'")],
        _ => one_if(value.starts_with(".."), || "must not start with '..'".to_owned()),
    }
}

/// An IANA service name, as container and service ports carry.
pub fn port_name(port: &str) -> Vec<String> {
    let bytes = port.as_bytes();
    let rules = [
        (port.len() > 15, "must be no more than 15 characters"),
        (
            bytes.is_empty() || !bytes.iter().all(|b| lower(*b) || *b == b'-'),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (!bytes.iter().any(u8::is_ascii_lowercase), "must contain at least one letter (a-z)"),
        (port.contains("--"), "must not contain consecutive hyphens"),
        (port.starts_with('-') || port.ends_with('-'), "must not begin or end with a hyphen"),
    ];
    rules.iter().filter(|(wrong, _)| *wrong).map(|(_, text)| (*text).to_owned()).collect()
}

pub fn port_number(port: i64) -> Vec<String> {
    one_if(!(1..=65535).contains(&port), || inclusive_range(1, 65535))
}

/// A user or group id.
pub fn user_id(id: i64) -> Vec<String> {
    one_if(!(0..=i64::from(i32::MAX)).contains(&id), || inclusive_range(0, i64::from(i32::MAX)))
}

/// The name of an environment variable, by the relaxed rule: printable ASCII without `=`.
pub fn env_var_name(value: &str) -> Vec<String> {
    let mut errors = one_if(value.is_empty(), || "environment variable name must be non-empty".to_owned());
    if !value.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=') {
        errors.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    errors
}

pub fn c_identifier(value: &str) -> Vec<String> {
    let valid = value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && value.as_bytes().first().is_some_and(|b| !b.is_ascii_digit());
    one_if(!valid, || {
        let rule = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
        regex_error(rule, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])
    })
}

/// `50%`.
pub fn percent(value: &str) -> Vec<String> {
    let valid = value.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    one_if(!valid, || {
        let rule = "a valid percent string must be a numeric string followed by an ending '%'";
        regex_error(rule, "[0-9]+%", &["1%", "93%"])
    })
}

pub fn http_header_name(value: &str) -> Vec<String> {
    let valid = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    one_if(!valid, || {
        let rule = "a valid HTTP header must consist of alphanumeric characters or '-'";
        regex_error(rule, "[-A-Za-z0-9]+", &["X-Header-Name"])
    })
}

/// A name that can stand in a URL path: what RBAC objects and others without a stricter rule may be called.
pub fn path_segment(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") { vec![format!("may not be '{name}'")] } else { path_segment_prefix(name) }
}

/// As [`path_segment`], for a prefix that a generated suffix follows.
pub fn path_segment_prefix(name: &str) -> Vec<String> {
    ["/", "%"].iter().filter(|s| name.contains(**s)).map(|s| format!("may not contain '{s}'")).collect()
}

/// A generated name's prefix may end in a dash: what follows is made of letters.
pub fn mask_trailing_dash(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(head) if !head.is_empty() => format!("{head}a"),
        _ => name.to_owned(),
    }
}

/// An IP address with no leading zeros that is not IPv4-mapped, as fields accept it. Ask [`canonical_ip`] too where
/// the field requires the canonical form.
pub fn ip(value: &str) -> Vec<String> {
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(six)) if six.to_ipv4_mapped().is_some() => {
            vec!["must not be an IPv4-mapped IPv6 address".to_owned()]
        }
        Ok(_) => Vec::new(),
        Err(_) if sloppy_ip(value).is_some() => vec!["must not have leading 0s".to_owned()],
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// [`ip`], and written as RFC 5952 has it.
pub fn canonical_ip(value: &str) -> Vec<String> {
    let errors = ip(value);
    match value.parse::<IpAddr>() {
        Ok(address) if errors.is_empty() && address.to_string() != value => {
            vec![format!("must be in canonical form (\"{address}\")")]
        }
        _ => errors,
    }
}

/// A network in CIDR form, with nothing set beyond the prefix.
pub fn cidr(value: &str) -> Vec<String> {
    let wrong = |text: &str| vec![text.to_owned()];
    let parsed = value.split_once('/').and_then(|(address, length)| {
        let ip = sloppy_ip(address)?;
        let digits = !length.is_empty() && length.len() < 5 && length.bytes().all(|b| b.is_ascii_digit());
        let bits: u32 = length.parse().ok().filter(|_| digits)?;
        (bits <= if ip.is_ipv4() { 32 } else { 128 }).then_some((address, length, ip, bits))
    });
    let Some((address, length, ip, bits)) = parsed else {
        return wrong("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    };
    if address.parse::<IpAddr>().is_err() || (length.len() > 1 && length.starts_with('0')) {
        return wrong("must not have leading 0s in IP or prefix length");
    }
    let beyond = match ip {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            return wrong("must not have an IPv4-mapped IPv6 address");
        }
        IpAddr::V4(four) => Ipv4Addr::from(u32::from(four) & u32::MAX.checked_shl(32 - bits).unwrap_or(0)) != four,
        IpAddr::V6(six) => Ipv6Addr::from(u128::from(six) & u128::MAX.checked_shl(128 - bits).unwrap_or(0)) != six,
    };
    if beyond { wrong("must not have bits set beyond the prefix length") } else { Vec::new() }
}

/// [`cidr`], and written in canonical form.
pub fn canonical_cidr(value: &str) -> Vec<String> {
    let errors = cidr(value);
    let canonical = value.split_once('/').and_then(|(ip, bits)| Some(format!("{}/{bits}", ip.parse::<IpAddr>().ok()?)));
    match canonical {
        Some(text) if errors.is_empty() && text != value => vec![format!("must be in canonical form (\"{text}\")")],
        _ => errors,
    }
}

/// An address whose IPv4 octets may carry leading zeros, read as decimal.
pub fn sloppy_ip(value: &str) -> Option<IpAddr> {
    if let Ok(address) = value.parse() {
        return Some(address);
    }
    let mut octets = [0u8; 4];
    let mut parts = value.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))?;
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then(|| IpAddr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_subdomain_is_told_the_rule() {
        assert!(dns1123_subdomain("a.b-c.1").is_empty());
        assert_eq!(
            dns1123_subdomain("A_b"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        for bad in ["", ".", "a..b", "-a", "a-", "a.", "ä"] {
            assert_eq!(dns1123_subdomain(bad).len(), 1, "{bad}");
        }
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(dns1035_label("1a").len(), 1);
    }

    #[test]
    fn label_keys_and_values() {
        for good in ["a", "app.kubernetes.io/name", "A_b.c-1", "kubernetes.io/os"] {
            assert!(qualified_name(good).is_empty(), "{good}");
        }
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("a/").len(), 2);
        assert!(
            qualified_name("a/b/c")[0]
                .ends_with("with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")
        );
        assert_eq!(
            label_value("a b"),
            [
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ]
        );
        assert!(label_value("").is_empty());
    }

    #[test]
    fn addresses() {
        assert!(
            ip("10.0.0.1").is_empty()
                && ip("fe80::1").is_empty()
                && cidr("10.0.0.0/8").is_empty()
                && cidr("::/0").is_empty()
        );
        assert_eq!(ip("010.0.0.1"), ["must not have leading 0s"]);
        assert_eq!(ip("::ffff:1.2.3.4"), ["must not be an IPv4-mapped IPv6 address"]);
        assert_eq!(cidr("10.0.0.1/8"), ["must not have bits set beyond the prefix length"]);
        assert_eq!(cidr("10.0.0.0/33").len(), 1);
        assert_eq!(canonical_ip("FE80::0001"), ["must be in canonical form (\"fe80::1\")"]);
        assert_eq!(port_name("-1"), ["must contain at least one letter (a-z)", "must not begin or end with a hyphen"]);
        assert_eq!(config_map_key(".."), ["must not be '..'"]);
    }
}
