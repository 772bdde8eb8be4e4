//! Time stamps as objects carry them: RFC 3339, UTC, with whole seconds (`Time`) or microseconds (`MicroTime`).

mod rfc3339;

pub use jiff::{SignedDuration, Timestamp};

/// The present, from the system's clock.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// `2026-01-02T03:04:05Z`.
pub fn format(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-01-02T03:04:05.000006Z`.
pub fn format_micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads RFC 3339 with any offset and any fraction; the error is Go's sentence.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    rfc3339::parse(text, false)
}

/// A `Time` rewritten as it goes out again: UTC, fractions of a second cut off. A text that is in that form already
/// comes back unchanged.
pub fn canonical(text: &str) -> Result<String, String> {
    parse(text).map(format)
}

/// A `MicroTime` rewritten as it goes out again. It must have six digits of a second's fraction.
pub fn canonical_micro(text: &str) -> Result<String, String> {
    rfc3339::parse(text, true).map(format_micro)
}

/// Go's notation of a duration, `1h2m3.5s`, as `metav1.Duration` carries it.
pub fn format_duration(span: SignedDuration) -> String {
    let nanos = span.as_nanos().unsigned_abs();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if span.is_negative() { "-" } else { "" };
    let fraction = |value: u128, unit: u128| {
        let text = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let text = text.trim_end_matches('0');
        if text.is_empty() { String::new() } else { format!(".{text}") }
    };
    if nanos < 1_000_000_000 {
        let (unit, name) = match nanos {
            0..1_000 => return format!("{sign}{nanos}ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{sign}{}{}{name}", nanos / unit, fraction(nanos, unit));
    }
    let seconds = nanos / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = format!("{}{}s", seconds % 60, fraction(nanos, 1_000_000_000));
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest}"),
        (0, _) => format!("{sign}{minutes}m{rest}"),
        _ => format!("{sign}{hours}h{minutes}m{rest}"),
    }
}

/// Reads Go's notation of a duration: signed decimal numbers with the units ns, us, ms, s, m, h.
pub fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("time: invalid duration {}", crate::field::quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        if digits == 0 {
            return Err(wrong());
        }
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
        let (unit, tail) = tail.split_at(letters);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("time: missing unit in duration {}", crate::field::quote(text))),
            other => {
                let (unit, text) = (crate::field::quote(other), crate::field::quote(text));
                return Err(format!("time: unknown unit {unit} in duration {text}"));
            }
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 18 || fraction.contains('.') {
            return Err(wrong());
        }
        let fraction = &fraction[..fraction.len().min(15)];
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| wrong())? };
        nanos += whole * scale + part * scale / 10i128.pow(fraction.len() as u32);
        if nanos > i128::from(i64::MAX) {
            return Err(wrong());
        }
        rest = tail;
    }
    Ok(SignedDuration::from_nanos_i128(if negative { -nanos } else { nanos }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(canonical("2026-01-02T03:04:05.9+01:00").unwrap(), "2026-01-02T02:04:05Z");
        assert_eq!(canonical_micro("2026-01-02T03:04:05.000001+01:00").unwrap(), "2026-01-02T02:04:05.000001Z");
        assert!(
            canonical("2026-01-02").is_err() && canonical("2026-13-02T03:04:05Z").is_err() && canonical("").is_err()
        );
    }

    #[test]
    fn durations_are_gos() {
        for text in ["1h0m0s", "1m30s", "2.5s", "15ms", "1.5µs", "3ns", "0s", "-1m0s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(format_duration(parse_duration("90s").unwrap()), "1m30s");
        for bad in ["", "5", "s", "1x", "1..s", "999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
