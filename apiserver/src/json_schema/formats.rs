//! The formats of strings, as `kube-openapi/pkg/validation/strfmt` knows them. (What says one is Go's library, mostly.)

mod addresses;
mod email;
mod numbers;
mod times;
mod uri;

/// A format: its name without dashes, and whether a text has it.
type Format = (&'static str, fn(&str) -> bool);

const FORMATS: [Format; 26] = [
    ("bsonobjectid", |text| text.len() == 24 && hex(text)),
    ("byte", is_base64),
    ("cidr", addresses::is_cidr),
    ("creditcard", numbers::is_credit_card),
    ("date", times::is_date),
    ("datetime", times::is_date_time),
    ("duration", times::is_duration),
    ("email", email::is_email),
    ("hexcolor", is_hex_color),
    ("hostname", addresses::is_hostname),
    ("ipv4", addresses::is_ipv4),
    ("ipv6", addresses::is_ipv6),
    ("isbn", |text| numbers::is_isbn10(text) || numbers::is_isbn13(text)),
    ("isbn10", numbers::is_isbn10),
    ("isbn13", numbers::is_isbn13),
    ("k8slongname", |text| text.len() <= 253 && text.split('.').all(is_short_name)),
    ("k8sshortname", |text| text.len() <= 63 && is_short_name(text)),
    ("mac", addresses::is_mac),
    ("password", |_| true),
    ("rgbcolor", is_rgb_color),
    ("ssn", numbers::is_ssn),
    ("uri", uri::is_request_uri),
    ("uuid", |text| is_uuid(text, None)),
    ("uuid3", |text| is_uuid(text, Some('3'))),
    ("uuid4", |text| is_uuid(text, Some('4'))),
    ("uuid5", |text| is_uuid(text, Some('5'))),
];

/// Their names.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|(name, _)| *name)
}

fn find(format: &str) -> Option<&'static Format> {
    let plain = format.replace('-', "");
    FORMATS.iter().find(|(name, _)| *name == plain)
}

/// Whether there is such a format of strings.
pub fn is_known(format: &str) -> bool {
    !format.is_empty() && find(format).is_some()
}

/// Whether a text has a format; an unknown one is that of no text.
pub fn has(text: &str, format: &str) -> bool {
    find(format).is_some_and(|(_, is)| is(text))
}

fn hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The usual alphabet, padded; not nothing.
fn is_base64(text: &str) -> bool {
    let plain = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let letters = plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
    letters && !text.is_empty() && text.len().is_multiple_of(4)
}

fn is_hex_color(text: &str) -> bool {
    let plain = text.strip_prefix('#').unwrap_or(text);
    matches!(plain.len(), 3 | 6) && hex(plain)
}

fn is_rgb_color(text: &str) -> bool {
    let part = |part: &str| {
        let part = part.trim_matches(['\t', '\n', '\x0c', '\r', ' ']);
        let written = !part.is_empty() && digits(part) && (part == "0" || !part.starts_with('0'));
        written && part.parse::<u8>().is_ok()
    };
    let Some(inner) = text.strip_prefix("rgb(").and_then(|text| text.strip_suffix(')')) else { return false };
    inner.split(',').count() == 3 && inner.split(',').all(part)
}

/// A UUID, dashes between its parts or not; of one version, and then of the usual variant.
fn is_uuid(text: &str, version: Option<char>) -> bool {
    let mut rest = text;
    let mut parts = Vec::new();
    for length in [8, 4, 4, 4, 12] {
        if !parts.is_empty() {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((part, after)) = rest.split_at_checked(length) else { return false };
        parts.push(part);
        rest = after;
    }
    let variant = version.is_none_or(|version| version == '3') || parts[3].starts_with(['8', '9', 'a', 'b', 'A', 'B']);
    rest.is_empty() && parts.iter().all(|part| hex(part)) && variant && version.is_none_or(|v| parts[2].starts_with(v))
}

/// Lower-case letters, digits and dashes inside.
fn is_short_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |end: Option<&u8>| end.is_some_and(|byte| inner(*byte));
    let bytes = text.as_bytes();
    ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
}
